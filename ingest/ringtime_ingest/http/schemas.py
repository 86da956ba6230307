"""The answers as JSON Schema, for the OpenAPI document; a test holds them against real answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, get_args, get_origin

from ringtime_ingest.http.envelope import CODES
from ringtime_ingest.http.fields import (
    ADVANCE,
    APP_ID,
    BACKFILL,
    CALENDAR,
    CALLBACK,
    CANCELS,
    COMPLETED,
    CONFIGURATION,
    DETAILS,
    HOOKS,
    IMPORTED,
    IMPORTED_RECURRING,
    IMPORTS,
    INTERVAL,
    LABELS,
    NAMED_SCHEDULE,
    NEW_APP,
    NEW_RECURRING,
    NEW_SCHEDULE,
    NEW_SCHEDULES,
    NEW_SIGNING_SECRET,
    OWN_CALLBACK,
    OWN_RETRY_POLICY,
    PAUSE,
    PREVIEW,
    RECURRING_PATCH,
    REPLAYS,
    RETRY_POLICY,
    SCHEDULE_ID,
    SCHEDULE_PATCH,
    SECRET_ID,
    TOKEN,
)
from ringtime_ingest.http.shapes import Shape
from ringtime_ingest.service.requests import Offer
from ringtime_shared.access import Scope
from ringtime_shared.api.apps import AppView, NewSigningSecret, SigningSecretView
from ringtime_shared.api.audit import AuditEntryView, AuditPage
from ringtime_shared.api.batches import MAX_ITEMS, BatchCounts
from ringtime_shared.api.calendars import CalendarSummary, CalendarView, SpanView
from ringtime_shared.api.completions import CompletionView
from ringtime_shared.api.configuration import maxima_of
from ringtime_shared.api.dead_letters import (
    DeadLetterPage,
    DeadLetterView,
    ReplayResult,
    ReplayView,
    SkippedReplay,
)
from ringtime_shared.api.fires import CompletenessView, FindingView, FireAuditPage
from ringtime_shared.api.imports import ImportedView, ImportEffect
from ringtime_shared.api.jobs import JobPage, JobView
from ringtime_shared.api.keys import KeyList, KeyView
from ringtime_shared.api.operating import (
    DestinationList,
    DestinationView,
    FlowView,
    ForecastView,
    MinuteView,
    NodeList,
    NodeView,
    OverviewView,
    PartitionView,
    ProblemView,
    ResizeView,
    RingNodeView,
    RingView,
)
from ringtime_shared.api.recurring import (
    MAX_LIST_SIZE,
    BackfillEffect,
    BackfillReport,
    BackfillRun,
    Preview,
    RecurringPage,
    RecurringView,
    RunPage,
)
from ringtime_shared.api.schedules import (
    AttemptView,
    IdempotencyView,
    PutEffect,
    SchedulePage,
    ScheduleView,
)
from ringtime_shared.api.times import IntervalView, PlannedView
from ringtime_shared.api.views import Key, keys_of
from ringtime_shared.apps.retry_rules import RetryBounds
from ringtime_shared.errors import ErrorWord
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.fires import Reason, Waits
from ringtime_shared.models.hooks import HookEvent, Hooks
from ringtime_shared.models.job import MOST_PROBLEMS, JobAction, JobState
from ringtime_shared.models.recurring import DefinitionState
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import LOG_LENGTH, Status
from ringtime_shared.models.sending import Priority
from ringtime_shared.models.times import DstGap, DstOverlap, Effect, Spread, Unit

_DAY_S = 86_400

Schema = Mapping[str, object]


def ref(name: str) -> Schema:
    """Return a reference to a named schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def record(properties: Mapping[str, Schema], *optional: str) -> Schema:
    """Return an object schema in which all but `optional` are always there."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _text(doc: str, form: str = "") -> Schema:
    return {"type": "string", "description": doc} | ({"format": form} if form else {})


def _whole(doc: str) -> Schema:
    return {"type": "integer", "description": doc}


def _shown(shape: Shape, **others: Schema) -> Schema:
    """Return the schema of an object that is shown as it was asked for, without what was left out."""
    properties = {
        field.name: others.get(field.name)
        or {**(field.schema or field.kind.schema), "description": field.doc}
        for field in shape.fields
    }
    return record(properties, *properties)


def _object(view: type, **others: Schema) -> Schema:
    """Return the schema of what a view reads; `others` are keys for clients of goscheduler alone."""
    keys = keys_of(view)
    properties = {key.name: {**_type_of(key), "description": key.doc} for key in keys}
    return record({**properties, **others}, *(key.name for key in keys if key.is_optional))


def _type_of(key: Key) -> Schema:
    """Return the schema of a value; some have more to them than their type."""
    kind = get_origin(key.kind) or key.kind
    inside = get_args(key.kind)[0] if kind in (tuple, Sequence) else None
    if key.name in _FORMS and inside not in _OBJECTS:
        return _FORMS[key.name]
    if inside is str:
        return {"type": "array", "items": {"type": "string"}}
    if kind in (tuple, Sequence):
        return {"type": "array", "items": ref(_OBJECTS[inside])}
    return ref(_OBJECTS[kind]) if kind in _OBJECTS else _TYPES[kind]


_FORMS: Mapping[str, Schema] = {
    "appId": APP_ID,
    "scheduleId": SCHEDULE_ID,
    "secretId": SECRET_ID,
    "continuationToken": TOKEN,
    "callback": ref("Callback"),
    "hooks": ref("ShownHooks"),
    "hookOf": record(
        {"scheduleId": SCHEDULE_ID, "event": {"type": "string", "enum": [each.value for each in HookEvent]}}
    ),
    "dates": {"type": "array", "items": {"type": "string", "format": "date"}},
    "unreadable": {"type": "array", "items": SCHEDULE_ID},
    "attemptLog": {"type": "array", "maxItems": LOG_LENGTH + 1, "items": ref("Attempt")},
    "deleting": {"const": True},
    "parentScheduleId": SCHEDULE_ID,
    "labels": LABELS,
    "jobId": SCHEDULE_ID,
    "problems": {"type": "array", "maxItems": MOST_PROBLEMS, "items": {"type": "string"}},
    "exclusionCalendars": {"type": "array", "items": {"type": "string"}},
    "entryId": SCHEDULE_ID,
    "about": SCHEDULE_ID,
    "ended": {
        "type": "object",
        "additionalProperties": {"type": "integer"},
        "propertyNames": {"enum": [status.value for status in Status]},
    },
    "before": {},
    "after": {},
}
_TYPES: Mapping[Any, Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    datetime: {"type": "string", "format": "date-time"},
    **{
        words: {"type": "string", "enum": [word.value for word in words]}
        for words in (
            Status,
            DefinitionState,
            JobAction,
            JobState,
            Unit,
            DstGap,
            Spread,
            DstOverlap,
            Effect,
            BackfillEffect,
            ImportEffect,
            Priority,
            Waits,
            Reason,
        )
    },
}
#: what the document calls the objects inside others
_OBJECTS: Mapping[Any, str] = {
    AppConfiguration: "ShownConfiguration",
    RetryRules: "ShownRetryPolicy",
    Hooks: "ShownHooks",
    ScheduleView: "Schedule",
    DeadLetterView: "DeadLetter",
    SkippedReplay: "SkippedReplay",
    AuditEntryView: "AuditEntry",
    JobView: "Job",
    CompletenessView: "Completeness",
    FindingView: "Finding",
    RecurringView: "Recurring",
    IntervalView: "ShownInterval",
    PlannedView: "Planned",
    BackfillRun: "BackfillRun",
    SpanView: "Span",
    NodeView: "Node",
    RingNodeView: "RingNode",
    PartitionView: "Partition",
    FlowView: "Flow",
    ResizeView: "Resize",
    DestinationView: "Destination",
    KeyView: "ApiKey",
    MinuteView: "Minute",
    ProblemView: "Problem",
}
_SECONDS: Mapping[str, Schema] = {"scheduleTime": _whole("Fire time, epoch seconds, fractions cut off.")}
_MINUTE: Mapping[str, Schema] = {"scheduleGroup": _whole("The minute of scheduleTime, epoch seconds.")}
_STATUS = record(
    {
        "statusCode": _whole("Application code; 201 for a create whatever the HTTP status is."),
        "statusMessage": {"const": "Success"},
        "statusType": {"const": "Success"},
        "totalCount": _whole("How many things `data` holds; 0 for activate and deactivate."),
    }
)
_FAILURE = record(
    {
        "status": record(
            {
                "statusCode": {"enum": sorted(CODES), "description": "Application code."},
                "statusMessage": _text("What is wrong, in one sentence."),
                "statusType": {"const": "Fail"},
                "error": {
                    "enum": [*ErrorWord],
                    "description": "What went wrong, for programs. "
                    + " ".join(f"{word}: {word.meaning}." for word in ErrorWord),
                },
                "errors": {
                    "type": "array",
                    "items": record(
                        {"field": _text("As in the request."), "rule": _text("What would be right.")}
                    ),
                },
                "details": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "description": "What else there is to know, where `error` says so.",
                },
            },
            "details",
        )
    }
)
_ACTIVATION = record(
    {
        "appId": {**APP_ID, "description": "The app's id."},
        "Active": {"type": "boolean", "description": "goscheduler's spelling."},
        "active": {"type": "boolean", "description": "The same."},
    }
)


def success_of(data: Schema) -> Schema:
    """Return the success envelope around `data`."""
    return record({"status": ref("Status"), "data": data})


def _results(of_one: Schema) -> Schema:
    """Return the schema of what became of a batch, whose items are answered like this."""
    items = {"anyOf": [of_one, ref("Failure")]}
    doc = "One for each item, in order: what its own request would be answered."
    return _object(
        BatchCounts,
        results={
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_ITEMS,
            "items": items,
            "description": doc,
        },
    )


def requests_of(offer: Offer, *, is_stepped: bool = False) -> Mapping[str, Schema]:
    """Return the request objects of a server that offers this; `is_stepped`: it has a test clock."""
    limits, callback_types = offer.limits, offer.callback_types
    most_s = limits.max_retention_days * _DAY_S
    bounds = RetryBounds(max_http_attempts=limits.max_http_attempts, max_age_s=most_s)
    own = {name: ref(f"{name.capitalize()}Details") for name in DETAILS if name in callback_types}
    others = [name for name in callback_types if name not in own]
    kinds = [
        *(_callback_of({"const": name}, details) for name, details in own.items()),
        *([_callback_of({"enum": others}, {"type": "object"})] if others else []),
    ]
    most = {
        "delaySeconds": limits.max_future_period_days * _DAY_S,
        "timeoutMs": limits.max_http_timeout_ms,
    }
    return {
        "NewSchedule": NEW_SCHEDULE.schema(most),
        "NamedSchedule": NAMED_SCHEDULE.schema(most),
        "NewSchedules": NEW_SCHEDULES.schema(),
        "Cancels": CANCELS.schema(),
        "Imports": IMPORTS.schema(),
        "Imported": IMPORTED.schema(most),
        "ImportedRecurring": IMPORTED_RECURRING.schema(most),
        "Callback": {**CALLBACK.schema(), "oneOf": kinds},
        "Hooks": HOOKS.schema(),
        "OwnCallback": {**OWN_CALLBACK.schema(), "oneOf": kinds},
        **{f"{name.capitalize()}Details": DETAILS[name].schema() for name in own},
        "NewApp": NEW_APP.schema({"partitions": limits.max_partitions}),
        "Configuration": CONFIGURATION.schema(maxima_of(AppConfiguration, limits)),
        "RetryPolicy": RETRY_POLICY.schema(maxima_of(RetryRules, bounds)),
        "OwnRetryPolicy": OWN_RETRY_POLICY.schema(maxima_of(RetryRules, bounds)),
        "NewSigningSecret": NEW_SIGNING_SECRET.schema(),
        "Replays": REPLAYS.schema(),
        "NewRecurring": NEW_RECURRING.schema(most),
        "RecurringPatch": RECURRING_PATCH.schema(most),
        "SchedulePatch": SCHEDULE_PATCH.schema(most),
        "Interval": INTERVAL.schema(),
        "Preview": PREVIEW.schema(),
        "Backfill": BACKFILL.schema(),
        "Pause": PAUSE.schema(),
        "Completed": COMPLETED.schema(),
        **({"Advance": ADVANCE.schema()} if is_stepped else {}),
        "NewCalendar": CALENDAR.schema(),
    }


def _callback_of(kind: Schema, details: Schema) -> Schema:
    return {"properties": {"type": kind, "details": details}}


ANSWERS: Mapping[str, Schema] = {
    "ShownConfiguration": _shown(CONFIGURATION, retryPolicy=ref("ShownRetryPolicy"), hooks=ref("ShownHooks")),
    "ShownHooks": _shown(HOOKS, **{each.value: ref("Callback") for each in HookEvent}),
    "ShownRetryPolicy": _shown(RETRY_POLICY),
    "Attempt": _object(AttemptView),
    "Schedule": _object(ScheduleView, **_SECONDS, **_MINUTE),
    "App": _object(AppView),
    "Activation": _ACTIVATION,
    "Configured": record(
        {"appId": {**APP_ID, "description": "The app's id."}, "configuration": ref("ShownConfiguration")}
    ),
    "SigningSecret": _object(SigningSecretView),
    "CreatedSigningSecret": _object(NewSigningSecret),
    "DeadLetter": _object(DeadLetterView, **_SECONDS),
    "Replay": _object(ReplayView),
    "ReplayReport": _object(ReplayResult),
    "SkippedReplay": _object(SkippedReplay),
    "AuditEntry": _object(AuditEntryView),
    "Idempotency": _object(IdempotencyView),
    "Job": _object(JobView),
    "Completeness": _object(CompletenessView),
    "ApiKey": _object(KeyView),
    "Finding": _object(FindingView),
    "Completion": _object(CompletionView),
    "Recurring": _object(RecurringView),
    "ShownInterval": _object(IntervalView),
    "Planned": _object(PlannedView),
    "BackfillRun": _object(BackfillRun),
    "Calendar": _object(CalendarView),
    "CalendarSummary": _object(CalendarSummary),
    "Span": _object(SpanView),
    "Node": _object(NodeView),
    "RingNode": _object(RingNodeView),
    "Partition": _object(PartitionView),
    "Flow": _object(FlowView),
    "Resize": _object(ResizeView),
    "Destination": _object(DestinationView),
    "Minute": _object(MinuteView),
    "Problem": _object(ProblemView),
    "Status": _STATUS,
    "Failure": _FAILURE,
}
_IDEMPOTENCY = {"idempotency": ref("Idempotency")}
_CREATED = record({"schedule": ref("Schedule"), **_IDEMPOTENCY}, *_IDEMPOTENCY)
_CANCELLED = record({"schedule": ref("Schedule"), "cancel": {"const": "best_effort"}}, "cancel")
_EITHER: Schema = {"anyOf": [ref("Schedule"), ref("Recurring")]}
CREATED_SCHEDULE = success_of(record({"schedule": _EITHER, **_IDEMPOTENCY}, *_IDEMPOTENCY))
PUT_SCHEDULE = success_of(
    record(
        {
            "schedule": ref("Schedule"),
            "created": {"type": "boolean", "description": "Whether it was filed now."},
            "effect": {
                "type": "string",
                "enum": list(PutEffect),
                "description": "With `dry_run`: what the put would do.",
            },
        },
        "effect",
    )
)
NAMED_SCHEDULE_ANSWER = success_of(record({"schedule": ref("Schedule")}))
ONE_SCHEDULE = success_of(record({"schedule": _EITHER}))
FLAT_SCHEDULE = success_of(_EITHER)
CANCELLED = success_of(record({"schedule": _EITHER, "cancel": {"const": "best_effort"}}, "cancel"))
CREATED_MANY = success_of(_results(_CREATED))
CANCELLED_MANY = success_of(_results(_CANCELLED))
IMPORTED_MANY = success_of(_results(_object(ImportedView)))
COMPLETED_RUN = success_of(ref("Completion"))
CONFIGURED = success_of(ref("Configured"))
SCHEDULES = success_of(_object(SchedulePage))
RECURRING = success_of(ref("Recurring"))
RECURRING_PAGE = success_of(_object(RecurringPage))
CRONS = success_of({"type": "array", "maxItems": MAX_LIST_SIZE, "items": ref("Recurring")})
RUNS = success_of(_object(RunPage))
PREVIEW_ANSWER = success_of(_object(Preview))
BACKFILLED = success_of(_object(BackfillReport))
CALENDAR_ANSWER = success_of(ref("Calendar"))
CALENDARS = success_of(record({"calendars": {"type": "array", "items": ref("CalendarSummary")}}))
ONE_APP = success_of(ref("App"))
APPS = success_of(
    record(
        {
            "apps": {"type": "array", "items": ref("App")},
            "count": _whole("How many there are on all pages; where a page was asked for."),
        },
        "count",
    )
)
ACTIVATED = success_of(ref("Activation"))
ONE_JOB = success_of(ref("Job"))
JOBS = success_of(_object(JobPage))
ASKED_JOB = record(
    {
        "status": ref("Status"),
        "data": record({"job": ref("Job")}),
        "remarks": _text("What was asked for, in a sentence."),
    }
)
CREATED_SECRET = success_of(ref("CreatedSigningSecret"))
SECRETS = success_of(record({"signingSecrets": {"type": "array", "items": ref("SigningSecret")}}))
SIGNING_KEYS = success_of(record({"signingKeys": {"type": "array", "items": ref("SigningSecret")}}))
DELETED_SECRET = success_of(record({"secretId": SECRET_ID}))
DEAD_LETTERS = success_of(_object(DeadLetterPage))
COMPLETENESS = success_of(ref("Completeness"))
FIRE_AUDIT = success_of(_object(FireAuditPage))
AUDIT = success_of(_object(AuditPage))
OVERVIEW = success_of(_object(OverviewView))
NODES = success_of(_object(NodeList))
RING = success_of(_object(RingView))
DESTINATIONS = success_of(_object(DestinationList))
KEYS = success_of(_object(KeyList))
FORECAST = success_of(_object(ForecastView))
LETTER_COUNT = success_of(record({"count": _whole("Dead letters that were not filed again.")}))
REPLAYED = success_of(ref("Replay"))
REPLAYED_MANY = success_of(ref("ReplayReport"))
_FRONT: Mapping[str, Schema] = {
    "name": {"const": "Ringtime"},
    "version": _text("Of the server."),
    "api": _text("Path of the API."),
    "docs": _text("Path of the reference, for people."),
    "openapi": _text("Path of this document."),
    "health": _text("Path that tells whether requests can be served."),
}
FRONT = success_of(record(_FRONT))
INFO = success_of(
    record(
        {
            "name": _FRONT["name"],
            "version": _FRONT["version"],
            "python": _text("Version of the interpreter."),
            "clock": {"enum": ["machine", "manual"], "description": "Whether time is the machine's."},
            "keys": {"enum": ["required", "off"], "description": "Whether requests need an API key."},
        }
    )
)
FRONT_OF_CALLER = success_of(
    record(
        {
            **_FRONT,
            "caller": record(
                {
                    "who": _text("`key` and the id of the API key, or `anybody` where keys are off."),
                    "scopes": {
                        "type": "array",
                        "items": {"type": "string", "enum": [each.value for each in Scope]},
                        "description": "What you may do.",
                    },
                    "apps": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "With these apps alone; left out: with all.",
                    },
                },
                "apps",
            ),
        }
    )
)
HEALTHY = record({"status": {"const": "Success"}, "code": {"const": 200}})
STEPPED_HEALTHY = record(
    {"status": {"const": "Success"}, "code": {"const": 200}, "clock": {"const": "manual"}}
)
CLOCK = success_of(
    record(
        {
            "now": _text("What time it is on this server."),
            "done": {
                "type": "boolean",
                "description": "Whether all that was due has its outcome; false: there was not time enough.",
            },
            "warning": _text("That this server is for tests."),
        }
    )
)
