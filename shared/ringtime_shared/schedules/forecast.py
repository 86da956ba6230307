"""What falls due in the minutes ahead, against what a quota carries. Pure.

One partition carries about 1,000 callbacks a minute, as goscheduler counts. What is advised carries a fifth
more than is asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from ringtime_shared.buckets import BUCKET_MS, first_slot

PER_PARTITION = 1_000  #: callbacks a minute that one partition carries
HEADROOM = 1.2
_HOUR_MS = 3_600_000


class Minute(NamedTuple):
    """One minute with something due."""

    bucket: int
    due: int

    @property
    def start_ms(self) -> int:
        return first_slot(self.bucket)


class Hour(NamedTuple):
    """The minutes of one hour, put together."""

    start_ms: int
    due: int
    peak: int  #: of its fullest minute
    over: int  #: minutes that exceed the quota


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What an app has ahead."""

    app_id: str
    quota: int
    minutes: Sequence[Minute]  #: those with something due, in order

    @property
    def capacity(self) -> int:
        """Callbacks a minute that the quota carries."""
        return self.quota * PER_PARTITION

    @property
    def total(self) -> int:
        return sum(minute.due for minute in self.minutes)

    @property
    def peak(self) -> Minute | None:
        """The fullest minute; the first of several."""
        return max(self.minutes, key=lambda minute: (minute.due, -minute.bucket), default=None)

    @property
    def over(self) -> list[Minute]:
        """The minutes that exceed the quota."""
        return [minute for minute in self.minutes if minute.due > self.capacity]

    @property
    def advised(self) -> int | None:
        """The quota that carries the peak with room to spare; None: nothing is due."""
        return None if self.peak is None else quota_for(self.peak.due)

    def hours(self) -> list[Hour]:
        """Return the hours with something due."""
        by_hour: dict[int, list[int]] = defaultdict(list)
        for minute in self.minutes:
            by_hour[minute.start_ms // _HOUR_MS * _HOUR_MS].append(minute.due)
        return [
            Hour(start_ms, sum(due), max(due), sum(count > self.capacity for count in due))
            for start_ms, due in sorted(by_hour.items())
        ]


def forecast(app_id: str, quota: int, due: Mapping[int, int]) -> Forecast:
    """Return the forecast of an app with `quota` partitions and so many live rows in each bucket."""
    minutes = [Minute(bucket, count) for bucket, count in sorted(due.items()) if count]
    return Forecast(app_id=app_id, quota=quota, minutes=minutes)


def window(now_ms: int, hours: float) -> tuple[int, int]:
    """Return the first and the last bucket from now on."""
    return now_ms // BUCKET_MS, (now_ms + round(hours * _HOUR_MS)) // BUCKET_MS


def quota_for(per_minute: int) -> int:
    """Return the partitions that carry so many callbacks a minute, with room to spare."""
    return max(1, ceil(per_minute * HEADROOM / PER_PARTITION))
