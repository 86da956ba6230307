"""Callbacks of `ringtime serve` to a real Kafka broker that is killed, or refuses what it is sent.

The quick set takes under a minute and a half; RINGTIME_FAULTS=long runs it at full length.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from ringtime_local import KafkaServer
from tests.harness.client import LoadClient
from tests.harness.ledger import Verdict
from tests.harness.planned import Bystander, create, fetch_all, register, until_ended
from tests.harness.receiver import Receiver
from tests.harness.report import IS_LONG, report
from tests.harness.server import serving
from tests.service.kafka_rig import delete_topic, read_all

pytestmark = [
    pytest.mark.service,
    pytest.mark.slow,
    pytest.mark.timeout(900 if IS_LONG else 300),
]

APP, TOPIC, PARTITIONS = "events", "events.all", 20
CREATES_AT_ONCE = 2_000


@pytest.fixture
def broker(own_kafka: KafkaServer) -> KafkaServer:
    """A broker that is killed, with a new topic."""
    own_kafka.create_topic(TOPIC, partitions=PARTITIONS)
    return own_kafka


def kafka_to(topic: str) -> dict[str, object]:
    """Return a callback to this topic."""
    return {"type": "kafka", "details": {"topic": topic}}


@pytest.mark.alone
async def test_a_broker_killed_in_the_middle(tmp_path: Path, receiver: Receiver, broker: KafkaServer) -> None:
    """Nothing is lost, and callbacks that need no Kafka do not notice."""
    count, over_s, away_s = (60_000, 60, 30) if IS_LONG else (4_000, 15, 6)
    per_s = 50
    with serving(tmp_path, kafka_bootstrap=broker.bootstrap) as server:
        async with LoadClient(server.base) as client, LoadClient(server.base, 8) as other:
            await register(client, Bystander.app_id)
            await register(client, APP, partitions=PARTITIONS)
            bystander = Bystander(other, receiver)
            baseline = await bystander.run(per_s=per_s, seconds=20 if IS_LONG else 5, warm_s=1)

            due_s = time.time() + count / 1_000 + 2
            ids = await create_all(client, [int((due_s + over_s * n / count) * 1000) for n in range(count)])
            assert time.time() < due_s, "too slow at creating"
            fault = asyncio.create_task(be_away(broker, due_s + over_s * 0.3, away_s))
            seconds = due_s + over_s - time.time() + 5
            verdict = await bystander.run(per_s=per_s, seconds=seconds)
            back_s = await fault
            written = await until_written(broker, set(ids), timeout_s=420 if IS_LONG else 90)
            done_s = time.time()
            views = await fetch_all(client, ids[:: max(count // 4_000, 1)])
        missing = [each for each in ids if each not in written]
        report(
            "kafka broker killed",
            verdict,
            kafka=count,
            kafka_lost=len(missing),
            kafka_duplicates=written.total() - len(written),
            away_s=round(back_s - due_s - over_s * 0.3, 1),
            drained_s=round(done_s - max(back_s, due_s + over_s), 1),
            attempts=dict(sorted(Counter(view["attempts"] for view in views.values()).items())),
            baseline_p99_ms=round(baseline.lag_ms(0.99)),
            foreign_work=bystander.foreign,
        )
        assert missing == []
        assert {view["status"] for view in views.values()} == {"SUCCESS"}
        assert verdict.duplicates == 0
        assert verdict.lag_ms(0.99) <= bystander.most_lag_ms(baseline, factor=1.5, quietest_ms=50)


async def create_all(client: LoadClient, fire_times: Sequence[int]) -> list[str]:
    """Create a schedule for each time, a part of them at once; return their ids."""
    ids: list[str] = []
    for start in range(0, len(fire_times), CREATES_AT_ONCE):
        part = fire_times[start : start + CREATES_AT_ONCE]
        creates = (create(client, APP, kafka_to(TOPIC), fire_ms) for fire_ms in part)
        ids += await asyncio.gather(*creates)
    return ids


async def be_away(broker: KafkaServer, from_s: float, away_s: float) -> float:
    """Kill the broker at that time and start it again later; return when it takes requests."""
    await asyncio.sleep(from_s - time.time())  # the timetable of the fault
    await asyncio.to_thread(broker.kill)
    await asyncio.sleep(away_s)
    await asyncio.to_thread(broker.start)
    return time.time()


async def until_written(broker: KafkaServer, ids: set[str], *, timeout_s: float) -> Counter[str]:
    """Return how often each id is in the topic, once all are or time is up."""
    until_s = time.monotonic() + timeout_s
    async with AIOKafkaConsumer(bootstrap_servers=broker.direct, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(TOPIC, each) for each in range(PARTITIONS)])
        written: Counter[str] = Counter()
        while time.monotonic() < until_s and not ids <= written.keys():
            for records in (await consumer.getmany(timeout_ms=500)).values():
                written.update(record.key.decode() for record in records)
    return written


async def test_what_a_topic_does_not_take_fails_alone(tmp_path: Path, kafka_server: KafkaServer) -> None:
    """Unknown, gone, too narrow and foreign topics; their neighbours are written as if nothing was."""
    await asyncio.to_thread(kafka_server.create_topic, "app.wide", partitions=3)
    await asyncio.to_thread(kafka_server.create_topic, "app.gone")
    await asyncio.to_thread(kafka_server.create_topic, "app.narrow", config={"max.message.bytes": "10000"})
    with serving(tmp_path, kafka_bootstrap=kafka_server.bootstrap) as server:
        async with LoadClient(server.base) as client:
            await register(client, "app", payloadSize=20_000)
            due_ms = time.time() * 1000 + 8_000
            good = await asyncio.gather(
                *(
                    create(client, "app", kafka_to(topic), due_ms + n)
                    for n in range(100)
                    for topic in ("app.wide", "app.narrow")
                )
            )
            bad = {
                await create(client, "app", kafka_to("app.unknown"), due_ms + 20): "no such topic",
                await create(client, "app", kafka_to("app.gone"), due_ms + 40): "no such topic",
                await create_large(client, "app.narrow", due_ms + 60): "takes no record of",
            }
            large = await create_large(client, "app.wide", due_ms + 60)
            for topic in ("other.wide", "__consumer_offsets", "app", "..", "app.ü"):
                answer = await client.request("POST", "/schedules", body_of(topic, due_ms))
                assert answer.status == 400, (topic, answer)
                assert b"callback.details.topic" in answer.body, (topic, answer)
            await delete_topic(kafka_server, "app.gone")
            assert time.time() * 1000 < due_ms, "too slow at creating"
            views = await until_ended(client, [*good, large, *bad], timeout_s=90)
            path = f"/apps/app/dead-letters?end_time={time.time() + 60:.0f}"
            letters = (await client.request("GET", path)).data["deadLetters"]
    found = [*await read_all(kafka_server, "app.wide"), *await read_all(kafka_server, "app.narrow")]
    records = Counter(record.key.decode() for record in found)
    report(
        "kafka topics that refuse",
        Verdict(acknowledged=len(views), lost=[each for each in (*good, large) if each not in records]),
        dead_letters=sorted(letter["errorMessage"] for letter in letters),
        most_lag_ms=max(views[each]["lagMs"] for each in good),
    )
    assert records == dict.fromkeys((*good, large), 1)
    for each in (*good, large):
        assert (views[each]["status"], views[each]["attempts"]) == ("SUCCESS", 1), views[each]
    for each, error in bad.items():
        assert (views[each]["status"], views[each]["attempts"]) == ("FAILURE", 1), views[each]
        assert error in views[each]["errorMessage"], views[each]
    assert {letter["scheduleId"] for letter in letters} == bad.keys()
    assert max(views[each]["lagMs"] for each in good) <= 3_000


def body_of(topic: str, due_ms: float, payload: str = "{}") -> dict[str, object]:
    return {
        "appId": "app",
        "payload": payload,
        "scheduleTime": int(due_ms) / 1000,
        "callback": kafka_to(topic),
    }


async def create_large(client: LoadClient, topic: str, due_ms: float) -> str:
    """Create a schedule whose record is more than the narrow topic takes; return its id."""
    answer = await client.request("POST", "/schedules", body_of(topic, due_ms, json.dumps("x" * 15_000)))
    assert answer.status == 200, answer
    return str(answer.data["schedule"]["scheduleId"])
