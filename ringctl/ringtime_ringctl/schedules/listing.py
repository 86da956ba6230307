"""Reading the live rows of an app in a time window, oldest first, a page at a time and up to a bound."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import groupby
from typing import Protocol

from ringtime_ringctl.deployment.buckets_ahead import read_entries
from ringtime_shared.buckets import bucket_of, first_slot, last_slot
from ringtime_shared.models.schedule import Row
from ringtime_shared.stores.protocol import (
    LAST_ID,
    DueQuery,
    DueStore,
    IndexEntry,
    OperatorStore,
    Position,
)

PAGE = 500
_SIDE_BY_SIDE = 50  #: partitions of one minute that are read at once


class ListStore(DueStore, OperatorStore, Protocol):
    """What a listing needs of a store."""


async def fetch_live(store: ListStore, app_id: str, from_ms: int, upto_ms: int, limit: int) -> list[Row]:
    """Return at most `limit` live rows with slots in this range, both ends included, by slot.

    Raises StoreUnavailable.
    """
    rows: list[Row] = []
    async for _, entries in read_entries(store, app_id, bucket_of(from_ms), bucket_of(upto_ms)):
        for _, group in groupby(entries, key=lambda entry: entry.bucket):
            # Whole minutes, so that what is cut off is later than what is shown.
            async for found in _read_minute(store, list(group), from_ms, upto_ms, limit):
                rows += found
                if len(rows) >= 4 * limit:
                    rows = _first(rows, limit)
            if len(rows) >= limit:
                return _first(rows, limit)
    return _first(rows, limit)


def _first(rows: list[Row], limit: int) -> list[Row]:
    return sorted(rows, key=lambda row: (row.place.slot_ms, row.schedule.schedule_id))[:limit]


async def _read_minute(
    store: ListStore, entries: Sequence[IndexEntry], from_ms: int, upto_ms: int, limit: int
) -> AsyncIterator[list[Row]]:
    """Yield pages of the first `limit` rows of each partition."""
    for start in range(0, len(entries), _SIDE_BY_SIDE):
        left = {
            entry: DueQuery(
                instance=entry.instance,
                bucket=entry.bucket,
                after=Position(max(from_ms, first_slot(entry.bucket)) - 1, LAST_ID),
                upto_ms=min(upto_ms, last_slot(entry.bucket)),
                limit=min(PAGE, limit),
            )
            for entry in entries[start : start + _SIDE_BY_SIDE]
        }
        counts = dict.fromkeys(left, 0)
        while left:
            pages = await store.fetch_due(list(left.values()))
            for (entry, query), page in zip(list(left.items()), pages, strict=True):
                counts[entry] += len(page.rows)
                if page.next is None or counts[entry] >= limit:
                    del left[entry]
                else:
                    left[entry] = query._replace(after=page.next)
                yield list(page.rows)
