"""The short way of the busiest routes: to the method that answers, past Starlette's router.

The router tries one pattern after another and wraps what it finds in layers that the busiest routes have no
use for: half of what a read costs. Here a request finds the same method by its path as it is spelled. All
else goes the long way: other routes, other methods, another spelling. What stands before both ways (the
server, the gate, whatever asks who is calling) and what is behind them (the method, what it reads and raises)
is the same, so an answer is the same to the byte, whichever way it came.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope

from ringtime_ingest.http.envelope import ERRORS, refusal

Endpoint = Callable[[Request], Awaitable[Response]]

_ID = "{schedule_id}"
_ID_CHARS = 36  #: whether they are an id is the method's to say, on both ways
_TOLD = tuple(ERRORS)  #: what a client is told of; all else is a bug, which the gate answers


class Shortcut:
    """Answers requests of routes whose path is plain, or ends in the id of a schedule."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        """`routes`: those that may be reached by the short way."""
        self._plain: dict[tuple[str, str], Endpoint] = {}
        self._by_id: dict[tuple[str, str], Endpoint] = {}
        for route in routes:
            if isinstance(route, Route) and "{" not in (path := route.path.removesuffix(_ID)):
                found = self._plain if path == route.path else self._by_id
                for method in route.methods or ():
                    found[method, path] = cast(Endpoint, route.endpoint)

    async def answer(self, scope: Scope, receive: Receive) -> Response | None:
        """Return the answer; None: the request goes the long way."""
        method, path = scope["method"], scope["path"]
        endpoint = self._plain.get((method, path))
        if endpoint is None:
            schedule_id = path[-_ID_CHARS:]
            endpoint = self._by_id.get((method, path[:-_ID_CHARS]))
            if endpoint is None or "/" in schedule_id:
                return None
            scope["path_params"] = {"schedule_id": schedule_id}
        scope["endpoint"] = endpoint
        try:
            return await endpoint(Request(scope, receive))
        except _TOLD as error:
            return refusal(error)
