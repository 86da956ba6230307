"""The envelope of a failure: the one form in which the API, and the server in front of it, say no."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from ringtime_shared.errors import ErrorWord, Violation


def failure_to_json(
    code: int,
    word: ErrorWord,
    message: str,
    violations: Sequence[Violation] = (),
    details: Mapping[str, str] | None = None,
) -> bytes:
    """Return the body of an answer that refuses.

    Args:
        code: `statusCode`, the application's code, which may differ from the HTTP status.
        word: `error`, which programs go by; `message` is for people.
        details: what the word's own entry in the documents says is there.
    """
    status = {
        "statusCode": code,
        "statusMessage": message,
        "statusType": "Fail",
        "error": word,
        "errors": [{"field": violation.field, "rule": violation.rule} for violation in violations],
    }
    if details:
        status["details"] = details
    return orjson.dumps({"status": status})
