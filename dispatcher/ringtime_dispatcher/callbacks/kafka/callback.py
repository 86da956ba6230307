"""Kafka callbacks: one record an attempt, from one idempotent producer, done when all replicas have it.

| what happened | outcome of the attempt |
|---|---|
| acknowledged by all replicas in sync | success |
| no such topic or partition, no right to write, record too large | failure, and trying again is of no use |
| no broker can be reached | failure, tried again by policy; nothing was sent |
| no acknowledgement within the deadline | failure, tried again by policy; the record may have been written |
| any other refusal of the broker | failure, tried again by policy |

At least once: what may have been written is sent again with the same `schedule-id`. The producer's sequence
numbers spare readers the copies of its own repeats, not those of ours.

`client` makes producers, `line` has one in use, `topics` asks brokers about topics and ends attempts whose
topic went away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, TopicAuthorizationFailedError

from ringtime_dispatcher.callbacks.kafka.client import (
    TOO_LARGE,
    certificate_fault,
    is_dead,
    producer_maker,
    request_ms,
)
from ringtime_dispatcher.callbacks.kafka.line import NotConnected, ProducerLine
from ringtime_dispatcher.callbacks.kafka.topics import TopicBook, TopicWatch, Wait
from ringtime_shared.callbacks.deadlines import Deadlines
from ringtime_shared.callbacks.kafka_rules import KafkaRules
from ringtime_shared.callbacks.protocol import CallbackType, Delivery, OutageRules, Reply, instant
from ringtime_shared.settings import KafkaSettings
from ringtime_shared.traces.context import headers_of

_MARGIN_MS = 20  #: an attempt ends by itself before the dispatcher ends it, so as to say what it knows
_DEAD_PRODUCERS = 5  #: met by one record in one attempt
_PAUSE_S = 0.1  #: before a record goes back to a producer that could not place it
_REFUSED_SIZE_S = 60  #: how long a topic is taken to refuse the size that it refused
_MOST_SIZES = 1_000
_MOST_TOPICS = 4_096  #: of which it is remembered that an app may write to them, by app
_FRAMING_BYTES = 70  #: what a record and the batch around it take beside their contents


class KafkaCallback(KafkaRules, CallbackType):
    """The `kafka` callback type. Connects when it is first needed, and again whenever it has to."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Raises StartupError when the settings name files or packages that are not there."""
        super().__init__(settings)
        self._settings = settings
        self._known_fault = lru_cache(maxsize=_MOST_TOPICS)(self.topic_fault)
        self.outage = OutageRules(open_ms=settings.breaker_open_ms, park_per_s=settings.park_per_s)
        make, request_s = producer_maker(settings), request_ms(settings) / 1000
        self._shared = ProducerLine(lambda: make(False), request_s, self._find_fault)
        self._alone = ProducerLine(lambda: make(True), request_s, self._find_fault)
        self._topics = TopicBook()
        self._watch = TopicWatch(self._fault_of)
        self._deadlines = Deadlines()
        self._slots = asyncio.Semaphore(settings.max_in_flight)
        self._refused: dict[str, tuple[int, float]] = {}  # topic: a size it refused, until when that holds

    def destination(self, details: Mapping[str, object]) -> str:
        """Return the topic: what is wrong with one says nothing about others."""
        return f"kafka:{details.get('topic')}"

    def deadline_ms(self, timeout_ms: int) -> int:
        """Return our own deadline: an HTTP timeout is too short for a partition to get a new leader."""
        return self._settings.deadline_ms

    async def invoke(self, delivery: Delivery) -> Reply:
        """Send once and wait for the acknowledgement."""
        topic, app_id = delivery.details.get("topic"), delivery.schedule.app_id
        fault = (
            self._known_fault(topic, app_id) if isinstance(topic, str) else self.topic_fault(topic, app_id)
        )
        if fault:  # the list of topics has changed since the create, or is another one there
            return _final(f"topic: {fault}")
        record = KafkaRecord.of(delivery)
        timeout_ms = min(self._settings.deadline_ms, delivery.timeout_ms - _MARGIN_MS)
        deadline = self._deadlines.after(max(timeout_ms, 1) / 1000)
        wait = Wait(record.topic, deadline, asyncio.get_running_loop().time())
        try:
            with deadline:
                async with self._slots:
                    with self._watch.over(wait):
                        return await self._send(record, wait)
        except TimeoutError:
            if wait.fault:
                return _final(wait.fault)
            if wait.is_handed_over:
                error = f"no acknowledgement within {timeout_ms} ms; the record may have been written"
            else:
                error = f"not sent within {timeout_ms} ms"
            return Reply(ok=False, error=error)
        except NotConnected as reason:
            return Reply(ok=False, error=f"not sent: {reason}")

    async def close(self) -> None:
        """Send what is left and disconnect, within about ten seconds."""
        await self._watch.close()
        await self._topics.close()
        await asyncio.gather(self._shared.close(), self._alone.close())

    async def _send(self, record: KafkaRecord, wait: Wait) -> Reply:
        line, dead = self._shared, 0
        while dead < _DEAD_PRODUCERS:
            fault = self._size_fault(record)
            if fault:
                return _final(fault)
            producer = await line.get()
            topic = await self._topics.find(producer.client, record.topic, record.partition)
            if topic is None:
                return Reply(ok=False, error="not sent: no broker says whether there is such a topic")
            if topic.fault:
                return _final(topic.fault)
            try:
                await self._produce(line, producer, record, wait)
                return Reply(ok=True)
            except TopicAuthorizationFailedError:
                return _final("the brokers do not let us write to this topic")
            except TOO_LARGE:
                if line is self._alone:
                    self._note_refused_size(record)
                    return _final(f"the topic takes no record of {record.size_bytes} bytes")
                line = self._alone  # one record too many, perhaps another one, and the whole batch is refused
            except KafkaError as error:
                if is_dead(error):
                    dead += 1
                    line.retire(producer)
                elif error.retriable or isinstance(error, KafkaTimeoutError):
                    await asyncio.sleep(_PAUSE_S)  # until the deadline: it has not been placed
                else:
                    return Reply(ok=False, error=f"refused by the broker: {type(error).__name__}")
        return Reply(ok=False, error="not sent: the brokers refused several producers")

    async def _produce(
        self, line: ProducerLine, producer: AIOKafkaProducer, record: KafkaRecord, wait: Wait
    ) -> None:
        """Hand over and wait. Raises KafkaError."""
        if record.partition is not None and record.partition not in await producer.partitions_for(
            record.topic
        ):
            # The producer's own view is older than the book's: the topic has grown.
            await producer.client.force_metadata_update()
            if record.partition not in await producer.partitions_for(record.topic):
                raise KafkaTimeoutError
        acknowledged = await producer.send(
            record.topic, record.value, record.key, record.partition, headers=record.headers
        )
        wait.is_handed_over = True
        try:
            await acknowledged
        except asyncio.CancelledError:
            line.retire(producer)  # or it would send this record minutes later, beside the next attempt
            raise

    async def _find_fault(self) -> str:
        return await certificate_fault(self._settings)

    async def _fault_of(self, name: str) -> str | None:
        """Return what is wrong with a topic by now; None if that cannot be found out."""
        producer = self._shared.current
        topic = None if producer is None else await self._topics.ask(producer.client, name)
        return None if topic is None else topic.fault

    def _size_fault(self, record: KafkaRecord) -> str:
        size, most = record.size_bytes, self._settings.max_record_bytes
        if size > most:
            return f"a record of {size} bytes; at most {most} are sent"
        refused, until_s = self._refused.get(record.topic, (size + 1, 0.0))
        if size >= refused and asyncio.get_running_loop().time() < until_s:
            return f"the topic takes no record of {refused} bytes"
        return ""

    def _note_refused_size(self, record: KafkaRecord) -> None:
        """Each refusal costs a producer, so it is not asked for again and again.

        Compressed records of one size differ in what the broker sees; nothing is learnt from those.
        """
        if self._settings.compression == "none":
            if len(self._refused) >= _MOST_SIZES:
                self._refused.clear()
            until_s = asyncio.get_running_loop().time() + _REFUSED_SIZE_S
            self._refused[record.topic] = (record.size_bytes, until_s)


def _final(error: str) -> Reply:
    return Reply(ok=False, error=error, is_final=True)


@dataclass(frozen=True, slots=True)
class KafkaRecord:
    """What goes to the broker: the record of one attempt."""

    topic: str
    partition: int | None  #: None: the key decides, as in the Java client
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]  #: the client's own, then ours

    @classmethod
    def of(cls, delivery: Delivery) -> KafkaRecord:
        """Make the record of a delivery whose details `KafkaRules` has passed."""
        details, schedule = delivery.details, delivery.schedule
        schedule_id = str(schedule.schedule_id).encode()
        key = details.get("key")
        given = cast(dict[str, str], details.get("headers") or {})
        headers = [(name, value.encode()) for name, value in given.items()]
        headers += [
            ("schedule-id", schedule_id),
            ("ringtime-attempt", b"%d" % delivery.attempt),
            ("ringtime-fire-time", instant(schedule.fire_ms).encode()),
            ("ringtime-term", b"%d" % delivery.term),
        ]
        if schedule.run is not None:
            headers.append(("parent-schedule-id", str(schedule.run.recurring_id).encode()))
        if (told := schedule.hook_of) is not None:
            headers += [
                ("ringtime-hook", told.event.encode()),
                ("ringtime-hook-of", str(told.schedule_id).encode()),
                ("ringtime-hook-key", told.key.encode()),
            ]
        headers += ((name, value.encode()) for name, value in headers_of(delivery.trace, given))
        return cls(
            topic=cast(str, details["topic"]),
            partition=cast("int | None", details.get("partition")),
            key=schedule_id if key is None else cast(str, key).encode(),
            value=schedule.body,
            headers=headers,
        )

    @property
    def size_bytes(self) -> int:
        """The size in a batch of its own, to some ten bytes."""
        contents = sum([len(name.encode()) + len(value) + 4 for name, value in self.headers])
        return _FRAMING_BYTES + len(self.key) + len(self.value) + contents
