"""One operation of the document, and what operations have in common: parameters, failures, examples."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

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
from ringtime_shared.api.completions import URL_PATTERN
from ringtime_shared.api.dead_letters import MAX_SIZE
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
from ringtime_shared.traces.context import PARENT, STATE

Document = Mapping[str, object]

NAMED = re.compile(r"\{\w+\}")  #: in a path
EXAMPLE = {
    "appId": "test",
    "payload": "{}",
    "delaySeconds": 10,
    "callback": {
        "type": "http",
        "details": {"url": "http://127.0.0.1:8080/goscheduler/healthcheck", "method": "GET", "headers": {}},
    },
}
SCHEME = "apiKey"  #: what the document calls API keys
CREATED = "created"  #: the HTTP status of creates, which is a setting
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
PARAMETERS: Mapping[str, Schema] = {
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
    "continuation_token": {
        **TOKEN,
        "description": "Goes on where an earlier answer of the same ended; a range may not end before that.",
    },
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
class Operation:
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
        is_create = (self.body and self.creates) or self.success == CREATED
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
            described["security"] = [{SCHEME: [needs.value] if isinstance(needs, Scope) else []}]
        return described

    @staticmethod
    def _parameter(name: str, place: str, is_needed: bool) -> Document:
        schema = PARAMETERS[name]
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


BODY_FAILURES = ("400", "408", "409", "413", "503")
