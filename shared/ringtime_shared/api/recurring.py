"""Recurring schedules as clients see them: goscheduler's keys first, ours after them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import orjson

from ringtime_shared.api.configuration import retry_to_json
from ringtime_shared.api.instants import to_iso
from ringtime_shared.api.schedules import TEXT, ScheduleView, schedule_to_json, sending_to_json
from ringtime_shared.api.times import PlannedView, TimesView, planned_to_json, times_to_json
from ringtime_shared.api.views import Doc
from ringtime_shared.callbacks.credentials import MASK, hide_details
from ringtime_shared.models.recurring import Definition, DefinitionState, Misfire
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Row, Status
from ringtime_shared.models.sending import Priority
from ringtime_shared.models.times import Omitted, Run

LIST_SIZE = 15  #: on a page, if nobody says how many; goscheduler's
MAX_LIST_SIZE = 1_000
PREVIEW_SIZE = 10  #: runs of a preview, if nobody says how many
MAX_PREVIEW = 100
MAX_REASON_CHARS = 500
BACKFILL_SIZE = 100  #: nominal times of a backfill, if nobody says how many
MAX_BACKFILL = 1_000
WHEN = ("", "past", "future")  #: which runs are listed
MAX_MISFIRES = 100  #: late runs that are made up for
MAX_MISFIRE_AGE_MS = 31 * 86_400_000
KEEP, DELETE = "keep", "delete"  #: what becomes of a recurring schedule after its last run


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurringView(TimesView):
    """A recurring schedule as the server shows it."""

    schedule_id: Annotated[UUID, Doc("Follows from app and name.")]
    payload: Annotated[str, Doc("What each run sends.")]
    app_id: Annotated[str, Doc("Whose recurring schedule it is.")]
    partition: Annotated[int, Doc("The partition of the app that its runs are filed in.", name="partitionId")]
    callback: Annotated[Mapping[str, Any], Doc("As of a schedule.")]
    status: Annotated[Status, Doc("SCHEDULED, or DELETED; `state` says more.")]
    name: Annotated[str, Doc("Unique in its app.")]
    state: Annotated[DefinitionState, Doc("Whether it makes runs.")]
    pause_reason: Annotated[str, Doc("Why it is paused, as whoever paused it said.")] = ""
    paused_until: Annotated[datetime | None, Doc("When it makes runs again; left out: when resumed.")] = None
    retry: Annotated[RetryRules | None, Doc("Where it differs from the app's.", name="retryPolicy")] = None
    payload_encoding: Annotated[str, Doc("As of a schedule.")] = TEXT
    payload_encrypted: Annotated[bool, Doc("As of a schedule.")] = False
    timeout_ms: Annotated[int | None, Doc("As of a schedule.")] = None
    priority: Annotated[Priority, Doc("As of a schedule.")] = Priority.NORMAL
    hooks: Annotated[Mapping[str, Any], Doc("As of a schedule.")] = field(default_factory=dict)
    completion_timeout_seconds: Annotated[
        int | None, Doc("How long a receiver that answers 202 may take to say that it is done.")
    ] = None
    misfire_policy: Annotated[str, Doc("Which runs are made that came due while nothing could be sent.")]
    misfire_most: Annotated[int, Doc("How many, of `all`.")] = 1
    misfire_age_seconds: Annotated[int | None, Doc("Runs later than this are not made up for.")] = None
    overlap_policy: Annotated[str, Doc("What becomes of a run that is due before the one before has ended.")]
    at_end: Annotated[str, Doc("What becomes of it after its last run.")]
    version: Annotated[int, Doc("Goes up when runs that are filed already are wanted no more.")]
    revision: Annotated[int, Doc("Goes up with each change; for `If-Match`.")]
    created_at: Annotated[datetime, Doc("When it was created.")]
    changed_at: Annotated[datetime, Doc("When it was changed last.")]
    next_nominal_time: Annotated[datetime | None, Doc("When its next run is planned, if there is one.")] = (
        None
    )
    next_effective_time: Annotated[
        datetime | None, Doc("When that is to be sent; where its second is chosen then: not before this.")
    ] = None
    next_effective_until: Annotated[
        datetime | None, Doc("Where its second is chosen when the window has begun: before this.")
    ] = None
    damage: Annotated[
        str, Doc("Why what is stored of it cannot be read; then nothing but its id counts.")
    ] = ""


def recurring_to_json(definition: Definition, now_ms: int, upcoming: Run | None = None) -> dict[str, object]:
    """Return a definition as the API's object, ready for orjson.

    Args:
        upcoming: its next run, if it makes any.
    """
    is_deleted = definition.state is DefinitionState.DELETED
    is_waiting = definition.paused_until_ms is not None and now_ms < definition.paused_until_ms
    state = definition.state_at(now_ms)
    shown: dict[str, object] = {
        "scheduleId": str(definition.recurring_id),
        "payload": definition.payload,
        "appId": definition.app_id,
        "partitionId": definition.partition,
        "callback": {
            "type": definition.callback_type,
            "details": orjson.Fragment(hide_details(definition.callback_details)),
        },
        **times_to_json(definition.times),
        "status": Status.DELETED if is_deleted else Status.SCHEDULED,
        "name": definition.name,
        "state": state,
        "misfirePolicy": definition.misfire.lower(),
        "overlapPolicy": definition.overlap.lower(),
        "atEnd": KEEP if definition.keeps else DELETE,
        "version": definition.version,
        "revision": definition.revision,
        "createdAt": to_iso(definition.created_ms),
        "changedAt": to_iso(definition.changed_ms),
    }
    if definition.reason and state is DefinitionState.PAUSED:
        shown["pauseReason"] = definition.reason
    if is_waiting and definition.paused_until_ms is not None:
        shown["pausedUntil"] = to_iso(definition.paused_until_ms)
    if definition.retry is not None:
        shown["retryPolicy"] = retry_to_json(definition.retry)
    if definition.sending is not None:
        shown |= sending_to_json(definition.sending)
        if definition.sending.is_private:
            shown["payload"] = MASK
    if definition.misfire is Misfire.ALL:
        shown["misfireMost"] = definition.misfire_most
    if definition.misfire_age_ms is not None:
        shown["misfireAgeSeconds"] = definition.misfire_age_ms // 1_000
    if upcoming is not None:
        shown["nextNominalTime"] = to_iso(upcoming.nominal_ms)
        shown["nextEffectiveTime"] = to_iso(upcoming.effective_ms)
        if upcoming.until_ms is not None:
            shown["nextEffectiveUntil"] = to_iso(upcoming.until_ms)
    return shown | {"damage": definition.damage} if definition.damage else shown


def recurring_to_request(definition: Definition) -> bytes:
    """Return the body of the put that makes a definition as it is, but for its times."""
    fields: dict[str, object] = {
        "payload": definition.payload,
        "callback": {
            "type": definition.callback_type,
            "details": orjson.Fragment(definition.callback_details),
        },
        "misfirePolicy": definition.misfire.lower(),
        "misfireMost": definition.misfire_most,
        "overlapPolicy": definition.overlap.lower(),
        "atEnd": KEEP if definition.keeps else DELETE,
    }
    if definition.retry is not None:
        fields["retryPolicy"] = retry_to_json(definition.retry)
    if definition.sending is not None:
        fields |= sending_to_json(definition.sending, is_hidden=False)
    if definition.misfire_age_ms is not None:
        fields["misfireAgeSeconds"] = definition.misfire_age_ms // 1_000
    return orjson.dumps(fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurringPage:
    """By id. A page with a token may hold fewer than were asked for, or none."""

    recurring: Annotated[Sequence[RecurringView], Doc("Recurring schedules.")]
    token: Annotated[
        str, Doc("Goes on after this answer; empty: there is nothing more.", name="continuationToken")
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """Runs that were filed, newest first; those to come the next one first. As with `RecurringPage`."""

    schedules: Annotated[Sequence[ScheduleView], Doc("Runs, which are schedules.")]
    token: Annotated[
        str, Doc("Goes on after this answer; empty: there is nothing more.", name="continuationToken")
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The next runs, and what the clocks leave out between them, in order."""

    runs: Annotated[Sequence[PlannedView], Doc("Runs to come, and planned times without one.")]


class BackfillEffect(StrEnum):
    """What a backfill made of a nominal time."""

    FILED = "filed"
    WOULD_BE_FILED = "wouldBeFiled"  #: by the same request without dry run
    HAS_RUN = "hasRun"
    PLANNED = "planned"  #: its run was not made yet, and will be
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillRun:
    """A nominal time of a backfill."""

    nominal_time: Annotated[datetime, Doc("Which nominal time it is.")]
    effect: Annotated[BackfillEffect, Doc("What became of it; `planned`: the plan makes its run yet.")]
    schedule_id: Annotated[UUID | None, Doc("Of the run that it has, or got.")] = None
    error: Annotated[str, Doc("Why it was not filed, or perhaps not.")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillReport:
    """What became of each nominal time of a backfill."""

    runs: Annotated[Sequence[BackfillRun], Doc("The nominal times, in order.")]
    continues_at: Annotated[
        datetime | None, Doc("Where the range goes on, if it has more nominal times than `max`.")
    ] = None


def backfill_to_json(
    runs: Sequence[tuple[int, BackfillEffect, UUID | None, str]], continues_ms: int | None
) -> dict[str, object]:
    """Return the report of a backfill.

    Args:
        runs: nominal time, what became of it, which run it has or got, and why not.
    """
    shown = []
    for nominal_ms, effect, schedule_id, error in runs:
        each: dict[str, object] = {"nominalTime": to_iso(nominal_ms), "effect": effect}
        if schedule_id is not None:
            each["scheduleId"] = str(schedule_id)
        shown.append(each | {"error": error} if error else each)
    report: dict[str, object] = {"runs": shown}
    return report if continues_ms is None else report | {"continuesAt": to_iso(continues_ms)}


def runs_to_json(rows: Sequence[Row], token: str) -> dict[str, object]:
    """Return a page of runs."""
    return {"schedules": [schedule_to_json(row) for row in rows], "continuationToken": token}


def preview_to_json(planned: Sequence[Run | Omitted]) -> dict[str, object]:
    """Return a preview."""
    return {"runs": [planned_to_json(each) for each in planned]}
