"""What `ringctl ring` says: shares, imbalance, moves, and the marks of each poller instance. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ringtime_ringctl.deployment.snapshot import Snapshot
from ringtime_shared.coordination.protocol import fit_members
from ringtime_shared.models.app import Instance
from ringtime_shared.ring import Ring, imbalance


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
    given = ring.assignment()
    claims = snapshot.view.claims
    states = []
    for instance in snapshot.polled():
        claim, marks = claims.get(instance), snapshot.marks.get(instance)
        states.append(
            InstanceState(
                instance=instance,
                owner=None if claim is None else claim.node,
                target=given.get(str(instance)),
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
