"""Publish `sealed`, then read once more, then let `settled` follow. The order is the whole point.

`ringtime_dispatcher` says what the marks promise, `reading` who is sealed when. Nobody else waits for a
round: what is done for each of many instances is done a slice at a time, marks are written some thousand at
a time, and instances whose minute is over are spread over some seconds.

The index is read behind the publish where a bucket is not being read: its first row may have landed after
the last look at the index. What it names is opened, and then the ids of all open buckets are read. As a rule
there is one such read a minute, in the first round behind its end, for everybody: it opens what nobody told
of, it is the final read of those without rows whose turn it is, and it brings those with rows whose turn it
is up to their first bucket, so that when this is closed only its ids are left to read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

from ringtime_dispatcher.ownership.instance import Instances, OwnedInstance
from ringtime_dispatcher.ownership.recovery import open_buckets
from ringtime_dispatcher.reading.polling import RowSink
from ringtime_shared.buckets import BUCKET_MS, bucket_of, first_slot, last_slot
from ringtime_shared.clock import Clock
from ringtime_shared.errors import Damaged
from ringtime_shared.models.app import Instance
from ringtime_shared.models.schedule import Place
from ringtime_shared.parts import group_of
from ringtime_shared.settings import DispatchSettings
from ringtime_shared.stores.protocol import (
    LAST_ID,
    DamagedRow,
    DueQuery,
    DueStore,
    Marks,
    MarkStore,
    MarksWrite,
    Position,
    ScheduleStore,
)

MARKS_AT_ONCE = 4_000  #: marks in one write, which others of the store may have to wait for
INSTANCES_AT_ONCE = 1_000  #: looked at without letting anybody else run: about a millisecond
CLOSING_MS = 20_000  #: a minute's instances are sealed within this time after its end
FEW_CLOSING = 200  #: are sealed in one round
T = TypeVar("T")


class SealStore(DueStore, MarkStore, ScheduleStore, Protocol):
    """What sealing needs of a store."""


class Seal(NamedTuple):
    """Seal this instance up to here."""

    owned: OwnedInstance
    upto_ms: int


def _buckets_of(seal: Seal) -> range:
    """Return the buckets that the final read of a seal is about."""
    if seal.upto_ms <= seal.owned.checked_ms:
        return range(0)
    return range(bucket_of(seal.owned.checked_ms + 1), bucket_of(seal.upto_ms) + 1)


def _runs(numbers: Iterable[int], most: int) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of each run of consecutive numbers, at most `most` long."""
    ordered = sorted(numbers)
    start = 0
    for n, number in enumerate(ordered, start=1):
        if n == len(ordered) or ordered[n] != number + 1 or n - start == most:
            yield ordered[start], number
            start = n


def plan_seals(owned: Iterable[OwnedInstance], *, limit_ms: int, walk_buckets: int) -> list[Seal]:
    """Return what can be sealed, at most `walk_buckets` minutes an instance at a time."""
    seals = []
    for each in owned:
        if each.is_walked and not each.is_draining:
            furthest_ms = each.checked_ms + walk_buckets * BUCKET_MS
            upto_ms = min(each.sealable_ms(limit_ms), furthest_ms)
            if upto_ms > each.checked_ms or each.settleable_ms() > each.settled_ms:
                seals.append(Seal(each, max(upto_ms, each.checked_ms)))
    return seals


def take_closing(owned: Iterable[OwnedInstance], *, limit_ms: int, pause_ms: int) -> list[OwnedInstance]:
    """Return whom to seal in this round of those that have rows in a minute that is over.

    They are spread over `CLOSING_MS`, oldest first: 10,000 at once would keep others from the store.

    Args:
        limit_ms: nothing after this slot is to be sealed.
        pause_ms: the time between two rounds.
    """
    over = bucket_of(limit_ms)
    closing = []
    for each in owned:
        oldest = each.oldest_bucket
        if oldest is not None and oldest < over:
            closing.append((oldest, each))
    closing.sort(key=lambda entry: entry[0])
    rounds_left = max((first_slot(over) + CLOSING_MS - limit_ms) // pause_ms, 1)
    share = max(FEW_CLOSING, -(-len(closing) // rounds_left))
    return [each for _, each in closing[:share]]


def find_laden(owned: Sequence[OwnedInstance], *, most_each: int, most: int) -> list[OwnedInstance]:
    """Return whom to seal before its minute is over, for it holds what only a seal lets go of.

    Args:
        most_each: rows seen of one; 0: everybody is laden.
        most: of all together; beyond, those that have more than an even share are.
    """
    if sum(each.rows_seen for each in owned) > most:
        most_each = min(most_each, max(most // len(owned), 1))
    return [each for each in owned if each.rows_seen >= most_each]


def _slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


class Sealer:
    """Carries out the rounds."""

    def __init__(
        self,
        store: SealStore,
        clock: Clock,
        settings: DispatchSettings,
        instances: Instances,
        sink: RowSink,
        is_awaited: Callable[[Instance], bool] = lambda _: False,
        on_late: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            is_awaited: somebody waits for the marks of this instance, so each round seals it.
            on_late: told of each row that only the final read has returned.
        """
        self._on_late = on_late
        self._store = store
        self._clock = clock
        self._settings = settings
        self._instances = instances
        self._sink = sink
        self._is_awaited = is_awaited
        self._minute_ms: int | None = None  # the minute that ended last, of the last round; its last slot
        self._is_behind = False  # some instance has a whole minute or more to catch up
        self._restless: dict[OwnedInstance, None] = {}  # whose `settled` is to follow; in order

    async def round(self) -> bool:
        """Seal once; return whether some instance has a whole minute or more to catch up.

        Raises what the store raises; the next round goes on where this one stopped.
        """
        limit_ms = self._clock.now_ms() - self._settings.seal_lag_ms
        minute_ms = last_slot(bucket_of(limit_ms) - 1)
        asked, seals, idle = await self._plan_round(limit_ms, minute_ms)
        together = [*seals, *idle]
        for part in _slices(together, MARKS_AT_ONCE):
            await self.publish(part)
        await self._open_named(together, self._ended(minute_ms))
        if together:
            await self.final_read(together)
        asked += [owned for owned, _ in idle if owned.has_open_rows]  # there was one after all
        await self._set_checked(asked, together)
        self._is_behind = any(
            upto_ms < owned.sealable_ms(limit_ms) - BUCKET_MS
            for owned, upto_ms in seals
            if upto_ms < minute_ms
        ) or any(upto_ms < owned.without_rows_ms(minute_ms) for owned, upto_ms in idle)
        self._minute_ms = minute_ms
        return self._is_behind

    def _ended(self, minute_ms: int) -> range:
        """Return the buckets that ended since the last round; none in the first, for what was before that is
        found by the walk of each instance."""
        since_ms = minute_ms if self._minute_ms is None else self._minute_ms
        return range(bucket_of(since_ms) + 1, bucket_of(minute_ms) + 1)

    async def _plan_round(
        self, limit_ms: int, minute_ms: int
    ) -> tuple[list[OwnedInstance], list[Seal], list[Seal]]:
        """Return for whose rows this round is, the seals among that, and those of instances up to where they
        have rows."""
        settings, active = self._settings, self._instances.active()
        at_once = dict.fromkeys(find_laden(active, most_each=settings.seal_rows, most=settings.seen_rows))
        at_once |= {each: None for each in active if self._is_awaited(each.instance)}
        closing = take_closing(active, limit_ms=limit_ms, pause_ms=settings.seal_ms)
        by_minutes = [each for each in dict.fromkeys([*closing, *self._restless]) if each not in at_once]
        seals = await self._plan([*at_once], limit_ms) + await self._plan(by_minutes, minute_ms)
        idle: list[Seal] = []
        if minute_ms != self._minute_ms or self._is_behind:
            idle = await self._plan_idle(minute_ms, but={each for each, _ in seals})
        return [*at_once, *by_minutes], seals, idle

    async def _plan_idle(self, minute_ms: int, but: Collection[OwnedInstance]) -> list[Seal]:
        """Return the seals of those whose turn it is, up to where they have rows: each minute others, and
        whoever has missed a turn."""
        turns, most_ms = self._settings.idle_seal_minutes, self._settings.walk_buckets * BUCKET_MS
        minute, missed_ms = bucket_of(minute_ms), minute_ms - turns * BUCKET_MS
        seals = []
        for part in _slices([*self._instances.owned.values()], INSTANCES_AT_ONCE):
            for each in part:
                upto_ms = min(each.without_rows_ms(minute_ms), each.checked_ms + most_ms)
                if upto_ms <= each.checked_ms or not each.is_walked or each.is_draining or each in but:
                    continue
                if each.checked_ms < missed_ms or (minute + group_of(str(each.instance))) % turns == 0:
                    seals.append(Seal(each, upto_ms))
            await asyncio.sleep(0)
        return seals

    async def _plan(self, asked: Sequence[OwnedInstance], limit_ms: int) -> list[Seal]:
        seals: list[Seal] = []
        for part in _slices(asked, INSTANCES_AT_ONCE):
            seals += plan_seals(part, limit_ms=limit_ms, walk_buckets=self._settings.walk_buckets)
            await asyncio.sleep(0)
        return seals

    async def _set_checked(self, asked: Sequence[OwnedInstance], seals: Sequence[Seal]) -> None:
        for part in _slices(seals, INSTANCES_AT_ONCE):
            for owned, upto_ms in part:
                if not owned.is_draining:  # then what the index named was not opened
                    owned.set_checked(upto_ms)
            await asyncio.sleep(0)
        restless: dict[OwnedInstance, None] = {}
        for some in _slices(asked, INSTANCES_AT_ONCE):
            restless |= {each: None for each in some if each.is_restless and not each.is_draining}
            await asyncio.sleep(0)
        self._restless = restless

    async def publish(self, seals: Sequence[Seal]) -> None:
        """Make `sealed` durable, and `settled` as far as it has come by now."""
        writes = [
            MarksWrite(
                owned.instance,
                owned.term,
                Marks(max(owned.sealed_ms, upto_ms), max(owned.settled_ms, owned.settleable_ms())),
            )
            for owned, upto_ms in seals
        ]
        await self._store.put_marks(writes)
        for (owned, _), write in zip(seals, writes, strict=True):
            owned.sealed_ms, owned.settled_ms = write.marks

    async def _open_named(self, seals: Sequence[Seal], ended: range) -> None:
        """Open the buckets with rows that are not being read yet: of these seals, and of anybody in `ended`.

        Each minute of the index is read once, though each may be checked up to another one.
        """
        instances, most = self._instances, self._settings.walk_buckets
        unknown: set[int] = set()
        groups: set[int] = set()
        for n, seal in enumerate(seals, start=1):
            missing = [each for each in _buckets_of(seal) if each not in ended]
            missing = [each for each in missing if not seal.owned.is_reading(each)]
            if missing:
                unknown.update(missing)
                groups.add(group_of(str(seal.owned.instance)))
            if n % INSTANCES_AT_ONCE == 0:
                await asyncio.sleep(0)
        for first, last in _runs(unknown, most):
            entries = await self._store.fetch_index(first, last, groups)
            await open_buckets(instances, instances.owned, entries)
        for first, last in _runs(ended, most):
            entries = await self._store.fetch_index(first, last, instances.groups)
            await open_buckets(instances, instances.owned, entries)

    async def final_read(self, seals: Sequence[Seal]) -> None:
        """Read the open buckets of (checked, sealed] once more and fire what no earlier read returned."""
        queries = await self._plan_final_read(seals)
        while True:
            pages = await self._store.fetch_live_ids([query for _, query in queries])
            further = []
            for (owned, query), page in zip(queries, pages, strict=True):
                await self._fire_unseen(owned, page.ids)
                if page.next is not None:
                    further.append((owned, query._replace(after=page.next)))
            if not further:
                return
            queries = further

    async def _fire_unseen(self, owned: OwnedInstance, keys: Sequence[Position]) -> None:
        app_id, partition = owned.instance
        for key in list(owned.unseen(keys)):
            place = Place(app_id, partition, key.slot_ms)
            try:
                row = await self._store.fetch_row(place, key.schedule_id)
            except Damaged as error:
                self._sink.reject(owned, DamagedRow(place, key.schedule_id, error.fault))
                continue
            if row is not None and row.is_live and self._sink.accept(owned, row):
                self._on_late()

    async def _plan_final_read(self, seals: Sequence[Seal]) -> list[tuple[OwnedInstance, DueQuery]]:
        queries = []
        for n, seal in enumerate(seals, start=1):
            owned = seal.owned
            queries += [
                (owned, self._query(seal, each)) for each in _buckets_of(seal) if owned.is_reading(each)
            ]
            if n % INSTANCES_AT_ONCE == 0:
                await asyncio.sleep(0)
        return queries

    def _query(self, seal: Seal, bucket: int) -> DueQuery:
        owned, upto_ms = seal
        after = Position(max(owned.checked_ms, first_slot(bucket) - 1), LAST_ID)
        return DueQuery(
            owned.instance, bucket, after, min(upto_ms, last_slot(bucket)), self._settings.page_rows
        )
