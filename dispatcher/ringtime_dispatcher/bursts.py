"""How much is due in the fullest of the next minutes, for whoever adds dispatchers before it comes.

One node looks, the first by name of those that have a share of the ring, so that no two do the same. It
counts what is filed, of all apps together: no creates to come, and no retries but those that wait already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from ringtime_dispatcher.rounds import rounds
from ringtime_shared.buckets import bucket_of
from ringtime_shared.clock import Clock
from ringtime_shared.metrics import Metrics
from ringtime_shared.metrics.names import FORECAST_DUE, LABEL_VALUES
from ringtime_shared.schedules.forecast import Minute
from ringtime_shared.schedules.minutes_ahead import AheadStore, count_minutes

HORIZONS = tuple(map(int, LABEL_VALUES["minutes"]))
_SPARE = 5  #: minutes that are counted beyond, so that a count which is that old still holds all that is told
_MOST_COUNTED = 1_000  #: poller instances and minutes, in one look
_PAUSE = 19  #: times as long as a look took, none is made again
_FIRST_S = 10.0


class BurstWatch:
    """Looks at the minutes ahead, a round at a time."""

    def __init__(self, store: AheadStore, clock: Clock, is_mine: Callable[[], bool]) -> None:
        """`is_mine`: whether it is this node that looks."""
        self._store = store
        self._clock = clock
        self._is_mine = is_mine
        self._minutes: Sequence[Minute] = ()
        self._next_ms = 0  # boot time of the next look

    def register(self, metrics: Metrics) -> None:
        """Let it be measured how full the fullest minute is, by the node that looks."""
        metrics.levels(FORECAST_DUE, self._peaks)

    def looking(self, every_s: float) -> AbstractAsyncContextManager[None]:
        """Make a round every so often meanwhile."""
        return rounds("the look at the minutes ahead", self.round, first_s=_FIRST_S, every_s=every_s)

    async def round(self) -> None:
        """Count, unless another node does, or the last count was long and a short time ago. Raises
        StoreUnavailable."""
        if not self._is_mine():
            self._minutes = ()
            return
        begun_ms = self._clock.boot_ms()
        if begun_ms < self._next_ms:
            return
        first = bucket_of(self._clock.now_ms())
        last = first + max(HORIZONS) + _SPARE - 1
        self._minutes, _ = await count_minutes(self._store, first, last, _MOST_COUNTED)
        ended_ms = self._clock.boot_ms()
        self._next_ms = ended_ms + _PAUSE * (ended_ms - begun_ms)

    def _peaks(self) -> Mapping[tuple[str, ...], float]:
        """Return the peaks by horizon. Minutes that are over count no more, and a horizon some of whose
        minutes were not counted has none: whoever scales by it would take that for a lull."""
        now = bucket_of(self._clock.now_ms())
        if not self._minutes or now < self._minutes[0].bucket:  # the clock was set back
            return {}
        return {
            (str(horizon),): max(each.due for each in self._minutes if now <= each.bucket < now + horizon)
            for horizon in HORIZONS
            if now + horizon - 1 <= self._minutes[-1].bucket
        }
