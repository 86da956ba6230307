"""`KEY=VALUE` on the command line, into an app's configuration. Keys are those of the HTTP API. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ringtime_ringctl.times import read_whole
from ringtime_shared.api.configuration import keys
from ringtime_shared.errors import InvalidRequest, Violation
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.retry import RetryRules

KEYS = keys()


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
                values[key] = _READERS[KEYS[key][1].kind](text)
            except ValueError as error:
                wrong.append(Violation(key, str(error)))
    if wrong:
        raise InvalidRequest(wrong)
    changes: dict[type, dict[str, Any]] = {AppConfiguration: {}, RetryRules: {}}
    for key, value in values.items():
        model, entry = KEYS[key]
        changes[model][entry.attribute] = value
    rules = replace(configuration.retry or RetryRules(), **changes[RetryRules])
    retry = None if rules == RetryRules() else rules
    return replace(configuration, retry=retry, **changes[AppConfiguration])


def _known(keys: Sequence[str], wrong: list[Violation]) -> list[str]:
    unknown = [key for key in keys if key not in KEYS]
    wrong += [Violation(key or "--set", f"no such key; there are {', '.join(KEYS)}") for key in unknown]
    return [key for key in keys if key in KEYS]


def _read_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("must be a number") from None


def _read_statuses(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))


_READERS: Mapping[type, Callable[[str], object]] = {
    int: read_whole,
    float: _read_number,
    tuple: _read_statuses,
}
