"""Request bodies and ids, from bytes to `requests`.

What is checked here is form: JSON, types, spellings of times and ids. Rules about values that the library
mode shares are in `validation`; fields that were left out go there as empty values.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

from ringtime_ingest.fields import CALLBACK, CONFIGURATION, NEW_APP, NEW_SCHEDULE
from ringtime_ingest.requests import NewApp, NewSchedule
from ringtime_ingest.retry_rules import read_retry
from ringtime_ingest.strict_json import Unreadable, decode_json, is_all_text, to_plain
from ringtime_ingest.times import parse_delay, parse_instant
from ringtime_ingest.validation import check_form
from ringtime_shared.app_rules import check_app_id
from ringtime_shared.callbacks import http_rules
from ringtime_shared.errors import InvalidRequest, NotFound, Violation
from ringtime_shared.ids import unpack_id
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.retry import RetryRules

_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_UUID_RULE = "must be a UUID: 32 hexadecimal digits in groups of 8-4-4-4-12"
_CONFIGURATION = {
    "futureScheduleCreationPeriod": "future_period_days",
    "firedScheduleRetentionPeriod": "retention_days",
    "payloadSize": "payload_bytes",
    "httpRetries": "http_attempts",
    "httpTimeout": "http_timeout_ms",
    "maxLatenessSeconds": "max_lateness_s",
    "maxInFlight": "max_in_flight",
    "maxPerSecond": "max_per_second",
    "weight": "weight",
}


def parse_new_schedule(body: bytes, max_depth: int) -> NewSchedule:
    """Read the body of a create. Raises InvalidRequest."""
    wrong: list[Violation] = []
    broken: list[Violation] = []
    found = NEW_SCHEDULE.read(decode_json(body, max_depth), "", wrong)
    callback = CALLBACK.read(found["callback"], "callback.", wrong) if "callback" in found else {}
    if "payload" not in found:
        broken.append(Violation("payload", "required: a string, which may be empty"))
    if "callback" not in found:
        broken.append(Violation("callback", "required: an object with type and details"))
    if found.get("cronExpression"):
        rule = "recurring schedules are not offered by this version; send scheduleTime instead"
        broken.append(Violation("cronExpression", rule))
    schedule_id = found.get("scheduleId")
    if schedule_id and not _UUID.fullmatch(str(schedule_id)):
        wrong.append(Violation("scheduleId", _UUID_RULE))
    kind = str(callback.get("type", ""))
    new = NewSchedule(
        app_id=str(found.get("appId", "")),
        payload=str(found.get("payload", "")),
        fire_ms=_read_time(found, "scheduleTime", parse_instant, broken),
        delay_ms=_read_time(found, "delaySeconds", parse_delay, broken),
        callback_type=kind,
        callback_details=_read_details(kind, callback.get("details"), wrong),
        retry=read_retry(found["retryPolicy"], "retryPolicy", wrong) if "retryPolicy" in found else None,
    )
    if wrong:
        raise Unreadable(wrong + broken)
    if broken or check_app_id(new.app_id):
        raise InvalidRequest(broken + _not_told(new, {violation.field for violation in broken}))
    return new


def _not_told(new: NewSchedule, told: set[str]) -> list[Violation]:
    """Return what else can be said of a bad create without its app, one report a field."""
    violations = check_form(new)
    if new.callback_type == http_rules.NAME:
        violations += http_rules.check_http_details(new.callback_details)
    if "delaySeconds" in told:
        told = told | {"scheduleTime"}
    return [
        each for each in violations if each.field not in told and each.field.partition(".")[0] not in told
    ]


def _read_time(
    found: dict[str, object], name: str, parse: Callable[[object], int], broken: list[Violation]
) -> int | None:
    if name not in found:
        return None
    try:
        return parse(found[name])
    except ValueError as error:
        broken.append(Violation(name, str(error)))
        return None


def _read_details(kind: str, details: object, wrong: list[Violation]) -> dict[str, object]:
    """Return the details as sent, except that `http` finds its keys whatever their case."""
    if details is None:
        return {}
    plain = cast(dict[str, object], details)
    if not is_all_text(plain):
        plain = cast(dict[str, object], to_plain(plain, "callback.details", wrong))
    if kind != http_rules.NAME or plain.keys() <= http_rules.KEYS:
        return plain
    return {key.lower() if key.lower() in http_rules.KEYS else key: item for key, item in plain.items()}


def parse_new_app(body: bytes, max_depth: int) -> NewApp:
    """Read the body of a registration. Raises InvalidRequest."""
    wrong: list[Violation] = []
    found = NEW_APP.read(decode_json(body, max_depth), "", wrong)
    settings = CONFIGURATION.read(found.get("configuration", {}), "configuration.", wrong)
    policy = settings.pop("retryPolicy", None)
    retry = None if policy is None else read_retry(policy, "configuration.retryPolicy", wrong)
    values = {_CONFIGURATION[name]: cast(int, value) or None for name, value in settings.items()}
    partitions = cast(int, found.get("partitions", 0))
    if partitions < 0:
        wrong.append(Violation("partitions", "must be a whole number, 0 or more"))
    if wrong:
        raise Unreadable(wrong)
    if retry is not None and retry.attempts is not None:  # one number under two names
        if values.get("http_attempts") not in (None, retry.attempts):
            rule = "must be the same as configuration.retryPolicy.attempts where both are given"
            raise InvalidRequest.of("configuration.httpRetries", rule)
        values["http_attempts"] = retry.attempts
        retry = replace(retry, attempts=None)
    if retry == RetryRules():
        retry = None
    return NewApp(
        app_id=str(found.get("appId", "")),
        partitions=partitions or None,
        active=bool(found.get("active", False)),
        configuration=AppConfiguration(retry=retry, **cast(dict[str, Any], values)),
    )


def parse_app_id(text: str) -> str:
    """Return an app id from a path or a query. Raises InvalidRequest."""
    if violations := check_app_id(text):
        raise InvalidRequest(violations)
    return text


def parse_schedule_id(text: str) -> UUID:
    """Return a schedule id from a path. Raises InvalidRequest, and NotFound for an id never given out."""
    if not _UUID.fullmatch(text):
        raise InvalidRequest.of("scheduleId", _UUID_RULE)
    schedule_id = UUID(text)
    try:
        unpack_id(schedule_id)
    except ValueError:
        raise NotFound("schedule", str(schedule_id)) from None
    return schedule_id


def check_uuid(value: object) -> str:
    """Return the rule that a value breaks as an id of a list; "" if none."""
    return "" if isinstance(value, str) and _UUID.fullmatch(value) else _UUID_RULE
