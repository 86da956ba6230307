"""The schedules of one app by time, finished ones included, a page at a time.

A page is read minute by minute, from the minutes the app has rows in, so time without schedules costs nothing
and little more than a page is held. Within a minute the partitions are merged by slot and id: what is shown
goes up to where every partition is read, and the next read goes on behind it. As the order never changes, a
page that goes on behind the last one repeats nothing, and misses only what was created at earlier times
meanwhile. So a schedule that was changed to another time stays where it was, and is shown as it is now: a
read for each that has a forward pointer and no outcome, or one of a change.

Payloads may be large: where so many of the largest that the server takes would be more than a page may hold
(`MOST_PAGE_BYTES`), fewer rows are read at a time, and a page ends when it holds that much; a token goes on.

What else is asked of schedules, such as labels, is asked of each row that the walk comes by: it costs what
the range holds, not what is found. A page ends after `_MOST_READ` rows whatever it holds then.

Nobody waits for a list but who asked for it. To make rows of what was read holds up all that the pod does
meanwhile, gets and creates of others among it, so lists take turns: of an app one page is read at a time, of
all apps `_PAGES_AT_ONCE`, and a walk that may show little of what it reads reads little at a time.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import ceil, sqrt
from operator import attrgetter, itemgetter
from typing import NamedTuple, Protocol, cast
from uuid import UUID
from weakref import WeakValueDictionary

from ringtime_ingest.service.apps import AppMaps
from ringtime_ingest.service.tokens import encode_token, read_token
from ringtime_shared.api.schedules import LIST_SIZE, MAX_LIST_DAYS, MAX_LIST_SIZE
from ringtime_shared.buckets import bucket_of, first_slot, last_slot
from ringtime_shared.clock import Clock
from ringtime_shared.errors import Damaged, InvalidRequest, RateLimited, Violation
from ringtime_shared.models.schedule import Row
from ringtime_shared.schedules.changing import as_shown
from ringtime_shared.schedules.row_filter import ALL_ROWS, RowFilter
from ringtime_shared.settings import AppLimits
from ringtime_shared.settings.rules import MOST_PAGE_BYTES
from ringtime_shared.stores.codec.rows import check_details
from ringtime_shared.stores.protocol import (
    LAST_ID,
    DamagedRow,
    DuePage,
    DueQuery,
    IndexEntry,
    OperatorStore,
    Position,
    ScheduleStore,
)

_HOUR_MS = 3_600_000
_DAY_MS = 86_400_000
_MOST_READ = 10_000  #: rows read for one page; whoever looks for few among many goes on with the token
_READ_SPARSELY = 250  #: at a time, while a filter may pass over most of them: a few ms of the pod's loop
_PAGES_AT_ONCE = 2  #: read by a pod; while one waits for the store, the other's rows are made
_MOST_ASKED = 16  #: lists of one app that are read or wait for their turn
_MINUTES = 15  #: asked for entries at first; where there are few, eight times as many the next time
_ENTRIES = 2_000  #: minutes of partitions, read at once
_FIRST_ENTRIES = 100  #: of these at first: where they are crowded, a page needs no more
_AT_ONCE = 250  #: of these whose rows are read side by side
_MOST_HELD_BYTES = MOST_PAGE_BYTES // 2  #: of payloads; as much again is read beyond a page's end
_SHOWN_AT_ONCE = 50  #: filings that home rows point at, read side by side


_Key = tuple[int, UUID]  #: a `Position`, made in a third of the time: each row that is read has one
_Item = tuple[_Key, Row | DamagedRow]


class ListNames(NamedTuple):
    """What the fields are called where the caller spelled them."""

    start: str
    end: str
    size: str
    token: str
    label: str
    name_prefix: str
    host: str
    late_by: str


IN_QUERY = ListNames(
    "start_time", "end_time", "size", "continuation_token", "label", "name_prefix", "host", "late_by_ms"
)
IN_LIBRARY = ListNames("start", "end", "size", "token", "labels", "name_prefix", "host", "late_by")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """Schedules of one app that are due, or were, from `start_ms` up to before `end_ms`."""

    app_id: str
    start_ms: int | None = None  #: None: an hour before the end
    end_ms: int | None = None  #: None: an hour after the start if that is given, else now
    only: RowFilter = ALL_ROWS
    size: int = LIST_SIZE
    token: str = ""  #: go on after an earlier page; "": from the start
    names: ListNames = IN_LIBRARY

    def range_at(self, now_ms: int) -> tuple[int, int]:
        """Return the first slot and the last. Raises InvalidRequest."""
        start_ms, end_ms, names = self.start_ms, self.end_ms, self.names
        if end_ms is None:
            end_ms = now_ms + 1 if start_ms is None else start_ms + _HOUR_MS
        if start_ms is None:
            start_ms = max(0, end_ms - _HOUR_MS)
        violations = []
        if start_ms > end_ms:
            violations.append(Violation(names.start, f"must not be after {names.end}"))
        elif end_ms - start_ms > MAX_LIST_DAYS * _DAY_MS:
            violations.append(
                Violation(names.start, f"must be at most {MAX_LIST_DAYS} days before {names.end}")
            )
        if not 1 <= self.size <= MAX_LIST_SIZE:
            violations.append(Violation(names.size, f"must be from 1 to {MAX_LIST_SIZE}"))
        violations += self.only.check(names.label, names.name_prefix, names.host, names.late_by)
        if violations:
            raise InvalidRequest(violations)
        return start_ms, end_ms - 1


@dataclass(frozen=True, slots=True)
class SchedulePage:
    """By slot and id. A page with a token may hold fewer than were asked for, or none."""

    rows: Sequence[Row]  #: home rows
    token: str  #: goes on after this page; "": there is nothing more
    next_ms: int  #: the slot that the token goes on at; 0 without one
    unreadable: Sequence[UUID]  #: schedules of this page whose record is damaged


class ListStore(ScheduleStore, OperatorStore, Protocol):
    """What listing needs of a store."""


class _Asked:
    """The lists of one app that are read or wait for it."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.count = 0


class Listing:
    """Lists the schedules of all apps."""

    def __init__(self, store: ListStore, apps: AppMaps, clock: Clock, limits: AppLimits) -> None:
        self._store = store
        self._apps = apps
        self._clock = clock
        self._most_rows = max(1, _MOST_HELD_BYTES // limits.max_payload_bytes)
        self._turns = asyncio.Semaphore(_PAGES_AT_ONCE)
        # An app's entry goes with the last list that is asked for.
        self._asked: WeakValueDictionary[str, _Asked] = WeakValueDictionary()

    async def fetch(self, query: ListQuery) -> SchedulePage:
        """Return a page. Raises InvalidRequest, NotFound (app), RateLimited, StoreUnavailable."""
        first_ms, last_ms = query.range_at(self._clock.now_ms())
        position = Position(first_ms - 1, LAST_ID)
        if query.token:
            position = max(position, _read_token(query, last_ms))
        await self._apps.get(query.app_id)
        asked = self._asked.setdefault(query.app_id, _Asked())
        if asked.count >= _MOST_ASKED:
            raise RateLimited("app-lists", 1, f"{asked.count} lists of this app are asked for; try again")
        asked.count += 1
        try:
            async with asked.turn, self._turns:
                return await self._read(query, position, last_ms)
        finally:
            asked.count -= 1

    async def _read(self, query: ListQuery, position: Position, last_ms: int) -> SchedulePage:
        page = _Page(query.size, _READ_SPARSELY if query.only.is_sparse else 1, self._most_rows)
        looked = 0
        async for upto, items in self._walk(query.app_id, position, last_ms, page.missing):
            seen = await self._items(items, query.only)
            taken = page.take(seen, query.only)
            if taken < len(seen):
                behind = Position(*seen[taken - 1][0]) if taken else position
                return await self._end(page, query.app_id, behind)
            position = upto
            looked += taken
            if looked >= _MOST_READ:
                return await self._end(page, query.app_id, position)
        return await self._end(page, query.app_id, None)

    async def _items(self, items: list[_Item], only: RowFilter) -> Sequence[_Item]:
        """Return what was read, as it is shown, where a change may decide."""
        if not only.is_about_contents:
            return items
        moved = [
            n
            for n, (_, item) in enumerate(items)
            if isinstance(item, Row) and item.shown_in and item.is_shown
        ]
        shown = await fetch_shown(self._store, [cast(Row, items[n][1]) for n in moved])
        for n, row in zip(moved, shown, strict=True):
            items[n] = (items[n][0], row)
        return items

    async def _end(self, page: _Page, app_id: str, position: Position | None) -> SchedulePage:
        ended = page.end(app_id, position)
        return replace(ended, rows=await fetch_shown(self._store, ended.rows))

    async def _walk(
        self, app_id: str, position: Position, last_ms: int, missing: Callable[[], int]
    ) -> AsyncIterator[tuple[Position, list[_Item]]]:
        """Read on behind `position` up to `last_ms`: yield what was read, in order, up to where all of it is
        known. What was read beyond that waits for the next turn, so of a page no row is read twice."""
        per_entry = float(missing())  # rows that a partition has in a whole minute, as far as was seen
        async for minutes in self._minutes(app_id, bucket_of(max(position.slot_ms, 0)), last_ms):
            left = list(minutes)
            while left:
                entries: list[IndexEntry] = []
                while left and (not entries or len(entries) + len(left[0]) <= _fit(missing(), per_entry)):
                    entries += left.pop(0)
                end = Position(min(last_slot(entries[-1].bucket), last_ms), LAST_ID)
                parts = [_Part(entry, position) for entry in entries]
                short, upto, read = parts, position, 0
                while upto < end:
                    limit = _share(missing(), len(short))
                    pages = await self._store.fetch_rows([part.query(last_ms, limit) for part in short])
                    for part, page in zip(short, pages, strict=True):
                        part.take(page)
                        read += len(page.rows)
                    upto = min((part.next for part in parts if part.next is not None), default=end)
                    items = [item for part in parts for item in part.give(upto)]
                    yield upto, sorted(items, key=itemgetter(0))
                    beside = [part for part in parts if part.is_open_at(upto)]
                    enough = _share(missing(), len(beside)) if beside else 0
                    short = [part for part in beside if len(part.waiting) < enough]
                if position.slot_ms < first_slot(entries[0].bucket):
                    per_entry = read / len(entries)
                position = end

    async def _minutes(
        self, app_id: str, first: int, last_ms: int
    ) -> AsyncIterator[Sequence[Sequence[IndexEntry]]]:
        """Return the app's entries, a list for each minute that has any."""
        span, limit, last = _MINUTES, _FIRST_ENTRIES, bucket_of(last_ms)
        while first <= last:
            upto = min(last, first + span - 1)
            entries = await self._store.fetch_app_buckets(app_id, first, upto, limit)
            is_cut = len(entries) == limit
            if is_cut:  # the last minute may be so
                upto = entries[-1].bucket - 1
                entries = [entry for entry in entries if entry.bucket <= upto]
                if not entries:
                    limit *= 2  # a minute with more partitions than that
                    continue
            yield [list(minute) for _, minute in groupby(entries, attrgetter("bucket"))]
            if is_cut:
                limit = max(limit, min(8 * limit, _ENTRIES))
            elif len(entries) < _ENTRIES // 16:
                span *= 8
            first = upto + 1


async def fetch_shown(store: ScheduleStore, homes: Sequence[Row]) -> list[Row]:
    """Return home rows with the schedules that are in force; reads only where they may have been changed."""
    shown = list(homes)
    changed = [n for n, home in enumerate(homes) if home.shown_in is not None]
    for start in range(0, len(changed), _SHOWN_AT_ONCE):
        some = changed[start : start + _SHOWN_AT_ONCE]
        pointed = await asyncio.gather(*(_fetch_pointed(store, homes[n]) for n in some))
        for n, filing in zip(some, pointed, strict=True):
            shown[n] = as_shown(homes[n], filing)
    return shown


async def _fetch_pointed(store: ScheduleStore, home: Row) -> Row | None:
    place = home.shown_in
    try:
        return None if place is None else await store.fetch_row(place, home.schedule.schedule_id)
    except Damaged:
        return None


class _Part:
    """The rows of one partition in one minute, as far as they are read."""

    def __init__(self, entry: IndexEntry, after: Position) -> None:
        self._entry = entry
        self.next: Position | None = after  #: read on behind it; None: all of them are read
        self.waiting: list[_Item] = []  #: read, but not given yet; in order

    def query(self, last_ms: int, limit: int) -> DueQuery:
        """Return what asks for the next rows."""
        instance, bucket, after = self._entry.instance, self._entry.bucket, self.next
        return DueQuery(instance, bucket, after or Position(last_ms, LAST_ID), last_ms, limit)

    def take(self, page: DuePage) -> None:
        """Add the answer."""
        self.waiting += [((row.place.slot_ms, row.schedule.schedule_id), row) for row in page.rows]
        if page.damaged:
            self.waiting += [((each.place.slot_ms, each.schedule_id), each) for each in page.damaged]
            self.waiting.sort(key=itemgetter(0))
        self.next = page.next

    def give(self, upto: Position) -> list[_Item]:
        """Return what is read up to there, and forget it."""
        count = bisect_right(self.waiting, upto, key=itemgetter(0))
        given, self.waiting = self.waiting[:count], self.waiting[count:]
        return given

    def is_open_at(self, upto: Position) -> bool:
        """Whether not all is read of it, and it ends there or is of that minute."""
        is_beside = self._entry.bucket == bucket_of(upto.slot_ms)
        return self.next is not None and (is_beside or self.next <= upto)


class _Page:
    """What a page holds so far."""

    def __init__(self, size: int, least: int, most: int) -> None:
        """`least`, `most`: rows to read at a time. Some of what is read is not shown, and some is large."""
        self._size = size
        self._least = least
        self._most = most
        self._held_bytes = 0
        self._rows: list[Row] = []
        self.unreadable: list[UUID] = []

    def missing(self) -> int:
        """Return how many more rows to read, at least one."""
        return min(max(self._size - len(self._rows), self._least), self._most)

    def take(self, items: Sequence[_Item], only: RowFilter) -> int:
        """Add those of `items` that are to be shown, up to the first for which there is no room; return how
        many come before that. Kept flat on purpose: a page has a thousand."""
        rows, wants = self._rows, only.wants if only.is_sparse else None
        for number, (_, item) in enumerate(items):
            if isinstance(item, DamagedRow):
                self.unreadable.append(item.schedule_id)
            elif item.is_shown and (wants is None or wants(item)):
                if len(rows) >= self._size or self._held_bytes >= _MOST_HELD_BYTES:
                    return number
                schedule = item.schedule
                try:
                    check_details(schedule.callback_details)
                except ValueError:
                    self.unreadable.append(schedule.schedule_id)
                else:
                    rows.append(item)
                    self._held_bytes += len(schedule.payload)
        return len(items)

    def end(self, app_id: str, position: Position | None) -> SchedulePage:
        """Return the page; it goes on behind `position`, None: there is nothing more."""
        if position is None:
            return SchedulePage(self._rows, "", 0, self.unreadable)
        return SchedulePage(self._rows, encode_token(app_id, position), position.slot_ms, self.unreadable)


def _fit(missing: int, per_entry: float) -> float:
    """Return of how many minutes and partitions the rows are read side by side."""
    return min(_AT_ONCE, missing / max(per_entry, missing / _AT_ONCE))


def _share(missing: int, entries: int) -> int:
    """Return how many rows to ask each entry for: as many as it has of so many on average, and some twice the
    spread of that more, since the one that ends first ends what is known of all."""
    mean = missing / entries
    return ceil(mean + 2 * sqrt(mean)) + 2


def _read_token(query: ListQuery, last_ms: int) -> Position:
    names = query.names
    return read_token(query.app_id, query.token, last_ms, name=names.token, end=names.end)
