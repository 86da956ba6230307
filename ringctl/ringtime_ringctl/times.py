"""Instants, durations, windows and counts as people write and read them."""

from __future__ import annotations

import re
from datetime import datetime

from ringtime_shared.api.dead_letters import MAX_DAYS
from ringtime_shared.errors import InvalidRequest

_WHOLE = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_RELATIVE = re.compile(r"([+-])(\d{1,6})([smhd])")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
FORMS = "an instant like 2030-01-31T08:00:00Z, epoch seconds, `now`, or a distance from now like -2h or +30m"
_DAY_MS = 86_400_000


def parse_time(option: str, text: str, now_ms: int) -> int:
    """Return what `FORMS` describes as epoch ms. Raises InvalidRequest, which names the option."""
    if text == "now":
        return now_ms
    if relative := _RELATIVE.fullmatch(text):
        sign, number, unit = relative.groups()
        return now_ms + int(f"{sign}{number}") * _UNIT_MS[unit]
    if text.isascii() and text.isdigit() and len(text) <= 10:
        return int(text) * 1_000
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.utcoffset() is None:
        raise InvalidRequest.of(option, f"must be {FORMS}")
    return round(at.timestamp() * 1_000)


def count_of(number: int, noun: str) -> str:
    """Return `1 node`, `2 nodes`, `1,000 nodes`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def to_span(ms: int) -> str:
    """Return a duration in its two largest units: `850 ms`, `2.1 s`, `3 min 20 s`, `2 h 5 min`, `4 d 1 h`."""
    sign, ms = ("-", -ms) if ms < 0 else ("", ms)
    if ms < 1_000:
        return f"{sign}{ms} ms"
    if ms < 60_000:
        return f"{sign}{ms / 1_000:.1f} s"
    for unit, name, smaller, smaller_name in (
        (86_400_000, "d", 3_600_000, "h"),
        (3_600_000, "h", 60_000, "min"),
        (60_000, "min", 1_000, "s"),
    ):
        if ms >= unit:
            rest = ms % unit // smaller
            return f"{sign}{ms // unit} {name}" + (f" {rest} {smaller_name}" if rest else "")
    raise AssertionError("unreachable: 60 s and more have a unit")


def read_window(start: str, end: str, now_ms: int) -> tuple[int, int]:
    """Return `--from` and `--to` in ms. Raises InvalidRequest."""
    from_ms, upto_ms = parse_time("--from", start, now_ms), parse_time("--to", end, now_ms)
    if from_ms > upto_ms:
        raise InvalidRequest.of("--from", "must not be after --to")
    if upto_ms - from_ms > MAX_DAYS * _DAY_MS:
        raise InvalidRequest.of("--to", f"must be at most {MAX_DAYS} days after --from")
    return from_ms, upto_ms


def read_whole(text: str) -> int:
    """Return a whole number. Raises ValueError, whose message is the rule."""
    if not _WHOLE.fullmatch(text):
        raise ValueError("must be a whole number")
    return int(text)
