"""What falls due: of one app, counted; of all in the next hour, counted or, where that is much, estimated.

The next hour is read at most each half minute, in the background, and only while somebody asks; where that
takes long, less often, so that a page which stays open has a twentieth of the time at most.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ringtime_shared.buckets import bucket_of
from ringtime_shared.clock import Clock
from ringtime_shared.errors import RingtimeError
from ringtime_shared.schedules.buckets_ahead import count_entries, read_entries
from ringtime_shared.schedules.forecast import Forecast, Minute, forecast, window
from ringtime_shared.schedules.minutes_ahead import AheadStore, count_minutes

MINUTES = 60
_FRESH_MS = 30_000
_PAUSE = 19  #: times as long as a look took, nobody looks again
_MOST_COUNTED = 3_000
_MOST_OF_APP = 3_000  #: poller instances and minutes counted for one app's forecast
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hour:
    """What falls due in the next hour."""

    at_ms: int
    minutes: Sequence[Minute]  #: all of them, in order
    is_estimate: bool


class Ahead:
    """Counts what is filed."""

    def __init__(self, store: AheadStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._hour: Hour | None = None
        self._next_ms = 0  # boot time of the next look
        self._looking: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Stop what goes on in the background."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    def hour(self) -> Hour | None:
        """Return the next hour as it was counted last, and have it counted anew if that was a while ago.

        None: it is being counted for the first time.
        """
        is_old = self._clock.boot_ms() >= self._next_ms
        if is_old and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look(), name="what is ahead")
        return self._hour

    async def of_app(self, app_id: str, quota: int, hours: float) -> tuple[Forecast, int]:
        """Return the forecast of an app, and the last minute that it covers: where there is more than can be
        counted at once, it ends early. Raises StoreUnavailable."""
        first, last = window(self._clock.now_ms(), hours)
        due: Counter[int] = Counter()
        counted, upto = 0, first - 1
        async for end, entries in read_entries(self._store, app_id, first, last):
            if counted and counted + len(entries) > _MOST_OF_APP:
                break
            for entry, count in (await count_entries(self._store, entries)).items():
                due[entry.bucket] += count
            counted, upto = counted + len(entries), end
        return forecast(app_id, quota, due), upto

    async def _look(self) -> None:
        begun_ms = self._clock.boot_ms()
        try:
            self._hour = await self._count()
        except RingtimeError as error:
            _log.warning("the minutes ahead are not counted: %s", error)
        except Exception:  # noqa: BLE001 - nobody awaits this task; who asks next tries again
            _log.exception("the minutes ahead are not counted: a bug")
        ended_ms = self._clock.boot_ms()
        self._next_ms = max(begun_ms + _FRESH_MS, ended_ms + _PAUSE * (ended_ms - begun_ms))

    async def _count(self) -> Hour:
        now_ms = self._clock.now_ms()
        first = bucket_of(now_ms)
        minutes, is_estimate = await count_minutes(self._store, first, first + MINUTES - 1, _MOST_COUNTED)
        return Hour(now_ms, minutes, is_estimate)
