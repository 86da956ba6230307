"""The real application on a real port in a thread, and servers that misbehave."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from ringtime import Ringtime
from ringtime_client import AsyncRingtimeClient, RingtimeClient
from ringtime_dispatcher.callbacks.http.callback import HttpCallback
from ringtime_ingest.http import create_app
from ringtime_ingest.service import IngestParts, IngestService
from ringtime_shared.callbacks.egress_policy import EgressPolicy
from ringtime_shared.callbacks.resolver import Resolver
from ringtime_shared.clock import SystemClock
from ringtime_shared.errors import RingtimeError
from ringtime_shared.http_server import listen, serve_http
from ringtime_shared.models.app import App
from ringtime_shared.models.schedule import Outcome, Place, Row, RowUpdate
from ringtime_shared.settings import ServerSettings, Settings
from ringtime_shared.stores.memory import MemoryStore

Act = Callable[[socket.socket], None]
Verb = Callable[..., Any]  #: calls a verb by its name
WAYS = ("async", "sync", "library")  #: to call verbs


def no_such_name(host: str) -> Sequence[str]:
    """A lookup that asks nobody."""
    raise OSError(host)


class TroubledStore(MemoryStore):
    """A memory store that raises `trouble` while it is set, and remembers where it filed rows."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        super().__init__(now_ms)
        self.trouble: RingtimeError | None = None
        self.places: dict[UUID, Place] = {}

    async def put_rows(self, rows: Sequence[Row]) -> None:
        self._raise()
        self.places.update((row.schedule.schedule_id, row.place) for row in rows)
        await super().put_rows(rows)

    async def fetch_row(self, place: Place, schedule_id: UUID) -> Row | None:
        self._raise()
        return await super().fetch_row(place, schedule_id)

    async def fetch_apps(self) -> list[App]:
        self._raise()
        return await super().fetch_apps()

    def _raise(self) -> None:
        if self.trouble is not None:
            raise self.trouble


@dataclass
class Served:
    """A running server."""

    url: str
    store: TroubledStore
    loop: asyncio.AbstractEventLoop

    def end(self, schedule_id: UUID, outcome: Outcome) -> None:
        """Record an outcome, as a dispatcher does."""
        update = RowUpdate(place=self.store.places[schedule_id], schedule_id=schedule_id, outcome=outcome)
        asyncio.run_coroutine_threadsafe(self.store.put_updates([update]), self.loop).result(60)


@contextmanager
def served() -> Iterator[Served]:
    """Serve the API on a memory store until the block ends."""
    ready = threading.Event()
    box: list[Served] = []
    stops: list[Callable[[], object]] = []

    async def main(listener: socket.socket) -> None:
        clock = SystemClock()
        settings = replace(Settings(), server=ServerSettings(drain_s=1))
        store = TroubledStore(clock.now_ms)
        policy = EgressPolicy.of(settings.egress, loopback=True)
        http = HttpCallback(policy, Resolver(settings.egress, lookup=no_such_name))
        service = await IngestService.start(
            IngestParts(
                store=store,
                clock=clock,
                settings=settings.ingest,
                limits=settings.limits,
                callbacks={"http": http},
                holder="test",
            )
        )

        async def is_ready() -> None: ...

        app = create_app(service, settings.server, is_ready)
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        stops.append(lambda: loop.call_soon_threadsafe(stop.set))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        box.append(Served(url, store, loop))
        ready.set()
        await serve_http(app, settings.server, listener, stop)
        await service.close()
        await http.close()

    with listen(ServerSettings(port=0)) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(main(listener)), daemon=True)
        thread.start()
        assert ready.wait(60)
        try:
            yield box[0]
        finally:
            stops[0]()
            thread.join(60)


@asynccontextmanager
async def verbs(way: str, url: str) -> AsyncIterator[Verb]:
    """Yield what calls a verb of one client at `url`, or of a library of its own, by its name."""
    if way == "async":
        async with AsyncRingtimeClient(url) as client:
            yield lambda verb, *args, **named: getattr(client, verb)(*args, **named)
    elif way == "sync":
        with RingtimeClient(url) as other:
            yield lambda verb, *args, **named: asyncio.to_thread(getattr(other, verb), *args, **named)
    else:
        async with Ringtime() as ringtime:
            yield lambda verb, *args, **named: getattr(ringtime, verb)(*args, **named)


@dataclass
class Script:
    """A server that does the next act with each request; `requests` holds what it was sent."""

    url: str
    requests: list[bytes] = field(default_factory=list)
    got_one: threading.Event = field(default_factory=threading.Event)


@contextmanager
def scripted(*acts: Act) -> Iterator[Script]:
    """Do one act a connection, then refuse connections."""
    listener = socket.create_server(("127.0.0.1", 0))
    script = Script(f"http://127.0.0.1:{listener.getsockname()[1]}")
    done = threading.Event()

    def play() -> None:
        for act in acts:
            connection, _ = listener.accept()
            with connection:
                if done.is_set():
                    return
                script.requests.append(_read_request(connection))
                script.got_one.set()
                act(connection)
                if act is hang:
                    done.wait(60)
        listener.close()

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    try:
        yield script
    finally:
        done.set()
        if thread.is_alive():
            with suppress(OSError):  # it may have stopped listening by itself
                socket.create_connection(listener.getsockname(), 1).close()
        thread.join(60)
        listener.close()


def answer(http: int, body: bytes, *headers: str) -> Act:
    """Return an act that answers and closes."""
    lines = [f"HTTP/1.1 {http} x", f"content-length: {len(body)}", "connection: close", *headers]
    reply = "\r\n".join([*lines, "", ""]).encode() + body

    def act(connection: socket.socket) -> None:
        connection.sendall(reply)

    return act


def hang(connection: socket.socket) -> None:
    """Never answer."""


def cut(connection: socket.socket) -> None:
    """Close without an answer."""


def reset(connection: socket.socket) -> None:
    """Reset the connection without an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def half(connection: socket.socket) -> None:
    """Stop in the middle of the answer."""
    connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"status"')


def babble(connection: socket.socket) -> None:
    """Speak another protocol."""
    connection.sendall(b"SSH-2.0 hello\r\n\r\n")


def _read_request(connection: socket.socket) -> bytes:
    connection.settimeout(60)
    request = b""
    while b"\r\n\r\n" not in request:
        chunk = connection.recv(65_536)
        if not chunk:
            return request
        request += chunk
    head, _, body = request.partition(b"\r\n\r\n")
    lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0]):
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body
