"""Recurring schedules, calendars and crons."""

from __future__ import annotations

from ringtime_ingest.http import schemas
from ringtime_ingest.http.openapi.operation import BODY_FAILURES, CREATED, EXAMPLE, Operation

_RECURRING_PATH = "/goscheduler/apps/{appId}/recurring"
_CALENDARS_PATH = "/goscheduler/apps/{appId}/calendars"
_RECURRING_EXAMPLE = {
    "cronExpression": "30 9 * * MON-FRI",
    "timeZone": "Europe/Berlin",
    "payload": "{}",
    "callback": EXAMPLE["callback"],
    "misfirePolicy": "once",
    "overlapPolicy": "skip",
}
RECURRING = (
    Operation(
        method="get",
        path=_RECURRING_PATH,
        summary="List an app's recurring schedules, by id",
        answer=schemas.RECURRING_PAGE,
        failures=("400", "409", "503"),
        query=("state", "size", "continuation_token"),
    ),
    Operation(
        method="put",
        path=f"{_RECURRING_PATH}/{{name}}",
        summary="Create a recurring schedule, or put it in place of the one of this name. With `If-Match`:"
        " if that is at this revision; with `If-None-Match: *`: if there is none; with `dry_run`: say what it"
        " would be, and change nothing",
        answer=schemas.RECURRING,
        query=("dry_run",),
        failures=("400", "408", "409", "413", "503"),
        body="NewRecurring",
        creates=False,
        example=_RECURRING_EXAMPLE,
    ),
    Operation(
        method="patch",
        path=f"{_RECURRING_PATH}/{{name}}",
        summary="Change what is given of a recurring schedule, and leave the rest; null takes away what a put"
        " may leave out",
        answer=schemas.RECURRING,
        failures=("400", "404", "408", "409", "413", "503"),
        body="RecurringPatch",
        creates=False,
        example={"payload": "{}", "overlapPolicy": "skip"},
    ),
    *(
        Operation(
            method=method,
            path=f"{_RECURRING_PATH}/{{name}}{tail}",
            summary=summary,
            answer=answer,
            failures=("400", "404", "409", "503"),
        )
        for method, tail, summary, answer in (
            ("get", "", "Read a recurring schedule", schemas.RECURRING),
            (
                "delete",
                "",
                "Delete a recurring schedule: no run is sent any more. With `If-Match`: if at this revision",
                schemas.RECURRING,
            ),
            ("post", "/resume", "Make runs again, from now on", schemas.RECURRING),
        )
    ),
    Operation(
        method="post",
        path=f"{_RECURRING_PATH}/{{name}}/pause",
        summary="Make no runs until an instant, or until resumed",
        answer=schemas.RECURRING,
        failures=("400", "404", "408", "409", "413", "503"),
        body="Pause",
        creates=False,
        may_lack_body=True,
        example={"reason": "deployment", "until": "2030-01-31T08:00:00Z"},
    ),
    Operation(
        method="post",
        path=f"{_RECURRING_PATH}/{{name}}/trigger",
        summary="File a run now, beside the plan",
        answer=schemas.ONE_SCHEDULE,
        failures=("400", "404", "409", "503"),
        success=CREATED,
    ),
    Operation(
        method="post",
        path=f"{_RECURRING_PATH}/{{name}}/backfill",
        summary="File runs for nominal times that are over and have none",
        answer=schemas.BACKFILLED,
        failures=("400", "404", "408", "409", "413", "503"),
        body="Backfill",
        creates=False,
        example={"from": "2029-01-01T00:00:00Z", "to": "2029-02-01T00:00:00Z", "dryRun": True},
    ),
    Operation(
        method="get",
        path=f"{_RECURRING_PATH}/{{name}}/preview",
        summary="Show the next runs, and what the clocks do to them",
        answer=schemas.PREVIEW_ANSWER,
        failures=("400", "404", "409", "503"),
        query=("size:preview",),
    ),
    Operation(
        method="post",
        path=f"{_RECURRING_PATH}/preview",
        summary="Show the runs of times that are not stored",
        answer=schemas.PREVIEW_ANSWER,
        failures=("400", "408", "413", "503"),
        body="Preview",
        creates=False,
        example={"cronExpression": "30 2 * * *", "timeZone": "Europe/Berlin", "size": 10},
    ),
    *(
        Operation(
            method="get",
            path=path,
            summary="List the runs of a recurring schedule that were filed, newest first",
            answer=schemas.RUNS,
            failures=("400", "404", "409", "503"),
            query=("size", "when", "continuation_token"),
        )
        for path in (f"{_RECURRING_PATH}/{{name}}/runs", "/goscheduler/schedules/{scheduleId}/runs")
    ),
    Operation(
        method="get",
        path=_CALENDARS_PATH,
        summary="List an app's exclusion calendars, by name",
        answer=schemas.CALENDARS,
        failures=("400", "409", "503"),
    ),
    Operation(
        method="put",
        path=f"{_CALENDARS_PATH}/{{name}}",
        summary="Create an exclusion calendar, or put it in place of the one of this name; it counts for the"
        " runs that are not filed yet",
        answer=schemas.CALENDAR_ANSWER,
        failures=BODY_FAILURES,
        body="NewCalendar",
        creates=False,
        example={"dates": ["2030-12-25", "2030-12-26"]},
    ),
    *(
        Operation(
            method=method,
            path=f"{_CALENDARS_PATH}/{{name}}",
            summary=summary,
            answer=schemas.CALENDAR_ANSWER,
            failures=("400", "404", "409", "503"),
        )
        for method, summary in (
            ("get", "Read an exclusion calendar"),
            ("delete", "Delete an exclusion calendar that no recurring schedule names"),
        )
    ),
    Operation(
        method="get",
        path="/goscheduler/crons/schedules",
        summary="List up to 1,000 recurring schedules of an app, as goscheduler does",
        answer=schemas.CRONS,
        failures=("400", "409", "503"),
        query=("app_id", "status:crons"),
        needed=("app_id",),
    ),
)
