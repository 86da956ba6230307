"""The OpenAPI 3.1 document, made from the tables the parser works by."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version

import orjson

from ringtime_ingest.http import schemas
from ringtime_ingest.http.fields import (
    APP_ID,
    INSTANT,
    KEY,
    NAME,
    SCHEDULE_ID,
    SECRET_ID,
    TOKEN,
    text_of,
)
from ringtime_ingest.http.guard import ANY_KEY, OPEN, Needs
from ringtime_ingest.http.schemas import Schema, ref
from ringtime_ingest.service.requests import Offer
from ringtime_shared.access import Scope
from ringtime_shared.access.keys import ID_PATTERN
from ringtime_shared.api.apps import MAX_APPS, MAX_CONTAINS_CHARS
from ringtime_shared.api.audit import (
    MAX_ACTION_CHARS,
    MAX_ACTOR_CHARS,
    REASON,
    REQUEST_ID,
    REQUEST_ID_PATTERN,
)
from ringtime_shared.api.audit import (
    MAX_REASON_CHARS as MAX_NOTED,
)
from ringtime_shared.api.completions import PATH as COMPLETIONS
from ringtime_shared.api.completions import URL_PATTERN
from ringtime_shared.api.dead_letters import MAX_SIZE
from ringtime_shared.api.imports import IMPORTS_PATH
from ringtime_shared.api.jobs import MAX_LIST_SIZE as MAX_JOBS
from ringtime_shared.api.keys import MAX_SIZE as MAX_KEYS
from ringtime_shared.api.labels import KEY_PATTERN as LABEL_KEY_PATTERN
from ringtime_shared.api.labels import VALUE_PATTERN as LABEL_VALUE_PATTERN
from ringtime_shared.api.operating import MAX_DESTINATIONS, MAX_FORECAST_HOURS, MAX_JOINS
from ringtime_shared.api.recurring import MAX_PREVIEW, MAX_REASON_CHARS
from ringtime_shared.models.job import JobAction
from ringtime_shared.models.recurring import DefinitionState
from ringtime_shared.models.schedule import Status
from ringtime_shared.schedules.row_filter import MOST_LATE_MS
from ringtime_shared.settings import ServerSettings
from ringtime_shared.traces.context import PARENT, STATE

Document = Mapping[str, object]

_INTRO = """Callbacks at the time you ask for. Times are UTC. Every answer comes in one of two envelopes; \
an error names each field and the rule it broke. Unknown keys are passed over and keys are matched \
without regard to case; null stands for leaving a field out where the schema allows it. Whole numbers are \
written without a fraction, and fit 64 bits."""
_SCOPES = (
    "An API key, `rt_...`, where the server asks for keys. An operation names the scope it needs: "
    + "; ".join(f"`{scope.value}`, {scope.meaning}" for scope in Scope)
    + ". Apps that a key does not name do not exist for it."
)
NAMED = re.compile(r"\{\w+\}")  #: in a path
_EXAMPLE = {
    "appId": "test",
    "payload": "{}",
    "delaySeconds": 10,
    "callback": {
        "type": "http",
        "details": {"url": "http://127.0.0.1:8080/goscheduler/healthcheck", "method": "GET", "headers": {}},
    },
}
_RECURRING_EXAMPLE = {
    "cronExpression": "30 9 * * MON-FRI",
    "timeZone": "Europe/Berlin",
    "payload": "{}",
    "callback": _EXAMPLE["callback"],
    "misfirePolicy": "once",
    "overlapPolicy": "skip",
}
_SCHEME = "apiKey"  #: what the document calls API keys
_CREATED = "created"  #: the HTTP status of creates, which is a setting
_APP_EXAMPLE = {"appId": "test", "partitions": 5, "active": True}
_NO_WORD = str.maketrans(".-", "__")
_REASONS = {
    "200": "Success.",
    "202": "Accepted, and not done yet: a cancel within a second of the fire time or while in flight, so that"
    " it may fire all the same; a deletion, which takes some 15 seconds.",
    "207": "Not all of it was done, or surely: each item has its own result.",
    "400": "Refused: `errors` names each field and rule; `statusCode` 4001 is an unknown app, 4002 an"
    " inactive and 4003 an active one, 5001 a body that cannot be read, 5005 a stored record that"
    " cannot be read.",
    "401": "No API key, or none that is good.",
    "403": "The API key lacks a scope: `details.scope` names it.",
    "404": "There is no such thing, or it is of an app that the API key does not name.",
    "408": "The body did not arrive in time.",
    "409": "The state of the thing forbids it.",
    "413": "The body is too large.",
    "422": "The idempotency key stands for an earlier create that asked for something else.",
    "429": "More than a limit of the app or the API key allows: `details.limit` names it. Try again after"
    " `Retry-After`; the `RateLimit` headers say what is left.",
    "503": "Not available, or the outcome is unknown: the message says which. Try again after `Retry-After`.",
}


#: by name; behind a colon is what tells one from others of the same name
_PARAMETERS: Mapping[str, Schema] = {
    "Idempotency-Key": KEY,
    PARENT: {
        "type": "string",
        "description": "Of W3C Trace Context: kept, and told on with callbacks. A bad one is passed over.",
    },
    STATE: {"type": "string", "description": "Goes with `traceparent`."},
    REQUEST_ID: text_of(
        f"(?:{REQUEST_ID_PATTERN})?", description="Kept in the audit log; the answer tells it."
    ),
    REASON: text_of(f"[ -~]{{0,{MAX_NOTED}}}", description="Why, for the audit log; may be UTF-8."),
    "appId": APP_ID,
    "app_id": APP_ID,
    "cancel_schedules": {"enum": ["false", "true"]},
    "scheduleId": SCHEDULE_ID,
    "secretId": SECRET_ID,
    "start_time": INSTANT.schema,
    "end_time": INSTANT.schema,
    "size": {"type": "integer", "minimum": 1, "maximum": MAX_SIZE},
    "size:preview": {"type": "integer", "minimum": 1, "maximum": MAX_PREVIEW},
    "continuation_token": TOKEN,
    "replayed": {"enum": ["false", "true", "all"]},
    "status": {"enum": [status.value for status in Status]},
    "status:crons": {"enum": [Status.SCHEDULED.value, Status.DELETED.value]},
    "name": NAME,
    "name_prefix": NAME,
    "label": text_of(
        f"{LABEL_KEY_PATTERN}:{LABEL_VALUE_PATTERN}", description="key:value; may be given several times."
    ),
    "host": text_of("[A-Za-z0-9._-]{1,253}", description="Of the callback's URL, without the port."),
    "late_by_ms": {
        "type": "integer",
        "minimum": 0,
        "maximum": MOST_LATE_MS,
        "description": "Only those sent, or missed, so many milliseconds late, or later.",
    },
    "when": {"enum": ["past", "future"]},
    "state": {"enum": [state.value for state in DefinitionState]},
    "contains": {
        "type": "string",
        "maxLength": MAX_CONTAINS_CHARS,
        "description": "What an id has in it, in upper or lower case.",
    },
    "after": APP_ID,
    "size:apps": {"type": "integer", "minimum": 1, "maximum": MAX_APPS},
    "size:keys": {"type": "integer", "minimum": 1, "maximum": MAX_KEYS},
    "after:keys": text_of(ID_PATTERN, description="The id of a key."),
    "size:jobs": {"type": "integer", "minimum": 1, "maximum": MAX_JOBS},
    "action": {"enum": [action.value for action in JobAction]},
    "jobId": SCHEDULE_ID,
    "token": text_of(URL_PATTERN),
    "dry_run": {"enum": ["false", "true"]},
    "reason": {"type": "string", "maxLength": MAX_REASON_CHARS},
    "until": INSTANT.schema,
    "actor": {"type": "string", "maxLength": MAX_ACTOR_CHARS},
    "action:audit": {
        "type": "string",
        "maxLength": MAX_ACTION_CHARS,
        "description": "Only actions that begin so: `apps`, or `apps configure`.",
    },
    "size:destinations": {"type": "integer", "minimum": 1, "maximum": MAX_DESTINATIONS},
    "hours": {"type": "integer", "minimum": 1, "maximum": MAX_FORECAST_HOURS},
    "join": {"type": "integer", "minimum": 0, "maximum": MAX_JOINS},
    "leave": text_of("[A-Za-z0-9_.-]{1,128}", description="A node; may be given several times."),
    "zone": {"type": "string", "description": "IANA name of the zone of times without an offset."},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operation:
    method: str
    path: str
    summary: str
    answer: Schema
    failures: tuple[str, ...] = ()
    body: str = ""
    may_lack_body: bool = False
    example: object = None
    headers: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()  #: of the query
    creates: bool = True  #: with a body: whether the answer is that of a create
    success: str = "200"  #: without a body
    also: tuple[str, ...] = ()  #: further successes with the same body

    def describe(self, created: str, needs: Needs) -> Document:
        """Return the operation object.

        Args:
            created: the HTTP status of creates.
            needs: what its route needs of the caller.
        """
        parts = [part for part in self.path.split("/") if part]
        described: dict[str, object] = {
            "operationId": "_".join([self.method, *(part.strip("{}") for part in parts)]).translate(_NO_WORD),
            "summary": self.summary,
            "parameters": [
                *(self._parameter(part.strip("{}"), "path", True) for part in parts if part[0] == "{"),
                *(self._parameter(name, "header", False) for name in self.headers),
                *(self._parameter(name, "query", name in self.needed) for name in self.query),
            ],
        }
        if self.body:
            content = {"schema": ref(self.body), "example": self.example}
            described["requestBody"] = {
                "required": not self.may_lack_body,
                "content": {"application/json": content},
            }
        is_create = (self.body and self.creates) or self.success == _CREATED
        good = [created if is_create else self.success, *self.also]
        described["responses"] = {
            code: {
                "description": _REASONS["200" if code == "201" else code],
                "content": {"application/json": {"schema": self.answer if code in good else ref("Failure")}},
            }
            for code in [*good, *sorted({*self.failures, *_failures_of(needs)})]
        }
        if needs is OPEN:
            described["security"] = []
        else:
            described["security"] = [{_SCHEME: [needs.value] if isinstance(needs, Scope) else []}]
        return described

    @staticmethod
    def _parameter(name: str, place: str, is_needed: bool) -> Document:
        schema = _PARAMETERS[name]
        if place == "query" and not is_needed:
            schema = {"anyOf": [schema, {"const": ""}]}  # an empty value is the same as none
        return {
            "name": name.partition(":")[0],
            "in": place,
            "required": is_needed,
            "schema": schema,
        }


def _failures_of(needs: Needs) -> tuple[str, ...]:
    """Return the statuses of those whose key, or its limits, do not let them."""
    if needs is OPEN:
        return ()
    if needs is ANY_KEY:
        return ("401", "429")
    if needs in (Scope.RING_OPERATE, Scope.METRICS_READ):
        return ("401", "403", "429")
    return ("401", "403", "404", "429")


_RECURRING_PATH = "/goscheduler/apps/{appId}/recurring"
_NAMED_PATH = "/goscheduler/apps/{appId}/schedules/{name}"
_CALENDARS_PATH = "/goscheduler/apps/{appId}/calendars"
_CONFIGURATION_PATH = "/goscheduler/apps/{appId}/configuration"
_JOBS_PATH = "/goscheduler/apps/{appId}/jobs"
_SECRETS_PATH = "/goscheduler/apps/{appId}/signing-secrets"
_KEYS_PATH = "/goscheduler/apps/{appId}/signing-keys"
_LETTERS_PATH = "/goscheduler/apps/{appId}/dead-letters"
_BODY_FAILURES = ("400", "408", "409", "413", "503")
_OPERATIONS = (
    _Operation(
        method="post",
        path="/goscheduler/schedules",
        summary="Create a schedule; once answered, it will fire. With an idempotency key it may be repeated:"
        " one key makes one schedule",
        answer=schemas.CREATED_SCHEDULE,
        failures=(*_BODY_FAILURES, "422"),
        headers=("Idempotency-Key", PARENT, STATE),
        body="NewSchedule",
        example=_EXAMPLE,
    ),
    _Operation(
        method="get",
        path="/goscheduler/schedules/{scheduleId}",
        summary="Read a schedule and how it ended",
        answer=schemas.ONE_SCHEDULE,
        failures=("400", "404", "409", "503"),
    ),
    _Operation(
        method="delete",
        path="/goscheduler/schedules/{scheduleId}",
        summary="Cancel a schedule; promised when answered 200",
        answer=schemas.CANCELLED,
        failures=("400", "404", "409", "503"),
        also=("202",),
    ),
    _Operation(
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
    _Operation(
        method="post",
        path="/goscheduler/schedules/{scheduleId}/trigger",
        summary="Send a schedule now instead of at its time; of a recurring one, file a run beside the plan",
        answer=schemas.ONE_SCHEDULE,
        failures=("400", "404", "409", "503"),
        also=("201",),
    ),
    _Operation(
        method="post",
        path="/goscheduler/schedules/batch",
        summary="Create up to 1,000 schedules; each has its own result, and a bad one sinks no other",
        answer=schemas.CREATED_MANY,
        headers=(PARENT, STATE),
        failures=_BODY_FAILURES,
        body="NewSchedules",
        creates=False,
        also=("207",),
        example={"schedules": [_EXAMPLE, _EXAMPLE]},
    ),
    _Operation(
        method="post",
        path="/goscheduler/schedules/batch-cancel",
        summary="Cancel up to 1,000 schedules; each has its own result",
        answer=schemas.CANCELLED_MANY,
        failures=_BODY_FAILURES,
        body="Cancels",
        creates=False,
        also=("207",),
        example={"scheduleIds": ["01a3b2c4-0000-8000-8000-000000000001"]},
    ),
    _Operation(
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
        example={"schedules": [_EXAMPLE | {"scheduleId": "2e6a7d2c-ca0c-11f0-8de9-0242ac120002"}]},
    ),
    _Operation(
        method="post",
        path="/goscheduler/schedule",
        summary="Create a schedule; answers with the schedule itself as data",
        answer=schemas.FLAT_SCHEDULE,
        failures=(*_BODY_FAILURES, "422"),
        headers=("Idempotency-Key", PARENT, STATE),
        body="NewSchedule",
        example=_EXAMPLE,
    ),
    _Operation(
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
    _Operation(
        method="post",
        path="/goscheduler/apps",
        summary="Register an app",
        answer=schemas.ONE_APP,
        failures=("400", "408", "409", "413", "503"),
        body="NewApp",
        example=_APP_EXAMPLE,
    ),
    _Operation(
        method="get",
        path="/goscheduler/apps",
        summary="List all apps, or the one named by app_id; with size, contains or after a page of those"
        " whose ids have the text in them, the ones that begin with it first",
        answer=schemas.APPS,
        failures=("400", "404", "409", "503"),
        query=("app_id", "contains", "after", "size:apps"),
    ),
    _Operation(
        method="delete",
        path="/goscheduler/apps/{appId}",
        summary="Delete an app; refused while it has schedules to fire, unless cancel_schedules is true",
        answer=schemas.ONE_APP,
        failures=("400", "409", "503"),
        query=("cancel_schedules",),
        success="202",
    ),
    _Operation(
        method="get",
        path=_CONFIGURATION_PATH,
        summary="Show what an app sets, without what it leaves to the server",
        answer=schemas.CONFIGURED,
        failures=("400", "404", "409", "503"),
    ),
    *(
        _Operation(
            method=method,
            path=_CONFIGURATION_PATH,
            summary=summary,
            answer=schemas.CONFIGURED,
            failures=_BODY_FAILURES,
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
    _Operation(
        method="delete",
        path=_CONFIGURATION_PATH,
        summary="Leave an app's whole configuration to the server",
        answer=schemas.CONFIGURED,
        failures=("400", "409", "503"),
    ),
    *(
        _Operation(
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
    _Operation(
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
    _Operation(
        method="put",
        path=_NAMED_PATH,
        summary="Create a one-time schedule under a name, or change the one that is pending there to this;"
        " with `dry_run`: say what it would be, and change nothing",
        answer=schemas.PUT_SCHEDULE,
        headers=(PARENT, STATE),
        query=("dry_run",),
        failures=_BODY_FAILURES,
        body="NamedSchedule",
        creates=False,
        example={key: value for key, value in _EXAMPLE.items() if key != "appId"},
    ),
    _Operation(
        method="get",
        path=_NAMED_PATH,
        summary="Read the schedule that was put under a name last",
        answer=schemas.NAMED_SCHEDULE_ANSWER,
        failures=("400", "404", "409", "503"),
    ),
    _Operation(
        method="delete",
        path=_NAMED_PATH,
        summary="Cancel the schedule that was put under a name last; the name is free again",
        answer=schemas.CANCELLED,
        failures=("400", "404", "409", "503"),
        also=("202",),
    ),
    _Operation(
        method="post",
        path=_SECRETS_PATH,
        summary="Sign the app's callbacks with a further secret, shown this once; two of a kind at most",
        answer=schemas.CREATED_SECRET,
        failures=("400", "408", "409", "413", "503"),
        body="NewSigningSecret",
        may_lack_body=True,
        example={},
    ),
    _Operation(
        method="get",
        path=_SECRETS_PATH,
        summary="List the ids of an app's signing secrets, newest first",
        answer=schemas.SECRETS,
        failures=("400", "409", "503"),
    ),
    _Operation(
        method="delete",
        path=f"{_SECRETS_PATH}/{{secretId}}",
        summary="Revoke a signing secret; without any, callbacks are not signed",
        answer=schemas.DELETED_SECRET,
        failures=("400", "404", "409", "503"),
    ),
    _Operation(
        method="get",
        path=_KEYS_PATH,
        summary="List the public keys that an app's callbacks can be verified with, newest first",
        answer=schemas.SIGNING_KEYS,
        failures=("400", "409", "503"),
    ),
    _Operation(
        method="get",
        path=_LETTERS_PATH,
        summary="List deliveries that were given up, oldest first",
        answer=schemas.DEAD_LETTERS,
        failures=("400", "409", "503"),
        query=("start_time", "end_time", "size", "continuation_token", "replayed"),
    ),
    _Operation(
        method="get",
        path=f"{_LETTERS_PATH}/count",
        summary="Count the deliveries that were given up and not filed again",
        answer=schemas.LETTER_COUNT,
        failures=("400", "409", "503"),
        query=("start_time", "end_time"),
    ),
    _Operation(
        method="post",
        path=f"{_LETTERS_PATH}/replay",
        summary="File many deliveries again that were given up, at most 200 a second",
        answer=schemas.REPLAYED_MANY,
        failures=_BODY_FAILURES,
        body="Replays",
        creates=False,
        example={"startTime": "2030-01-31T08:00:00Z", "endTime": "2030-01-31T09:00:00Z", "size": 100},
    ),
    _Operation(
        method="post",
        path="/goscheduler/schedules/{scheduleId}/replay",
        summary="File a failed schedule again, under its own id",
        answer=schemas.REPLAYED,
        failures=("400", "404", "409", "503"),
    ),
    _Operation(
        method="get",
        path=_RECURRING_PATH,
        summary="List an app's recurring schedules, by id",
        answer=schemas.RECURRING_PAGE,
        failures=("400", "409", "503"),
        query=("state", "size", "continuation_token"),
    ),
    _Operation(
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
    _Operation(
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
        _Operation(
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
    _Operation(
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
    _Operation(
        method="post",
        path=f"{_RECURRING_PATH}/{{name}}/trigger",
        summary="File a run now, beside the plan",
        answer=schemas.ONE_SCHEDULE,
        failures=("400", "404", "409", "503"),
        success=_CREATED,
    ),
    _Operation(
        method="post",
        path=f"{_RECURRING_PATH}/{{name}}/backfill",
        summary="File runs for nominal times that are over and have none",
        answer=schemas.BACKFILLED,
        failures=("400", "404", "408", "409", "413", "503"),
        body="Backfill",
        creates=False,
        example={"from": "2029-01-01T00:00:00Z", "to": "2029-02-01T00:00:00Z", "dryRun": True},
    ),
    _Operation(
        method="get",
        path=f"{_RECURRING_PATH}/{{name}}/preview",
        summary="Show the next runs, and what the clocks do to them",
        answer=schemas.PREVIEW_ANSWER,
        failures=("400", "404", "409", "503"),
        query=("size:preview",),
    ),
    _Operation(
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
        _Operation(
            method="get",
            path=path,
            summary="List the runs of a recurring schedule that were filed, newest first",
            answer=schemas.RUNS,
            failures=("400", "404", "409", "503"),
            query=("size", "when", "continuation_token"),
        )
        for path in (f"{_RECURRING_PATH}/{{name}}/runs", "/goscheduler/schedules/{scheduleId}/runs")
    ),
    _Operation(
        method="get",
        path=_CALENDARS_PATH,
        summary="List an app's exclusion calendars, by name",
        answer=schemas.CALENDARS,
        failures=("400", "409", "503"),
    ),
    _Operation(
        method="put",
        path=f"{_CALENDARS_PATH}/{{name}}",
        summary="Create an exclusion calendar, or put it in place of the one of this name; it counts for the"
        " runs that are not filed yet",
        answer=schemas.CALENDAR_ANSWER,
        failures=_BODY_FAILURES,
        body="NewCalendar",
        creates=False,
        example={"dates": ["2030-12-25", "2030-12-26"]},
    ),
    *(
        _Operation(
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
    _Operation(
        method="get",
        path="/goscheduler/crons/schedules",
        summary="List up to 1,000 recurring schedules of an app, as goscheduler does",
        answer=schemas.CRONS,
        failures=("400", "409", "503"),
        query=("app_id", "status:crons"),
        needed=("app_id",),
    ),
    _Operation(
        method="post",
        path="/goscheduler/apps/{appId}/bulk-action/{action}",
        summary="Act on all of a time range, or with dry_run count it, as a job in the background",
        answer=schemas.ASKED_JOB,
        failures=("400", "409", "503"),
        query=("start_time", "end_time", "status", "zone", "dry_run", "reason", "until"),
    ),
    _Operation(
        method="get",
        path=_JOBS_PATH,
        summary="List the bulk jobs of an app, newest first",
        answer=schemas.JOBS,
        failures=("400", "503"),
        query=("size:jobs", "continuation_token"),
    ),
    _Operation(
        method="get",
        path=f"{_JOBS_PATH}/{{jobId}}",
        summary="Read a bulk job: how far it is, and what came of it",
        answer=schemas.ONE_JOB,
        failures=("400", "404", "409", "503"),
    ),
    _Operation(
        method="delete",
        path=f"{_JOBS_PATH}/{{jobId}}",
        summary="Let a bulk job do no more; what it did stands",
        answer=schemas.ONE_JOB,
        failures=("400", "404", "409", "503"),
    ),
    *(
        _Operation(
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
    _Operation(
        method="get",
        path="/goscheduler/apps/{appId}/audit-fires",
        summary="Audit the fires of a time range, a part at a time: each has one outcome, or it is listed",
        answer=schemas.FIRE_AUDIT,
        failures=("400", "404", "409", "503"),
        query=("start_time", "end_time", "zone", "continuation_token"),
    ),
    *(
        _Operation(
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
        _Operation(
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
    _Operation(
        method="get",
        path="/goscheduler/overview",
        summary="Tell how the deployment is: lag, rates, what is due, and what is wrong and to be done",
        answer=schemas.OVERVIEW,
        failures=("503",),
    ),
    _Operation(
        method="get",
        path="/goscheduler/nodes",
        summary="List the dispatchers, as each said of itself some seconds ago",
        answer=schemas.NODES,
        failures=("503",),
    ),
    _Operation(
        method="get",
        path="/goscheduler/ring",
        summary="Tell what the ring gives each node and what it owns, where the partitions of an app are, and"
        " what would move if nodes joined or left",
        answer=schemas.RING,
        failures=("400", "404", "503"),
        query=("app_id", "join", "leave"),
    ),
    *(
        _Operation(
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
    _Operation(
        method="get",
        path="/goscheduler/apps/{appId}/forecast",
        summary="Tell what falls due of an app in the next hours by minutes, and what its quota carries",
        answer=schemas.FORECAST,
        failures=("400", "404", "409", "503"),
        query=("hours",),
    ),
    _Operation(method="get", path="/", summary="Tell what is here", answer=schemas.FRONT),
    _Operation(
        method="get",
        path="/goscheduler",
        summary="Tell what is here, and what the caller may do",
        answer=schemas.FRONT_OF_CALLER,
    ),
    _Operation(
        method="get",
        path="/info",
        summary="Tell which release this is, and how it was started",
        answer=schemas.INFO,
    ),
    *(
        _Operation(
            method=method,
            path="/goscheduler/healthcheck",
            summary="Answer, whatever the state of the store; any method will do",
            answer=schemas.HEALTHY,
        )
        for method in ("get", "post", "put", "patch", "delete", "options")
    ),
    _Operation(
        method="get", path="/health/live", summary="Answer while the process runs", answer=schemas.HEALTHY
    ),
    _Operation(
        method="get",
        path="/health/ready",
        summary="Answer 200 while requests can be served",
        answer=schemas.HEALTHY,
        failures=("503",),
    ),
)


_CLOCK_OPERATIONS = (
    _Operation(method="get", path="/clock", summary="Tell the time of the test clock", answer=schemas.CLOCK),
    _Operation(
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


def openapi_document(
    settings: ServerSettings,
    offer: Offer,
    needs: Mapping[tuple[str, str], Needs],
    noted: Collection[tuple[str, str]],
    *,
    is_stepped: bool = False,
) -> Document:
    """Return the document of a server with these settings that offers this.

    Args:
        needs: what routes need of their caller, by method in lower case and path, the names in it left out.
        noted: the routes whose changes are in the audit log.
        is_stepped: whether it has a test clock.
    """
    created = str(settings.created_http_status)
    paths: dict[str, dict[str, Document]] = {}
    for operation in (*_OPERATIONS, *(_CLOCK_OPERATIONS if is_stepped else ())):
        if is_stepped and operation.answer is schemas.HEALTHY:
            operation = replace(operation, answer=schemas.STEPPED_HEALTHY)
        for path in dict.fromkeys((operation.path, _singular(operation.path))):
            copy = paths.setdefault(path, {})
            if operation.method not in copy:
                key = operation.method, NAMED.sub("{}", path)
                headers = (*operation.headers, *((REQUEST_ID, REASON) if key in noted else ()))
                own = replace(operation, path=path, headers=headers)
                copy[operation.method] = own.describe(created, needs[key])
    return {
        "openapi": "3.1.0",
        "info": {"title": "Ringtime", "version": version("ringtime"), "description": _INTRO},
        "paths": paths,
        "components": {
            "schemas": {**schemas.requests_of(offer, is_stepped=is_stepped), **schemas.ANSWERS},
            "securitySchemes": {_SCHEME: {"type": "http", "scheme": "bearer", "description": _SCOPES}},
        },
    }


def _singular(path: str) -> str:
    """Return the same path as goscheduler's README spells it; a create there has an entry of its own."""
    if path.startswith("/goscheduler/crons"):
        return path
    singular = path.replace("/apps", "/app")
    return (
        singular
        if path.endswith(("/schedules", "/schedules/{name}"))
        else singular.replace("/schedules", "/schedule")
    )


def to_bytes(document: Document) -> bytes:
    """Return the document as JSON."""
    return orjson.dumps(document)
