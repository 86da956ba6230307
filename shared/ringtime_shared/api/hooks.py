"""Hooks as the API names them: of a schedule, a recurring one, or an app."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import orjson

from ringtime_shared.callbacks.credentials import hide_details
from ringtime_shared.models.hooks import Hook, HookEvent, Hooks

FIELD = "hooks"
PAYLOAD = "includePayload"


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
