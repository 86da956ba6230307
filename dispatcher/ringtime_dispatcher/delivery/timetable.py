"""Hold rows until their slot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

from ringtime_shared.clock import Clock

T = TypeVar("T")
_LONGEST_MS = 1_000  #: that a timer runs before the time is looked at again


class Timetable(Generic[T]):
    """A heap of items by slot with one timer. Hands an item over at its slot or later, never early.

    Nothing that is read ahead waits for long, unless the wall clock was set back meanwhile: then it waits
    until the time comes again, and the clock may be set forward before that.
    """

    def __init__(
        self, clock: Clock, on_due: Callable[[T], None], drop: Callable[[T], bool] = lambda _: False
    ) -> None:
        """`drop`: asked about what has waited for a while; True: nobody wants it any more, it is gone."""
        self._clock = clock
        self._on_due = on_due
        self._drop = drop
        self._heap: list[tuple[int, int, T]] = []
        self._order = count()  # equal slots keep their order of arrival
        self._timer: asyncio.TimerHandle | None = None
        self._armed_ms = 0
        self._is_looking = False  # the timer ends before the first slot

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, slot_ms: int, item: T) -> None:
        """Hand `item` over at `slot_ms`, at once if that has passed."""
        if slot_ms <= self._clock.now_ms():
            self._on_due(item)
            return
        heappush(self._heap, (slot_ms, next(self._order), item))
        if self._timer is None or slot_ms < self._armed_ms:
            self._arm(slot_ms)

    def close(self) -> None:
        """Forget everything."""
        if self._timer is not None:
            self._timer.cancel()
        self._heap.clear()

    def _arm(self, slot_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_ms = slot_ms
        # Timers run on another clock than slots, so the time is checked again when this one fires.
        wait_ms = max(slot_ms - self._clock.now_ms(), 1)
        self._is_looking = wait_ms > _LONGEST_MS
        self._timer = asyncio.get_running_loop().call_later(min(wait_ms, _LONGEST_MS) / 1000, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now_ms = self._clock.now_ms()
        if self._is_looking:
            self._heap = [entry for entry in self._heap if not self._drop(entry[2])]
            heapify(self._heap)
        try:
            while self._heap and self._heap[0][0] <= now_ms:
                self._on_due(heappop(self._heap)[2])
        finally:  # without its timer the timetable would stand still
            if self._heap and self._timer is None:
                self._arm(self._heap[0][0])
