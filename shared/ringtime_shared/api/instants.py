"""Times as clients write them, as UTC milliseconds. Always rounded up: a callback is never early."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

_INSTANT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_THOUSANDTH = Decimal("0.001")
_MOST_DIGITS = 12  #: before the point; twelve digits of seconds end in the year 33658
LOOKS_LIKE_MS = 10**11  #: seconds of the year 5138, and milliseconds of 1973
_TOO_LARGE = 10**14  #: milliseconds of the year 5138

#: What `parse_instant` reads of texts, but for the days of a month; a document has it beside `date-time`.
INSTANT_PATTERN = (
    r"(?!0000)[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(?:\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)

_FORMS = "must be epoch seconds as a number, or an instant like 2030-01-31T08:00:00Z"


class NoInstant(ValueError):
    """A text that cannot be read as an instant: no time at all, where a number may be a bad one."""


def parse_instant(value: object) -> int:
    """Return epoch seconds (int or Decimal) or an ISO 8601 instant with offset as epoch ms.

    Raises:
        ValueError: the message is the rule that was broken; NoInstant for a text.
    """
    if type(value) is int and 0 <= value < LOOKS_LIKE_MS:  # as nearly all
        return value * 1_000
    if isinstance(value, str):
        return _parse_text(value)
    if isinstance(value, (int, Decimal)) and value >= _TOO_LARGE:
        raise ValueError("is too large, for milliseconds also; must be epoch seconds")
    if isinstance(value, (int, Decimal)) and value >= LOOKS_LIKE_MS:
        raise ValueError("looks like milliseconds; must be epoch seconds")
    if isinstance(value, (int, Decimal)) and value < 0:
        raise ValueError("must not be before 1970")
    return _to_ms(value)


def parse_delay(value: object) -> int:
    """Return a number of seconds as ms. Raises ValueError, whose message is the rule."""
    if isinstance(value, (int, Decimal)) and value < 0:
        raise ValueError("must be 0 or more seconds")
    return _to_ms(value)


def _to_ms(value: object) -> int:
    if isinstance(value, int) and value < 10**_MOST_DIGITS:
        return value * 1_000
    if isinstance(value, Decimal) and value.is_finite() and value.adjusted() < _MOST_DIGITS:
        return int(value.quantize(_THOUSANDTH, rounding=ROUND_CEILING).scaleb(3))
    raise ValueError("the number is too large")


def _parse_text(text: str) -> int:
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise NoInstant(f"{_FORMS}, with seconds, an offset, and at most nine digits of a fraction")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, sign, offset_hours, offset_minutes = match.groups()[6:]
    try:
        whole = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise NoInstant(f"{_FORMS}: {error}") from None
    since = whole - _EPOCH
    seconds = since.days * 86_400 + since.seconds
    if sign:
        hours, minutes = int(offset_hours), int(offset_minutes)
        if hours > 23 or minutes > 59:  # RFC 3339
            raise NoInstant("the offset must be within -23:59 to +23:59")
        seconds -= (hours * 3_600 + minutes * 60) * (1 if sign == "+" else -1)
    return seconds * 1_000 + -(-int((fraction or "0").ljust(9, "0")) // 1_000_000)


_SECONDS = [f":{second:02d}" for second in range(60)]
_THOUSANDTHS = [f".{ms:03d}Z" for ms in range(1_000)]


def to_iso(ms: int) -> str:
    """Return epoch ms as `2030-01-31T08:00:00.000Z`."""
    second, rest_ms = divmod(ms, 1_000)
    return _to_minute(second // 60) + _SECONDS[second % 60] + _THOUSANDTHS[rest_ms]


@lru_cache(maxsize=1_024)
def _to_minute(minute: int) -> str:
    """A list has many instants of the same minutes."""
    return datetime.fromtimestamp(minute * 60, UTC).isoformat()[:16]
