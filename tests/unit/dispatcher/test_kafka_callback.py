"""Kafka callbacks without a Kafka: what is at the other end is nothing, silent or something else.

What needs a broker is in tests/service.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest
from tests.service.kafka_rig import callback_for, delivery

from ringtime_dispatcher.callbacks.kafka import client as kafka_client
from ringtime_dispatcher.callbacks.kafka.callback import KafkaCallback, KafkaRecord
from ringtime_dispatcher.callbacks.kafka.topics import TopicWatch
from ringtime_shared.callbacks.protocol import OutageRules, Reply
from ringtime_shared.errors import StartupError
from ringtime_shared.models.recurring import RunOf
from ringtime_shared.settings import KafkaSettings

pytestmark = pytest.mark.alone

AWAY = Reply(ok=False, error="not sent: no broker could be reached, or none took the login")

Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(eq=False)
class Waiting:
    topic: str
    began_s: float
    fault: str = ""

    def give_up(self, fault: str) -> None:
        self.fault = fault


@asynccontextmanager
async def peer(act: Act) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await act(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(1_000):
        pass


async def speak_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1_000)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()


async def speak_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1_000)
    writer.write(b"\0\0\0\x08\0\0\0\x01\xff\xff\xff\xff")
    await writer.drain()
    await reader.read(1_000)


async def test_nothing_there_is_told_at_once() -> None:
    async with callback_for("127.0.0.1:9") as callback:
        began_s = time.monotonic()
        assert {await callback.invoke(delivery("app.x")) for _ in range(50)} == {AWAY}
        assert time.monotonic() - began_s < 1


async def test_details_that_no_create_would_accept_fail_as_they_do_in_a_task() -> None:
    async with callback_for("127.0.0.1:9") as callback:
        odd = delivery("app.x", headers={"a": 5})
        assert callback.begin(odd, lambda _: None) is None
        with pytest.raises(AttributeError):
            await callback.invoke(odd)


async def test_closing_ends_what_it_began_to_wait_for() -> None:
    async with peer(keep_silent) as bootstrap, callback_for(bootstrap) as callback:
        ended: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        drop = callback.begin(delivery("app.x"), ended.set_result)
        assert drop is not None
        await asyncio.sleep(0)  # its task has begun
        await callback.close()
        assert await ended == Reply(ok=False, error="not sent: this process is about to end")
        drop()  # which is too late to do anything


@pytest.mark.parametrize("act", [speak_http, speak_nonsense])
async def test_a_peer_that_is_no_broker(act: Act) -> None:
    async with peer(act) as bootstrap, callback_for(bootstrap, deadline_ms=1_500) as callback:
        reply = await callback.invoke(delivery("app.x"))
        assert not reply.ok
        assert not reply.is_final
        assert reply.error.startswith("not sent")


async def test_a_silent_peer_costs_no_more_than_the_deadline() -> None:
    async with peer(keep_silent) as bootstrap, callback_for(bootstrap) as callback:
        began_s = time.monotonic()
        reply = await callback.invoke(delivery("app.x", timeout_ms=300))
        assert time.monotonic() - began_s < 2
        assert reply == Reply(ok=False, error="not sent within 280 ms")
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("kafka")]


async def test_own_deadline_and_destination() -> None:
    async with callback_for("127.0.0.1:9", deadline_ms=12_345) as callback:
        assert callback.name == "kafka"
        assert callback.deadline_ms(2_000) == 12_345
        assert callback.destination({"topic": "app.x", "key": "k"}) == "kafka:app.x"
        assert callback.outage == OutageRules(open_ms=5_000, park_per_s=1_000)


@pytest.mark.parametrize(
    "change",
    [
        {"security": "SSL", "ca_file": "/nowhere.pem"},
        {"security": "SSL", "cert_file": "/nowhere.pem", "key_file": "/nowhere.pem"},
        {"compression": "zstd"},
    ],
)
def test_what_is_not_there_stops_the_start(change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kafka_client._CODECS, "zstd", lambda: False)
    with pytest.raises(StartupError):
        KafkaCallback(KafkaSettings(bootstrap=("127.0.0.1:9",), **change))


@pytest.mark.parametrize(("fault", "is_ended"), [("gone", True), ("", False), (None, False)])
async def test_attempts_that_wait_long_are_ended_if_their_topic_is_gone(
    fault: str | None, is_ended: bool
) -> None:
    asked: list[str] = []

    async def ask(topic: str) -> str | None:
        asked.append(topic)
        return fault

    watch, loop = TopicWatch(ask), asyncio.get_running_loop()
    old, young = Waiting("old", loop.time() - 10), Waiting("young", loop.time() + 60)
    watch.add(old)
    watch.add(young)
    await asyncio.sleep(1.5)
    assert asked == ["old"]  # once in a while, not at each tick
    assert (old.fault, young.fault) == ("gone" if is_ended else "", "")
    watch.remove(old)
    watch.remove(young)
    await watch.close()


def test_a_run_names_its_recurring_schedule_and_others_none() -> None:
    once = delivery("topic")
    run = RunOf(recurring_id=UUID(int=5), version=1, nominal_ms=0)
    of_run = replace(once, schedule=replace(once.schedule, run=run))
    assert ("parent-schedule-id", str(UUID(int=5)).encode()) in KafkaRecord.of(of_run).headers
    assert "parent-schedule-id" not in dict(KafkaRecord.of(once).headers)
