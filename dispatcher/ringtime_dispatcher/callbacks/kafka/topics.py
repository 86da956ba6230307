"""What the brokers say of topics, asked before aiokafka is: it waits for an unknown topic as long as for an
answer, asks for it ever after, and its request would create the topic where brokers allow that.

The question goes over a connection of its own, so it does not wait behind records.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import (
    InvalidTopicError,
    KafkaError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.protocol.metadata import MetadataRequest

_MOST_KEPT = 10_000
_FRESH_S = 2.0  #: a refusal holds for so long; then the topic may have been created
_ASK_S = 2.0
_BROKERS_ASKED = 3
_SECOND_LOOK_S = 0.3  #: a topic just created, or a broker just started, is unknown for a moment
_FAULTS = {
    UnknownTopicOrPartitionError.errno: "there is no such topic",
    InvalidTopicError.errno: "the brokers take no topic of that name",
    TopicAuthorizationFailedError.errno: "the brokers do not let us use this topic",
}


@dataclass(frozen=True, slots=True)
class Topic:
    """An answer about one topic."""

    seen_s: float  #: time of the event loop
    partitions: int = 0
    fault: str = ""  #: why nothing can be written to it; empty: it is there


class TopicBook:
    """The answers that were given lately."""

    def __init__(self) -> None:
        self._kept: dict[str, Topic] = {}
        self._asking: dict[str, asyncio.Task[Topic | None]] = {}

    async def find(self, client: AIOKafkaClient, name: str, partition: int | None = None) -> Topic | None:
        """Return what is known of a topic, asking if need be; None if no broker says.

        `fault` is also set when it has no such partition.
        """
        topic = self._kept.get(name)
        if topic is None or (_is_old(topic) and (topic.fault or not _has(topic, partition))):
            topic = await self.ask(client, name)
        if topic is None or topic.fault or _has(topic, partition):
            return topic
        return Topic(topic.seen_s, topic.partitions, f"the topic has only {topic.partitions} partitions")

    async def ask(self, client: AIOKafkaClient, name: str) -> Topic | None:
        """Ask the brokers, whatever is known; None if none says. One question for all who wait."""
        asking = self._asking.get(name)
        if asking is None:
            asking = self._asking[name] = asyncio.create_task(self._ask_twice(client, name))
            asking.add_done_callback(lambda _: self._asking.pop(name))
        await asyncio.wait([asking])  # neither ends the other when it is cancelled
        return None if asking.cancelled() else asking.result()

    async def close(self) -> None:
        """Ask no more."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        if asking:
            await asyncio.wait(asking)

    async def _ask_twice(self, client: AIOKafkaClient, name: str) -> Topic | None:
        topic = await _ask_some(client, name)
        if topic is not None and topic.fault:
            await asyncio.sleep(_SECOND_LOOK_S)
            topic = await _ask_some(client, name)
        self._kept.pop(name, None)  # what is asked again is thrown out last
        if topic is not None:
            self._kept[name] = topic
            if len(self._kept) > _MOST_KEPT:
                del self._kept[next(iter(self._kept))]
        return topic


async def _ask_some(client: AIOKafkaClient, name: str) -> Topic | None:
    """Ask a broker, and others if it gives no answer."""
    for _ in range(_BROKERS_ASKED):
        try:
            async with asyncio.timeout(_ASK_S):
                response = await client.send(
                    client.get_random_node(),
                    MetadataRequest([name], allow_auto_topic_creation=False),
                    group=ConnectionGroup.COORDINATION,
                )
        except (KafkaError, TimeoutError):
            continue
        error_code, *_, partitions = response.topics[0]
        if error_code == 0:
            return Topic(_now_s(), partitions=len(partitions))
        if error_code in _FAULTS:
            return Topic(_now_s(), fault=_FAULTS[error_code])
    return None


def _has(topic: Topic, partition: int | None) -> bool:
    return partition is None or partition < topic.partitions


def _is_old(topic: Topic) -> bool:
    return _now_s() - topic.seen_s > _FRESH_S


def _now_s() -> float:
    return asyncio.get_running_loop().time()
