"""An app's rate: at most n starts in any second, wherever the second begins, also after a pause.

So that they do not come all at its beginning, where a late one meets the early ones of the next second at
the receiver, no more than a tenth of them begin within a tenth of that time: 20 a second are 2 in any 100 ms.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

_SECOND_MS = 1_001  #: times are whole milliseconds, rounded down: so two this far apart are a second apart


class Pace:
    """When what was begun, and so when the next may begin. Times in ms of a clock that never goes back."""

    __slots__ = ("_burst", "_burst_ms", "_second", "per_s")

    def __init__(self, per_s: int, begun_ms: Iterable[int] = ()) -> None:
        """`begun_ms`: what was begun before, oldest first."""
        self.per_s = per_s
        burst = -(-per_s // 10)
        self._second: deque[int] = deque(begun_ms, maxlen=per_s)
        self._burst: deque[int] = deque(self._second, maxlen=burst)
        self._burst_ms = burst * 1_000 // per_s

    def changed(self, per_s: int) -> Pace:
        """Return the pace of the same app at another rate: what it began counts."""
        return Pace(per_s, self._second)

    def next_ms(self) -> int:
        """Return from when on the next may begin."""
        next_ms = 0
        if len(self._second) == self.per_s:
            next_ms = self._second[0] + _SECOND_MS
        if len(self._burst) == self._burst.maxlen:
            next_ms = max(next_ms, self._burst[0] + self._burst_ms)
        return next_ms

    def begin(self, now_ms: int) -> None:
        while self._second and self._second[0] + _SECOND_MS <= now_ms:
            self._second.popleft()
        self._second.append(now_ms)
        self._burst.append(now_ms)

    def rests_ms(self) -> int:
        """Return from when on nothing that was begun counts any more."""
        return self._second[-1] + _SECOND_MS if self._second else 0
