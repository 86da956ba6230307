"""Operations of `ScheduleStore` and `DueStore`, and the rows as SQLite keeps them.

What is called per row is kept flat on purpose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import Any, TypeVar
from uuid import UUID

from ringtime_shared.buckets import BUCKET_MS, bucket_of, first_slot, last_slot
from ringtime_shared.errors import Damaged
from ringtime_shared.models.app import Instance
from ringtime_shared.models.schedule import Outcome, Place, Row, RowUpdate, Status
from ringtime_shared.stores.codec.cells import Count, IdBytes, Json, Millis, Shape, fault_of
from ringtime_shared.stores.codec.rows import (
    NO_EXTRAS,
    CreatedColumns,
    Extras,
    encode_outcome_extras,
    encode_row_extras,
    read_extras,
    to_live_rows,
    to_written_row,
)
from ringtime_shared.stores.protocol import (
    LAST_ID,
    RECEIPT_IDS,
    DamagedRow,
    DuePage,
    DueQuery,
    IdPage,
    IndexEntry,
    Position,
    is_listed_run,
    is_receipted,
)
from ringtime_shared.stores.sqlite.session import IndexKey, Session, execute_bulk

CREATED = (
    "slot_ms, schedule_id, fire_ms, created_ms, expires_ms, attempts,"
    " callback_type, callback_details, payload, extras"
)
WRITTEN_LATER = (
    "cancelled_ms, moved_partition, moved_slot_ms, outcome_status, outcome_ended_ms,"
    " outcome_fired_ms, outcome_attempts, outcome_code, outcome_error, outcome_took_ms, outcome_extras"
)
IS_LIVE = "outcome_status IS NULL AND moved_slot_ms IS NULL AND cancelled_ms IS NULL"

T = TypeVar("T")
Record = tuple[Any, ...]
ID_BYTES = 16


class _Created(CreatedColumns[IdBytes]):
    """The columns of `CREATED`."""


class _Whole(_Created):
    cancelled_ms: Millis | None
    moved_partition: Count | None
    moved_slot_ms: Millis | None
    outcome_status: Status | None
    outcome_ended_ms: Millis | None
    outcome_fired_ms: Millis | None
    outcome_attempts: Count | None
    outcome_code: Count | None
    outcome_error: str | None
    outcome_took_ms: Millis | None
    outcome_extras: Json | None


_LATER = len(_Created.__struct_fields__)
_CREATED, _WHOLE = Shape(_Created), Shape(_Whole)


def to_record(number: int, row: Row) -> Record:
    """Return app number, partition and the columns of `CREATED`."""
    schedule = row.schedule
    _, partition, slot_ms = row.place
    return (
        number,
        partition,
        slot_ms,
        schedule.schedule_id.bytes,
        schedule.fire_ms,
        schedule.created_ms,
        schedule.expires_ms,
        row.attempts,
        schedule.callback_type,
        schedule.callback_details,
        schedule.payload,
        _to_text(encode_row_extras(row)),
    )


def read_live_rows(
    app_id: str, partition: int, records: Sequence[Record]
) -> tuple[list[Row], list[DamagedRow]]:
    """Read records of the columns of `CREATED` as rows nothing was written to later; tell apart those that
    cannot be read."""
    if _CREATED.fits(records):
        try:
            return _to_live_rows(app_id, partition, records), []
        except ValueError:
            pass  # the extras of one of them
    rows, damaged = [], []
    for record in records:
        try:
            _CREATED.check(record)
            rows += _to_live_rows(app_id, partition, [record])
        except ValueError as error:
            key = key_of(record)
            damaged.append(
                DamagedRow(Place(app_id, partition, key.slot_ms), key.schedule_id, fault_of(error))
            )
    return rows, damaged


def key_of(record: Record) -> Position:
    """Return the key a record of `CREATED` begins with; of a damaged one, the end of what has its slot."""
    slot_ms, schedule_id = record[:2]
    if isinstance(slot_ms, int) and isinstance(schedule_id, bytes) and len(schedule_id) == ID_BYTES:
        return Position(slot_ms, UUID(bytes=schedule_id))
    return Position(ceil(slot_ms) if isinstance(slot_ms, (int, float)) else 0, LAST_ID)


def id_of(stored: object) -> UUID:
    """Return an id as it is stored; of a damaged one, one of zeros."""
    return UUID(bytes=stored) if isinstance(stored, bytes) and len(stored) == ID_BYTES else UUID(int=0)


def _to_live_rows(app_id: str, partition: int, records: Sequence[Record]) -> list[Row]:
    from_bytes = int.from_bytes
    schedule_ids = [UUID(int=from_bytes(record[1], "big")) for record in records]
    return to_live_rows(app_id, partition, schedule_ids, records)


def read_rows(app_id: str, partition: int, records: Sequence[Record]) -> tuple[list[Row], list[DamagedRow]]:
    """Read records of the columns of `CREATED` and `WRITTEN_LATER`; tell apart those that cannot be read."""
    if _WHOLE.fits(records):
        try:
            return [
                _to_row(Place(app_id, partition, record[0]), UUID(bytes=record[1]), record)
                for record in records
            ], []
        except ValueError:
            pass  # the extras of one of them
    rows, damaged = [], []
    for record in records:
        slot_ms, schedule_id = key_of(record)
        place = Place(app_id, partition, slot_ms)
        try:
            rows.append(to_row(place, schedule_id, record))
        except Damaged as error:
            damaged.append(DamagedRow(place, schedule_id, error.fault))
    return rows, damaged


def to_row(place: Place, schedule_id: UUID, record: Record) -> Row:
    """Read a record of the columns of `CREATED` and `WRITTEN_LATER`. Raises Damaged."""
    try:
        _WHOLE.check(record)
        return _to_row(place, schedule_id, record)
    except ValueError as error:
        raise Damaged("schedule", str(schedule_id), fault_of(error)) from None


def _to_row(place: Place, schedule_id: UUID, record: Record) -> Row:
    cancelled_ms, moved_partition, moved_slot_ms, *outcome = record[_LATER:]
    return to_written_row(
        place,
        schedule_id,
        record[:_LATER],
        cancelled_ms=cancelled_ms,
        moved_to=None
        if moved_slot_ms is None
        else Place(place.app_id, _there("moved_partition", moved_partition), moved_slot_ms),
        outcome=None if outcome[0] is None else to_outcome(outcome),
    )


def from_outcome(outcome: Outcome) -> Record:
    """Return the outcome's columns, in the order of `WRITTEN_LATER`."""
    return (
        outcome.status.value,
        outcome.ended_ms,
        outcome.fired_ms,
        outcome.attempts,
        outcome.code,
        outcome.error,
        outcome.took_ms,
        _to_text(encode_outcome_extras(outcome)),
    )


def to_outcome(record: Iterable[Any]) -> Outcome:
    status, ended_ms, fired_ms, attempts, code, error, took_ms, text = record
    extras = _to_extras(text, "outcome_extras")
    return Outcome(
        status=Status(status),
        ended_ms=_there("outcome_ended_ms", ended_ms),
        fired_ms=fired_ms,
        attempts=_there("outcome_attempts", attempts),
        code=code,
        error=_there("outcome_error", error),
        took_ms=took_ms,
        replay=extras.replay,
        log=extras.log,
        changed_in=extras.changed_in,
        accepted_ms=extras.accepted_ms,
    )


def _to_extras(text: str | None, column: str = "extras") -> Extras:
    return NO_EXTRAS if text is None else read_extras(text, column)


def _there(column: str, value: T | None) -> T:
    if value is None:
        raise ValueError(f"{column}: is missing")
    return value


def _to_text(encoded: bytes | None) -> str | None:
    return None if encoded is None else encoded.decode()


_BY_KEY = "WHERE app = ? AND partition = ? AND slot_ms = ? AND schedule_id = ?"
_PUT_ROWS = (
    f"INSERT INTO schedules (app, partition, {CREATED}) {{values}}"
    " ON CONFLICT DO UPDATE SET expires_ms = excluded.expires_ms WHERE excluded.expires_ms > expires_ms"
)
_PUT_CONTENTS = f"UPDATE schedules SET callback_details = ?, payload = ?, extras = ? {_BY_KEY}"
_PUT_INDEX = "INSERT INTO due_index (bucket, app, partition, purge_ms) {values} ON CONFLICT DO NOTHING"
_PUT_MOVED = "INSERT INTO moved (bucket, app, partition) {values} ON CONFLICT DO NOTHING"
_PUT_RECEIPTS = (
    "INSERT INTO receipts (app, partition, bucket, ids, expires_ms) {values}"
    " ON CONFLICT DO UPDATE SET expires_ms = excluded.expires_ms WHERE excluded.expires_ms > expires_ms"
)
_PUT_RUNS = (
    "INSERT INTO runs (app, recurring_id, nominal_ms, schedule_id, expires_ms) {values}"
    " ON CONFLICT DO NOTHING"
)
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
_IN_RANGE = (
    "FROM schedules WHERE app = ? AND partition = ? AND (slot_ms, schedule_id) > (?, ?) AND slot_ms <= ?"
)
_BY_POSITION = "ORDER BY slot_ms, schedule_id LIMIT ?"
_LIVE_RANGE = f"{_IN_RANGE} AND {IS_LIVE} {_BY_POSITION}"


def first_kept_bucket(now_ms: int) -> int:
    """Return the first bucket that a purge leaves alone at `now_ms`, whatever has expired in it."""
    return bucket_of(now_ms) - 1


def put_rows(session: Session, rows: Sequence[Row], now_ms: int, *, has_receipts: bool = True) -> None:
    """Insert rows, with their receipts, and index entries that are not known to be there.

    Before `first_kept_bucket` that is not trusted: a purge of another process may have deleted them.
    """
    kept = first_kept_bucket(now_ms)
    number, last_app_id = 0, None
    records: list[Record] = []
    entries: dict[IndexKey, int] = {}  # with the time purge should look at it
    runs: list[Record] = []
    filed: dict[IndexKey, list[Row]] = {}
    for row in rows:
        app_id, partition, slot_ms = row.place
        if app_id != last_app_id:
            number, last_app_id = session.give_number(app_id), app_id
        records.append(to_record(number, row))
        key = (slot_ms // BUCKET_MS, number, partition)
        entries.setdefault(key, row.schedule.expires_ms)
        if has_receipts and is_receipted(row):
            filed.setdefault(key, []).append(row)
        if (run := row.schedule.run) is not None and is_listed_run(row):
            schedule_id, expires_ms = row.schedule.schedule_id.bytes, row.schedule.expires_ms
            runs.append((number, run.recurring_id.bytes, run.nominal_ms, schedule_id, expires_ms))
    new = [
        (*key, purge_ms)
        for key, purge_ms in entries.items()
        if not session.note_indexed(key) or key[0] < kept
    ]
    execute_bulk(session.connection, _PUT_INDEX, new)
    execute_bulk(session.connection, _PUT_ROWS, records)
    execute_bulk(session.connection, _PUT_RECEIPTS, _receipts_of(filed))
    if runs:
        execute_bulk(session.connection, _PUT_RUNS, runs)


def _receipts_of(filed: Mapping[IndexKey, Sequence[Row]]) -> list[Record]:
    """Return the receipts of what was filed; each is its own key, so writing it again changes nothing."""
    receipts = list[Record]()
    for (bucket, number, partition), rows in filed.items():
        for start in range(0, len(rows), RECEIPT_IDS):
            part = [row.schedule for row in rows[start : start + RECEIPT_IDS]]
            ids = b"".join([schedule.schedule_id.bytes for schedule in part])
            expires_ms = min([schedule.expires_ms for schedule in part])
            receipts.append((number, partition, bucket, ids, expires_ms))
    return receipts


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
    moved: dict[Record, None] = {}
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
            moved[slot_ms // BUCKET_MS, number, partition] = None
    execute_bulk(session.connection, _PUT_OUTCOMES, list(outcomes.values()))
    execute_bulk(session.connection, _PUT_MOVES, list(moves.values()))
    execute_bulk(session.connection, _PUT_MOVED, [key for key in moved if key[1] is not None])


def replace_contents(session: Session, before: Row, after: Row) -> bool:
    place, schedule_id = before.place, before.schedule.schedule_id
    key = (session.number_of(place.app_id), place.partition, place.slot_ms, schedule_id.bytes)
    wanted = (*_texts_of(after), _to_text(encode_row_extras(after)))
    for stored in session.fetch(f"SELECT callback_details, payload FROM schedules {_BY_KEY}", key):
        if stored == _texts_of(before):
            session.connection.execute(_PUT_CONTENTS, (*wanted, *key))
        return stored in (_texts_of(before), _texts_of(after))
    return False


def _texts_of(row: Row) -> Record:
    return row.schedule.callback_details, row.schedule.payload


def fetch_index(session: Session, first: int, last: int) -> list[IndexEntry]:
    found = session.fetch(
        "SELECT bucket, app_id, partition FROM due_index JOIN app_numbers ON number = app"
        " WHERE bucket BETWEEN ? AND ? ORDER BY bucket, app, partition",
        (first, last),
    )
    return [IndexEntry(bucket, Instance(app_id, partition)) for bucket, app_id, partition in found]


def fetch_moved(session: Session, first: int, last: int, app_id: str) -> list[IndexEntry]:
    of_app = " AND app_id = ?" if app_id else ""
    found = session.fetch(
        "SELECT bucket, app_id, partition FROM moved JOIN app_numbers ON number = app"
        f" WHERE bucket BETWEEN ? AND ?{of_app} ORDER BY bucket, app, partition",
        (first, last, *([app_id] if app_id else [])),
    )
    return [IndexEntry(bucket, Instance(app_id, partition)) for bucket, app_id, partition in found]


def fetch_due(session: Session, queries: Sequence[DueQuery]) -> list[DuePage]:
    return [_page(session, query) for query in queries]


def fetch_live_ids(session: Session, queries: Sequence[DueQuery]) -> list[IdPage]:
    return [_page_of_ids(session, query) for query in queries]


def _page_of_ids(session: Session, query: DueQuery) -> IdPage:
    bounds = (*_bounds(session, query), query.limit)
    records = session.connection.execute(f"SELECT slot_ms, schedule_id {_LIVE_RANGE}", bounds).fetchall()
    ids = [
        Position(slot_ms, UUID(bytes=schedule_id))
        for slot_ms, schedule_id in records
        if isinstance(schedule_id, bytes) and len(schedule_id) == ID_BYTES
    ]
    return IdPage(ids, _next_after(query, records))


def _page(session: Session, query: DueQuery) -> DuePage:
    """Rows that are not live are left out by SQLite, so they do not count towards the limit."""
    bounds = (*_bounds(session, query), query.limit)
    records = session.fetch(f"SELECT {CREATED} {_LIVE_RANGE}", bounds)
    rows, damaged = read_live_rows(*query.instance, records)
    return DuePage(rows, _next_after(query, records), damaged)


def fetch_rows(session: Session, queries: Sequence[DueQuery]) -> list[DuePage]:
    return [_page_of_all(session, query) for query in queries]


def _page_of_all(session: Session, query: DueQuery) -> DuePage:
    app_id, partition = query.instance
    records = session.fetch(
        f"SELECT {CREATED}, {WRITTEN_LATER} {_IN_RANGE} {_BY_POSITION}",
        (*_bounds(session, query), query.limit),
    )
    rows, damaged = read_rows(app_id, partition, records)
    return DuePage(rows, _next_after(query, records), damaged)


def _next_after(query: DueQuery, records: Sequence[Record]) -> Position | None:
    return None if len(records) < query.limit else key_of(records[-1])


def _bounds(session: Session, query: DueQuery) -> Record:
    app_id, partition = query.instance
    after = max(query.after, Position(first_slot(query.bucket) - 1, LAST_ID))
    upto_ms = min(query.upto_ms, last_slot(query.bucket))
    return (session.number_of(app_id), partition, after.slot_ms, after.schedule_id.bytes, upto_ms)
