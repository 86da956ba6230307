"""A server in this process, and connections to it that send any bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, cast

import httptools

from ringtime_shared.errors import ErrorWord
from ringtime_shared.http_server import listen, serve_http
from ringtime_shared.settings import ServerSettings

Message = MutableMapping[str, Any]
PATIENCE_S = 30.0


class Answers:
    """What a client reads, answer by answer."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self._found: dict[str, str] = {}
        self._body = b""
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._found[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.statuses.append(self._parser.get_status_code())
        self.headers.append(self._found)
        self.bodies.append(self._body)
        self._found, self._body = {}, b""


class RawClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.transport = cast(asyncio.Transport, writer.transport)
        self.answers = Answers()

    async def send_until_cut(self, piece: bytes) -> None:
        """Send the same again and again. Raises ConnectionError when the server has had enough."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await self.send(piece)
                await asyncio.sleep(0.001)

    async def send(self, *pieces: bytes) -> None:
        """Send each piece in a segment of its own, and let the server read it."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            for _ in range(3):
                await asyncio.sleep(0)

    async def read_to_end(self) -> Answers:
        """Read until the server closes the connection."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while data := await self.reader.read(65_536):
                    self.answers.feed(data)
            except ConnectionError:
                pass
        return self.answers

    async def read_answers(self, count: int) -> Answers:
        """Read until there are so many answers."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.answers.statuses) < count:
                data = await self.reader.read(65_536)
                assert data, f"closed after {self.answers.statuses}"
                self.answers.feed(data)
        return self.answers

    def close(self) -> None:
        self.writer.transport.abort()


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as the application got it."""

    method: str
    path: str
    query: bytes
    body: bytes


class Site:
    """An application that notes what it is asked, and its server."""

    def __init__(self) -> None:
        self.port = 0
        self.seen: list[Seen] = []
        self._clients: list[RawClient] = []
        self._asked = asyncio.Condition()
        self.stop = asyncio.Event()
        self.release = asyncio.Event()  #: what `/wait` waits for
        self.large = b"x" * 4_000_000  #: what `/large` answers

    async def app(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        message = await receive()
        assert message["more_body"] is False
        path = scope["path"]
        self.seen.append(Seen(scope["method"], path, scope["query_string"], message["body"]))
        async with self._asked:
            self._asked.notify_all()
        if path == "/wait":
            await self.release.wait()
        if path == "/bug":
            raise RuntimeError("a bug of the application")
        body = self.large if path == "/large" else b"done"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def asked(self, count: int) -> None:
        """Wait until the application has got so many requests."""
        async with asyncio.timeout(PATIENCE_S), self._asked:
            await self._asked.wait_for(lambda: len(self.seen) >= count)

    async def connect(self) -> RawClient:
        """Return a connection that ends with the server at the latest."""
        self._clients.append(await connect(self.port))
        return self._clients[-1]

    async def close(self) -> None:
        for client in self._clients:
            client.close()
        await asyncio.sleep(0)  # until the loop has let them go

    async def ask(self, *pieces: bytes) -> Answers:
        return await ask(self.port, *pieces)


async def connect(port: int) -> RawClient:
    """Connect to a server on this machine."""
    return RawClient(*await asyncio.open_connection("127.0.0.1", port))


async def ask(port: int, *pieces: bytes) -> Answers:
    """Send pieces on a connection of their own, as many as are taken, and read to its end."""
    client = await connect(port)
    try:
        with suppress(ConnectionError):
            await client.send(*pieces)
        return await client.read_to_end()
    finally:
        client.close()


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Site]:
    """Run a server with these settings."""
    site = Site()
    given = replace(ServerSettings(port=0, drain_s=2), **settings)
    with listen(given) as listener:
        site.port = listener.getsockname()[1]
        running = asyncio.create_task(serve_http(site.app, given, listener, site.stop))
        try:
            yield site
        finally:
            await site.close()
            site.stop.set()
            site.release.set()
            await running


def error_of(body: bytes) -> dict[str, str]:
    """Return the one error in the API's envelope of a failure."""
    status = json.loads(body)["status"]
    assert list(status) == ["statusCode", "statusMessage", "statusType", "error", "errors"]
    assert status["statusType"] == "Fail"
    assert status["error"] in set(ErrorWord)
    error: dict[str, str]
    (error,) = status["errors"]
    assert status["statusMessage"] == f"{error['field']}: {error['rule']}"
    return error
