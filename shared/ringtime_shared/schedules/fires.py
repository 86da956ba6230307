"""Whether every expected fire of a time range has exactly one outcome; what has none or two, by id.

Expected is what was acknowledged: the home rows of the range, and what receipts tell of, which were written
in one write with them (`ReceiptStore`). So a row that is gone is missed by its id, whatever took it. Runs
have receipts as one-time schedules have; what a definition should have made and never filed is found by its
chain, which has broken then.

| finding | what is in the store |
|---|---|
| gap REMOVED | a receipt, and no row where it was filed |
| gap PASSED_OVER | a row without an outcome, or the filing that it points at, under `settled` |
| gap FILING_LOST | a row that points at a filing, which is not there |
| gap UNREADABLE | a row that cannot be read |
| gap CHAIN_BROKEN | a recurring schedule that should make runs, and nothing that would make the next |
| double TWO_OUTCOMES | a filing with an outcome of its own beside that of its schedule |
| double TWO_RUNS | two runs of one nominal time that were both sent |

What is not seen: a row that went together with its receipt and the entries of its minute, as when a store is
put back to an earlier day; one that was filed before there were receipts, or whose row has expired; an
outcome that was written over another of the same row, of which the first left nothing; a request that left
twice under one recorded attempt, as after a crash, which the promise of at least once allows.

Reads are in an order that makes no false finding: marks before rows, so what lies under `settled` had its end
already; receipts before rows, and a row that is missed then is asked for by its key. A range is read a page
at a time, whole minutes of partitions; of one of these as many ids are held as `MOST_HELD`, and its rows are
read again for the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar
from uuid import UUID

from ringtime_shared.buckets import bucket_of, first_slot, last_slot
from ringtime_shared.clock import Clock
from ringtime_shared.errors import Damaged
from ringtime_shared.ids import app_number_of, home_slot
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.fires import Finding, FireCounts, Reason
from ringtime_shared.models.recurring import Definition, DefinitionState
from ringtime_shared.models.schedule import Outcome, Place, Row, Status
from ringtime_shared.schedules.chain_repair import has_broken
from ringtime_shared.stores.protocol import (
    DAMAGED_MARKS,
    LAST_ID,
    RUNS_WINDOW_MS,
    DefinitionKey,
    DueQuery,
    IndexEntry,
    Marks,
    MarkStore,
    OperatorStore,
    Position,
    ReceiptStore,
    RecurringStore,
    RunEntry,
    ScheduleStore,
)

MOST_HELD = 100_000  #: ids of one minute of a partition at a time
PAGE_ROWS = 5_000  #: rows of a page of the audit, and the rest of the minutes it has begun
_ENTRIES = 500  #: minutes of partitions asked for at once
_AT_ONCE = 8  #: of these looked at side by side
_READ_ROWS = 500
_RECEIPTS = 32  #: of 64 ids each: some 5 ms without letting anybody else run
_POINTS = 50  #: rows read by key side by side
_DEFINITIONS = 50  #: of a page of the audit
_RUNS = 500
_HOPS = 20  #: pointers followed from one row
S = TypeVar("S")
T = TypeVar("T")


class AuditStore(ScheduleStore, MarkStore, OperatorStore, ReceiptStore, RecurringStore, Protocol):
    """What the audit needs of a store."""


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A page of an audit."""

    found: FireCounts
    next: Position | None  #: go on after this; None: the audit is over


class FireAudit:
    """Audits one app from one slot to another, both included."""

    def __init__(self, store: AuditStore, clock: Clock, app: App, from_ms: int, upto_ms: int) -> None:
        self._store = store
        self._clock = clock
        self._app = app
        self._from_ms = from_ms
        self._upto_ms = upto_ms

    async def pages(self) -> AsyncIterator[AuditPage]:
        """Yield all pages. Raises StoreUnavailable."""
        after: Position | None = None
        while True:
            page = await self.fetch(after)
            yield page
            if page.next is None:
                return
            after = page.next

    async def fetch(self, after: Position | None) -> AuditPage:
        """Return the page after that one; None: the first. Raises StoreUnavailable.

        The rows come first. The end of a page of rows is the slot that its last minute begins with, and its
        partition as an id; that of a page of definitions is a slot behind the range, and its last definition.
        """
        audit = FireCounts()
        if after is not None and after.slot_ms > self._upto_ms:
            return AuditPage(audit, await self._look_at_definitions(audit, after.schedule_id))
        entries, is_last = await self._read_entries(after)
        for start in range(0, len(entries), _AT_ONCE):
            part = entries[start : start + _AT_ONCE]
            marks = await self._store.fetch_marks([*{each.instance for each in part}])
            for each in await asyncio.gather(*(self._look_at(entry, marks) for entry in part)):
                audit.add(each)
            if audit.expected >= PAGE_ROWS and start + _AT_ONCE < len(entries):
                return AuditPage(audit, _end_of(part[-1]))
        if not is_last:
            return AuditPage(audit, _end_of(entries[-1]))
        return AuditPage(audit, Position(self._upto_ms + 1, UUID(int=0)))

    async def _read_entries(self, after: Position | None) -> tuple[list[IndexEntry], bool]:
        """Return the next minutes of partitions, and whether these are the last."""
        first_ms, done, limit = self._from_ms, (-1, -1), _ENTRIES
        if after is not None:
            first_ms, done = after.slot_ms, (bucket_of(after.slot_ms), after.schedule_id.int)
        while True:
            entries = await self._store.fetch_app_buckets(
                self._app.app_id, bucket_of(first_ms), bucket_of(self._upto_ms), limit
            )
            is_last = len(entries) < limit
            entries = [each for each in entries if (each.bucket, each.instance.partition) > done]
            if entries or is_last:
                return entries, is_last
            limit *= 2  # one minute of more partitions, some of which may be polled no more

    async def _look_at(self, entry: IndexEntry, marks: dict[Instance, Marks]) -> FireCounts:
        """Audit one minute of a partition."""
        mark = marks.get(entry.instance, DAMAGED_MARKS)
        audit, parts = FireCounts(), 1
        while (told := await self._read_receipts(entry, 0, parts)) is None:
            parts *= 4
        async for homes, others, unreadable in self._read_rows(entry):
            told.difference_update(row.schedule.schedule_id for row in homes)
            told.difference_update(unreadable)
            await self._judge(audit, homes, mark.settled_ms)
            await self._judge_others(audit, others)
            for schedule_id in unreadable:
                says = "its record cannot be read: ringctl doctor"
                audit.find(Finding(schedule_id, Reason.UNREADABLE, home_slot(schedule_id), says))
        await self._miss(audit, entry.instance, told)
        for part in range(1, parts):
            told = await self._read_receipts(entry, part, parts) or set()
            async for homes, _, unreadable in self._read_rows(entry):
                told.difference_update(row.schedule.schedule_id for row in homes)
                told.difference_update(unreadable)
            await self._miss(audit, entry.instance, told)
        return audit

    async def _read_receipts(self, entry: IndexEntry, part: int, parts: int) -> set[UUID] | None:
        """Return what was filed in a minute, of so many parts this one; None: that is more than is held."""
        told: set[UUID] = set()
        after: bytes | None = None
        while True:
            page = await self._store.fetch_receipts(entry, after, _RECEIPTS)
            told.update(
                each
                for each in page.schedule_ids
                if each.int % parts == part
                and self._from_ms <= home_slot(each) <= self._upto_ms
                and app_number_of(each) == self._app.number
            )
            if page.next is None:
                return told
            if len(told) > MOST_HELD and part == 0:
                return None
            after = page.next

    async def _read_rows(self, entry: IndexEntry) -> AsyncIterator[tuple[list[Row], list[Row], list[UUID]]]:
        """Yield the home rows of a minute, its other filings that have ended, and what cannot be read."""
        number = self._app.number
        query = DueQuery(
            entry.instance,
            entry.bucket,
            Position(max(self._from_ms, first_slot(entry.bucket)) - 1, LAST_ID),
            min(self._upto_ms, last_slot(entry.bucket)),
            _READ_ROWS,
        )
        while True:
            (page,) = await self._store.fetch_rows([query])
            rows = [row for row in page.rows if app_number_of(row.schedule.schedule_id) == number]
            yield (
                [row for row in rows if row.is_shown],
                [row for row in rows if not row.is_home and _was_sent(row.outcome)],
                [
                    each.schedule_id
                    for each in page.damaged
                    if app_number_of(each.schedule_id) == number
                    and home_slot(each.schedule_id) == each.place.slot_ms
                ],
            )
            if page.next is None:
                return
            query = query._replace(after=page.next)

    async def _judge(self, audit: FireCounts, homes: Iterable[Row], settled_ms: int) -> None:
        """Say of home rows how they ended, or why they did not."""
        moved = []
        for row in homes:
            if row.outcome is not None or row.cancelled_ms is not None:
                audit.ended[row.status] += 1
            elif row.moved_to is not None:
                moved.append(row)
            elif row.place.slot_ms <= settled_ms:
                audit.find(_gap(row, Reason.PASSED_OVER, "it has no outcome, and is looked at no more"))
            else:
                audit.waiting += 1
        for _, finding in await _side_by_side(moved, self._follow):
            if isinstance(finding, Finding):
                audit.find(finding)
            elif finding is None:
                audit.waiting += 1
            else:
                audit.ended[finding] += 1

    async def _follow(self, home: Row) -> Finding | Status | None:
        """Look at what a home row points at. Return what is wrong with it, how it ended meanwhile, or None:
        it waits."""
        schedule_id, place = home.schedule.schedule_id, home.moved_to
        for _ in range(_HOPS):
            if place is None:
                break
            marks = (await self._store.fetch_marks([place.instance])).get(place.instance, DAMAGED_MARKS)
            filing = await self._fetch(place, schedule_id)
            now = await self._fetch(home.place, schedule_id)
            if now is not None and (now.outcome is not None or now.cancelled_ms is not None):
                return now.status
            if now is not None and now.moved_to != home.moved_to:
                return None  # it went on between two reads
            if filing is None:
                return _gap(home, Reason.FILING_LOST, f"it points at {_named(place)}, where nothing is")
            if filing.moved_to is None or filing.moved_to == place:
                if place.slot_ms > marks.settled_ms and filing.outcome is None:
                    return None
                says = "has no outcome, and is looked at no more"
                if filing.outcome is not None:
                    says = f"ended as {filing.outcome.status}, which its home row does not say"
                return _gap(home, Reason.PASSED_OVER, f"its filing at {_named(place)} {says}")
            place = filing.moved_to
        return None

    async def _judge_others(self, audit: FireCounts, others: Sequence[Row]) -> None:
        """Find filings with outcomes beside those of their schedules."""
        for row, home in await _side_by_side(others, self._fetch_home):
            if home is None or home.outcome is None or row.outcome is None:
                continue  # the minute of the home row tells
            if not _is_of(row, row.outcome, home, home.outcome):
                says = (
                    f"{home.outcome.status} at {_named(home.place)} and {row.outcome.status}"
                    f" at {_named(row.place)}"
                )
                audit.find(Finding(row.schedule.schedule_id, Reason.TWO_OUTCOMES, home.place.slot_ms, says))

    async def _miss(self, audit: FireCounts, instance: Instance, told: Iterable[UUID]) -> None:
        """Find what receipts tell of and no page has returned."""

        async def fetch(schedule_id: UUID) -> bool:
            place = Place(instance.app_id, instance.partition, home_slot(schedule_id))
            try:
                return await self._store.fetch_row(place, schedule_id) is None
            except Damaged:
                return False

        for schedule_id, is_gone in await _side_by_side(sorted(told), fetch):
            if is_gone:
                says = f"it was filed in {instance}, and its row is gone"
                audit.find(Finding(schedule_id, Reason.REMOVED, home_slot(schedule_id), says))

    async def _fetch_home(self, row: Row) -> Row | None:
        schedule_id = row.schedule.schedule_id
        return await self._fetch(Place.of_home(row.place.app_id, schedule_id), schedule_id)

    async def _fetch(self, place: Place, schedule_id: UUID) -> Row | None:
        try:
            return await self._store.fetch_row(place, schedule_id)
        except Damaged:
            return None

    async def _look_at_definitions(self, audit: FireCounts, after: UUID) -> Position | None:
        """Audit the next recurring schedules; return where to go on."""
        definitions = await self._store.list_definitions(
            self._app.app_id, after if after.int else None, _DEFINITIONS
        )
        for definition in definitions:
            if definition.damage:
                continue  # nothing of it is sent, and doctor tells
            key = DefinitionKey(definition.app_id, definition.recurring_id)
            latest_ms = await self._look_at_runs(audit, key)
            await self._look_at_chain(audit, definition, latest_ms)
        if len(definitions) < _DEFINITIONS:
            return None
        return Position(self._upto_ms + 1, definitions[-1].recurring_id)

    async def _look_at_runs(self, audit: FireCounts, key: DefinitionKey) -> int | None:
        """Find nominal times with two runs that were sent; return the latest nominal time of the range."""
        latest_ms: int | None = None
        found: set[UUID] = set()
        for first_ms in range(self._from_ms, self._upto_ms + 1, RUNS_WINDOW_MS):
            from_ms, upto_ms = first_ms, min(first_ms + RUNS_WINDOW_MS - 1, self._upto_ms)
            while from_ms <= upto_ms:
                runs = await self._store.fetch_runs(key, from_ms, upto_ms, _RUNS)
                for before, run in pairwise(runs):
                    if before.nominal_ms == run.nominal_ms and run.schedule_id not in found:
                        found.add(run.schedule_id)
                        await self._look_at_pair(audit, key, before, run)
                latest_ms = runs[-1].nominal_ms if runs else latest_ms
                if len(runs) < _RUNS:
                    break
                # Those of the last nominal time again: more of them may follow.
                from_ms = max(runs[-1].nominal_ms, from_ms + 1)
        return latest_ms

    async def _look_at_pair(
        self, audit: FireCounts, key: DefinitionKey, one: RunEntry, other: RunEntry
    ) -> None:
        rows = [
            await self._fetch(Place.of_home(key.app_id, each.schedule_id), each.schedule_id)
            for each in (one, other)
        ]
        if all(row is not None and _was_sent(row.outcome) for row in rows):
            says = f"so was {one.schedule_id}, a run of the same nominal time"
            audit.find(Finding(other.schedule_id, Reason.TWO_RUNS, other.nominal_ms, says))

    async def _look_at_chain(self, audit: FireCounts, definition: Definition, latest_ms: int | None) -> None:
        now_ms = self._clock.now_ms()
        if definition.state is not DefinitionState.ACTIVE or now_ms <= self._from_ms:
            return
        key = DefinitionKey(definition.app_id, definition.recurring_id)
        after_ms = self._upto_ms + 1
        if after_ms < now_ms and await self._store.fetch_runs(key, after_ms, now_ms, 1, newest_first=True):
            return  # it went on after this range
        if await has_broken(self._store, definition, now_ms):
            since = "in this range" if latest_ms is None else "after its last one here"
            says = f"no run was filed {since}: ringctl recurring repair"
            due_ms = self._from_ms if latest_ms is None else latest_ms
            audit.find(Finding(definition.recurring_id, Reason.CHAIN_BROKEN, due_ms, says))


def _end_of(entry: IndexEntry) -> Position:
    return Position(first_slot(entry.bucket), UUID(int=entry.instance.partition))


def _named(place: Place) -> str:
    return f"{place.instance} slot {place.slot_ms}"


def _gap(row: Row, reason: Reason, says: str) -> Finding:
    return Finding(row.schedule.schedule_id, reason, row.place.slot_ms, says)


def _was_sent(outcome: Outcome | None) -> bool:
    """Whether an outcome is that of an attempt. One that closes a filing which is not wanted is not."""
    return outcome is not None and outcome.fired_ms is not None


def _is_of(row: Row, outcome: Outcome, home: Row, of_home: Outcome) -> bool:
    """Whether the outcome of a filing is that of its schedule: of one record, or of a round before."""
    if outcome.replay < of_home.replay:
        return True
    told = (outcome.status, outcome.ended_ms, outcome.fired_ms, outcome.replay)
    if told != (of_home.status, of_home.ended_ms, of_home.fired_ms, of_home.replay):
        return False
    # The word of a receiver is a filing that nothing points at.
    return row.schedule.work is not None or row.place in (home.moved_to, of_home.changed_in)


async def _side_by_side(items: Sequence[S], ask: Callable[[S], Awaitable[T]]) -> list[tuple[S, T]]:
    """Ask about each of these, some side by side, and return the answers beside them."""
    answers: list[tuple[S, T]] = []
    for start in range(0, len(items), _POINTS):
        part = items[start : start + _POINTS]
        answers += zip(part, await asyncio.gather(*(ask(each) for each in part)), strict=True)
    return answers
