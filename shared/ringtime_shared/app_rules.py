"""What an app may be called, and what it may ask for. Pure.

Violations name fields as the JSON of the API does.
"""

from __future__ import annotations

from ringtime_shared.api.configuration import check_numbers
from ringtime_shared.api.ids import check_app_id
from ringtime_shared.errors import LimitReached, Violation
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.retry_rules import RetryBounds, check_retry
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
    violations += check_numbers(configuration, "configuration.", limits)
    if configuration.retry is not None:
        most_s = (configuration.retention_days or limits.retention_days) * _DAY_S
        bounds = RetryBounds(max_http_attempts=limits.max_http_attempts, max_age_s=most_s)
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
