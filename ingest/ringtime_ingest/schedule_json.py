"""Schedules and apps as clients see them, keys in the seed's order, ours after them."""

from __future__ import annotations

import orjson

from ringtime_ingest.times import to_iso
from ringtime_shared.models.app import App, AppConfiguration
from ringtime_shared.models.schedule import Row


def schedule_to_json(row: Row) -> dict[str, object]:
    """Return a home row as the API's schedule object, ready for orjson."""
    schedule = row.schedule
    fire_ms = schedule.fire_ms
    shown: dict[str, object] = {
        "scheduleId": str(schedule.schedule_id),
        "payload": schedule.payload,
        "appId": schedule.app_id,
        "scheduleTime": fire_ms // 1_000,
        "partitionId": row.place.partition,
        "scheduleGroup": fire_ms // 60_000 * 60,
        "callback": {"type": schedule.callback_type, "details": orjson.Fragment(schedule.callback_details)},
        "status": row.status,
        "fireTime": to_iso(fire_ms),
    }
    outcome = row.outcome
    if outcome is not None:
        if outcome.error:
            shown["errorMessage"] = outcome.error[:200]
        if outcome.fired_ms is not None:
            shown["firedAt"] = to_iso(outcome.fired_ms)
            shown["lagMs"] = outcome.fired_ms - max(fire_ms, schedule.created_ms)
        shown["attempts"] = outcome.attempts
        if outcome.code is not None:
            shown["httpCode"] = outcome.code
    return shown


def app_to_json(app: App) -> dict[str, object]:
    """Return an app as the API's app object; `partitions` is the quota new schedules are spread over."""
    return {
        "appId": app.app_id,
        "partitions": app.writable,
        "active": app.active,
        "configuration": _configuration_to_json(app.configuration),
    }


def _configuration_to_json(configuration: AppConfiguration) -> dict[str, int]:
    named = {
        "futureScheduleCreationPeriod": configuration.future_period_days,
        "firedScheduleRetentionPeriod": configuration.retention_days,
        "payloadSize": configuration.payload_bytes,
        "httpRetries": configuration.http_attempts,
        "httpTimeout": configuration.http_timeout_ms,
        "maxLatenessSeconds": configuration.max_lateness_s,
    }
    return {name: value for name, value in named.items() if value is not None}
