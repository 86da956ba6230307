"""Schedule rows as Cassandra keeps them. Called per row: kept flat on purpose.

A row is read as one only if its create columns are there. An outcome, a move or a cancel that came for a
row that is not there, or that outlived it, leaves a key with nothing to fire behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from ringtime_shared.errors import Damaged
from ringtime_shared.models.schedule import Place, Row, Schedule
from ringtime_shared.stores.cassandra.bridge import Record
from ringtime_shared.stores.cassandra.encoding import pack_int, pack_long
from ringtime_shared.stores.cassandra.session import Values
from ringtime_shared.stores.codec import (
    NO_EXTRAS,
    Columns,
    Count,
    Json,
    Millis,
    Shape,
    fault_of,
    read_extras,
    read_outcome,
)
from ringtime_shared.stores.protocol import DamagedRow

CREATED = (
    "slot_ms, schedule_id, fire_ms, created_ms, expires_ms, attempts,"
    " callback_type, callback_details, payload"
)
CREATED_AND_EXTRAS = f"{CREATED}, extras"
WRITTEN_LATER = "cancelled_ms, moved_to, outcome"
#: The same, each null or a number: the server sends eight bytes instead of an outcome, and we decode them.
IS_DONE = "writetime(cancelled_ms), writetime(moved_to), writetime(outcome)"


class _Created(Columns):
    slot_ms: Millis
    schedule_id: UUID
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
    moved_to: tuple[Count, Millis] | None
    outcome: Json | None


_AFTER_KEY = slice(2, len(_Created.__struct_fields__))
_DETAILS = _Created.__struct_fields__.index("callback_details")
_CREATED, _WHOLE = Shape(_Created), Shape(_Whole)


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


def read_live_rows(
    app_id: str, partition: int, records: Sequence[Record]
) -> tuple[list[Row], list[DamagedRow]]:
    """Read those records of `CREATED_AND_EXTRAS` and `IS_DONE` that may still have to fire; tell apart those
    of them that cannot be read."""
    live = [
        record[:-3]
        for record in records
        if record[-1] is record[-2] is record[-3] is None and is_there(record)
    ]
    if _CREATED.fits(live):
        try:
            return _to_rows(app_id, partition, live), []
        except ValueError:
            pass  # the extras of one of them
    rows, damaged = [], []
    for record in live:
        try:
            _CREATED.check(record)
            rows += _to_rows(app_id, partition, [record])
        except ValueError as error:
            damaged.append(DamagedRow(Place(app_id, partition, record[0]), record[1], fault_of(error)))
    return rows, damaged


def is_there(record: Record) -> bool:
    """Whether some column that a create writes is there: then it is a row, be it a damaged one."""
    return record[_DETAILS] is not None or any(cell is not None for cell in record[_AFTER_KEY])


def _to_rows(app_id: str, partition: int, records: Iterable[Record]) -> list[Row]:
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
        ) in records
        for extras in (NO_EXTRAS if text is None else read_extras(text),)
    ]


def to_row(place: Place, schedule_id: UUID, record: Record) -> Row | None:
    """Read a record of `CREATED_AND_EXTRAS` and `WRITTEN_LATER`; None: there is no row. Raises Damaged."""
    if not is_there(record):
        return None
    try:
        _WHOLE.check(record)
        return _to_row(place, schedule_id, record)
    except ValueError as error:
        raise Damaged("schedule", str(schedule_id), fault_of(error)) from None


def _to_row(place: Place, schedule_id: UUID, record: Record) -> Row:
    _, _, fire_ms, created_ms, expires_ms, attempts, callback_type, details, payload, text, *later = record
    cancelled_ms, moved_to, outcome = later
    extras = NO_EXTRAS if text is None else read_extras(text)
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
        outcome=None if outcome is None else read_outcome(outcome),
    )
