"""Schedule rows as Cassandra keeps them, and for how long. What is called per row is kept flat on purpose.

What is written per row is serialised here and not by the driver, in one piece.

A row is read as one only if its create columns are there. An outcome, a move or a cancel that came for a
row that is not there, or that outlived it, leaves a key with nothing to fire behind it.

Every write carries the rest of its row's time, so all cells of a row end together and nothing is ever
deleted. Two safety margins keep a row from ending too early, which would lose it or bring it back to life:

- A row is kept for at least a day after its slot and after its last write, whatever its `expires_ms`.
- What is written to a row later is kept a little longer than the row, because clocks differ and a repeated
  create counts anew: a row whose outcome ended first would read as live. What is left over when the row
  has ended is no row, and reads ignore it.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from struct import Struct
from uuid import UUID

from ringtime_shared.errors import Damaged
from ringtime_shared.models.schedule import Place, Row
from ringtime_shared.stores.cassandra.bridge import Record
from ringtime_shared.stores.cassandra.session import Values
from ringtime_shared.stores.cassandra.wire import Wire
from ringtime_shared.stores.codec.cells import Count, Json, Millis, Shape, fault_of
from ringtime_shared.stores.codec.rows import (
    CreatedColumns,
    read_outcome,
    to_live_rows,
    to_written_row,
    to_written_rows,
)
from ringtime_shared.stores.protocol import DamagedRow

pack_int = Struct(">i").pack
pack_long = Struct(">q").pack
_pack_short = Struct(">H").pack
_pack_pair = Struct(">iiiq").pack  # each value of a tuple has its length before it


def pack_tuple(first: int, second: int) -> bytes:
    """Return a value of type tuple<int, bigint>."""
    return _pack_pair(4, first, 8, second)


def routing_key(*parts: bytes) -> bytes:
    """Return the key of a partition whose key has several columns, as it is hashed."""
    return b"".join(_pack_short(len(part)) + part + b"\0" for part in parts)


_pack_in_app = Struct(">iiii").pack  # partition and bucket
_pack_fixed = Struct(">iqi16siqiqiqiii").pack  # those of `CREATED` up to the callback's type, and its length
_pack_ttl = Struct(">ii").pack


def pack_minute(app: bytes, partition: int, bucket: int) -> bytes:
    """Return the values of a partition's key, for a `Wire`."""
    return b"%b%b%b" % (pack_int(len(app)), app, _pack_in_app(4, partition, 4, bucket))


def row_wire(minute: bytes, row: Row, extras: bytes | None, ttl_s: int) -> Wire:
    """Return the values of the partition's key, of `CREATED`, or `CREATED_AND_EXTRAS` if there are any, and
    the TTL.

    Args:
        minute: from `pack_minute`.
    """
    schedule = row.schedule
    kind, details, payload = (
        schedule.callback_type.encode(),
        schedule.callback_details,
        schedule.payload.encode(),
    )
    number, slot_ms = schedule.schedule_id.int.to_bytes(16), row.place.slot_ms
    times = 8, schedule.fire_ms, 8, schedule.created_ms, 8, schedule.expires_ms
    fixed = _pack_fixed(8, slot_ms, 16, number, *times, 4, row.attempts, len(kind))
    details_size, payload_size = pack_int(len(details)), pack_int(len(payload))
    head = (minute, fixed, kind, details_size, details, payload_size, payload)
    if extras is None:
        return Wire(13, b"".join((*head, _pack_ttl(4, ttl_s))))
    return Wire(14, b"".join((*head, pack_int(len(extras)), extras, _pack_ttl(4, ttl_s))))


def receipt_wire(minute: bytes, ids: bytes, ttl_s: int) -> Wire:
    """Return the values of a receipt of so many ids of a minute, and the TTL."""
    return Wire(5, b"".join((minute, pack_int(len(ids)), ids, _pack_ttl(4, ttl_s))))


_pack_key_in_minute = Struct(">iqi16s").pack
_pack_using = Struct(">iiiq").pack


def pack_key(minute: bytes, slot_ms: int, schedule_id: UUID) -> bytes:
    """Return the values of a row's key, for a `Wire`; `minute`: from `pack_minute`."""
    return minute + _pack_key_in_minute(8, slot_ms, 16, schedule_id.int.to_bytes(16))


def update_wire(ttl_s: int, written: int, value: bytes, key: bytes) -> Wire:
    """Return TTL, timestamp, the one value that is set, and the row's key, of `pack_key`."""
    return Wire(8, b"%b%b%b%b" % (_pack_using(4, ttl_s, 8, written), pack_int(len(value)), value, key))


_pack_minute = Struct(">HixHix").pack  # two integers, each with its length before it and a zero behind


def minute_key(app: bytes, partition: int, bucket: int) -> bytes:
    """Return the `routing_key` of a minute of a poller instance: nearly every row has its own."""
    return b"%b%b\0%b" % (_pack_short(len(app)), app, _pack_minute(4, partition, 4, bucket))


LEAST_KEPT_MS = 86_400_000
LATER_MARGIN_MS = 180_000  #: clocks of two machines are taken to differ by less than a minute
MAX_TTL_S = 630_720_000  #: the server's limit, 20 years; what should be kept longer has no TTL at all


def row_end_ms(slot_ms: int, expires_ms: int, now_ms: int) -> int:
    """Return until when the row must be kept."""
    return max(expires_ms, slot_ms + LEAST_KEPT_MS, now_ms + LEAST_KEPT_MS)


def ttl_s(end_ms: int, now_ms: int) -> int:
    """Return the TTL of a write now; 0 means none."""
    ttl = -((now_ms - end_ms) // 1000)
    return ttl if ttl <= MAX_TTL_S else 0


_KEY = "slot_ms, schedule_id"
_CONTENTS = "fire_ms, created_ms, expires_ms, attempts, callback_type, callback_details, payload"
CREATED = f"{_KEY}, {_CONTENTS}"
CREATED_AND_EXTRAS = f"{CREATED}, extras"
WRITTEN_LATER = "cancelled_ms, moved_to, outcome"
#: The same, each null or a number: the server sends eight bytes instead of an outcome, and we decode them.
IS_DONE = "writetime(cancelled_ms), writetime(moved_to), writetime(outcome)"
#: All of a row whose key is known, the columns of which would cost both sides time.
CONTENTS = f"{_CONTENTS}, extras, {WRITTEN_LATER}"


class _Created(CreatedColumns[UUID]):
    """The columns of `CREATED_AND_EXTRAS`."""


class _Whole(_Created):
    cancelled_ms: Millis | None
    moved_to: tuple[Count, Millis] | None
    outcome: Json | None


_LATER = len(_Created.__struct_fields__)
_AFTER_KEY = slice(2, _LATER)
_DETAILS = _Created.__struct_fields__.index("callback_details")
_ID = itemgetter(_Created.__struct_fields__.index("schedule_id"))
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
            return to_live_rows(app_id, partition, map(_ID, live), live), []
        except ValueError:
            pass  # the extras of one of them
    rows, damaged = [], []
    for record in live:
        try:
            _CREATED.check(record)
            rows += to_live_rows(app_id, partition, [record[1]], [record])
        except ValueError as error:
            damaged.append(DamagedRow(Place(app_id, partition, record[0]), record[1], fault_of(error)))
    return rows, damaged


def read_rows(app_id: str, partition: int, records: Sequence[Record]) -> tuple[list[Row], list[DamagedRow]]:
    """Read records of `CREATED_AND_EXTRAS` and `WRITTEN_LATER`, live or not; tell apart those that cannot be
    read."""
    there = [record for record in records if is_there(record)]
    if _WHOLE.fits(there):
        try:
            return to_written_rows(app_id, partition, there), []
        except ValueError:
            pass  # a text of one of them
    rows: list[Row] = []
    damaged: list[DamagedRow] = []
    for record in there:
        place, schedule_id = Place(app_id, partition, record[0]), record[1]
        try:
            _WHOLE.check(record)
            rows.append(_to_row(place, schedule_id, record))
        except ValueError as error:
            damaged.append(DamagedRow(place, schedule_id, fault_of(error)))
    return rows, damaged


def is_there(record: Record) -> bool:
    """Whether some column that a create writes is there: then it is a row, be it a damaged one."""
    return record[_DETAILS] is not None or any(cell is not None for cell in record[_AFTER_KEY])


def to_row(place: Place, schedule_id: UUID, record: Record) -> Row | None:
    """Read a record of `CONTENTS`; None: there is no row. Raises Damaged."""
    record = (place.slot_ms, schedule_id, *record)
    if not is_there(record):
        return None
    try:
        _WHOLE.check(record)
        return _to_row(place, schedule_id, record)
    except ValueError as error:
        raise Damaged("schedule", str(schedule_id), fault_of(error)) from None


def _to_row(place: Place, schedule_id: UUID, record: Record) -> Row:
    cancelled_ms, moved_to, outcome = record[_LATER:]
    return to_written_row(
        place,
        schedule_id,
        record[:_LATER],
        cancelled_ms=cancelled_ms,
        moved_to=None if moved_to is None else Place(place.app_id, *moved_to),
        outcome=None if outcome is None else read_outcome(outcome),
    )
