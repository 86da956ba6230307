"""Deadlines of attempts: thousands are set each second and hardly one is reached, so they share timers.

`asyncio.timeout` sets a timer of the event loop for each. Attempts have one of few timeouts, and those of one
end in the order they began in: they stand in a line, and one timer waits for the first of it. A line is there
while somebody stands in it.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Protocol


class Timed(Protocol):
    """What ends after a while, unless it leaves its line before."""

    @property
    def seconds(self) -> float: ...

    def expire(self) -> None:
        """The time is up. It is out of its line."""


class Deadlines:
    """The lines of one event loop."""

    def __init__(self, *, waits_a_turn: bool = False) -> None:
        """`waits_a_turn`: whether what ends by itself at the same moment may do so first, also where the
        event loop is late for both."""
        self._waits_a_turn = waits_a_turn
        self._lines: dict[float, Line] = {}  # by timeout

    def after(self, seconds: float) -> Deadline:
        """Return a deadline for a task, so long after the body is entered."""
        return Deadline(self, seconds)

    def enter(self, timed: Timed) -> Line:
        """Let something stand in its line; return that."""
        seconds = timed.seconds
        line = self._lines.get(seconds)
        if line is None:
            line = self._lines[seconds] = Line(seconds, waits_a_turn=self._waits_a_turn)
        line.append(timed)
        return line

    def leave(self, timed: Timed, line: Line) -> None:
        """Take something out of its line, if it is there."""
        if line.remove(timed) and self._lines.get(timed.seconds) is line:
            del self._lines[timed.seconds]


class Deadline:
    """A context that lasts so long at most. To be entered once, in a task: this is cancelled when the time is
    up, and the way out raises TimeoutError then, as with `asyncio.timeout`."""

    __slots__ = ("_cancelling", "_deadlines", "_line", "_task", "is_over", "seconds")

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self.seconds = seconds
        self.is_over = False  #: the time is up, or was made so
        self._deadlines = deadlines
        self._task: asyncio.Task[object] | None = None  # while the body runs

    def __enter__(self) -> Deadline:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline is for a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._line = self._deadlines.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        self._deadlines.leave(self, self._line)
        is_own = self.is_over and task is not None and task.uncancel() <= self._cancelling
        if is_own and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """End the body, if it has not ended."""
        if self._task is not None and not self.is_over:
            self.is_over = True
            self._task.cancel()


class Line:
    """What has one timeout, the first to end first."""

    def __init__(self, seconds: float, *, waits_a_turn: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._waits_a_turn = waits_a_turn
        self._ends_s: dict[Timed, float] = {}  # oldest first
        self._timer: asyncio.TimerHandle | None = None

    def append(self, timed: Timed) -> None:
        end_s = self._ends_s[timed] = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_at(end_s, self._end)

    def remove(self, timed: Timed) -> bool:
        """Return whether nobody is left in the line."""
        self._ends_s.pop(timed, None)
        if not self._ends_s and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return not self._ends_s

    def _end(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        over = []
        for timed, end_s in self._ends_s.items():
            if end_s > now_s:
                self._timer = self._loop.call_at(end_s, self._end)
                break
            over.append(timed)
        for timed in over:
            if self._ends_s.pop(timed, None) is None:
                continue  # it left at the end of another
            if self._waits_a_turn:
                self._loop.call_soon(timed.expire)
            else:
                timed.expire()
