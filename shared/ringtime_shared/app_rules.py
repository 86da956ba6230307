"""What an app may be called, and what it may ask for. Pure.

Violations name fields as the JSON of the API does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ringtime_shared.errors import LimitReached, Violation
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.retry_rules import RetryBounds, check_retry
from ringtime_shared.settings import AppLimits
from ringtime_shared.stores.protocol import AppCounts

_DAY_S = 86_400
_MOST_IN_FLIGHT = 100_000
_MOST_PER_S = 1_000_000
_MOST_WEIGHT = 100
APP_ID_PATTERN = "[A-Za-z0-9][A-Za-z0-9_-]{0,127}"
_APP_ID = re.compile(APP_ID_PATTERN)
_APP_ID_RULE = "must be 1 to 128 of A-Z, a-z, 0-9, _ and -, the first a letter or a digit"
RESERVED = frozenset({"maxconfig"})
_MOST_LATENESS_S = 316_224_000  #: ten years


def check_app_id(app_id: str) -> list[Violation]:
    """Return what is wrong with the form of an app id."""
    if _APP_ID.fullmatch(app_id):
        return []
    return [Violation("appId", _APP_ID_RULE if app_id else f"required: {_APP_ID_RULE}")]


def app_maxima(limits: AppLimits) -> Mapping[str, int]:
    """Return the most of each number that an app may ask for, by field; the least is 1."""
    return {
        "partitions": limits.max_partitions,
        "configuration.maxInFlight": _MOST_IN_FLIGHT,
        "configuration.maxPerSecond": _MOST_PER_S,
        "configuration.weight": _MOST_WEIGHT,
        "configuration.futureScheduleCreationPeriod": limits.max_future_period_days,
        "configuration.firedScheduleRetentionPeriod": limits.max_retention_days,
        "configuration.payloadSize": limits.max_payload_bytes,
        "configuration.httpRetries": limits.max_http_attempts,
        "configuration.httpTimeout": limits.max_http_timeout_ms,
        "configuration.maxLatenessSeconds": _MOST_LATENESS_S,
    }


def check_app(
    app_id: str, partitions: int | None, configuration: AppConfiguration, limits: AppLimits
) -> list[Violation]:
    """Return everything that is wrong with an app to register, or to configure anew."""
    violations = check_app_id(app_id)
    if app_id.lower() in RESERVED:
        rule = "reserved; the largest values an app may ask for are settings of the server"
        violations.append(Violation("appId", rule))
    given = {
        "partitions": partitions,
        "configuration.maxInFlight": configuration.max_in_flight,
        "configuration.maxPerSecond": configuration.max_per_second,
        "configuration.weight": configuration.weight,
        "configuration.futureScheduleCreationPeriod": configuration.future_period_days,
        "configuration.firedScheduleRetentionPeriod": configuration.retention_days,
        "configuration.payloadSize": configuration.payload_bytes,
        "configuration.httpRetries": configuration.http_attempts,
        "configuration.httpTimeout": configuration.http_timeout_ms,
        "configuration.maxLatenessSeconds": configuration.max_lateness_s,
    }
    for field, most in app_maxima(limits).items():
        value = given[field]
        if value is not None and not 1 <= value <= most:
            violations.append(Violation(field, f"must be from 1 to {most}"))
    if configuration.retry is not None:
        most_s = (configuration.retention_days or limits.retention_days) * _DAY_S
        bounds = RetryBounds(attempts=limits.max_http_attempts, age_s=most_s)
        violations += check_retry(configuration.retry, "configuration.retryPolicy", bounds)
    return violations


def check_growth(counts: AppCounts, limits: AppLimits, *, apps: int, partitions: int) -> None:
    """Raise LimitReached unless there is room for so many more apps, and partitions in all."""
    if apps and counts.apps + apps > limits.max_apps:
        raise LimitReached(
            f"{counts.apps:,} apps are registered, and limits.max_apps allows {limits.max_apps:,}:"
            " delete one that is not needed, or raise the setting"
        )
    most = limits.max_partitions_in_all
    if partitions > 0 and counts.partitions + partitions > most:
        raise LimitReached(
            f"{counts.partitions:,} partitions are in use, {partitions:,} more are asked for, and"
            f" limits.max_partitions_in_all allows {most:,}: ask for fewer, delete an app that is not needed,"
            " or raise the setting",
            "partitions",
        )
