"""Creates that are made at once travel together: those of one turn of the event loop are sent as batches.

A create of a batch costs the server a quarter of one alone, and its caller cannot tell: it gets its own
schedule or its own error. None waits for another that comes later, so a create that is alone is sent at
once, as itself; so is one that is long. What concerns a batch as a whole means for each of its creates:

| what became of the batch | each create |
|---|---|
| answered, item by item | has its own result or error |
| refused in words, so nothing was done: too long, no such route | is sent once more, alone, in time |
| not done just now: StoreUnavailable | raises that |
| no answer that says: OutcomeUnknown | raises that: it may have been done, or not |
| the client is closed, or its loop ends | raises, or is cancelled, as alone |

In time is by the deadline that it had from the start. The second row is why an item can spoil nothing for its
neighbours, and why a server without batches, such as an older one or goscheduler, is served, too: after its
first answer batches are not tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ringtime_client.calls import batch_of
from ringtime_client.exchange import Call, UnexpectedAnswer
from ringtime_shared.api.schedules import ScheduleView
from ringtime_shared.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    RingtimeError,
    StoreUnavailable,
)

MAX_ITEMS = 100  #: of one batch: more would save little, and keep its first item waiting for its last
MAX_BYTES = 256 << 10  #: of its items, well under what servers take
#: Of one create; a longer one travels alone. To a server a batch is as many requests as it has 4 KiB, and
#: batches have half of its room: it would gain nothing, and take the places of many.
MOST_JOINING_BYTES = 4 << 10
_NO_ROUTE = (404, 405)

#: Sends a call, of whose deadline so many seconds are over.
Send = Callable[[Call[Any], float], Awaitable[Any]]
Waiting = tuple[Call[ScheduleView], "asyncio.Future[ScheduleView]"]


class Coalescer:
    """Sends creates, those of one turn of the loop together.

    Args:
        send: sends one call and returns its result; raises RingtimeError.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: list[Waiting] = []
        self._sending: set[asyncio.Task[None]] = set()
        self._is_offered = True

    async def run(self, call: Call[ScheduleView]) -> ScheduleView:
        """Return what the create came to. Raises RingtimeError, as if it had been sent alone."""
        if not self._is_offered or len(call.body or b"") > MOST_JOINING_BYTES:
            alone: ScheduleView = await self._send(call, 0)
            return alone
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._flush)
        future: asyncio.Future[ScheduleView] = loop.create_future()
        self._waiting.append((call, future))
        return await future

    def _flush(self) -> None:
        """Send what this turn of the loop brought; who gave up before that is not sent."""
        waiting, self._waiting = self._waiting, []
        group: list[Waiting] = []
        size = 0
        for call, future in waiting:
            if future.done():
                continue
            length = len(call.body or b"")
            if group and (len(group) == MAX_ITEMS or size + length > MAX_BYTES):
                self._start(group)
                group, size = [], 0
            group.append((call, future))
            size += length
        if group:
            self._start(group)

    def _start(self, group: list[Waiting]) -> None:
        task = asyncio.get_running_loop().create_task(self._send_group(group))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send_group(self, group: list[Waiting]) -> None:
        try:
            if len(group) == 1:
                await self._settle_alone(*group[0])
            else:
                await self._send_batch(group)
        except asyncio.CancelledError:  # the loop ends
            for _, future in group:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - whoever waits has to be told, whatever it is
            for _, future in group:
                _settle(future, error)

    async def _send_batch(self, group: list[Waiting]) -> None:
        now = asyncio.get_running_loop().time
        begun_s = now()
        try:
            results = await self._send(batch_of([call for call, _ in group]), 0)
        except (OutcomeUnknown, StoreUnavailable) as error:
            results = [type(error)(str(error)) for _ in group]
        except (InvalidRequest, NotFound, Conflict, UnexpectedAnswer) as error:
            if isinstance(error, NotFound) or getattr(error, "http", 0) in _NO_ROUTE:
                self._is_offered = False
            await asyncio.gather(*(self._settle_alone(*each, now() - begun_s) for each in group))
            return
        for (_, future), result in zip(group, results, strict=True):
            _settle(future, result)

    async def _settle_alone(
        self, call: Call[ScheduleView], future: asyncio.Future[ScheduleView], spent_s: float = 0
    ) -> None:
        try:
            _settle(future, await self._send(call, spent_s))
        except (RingtimeError, RuntimeError) as error:
            _settle(future, error)


def _settle(future: asyncio.Future[ScheduleView], result: ScheduleView | Exception) -> None:
    """Hand a result to who waits for it, if somebody does."""
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
