"""Send the calls of `ringtime_client` for whoever is signed in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Protocol

from ringtime_client.answers import settle
from ringtime_client.exchange import Answer, Broken, Call, Ending, T
from ringtime_client.transport import AsyncTransport, root_of
from ringtime_client.tries import Tries
from ringtime_shared.api.audit import MAX_REASON_CHARS, REASON

DEADLINE_S = 10.0  #: for one call in all
_AsgiMessage = MutableMapping[str, Any]
AsgiApp = Callable[
    [_AsgiMessage, Callable[[], Awaitable[_AsgiMessage]], Callable[[_AsgiMessage], Awaitable[None]]],
    Awaitable[None],
]


class Carrier(Protocol):
    """Takes one request to the API, and says how it ended."""

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        left_s: float,
        headers: Mapping[str, str],
        client: tuple[str, int],
    ) -> Ending:
        """
        Args:
            path: from the server's root on, query included.
            client: whose browser asks.
        """
        ...

    async def close(self) -> None:
        """Let connections go."""
        ...


class OverNetwork:
    """Asks the API at a URL. Certificates are those that the environment names."""

    def __init__(self, url: str) -> None:
        """Raises InvalidRequest."""
        self._root = root_of(url)
        self._transport = AsyncTransport(timedelta(seconds=DEADLINE_S))

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        left_s: float,
        headers: Mapping[str, str],
        client: tuple[str, int],
    ) -> Ending:
        return await self._transport.send(method, self._root + path, body, left_s, headers)

    async def close(self) -> None:
        await self._transport.close()


class InProcess:
    """Asks an API that runs in this process, with whole requests and answers, as over a network."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        left_s: float,
        headers: Mapping[str, str],
        client: tuple[str, int],
    ) -> Ending:
        plain, _, query = path.partition("?")
        given = {"host": "localhost"} | ({} if body is None else {"content-type": "application/json"})
        sent_headers = [
            (name.lower().encode(), text.encode()) for name, text in (given | {**headers}).items()
        ]
        scope: _AsgiMessage = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": plain,
            "raw_path": plain.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": sent_headers,
            "client": client,
            "server": ("127.0.0.1", 0),
        }
        sent: list[_AsgiMessage] = []

        async def receive() -> _AsgiMessage:
            return {"type": "http.request", "body": body or b"", "more_body": False}

        async def take(message: _AsgiMessage) -> None:
            sent.append(message)

        try:
            async with asyncio.timeout(left_s):
                await self._app(scope, receive, take)
        except TimeoutError:
            return Broken(reason="no answer in time", sent=True)
        start, *rest = sent
        waits = [text.decode() for name, text in start["headers"] if name == b"retry-after"]
        return Answer(
            http=start["status"],
            body=b"".join(message.get("body", b"") for message in rest),
            retry_after=waits[0] if waits else None,
        )

    async def close(self) -> None:
        """Whoever made the application closes it."""


@dataclass(frozen=True, slots=True)
class Api:
    """The API as one person may use it."""

    carrier: Carrier
    key: str  #: "": the API asks for none
    client: tuple[str, int]

    async def run(self, call: Call[T], *, reason: str = "") -> T:
        """Return the result of a call. Raises RingtimeError.

        Args:
            reason: why somebody wants a change, for the audit log.
        """
        headers = dict(call.headers)
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        if reason:
            headers[REASON.lower()] = _as_header(reason)
        tries = Tries(may_repeat=call.is_read or call.may_repeat, deadline_s=DEADLINE_S)
        while True:
            ending = await self.carrier.send(
                call.method, call.path, call.body, tries.left_s(), headers, self.client
            )
            wait_s = tries.plan_wait(ending)
            if wait_s is None:
                return settle(call, ending)
            await asyncio.sleep(wait_s)

    def with_key(self, key: str) -> Api:
        """Return the API as the holder of another key may use it."""
        return replace(self, key=key)


def _as_header(text: str) -> str:
    """Return a sentence in one line that a header holds."""
    return " ".join(text.split())[:MAX_REASON_CHARS]
