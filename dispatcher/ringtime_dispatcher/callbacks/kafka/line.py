"""One aiokafka producer at a time: started when it is first needed, replaced when it is of no more use.

Why replaced, and not kept:

- After some errors an idempotent producer refuses everything for ever (`client.is_dead`).
- In idempotent mode aiokafka never gives up a batch. What was handed over before an attempt's deadline
  would be sent minutes later, beside the attempt that replaced it; with its producer it goes away.
- A broken connection may end the task that learns of brokers and leaders (aio-libs/aiokafka issue 1038);
  the producer goes on without a word and finds no leader any more.
- `AIOKafkaProducer.stop` waits for ever while the brokers are away (aio-libs/aiokafka issue 1101), so the
  old one is left to end in the background, by force if need be.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerClosed

_log = logging.getLogger(__name__)

_HOLD_OFF_S = 1.0  #: after a start that failed, others fail at once for so long
_FLUSH_S = 2.0  #: for what a producer was given to be acknowledged, before it ends
_CLOSE_FLUSH_S = 5.0  #: the same when the process ends
_MOST_LEAVING = 4  #: producers that have not ended yet; a bound on memory and connections
_AWAY = "no broker could be reached, or none took the login"


class NotConnected(Exception):
    """There is no working producer, so nothing was sent."""


class ProducerLine:
    """The producer in use.

    Args:
        make: makes one that is not started.
        request_s: the producers' own time for one answer; starting and ending take a few of these at most.
        find_fault: asked when none could be started; returns why in words, "" where it is not known.
    """

    def __init__(
        self,
        make: Callable[[], AIOKafkaProducer],
        request_s: float,
        find_fault: Callable[[], Awaitable[str]],
    ) -> None:
        self._make = make
        self._request_s = request_s
        self._find_fault = find_fault
        self._why = _AWAY  # the last start failed
        self._current: AIOKafkaProducer | None = None
        self._starting: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._retry_s = 0.0  # loop time before which no start is tried
        self._is_closed = False

    @property
    def current(self) -> AIOKafkaProducer | None:
        """The producer in use, if there is one."""
        return self._current

    async def get(self) -> AIOKafkaProducer:
        """Return the producer in use; start one if there is none. Raises NotConnected."""
        while self._current is None:
            if self._is_closed:
                raise NotConnected("this process is about to end")
            if self._starting is None:
                if asyncio.get_running_loop().time() < self._retry_s:
                    raise NotConnected(self._why)
                if len(self._leaving) >= _MOST_LEAVING:
                    raise NotConnected("earlier connections have not ended yet")
                self._starting = asyncio.create_task(self._start(), name="kafka-start")
            await asyncio.wait([self._starting])  # one start for all who wait
        return self._current

    def retire(self, producer: AIOKafkaProducer, flush_s: float = _FLUSH_S) -> None:
        """Use this producer no more. What it holds has `flush_s` to be acknowledged; then it fails."""
        if producer is self._current:
            self._current = None
            leaving = asyncio.create_task(self._let_go(producer, flush_s), name="kafka-stop")
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """Send what is left and end everything, within about ten seconds."""
        self._is_closed = True
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        if self._current is not None:
            self.retire(self._current, _CLOSE_FLUSH_S)
        if self._leaving:
            _, late = await asyncio.wait(self._leaving, timeout=2 * _CLOSE_FLUSH_S)
            for task in late:
                task.cancel()

    async def _start(self) -> None:
        producer = self._make()
        try:
            # It asks for its producer id over and over, for ever, so it has to be told when to give up.
            async with asyncio.timeout(2 * self._request_s):
                await producer.start()
        except BaseException as error:  # whatever a peer that is no broker makes it raise
            self._retry_s = asyncio.get_running_loop().time() + _HOLD_OFF_S
            await self._let_go(producer, 0)
            if not isinstance(error, Exception):
                raise
            fault = await self._find_fault()
            self._why = fault or _AWAY
            _log.warning("no Kafka producer: %s", fault or f"{type(error).__name__}: {error}")
        else:
            self._current = producer
            producer.client._sync_task.add_done_callback(lambda task: self._let_go_of_blind(producer, task))  # noqa: SLF001
        finally:
            self._starting = None

    def _let_go_of_blind(self, producer: AIOKafkaProducer, learning: asyncio.Task[None]) -> None:
        """Retire a producer whose task that learns of brokers and leaders has ended, if that is unplanned."""
        if not learning.cancelled():
            _log.warning("a Kafka producer learns nothing new any more", exc_info=learning.exception())
            client = producer.client
            client._sync_task = None  # noqa: SLF001 - its `close` would raise what ended the task
            self.retire(producer)
            learnt = client._md_update_fut  # noqa: SLF001
            if learnt is not None and not learnt.done():
                learnt.set_exception(ProducerClosed())  # who waits for news goes on with the next producer
                learnt.exception()

    async def _let_go(self, producer: AIOKafkaProducer, flush_s: float) -> None:
        """Stop a producer: in order if it can, by force if not."""
        stopping = asyncio.create_task(producer.stop(), name="kafka-flush")
        try:
            await asyncio.wait([stopping], timeout=flush_s)
            if not stopping.done():
                await self._force(producer, stopping)
        finally:
            if not stopping.done():
                stopping.cancel()
            elif not stopping.cancelled() and stopping.exception() is not None:
                _log.warning("a Kafka producer did not stop in order", exc_info=stopping.exception())

    async def _force(self, producer: AIOKafkaProducer, stopping: asyncio.Task[None]) -> None:
        """Make a `stop` that waits for brokers go on.

        There is no public way. `stop` waits for the sender task or for all batches, whichever ends first;
        both are made to end here. A sender that is cancelled waits for the requests under way; one that is
        cancelled twice does not.
        """
        sender = producer._sender.sender_task  # noqa: SLF001
        if sender is not None:
            for patience_s in (2.0 if self._is_closed else 3 * self._request_s, 1.0):
                if not sender.done():
                    sender.cancel()
                    await asyncio.wait([sender], timeout=patience_s)
        _fail_all(producer)
        await asyncio.wait([stopping], timeout=2.0)


def _fail_all(producer: AIOKafkaProducer) -> None:
    """Fail what a producer still holds, so that nobody waits for it; its sender must have ended.

    Two faults of aiokafka would show as errors in the log: it takes a batch that was put back for another
    try out of its set twice, and it fails a future of each batch that only those look at who wait for room.
    """
    accumulator = producer._message_accumulator  # noqa: SLF001
    waiting = [batch for batches in accumulator._batches.values() for batch in batches]  # noqa: SLF001
    accumulator._pending_batches.update(waiting)  # noqa: SLF001
    accumulator.fail_all(ProducerClosed())
    for batch in waiting:
        batch._drain_waiter.exception()  # noqa: SLF001
