"""Apps with what is theirs: configuration, lists of schedules, names, secrets, dead letters."""

from __future__ import annotations

from ringtime_ingest.http import schemas
from ringtime_ingest.http.openapi.operation import BODY_FAILURES, EXAMPLE, Operation
from ringtime_shared.traces.context import PARENT, STATE

_NAMED_PATH = "/goscheduler/apps/{appId}/schedules/{name}"
_CONFIGURATION_PATH = "/goscheduler/apps/{appId}/configuration"
_SECRETS_PATH = "/goscheduler/apps/{appId}/signing-secrets"
_KEYS_PATH = "/goscheduler/apps/{appId}/signing-keys"
_LETTERS_PATH = "/goscheduler/apps/{appId}/dead-letters"
_APP_EXAMPLE = {"appId": "test", "partitions": 5, "active": True}
APPS = (
    Operation(
        method="post",
        path="/goscheduler/apps",
        summary="Register an app",
        answer=schemas.ONE_APP,
        failures=("400", "408", "409", "413", "503"),
        body="NewApp",
        example=_APP_EXAMPLE,
    ),
    Operation(
        method="get",
        path="/goscheduler/apps",
        summary="List all apps, or the one named by app_id; with size, contains or after a page of those"
        " whose ids have the text in them, the ones that begin with it first",
        answer=schemas.APPS,
        failures=("400", "404", "409", "503"),
        query=("app_id", "contains", "after", "size:apps"),
    ),
    Operation(
        method="delete",
        path="/goscheduler/apps/{appId}",
        summary="Delete an app; refused while it has schedules to fire, unless cancel_schedules is true",
        answer=schemas.ONE_APP,
        failures=("400", "409", "503"),
        query=("cancel_schedules",),
        success="202",
    ),
    Operation(
        method="get",
        path=_CONFIGURATION_PATH,
        summary="Show what an app sets, without what it leaves to the server",
        answer=schemas.CONFIGURED,
        failures=("400", "404", "409", "503"),
    ),
    *(
        Operation(
            method=method,
            path=_CONFIGURATION_PATH,
            summary=summary,
            answer=schemas.CONFIGURED,
            failures=BODY_FAILURES,
            body="Configuration",
            creates=False,
            example={"httpRetries": 5, "httpTimeout": 2_000},
        )
        for method, summary in (
            ("post", "Set an app's configuration, and leave to the server what is left out"),
            ("put", "The same"),
            ("patch", "Change what is given of an app's configuration; the rest, and what is 0, stays"),
        )
    ),
    Operation(
        method="delete",
        path=_CONFIGURATION_PATH,
        summary="Leave an app's whole configuration to the server",
        answer=schemas.CONFIGURED,
        failures=("400", "409", "503"),
    ),
    *(
        Operation(
            method="post",
            path=f"/goscheduler/apps/{{appId}}/{word}",
            summary=summary,
            answer=schemas.ACTIVATED,
            failures=("400", "409", "503"),
        )
        for word, summary in (
            ("activate", "Activate an app"),
            ("deactivate", "Deactivate an app: creates are refused and nothing fires"),
        )
    ),
    Operation(
        method="get",
        path="/goscheduler/apps/{appId}/schedules",
        summary="List an app's schedules by fire time, those that have ended among them",
        answer=schemas.SCHEDULES,
        failures=("400", "409", "503"),
        query=(
            "start_time",
            "end_time",
            "zone",
            "status",
            "label",
            "name_prefix",
            "host",
            "late_by_ms",
            "size",
            "continuation_token",
        ),
    ),
    Operation(
        method="put",
        path=_NAMED_PATH,
        summary="Create a one-time schedule under a name, or change the one that is pending there to this;"
        " with `dry_run`: say what it would be, and change nothing",
        answer=schemas.PUT_SCHEDULE,
        headers=(PARENT, STATE),
        query=("dry_run",),
        failures=BODY_FAILURES,
        body="NamedSchedule",
        creates=False,
        example={key: value for key, value in EXAMPLE.items() if key != "appId"},
    ),
    Operation(
        method="get",
        path=_NAMED_PATH,
        summary="Read the schedule that was put under a name last",
        answer=schemas.NAMED_SCHEDULE_ANSWER,
        failures=("400", "404", "409", "503"),
    ),
    Operation(
        method="delete",
        path=_NAMED_PATH,
        summary="Cancel the schedule that was put under a name last; the name is free again",
        answer=schemas.CANCELLED,
        failures=("400", "404", "409", "503"),
        also=("202",),
    ),
    Operation(
        method="post",
        path=_SECRETS_PATH,
        summary="Sign the app's callbacks with a further secret, shown this once; two of a kind at most",
        answer=schemas.CREATED_SECRET,
        failures=("400", "408", "409", "413", "503"),
        body="NewSigningSecret",
        may_lack_body=True,
        example={},
    ),
    Operation(
        method="get",
        path=_SECRETS_PATH,
        summary="List the ids of an app's signing secrets, newest first",
        answer=schemas.SECRETS,
        failures=("400", "409", "503"),
    ),
    Operation(
        method="delete",
        path=f"{_SECRETS_PATH}/{{secretId}}",
        summary="Revoke a signing secret; without any, callbacks are not signed",
        answer=schemas.DELETED_SECRET,
        failures=("400", "404", "409", "503"),
    ),
    Operation(
        method="get",
        path=_KEYS_PATH,
        summary="List the public keys that an app's callbacks can be verified with, newest first",
        answer=schemas.SIGNING_KEYS,
        failures=("400", "409", "503"),
    ),
    Operation(
        method="get",
        path=_LETTERS_PATH,
        summary="List deliveries that were given up, oldest first",
        answer=schemas.DEAD_LETTERS,
        failures=("400", "409", "503"),
        query=("start_time", "end_time", "size", "continuation_token", "replayed"),
    ),
    Operation(
        method="get",
        path=f"{_LETTERS_PATH}/count",
        summary="Count the deliveries that were given up and not filed again",
        answer=schemas.LETTER_COUNT,
        failures=("400", "409", "503"),
        query=("start_time", "end_time"),
    ),
    Operation(
        method="post",
        path=f"{_LETTERS_PATH}/replay",
        summary="File many deliveries again that were given up, at most 200 a second",
        answer=schemas.REPLAYED_MANY,
        failures=BODY_FAILURES,
        body="Replays",
        creates=False,
        example={"startTime": "2030-01-31T08:00:00Z", "endTime": "2030-01-31T09:00:00Z", "size": 100},
    ),
    Operation(
        method="post",
        path="/goscheduler/schedules/{scheduleId}/replay",
        summary="File a failed schedule again, under its own id",
        answer=schemas.REPLAYED,
        failures=("400", "404", "409", "503"),
    ),
)
