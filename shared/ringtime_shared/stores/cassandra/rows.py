"""Schedule rows as Cassandra keeps them. Called per row: kept flat on purpose.

A row is read as one only if its create columns are there. An outcome, a move or a cancel that came for a
row that is not there, or that outlived it, leaves a key with nothing to fire behind it.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from ringtime_shared.models.schedule import Place, Row, Schedule
from ringtime_shared.stores.cassandra.bridge import Record
from ringtime_shared.stores.cassandra.encoding import pack_int, pack_long
from ringtime_shared.stores.cassandra.session import Values
from ringtime_shared.stores.extras import NO_EXTRAS, decode_extras, decode_outcome

CREATED = (
    "slot_ms, schedule_id, fire_ms, created_ms, expires_ms, attempts,"
    " callback_type, callback_details, payload"
)
CREATED_AND_EXTRAS = f"{CREATED}, extras"
WRITTEN_LATER = "cancelled_ms, moved_to, outcome"
#: The same, each null or a number: the server sends eight bytes instead of an outcome, and we decode them.
IS_DONE = "writetime(cancelled_ms), writetime(moved_to), writetime(outcome)"


def to_values(row: Row) -> Values:
    """Return the columns of `CREATED`."""
    schedule = row.schedule
    return (
        pack_long(row.place.slot_ms),
        schedule.schedule_id.bytes,
        pack_long(schedule.fire_ms),
        pack_long(schedule.created_ms),
        pack_long(schedule.expires_ms),
        pack_int(row.attempts),
        schedule.callback_type.encode(),
        schedule.callback_details,
        schedule.payload.encode(),
    )


def to_live_rows(app_id: str, partition: int, records: Iterable[Record]) -> list[Row]:
    """Read those records of `CREATED_AND_EXTRAS` and `IS_DONE` that may still have to fire."""
    return [
        Row(
            schedule=Schedule(
                schedule_id=schedule_id,
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
            is_cancelled,
            is_moved,
            has_outcome,
        ) in records
        if is_cancelled is is_moved is has_outcome is None and payload is not None
        for extras in (NO_EXTRAS if text is None else decode_extras(text),)
    ]


def to_row(place: Place, schedule_id: UUID, record: Record) -> Row | None:
    """Read a record of `CREATED_AND_EXTRAS` and `WRITTEN_LATER`."""
    _, _, fire_ms, created_ms, expires_ms, attempts, callback_type, details, payload, text, *later = record
    cancelled_ms, moved_to, outcome = later
    if payload is None:
        return None
    extras = NO_EXTRAS if text is None else decode_extras(text)
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
        moved_to=None if moved_to is None else Place(place.app_id, *moved_to),
        outcome=None if outcome is None else decode_outcome(outcome),
    )
