"""Rows, their outcomes, and the marks of who reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar
from uuid import UUID

from msgspec import MsgspecError, Raw, Struct
from msgspec.json import Decoder

from ringtime_shared.models.recurring import Origin, RunOf, Stage
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Attempt, Change, Outcome, Place, Row, Schedule, Status
from ringtime_shared.models.sending import Sending
from ringtime_shared.models.trace import Trace
from ringtime_shared.stores.codec.cells import (
    LAST_MS,
    Columns,
    Count,
    Json,
    Millis,
    Whole,
    check_numbers,
    encode,
    encode_slim,
    fault_of,
    read_json,
    read_text,
)
from ringtime_shared.stores.protocol import DAMAGED_MARKS, Marks

Id = TypeVar("Id", UUID, bytes)

_SHORT_BYTES = 1_024  #: details up to here are remembered
_decode_details = Decoder(dict[str, Raw]).decode


class CreatedColumns(Columns, Generic[Id]):
    """What a row is created with; a driver says as what it keeps an id."""

    slot_ms: Millis
    schedule_id: Id
    fire_ms: Millis
    created_ms: Millis
    expires_ms: Millis
    attempts: Count
    callback_type: str
    callback_details: bytes
    payload: str
    extras: Json | None


def read_marks(sealed_ms: object, settled_ms: object) -> Marks:
    """Return the marks that these cells hold, or `DAMAGED_MARKS`."""
    if not isinstance(sealed_ms, int) or not isinstance(settled_ms, int):
        return DAMAGED_MARKS
    is_sound = 0 <= sealed_ms <= LAST_MS and 0 <= settled_ms <= LAST_MS
    return Marks(sealed_ms, settled_ms) if is_sound else DAMAGED_MARKS


def read_term(term: object) -> int:
    """Return the term that this cell holds; 0, as of an instance nobody owned yet, if it holds none."""
    return term if isinstance(term, int) and term >= 0 else 0


def check_details(details: bytes) -> None:
    """Raise ValueError if the details of a callback are no JSON object."""
    if len(details) <= _SHORT_BYTES:
        _check_short(details)
    else:
        _check_details(details)


def _check_details(details: bytes) -> None:
    try:
        _decode_details(details)
    except (ValueError, MsgspecError, RecursionError) as error:
        raise ValueError(f"callback_details: {fault_of(error)}") from None


#: Most schedules of an app have one of few callbacks.
_check_short = lru_cache(maxsize=1_024)(_check_details)


@dataclass(frozen=True, slots=True)
class Extras:
    """The fields of a row, or of an outcome (`replay`, `log`, `changed_in`), that mostly have their
    defaults."""

    retry: RetryRules | None = None
    replay: int = 0
    log: tuple[Attempt, ...] = ()
    run: RunOf | None = None
    name: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    change: Change | None = None
    sending: Sending | None = None
    changed_in: Place | None = None
    accepted_ms: int | None = None
    trace: Trace | None = None


NO_EXTRAS = Extras()

decode_extras = Decoder(Extras).decode


def encode_row_extras(row: Row) -> bytes | None:
    """Return the extras of a row; None, as for nearly every row, if it has none."""
    schedule, change = row.schedule, row.change
    retry, run, name, labels = schedule.retry, schedule.run, schedule.name, schedule.labels
    is_plain = retry is None and run is None and change is None and not labels and not name
    sending, trace = schedule.sending, schedule.trace
    if is_plain and sending is None and trace is None and not row.replay and not row.log:
        return None
    return encode(
        _ExtrasText(
            _raw_slim(retry),
            row.replay,
            _raw_slim(row.log or None),
            None if run is None else _text_of_run(run),
            name,
            labels,
            change,
            _raw_slim(sending),
            _raw_slim(trace),
        )
    )


class _RunText(Struct, omit_defaults=True):
    """`RunOf` spelled so that msgspec leaves the defaults out: a row of a run is written for each run."""

    recurring_id: UUID
    version: int
    nominal_ms: int
    ordinal: int = 0
    origin: Origin = Origin.PLAN
    running: UUID | None = None
    buffered: UUID | None = None
    stage: Stage = Stage.NEW
    is_contested: bool = False
    work: Raw | None = None


class _ExtrasText(Struct, omit_defaults=True):
    """The extras of a row, in the same way."""

    retry: Raw | None = None
    replay: int = 0
    log: Raw | None = None
    run: _RunText | None = None
    name: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    change: Change | None = None
    sending: Raw | None = None
    trace: Raw | None = None


def _text_of_run(run: RunOf) -> _RunText:
    return _RunText(
        run.recurring_id,
        run.version,
        run.nominal_ms,
        run.ordinal,
        run.origin,
        run.running,
        run.buffered,
        run.stage,
        run.is_contested,
        _raw_slim(run.work),
    )


def _raw_slim(model: object) -> Raw | None:
    return None if model is None else Raw(encode_slim(model))


def encode_outcome_extras(outcome: Outcome) -> bytes | None:
    """Return the extras of an outcome; None if it has none."""
    changed_in, accepted_ms = outcome.changed_in, outcome.accepted_ms
    if not outcome.replay and not outcome.log and changed_in is None and accepted_ms is None:
        return None
    return encode_slim(
        Extras(replay=outcome.replay, log=outcome.log, changed_in=changed_in, accepted_ms=accepted_ms)
    )


class _OutcomeText(Struct, omit_defaults=True):
    """`Outcome` spelled so that msgspec leaves the defaults out: one is written for each delivery, and this
    takes 0.9 us where `encode_slim` takes 4.5."""

    status: Status
    ended_ms: int
    fired_ms: int | None
    attempts: int
    code: int | None = None
    error: str = ""
    took_ms: int | None = None
    replay: int = 0
    log: Raw | None = None
    changed_in: Place | None = None
    accepted_ms: int | None = None


def encode_outcome(outcome: Outcome) -> bytes:
    """Return a whole outcome as one JSON object."""
    return encode(
        _OutcomeText(
            outcome.status,
            outcome.ended_ms,
            outcome.fired_ms,
            outcome.attempts,
            outcome.code,
            outcome.error,
            outcome.took_ms,
            outcome.replay,
            _raw_slim(outcome.log or None),
            outcome.changed_in,
            outcome.accepted_ms,
        )
    )


class _OutcomeCells(Struct):
    """What a text may hold of an outcome: one is read for each that is listed, and to make the dataclass of
    these and check its numbers takes 1.9 us, where a decoder of the dataclass and `check_numbers` take 7."""

    status: Status
    ended_ms: Millis
    fired_ms: Millis | None = None
    attempts: Whole = 0
    code: Whole | None = None
    error: str = ""
    took_ms: Millis | None = None
    replay: Whole = 0
    log: tuple[Attempt, ...] = ()
    changed_in: Place | None = None
    accepted_ms: Millis | None = None


_decode_cells = Decoder(_OutcomeCells).decode


def decode_outcome(text: str | bytes) -> Outcome:
    """Return a whole outcome. Raises ValueError, MsgspecError."""
    found = _decode_cells(text)
    if found.log:
        check_numbers(found.log, 0)
    return Outcome(
        status=found.status,
        ended_ms=found.ended_ms,
        fired_ms=found.fired_ms,
        attempts=found.attempts,
        code=found.code,
        error=found.error,
        took_ms=found.took_ms,
        replay=found.replay,
        log=found.log,
        changed_in=found.changed_in,
        accepted_ms=found.accepted_ms,
    )


def read_extras(text: str, column: str = "extras") -> Extras:
    """Return the extras of a row or an outcome. Raises ValueError."""
    return read_json(column, decode_extras, text)


def read_outcome(text: str) -> Outcome:
    """Return a whole outcome. Raises ValueError."""
    return read_text("outcome", decode_outcome, text)


def to_live_rows(
    app_id: str, partition: int, schedule_ids: Iterable[UUID], records: Iterable[tuple[Any, ...]]
) -> list[Row]:
    """Make rows that nothing was written to later. Raises ValueError for extras that cannot be read.

    Args:
        schedule_ids: one a record, whose own is passed over: each driver keeps ids in a type of its own.
        records: slot_ms, schedule_id, fire_ms, created_ms, expires_ms, attempts, callback_type,
            callback_details, payload, extras; checked before.
    """
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
                run=extras.run,
                name=extras.name,
                labels=extras.labels,
                sending=extras.sending,
                trace=extras.trace,
            ),
            place=Place(app_id, partition, slot_ms),
            attempts=attempts,
            replay=extras.replay,
            log=extras.log,
            change=extras.change,
        )
        for schedule_id, (
            slot_ms,
            _,
            fire_ms,
            created_ms,
            expires_ms,
            attempts,
            callback_type,
            details,
            payload,
            text,
        ) in zip(schedule_ids, records, strict=True)
        for extras in (NO_EXTRAS if text is None else read_extras(text),)
    ]


def to_written_row(
    place: Place,
    schedule_id: UUID,
    created: Sequence[Any],
    *,
    cancelled_ms: int | None,
    moved_to: Place | None,
    outcome: Outcome | None,
) -> Row:
    """Make one row with what was written to it later. Raises ValueError for extras that cannot be read.

    Args:
        created: the columns `to_live_rows` takes.
    """
    _, _, fire_ms, created_ms, expires_ms, attempts, callback_type, details, payload, text = created
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
            run=extras.run,
            name=extras.name,
            labels=extras.labels,
            sending=extras.sending,
            trace=extras.trace,
        ),
        place=place,
        attempts=attempts,
        replay=extras.replay,
        log=extras.log,
        change=extras.change,
        cancelled_ms=cancelled_ms,
        moved_to=moved_to,
        outcome=outcome,
    )


def to_written_rows(app_id: str, partition: int, records: Sequence[tuple[Any, ...]]) -> list[Row]:
    """Make rows with what was written to them later, each in two thirds of the time that one takes alone.
    Raises ValueError for a text of one that cannot be read.

    Args:
        records: the columns `to_live_rows` takes, then cancelled_ms, moved_to and outcome; checked before.
    """
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
                run=extras.run,
                name=extras.name,
                labels=extras.labels,
                sending=extras.sending,
                trace=extras.trace,
            ),
            place=Place(app_id, partition, slot_ms),
            attempts=attempts,
            replay=extras.replay,
            log=extras.log,
            change=extras.change,
            cancelled_ms=cancelled_ms,
            moved_to=None if moved_to is None else Place(app_id, *moved_to),
            outcome=None if outcome is None else read_outcome(outcome),
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
            cancelled_ms,
            moved_to,
            outcome,
        ) in records
        for extras in (NO_EXTRAS if text is None else read_extras(text),)
    ]
