"""The envelope of a failure: the one form in which the API, and the server in front of it, say no.

A batch says it of each item in the same form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from ringtime_shared.errors import ErrorWord, Violation


def failure_of(
    code: int,
    word: ErrorWord,
    message: str,
    violations: Sequence[Violation] = (),
    details: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """Return the envelope of a failure.

    Args:
        code: `statusCode`, the application's code, which may differ from the HTTP status.
        word: `error`, which programs go by; `message` is for people.
        details: what the word's own entry in the documents says is there.
    """
    status: dict[str, object] = {
        "statusCode": code,
        "statusMessage": message,
        "statusType": "Fail",
        "error": word,
        "errors": [{"field": violation.field, "rule": violation.rule} for violation in violations],
    }
    if details:
        status["details"] = details
    return {"status": status}


def failure_to_json(
    code: int,
    word: ErrorWord,
    message: str,
    violations: Sequence[Violation] = (),
    details: Mapping[str, str] | None = None,
) -> bytes:
    """Return the same as the body of an answer."""
    return orjson.dumps(failure_of(code, word, message, violations, details))
