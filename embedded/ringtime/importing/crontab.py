"""goscheduler's cron expressions as expressions of ours that name the same minutes. Pure.

Its parser is not cron's: a step begins at the next multiple of itself, days are stepped from 0 and never
reach the 31st, a step that leaves nothing means every value, and a day must be right of the month **and** of
the week. So each field is read as it reads it, into the values that it matches, and written anew. What a day
of the month and of the week say together cannot be written, unless one of them says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ringtime_shared.errors import InvalidRequest

_NUMBER = re.compile(r"[0-9]{1,4}")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_LEAST_RANGE = 3  #: values in a row from which on a range is shorter than a list


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    first: int
    last: int
    below: int = 0  #: steps name values below this; 0: it takes none
    words: tuple[str, ...] = ()  #: for the first value and those after it


_FIELDS = (
    _Field("minute", 0, 59, below=60),
    _Field("hour", 0, 23, below=24),
    _Field("day of the month", 1, 31, below=31),
    _Field("month", 1, 12, words=_MONTHS),
    _Field("day of the week", 0, 6, words=_DAYS),
)


def translate(expression: str) -> str:
    """Return the expression of ours for the minutes that goscheduler's matches.

    Raises InvalidRequest, which says why there is none.
    """
    parts = expression.split(" ")
    if len(parts) != len(_FIELDS):
        raise _refused(f"{expression!r} has not five fields with one blank between them")
    values = [_read(field, part) for field, part in zip(_FIELDS, parts, strict=True)]
    _, _, days, _, weekdays = values
    if days is not None and weekdays is not None:
        raise _refused(
            f"{expression!r} names days of the month and of the week: goscheduler runs it on days that are"
            " both, which no expression of cron says"
        )
    return " ".join(_write(each) for each in values)


def _read(field: _Field, text: str) -> list[int] | None:
    """Return the values that a field matches; None: every one."""
    if text == "*":
        return None
    if "/" in text:
        found = _steps(field, text)
    else:
        found = sorted({value for part in text.split(",") for value in _part(field, part)})
    every = list(range(field.first, field.last + 1))
    return None if found in ([], every) else found


def _steps(field: _Field, text: str) -> list[int]:
    start, _, step = text.partition("/")
    if not field.below or not _NUMBER.fullmatch(step) or not (start == "*" or _NUMBER.fullmatch(start)):
        raise _refused(f"{field.name}: {text!r} is no step that goscheduler takes")
    by = int(step)
    if not by:
        raise _refused(f"{field.name}: {text!r} has a step of 0, on which goscheduler hangs")
    begin = 0 if start == "*" else -(-int(start) // by) * by
    found = range(begin, field.below, by)
    if not found:
        raise _refused(f"{field.name}: {text!r} begins behind the last value")
    return [value for value in found if value >= field.first]


def _part(field: _Field, text: str) -> Sequence[int]:
    if text.upper() in field.words:
        return [field.words.index(text.upper()) + field.first]
    begin, dash, end = text.partition("-")
    ends = [begin, end] if dash else [begin]
    if not all(_NUMBER.fullmatch(each) and field.first <= int(each) <= field.last for each in ends):
        raise _refused(f"{field.name}: {text!r} is nothing that goscheduler takes")
    found = range(int(ends[0]), int(ends[-1]) + 1)
    if not found:
        raise _refused(f"{field.name}: {text!r} runs backwards")
    return found


def _write(values: list[int] | None) -> str:
    """Return a field that matches these values."""
    if values is None:
        return "*"
    parts: list[str] = []
    while values:
        length = next((n for n, value in enumerate(values) if value != values[0] + n), len(values))
        if length >= _LEAST_RANGE:
            parts.append(f"{values[0]}-{values[length - 1]}")
        else:
            parts += map(str, values[:length])
        values = values[length:]
    return ",".join(parts)


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest.of("cronExpression", why)
