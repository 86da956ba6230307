"""Ids as clients spell them: their form, and the rule that another spelling breaks."""

from __future__ import annotations

import re
from functools import lru_cache
from uuid import UUID

from msgspec import convert

from ringtime_shared.errors import InvalidRequest, Violation
from ringtime_shared.ids import UUID_PATTERN

APP_ID_PATTERN = "[A-Za-z0-9][A-Za-z0-9_-]{0,127}"
NAME_PATTERN = "[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
SECRET_ID_BYTES = 8  #: written as twice as many hexadecimal digits
SECRET_ID_PATTERN = f"[0-9a-f]{{{SECRET_ID_BYTES * 2}}}"
APP_ID = re.compile(APP_ID_PATTERN)
_MOST_APP_ID_CHARS = 128  #: more is none, and is not remembered
_APP_ID_RULE = "must be 1 to 128 of A-Z, a-z, 0-9, _ and -, the first a letter or a digit"
_NAME = re.compile(NAME_PATTERN)
_NAME_RULE = "must be 1 to 128 of A-Z, a-z, 0-9, _, . and -, the first a letter or a digit"
KEY_FIELD = "idempotencyKey"
KEY_PATTERN = "[!-~]{1,255}"
_KEY = re.compile(KEY_PATTERN)
_SECRET_ID = re.compile(SECRET_ID_PATTERN)
_UUID = re.compile(UUID_PATTERN)
_UUID_RULE = "must be a UUID: 32 hexadecimal digits in groups of 8-4-4-4-12"


@lru_cache(maxsize=1_024)
def _is_app_id(text: str) -> bool:
    """Whether it has the form of one. Few are asked for again and again, twice in each create."""
    return APP_ID.fullmatch(text) is not None


def check_app_id(app_id: str) -> list[Violation]:
    """Return what is wrong with the form of an app id."""
    if len(app_id) <= _MOST_APP_ID_CHARS and _is_app_id(app_id):
        return []
    return [Violation("appId", _APP_ID_RULE if app_id else f"required: {_APP_ID_RULE}")]


def check_name(name: str) -> list[Violation]:
    """Return what is wrong with a name of a client's own: of a recurring schedule, or a calendar."""
    if name == "preview":
        return [Violation("name", "must not be preview, which is a path of its own")]
    return [] if _NAME.fullmatch(name) else [Violation("name", _NAME_RULE)]


def check_key(key: str) -> list[Violation]:
    """Return what is wrong with an idempotency key."""
    if _KEY.fullmatch(key):
        return []
    return [Violation(KEY_FIELD, "must be 1 to 255 visible ASCII characters, without spaces")]


def check_secret_id(secret_id: str) -> list[Violation]:
    """Return what is wrong with the id of a signing secret. No rule repeats it: it may be the secret."""
    if _SECRET_ID.fullmatch(secret_id):
        return []
    digits = SECRET_ID_BYTES * 2
    return [Violation("secretId", f"must be {digits} hexadecimal digits, as in the list of secrets")]


def check_schedule_id(value: object, field: str = "scheduleId") -> list[Violation]:
    """Return what is wrong with the form of a schedule's id."""
    if isinstance(value, str) and _UUID.fullmatch(value):
        return []
    return [Violation(field, _UUID_RULE)]


def parse_schedule_id(text: str) -> UUID:
    """Return a schedule id that a client spells; whether it was ever given out is the service's to say.

    Raises InvalidRequest.
    """
    if _UUID.fullmatch(text) is None:
        raise InvalidRequest(check_schedule_id(text))
    return convert(text, UUID)
