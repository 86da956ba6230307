"""Which run follows which: a pure function of a definition's times.

`next_after` asks for the instants of a rule, which increase strictly; what has been run before and what time
it is do not matter, so run k + 1 follows from run k alone. A moment is looked for within one period of
constant offset at a time. There a wall time is its instant and a constant; what the clocks skip or repeat is
at the period's edges, and treated by the definition's policy:

- *gap*, at the begin: wall times that were jumped over are skipped, or put at the begin, or counted on by the
  offset from before;
- *overlap*: the wall times at the end of a period come again at the begin of the next.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import blake2b

from ringtime_shared.models.times import (
    DIALECT,
    DstGap,
    DstOverlap,
    Effect,
    Exclusions,
    Interval,
    Omitted,
    Run,
    Spread,
    Times,
    Unit,
)
from ringtime_shared.recurring.rules import Rule, calendar_rule, cron_of
from ringtime_shared.recurring.zones import LAST_MS, Period, Zone, from_wall, to_wall, zone_of

NO_EXCLUSIONS = Exclusions()
MAX_WINDOW_MS = 86_400_000
MOST_PREVIEWED = 100

_UNIT_MS = {Unit.SECONDS: 1_000, Unit.MINUTES: 60_000, Unit.HOURS: 3_600_000}
_DAY_MS = 86_400_000
_HASH_BITS = 64
_CHOICES_MS = 15_000  #: see `choices_ms`


def next_after(
    times: Times, after_ms: int, index: int = 0, *, key: str = "", exclusions: Exclusions = NO_EXCLUSIONS
) -> Run | None:
    """Return the first run whose nominal time is later than `after_ms`; None: there is none, ever.

    The run after a run is `next_after(times, run.nominal_ms, run.index, ...)`. The first one of a definition
    that is to begin now is `next_after(times, now_ms - 1, ...)`.

    Args:
        after_ms: a nominal time, or now.
        index: how many runs of these times there have been, of which `times.count` is the most.
        key: what is the definition's own, as its id: where in a window its runs lie follows from that.
        exclusions: what `times.calendars` say.

    Raises:
        ValueError: the times are not such as `parse_times` makes, or of a dialect of a later version.
    """
    if times.count is not None and index >= times.count:
        _moments_of(times)
        return None
    first = _first_of_all if exclusions == NO_EXCLUSIONS else _first_with
    moments, moment = first(times, after_ms, exclusions)
    return None if moment is None else _to_run(times, moments, moment, index + 1, key)


def preview(
    times: Times,
    n: int,
    after_ms: int,
    index: int = 0,
    *,
    key: str = "",
    exclusions: Exclusions = NO_EXCLUSIONS,
) -> list[Run | Omitted]:
    """Return the next `n` runs after an instant, and the planned times before the last that make none.

    Both in order, and at most `MOST_PREVIEWED` of either. Arguments and errors are those of `next_after`.
    """
    moments = _moments_of(times)
    shown: list[Run | Omitted] = []
    runs = omissions = 0
    while runs < min(n, MOST_PREVIEWED) and (times.count is None or index < times.count):
        moment, omitted = _first_moment(times, moments, after_ms, exclusions)
        if moment is not None:
            skipped = moments.skipped(_within(times, after_ms), moment.ms)
            omitted = sorted([*omitted, *(Omitted(wall, Effect.SKIPPED) for wall in skipped)], key=_wall)
        shown += omitted[: MOST_PREVIEWED - omissions]
        omissions = min(omissions + len(omitted), MOST_PREVIEWED)
        if moment is None:
            break
        index, runs, after_ms = index + 1, runs + 1, moment.ms
        shown.append(_to_run(times, moments, moment, index, key))
    return shown


@dataclass(frozen=True, slots=True)
class _Moment:
    """An instant that a rule names, before limits, calendars and window."""

    ms: int
    wall: datetime  #: the planned one
    effect: Effect | None = None


class _Elapsed:
    """Every so many milliseconds, whatever the clocks show."""

    def __init__(self, interval: Interval, zone: Zone) -> None:
        self.zone = zone
        self._anchor_ms = interval.anchor_ms
        self._step_ms = interval.every * _UNIT_MS[interval.unit]

    def first_after(self, after_ms: int) -> _Moment | None:
        steps = max((after_ms - self._anchor_ms) // self._step_ms + 1, 0)
        ms = self._anchor_ms + steps * self._step_ms
        return _Moment(ms, self.zone.wall_at(ms))

    def skipped(self, after_ms: int, until_ms: int) -> Iterator[datetime]:
        yield from ()


class _Walls:
    """The wall times of a rule in a zone, as a policy has them."""

    def __init__(self, rule: Rule, zone: Zone, gap: DstGap, overlap: DstOverlap) -> None:
        if gap is DstGap.CRON:
            gap = DstGap.SHIFT if rule.is_fixed else DstGap.SKIP
        if overlap is DstOverlap.CRON:
            overlap = DstOverlap.FIRST if rule.is_fixed else DstOverlap.BOTH
        self.zone = zone
        self._rule = rule
        self._gap = gap
        self._first = overlap is not DstOverlap.SECOND
        self._second = overlap is not DstOverlap.FIRST

    def first_after(self, after_ms: int) -> _Moment | None:
        ahead = _Ahead(self._rule)
        period = self.zone.period_at(after_ms)
        while True:
            if moment := self._first_in(period, after_ms, ahead):
                return moment
            if ahead.found is None or period.until_ms >= LAST_MS:
                return None
            next_ms = period.until_ms
            if after_ms < period.from_ms:
                # Seen from its begin, it has no wall time that the next could repeat, and none lies between
                # its end and the one found. Two days are more than clocks are moved by.
                next_ms = max(next_ms, from_wall(ahead.found) - 2 * _DAY_MS)
            period = self.zone.period_at(next_ms)

    def skipped(self, after_ms: int, until_ms: int) -> Iterator[datetime]:
        """Return the first wall time of each gap between two instants that is skipped."""
        if self._gap is not DstGap.SKIP:
            return
        period = self.zone.period_at(after_ms)
        while period.until_ms <= until_ms:
            period = self.zone.period_at(period.until_ms)
            if wall := self._in_gap(period, period.from_ms - 1, _Ahead(self._rule)):
                yield wall

    def _first_in(self, period: Period, after_ms: int, ahead: _Ahead) -> _Moment | None:
        """Return the first moment after an instant within a period."""
        made_up = self._made_up(period, after_ms, ahead) if period.gap_ms else None
        low_ms = max(after_ms, period.from_ms - 1)
        if not self._second:
            low_ms = max(low_ms, period.repeats_until_ms - 1)
        wall = ahead.after(to_wall(low_ms + period.offset))
        if wall is None:
            return made_up
        ms = from_wall(wall) - period.offset
        if ms >= (period.until_ms if self._first else period.repeated_from_ms):
            return made_up
        if made_up is not None and made_up.ms < ms:
            return made_up
        if ms >= period.repeated_from_ms:
            return _Moment(ms, wall, Effect.FIRST)
        return _Moment(ms, wall, Effect.SECOND if ms < period.repeats_until_ms else None)

    def _made_up(self, period: Period, after_ms: int, ahead: _Ahead) -> _Moment | None:
        """Return the first moment after an instant that stands for a wall time of the gap."""
        if self._gap is DstGap.SKIP:
            return None
        if self._gap is DstGap.KEEP:
            wall = self._in_gap(period, max(after_ms, period.from_ms - 1), ahead)
            return None if wall is None else _Moment(from_wall(wall) - period.before, wall, Effect.SHIFTED)
        if after_ms >= period.from_ms:
            return None
        wall = self._in_gap(period, period.from_ms - 1, ahead)
        return None if wall is None else _Moment(period.from_ms, wall, Effect.SHIFTED)

    @staticmethod
    def _in_gap(period: Period, after_ms: int, ahead: _Ahead) -> datetime | None:
        """Return the first wall time of the gap, later than an instant by the offset from before it."""
        wall = ahead.after(to_wall(after_ms + period.before))
        if wall is None or from_wall(wall) >= period.from_ms + period.offset:
            return None
        return wall


class _Ahead:
    """What a rule answered last: between the question and the answer the answer is the same."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._asked = datetime.max
        self.found: datetime | None = None

    def after(self, wall: datetime) -> datetime | None:
        if wall < self._asked or (self.found is not None and wall >= self.found):
            self._asked, self.found = wall, self._rule.next_wall(wall)
        return self.found


def _moments_of(times: Times) -> _Walls | _Elapsed:
    """Raises ValueError."""
    if times.dialect != DIALECT:
        raise ValueError(f"dialect {times.dialect} is not known to this version")
    try:
        zone = zone_of(times.zone)
    except LookupError:
        raise ValueError(f"no zone {times.zone}") from None
    if times.interval is None:
        return _Walls(cron_of(times.cron), zone, times.dst_gap, times.dst_overlap)
    if times.interval.unit in _UNIT_MS:
        return _Elapsed(times.interval, zone)
    rule = calendar_rule(times.interval, zone.wall_at(times.interval.anchor_ms))
    return _Walls(rule, zone, times.dst_gap, times.dst_overlap)


def _first_with(
    times: Times, after_ms: int, exclusions: Exclusions
) -> tuple[_Walls | _Elapsed, _Moment | None]:
    """Return what the times name, and the first moment of it after an instant. Raises ValueError."""
    moments = _moments_of(times)
    return moments, _first_moment(times, moments, after_ms, exclusions)[0]


#: Most definitions that come due together have the same times as others of them.
_first_of_all = lru_cache(maxsize=1_000)(_first_with)


def _first_moment(
    times: Times, moments: _Walls | _Elapsed, after_ms: int, exclusions: Exclusions
) -> tuple[_Moment | None, list[Omitted]]:
    """Return the first moment after an instant that is within the limits, and what was left out before it."""
    omitted: list[Omitted] = []
    after_ms = _within(times, after_ms)
    end_ms = LAST_MS if times.end_ms is None else times.end_ms
    while True:
        moment = moments.first_after(after_ms)
        if moment is None or moment.ms >= end_ms:
            return None, omitted
        excluded_until_ms = _excluded_until(moments.zone, moment, exclusions)
        if excluded_until_ms is None:
            return moment, omitted
        omitted.append(Omitted(moment.wall, Effect.EXCLUDED))
        after_ms = excluded_until_ms - 1


def _within(times: Times, after_ms: int) -> int:
    return after_ms if times.start_ms is None else max(after_ms, times.start_ms - 1)


def _excluded_until(zone: Zone, moment: _Moment, exclusions: Exclusions) -> int | None:
    """Return up to when nothing more is to be looked for, if a moment is excluded."""
    day = moment.wall.date()
    if day in exclusions.dates:
        # Not past a change of the clocks: the hours before it may come again.
        until_ms = min(zone.begin_of(day + timedelta(days=1)), zone.period_at(moment.ms).until_ms)
        return max(until_ms, moment.ms + 1)
    place = bisect_right(exclusions.spans, moment.ms, key=_begin) - 1
    if place >= 0 and moment.ms < exclusions.spans[place][1]:
        return exclusions.spans[place][1]
    return None


def _begin(span: tuple[int, int]) -> int:
    return span[0]


def _wall(omitted: Omitted) -> datetime:
    return omitted.wall


def _to_run(times: Times, moments: _Walls | _Elapsed, moment: _Moment, index: int, key: str) -> Run:
    window_ms = _window_ms(times, moments, moment)
    spread_ms, until_ms = window_ms, None
    if times.window is not None and times.window.spread is Spread.LEAST_LOADED and window_ms:
        spread_ms, until_ms = choices_ms(window_ms), moment.ms + window_ms
    late_ms = _hash(key) * spread_ms >> _HASH_BITS if spread_ms else 0
    return Run(moment.ms, moment.ms + late_ms, index, window_ms, moment.wall, moment.effect, until_ms)


def choices_ms(window_ms: int) -> int:
    """Return over how much of the begin of a window the steps are spread that choose a second of it."""
    return min(window_ms // 4, _CHOICES_MS)


def _window_ms(times: Times, moments: _Walls | _Elapsed, moment: _Moment) -> int:
    window = times.window
    if window is None:
        return 0
    if window.ms is not None:
        return window.ms
    following = moments.first_after(moment.ms)
    if following is None or window.share is None:
        return 0
    return min(int((following.ms - moment.ms) * window.share), MAX_WINDOW_MS)


def _hash(key: str) -> int:
    """Return where in its windows a definition runs, as a fraction of 2**64."""
    return int.from_bytes(blake2b(key.encode(), digest_size=_HASH_BITS // 8).digest(), "big")
