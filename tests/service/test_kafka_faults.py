"""Kafka callbacks while the broker dies, freezes and comes back: no failure is final, no record is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from uuid import UUID

import pytest
from tests.service.kafka_rig import callback_for, delivery, new_name, new_topic, read_all, until, until_ok

from ringtime_local import KafkaServer
from ringtime_shared.callbacks.protocol import Reply

pytestmark = [pytest.mark.service, pytest.mark.alone]

AWAY = Reply(ok=False, error="not sent: no broker could be reached, or none took the login")
MAYBE = "the record may have been written"


@pytest.fixture
def server(own_kafka: KafkaServer) -> Iterator[KafkaServer]:
    """A broker that is killed and frozen, up before and after each test."""
    yield own_kafka
    if own_kafka.is_running:
        own_kafka.resume()


async def start(server: KafkaServer) -> None:
    await asyncio.to_thread(server.start)


async def test_killed_and_restarted(server: KafkaServer) -> None:
    topic = await new_topic(server, partitions=2)
    acknowledged: set[int] = set()
    async with callback_for(server.bootstrap, deadline_ms=2_000) as callback:
        stop = asyncio.Event()
        errors: set[str] = set()

        async def send_on(numbers: range) -> None:
            for number in numbers:
                reply = await callback.invoke(delivery(topic, number))
                assert not reply.is_final, reply
                if reply.ok:
                    acknowledged.add(number)
                else:
                    errors.add(reply.error)
                    assert reply.blames_destination
                    await asyncio.sleep(0.1)  # a retry has its wait
                if stop.is_set():
                    return

        async with asyncio.TaskGroup() as group:
            for worker in range(50):
                group.create_task(send_on(range(worker * 100_000, (worker + 1) * 100_000)))
            await until(lambda: len(acknowledged) > 1_000)
            server.kill()
            await until(lambda: AWAY.error in errors)
            await start(server)
            before = len(acknowledged)
            await until(lambda: len(acknowledged) > before + 1_000)
            stop.set()
    assert {f"no acknowledgement within 2000 ms; {MAYBE}", AWAY.error} <= errors
    found = {record.key.decode() for record in await read_all(server, topic)}
    assert {str(UUID(int=number)) for number in acknowledged} <= found


async def test_a_producer_that_learns_nothing_any_more_is_replaced(
    server: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken connection may end aiokafka's task that looks for leaders, and nobody tells."""
    topic = await new_topic(server)

    async def fail(*_: object) -> bool:
        raise RuntimeError("unable to perform operation on a closed transport")

    async with callback_for(server.bootstrap) as callback:
        assert (await callback.invoke(delivery(topic))).ok
        blind = callback._shared.current
        assert blind is not None
        other = await new_topic(server)
        monkeypatch.setattr(blind.client, "_metadata_update", fail)
        began_s = time.monotonic()
        waiting = asyncio.create_task(callback.invoke(delivery(other)))  # it asks for the leader
        await until(lambda: callback._shared.current is not blind)
        assert (await waiting).ok
        assert (await callback.invoke(delivery(topic, 2))).ok
        assert time.monotonic() - began_s < 5
        await until(lambda: not callback._shared._leaving)
        assert all(not conn.connected() for conn in blind.client._conns.values())


async def test_outage_shorter_than_the_deadline_fails_nothing(server: KafkaServer) -> None:
    topic = await new_topic(server)
    async with callback_for(server.bootstrap, deadline_ms=60_000) as callback:
        assert (await callback.invoke(delivery(topic, 0))).ok
        producer = callback._shared.current
        server.kill()
        sent = [asyncio.create_task(callback.invoke(delivery(topic, each))) for each in range(1, 200)]
        await start(server)
        assert all(reply.ok for reply in await asyncio.gather(*sent))
        assert callback._shared.current is producer
    assert len(await read_all(server, topic)) == 200


async def test_unknown_topic_and_absent_broker_are_not_mixed_up(server: KafkaServer) -> None:
    topic, unknown = await new_topic(server), new_name()
    async with callback_for(server.bootstrap, deadline_ms=3_000) as callback:
        assert (await callback.invoke(delivery(topic))).ok
        server.kill()
        replies = await asyncio.gather(callback.invoke(delivery(unknown)), callback.invoke(delivery(topic)))
        assert not any(reply.ok or reply.is_final for reply in replies)
        await start(server)
        await until_ok(callback, topic, 2)
        assert (await callback.invoke(delivery(unknown))).is_final


async def test_never_there(server: KafkaServer) -> None:
    async with callback_for("127.0.0.1:9") as callback:
        began_s = time.monotonic()
        replies = await asyncio.gather(*(callback.invoke(delivery("app.x", each)) for each in range(500)))
        assert set(replies) == {AWAY}
        assert time.monotonic() - began_s < 2


async def test_frozen_at_the_deadline(server: KafkaServer) -> None:
    """The deadline holds, what was handed over is dropped, and the process does not fill up."""
    topic = await new_topic(server, partitions=3)
    async with callback_for(server.bootstrap, deadline_ms=600) as callback:
        assert (await callback.invoke(delivery(topic, 0))).ok
        server.pause()
        for _ in range(5):
            began_s = time.monotonic()
            sent = (callback.invoke(delivery(topic, each, payload="x" * 5_000)) for each in range(1, 2_001))
            replies = await asyncio.gather(*sent)
            assert time.monotonic() - began_s < 3
            assert not any(reply.ok or reply.is_final for reply in replies)
        assert len(callback._shared._leaving) <= 4
        server.resume()
        await until_ok(callback, topic, 3_000)
        await until(lambda: not callback._shared._leaving, 30)
        names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
        assert names.count("Sender._sender_routine") == 1
    found = {record.key.decode() for record in await read_all(server, topic)}
    assert {str(UUID(int=0)), str(UUID(int=3_000))} <= found
    # At most what was on its way when the broker froze; the thousands behind it went with their producer.
    assert len(found) < 1_000


async def test_cancelled_attempt_leaves_no_record_behind(server: KafkaServer) -> None:
    topic = await new_topic(server)
    async with callback_for(server.bootstrap) as callback:
        assert (await callback.invoke(delivery(topic, 0))).ok
        server.kill()
        attempts = [asyncio.create_task(callback.invoke(delivery(topic, each))) for each in range(1, 50)]
        producer = callback._shared.current
        assert producer is not None
        await until(lambda: bool(producer._message_accumulator._batches))
        for attempt in attempts:
            attempt.cancel()
        await asyncio.wait(attempts)
        await start(server)
        await until_ok(callback, topic, 100)
    found = [record.key.decode() for record in await read_all(server, topic)]
    assert found == [str(UUID(int=0)), str(UUID(int=100))]


@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_close_is_bounded_and_leaves_no_task(server: KafkaServer, fault: str) -> None:
    topic = await new_topic(server)
    others = asyncio.all_tasks()
    async with callback_for(server.bootstrap) as callback:
        assert (await callback.invoke(delivery(topic, 0))).ok
        getattr(server, fault)()
        attempts = [asyncio.create_task(callback.invoke(delivery(topic, each))) for each in range(1, 50)]
        await asyncio.wait(attempts, timeout=0.5)  # into the producer
        began_s = time.monotonic()
        await callback.close()
        assert time.monotonic() - began_s < 12
        replies = await asyncio.gather(*attempts)
        assert not any(reply.ok or reply.is_final for reply in replies)
    assert asyncio.all_tasks() - others == set()
