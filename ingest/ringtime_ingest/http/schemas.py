"""The answers as JSON Schema, for the OpenAPI document; a test holds them against real answers."""

from __future__ import annotations

from collections.abc import Mapping

from ringtime_ingest.http.envelope import CODES
from ringtime_ingest.http.fields import (
    APP_ID,
    CALLBACK,
    CONFIGURATION,
    DETAILS,
    NEW_APP,
    NEW_SCHEDULE,
    NEW_SIGNING_SECRET,
    REPLAYS,
    RETRY_POLICY,
    SCHEDULE_ID,
    SECRET_ID,
    TOKEN,
    Shape,
)
from ringtime_ingest.service.requests import Offer
from ringtime_shared.app_rules import app_maxima
from ringtime_shared.errors import ErrorWord
from ringtime_shared.models.schedule import LOG_LENGTH, Status
from ringtime_shared.retry_rules import RetryBounds, retry_maxima

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


_SHOWN_CALLBACK = record(
    {
        "type": _text("The callback type."),
        "details": {
            "type": "object",
            "description": "As sent, unknown keys included; `***` for the values of credentials.",
        },
    }
)
_SCHEDULE = record(
    {
        "scheduleId": {**SCHEDULE_ID, "description": "Made by the server."},
        "payload": _text("As sent."),
        "appId": {**APP_ID, "description": "Whose schedule it is."},
        "scheduleTime": _whole("Fire time, epoch seconds, fractions cut off."),
        "partitionId": _whole("The partition of the app that it is filed in."),
        "scheduleGroup": _whole("The minute of scheduleTime, epoch seconds."),
        "callback": {
            **ref("Callback"),
            "description": "As sent, unknown keys of details included; `***` for what is a credential.",
        },
        "status": {"type": "string", "enum": [status.value for status in Status]},
        "fireTime": _text("Fire time to the millisecond, UTC.", "date-time"),
        "errorMessage": _text("Why the last attempt failed, at most 200 characters."),
        "firedAt": _text("When the last attempt was sent.", "date-time"),
        "lagMs": _whole("firedAt less the fire time, or less the create if that was later."),
        "attempts": _whole("Attempts made, once there is one that ended."),
        "httpCode": _whole("HTTP status of the last attempt, if there was an answer."),
        "retryPolicy": ref("ShownRetryPolicy"),
        "nextAttemptAt": _text("When the next attempt, or a row that was parked, is due.", "date-time"),
        "attemptLog": {"type": "array", "maxItems": LOG_LENGTH + 1, "items": ref("Attempt")},
    },
    "errorMessage",
    "firedAt",
    "lagMs",
    "attempts",
    "httpCode",
    "retryPolicy",
    "nextAttemptAt",
    "attemptLog",
)
_ATTEMPT = record(
    {
        "at": _text("When it was sent.", "date-time"),
        "lagMs": _whole("`at` less the fire time, or less the create if that was later."),
        "durationMs": _whole("How long it took."),
        "httpCode": _whole("HTTP status, if there was an answer."),
        "errorMessage": _text("Why it failed, at most 200 characters."),
    },
    "httpCode",
    "errorMessage",
)
_APP = record(
    {
        "appId": {**APP_ID, "description": "The app's id."},
        "partitions": _whole("Its quota of poller instances."),
        "active": {"type": "boolean"},
        "configuration": ref("ShownConfiguration"),
        "deleting": {"const": True, "description": "It is being deleted."},
        "damage": _text("Why what is stored of it cannot be read; then nothing else of it counts."),
    },
    "deleting",
    "damage",
)
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
        "Active": {"type": "boolean", "description": "The seed's spelling."},
        "active": {"type": "boolean", "description": "The same."},
    }
)

_SECRET_ID = {**SECRET_ID, "description": "Names the secret; 16 hexadecimal digits."}
_SIGNING_SECRET = record({"secretId": _SECRET_ID, "createdAt": _text("When it was added.", "date-time")})
_MADE_SECRET = record(
    {
        "secretId": _SECRET_ID,
        "secret": _text("`whsec_` and base64; shown this once."),
        "createdAt": _text("When it was added.", "date-time"),
    }
)

_TOKEN = {**TOKEN, "description": "Goes on after this answer; empty: there is nothing more."}
_DEAD_LETTER = record(
    {
        "scheduleId": {**SCHEDULE_ID, "description": "The schedule that was given up."},
        "appId": {**APP_ID, "description": "Whose schedule it is."},
        "scheduleTime": _whole("Fire time, epoch seconds, fractions cut off."),
        "fireTime": _text("Fire time to the millisecond, UTC.", "date-time"),
        "failedAt": _text("When it was given up.", "date-time"),
        "attempts": _whole("Attempts made."),
        "errorMessage": _text("Why the last one failed, at most 200 characters."),
        "httpCode": _whole("HTTP status of the last attempt, if there was an answer."),
        "callbackType": _text("The type of its callback."),
        "replay": _whole("0: the schedule itself failed; n: its n-th replay."),
        "replayedAt": _text("When it was filed again, or was found to need no replay.", "date-time"),
    },
    "httpCode",
    "replayedAt",
)
_REPLAY = record(
    {
        "scheduleId": {**SCHEDULE_ID, "description": "The schedule, whose id stays as it was."},
        "replay": _whole("Which replay of it this is, from 1."),
        "nextAttemptAt": _text("When it will be sent.", "date-time"),
    }
)
_SKIPPED = record(
    {"scheduleId": {**SCHEDULE_ID, "description": "Not filed again."}, "reason": _text("Why not.")}
)
_REPLAY_REPORT = record(
    {
        "replayed": _whole("How many were filed again."),
        "skipped": {"type": "array", "items": ref("SkippedReplay")},
        "continuationToken": _TOKEN,
    }
)


def success_of(data: Schema) -> Schema:
    """Return the success envelope around `data`."""
    return record({"status": ref("Status"), "data": data})


def requests_of(offer: Offer) -> Mapping[str, Schema]:
    """Return the request objects of a server that offers this."""
    limits, callback_types = offer.limits, offer.callback_types
    maxima = app_maxima(limits)
    of_group = {name.partition(".")[2]: most for name, most in maxima.items() if "." in name}
    bounds = RetryBounds(attempts=limits.max_http_attempts, age_s=limits.max_retention_days * _DAY_S)
    policy = {name: most for name, most in retry_maxima(bounds).items() if name != "factor"}
    most_s = limits.max_future_period_days * _DAY_S
    own = {name: ref(f"{name.capitalize()}Details") for name in DETAILS if name in callback_types}
    others = [name for name in callback_types if name not in own]
    callback = CALLBACK.schema()
    callback["oneOf"] = [
        *(_callback_of({"const": name}, details) for name, details in own.items()),
        *([_callback_of({"enum": others}, {"type": "object"})] if others else []),
    ]
    return {
        "NewSchedule": NEW_SCHEDULE.schema({"delaySeconds": most_s}),
        "Callback": callback,
        **{f"{name.capitalize()}Details": DETAILS[name].schema() for name in own},
        "NewApp": NEW_APP.schema(maxima),
        "Configuration": CONFIGURATION.schema(of_group),
        "RetryPolicy": RETRY_POLICY.schema(policy),
        "NewSigningSecret": NEW_SIGNING_SECRET.schema(),
        "Replays": REPLAYS.schema(),
    }


def _callback_of(kind: Schema, details: Schema) -> Schema:
    return {"properties": {"type": kind, "details": details}}


ANSWERS: Mapping[str, Schema] = {
    "ShownCallback": _SHOWN_CALLBACK,
    "ShownConfiguration": _shown(CONFIGURATION, retryPolicy=ref("ShownRetryPolicy")),
    "ShownRetryPolicy": _shown(RETRY_POLICY),
    "Attempt": _ATTEMPT,
    "Schedule": _SCHEDULE,
    "App": _APP,
    "Activation": _ACTIVATION,
    "SigningSecret": _SIGNING_SECRET,
    "CreatedSigningSecret": _MADE_SECRET,
    "DeadLetter": _DEAD_LETTER,
    "Replay": _REPLAY,
    "ReplayReport": _REPLAY_REPORT,
    "SkippedReplay": _SKIPPED,
    "Status": _STATUS,
    "Failure": _FAILURE,
}
ONE_SCHEDULE = success_of(record({"schedule": ref("Schedule")}))
FLAT_SCHEDULE = success_of(ref("Schedule"))
CANCELLED = success_of(record({"schedule": ref("Schedule"), "cancel": {"const": "best_effort"}}, "cancel"))
ONE_APP = success_of(ref("App"))
APPS = success_of(record({"apps": {"type": "array", "items": ref("App")}}))
ACTIVATED = success_of(ref("Activation"))
CREATED_SECRET = success_of(ref("CreatedSigningSecret"))
SECRETS = success_of(record({"signingSecrets": {"type": "array", "items": ref("SigningSecret")}}))
DELETED_SECRET = success_of(record({"secretId": _SECRET_ID}))
DEAD_LETTERS = success_of(
    record(
        {"deadLetters": {"type": "array", "items": ref("DeadLetter")}, "continuationToken": _TOKEN},
    )
)
LETTER_COUNT = success_of(record({"count": _whole("Dead letters that were not filed again.")}))
REPLAYED = success_of(ref("Replay"))
REPLAYED_MANY = success_of(ref("ReplayReport"))
FRONT = success_of(
    record(
        {
            "name": {"const": "Ringtime"},
            "version": _text("Of the server."),
            "api": _text("Path of the API."),
            "docs": _text("Path of the reference, for people."),
            "openapi": _text("Path of this document."),
            "health": _text("Path that tells whether requests can be served."),
        }
    )
)
HEALTHY = record({"status": {"const": "Success"}, "code": {"const": 200}})
