"""What is missing and what is there twice is found by id, on every driver; and nothing else is."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.contract.builders import (
    NOW_MS,
    START_MS,
    make_app,
    make_definition,
    make_outcome,
    make_row,
    make_run,
    make_update,
)

from ringtime_shared.clock import ManualClock
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.fires import Finding, FireCounts, Reason
from ringtime_shared.models.schedule import Outcome, Row, Status
from ringtime_shared.schedules import fires
from ringtime_shared.schedules.fires import FireAudit
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import Marks, MarksWrite, Position, Store
from ringtime_shared.stores.sqlite import schema

MINUTES = 5
END_MS = START_MS + MINUTES * 60_000
Erase = Callable[[Sequence[Row]], None]


@pytest.fixture
def erase(request: pytest.FixtureRequest, store: Store, tmp_path: Path) -> Erase:
    """Remove rows as no driver does."""

    def from_memory(rows: Sequence[Row]) -> None:
        assert isinstance(store, MemoryStore)
        for row in rows:
            key = (row.place.app_id, row.place.partition, row.place.bucket)
            store._keys[key].remove(Position(row.place.slot_ms, row.schedule.schedule_id))
            del store._rows[row.place][row.schedule.schedule_id]

    def from_sqlite(rows: Sequence[Row]) -> None:
        with closing(sqlite3.connect(tmp_path / "data" / schema.FILE_NAME)) as connection, connection:
            for row in rows:
                erased = connection.execute(
                    "DELETE FROM schedules WHERE schedule_id = ? AND slot_ms = ?",
                    (row.schedule.schedule_id.bytes, row.place.slot_ms),
                )
                assert erased.rowcount == 1

    def from_cassandra(rows: Sequence[Row]) -> None:
        _, session, keyspace = request.getfixturevalue("cassandra_connections")
        statement: Any = session.prepare(
            f"DELETE FROM {keyspace}.schedules WHERE app_id = ? AND partition = ? AND bucket = ?"
            " AND slot_ms = ? AND schedule_id = ?"
        )
        for row in rows:
            place = row.place
            key = (place.app_id, place.partition, place.bucket, place.slot_ms, row.schedule.schedule_id)
            session.execute(statement, key)

    ways = {"MemoryStore": from_memory, "SqliteStore": from_sqlite}
    return ways.get(type(store).__name__, from_cassandra)


def sent(row: Row, **changes: Any) -> Outcome:
    """Return the outcome of an attempt at the slot of a filing."""
    slot_ms = row.place.slot_ms
    return make_outcome(ended_ms=slot_ms + 40, fired_ms=slot_ms + 3, **changes)


async def settle(store: Store, app: App, upto_ms: int = END_MS) -> None:
    marks = Marks(upto_ms, upto_ms)
    await store.put_marks(
        [MarksWrite(Instance(app.app_id, each), 1 << 48 | 1, marks) for each in range(app.polled)]
    )


async def audit(store: Store, app: App, from_ms: int = START_MS, upto_ms: int = END_MS) -> FireCounts:
    whole = FireCounts()
    async for page in FireAudit(store, ManualClock(END_MS + 3_600_000), app, from_ms, upto_ms).pages():
        whole.add(page.found)
    return whole


def ids_of(rows: Sequence[Row]) -> set[str]:
    return {str(row.schedule.schedule_id) for row in rows}


def listed(findings: Sequence[Finding], *reasons: Reason) -> set[str]:
    return {str(each.schedule_id) for each in findings if each.reason in reasons}


async def file_fires(store: Store, app: App, count: int) -> list[Row]:
    """File schedules over some minutes and partitions and record how each ended: most at once, some by a
    retry, or cancelled, or missed."""
    rows = [make_row(app, START_MS + n * MINUTES * 60_000 // count, n % 3) for n in range(count)]
    for start in range(0, count, 500):
        part = rows[start : start + 500]
        await store.put_rows(part)
        later: list[Row] = []
        updates = []
        for n, row in enumerate(part):
            if n % 10 == 7:
                again = replace(row, place=row.place._replace(slot_ms=row.place.slot_ms + 70_000), attempts=1)
                later.append(again)
                updates.append(make_update(row, sent(again, attempts=2), again.place))
                updates.append(make_update(again, sent(again, attempts=2)))
            elif n % 10 == 8:
                updates.append(make_update(row, Outcome(status=Status.MISS, ended_ms=row.place.slot_ms + 9)))
            elif n % 10 != 9:
                updates.append(make_update(row, sent(row)))
        await store.put_rows(later)
        await store.put_updates(updates)
        for row in part[9::10]:
            await store.put_cancel(row.place, row.schedule.schedule_id, NOW_MS)
    await settle(store, app)
    return rows


async def double(store: Store, row: Row, *, after_ms: int, outcome: Outcome) -> None:
    """File a schedule once more, under another slot, with an outcome of its own."""
    again = replace(row, place=row.place._replace(slot_ms=row.place.slot_ms + after_ms))
    await store.put_rows([again])
    await store.put_updates([make_update(again, outcome)])


@pytest.mark.slow
async def test_ten_removed_and_ten_doubled_are_found_and_nothing_else(
    store: Store, app: App, erase: Erase
) -> None:
    rows = await file_fires(store, app, 3_000)
    clean = await audit(store, app)
    assert (clean.expected, clean.waiting, clean.findings) == (3_000, 0, [])
    assert clean.ended == {Status.SUCCESS: 2_400, Status.MISS: 300, Status.DELETED: 300}
    picked = random.Random(17).sample(range(0, 3_000, 10), 20)
    removed, doubled = [rows[n] for n in picked[:10]], [rows[n] for n in picked[10:]]
    erase(removed)
    for n, row in enumerate(doubled):
        slot_ms, outcome = row.place.slot_ms, sent(row)
        if n % 2:  # what was sent a moment later, instead of the same told twice
            outcome = replace(outcome, ended_ms=slot_ms + 90, fired_ms=slot_ms + 50)
        await double(store, row, after_ms=7, outcome=outcome)
    found = await audit(store, app)
    assert listed(found.findings, Reason.REMOVED) == ids_of(removed)
    assert listed(found.findings, Reason.TWO_OUTCOMES) == ids_of(doubled)
    assert (len(found.findings), found.gaps, found.doubles, found.expected) == (20, 10, 10, 3_000)


async def test_pages_and_parts_come_to_the_same(
    store: Store, app: App, erase: Erase, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = await file_fires(store, app, 300)
    erase(rows[30:33])
    for name, few in (("MOST_HELD", 5), ("PAGE_ROWS", 1), ("_AT_ONCE", 1), ("_READ_ROWS", 7)):
        monkeypatch.setattr(fires, name, few)
    monkeypatch.setattr(fires, "_RECEIPTS", 1)
    monkeypatch.setattr(fires, "_ENTRIES", 1)
    found = await audit(store, app)
    assert listed(found.findings, Reason.REMOVED) == ids_of(rows[30:33])
    assert (found.expected, len(found.findings)) == (300, 3)


async def test_only_what_lies_in_the_range_counts(store: Store, app: App, erase: Erase) -> None:
    rows = [make_row(app, START_MS + n) for n in range(4)]
    await store.put_rows(rows)
    await store.put_updates([make_update(row, sent(row)) for row in rows])
    await settle(store, app)
    erase([rows[0], rows[3]])
    found = await audit(store, app, START_MS + 1, START_MS + 2)
    assert (found.expected, found.findings) == (2, [])


class TestGaps:
    async def test_what_settled_has_passed_without_an_outcome(self, store: Store, app: App) -> None:
        passed, waits = make_row(app), make_row(app, START_MS + 10)
        await store.put_rows([passed, waits])
        await settle(store, app, START_MS + 5)
        found = await audit(store, app)
        assert listed(found.findings, Reason.PASSED_OVER) == ids_of([passed])
        assert (found.expected, found.waiting, found.gaps) == (2, 1, 1)

    async def test_a_retry_that_is_gone_and_one_that_was_passed_over(
        self, store: Store, app: App, erase: Erase
    ) -> None:
        lost, passed, waits = rows = [make_row(app, START_MS + n) for n in range(3)]
        again = [
            replace(row, place=row.place._replace(slot_ms=START_MS + 90_000), attempts=1) for row in rows
        ]
        again[2] = replace(again[2], place=again[2].place._replace(slot_ms=END_MS + 60_000))
        await store.put_rows([*rows, *again])
        await store.put_updates(
            [make_update(row, None, each.place) for row, each in zip(rows, again, strict=True)]
        )
        erase([again[0]])
        await settle(store, app)
        found = await audit(store, app)
        assert listed(found.findings, Reason.FILING_LOST) == ids_of([lost])
        assert listed(found.findings, Reason.PASSED_OVER) == ids_of([passed])
        assert (found.expected, found.waiting, found.gaps) == (3, 1, 2)
        assert str(waits.schedule.schedule_id) not in {str(each.schedule_id) for each in found.findings}

    async def test_a_recurring_schedule_that_makes_no_runs(self, store: Store, app: App) -> None:
        definition = make_definition(app, created_ms=NOW_MS - 86_400_000, changed_ms=NOW_MS - 86_400_000)
        await store.replace_definition(definition)
        found = await audit(store, app)
        assert [(each.schedule_id, each.reason) for each in found.findings] == [
            (definition.recurring_id, Reason.CHAIN_BROKEN)
        ]

    async def test_rows_of_an_earlier_app_of_this_name_are_none_of_it(
        self, store: Store, app: App, erase: Erase
    ) -> None:
        old = make_row(app)
        await store.put_rows([old])
        await settle(store, app)
        anew = replace(app, number=app.number + 1)
        assert (await audit(store, anew)).expected == 0


class TestDoubles:
    async def test_a_filing_that_was_closed_is_none(self, store: Store, app: App) -> None:
        """It was overtaken, say; its outcome has no attempt."""
        row = make_row(app)
        await store.put_rows([row])
        await store.put_updates([make_update(row, sent(row))])
        ended = replace(sent(row), fired_ms=None, attempts=0, took_ms=None)
        await double(store, row, after_ms=2_000, outcome=ended)
        await settle(store, app)
        assert (await audit(store, app)).findings == []

    async def test_a_replay_is_none(self, store: Store, app: App) -> None:
        row = make_row(app)
        first, second = (row.place._replace(slot_ms=START_MS + ms) for ms in (4_000, 9_000))
        retry = replace(row, place=first, attempts=1)
        replay = replace(row, place=second, replay=1)
        failed = sent(retry, status=Status.FAILURE)
        await store.put_rows([row, retry, replay])
        await store.put_updates([make_update(row, failed, first), make_update(retry, failed)])
        await store.put_updates([make_update(row, sent(replay, replay=1), second)])
        await store.put_updates([make_update(replay, sent(replay, replay=1))])
        await settle(store, app)
        found = await audit(store, app)
        assert (found.findings, found.ended) == ([], {Status.SUCCESS: 1})

    async def test_two_runs_of_one_nominal_time(self, store: Store, app: App) -> None:
        definition = make_definition(app)
        await store.replace_definition(definition)
        runs = [make_run(definition, START_MS, version=version) for version in (1, 2)]
        later = make_run(definition, START_MS + 60_000)
        await store.put_rows([*runs, later])
        await store.put_updates([make_update(row, sent(row)) for row in (*runs, later)])
        await settle(store, app)
        found = await audit(store, app, upto_ms=START_MS + 30_000)
        twice = [each for each in found.findings if each.reason is Reason.TWO_RUNS]
        assert len(twice) == found.doubles == 1
        assert str(twice[0].schedule_id) in ids_of(runs)


async def test_an_app_without_rows_has_nothing_to_find(store: Store) -> None:
    found = await audit(store, make_app())
    assert (found.expected, found.findings) == (0, [])
