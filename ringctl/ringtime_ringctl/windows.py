"""The time window of a list."""

from __future__ import annotations

from ringtime_ringctl.times import parse_time
from ringtime_shared.errors import InvalidRequest

MAX_DAYS = 31
_DAY_MS = 86_400_000


def read_window(start: str, end: str, now_ms: int) -> tuple[int, int]:
    """Return `--from` and `--to` in ms. Raises InvalidRequest."""
    from_ms, upto_ms = parse_time("--from", start, now_ms), parse_time("--to", end, now_ms)
    if from_ms > upto_ms:
        raise InvalidRequest.of("--from", "must not be after --to")
    if upto_ms - from_ms > MAX_DAYS * _DAY_MS:
        raise InvalidRequest.of("--to", f"must be at most {MAX_DAYS} days after --from")
    return from_ms, upto_ms
