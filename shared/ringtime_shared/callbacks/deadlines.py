"""Deadlines of attempts: thousands are set each second and hardly one is reached, so they share timers.

`asyncio.timeout` sets a timer of the event loop for each. Attempts have one of few timeouts, and those of one
end in the order they began in: they stand in a line, and one timer waits for the first of it. A line is there
while somebody stands in it.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadlines:
    """Makes deadlines for the tasks of one event loop."""

    def __init__(self, *, waits_a_turn: bool = False) -> None:
        """`waits_a_turn`: whether what ends by itself at the same moment may do so first, also where the
        event loop is late for both."""
        self._waits_a_turn = waits_a_turn
        self._lines: dict[float, _Line] = {}  # by timeout

    def after(self, seconds: float) -> Deadline:
        """Return a deadline so long after the body is entered."""
        return Deadline(self, seconds)

    def enter(self, deadline: Deadline) -> _Line:
        """Let a deadline stand in its line; return that."""
        line = self._lines.get(deadline.seconds)
        if line is None:
            line = self._lines[deadline.seconds] = _Line(deadline.seconds, waits_a_turn=self._waits_a_turn)
        line.append(deadline)
        return line

    def leave(self, deadline: Deadline, line: _Line) -> None:
        """Take a deadline out of its line."""
        if line.remove(deadline) and self._lines.get(deadline.seconds) is line:
            del self._lines[deadline.seconds]


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


class _Line:
    """Deadlines of one timeout, the first to end first."""

    def __init__(self, seconds: float, *, waits_a_turn: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._waits_a_turn = waits_a_turn
        self._ends_s: dict[Deadline, float] = {}  # oldest first
        self._timer: asyncio.TimerHandle | None = None

    def append(self, deadline: Deadline) -> None:
        end_s = self._ends_s[deadline] = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_at(end_s, self._end)

    def remove(self, deadline: Deadline) -> bool:
        """Return whether nobody is left in the line."""
        self._ends_s.pop(deadline, None)
        if not self._ends_s and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return not self._ends_s

    def _end(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        over = []
        for deadline, end_s in self._ends_s.items():
            if end_s > now_s:
                self._timer = self._loop.call_at(end_s, self._end)
                break
            over.append(deadline)
        for deadline in over:
            del self._ends_s[deadline]
            if self._waits_a_turn:
                self._loop.call_soon(deadline.expire)
            else:
                deadline.expire()
