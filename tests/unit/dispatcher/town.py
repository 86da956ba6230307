"""One node and several apps, in memory, on virtual time; each app and destination may misbehave."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, cast
from uuid import UUID

from tests.contract.builders import START_MS, make_app, make_row
from tests.harness.measured import counted
from tests.harness.virtual import LoopClock, at_end
from tests.unit.dispatcher.rig import Receiver, instances_of, make_owned
from tests.unit.spy_store import SpyStore

from ringtime_dispatcher.delivery.deliverer import Deliverer, DeliveryParts
from ringtime_dispatcher.delivery.ledger import Ledger
from ringtime_dispatcher.ownership.instance import OwnedInstance
from ringtime_dispatcher.reading.polling import Poller
from ringtime_shared.callbacks.protocol import Delivery, Reply
from ringtime_shared.metrics import Metrics
from ringtime_shared.metrics.names import Instrument
from ringtime_shared.models.app import App, AppConfiguration
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.schedule import Outcome, Row, RowUpdate, Status
from ringtime_shared.settings import AppLimits, DispatchSettings, RetrySettings
from ringtime_shared.stores.protocol import LAST_ID, Position

SLOT_MS = START_MS + 1_000
GONE = Reply(ok=False, code=410, error="answered 410", is_final=True)
DOWN = Reply(ok=False, code=503, error="answered 503")
PLAIN = AppConfiguration()


class PickyStore(SpyStore):
    """Refuses the updates of some schedules with an error that no driver should raise."""

    def __init__(self, clock: LoopClock) -> None:
        super().__init__(clock.now_ms)
        self.refused: set[UUID] = set()

    async def put_updates(self, updates: Sequence[RowUpdate]) -> None:
        self.calls.append(("put_updates", updates))
        if any(update.schedule_id in self.refused for update in updates):
            raise ValueError("a value that no column takes")
        await self.real.put_updates(updates)


class Street(Receiver):
    """Destinations by the name in `to`; each may hang, be slow or be down, and each `url` there be gone."""

    receiver_key = "url"

    def __init__(self, clock: LoopClock) -> None:
        super().__init__(clock)
        self.down: set[str] = set()
        self.gone: set[object] = set()
        self.hanging: dict[str, asyncio.Event] = {}
        self.slow_s: dict[str, float] = {}
        self.under_way: Counter[str] = Counter()
        self.most_under_way: Counter[str] = Counter()

    def destination(self, details: Mapping[str, object]) -> str:
        return str(details["to"])

    def hang(self, destination: str) -> asyncio.Event:
        """Let it give no answer until the event is set."""
        gate = self.hanging[destination] = asyncio.Event()
        return gate

    async def invoke(self, delivery: Delivery) -> Reply:
        to = str(delivery.details["to"])
        places = (delivery.schedule.app_id, to, "node")
        for place in places:
            self.under_way[place] += 1
            self.most_under_way[place] = max(self.most_under_way[place], self.under_way[place])
        try:
            self.sent.append((self._clock.now_ms(), delivery))
            if to in self.hanging:
                await self.hanging[to].wait()
            await asyncio.sleep(self.slow_s.get(to, 0))
            if delivery.details.get("url") in self.gone:
                return GONE
            return DOWN if to in self.down else Reply(ok=True, code=200)
        finally:
            self.under_way.subtract(places)

    def to(self, destination: str) -> list[tuple[int, Delivery]]:
        """Return what was sent there: when, and what."""
        return [sent for sent in self.sent if sent[1].details["to"] == destination]

    def of(self, app: App) -> list[int]:
        """Return when something of this app was sent."""
        return [at_ms for at_ms, delivery in self.sent if delivery.schedule.app_id == app.app_id]

    def lags_ms(self, app: App) -> list[int]:
        """Return how long after its fire time plus the offset of `make_row` each of an app's was sent."""
        return [
            at_ms - (delivery.schedule.fire_ms + 250)
            for at_ms, delivery in self.sent
            if delivery.schedule.app_id == app.app_id
        ]


class Town:
    """One node with two instances of each of several apps. Build it inside a running loop."""

    def __init__(
        self,
        *configurations: AppConfiguration,
        dispatch: DispatchSettings | None = None,
        retry: RetrySettings | None = None,
    ) -> None:
        self.clock = LoopClock()
        self.store = PickyStore(self.clock)
        self.street = Street(self.clock)
        self.apps = [
            make_app(app_id=f"app-{number}", configuration=configuration)
            for number, configuration in enumerate(configurations)
        ]
        self.settings = dispatch or DispatchSettings()
        self.instances = instances_of(
            *(make_owned(app, partition) for app in self.apps for partition in (0, 1))
        )
        self.owned = self.instances.owned
        self.ledger = Ledger(self.settings.max_loaded, lambda: None)
        by_id = {app.app_id: app for app in self.apps}
        self.metrics = Metrics()
        self.deliverer = Deliverer(
            DeliveryParts(
                store=cast(Any, self.store),
                clock=self.clock,
                callbacks={"sim": self.street},
                find_app=by_id.get,
                is_trusted=lambda: True,
                dispatch=self.settings,
                retry=retry or RetrySettings(),
                limits=AppLimits(),
                rng=Random(1),
                metrics=self.metrics,
            ),
            self.ledger,
        )
        self.poller = Poller(
            self.store.real, self.clock, self.settings, self.instances, self.deliverer, self.ledger.room
        )
        self._polling: asyncio.Task[None] | None = None
        at_end(self.close)

    def counted(self, instrument: Instrument, **labels: str) -> float:
        return counted(self.metrics, instrument, **labels)

    async def close(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
        await self.deliverer.close()

    def row(self, app: App, slot_ms: int, to: str = "x", partition: int = 0, **changes: Any) -> Row:
        details = f'{{"to":"{to}"}}'.encode()
        return make_row(
            app, slot_ms, partition, **{"callback_type": "sim", "callback_details": details, **changes}
        )

    async def live(self, *rows: Row, until_s: float) -> None:
        """Store rows, then go on as a node does until that time."""
        await self.store.real.put_rows(rows)
        if self._polling is None:
            self._polling = asyncio.create_task(self._poll())
        await asyncio.sleep(until_s - self.clock.boot_ms() / 1_000)

    async def _poll(self) -> None:
        while True:
            await self.poller.tick()
            await asyncio.sleep(self.settings.tick_ms / 1_000)

    def owner(self, row: Row) -> OwnedInstance:
        return self.owned[row.place.instance]

    async def stored(self, row: Row) -> Row:
        found = await self.store.real.fetch_row(row.place, row.schedule.schedule_id)
        assert found is not None
        return found

    async def status(self, row: Row) -> Status:
        return (await self.stored(row)).status

    async def outcome(self, row: Row) -> Outcome:
        outcome = (await self.stored(row)).outcome
        assert outcome is not None
        return outcome

    async def statuses(self, rows: Sequence[Row]) -> Counter[Status]:
        return Counter([await self.status(row) for row in rows])

    async def newest(self, row: Row) -> Row:
        """Return the filing that the home row points at."""
        home = await self.stored(row)
        assert home.moved_to is not None
        found = await self.store.real.fetch_row(home.moved_to, row.schedule.schedule_id)
        assert found is not None
        return found

    async def letters(self, app: App) -> list[DeadLetter]:
        return await self.store.real.fetch_dead_letters(app.app_id, Position(0, LAST_ID), 1 << 62, 1_000)

    def is_empty(self) -> bool:
        """Whether nothing is held, under way or waited for."""
        return self.deliverer.is_idle


def small(**changes: Any) -> DispatchSettings:
    """A node with two starts at once for a destination, whose breakers open after two failures."""
    settings = DispatchSettings(
        destination_in_flight=2,
        breaker_failures=2,
        breaker_open_ms=10_000,
        park_per_s=10,
        slow_after_ms=2_000,
    )
    return replace(settings, **changes)


async def an_outage(town: Town, count: int = 30) -> list[Row]:
    """Let one destination fail its first two attempts while the rest waits."""
    [app, *_] = town.apps
    town.street.down.add("x")
    rows = [town.row(app, SLOT_MS, partition=n % 2) for n in range(count)]
    await town.live(*rows, until_s=1.5)
    return rows
