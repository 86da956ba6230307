"""Each verb of the clients as the request it makes, with what it is told and what it answers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import quote
from uuid import UUID

from msgspec import ValidationError, convert

from ringtime_client.answers import settle_item
from ringtime_client.exchange import BASE, Call, T
from ringtime_client.forms import callback_of, instant, safe, sending_of, to_body, with_query
from ringtime_client.recurring import plain_id
from ringtime_client.views import (
    Callback,
    CancelResult,
    NewSchedule,
    naming_item,
    to_new_schedule,
)
from ringtime_shared.api.apps import (
    AppView,
    NewSigningSecret,
    SigningSecretView,
    read_app,
    read_configuration,
)
from ringtime_shared.api.audit import LIST_SIZE as AUDIT_SIZE
from ringtime_shared.api.audit import AuditPage
from ringtime_shared.api.configuration import configuration_to_json, retry_to_json
from ringtime_shared.api.dead_letters import LIST_SIZE as LETTERS_SIZE
from ringtime_shared.api.dead_letters import MAX_SIZE, DeadLetterPage, ReplayResult, ReplayView
from ringtime_shared.api.ids import KEY_FIELD, check_key, check_name, check_secret_id
from ringtime_shared.api.schedules import LIST_SIZE, SchedulePage, ScheduleView
from ringtime_shared.api.views import read
from ringtime_shared.arguments import Instant, checked
from ringtime_shared.errors import ErrorWord, InvalidRequest, RingtimeError, Violation
from ringtime_shared.models.app import AppConfiguration, SigningKind
from ringtime_shared.models.hooks import Hooks
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Status
from ringtime_shared.models.sending import Priority

_MS = timedelta(milliseconds=1)
_REPLAYED = {None: "all", True: "true", False: "false"}


@checked
def register_app(
    app_id: str,
    *,
    partitions: int | None = None,
    active: bool = True,
    configuration: AppConfiguration | None = None,
) -> Call[AppView]:
    """Register an app, or change state and configuration of one with the same quota.

    Args:
        partitions: its quota of poller instances; None: the server's default.
        configuration: what is None in it, or all of it: the server's defaults.

    Raises InvalidRequest, Conflict.
    """
    fields: dict[str, object] = {"appId": app_id, "active": active}
    if partitions is not None:
        fields["partitions"] = partitions
    if configuration is not None:
        fields["configuration"] = configuration_to_json(configuration, is_hidden=False)
    return Call(method="POST", path=f"{BASE}/apps", body=to_body(fields), read=read_app, app_id=app_id)


@checked
def list_apps() -> Call[list[AppView]]:
    """Return all apps."""
    return Call(method="GET", path=f"{BASE}/apps", read=_to_apps)


@checked
def get_app(app_id: str) -> Call[AppView]:
    """Return one app. Raises InvalidRequest, NotFound."""
    path = f"{BASE}/apps?app_id={safe(app_id)}"
    return Call(method="GET", path=path, read=_to_only_app, kind="app", key=app_id, app_id=app_id)


@checked
def configure_app(app_id: str, *, configuration: AppConfiguration) -> Call[AppConfiguration]:
    """Set an app's configuration, and return it as it is then.

    Args:
        configuration: what is None in it: the server's defaults.

    Raises InvalidRequest, NotFound, Conflict.
    """
    return Call(
        method="PUT",
        path=f"{BASE}/apps/{safe(app_id)}/configuration",
        body=to_body(configuration_to_json(configuration, is_hidden=False)),
        read=_to_configuration,
        app_id=app_id,
    )


@checked
def activate_app(app_id: str) -> Call[None]:
    """Let an app create and fire schedules. Raises InvalidRequest, NotFound, AppActive."""
    return _switch(app_id, "activate")


@checked
def deactivate_app(app_id: str) -> Call[None]:
    """Stop an app's creates and callbacks. Raises InvalidRequest, NotFound, AppInactive."""
    return _switch(app_id, "deactivate")


@checked
def delete_app(app_id: str, *, cancel_schedules: bool = False) -> Call[None]:
    """Delete an app; its ids are not found from then on.

    It is begun when this returns: the app creates and fires nothing, and is gone in some 15 seconds, when
    `get_app` raises NotFound. If it is not, because its server died, delete it again. Its own id can
    be registered anew then: an app with nothing of this one.

    Args:
        cancel_schedules: cancel what has not fired; else that is a Conflict.

    Raises InvalidRequest, NotFound, Conflict.
    """
    path = f"{BASE}/apps/{safe(app_id)}" + ("?cancel_schedules=true" if cancel_schedules else "")
    return Call(method="DELETE", path=path, read=_check_app, app_id=app_id)


@checked
def create_signing_secret(
    app_id: str, *, secret: str | None = None, kind: SigningKind = SigningKind.HMAC
) -> Call[NewSigningSecret]:
    """Sign the app's callbacks with a further secret, which the server shows this once.

    After OutcomeUnknown there may be one that nobody has seen; the list tells, and it can be deleted.

    Args:
        secret: one of your own, `whsec_` and the base64 of 24 to 64 random bytes; None: one is made.
        kind: `ed25519` makes a key pair, of which you get the public key alone.

    Raises InvalidRequest, NotFound (app), Conflict (there are two of the kind already, or this one is among
    them).
    """
    asked = {} if secret is None else {"secret": secret}
    return Call(
        method="POST",
        path=_secrets_path(app_id),
        body=to_body(asked if kind is SigningKind.HMAC else asked | {"kind": kind.value}),
        read=partial(read, NewSigningSecret),
        app_id=app_id,
    )


@checked
def list_signing_secrets(app_id: str) -> Call[list[SigningSecretView]]:
    """Return the live signing secrets, newest first, without the secrets themselves.

    Raises InvalidRequest, NotFound (app).
    """
    return Call(method="GET", path=_secrets_path(app_id), read=_to_secrets, app_id=app_id)


@checked
def list_signing_keys(app_id: str) -> Call[list[SigningSecretView]]:
    """Return the live Ed25519 keys with their public keys, newest first.

    It takes a key that may read the app, no more.

    Raises InvalidRequest, NotFound (app).
    """
    path = f"{BASE}/apps/{safe(app_id)}/signing-keys"
    return Call(method="GET", path=path, read=partial(_to_secrets, field="signingKeys"), app_id=app_id)


@checked
def delete_signing_secret(app_id: str, secret_id: str) -> Call[None]:
    """Sign with this secret no more. Raises InvalidRequest, NotFound (app or secret), VersionConflict."""
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
    payload: str | bytes,
    callback: Callback,
    at: Instant | None = None,
    delay: timedelta | None = None,
    retry: RetryRules | None = None,
    labels: Mapping[str, str] | None = None,
    idempotency_key: str = "",
    timeout: timedelta | None = None,
    priority: Priority | None = None,
    hooks: Hooks | None = None,
) -> Call[ScheduleView]:
    """File a schedule; when this returns, it will fire.

    Without a key it is sent once and never again, whatever happens: a second create would be a second
    schedule. After OutcomeUnknown it may exist under an id that nobody was told; whether to create another is
    for the caller to decide. With a key it is tried again like a read, and the caller may call this again as
    well: there is one schedule for a key, for 24 hours unless the server is set otherwise.

    Args:
        payload: text, or bytes, which are sent as they are.
        callback: HttpCallbackDetails, or `{"type": name, "details": {...}}` for any type.
        at: the instant to fire at, timezone-aware or in epoch seconds; or
        delay: how long from the server's now.
        retry: where it differs from the app's policy; no more attempts and no longer time.
        labels: up to 16 keys and values to find it by in lists.
        idempotency_key: what this create and its repetitions have in common, say an order's number. The
            server must know of keys (see its reference), or each try makes a schedule.
        timeout: of one attempt, instead of the app's.
        priority: among the app's callbacks to one destination, when they have to wait.
        hooks: who is told how it ended, instead of the app's; `make_hooks` makes them.

    Raises InvalidRequest, NotFound (app), AppInactive, KeyReused (the key is another create's), InFlight.
    """
    fields = {
        **_fields_of(app_id, callback, at, delay, retry, labels),
        **sending_of(payload, timeout, priority, hooks),
    }
    if not idempotency_key:
        return _create_of(app_id, to_body(fields), may_join=True)
    if violations := check_key(idempotency_key):
        raise InvalidRequest([Violation("idempotency_key", each.rule) for each in violations])
    call = _create_of(app_id, to_body(fields))
    return replace(call, headers={"Idempotency-Key": idempotency_key}, may_repeat=True)


@checked
def create_schedules(
    schedules: Sequence[NewSchedule | Mapping[str, Any]],
) -> Call[list[ScheduleView | RingtimeError]]:
    """File 1 to 1,000 schedules, of any apps; return for each, in order, the schedule or why there is none.

    A bad one sinks no other. An OutcomeUnknown among the results may exist and fire; the other errors
    mean that nothing came of the item. After an OutcomeUnknown that is raised, any of them may exist.

    Args:
        schedules: each a NewSchedule, or a mapping with its fields.

    Raises InvalidRequest: for what is of the wrong type, of whichever item, nothing is sent.
    """
    return batch_of([_item_of(n, each) for n, each in enumerate(schedules)])


def batch_of(calls: Sequence[Call[ScheduleView]]) -> Call[list[ScheduleView | RingtimeError]]:
    """Return the batch of these creates; its result says of each what it would have come to alone."""
    return Call(
        method="POST",
        path=f"{BASE}/schedules/batch",
        body=b'{"schedules":[' + b",".join(each.body or b"" for each in calls) + b"]}",
        read=partial(_to_results, calls),
    )


@checked
def get_schedule(schedule_id: UUID | str) -> Call[ScheduleView]:
    """Return a schedule with its status and outcome. Raises InvalidRequest, NotFound."""
    return Call(
        method="GET",
        path=_schedule_path(schedule_id),
        read=_to_schedule,
        kind="schedule",
        key=str(schedule_id),
    )


@checked
def put_schedule(
    app_id: str,
    name: str,
    *,
    payload: str | bytes,
    callback: Callback,
    at: Instant | None = None,
    delay: timedelta | None = None,
    retry: RetryRules | None = None,
    labels: Mapping[str, str] | None = None,
    timeout: timedelta | None = None,
    priority: Priority | None = None,
    hooks: Hooks | None = None,
) -> Call[ScheduleView]:
    """File a schedule under a name of your own, or make the one that is pending there what is asked for.

    The name is free again once its schedule has ended or was cancelled. With `at` it is tried again like a
    read; a delay counts from the first put that arrives.

    Args:
        name: 1 to 128 letters, digits, `_`, `.` and `-`; unique in the app.
        Others: as of `create_schedule`.

    Raises InvalidRequest, NotFound (app), AppInactive, NotChangeable (the pending one is due within a
    second, or was tried), VersionConflict, Conflict (others put it at the same moment), InFlight.
    """
    fields = {
        **_fields_of(app_id, callback, at, delay, retry, labels),
        **sending_of(payload, timeout, priority, hooks),
    }
    del fields["appId"]
    return Call(
        method="PUT",
        path=_named_path(app_id, name),
        body=to_body(fields),
        read=_to_schedule,
        app_id=app_id,
        may_repeat=at is not None,
    )


@checked
def get_named_schedule(app_id: str, name: str) -> Call[ScheduleView]:
    """Return the schedule that was put under a name last, for as long as it is kept. Raises InvalidRequest,
    NotFound."""
    path = _named_path(app_id, name)
    return Call(method="GET", path=path, read=_to_schedule, kind="schedule", key=name, app_id=app_id)


@checked
def cancel_named_schedule(app_id: str, name: str) -> Call[CancelResult]:
    """Cancel the schedule that was put under a name last; the name is free then. Raises InvalidRequest,
    NotFound, AlreadyDone."""
    return Call(
        method="DELETE",
        path=_named_path(app_id, name),
        read=_to_cancel_result,
        kind="schedule",
        key=name,
        app_id=app_id,
        conflict=ErrorWord.ALREADY_DONE,
    )


@checked
def patch_schedule(
    schedule_id: UUID | str,
    *,
    at: Instant | None = None,
    delay: timedelta | None = None,
    payload: str | bytes | None = None,
    callback: Callback | None = None,
    retry: RetryRules | None = None,
    labels: Mapping[str, str] | None = None,
    timeout: timedelta | None = None,
    priority: Priority | None = None,
    hooks: Hooks | None = None,
) -> Call[ScheduleView]:
    """Change a schedule that is not sent yet; what is None stays. What was to be sent before is not sent.

    After OutcomeUnknown it may be changed or not: `get_schedule` tells, and it may be tried again.

    Args:
        at: another instant to fire at, timezone-aware; or
        delay: how long from the server's now.
        payload, callback, retry, labels, timeout, priority, hooks: as `create_schedule` takes them.

    Raises InvalidRequest, NotFound, NotChangeable (it is over, is due within a second, or is a run),
    VersionConflict (others changed it at the same moment), AppInactive.
    """
    fields: dict[str, object] = {} if at is None and delay is None else dict(_when(at, delay))
    fields |= sending_of(payload, timeout, priority, hooks)
    if callback is not None:
        fields["callback"] = callback_of(callback)
    if retry is not None:
        fields["retryPolicy"] = retry_to_json(retry)
    if labels is not None:
        fields["labels"] = labels
    return Call(
        method="PATCH",
        path=_schedule_path(schedule_id),
        body=to_body(fields),
        read=_to_schedule,
        kind="schedule",
        key=str(schedule_id),
        conflict=ErrorWord.NOT_CHANGEABLE,
    )


@checked
def trigger_schedule(schedule_id: UUID | str) -> Call[ScheduleView]:
    """Send a schedule now instead of at its time; of a recurring one, file a run now, and return that.

    Raises as `patch_schedule` does.
    """
    return Call(
        method="POST",
        path=f"{_schedule_path(schedule_id)}/trigger",
        read=_to_schedule,
        kind="schedule",
        key=str(schedule_id),
        conflict=ErrorWord.NOT_CHANGEABLE,
    )


@checked
def cancel_schedule(schedule_id: UUID | str) -> Call[CancelResult]:
    """Cancel a schedule; cancelling twice is no error. Raises InvalidRequest, NotFound, AlreadyDone."""
    return _cancel_of(schedule_id)


@checked
def cancel_schedules(
    schedule_ids: Sequence[UUID | str],
) -> Call[list[CancelResult | RingtimeError]]:
    """Cancel 1 to 1,000 schedules, of any apps; return for each, in order, what became of it.

    The errors among the results are those that `cancel_schedule` raises. Cancelling twice is no error, also
    in one call. Raises InvalidRequest.
    """
    calls = [_cancel_of(each) for each in schedule_ids]
    return Call(
        method="POST",
        path=f"{BASE}/schedules/batch-cancel",
        body=to_body({"scheduleIds": [str(each) for each in schedule_ids]}),
        read=partial(_to_results, calls),
    )


@checked
def list_schedules(
    app_id: str,
    *,
    start: Instant | None = None,
    end: Instant | None = None,
    status: Status | None = None,
    labels: Mapping[str, str] | None = None,
    name_prefix: str = "",
    host: str = "",
    late_by: timedelta | None = None,
    size: int = LIST_SIZE,
    token: str = "",
) -> Call[SchedulePage]:
    """Return a page of an app's schedules by fire time, those that have ended among them.

    Args:
        start: from those due at this instant on; None: an hour before `end`.
        end: up to before this instant; None: an hour after `start` if that is given, else now. At most 31
            days after `start`.
        status: only these.
        labels: only schedules that have these, and perhaps others.
        name_prefix: only those whose name begins so.
        host: only those whose callback goes to this host.
        late_by: only those sent, or missed, so late, or later.
        size: most schedules on the page, 1 to 1,000.
        token: the one of the page before; "": the first page.

    Raises InvalidRequest, NotFound (app).
    """
    asked: dict[str, object] = {
        "start_time": instant("start", start),
        "end_time": instant("end", end),
        "status": status,
        "label": [f"{key}:{value}" for key, value in (labels or {}).items()],
        "name_prefix": name_prefix,
        "host": host,
        "late_by_ms": None if late_by is None else late_by // _MS,
        "size": size,
        "continuation_token": token,
    }
    path = with_query(f"{BASE}/apps/{safe(app_id)}/schedules", asked)
    return Call(method="GET", path=path, read=partial(read, SchedulePage), app_id=app_id)


@checked
def list_dead_letters(
    app_id: str,
    *,
    start: Instant | None = None,
    end: Instant | None = None,
    size: int = LETTERS_SIZE,
    token: str = "",
    replayed: bool | None = False,
) -> Call[DeadLetterPage]:
    """Return a page of an app's dead letters, oldest first.

    Args:
        start: from the last attempt at this instant on; None: a day before `end`.
        end: up to this instant; None: now. At most 31 days after `start`.
        size: most letters on the page, 1 to 1,000.
        token: the one of the page before; "": the first page.
        replayed: True: only those that were filed again; False: only the others; None: all.

    Raises InvalidRequest, NotFound (app).
    """
    asked: dict[str, object] = {
        "start_time": instant("start", start),
        "end_time": instant("end", end),
        "size": size,
        "continuation_token": token,
        "replayed": _REPLAYED[replayed],
    }
    path = _letters_path(app_id, query=asked)
    return Call(method="GET", path=path, read=partial(read, DeadLetterPage), app_id=app_id)


@checked
def list_audit(
    app_id: str | None = None,
    *,
    start: Instant | None = None,
    end: Instant | None = None,
    size: int = AUDIT_SIZE,
    token: str = "",
    actor: str = "",
    action: str = "",
) -> Call[AuditPage]:
    """Return a page of the audit log, newest first: who changed what.

    Args:
        app_id: of this app alone; None: of all, and of the deployment.
        start: from this instant on; None: 30 days before `end`.
        end: up to this instant; None: now. At most 400 days after `start`.
        size: most entries on the page, 1 to 1,000.
        token: the one of the page before; "": the first page.
        actor: only changes by this one.
        action: only actions that begin so, `apps` or `apps configure`.

    Raises InvalidRequest, NotFound (app).
    """
    asked: dict[str, object] = {
        "start_time": instant("start", start),
        "end_time": instant("end", end),
        "size": size,
        "continuation_token": token,
        "actor": actor,
        "action": action,
    }
    of_app = "" if app_id is None else f"/apps/{safe(app_id)}"
    path = with_query(f"{BASE}{of_app}/audit", asked)
    return Call(method="GET", path=path, read=partial(read, AuditPage), app_id=app_id or "")


@checked
def count_dead_letters(app_id: str, *, start: Instant | None = None, end: Instant | None = None) -> Call[int]:
    """Return how many were not filed again. Raises InvalidRequest, NotFound (app)."""
    asked = {"start_time": instant("start", start), "end_time": instant("end", end)}
    return Call(method="GET", path=_letters_path(app_id, "/count", asked), read=_to_count, app_id=app_id)


@checked
def replay_schedule(schedule_id: UUID | str) -> Call[ReplayView]:
    """File a failed schedule again, under its own id. After OutcomeUnknown it may be repeated.

    Raises NotFound, NotReplayable (it has not failed, or was cancelled), AppInactive.
    """
    return Call(
        method="POST",
        path=f"{_schedule_path(schedule_id)}/replay",
        read=partial(read, ReplayView),
        kind="schedule",
        key=str(schedule_id),
        conflict=ErrorWord.NOT_REPLAYABLE,
    )


@checked
def replay_dead_letters(
    app_id: str,
    *,
    schedule_ids: Sequence[UUID | str] | None = None,
    start: Instant | None = None,
    end: Instant | None = None,
    size: int | None = None,
    token: str = "",
) -> Call[ReplayResult]:
    """File many failed schedules again, 200 a second. After OutcomeUnknown it may be repeated.

    Args:
        schedule_ids: these, at most 1,000; or
        start, end, size, token: those of a range, as in `list_dead_letters`; `size` is 1,000 if None.

    Raises InvalidRequest, NotFound (app), AppInactive.
    """
    if schedule_ids is not None:
        if (start, end, size) != (None, None, None) or token:
            raise InvalidRequest.of("schedule_ids", "give either schedule_ids or a range, not both")
        body: dict[str, object] = {"scheduleIds": [str(schedule_id) for schedule_id in schedule_ids]}
    else:
        body = {
            "startTime": instant("start", start),
            "endTime": instant("end", end),
            "size": MAX_SIZE if size is None else size,
            "continuationToken": token,
        }
    path = _letters_path(app_id, "/replay")
    return Call(method="POST", path=path, body=to_body(body), read=partial(read, ReplayResult), app_id=app_id)


def _fields_of(
    app_id: str,
    callback: Callback,
    at: Instant | None,
    delay: timedelta | None,
    retry: RetryRules | None,
    labels: Mapping[str, str] | None,
) -> Mapping[str, object]:
    return {
        "appId": app_id,
        **_when(at, delay),
        "callback": callback_of(callback),
        **({} if retry is None else {"retryPolicy": retry_to_json(retry)}),
        **({"labels": labels} if labels else {}),
    }


def _create_of(app_id: str, body: bytes, *, may_join: bool = False) -> Call[ScheduleView]:
    return Call(
        method="POST",
        path=f"{BASE}/schedules",
        body=body,
        read=_to_schedule,
        app_id=app_id,
        may_join=may_join,
    )


def _item_of(number: int, item: NewSchedule | Mapping[str, Any]) -> Call[ScheduleView]:
    """Return the create that an item of a batch would be alone."""
    new = to_new_schedule(number, item)
    with naming_item(number):
        return _create_of(
            new.app_id,
            to_body(
                {
                    **_fields_of(new.app_id, new.callback, new.at, new.delay, new.retry, new.labels),
                    **sending_of(new.payload, new.timeout, new.priority, new.hooks),
                    **({KEY_FIELD: new.idempotency_key} if new.idempotency_key else {}),
                }
            ),
        )


def _cancel_of(schedule_id: UUID | str) -> Call[CancelResult]:
    return Call(
        method="DELETE",
        path=_schedule_path(schedule_id),
        read=_to_cancel_result,
        kind="schedule",
        key=str(schedule_id),
        conflict=ErrorWord.ALREADY_DONE,
    )


def _to_results(calls: Sequence[Call[T]], data: dict[str, Any]) -> list[T | RingtimeError]:
    results = convert(data.get("results"), list[Any])
    if len(results) != len(calls):
        raise ValidationError(f"there are {len(results)} results for {len(calls)} items")
    settled: list[T | RingtimeError] = []
    for call, shown in zip(calls, results, strict=True):
        one = settle_item(call, shown)
        settled.append(one)
    return settled


def _switch(app_id: str, verb: str) -> Call[None]:
    return Call(
        method="POST",
        path=f"{BASE}/apps/{safe(app_id)}/{verb}",
        read=_check_activation,
        app_id=app_id,
        conflict=ErrorWord.VERSION_CONFLICT,
    )


def _secrets_path(app_id: str) -> str:
    return f"{BASE}/apps/{safe(app_id)}/signing-secrets"


def _named_path(app_id: str, name: str) -> str:
    if violations := check_name(name):
        raise InvalidRequest(violations)
    return f"{BASE}/apps/{safe(app_id)}/schedules/{name}"


def _schedule_path(schedule_id: UUID | str) -> str:
    """Return the path of a schedule. Raises InvalidRequest."""
    return f"{BASE}/schedules/{quote(plain_id(schedule_id), safe='')}"


def _when(at: Instant | None, delay: timedelta | None) -> Mapping[str, object]:
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


def _to_configuration(data: dict[str, Any]) -> AppConfiguration:
    return read_configuration(data.get("configuration"))


def _check_app(data: dict[str, Any]) -> None:
    convert(data.get("appId"), str)


def _check_activation(data: dict[str, Any]) -> None:
    convert(data.get("Active"), bool)


def _to_secrets(data: dict[str, Any], field: str = "signingSecrets") -> list[SigningSecretView]:
    return [read(SigningSecretView, shown) for shown in convert(data.get(field), list[Any])]


def _check_deletion(data: dict[str, Any]) -> None:
    convert(data.get("secretId"), str)


def _to_schedule(data: dict[str, Any]) -> ScheduleView:
    return read(ScheduleView, data.get("schedule"))


def _to_cancel_result(data: dict[str, Any]) -> CancelResult:
    return CancelResult(schedule=_to_schedule(data), promised="cancel" not in data)


def _letters_path(app_id: str, tail: str = "", query: Mapping[str, object] | None = None) -> str:
    return with_query(f"{BASE}/apps/{safe(app_id)}/dead-letters{tail}", query or {})


def _to_count(data: dict[str, Any]) -> int:
    return convert(data.get("count"), int)
