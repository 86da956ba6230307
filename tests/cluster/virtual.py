"""An event loop on virtual time: nothing ever waits, the clock jumps to the next timer."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

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
        selector = _InstantSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.offset_s


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on a new virtual loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
