"""Schedules one by one, in batches and imported, and completions."""

from __future__ import annotations

from ringtime_ingest.http import schemas
from ringtime_ingest.http.openapi.operation import BODY_FAILURES, EXAMPLE, Operation
from ringtime_shared.api.completions import PATH as COMPLETIONS
from ringtime_shared.api.imports import IMPORTS_PATH
from ringtime_shared.traces.context import PARENT, STATE

SCHEDULES = (
    Operation(
        method="post",
        path="/goscheduler/schedules",
        summary="Create a schedule; once answered, it will fire. With an idempotency key it may be repeated:"
        " one key makes one schedule",
        answer=schemas.CREATED_SCHEDULE,
        failures=(*BODY_FAILURES, "422"),
        headers=("Idempotency-Key", PARENT, STATE),
        body="NewSchedule",
        example=EXAMPLE,
    ),
    Operation(
        method="get",
        path="/goscheduler/schedules/{scheduleId}",
        summary="Read a schedule and how it ended",
        answer=schemas.ONE_SCHEDULE,
        failures=("400", "404", "409", "503"),
    ),
    Operation(
        method="delete",
        path="/goscheduler/schedules/{scheduleId}",
        summary="Cancel a schedule; promised when answered 200",
        answer=schemas.CANCELLED,
        failures=("400", "404", "409", "503"),
        also=("202",),
    ),
    Operation(
        method="patch",
        path="/goscheduler/schedules/{scheduleId}",
        summary="Change what is given of a schedule that is not sent yet, and leave the rest; null takes away"
        " what a create may leave out. Once answered, what was to be sent before is not sent",
        answer=schemas.ONE_SCHEDULE,
        failures=("400", "404", "408", "409", "413", "503"),
        body="SchedulePatch",
        creates=False,
        example={"delaySeconds": 3_600, "payload": "{}"},
    ),
    Operation(
        method="post",
        path="/goscheduler/schedules/{scheduleId}/trigger",
        summary="Send a schedule now instead of at its time; of a recurring one, file a run beside the plan",
        answer=schemas.ONE_SCHEDULE,
        failures=("400", "404", "409", "503"),
        also=("201",),
    ),
    Operation(
        method="post",
        path="/goscheduler/schedules/batch",
        summary="Create up to 1,000 schedules; each has its own result, and a bad one sinks no other",
        answer=schemas.CREATED_MANY,
        headers=(PARENT, STATE),
        failures=BODY_FAILURES,
        body="NewSchedules",
        creates=False,
        also=("207",),
        example={"schedules": [EXAMPLE, EXAMPLE]},
    ),
    Operation(
        method="post",
        path="/goscheduler/schedules/batch-cancel",
        summary="Cancel up to 1,000 schedules; each has its own result",
        answer=schemas.CANCELLED_MANY,
        failures=BODY_FAILURES,
        body="Cancels",
        creates=False,
        also=("207",),
        example={"scheduleIds": ["01a3b2c4-0000-8000-8000-000000000001"]},
    ),
    Operation(
        method="post",
        path=IMPORTS_PATH,
        summary="File up to 1,000 schedules of another scheduler, which are found by their ids there as well;"
        " one that was imported before is left alone. With `dry_run`: say what would become of each",
        answer=schemas.IMPORTED_MANY,
        query=("dry_run",),
        failures=("400", "408", "413", "503"),
        body="Imports",
        creates=False,
        also=("207",),
        example={"schedules": [EXAMPLE | {"scheduleId": "2e6a7d2c-ca0c-11f0-8de9-0242ac120002"}]},
    ),
    Operation(
        method="post",
        path="/goscheduler/schedule",
        summary="Create a schedule; answers with the schedule itself as data",
        answer=schemas.FLAT_SCHEDULE,
        failures=(*BODY_FAILURES, "422"),
        headers=("Idempotency-Key", PARENT, STATE),
        body="NewSchedule",
        example=EXAMPLE,
    ),
    Operation(
        method="post",
        path=f"{COMPLETIONS}/{{token}}",
        summary="Say that a run is done, or has failed, whose callback was answered 202; to say so again"
        " is no error",
        answer=schemas.COMPLETED_RUN,
        failures=("400", "404", "408", "409", "413", "503"),
        body="Completed",
        creates=False,
        may_lack_body=True,
        example={"status": "failure", "errorMessage": "the disk is full"},
    ),
)
