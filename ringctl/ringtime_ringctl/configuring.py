"""`KEY=VALUE` on the command line, into an app's configuration. Keys are those of the HTTP API. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ringtime_ringctl.times import read_whole
from ringtime_shared.errors import InvalidRequest, Violation
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.retry import RetryRules

_RETRY = "retryPolicy."
_NUMBERS = {
    "futureScheduleCreationPeriod": "future_period_days",
    "firedScheduleRetentionPeriod": "retention_days",
    "payloadSize": "payload_bytes",
    "httpRetries": "http_attempts",
    "httpTimeout": "http_timeout_ms",
    "maxLatenessSeconds": "max_lateness_s",
    "maxInFlight": "max_in_flight",
    "maxPerSecond": "max_per_second",
    "weight": "weight",
    f"{_RETRY}attempts": "http_attempts",
}
_RETRY_NUMBERS = {
    f"{_RETRY}firstDelayMs": "first_delay_ms",
    f"{_RETRY}factor": "factor",
    f"{_RETRY}maxDelayMs": "max_delay_ms",
    f"{_RETRY}maxAgeSeconds": "max_age_s",
    f"{_RETRY}statuses": "statuses",
}
KEYS = tuple(dict.fromkeys([*_NUMBERS, *_RETRY_NUMBERS]))


def change_configuration(
    configuration: AppConfiguration, settings: Sequence[str], unset: Sequence[str]
) -> AppConfiguration:
    """Return the configuration with some keys set and others left to the server's defaults again.

    Args:
        settings: each `KEY=VALUE`; statuses are separated by commas.
        unset: keys.

    Raises InvalidRequest: all that is wrong with their form. What values may be is in `app_rules`.
    """
    wrong: list[Violation] = []
    values: dict[str, Any] = dict.fromkeys(_known(unset, wrong))
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            wrong.append(Violation(f"--set {setting!r}", "must be KEY=VALUE"))
        elif key in values:
            wrong.append(Violation(key, "is given twice"))
        elif _known([key], wrong):
            try:
                values[key] = _reader(key)(text)
            except ValueError as error:
                wrong.append(Violation(key, str(error)))
    if wrong:
        raise InvalidRequest(wrong)
    rules = replace(
        configuration.retry or RetryRules(),
        **{_RETRY_NUMBERS[key]: value for key, value in values.items() if key in _RETRY_NUMBERS},
    )
    return replace(
        configuration,
        retry=None if rules == RetryRules() else rules,
        **{_NUMBERS[key]: value for key, value in values.items() if key in _NUMBERS},
    )


def _known(keys: Sequence[str], wrong: list[Violation]) -> list[str]:
    unknown = [key for key in keys if key not in KEYS]
    wrong += [Violation(key or "--set", f"no such key; there are {', '.join(KEYS)}") for key in unknown]
    return [key for key in keys if key in KEYS]


def _reader(key: str) -> Callable[[str], object]:
    if key == f"{_RETRY}factor":
        return _read_number
    return _read_statuses if key == f"{_RETRY}statuses" else read_whole


def _read_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("must be a number") from None


def _read_statuses(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
