"""How much of all apps is due in each of the minutes ahead: counted or, where that is much, estimated.

It costs a read of the index, in pieces, and a count for each of at most so many poller instances and
minutes: rows go round the partitions of an app (`partition_choice`), so that one of an app's partitions says
about what the others have, and minutes with many apps are told by every n-th of these. No more of the index
is held, however many apps there are.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import NamedTuple, Protocol

from ringtime_shared.schedules.forecast import PER_PARTITION, Minute
from ringtime_shared.schedules.index_spans import read_spans
from ringtime_shared.stores.protocol import DueStore, IndexEntry, OperatorStore

_AT_ONCE = 50
_SLICE = 1_000  #: entries looked at without letting anybody else run
_MOST_ROWS = 20 * PER_PARTITION  #: counted of one


class AheadStore(DueStore, OperatorStore, Protocol):
    """What it needs of a store."""


class Counted(NamedTuple):
    """What is due in some minutes."""

    minutes: Sequence[Minute]  #: all of them, in order
    is_estimate: bool


async def count_minutes(store: AheadStore, first: int, last: int, most: int) -> Counted:
    """Return what is due in the buckets from `first` to `last`. Raises StoreUnavailable.

    Args:
        most: poller instances and minutes that are counted.
    """
    whole: list[IndexEntry] | None = []  # None: it is too much to be counted
    samples: list[_Sample] = []
    of_each = max(1, most // (last - first + 1))
    async with aclosing(read_spans(store.fetch_index, first, last)) as spans:
        async for _, entries in spans:
            if whole is not None:
                whole = [*whole, *entries] if len(whole) + len(entries) <= most else None
            samples += await _sample(entries, of_each)
    if whole is not None:
        samples = [_Sample(entry, 1, 1) for entry in whole]
    due = _estimate(samples, await _count_all(store, [each.entry for each in samples]))
    return Counted([Minute(bucket, due.get(bucket, 0)) for bucket in range(first, last + 1)], whole is None)


async def _count_all(store: AheadStore, entries: Sequence[IndexEntry]) -> dict[IndexEntry, int]:
    counts: dict[IndexEntry, int] = {}
    for start in range(0, len(entries), _AT_ONCE):
        part = entries[start : start + _AT_ONCE]
        counts |= zip(part, await store.count_live(part, _MOST_ROWS), strict=True)
        await asyncio.sleep(0)  # creates and callbacks go first
    return counts


class _Sample(NamedTuple):
    """One of several apps that have something in a minute."""

    entry: IndexEntry  #: of one of its partitions
    partitions: int  #: of it, with something in the minute
    apps: float  #: that it stands for, itself among them


async def _sample(entries: Sequence[IndexEntry], of_each: int) -> list[_Sample]:
    """Return `of_each` apps of each minute at most, looking at a slice of the entries at a time."""
    minutes: dict[int, dict[str, list[IndexEntry]]] = {}
    for start in range(0, len(entries), _SLICE):
        for entry in entries[start : start + _SLICE]:
            minutes.setdefault(entry.bucket, {}).setdefault(entry.instance.app_id, []).append(entry)
        await asyncio.sleep(0)
    samples: list[_Sample] = []
    for of_apps in minutes.values():
        chosen = [*of_apps.values()][:: -(-len(of_apps) // of_each)]
        samples += [_Sample(each[0], len(each), len(of_apps) / len(chosen)) for each in chosen]
    return samples


def _estimate(samples: Iterable[_Sample], counts: Mapping[IndexEntry, int]) -> dict[int, int]:
    """Return about how much is due in each minute."""
    due: dict[int, float] = defaultdict(float)
    for entry, partitions, apps in samples:
        due[entry.bucket] += counts[entry] * partitions * apps
    return {bucket: round(count) for bucket, count in due.items()}
