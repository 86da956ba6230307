"""What is written when an attempt has ended: rows, outcomes, dead letters. Pure."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from ringtime_dispatcher.delivery.attempts import storable
from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.ids import home_slot, unpack_id
from ringtime_shared.models.damage import Damage
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.schedule import LOG_LENGTH, Attempt, Outcome, Place, Row, RowUpdate, Status
from ringtime_shared.stores.protocol import DamagedRow

_OUTCOME_MS = 60_000  #: of a schedule's retention, kept for its outcome to be written


def home_place(row: Row) -> Place:
    """Return where the schedule's home row is filed."""
    return home_of(row.place, row.schedule.schedule_id)


def home_of(place: Place, schedule_id: UUID) -> Place:
    """Return where the home row of a schedule with a filing at `place` is; `place` if its id is none."""
    if place.slot_ms == home_slot(schedule_id):
        return place
    try:
        parts = unpack_id(schedule_id)
    except ValueError:
        return place
    return Place(place.app_id, parts.partition, parts.slot_ms)


def age_ms(row: Row, now_ms: int) -> int:
    """Return how long ago the delivery was due. A replay is as young as somebody asked for it to be."""
    return 0 if row.replay else now_ms - home_slot(row.schedule.schedule_id)


def last_slot_ms(row: Row, max_age_ms: int) -> int:
    """Return the last slot that the delivery may be filed under: just before the row is forgotten, or
    sooner where the policy says so."""
    schedule = row.schedule
    last_ms = max(schedule.expires_ms - _OUTCOME_MS, schedule.fire_ms)
    return last_ms if row.replay else min(last_ms, home_slot(schedule.schedule_id) + max_age_ms)


def is_wanted(row: Row, home: Row | None) -> bool:
    """Whether this filing is still to fire, given the schedule's home row as it is now.

    Not when the delivery ended, was cancelled, or went on to a later filing: that one was durable before
    the home row pointed at it, so nothing is lost by closing this one.
    """
    if home is None:
        return True
    if home.cancelled_ms is not None:
        return False
    if home.outcome is not None and home.outcome.replay >= row.replay:
        return False
    later = home.moved_to
    return later is None or later.slot_ms <= row.place.slot_ms


def closing(row: Row, home: Row, now_ms: int) -> RowUpdate:
    """Return what closes a filing that is not wanted."""
    outcome = home.outcome
    if outcome is None and home.cancelled_ms is None:
        return RowUpdate(place=row.place, schedule_id=row.schedule.schedule_id, moved_to=home.moved_to)
    ended = outcome or Outcome(status=Status.DELETED, ended_ms=now_ms)
    return RowUpdate(place=row.place, schedule_id=row.schedule.schedule_id, outcome=replace(ended, log=()))


def next_filing(row: Row, slot_ms: int, attempt: Attempt | None = None) -> Row:
    """Return the same schedule filed under a later slot: after a failed attempt, or without one."""
    if attempt is None:
        return replace(row, place=row.place._replace(slot_ms=slot_ms))
    return replace(
        row,
        place=row.place._replace(slot_ms=slot_ms),
        attempts=row.attempts + 1,
        log=(*row.log, attempt)[-LOG_LENGTH:],
    )


def attempt_of(reply: Reply, *, at_ms: int, took_ms: int) -> Attempt:
    """Return a failed attempt as it is remembered."""
    return Attempt(at_ms=at_ms, took_ms=took_ms, code=reply.code, error=storable(reply.error))


def outcome_of(row: Row, reply: Reply, *, at_ms: int, took_ms: int) -> Outcome:
    """Return how the delivery ended with this attempt."""
    return Outcome(
        status=Status.SUCCESS if reply.ok else Status.FAILURE,
        ended_ms=at_ms + took_ms,
        fired_ms=at_ms,
        attempts=row.attempts + 1,
        code=reply.code,
        error=storable(reply.error),
        took_ms=took_ms,
        replay=row.replay,
        log=row.log,
    )


def unsent(row: Row, status: Status, error: str, now_ms: int) -> Outcome:
    """Return how a delivery ended without a last attempt."""
    return Outcome(
        status=status, ended_ms=now_ms, attempts=row.attempts, error=error, replay=row.replay, log=row.log
    )


def dead_letter_of(row: Row, outcome: Outcome) -> DeadLetter:
    """Return what is kept of a delivery that was given up."""
    schedule = row.schedule
    return DeadLetter(
        app_id=schedule.app_id,
        schedule_id=schedule.schedule_id,
        slot_ms=row.place.slot_ms,
        fire_ms=schedule.fire_ms,
        failed_ms=outcome.ended_ms,
        attempts=outcome.attempts,
        code=outcome.code,
        error=outcome.error,
        callback_type=schedule.callback_type,
        replay=outcome.replay,
        expires_ms=schedule.expires_ms,
    )


def damaged_outcome(fault: str, now_ms: int) -> Outcome:
    """Return how the delivery of a row that cannot be read ended: it was not sent."""
    error = storable(f"not sent: what is stored of it cannot be read: {fault}")
    return Outcome(status=Status.FAILURE, ended_ms=now_ms, error=error)


def damaged_letter_of(row: DamagedRow, outcome: Outcome, expires_ms: int) -> DeadLetter:
    """Return what is kept of it for the app's owner; only its key is known."""
    return DeadLetter(
        app_id=row.place.app_id,
        schedule_id=row.schedule_id,
        slot_ms=row.place.slot_ms,
        fire_ms=row.place.slot_ms,
        failed_ms=outcome.ended_ms,
        attempts=0,
        error=outcome.error,
        callback_type="",
        expires_ms=expires_ms,
    )


def damage_of(row: DamagedRow, now_ms: int) -> Damage:
    """Return the note for whoever looks after the store."""
    place = row.place
    return Damage(
        table="schedules",
        key=f"{place.instance} {place.slot_ms} {row.schedule_id}",
        app_id=place.app_id,
        fault=storable(row.fault),
        found_ms=now_ms,
    )
