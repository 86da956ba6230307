"""What a receiver of signed callbacks does first: see that one is genuine. Needs no server and no client.

Signatures are those of Standard Webhooks 1.0: `v1` by a secret that both sides know, `v1a` by a private key
that only Ringtime has. Only the second needs a package beside Python's own.
"""

from __future__ import annotations

import hmac
import re
import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping

from ringtime_shared.errors import RingtimeError
from ringtime_shared.models.app import PUBLIC_PREFIX

TOLERANCE_S = 300  #: of clocks that differ, and of the way

_SECRET_PREFIX = "whsec_"  # noqa: S105 - what a secret begins with
_LEAST_BYTES, _MOST_BYTES, _PUBLIC_BYTES = 24, 64, 32
_MOST_SIGNATURES = 16  #: that are looked at; we send four at most
_SECONDS = re.compile("[0-9]{1,12}")

Check = Callable[[bytes, bytes], bool]  #: takes what is signed, and the signature


class NotGenuine(RingtimeError):
    """A request that is not to be acted upon: answer 401. The text says why, for your log alone."""


def verify(
    keys: str | Iterable[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    tolerance_s: float = TOLERANCE_S,
    now_s: float | None = None,
) -> str:
    """Return the `webhook-id` of a callback that one of the keys signed: the same in each of its attempts.

    Args:
        keys: secrets (`whsec_...`) and public keys (`whpk_...`), those that are being replaced included.
        headers: names in any case.
        body: as it came, before anything has read it.
        tolerance_s: how far its time may be off, to both sides.
        now_s: seconds since 1970; None: the machine's clock.

    Raises NotGenuine; ValueError for keys that are none; ImportError, which names the package, for a public
    key where `cryptography` is missing.
    """
    checks: dict[str, list[Check]] = {"v1": [], "v1a": []}
    for key in (keys,) if isinstance(keys, str) else keys:
        version, check = _check_of(key)
        checks[version].append(check)
    if not any(checks.values()):
        raise ValueError("keys: there is none")
    named = {name.lower(): value for name, value in headers.items()}
    message_id, sent_at, given = (
        named.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")
    )
    if not (message_id and sent_at and given):
        raise NotGenuine("it is not signed")
    if not _SECONDS.fullmatch(sent_at):
        raise NotGenuine("webhook-timestamp is no time")
    if abs((time.time() if now_s is None else now_s) - int(sent_at)) > tolerance_s:
        raise NotGenuine("webhook-timestamp is too far off")
    signed = f"{message_id}.{sent_at}.".encode("utf-8", "surrogateescape") + body
    for each in given.split(" ", _MOST_SIGNATURES)[:_MOST_SIGNATURES]:
        version, _, encoded = each.partition(",")
        signature = _decoded(encoded)
        if signature and any(check(signed, signature) for check in checks.get(version, ())):
            return message_id
    raise NotGenuine("no key of ours signed this")


def _check_of(key: str) -> tuple[str, Check]:
    """Return how a key verifies. No error repeats the key."""
    if key.startswith(PUBLIC_PREFIX):
        public = _decoded(key.removeprefix(PUBLIC_PREFIX))
        if len(public) == _PUBLIC_BYTES:
            return "v1a", _ed25519(public)
    elif key.startswith(_SECRET_PREFIX):
        secret = _decoded(key.removeprefix(_SECRET_PREFIX))
        if _LEAST_BYTES <= len(secret) <= _MOST_BYTES:
            return "v1", lambda signed, given: hmac.compare_digest(
                hmac.digest(secret, signed, "sha256"), given
            )
    raise ValueError(
        "keys: each must be a secret, whsec_..., or a public key, whpk_..., as Ringtime shows it"
    )


def _ed25519(public: bytes) -> Check:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise ImportError(
            "to verify with a public key needs pip install 'ringtime-client[ed25519]'"
        ) from None
    key = Ed25519PublicKey.from_public_bytes(public)

    def check(signed: bytes, given: bytes) -> bool:
        try:
            key.verify(given, signed)
        except InvalidSignature:
            return False
        return True

    return check


def _decoded(encoded: str) -> bytes:
    try:
        return b64decode(encoded, validate=True)
    except ValueError:  # binascii's own is one, and that of text beyond ASCII
        return b""
