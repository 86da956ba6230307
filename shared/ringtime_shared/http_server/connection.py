"""One connection: requests in, answers out, and a deadline on each step.

```
 IDLE --first byte--> HEAD --empty line--> BODY --last byte--> ANSWERING --answer--> IDLE
                        |                    |                     |
                        +-- refused ---------+                     +-- unread --> FLUSHING --read--> IDLE
                        v                                          v
                     PARTING: the answer gets through, what else arrives is dropped
```

The application sees whole requests only: until a request is whole it costs its bytes, a place among the
connections and nothing else, whatever its sender does. One is answered at a time; what a client sends ahead
stays in the socket. An answer is written as one piece when it is complete, because all of ours are short.

uvicorn has protocols too. Its httptools one keeps headers without end and loses the body of a request that
has `Connection: Upgrade`; the h11 one takes four times the processor time of this
one (95 us a request of 440 bytes; httptools 28, this one 22, with uvloop).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, cast

from uvicorn.server import ServerState

from ringtime_shared.api.batches import BATCH_PATHS
from ringtime_shared.api.failures import failure_to_json
from ringtime_shared.http_server.chunks import Chunks, too_large
from ringtime_shared.http_server.crowd import Crowd, Guest
from ringtime_shared.http_server.heads import Door, Head, Refusal, may_become_head, parse_head
from ringtime_shared.settings import ServerSettings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_MOST_AHEAD_BYTES = 65_536  #: kept of the requests after the one that is being answered
_LINGER_S = 2.0
_MOST_LINGER_BYTES = 1 << 20
_FOR_EVER = float("inf")
_ASGI = {"version": "3.0", "spec_version": "2.3"}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE = (b"connection", b"close")
#: In the scope, for an application that knows this server, two shorter ways, each with what it is short for:
#: `receive` and the whole body, which need not be waited for; `send` and a function that takes status,
#: headers (`content-length` among them) and body of a whole answer. Whoever was given another `receive` or
#: `send` stands behind something that has to see what passes, and goes the long way.
WHOLE, TAKE = "ringtime.body", "ringtime.take"
_log = logging.getLogger(__name__)
_BUSY = Refusal.of(503, "request", "too many connections; try again")


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


_STATUS_LINES = {status: _status_line(status) for status in range(200, 600)}


@dataclass(slots=True)
class House:
    """What the connections of one server share."""

    app: App
    settings: ServerSettings
    door: Door
    crowd: Crowd
    loop: asyncio.AbstractEventLoop
    state: ServerState  #: uvicorn's: what it has to wait for when it stops, and the headers of every answer
    scheme: str = "http"


class _Stage(Enum):
    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    ANSWERING = auto()
    FLUSHING = auto()  #: answered, but the client has not read it
    PARTING = auto()


#: Each request asks several times, and to find a member in its class takes thirty times as long as a name.
_IDLE, _HEAD, _BODY, _ANSWERING, _FLUSHING, _PARTING = _Stage


class Connection(asyncio.Protocol):
    """Speaks HTTP/1.1 with one client."""

    def __init__(self, house: House, before: Guest | None = None) -> None:
        """`before`: who has had its place in the crowd so far."""
        self._before = before
        self.peer = "nobody"
        self.deadline_s = _FOR_EVER
        self.held_bytes = 0
        self._house = house
        self._settings = house.settings
        self._stage = _IDLE
        self._arrived = bytearray()
        self._searched = 0  # bytes of `_arrived` that hold no end of a head
        self._head: Head | None = None
        self._chunks: Chunks | None = None
        self._exchange: Exchange | None = None
        self._is_last = False  # no request after the present one
        self._is_choked = False  # the client does not read
        self._is_paused = False  # we do not
        self._dropped_bytes = 0

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._client = _address(transport.get_extra_info("peername"))
        self._server = _address(transport.get_extra_info("sockname"))
        self.peer = self._client[0]
        self._house.state.connections.add(cast(Any, self))
        self._step(_IDLE, self._settings.idle_deadline_s)
        if self._before is not None:
            self._house.crowd.leave(self._before)
            self._before = None
        self._house.crowd.enter(self)

    def data_received(self, data: bytes) -> None:
        if self._stage is _PARTING:
            self._dropped_bytes += len(data)
            if self._dropped_bytes > _MOST_LINGER_BYTES:
                self._transport.abort()
            return
        self._arrived += data
        if self._stage not in (_ANSWERING, _FLUSHING):
            self._read()
        elif len(self._arrived) > _MOST_AHEAD_BYTES and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._is_last = True
        is_wanted = self._stage in (_ANSWERING, _FLUSHING)  # the answer
        return is_wanted and self._transport.can_write_eof()  # TLS is not closed in one direction alone

    def connection_lost(self, exc: Exception | None) -> None:
        self._house.crowd.leave(self)
        self._house.state.connections.discard(cast(Any, self))
        self._stage = _PARTING
        if self._exchange is not None:
            self._exchange.leave()

    def pause_writing(self) -> None:
        self._is_choked = True

    def resume_writing(self) -> None:
        self._is_choked = False
        if self._stage is _FLUSHING:
            self._go_on()

    # What the crowd and the server tell

    def expire(self) -> None:
        """End what took too long."""
        if self._stage is _HEAD:
            rule = f"must arrive within {self._settings.head_deadline_s:g} s"
            self._refuse(Refusal.of(408, "header", rule))
        elif self._stage is _BODY:
            rule = f"the body must arrive within {self._settings.read_deadline_s:g} s"
            self._refuse(Refusal.of(408, "body", rule))
        elif self._stage is _IDLE and not self._transport.get_write_buffer_size():
            self._step(_PARTING, _LINGER_S)  # TLS waits for the client to close, too
            self._transport.close()
        else:
            if self._stage is _FLUSHING:
                rule = f"must be read within {self._settings.write_deadline_s:g} s"
                self._house.crowd.note(f"answer: {rule}", self.peer)
            self._transport.abort()

    def evict(self) -> None:
        """Make room for another."""
        if self._stage in (_HEAD, _BODY):
            self._write_refusal(_BUSY)
        self._part(lingers=False)

    def shutdown(self) -> None:
        """Take no request after the present one; uvicorn calls this when it stops."""
        self._is_last = True
        if self._stage in (_IDLE, _PARTING):
            self._transport.close()

    # Requests

    def _read(self) -> None:
        """Go on with what has arrived, up to the end of one request."""
        if self._head is None:
            head = self._read_head()
            if isinstance(head, Refusal):
                self._refuse(head)
            if not isinstance(head, Head):
                return
            self._head = head
        body = b"" if self._head.length == 0 else self._read_body(self._head)
        if isinstance(body, Refusal):
            self._refuse(body)
        if not isinstance(body, bytes):
            return
        head, self._head, self._chunks = self._head, None, None
        self._house.crowd.begin(self)
        self._stage, self.deadline_s = _ANSWERING, _FOR_EVER
        self._exchange = Exchange(head, body, self._client, self._server, self._house.scheme)
        task = self._house.loop.create_task(self._exchange.run(self._house.app, self._answer, self._cut))
        self._house.state.tasks.add(task)
        task.add_done_callback(self._house.state.tasks.discard)

    def _read_head(self) -> Head | Refusal | None:
        """Return None while the head is not whole."""
        arrived, most_bytes = self._arrived, self._settings.max_head_bytes
        while arrived.startswith(b"\r\n"):  # RFC 9112, 2.2: some clients end a body with one
            del arrived[:2]
        end = arrived.find(b"\r\n\r\n", self._searched)
        if max(end, len(arrived) if end < 0 else 0) > most_bytes:
            return Refusal.of(431, "header", f"must be at most {most_bytes} bytes")
        if end < 0:
            if not may_become_head(arrived, self._searched):
                return Refusal.of(400, "request", "must be HTTP/1.1, with lines that end in CRLF")
            self._searched = max(0, len(arrived) - 3)
            if self._stage is _IDLE and arrived:
                self._step(_HEAD, self._settings.head_deadline_s)
            self._house.crowd.hold(self, len(arrived))
            return None
        head = parse_head(bytes(arrived[:end]))
        del arrived[: end + 4]
        self._searched = 0
        if isinstance(head, Refusal):
            return head
        refusal = self._house.door.judge(head, self._server[0])
        if refusal is not None:
            return refusal
        is_batch = head.path in BATCH_PATHS
        most_bytes = self._settings.most_batch_bytes if is_batch else self._settings.max_body_bytes
        if head.length is not None and head.length > most_bytes:
            return too_large(most_bytes)
        if head.once.get(b"expect", b"100-continue").lower() != b"100-continue":
            return Refusal.of(417, "Expect", "must be 100-continue")
        if head.length is None:
            self._chunks = Chunks(most_bytes)
        return head

    def _read_body(self, head: Head) -> bytes | Refusal | None:
        """Return None while the body is not whole."""
        arrived, chunks = self._arrived, self._chunks
        if chunks is not None:
            is_whole = chunks.take(arrived)
            if isinstance(is_whole, Refusal):
                return is_whole
            if is_whole:
                return bytes(chunks.body)
        elif head.length is not None and len(arrived) >= head.length:
            body = bytes(arrived[: head.length])
            del arrived[: head.length]
            return body
        if self._stage is not _BODY:
            self._step(_BODY, self._settings.read_deadline_s)
            if b"expect" in head.once and head.version == "1.1" and not arrived:
                self._transport.write(_CONTINUE)
        self._house.crowd.hold(self, len(arrived) + (0 if chunks is None else len(chunks.body)))
        return None

    # Answers

    def _answer(self, head: Head, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Write the answer to the present request, and go on with the next."""
        self._exchange = None
        if self._transport.is_closing():
            return
        keeps_alive = head.keeps_alive and not self._is_last and _CLOSE not in headers
        if not keeps_alive and _CLOSE not in headers:
            headers = [*headers, _CLOSE]
        self._write(status, headers, b"" if head.method == "HEAD" else body)
        self._house.crowd.rest(self)
        if not keeps_alive:
            self._part(lingers=False)
        elif self._is_choked:
            self._step(_FLUSHING, self._settings.write_deadline_s)
        else:
            self._go_on()

    def _cut(self) -> None:
        """End a connection whose present request cannot be answered."""
        self._exchange = None
        self._transport.abort()

    def _go_on(self) -> None:
        self._step(_IDLE, self._settings.idle_deadline_s)
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
        if self._is_last:
            self._part(lingers=False)
        elif self._arrived:
            self._read()

    def _refuse(self, refusal: Refusal) -> None:
        self._house.crowd.note(f"{refusal.status} {refusal.violation}", self.peer)
        self._write_refusal(refusal)
        self._part(lingers=True)

    def _write_refusal(self, refusal: Refusal) -> None:
        rule = refusal.violation
        body = failure_to_json(refusal.status, refusal.word, str(rule), [rule])
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), _CLOSE]
        if refusal.status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers.append((b"retry-after", b"1"))
        self._write(refusal.status, headers, body)

    def _write(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        parts = [_STATUS_LINES[status]]
        for name, value in (*self._house.state.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        parts += (b"\r\n", body)
        self._transport.write(b"".join(parts))

    def _part(self, *, lingers: bool) -> None:
        """Take no more requests, and close when the answer has got through.

        Args:
            lingers: whether the client may still be sending. To close then would have its system throw away
                the answer it has not read, so the client may say its part, for a while, and nobody listens.
        """
        self._arrived.clear()
        self._house.crowd.hold(self, 0)
        if lingers:
            self._step(_PARTING, _LINGER_S)
            if self._transport.can_write_eof():
                self._transport.write_eof()
            else:  # TLS, which itself waits for the client to close, and drops what comes until then
                self._transport.close()
        else:
            self._step(_PARTING, self._settings.write_deadline_s)
            self._transport.close()

    def _step(self, stage: _Stage, seconds: float) -> None:
        self._stage = stage
        self.deadline_s = self._house.loop.time() + seconds


class Exchange:
    """Gives an application a whole request, and takes a whole answer from it."""

    __slots__ = (
        "_body",
        "_client",
        "_departure",
        "_head",
        "_headers",
        "_parts",
        "_reply",
        "_scheme",
        "_server",
        "_status",
    )

    def __init__(
        self, head: Head, body: bytes, client: tuple[str, int], server: tuple[str, int], scheme: str = "http"
    ) -> None:
        self._scheme = scheme
        self._head = head
        self._body: bytes | None = body  # None: the application has it
        self._client = client
        self._server = server
        self._departure: asyncio.Event | None = None  # made by who waits for it
        self._status = 0
        self._headers: Headers = []
        self._parts: list[bytes] = []

    async def run(
        self, app: App, answer: Callable[[Head, int, Headers, bytes], None], cut: Callable[[], None]
    ) -> None:
        """Have the application answer.

        Args:
            answer: called once, with the whole answer.
            cut: called instead where there will be none.
        """
        self._reply: Callable[[Head, int, Headers, bytes], None] | None = answer
        head, receive, send = self._head, self._receive, self._send
        scope: Message = {  # not kept: it leads back to here
            "type": "http",
            "asgi": _ASGI,
            "http_version": head.version,
            "server": self._server,
            "client": self._client,
            "scheme": self._scheme,
            "root_path": "",
            "method": head.method,
            "path": head.path,
            "raw_path": head.path.encode(),
            "query_string": head.query,
            "headers": head.headers,
            WHOLE: (receive, self._body),
            TAKE: (send, self._take),
        }
        try:
            await app(scope, receive, send)
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

    def _take(self, status: int, headers: Headers, body: bytes) -> None:
        reply, self._reply = self._reply, None
        if reply is not None:
            reply(self._head, status, headers, body)

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


def _address(name: object) -> tuple[str, int]:
    """Return address and port of one end of a connection, IPv4 in its own form."""
    if not isinstance(name, tuple):
        return "unknown", 0
    return str(name[0]).removeprefix("::ffff:").lower(), int(name[1])
