"""Publish `sealed`, then read once more, then let `settled` follow. The order is the whole point.

See the package docstring for what the marks promise. One round seals every active instance up to
two seconds ago, and every idle one up to the last full minute, so 10,000 idle instances cost 20,000
batched mark writes a minute and two index reads. Nobody else waits for them: what is done for each of many
instances is done a slice at a time, and their marks are written some thousand at a time.

The index is read again behind the publish, because an instance's first row of a minute may have landed
after the tick's last look; where the bucket is being read anyway, only its ids are.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

from ringtime_dispatcher.ownership.instance import Instances, OwnedInstance
from ringtime_dispatcher.reading.polling import RowSink
from ringtime_shared.buckets import BUCKET_MS, bucket_of, first_slot, last_slot
from ringtime_shared.clock import Clock
from ringtime_shared.errors import Damaged
from ringtime_shared.models.app import Instance
from ringtime_shared.models.schedule import Place
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
T = TypeVar("T")


class SealStore(DueStore, MarkStore, ScheduleStore, Protocol):
    """What sealing needs of a store."""


class Seal(NamedTuple):
    """Seal this instance up to here."""

    owned: OwnedInstance
    upto_ms: int


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
    ) -> None:
        self.found_late = 0  #: rows that only the final read has returned
        self._store = store
        self._clock = clock
        self._settings = settings
        self._instances = instances
        self._sink = sink
        self._idle_ms = 0  # idle instances are sealed up to here
        self._restless: dict[OwnedInstance, None] = {}  # to be sealed again soon, with rows or not; in order

    async def round(self) -> bool:
        """Seal once; return whether some instance has a whole minute or more to catch up.

        Raises what the store raises; the next round goes on where this one stopped.
        """
        limit_ms = self._clock.now_ms() - self._settings.seal_lag_ms
        minute_ms = last_slot(bucket_of(limit_ms) - 1)
        is_everybody = minute_ms != self._idle_ms
        instances = self._instances
        asked = [
            *(
                instances.owned.values()
                if is_everybody
                else dict.fromkeys([*instances.active(), *self._restless])
            )
        ]
        seals = await self._plan(asked, limit_ms)
        if seals:
            for part in _slices(seals, MARKS_AT_ONCE):
                await self.publish(part)
            await self.final_read(seals)
        await self._set_checked(asked, seals)
        self._idle_ms = minute_ms
        return any(
            upto_ms < owned.sealable_ms(limit_ms) - BUCKET_MS
            for owned, upto_ms in seals
            if upto_ms < minute_ms
        )

    async def _plan(self, asked: Sequence[OwnedInstance], limit_ms: int) -> list[Seal]:
        seals: list[Seal] = []
        for part in _slices(asked, INSTANCES_AT_ONCE):
            seals += plan_seals(part, limit_ms=limit_ms, walk_buckets=self._settings.walk_buckets)
            await asyncio.sleep(0)
        return seals

    async def _set_checked(self, asked: Sequence[OwnedInstance], seals: Sequence[Seal]) -> None:
        for part in _slices(seals, INSTANCES_AT_ONCE):
            for owned, upto_ms in part:
                owned.set_checked(upto_ms)
            await asyncio.sleep(0)
        restless: dict[OwnedInstance, None] = {}
        for some in _slices(asked, INSTANCES_AT_ONCE):
            restless |= {owned: None for owned in some if not owned.is_at_rest and not owned.is_draining}
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

    async def final_read(self, seals: Sequence[Seal]) -> None:
        """Read (checked, sealed] once more and fire what no earlier read returned."""
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
                self.found_late += 1

    async def _plan_final_read(self, seals: Sequence[Seal]) -> list[tuple[OwnedInstance, DueQuery]]:
        queries = []
        by_range: dict[tuple[int, int], dict[Instance, Seal]] = defaultdict(dict)
        for n, seal in enumerate(seals):
            if n % INSTANCES_AT_ONCE == INSTANCES_AT_ONCE - 1:
                await asyncio.sleep(0)
            owned, upto_ms = seal
            first, last = bucket_of(owned.checked_ms + 1), bucket_of(upto_ms)
            if upto_ms <= owned.checked_ms:
                continue
            if first == last and owned.is_reading(first):
                queries.append((owned, self._query(seal, first)))
            else:
                by_range[first, last][owned.instance] = seal
        for (first, last), members in by_range.items():
            for bucket, instance in await self._store.fetch_index(first, last):
                if instance in members:
                    queries.append((members[instance].owned, self._query(members[instance], bucket)))
        return queries

    def _query(self, seal: Seal, bucket: int) -> DueQuery:
        owned, upto_ms = seal
        after = Position(max(owned.checked_ms, first_slot(bucket) - 1), LAST_ID)
        return DueQuery(
            owned.instance, bucket, after, min(upto_ms, last_slot(bucket)), self._settings.page_rows
        )
