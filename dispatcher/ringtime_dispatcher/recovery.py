"""Begin an ownership term: take the marks over, then find the buckets between `settled` and now."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from ringtime_dispatcher.instances import OwnedInstance
from ringtime_shared.buckets import bucket_of
from ringtime_shared.clock import Clock
from ringtime_shared.models.app import Instance
from ringtime_shared.stores.protocol import DueStore, Marks, MarkStore, MarksWrite


class RecoveryStore(DueStore, MarkStore, Protocol):
    """What recovery needs of a store."""


async def take_over(
    store: RecoveryStore,
    terms: Mapping[Instance, int],
    fallback: Callable[[Instance], Marks],
    active: dict[OwnedInstance, None],
) -> list[OwnedInstance]:
    """Return the instances of `terms` (instance to term) with the marks their last owner left.

    The marks are written back under the new term before they are used: after that an older owner's
    late write loses in the store, and cannot hide a row by raising `settled`.
    """
    found = await store.fetch_marks(list(terms))
    marks = {instance: found.get(instance) or fallback(instance) for instance in terms}
    await store.put_marks([MarksWrite(each, term, marks[each]) for each, term in terms.items()])
    return [OwnedInstance(each, term, marks[each], active) for each, term in terms.items()]


async def walk(store: DueStore, clock: Clock, owned: Sequence[OwnedInstance], walk_buckets: int) -> None:
    """Open every bucket with rows from the oldest `settled` up to now; the poller reads them.

    One pass over the due index serves all instances of one takeover.
    """
    by_instance = {each.instance: each for each in owned}
    bucket = bucket_of(min(each.settled_ms for each in owned) + 1)
    while bucket <= bucket_of(clock.now_ms()):
        last = min(bucket + walk_buckets - 1, bucket_of(clock.now_ms()))
        for entry in await store.fetch_index(bucket, last):
            found = by_instance.get(entry.instance)
            if found is not None:
                found.open_bucket(entry.bucket)
        bucket = last + 1
    for each in owned:
        each.is_walked = True
