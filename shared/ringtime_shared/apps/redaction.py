"""Fields of payloads that an app has hidden from whoever looks at a schedule. What is sent is never touched.

An app names fields by paths (`redactedFields`). Where a payload is shown, each value there is `REDACTED:` and
a prefix of a hash of it, so that equal values can be told from others. With a key ring the hash is keyed:
whoever has an answer cannot try values out, as can be done with a plain SHA-256 of a phone number or a name.
The prefix changes with the primary key.

A payload that is not JSON, or so large or deep that it cannot be read, is hidden as a whole when paths are
named: what cannot be looked into cannot be shown in part.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from hashlib import sha256

import orjson

MOST_PATHS = 100
MOST_PATH_CHARS = 256
PATH_PATTERN = r"[^\x00-\x1f.]+(?:\.[^\x00-\x1f.]+)*"
REDACTED = "REDACTED:"
_PATH = re.compile(PATH_PATTERN)
_ANY = "*"
_SHOWN_CHARS = 12
#: what a payload holds that was read and sent back
SHOWN_REDACTED = re.compile(rf'(?:^|"){REDACTED}[0-9a-f]{{{_SHOWN_CHARS}}}(?:"|$)')

Fingerprint = Callable[[bytes], str]
"""From a value to what tells it from others, in few hexadecimal digits."""


def plain_fingerprint(value: bytes) -> str:
    """Return a prefix of the SHA-256: of values that can be guessed, it is no secret which one it is."""
    return sha256(value).hexdigest()[:_SHOWN_CHARS]


def path_fault(path: str) -> str | None:
    """Return the rule that a path breaks, or None."""
    if len(path) > MOST_PATH_CHARS or not _PATH.fullmatch(path):
        return f"must be names with dots between them, at most {MOST_PATH_CHARS} characters"
    return None


def redact(payload: str, paths: Sequence[str], fingerprint: Fingerprint) -> str:
    """Return a payload as it may be shown.

    Args:
        paths: fields to hide; of none of them the payload need have any.
    """
    if not paths or not payload:
        return payload
    try:
        found: object = orjson.loads(payload)
    except ValueError:
        return REDACTED + fingerprint(payload.encode())
    for path in paths:
        found = _redact(found, path.split("."), fingerprint)
    return orjson.dumps(found).decode()


def _redact(value: object, path: Sequence[str], fingerprint: Fingerprint) -> object:
    """Return a value with what is at the path hidden; objects and lists in it are changed in place."""
    if not path:
        return REDACTED + fingerprint(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))
    name, *rest = path
    if isinstance(value, dict):
        for key in list(value) if name == _ANY else [name] if name in value else []:
            value[key] = _redact(value[key], rest, fingerprint)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            if name in (_ANY, str(place)):
                value[place] = _redact(item, rest, fingerprint)
    return value
