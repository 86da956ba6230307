"""Kafka callbacks on a real broker that stays up: what is written, what is refused, and how fast."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import KafkaError
from tests.service.kafka_rig import (
    callback_for,
    delete_topic,
    delivery,
    new_name,
    new_topic,
    read_all,
    until_ok,
)

from ringtime_dispatcher.callbacks.kafka.callback import KafkaCallback
from ringtime_local import KafkaServer
from ringtime_shared.callbacks.protocol import Delivery, Reply
from ringtime_shared.settings import KafkaSettings
from ringtime_shared.traces.context import PARENT, STATE, read_trace

pytestmark = [pytest.mark.service, pytest.mark.alone]


class TestRecord:
    async def test_holds_payload_key_headers_and_partition(self, kafka_server: KafkaServer) -> None:
        topic = await new_topic(kafka_server, partitions=3)
        headers = {"trace": "é1", "schedule-note": "x"}
        sent = delivery(topic, payload='{"a": "é"}', key="cafe-é", headers=headers, partition=2)
        async with callback_for(kafka_server.bootstrap) as callback:
            assert await callback.invoke(sent) == Reply(ok=True)
        (record,) = await read_all(kafka_server, topic)
        assert (record.partition, record.key.decode(), record.value.decode()) == (
            2,
            "cafe-é",
            '{"a": "é"}',
        )
        assert [(name, value.decode()) for name, value in record.headers] == [
            ("trace", "é1"),
            ("schedule-note", "x"),
            ("schedule-id", str(UUID(int=1))),
            ("ringtime-attempt", "2"),
            ("ringtime-fire-time", "2027-01-15T08:00:00.250Z"),
            ("ringtime-term", "7"),
        ]

    async def test_tells_of_the_trace_unless_the_client_has_one_of_its_own(
        self, kafka_server: KafkaServer
    ) -> None:
        topic, parent = (
            await new_topic(kafka_server),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )
        trace = read_trace(parent.encode(), [b"shop=1,pay=2"])
        assert trace is not None
        own = {"TraceParent": "mine"}
        async with callback_for(kafka_server.bootstrap) as callback:
            for number, headers in enumerate((None, own)):
                sent = replace(delivery(topic, number, headers=headers), trace=trace)
                assert await callback.invoke(sent) == Reply(ok=True)
        told = [
            {name: value.decode() for name, value in record.headers if name.lower() in (PARENT, STATE)}
            for record in await read_all(kafka_server, topic)
        ]
        assert told == [{PARENT: parent, STATE: "shop=1,pay=2"}, own]

    async def test_key_is_the_schedules_id_if_none_is_given(self, kafka_server: KafkaServer) -> None:
        topic = await new_topic(kafka_server)
        async with callback_for(kafka_server.bootstrap) as callback:
            kinds: list[dict[str, Any]] = [{}, {"key": None}, {"headers": None, "partition": None}]
            for number, details in enumerate(kinds):
                assert (await callback.invoke(delivery(topic, number, **details))).ok
        records = await read_all(kafka_server, topic)
        assert [record.key.decode() for record in records] == [str(UUID(int=number)) for number in range(3)]

    @pytest.mark.parametrize("topics", [1, 30])
    async def test_ten_thousand_at_once_are_each_written_once(
        self, kafka_server: KafkaServer, topics: int
    ) -> None:
        names = [await new_topic(kafka_server, partitions=2) for _ in range(topics)]
        numbers = range(10_000)
        async with callback_for(kafka_server.bootstrap) as callback:
            replies = await asyncio.gather(
                *(callback.invoke(delivery(names[number % topics], number)) for number in numbers)
            )
        assert Counter(reply.error for reply in replies) == {"": len(numbers)}
        found = [record.key.decode() for name in names for record in await read_all(kafka_server, name)]
        assert Counter(found) == Counter(str(UUID(int=number)) for number in numbers)

    async def test_compressed(self, kafka_server: KafkaServer) -> None:
        topic = await new_topic(kafka_server)
        async with callback_for(kafka_server.bootstrap, compression="gzip") as callback:
            assert (await callback.invoke(delivery(topic, payload="x" * 5_000))).ok
        (record,) = await read_all(kafka_server, topic)
        assert record.value == b"x" * 5_000


class TestRefused:
    async def test_unknown_topic_is_final_soon_and_delays_no_other(self, kafka_server: KafkaServer) -> None:
        topic, unknown = await new_topic(kafka_server), new_name()
        async with callback_for(kafka_server.bootstrap) as callback:
            assert (await callback.invoke(delivery(topic))).ok
            began_s = time.monotonic()
            lost = [asyncio.create_task(callback.invoke(delivery(unknown))) for _ in range(50)]
            slowest_s = 0.0
            while not all(task.done() for task in lost):
                sent_s = time.monotonic()
                assert (await callback.invoke(delivery(topic))).ok
                slowest_s = max(slowest_s, time.monotonic() - sent_s)
            took_s = time.monotonic() - began_s
            assert {await task for task in lost} == {final("there is no such topic")}
            assert took_s < 2
            assert slowest_s < 0.3
            began_s = time.monotonic()
            assert (await callback.invoke(delivery(unknown))).is_final
            assert time.monotonic() - began_s < 0.1  # remembered

    async def test_topic_that_is_created_later_is_found(self, kafka_server: KafkaServer) -> None:
        topic = new_name()
        async with callback_for(kafka_server.bootstrap) as callback:
            assert (await callback.invoke(delivery(topic))).is_final
            await asyncio.to_thread(kafka_server.create_topic, topic)
            await until_ok(callback, topic, 2)

    async def test_topic_that_is_deleted_under_way_is_final_soon(self, kafka_server: KafkaServer) -> None:
        topic, other = await new_topic(kafka_server), await new_topic(kafka_server)
        async with callback_for(kafka_server.bootstrap) as callback:
            assert (await callback.invoke(delivery(topic))).ok
            await delete_topic(kafka_server, topic)
            began_s = time.monotonic()
            replies = await asyncio.gather(*(callback.invoke(delivery(topic, each)) for each in range(20)))
            assert set(replies) == {final("there is no such topic")}
            assert time.monotonic() - began_s < 4
            assert (await callback.invoke(delivery(other))).ok

    async def test_oversized_record_takes_no_other_with_it(self, kafka_server: KafkaServer) -> None:
        topic = await new_topic(kafka_server, max_message_bytes="20000")
        payloads = {number: "x" * 21_000 if number % 10 == 3 else "x" * 100 for number in range(60)}
        async with callback_for(kafka_server.bootstrap) as callback:
            answers = await asyncio.gather(*(send(callback, topic, each) for each in payloads.items()))
            replies = dict(zip(payloads, answers, strict=True))
            large = {number for number, payload in payloads.items() if len(payload) > 20_000}
            assert {number for number, reply in replies.items() if reply.is_final} == large
            assert all(reply.ok for number, reply in replies.items() if number not in large)
            again = await send(callback, topic, (99, "x" * 21_000))
            assert again.is_final
            assert "takes no record of" in again.error
            assert (await send(callback, topic, (100, "x"))).ok
        found = {record.key.decode() for record in await read_all(kafka_server, topic)}
        assert found == {str(UUID(int=number)) for number in {*payloads, 100} - large}

    async def test_record_over_our_own_limit_is_not_sent(self, kafka_server: KafkaServer) -> None:
        topic = await new_topic(kafka_server)
        async with callback_for(kafka_server.bootstrap, max_record_bytes=2_048) as callback:
            reply = await callback.invoke(delivery(topic, payload="x" * 2_048))
            assert reply.is_final
            assert "at most 2048" in reply.error

    async def test_partition_that_is_not_there_until_the_topic_grows(self, kafka_server: KafkaServer) -> None:
        topic = await new_topic(kafka_server, partitions=2)
        async with callback_for(kafka_server.bootstrap) as callback:
            assert (await callback.invoke(delivery(topic, partition=1))).ok
            reply = await callback.invoke(delivery(topic, partition=2))
            assert reply == final("the topic has only 2 partitions")
            admin = AIOKafkaAdminClient(bootstrap_servers=kafka_server.direct)
            await admin.start()
            await admin.create_partitions({topic: NewPartitions(3)})
            await admin.close()
            await until_ok(callback, topic, 2, partition=2)
        assert {record.partition for record in await read_all(kafka_server, topic)} == {1, 2}

    async def test_topic_of_another_app_is_not_written_to(self, kafka_server: KafkaServer) -> None:
        topic = await new_topic(kafka_server)
        async with callback_for(kafka_server.bootstrap, topics=("*=other.*",)) as callback:
            reply = await callback.invoke(delivery(topic))
            assert reply == final("topic: must be a topic that this app may write to")


class TestBegun:
    """What `invoke` waits for, the dispatcher is told by a call."""

    async def test_needs_no_task_once_producer_and_topic_are_known(self, kafka_server: KafkaServer) -> None:
        topic = await new_topic(kafka_server, partitions=3)
        async with callback_for(kafka_server.bootstrap) as callback:
            assert (await begun(callback, delivery(topic, 0))) == Reply(ok=True)  # by one of its own
            tasks = asyncio.all_tasks()
            under_way = [begun(callback, delivery(topic, each, partition=each % 3)) for each in range(1, 100)]
            assert asyncio.all_tasks() == tasks
            assert not any(each.done() for each in under_way)
            assert set(await asyncio.gather(*under_way)) == {Reply(ok=True)}
        found = Counter(record.key.decode() for record in await read_all(kafka_server, topic))
        assert found == Counter(str(UUID(int=number)) for number in range(100))

    async def test_one_that_is_not_sent_is_told_of_later(self, kafka_server: KafkaServer) -> None:
        topic = await new_topic(kafka_server)
        async with callback_for(
            kafka_server.bootstrap, topics=("app=app.*",), max_record_bytes=2_048
        ) as callback:
            for sent, error in (
                (delivery("other.x"), "topic: must be a topic that this app may write to"),
                (delivery(topic, payload="x" * 2_048), "at most 2048 are sent"),
                (delivery(topic, partition=7), "the topic has only 1 partitions"),
            ):
                for _ in range(2):  # before and after something is known of the topic
                    ended = begun(callback, sent)
                    assert not ended.done()
                    reply = await ended
                    assert reply.is_final
                    assert error in reply.error

    async def test_more_than_may_be_under_way_wait(self, kafka_server: KafkaServer) -> None:
        topic = await new_topic(kafka_server)
        async with callback_for(kafka_server.bootstrap, max_in_flight=3) as callback:
            assert (await begun(callback, delivery(topic, 0))).ok
            producer = await callback._shared.get()
            under_way = [begun(callback, delivery(topic, each)) for each in range(1, 10)]
            (batches,) = producer._message_accumulator._batches.values()
            assert sum(batch.record_count for batch in batches) == 3
            assert all(reply.ok for reply in await asyncio.gather(*under_way))
        assert len(await read_all(kafka_server, topic)) == 10

    async def test_what_is_dropped_is_not_sent_later(self, kafka_server: KafkaServer) -> None:
        topic = await new_topic(kafka_server)
        async with callback_for(kafka_server.bootstrap, linger_ms=1_000) as callback:
            assert (await begun(callback, delivery(topic, 0))).ok
            producer = callback._shared.current
            replies: list[Reply] = []
            drops = [callback.begin(delivery(topic, each), replies.append) for each in range(1, 20)]
            for drop in drops:
                assert drop is not None
                drop()
            assert callback._shared.current is not producer
            assert (await begun(callback, delivery(topic, 100))).ok
            assert not replies
            assert callback._parts.slots._value == KafkaSettings().max_in_flight
            assert not callback._parts.deadlines._lines

    async def test_what_the_producer_forgets_has_an_end(self, kafka_server: KafkaServer) -> None:
        topic = await new_topic(kafka_server)
        async with callback_for(kafka_server.bootstrap, linger_ms=1_000) as callback:
            assert (await begun(callback, delivery(topic, 0))).ok
            producer = await callback._shared.get()
            ended = begun(callback, delivery(topic, 1))
            ((batch,),) = producer._message_accumulator._batches.values()
            for acknowledged, _ in batch._msg_futures:
                acknowledged.cancel()
            assert await ended == Reply(ok=False, error="CancelledError")


class TestBrokenProducer:
    async def test_is_replaced_and_the_record_still_sent(self, kafka_server: KafkaServer) -> None:
        topic = await new_topic(kafka_server)
        async with callback_for(kafka_server.bootstrap) as callback:
            assert (await callback.invoke(delivery(topic, 1))).ok
            producer = await callback._shared.get()
            (partition,) = producer._txn_manager._sequence_numbers
            producer._txn_manager.increment_sequence_number(partition, 5)  # out of order for the broker
            replies = await asyncio.gather(
                *(callback.invoke(delivery(topic, each)) for each in range(2, 100))
            )
            assert all(reply.ok for reply in replies)
            assert callback._shared.current is not producer
        found = Counter(record.key.decode() for record in await read_all(kafka_server, topic))
        assert found == Counter(str(UUID(int=number)) for number in range(1, 100))

    async def test_dead_sender_is_replaced(self, kafka_server: KafkaServer) -> None:
        topic = await new_topic(kafka_server)
        async with callback_for(kafka_server.bootstrap) as callback:
            assert (await callback.invoke(delivery(topic, 1))).ok
            producer = await callback._shared.get()
            producer._message_accumulator.fail_all(KafkaError("Unexpected error during batch delivery"))
            assert (await callback.invoke(delivery(topic, 2))).ok
        assert len(await read_all(kafka_server, topic)) == 2


async def test_close_sends_what_is_left_and_refuses_the_rest(kafka_server: KafkaServer) -> None:
    topic = await new_topic(kafka_server)
    async with callback_for(kafka_server.bootstrap, linger_ms=300) as callback:
        assert (await callback.invoke(delivery(topic, 1))).ok
        under_way = [asyncio.create_task(callback.invoke(delivery(topic, each))) for each in range(2, 500)]
        await asyncio.sleep(0)  # each has begun
        async with asyncio.timeout(60):
            await callback.close()
        assert all(reply.ok for reply in await asyncio.gather(*under_way))
        assert await callback.invoke(delivery(topic)) == Reply(
            ok=False, error="not sent: this process is about to end"
        )
    assert len(await read_all(kafka_server, topic)) == 499


async def test_close_before_anything_was_sent() -> None:
    async with callback_for("127.0.0.1:1"):
        pass


def begun(callback: KafkaCallback, sent: Delivery) -> asyncio.Future[Reply]:
    ended: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    assert callback.begin(sent, ended.set_result) is not None
    return ended


def final(error: str) -> Reply:
    return Reply(ok=False, error=error, is_final=True)


async def send(callback: KafkaCallback, topic: str, item: tuple[int, str]) -> Reply:
    number, payload = item
    return await callback.invoke(delivery(topic, number, payload=payload))
