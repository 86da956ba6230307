"""Reading rows in time: the tick."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from ringtime_dispatcher.ownership.instance import Instances, OwnedInstance
from ringtime_shared.buckets import bucket_of, last_slot
from ringtime_shared.clock import Clock
from ringtime_shared.models.schedule import Row
from ringtime_shared.settings import DispatchSettings
from ringtime_shared.stores.protocol import LAST_ID, DamagedRow, DueQuery, DueStore, Position


class RowSink(Protocol):
    """Where rows go once they are read."""

    def accept(self, owned: OwnedInstance, row: Row) -> bool:
        """Fire `row` at its slot; False: a read returned it before, and nothing is done."""
        ...

    def reject(self, owned: OwnedInstance, row: DamagedRow) -> None:
        """Record a row that cannot be read as a failure, unless a read returned it before."""
        ...


def plan_reads(
    owned: Iterable[OwnedInstance], *, horizon_ms: int, page_rows: int, room: Callable[[str], int]
) -> list[tuple[OwnedInstance, DueQuery]]:
    """Return the pages to read next, oldest first, of each app no more rows than there is room for."""
    wanted = []
    for each in owned:
        unread = None if each.is_draining else each.next_read(horizon_ms)
        if unread is not None:
            wanted.append((unread[1].slot_ms, each, unread))
    wanted.sort(key=lambda entry: entry[0])
    plans = []
    planned: Counter[str] = Counter()
    total = 0
    for _, each, (bucket, front) in wanted:
        app_id = each.instance.app_id
        # What is planned for others here takes half a row each from this app's room; see `delivery.ledger`.
        others = total - planned[app_id]
        limit = min(page_rows, room(app_id) - planned[app_id] - (others + 1) // 2)
        if limit <= 0:
            continue
        upto_ms = min(horizon_ms, last_slot(bucket))
        plans.append((each, DueQuery(each.instance, bucket, front, upto_ms, limit)))
        planned[app_id] += limit
        total += limit
    return plans


class Poller:
    """One tick: ask the index, read what is due within the read-ahead."""

    def __init__(
        self,
        store: DueStore,
        clock: Clock,
        settings: DispatchSettings,
        instances: Instances,
        sink: RowSink,
        room: Callable[[str], int],
    ) -> None:
        """`room`: how many more rows of an app may be held in memory."""
        self._store = store
        self._clock = clock
        self._settings = settings
        self._instances = instances
        self._sink = sink
        self._room = room
        self._indexed: int | None = None  # the bucket that was current at the last tick

    async def tick(self) -> None:
        """Read every row of owned instances up to now plus the read-ahead, while there is room."""
        now_ms = self._clock.now_ms()
        horizon_ms = now_ms + self._settings.read_ahead_ms
        first = bucket_of(now_ms) if self._indexed is None else min(self._indexed, bucket_of(now_ms))
        last = bucket_of(horizon_ms)
        while first <= last:  # one turn, but after a long suspension, or when the clock was set
            upto = min(first + self._settings.walk_buckets - 1, last)
            for bucket, instance in await self._store.fetch_index(first, upto):
                owned = self._instances.owned.get(instance)
                if owned is not None and owned.is_walked:
                    self._instances.open_bucket(owned, bucket)
            first = upto + 1
        self._indexed = bucket_of(now_ms)
        await self.read(horizon_ms)

    async def read(self, horizon_ms: int) -> None:
        """Read page after page until everything up to `horizon_ms` is read or memory is full."""
        while True:
            plans = plan_reads(
                self._instances.active(),
                horizon_ms=horizon_ms,
                page_rows=self._settings.page_rows,
                room=self._room,
            )
            if not plans:
                return
            pages = await self._store.fetch_due([query for _, query in plans])
            for (owned, query), page in zip(plans, pages, strict=True):
                for row in page.rows:
                    self._sink.accept(owned, row)
                for damaged in page.damaged:
                    self._sink.reject(owned, damaged)
                owned.set_front(query.bucket, page.next or Position(query.upto_ms, LAST_ID))
