"""From how an exchange ended to a result or an error. Pure.

The API's own codes decide first, the HTTP status second. When neither says that nothing was done, a write
counts as OutcomeUnknown: a caller who wrongly believes that nothing was done calls somebody twice.
"""

from __future__ import annotations

from typing import Any

from msgspec import MsgspecError, Struct
from msgspec.json import decode

from ringtime_client.exchange import Answer, Broken, Call, Ending, T, UnexpectedAnswer
from ringtime_shared.errors import (
    AppActive,
    AppInactive,
    Damaged,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    RingtimeError,
    StoreUnavailable,
    Violation,
)

UNAVAILABLE = (502, 503, 504)  #: the server's own 503, or a gateway that found no server
_NOT_TAKEN = (408, 429)  #: answered before the request was acted on
_NOTHING_WRITTEN = "nothing was written"  #: the words that tell the two errors of code 5004 apart
_SHOWN_CHARS = 120


class _Success(Struct):
    data: dict[str, Any]


class _Fault(Struct, rename="camel"):
    status_code: int
    status_message: str
    errors: tuple[Violation, ...] = ()


class _Failure(Struct):
    status: _Fault


def settle(call: Call[T], ending: Ending) -> T:
    """Return the result of a call. Raises RingtimeError."""
    if isinstance(ending, Broken):
        if call.is_read or not ending.sent:
            raise StoreUnavailable(ending.reason)
        raise _unknown(call, ending.reason)
    if not 200 <= ending.http < 300:
        raise _to_error(call, ending)
    try:
        return call.read(decode(ending.body, type=_Success).data)
    except MsgspecError as error:
        raise _to_foreign(call, ending, f"not an answer to {call.method} {call.path}: {error}") from error


def _to_error(call: Call[T], answer: Answer) -> RingtimeError:
    try:
        fault = decode(answer.body, type=_Failure).status
    except MsgspecError:
        return _to_foreign(call, answer, answer.body.decode(errors="replace")[:_SHOWN_CHARS])
    message = fault.status_message
    match fault.status_code:
        case 400 | 413 | 5001:
            return InvalidRequest(fault.errors or [Violation("request", message)])
        case 404 if fault.errors and call.kind:  # without a field it is the path that is unknown
            return NotFound(call.kind, call.key)
        case 409:
            return call.conflict(message)
        case 5005:
            kind = "schedule" if call.kind == "schedule" else "app"
            return Damaged(kind, call.key or call.app_id, message.partition("cannot be read: ")[2] or message)
        case 4001:
            return NotFound("app", call.app_id)
        case 4002:
            return AppInactive(message)
        case 4003:
            return AppActive(message)
        case 408 | 503:
            return StoreUnavailable(message)
        case 5004 if _NOTHING_WRITTEN in message:
            return StoreUnavailable(message)
        case _:
            return _to_foreign(call, answer, message)


def _to_foreign(call: Call[T], answer: Answer, about: str) -> RingtimeError:
    """Return the error for an answer whose meaning only its HTTP status gives away."""
    if answer.http in _NOT_TAKEN or (call.is_read and answer.http in UNAVAILABLE):
        return StoreUnavailable(f"HTTP {answer.http}: {about}")
    if not call.is_read and (answer.http >= 500 or answer.http < 300):
        return _unknown(call, f"HTTP {answer.http}: {about}")
    return UnexpectedAnswer(answer.http, about)


def _unknown(call: Call[T], reason: str) -> OutcomeUnknown:
    return OutcomeUnknown(f"{call.method} {call.path} may have been done: {reason}")
