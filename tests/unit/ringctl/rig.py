"""Snapshots and deployments without servers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.contract.builders import NOW_MS, make_app

from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.deployment.ownership import Snapshot, ring_of
from ringtime_ringctl.deployment.probes import Health
from ringtime_shared.clock import ManualClock
from ringtime_shared.coordination.memory import Hub, MemoryOperator, MemorySession
from ringtime_shared.coordination.protocol import Claim, Member, View
from ringtime_shared.models.app import App, Instance
from ringtime_shared.settings import Settings
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import Marks

FRESH = Marks(NOW_MS - 2_000, NOW_MS - 2_000)


def make_members(*nodes: str) -> dict[str, Member]:
    return {node: Member(node=node, address=f"{node}:80") for node in nodes}


def make_snapshot(
    apps: Iterable[App],
    nodes: Iterable[str] = ("n1", "n2", "n3"),
    *,
    drained: Iterable[str] = (),
    changes: Mapping[Instance, Claim | None] | None = None,
    marks: Mapping[Instance, Marks] | None = None,
) -> Snapshot:
    """A deployment in which everybody owns what the ring gives it, but for `changes`; None: nobody does."""
    view = View(make_members(*nodes), {}, frozenset(drained))
    apps = list(apps)
    given = ring_of(Snapshot(now_ms=NOW_MS, apps=apps, view=view)).assignment()
    claims = {Instance.parse(name): Claim(node, 7) for name, node in given.items()}
    for instance, claim in (changes or {}).items():
        if claim is None:
            claims.pop(instance, None)
        else:
            claims[instance] = claim
    instances = [instance for app in apps for instance in app.instances()]
    return Snapshot(
        now_ms=NOW_MS,
        apps=apps,
        view=View(view.members, claims, view.drained),
        marks=dict.fromkeys(instances, FRESH) | dict(marks or {}),
    )


def make_health(node: str, skew_ms: float | None = 0.0, *, doubt_ms: float = 1.0, reason: str = "") -> Health:
    return Health(
        node=node, is_reached=True, is_ready=not reason, reason=reason, skew_ms=skew_ms, doubt_ms=doubt_ms
    )


def pay(partitions: int = 60, **changes: object) -> App:
    return make_app(app_id="pay", writable=partitions, polled=partitions, **changes)


@dataclass(slots=True)
class Rig:
    """A split deployment in memory, with nodes that do nothing."""

    clock: ManualClock
    hub: Hub
    store: MemoryStore
    deployment: Deployment

    async def join(self, node: str) -> MemorySession:
        session = MemorySession(self.hub, self.clock)
        await session.join(Member(node=node))
        return session


def make_rig() -> Rig:
    clock, hub = ManualClock(), Hub()
    store = MemoryStore(clock.now_ms)
    deployment = Deployment(
        store=store,
        coordination=MemoryOperator(hub),
        settings=Settings(),
        operator="ann",
        clock=clock,
    )
    return Rig(clock, hub, store, deployment)
