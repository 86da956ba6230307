"""Statements of a call, to be answered together: each goes straight to a node (`direct`) or the driver's way.

The driver may answer in a thread of its own. A `call_soon_threadsafe` an answer costs more than the answer,
so its answers are put in a queue, and the event loop is woken only if it does not know of the queue yet.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from ringtime_shared.stores.cassandra.cluster import PLAIN

Record = tuple[Any, ...]
Answer = list[Record] | BaseException
#: Takes rows and what the next page begins with, or an error, or None: the driver's own way has to do it.
Landing = Callable[[Any, Any, "Answer | None", "bytes | None"], None]


class ShortWay(Protocol):
    """A way past the driver's own: `direct`."""

    def send(self, statement: Any, call: Any, index: int) -> bool: ...


WIDTH = 64  #: statements of one call that are under way at once


class Bridge:
    """Sends statements on one driver session. All methods are for the event loop that made it."""

    def __init__(self, session: Any, direct: Callable[[Landing], ShortWay] | None = None) -> None:
        """`direct` makes the way for statements that need not go through the driver's."""
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._direct = direct(self._take) if direct is not None else None
        self._landed: deque[tuple[_Call, int, Any, Any]] = deque()
        self._is_woken = False
        self._under_way = 0
        self._idle = asyncio.Event()

    async def ask(self, statements: Sequence[Any], profile: object, host: Any = None) -> list[Answer]:
        """Execute all, `WIDTH` at once; return rows or error of each, in order.

        Args:
            host: the one to ask; None: whichever the profile's policy takes.
        """
        if not statements:
            return []
        group = _Group(self, statements, profile, host, self._loop.create_future())
        group.begin()
        return await group.done

    def ask_one(self, statement: Any, profile: object) -> asyncio.Future[Answer]:
        """Execute one statement; what is returned becomes its rows or its error. As `ask` does, for half of
        what that costs."""
        call = _Single(statement, profile, self._loop.create_future())
        self.send(call, 0)
        return call.done

    async def wait_idle(self) -> None:
        """Wait until every statement has its answer; timeouts bound it."""
        while self._under_way:
            self._idle.clear()
            await self._idle.wait()

    def send(self, call: _Call, index: int) -> None:
        self._under_way += 1
        if self._direct is not None and call.profile is PLAIN and call.host is None:
            try:
                if self._direct.send(call.statements[index], call, index):
                    return
            except Exception as error:  # noqa: BLE001 - whoever waits must be told, whatever it is
                self._crash(error, call, index, None)
                return
        self._execute(call, index, None)

    def _execute(self, call: _Call, index: int, paging_state: bytes | None) -> None:
        try:
            future = self._session.execute_async(
                call.statements[index],
                execution_profile=call.profile,
                paging_state=paging_state,
                host=call.host,
            )
            place = (call, index, future)
            future.add_callbacks(self._land, self._crash, callback_args=place, errback_args=place)
        except Exception as error:  # noqa: BLE001 - as above
            self._crash(error, call, index, None)

    def _take(self, call: _Call, index: int, answer: Answer | None, paging_state: bytes | None) -> None:
        """Take what came of a statement; None: the driver's own way has to do it."""
        if answer is None:
            self._execute(call, index, None)
            return
        if paging_state is not None and not isinstance(answer, BaseException):
            call.add_page(index, answer)
            # Asked for anew: the driver's own way to the next page runs without a timeout.
            self._execute(call, index, paging_state)
            return
        self._under_way -= 1
        call.take(index, answer)
        if not self._under_way:
            self._idle.set()

    # The next three run in the driver's thread, or in ours if the answer is there at once.

    def _land(self, rows: list[Record] | None, call: _Call, index: int, future: Any) -> None:
        self._landed.append((call, index, rows or [], future))
        self._wake()

    def _crash(self, error: BaseException, call: _Call, index: int, future: Any) -> None:
        self._landed.append((call, index, error, future))
        self._wake()

    def _wake(self) -> None:
        # `_drain` lowers the flag before it looks at the queue: an answer that finds the flag up is seen.
        if not self._is_woken:
            self._is_woken = True
            with suppress(RuntimeError):  # the event loop was closed and nobody waits any more
                self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._is_woken = False
        for _ in range(len(self._landed)):
            call, index, answer, future = self._landed.popleft()
            has_more = future is not None and not isinstance(answer, BaseException) and future.has_more_pages
            self._take(call, index, answer, future.result().paging_state if has_more else None)
        if self._landed and not self._is_woken:  # came in between: after the other callbacks
            self._is_woken = True
            self._loop.call_soon(self._drain)


class _Call(Protocol):
    """Statements that were asked for, and what came of them."""

    statements: Sequence[Any]
    profile: object
    host: Any

    def add_page(self, index: int, rows: list[Record]) -> None:
        """Take a page of an answer that goes on."""

    def take(self, index: int, answer: Answer) -> None:
        """Take the answer to a statement, or the last page of it, or its error."""


class _Single:
    """The statement of one `ask_one`."""

    __slots__ = ("_pages", "done", "host", "profile", "statements")

    def __init__(self, statement: Any, profile: object, done: asyncio.Future[Answer]) -> None:
        self.statements: Sequence[Any] = (statement,)
        self.profile = profile
        self.host: Any = None
        self.done = done
        self._pages: list[Record] = []

    def add_page(self, index: int, rows: list[Record]) -> None:
        self._pages += rows

    def take(self, index: int, answer: Answer) -> None:
        if self.done.done():
            return  # its caller was cancelled
        self.done.set_result(self._pages + answer if self._pages and isinstance(answer, list) else answer)


class _Group:
    """The statements of one `ask`."""

    __slots__ = ("_answers", "_bridge", "_left", "_next", "done", "host", "profile", "statements")

    def __init__(
        self,
        bridge: Bridge,
        statements: Sequence[Any],
        profile: object,
        host: Any,
        done: asyncio.Future[list[Answer]],
    ) -> None:
        self.statements = statements
        self.profile = profile
        self.host = host
        self.done = done
        self._bridge = bridge
        self._answers: list[Answer] = [[] for _ in statements]
        self._next = 0
        self._left = len(statements)

    def begin(self) -> None:
        self._next = min(WIDTH, self._left)
        for index in range(self._next):
            self._bridge.send(self, index)

    def add_page(self, index: int, rows: list[Record]) -> None:
        so_far = self._answers[index]
        self._answers[index] = so_far + rows if so_far and isinstance(so_far, list) else rows

    def take(self, index: int, answer: Answer) -> None:
        if isinstance(answer, BaseException):
            self._answers[index] = answer
        else:
            self.add_page(index, answer)
        self._left -= 1
        if self.done.done():
            return  # its caller was cancelled: no more is sent
        if not self._left:
            self.done.set_result(self._answers)
        elif self._next < len(self.statements):
            self._next += 1
            self._bridge.send(self, self._next - 1)
