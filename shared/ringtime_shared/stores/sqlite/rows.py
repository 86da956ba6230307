"""Schedule rows as SQLite keeps them. Called per row: kept flat on purpose."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from ringtime_shared.models.schedule import Outcome, Place, Row, Schedule, Status
from ringtime_shared.stores.extras import (
    NO_EXTRAS,
    Extras,
    decode_extras,
    encode_outcome_extras,
    encode_row_extras,
)

CREATED = (
    "slot_ms, schedule_id, fire_ms, created_ms, expires_ms, attempts,"
    " callback_type, callback_details, payload, extras"
)
WRITTEN_LATER = (
    "cancelled_ms, moved_partition, moved_slot_ms, outcome_status, outcome_ended_ms,"
    " outcome_fired_ms, outcome_attempts, outcome_code, outcome_error, outcome_took_ms, outcome_extras"
)
IS_LIVE = "outcome_status IS NULL AND moved_slot_ms IS NULL AND cancelled_ms IS NULL"

Record = tuple[Any, ...]


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


def to_live_rows(app_id: str, partition: int, records: Iterable[Record]) -> list[Row]:
    """Read records of the columns of `CREATED` as rows nothing was written to later."""
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
        for extras in (NO_EXTRAS if text is None else decode_extras(text),)
    ]


def to_row(place: Place, schedule_id: UUID, record: Record) -> Row:
    """Read a record of the columns of `CREATED` and `WRITTEN_LATER`."""
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
        moved_to=None if moved_slot_ms is None else Place(place.app_id, moved_partition, moved_slot_ms),
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
    extras = _to_extras(text)
    return Outcome(
        status=Status(status),
        ended_ms=ended_ms,
        fired_ms=fired_ms,
        attempts=attempts,
        code=code,
        error=error,
        took_ms=took_ms,
        replay=extras.replay,
        log=extras.log,
    )


def _to_extras(text: str | None) -> Extras:
    return NO_EXTRAS if text is None else decode_extras(text)


def _to_text(encoded: bytes | None) -> str | None:
    return None if encoded is None else encoded.decode()
