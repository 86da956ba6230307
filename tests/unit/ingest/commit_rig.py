"""A commit path, or a whole service, on a store whose calls can be watched, held up and failed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, cast

from tests.contract.builders import START_MS, make_app, make_row
from tests.unit.spy_store import SpyStore

from ringtime_ingest.service import IngestParts, IngestService, NewApp, NewSchedule
from ringtime_ingest.service.apps import AppMaps
from ringtime_ingest.service.commit import CommitPath
from ringtime_shared.apps.feed import AppReading
from ringtime_shared.callbacks.protocol import CallbackRules
from ringtime_shared.clock import ManualClock
from ringtime_shared.models.app import App, AppConfiguration, Instance
from ringtime_shared.models.schedule import Row
from ringtime_shared.partition_choice import PartitionChooser
from ringtime_shared.settings import AppLimits, IngestSettings
from ringtime_shared.stores.protocol import Marks, MarksWrite


@dataclass(slots=True)
class CommitRig:
    clock: ManualClock
    store: SpyStore
    apps: AppMaps
    path: CommitPath
    app: App

    def row(self, slot_ms: int = START_MS, partition: int = 0) -> Row:
        return make_row(self.app, slot_ms, partition)

    def reading(self, *, age_ms: int = 0) -> AppReading:
        return AppReading(self.app, self.clock.boot_ms() - age_ms)

    def file(self, row: Row, *, age_ms: int = 0) -> asyncio.Task[Row]:
        return asyncio.create_task(self.path.file(row, self.reading(age_ms=age_ms)))

    async def seal(self, upto_ms: int, partition: int = 0) -> None:
        """Publish as the owner of that partition does."""
        instance = Instance(self.app.app_id, partition)
        await self.store.real.put_marks([MarksWrite(instance, 1 << 48 | 1, Marks(upto_ms, upto_ms))])

    async def stored(self, row: Row) -> Row | None:
        return await self.store.real.fetch_row(row.place, row.schedule.schedule_id)


async def make_commit_rig(*, lead_ms: int = 1_000, **settings: Any) -> CommitRig:
    """`START_MS`, the slot of a row unless it says otherwise, is `lead_ms` ahead; one lane unless asked."""
    settings.setdefault("commit_lanes", 1)
    clock = ManualClock(START_MS - lead_ms)
    store = SpyStore(clock.now_ms)
    app = await store.real.create_app(make_app())
    apps = AppMaps(cast(Any, store), clock)
    path = CommitPath(cast(Any, store), apps, PartitionChooser(), clock, IngestSettings(**settings))
    return CommitRig(clock, store, apps, path, app)


class AnyDetails(CallbackRules):
    """Rules of the callback type `sim`."""

    name = "sim"

    def validate(self, details: Any, app_id: str) -> list[Any]:
        return []


@dataclass(slots=True)
class ServiceRig:
    clock: ManualClock
    store: SpyStore
    service: IngestService

    async def register(self, app_id: str = "shop", **changes: Any) -> App:
        given: dict[str, Any] = {
            "partitions": 3,
            "active": True,
            "configuration": AppConfiguration(),
        } | changes
        return await self.service.register_app(NewApp(app_id=app_id, **given))

    async def create(
        self, app_id: str = "shop", *, delay_ms: int = 60_000, details: dict[str, object] | None = None
    ) -> Row:
        new = NewSchedule(
            app_id=app_id,
            payload="{}",
            delay_ms=delay_ms,
            callback_type="sim",
            callback_details=details or {"n": 1},
        )
        return await self.service.create_schedule(new)


async def make_service_rig(
    kind: CallbackRules | None = None, *, limits: AppLimits | None = None
) -> ServiceRig:
    clock = ManualClock(START_MS)
    store = SpyStore(clock.now_ms)
    parts = IngestParts(
        store=cast(Any, store),
        clock=clock,
        settings=IngestSettings(),
        limits=limits or AppLimits(),
        callbacks={"sim": kind or AnyDetails()},
        holder="test",
    )
    return ServiceRig(clock, store, await IngestService.start(parts))
