"""The two envelopes every answer comes in, and the one table from errors to codes.

A success says `{"status": {statusCode, statusMessage, statusType, totalCount}, "data": ...}`, a failure
`{"status": {statusCode, statusMessage, statusType, error, errors: [{field, rule}]}}`. `error` is the word
for it. `statusCode` is the application's code, which clients of goscheduler read; the HTTP status
stands beside it in the table.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import ceil
from typing import NamedTuple

import orjson
from starlette.responses import Response

from ringtime_ingest.http.shapes import Unreadable
from ringtime_shared.api.failures import failure_of, failure_to_json
from ringtime_shared.errors import (
    AppActive,
    AppInactive,
    Conflict,
    Damaged,
    ErrorWord,
    Forbidden,
    InvalidRequest,
    KeyReused,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    RingtimeError,
    StoreUnavailable,
    Unauthenticated,
    Violation,
)

_JSON = (b"content-type", b"application/json")
_SENTENCES = {
    StoreUnavailable: "the store is not available and nothing was written; try again",
    OutcomeUnknown: "the outcome is unknown: the store has not confirmed it, so what was asked for may have"
    " been done, and the schedule may exist and fire",
}


FAULT_SENTENCE = "internal error; the server's log says more"


class BodyTooLarge(RingtimeError):
    """The body is longer than the server reads."""

    word = ErrorWord.BODY_TOO_LARGE

    def __init__(self, most_bytes: int) -> None:
        super().__init__(f"the body must be at most {most_bytes} bytes")


class BodyTooSlow(RingtimeError):
    """The body did not arrive in time."""

    word = ErrorWord.TOO_SLOW

    def __init__(self, deadline_s: float) -> None:
        super().__init__(f"the body must arrive within {deadline_s:g} s")


class TooMuchAtOnce(RingtimeError):
    """The bodies that are arriving take all the memory there is for them."""

    word = ErrorWord.SERVER_BUSY

    def __init__(self) -> None:
        super().__init__("too many bytes of requests at once; try again")


class Codes(NamedTuple):
    """What an error is answered with."""

    code: int  #: `statusCode` in the body
    http: int
    field: str = ""  #: the field at fault, for errors that name none themselves
    cuts: bool = False  #: the rest of the body is not read, so the connection ends


#: The first class of an error's method resolution order that is in here decides; one without is a bug.
ERRORS: Mapping[type[RingtimeError], Codes] = {
    InvalidRequest: Codes(400, 400),
    Unreadable: Codes(5001, 400),
    Unauthenticated: Codes(401, 401),
    Forbidden: Codes(403, 403),
    NotFound: Codes(404, 404, "scheduleId"),
    AppInactive: Codes(4002, 400),
    AppActive: Codes(4003, 400),
    Damaged: Codes(5005, 409),
    Conflict: Codes(409, 409),
    KeyReused: Codes(422, 422),
    BodyTooLarge: Codes(413, 413, "body", cuts=True),
    BodyTooSlow: Codes(408, 408, "body", cuts=True),
    TooMuchAtOnce: Codes(503, 503, cuts=True),
    RateLimited: Codes(429, 429),
    StoreUnavailable: Codes(5004, 503),
    OutcomeUnknown: Codes(5004, 503),
}
APP_UNKNOWN = Codes(4001, 400, "appId")
APP_NOT_GRANTED = Codes(4001, 404, "appId")  #: to this key there is none, whether or not there is
NOT_LISTED = Codes(404, 404, "app_id")  #: the app asked for in the query of a list
SECRET_UNKNOWN = Codes(404, 404, "secretId")
JOB_UNKNOWN = Codes(404, 404, "jobId")
CALLBACK_TYPE_UNKNOWN = Codes(5001, 400)
ACTION_UNKNOWN = Codes(4005, 400)
UNAVAILABLE = Codes(503, 503)  #: not ready, or too much to do
FAULT = Codes(500, 500)
NO_PATH = Codes(404, 404)
NO_METHOD = Codes(405, 405)
NAME_UNKNOWN = Codes(404, 404, "name")
_NOT_FOUND = {
    "app": APP_UNKNOWN,
    "granted app": APP_NOT_GRANTED,
    "registered app": NOT_LISTED,
    "signing secret": SECRET_UNKNOWN,
    "job": JOB_UNKNOWN,
    "recurring schedule": NAME_UNKNOWN,
    "named schedule": NAME_UNKNOWN,
    "calendar": NAME_UNKNOWN,
}
#: every `statusCode` of a failure
CODES = {
    codes.code for codes in (*ERRORS.values(), APP_UNKNOWN, ACTION_UNKNOWN, UNAVAILABLE, FAULT, NO_METHOD)
}


class Answer(Response):
    """A JSON response whose bytes and headers are ready; half the cost of Starlette's own."""

    def __init__(
        self, body: bytes, http: int, headers: Sequence[tuple[bytes, bytes]] = (), kind: bytes = b""
    ) -> None:
        self.status_code = http
        self.body = body
        self.background = None
        content_type = (b"content-type", kind) if kind else _JSON
        self.raw_headers = [content_type, (b"content-length", b"%d" % len(body)), *headers]


def success(
    data: object,
    *,
    code: int = 200,
    total: int = 1,
    http: int = 200,
    headers: Sequence[tuple[bytes, bytes]] = (),
    remarks: str = "",
) -> Answer:
    """Return the envelope of a success around `data`, which may hold `orjson.Fragment`s.

    Args:
        remarks: stand beside `data`, where goscheduler has them.
    """
    end = b',"remarks":' + orjson.dumps(remarks) + b"}" if remarks else b"}"
    return Answer(b"".join((_opening(code, total), orjson.dumps(data), end)), http, headers)


@lru_cache(maxsize=1_024)
def _opening(code: int, total: int) -> bytes:
    """Return a success up to its `data`: nearly all have one of few."""
    status = {"statusCode": code, "statusMessage": "Success", "statusType": "Success", "totalCount": total}
    return b'{"status":' + orjson.dumps(status) + b',"data":'


def failure(
    codes: Codes,
    word: ErrorWord,
    message: str,
    violations: Sequence[Violation] = (),
    details: Mapping[str, str] | None = None,
    allow: str | None = None,
) -> Answer:
    """Return the envelope of a failure."""
    headers = []
    if codes.http == 503:
        headers.append((b"retry-after", b"%d" % random.randint(1, 3)))
    if word is ErrorWord.IN_FLIGHT:
        headers.append((b"retry-after", b"1"))
    if codes.http == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if codes.cuts:
        headers.append((b"connection", b"close"))
    if allow is not None:
        headers.append((b"allow", allow.encode()))
    return Answer(failure_to_json(codes.code, word, message, violations, details), codes.http, headers)


def refusal(error: RingtimeError) -> Answer:
    """Return the envelope for an error that is in the table."""
    answer = failure(codes_of(error), *_told(error))
    if isinstance(error, RateLimited):
        answer.raw_headers.append(_retry_after(error))
    return answer


def _retry_after(error: RateLimited) -> tuple[bytes, bytes]:
    """Return when to try again: not before the limit allows it, and by chance a little later, so that those
    who were refused together do not come back together."""
    return b"retry-after", b"%d" % max(1, ceil(error.wait_s * random.uniform(1, 1.2)))


def refusal_of_item(error: RingtimeError) -> dict[str, object]:
    """Return the same as the result of one item of a batch."""
    return failure_of(codes_of(error).code, *_told(error))


def fault_of_item() -> dict[str, object]:
    """Return the result of an item that a bug kept from being done."""
    return failure_of(FAULT.code, ErrorWord.INTERNAL_ERROR, FAULT_SENTENCE)


def _told(error: RingtimeError) -> tuple[ErrorWord, str, Sequence[Violation], Mapping[str, str] | None]:
    if isinstance(error, InvalidRequest):
        return error.word, str(error), error.violations, None
    codes, message = codes_of(error), _SENTENCES.get(type(error)) or str(error)
    field = codes.field or (error.field if isinstance(error, Conflict) else "")
    return error.word, message, [Violation(field, message)] if field else (), error.details()


def codes_of(error: RingtimeError) -> Codes:
    """Look the error up in the table."""
    if isinstance(error, NotFound) and error.kind in _NOT_FOUND:
        return _NOT_FOUND[error.kind]
    if isinstance(error, InvalidRequest) and any(each.field == "callback.type" for each in error.violations):
        return CALLBACK_TYPE_UNKNOWN
    if isinstance(error, InvalidRequest) and any(each.field == "action" for each in error.violations):
        return ACTION_UNKNOWN
    return next(codes for kind in type(error).__mro__ if (codes := ERRORS.get(kind)))
