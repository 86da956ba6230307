"""Virtual time: an event loop that never waits, because its clock jumps to the next timer.

Every test of what takes time in one process runs on it, with a clock of the services that follows the loop.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from ringtime_shared.clock import SystemClock
from tests.contract.builders import START_MS

P = ParamSpec("P")
T = TypeVar("T")


class _InstantSelector(selectors.SelectSelector):
    """Instead of sleeping until `timeout`, moves the loop's time on by it."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("every task waits for something that no timer will bring")
        self.loop.offset_s += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time starts at 0 and stands still while code runs."""

    def __init__(self) -> None:
        self.offset_s = 0.0
        self.endings: list[Callable[[], Awaitable[None]]] = []
        selector = _InstantSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.offset_s


class LoopClock(SystemClock):
    """Both clocks follow the loop; the wall clock begins at `START_MS`, the first slot of a minute."""

    def __init__(self, start_ms: int = START_MS) -> None:
        self.back_ms = 0  #: how far the wall clock has been set back
        self._start_ms = start_ms

    def now_ms(self) -> int:
        return self._start_ms + self.boot_ms() - self.back_ms

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
