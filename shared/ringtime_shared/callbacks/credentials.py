"""Which parts of a callback let their bearer in, and how a callback is shown without them.

The store keeps a callback as it was sent, and deliveries and replays send that. Whoever is shown a schedule
sees the names of headers and of query parameters, and `***` for the value of each whose name says that it is
a credential. Names are all there is to go by: a secret in a path, in the payload, or under a name that
does not say so is shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import unquote_plus

import orjson

MASK = "***"

_CREDENTIAL = re.compile(
    r"auth(?!or(?:s|ity)?(?![a-z]))|cookie|token|secret|passw|passphrase|credential|bearer|session|signature"
    r"|(?:api|access|private|shared)[-_.]?key|(?<![a-z])(?:key|sig|pwd|pass|jwt|sid)(?![a-z])",
    re.IGNORECASE,
)
_SHORT_BYTES = 1_024  #: details up to here are remembered
_HARMLESS = frozenset({"idempotency-key", "x-idempotency-key"})


@lru_cache(maxsize=1_024)
def is_credential(name: str) -> bool:
    """Whether a header or a query parameter of this name carries a credential."""
    return _CREDENTIAL.search(name) is not None and name.lower() not in _HARMLESS


def mask_fault(name: str, value: object) -> str | None:
    """Return the rule that a header breaks which holds the mask: a schedule that was read and sent back."""
    if value != MASK or not is_credential(name):
        return None
    return f"must be the value itself; {MASK} stands where one is hidden"


def hide_details(details: bytes) -> bytes:
    """Return `callback.details`, a JSON object as it is stored, with credentials hidden."""
    if b'"headers"' not in details and b"?" not in details:
        return details
    return _hide_short(details) if len(details) <= _SHORT_BYTES else _hide(details)


def _hide(details: bytes) -> bytes:
    kept = orjson.loads(details)
    hidden = hide(kept)
    return details if hidden == kept else orjson.dumps(hidden)


#: Most schedules of an app have one of few callbacks.
_hide_short = lru_cache(maxsize=1_024)(_hide)


def hide(details: Mapping[str, object]) -> dict[str, object]:
    """Return `callback.details` with the credentials in `headers` and `url` hidden."""
    shown = dict(details)
    headers, url = details.get("headers"), details.get("url")
    if isinstance(headers, Mapping):
        shown["headers"] = {name: MASK if is_credential(name) else value for name, value in headers.items()}
    if isinstance(url, str) and "?" in url:
        shown["url"] = _hide_query(url)
    return shown


def _hide_query(url: str) -> str:
    before, _, query = url.partition("?")
    pairs = [pair.partition("=") for pair in query.split("&")]
    return f"{before}?" + "&".join(
        f"{name}={MASK}" if equals and is_credential(unquote_plus(name)) else f"{name}{equals}{value}"
        for name, equals, value in pairs
    )
