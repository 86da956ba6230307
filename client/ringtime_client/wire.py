"""JSON of the API to and from the client's own types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from msgspec import convert

from ringtime_client.dead_letter_views import DeadLetterPage, ReplayResult, ReplayView
from ringtime_client.views import AppView, ScheduleView, SigningSecretView
from ringtime_shared.api.apps import retry_to_json
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.retry import RetryRules

_SCHEDULE = {
    "scheduleId": "schedule_id",
    "appId": "app_id",
    "fireTime": "fire_time",
    "partitionId": "partition",
    "firedAt": "fired_at",
    "lagMs": "lag_ms",
    "httpCode": "http_code",
    "errorMessage": "error",
    "retryPolicy": "retry",
    "nextAttemptAt": "next_attempt_at",
    "attemptLog": "attempt_log",
}
_APP = {"appId": "app_id"}
_SECRET = {"secretId": "secret_id", "createdAt": "created_at"}
_CONFIGURATION = {
    "futureScheduleCreationPeriod": "future_period_days",
    "firedScheduleRetentionPeriod": "retention_days",
    "payloadSize": "payload_bytes",
    "httpRetries": "http_attempts",
    "httpTimeout": "http_timeout_ms",
    "maxLatenessSeconds": "max_lateness_s",
    "retryPolicy": "retry",
    "maxInFlight": "max_in_flight",
    "maxPerSecond": "max_per_second",
    "weight": "weight",
}
_RETRY = {
    "firstDelayMs": "first_delay_ms",
    "maxDelayMs": "max_delay_ms",
    "maxAgeSeconds": "max_age_s",
}
_ATTEMPT = {"lagMs": "lag_ms", "durationMs": "duration_ms", "httpCode": "http_code", "errorMessage": "error"}

_LETTER = {
    "scheduleId": "schedule_id",
    "appId": "app_id",
    "fireTime": "fire_time",
    "failedAt": "failed_at",
    "callbackType": "callback_type",
    "httpCode": "http_code",
    "errorMessage": "error",
    "replayedAt": "replayed_at",
}
_PAGE = {"deadLetters": "letters", "continuationToken": "token"}
_REPLAY = {"scheduleId": "schedule_id", "nextAttemptAt": "next_attempt_at"}

SecretView = TypeVar("SecretView", bound=SigningSecretView)


def to_schedule(shown: object) -> ScheduleView:
    """Read a schedule object. Raises ValidationError."""
    fields = _with_retry(_renamed(shown, _SCHEDULE))
    log = fields.get("attempt_log")
    if isinstance(log, list):
        fields["attempt_log"] = [_renamed(attempt, _ATTEMPT) for attempt in log]
    return convert(fields, ScheduleView)


def to_app(shown: object) -> AppView:
    """Read an app object. Raises ValidationError."""
    fields = _renamed(shown, _APP)
    configuration = _with_retry(_renamed(fields.get("configuration"), _CONFIGURATION))
    if isinstance(configuration.get("retry"), dict):
        configuration["retry"].pop("attempts", None)  # an app says that as `http_attempts`
    return convert(fields | {"configuration": configuration}, AppView)


def to_secret(shown: object, view: type[SecretView]) -> SecretView:
    """Read a signing secret, as made or as listed. Raises ValidationError."""
    return convert(_renamed(shown, _SECRET), view)


def to_letter_page(shown: object) -> DeadLetterPage:
    """Read a page of dead letters. Raises ValidationError."""
    fields = _renamed(shown, _PAGE)
    letters = convert(fields.get("letters"), list[Any])
    return convert(fields | {"letters": [_renamed(letter, _LETTER) for letter in letters]}, DeadLetterPage)


def to_replay(shown: object) -> ReplayView:
    """Read a replay. Raises ValidationError."""
    return convert(_renamed(shown, _REPLAY), ReplayView)


def to_replay_result(shown: object) -> ReplayResult:
    """Read what became of many replays. Raises ValidationError."""
    fields = _renamed(shown, _PAGE)
    skipped = convert(fields.get("skipped"), list[Any])
    return convert(fields | {"skipped": [_renamed(each, _REPLAY) for each in skipped]}, ReplayResult)


def _with_retry(fields: dict[str, Any]) -> dict[str, Any]:
    if fields.get("retry") is not None:
        fields["retry"] = _renamed(fields["retry"], _RETRY)
    return fields


def from_configuration(configuration: AppConfiguration) -> dict[str, object]:
    """Return the configuration object; what is None is left to the server."""
    named = ((key, getattr(configuration, name)) for key, name in _CONFIGURATION.items())
    return {
        key: retry_to_json(value) if isinstance(value, RetryRules) else value
        for key, value in named
        if value is not None
    }


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
