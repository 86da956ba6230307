"""Where an app may have rows that are still to fire. What is released or deleted on this rests on the order
of the reads: marks, then buckets, then rows (see `ringtime_ringctl.resize`)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

from ringtime_shared.buckets import bucket_of, last_slot
from ringtime_shared.errors import ClockInDoubt
from ringtime_shared.models.app import App, Instance
from ringtime_shared.settings import AppLimits
from ringtime_shared.settings.rules import CLOCK_SKEW_MS
from ringtime_shared.stores.protocol import DAMAGED_MARKS, IndexEntry, MarkStore, OperatorStore

_DAY_MS = 86_400_000
_BUCKETS_AT_ONCE = 32 * 1_440  #: a month: the store reads a day at a time
_LONGEST_WAIT_DAYS = 8  #: a retry waits a week at most, however near its schedule's fire time was


class AheadStore(MarkStore, OperatorStore, Protocol):
    """What looking ahead needs of a store."""


def last_bucket(now_ms: int, limits: AppLimits) -> int:
    """Return a bucket no row can lie behind."""
    days = max(limits.max_future_period_days, _LONGEST_WAIT_DAYS) + 1
    return bucket_of(now_ms + days * _DAY_MS)


async def read_ahead(
    store: AheadStore, app: App, instances: Sequence[Instance], *, now_ms: int, last: int
) -> AsyncGenerator[list[IndexEntry], None]:
    """Yield, a month at a time, the buckets in which these poller instances may have rows above `settled`.

    Args:
        last: where no row can lie behind; see `last_bucket`.

    Raises StoreUnavailable, among it ClockInDoubt: marks lie so far ahead of now that a false clock has set
    them, and hide what is to fire.
    """
    if not instances:
        return
    marks = await store.fetch_marks(instances)
    settled_ms = {
        each: app.created_ms - 60_000
        if marks.get(each, DAMAGED_MARKS) == DAMAGED_MARKS
        else marks[each].settled_ms
        for each in instances
    }
    furthest = max(settled_ms, key=lambda each: settled_ms[each])
    if settled_ms[furthest] > now_ms + CLOCK_SKEW_MS:
        ahead_s = (settled_ms[furthest] - now_ms) / 1_000
        raise ClockInDoubt(
            f"{furthest} is marked as settled {ahead_s:,.0f} s ahead of now, which only a false clock can"
            " have done; it is put right when a dispatcher takes the app's partitions over"
        )
    for first in range(bucket_of(min(settled_ms.values()) + 1), last + 1, _BUCKETS_AT_ONCE):
        upto = min(first + _BUCKETS_AT_ONCE - 1, last)
        entries = [
            entry
            for entry in await store.fetch_app_buckets(app.app_id, first, upto)
            if entry.instance in settled_ms and last_slot(entry.bucket) > settled_ms[entry.instance]
        ]
        yield await _above(store, entries, settled_ms)


async def _above(
    store: AheadStore, entries: Sequence[IndexEntry], settled_ms: Mapping[Instance, int]
) -> list[IndexEntry]:
    """Leave out those whose rows all lie at or under `settled`: only the bucket it stands in can be one."""
    cut = [entry for entry in entries if entry.bucket == bucket_of(settled_ms[entry.instance] + 1)]
    last_slots = dict(zip(cut, await store.fetch_last_slots(cut), strict=True)) if cut else {}
    return [
        entry
        for entry in entries
        if entry not in last_slots or _reaches(last_slots[entry], settled_ms[entry.instance])
    ]


def _reaches(slot_ms: int | None, settled_ms: int) -> bool:
    return slot_ms is not None and slot_ms > settled_ms
