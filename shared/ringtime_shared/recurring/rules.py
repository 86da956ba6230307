"""What a definition asks of the wall clock: which wall times come next. No zone here, and no limits.

`cronsim` parses and steps, on wall times without zone; what becomes of them when the clocks change is
`runs`' business. Beside it stand the intervals of days, weeks and months.
"""

from __future__ import annotations

import copy
import re
from calendar import monthrange
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Protocol

from cronsim import CronSim, CronSimError

from ringtime_shared.models.times import Interval, Unit

MAX_EXPRESSION = 200  #: characters
NEVER_YEARS = 28  #: after so many years dates fall on the same weekdays; what has no match by then has none

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS = (
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31, L for the last, LW for the last from Monday to Friday"),
    ("month", "1 to 12 or JAN to DEC"),
    ("day of the week", "0 to 7 or SUN to SAT, 5L for the last Friday of a month, 1#2 for its second Monday"),
)
_FORMS = "each may be *, a value, a list 1,2, a range 1-5, or stepped as in */5 and 10-50/10"
_ZERO_STEP = re.compile(r"/0+(?![0-9])")
_NEVER_FROM = datetime(2000, 1, 1)


class Rule(Protocol):
    """Wall times, one after the other."""

    @property
    def is_fixed(self) -> bool:
        """Whether it names times of a day, which Debian's cron makes up for when the clocks jump."""
        ...

    def next_wall(self, after: datetime) -> datetime | None:
        """Return the first wall time later than `after`; None: there is none within 50 years."""
        ...


class Cron:
    """A cron expression of five fields."""

    def __init__(self, expression: str) -> None:
        """Raises ValueError, whose message is the rule that was broken."""
        fields = _to_fields(expression)
        try:
            self._sim = CronSim(" ".join(fields), _NEVER_FROM)
        except CronSimError:
            raise ValueError(_what_is_wrong(fields)) from None
        first = self.next_wall(_NEVER_FROM)
        if first is None or first.year >= _NEVER_FROM.year + NEVER_YEARS:
            raise ValueError(_NEVER)
        self.is_fixed = not (fields[0].startswith("*") or fields[1].startswith("*"))

    def next_wall(self, after: datetime) -> datetime | None:
        sim = copy.copy(self._sim)  # its parsed fields are shared; where it stands is its own
        sim.dt = after.replace(microsecond=0)
        try:
            return next(sim)
        except (StopIteration, OverflowError, ValueError):  # the last two: past the year 9999
            return None


_NEVER = f"never matches: there is no such day in {NEVER_YEARS} years"


class Days:
    """Every so many days, at the wall time of the anchor."""

    is_fixed = True

    def __init__(self, days: int, anchor: datetime) -> None:
        self._step = timedelta(days=days)
        self._anchor = anchor

    def next_wall(self, after: datetime) -> datetime | None:
        steps = max((after - self._anchor) // self._step + 1, 0)
        try:
            return self._anchor + steps * self._step
        except OverflowError:
            return None


class Months:
    """Every so many months, on the anchor's day, or the last of a month that has no such day."""

    is_fixed = True

    def __init__(self, months: int, anchor: datetime) -> None:
        self._step = months
        self._anchor = anchor
        self._first = anchor.year * 12 + anchor.month - 1

    def next_wall(self, after: datetime) -> datetime | None:
        steps = max((after.year * 12 + after.month - 1 - self._first) // self._step, 0)
        wall = self._wall(steps)
        return self._wall(steps + 1) if wall is not None and wall <= after else wall

    def _wall(self, steps: int) -> datetime | None:
        year, month = divmod(self._first + steps * self._step, 12)
        if year > datetime.max.year:
            return None
        day = min(self._anchor.day, monthrange(year, month + 1)[1])
        return self._anchor.replace(year=year, month=month + 1, day=day)


@lru_cache(maxsize=1_000)
def cron_of(expression: str) -> Cron:
    """Return a parsed expression, some 10 KB, which takes 0.1 ms to make as a rule.

    Raises ValueError, whose message is the rule that was broken.
    """
    return Cron(expression)


def calendar_rule(interval: Interval, anchor: datetime) -> Rule:
    """Return the rule of an interval that counts days, weeks or months of wall time."""
    if interval.unit is Unit.MONTHS:
        return Months(interval.every, anchor)
    return Days(interval.every * (7 if interval.unit is Unit.WEEKS else 1), anchor)


def _to_fields(expression: str) -> list[str]:
    """Return five fields. Raises ValueError."""
    if len(expression) > MAX_EXPRESSION:
        raise ValueError(f"must be no longer than {MAX_EXPRESSION} characters")
    text = expression.replace("\t", " ").strip(" ")
    if not text.isascii() or not text.isprintable():
        raise ValueError("must be of printable ASCII characters")
    if text.startswith("@"):
        if text.lower() not in _MACROS:
            raise ValueError(f"must be one of {', '.join(_MACROS)}, where it begins with @")
        text = _MACROS[text.lower()]
    fields = text.split()
    if len(fields) != len(_FIELDS):
        names = ", ".join(name for name, _ in _FIELDS)
        raise ValueError(f"must have five fields, {names}; it has {len(fields)}")
    return fields


def _what_is_wrong(fields: list[str]) -> str:
    for n, ((name, values), field) in enumerate(zip(_FIELDS, fields, strict=True)):
        if _ZERO_STEP.search(field):
            return f"a step must be 1 or more; the field {name} is {field}"
        alone = ["*"] * len(_FIELDS)
        alone[n] = field
        try:
            CronSim(" ".join(alone), _NEVER_FROM)
        except CronSimError:
            return f"the field {name} must be of {values}; {_FORMS}; it is {field}"
    return f"never matches: there is no {fields[2]} in month {fields[3]}"
