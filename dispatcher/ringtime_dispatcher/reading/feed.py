"""Which arrivals to ask the store for, and which of those it returns are new. Pure.

An arrival is stamped by the clock of who wrote it, and seen later: by what the write takes, less what that
clock is ahead of this one. So a tick asks for those stamped since the last one, and a look-back before: 400
ms to begin with. A sweep, each 10 s, asks for 22 s back; where it finds what the ticks did not, the
look-back is doubled, and halved again when all of it was seen in half of that. What is later still waits
for the end of its minute, see the package.

A question that comes alone wakes threads of the store, which cost it more than its answer. So where nothing
was new for a while only those ticks ask that have to, for the first arrival after that to be in time.
"""

from __future__ import annotations

from collections.abc import Sequence

from ringtime_shared.stores.protocol import Arrival

LEAST_BACK_MS = 400
SWEEP_EACH_MS = 10_000
MOST_BACK_MS = 12_000  #: an arrival that is seen later than this after its stamp may never be
SWEEP_BACK_MS = MOST_BACK_MS + SWEEP_EACH_MS
QUIET_AFTER_MS = 10_000  #: without anything new, not every tick asks
GAP_MS = 60_000  #: half of what the store remembers: without a look for longer, some may be gone
MOST_SEEN = 200_000  #: beyond, all are forgotten, and what comes again is handled again


class Feed:
    """Turns looks at the newest arrivals into each of them once."""

    def __init__(self) -> None:
        self.look_back_ms = LEAST_BACK_MS
        self._asked_ms: int | None = None  # when the last look that was answered began
        self._swept_ms: int | None = None
        self._new_ms = 0  # when something was new, or the first look began
        self._slowest_ms = 0  # of what was new since the last sweep, until it was seen
        self._seen: set[Arrival] = set()

    def gap_since_ms(self, now_ms: int) -> int | None:
        """Return when arrivals were asked for last, if that is so long ago that some may be gone for good."""
        asked_ms = self._asked_ms
        return asked_ms if asked_ms is not None and abs(now_ms - asked_ms) > GAP_MS else None

    def is_due(self, now_ms: int, *, tick_ms: int, quiet_ms: int) -> bool:
        """Return whether to ask in this tick: in each, but where all is quiet only if the next one would come
        more than `quiet_ms` after the last look."""
        if self._asked_ms is None or now_ms - self._new_ms < QUIET_AFTER_MS:
            return True
        spare_ms = tick_ms // 8  # ticks are not that even
        return not 0 <= now_ms - self._asked_ms <= quiet_ms - tick_ms + spare_ms

    def after_ms(self, now_ms: int) -> int:
        """Return after which stamp to ask, at this moment."""
        asked_ms = now_ms if self._asked_ms is None else min(self._asked_ms, now_ms)
        return asked_ms - (SWEEP_BACK_MS if self._is_sweep(now_ms) else self.look_back_ms)

    def take(self, arrivals: Sequence[Arrival], now_ms: int) -> list[Arrival]:
        """Return those that are new of the answer to what was asked at `now_ms`."""
        new = [each for each in dict.fromkeys(arrivals) if each not in self._seen]
        if len(self._seen) + len(new) > MOST_SEEN:
            self._seen.clear()
        self._seen.update(new)
        self._new_ms = now_ms if new or self._asked_ms is None else min(self._new_ms, now_ms)
        oldest_ms = min((each.written_ms for each in new), default=now_ms)
        if self._is_sweep(now_ms):
            if self._asked_ms is not None:
                self._judge(oldest_ms <= self._asked_ms - self.look_back_ms)
            floor_ms = self.after_ms(now_ms)
            self._seen = {each for each in self._seen if each.written_ms > floor_ms}
            self._swept_ms = now_ms
        else:
            self._slowest_ms = max(self._slowest_ms, now_ms - oldest_ms)
        self._asked_ms = now_ms
        return new

    def _judge(self, is_missed: bool) -> None:
        if is_missed:
            self.look_back_ms = min(2 * self.look_back_ms, MOST_BACK_MS)
        elif 2 * self._slowest_ms < self.look_back_ms:
            self.look_back_ms = max(self.look_back_ms // 2, LEAST_BACK_MS)
        self._slowest_ms = 0

    def _is_sweep(self, now_ms: int) -> bool:
        return self._swept_ms is None or abs(now_ms - self._swept_ms) >= SWEEP_EACH_MS
