"""A cheap HTTP client for load: keep-alive connections that send the next request on the last answer.

Client libraries cost more CPU than the server under test, so this one parses just enough.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import httptools


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, or `REFUSED` (no connection could be made) or `BROKEN` (it ended before an answer)."""

    status: int
    body: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.body)["data"]


REFUSED, BROKEN = 0, -1
TOO_LATE = -2  #: 400 after the time for which a create asked: the request, or its answer, was long under way


class _Connection(asyncio.Protocol):
    def __init__(self, on_free: Callable[[_Connection], None]) -> None:
        self._on_free = on_free
        self._waiting: asyncio.Future[Answer] | None = None
        self._body = b""
        self.is_open = False
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)
        self.is_open = True

    def send(self, request: bytes, answer: asyncio.Future[Answer]) -> None:
        self._waiting = answer
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._finish(Answer(self._parser.get_status_code(), self._body))
        self._on_free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self.lost.set()
        self._finish(Answer(BROKEN, b""))

    def _finish(self, answer: Answer) -> None:
        waiting, self._waiting, self._body = self._waiting, None, b""
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def close(self) -> None:
        self._transport.abort()


class LoadClient:
    """At most `connections` requests at a time; more wait their turn."""

    def __init__(self, base: str, connections: int = 64) -> None:
        parts = urlsplit(base)
        self._host, self._port, self._path = parts.hostname or "127.0.0.1", parts.port or 80, parts.path
        self._connections = connections
        self._open = 0
        self._idle: list[_Connection] = []
        self._made: set[_Connection] = set()
        self._queue: deque[tuple[bytes, asyncio.Future[Answer]]] = deque()
        self._opening: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> LoadClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._opening:
            task.cancel()
        if self._opening:
            await asyncio.wait(self._opening)
        for connection in self._made:  # those too whose answer nobody waits for any more
            connection.close()
        for connection in self._made:
            await connection.lost.wait()

    def request(self, method: str, path: str, body: object = None) -> Awaitable[Answer]:
        """Send soon, as JSON what is not bytes; the status is `REFUSED` or `BROKEN` if no answer comes."""
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        head = (
            f"{method} {self._path}{path} HTTP/1.1\r\nhost: {self._host}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        )
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue.append((head.encode() + content, answer))
        self._pump()
        return answer

    def _pump(self) -> None:
        while self._queue and self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                connection.send(*self._queue.popleft())
            else:
                self._open -= 1
        while self._queue and self._open < self._connections and len(self._opening) < len(self._queue):
            self._open += 1
            task = asyncio.create_task(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: _Connection(self._on_free), self._host, self._port
            )
        except OSError:
            self._open -= 1
            if self._queue:
                self._queue.popleft()[1].set_result(Answer(REFUSED, b""))
            loop.call_soon(self._pump)
            return
        self._made = {each for each in self._made if each.is_open} | {connection}
        self._on_free(connection)

    def _on_free(self, connection: _Connection) -> None:
        self._idle.append(connection)
        self._pump()


async def gather(answers: Iterable[Awaitable[Answer]]) -> list[Answer]:
    return list(await asyncio.gather(*answers))
