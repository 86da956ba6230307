"""Who owns what and how far they are, read once and then looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ringtime_ringctl.deployment.context import Deployment
from ringtime_shared.coordination.protocol import Claim, Drain, Member, View
from ringtime_shared.errors import NotFound
from ringtime_shared.models.app import App, Instance
from ringtime_shared.stores.protocol import DAMAGED_MARKS, Marks, OperatorStore

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
    found = await deployment.store.fetch_marks(instances) if with_marks else {}
    marks = {instance: each for instance, each in found.items() if each != DAMAGED_MARKS}
    return Snapshot(now_ms=deployment.clock.now_ms(), apps=apps, view=view, drains=drains, marks=marks)


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
    """Return what a split deployment would show of one process.

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


async def _fetch_one_process_claim(
    store: OperatorStore, instance: Instance, server: str | None
) -> Claim | None:
    terms = await store.fetch_terms([instance])
    return one_process_view(terms, server).claims.get(instance)
