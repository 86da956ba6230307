"""The rules a request must keep, for HTTP and library callers alike. Pure; reports all faults at once.

Violations name fields as the JSON of the API does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ringtime_ingest.requests import NewApp, NewSchedule
from ringtime_ingest.retry_rules import RetryBounds, check_retry
from ringtime_shared.errors import Violation
from ringtime_shared.models.app import App
from ringtime_shared.settings import AppLimits

CallbackRule = Callable[[Mapping[str, object], str], list[Violation]]

_DAY_MS = 86_400_000
_DAY_S = 86_400
_MOST_IN_FLIGHT = 100_000
_MOST_PER_S = 1_000_000
_MOST_WEIGHT = 100
_APP_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_APP_ID_RULE = "must be 1 to 128 of A-Z, a-z, 0-9, _ and -, the first a letter or a digit"
_RESERVED = frozenset({"maxconfig"})
_MOST_LATENESS_S = 316_224_000  #: ten years


def check_app_id(app_id: str) -> list[Violation]:
    """Return what is wrong with the form of an app id."""
    if _APP_ID.fullmatch(app_id):
        return []
    return [Violation("appId", _APP_ID_RULE if app_id else f"required: {_APP_ID_RULE}")]


def check_new_app(new: NewApp, limits: AppLimits) -> list[Violation]:
    """Return everything that is wrong with a registration."""
    violations = check_app_id(new.app_id)
    if new.app_id.lower() in _RESERVED:
        rule = "reserved; the largest values an app may ask for are settings of the server"
        violations.append(Violation("appId", rule))
    configuration = new.configuration
    for field, value, most in (
        ("partitions", new.partitions, limits.max_partitions),
        ("configuration.maxInFlight", configuration.max_in_flight, _MOST_IN_FLIGHT),
        ("configuration.maxPerSecond", configuration.max_per_second, _MOST_PER_S),
        ("configuration.weight", configuration.weight, _MOST_WEIGHT),
        (
            "configuration.futureScheduleCreationPeriod",
            configuration.future_period_days,
            limits.max_future_period_days,
        ),
        (
            "configuration.firedScheduleRetentionPeriod",
            configuration.retention_days,
            limits.max_retention_days,
        ),
        ("configuration.payloadSize", configuration.payload_bytes, limits.max_payload_bytes),
        ("configuration.httpRetries", configuration.http_attempts, limits.max_http_attempts),
        ("configuration.httpTimeout", configuration.http_timeout_ms, limits.max_http_timeout_ms),
        ("configuration.maxLatenessSeconds", configuration.max_lateness_s, _MOST_LATENESS_S),
    ):
        if value is not None and not 1 <= value <= most:
            violations.append(Violation(field, f"must be from 1 to {most}"))
    if configuration.retry is not None:
        most_s = (configuration.retention_days or limits.retention_days) * _DAY_S
        bounds = RetryBounds(attempts=limits.max_http_attempts, age_s=most_s)
        violations += check_retry(configuration.retry, "configuration.retryPolicy", bounds)
    return violations


def check_form(new: NewSchedule) -> list[Violation]:
    """Return what is wrong with a create whatever its app: fields that are missing or contradict."""
    violations = check_app_id(new.app_id)
    if (new.fire_ms is None) == (new.delay_ms is None):
        violations.append(
            Violation("scheduleTime", "required: either scheduleTime or delaySeconds, not both")
        )
    if not new.callback_type:
        violations.append(Violation("callback.type", "required: a non-empty string"))
    return violations


def check_new_schedule(
    new: NewSchedule,
    app: App,
    limits: AppLimits,
    now_ms: int,
    callback_rules: Mapping[str, CallbackRule],
) -> list[Violation]:
    """Return everything that is wrong with a create for `app`."""
    violations = check_form(new)
    violations += _check_payload(new.payload, app.configuration.payload_bytes or limits.payload_bytes)
    if new.retry is not None:
        violations += check_retry(new.retry, "retryPolicy", _bounds_of(app, limits))
    days = app.configuration.future_period_days or limits.future_period_days
    violations += _check_time(new, now_ms, days)
    if new.callback_type:
        rule = callback_rules.get(new.callback_type)
        if rule is None:
            known = ", ".join(sorted(callback_rules))
            violations.append(Violation("callback.type", f"must be a type this server knows: {known}"))
        else:
            violations += rule(new.callback_details, app.app_id)
    return violations


def _bounds_of(app: App, limits: AppLimits) -> RetryBounds:
    """A schedule may ask for no more attempts and no longer time than its app."""
    said = app.configuration
    most_s = said.retry.max_age_s if said.retry is not None else None
    return RetryBounds(
        attempts=said.http_attempts or limits.http_attempts,
        age_s=most_s or (said.retention_days or limits.retention_days) * _DAY_S,
    )


def _check_payload(payload: str, most_bytes: int) -> list[Violation]:
    try:
        size = len(payload) if payload.isascii() else len(payload.encode())
    except UnicodeEncodeError:
        return [Violation("payload", "must be text: it holds half of a surrogate pair")]
    return [Violation("payload", f"must be at most {most_bytes} bytes")] if size > most_bytes else []


def _check_time(new: NewSchedule, now_ms: int, days: int) -> list[Violation]:
    """The current second is not past: clients that send whole seconds mean "now" by it."""
    field, fire_ms = "scheduleTime", new.fire_ms
    if fire_ms is None:
        if new.delay_ms is None:
            return []
        if new.delay_ms < 0:
            return [Violation("delaySeconds", "must be 0 or more seconds")]
        field, fire_ms = "delaySeconds", now_ms + new.delay_ms
    if fire_ms < now_ms - now_ms % 1_000:
        return [Violation(field, "must not be in the past")]
    if fire_ms > now_ms + days * _DAY_MS:
        return [Violation(field, f"must be at most {days} days ahead")]
    return []
