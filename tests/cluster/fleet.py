"""A hundred dispatchers and a million poller instances in one process, on a clock that is moved by hand:
`python -m tests.cluster.fleet [NODES [INSTANCES [MINUTES]]]`.

Reading and sealing are the real ones, on the store in memory; what each node would work out alike, who is on
the ring and who owns what, is worked out once, and delivery is a note of the outcome at the row's slot. So it
shows what a large fleet reads for its rows, and how long its poller instances wait; not what breaks.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import sys
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, cast

from ringtime_dispatcher.ownership.instance import Instances, OwnedInstance
from ringtime_dispatcher.reading.polling import Poller
from ringtime_dispatcher.reading.sealing import Sealer
from ringtime_shared.buckets import BUCKET_MS, bucket_of, first_slot
from ringtime_shared.clock import ManualClock
from ringtime_shared.ids import IdMint, Kind
from ringtime_shared.models.app import Instance
from ringtime_shared.models.schedule import Outcome, Place, Row, RowUpdate, Schedule, Status
from ringtime_shared.parts import GROUPS, PartMap, parts_of
from ringtime_shared.ring import Ring
from ringtime_shared.settings import DispatchSettings
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import Arrival, DamagedRow, IndexEntry, Marks, Position

_log = logging.getLogger(__name__)
TERM = 1
ROOM = 5_000  #: rows of an app in a node's memory


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """What is played."""

    nodes: int = 100
    instances: int = 1_000_000
    parts: int = GROUPS
    minutes: int = 12
    active: float = 0.02  #: of the instances have a row in a minute
    near: float = 0.1  #: of the rows are filed less than 20 s ahead; the others a minute or two
    seed: int = 0


@dataclass(slots=True)
class FleetTally:
    """What all nodes did together from the third minute on: in those before, what is filed ahead is missing.

    What is due and what was read for it is counted by the minute of the rows, whenever it was read, so that
    each minute counts whole. All else is counted when it is done.
    """

    first: int  #: bucket that counts
    due: int = 0
    index: int = 0  #: rows read
    arrivals: int = 0  #: rows read
    pages: int = 0  #: queries for rows
    looks: int = 0  #: queries for positions, at the end of a minute too
    parts: int = 0  #: parts of the index and of arrivals that were asked, one for each minute or tick
    marks: int = 0  #: written
    late_ms: int = 0  #: the latest row
    lost: int = 0

    @property
    def per_due(self) -> float:
        """Rows of the index and arrivals read for one row that was due."""
        return (self.index + self.arrivals) / self.due


class NodeStore:
    """The store, counting what one node reads."""

    def __init__(self, store: MemoryStore, tally: FleetTally, parts: int) -> None:
        self._store = store
        self._tally = tally
        self._parts = parts

    async def fetch_index(
        self, first: int, last: int, groups: Collection[int] | None = None
    ) -> list[IndexEntry]:
        entries = await self._store.fetch_index(first, last, groups)
        self._tally.index += sum(entry.bucket >= self._tally.first for entry in entries)
        self._tally.parts += (last - first + 1) * len(parts_of(groups, [self._parts]))
        return entries

    async def fetch_arrivals(self, after_ms: int, groups: Collection[int] | None = None) -> list[Arrival]:
        arrivals = await self._store.fetch_arrivals(after_ms, groups)
        first_ms = first_slot(self._tally.first)
        self._tally.arrivals += sum(arrival.slots[0] >= first_ms for arrival in arrivals)
        self._tally.parts += len(parts_of(groups, [self._parts]))
        return arrivals

    async def fetch_due(self, queries: Sequence[Any]) -> Any:
        self._tally.pages += len(queries)
        return await self._store.fetch_due(queries)

    async def fetch_live_ids(self, queries: Sequence[Any]) -> Any:
        self._tally.looks += len(queries)
        return await self._store.fetch_live_ids(queries)

    async def put_marks(self, writes: Sequence[Any]) -> None:
        self._tally.marks += len(writes)
        await self._store.put_marks(writes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Node:
    """One dispatcher without its delivery: a row it has read is done at its slot."""

    def __init__(self, fleet: Fleet, owned: Iterator[Instance]) -> None:
        self.instances = Instances()
        self._fleet = fleet
        self._due: list[tuple[int, Position, OwnedInstance]] = []
        began = Marks(fleet.clock.now_ms() - 1, fleet.clock.now_ms() - 1)
        for instance in owned:
            each = OwnedInstance(instance, TERM, began)
            self.instances.add(each)
            self.instances.end_walk(each)
        store = cast("MemoryStore", NodeStore(fleet.store, fleet.tally, fleet.plan.parts))
        parts = (store, fleet.clock, fleet.settings, self.instances, self)
        self.poller = Poller(*parts, lambda _: ROOM)
        self.sealer = Sealer(*parts)

    def accept(self, owned: OwnedInstance, row: Row) -> bool:
        """Have it done at its slot."""
        key = Position(row.place.slot_ms, row.schedule.schedule_id)
        if not owned.take(key):
            return False
        fleet = self._fleet
        fleet.tally.due += row.place.slot_ms >= first_slot(fleet.tally.first)
        fleet.tally.late_ms = max(fleet.tally.late_ms, fleet.clock.now_ms() - row.place.slot_ms)
        heapq.heappush(self._due, (row.place.slot_ms, key, owned))
        return True

    def reject(self, owned: OwnedInstance, row: DamagedRow) -> None:
        """Nothing here is damaged."""
        raise AssertionError(row)

    async def finish(self) -> None:
        """Note the outcomes of what is due by now."""
        now_ms, updates = self._fleet.clock.now_ms(), []
        while self._due and self._due[0][0] <= now_ms:
            slot_ms, key, owned = heapq.heappop(self._due)
            place = Place(owned.instance.app_id, owned.instance.partition, slot_ms)
            outcome = Outcome(status=Status.SUCCESS, ended_ms=now_ms)
            updates.append(RowUpdate(place=place, schedule_id=key.schedule_id, outcome=outcome))
            owned.close(key)
        if updates:
            await self._fleet.store.put_updates(updates)
            self._fleet.open_rows -= len(updates)


class Fleet:
    """All nodes, and the clients."""

    def __init__(self, plan: FleetPlan) -> None:
        self.plan = plan
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock.now_ms)
        self.settings = DispatchSettings()
        self.tally = FleetTally(first=bucket_of(self.clock.now_ms()) + 2)
        self.open_rows = 0  #: filed and not done
        self.nodes: list[Node] = []
        self._rng = Random(plan.seed)
        self._mint = IdMint(1)
        self._near: deque[Row] = deque()  # to be filed near their slot, by the moment of that

    async def run(self) -> FleetTally:
        """Play the plan."""
        plan, clock = self.plan, self.clock
        await self.store.replace_parts(PartMap(written=plan.parts, version=1))
        ring = Ring(
            {f"dispatcher-{n}": 1.0 for n in range(plan.nodes)},
            (f"app-{number}.0" for number in range(plan.instances)),
        )
        self.nodes = [Node(self, map(Instance.parse, ring.owned_by(name))) for name in ring.nodes]
        del ring
        first = bucket_of(clock.now_ms())
        await self._file(first + 1)
        await self._file(first + 2)
        tick_ms, ticks_a_seal = self.settings.tick_ms, self.settings.seal_ms // self.settings.tick_ms
        # The last minute is closed, too, and by the turn of every instance.
        ticks = (plan.minutes * BUCKET_MS + 90_000) // tick_ms
        for tick in range(ticks):
            now_ms = clock.now_ms()
            if now_ms % BUCKET_MS < tick_ms and bucket_of(now_ms) > first:
                if bucket_of(now_ms) == self.tally.first:
                    self._forget_the_start()
                if bucket_of(now_ms) + 2 < first + plan.minutes:
                    await self._file(bucket_of(now_ms) + 2)
                _log.info("minute %d: %s", bucket_of(now_ms) - first, self.tally)
            await self._file_near(now_ms)
            for n, node in enumerate(self.nodes):
                await node.poller.tick()
                if (tick + n) % ticks_a_seal == 0:
                    await node.sealer.round()
                await node.finish()
            clock.advance(tick_ms)
        self.tally.lost = self.open_rows
        return self.tally

    def _forget_the_start(self) -> None:
        for name in ("pages", "looks", "parts", "marks"):
            setattr(self.tally, name, 0)

    async def _file(self, bucket: int) -> None:
        """File the rows of a minute, some of them later."""
        plan, rng, start_ms = self.plan, self._rng, first_slot(bucket)
        rows: list[Row] = []
        near: list[Row] = []
        for number in rng.sample(range(plan.instances), int(plan.active * plan.instances)):
            slot_ms = start_ms + rng.randrange(BUCKET_MS)
            schedule = Schedule(
                schedule_id=self._mint.mint(
                    slot_ms=slot_ms, kind=Kind.ONE_TIME, partition=0, app_number=number
                ),
                app_id=f"app-{number}",
                fire_ms=slot_ms,
                payload="",
                callback_type="sim",
                callback_details=b"{}",
                created_ms=self.clock.now_ms(),
                expires_ms=slot_ms + 7 * 86_400_000,
            )
            row = Row(schedule=schedule, place=Place(schedule.app_id, 0, slot_ms))
            (near if rng.random() < plan.near else rows).append(row)
        await self._put(rows)
        self._near = deque(sorted([*self._near, *near], key=lambda row: row.place.slot_ms))

    async def _file_near(self, now_ms: int) -> None:
        """File what is due some 15 s from now."""
        rows = []
        while self._near and self._near[0].place.slot_ms < now_ms + 15_000:
            rows.append(self._near.popleft())
        await self._put(rows)

    async def _put(self, rows: Sequence[Row]) -> None:
        for start in range(0, len(rows), 500):
            await self.store.put_rows(rows[start : start + 500])
        self.open_rows += len(rows)


def play_fleet(plan: FleetPlan) -> FleetTally:
    """Return what the nodes did."""
    return asyncio.run(Fleet(plan).run())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    given = dict(zip(("nodes", "instances", "minutes", "parts"), map(int, sys.argv[1:]), strict=False))
    tally = play_fleet(FleetPlan(**given))
    print(tally, f"index and arrival rows per due row: {tally.per_due:.2f}")
    sys.exit(tally.lost > 0)
