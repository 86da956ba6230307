"""Instants of callers as UTC milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ringtime_shared.errors import InvalidRequest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_ms(field: str, at: datetime | None) -> int | None:
    """Return `at` in ms, rounded up, so that nothing fires a fraction of a millisecond early.

    Raises:
        InvalidRequest: it is naive; names the field.
    """
    if at is None:
        return None
    if at.utcoffset() is None:
        raise InvalidRequest.of(field, "must be timezone-aware")
    # In UTC: the difference of two datetimes of one zone is that of their clock faces, DST or not.
    return -((_EPOCH - at) // timedelta(milliseconds=1))
