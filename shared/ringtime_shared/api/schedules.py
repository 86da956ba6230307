"""Schedules as clients see them, keys in the seed's order, ours after them."""

from __future__ import annotations

import orjson

from ringtime_shared.api.apps import retry_to_json
from ringtime_shared.api.instants import to_iso
from ringtime_shared.callbacks.credentials import hide_details
from ringtime_shared.models.schedule import Attempt, Outcome, Row


def schedule_to_json(row: Row) -> dict[str, object]:
    """Return a home row as the API's schedule object, ready for orjson."""
    schedule = row.schedule
    fire_ms = schedule.fire_ms
    shown: dict[str, object] = {
        "scheduleId": str(schedule.schedule_id),
        "payload": schedule.payload,
        "appId": schedule.app_id,
        "scheduleTime": fire_ms // 1_000,
        "partitionId": row.place.partition,
        "scheduleGroup": fire_ms // 60_000 * 60,
        "callback": {
            "type": schedule.callback_type,
            "details": orjson.Fragment(hide_details(schedule.callback_details)),
        },
        "status": row.status,
        "fireTime": to_iso(fire_ms),
    }
    if schedule.retry is not None:
        shown["retryPolicy"] = retry_to_json(schedule.retry)
    outcome = row.outcome
    if outcome is None:
        if row.attempts:
            shown["attempts"] = row.attempts
        if row.moved_to is not None and row.cancelled_ms is None:
            shown["nextAttemptAt"] = to_iso(row.moved_to.slot_ms)
        log = row.log
    else:
        if outcome.error:
            shown["errorMessage"] = outcome.error[:200]
        if outcome.fired_ms is not None:
            shown["firedAt"] = to_iso(outcome.fired_ms)
            shown["lagMs"] = outcome.fired_ms - schedule.awaited_ms
        shown["attempts"] = outcome.attempts
        if outcome.code is not None:
            shown["httpCode"] = outcome.code
        log = _whole_log(outcome)
    if log:
        shown["attemptLog"] = [_attempt_to_json(attempt, schedule.awaited_ms) for attempt in log]
    return shown


def _whole_log(outcome: Outcome) -> tuple[Attempt, ...]:
    """Return the attempts that are remembered, the last included."""
    if outcome.fired_ms is None:
        return outcome.log
    took_ms = outcome.ended_ms - outcome.fired_ms if outcome.took_ms is None else outcome.took_ms
    last = Attempt(at_ms=outcome.fired_ms, took_ms=took_ms, code=outcome.code, error=outcome.error)
    return (*outcome.log, last)


def _attempt_to_json(attempt: Attempt, awaited_ms: int) -> dict[str, object]:
    """Lag counts from one instant for all attempts, so the waits between them are part of it."""
    shown: dict[str, object] = {
        "at": to_iso(attempt.at_ms),
        "lagMs": attempt.at_ms - awaited_ms,
        "durationMs": attempt.took_ms,
    }
    if attempt.code is not None:
        shown["httpCode"] = attempt.code
    if attempt.error:
        shown["errorMessage"] = attempt.error
    return shown
