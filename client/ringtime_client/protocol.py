"""Each verb as the request it makes. Pure: nothing is sent here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import quote
from uuid import UUID

from msgspec import convert

from ringtime_client.exchange import Call
from ringtime_client.views import Callback, CancelResult, HttpCallbackDetails
from ringtime_client.wire import to_body
from ringtime_shared.api.apps import AppView, NewSigningSecret, SigningSecretView, read_app
from ringtime_shared.api.configuration import configuration_to_json, retry_to_json
from ringtime_shared.api.ids import check_app_id, check_secret_id
from ringtime_shared.api.schedules import ScheduleView
from ringtime_shared.api.views import read
from ringtime_shared.arguments import checked
from ringtime_shared.errors import ErrorWord, InvalidRequest
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.retry import RetryRules

BASE = "/goscheduler"
_MS = timedelta(milliseconds=1)


@checked
def register_app(
    app_id: str, *, partitions: int | None, active: bool, configuration: AppConfiguration | None
) -> Call[AppView]:
    """`POST /apps`."""
    fields: dict[str, object] = {"appId": app_id, "active": active}
    if partitions is not None:
        fields["partitions"] = partitions
    if configuration is not None:
        fields["configuration"] = configuration_to_json(configuration)
    return Call(method="POST", path=f"{BASE}/apps", body=to_body(fields), read=read_app, app_id=app_id)


@checked
def fetch_apps() -> Call[list[AppView]]:
    """`GET /apps`."""
    return Call(method="GET", path=f"{BASE}/apps", read=_to_apps)


@checked
def fetch_app(app_id: str) -> Call[AppView]:
    """`GET /apps?app_id=`."""
    path = f"{BASE}/apps?app_id={safe_app_id(app_id)}"
    return Call(method="GET", path=path, read=_to_only_app, kind="app", key=app_id, app_id=app_id)


@checked
def set_active(app_id: str, *, active: bool) -> Call[None]:
    """`POST /apps/{app_id}/activate` or `deactivate`."""
    path = f"{BASE}/apps/{safe_app_id(app_id)}/{'activate' if active else 'deactivate'}"
    return Call(
        method="POST", path=path, read=_check_activation, app_id=app_id, conflict=ErrorWord.VERSION_CONFLICT
    )


@checked
def delete_app(app_id: str, *, cancel_schedules: bool) -> Call[None]:
    """`DELETE /apps/{app_id}`."""
    path = f"{BASE}/apps/{safe_app_id(app_id)}" + ("?cancel_schedules=true" if cancel_schedules else "")
    return Call(method="DELETE", path=path, read=_check_app, app_id=app_id)


@checked
def create_signing_secret(app_id: str, *, secret: str | None) -> Call[NewSigningSecret]:
    """`POST /apps/{app_id}/signing-secrets`."""
    return Call(
        method="POST",
        path=_secrets_path(app_id),
        body=to_body({} if secret is None else {"secret": secret}),
        read=partial(read, NewSigningSecret),
        app_id=app_id,
    )


@checked
def list_signing_secrets(app_id: str) -> Call[list[SigningSecretView]]:
    """`GET /apps/{app_id}/signing-secrets`."""
    return Call(method="GET", path=_secrets_path(app_id), read=_to_secrets, app_id=app_id)


@checked
def delete_signing_secret(app_id: str, secret_id: str) -> Call[None]:
    """`DELETE /apps/{app_id}/signing-secrets/{secret_id}`."""
    if violations := check_secret_id(secret_id):
        raise InvalidRequest(violations)
    return Call(
        method="DELETE",
        path=f"{_secrets_path(app_id)}/{secret_id}",
        read=_check_deletion,
        kind="signing secret",
        key=secret_id,
        app_id=app_id,
        conflict=ErrorWord.VERSION_CONFLICT,
    )


@checked
def create_schedule(
    app_id: str,
    *,
    payload: str,
    at: datetime | None,
    delay: timedelta | None,
    callback: Callback,
    retry: RetryRules | None = None,
) -> Call[ScheduleView]:
    """`POST /schedules`."""
    fields = {
        "appId": app_id,
        "payload": payload,
        **_when(at, delay),
        "callback": callback.to_json() if isinstance(callback, HttpCallbackDetails) else callback,
        **({} if retry is None else {"retryPolicy": retry_to_json(retry)}),
    }
    return Call(
        method="POST", path=f"{BASE}/schedules", body=to_body(fields), read=_to_schedule, app_id=app_id
    )


@checked
def fetch_schedule(schedule_id: UUID | str) -> Call[ScheduleView]:
    """`GET /schedules/{schedule_id}`."""
    return Call(
        method="GET",
        path=schedule_path(schedule_id),
        read=_to_schedule,
        kind="schedule",
        key=str(schedule_id),
    )


@checked
def cancel_schedule(schedule_id: UUID | str) -> Call[CancelResult]:
    """`DELETE /schedules/{schedule_id}`."""
    return Call(
        method="DELETE",
        path=schedule_path(schedule_id),
        read=_to_cancel_result,
        kind="schedule",
        key=str(schedule_id),
        conflict=ErrorWord.ALREADY_DONE,
    )


def safe_app_id(app_id: str) -> str:
    """Return an app id that is safe inside a URL."""
    if violations := check_app_id(app_id):
        raise InvalidRequest(violations)
    return app_id


def _secrets_path(app_id: str) -> str:
    return f"{BASE}/apps/{safe_app_id(app_id)}/signing-secrets"


def schedule_path(schedule_id: UUID | str) -> str:
    """Return the path of a schedule."""
    return f"{BASE}/schedules/{quote(str(schedule_id), safe='')}"


def instant(field: str, at: datetime | None) -> str | None:
    """Return an instant as the API reads it. Raises InvalidRequest, which names the field."""
    if at is None:
        return None
    if at.utcoffset() is None:
        raise InvalidRequest.of(field, "must be timezone-aware")
    try:
        return at.astimezone(UTC).isoformat()
    except OverflowError:
        raise InvalidRequest.of(field, "must be in the years 1 to 9999, UTC") from None


def _when(at: datetime | None, delay: timedelta | None) -> Mapping[str, object]:
    """Return the time to fire, delays rounded up to the millisecond as the server does with instants."""
    if at is not None and delay is None:
        return {"scheduleTime": instant("at", at)}
    if at is None and delay is not None:
        return {"delaySeconds": -(-delay // _MS) / 1_000}
    raise InvalidRequest.of("at", "required: either at or delay, not both")


def _to_apps(data: dict[str, Any]) -> list[AppView]:
    return [read_app(shown) for shown in convert(data.get("apps"), list[Any])]


def _to_only_app(data: dict[str, Any]) -> AppView:
    return read_app(convert(data.get("apps"), tuple[Any])[0])


def _check_app(data: dict[str, Any]) -> None:
    convert(data.get("appId"), str)


def _check_activation(data: dict[str, Any]) -> None:
    convert(data.get("Active"), bool)


def _to_secrets(data: dict[str, Any]) -> list[SigningSecretView]:
    return [read(SigningSecretView, shown) for shown in convert(data.get("signingSecrets"), list[Any])]


def _check_deletion(data: dict[str, Any]) -> None:
    convert(data.get("secretId"), str)


def _to_schedule(data: dict[str, Any]) -> ScheduleView:
    return read(ScheduleView, data.get("schedule"))


def _to_cancel_result(data: dict[str, Any]) -> CancelResult:
    return CancelResult(schedule=_to_schedule(data), promised="cancel" not in data)
