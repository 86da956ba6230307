"""Time zones of the pinned `tzdata` package, as periods of one offset.

The zone files of the host are not used: they differ from machine to machine, and each upgrade of one would
move runs. What is known of a zone is when its offset changes; between two changes wall time and UTC differ by
a constant, so a gap or an overlap lies at the edge of a period and nowhere else.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1)
LAST_YEAR = 5_000  #: nothing is planned from its begin on

_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_DAY_MS = 86_400_000
#: The offset is looked at so often. No zone has changed it twice in less than 6.9 days since 1970, or is
#: going to; `tests/unit/shared/test_zones.py` reads all files.
_LOOK_DAYS = 3
_MOST_YEARS = 64  #: that are remembered of a zone
_NOT_ZONES = frozenset({"Factory"})  #: in the list of names, but for machines that were not set up
LAST_MS = (datetime(LAST_YEAR, 1, 1) - EPOCH) // timedelta(milliseconds=1)


def to_wall(ms: int) -> datetime:
    """Return what a clock shows that many milliseconds after it showed 1970."""
    return EPOCH + timedelta(milliseconds=ms)


def from_wall(wall: datetime) -> int:
    """Return milliseconds from a clock's 1970 to what it shows."""
    return (wall - EPOCH) // _MS


@dataclass(frozen=True, slots=True)
class Period:
    """A time of one offset. Offsets and instants in ms."""

    from_ms: int
    until_ms: int  #: the next period begins here
    offset: int  #: wall time less UTC
    before: int  #: of the period before; `offset` if it is not known to differ
    after: int  #: of the period after, likewise

    @property
    def gap_ms(self) -> int:
        """How far the clocks jumped ahead when it began; 0 if they did not."""
        return max(self.offset - self.before, 0)

    @property
    def repeats_until_ms(self) -> int:
        """Up to here its wall times are those of the period before, once more."""
        return self.from_ms + max(self.before - self.offset, 0)

    @property
    def repeated_from_ms(self) -> int:
        """From here on its wall times come again in the period after."""
        return self.until_ms - max(self.offset - self.after, 0)


class Zone:
    """One zone."""

    def __init__(self, name: str) -> None:
        """Raises LookupError for a name that the pinned database does not have."""
        if name not in zone_names():
            raise LookupError(name)
        with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
            self._info = ZoneInfo.from_file(file, key=name)
        self.name = name
        self._years: dict[int, tuple[Period, ...]] = {}
        fixed = self._info.utcoffset(None)
        self._always = None if fixed is None else _whole(fixed // _MS)

    def period_at(self, at_ms: int) -> Period:
        """Return the period that an instant lies in.

        What lies more than a year away is cut off: an edge without a gap or an overlap.
        """
        if self._always is not None:
            return self._always
        year = to_wall(at_ms).year
        periods = self._years.get(year)
        if periods is None:
            if len(self._years) == _MOST_YEARS:
                self._years.clear()
            periods = self._years[year] = self._periods_around(year)
        return periods[bisect_right(periods, at_ms, key=_from) - 1]

    def wall_at(self, at_ms: int) -> datetime:
        """Return the wall time at an instant."""
        return to_wall(at_ms + self.period_at(at_ms).offset)

    def begin_of(self, day: date) -> int:
        """Return the first instant of a day, which is not midnight where the clocks jump over it."""
        midnight = from_wall(datetime(day.year, day.month, day.day))
        period = self.period_at(midnight - 2 * _DAY_MS)  # no offset is as large
        while midnight - period.offset >= period.until_ms:
            period = self.period_at(period.until_ms)
        return max(midnight - period.offset, period.from_ms)

    def _periods_around(self, year: int) -> tuple[Period, ...]:
        """Return the periods of a year with those of its neighbours."""
        begin, end = _begin_of_year(year - 1), _begin_of_year(year + 2)
        changes = [change for each in (year - 1, year, year + 1) for change in _changes(self._info, each)]
        edges = [begin, *(at_ms for at_ms, _ in changes), end]
        offsets = [_offset_at(self._info, begin - 1_000), *(offset for _, offset in changes)]
        return tuple(
            Period(
                edges[n],
                edges[n + 1],
                offset,
                before=offsets[max(n - 1, 0)],
                after=offsets[min(n + 1, len(offsets) - 1)],
            )
            for n, offset in enumerate(offsets)
        )


@lru_cache(maxsize=700)
def zone_of(name: str) -> Zone:
    """Return the zone of a name. Raises LookupError."""
    return Zone(name)


@cache
def zone_names() -> frozenset[str]:
    """Return the names of all zones."""
    return frozenset(files("tzdata").joinpath("zones").read_text("utf-8").split()) - _NOT_ZONES


def _from(period: Period) -> int:
    return period.from_ms


def _whole(offset: int) -> Period:
    return Period(-(10**15), 10**15, offset, offset, offset)


def _begin_of_year(year: int) -> int:
    return from_wall(datetime(year, 1, 1))


def _offset_at(info: ZoneInfo, at_ms: int) -> int:
    offset = (_EPOCH_UTC + timedelta(milliseconds=at_ms)).astimezone(info).utcoffset()
    return (offset or timedelta()) // _MS  # never None where there is a zone


def _changes(info: ZoneInfo, year: int) -> list[tuple[int, int]]:
    """Return when the offset changes in a year, UTC, each with the new offset."""
    changes: list[tuple[int, int]] = []
    at_ms, end = _begin_of_year(year), _begin_of_year(year + 1)
    offset = _offset_at(info, at_ms - 1_000)
    while at_ms < end:
        next_ms = min(at_ms + _LOOK_DAYS * _DAY_MS, end)
        found = _offset_at(info, next_ms - 1_000)
        if found != offset:
            changes.append((_first_with(info, found, at_ms // 1_000, next_ms // 1_000) * 1_000, found))
            offset = found
        at_ms = next_ms
    return changes


def _first_with(info: ZoneInfo, offset: int, low: int, high: int) -> int:
    """Return the second, from `low` to `high`, from which on the offset is this one."""
    while low < high:
        middle = (low + high) // 2
        if _offset_at(info, middle * 1_000) == offset:
            high = middle
        else:
            low = middle + 1
    return low
