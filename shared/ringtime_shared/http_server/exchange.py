"""One request and its answer, as ASGI has them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ringtime_shared.http_server.heads import Head

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_ASGI = {"version": "3.0", "spec_version": "2.3"}
_log = logging.getLogger(__name__)


class Exchange:
    """Gives an application a whole request, and takes a whole answer from it."""

    __slots__ = ("_body", "_departure", "_head", "_headers", "_parts", "_reply", "_scope", "_status")

    def __init__(self, head: Head, body: bytes, client: tuple[str, int], server: tuple[str, int]) -> None:
        self._head = head
        self._body: bytes | None = body  # None: the application has it
        self._departure: asyncio.Event | None = None  # made by who waits for it
        self._status = 0
        self._headers: Headers = []
        self._parts: list[bytes] = []
        self._scope: Message = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": head.version,
            "server": server,
            "client": client,
            "scheme": "http",
            "root_path": "",
            "method": head.method,
            "path": head.path,
            "raw_path": head.path.encode(),
            "query_string": head.query,
            "headers": head.headers,
        }

    async def run(
        self, app: App, answer: Callable[[Head, int, Headers, bytes], None], cut: Callable[[], None]
    ) -> None:
        """Have the application answer.

        Args:
            answer: called once, with the whole answer.
            cut: called instead where there will be none.
        """
        self._reply: Callable[[Head, int, Headers, bytes], None] | None = answer
        try:
            await app(self._scope, self._receive, self._send)
        except Exception:  # noqa: BLE001 - a bug of the application ends its own connection, nothing else
            _log.exception("%s was not handled", self._head.method)
        finally:
            if self._reply is not None:
                self._reply = None
                cut()

    def leave(self) -> None:
        """The client has gone."""
        self._reply = _nobody
        if self._departure is not None:
            self._departure.set()

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        if self._departure is None:
            self._departure = asyncio.Event()
            if self._reply in (None, _nobody):
                self._departure.set()
        await self._departure.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [*message.get("headers", ())]
            return
        self._parts.append(message.get("body", b""))
        reply = self._reply
        if message.get("more_body", False) or reply is None:
            return
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        for name, _ in self._headers:
            if name == b"content-length":
                break
        else:
            self._headers.append((b"content-length", b"%d" % len(body)))
        self._reply = None
        reply(self._head, self._status, self._headers, body)


def _nobody(head: Head, status: int, headers: Headers, body: bytes) -> None:
    """Take an answer that nobody waits for any more."""
