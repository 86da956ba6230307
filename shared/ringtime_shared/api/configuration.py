"""The configuration of an app and the retry policy of a schedule: JSON, bounds and reference, all made from
the entries in `models.app.AppConfiguration` and `models.retry.RetryRules`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ringtime_shared.api.hooks import FIELD as HOOKS
from ringtime_shared.api.hooks import hooks_to_json
from ringtime_shared.errors import Violation
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.hooks import Hooks
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.setting import Entry, entries_of

POLICY, TLS_PROFILE = "retryPolicy", "tlsProfile"
ATTEMPTS = f"{POLICY}.attempts"  #: an app says this number as `httpRetries` too; it is kept there


def configuration_to_json(configuration: AppConfiguration, *, is_hidden: bool = True) -> dict[str, object]:
    """Return what an app sets, without what it leaves to the server.

    Args:
        is_hidden: as it is shown, without the credentials of hooks; else as it was given.
    """
    shown = _to_json(configuration)
    if configuration.retry is not None:
        shown[POLICY] = retry_to_json(configuration.retry, configuration.http_attempts)
    if configuration.hooks is not None:
        shown[HOOKS] = hooks_to_json(configuration.hooks, is_hidden=is_hidden)
    return shown


def retry_to_json(rules: RetryRules, attempts: int | None = None) -> dict[str, object]:
    """Return the rules as the API shows them, without what was left out.

    Args:
        attempts: of the app, for rules that name none.
    """
    shown = _to_json(rules)
    return shown if attempts is None or rules.attempts is not None else {"attempts": attempts, **shown}


def maxima_of(model: type, bounds: object) -> Mapping[str, int]:
    """Return the most of each whole number that may be set, by name; the least is 1.

    Args:
        bounds: has the attributes that entries of the model name.
    """
    return {entry.name: entry.most(bounds) for entry in entries_of(model) if entry.kind is int}


def description_of(entry: Entry) -> str:
    """Return what a setting means, in what unit, and what holds without it."""
    setting = entry.setting
    unit = f" In {setting.unit}." if setting.unit else ""
    is_word = setting.unset and "." not in setting.unset
    return f"{setting.doc}{unit}" + (f" Left out: {setting.unset}." if is_word else "")


def check_values(settings: AppConfiguration | RetryRules, path: str, bounds: object) -> list[Violation]:
    """Return the numbers of a model that are out of their range, and the texts that have another shape.

    Args:
        path: what stands before a name: `configuration.`
    """
    violations = []
    for entry in entries_of(type(settings)):
        value = getattr(settings, entry.attribute)
        if value is None:
            continue
        if entry.kind is str and not re.fullmatch(entry.setting.pattern, value):
            violations.append(Violation(f"{path}{entry.name}", f"must be {entry.setting.shape}"))
        most = entry.most(bounds) if entry.is_number else 0
        if most and not 1 <= value <= most:
            violations.append(Violation(f"{path}{entry.name}", f"must be from 1 to {most}"))
    return violations


def keys() -> Mapping[str, tuple[type, Entry]]:
    """Return every single value that an app can set, by its name with dots: the model that keeps it, and its
    entry. Hooks are none: they are set as a whole."""
    table: dict[str, tuple[type, Entry]] = {}
    for entry in entries_of(AppConfiguration):
        if entry.kind is RetryRules:
            table |= {f"{POLICY}.{each.name}": (RetryRules, each) for each in entries_of(RetryRules)}
        elif entry.kind is not Hooks:
            table[entry.name] = (AppConfiguration, entry)
    attempts = next(each for each in entries_of(AppConfiguration) if each.attribute == "http_attempts")
    return table | {ATTEMPTS: (AppConfiguration, attempts)}


def _to_json(settings: AppConfiguration | RetryRules) -> dict[str, object]:
    values = ((entry.name, getattr(settings, entry.attribute)) for entry in entries_of(type(settings)))
    return {name: value for name, value in values if value is not None}
