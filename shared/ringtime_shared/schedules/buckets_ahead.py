"""The non-empty buckets of an app, some hours at a time, and how much is in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from ringtime_shared.stores.protocol import IndexEntry, OperatorStore

CHUNK = 360  #: minutes read at once
MOST = 60_000  #: rows counted in one bucket of one partition; six times what it should hold
_COUNTED_AT_ONCE = 100


async def read_entries(
    store: OperatorStore, app_id: str, first: int, last: int
) -> AsyncIterator[tuple[int, list[IndexEntry]]]:
    """Yield, for one chunk of minutes after the other, its last bucket and its entries.

    Raises StoreUnavailable.
    """
    for start in range(first, last + 1, CHUNK):
        end = min(start + CHUNK - 1, last)
        yield end, await store.fetch_app_buckets(app_id, start, end)


async def count_entries(
    store: OperatorStore, entries: Sequence[IndexEntry], *, most: int = MOST
) -> dict[IndexEntry, int]:
    """Return the live rows of each of `entries`, up to `most` each. Raises StoreUnavailable."""
    counts: dict[IndexEntry, int] = {}
    for start in range(0, len(entries), _COUNTED_AT_ONCE):
        part = entries[start : start + _COUNTED_AT_ONCE]
        counts |= zip(part, await store.count_live(part, most), strict=True)
    return counts
