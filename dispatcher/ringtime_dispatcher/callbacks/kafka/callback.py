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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError, TopicAuthorizationFailedError

from ringtime_dispatcher.callbacks.kafka.client import (
    TOO_LARGE,
    certificate_fault,
    is_dead,
    producer_maker,
    request_ms,
)
from ringtime_dispatcher.callbacks.kafka.line import NotConnected, ProducerLine
from ringtime_dispatcher.callbacks.kafka.partitioner import partition_of
from ringtime_dispatcher.callbacks.kafka.topics import TopicBook, TopicWatch
from ringtime_shared.callbacks.deadlines import Deadlines, Line
from ringtime_shared.callbacks.foreign import reply_to
from ringtime_shared.callbacks.kafka_rules import KafkaRules
from ringtime_shared.callbacks.protocol import Delivery, OutageRules, PromptType, Reply, instant
from ringtime_shared.settings import KafkaSettings
from ringtime_shared.traces.context import headers_of

_MARGIN_MS = 20  #: an attempt ends by itself before the dispatcher ends it, so as to say what it knows
_DEAD_PRODUCERS = 5  #: met by one record in one attempt
_PAUSE_S = 0.1  #: before a record goes back to a producer that could not place it
_REFUSED_SIZE_S = 60  #: how long a topic is taken to refuse the size that it refused
_MOST_SIZES = 1_000
_MOST_TOPICS = 4_096  #: of which it is remembered that an app may write to them, by app
_FRAMING_BYTES = 70  #: what a record and the batch around it take beside their contents


class KafkaCallback(KafkaRules, PromptType):
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
        self._parts = _Parts(
            shared=self._shared,
            alone=self._alone,
            topics=self._topics,
            sizes=_Sizes(settings),
            watch=TopicWatch(self._fault_of),
            deadlines=Deadlines(),
            slots=asyncio.Semaphore(settings.max_in_flight),
            room_s=request_s,
        )

    def destination(self, details: Mapping[str, object]) -> str:
        """Return the topic: what is wrong with one says nothing about others."""
        return f"kafka:{details.get('topic')}"

    def deadline_ms(self, timeout_ms: int) -> int:
        """Return our own deadline: an HTTP timeout is too short for a partition to get a new leader."""
        return self._settings.deadline_ms

    def begin(self, delivery: Delivery, on_end: Callable[[Reply], None]) -> Callable[[], None] | None:
        """Hand the record over; what has to be waited for before that, the attempt waits for by itself."""
        try:
            return self._begin(delivery, on_end)
        except Exception:  # noqa: BLE001 - of details that no create would accept: `invoke` meets it, too
            return None

    async def invoke(self, delivery: Delivery) -> Reply:
        """The same, for a task that waits for the end."""
        ended: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def on_end(reply: Reply) -> None:
            if not ended.done():
                ended.set_result(reply)

        drop = self._begin(delivery, on_end)
        try:
            return await ended
        finally:
            drop()  # which does nothing where it has ended

    async def close(self) -> None:
        """Send what is left and disconnect, within about ten seconds."""
        await self._parts.watch.close()
        await self._topics.close()
        await asyncio.gather(self._shared.close(), self._alone.close())

    def _begin(self, delivery: Delivery, on_end: Callable[[Reply], None]) -> Callable[[], None]:
        topic, app_id = delivery.details.get("topic"), delivery.schedule.app_id
        fault = (
            self._known_fault(topic, app_id) if isinstance(topic, str) else self.topic_fault(topic, app_id)
        )
        if fault:  # the list of topics has changed since the create, or is another one there
            return asyncio.get_running_loop().call_soon(on_end, _final(f"topic: {fault}")).cancel
        timeout_ms = min(self._settings.deadline_ms, delivery.timeout_ms - _MARGIN_MS)
        attempt = _Attempt(self._parts, KafkaRecord.of(delivery), timeout_ms, on_end)
        attempt.begin()
        return attempt.drop

    async def _find_fault(self) -> str:
        return await certificate_fault(self._settings)

    async def _fault_of(self, name: str) -> str | None:
        """Return what is wrong with a topic by now; None if that cannot be found out."""
        producer = self._shared.current
        topic = None if producer is None else await self._topics.ask(producer.client, name)
        return None if topic is None else topic.fault


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What the attempts of one node share."""

    shared: ProducerLine
    alone: ProducerLine  #: puts every record into a batch of its own
    topics: TopicBook
    sizes: _Sizes
    watch: TopicWatch
    deadlines: Deadlines
    slots: asyncio.Semaphore
    room_s: float  #: that a record may wait for room in a full batch before it is tried again


class _Ended(Exception):
    def __init__(self, reply: Reply) -> None:
        self.reply = reply


class _Attempt:
    """One attempt, from its deadline's begin to its end: a drop, or one call of `on_end`.

    It needs a task only to hand its record over, and only where something has to be waited for before that.
    """

    __slots__ = (
        "_acknowledged",
        "_dead",
        "_has_slot",
        "_line",
        "_on_end",
        "_parts",
        "_producer",
        "_queue",
        "_record",
        "_task",
        "_timeout_ms",
        "_was_handed_over",
        "began_s",
        "seconds",
        "topic",
    )

    _queue: Line
    _producer: AIOKafkaProducer

    def __init__(
        self, parts: _Parts, record: KafkaRecord, timeout_ms: int, on_end: Callable[[Reply], None]
    ) -> None:
        self.topic = record.topic
        self.seconds = max(timeout_ms, 1) / 1000
        self.began_s = asyncio.get_running_loop().time()
        self._parts = parts
        self._record = record
        self._timeout_ms = timeout_ms
        self._on_end: Callable[[Reply], None] | None = on_end  # None: it is over
        self._line = parts.shared
        self._dead = 0  # producers it has met
        self._has_slot = False
        self._was_handed_over = False  # the record may have been written
        self._acknowledged: asyncio.Future[object] | None = None  # while it is waited for
        self._task: asyncio.Task[None] | None = None  # while it is to be handed over

    def begin(self) -> None:
        """Hand the record over, or have a task do so."""
        self._queue = self._parts.deadlines.enter(self)
        if not self._is_handed_over_at_once():
            self._task = asyncio.create_task(self._work(None))

    def drop(self) -> None:
        """End it at once, and tell nobody."""
        if self._on_end is not None:
            self._stop()

    def expire(self) -> None:
        """The deadline has come."""
        if self._was_handed_over:
            error = f"no acknowledgement within {self._timeout_ms} ms; the record may have been written"
        else:
            error = f"not sent within {self._timeout_ms} ms"
        self._end(Reply(ok=False, error=error))

    def give_up(self, fault: str) -> None:
        """Its topic has gone."""
        self._end(_final(fault))

    def _is_handed_over_at_once(self) -> bool:
        """Go as far as nothing has to be waited for. What goes wrong on the way, a task meets again."""
        handing_over = self._hand_over()
        try:
            handing_over.send(None)
        except StopIteration:
            return True
        except Exception:  # noqa: BLE001 - see above
            return False
        handing_over.close()
        return False

    async def _hand_over(self) -> None:
        """Give the record to the producer in use. Raises _Ended, NotConnected, KafkaError."""
        parts, record = self._parts, self._record
        if not self._has_slot:
            await parts.slots.acquire()
            self._has_slot = True
            parts.watch.add(self)
        if fault := parts.sizes.fault(record):
            raise _Ended(_final(fault))
        producer = self._producer = await self._line.get()
        topic = await parts.topics.find(producer.client, record.topic, record.partition)
        if topic is None:
            raise _Ended(Reply(ok=False, error="not sent: no broker says whether there is such a topic"))
        if topic.fault:
            raise _Ended(_final(topic.fault))
        partitions, partition = await producer.partitions_for(record.topic), record.partition
        if partition is None:
            partition = partition_of(record.key, list(partitions), ())
        elif partition not in partitions:
            # The producer's own view is older than the book's: the topic has grown.
            await producer.client.force_metadata_update()
            if partition not in await producer.partitions_for(record.topic):
                raise KafkaTimeoutError
        # What `producer.send` does, without what was done above: it would cost half as much again.
        acknowledged = await producer._message_accumulator.add_message(  # noqa: SLF001
            TopicPartition(record.topic, partition),
            record.key,
            record.value,
            parts.room_s,
            headers=record.headers,
        )
        self._was_handed_over = True
        self._acknowledged = acknowledged
        acknowledged.add_done_callback(self._on_acknowledged)

    async def _work(self, error: BaseException | None) -> None:
        """Hand the record over, again if this went wrong before."""
        try:
            while True:
                if error is not None:
                    await self._make_ready(error)
                try:
                    await self._hand_over()
                    break
                except KafkaError as refused:
                    error = refused
        except _Ended as end:
            self._end(end.reply)
        except NotConnected as reason:
            self._end(Reply(ok=False, error=f"not sent: {reason}"))
        except BaseException as fault:  # noqa: BLE001 - whatever it is, it is how this attempt ends
            self._end(reply_to(fault))
        self._task = None

    async def _make_ready(self, error: BaseException) -> None:
        """Return when the record may be handed over again. Raises _Ended if that is of no use."""
        if isinstance(error, TopicAuthorizationFailedError):
            raise _Ended(_final("the brokers do not let us write to this topic"))
        if isinstance(error, TOO_LARGE):
            if self._line is self._parts.alone:
                self._parts.sizes.note_refused(self._record)
                raise _Ended(_final(f"the topic takes no record of {self._record.size_bytes} bytes"))
            # One record too many, perhaps another one, and the whole batch is refused.
            self._line = self._parts.alone
        elif not isinstance(error, KafkaError):
            raise error
        elif is_dead(error):
            self._dead += 1
            self._line.retire(self._producer)
            if self._dead == _DEAD_PRODUCERS:
                raise _Ended(Reply(ok=False, error="not sent: the brokers refused several producers"))
        elif error.retriable or isinstance(error, KafkaTimeoutError):
            await asyncio.sleep(_PAUSE_S)  # until the deadline: it has not been placed
        else:
            raise _Ended(Reply(ok=False, error=f"refused by the broker: {type(error).__name__}"))

    def _on_acknowledged(self, acknowledged: asyncio.Future[object]) -> None:
        if self._on_end is None:
            return
        self._acknowledged = None
        if acknowledged.cancelled():  # by nobody here
            self._end(reply_to(asyncio.CancelledError()))
            return
        error = acknowledged.exception()
        if error is None:
            self._end(_SENT)
        else:
            self._task = asyncio.create_task(self._work(error))

    def _end(self, reply: Reply) -> None:
        on_end = self._on_end
        if on_end is not None:
            self._stop()
            on_end(reply)

    def _stop(self) -> None:
        self._on_end = None
        self._parts.deadlines.leave(self, self._queue)
        if self._has_slot:
            self._parts.slots.release()
            self._parts.watch.remove(self)
        if self._acknowledged is not None:
            self._acknowledged.cancel()
            # Or it would send this record minutes later, beside the next attempt.
            self._line.retire(self._producer)
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()


class _Sizes:
    """How large records may be."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._most = settings.max_record_bytes
        # Compressed records of one size differ in what the broker sees; nothing is learnt from those.
        self._learns = settings.compression == "none"
        self._refused: dict[str, tuple[int, float]] = {}  # topic: a size it refused, until when that holds

    def fault(self, record: KafkaRecord) -> str:
        """Return why a record is too large; "": it is not, as far as is known."""
        size = record.size_bytes
        if size > self._most:
            return f"a record of {size} bytes; at most {self._most} are sent"
        refused, until_s = self._refused.get(record.topic, (size + 1, 0.0))
        if size >= refused and asyncio.get_running_loop().time() < until_s:
            return f"the topic takes no record of {refused} bytes"
        return ""

    def note_refused(self, record: KafkaRecord) -> None:
        """Each refusal costs a producer, so it is not asked for again and again."""
        if self._learns:
            if len(self._refused) >= _MOST_SIZES:
                self._refused.clear()
            until_s = asyncio.get_running_loop().time() + _REFUSED_SIZE_S
            self._refused[record.topic] = (record.size_bytes, until_s)


_SENT = Reply(ok=True)


def _final(error: str) -> Reply:
    return Reply(ok=False, error=error, is_final=True)


@dataclass(slots=True)  # not frozen, which would make it three times as dear
class KafkaRecord:
    """What goes to the broker: the record of one attempt. Nobody changes it."""

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
        if delivery.trace is not None:
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
