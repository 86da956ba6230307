"""What a step of a resize rests on: who owns the new partitions, what the old ones hold."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from ringtime_ringctl.resize.steps import added, noted
from ringtime_shared.models.app import App, Instance
from ringtime_shared.schedules.rows_ahead import last_bucket, read_ahead
from ringtime_shared.settings import AppLimits
from ringtime_shared.stores.protocol import AppStore, IndexEntry, MarkStore, OperatorStore

MOST_BUCKETS = 2_000  #: counted in all; a plan is to be quick, and a month of minutes is 43,200 a partition
MOST_ROWS = 10_000  #: counted in one bucket, which should hold no more
_COUNTED_AT_ONCE = 200


class ResizeStore(AppStore, MarkStore, OperatorStore, Protocol):
    """What a resize needs of a store."""


async def find_unowned(store: ResizeStore, app: App) -> list[Instance]:
    """Return the new partitions that nobody is known to own yet. Raises StoreUnavailable.

    An owner writes its marks under its term when it takes over. One that owned the partition all along,
    because a shrink before was over so soon that it never noticed, shows by sealing it.
    """
    note, instances = noted(app), added(app)
    terms = await store.fetch_terms(instances)
    marks = await store.fetch_marks(instances)
    return [
        each
        for each in instances
        if terms.get(each, 0) <= note.term and (each not in marks or marks[each].sealed_ms < note.begun_ms)
    ]


async def find_ahead(
    store: ResizeStore, app: App, instances: Sequence[Instance], *, now_ms: int, last: int, is_whole: bool
) -> list[IndexEntry]:
    """Return the buckets in which these poller instances may have rows above `settled`, by bucket.

    Args:
        last: where no row can lie behind; see `last_bucket`.
        is_whole: all of them; else a first part, empty only if there are none.

    Raises StoreUnavailable, as `read_ahead` does.
    """
    ahead: list[IndexEntry] = []
    async with aclosing(read_ahead(store, app, instances, now_ms=now_ms, last=last)) as parts:
        async for entries in parts:
            ahead += entries
            if ahead and not is_whole:
                break
    return ahead


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What a poller instance has ahead."""

    instance: Instance
    rows: int  #: that are to fire
    minutes: int  #: in which it may have rows
    is_counted: bool  #: False: `rows` are those of its first minutes
    last_ms: int | None  #: the last slot filed; None: nothing lies ahead


async def fetch_holdings(
    store: ResizeStore, app: App, instances: Sequence[Instance], *, now_ms: int, limits: AppLimits
) -> list[Holding]:
    """Return what each of these holds, in their order. Raises StoreUnavailable."""
    ahead = await find_ahead(
        store, app, instances, now_ms=now_ms, last=last_bucket(now_ms, limits), is_whole=True
    )
    entries: dict[Instance, list[IndexEntry]] = defaultdict(list)
    for entry in ahead:
        entries[entry.instance].append(entry)
    first = ahead[:MOST_BUCKETS]
    rows: Counter[Instance] = Counter()
    for start in range(0, len(first), _COUNTED_AT_ONCE):
        part = first[start : start + _COUNTED_AT_ONCE]
        for entry, count in zip(part, await store.count_live(part, MOST_ROWS), strict=True):
            rows[entry.instance] += count
    buckets = Counter(entry.instance for entry in first)
    last = await store.fetch_last_slots([entries[each][-1] for each in entries])
    last_ms = dict(zip(entries, last, strict=True))
    return [
        Holding(
            instance=each,
            rows=rows[each],
            minutes=len(entries[each]),
            is_counted=buckets[each] == len(entries[each]),
            last_ms=last_ms[each],
        )
        if each in entries
        else Holding(instance=each, rows=0, minutes=0, is_counted=True, last_ms=None)
        for each in instances
    ]
