"""Reading rows in time: the tick, and the agenda it goes by. What it leaves to others is in the package."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from ringtime_dispatcher.ownership.instance import Instances, OwnedInstance
from ringtime_dispatcher.ownership.minute import FEW_ROWS, SLOTS_KNOWN
from ringtime_dispatcher.ownership.recovery import open_buckets
from ringtime_dispatcher.reading.feed import Feed
from ringtime_shared.buckets import bucket_of, first_slot, last_slot
from ringtime_shared.clock import Clock
from ringtime_shared.models.schedule import Row
from ringtime_shared.settings import DispatchSettings
from ringtime_shared.stores.arrivals import INDEX_LEAD_MS
from ringtime_shared.stores.protocol import LAST_ID, DamagedRow, DuePage, DueQuery, DueStore, Position

READS_AT_ONCE = 500  #: instances whose pages are planned together, at most
LEAST_READS = 16
ROWS_AT_ONCE = 5_000  #: asked for together where nothing is known: of 500 instances most have a row or none
LEAST_ENTRIES = 1_024  #: of the agenda's heap, below which stale ones are left where they are
QUIET_SHARE = 2 / 3  #: of the commit margin lies between two looks at most; the rest is for write and read
MOST_PASSED = 10_000  #: ranges that are to be read again; more wait for their minute's seal


class Look(NamedTuple):
    """Ask for the positions of this bucket, from where they are known on."""

    owned: OwnedInstance
    bucket: int


class Agenda:
    """When which poller instance is to be read next, and which are to be looked at before. Pure.

    An instance is on the agenda once, at the oldest slot it is known to have unread; what concerns one bucket
    of it is in `ownership.minute`.
    """

    def __init__(self) -> None:
        self._due_ms: dict[OwnedInstance, int] = {}  # at which slot each is on the agenda
        self._heap: list[tuple[int, int, OwnedInstance]] = []  # these, and stale ones
        self._count = 0  # of what was put on the heap: the same slot goes in order
        self._most = LEAST_ENTRIES
        self._looks: dict[int, dict[OwnedInstance, None]] = defaultdict(dict)  # by bucket

    def file(self, owned: OwnedInstance) -> None:
        """Put an instance on the agenda where it belongs now; to be called whenever that may have changed.

        One that is leaving has nothing to read any more, one whose walk is under way has nothing yet.
        """
        if owned.is_draining or not owned.is_walked:
            self._due_ms.pop(owned, None)
            return
        next_ms = owned.next_ms()
        if next_ms is None:
            self._due_ms.pop(owned, None)
            return
        for bucket in owned.buckets():
            minute = owned.minute(bucket)
            if minute is not None and minute.needs_look:
                self._looks[bucket][owned] = None
        if self._due_ms.get(owned) != next_ms:
            self._due_ms[owned] = next_ms
            self._count += 1
            heapq.heappush(self._heap, (next_ms, self._count, owned))
            if len(self._heap) > self._most:
                self._drop_stale()

    def take_due(self, horizon_ms: int, most: int) -> list[OwnedInstance]:
        """Take those off the agenda that have something to read up to here, oldest first, at most `most`.
        Each is to be filed again, read or not."""
        due: list[OwnedInstance] = []
        while self._heap and self._heap[0][0] <= horizon_ms and len(due) < most:
            slot_ms, _, owned = heapq.heappop(self._heap)
            if self._due_ms.get(owned) == slot_ms:
                del self._due_ms[owned]
                if not owned.is_draining:
                    due.append(owned)
        return due

    def take_looks(self, now_ms: int, *, pause_ms: int, most: int) -> list[Look]:
        """Return whom to look at in this tick.

        Buckets that are over are not worth a look, and those of the minute under way go first, for they are
        read tick by tick until then. The others are spread evenly over the time until their minute begins.

        Args:
            pause_ms: the time between two ticks.
            most: looks in one tick.
        """
        looks: list[Look] = []
        for bucket in sorted(self._looks):
            waiting = self._looks[bucket]
            if bucket < bucket_of(now_ms):
                waiting.clear()
            ticks_left = max((first_slot(bucket) - now_ms) // pause_ms - 1, 1)
            share = min(-(-len(waiting) // ticks_left), most - len(looks))
            while share > 0 and waiting:
                owned = next(iter(waiting))
                del waiting[owned]
                minute = None if owned.is_draining else owned.minute(bucket)
                if minute is not None and minute.needs_look:
                    looks.append(Look(owned, bucket))
                    share -= 1
            if not waiting:
                del self._looks[bucket]
        return looks

    def __len__(self) -> int:
        """How many have something to read."""
        return len(self._due_ms)

    def _drop_stale(self) -> None:
        self._heap = [entry for entry in self._heap if self._due_ms.get(entry[2]) == entry[0]]
        heapq.heapify(self._heap)
        self._most = max(LEAST_ENTRIES, 2 * len(self._heap))


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
        upto_ms = min(horizon_ms, last_slot(bucket))
        expected = each.rows_expected(bucket, upto_ms, ROWS_AT_ONCE // len(wanted))
        # What is planned for others here takes half a row each from this app's room; see `delivery.ledger`.
        others = total - planned[app_id]
        limit = min(page_rows, room(app_id) - planned[app_id] - (others + 1) // 2)
        if expected is not None:
            limit = min(limit, expected)
        if limit <= 0:
            continue
        plans.append((each, DueQuery(each.instance, bucket, front, upto_ms, limit)))
        planned[app_id] += limit
        total += limit
    return plans


class _Passed(NamedTuple):
    """Rows were filed where this instance had been read already, up to this slot."""

    owned: OwnedInstance
    upto_ms: int


class Poller:
    """One tick: hear what arrived, read what is due within the read-ahead, look at what is to come."""

    def __init__(
        self,
        store: DueStore,
        clock: Clock,
        settings: DispatchSettings,
        instances: Instances,
        sink: RowSink,
        room: Callable[[str], int],
        is_full: Callable[[], bool] = lambda: False,
        commit_margin_ms: int = 0,
        on_look: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            room: how many more rows of an app may be held in memory.
            is_full: whether it is none for every app.
            commit_margin_ms: how long before their slots rows are filed, at least; 0: that is not known.
            on_look: told when arrivals are about to be asked for.
        """
        self._store = store
        self._clock = clock
        self._settings = settings
        self._instances = instances
        self._sink = sink
        self._room = room
        self._is_full = is_full
        self._on_look = on_look
        self._quiet_ms = int(QUIET_SHARE * commit_margin_ms)
        self._agenda = Agenda()
        self._feed = Feed()
        self._passed: dict[_Passed, Position] = {}  # and from where on

    async def tick(self) -> bool:
        """Read every row of owned instances up to now plus the read-ahead, while there is room.

        Return whether there is more that could be read at once: a tick ends after its time, so that what
        arrives meanwhile is heard of.
        """
        now_ms = self._clock.now_ms()
        await self._read_index(now_ms)
        await self._hear(now_ms)
        await self._read_passed()
        is_more = await self.read(now_ms + self._settings.read_ahead_ms)
        await self._look(now_ms)
        return is_more

    async def read(self, horizon_ms: int) -> bool:
        """Read page after page until everything up to `horizon_ms` is read, memory is full, or the time of a
        tick is over; return whether it was the last."""
        begun_ms = self._clock.boot_ms()
        agenda = self._agenda
        short: list[OwnedInstance] = []  # those of apps that have no room
        most = READS_AT_ONCE
        try:
            for owned in self._instances.take_changed():
                agenda.file(owned)
            while due := agenda.take_due(horizon_ms, most):
                if self._is_full():
                    short += due
                    for owned in due:
                        self._room(owned.instance.app_id)  # refused: it is told when there is some
                    break
                plans = plan_reads(
                    due, horizon_ms=horizon_ms, page_rows=self._settings.page_rows, room=self._room
                )
                again = dict.fromkeys(owned for owned, _ in plans)
                if len(again) < len(due):
                    for owned in due:  # without a page it waits for a later tick, or only for these pages
                        if owned not in again and self._room(owned.instance.app_id) <= 0:
                            short.append(owned)
                        else:
                            again[owned] = None
                try:
                    if plans:
                        await self._read_pages(plans)
                finally:
                    for owned in again:
                        agenda.file(owned)
                if self._clock.boot_ms() - begun_ms >= self._settings.tick_ms:
                    return True
                # No more are taken off the agenda than there is room to plan for.
                most = min(max(2 * len(plans), LEAST_READS), READS_AT_ONCE)
        finally:
            for owned in short:
                agenda.file(owned)
        return False

    async def _read_pages(self, plans: list[tuple[OwnedInstance, DueQuery]]) -> None:
        pages = await self._store.fetch_due([query for _, query in plans])
        for (owned, query), page in zip(plans, pages, strict=True):
            self._hand_on(owned, page)
            front = page.next or Position(query.upto_ms, LAST_ID)
            owned.set_front(query.bucket, front, len(page.rows))

    def _hand_on(self, owned: OwnedInstance, page: DuePage) -> None:
        for row in page.rows:
            self._sink.accept(owned, row)
        for damaged in page.damaged:
            self._sink.reject(owned, damaged)

    async def _read_index(self, now_ms: int) -> None:
        """Open what has rows in the minutes that begin soon. Each is asked for once, but after a gap."""
        instances, last = self._instances, bucket_of(now_ms + INDEX_LEAD_MS)
        since_ms = self._feed.gap_since_ms(now_ms)
        if since_ms is not None:  # what was filed since then may never be heard of
            instances.forget()
            instances.indexed = min(instances.indexed or last, bucket_of(min(since_ms, now_ms)) - 1)
        elif instances.indexed is None or instances.indexed > last:  # it begins; or the clock was set back
            instances.indexed = bucket_of(now_ms) - 1
        while instances.indexed < last:
            upto = min(instances.indexed + self._settings.walk_buckets, last)
            groups = instances.groups
            entries = await self._store.fetch_index(instances.indexed + 1, upto, groups)
            if groups is not None and (instances.groups is None or not instances.groups <= groups):
                continue  # an instance came meanwhile, and may count on this read
            await open_buckets(instances, instances.owned, entries)
            instances.indexed = upto

    async def _hear(self, now_ms: int) -> None:
        """Expect the rows that were filed since the last look: one each tick, unless nothing comes."""
        if not self._agenda and not self._feed.is_due(
            now_ms, tick_ms=self._settings.tick_ms, quiet_ms=self._quiet_ms
        ):
            return
        self._on_look()
        arrivals = await self._store.fetch_arrivals(self._feed.after_ms(now_ms), self._instances.groups)
        for _, instance, slots in self._feed.take(arrivals, now_ms):
            owned = self._instances.owned.get(instance)
            passed = None if owned is None else self._instances.expect(owned, slots)
            if owned is not None and passed is not None and len(self._passed) < MOST_PASSED:
                key, after = _Passed(owned, passed[1]), Position(passed[0] - 1, LAST_ID)
                self._passed[key] = min(self._passed.get(key, after), after)

    async def _read_passed(self) -> None:
        """Read again where rows were filed behind the front, one page each; what was read before is known."""
        plans: list[tuple[_Passed, DueQuery]] = []
        planned = 0
        for passed, after in list(self._passed.items()):
            owned, upto_ms = passed
            if owned.is_draining or upto_ms <= owned.checked_ms:
                del self._passed[passed]
                continue
            limit = min(FEW_ROWS, self._settings.page_rows, self._room(owned.instance.app_id) - planned)
            if limit > 0 and owned.is_walked:
                query = DueQuery(owned.instance, bucket_of(upto_ms), after, upto_ms, limit)
                plans.append((passed, query))
                planned += limit
        if not plans:
            return
        pages = await self._store.fetch_due([query for _, query in plans])
        for (passed, _), page in zip(plans, pages, strict=True):
            self._hand_on(passed.owned, page)
            if page.next is None:
                del self._passed[passed]
            else:
                self._passed[passed] = page.next

    async def _look(self, now_ms: int) -> None:
        """Look at the positions of buckets, so that they are read only when a row is due."""
        settings = self._settings
        looks = self._agenda.take_looks(now_ms, pause_ms=settings.tick_ms, most=settings.looks_at_once)
        if not looks:
            return
        limit = min(settings.page_rows, SLOTS_KNOWN)
        try:
            pages = await self._store.fetch_live_ids(
                [
                    DueQuery(owned.instance, bucket, owned.look_from(bucket), last_slot(bucket), limit)
                    for owned, bucket in looks
                ]
            )
            for (owned, bucket), page in zip(looks, pages, strict=True):
                owned.learn(bucket, page)
        finally:
            for owned, _ in looks:
                self._agenda.file(owned)
