"""Begin an ownership term: take the marks over, then find the buckets between `settled` and now.

Marks that lie ahead of a clock that is relied on were published by one that was not to be. Rows
acknowledged meanwhile may lie under `settled` without an outcome, and within a term marks never go back; so
the new term lowers both, to `look_back_ms` before now, and reads from there again. Lowering never loses a
row: it adds rows to those that are looked at, and those with an outcome are passed over. What it costs is
the reading.

What it guarantees. Every row that was acknowledged less than `look_back_ms` before this moment, by a node
whose clock could be relied on, is above the lowered `settled`: it was filed under a slot later than the
moment of its create. Rows acknowledged before that are not looked for; `ringctl doctor` finds those of its
window. Nor is anything lowered by a term that begins when the time is there that the false marks say: they
look like any others then, and what was filed under them meanwhile is left to `ringctl doctor`, too.

Terms that go back. An epoch lower than one that the store knows, within one era, means that the coordination
service forgot some of its past: it was restored from a backup. What is written under such a term loses in the
store, without a word: `sealed` would seem published to its owner and would not be, and ingest would file rows
below it that nobody reads. So a term begins only if it is above the stored one.

Marks that are ahead by no more than two clocks may differ are left: rows filed under them are near, so ingest
sees the mark and files them above it, late by that much.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from ringtime_dispatcher.ownership.instance import Instances, OwnedInstance
from ringtime_shared.buckets import bucket_of
from ringtime_shared.clock import Clock
from ringtime_shared.ids import EPOCH_2020_MS
from ringtime_shared.models.app import Instance
from ringtime_shared.parts import group_of
from ringtime_shared.stores.protocol import (
    DAMAGED_MARKS,
    DueStore,
    IndexEntry,
    Marks,
    MarkStore,
    MarksWrite,
)

_log = logging.getLogger(__name__)
ENTRIES_AT_ONCE = 1_000  #: of the index, opened without letting anybody else run


class TermsWentBack(Exception):
    """The store knows of later terms than the one that was given out now."""


class RecoveryStore(DueStore, MarkStore, Protocol):
    """What recovery needs of a store."""


def marks_to_begin_at(stored: Marks, *, now_ms: int, most_ahead_ms: int, look_back_ms: int) -> Marks:
    """Return the marks a term begins with: those that were stored, or lower ones if they lie in the future.

    No row is filed before 2020, so nothing is to be walked before that.
    """
    sealed_ms, settled_ms = stored
    if max(stored) > now_ms + most_ahead_ms:
        sealed_ms, settled_ms = (min(mark_ms, now_ms - look_back_ms) for mark_ms in stored)
    return Marks(max(sealed_ms, EPOCH_2020_MS), max(settled_ms, EPOCH_2020_MS))


async def take_over(
    store: RecoveryStore,
    terms: Mapping[Instance, int],
    begin_at: Callable[[Instance, Marks | None], Marks],
) -> list[OwnedInstance]:
    """Return the instances of `terms` (instance to term) with the marks their last owner left.

    The marks are written back under the new term before they are used: after that an older owner's
    late write loses in the store, and cannot hide a row by raising `settled`. Marks that cannot be read are
    as good as none.

    Args:
        begin_at: from the marks that are stored, None if there are none, to what the term begins with.

    Raises TermsWentBack, and has written nothing then.
    """
    stored, known = await asyncio.gather(store.fetch_marks(list(terms)), store.fetch_terms(list(terms)))
    later = [each for each, term in known.items() if term > terms[each]]
    if later:
        raise TermsWentBack(
            f"{len(later)} poller instances, {later[0]} among them, were owned under later terms than those"
            " given out now"
        )
    readable = {instance: marks for instance, marks in stored.items() if marks != DAMAGED_MARKS}
    lost = [instance for instance in stored if instance not in readable]
    if lost:
        _log.error(
            "the marks of %d poller instances, %s among them, cannot be read; all since their apps were made"
            " is read again, and what has an outcome passed over", len(lost), lost[0],
        )  # fmt: skip
    marks = {instance: begin_at(instance, readable.get(instance)) for instance in terms}
    lowered = [each for each in terms if each in readable and marks[each] < readable[each]]
    if lowered:
        ahead_ms = max(readable[each].settled_ms - marks[each].settled_ms for each in lowered)
        _log.error(
            "the marks of %d poller instances, %s among them, lay in the future: a wrong clock has set them."
            " They are lowered by up to %d s and what lies there is read again; see `ringctl doctor`",
            len(lowered), lowered[0], ahead_ms // 1_000,
        )  # fmt: skip
    await store.put_marks([MarksWrite(each, term, marks[each]) for each, term in terms.items()])
    # One object of each number, for they are alike by the thousand, and are kept.
    same: dict[int, int] = {}
    return [
        OwnedInstance(
            each, same.setdefault(term, term), Marks(*(same.setdefault(ms, ms) for ms in marks[each]))
        )
        for each, term in terms.items()
    ]


async def walk(
    store: DueStore, clock: Clock, instances: Instances, owned: Sequence[OwnedInstance], walk_buckets: int
) -> None:
    """Open every bucket with rows of `owned` from the oldest `settled` up to now, and those after that whose
    index was read without them; the poller reads them, oldest first.

    One pass over the due index serves all instances of one takeover.
    """
    by_instance = {each.instance: each for each in owned}
    groups = {group_of(str(each.instance)) for each in owned}
    bucket = bucket_of(min(each.settled_ms for each in owned) + 1)
    while bucket <= (last := max(bucket_of(clock.now_ms()), instances.indexed or 0)):
        upto = min(bucket + walk_buckets - 1, last)
        await open_buckets(instances, by_instance, await store.fetch_index(bucket, upto, groups))
        bucket = upto + 1
    # No await since the last look at `indexed`: what is indexed from here on is opened then.
    for each in owned:
        instances.end_walk(each)


async def open_buckets(
    instances: Instances, owned: Mapping[Instance, OwnedInstance], entries: Sequence[IndexEntry]
) -> None:
    """Begin to read what the index has named of those `owned`; entries of others are passed over."""
    for n, (bucket, instance) in enumerate(entries, start=1):
        each = owned.get(instance)
        if each is not None:
            instances.open_bucket(each, bucket)
        if n % ENTRIES_AT_ONCE == 0:
            await asyncio.sleep(0)
