"""Kafka callbacks from the create to the record, in one process."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from tests.service.kafka_rig import new_name, new_topic, read_all

from ringtime import Ringtime, Row, Settings, Status
from ringtime_local import KafkaServer
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.models.schedule import Outcome
from ringtime_shared.settings import DispatchSettings, IngestSettings, KafkaSettings

pytestmark = pytest.mark.service


async def test_from_create_to_record(kafka_server: KafkaServer) -> None:
    topic = await new_topic(kafka_server)
    settings = Settings(
        kafka=KafkaSettings(bootstrap=(kafka_server.bootstrap,)),
        ingest=IngestSettings(commit_margin_ms=50),
        dispatch=DispatchSettings(tick_ms=10, read_ahead_ms=40, apps_refresh_ms=50),
    )
    async with Ringtime(settings=settings) as ringtime:
        await ringtime.register_app("app", partitions=1)
        with pytest.raises(InvalidRequest, match=r"callback\.details\.topic"):
            await schedule(ringtime, "other.topic")
        written, lost = await schedule(ringtime, topic), await schedule(ringtime, new_name())
        for row, status in ((written, Status.SUCCESS), (lost, Status.FAILURE)):
            outcome = await outcome_of(ringtime, row)
            assert (outcome.status, outcome.attempts) == (status, 1), outcome
        assert outcome.error == "there is no such topic"
    (record,) = await read_all(kafka_server, topic)
    headers = {name: value.decode() for name, value in record.headers}
    assert headers["schedule-id"] == record.key.decode() == str(written.schedule.schedule_id)
    assert record.value == b'{"n": 1}'


async def schedule(ringtime: Ringtime, topic: str) -> Row:
    return await ringtime.create_schedule(
        "app",
        payload='{"n": 1}',
        callback={"type": "kafka", "details": {"topic": topic}},
        delay=timedelta(milliseconds=100),
    )


async def outcome_of(ringtime: Ringtime, row: Row) -> Outcome:
    async with asyncio.timeout(60):
        while (outcome := (await ringtime.get_schedule(row.schedule.schedule_id)).outcome) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return outcome
