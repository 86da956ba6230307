"""Deliveries to send to topics, and what is in a topic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from ringtime_dispatcher.callbacks.kafka.callback import KafkaCallback
from ringtime_local import KafkaServer
from ringtime_shared.callbacks.protocol import Delivery
from ringtime_shared.models.schedule import Schedule
from ringtime_shared.settings import KafkaSettings

FIRE_MS = 1_800_000_000_250


def delivery(
    topic: str, number: int = 1, *, payload: str = "{}", timeout_ms: int = 60_000, **details: object
) -> Delivery:
    schedule = Schedule(
        schedule_id=UUID(int=number),
        app_id="app",
        fire_ms=FIRE_MS,
        payload=payload,
        callback_type="kafka",
        callback_details=b"",  # the dispatcher has read it into `details`
        created_ms=0,
        expires_ms=0,
    )
    return Delivery(
        schedule=schedule, details={"topic": topic, **details}, attempt=2, term=7, timeout_ms=timeout_ms
    )


def new_name() -> str:
    """Return the name of a topic that no other test uses."""
    return f"app.test-{uuid4().hex[:12]}"


async def new_topic(server: KafkaServer, *, partitions: int = 1, **config: str) -> str:
    """Create a topic and return its name, once the broker tells of it: it answers before it does.

    Underscores in the names of its settings stand for dots.
    """
    name = new_name()
    plain = {key.replace("_", "."): value for key, value in config.items()}
    await asyncio.to_thread(server.create_topic, name, partitions=partitions, config=plain)
    admin = AIOKafkaAdminClient(bootstrap_servers=server.direct)
    try:
        await admin.start()
        async with asyncio.timeout(60):
            while name not in await admin.list_topics():  # noqa: ASYNC110 - in the broker
                await asyncio.sleep(0.02)
    finally:
        await admin.close()
    return name


async def delete_topic(server: KafkaServer, name: str) -> None:
    """Return once the broker knows of the topic no more: it answers before it has deleted it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=server.direct)
    try:
        await admin.start()
        await admin.delete_topics([name])
        async with asyncio.timeout(60):
            while name in await admin.list_topics():  # noqa: ASYNC110 - in the broker
                await asyncio.sleep(0.02)
    finally:
        await admin.close()


@asynccontextmanager
async def callback_for(bootstrap: str, **more: Any) -> AsyncIterator[KafkaCallback]:
    callback = KafkaCallback(KafkaSettings(bootstrap=(bootstrap,), **more))
    try:
        yield callback
    finally:
        await callback.close()


async def read_all(server: KafkaServer, topic: str) -> list[ConsumerRecord]:
    """Return every record of a topic, up to the ends that its partitions have now."""
    consumer = AIOKafkaConsumer(bootstrap_servers=server.direct, auto_offset_reset="earliest")
    async with asyncio.timeout(60), consumer:
        partitions = [TopicPartition(topic, each) for each in await consumer._client._wait_on_metadata(topic)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        left = sum(ends.values())
        records: list[ConsumerRecord] = []
        while len(records) < left:
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records += batch
    return records


async def until(is_so: Callable[[], bool], patience_s: float = 60) -> None:
    async with asyncio.timeout(patience_s):
        while not is_so():  # noqa: ASYNC110 - set by work that knows of no event
            await asyncio.sleep(0.01)


async def until_ok(callback: KafkaCallback, topic: str, number: int, **details: Any) -> None:
    """Try again and again, as retries would."""
    async with asyncio.timeout(60):
        while not (await callback.invoke(delivery(topic, number, **details))).ok:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
