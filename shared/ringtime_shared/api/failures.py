"""The envelope of a failure: the one form in which the API, and the server in front of it, say no."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from ringtime_shared.errors import Violation


def failure_to_json(code: int, message: str, violations: Sequence[Violation] = ()) -> bytes:
    """Return the body of an answer that refuses.

    Args:
        code: `statusCode`, the application's code, which may differ from the HTTP status.
    """
    status = {
        "statusCode": code,
        "statusMessage": message,
        "statusType": "Fail",
        "errors": [{"field": violation.field, "rule": violation.rule} for violation in violations],
    }
    return orjson.dumps({"status": status})
