"""The answers as JSON Schema, for the OpenAPI document; a test holds them against real answers."""

from __future__ import annotations

from collections.abc import Mapping

from ringtime_ingest.fields import CALLBACK, CONFIGURATION, HTTP_DETAILS, NEW_APP, NEW_SCHEDULE
from ringtime_shared.models.schedule import Status

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


_SCHEDULE = record(
    {
        "scheduleId": _text("Made by the server.", "uuid"),
        "payload": _text("As sent."),
        "appId": _text("Whose schedule it is."),
        "scheduleTime": _whole("Fire time, epoch seconds, fractions cut off."),
        "partitionId": _whole("The partition of the app that it is filed in."),
        "scheduleGroup": _whole("The minute of scheduleTime, epoch seconds."),
        "callback": {**ref("Callback"), "description": "As sent, unknown keys of details included."},
        "status": {"type": "string", "enum": [status.value for status in Status]},
        "fireTime": _text("Fire time to the millisecond, UTC.", "date-time"),
        "errorMessage": _text("Why the last attempt failed, at most 200 characters."),
        "firedAt": _text("When the last attempt was sent.", "date-time"),
        "lagMs": _whole("firedAt less the fire time, or less the time of creation if that was later."),
        "attempts": _whole("Attempts made, once there is an outcome."),
        "httpCode": _whole("HTTP status of the last attempt, if there was an answer."),
    },
    "errorMessage",
    "firedAt",
    "lagMs",
    "attempts",
    "httpCode",
)
_APP = record(
    {
        "appId": _text("The app's id."),
        "partitions": _whole("Its quota of poller instances."),
        "active": {"type": "boolean"},
        "configuration": ref("Configuration"),
    }
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
                "statusCode": _whole(
                    "400, 404, 405, 408, 409, 413, 500, 503, 4001, 4002, 4003, 5001 or 5004."
                ),
                "statusMessage": _text("What is wrong, in one sentence."),
                "statusType": {"const": "Fail"},
                "errors": {
                    "type": "array",
                    "items": record(
                        {"field": _text("As in the request."), "rule": _text("What would be right.")}
                    ),
                },
            }
        )
    }
)
_ACTIVATION = record(
    {
        "appId": _text("The app's id."),
        "Active": {"type": "boolean", "description": "The seed's spelling."},
        "active": {"type": "boolean", "description": "The same."},
    }
)


def success_of(data: Schema) -> Schema:
    """Return the success envelope around `data`."""
    return record({"status": ref("Status"), "data": data})


COMPONENTS: Mapping[str, Schema] = {
    "NewSchedule": NEW_SCHEDULE.schema(),
    "Callback": CALLBACK.schema(),
    "HttpDetails": HTTP_DETAILS.schema(),
    "NewApp": NEW_APP.schema(),
    "Configuration": CONFIGURATION.schema(),
    "Schedule": _SCHEDULE,
    "App": _APP,
    "Activation": _ACTIVATION,
    "Status": _STATUS,
    "Failure": _FAILURE,
}
ONE_SCHEDULE = success_of(record({"schedule": ref("Schedule")}))
FLAT_SCHEDULE = success_of(ref("Schedule"))
CANCELLED = success_of(record({"schedule": ref("Schedule"), "cancel": {"const": "best_effort"}}, "cancel"))
ONE_APP = success_of(ref("App"))
APPS = success_of(record({"apps": {"type": "array", "items": ref("App")}}))
ACTIVATED = success_of(ref("Activation"))
HEALTHY = record({"status": {"const": "Success"}, "code": {"const": 200}})
