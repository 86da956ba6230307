"""Apps and rows for store tests. App ids are new each time, so that tests may share a database."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import date
from typing import Any
from uuid import uuid4

from ringtime_shared.buckets import bucket_of, first_slot, last_slot
from ringtime_shared.ids import IdMint, Kind, app_number_of
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.calendar import Calendar
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.recurring import Definition, RunOf, recurring_id_of, run_id
from ringtime_shared.models.schedule import Attempt, Outcome, Place, Row, RowUpdate, Schedule, Status
from ringtime_shared.models.times import Exclusions, Times
from ringtime_shared.stores.protocol import LAST_ID, DueQuery, Position

NOW_MS = 1_800_000_000_000  #: where a ManualClock starts; the first slot of a bucket
BUCKET = bucket_of(NOW_MS) + 10
START_MS = first_slot(BUCKET)
WEEK_MS = 7 * 86_400_000

_mint = IdMint(7)


def make_app(**changes: Any) -> App:
    """An app that is not registered yet."""
    app = App(
        app_id=f"app-{uuid4().hex[:12]}",
        number=0,
        writable=3,
        polled=3,
        active=True,
        version=1,
        created_ms=NOW_MS,
    )
    return replace(app, **changes)


def make_row(app: App, slot_ms: int = START_MS, partition: int = 0, **changes: Any) -> Row:
    """A home row; `changes` are fields of its schedule."""
    schedule = Schedule(
        schedule_id=_mint.mint(
            slot_ms=slot_ms, kind=Kind.ONE_TIME, partition=partition, app_number=app.number
        ),
        app_id=app.app_id,
        fire_ms=slot_ms - 250,
        payload='{"n": 1}',
        callback_type="http",
        callback_details=b'{"url":"https://example.com/hook"}',
        created_ms=slot_ms - 90_000,
        expires_ms=slot_ms + WEEK_MS,
    )
    return Row(schedule=replace(schedule, **changes), place=Place(app.app_id, partition, slot_ms))


def make_rows(app: App, slots_ms: list[int], partition: int = 0) -> list[Row]:
    return [make_row(app, slot_ms, partition) for slot_ms in slots_ms]


def make_move(row: Row, slot_ms: int) -> Row:
    """Another filing of the row's schedule."""
    return replace(row, place=row.place._replace(slot_ms=slot_ms), attempts=row.attempts + 1)


def make_outcome(**changes: Any) -> Outcome:
    outcome = Outcome(
        status=Status.SUCCESS, ended_ms=START_MS + 40, fired_ms=START_MS + 3, attempts=1, code=200
    )
    return replace(outcome, **changes)


def make_update(row: Row, outcome: Outcome | None = None, moved_to: Place | None = None) -> RowUpdate:
    return RowUpdate(
        place=row.place, schedule_id=row.schedule.schedule_id, outcome=outcome, moved_to=moved_to
    )


def make_log(count: int = 2) -> tuple[Attempt, ...]:
    """Attempts that failed, one with an answer and then one without by turns."""
    answers: list[dict[str, Any]] = [{"code": 503, "error": 'bu\nsy "ü"'}, {}]
    return tuple(Attempt(at_ms=START_MS + n, took_ms=n, **answers[n % 2]) for n in range(count))


def make_letter(app: App, slot_ms: int = START_MS, **changes: Any) -> DeadLetter:
    """A delivery that was given up at `slot_ms`."""
    letter = DeadLetter(
        app_id=app.app_id,
        schedule_id=_mint.mint(slot_ms=slot_ms, kind=Kind.ONE_TIME, partition=0, app_number=app.number),
        slot_ms=slot_ms,
        fire_ms=slot_ms - 250,
        failed_ms=slot_ms + 30,
        attempts=3,
        callback_type="http",
        expires_ms=slot_ms + WEEK_MS,
    )
    return replace(letter, **changes)


def make_calendar(app: App, name: str = "", **changes: Any) -> Calendar:
    """A calendar that is not stored yet: one day, and an hour of another."""
    exclusions = Exclusions(frozenset([date(2027, 1, 6)]), ((NOW_MS, NOW_MS + 3_600_000),))
    calendar = Calendar(
        app_id=app.app_id,
        name=name or f"days-{uuid4().hex[:12]}",
        changed_ms=NOW_MS,
        exclusions=exclusions,
    )
    return replace(calendar, **changes)


def make_definition(app: App, name: str = "", **changes: Any) -> Definition:
    """A recurring schedule that is not stored yet, of a name of its own."""
    name = name or f"job-{uuid4().hex[:12]}"
    definition = Definition(
        recurring_id=recurring_id_of(app.number, name),
        app_id=app.app_id,
        name=name,
        times=Times(cron="*/5 * * * *", zone="Europe/Berlin"),
        payload='{"n": 1}',
        callback_type="http",
        callback_details=b'{"url":"https://example.com/hook"}',
        created_ms=NOW_MS,
        changed_ms=NOW_MS,
        partition=1,
        from_ms=NOW_MS,
        starts_after_ms=NOW_MS,
    )
    return replace(definition, **changes)


def make_run(definition: Definition, nominal_ms: int = START_MS, **changes: Any) -> Row:
    """The home row of a run of a definition; `changes` are fields of its `RunOf`."""
    run = RunOf(recurring_id=definition.recurring_id, version=definition.version, nominal_ms=nominal_ms)
    run = replace(run, **changes)
    schedule_id = run_id(
        recurring_id=definition.recurring_id,
        version=run.version,
        nominal_ms=nominal_ms,
        origin=run.origin,
        slot_ms=nominal_ms,
        partition=definition.partition,
        app_number=app_number_of(definition.recurring_id),
    )
    schedule = Schedule(
        schedule_id=schedule_id,
        app_id=definition.app_id,
        fire_ms=nominal_ms,
        payload=definition.payload,
        callback_type=definition.callback_type,
        callback_details=definition.callback_details,
        created_ms=nominal_ms - 90_000,
        expires_ms=nominal_ms + WEEK_MS,
        run=run,
    )
    return Row(schedule=schedule, place=Place(definition.app_id, definition.partition, nominal_ms))


def make_query(app: App, partition: int = 0, **changes: Any) -> DueQuery:
    """All of `BUCKET`, in one page."""
    query = DueQuery(Instance(app.app_id, partition), BUCKET, before(START_MS), last_slot(BUCKET), limit=500)
    return query._replace(**changes)


def pretend_schema(connection: sqlite3.Connection, version: int) -> None:
    """Have a file say that its schema is this one, and that a program has to know all of it."""
    connection.execute("DROP TABLE IF EXISTS schema_steps")
    connection.execute(f"PRAGMA user_version = {version}")


def before(slot_ms: int) -> Position:
    """The place just before every row of that slot."""
    return Position(slot_ms - 1, LAST_ID)


def key_of(row: Row) -> Position:
    return Position(row.place.slot_ms, row.schedule.schedule_id)


def key_of_letter(letter: DeadLetter) -> Position:
    return Position(letter.slot_ms, letter.schedule_id)
