"""Hooks as the API names them: of a schedule, a recurring one, or an app."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import orjson

from ringtime_shared.callbacks.credentials import hide_details
from ringtime_shared.callbacks.protocol import CallbackRules
from ringtime_shared.errors import Violation
from ringtime_shared.models.hooks import Hook, HookEvent, Hooks

FIELD = "hooks"
PAYLOAD = "includePayload"
MAX_DETAILS_BYTES = 65_536  #: of a callback's `details` as they are kept; the known types need a sixth of it
CallbackRule = Callable[[Mapping[str, object], str], list[Violation]]
_DETAILS = "callback.details"


def hooks_to_json(hooks: Hooks, *, is_hidden: bool = True) -> dict[str, object]:
    """Return hooks, ready for orjson.

    Args:
        is_hidden: as they are shown, with credentials hidden; else as they were given.
    """
    shown: dict[str, object] = {}
    for event, hook in hooks.given().items():
        details = hook.callback_details.encode()
        fragment = orjson.Fragment(hide_details(details) if is_hidden else details)
        shown[event.value] = {"type": hook.callback_type, "details": fragment}
    return shown | {PAYLOAD: True} if hooks.has_payload else shown


def details_of(hook: Hook) -> dict[str, object]:
    """Return the details of a hook's callback."""
    details: dict[str, object] = orjson.loads(hook.callback_details)
    return details


def read_hooks(shown: object) -> Hooks:
    """Read hooks as an answer shows them. Raises ValueError, LookupError or TypeError for what are none."""
    given = dict(cast("Mapping[str, Any]", shown))
    has_payload = bool(given.pop(PAYLOAD, False))
    hooks = {
        HookEvent(name): Hook(
            callback_type=str(hook["type"]), callback_details=orjson.dumps(hook["details"]).decode()
        )
        for name, hook in given.items()
    }
    return hooks_of(hooks, has_payload=has_payload)


def hooks_of(hooks: Mapping[HookEvent, Hook], *, has_payload: bool = False) -> Hooks:
    """Return hooks, given by what they tell of."""
    return Hooks(
        on_success=hooks.get(HookEvent.SUCCESS),
        on_failure=hooks.get(HookEvent.FAILURE),
        on_missed=hooks.get(HookEvent.MISSED),
        has_payload=has_payload,
    )


def check_hooks(
    hooks: Hooks | None, app_id: str, callback_rules: Mapping[str, CallbackRule], prefix: str = ""
) -> list[Violation]:
    """Return what the rules of their callback types say of hooks; `prefix` stands before the field."""
    violations: list[Violation] = []
    for event, hook in ({} if hooks is None else hooks.given()).items():
        path, rule = f"{prefix}{FIELD}.{event}", callback_rules.get(hook.callback_type)
        if rule is None:
            known = ", ".join(sorted(callback_rules))
            violations.append(Violation(f"{path}.type", f"must be a type this server knows: {known}"))
        else:
            violations += at_hook(path, _check_details(hook, app_id, rule))
    return violations


def _check_details(hook: Hook, app_id: str, rule: CallbackRule) -> list[Violation]:
    if len(hook.callback_details.encode()) > MAX_DETAILS_BYTES:
        return [Violation(_DETAILS, f"must be at most {MAX_DETAILS_BYTES:,} bytes of JSON")]
    try:
        details: object = details_of(hook)
    except ValueError:
        details = None
    if not isinstance(details, dict):
        return [Violation(_DETAILS, "must be a JSON object")]
    return rule(details, app_id)


def at_hook(path: str, violations: list[Violation]) -> list[Violation]:
    """Return violations of a callback's details as those of a hook at this path."""
    return [replace(each, field=each.field.replace(_DETAILS, f"{path}.details", 1)) for each in violations]


async def screen_hooks(
    hooks: Hooks, app_id: str, callbacks: Mapping[str, CallbackRules], prefix: str = ""
) -> list[Violation]:
    """Return what is wrong with hooks that `check_hooks` passed and that takes I/O to find out."""
    violations: list[Violation] = []
    for event, hook in hooks.given().items():
        found = await callbacks[hook.callback_type].screen(details_of(hook), app_id)
        violations += at_hook(f"{prefix}{FIELD}.{event}", found)
    return violations
