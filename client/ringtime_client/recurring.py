"""The verbs of recurring schedules, as `calls` has the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import quote
from uuid import UUID

from msgspec import convert

from ringtime_client.exchange import BASE, Call
from ringtime_client.forms import callback_of, instant, safe, sending_of, to_body, with_query
from ringtime_client.views import Callback
from ringtime_shared.api.completions import FAILURE, SUCCESS, CompletionView
from ringtime_shared.api.completions import FIELD as COMPLETION
from ringtime_shared.api.configuration import retry_to_json
from ringtime_shared.api.ids import check_name
from ringtime_shared.api.recurring import (
    BACKFILL_SIZE,
    DELETE,
    KEEP,
    LIST_SIZE,
    PREVIEW_SIZE,
    BackfillReport,
    RecurringPage,
    RecurringView,
    RunPage,
)
from ringtime_shared.api.schedules import ScheduleView
from ringtime_shared.api.times import PlannedView
from ringtime_shared.api.views import read
from ringtime_shared.arguments import Instant, checked
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.ids import Kind, unpack_id
from ringtime_shared.models.hooks import Hooks
from ringtime_shared.models.recurring import DefinitionState, Misfire, Overlap
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.sending import Priority
from ringtime_shared.models.times import DstGap, DstOverlap, Spread, Unit

_MS = timedelta(milliseconds=1)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Every so many units from an instant: elapsed time up to hours, wall time from days on."""

    every: int
    unit: Unit
    anchor: Instant | None = None  #: the first of the times, timezone-aware; None: `start`


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurringTimes:
    """When a recurring schedule runs: by a cron expression or an interval, within limits.

    What is None is left out: then the server's default holds or, in a patch, what there is.
    """

    cron: str | None = None  #: minute, hour, day of the month, month, weekday; or `@daily` and the like
    interval: Interval | None = None  #: instead of it
    zone: str | None = None  #: IANA name, whose wall time counts; `CRON_TZ=` in `cron` says it, too
    start: Instant | None = None  #: no run before it, timezone-aware
    end: Instant | None = None  #: no run at it or later
    max_runs: int | None = None
    dst_gap: DstGap | None = None  #: what becomes of a wall time that the clocks jump over
    dst_overlap: DstOverlap | None = None  #: which run is made for a wall time that comes twice
    calendars: tuple[str, ...] | None = None  #: names of the app's; nothing runs on their days
    window: timedelta | None = None  #: how much later than planned a run may be sent
    window_share: float | None = None  #: the same as a share of the time to the next run
    window_spread: Spread | None = None  #: where in it: by a hash, or in the second in which least is due

    def to_json(self) -> dict[str, object]:
        """Return what is given, as the API reads it. Raises InvalidRequest for instants without a zone."""
        interval = self.interval
        fields: dict[str, object] = {
            "cronExpression": self.cron,
            "interval": None if interval is None else _interval_to_json(interval),
            "timeZone": self.zone,
            "startTime": instant("times.start", self.start),
            "endTime": instant("times.end", self.end),
            "maxRuns": self.max_runs,
            "dstGap": self.dst_gap,
            "dstOverlap": self.dst_overlap,
            "exclusionCalendars": None if self.calendars is None else list(self.calendars),
            "windowMs": None if self.window is None else self.window // _MS,
            "windowShare": self.window_share,
            "windowSpread": self.window_spread,
        }
        return {key: value for key, value in fields.items() if value is not None}


def _interval_to_json(interval: Interval) -> dict[str, object]:
    shown: dict[str, object] = {"every": interval.every, "unit": interval.unit}
    if interval.anchor is not None:
        shown["anchorTime"] = instant("times.interval.anchor", interval.anchor)
    return shown


def plain_id(schedule_id: UUID | str) -> str:
    """Return the id of a schedule or of a run. Raises InvalidRequest for that of a recurring schedule."""
    try:
        is_recurring = unpack_id(UUID(str(schedule_id))).kind is Kind.RECURRING
    except ValueError:
        is_recurring = False
    if is_recurring:
        raise InvalidRequest.of(
            "schedule_id",
            "must not be that of a recurring schedule: find_recurring returns it, with the app and the name"
            " that the other verbs take",
        )
    return str(schedule_id)


@checked
def put_recurring(
    app_id: str,
    name: str,
    *,
    times: RecurringTimes,
    payload: str | bytes,
    callback: Callback,
    retry: RetryRules | None = None,
    misfire: Misfire | None = None,
    misfire_most: int | None = None,
    misfire_age: timedelta | None = None,
    overlap: Overlap | None = None,
    completion: timedelta | None = None,
    keeps: bool | None = None,
    timeout: timedelta | None = None,
    priority: Priority | None = None,
    hooks: Hooks | None = None,
    revision: int | None = None,
) -> Call[RecurringView]:
    """Create a recurring schedule, or put it in place of the one of its name, with id and history of that.

    When this returns, its first run is filed. After OutcomeUnknown it may be repeated: what is there already
    is not changed.

    Args:
        name: 1 to 128 letters, digits, `_`, `.` and `-`; unique in the app.
        payload: text, or bytes, which are sent as they are.
        callback: HttpCallbackDetails, or `{"type": name, "details": {...}}` for any type.
        misfire: of the runs that came due while nothing could be sent, which are; None: ONCE.
        misfire_most: how many, of ALL; None: one.
        misfire_age: runs later than this are not made up for, whole seconds; None: the app's bound alone.
        overlap: what becomes of a run that is due before the one before has its outcome; None: ALLOW.
        completion: how long a receiver that answers 202 may take to say that it is done, whole seconds;
            None: its answer is the end.
        keeps: False: it is deleted after its last run; else it is kept, ENDED.
        timeout: of one attempt, instead of the app's.
        priority: among the app's callbacks to one destination, when they have to wait.
        hooks: who is told how a run ended, instead of the app's; `make_hooks` makes them.
        revision: only if it is at this one; 0: only if there is none; None: whatever there is.

    Raises InvalidRequest, NotFound (app), AppInactive, VersionConflict, LimitReached.
    """
    fields = {
        **_fields(times, callback, retry, misfire, misfire_most, misfire_age, overlap, completion, keeps),
        **sending_of(payload, timeout, priority, hooks),
    }
    return _call("PUT", app_id, name, fields=fields, headers=_matching(revision))


@checked
def patch_recurring(
    app_id: str,
    name: str,
    *,
    times: RecurringTimes | None = None,
    payload: str | bytes | None = None,
    callback: Callback | None = None,
    retry: RetryRules | None = None,
    misfire: Misfire | None = None,
    misfire_most: int | None = None,
    misfire_age: timedelta | None = None,
    overlap: Overlap | None = None,
    completion: timedelta | None = None,
    keeps: bool | None = None,
    timeout: timedelta | None = None,
    priority: Priority | None = None,
    hooks: Hooks | None = None,
    revision: int | None = None,
) -> Call[RecurringView]:
    """Change what is given of a recurring schedule, and leave the rest; to take something away, put.

    Arguments are those of `put_recurring`; `callback`, `retry` and `hooks` are replaced whole, of `times`
    what is not None.

    Raises InvalidRequest, NotFound, AppInactive, VersionConflict.
    """
    fields = {
        **_fields(times, callback, retry, misfire, misfire_most, misfire_age, overlap, completion, keeps),
        **sending_of(payload, timeout, priority, hooks),
    }
    return _call("PATCH", app_id, name, fields=fields, headers=_matching(revision))


@checked
def get_recurring(app_id: str, name: str) -> Call[RecurringView]:
    """Return a recurring schedule as it is now. Raises InvalidRequest, NotFound, Damaged."""
    return _call("GET", app_id, name)


@checked
def find_recurring(recurring_id: UUID | str) -> Call[RecurringView]:
    """Return the recurring schedule of an id, as `Parent-Schedule-Id` of a callback has it; also one that is
    deleted. Raises InvalidRequest, NotFound, Damaged."""
    return Call(
        method="GET",
        path=f"{BASE}/schedules/{quote(str(recurring_id), safe='')}",
        read=_to_found,
        kind="schedule",
        key=str(recurring_id),
    )


@checked
def delete_recurring(app_id: str, name: str) -> Call[RecurringView]:
    """Make no more runs of a recurring schedule; those that come due later are not sent.

    Raises InvalidRequest, NotFound.
    """
    return _call("DELETE", app_id, name)


@checked
def list_recurring(
    app_id: str, *, state: DefinitionState | None = None, size: int = LIST_SIZE, token: str = ""
) -> Call[RecurringPage]:
    """Return a page of an app's recurring schedules, by id.

    Args:
        state: only these; None: all but those that are deleted.
        size: most on the page, 1 to 1,000; a page with a token may hold fewer.
        token: the one of the page before; "": the first page.

    Raises InvalidRequest, NotFound (app).
    """
    asked: dict[str, object] = {"state": state, "size": size, "continuation_token": token}
    path = with_query(f"{BASE}/apps/{safe(app_id)}/recurring", asked)
    return Call(method="GET", path=path, read=partial(read, RecurringPage), app_id=app_id)


@checked
def pause_recurring(
    app_id: str, name: str, *, reason: str = "", until: Instant | None = None
) -> Call[RecurringView]:
    """Make no runs of a recurring schedule; what was planned meanwhile is not made up for.

    Args:
        reason: for people, at most 500 characters.
        until: when it makes runs again, timezone-aware; None: when it is resumed.

    Raises InvalidRequest, NotFound, Conflict if it has ended, AppInactive, VersionConflict.
    """
    fields = {"reason": reason, "until": instant("until", until)}
    return _call("POST", app_id, name, "/pause", fields=fields)


@checked
def resume_recurring(app_id: str, name: str) -> Call[RecurringView]:
    """Make runs of a recurring schedule again, from now on.

    Raises InvalidRequest, NotFound, Conflict if it has ended, AppInactive, VersionConflict.
    """
    return _call("POST", app_id, name, "/resume")


@checked
def trigger_recurring(app_id: str, name: str) -> Call[ScheduleView]:
    """File a run of a recurring schedule now, beside the plan and by its overlap policy; also of one that is
    paused. After OutcomeUnknown there may be one.

    Raises InvalidRequest, NotFound, AppInactive.
    """
    return Call(
        method="POST",
        path=f"{_path(app_id, name)}/trigger",
        read=_to_run,
        kind="recurring schedule",
        key=name,
        app_id=app_id,
    )


@checked
def backfill_recurring(
    app_id: str,
    name: str,
    *,
    start: Instant,
    end: Instant,
    size: int = BACKFILL_SIZE,
    dry_run: bool = False,
) -> Call[BackfillReport]:
    """File a run for each nominal time of a range that is over and has none; also of a recurring schedule
    that is paused or has ended. After OutcomeUnknown it may be repeated: each time gets one run.

    Args:
        start: from this nominal time on, timezone-aware; not before 2020.
        end: up to before this one, which is over.
        size: most nominal times to look at, 1 to 1,000; the report says where the range goes on.
        dry_run: say what would be filed, and file nothing.

    Raises InvalidRequest, NotFound, AppInactive, VersionConflict.
    """
    fields = {"from": instant("start", start), "to": instant("end", end), "max": size, "dryRun": dry_run}
    return Call(
        method="POST",
        path=f"{_path(app_id, name)}/backfill",
        body=to_body(fields),
        read=partial(read, BackfillReport),
        kind="recurring schedule",
        key=name,
        app_id=app_id,
    )


@checked
def list_runs(
    app_id: str, name: str, *, when: str = "", size: int = LIST_SIZE, token: str = ""
) -> Call[RunPage]:
    """Return a page of the runs that were filed of a recurring schedule, newest first.

    Args:
        when: `past`: those that are due; `future`: the others, the next one first; "": all.
        size, token: as in `list_recurring`.

    Raises InvalidRequest, NotFound.
    """
    asked: dict[str, object] = {"when": when, "size": size, "continuation_token": token}
    return Call(
        method="GET",
        path=with_query(f"{_path(app_id, name)}/runs", asked),
        read=partial(read, RunPage),
        kind="recurring schedule",
        key=name,
        app_id=app_id,
    )


@checked
def preview_recurring(app_id: str, name: str, *, size: int = PREVIEW_SIZE) -> Call[list[PlannedView]]:
    """Return the next runs of a recurring schedule, 1 to 100, and what clocks and calendars leave out between
    them. Of one that is paused, those that there would be if it was resumed now.

    Raises InvalidRequest, NotFound.
    """
    return Call(
        method="GET",
        path=with_query(f"{_path(app_id, name)}/preview", {"size": size}),
        read=_to_planned,
        kind="recurring schedule",
        key=name,
        app_id=app_id,
    )


@checked
def preview_times(app_id: str, *, times: RecurringTimes, size: int = PREVIEW_SIZE) -> Call[list[PlannedView]]:
    """Return the same of times that are not stored. Raises InvalidRequest."""
    body = to_body({**times.to_json(), "size": size})
    path = f"{BASE}/apps/{safe(app_id)}/recurring/preview"
    return Call(method="POST", path=path, body=body, read=_to_planned, app_id=app_id)


@checked
def complete_run(completion_url: str, *, error: str | None = None) -> Call[CompletionView]:
    """Say that a run is done, or has failed, whose callback was answered 202. It may be repeated.

    Args:
        completion_url: the header `Ringtime-Completion-Url` of the callback; the call goes to this client's
            server.
        error: why it failed, at most 200 characters; None: it is done.

    Raises InvalidRequest, NotFound (it is not for this server, or too late), AlreadyDone if the run has ended
    in another way.
    """
    token = completion_url.rpartition("/")[2]
    fields = {"status": SUCCESS} if error is None else {"status": FAILURE, "errorMessage": error}
    return Call(
        method="POST",
        path=f"{BASE}/completions/{quote(token, safe='')}",
        body=to_body(fields),
        read=partial(read, CompletionView),
        kind="run to complete",
        key="of this token",
        may_repeat=True,
    )


def _fields(
    times: RecurringTimes | None,
    callback: Callback | None,
    retry: RetryRules | None,
    misfire: Misfire | None,
    misfire_most: int | None,
    misfire_age: timedelta | None,
    overlap: Overlap | None,
    completion: timedelta | None,
    keeps: bool | None,
) -> dict[str, object]:
    """Return the body of a put or a patch, but for what is sent: what is given."""
    fields: dict[str, object] = {
        **({} if times is None else times.to_json()),
        "callback": None if callback is None else callback_of(callback),
        "retryPolicy": None if retry is None else retry_to_json(retry),
        "misfirePolicy": None if misfire is None else misfire.lower(),
        "misfireMost": misfire_most,
        "misfireAgeSeconds": None if misfire_age is None else misfire_age // _SECOND,
        "overlapPolicy": None if overlap is None else overlap.lower(),
        COMPLETION: None if completion is None else completion // _SECOND,
        "atEnd": None if keeps is None else (KEEP if keeps else DELETE),
    }
    return {key: value for key, value in fields.items() if value is not None}


def _call(
    method: str,
    app_id: str,
    name: str,
    tail: str = "",
    *,
    fields: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Call[RecurringView]:
    """Return a call about one recurring schedule that is answered with it."""
    return Call(
        method=method,
        path=_path(app_id, name) + tail,
        body=None if fields is None else to_body(fields),
        headers=headers or {},
        read=partial(read, RecurringView),
        kind="recurring schedule",
        key=name,
        app_id=app_id,
    )


def _path(app_id: str, name: str) -> str:
    if violations := check_name(name):
        raise InvalidRequest(violations)
    return f"{BASE}/apps/{safe(app_id)}/recurring/{name}"


def _matching(revision: int | None) -> Mapping[str, str]:
    if revision is None:
        return {}
    if revision < 0:
        raise InvalidRequest.of("revision", "must be 0 or more")
    return {"if-match": f'"{revision}"'} if revision else {"if-none-match": "*"}


def _to_found(data: dict[str, Any]) -> RecurringView:
    return read(RecurringView, data.get("schedule"))


def _to_run(data: dict[str, Any]) -> ScheduleView:
    return read(ScheduleView, data.get("schedule"))


def _to_planned(data: dict[str, Any]) -> list[PlannedView]:
    return [read(PlannedView, shown) for shown in convert(data.get("runs"), list[Any])]
