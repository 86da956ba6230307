"""The outermost layer: how many requests are inside at once, and what becomes of a bug.

Pure ASGI. An exception nobody expected is logged once and answered without a word about it; Starlette's
own handler would raise it again and have the server log it a second time.
"""

from __future__ import annotations

import logging

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ringtime_ingest.http.envelope import FAULT, UNAVAILABLE, failure

_log = logging.getLogger(__name__)


class Gate:
    """Lets at most `most` requests in; health checks always pass."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._inside >= self._most and not scope["path"].startswith("/health/"):
            await failure(UNAVAILABLE, "too many requests at once; try again")(scope, receive, send)
            return
        has_started = False

        async def watched(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        self._inside += 1
        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            return  # nobody is left to answer
        except Exception:
            _log.exception("%s failed", scope["method"])
            if has_started:
                raise  # the connection has to be cut: the answer cannot be completed
            await failure(FAULT, "internal error; the server's log says more")(scope, receive, send)
        finally:
            self._inside -= 1
