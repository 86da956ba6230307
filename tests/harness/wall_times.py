"""The times of a recurring schedule by the plainest means: every wall time is tried, and asked of `zoneinfo`.

What `recurring.runs` is held to. Expressions are made together with the sets they stand for, so no parser is
needed here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import files
from random import Random
from zoneinfo import ZoneInfo

from ringtime_shared.models.times import DstGap, DstOverlap

MINUTE = timedelta(minutes=1)
RANGES = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 6)}
_NAMES = {
    "month": ["", "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    "weekday": ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
}


@cache
def info_of(name: str) -> ZoneInfo:
    """Return a zone of the pinned files, whatever the host has."""
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


@dataclass(frozen=True)
class Expression:
    """A cron expression with what it stands for."""

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    @property
    def is_fixed(self) -> bool:
        minute, hour, *_ = self.text.split()
        return not (minute.startswith("*") or hour.startswith("*"))

    def is_on(self, day: date) -> bool:
        _, _, days, _, weekdays = self.text.split()
        by_day, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        both = days.startswith("*") or weekdays.startswith("*")
        return day.month in self.months and (by_day and by_weekday if both else by_day or by_weekday)

    def walls(self, first: date, last: date) -> Iterator[datetime]:
        """Yield the wall times from one day to another, both included."""
        while first <= last:
            if self.is_on(first):
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        yield datetime(first.year, first.month, first.day, hour, minute)  # noqa: DTZ001
            first += timedelta(days=1)


def make_expression(rng: Random, *, with_names: bool = True) -> Expression:
    """Return a random expression: values, lists, ranges, steps and names; stars often."""
    fields = [_make_field(rng, name, with_names) for name in RANGES]
    return Expression(" ".join(text for text, _ in fields), *(values for _, values in fields))


def _make_field(rng: Random, name: str, with_names: bool) -> tuple[str, frozenset[int]]:
    low, high = RANGES[name]
    if rng.random() < (0.2 if name in ("minute", "hour") else 0.5):
        return "*", frozenset(range(low, high + 1))
    parts = [_make_part(rng, name, with_names) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
    return ",".join(text for text, _ in parts), frozenset().union(*(values for _, values in parts))


def _make_part(rng: Random, name: str, with_names: bool) -> tuple[str, frozenset[int]]:
    low, high = RANGES[name]
    first = rng.randint(low, high)
    last = rng.randint(min(first + 1, high), high)
    step = rng.randint(1, max(high // 2, 2))
    names = _NAMES.get(name) if with_names and rng.random() < 0.5 else None
    one, other = (names[first], names[last]) if names else (str(first), str(last))
    match rng.choice(["value", "value", "range", "step", "stepped range"]):
        case "value":
            return one, frozenset([first])
        case "range":
            return f"{one}-{other}", frozenset(range(first, last + 1))
        case "step":
            values = range(low, high + 1)[::step]
            if name == "weekday":  # `*` is 0 to 7 here, as in Debian's cron
                values = range(8)[::step]
            return f"*/{step}", frozenset(each % 7 if name == "weekday" else each for each in values)
        case _:
            if first == last:  # a single value and a step go up to the end
                last = high if name != "weekday" else 7
                return f"{one}/{step}", frozenset(_mod(name, v) for v in range(first, last + 1)[::step])
            return f"{one}-{other}/{step}", frozenset(range(first, last + 1)[::step])


def _mod(name: str, value: int) -> int:
    return value % 7 if name == "weekday" else value


def instants_of(wall: datetime, zone: str, gap: DstGap, overlap: DstOverlap, is_fixed: bool) -> list[int]:
    """Return the epoch seconds that a policy gives a wall time."""
    info = info_of(zone)
    early, late = (_to_s(wall.replace(tzinfo=info, fold=fold)) for fold in (0, 1))
    if _wall_at(early, info) == wall:
        if early == late:
            return [early]
        if overlap is DstOverlap.CRON:
            overlap = DstOverlap.FIRST if is_fixed else DstOverlap.BOTH
        return {DstOverlap.FIRST: [early], DstOverlap.SECOND: [late], DstOverlap.BOTH: [early, late]}[overlap]
    if gap is DstGap.CRON:
        gap = DstGap.SHIFT if is_fixed else DstGap.SKIP
    if gap is DstGap.SKIP:
        return []
    if gap is DstGap.KEEP:
        return [early]  # `fold=0` in a gap is the offset from before it, which gives the later instant
    between = range(late, early + 1)
    return [between[bisect_left(between, True, key=lambda at: _wall_at(at, info) > wall)]]


def _to_s(at: datetime) -> int:
    return int(at.timestamp())


def _wall_at(at_s: int, info: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(at_s, UTC).astimezone(info).replace(tzinfo=None)
