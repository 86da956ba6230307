"""The mark under which everything that was due has its recorded outcome: of an app, or of all of them.

Invariant. Of every schedule that was acknowledged, and is due from `from_ms` to `through_ms`, an outcome is
recorded (SUCCESS, FAILURE or MISS), or its cancel. Schedules that are acknowledged later are due later.

Why it holds. The mark goes up by whole minutes, and over a minute of a poller instance only if

1. the instance has no rows in it. Its index entry is written with the first row, before that is acknowledged,
   and minutes nearer than `LATEST_MS` are not looked at: nothing that is acknowledged from then on can lie in
   an older one, as clocks differ by less than a minute, and a write that was sent lands within half of one.
   So it does not matter who owns an instance that has nothing due, whether its own marks go on, or how many
   of these there are: nothing is read of them. Or
2. `settled` has passed the minute: each of its rows has its outcome, or a pointer to a later filing, and what
   ingest acknowledges from then on lies above `sealed`, which is no lower (`ringtime_dispatcher`). And
3. none of its rows still points at a later filing of a schedule without an outcome. Minutes with pointers are
   noted before the pointers are durable (`MovedStore`), so others need no look; a noted one is read once, and
   then only the first schedule in it that waits. A pointer to a change is none: what was due then is due at
   another time now.

A mark of an instance is read before the notes of its minutes, so that none can be added behind it.

| what fails | what the mark does |
|---|---|
| a node dies, and what it owned has rows due | stands at the minute before them until another has sent them |
| the same, and nothing was due | goes on |
| a destination is away | stands at the first schedule that is tried again, until that has an outcome |
| the store is away | there is no answer; then it goes on where it was |
| an app is deactivated | stands, of the app itself; of all apps, it is left out until it is activated |
| the record of an app cannot be read | none of it is sent; of all apps, it is left out, and `doctor` tells |
| an app is activated, or a false clock is put right | may go back, as what was passed over counts again |
| a row is lost, with what tells of it | goes on: that is what audits are for (`fires`) |
| a process starts | looks back `LOOK_BACK_MINUTES`; what is older than that is not promised |

The cost follows the minutes that have rows: each is read once, and the marks of those who have rows in it.
Nothing is looked at in one go that would make the callbacks of this process late: not a day of all apps after
a start, nor the minutes in which many wait after an outage.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Protocol
from uuid import UUID

from ringtime_shared.buckets import bucket_of, first_slot, last_slot
from ringtime_shared.clock import Clock, require_trust
from ringtime_shared.errors import Damaged
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.fires import Completeness, Waits
from ringtime_shared.models.schedule import Place, Row
from ringtime_shared.schedules.index_spans import read_spans
from ringtime_shared.settings.rules import CLOCK_SKEW_MS
from ringtime_shared.stores.protocol import (
    DAMAGED_MARKS,
    LAST_ID,
    DueQuery,
    DueStore,
    IndexEntry,
    MarkStore,
    MovedStore,
    OperatorStore,
    Position,
    ScheduleStore,
)

_SLOWEST_WRITE_MS = 30_000  #: no write that was sent can become durable later than this
LATEST_MS = CLOCK_SKEW_MS + _SLOWEST_WRITE_MS  #: minutes that ended later are not looked at
LOOK_BACK_MINUTES = 1_440
_MARKS = 1_000  #: read at once, and entries looked at
_MOST_NOTED = 20_000  #: minutes that are remembered because a schedule in them waits, or those of one minute
_PAGE_ROWS = 500
_MOST_PAGES = 40  #: of such minutes, in one look
_MINUTES_AT_ONCE = 50  #: of these, in a page
_APPS = 10_000  #: whose marks are remembered
_MOST_TOUCHED = 10_000  #: apps that are remembered for `take_touched`
_FRESH_MS = 1_000  #: a look at most so often


class MarkedStore(DueStore, ScheduleStore, MarkStore, MovedStore, OperatorStore, Protocol):
    """What the mark needs of a store."""


@dataclass(slots=True)
class _Noted:
    """A minute in which schedules may wait."""

    schedule_id: UUID | None = None  #: the one that was found to wait
    after: Position | None = None  #: before it nothing waits; None: it was not looked at yet


@dataclass(slots=True)
class _Scope:
    """What is known of one app, or of all."""

    app_id: str  #: "": all
    from_bucket: int
    next: int  #: all minutes before this one are settled
    noted: dict[IndexEntry, _Noted] = field(default_factory=dict)
    stuck: IndexEntry | None = None  #: the minute that was not settled when it was last looked at
    left_out: set[str] = field(default_factory=set)  #: apps that are not active, and have rows
    found: Completeness | None = None
    looked_boot_ms: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class CompletenessMarks:
    """Finds the marks, and remembers what need not be read again."""

    def __init__(self, store: MarkedStore, clock: Clock, app_of: Callable[[str], App | None]) -> None:
        """`app_of`: an app as this process knows it; None: there is none."""
        self._store = store
        self._clock = clock
        self._app_of = app_of
        self._all: _Scope | None = None
        self._of_apps: OrderedDict[str, _Scope] = OrderedDict()
        self._touched: dict[str, None] = {}

    async def of_all(self) -> Completeness:
        """Return the mark of all active apps. Raises ClockInDoubt, StoreUnavailable."""
        require_trust(self._clock)
        if self._all is None or self._all.left_out & self._active(self._all.left_out):
            self._all = self._new_scope("")
        return await self._ask(self._all)

    async def of_app(self, app: App) -> Completeness:
        """Return the mark of an app. Raises ClockInDoubt, StoreUnavailable."""
        require_trust(self._clock)
        scope = self._of_apps.get(app.app_id)
        if scope is None:
            scope = self._of_apps[app.app_id] = self._new_scope(app.app_id)
            if len(self._of_apps) > _APPS:
                self._of_apps.popitem(last=False)
        self._of_apps.move_to_end(app.app_id)
        return await self._ask(scope)

    def take_touched(self) -> list[str]:
        """Return the apps that had rows in the minutes which `of_all` has looked at since this was asked; if
        there are very many, the first of them."""
        touched, self._touched = [*self._touched], {}
        return touched

    def _new_scope(self, app_id: str) -> _Scope:
        first = bucket_of(self._clock.now_ms() - LATEST_MS) - LOOK_BACK_MINUTES
        return _Scope(app_id, first, first)

    def _active(self, app_ids: Iterable[str]) -> set[str]:
        return {each for each in app_ids if (app := self._app_of(each)) is not None and app.active}

    async def _ask(self, scope: _Scope) -> Completeness:
        async with scope.lock:
            boot_ms = self._clock.boot_ms()
            if scope.found is None or boot_ms - scope.looked_boot_ms >= _FRESH_MS:
                scope.found = await self._look(scope)
                scope.looked_boot_ms = boot_ms
            return scope.found

    async def _look(self, scope: _Scope) -> Completeness:
        now_ms = self._clock.now_ms()
        unsettled = await self._settle(scope, bucket_of(now_ms - LATEST_MS) - 1)
        waiting = await self._find_waiting(scope)
        at, waits, schedule_id = unsettled, Waits.NOT_SETTLED, None
        if waiting is not None:
            at, waits, schedule_id = waiting, Waits.TRIED_AGAIN, scope.noted[waiting].schedule_id
        return Completeness(
            from_ms=first_slot(scope.from_bucket),
            through_ms=first_slot(scope.next if at is None else at.bucket) - 1,
            at_ms=now_ms,
            waits=Waits.NOTHING if at is None else waits,
            instance=None if at is None else at.instance,
            schedule_id=schedule_id,
        )

    async def _settle(self, scope: _Scope, last: int) -> IndexEntry | None:
        """Go on over minutes that are settled, up to `last`; return the first that is not, of whom."""
        settled_ms: dict[Instance, int] = {}  # of this look; the notes are read later
        stuck, scope.stuck = scope.stuck, None
        if stuck is not None and self._counts(scope, stuck):
            scope.stuck = await self._first_unsettled([stuck], {})
            if scope.stuck is not None:
                return stuck
        async with aclosing(read_spans(partial(self._fetch_index, scope), scope.next, last)) as spans:
            async for upto, read in spans:
                entries = await self._counting(scope, read)
                unsettled = await self._first_unsettled(entries, settled_ms)
                noted = await self._store.fetch_moved(scope.next, upto, scope.app_id)
                end = upto + 1 if unsettled is None else unsettled.bucket
                fresh = [each for each in noted if each.bucket < end and self._counts(scope, each)]
                full = self._first_without_room(scope, fresh)
                if full is not None:
                    end = full.bucket
                scope.noted.update((each, _Noted()) for each in fresh if each.bucket < end)
                scope.next = end
                if full is not None:
                    return full
                if unsettled is not None:
                    scope.stuck = unsettled
                    return unsettled
        return None

    def _first_without_room(self, scope: _Scope, fresh: Sequence[IndexEntry]) -> IndexEntry | None:
        """Return the first of these, by bucket, whose minute is to be noted when others were forgotten."""
        room = max(_MOST_NOTED - len(scope.noted), 0)
        if len(fresh) <= room:
            return None
        full = fresh[room]
        if not scope.noted and full.bucket == fresh[0].bucket:  # else it would never be noted
            return next((each for each in fresh if each.bucket > full.bucket), None)
        return next(each for each in fresh if each.bucket == full.bucket)

    async def _fetch_index(self, scope: _Scope, first: int, last: int) -> list[IndexEntry]:
        if scope.app_id:
            return await self._store.fetch_app_buckets(scope.app_id, first, last)
        return await self._store.fetch_index(first, last)

    async def _counting(self, scope: _Scope, entries: Sequence[IndexEntry]) -> list[IndexEntry]:
        """Return those that count, a slice at a time."""
        counting: list[IndexEntry] = []
        for start in range(0, len(entries), _MARKS):
            part = [each for each in entries[start : start + _MARKS] if self._counts(scope, each)]
            if not scope.app_id and len(self._touched) < _MOST_TOUCHED:
                self._touched |= dict.fromkeys(each.instance.app_id for each in part)
            counting += part
            await asyncio.sleep(0)
        return counting

    def _counts(self, scope: _Scope, entry: IndexEntry) -> bool:
        """Whether what an entry names is to be sent by anybody. Partitions that are polled no more were
        released when nothing was left in them."""
        app_id, partition = entry.instance
        app = self._app_of(app_id)
        if app is None or app.damage or partition >= app.polled:
            return False
        if not app.active and not scope.app_id:
            scope.left_out.add(app_id)
            return False
        return True

    async def _first_unsettled(
        self, entries: Sequence[IndexEntry], settled_ms: dict[Instance, int]
    ) -> IndexEntry | None:
        least, first = DAMAGED_MARKS.settled_ms, None
        for start in range(0, len(entries), _MARKS):
            part = entries[start : start + _MARKS]
            instances = {each.instance for each in part} - settled_ms.keys()
            if instances:
                marks = await self._store.fetch_marks([*instances])
                settled_ms |= {instance: each.settled_ms for instance, each in marks.items()}
            behind = [each for each in part if settled_ms.get(each.instance, least) < last_slot(each.bucket)]
            first = min(behind if first is None else [first, *behind], default=None)
            await asyncio.sleep(0)
        return first

    async def _find_waiting(self, scope: _Scope) -> IndexEntry | None:
        """Return the first minute in which a schedule waits for another attempt, or may; forget those before
        it."""
        order = deque(sorted(each for each in scope.noted if self._counts(scope, each)))
        scope.noted = {each: scope.noted[each] for each in order}
        for _ in range(_MOST_PAGES):
            if not order:
                return None
            first = scope.noted[order[0]]
            if first.schedule_id is not None and await self._waits(order[0], first.schedule_id):
                return order[0]
            first.schedule_id = None
            part = [order[0]] if first.after is not None else [*islice(order, _MINUTES_AT_ONCE)]
            queries = [_query(each, scope.noted[each], _PAGE_ROWS // len(part)) for each in part]
            for entry, page in zip(part, await self._store.fetch_rows(queries), strict=True):
                noted = scope.noted[entry]
                noted.schedule_id = await self._first_waiting(page.rows)
                if noted.schedule_id is not None:
                    return entry
                noted.after = page.next
                if page.next is not None:
                    break  # what is behind it says nothing yet
                order.popleft()
                del scope.noted[entry]
        return order[0] if order else None  # the next look goes on there

    async def _first_waiting(self, rows: Iterable[Row]) -> UUID | None:
        for row in rows:
            if row.moved_to is not None and await self._waits_of(row):
                return row.schedule.schedule_id
        return None

    async def _waits(self, entry: IndexEntry, schedule_id: UUID) -> bool:
        home = await self._fetch(Place.of_home(entry.instance.app_id, schedule_id), schedule_id)
        return home is not None and await self._waits_of(home)

    async def _waits_of(self, row: Row) -> bool:
        """Whether the schedule of a row that was left for a later filing has no outcome, and was due."""
        schedule_id = row.schedule.schedule_id
        home: Row | None = row
        if not row.is_home:
            home = await self._fetch(Place.of_home(row.place.app_id, schedule_id), schedule_id)
        if home is None or home.outcome is not None or home.cancelled_ms is not None or home.moved_to is None:
            return False
        pointed = await self._fetch(home.moved_to, schedule_id)
        return pointed is None or pointed.change == row.change

    async def _fetch(self, place: Place, schedule_id: UUID) -> Row | None:
        try:
            return await self._store.fetch_row(place, schedule_id)
        except Damaged:
            return None


def _query(entry: IndexEntry, noted: _Noted, limit: int) -> DueQuery:
    after = noted.after or Position(first_slot(entry.bucket) - 1, LAST_ID)
    return DueQuery(entry.instance, entry.bucket, after, last_slot(entry.bucket), limit)
