"""An app and its signing secrets, as the API and the tools show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, cast

from msgspec import ValidationError

from ringtime_shared.api.configuration import configuration_to_json
from ringtime_shared.api.hooks import FIELD as HOOKS
from ringtime_shared.api.hooks import read_hooks
from ringtime_shared.api.instants import to_iso
from ringtime_shared.api.views import Doc, read
from ringtime_shared.models.app import App, AppConfiguration, Resize, SigningSecret, public_key_of

MAX_APPS = 1_000  #: on a page
MAX_CONTAINS_CHARS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class AppView:
    """An app as the server shows it."""

    app_id: Annotated[str, Doc("The app's id.")]
    partitions: Annotated[int, Doc("Its quota of poller instances, which new schedules are spread over.")]
    active: Annotated[bool, Doc("Whether schedules can be created, and fire.")]
    configuration: Annotated[AppConfiguration, Doc("What it sets, without what it leaves to the server.")]
    deleting: Annotated[bool, Doc("It is being deleted; else left out.")] = False
    damage: Annotated[
        str, Doc("Why what is stored of it cannot be read; then nothing else of it counts.")
    ] = ""


def app_to_json(app: App) -> dict[str, object]:
    """Return an app as the API's app object; `partitions` is the quota new schedules are spread over.

    `deleting` is there only while the app is being deleted. One that cannot be read says so in `damage`, and
    nothing else of it counts.
    """
    shown: dict[str, object] = {
        "appId": app.app_id,
        "partitions": app.writable,
        "active": app.active,
        "configuration": configuration_to_json(app.configuration),
    }
    if app.deletion is not None:
        shown["deleting"] = True
    return shown | {"damage": app.damage} if app.damage else shown


def noted_to_json(app: App) -> dict[str, object]:
    """Return what the audit log may say of an app: as it is shown, and which signing secrets it has."""
    return app_to_json(app) | {"signingSecrets": [secret_to_json(each) for each in app.secrets]}


def configured_to_json(app: App) -> dict[str, object]:
    """Return an app's configuration, with whose it is."""
    return {"appId": app.app_id, "configuration": configuration_to_json(app.configuration)}


def read_app(shown: object) -> AppView:
    """Read an app object. Raises ValidationError."""
    if not isinstance(shown, Mapping) or not isinstance(shown.get("configuration"), Mapping):
        return read(AppView, shown)
    configuration = read_configuration(shown["configuration"])
    return replace(read(AppView, {**shown, "configuration": {}}), configuration=configuration)


def read_configuration(shown: object) -> AppConfiguration:
    """Read an app's configuration. Raises ValidationError."""
    hooks = shown.get(HOOKS) if isinstance(shown, Mapping) else None
    if hooks is None:
        return _with_attempts(read(AppConfiguration, shown))
    plain = {name: value for name, value in cast("Mapping[str, object]", shown).items() if name != HOOKS}
    try:
        return replace(read_configuration(plain), hooks=read_hooks(hooks))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValidationError(f"{HOOKS}: {error}") from None


def _with_attempts(configuration: AppConfiguration) -> AppConfiguration:
    retry = configuration.retry
    if retry is None or retry.attempts is None:
        return configuration
    return replace(configuration, retry=replace(retry, attempts=None))  # that is `http_attempts`


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningSecretView:
    """A live signing secret, as the list shows it."""

    secret_id: Annotated[str, Doc("Names the secret; 16 hexadecimal digits.")]
    created_at: Annotated[datetime, Doc("When it was added.")]
    public_key: Annotated[
        str, Doc("Of an Ed25519 key: `whpk_` and base64, what receivers verify with. Else left out.")
    ] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSigningSecret(SigningSecretView):
    """A signing secret that was just made."""

    secret: Annotated[
        str, Doc("`whsec_` and base64; the server never shows it again. Of an Ed25519 key left out, always.")
    ] = field(default="", repr=False)


def secret_to_json(secret: SigningSecret, *, is_new: bool = False) -> dict[str, object]:
    """Return a signing secret; the secret itself only where it was just made, and a private key never."""
    shown: dict[str, object] = {"secretId": secret.secret_id}
    if public_key := public_key_of(secret):
        shown["publicKey"] = public_key
    elif is_new:
        shown["secret"] = secret.secret
    return shown | {"createdAt": to_iso(secret.created_ms)}


def resize_to_json(note: Resize | None) -> dict[str, object] | None:
    """Return a resize that is under way, for operators; None: there is none."""
    if note is None:
        return None
    return {
        "quota": note.quota,
        "before": note.before,
        "operator": note.operator,
        "begunAt": to_iso(note.begun_ms),
    }
