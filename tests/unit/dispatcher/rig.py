"""A receiver, and a deliverer with everything it needs, in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any, cast

from tests.contract.builders import START_MS, make_app, make_row
from tests.harness.measured import counted
from tests.harness.virtual import LoopClock
from tests.unit.spy_store import SpyStore

from ringtime_dispatcher.delivery.deliverer import Deliverer, DeliveryParts
from ringtime_dispatcher.delivery.ledger import Ledger
from ringtime_dispatcher.engine import Dispatcher, DispatcherParts
from ringtime_dispatcher.ownership.instance import Instances, OwnedInstance
from ringtime_shared.callbacks.protocol import CallbackType, Delivery, Reply
from ringtime_shared.clock import Clock
from ringtime_shared.coordination.memory import Hub, MemorySession
from ringtime_shared.coordination.protocol import Member
from ringtime_shared.encryption.keyring import KeyRing
from ringtime_shared.errors import Violation
from ringtime_shared.metrics import UNMEASURED, Metrics
from ringtime_shared.metrics.names import Instrument
from ringtime_shared.models.app import App, AppConfiguration, Instance
from ringtime_shared.models.schedule import Row
from ringtime_shared.settings import AppLimits, DispatchSettings, RetrySettings
from ringtime_shared.stores.protocol import Marks, MarksWrite
from ringtime_shared.traces.spans import Spans


class Receiver(CallbackType):
    """The callback type `sim`: answers what it is told to, success when it is told nothing."""

    name = "sim"

    def __init__(self, clock: LoopClock) -> None:
        self.sent: list[tuple[int, Delivery]] = []
        self.answers: list[Reply | Exception] = []
        self.open = asyncio.Event()
        self.open.set()
        self._clock = clock

    def validate(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        return []

    async def invoke(self, delivery: Delivery) -> Reply:
        self.sent.append((self._clock.now_ms(), delivery))
        await self.open.wait()
        answer = self.answers.pop(0) if self.answers else Reply(ok=True, code=200)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        return

    def times_ms(self) -> list[int]:
        return [at_ms for at_ms, _ in self.sent]


@dataclass(slots=True)
class Rig:
    """Build it inside a running loop."""

    clock: LoopClock
    store: SpyStore
    app: App
    receiver: Receiver
    owned: OwnedInstance
    ledger: Ledger
    deliverer: Deliverer
    trusted_until_ms: int = 1 << 62  #: boot time
    rooms: int = 0  #: how often room was reported
    metrics: Metrics = UNMEASURED

    def counted(self, instrument: Instrument, **labels: str) -> float:
        return counted(self.metrics, instrument, **labels)

    async def put(self, *rows: Row) -> None:
        """Store rows and hand them over as a read would."""
        await self.store.real.put_rows([replace(row, cancelled_ms=None) for row in rows])
        for row in rows:
            self.give(row)

    def give(self, row: Row) -> None:
        assert self.deliverer.accept(self.owned, row)

    async def seal(self, slot_ms: int, term: int = 1 << 48 | 10) -> None:
        """Publish `sealed`, as this node's sealer or the next owner does."""
        await self.store.real.put_marks([MarksWrite(self.owned.instance, term, Marks(slot_ms, 0))])

    def rows_held(self) -> int:
        """Return how many rows the deliverer holds, all of one app."""
        return DispatchSettings().max_loaded // 2 - self.ledger.room(self.app.app_id)

    def row(self, slot_ms: int) -> Row:
        return make_row(self.app, slot_ms, callback_type="sim")

    async def stored(self, row: Row) -> Row:
        """Return the row as it is in the store."""
        found = await self.store.real.fetch_row(row.place, row.schedule.schedule_id)
        assert found is not None
        return found


def make_rig(
    *,
    dispatch: DispatchSettings | None = None,
    retry: RetrySettings | None = None,
    configuration: AppConfiguration | None = None,
    app_number: int = 0,
    ring: KeyRing | None = None,
    spans: Spans | None = None,
    receiver: type[Receiver] = Receiver,
) -> Rig:
    clock = LoopClock()
    app = make_app(configuration=configuration or AppConfiguration(), number=app_number)
    store = SpyStore(clock.now_ms)
    sim = receiver(clock)
    owned = make_owned(app)
    rig: Rig
    metrics = Metrics()
    ledger = Ledger((dispatch or DispatchSettings()).max_loaded, lambda: setattr(rig, "rooms", rig.rooms + 1))
    deliverer = Deliverer(
        DeliveryParts(
            store=cast(Any, store),
            clock=clock,
            callbacks={"sim": sim},
            find_app=lambda _: rig.app,
            is_trusted=lambda: clock.boot_ms() < rig.trusted_until_ms,
            dispatch=dispatch or DispatchSettings(),
            retry=retry or RetrySettings(),
            limits=AppLimits(),
            rng=Random(1),
            ring=ring,
            spans=spans,
            metrics=metrics,
        ),
        ledger,
    )
    rig = Rig(clock, store, app, sim, owned, ledger, deliverer, metrics=metrics)
    return rig


def make_node(
    store: Any,
    clock: Clock,
    at: Hub | MemorySession,
    *,
    member: Member | None = None,
    callbacks: Mapping[str, CallbackType] | None = None,
    **parts: Any,
) -> Dispatcher:
    """A whole dispatcher, not started, whose sessions are at this hub, or are this one session."""
    return Dispatcher(
        DispatcherParts(
            member=member or Member(node="a"),
            store=store,
            clock=clock,
            new_session=lambda: at if isinstance(at, MemorySession) else MemorySession(at, clock),
            callbacks=callbacks or {},
            **parts,
        )
    )


def make_owned(
    app: App,
    partition: int = 0,
    settled_ms: int = START_MS - 60_001,
) -> OwnedInstance:
    """An instance whose walk is done; everything before the minute before `START_MS` is settled."""
    marks = Marks(settled_ms, settled_ms)
    owned = OwnedInstance(Instance(app.app_id, partition), 1 << 48 | 9, marks)
    owned.is_walked = True
    return owned


def instances_of(*owned: OwnedInstance) -> Instances:
    """A node's instances; those that read buckets already are among the active ones."""
    instances = Instances()
    for each in owned:
        instances.add(each)
        for bucket in each.buckets():
            instances.open_bucket(each, bucket)
    return instances
