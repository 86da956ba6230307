"""What holds of hooks: what holds of a callback of their type, under a name of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ringtime_shared.api.hooks import FIELD, details_of
from ringtime_shared.callbacks.credentials import CIPHERTEXT, CIPHERTEXT_RULE
from ringtime_shared.callbacks.protocol import CallbackRules
from ringtime_shared.errors import Violation
from ringtime_shared.models.hooks import Hook, Hooks

MAX_DETAILS_BYTES = 65_536  #: of a callback's `details` as they are kept; the known types need a sixth of it
CallbackRule = Callable[[Mapping[str, object], str], list[Violation]]
_DETAILS = "callback.details"


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
    if CIPHERTEXT in details:
        return [Violation(f"{_DETAILS}.{CIPHERTEXT}", CIPHERTEXT_RULE)]
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
