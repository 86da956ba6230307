"""Batches on a real Cassandra: what is answered is what is stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from tests.unit.ingest.commit_rig import AnyDetails

from ringtime_ingest.service import Cancellation, IngestParts, IngestService, NewApp, NewSchedule
from ringtime_shared.clock import SystemClock
from ringtime_shared.errors import InvalidRequest, NotFound
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.schedule import Row, Status
from ringtime_shared.settings import AppLimits, CassandraSettings, IngestSettings
from ringtime_shared.stores.cassandra import CassandraStore

pytestmark = pytest.mark.service


async def test_a_batch_is_stored_item_by_item_and_cancelled_so(migrated: CassandraSettings) -> None:
    settings = replace(migrated, request_timeout_ms=2_500)
    store, clock = await CassandraStore.connect(settings), SystemClock()
    parts = IngestParts(
        store=store,
        clock=clock,
        settings=IngestSettings(),
        limits=AppLimits(),
        callbacks={"sim": AnyDetails()},
        holder="test",
    )
    service = await IngestService.start(parts)
    try:
        configuration = AppConfiguration()
        await service.register_app(
            NewApp(app_id="batches", partitions=3, active=True, configuration=configuration)
        )
        asked = [make("batches", n) for n in range(700)]
        asked[10], asked[690] = make("nobody", 10), make("batches", -1)
        results = await service.batches.create(asked)
        assert [type(results[n]) for n in (10, 690)] == [NotFound, InvalidRequest]
        rows = [each for each in results if isinstance(each, Row)]
        assert [int(row.schedule.payload) for row in rows] == [n for n in range(700) if n not in (10, 690)]
        ids = [row.schedule.schedule_id for row in rows]
        for n in (0, 499, 500, 697):
            assert await service.fetch_schedule(ids[n]) == rows[n]
        cancelled = await service.batches.cancel([*ids[:60], uuid4(), ids[0]])
        assert all(
            isinstance(each, Cancellation) and each.promised for each in [*cancelled[:60], cancelled[61]]
        )
        assert isinstance(cancelled[60], NotFound)
        assert [(await service.fetch_schedule(ids[n])).status for n in (59, 60)] == [
            Status.DELETED,
            Status.SCHEDULED,
        ]
    finally:
        await service.close()
        await store.close()


def make(app_id: str, number: int) -> NewSchedule:
    details: dict[str, Any] = {"n": number}
    return NewSchedule(
        app_id=app_id,
        payload=str(number),
        delay_ms=3_600_000 * (1 if number >= 0 else -1),
        callback_type="sim",
        callback_details=details,
    )
