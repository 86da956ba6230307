"""Rows without an outcome at or under `settled`: nobody looks at them any more.

There should be none. A false clock that moved the marks, or damage, leaves some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from ringtime_shared.buckets import bucket_of, first_slot, last_slot
from ringtime_shared.errors import Damaged
from ringtime_shared.ids import unpack_id
from ringtime_shared.models.app import Instance
from ringtime_shared.models.schedule import Place, Row
from ringtime_shared.schedules.buckets_ahead import read_entries
from ringtime_shared.stores.protocol import (
    LAST_ID,
    DueQuery,
    DueStore,
    IndexEntry,
    Marks,
    OperatorStore,
    Position,
    ScheduleStore,
)

MOST_ENTRIES = 5_000  #: minutes of partitions looked at, the latest first
MOST_ROWS = 100
_AT_ONCE = 100
_PAGE_ROWS = 500


class PassedStore(OperatorStore, DueStore, ScheduleStore, Protocol):
    """What the search needs of a store."""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Rows that nobody looks at any more."""

    rows: Sequence[Row]
    is_partial: bool  #: the search ended at one of its bounds


async def find_passed_over(
    store: PassedStore, marks: Mapping[Instance, Marks], *, from_ms: int
) -> PassedOver:
    """Return the rows from `from_ms` on that lie at or under their instance's `settled`, and should fire.

    Args:
        marks: read before the call: whatever lies under them then has its outcome already.

    Raises StoreUnavailable.
    """
    entries = await _entries_under(store, marks, bucket_of(from_ms))
    rows: list[Row] = []
    for start in range(0, min(len(entries), MOST_ENTRIES), _AT_ONCE):
        part = entries[start : min(start + _AT_ONCE, MOST_ENTRIES)]
        queries = [_query(each, marks[each.instance], from_ms) for each in part]
        while queries:
            pages = await store.fetch_live_ids(queries)
            for query, page in zip(queries, pages, strict=True):
                for slot_ms, schedule_id in page.ids:
                    row = await _fetch(store, Place(*query.instance, slot_ms), schedule_id)
                    if row is not None and row.is_live and await _should_fire(store, row):
                        rows.append(row)
                    if len(rows) == MOST_ROWS:
                        return PassedOver(rows, is_partial=True)
            queries = [
                query._replace(after=page.next)
                for query, page in zip(queries, pages, strict=True)
                if page.next is not None
            ]
    return PassedOver(rows, is_partial=len(entries) > MOST_ENTRIES)


async def _entries_under(store: PassedStore, marks: Mapping[Instance, Marks], first: int) -> list[IndexEntry]:
    """Return the minutes from `first` on that have rows and begin under `settled`, the latest first."""
    last = {app_id: first - 1 for app_id, _ in marks}
    for (app_id, _), (_, settled_ms) in marks.items():
        last[app_id] = max(last[app_id], bucket_of(settled_ms))
    entries = [
        entry
        for app_id in sorted(last)
        async for _, chunk in read_entries(store, app_id, first, last[app_id])
        for entry in chunk
        if entry.instance in marks and first_slot(entry.bucket) <= marks[entry.instance].settled_ms
    ]
    return sorted(entries, reverse=True)


def _query(entry: IndexEntry, marks: Marks, from_ms: int) -> DueQuery:
    upto_ms = min(marks.settled_ms, last_slot(entry.bucket))
    after = Position(max(from_ms, first_slot(entry.bucket)) - 1, LAST_ID)
    return DueQuery(entry.instance, entry.bucket, after, upto_ms, _PAGE_ROWS)


async def _fetch(store: PassedStore, place: Place, schedule_id: UUID) -> Row | None:
    """Return a row; None also for one that cannot be read, which is another check's finding."""
    try:
        return await store.fetch_row(place, schedule_id)
    except Damaged:
        return None


async def _should_fire(store: PassedStore, row: Row) -> bool:
    """Whether this is the filing of its schedule that counts: not one that was overtaken or given up."""
    if row.is_home:
        return True
    parts = unpack_id(row.schedule.schedule_id)
    home_place = Place(row.place.app_id, parts.partition, parts.slot_ms)
    home = await _fetch(store, home_place, row.schedule.schedule_id)
    if home is None or home.cancelled_ms is not None or home.moved_to != row.place:
        return False
    return home.outcome is None or home.outcome.replay < row.replay
