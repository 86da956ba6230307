"""Which parts of a callback let their bearer in, and how a callback is shown without them.

Deliveries and replays send a callback as it was given. Whoever is shown a schedule sees the names of headers
and of query parameters, and `***` for the value of each header under `secretHeaders`, and of each whose name
says that it is a credential. Names are all there is to go by: a secret in a path, in the payload, or under a
name that does not say so is shown. What is hidden here is what is stored encrypted
(`ringtime_shared.encryption`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import unquote_plus

import orjson

MASK = "***"
HEADERS, SECRET_HEADERS = "headers", "secretHeaders"  #: of details; the second's values are all credentials
CIPHERTEXT = "ringtimeCiphertext"  #: member of details as they are stored: what is hidden in them, encrypted
CIPHERTEXT_RULE = "is Ringtime's own, and cannot be given"
CIPHERTEXT_MARK = f'"{CIPHERTEXT}":'.encode()  #: in every such member; details without it have none

_CREDENTIAL = re.compile(
    r"auth(?!or(?:s|ity)?(?![a-z]))|cookie|token|secret|passw|passphrase|credential|bearer|session|signature"
    r"|(?:api|access|private|shared)[-_.]?key|(?<![a-z])(?:key|sig|pwd|pass|jwt|sid)(?![a-z])",
    re.IGNORECASE,
)
_LEAST_HIDDEN_CHARS = 4  #: a shorter value says nothing, and would be found everywhere
_SHORT_BYTES = 1_024  #: details up to here are remembered
_HARMLESS = frozenset({"idempotency-key", "x-idempotency-key"})


@lru_cache(maxsize=1_024)
def is_credential(name: str) -> bool:
    """Whether a header or a query parameter of this name carries a credential."""
    return _CREDENTIAL.search(name) is not None and name.lower() not in _HARMLESS


def mask_fault(name: str, value: object, *, is_secret: bool = False) -> str | None:
    """Return the rule that a header breaks which holds the mask: a schedule that was read and sent back.

    Args:
        is_secret: it is hidden whatever its name is.
    """
    if value != MASK or not (is_secret or is_credential(name)):
        return None
    return f"must be the value itself; {MASK} stands where one is hidden"


def hide_details(details: bytes) -> bytes:
    """Return `callback.details`, a JSON object as it is stored, with credentials hidden."""
    if b'eaders"' not in details and b"?" not in details:
        return details
    return _hide_short(details) if len(details) <= _SHORT_BYTES else _hide(details)


def _hide(details: bytes) -> bytes:
    kept = orjson.loads(details)
    hidden = hide(kept)
    return details if hidden == kept else orjson.dumps(hidden)


#: Most schedules of an app have one of few callbacks.
_hide_short = lru_cache(maxsize=1_024)(_hide)


def hide(details: Mapping[str, object]) -> dict[str, object]:
    """Return `callback.details` with the credentials in headers and `url` hidden."""
    shown = dict(details)
    headers, secret, url = details.get(HEADERS), details.get(SECRET_HEADERS), details.get("url")
    shown.pop(CIPHERTEXT, None)
    if isinstance(secret, Mapping):
        shown[SECRET_HEADERS] = dict.fromkeys(secret, MASK)
    if isinstance(headers, Mapping):
        shown["headers"] = {name: MASK if is_credential(name) else value for name, value in headers.items()}
    if isinstance(url, str) and "?" in url:
        shown["url"] = _hide_query(url)
    return shown


def is_kept_encrypted(details: bytes) -> bool:
    """Whether stored details have their credentials encrypted; those that are damaged have not."""
    if CIPHERTEXT_MARK not in details:
        return False
    try:
        kept = orjson.loads(details)
    except ValueError:
        return False
    return isinstance(kept, dict) and CIPHERTEXT in kept


def has_plain(details: bytes) -> bool:
    """Whether there are credentials in stored details that are not encrypted. Of damaged ones nobody can
    tell, and nobody is shown them."""
    try:
        return hide_details(details) != details and not is_kept_encrypted(details)
    except (ValueError, TypeError, AttributeError):  # no JSON object
        return False


def with_secret_headers(details: Mapping[str, object]) -> Mapping[str, object]:
    """Return details with what is under `secretHeaders` among their headers, as they are sent."""
    secret = details.get(SECRET_HEADERS)
    if not isinstance(secret, Mapping):
        return details
    headers = details.get(HEADERS)
    sent = {name: value for name, value in details.items() if name != SECRET_HEADERS}
    return sent | {HEADERS: {**(headers if isinstance(headers, Mapping) else {}), **secret}}


def without_credentials(
    text: str, details: Mapping[str, object], sent: Mapping[str, object], payload: str = ""
) -> str:
    """Return a text, such as an error that repeats what it was given, without the credentials that were sent.

    Args:
        details: as they are stored.
        sent: the same, decrypted, secret headers among the headers.
        payload: what was sent, if that is to be hidden as well.
    """
    secret, headers, url = details.get(SECRET_HEADERS), sent.get(HEADERS), sent.get("url")
    hidden = {payload}
    for name, value in headers.items() if isinstance(headers, Mapping) else ():
        if is_credential(name) or (isinstance(secret, Mapping) and name in secret):
            hidden.add(str(value))
    for name, _, value in _pairs_of(url) if isinstance(url, str) else ():
        if is_credential(unquote_plus(name)):
            hidden |= {value, unquote_plus(value)}
    for value in sorted(hidden, key=len, reverse=True):  # one may be a part of another
        if len(value) >= _LEAST_HIDDEN_CHARS:
            text = text.replace(value, MASK)
    return text


def _pairs_of(url: str) -> list[tuple[str, str, str]]:
    """Return name, equals sign if there is one, and value of each parameter of a query, as they are there."""
    _, mark, query = url.partition("?")
    return [pair.partition("=") for pair in query.split("&")] if mark else []


def _hide_query(url: str) -> str:
    return (
        url.partition("?")[0]
        + "?"
        + "&".join(
            f"{name}={MASK}" if equals and is_credential(unquote_plus(name)) else f"{name}{equals}{value}"
            for name, equals, value in _pairs_of(url)
        )
    )
