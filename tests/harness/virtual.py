"""Virtual time: an event loop that never waits, because its clock jumps to the next timer.

Every test of what takes time in one process runs on it, with a clock of the services that follows the loop.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from heapq import heapify, heappop, heappush
from typing import Any, ParamSpec, TypeVar

from ringtime_shared.clock import SystemClock
from tests.contract.builders import START_MS

P = ParamSpec("P")
T = TypeVar("T")


class _Call:
    """What the loop is to call: an `asyncio.Handle` at a third of its cost."""

    __slots__ = ("args", "callback", "context", "is_cancelled")

    def __init__(
        self, callback: Callable[..., object], args: tuple[object, ...], context: Context | None
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = copy_context() if context is None else context
        self.is_cancelled = False

    def __repr__(self) -> str:
        return f"<call of {self.callback!r}>"

    def cancel(self) -> None:
        self.is_cancelled = True
        self.callback, self.args = _nothing, ()  # they may hold much

    def cancelled(self) -> bool:
        return self.is_cancelled


class _Timer(_Call):
    """What the loop is to call later: an `asyncio.TimerHandle`."""

    __slots__ = ("loop", "when_s")

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[object, ...],
        context: Context | None,
        loop: VirtualLoop,
        when_s: float,
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = copy_context() if context is None else context
        self.is_cancelled = False
        self.loop: VirtualLoop | None = loop  #: until the time has come
        self.when_s = when_s

    def __lt__(self, other: _Timer) -> bool:
        return False  # no timer is before one that is due at the same moment

    def cancel(self) -> None:
        if not self.is_cancelled:
            super().cancel()
            if self.loop is not None:
                self.loop.cancelled_timers += 1

    def when(self) -> float:
        return self.when_s


def _nothing() -> None:
    pass


class VirtualLoop(asyncio.BaseEventLoop):
    """Time starts at 0 and stands still while code runs. It has no sockets, and no threads call it.

    What is called when, and in which order, is as with asyncio's own loops, also where timers are equal.
    """

    #: As asyncio has it: so few timers, or so small a part of them that is cancelled, is not worth a look.
    MIN_TIMERS, MIN_CANCELLED = 100, 0.5
    RESOLUTION_S = 1e-9
    _closed: bool  # asyncio's own
    _stopping: bool

    def __init__(self) -> None:
        super().__init__()
        self.get_debug = bool  # type: ignore[method-assign]  # no: asked for each future, and in C that is cheap
        self.offset_s = 0.0
        self.endings: list[Callable[[], Awaitable[None]]] = []
        self.cancelled_timers = 0
        self._calls: deque[_Call] = deque()
        #: Of two that are due at once, neither is before the other: `heapq` decides, as it does in asyncio.
        self._timers: list[tuple[float, _Timer]] = []

    def time(self) -> float:
        return self.offset_s

    def call_soon(
        self, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> Any:
        if self._closed:
            raise RuntimeError("the virtual loop is closed")
        call = _Call(callback, args, context)
        self._calls.append(call)
        return call

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> Any:
        if self._closed:
            raise RuntimeError("the virtual loop is closed")
        when_s = self.offset_s + delay
        timer = _Timer(callback, args, context, self, when_s)
        heappush(self._timers, (when_s, timer))
        return timer

    def call_at(
        self, when: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> Any:
        if self._closed:
            raise RuntimeError("the virtual loop is closed")
        timer = _Timer(callback, args, context, self, when)
        heappush(self._timers, (when, timer))
        return timer

    def _run_once(self) -> None:
        """Call what is to be called now, and if that is nothing, move time on to the next timer; until the
        loop is to stop. asyncio would come back for each moment, which costs as much as what is called."""
        calls, timers, next_call = self._calls, self._timers, self._calls.popleft
        while not self._stopping:
            if timers and (
                timers[0][1].is_cancelled or self.cancelled_timers > len(timers) * self.MIN_CANCELLED
            ):
                self._drop_cancelled()
            if timers:
                if not calls:
                    self.offset_s += max(0.0, timers[0][0] - self.offset_s)
                end_s = self.offset_s + self.RESOLUTION_S
                while timers and timers[0][0] < end_s:
                    timer = heappop(timers)[1]
                    timer.loop = None
                    calls.append(timer)
            elif not calls:
                raise RuntimeError("every task waits for something that no timer will bring")
            for _ in range(len(calls)):
                call = next_call()
                if not call.is_cancelled:
                    try:
                        call.context.run(call.callback, *call.args)
                    except (SystemExit, KeyboardInterrupt):
                        raise
                    except BaseException as error:  # noqa: BLE001 - as asyncio does: the loop goes on
                        self.call_exception_handler({"message": f"exception in {call!r}", "exception": error})

    def _drop_cancelled(self) -> None:
        timers = self._timers
        if len(timers) > self.MIN_TIMERS and self.cancelled_timers > len(timers) * self.MIN_CANCELLED:
            timers[:] = [timer for timer in timers if not timer[1].is_cancelled]
            heapify(timers)
            self.cancelled_timers = 0
        else:
            while timers and timers[0][1].is_cancelled:
                heappop(timers)
                self.cancelled_timers -= 1


class LoopClock(SystemClock):
    """Both clocks follow the loop; the wall clock begins at `START_MS`, the first slot of a minute.

    A virtual loop begins at 0. The machine's own counts since it was switched on, days ago perhaps, in which
    whatever came due at `START_MS` would have been given up: there the wall clock begins at the first look.
    """

    def __init__(self, start_ms: int = START_MS) -> None:
        self.back_ms = 0  #: how far the wall clock has been set back
        self._start_ms = start_ms
        self._begun_ms: int | None = None

    def now_ms(self) -> int:
        if self._begun_ms is None:
            self._begun_ms = 0 if isinstance(asyncio.get_running_loop(), VirtualLoop) else self.boot_ms()
        return self._start_ms + self.boot_ms() - self._begun_ms - self.back_ms

    def boot_ms(self) -> int:
        return int(asyncio.get_running_loop().time() * 1000 + 1e-6)


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on a new virtual loop, then what `at_end` was told."""

    async def run() -> T:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        try:
            return await main
        finally:
            for end in loop.endings:
                await end()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(run())


def on_virtual_time(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Run an async test on a virtual loop."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_virtual(test(*args, **kwargs))

    return run


def at_end(end: Callable[[], Awaitable[None]]) -> None:
    """Have this awaited when the test on the running virtual loop is over, however it ends."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.endings.append(end)
