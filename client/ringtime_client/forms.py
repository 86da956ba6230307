"""What verbs are told, as paths, queries and bodies of requests. Pure; raises InvalidRequest."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, timedelta
from urllib.parse import urlencode

import orjson

from ringtime_client.views import Callback, HttpCallbackDetails
from ringtime_shared.api.hooks import hooks_of, hooks_to_json
from ringtime_shared.api.ids import check_app_id
from ringtime_shared.api.schedules import BASE64
from ringtime_shared.arguments import Instant, to_instant
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.models.hooks import Hook, HookEvent, Hooks
from ringtime_shared.models.sending import Priority


def safe(app_id: str) -> str:
    """Return an app id, which is safe inside a URL."""
    if violations := check_app_id(app_id):
        raise InvalidRequest(violations)
    return app_id


def instant(field: str, at: Instant | None) -> str | None:
    """Return an instant as the API reads it. Raises InvalidRequest, which names the field."""
    if at is None:
        return None
    try:
        return to_instant(field, at).astimezone(UTC).isoformat()
    except OverflowError:
        raise InvalidRequest.of(field, "must be in the years 1 to 9999, UTC") from None


def with_query(path: str, query: Mapping[str, object]) -> str:
    """Return a path with what there is of a query."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given, doseq=True)}" if given else path


def callback_of(callback: Callback) -> Mapping[str, object]:
    """Return a callback as the API reads it."""
    return callback.to_json() if isinstance(callback, HttpCallbackDetails) else callback


def make_hooks(
    *,
    on_success: Callback | None = None,
    on_failure: Callback | None = None,
    on_missed: Callback | None = None,
    includes_payload: bool = False,
) -> Hooks:
    """Return hooks: who is told how a schedule ended. Without any, nobody is, whatever its app says.

    Args:
        on_success, on_failure, on_missed: each as `callback` of a schedule.
        includes_payload: they are sent the payload of the schedule as well.

    Raises InvalidRequest.
    """
    given = {
        HookEvent.SUCCESS: on_success,
        HookEvent.FAILURE: on_failure,
        HookEvent.MISSED: on_missed,
    }
    hooks = {event: _to_hook(event, each) for event, each in given.items() if each is not None}
    return hooks_of(hooks, has_payload=includes_payload)


def _to_hook(event: HookEvent, callback: Callback) -> Hook:
    shown = callback_of(callback)
    kind, details = shown.get("type"), shown.get("details", {})
    if not isinstance(kind, str) or not isinstance(details, Mapping) or shown.keys() - {"type", "details"}:
        raise InvalidRequest.of(f"hooks.{event}", "must have a `type` and a `details` object")
    return Hook(callback_type=kind, callback_details=to_body(details).decode())


def sending_of(
    payload: str | bytes | None,
    timeout: timedelta | None,
    priority: Priority | None,
    hooks: Hooks | None = None,
) -> Mapping[str, object]:
    """Return what is to be sent, and how, as the API reads it; None: it is not said."""
    fields: dict[str, object] = {}
    if isinstance(payload, bytes):
        fields |= {"payload": b64encode(payload).decode(), "payloadEncoding": BASE64}
    elif payload is not None:
        fields["payload"] = payload
    if timeout is not None:
        fields["timeoutMs"] = timeout // timedelta(milliseconds=1)
    if priority is not None:
        fields["priority"] = priority
    if hooks is not None:
        fields["hooks"] = hooks_to_json(hooks, is_hidden=False)
    return fields


def to_body(fields: Mapping[str, object]) -> bytes:
    """Return a request body. Raises InvalidRequest for what JSON cannot hold."""
    try:
        return orjson.dumps(fields, default=_to_dict)
    except orjson.JSONEncodeError as error:
        raise InvalidRequest.of("body", f"must be JSON: {error}") from error


def _to_dict(value: object) -> dict[object, object]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a JSON type")
