"""Who owns what and how far they are, read once, and compared with what the ring gives."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ringtime_ringctl.deployment.context import Deployment
from ringtime_shared.coordination.protocol import Claim, Drain, Member, View, fit_members
from ringtime_shared.errors import NotFound
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.node_status import NodeStatus
from ringtime_shared.ring import Ring, imbalance
from ringtime_shared.stores.protocol import DAMAGED_MARKS, Marks, MarkStore

EPOCH_BITS = 48
_EPOCH_MASK = (1 << EPOCH_BITS) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A deployment as of about one moment: etcd at one revision, the store a little later."""

    now_ms: int  #: after everything was read
    apps: Sequence[App]  #: by app id
    view: View
    drains: Mapping[str, Drain] = field(default_factory=dict)
    marks: Mapping[Instance, Marks] = field(default_factory=dict)

    def polled(self) -> list[Instance]:
        """Return the poller instances that somebody should own, by app and partition."""
        return [instance for app in self.apps for instance in app.instances()]


async def fetch_snapshot(deployment: Deployment, *, with_marks: bool = True) -> Snapshot:
    """Read everything. Raises StoreUnavailable."""
    apps, (view, drains) = await asyncio.gather(deployment.store.fetch_apps(), _fetch_ownership(deployment))
    instances = [instance for app in apps for instance in app.instances()]
    if deployment.coordination is None:
        view = one_process_view(await deployment.store.fetch_terms(instances), deployment.server)
    stored = await deployment.store.fetch_marks(instances) if with_marks else {}
    marks = {instance: each for instance, each in stored.items() if each != DAMAGED_MARKS}
    return Snapshot(now_ms=deployment.clock.now_ms(), apps=apps, view=view, drains=drains, marks=marks)


def node_versions(view: View, statuses: Sequence[NodeStatus]) -> dict[str, str]:
    """Return what each member runs, empty where it did not say; release 0.1.0 tells the store alone."""
    told = {each.node: each.version for each in statuses}
    return {node: member.version or told.get(node, "") for node, member in view.members.items()}


async def fetch_app(deployment: Deployment, app_id: str) -> App:
    """Return one app. Raises NotFound, StoreUnavailable."""
    app = await deployment.store.fetch_app(app_id)
    if app is None:
        raise NotFound("app", app_id)
    return app


async def fetch_claim(deployment: Deployment, instance: Instance) -> Claim | None:
    """Return who owns one poller instance. Raises StoreUnavailable."""
    if deployment.coordination is not None:
        return (await deployment.coordination.fetch_view()).claims.get(instance)
    return await _fetch_one_process_claim(deployment.store, instance, deployment.server)


def one_process_view(terms: Mapping[Instance, int], server: str | None) -> View:
    """Return one process in the form of a split deployment of one node.

    Each start of it is a new era, so what it took over carries the newest era that is there. Nothing is owned
    while nobody runs.
    """
    if server is None:
        return View()
    newest = max((term >> EPOCH_BITS for term in terms.values()), default=0)
    claims = {
        instance: Claim(server, term & _EPOCH_MASK)
        for instance, term in terms.items()
        if term and term >> EPOCH_BITS == newest
    }
    return View({server: Member(node=server)}, claims)


async def _fetch_ownership(deployment: Deployment) -> tuple[View, Mapping[str, Drain]]:
    if deployment.coordination is None:
        return View(), {}
    view = await deployment.coordination.fetch_view()
    return view, await deployment.coordination.fetch_drains() if view.drained else {}


async def _fetch_one_process_claim(store: MarkStore, instance: Instance, server: str | None) -> Claim | None:
    terms = await store.fetch_terms([instance])
    return one_process_view(terms, server).claims.get(instance)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLoad:
    """One node, and how much of the ring it has."""

    node: str
    capacity: float
    is_drained: bool
    owned: int  #: poller instances it has claimed
    wanted: int  #: poller instances the ring gives it


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceState:
    """One poller instance. Slots in ms; None: not known."""

    instance: Instance
    owner: str | None
    target: str | None  #: who the ring gives it to
    epoch: int | None
    front_ms: int | None
    sealed_ms: int | None
    settled_ms: int | None
    behind_ms: int | None  #: now less `settled`

    @property
    def is_moving(self) -> bool:
        return self.owner != self.target


@dataclass(frozen=True, slots=True, kw_only=True)
class RingReport:
    """The whole ring."""

    now_ms: int
    nodes: Sequence[NodeLoad]  #: by name
    imbalance: float  #: of what is owned: most load over fair share; 1.0 is perfect
    ring_imbalance: float  #: of what the ring gives
    instances: Sequence[InstanceState]  #: by app and partition

    @property
    def moves(self) -> list[InstanceState]:
        """Those owned by another node than the ring gives them to."""
        return [each for each in self.instances if each.owner is not None and each.is_moving]

    @property
    def unowned(self) -> list[InstanceState]:
        return [each for each in self.instances if each.owner is None]


def ring_of(snapshot: Snapshot) -> Ring:
    """Return the ring as the dispatchers compute it, once they have stopped waiting for newcomers."""
    polled = snapshot.polled()
    nodes, most = fit_members(snapshot.view.eligible(), len(polled))
    return Ring(instances=map(str, polled)).with_nodes(nodes, most)


def report_ring(snapshot: Snapshot, fronts: Mapping[Instance, int]) -> RingReport:
    """Compare what is owned with what the ring gives."""
    ring = ring_of(snapshot)
    assignment = ring.assignment()
    claims = snapshot.view.claims
    states = []
    for instance in snapshot.polled():
        claim, marks = claims.get(instance), snapshot.marks.get(instance)
        states.append(
            InstanceState(
                instance=instance,
                owner=None if claim is None else claim.node,
                target=assignment.get(str(instance)),
                epoch=None if claim is None else claim.epoch,
                front_ms=fronts.get(instance),
                sealed_ms=None if marks is None else marks.sealed_ms,
                settled_ms=None if marks is None else marks.settled_ms,
                behind_ms=None if marks is None else snapshot.now_ms - marks.settled_ms,
            )
        )
    loads = _loads(snapshot, ring, states)
    return RingReport(
        now_ms=snapshot.now_ms,
        nodes=loads,
        imbalance=_owned_imbalance(loads),
        ring_imbalance=imbalance(ring),
        instances=states,
    )


def _loads(snapshot: Snapshot, ring: Ring, states: Sequence[InstanceState]) -> list[NodeLoad]:
    owned = Counter(each.owner for each in states if each.owner is not None)
    members = snapshot.view.members
    # An owner that is no member has left the ring and is draining, or its lease is about to end.
    return [
        NodeLoad(
            node=node,
            capacity=members[node].capacity if node in members else 0.0,
            is_drained=node in snapshot.view.drained,
            owned=owned[node],
            wanted=len(ring.owned_by(node)),
        )
        for node in sorted(members.keys() | owned.keys())
    ]


def _owned_imbalance(loads: Sequence[NodeLoad]) -> float:
    capacity = sum(each.capacity for each in loads if each.wanted)
    owned = sum(each.owned for each in loads)
    shares = ((each.owned, owned * each.capacity / capacity) for each in loads if each.wanted)
    return max((count / share for count, share in shares if share), default=1.0)
