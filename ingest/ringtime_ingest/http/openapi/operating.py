"""Bulk jobs, and what operators look at; the routes of the server itself."""

from __future__ import annotations

from ringtime_ingest.http import schemas
from ringtime_ingest.http.openapi.operation import Operation

_JOBS_PATH = "/goscheduler/apps/{appId}/jobs"
OPERATING = (
    Operation(
        method="post",
        path="/goscheduler/apps/{appId}/bulk-action/{action}",
        summary="Act on all of a time range, or with dry_run count it, as a job in the background",
        answer=schemas.ASKED_JOB,
        failures=("400", "409", "503"),
        query=("start_time", "end_time", "status", "zone", "dry_run", "reason", "until"),
    ),
    Operation(
        method="get",
        path=_JOBS_PATH,
        summary="List the bulk jobs of an app, newest first",
        answer=schemas.JOBS,
        failures=("400", "503"),
        query=("size:jobs", "continuation_token"),
    ),
    Operation(
        method="get",
        path=f"{_JOBS_PATH}/{{jobId}}",
        summary="Read a bulk job: how far it is, and what came of it",
        answer=schemas.ONE_JOB,
        failures=("400", "404", "409", "503"),
    ),
    Operation(
        method="delete",
        path=f"{_JOBS_PATH}/{{jobId}}",
        summary="Let a bulk job do no more; what it did stands",
        answer=schemas.ONE_JOB,
        failures=("400", "404", "409", "503"),
    ),
    *(
        Operation(
            method="get",
            path=path,
            summary=f"Tell up to when everything that was due has its recorded outcome, of {whose}",
            answer=schemas.COMPLETENESS,
            failures=failures,
        )
        for path, whose, failures in (
            ("/goscheduler/apps/{appId}/completeness", "an app", ("400", "404", "409", "503")),
            ("/goscheduler/completeness", "all active apps", ("503",)),
        )
    ),
    Operation(
        method="get",
        path="/goscheduler/apps/{appId}/audit-fires",
        summary="Audit the fires of a time range, a part at a time: each has one outcome, or it is listed",
        answer=schemas.FIRE_AUDIT,
        failures=("400", "404", "409", "503"),
        query=("start_time", "end_time", "zone", "continuation_token"),
    ),
    *(
        Operation(
            method="get",
            path=path,
            summary=summary,
            answer=schemas.AUDIT,
            failures=("400", "503"),
            query=("start_time", "end_time", "actor", "action:audit", "size", "continuation_token"),
        )
        for path, summary in (
            ("/goscheduler/apps/{appId}/audit", "List who changed what of an app, newest first"),
            ("/goscheduler/audit", "List who changed what, of all apps and of the deployment, newest first"),
        )
    ),
    *(
        Operation(
            method="get",
            path=path,
            summary=summary,
            answer=schemas.KEYS,
            failures=("400", "503", *others),
            query=("size:keys", "after:keys"),
        )
        for path, summary, others in (
            (
                "/goscheduler/apps/{appId}/keys",
                "List the API keys that may do something with an app, without the keys themselves",
                ("404", "409"),
            ),
            ("/goscheduler/keys", "List all API keys, without the keys themselves", ()),
        )
    ),
    Operation(
        method="get",
        path="/goscheduler/overview",
        summary="Tell how the deployment is: lag, rates, what is due, and what is wrong and to be done",
        answer=schemas.OVERVIEW,
        failures=("503",),
    ),
    Operation(
        method="get",
        path="/goscheduler/nodes",
        summary="List the dispatchers, as each said of itself some seconds ago",
        answer=schemas.NODES,
        failures=("503",),
    ),
    Operation(
        method="get",
        path="/goscheduler/ring",
        summary="Tell what the ring gives each node and what it owns, where the partitions of an app are, and"
        " what would move if nodes joined or left",
        answer=schemas.RING,
        failures=("400", "404", "503"),
        query=("app_id", "join", "leave"),
    ),
    *(
        Operation(
            method="get",
            path=path,
            summary=summary,
            answer=schemas.DESTINATIONS,
            failures=("400", "503", *others),
            query=("size:destinations",),
        )
        for path, summary, others in (
            ("/goscheduler/destinations", "List the destinations that are not well, of all apps", ()),
            (
                "/goscheduler/apps/{appId}/destinations",
                "List the destinations of an app that are not well",
                ("404", "409"),
            ),
        )
    ),
    Operation(
        method="get",
        path="/goscheduler/apps/{appId}/forecast",
        summary="Tell what falls due of an app in the next hours by minutes, and what its quota carries",
        answer=schemas.FORECAST,
        failures=("400", "404", "409", "503"),
        query=("hours",),
    ),
    Operation(method="get", path="/", summary="Tell what is here", answer=schemas.FRONT),
    Operation(
        method="get",
        path="/goscheduler",
        summary="Tell what is here, and what the caller may do",
        answer=schemas.FRONT_OF_CALLER,
    ),
    Operation(
        method="get",
        path="/info",
        summary="Tell which release this is, and how it was started",
        answer=schemas.INFO,
    ),
    *(
        Operation(
            method=method,
            path="/goscheduler/healthcheck",
            summary="Answer, whatever the state of the store; any method will do",
            answer=schemas.HEALTHY,
        )
        for method in ("get", "post", "put", "patch", "delete", "options")
    ),
    Operation(
        method="get", path="/health/live", summary="Answer while the process runs", answer=schemas.HEALTHY
    ),
    Operation(
        method="get",
        path="/health/ready",
        summary="Answer 200 while requests can be served",
        answer=schemas.HEALTHY,
        failures=("503",),
    ),
)


#: of a server with a test clock
CLOCK = (
    Operation(method="get", path="/clock", summary="Tell the time of the test clock", answer=schemas.CLOCK),
    Operation(
        method="post",
        path="/clock/advance",
        summary="Let time go by on the test clock; answered when all that came due has its outcome",
        answer=schemas.CLOCK,
        failures=("400", "408", "413", "503"),
        body="Advance",
        creates=False,
        example={"seconds": 86_400},
    ),
)
