"""What the brokers say of topics, asked before aiokafka is: it waits for an unknown topic as long as for an
answer, asks for it ever after, and its request would create the topic where brokers allow that.

The question goes over a connection of its own, so it does not wait behind records.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

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
_TICK_S = 0.25
_LONG_S = 0.75  #: a healthy broker acknowledges in milliseconds
_PAUSE_S = 2.0  #: between two times of asking
_MOST_ASKED = 50  #: topics at a time


@dataclass(frozen=True, slots=True)
class Topic:
    """An answer about one topic."""

    seen_s: float  #: time of the event loop
    partitions: int = 0
    fault: str = ""  #: why nothing can be written to it; empty: it is there


class TopicBook:
    """The answers that were given lately."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Topic] = OrderedDict()
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
                self._kept.popitem(last=False)
        return topic


class Wait(Protocol):
    """One attempt that waits for its acknowledgement."""

    @property
    def topic(self) -> str: ...

    @property
    def began_s(self) -> float:
        """Time of the event loop."""

    def give_up(self, fault: str) -> None:
        """End before the deadline, for this reason."""


class TopicWatch:
    """Ends attempts that wait long for a topic that has gone in the meantime.

    aiokafka keeps trying to write to a topic that was deleted under it. These attempts are ended a second
    after their hand-over instead of at their deadline, and only when the brokers say so.

    Args:
        ask: what is wrong with a topic, empty for nothing; None if that cannot be found out.
    """

    def __init__(self, ask: Callable[[str], Awaitable[str | None]]) -> None:
        self._ask = ask
        self._open: dict[Wait, None] = {}  # oldest first
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None
        self._next_s = 0.0

    def add(self, wait: Wait) -> None:
        """Look after an attempt from now on."""
        self._open[wait] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def remove(self, wait: Wait) -> None:
        """It has ended."""
        del self._open[wait]

    async def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_TICK_S, self._tick) if self._open else None
        if loop.time() < self._next_s or (self._asking is not None and not self._asking.done()):
            return
        topics: dict[str, None] = {}
        for wait in self._open:
            if loop.time() - wait.began_s < _LONG_S or len(topics) == _MOST_ASKED:
                break
            topics[wait.topic] = None
        if topics:
            self._next_s = loop.time() + _PAUSE_S
            self._asking = asyncio.create_task(self._end_hopeless(list(topics)), name="kafka-watch")

    async def _end_hopeless(self, topics: list[str]) -> None:
        for topic in topics:
            fault = await self._ask(topic)
            if fault is None:
                return  # the brokers are away, which says nothing about topics
            for wait in list(self._open) if fault else ():
                if wait.topic == topic:
                    wait.give_up(fault)


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
