"""Routes whose changes are in the audit log: what is noted of a request, and its id.

A request may bring an id of its own; else it gets one. Either way its answer tells it, also a refusal, and
the entries have it. Whom the gate or the guard turns away, for the key, the scope, the app or a limit, has
not come this far, and is told none. The busiest routes, those of single schedules, are not noted, and neither
read nor write these headers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps

from starlette.requests import Request
from starlette.responses import Response

from ringtime_ingest.http.envelope import ERRORS, refusal
from ringtime_ingest.http.guard import CALLER, Endpoint
from ringtime_shared.access import Caller
from ringtime_shared.api.audit import MAX_REASON_CHARS, REASON, REQUEST_ID, REQUEST_ID_PATTERN
from ringtime_shared.auditing import caused_by
from ringtime_shared.errors import InvalidRequest, Violation
from ringtime_shared.logs.requests import name_request
from ringtime_shared.models.audit import Cause

_ID = re.compile(REQUEST_ID_PATTERN)
_ACTION = "action"  #: attribute of methods that are noted, and of what is wrapped around them
_HEADER = REQUEST_ID.lower().encode()
_TOLD = tuple(ERRORS)


def changing(action: str, endpoint: Endpoint) -> Endpoint:
    """Return the method of a route so that its changes are noted.

    Args:
        action: the subject and the verb, as `ringctl` has them; `{name}` stands for a part of the path.
    """

    @wraps(endpoint)
    async def noted(request: Request) -> Response:
        cause = cause_of(request, action)
        try:
            with caused_by(cause):
                answer = await endpoint(request)
        except _TOLD as error:
            answer = refusal(error)
        return told(answer, cause)

    vars(noted)[_ACTION] = action
    return noted


def is_noted(endpoint: Callable[..., object]) -> bool:
    """Whether changes of the route with this method are noted."""
    return _ACTION in vars(endpoint)


def told(answer: Response, cause: Cause) -> Response:
    """Return an answer with the id of its request."""
    answer.raw_headers.append((_HEADER, cause.request_id.encode()))
    return answer


def cause_of(request: Request, action: str) -> Cause:
    """Return what is noted of a request. Raises InvalidRequest, which names the header."""
    wrong: list[Violation] = []
    request_id = _header(request, REQUEST_ID, wrong)
    if request_id and not _ID.fullmatch(request_id):
        wrong.append(Violation(REQUEST_ID, f"must match {REQUEST_ID_PATTERN}"))
    reason = _header(request, REASON, wrong)
    if not (reason.isprintable() and len(reason) <= MAX_REASON_CHARS):
        wrong.append(Violation(REASON, f"must be at most {MAX_REASON_CHARS} printable characters"))
    if wrong:
        raise InvalidRequest(wrong)
    caller: Caller = request.scope[CALLER]
    return Cause(
        action=action.format_map(request.path_params),
        operator=caller.who,
        source=request.client.host if request.client is not None else "",
        reason=reason,
        request_id=name_request(request.scope, request_id),
    )


def _header(request: Request, name: str, wrong: list[Violation]) -> str:
    """Return a header, UTF-8; "": there is none."""
    texts = request.headers.getlist(name)
    if len(texts) > 1:
        wrong.append(Violation(name, "given twice"))
    if not texts:
        return ""
    try:
        return texts[0].encode("latin-1").decode()
    except UnicodeDecodeError:
        wrong.append(Violation(name, "must be UTF-8"))
        return ""
