"""Instants as callbacks tell them, in a form that every receiver reads: RFC 3339, UTC, to the millisecond."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


def instant(epoch_ms: int) -> str:
    """Return an instant as text. What is due at about the same time shares most of it."""
    seconds, rest_ms = divmod(epoch_ms, 1_000)
    return f"{_second(seconds)}.{rest_ms:03}Z"


@lru_cache(maxsize=256)
def _second(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="seconds").removesuffix("+00:00")
