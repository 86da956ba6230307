"""Schedules and attempts as clients see them, keys in goscheduler's order, ours after them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import orjson

from ringtime_shared.api.completions import FIELD as COMPLETION
from ringtime_shared.api.configuration import retry_to_json
from ringtime_shared.api.hooks import FIELD as HOOKS
from ringtime_shared.api.hooks import hooks_to_json
from ringtime_shared.api.instants import to_iso
from ringtime_shared.api.views import Doc
from ringtime_shared.callbacks.credentials import MASK, hide_details
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Attempt, Row, Status
from ringtime_shared.models.sending import Priority, Sending

MAX_ERROR_CHARS = 200
BASE64, TEXT = "base64", "text"
ENCODINGS = (TEXT, BASE64)  #: of payloads
ENCRYPTED = "payloadEncrypted"
LIST_SIZE = 15  #: schedules on a page, if nobody says how many; goscheduler's
MAX_LIST_SIZE = 1_000
MAX_LIST_DAYS = 31  #: between both ends of a range


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One attempt that was made."""

    at: Annotated[datetime, Doc("When it was sent.")]
    lag_ms: Annotated[int, Doc("`at` less the fire time, or less the create if that was later.")]
    duration_ms: Annotated[int, Doc("How long it took.")]
    http_code: Annotated[int | None, Doc("HTTP status, if there was an answer.")] = None
    error: Annotated[str, Doc("Why it failed, at most 200 characters.", name="errorMessage")] = ""


def attempt_to_json(attempt: Attempt, awaited_ms: int) -> dict[str, object]:
    """Return one attempt.

    Args:
        awaited_ms: `Schedule.awaited_ms`. The lag of all attempts counts from it, so the waits between them
            are part of it.
    """
    return _attempt_to_json(
        to_iso(attempt.at_ms), attempt.at_ms - awaited_ms, attempt.took_ms, attempt.code, attempt.error
    )


def _attempt_to_json(at: str, lag_ms: int, took_ms: int, code: int | None, error: str) -> dict[str, object]:
    shown: dict[str, object] = {"at": at, "lagMs": lag_ms, "durationMs": took_ms}
    if code is not None:
        shown["httpCode"] = code
    if error:
        shown["errorMessage"] = error
    return shown


class PutEffect(StrEnum):
    """What a put under a name would do."""

    CREATE = "create"  #: nothing is pending there
    CREATE_AGAIN = "createAgain"  #: nor is what it asks for, which was put there last, and is over
    CHANGE = "change"  #: another schedule is pending there
    NONE = "none"  #: it is as asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleView:
    """A schedule as the server shows it; what there is only after an outcome is 0, None or empty before."""

    schedule_id: Annotated[UUID, Doc("Made by the server.")]
    app_id: Annotated[str, Doc("Whose schedule it is.")]
    payload: Annotated[
        str, Doc("As given; `***` if it is encrypted, and `REDACTED:...` for fields that the app hides.")
    ]
    callback: Annotated[
        Mapping[str, Any],
        Doc(
            'As sent, `{"type": name, "details": {...}}`, but `***` for the values of secret headers, and of'
            " headers and query parameters whose names say that they are credentials."
        ),
    ]
    fire_time: Annotated[datetime, Doc("Fire time to the millisecond, UTC.")]
    partition: Annotated[int, Doc("The partition of the app that it is filed in.", name="partitionId")]
    status: Annotated[Status, Doc("SCHEDULED until there is an outcome.")]
    attempts: Annotated[int, Doc("Attempts made, once there is one that ended.")] = 0
    fired_at: Annotated[datetime | None, Doc("When the last attempt was sent.")] = None
    lag_ms: Annotated[
        int | None, Doc("firedAt less the fire time, or less the create if that was later.")
    ] = None
    http_code: Annotated[int | None, Doc("HTTP status of the last attempt, if there was an answer.")] = None
    error: Annotated[
        str, Doc("Why the last attempt failed, at most 200 characters.", name="errorMessage")
    ] = ""
    retry: Annotated[RetryRules | None, Doc("Where it differs from the app's.", name="retryPolicy")] = None
    payload_encoding: Annotated[
        str, Doc("`base64`: the bytes are sent that the payload stands for. Left out: the text is.")
    ] = TEXT
    payload_encrypted: Annotated[
        bool, Doc("Its payload is stored encrypted, and shown to nobody. Left out: false.")
    ] = False
    timeout_ms: Annotated[int | None, Doc("Of one attempt, where it is not the app's.")] = None
    priority: Annotated[Priority, Doc("Left out: normal.")] = Priority.NORMAL
    hooks: Annotated[
        Mapping[str, Any], Doc("Where they differ from the app's; credentials as in `callback`.")
    ] = field(default_factory=dict)
    completion_timeout_seconds: Annotated[
        int | None, Doc("Of a run: how long a receiver that answers 202 may take to say that it is done.")
    ] = None
    accepted_at: Annotated[
        datetime | None, Doc("Of a run: when its receiver answered 202, to say later that it is done.")
    ] = None
    completes_by: Annotated[datetime | None, Doc("Of a run that it works on: when its time is over.")] = None
    completed_at: Annotated[datetime | None, Doc("Of such a run that ended: when.")] = None
    hook_of: Annotated[Mapping[str, Any], Doc("Of a hook: `scheduleId` and `event`, what it tells of.")] = (
        field(default_factory=dict)
    )
    changed_time: Annotated[
        datetime | None, Doc("When it was changed last; all else is as it is since then.")
    ] = None
    next_attempt_at: Annotated[
        datetime | None, Doc("When the next attempt, or a row that was parked, is due.")
    ] = None
    attempt_log: Annotated[tuple[AttemptView, ...], Doc("Oldest first, the newest eleven.")] = ()
    parent_schedule_id: Annotated[UUID | None, Doc("The recurring schedule that it is a run of.")] = None
    nominal_time: Annotated[datetime | None, Doc("Of a run: when its recurring schedule says.")] = None
    origin: Annotated[
        str | None, Doc("Of a run: PLAN, or TRIGGER or BACKFILL where somebody asked for it.")
    ] = None
    name: Annotated[str, Doc("The client's own.")] = ""
    labels: Annotated[Mapping[str, str], Doc("What the client noted of it.")] = field(default_factory=dict)


def schedule_to_json(row: Row) -> dict[str, object]:
    """Return a home row as the API's schedule object, ready for orjson."""
    schedule = row.schedule
    fire_ms = schedule.fire_ms
    shown: dict[str, object] = {
        "scheduleId": orjson.dumps(schedule.schedule_id)[1:-1].decode(),  # `str`, five times as fast
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
    if schedule.name:
        shown["name"] = schedule.name
    if schedule.labels:
        shown["labels"] = dict(schedule.labels)
    if schedule.sending is not None:
        shown |= sending_to_json(schedule.sending)
        if schedule.sending.is_private:
            shown["payload"] = MASK
    if row.change is not None:
        shown["changedTime"] = to_iso(row.change.at_ms)
    outcome = row.outcome
    if outcome is None:
        if row.attempts:
            shown["attempts"] = row.attempts
        work = schedule.work
        if work is not None and work.accepted_ms is not None and work.until_ms is not None:
            shown["firedAt"] = to_iso(work.sent_ms)
            shown["lagMs"] = work.sent_ms - schedule.awaited_ms
            shown["acceptedAt"] = to_iso(work.accepted_ms)
            shown["completesBy"] = to_iso(work.until_ms)
        elif row.moved_to is not None and row.cancelled_ms is None:
            shown["nextAttemptAt"] = to_iso(row.moved_to.slot_ms)
        log = [attempt_to_json(each, schedule.awaited_ms) for each in row.log] if row.log else []
    else:
        fired_ms, log = outcome.fired_ms, list[dict[str, object]]()
        if outcome.error:
            shown["errorMessage"] = outcome.error[:MAX_ERROR_CHARS]
        if outcome.log:
            log = [attempt_to_json(each, schedule.awaited_ms) for each in outcome.log]
        if fired_ms is not None:  # so there is a last attempt, which the log is without
            shown["firedAt"] = fired_at = to_iso(fired_ms)
            shown["lagMs"] = lag_ms = fired_ms - schedule.awaited_ms
            took_ms = outcome.ended_ms - fired_ms if outcome.took_ms is None else outcome.took_ms
            log.append(_attempt_to_json(fired_at, lag_ms, took_ms, outcome.code, outcome.error))
        shown["attempts"] = outcome.attempts
        if outcome.code is not None:
            shown["httpCode"] = outcome.code
        if outcome.accepted_ms is not None:
            shown["acceptedAt"] = to_iso(outcome.accepted_ms)
            shown["completedAt"] = to_iso(outcome.ended_ms)
    if (run := schedule.run) is not None:
        shown["parentScheduleId"] = str(run.recurring_id)
        shown["nominalTime"] = to_iso(run.nominal_ms)
        shown["origin"] = run.origin
    if log:
        shown["attemptLog"] = log
    return shown


def sending_to_json(sending: Sending, *, is_hidden: bool = True) -> dict[str, object]:
    """Return what is not as of most schedules; `is_hidden`: without credentials."""
    shown: dict[str, object] = {}
    if sending.is_base64:
        shown["payloadEncoding"] = BASE64
    if sending.is_private and is_hidden:
        shown[ENCRYPTED] = True
    if sending.timeout_ms is not None:
        shown["timeoutMs"] = sending.timeout_ms
    if sending.priority is not Priority.NORMAL:
        shown["priority"] = sending.priority
    if sending.hooks is not None:
        shown[HOOKS] = hooks_to_json(sending.hooks, is_hidden=is_hidden)
    if sending.completion_ms is not None:
        shown[COMPLETION] = sending.completion_ms // 1_000
    if (told := sending.hook_of) is not None:
        shown["hookOf"] = {"scheduleId": str(told.schedule_id), "event": told.event}
    return shown


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyView:
    """What became of the key of a create."""

    replayed: Annotated[bool, Doc("The schedule had been created with this key before.")]
    expires_at: Annotated[datetime, Doc("The key stands for this schedule up to then.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePage:
    """By fire time. A page with a token may hold fewer than were asked for, or none."""

    schedules: Annotated[Sequence[ScheduleView], Doc("Schedules, those that have ended among them.")]
    token: Annotated[
        str, Doc("Goes on after this answer; empty: there is nothing more.", name="continuationToken")
    ]
    next_time: Annotated[
        int,
        Doc("Epoch seconds at which the token goes on; 0 without one.", name="continuationStartTime"),
    ]
    unreadable: Annotated[
        Sequence[UUID], Doc("Schedules of this page whose record is damaged; left out: none.")
    ] = ()


def idempotency_to_json(is_replay: bool, expires_ms: int) -> dict[str, object]:
    """Return what became of a key."""
    return {"replayed": is_replay, "expiresAt": to_iso(expires_ms)}


def page_to_json(
    rows: Sequence[Row], token: str, next_ms: int, unreadable: Sequence[UUID]
) -> dict[str, object]:
    """Return a page of home rows."""
    shown: dict[str, object] = {
        "schedules": [schedule_to_json(row) for row in rows],
        "continuationToken": token,
        "continuationStartTime": next_ms // 1_000,
    }
    if unreadable:
        shown["unreadable"] = [str(each) for each in unreadable]
    return shown


def outline_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schedule, or a recurring one, without payload and the details of callbacks and hooks, which
    may hold secrets: so the audit log and tables of tools have it. `fields`: as of a request or answer."""
    view = dict(fields)
    callback = view.pop("callback", None)
    if isinstance(callback, Mapping):
        details = callback.get("details")
        details = details if isinstance(details, Mapping) else {}
        target = details.get("url") or details.get("topic") or ""
        view["callbackType"] = callback.get("type")
        view["destination"] = str(target).partition("?")[0]  # a query may hold a key
    if isinstance(hooks := view.get("hooks"), Mapping):
        view["hooks"] = sorted(hooks)
    payload = view.pop("payload", None)
    if isinstance(payload, str):
        view["payloadBytes"] = len(payload.encode())
    return view
