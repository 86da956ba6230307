"""What a step of a resize rests on: who owns the new partitions, what the old ones hold."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Protocol

from ringtime_ringctl.resize.steps import added, noted
from ringtime_shared.models.app import App, Instance
from ringtime_shared.rows_ahead import read_ahead
from ringtime_shared.stores.protocol import AppStore, IndexEntry, MarkStore, OperatorStore


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
    found: list[IndexEntry] = []
    async with aclosing(read_ahead(store, app, instances, now_ms=now_ms, last=last)) as parts:
        async for entries in parts:
            found += entries
            if found and not is_whole:
                break
    return found
