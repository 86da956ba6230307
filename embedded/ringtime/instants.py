"""Instants of callers as UTC milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ringtime_shared.arguments import Instant, to_instant

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_ms(field: str, at: Instant | None) -> int | None:
    """Return `at` in ms, rounded up, so that nothing fires a fraction of a millisecond early.

    Raises:
        InvalidRequest: it is naive, or no number of seconds; names the field.
    """
    if at is None:
        return None
    # In UTC: the difference of two datetimes of one zone is that of their clock faces, DST or not.
    return -((_EPOCH - to_instant(field, at)) // timedelta(milliseconds=1))
