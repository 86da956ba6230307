"""What of a record is encrypted, and what each ciphertext is bound to.

| what | bound to, beside the app |
|---|---|
| `callback.details` of a schedule | its id, of a run its recurring schedule's, and all of it that shows |
| of a hook | the event, as one hook serves many schedules, and all of it that shows |
| payload | the id of its schedule, of a run its recurring schedule's |
| signing secret | its id |

Details are kept as they are shown, `***` for each credential (see `callbacks.credentials`), and beside that a
member `CIPHERTEXT` with what was hidden. Details without credentials are kept as they came, and cost one
look. A payload is encrypted if its schedule says so (`Sending.is_private`), which is what its app said when
it was filed.

What is encrypted already is encrypted no second time. What cannot be decrypted stays as it is for those who
only show it or move it, and is an error for those who would send it (`decrypt_for_sending`) or encrypt it
anew (`reencrypt_row` and its like).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol, TypeVar, cast

import orjson

from ringtime_shared.callbacks.credentials import (
    CIPHERTEXT,
    has_plain,
    hide,
    is_kept_encrypted,
    with_secret_headers,
)
from ringtime_shared.encryption.keyring import KeyRing, binding_of, has_form, is_encrypted, key_of
from ringtime_shared.errors import SecretUnreadable
from ringtime_shared.models.app import App
from ringtime_shared.models.hooks import HookEvent, Hooks
from ringtime_shared.models.recurring import Definition
from ringtime_shared.models.schedule import Row, Schedule
from ringtime_shared.models.sending import Sending

Kept = TypeVar("Kept", Schedule, Definition)
PLAIN = ""  #: among key ids: something that is to be encrypted is not


def encrypt_row(ring: KeyRing, row: Row) -> Row:
    """Return a row as it is to be stored."""
    return _with(row, _change(row.schedule, _Encrypt(ring)))


def decrypt_row(ring: KeyRing, row: Row) -> Row:
    """Return a row as its client gave it, as far as it can be decrypted here."""
    return _with(row, _change(row.schedule, _Decrypt(ring)))


def reencrypt_row(ring: KeyRing, row: Row, *, is_private: bool) -> Row:
    """Return a row with all its secrets under the primary key: the row itself if they are.

    Args:
        is_private: its app has payloads encrypted.

    Raises SecretUnreadable.
    """
    schedule = row.schedule
    if is_private and schedule.hook_of is None:
        sending = as_private(schedule.sending)
        schedule = schedule if sending is schedule.sending else replace(schedule, sending=sending)
    return _with(row, _reencrypt(ring, schedule))


def encrypt_definition(ring: KeyRing, definition: Definition) -> Definition:
    """Return a recurring schedule as it is to be stored."""
    return definition if definition.damage else _change(definition, _Encrypt(ring))


def decrypt_definition(ring: KeyRing, definition: Definition) -> Definition:
    """Return a recurring schedule as its client gave it, as far as it can be decrypted here."""
    return definition if definition.damage else _change(definition, _Decrypt(ring))


def reencrypt_definition(ring: KeyRing, definition: Definition, *, is_private: bool) -> Definition:
    """The same as `reencrypt_row`."""
    if is_private:
        sending = as_private(definition.sending)
        definition = definition if sending is definition.sending else replace(definition, sending=sending)
    return _reencrypt(ring, definition)


def encrypt_app(ring: KeyRing, app: App) -> App:
    """Return an app as it is to be stored."""
    return _change_app(app, _Encrypt(ring))


def decrypt_app(ring: KeyRing, app: App) -> App:
    """Return an app with its secrets, as far as they can be decrypted here."""
    return _change_app(app, _Decrypt(ring))


def reencrypt_app(ring: KeyRing, app: App) -> App:
    """The same as `reencrypt_row`; its version stays."""
    if set(keys_of_app(app)) <= {ring.primary}:
        return app
    return _change_app(_change_app(app, _Decrypt(ring, is_strict=True)), _Encrypt(ring))


def decrypt_for_sending(
    ring: KeyRing | None, schedule: Schedule, details: Mapping[str, object]
) -> tuple[Schedule, Mapping[str, object]]:
    """Return a schedule and the details of its callback as they are to be sent, secret headers among the
    headers. Raises SecretUnreadable.

    Args:
        ring: None: there is none here.
        details: its `callback_details`, read.
    """
    sending = schedule.sending
    if CIPHERTEXT in details:
        with _naming("the credentials of its callback"):
            details = _decrypt_details(_required(ring), details, _binding(schedule))
    if sending is not None and sending.is_encrypted:
        payload = schedule.payload
        if _is_ciphertext(schedule):
            with _naming("its payload"):
                payload = _required(ring).decrypt(payload, _payload_binding(schedule)).decode()
        schedule = replace(schedule, payload=payload, sending=replace(sending, is_encrypted=False))
    return schedule, with_secret_headers(details)


def decrypt_secrets(ring: KeyRing | None, app: App) -> tuple[str, ...]:
    """Return the signing secrets of an app, newest first. Raises SecretUnreadable."""
    with _naming(f"a signing secret of app {app.app_id}"):
        return tuple(
            _required(ring).decrypt(each.secret, _secret_binding(app, each.secret_id)).decode()
            if is_encrypted(each.secret)
            else each.secret
            for each in app.secrets
        )


def as_private(sending: Sending | None) -> Sending:
    """Return how a schedule is sent whose payload is to be kept encrypted."""
    if sending is None:
        return Sending(is_private=True)
    return sending if sending.is_private else replace(sending, is_private=True)


def keys_of(record: Schedule | Definition) -> Iterator[str]:
    """Yield the ids of the keys that a record is encrypted under; `PLAIN` for what is to be encrypted and is
    not."""
    yield from _keys_of_details(record.callback_details)
    sending = record.sending
    if sending is not None:
        yield from _keys_of_hooks(sending.hooks)
        if sending.is_private:
            yield key_of(record.payload) if _is_ciphertext(record) else PLAIN


def keys_of_app(app: App) -> Iterator[str]:
    """The same of an app."""
    yield from _keys_of_hooks(app.configuration.hooks)
    for each in app.secrets:
        yield key_of(each.secret) if is_encrypted(each.secret) else PLAIN


def _keys_of_hooks(hooks: Hooks | None) -> Iterator[str]:
    for hook in () if hooks is None else hooks.given().values():
        yield from _keys_of_details(hook.callback_details.encode())


def _keys_of_details(details: bytes) -> Iterator[str]:
    if is_kept_encrypted(details):
        yield key_of(str(orjson.loads(details)[CIPHERTEXT]))
    elif has_plain(details):
        yield PLAIN


class _Way(Protocol):
    """What is done to each secret of a record, given where it is."""

    def details(self, given: bytes, binding: bytes) -> bytes: ...

    def text(self, given: str, is_encrypted: bool, binding: bytes) -> tuple[str, bool]:
        """Return a text, and whether it is encrypted."""
        ...


class _Encrypt(_Way):
    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def details(self, given: bytes, binding: bytes) -> bytes:
        if not has_plain(given):
            return given
        plain = orjson.loads(given)
        visible = hide(plain)
        hidden = {name: value for name, value in plain.items() if visible[name] != value}
        encrypted = self._ring.encrypt(orjson.dumps(hidden), _beside(visible, binding))
        return orjson.dumps({**visible, CIPHERTEXT: encrypted})

    def text(self, given: str, is_encrypted: bool, binding: bytes) -> tuple[str, bool]:
        return (given if is_encrypted else self._ring.encrypt(given.encode(), binding)), True


class _Decrypt(_Way):
    def __init__(self, ring: KeyRing, *, is_strict: bool = False) -> None:
        self._ring = ring
        self._is_strict = is_strict

    def details(self, given: bytes, binding: bytes) -> bytes:
        if not is_kept_encrypted(given):
            return given
        try:
            return orjson.dumps(_decrypt_details(self._ring, orjson.loads(given), binding))
        except SecretUnreadable:
            if self._is_strict:
                raise
            return given

    def text(self, given: str, is_encrypted: bool, binding: bytes) -> tuple[str, bool]:
        if not is_encrypted:
            return given, False
        try:
            return self._ring.decrypt(given, binding).decode(), False
        except SecretUnreadable:
            if self._is_strict:
                raise
            return given, True


def _decrypt_details(ring: KeyRing, details: Mapping[str, object], binding: bytes) -> dict[str, object]:
    visible = {name: value for name, value in details.items() if name != CIPHERTEXT}
    hidden = orjson.loads(ring.decrypt(str(details[CIPHERTEXT]), _beside(visible, binding)))
    return visible | cast(dict[str, object], hidden)


def _beside(visible: Mapping[str, object], binding: bytes) -> bytes:
    """Return what encrypted details are bound to."""
    return binding + b"\0" + orjson.dumps(visible, option=orjson.OPT_SORT_KEYS)


def _reencrypt(ring: KeyRing, record: Kept) -> Kept:
    if set(keys_of(record)) <= {ring.primary}:
        return record
    return _change(_change(record, _Decrypt(ring, is_strict=True)), _Encrypt(ring))


def _change(record: Kept, way: _Way) -> Kept:
    details = way.details(record.callback_details, _binding(record))
    payload, sending = record.payload, record.sending
    if sending is not None and sending.is_private:
        payload, is_encrypted = way.text(payload, _is_ciphertext(record), _payload_binding(record))
        sending = replace(sending, is_encrypted=is_encrypted)
    if sending is not None and sending.hooks is not None:
        sending = replace(sending, hooks=_change_hooks(sending.hooks, record.app_id, way))
    if details is record.callback_details and sending is record.sending:
        return record
    return replace(record, callback_details=details, payload=payload, sending=sending)


def _is_ciphertext(record: Schedule | Definition) -> bool:
    """Whether a payload is to be decrypted: its record says so, and it looks like it.

    In Cassandra the two are cells of one row. A rotation writes both; where the process that filed the row
    has its clock ahead, or files it again at that moment as it was, the newer payload is the plain one, and
    what the row says is the rotation's, for a plain row has nothing to say.
    """
    sending = record.sending
    return sending is not None and sending.is_encrypted and has_form(record.payload)


def _change_app(app: App, way: _Way) -> App:
    hooks = app.configuration.hooks
    if hooks is None and not app.secrets:
        return app
    secrets = tuple(
        replace(
            each,
            secret=way.text(each.secret, is_encrypted(each.secret), _secret_binding(app, each.secret_id))[0],
        )
        for each in app.secrets
    )
    if hooks is not None:
        hooks = _change_hooks(hooks, app.app_id, way)
    return replace(app, configuration=replace(app.configuration, hooks=hooks), secrets=secrets)


def _change_hooks(hooks: Hooks, app_id: str, way: _Way) -> Hooks:
    changed: dict[str, Any] = {
        event: replace(
            hook,
            callback_details=way.details(
                hook.callback_details.encode(), _hook_binding(app_id, event)
            ).decode(),
        )
        for event, hook in hooks.given().items()
    }
    return replace(
        hooks,
        on_success=changed.get(HookEvent.SUCCESS),
        on_failure=changed.get(HookEvent.FAILURE),
        on_missed=changed.get(HookEvent.MISSED),
    )


def _binding(record: Schedule | Definition) -> bytes:
    if isinstance(record, Schedule) and (told := record.hook_of) is not None:
        return _hook_binding(record.app_id, told.event)
    return binding_of(record.app_id, "callback", _row_of(record))


def _payload_binding(record: Schedule | Definition) -> bytes:
    return binding_of(record.app_id, "payload", _row_of(record))


def _hook_binding(app_id: str, event: HookEvent) -> bytes:
    return binding_of(app_id, "hook", event.value)


def _secret_binding(app: App, secret_id: str) -> bytes:
    return binding_of(app.app_id, "signing", secret_id)


def _row_of(record: Schedule | Definition) -> str:
    """Return the id that all filings of a schedule, or a recurring schedule and all its runs, have in
    common."""
    if isinstance(record, Definition):
        return str(record.recurring_id)
    return str(record.schedule_id if record.run is None else record.run.recurring_id)


def _with(row: Row, schedule: Schedule) -> Row:
    return row if schedule is row.schedule else replace(row, schedule=schedule)


def _required(ring: KeyRing | None) -> KeyRing:
    if ring is None:
        raise SecretUnreadable("this process has no key ring")
    return ring


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Say in a SecretUnreadable what could not be decrypted."""
    try:
        yield
    except SecretUnreadable as error:
        raise SecretUnreadable(f"{what} cannot be decrypted: {error}") from None
