"""The composition root of the one-process mode: ingest and dispatcher on one store, no network between.

The same engines as in the split deployment, on the SQLite store (or, without a folder, in memory) and
on in-process coordination, whose one session never lapses. Each start is a new era, so a term of this
process is above every term of an earlier one.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from ringtime.stepped_clock import Stepper, TestClock, suited
from ringtime_dispatcher.callbacks.build import close_callbacks, make_callbacks, open_mark_topic
from ringtime_dispatcher.completeness import CompletenessWatch
from ringtime_dispatcher.engine import Dispatcher, make_dispatcher
from ringtime_dispatcher.forecasting import Forecaster
from ringtime_dispatcher.ownership.capacity import fit_to_machine
from ringtime_dispatcher.status import Reporter
from ringtime_ingest.service import IngestParts, IngestService
from ringtime_ingest.shadow import Receivers
from ringtime_shared.callbacks.grants import TlsProfiles
from ringtime_shared.callbacks.protocol import CallbackType
from ringtime_shared.clock import Clock, SystemClock
from ringtime_shared.clock.watched import WatchedClock
from ringtime_shared.coordination.memory import Hub, MemorySession
from ringtime_shared.encryption.keyring import KeyRing, ring_in, ring_of
from ringtime_shared.errors import FolderLost, StartupError
from ringtime_shared.metrics import UNMEASURED, Metrics
from ringtime_shared.recurring.completing import Completions
from ringtime_shared.settings import Settings
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import Store
from ringtime_shared.stores.sqlite import SqliteStore
from ringtime_shared.traces.export import open_spans

if TYPE_CHECKING:
    from ringtime_shared.traces.spans import Spans

_log = logging.getLogger(__name__)
_PURGE_S = 60
_COMMIT_LANES = 1  # SQLite writes one transaction after another: a second lane would only make them smaller


@dataclass(frozen=True, slots=True)
class Runtime:
    """What runs in the process."""

    store: Store
    clock: Clock
    service: IngestService
    dispatcher: Dispatcher
    stepper: Stepper | None  #: of a test clock
    spans: Spans | None = None  #: None: there are none

    async def wait_lost(self) -> FolderLost:
        """Wait until the data folder is lost, and return how. Nothing is taken or fired from then on."""
        if isinstance(self.store, SqliteStore):
            return await self.store.wait_lost()
        never: asyncio.Future[FolderLost] = asyncio.get_running_loop().create_future()
        return await never


async def open_store(settings: Settings, clock: Clock) -> Store:
    """Open the store the settings name. Raises StartupError."""
    if settings.embedded.data:
        return await SqliteStore.open(
            Path(settings.embedded.data), now_ms=clock.now_ms, settings=settings.embedded
        )
    return MemoryStore(clock.now_ms)


def own_ring(settings: Settings) -> KeyRing | None:
    """Return the key ring that the settings give; without one that of the data folder, made if need be, or of
    rows in memory one that ends with them. Raises StartupError."""
    folder = settings.embedded.data
    return ring_of(settings.secrets, folder) or (ring_in(Path(folder)) if folder else KeyRing.new())


@asynccontextmanager
async def run(
    settings: Settings,
    *,
    callbacks: Mapping[str, CallbackType],
    clock: Clock | None = None,
    metrics: Metrics = UNMEASURED,
) -> AsyncIterator[Runtime]:
    """Start everything; on the way out, drain and close in the reverse order.

    Args:
        callbacks: custom types by name; `http` is added unless it is among them, and `kafka` if there are
            brokers.
        clock: the machine's, which is watched like any other; or a test clock, for rows in memory only.

    Raises StartupError.
    """
    machine = clock or SystemClock()
    if isinstance(machine, TestClock):
        if settings.embedded.data:
            raise StartupError(
                "a test clock goes without a data folder: whoever runs on that next has another time"
            )
        settings = suited(settings)
        clock = machine
    else:
        clock = WatchedClock(machine, settings.clock)
    settings = fit_to_machine(settings)
    kinds = make_callbacks(settings, clock, loopback=settings.embedded.loopback_callbacks) | dict(callbacks)
    node = settings.node.name or f"embedded-{os.getpid()}"
    spans = open_spans(settings.tracing, "ringtime", node)
    topic = open_mark_topic(settings.kafka)
    store = await open_store(settings, clock)
    try:
        ring = own_ring(settings)
        async with clock.watched(store.fetch_times) if isinstance(clock, WatchedClock) else nullcontext():
            hub = Hub(era=await store.raise_era(uuid4().hex))
            service = await IngestService.start(
                IngestParts(
                    store=store.for_new() if isinstance(store, SqliteStore) else store,
                    clock=clock,
                    settings=replace(settings.ingest, commit_lanes=_COMMIT_LANES),
                    limits=settings.limits,
                    callbacks=kinds,
                    holder=node,
                    completions=Completions.of(settings.completion),
                    ring=ring,
                    audit=settings.audit,
                    profiles=TlsProfiles(settings.callbacks),
                    metrics=metrics,
                    shadow=settings.shadow,
                    receivers=(
                        Receivers(settings, loopback=settings.embedded.loopback_callbacks)
                        if settings.shadow.upstream_url
                        else None
                    ),
                )
            )
            dispatcher = make_dispatcher(
                settings,
                node=node,
                store=store,
                clock=clock,
                new_session=lambda: MemorySession(hub, clock),
                callbacks=kinds,
                ring=ring,
                spans=spans,
                metrics=metrics,
            )
            await dispatcher.start()
            for status in await store.fetch_node_statuses():  # of processes before this one
                await store.drop_node_status(status.node)
            stepper = Stepper(store, clock, dispatcher) if isinstance(clock, TestClock) else None
            runtime = Runtime(store, clock, service, dispatcher, stepper, spans)
            service.jobs.start(is_alone=True)
            purging = asyncio.create_task(_purge_for_ever(store, clock), name="purge")
            halting = asyncio.create_task(_halt_when_lost(runtime), name="watch the data folder")
            forecaster = Forecaster(store, clock, dispatcher.apps, dispatcher.is_first)
            forecaster.register(metrics)
            watch = CompletenessWatch(store, clock, dispatcher.apps, dispatcher.is_first, topic)
            watch.register(metrics)
            reporter = Reporter(dispatcher.observe, store, settings.node.status_ms, forecaster.over)
            reporter.start()
            try:
                async with (
                    forecaster.looking(settings.dispatch.forecast_s),
                    watch.looking(settings.dispatch.completeness_s),
                ):
                    yield runtime
            finally:
                purging.cancel()
                if not (isinstance(store, SqliteStore) and store.is_lost):
                    halting.cancel()
                await asyncio.wait([purging, halting])
                await service.close()
                if halting.cancelled():
                    await dispatcher.stop()
                await reporter.close()
    finally:
        await close_callbacks(kinds.values())
        await store.close()
        if spans is not None:
            spans.close()


async def _halt_when_lost(runtime: Runtime) -> None:
    """Fire nothing once the folder is lost. What is in flight is dropped, as in a crash: its outcome could be
    recorded nowhere, and where the folder is put back it is sent again."""
    await runtime.wait_lost()
    await runtime.dispatcher.kill()


async def _purge_for_ever(store: Store, clock: Clock) -> None:
    """Let the store forget what is past its retention, by a clock that is relied on; Cassandra does this by
    itself."""
    while isinstance(store, SqliteStore):
        try:
            if clock.doubt() is None:
                await store.purge(clock.now_ms())
        except Exception as error:  # noqa: BLE001 - tried again in a minute: a full disk must not end it for good
            _log.warning("the purge of what is past its retention failed: %s", error)
        await asyncio.sleep(_PURGE_S)
