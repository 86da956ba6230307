"""Hooks of an app, as its operator gives them: `hooks` of the HTTP API, as JSON or as a table of a file."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from ringtime_shared.api.hooks import FIELD, PAYLOAD, hooks_of
from ringtime_shared.apps.hook_rules import check_hooks
from ringtime_shared.callbacks.egress_policy import EgressPolicy
from ringtime_shared.callbacks.http_rules import HttpRules
from ringtime_shared.callbacks.kafka_rules import KafkaRules
from ringtime_shared.callbacks.plugins import load_callback_types
from ringtime_shared.callbacks.protocol import CallbackRules
from ringtime_shared.callbacks.resolver import Resolver
from ringtime_shared.errors import InvalidRequest, Violation
from ringtime_shared.models.hooks import Hook, HookEvent, Hooks
from ringtime_shared.settings import Settings

_KEYS = (*(event.value for event in HookEvent), PAYLOAD)


def read_text(text: str) -> Hooks:
    """Return hooks from JSON. Raises as `read_hooks`."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest.of(FIELD, f"must be JSON: {error}") from None
    return read_hooks(value)


def read_hooks(value: object) -> Hooks:
    """Return hooks of the form that the HTTP API takes. Raises InvalidRequest: all that is wrong with it."""
    if not isinstance(value, Mapping):
        raise InvalidRequest.of(FIELD, "must be an object")
    wrong = [
        Violation(f"{FIELD}.{key}", f"no such key; there are {', '.join(_KEYS)}")
        for key in value
        if key not in _KEYS
    ]
    hooks = {
        event: _read_hook(value[event.value], f"{FIELD}.{event.value}", wrong)
        for event in HookEvent
        if event.value in value
    }
    has_payload = value.get(PAYLOAD, False)
    if not isinstance(has_payload, bool):
        wrong.append(Violation(f"{FIELD}.{PAYLOAD}", "must be true or false"))
    if wrong:
        raise InvalidRequest(wrong)
    return hooks_of(hooks, has_payload=bool(has_payload))


def _read_hook(value: object, path: str, wrong: list[Violation]) -> Hook:
    kind, details = (value.get("type"), value.get("details")) if isinstance(value, Mapping) else ("", None)
    if not isinstance(value, Mapping) or value.keys() - {"type", "details"}:
        wrong.append(Violation(path, "must have a `type` and `details`, and nothing else"))
    elif not isinstance(kind, str) or not kind:
        wrong.append(Violation(f"{path}.type", "required: a non-empty text"))
    elif not isinstance(details, Mapping):
        wrong.append(Violation(f"{path}.details", "required: an object"))
    try:
        text = orjson.dumps(details or {}).decode()
    except orjson.JSONEncodeError as error:
        wrong.append(Violation(f"{path}.details", f"must be JSON: {error}"))
        text = "{}"
    return Hook(callback_type=str(kind), callback_details=text)


def check(hooks: Hooks | None, app_id: str, settings: Settings) -> list[Violation]:
    """Return what the callback types say of hooks, as a server with these settings would; names of hosts are
    looked up there, where they are called from."""
    if hooks is None:
        return []
    kinds: list[CallbackRules] = [HttpRules(EgressPolicy.of(settings.egress), Resolver(settings.egress))]
    if settings.kafka.bootstrap:
        kinds.append(KafkaRules(settings.kafka))
    rules = {kind.name: kind.validate for kind in kinds}
    rules |= {name: kind.validate for name, kind in load_callback_types(settings.callbacks.types).items()}
    return check_hooks(hooks, app_id, rules, "configuration.")
