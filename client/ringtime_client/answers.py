"""What the end of an exchange means: a result, or an error. Pure.

The server's word decides first, `status.error`. An answer without one (goscheduler's, an older server's, a
gateway's) is read by its `statusCode`, then by its HTTP status. Sentences decide nothing. When nothing says
that it was not done, a write counts as OutcomeUnknown: a caller who wrongly believes that it was not done
calls somebody twice.
"""

from __future__ import annotations

from typing import Any

from msgspec import MsgspecError, Struct, convert
from msgspec.json import decode

from ringtime_client.exchange import Answer, Broken, Call, Ending, T, UnexpectedAnswer
from ringtime_shared.errors import (
    AlreadyDone,
    AppActive,
    AppExists,
    AppInactive,
    Conflict,
    Damaged,
    ErrorWord,
    Forbidden,
    InFlight,
    InvalidRequest,
    KeyReused,
    LimitReached,
    LiveSchedules,
    NotChangeable,
    NotFound,
    NotReplayable,
    OutcomeUnknown,
    RateLimited,
    RingtimeError,
    StoreUnavailable,
    Unauthenticated,
    VersionConflict,
    Violation,
)

_MOST_DIGITS = 9
UNAVAILABLE = (502, 503, 504)  #: the server's own 503, or a gateway that found no server
RATE_LIMITED = 429
_NOT_TAKEN = (408, RATE_LIMITED)  #: answered before the request was acted on
_SHOWN_CHARS = 120
_ITEM_FAILED = 500  #: the HTTP status of an item that says by no known word why it failed
#: The server could not do it just now, and did nothing.
NOTHING_DONE = frozenset(
    {
        ErrorWord.STORE_UNAVAILABLE,
        ErrorWord.CLOCK_IN_DOUBT,
        ErrorWord.DISK_FULL,
        ErrorWord.FOLDER_LOST,
        ErrorWord.UPSTREAM_UNAVAILABLE,
        ErrorWord.TOO_SLOW,
        ErrorWord.SERVER_BUSY,
        ErrorWord.NOT_READY,
    }
)
#: Conflicts that hold a sentence and the field at fault, and nothing more.
_CONFLICTS: dict[str, type[Conflict]] = {
    kind.word: kind
    for kind in (
        Conflict,
        AppExists,
        LimitReached,
        LiveSchedules,
        AppInactive,
        AppActive,
        VersionConflict,
        KeyReused,
        InFlight,
    )
}
#: The word for each code of goscheduler. Where a code has several meanings, the one that promises least.
_OF_CODE = {
    400: ErrorWord.INVALID_REQUEST,
    401: ErrorWord.UNAUTHENTICATED,
    403: ErrorWord.FORBIDDEN,
    408: ErrorWord.TOO_SLOW,
    413: ErrorWord.BODY_TOO_LARGE,
    422: ErrorWord.KEY_REUSED,
    429: ErrorWord.RATE_LIMITED,
    503: ErrorWord.SERVER_BUSY,
    4001: ErrorWord.NOT_FOUND,
    4002: ErrorWord.APP_INACTIVE,
    4003: ErrorWord.APP_ACTIVE,
    5001: ErrorWord.UNREADABLE,
    5004: ErrorWord.OUTCOME_UNKNOWN,
    5005: ErrorWord.DAMAGED,
}
_APP_UNKNOWN = 4001


class _Success(Struct):
    data: dict[str, Any]


class _Fault(Struct, rename="camel"):
    status_code: int
    status_message: str
    error: str = ""
    errors: tuple[Violation, ...] = ()
    details: dict[str, str] = {}


class _Failure(Struct):
    status: _Fault


def settle(call: Call[T], ending: Ending) -> T:
    """Return the result of a call. Raises RingtimeError."""
    if isinstance(ending, Broken):
        if call.is_read or not ending.sent:
            raise StoreUnavailable(ending.reason)
        raise _unknown(call, ending.reason)
    if not 200 <= ending.http < 300:
        raise _read_fault(call, ending)
    try:
        return call.read(decode(ending.body, type=_Success).data)
    except MsgspecError as error:
        raise _to_foreign(call, ending, f"not an answer to {call.method} {call.path}: {error}") from error


def settle_item(call: Call[T], shown: object) -> T | RingtimeError:
    """Return what became of one item of a batch; `call` would do the same alone. Raises MsgspecError."""
    if isinstance(shown, dict) and "status" in shown:
        return _to_error(call, Answer(http=_ITEM_FAILED, body=b""), convert(shown, _Failure).status)
    return call.read(convert(shown, dict[str, Any]))


def _read_fault(call: Call[T], answer: Answer) -> RingtimeError:
    try:
        fault = decode(answer.body, type=_Failure).status
    except MsgspecError:
        return _to_foreign(call, answer, answer.body.decode(errors="replace")[:_SHOWN_CHARS])
    return _to_error(call, answer, fault)


def _to_error(call: Call[T], answer: Answer, fault: _Fault) -> RingtimeError:
    message, details = fault.status_message, fault.details
    word = fault.error or _word_of_code(call, fault)
    if kind := _CONFLICTS.get(word):
        return kind(message, fault.errors[0].field if fault.errors else None)
    if word in NOTHING_DONE:
        return StoreUnavailable(message)
    match word:
        case (
            ErrorWord.INVALID_REQUEST
            | ErrorWord.UNREADABLE
            | ErrorWord.BODY_TOO_LARGE
            | ErrorWord.MALFORMED_HTTP
        ):
            return InvalidRequest(fault.errors or [Violation("request", message)])
        case ErrorWord.RATE_LIMITED:
            wait_s = to_seconds(answer.retry_after or "")
            return RateLimited(details.get("limit", ""), wait_s, message)
        case ErrorWord.UNAUTHENTICATED:
            return Unauthenticated()
        case ErrorWord.FORBIDDEN:
            return Forbidden(details.get("scope", ""), message)
        case ErrorWord.NOT_FOUND:
            is_app = fault.status_code == _APP_UNKNOWN
            return NotFound("app", call.app_id) if is_app else NotFound(call.kind, call.key)
        case ErrorWord.DAMAGED:
            kind_of = call.kind if call.kind in ("schedule", "recurring schedule", "calendar") else "app"
            return Damaged(kind_of, call.key or call.app_id, details.get("fault", message))
        case ErrorWord.ALREADY_DONE:
            return AlreadyDone(call.key, details.get("scheduleStatus", "done"))
        case ErrorWord.NOT_REPLAYABLE:
            return NotReplayable(
                call.key, details.get("scheduleStatus", "done"), details.get("reason", message)
            )
        case ErrorWord.NOT_CHANGEABLE:
            return NotChangeable(
                call.key, details.get("scheduleStatus", "done"), details.get("reason", message)
            )
        case _:
            return _to_foreign(call, answer, message)


def _word_of_code(call: Call[T], fault: _Fault) -> str:
    """Return what an answer without a word means; "" if its code does not say."""
    if fault.status_code == 409:
        return call.conflict
    if fault.status_code == 404 and fault.errors and call.kind:  # without a field it is the path
        return ErrorWord.NOT_FOUND
    return _OF_CODE.get(fault.status_code, "")


def _to_foreign(call: Call[T], answer: Answer, about: str) -> RingtimeError:
    """Return the error for an answer whose meaning only its HTTP status gives away."""
    if answer.http in _NOT_TAKEN or (call.is_read and answer.http in UNAVAILABLE):
        return StoreUnavailable(f"HTTP {answer.http}: {about}")
    if not call.is_read and (answer.http >= 500 or answer.http < 300):
        return _unknown(call, f"HTTP {answer.http}: {about}")
    return UnexpectedAnswer(answer.http, about)


def _unknown(call: Call[T], reason: str) -> OutcomeUnknown:
    return OutcomeUnknown(f"{call.method} {call.path} may have been done: {reason}")


def to_seconds(retry_after: str) -> int:
    """Read a Retry-After in seconds; the form with a date counts as none."""
    is_number = retry_after.isascii() and retry_after.isdigit() and len(retry_after) <= _MOST_DIGITS
    return int(retry_after) if is_number else 0
