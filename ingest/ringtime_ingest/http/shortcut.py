"""The short way of the busiest routes: to the method that answers, past Starlette's router.

The router tries one pattern after another and wraps what it finds in layers that the busiest routes have no
use for: half of what a read costs. Here a request finds the same method by its path as it is spelled. All
else goes the long way: other routes, other methods, another spelling. What stands before both ways (the
server, the gate, whatever asks who is calling) and what is behind them (the method, what it reads and raises)
is the same, so an answer is the same to the byte, whichever way it came.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope

from ringtime_ingest.http.envelope import ERRORS, refusal
from ringtime_ingest.http.routes import BASE
from ringtime_shared.ids import UUID_PATTERN

Endpoint = Callable[[Request], Awaitable[Response]]

_ID = "{schedule_id}"
_BY_ID = re.compile(f"({BASE}/schedules?/)({UUID_PATTERN})")
_METHODS = ("GET", "POST", "DELETE")
_TOLD = tuple(ERRORS)  #: what a client is told of; all else is a bug, which the gate answers


class Shortcut:
    """Answers requests of routes whose path is plain, or ends in the id of a schedule."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        """`routes`: those that may be reached by the short way."""
        self._endpoints = {
            (method, route.path.removesuffix(_ID)): cast(Endpoint, route.endpoint)
            for route in routes
            if isinstance(route, Route) and "{" not in route.path.removesuffix(_ID)
            for method in _METHODS
            if method in (route.methods or ())
        }

    async def answer(self, scope: Scope, receive: Receive) -> Response | None:
        """Return the answer; None: the request goes the long way."""
        method, path = scope["method"], scope["path"]
        by_id = _BY_ID.fullmatch(path)
        endpoint = self._endpoints.get((method, path if by_id is None else by_id[1]))
        if endpoint is None or (by_id is None and path.endswith("/")):
            return None
        if by_id is not None:
            scope["path_params"] = {"schedule_id": by_id[2]}
        scope["endpoint"] = endpoint
        try:
            return await endpoint(Request(scope, receive))
        except _TOLD as error:
            return refusal(error)
