"""Completeness marks on a real broker."""

from __future__ import annotations

import orjson
import pytest
from tests.contract.builders import NOW_MS, make_app, make_row
from tests.service.kafka_rig import new_topic, read_all

from ringtime_dispatcher.callbacks.build import open_mark_topic
from ringtime_dispatcher.callbacks.kafka.marks import KafkaMarks
from ringtime_dispatcher.completeness import CompletenessWatch
from ringtime_local import KafkaServer
from ringtime_shared.clock import ManualClock
from ringtime_shared.errors import StoreUnavailable
from ringtime_shared.settings import KafkaSettings
from ringtime_shared.stores.memory import MemoryStore

pytestmark = pytest.mark.service


async def test_marks_are_told_by_app_and_of_all(kafka_server: KafkaServer) -> None:
    topic = await new_topic(kafka_server)
    settings = KafkaSettings(bootstrap=(kafka_server.bootstrap,), completeness_topic=topic)
    clock = ManualClock(NOW_MS)
    store = MemoryStore(clock.now_ms)
    app = await store.create_app(make_app(app_id="pay", created_ms=NOW_MS - 86_400_000))
    watch = CompletenessWatch(store, clock, {"pay": app}, lambda: True, open_mark_topic(settings))
    async with watch.looking(3_600):
        await watch.round()
        await store.put_rows([make_row(app, NOW_MS + 1_000)])
        clock.advance(600_000)
        await watch.round()
    records = await read_all(kafka_server, topic)
    assert [record.key.decode() for record in records] == ["*", "*", "pay"]
    first, second, of_app = (orjson.loads(record.value) for record in records)
    assert (first["waits"], second["waits"], second["appId"]) == ("NOTHING", "NOT_SETTLED", "pay")
    assert (of_app["appId"], of_app["through"]) == ("pay", second["through"])
    assert all(len(record.value) < 300 for record in records)


async def test_a_broker_that_is_away_is_an_error_of_ours_and_the_next_try_is_another_one(
    kafka_server: KafkaServer,
) -> None:
    topic = await new_topic(kafka_server)
    marks = KafkaMarks(KafkaSettings(bootstrap=("127.0.0.1:1",), completeness_topic=topic, deadline_ms=1_000))
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="Kafka took no marks"):
            await marks.send([(b"*", b"{}")])
    await marks.send([])
    await marks.close()
    good = KafkaMarks(KafkaSettings(bootstrap=(kafka_server.bootstrap,), completeness_topic=topic))
    for _ in range(2):
        await good.send([(b"*", b"{}")])
        await good.close()
    assert len(await read_all(kafka_server, topic)) == 2
