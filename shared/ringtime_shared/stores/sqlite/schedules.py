"""Operations of `ScheduleStore` and `DueStore`."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from ringtime_shared.buckets import BUCKET_MS, bucket_of, first_slot, last_slot
from ringtime_shared.models.app import Instance
from ringtime_shared.models.schedule import Place, Row, RowUpdate
from ringtime_shared.stores.protocol import LAST_ID, DuePage, DueQuery, IndexEntry, Position
from ringtime_shared.stores.sqlite.bulk import execute_bulk
from ringtime_shared.stores.sqlite.rows import (
    CREATED,
    ID_BYTES,
    IS_LIVE,
    WRITTEN_LATER,
    Record,
    from_outcome,
    key_of,
    read_live_rows,
    to_record,
    to_row,
)
from ringtime_shared.stores.sqlite.session import IndexKey, Session

_BY_KEY = "WHERE app = ? AND partition = ? AND slot_ms = ? AND schedule_id = ?"
_PUT_ROWS = f"INSERT INTO schedules (app, partition, {CREATED}) {{values}} ON CONFLICT DO NOTHING"
_PUT_INDEX = "INSERT INTO due_index (bucket, app, partition, purge_ms) {values} ON CONFLICT DO NOTHING"
_PUT_MOVES = """
UPDATE schedules SET moved_partition = column1, moved_slot_ms = column2
FROM ({values}) WHERE app = column3 AND partition = column4 AND slot_ms = column5 AND schedule_id = column6
"""
_PUT_OUTCOMES = """
UPDATE schedules SET outcome_status = column1, outcome_ended_ms = column2, outcome_fired_ms = column3,
    outcome_attempts = column4, outcome_code = column5, outcome_error = column6,
    outcome_took_ms = column7, outcome_extras = column8
FROM ({values}) WHERE app = column9 AND partition = column10 AND slot_ms = column11 AND schedule_id = column12
"""
_LIVE_RANGE = (
    f"FROM schedules WHERE app = ? AND partition = ? AND (slot_ms, schedule_id) > (?, ?) AND slot_ms <= ?"
    f" AND {IS_LIVE} ORDER BY slot_ms, schedule_id"
)


def first_kept_bucket(now_ms: int) -> int:
    """Return the first bucket that a purge leaves alone at `now_ms`, whatever has expired in it."""
    return bucket_of(now_ms) - 1


def put_rows(session: Session, rows: Sequence[Row], now_ms: int) -> None:
    """Insert rows, and index entries that are not known to be there.

    Before `first_kept_bucket` that is not trusted: a purge of another process may have deleted them.
    """
    kept = first_kept_bucket(now_ms)
    number, last_app_id = 0, None
    records: list[Record] = []
    entries: dict[IndexKey, int] = {}  # with the time purge should look at it
    for row in rows:
        app_id, partition, slot_ms = row.place
        if app_id != last_app_id:
            number, last_app_id = session.give_number(app_id), app_id
        records.append(to_record(number, row))
        entries.setdefault((slot_ms // BUCKET_MS, number, partition), row.schedule.expires_ms)
    new = [
        (*key, purge_ms)
        for key, purge_ms in entries.items()
        if not session.note_indexed(key) or key[0] < kept
    ]
    execute_bulk(session.connection, _PUT_INDEX, new)
    execute_bulk(session.connection, _PUT_ROWS, records)


def fetch_row(session: Session, place: Place, schedule_id: UUID) -> Row | None:
    key = (session.number_of(place.app_id), place.partition, place.slot_ms, schedule_id.bytes)
    for record in session.fetch(f"SELECT {CREATED}, {WRITTEN_LATER} FROM schedules {_BY_KEY}", key):
        return to_row(place, schedule_id, record)
    return None


def put_cancel(session: Session, place: Place, schedule_id: UUID, cancelled_ms: int) -> None:
    number = session.number_of(place.app_id)
    session.connection.execute(
        f"UPDATE schedules SET cancelled_ms = ? {_BY_KEY} AND cancelled_ms IS NULL",
        (cancelled_ms, number, place.partition, place.slot_ms, schedule_id.bytes),
    )


def put_updates(session: Session, updates: Sequence[RowUpdate]) -> None:
    number, last_app_id = None, None
    moves: dict[Record, Record] = {}  # by key: of two updates of a row the later one counts
    outcomes: dict[Record, Record] = {}
    for update in updates:
        app_id, partition, slot_ms = update.place
        if app_id != last_app_id:
            number, last_app_id = session.number_of(app_id), app_id
        key = (number, partition, slot_ms, update.schedule_id.bytes)
        if update.outcome is not None:
            outcomes[key] = from_outcome(update.outcome) + key
        if update.moved_to is not None:
            moves[key] = (update.moved_to.partition, update.moved_to.slot_ms, *key)
    execute_bulk(session.connection, _PUT_OUTCOMES, list(outcomes.values()))
    execute_bulk(session.connection, _PUT_MOVES, list(moves.values()))


def fetch_index(session: Session, first: int, last: int) -> list[IndexEntry]:
    found = session.fetch(
        "SELECT bucket, app_id, partition FROM due_index JOIN app_numbers ON number = app"
        " WHERE bucket BETWEEN ? AND ? ORDER BY bucket, app, partition",
        (first, last),
    )
    return [IndexEntry(bucket, Instance(app_id, partition)) for bucket, app_id, partition in found]


def fetch_due(session: Session, queries: Sequence[DueQuery]) -> list[DuePage]:
    return [_page(session, query) for query in queries]


def fetch_live_ids(session: Session, queries: Sequence[DueQuery]) -> list[list[Position]]:
    answers = []
    for query in queries:
        bounds = _bounds(session, query)
        found = session.connection.execute(f"SELECT slot_ms, schedule_id {_LIVE_RANGE}", bounds)
        answers.append(
            [
                Position(slot_ms, UUID(bytes=schedule_id))
                for slot_ms, schedule_id in found
                if isinstance(schedule_id, bytes) and len(schedule_id) == ID_BYTES
            ]
        )
    return answers


def _page(session: Session, query: DueQuery) -> DuePage:
    """Rows that are not live are left out by SQLite, so they do not count towards the limit."""
    bounds = (*_bounds(session, query), query.limit)
    records = session.fetch(f"SELECT {CREATED} {_LIVE_RANGE} LIMIT ?", bounds)
    rows, damaged = read_live_rows(*query.instance, records)
    return DuePage(rows, None if len(records) < query.limit else key_of(records[-1]), damaged)


def _bounds(session: Session, query: DueQuery) -> Record:
    app_id, partition = query.instance
    after = max(query.after, Position(first_slot(query.bucket) - 1, LAST_ID))
    upto_ms = min(query.upto_ms, last_slot(query.bucket))
    return (session.number_of(app_id), partition, after.slot_ms, after.schedule_id.bytes, upto_ms)
