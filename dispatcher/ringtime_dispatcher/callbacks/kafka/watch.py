"""Attempts that wait long: has their topic gone in the meantime?

aiokafka keeps trying to write to a topic that was deleted under it. The attempts are ended here, a second
after their hand-over instead of at their deadline, and only when the brokers say so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_TICK_S = 0.25
_LONG_S = 0.75  #: a healthy broker acknowledges in milliseconds
_PAUSE_S = 2.0  #: between two rounds of questions
_MOST_ASKED = 50  #: topics in one round


@dataclass(slots=True, eq=False)
class Attempt:
    """One attempt under way."""

    topic: str
    deadline: asyncio.Timeout  #: the scope it runs in
    began_s: float  #: time of the event loop
    fault: str = ""  #: why it was ended before its deadline
    is_handed_over: bool = False  #: the record may have been written


class Watch:
    """Looks after attempts, as long as there are any.

    Args:
        ask: what is wrong with a topic, empty for nothing; None if that cannot be found out.
    """

    def __init__(self, ask: Callable[[str], Awaitable[str | None]]) -> None:
        self._ask = ask
        self._open: dict[Attempt, None] = {}  # oldest first
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None
        self._next_s = 0.0

    @contextmanager
    def over(self, attempt: Attempt) -> Iterator[None]:
        """Look after an attempt while this is open."""
        self._open[attempt] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)
        try:
            yield
        finally:
            del self._open[attempt]

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
        for attempt in self._open:
            if loop.time() - attempt.began_s < _LONG_S or len(topics) == _MOST_ASKED:
                break
            topics[attempt.topic] = None
        if topics:
            self._next_s = loop.time() + _PAUSE_S
            self._asking = asyncio.create_task(self._end_hopeless(list(topics)), name="kafka-watch")

    async def _end_hopeless(self, topics: list[str]) -> None:
        for topic in topics:
            fault = await self._ask(topic)
            if fault is None:
                return  # the brokers are away, which says nothing about topics
            for attempt in self._open if fault else ():
                if attempt.topic == topic and not attempt.deadline.expired():
                    attempt.fault = fault
                    attempt.deadline.reschedule(asyncio.get_running_loop().time())
