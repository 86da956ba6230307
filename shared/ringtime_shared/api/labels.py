"""Labels: what clients note of schedules to find them by. How many there may be, and of what form."""

from __future__ import annotations

import re

from ringtime_shared.errors import Violation

Labels = tuple[tuple[str, str], ...]  #: keys and values, by key

MAX_LABELS = 16
KEY_PATTERN = "[A-Za-z0-9][A-Za-z0-9_./-]{0,62}"
VALUE_PATTERN = "[^\\u0000-\\u001f\\u007f]{0,128}"
_KEY = re.compile(KEY_PATTERN)
_VALUE = re.compile(VALUE_PATTERN)
_KEY_RULE = "a key must be 1 to 63 of A-Z, a-z, 0-9, _, ., / and -, the first a letter or a digit"
_VALUE_RULE = "a value must be at most 128 characters, none of them a control character"


def check_labels(labels: Labels, field: str) -> list[Violation]:
    """Return the first thing that is wrong with labels; `field` is where they were given."""
    if len(labels) > MAX_LABELS:
        return [Violation(field, f"must be at most {MAX_LABELS}")]
    for key, value in labels:
        if not _KEY.fullmatch(key):
            return [Violation(field, _KEY_RULE)]
        if not _VALUE.fullmatch(value) or not _is_text(value):
            return [Violation(field, _VALUE_RULE)]
    return []


def _is_text(value: str) -> bool:
    """Whether every store takes it: no half of a surrogate pair."""
    return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
