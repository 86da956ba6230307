"""Schedule rows as SQLite keeps them. Called per row: kept flat on purpose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any, TypeVar
from uuid import UUID

from ringtime_shared.errors import Damaged
from ringtime_shared.models.schedule import Outcome, Place, Row, Schedule, Status
from ringtime_shared.stores.codec import (
    NO_EXTRAS,
    Columns,
    Count,
    Extras,
    IdBytes,
    Json,
    Millis,
    Shape,
    encode_outcome_extras,
    encode_row_extras,
    fault_of,
    read_extras,
)
from ringtime_shared.stores.protocol import LAST_ID, DamagedRow, Position

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


class _Created(Columns):
    slot_ms: Millis
    schedule_id: IdBytes
    fire_ms: Millis
    created_ms: Millis
    expires_ms: Millis
    attempts: Count
    callback_type: str
    callback_details: bytes
    payload: str
    extras: Json | None


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


def _to_live_rows(app_id: str, partition: int, records: Iterable[Record]) -> list[Row]:
    from_bytes = int.from_bytes
    return [
        Row(
            schedule=Schedule(
                schedule_id=UUID(int=from_bytes(schedule_id, "big")),
                app_id=app_id,
                fire_ms=fire_ms,
                payload=payload,
                callback_type=callback_type,
                callback_details=details,
                created_ms=created_ms,
                expires_ms=expires_ms,
                retry=extras.retry,
            ),
            place=Place(app_id, partition, slot_ms),
            attempts=attempts,
            replay=extras.replay,
            log=extras.log,
        )
        for (
            slot_ms,
            schedule_id,
            fire_ms,
            created_ms,
            expires_ms,
            attempts,
            callback_type,
            details,
            payload,
            text,
        ) in records
        for extras in (NO_EXTRAS if text is None else read_extras(text),)
    ]


def to_row(place: Place, schedule_id: UUID, record: Record) -> Row:
    """Read a record of the columns of `CREATED` and `WRITTEN_LATER`. Raises Damaged."""
    try:
        _WHOLE.check(record)
        return _to_row(place, schedule_id, record)
    except ValueError as error:
        raise Damaged("schedule", str(schedule_id), fault_of(error)) from None


def _to_row(place: Place, schedule_id: UUID, record: Record) -> Row:
    _, _, fire_ms, created_ms, expires_ms, attempts, callback_type, details, payload, text, *later = record
    cancelled_ms, moved_partition, moved_slot_ms, *outcome = later
    extras = _to_extras(text)
    return Row(
        schedule=Schedule(
            schedule_id=schedule_id,
            app_id=place.app_id,
            fire_ms=fire_ms,
            payload=payload,
            callback_type=callback_type,
            callback_details=details,
            created_ms=created_ms,
            expires_ms=expires_ms,
            retry=extras.retry,
        ),
        place=place,
        attempts=attempts,
        replay=extras.replay,
        log=extras.log,
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
    )


def _to_extras(text: str | None, column: str = "extras") -> Extras:
    return NO_EXTRAS if text is None else read_extras(text, column)


def _there(column: str, value: T | None) -> T:
    if value is None:
        raise ValueError(f"{column}: is missing")
    return value


def _to_text(encoded: bytes | None) -> str | None:
    return None if encoded is None else encoded.decode()
