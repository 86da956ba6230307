"""Slots and buckets: a bucket is one minute of slots, and the unit the store files rows under."""

from __future__ import annotations

BUCKET_MS = 60_000


def bucket_of(slot_ms: int) -> int:
    """Return the bucket (minutes since 1970) that holds `slot_ms`."""
    return slot_ms // BUCKET_MS


def first_slot(bucket: int) -> int:
    """Return the first slot of `bucket`, in ms."""
    return bucket * BUCKET_MS


def last_slot(bucket: int) -> int:
    """Return the last slot of `bucket`, in ms."""
    return bucket * BUCKET_MS + BUCKET_MS - 1
