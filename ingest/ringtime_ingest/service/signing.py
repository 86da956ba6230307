"""The signing secrets of an app: at most two of a kind, so that one can be replaced without a gap.

Every live secret signs every callback, so a receiver that knows either one accepts. A third is refused
rather than pushing the oldest out: a create that is repeated by mistake must not end a key that receivers
still verify with. A secret is told once, to who creates it; nothing that is raised here repeats one. A
private key of Ed25519 is made here and told nobody, its public key whoever may read the app.
"""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace

from ringtime_shared.api.ids import SECRET_ID_BYTES, check_secret_id
from ringtime_shared.apps.changes import Noted, change_app, unnoted
from ringtime_shared.clock import Clock
from ringtime_shared.encryption.ed25519 import make_private_key
from ringtime_shared.errors import Conflict, InvalidRequest, NotFound, Violation
from ringtime_shared.models.app import App, SigningKind, SigningSecret, kind_of
from ringtime_shared.stores.protocol import AppStore

Secrets = tuple[SigningSecret, ...]

MAX_SECRETS = 2  #: of one kind
_PREFIX = "whsec_"
_MADE_BYTES, _LEAST_BYTES, _MOST_BYTES = 32, 24, 64
_GROUP = "[A-Za-z0-9+/]{4}"
#: What `check_secret` passes: whole groups of three bytes, and one or two more with padding.
SECRET_PATTERN = (
    f"{_PREFIX}(?:(?:{_GROUP}){{8,21}}(?:[A-Za-z0-9+/][AQgw]==)?"
    f"|(?:{_GROUP}){{8,20}}[A-Za-z0-9+/]{{2}}[AEIMQUYcgkosw048]=)"
)


def check_secret(secret: str) -> list[Violation]:
    """Return what is wrong with a secret of the client's own.

    One spelling only: what libraries do with missing padding or stray characters differs.
    """
    encoded = secret.removeprefix(_PREFIX)
    try:
        key = b64decode(encoded, validate=True)
    except ValueError:
        key = b""
    is_sound = (
        secret.startswith(_PREFIX)
        and _LEAST_BYTES <= len(key) <= _MOST_BYTES
        and b64encode(key).decode() == encoded
    )
    rule = (
        f"must be {_PREFIX} and the base64 of {_LEAST_BYTES} to {_MOST_BYTES} random bytes, padding included"
    )
    return [] if is_sound else [Violation("secret", rule)]


def _make(kind: SigningKind) -> str:
    if kind is SigningKind.ED25519:
        return make_private_key()
    return _PREFIX + b64encode(secrets.token_bytes(_MADE_BYTES)).decode()


class SigningSecrets:
    """Creates, lists and revokes. Every method may also raise StoreUnavailable, writes OutcomeUnknown."""

    def __init__(self, store: AppStore, clock: Clock, noted: Noted = unnoted) -> None:
        self._store = store
        self._noted = noted
        self._clock = clock

    async def create(
        self, app_id: str, secret: str | None = None, kind: SigningKind = SigningKind.HMAC
    ) -> SigningSecret:
        """Add a secret, one of the caller's own or a new random one.

        Raises NotFound (app), InvalidRequest, and Conflict if there are two of the kind or this one is among
        them.
        """
        if secret is not None:
            violations = check_secret(secret)
            if kind is SigningKind.ED25519:
                violations = [
                    Violation("secret", "must be left out: private keys are made here, and stay here")
                ]
            if violations:
                raise InvalidRequest(violations)
        new = SigningSecret(
            secret_id=secrets.token_hex(SECRET_ID_BYTES),
            secret=secret or _make(kind),
            created_ms=self._clock.now_ms(),
        )

        def add(live: Secrets) -> Secrets:
            if new in live:  # by a try that was carried out, though its answer said otherwise
                return live
            for each in live:
                if secrets.compare_digest(each.secret, new.secret):
                    message = f"app {app_id} has this signing secret already, as {each.secret_id}"
                    raise Conflict(message, "secret")
            alike = [each for each in live if kind_of(each) is kind]
            if len(alike) >= MAX_SECRETS:
                what = "signing secrets" if kind is SigningKind.HMAC else f"{kind} signing keys"
                raise Conflict(
                    f"app {app_id} has {MAX_SECRETS} {what} already; delete one first, the oldest is"
                    f" {alike[-1].secret_id}",
                    "secret",
                )
            return (new, *live)

        await self._change(app_id, add)
        return new

    async def fetch(self, app_id: str) -> Secrets:
        """Return the live secrets, newest first. Raises NotFound (app)."""
        app = await self._store.fetch_app(app_id)
        if app is None:
            raise NotFound("app", app_id)
        return app.secrets

    async def delete(self, app_id: str, secret_id: str) -> None:
        """Revoke a secret. Raises NotFound (app or secret), InvalidRequest."""
        if violations := check_secret_id(secret_id):
            raise InvalidRequest(violations)
        was_there = False

        def drop(live: Secrets) -> Secrets:
            nonlocal was_there
            left = tuple(each for each in live if each.secret_id != secret_id)
            was_there = was_there or left != live
            if not was_there:
                raise NotFound("signing secret", secret_id)
            return left

        await self._change(app_id, drop)

    async def _change(self, app_id: str, change: Callable[[Secrets], Secrets]) -> None:
        """Store what `change` makes of the live secrets; asked again when somebody else changed the app."""

        async def decide(app: App) -> App:
            live = change(app.secrets)
            return app if live == app.secrets else replace(app, secrets=live, version=app.version + 1)

        await change_app(self._store, app_id, decide, self._noted)
