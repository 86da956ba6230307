"""Real servers on the loopback interface, well-behaved and not, and an HTTP callback type to call them."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.contract.builders import make_app, make_row

from ringtime_dispatcher.callbacks.http.callback import HttpCallback
from ringtime_shared.callbacks.egress_policy import EgressPolicy
from ringtime_shared.callbacks.protocol import Delivery, Reply
from ringtime_shared.callbacks.resolver import Resolver
from ringtime_shared.recurring.completing import Completions
from ringtime_shared.settings import EgressSettings

SITE = "127.0.0.2"  #: an address that a test's settings allow
CANARY = "127.0.0.1"  #: one that they do not
BOTH = EgressSettings(allow=(SITE, "127.0.0.3"), ports=("1-65535",))
OPEN = EgressSettings(allow=(SITE,), ports=("1-65535",), dns_keep_s=0)

Act = Callable[["Site", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Site:
    """A server and what came to it. `act` answers a request; it ends the connection by returning."""

    act: Act
    host: str = ""
    port: int = 0
    connections: int = 0
    live: int = 0
    sent_bytes: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)  #: set when a connection comes or goes
    requests: list[bytes] = field(default_factory=list)  #: heads and bodies

    def url(self, host: str, path: str = "/hook", *, scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._count(1)
        try:
            await self.act(self, reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass  # the client has gone
        finally:
            self._count(-1)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def read_request(self, reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        lengths = [int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")]
        self.requests.append(head + await reader.readexactly(sum(lengths)))

    async def until_live(self, count: int) -> None:
        async with asyncio.timeout(60):
            while self.live != count:
                self.changed.clear()
                await self.changed.wait()

    def _count(self, connections: int) -> None:
        self.live += connections
        self.changed.set()


def answering(status: str = "200 OK", *headers: str, body: str = "ok", after_s: float = 0) -> Act:
    """Answer each request of a connection alike."""
    lines = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(body)}", "", body]

    async def act(site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await site.read_request(reader)
            await asyncio.sleep(after_s)
            writer.write("\r\n".join(lines).encode())

    return act


def sending(head: bytes, piece: bytes = b"", *, pause_s: float = 0) -> Act:
    """Answer with these bytes and then with the piece, again and again, as long as somebody takes them."""

    async def act(site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await site.read_request(reader)
        writer.write(head)
        while piece:
            writer.write(piece)
            await writer.drain()
            site.sent_bytes += len(piece)
            await asyncio.sleep(pause_s)
        await reader.read()

    return act


async def _listen(site: Site, host: str, port: int, tls: ssl.SSLContext | None) -> asyncio.Server:
    """Without a port, at one below those that the kernel gives to clients: no connection of anybody has it at
    another address, where a test may want to listen too."""
    for _ in range(20 if port == 0 else 0):
        with suppress(OSError):
            return await asyncio.start_server(site.serve, host, random.randrange(10_000, 32_000), ssl=tls)
    return await asyncio.start_server(site.serve, host, port, ssl=tls)


@asynccontextmanager
async def serving(
    act: Act | None = None, *, host: str = SITE, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Site]:
    """Serve until the block ends; without an act, as a canary that answers 200 to whatever comes."""
    site = Site(act or answering())
    server = await _listen(site, host, port, tls)
    site.host, site.port = server.sockets[0].getsockname()[:2]
    try:
        yield site
    finally:
        server.close()


@asynccontextmanager
async def calling(
    names: Mapping[str, Sequence[str]] | Callable[[str], Sequence[str]] | None = None,
    *,
    settings: EgressSettings = OPEN,
    most: int = 500,
    completions: Completions | None = None,
) -> AsyncIterator[HttpCallback]:
    """A callback type whose names mean what the test says; others do not exist."""

    def look_up(host: str) -> Sequence[str]:
        if callable(names):
            return names(host)
        if names is None or host not in names:
            raise OSError(f"no host {host}")
        return names[host]

    resolver = Resolver(settings, lookup=look_up)
    http = HttpCallback(EgressPolicy.of(settings), resolver, max_connections=most, completions=completions)
    try:
        yield http
    finally:
        await http.close()


def delivery(url: str, *, method: str = "POST", timeout_ms: int = 5_000, **details: object) -> Delivery:
    return Delivery(
        schedule=make_row(make_app()).schedule,
        details={"url": url, "method": method, **details},
        attempt=1,
        term=7,
        timeout_ms=timeout_ms,
    )


async def attempt(http: HttpCallback, each: Delivery) -> Reply:
    """Make one as a dispatcher does: at once where that can be."""
    ended: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    drop = http.begin(each, ended.set_result)
    if drop is None:
        return await http.invoke(each)
    try:
        return await ended
    except asyncio.CancelledError:
        drop()
        raise


async def call(http: HttpCallback, url: str, **options: object) -> Reply:
    """Make one attempt and hold it to its deadline."""
    each = delivery(url, **options)  # type: ignore[arg-type]
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    reply = await attempt(http, each)
    assert loop.time() - began_s < each.timeout_ms / 1_000 + 0.25
    return reply
