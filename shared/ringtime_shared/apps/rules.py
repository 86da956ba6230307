"""What an app may be called, and what it may ask for. Pure.

Violations name fields as the JSON of the API does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ringtime_shared.api.configuration import check_values
from ringtime_shared.api.ids import check_app_id
from ringtime_shared.apps.redaction import MOST_PATHS, path_fault
from ringtime_shared.apps.retry_rules import RetryBounds, check_retry
from ringtime_shared.errors import LimitReached, Violation
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.setting import entries_of
from ringtime_shared.settings import AppLimits
from ringtime_shared.stores.protocol import AppCounts

_DAY_S = 86_400
RESERVED = frozenset({"maxconfig"})


def check_app(
    app_id: str, partitions: int | None, configuration: AppConfiguration, limits: AppLimits
) -> list[Violation]:
    """Return everything that is wrong with an app to register, or to configure anew."""
    violations = check_app_id(app_id)
    if app_id.lower() in RESERVED:
        rule = "reserved; the largest values an app may ask for are settings of the server"
        violations.append(Violation("appId", rule))
    if partitions is not None and not 1 <= partitions <= limits.max_partitions:
        violations.append(Violation("partitions", f"must be from 1 to {limits.max_partitions}"))
    return violations + check_configuration(configuration, limits, "configuration.")


def check_configuration(configuration: AppConfiguration, limits: AppLimits, path: str) -> list[Violation]:
    """Return everything that is wrong with a configuration; `path` stands before the names of its fields."""
    violations = check_values(configuration, path, limits)
    for item, text in enumerate(configuration.redacted_fields or (), 1):
        if fault := path_fault(text):
            violations.append(Violation(f"{path}redactedFields", f"item {item} {fault}"))
    if len(configuration.redacted_fields or ()) > MOST_PATHS:
        violations.append(Violation(f"{path}redactedFields", f"must be at most {MOST_PATHS}"))
    if configuration.retry is not None:
        most_s = (configuration.retention_days or limits.retention_days) * _DAY_S
        bounds = RetryBounds(max_http_attempts=limits.max_http_attempts, max_age_s=most_s)
        violations += check_retry(configuration.retry, f"{path}retryPolicy", bounds)
    return violations


def merge(stored: AppConfiguration, given: AppConfiguration) -> AppConfiguration:
    """Return what is stored, but for what is given; of a retry policy that has parts, part by part."""
    retry = given.retry
    if retry is not None and stored.retry is not None:
        retry = replace(stored.retry, **_set_of(retry))
    return replace(stored, **_set_of(given) | ({} if retry is None else {"retry": retry}))


def _set_of(settings: AppConfiguration | RetryRules) -> dict[str, Any]:
    values = {entry.attribute: getattr(settings, entry.attribute) for entry in entries_of(type(settings))}
    return {name: value for name, value in values.items() if value is not None}


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
