"""An app as the API and the tools show it."""

from __future__ import annotations

from ringtime_shared.models.app import App, AppConfiguration
from ringtime_shared.models.retry import RetryRules


def app_to_json(app: App) -> dict[str, object]:
    """Return an app as the API's app object; `partitions` is the quota new schedules are spread over.

    `deleting` is there only while the app is being deleted. One that cannot be read says so in `damage`, and
    nothing else of it counts.
    """
    shown: dict[str, object] = {
        "appId": app.app_id,
        "partitions": app.writable,
        "active": app.active,
        "configuration": configuration_to_json(app.configuration),
    }
    if app.deletion is not None:
        shown["deleting"] = True
    return shown | {"damage": app.damage} if app.damage else shown


def configuration_to_json(configuration: AppConfiguration) -> dict[str, object]:
    """Return what an app sets, without what it leaves to the server."""
    attempts, retry = configuration.http_attempts, configuration.retry
    named = {
        "futureScheduleCreationPeriod": configuration.future_period_days,
        "firedScheduleRetentionPeriod": configuration.retention_days,
        "payloadSize": configuration.payload_bytes,
        "httpRetries": attempts,
        "httpTimeout": configuration.http_timeout_ms,
        "maxLatenessSeconds": configuration.max_lateness_s,
        "retryPolicy": None if retry is None else retry_to_json(retry, attempts),
        "maxInFlight": configuration.max_in_flight,
        "maxPerSecond": configuration.max_per_second,
        "weight": configuration.weight,
    }
    return {name: value for name, value in named.items() if value is not None}


def retry_to_json(rules: RetryRules, attempts: int | None = None) -> dict[str, object]:
    """Return the rules as the API shows them, without what was left out."""
    named = {
        "attempts": attempts if rules.attempts is None else rules.attempts,
        "firstDelayMs": rules.first_delay_ms,
        "factor": rules.factor,
        "maxDelayMs": rules.max_delay_ms,
        "maxAgeSeconds": rules.max_age_s,
        "statuses": rules.statuses,
    }
    return {name: value for name, value in named.items() if value is not None}
