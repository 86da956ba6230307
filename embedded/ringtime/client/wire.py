"""JSON of the API to and from the client's own types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from msgspec import convert

from ringtime.client.views import AppView, ScheduleView
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.models.app import AppConfiguration

_SCHEDULE = {
    "scheduleId": "schedule_id",
    "appId": "app_id",
    "fireTime": "fire_time",
    "partitionId": "partition",
    "firedAt": "fired_at",
    "lagMs": "lag_ms",
    "httpCode": "http_code",
    "errorMessage": "error",
}
_APP = {"appId": "app_id"}
_CONFIGURATION = {
    "futureScheduleCreationPeriod": "future_period_days",
    "firedScheduleRetentionPeriod": "retention_days",
    "payloadSize": "payload_bytes",
    "httpRetries": "http_attempts",
    "httpTimeout": "http_timeout_ms",
    "maxLatenessSeconds": "max_lateness_s",
}


def to_schedule(shown: object) -> ScheduleView:
    """Read a schedule object. Raises ValidationError."""
    return convert(_renamed(shown, _SCHEDULE), ScheduleView)


def to_app(shown: object) -> AppView:
    """Read an app object. Raises ValidationError."""
    fields = _renamed(shown, _APP)
    return convert(fields | {"configuration": _renamed(fields.get("configuration"), _CONFIGURATION)}, AppView)


def from_configuration(configuration: AppConfiguration) -> dict[str, int]:
    """Return the configuration object; what is None is left to the server."""
    named = ((key, getattr(configuration, name)) for key, name in _CONFIGURATION.items())
    return {key: value for key, value in named if value is not None}


def to_body(fields: Mapping[str, object]) -> bytes:
    """Return a request body. Raises InvalidRequest for what JSON cannot hold."""
    try:
        return orjson.dumps(fields, default=_to_dict)
    except orjson.JSONEncodeError as error:
        raise InvalidRequest.of("body", f"must be JSON: {error}") from error


def _to_dict(value: object) -> dict[object, object]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a JSON type")


def _renamed(shown: object, names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in convert(shown, dict[str, Any]).items()}
