"""Resizes without servers, on virtual time: a store that can be cut off, and a dispatcher of twenty lines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

from tests.contract.builders import make_app, make_outcome, make_row, make_update
from tests.harness.virtual import LoopClock, run_virtual

from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.resize.runner import Resizer
from ringtime_shared.buckets import bucket_of
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.audit import AuditEntry
from ringtime_shared.models.schedule import Row
from ringtime_shared.settings import Settings
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import LAST_ID, DueQuery, Marks, MarksWrite, Position

T = TypeVar("T")
START_MS = 1_800_000_000_000
QUIET_S = 15.0  #: map_age_ms and write_deadline_ms together


class Killed(Exception):
    """The process ended here."""


class CutStore:
    """Passes calls on to a `MemoryStore` until it is cut off, before or after a call is carried out."""

    def __init__(
        self, store: MemoryStore, *, cut_at: int | None = None, is_carried_out: bool = False
    ) -> None:
        self.names: list[str] = []  #: of the calls so far
        self._store = store
        self._cut_at = cut_at
        self._is_carried_out = is_carried_out
        self.before: dict[str, Callable[[], Awaitable[None]]] = {}  #: what happens just before a call, once

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._store, name)

        async def call(*args: Any) -> Any:
            self.names.append(name)
            if name in self.before:
                await self.before.pop(name)()
            is_cut = len(self.names) == self._cut_at
            if not is_cut or self._is_carried_out:
                answer = await method(*args)
            if is_cut:
                raise Killed
            return answer

        return call


@dataclass(slots=True)
class ResizeRig:
    """One app, `pay`, with this many partitions; somebody owns them only while `dispatching`."""

    store: MemoryStore
    clock: LoopClock = field(default_factory=lambda: LoopClock(START_MS))
    _terms: dict[Instance, int] = field(default_factory=dict)
    _term: int = 100
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def resizer(self, operator: str = "ana", *, store: Any = None, **changes: Any) -> Resizer:
        given: dict[str, Any] = {"coordination": None, "settings": Settings(), "clock": self.clock}
        deployment = Deployment(
            store=cast(Any, store if store is not None else self.store),
            operator=operator,
            **(given | changes),
        )
        return Resizer(deployment, "pay")

    async def app(self) -> App:
        app = await self.store.fetch_app("pay")
        assert app is not None
        return app

    async def file(self, *, partition: int, in_s: float) -> Row:
        row = make_row(await self.app(), self.clock.now_ms() + int(in_s * 1_000), partition)
        await self.store.put_rows([row])
        return row

    async def audit(self) -> list[AuditEntry]:
        """Return the log, oldest first."""
        return await self.store.fetch_audit(0, 1 << 62, 1_000, is_oldest_first=True)

    def dispatch(self) -> None:
        """Begin to own and fire whatever the app polls."""
        self._tasks.append(asyncio.create_task(self._dispatch()))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _dispatch(self) -> None:
        while True:
            owned = (await self.app()).instances()
            for gone in self._terms.keys() - set(owned):
                del self._terms[gone]
            for instance in owned:
                if instance not in self._terms:
                    self._term += 1
                    self._terms[instance] = self._term
                    marks = (await self.store.fetch_marks([instance]))[instance]
                    await self.store.put_marks([MarksWrite(instance, self._term, marks)])
            now_ms = self.clock.now_ms()
            for instance in owned:
                await self._fire(instance, now_ms)
                marks = Marks(now_ms - 2_000, now_ms - 2_000)
                await self.store.put_marks([MarksWrite(instance, self._terms[instance], marks)])
            await asyncio.sleep(1)

    async def _fire(self, instance: Instance, now_ms: int) -> None:
        entries = await self.store.fetch_app_buckets(instance.app_id, 0, bucket_of(now_ms))
        for bucket in {entry.bucket for entry in entries if entry.instance == instance}:
            query = DueQuery(instance, bucket, Position(0, LAST_ID), now_ms, limit=1_000)
            (page,) = await self.store.fetch_due([query])
            await self.store.put_updates([make_update(row, make_outcome()) for row in page.rows])


def play(work: Callable[[ResizeRig], Coroutine[Any, Any, T]], *, partitions: int = 4, **changes: Any) -> T:
    """Run `work` on virtual time with an app of so many partitions."""

    async def run() -> T:
        clock = LoopClock(START_MS)
        rig = ResizeRig(MemoryStore(clock.now_ms), clock)
        app = make_app(app_id="pay", writable=partitions, polled=partitions, created_ms=clock.now_ms())
        await rig.store.create_app(app)
        if changes:
            stored = await rig.app()
            await rig.store.replace_app(replace(stored, version=stored.version + 1, **changes))
        try:
            return await work(rig)
        finally:
            await rig.close()

    return run_virtual(run())


async def resize(rig: ResizeRig, quota: int, *, is_waiting: bool = True, timeout_s: float = 600) -> App:
    """Begin and finish as one operator."""
    resizer = rig.resizer()
    begun = await resizer.begin(quota)
    if begun.resize is None:
        return begun
    return await resizer.finish(begun, timeout_s=timeout_s, is_waiting=is_waiting)


def quotas(app: App) -> tuple[int, int, bool]:
    """Return writable, polled, and whether a resize is under way."""
    return app.writable, app.polled, app.resize is not None


def actions(entries: Sequence[AuditEntry]) -> list[str]:
    return [entry.action for entry in entries]
