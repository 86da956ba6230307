"""Connections of HTTP callbacks: to checked addresses only, used again while that is safe, bounded in number.

A connection belongs to a scheme, host, port, address and TLS profile, and is used for nothing else. No name
is looked up here: what is connected to is an address that the caller has checked, while TLS asks for and
checks the name.

| bound | why |
|---|---|
| connections in all | API, store and files need descriptors too; the oldest idle one makes room |
| idle ones to one destination | one app's burst does not keep all of them |
| time idle | shorter than most servers keep a connection, or than this one says it does |
| age | a name's new meaning and a server's wish to be left are followed |

A host with several addresses is tried at the first; the next has its turn when that failed, or has said
nothing for a quarter of a second, whichever comes first, and the first to connect is used (RFC 8305).

A server may close a connection just as a request goes out on it, and then nobody knows whether it was read.
Such a request is not sent again within its attempt. A connection that has anything to read before a request,
the end included, is not used, which leaves the time that a packet travels.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
from collections.abc import Callable, Sequence
from enum import Enum, auto
from itertools import islice
from typing import NamedTuple, cast

from ringtime_dispatcher.callbacks.http.answer import AnswerReader
from ringtime_dispatcher.callbacks.http.trust import Trust
from ringtime_shared.callbacks.address_rules import Address
from ringtime_shared.callbacks.url_rules import Target
from ringtime_shared.certificates import certificate_fault
from ringtime_shared.process.descriptors import is_shortage

KEEP_S = 60.0  #: no connection is used longer
MOST_IDLE = 100  #: to one destination: as many as one app may have under way to it by default
_IDLE_S = 4.0  #: less than the 5 s after which Node.js, Apache httpd and uvicorn close a connection
_MOST_IDLE_S = 30.0  #: of a server that says how long it keeps one
_SWEEP_S = 1.0
_STAGGER_S = 0.25  #: the connection attempt delay of RFC 8305
_ROOM_AT_ONCE = 16  #: idle connections closed when the process is out of descriptors


class Shortage(OSError):
    """This node is short of something: not the destination's doing."""


class Ended(Enum):
    """Why reading an answer came to its end."""

    READ = auto()
    CLOSED = auto()
    OUT_OF_TIME = auto()


class Way(NamedTuple):
    """What a connection belongs to. Its key is text, whose hash is known: to hash an address takes a
    microsecond."""

    address: Address
    key: str

    @classmethod
    def to(cls, target: Target, address: Address, profile: str = "") -> Way:
        """`profile`: the certificates, of `Trust`; "": none."""
        return cls(address, f"{target.scheme} {target.host} {target.port} {address} {profile}")


class Connection(asyncio.Protocol):
    """One connection. It has at most one request under way."""

    def __init__(self, way: Way, descriptor: int, forget: Callable[[Connection], None]) -> None:
        self.way = way
        self.is_open = False
        self.fault = ""  #: what was wrong with our certificate, if that ended it
        self.use_until_s = 0.0  #: the loop's time; when it becomes too old
        self.idle_until_s = 0.0
        self._forget = forget
        self._readable = select.poll()
        self._readable.register(descriptor, select.POLLIN)
        self._reader: AnswerReader | None = None
        self._on_end: Callable[[Ended], None] | None = None
        self._until_s = 0.0  # of the request under way
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0  # when it looks at the time

    def begin(
        self, request: bytes, reader: AnswerReader, until_s: float, on_end: Callable[[Ended], None]
    ) -> None:
        """Send a request and let `reader` have the answer, until it has enough or the loop's time passes
        `until_s`. Then, not before this returns, `on_end` is called; the reader knows what there is to
        know."""
        self._reader, self._on_end, self._until_s = reader, on_end, until_s
        if not self.is_open:
            asyncio.get_running_loop().call_soon(self._end, Ended.CLOSED)
            return
        # One timer for many requests: hardly one of them is out of time.
        if self._timer is None or until_s < self._timer_s:
            self._look_at(until_s)
        self._transport.write(request)

    async def exchange(self, request: bytes, reader: AnswerReader, until_s: float) -> Ended:
        """The same, for a task that waits for the end."""
        ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

        def on_end(how: Ended) -> None:
            if not ended.done():
                ended.set_result(how)

        self.begin(request, reader, until_s, on_end)
        try:
            return await ended
        finally:
            if self._reader is reader:  # nobody waits any more
                self.drop()

    def drop(self) -> None:
        """End what is under way at once, and tell nobody."""
        self._reader = self._on_end = None
        self.abort()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has come that was not read, the end of the connection included."""
        return not self._readable.poll(0)

    def abort(self) -> None:
        """Close it at once."""
        if self.is_open:
            self._close()
            self._transport.abort()
            self._forget(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        if self._reader is None:
            self.abort()  # nobody asked: no answer could be told from what this is
        elif self._reader.feed(data):
            self._end(Ended.READ)

    def connection_lost(self, error: Exception | None) -> None:
        self.fault = certificate_fault(error) or ""
        if self.is_open:
            self._close()
            self._forget(self)
        self._end(Ended.CLOSED)

    def _close(self) -> None:
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_at(self, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = at_s
        self._timer = asyncio.get_running_loop().call_at(at_s, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._on_end is None:
            return
        if asyncio.get_running_loop().time() < self._until_s:
            self._look_at(self._until_s)
        else:
            self._end(Ended.OUT_OF_TIME)

    def _end(self, how: Ended) -> None:
        reader, on_end = self._reader, self._on_end
        if reader is None or on_end is None:
            return
        self._reader = self._on_end = None
        reader.end()
        if not reader.is_complete:
            self.abort()
        on_end(how)


class Connections:
    """All connections of the `http` callback type.

    Args:
        most: connections at once, idle ones and those being made included.
        trust: which certificates are trusted and shown.
    """

    def __init__(self, *, most: int, trust: Trust) -> None:
        self._most = most
        self._trust = trust
        self._sockets = 0  # idle, in use and being connected
        self._live: set[Connection] = set()
        self._idle: dict[str, dict[Connection, None]] = {}  # of each way, oldest first
        self._by_age: dict[Connection, None] = {}  # of all destinations, oldest first
        self._sweeping: asyncio.TimerHandle | None = None

    def take(self, ways: Sequence[Way], now_s: float) -> Connection | None:
        """Return a connection that is kept, by the first of these ways that has one.

        Args:
            now_s: the loop's time.
        """
        for way in ways:
            kept = self._idle.get(way.key)
            while kept:
                connection = next(reversed(kept))  # the last one used is the least likely to be closed
                if now_s < connection.idle_until_s and connection.is_quiet:
                    self._unlist(connection)
                    return connection
                connection.abort()
        return None

    async def open(
        self, target: Target, ways: Sequence[Way], until_s: float, profile: str = ""
    ) -> Connection:
        """Return a connection to the target by one of these ways, one that is kept if there is any.

        Raises TimeoutError when the loop's time passes `until_s`, Shortage, and other OSErrors if it could
        not be made; `fault_text` words those.
        """
        kept = self.take(ways, asyncio.get_running_loop().time())
        if kept is not None:
            return kept
        async with asyncio.timeout_at(until_s):
            return await self._connect(target, ways, until_s, profile)

    def give_back(self, connection: Connection, answer: AnswerReader) -> None:
        """Keep a connection for the next request, if its last answer was complete; else it is closed."""
        if not connection.is_open:
            return
        loop = asyncio.get_running_loop()
        now_s, said_s = loop.time(), answer.idle_s()
        idle_s = _IDLE_S if said_s is None else min(said_s - 1.0, _MOST_IDLE_S)
        connection.idle_until_s = min(now_s + idle_s, connection.use_until_s)
        if connection.idle_until_s <= now_s:
            connection.abort()
            return
        kept = self._idle.setdefault(connection.way.key, {})
        kept[connection] = self._by_age[connection] = None
        if len(kept) > MOST_IDLE:
            next(iter(kept)).abort()
        if self._sweeping is None:
            self._sweeping = loop.call_later(_SWEEP_S, self._sweep)

    async def close(self) -> None:
        """Close all connections, also those in use."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in list(self._live):
            connection.abort()
        await asyncio.sleep(0)  # the loop lets go of their sockets

    async def _connect(self, target: Target, ways: Sequence[Way], until_s: float, profile: str) -> Connection:
        way, made = await self._race(ways, target.port)
        loop = asyncio.get_running_loop()
        connection = Connection(way, made.fileno(), self._forget)
        is_tls = target.scheme == "https"
        self._live.add(connection)
        try:
            await loop.create_connection(
                lambda: connection,
                sock=made,
                ssl=self._trust.context(profile) if is_tls else None,
                server_hostname=target.host if is_tls else None,
                ssl_handshake_timeout=max(until_s - loop.time(), 0) + 1 if is_tls else None,
            )
        except BaseException as error:
            connection.abort()
            self._forget(connection)
            made.close()
            if is_shortage(error):
                raise self._shortage(error) from error
            raise
        connection.use_until_s = loop.time() + KEEP_S
        return connection

    async def _race(self, ways: Sequence[Way], port: int) -> tuple[Way, socket.socket]:
        """Return the first way by which it could be connected to, and the socket."""
        if len(ways) == 1:
            return ways[0], await self._reach(ways[0].address, port)
        legs: dict[asyncio.Task[socket.socket], Way] = {}
        waiting, failures = list(ways), list[BaseException]()
        try:
            while waiting or not all(leg.done() for leg in legs):
                if waiting:
                    way = waiting.pop(0)
                    legs[asyncio.create_task(self._reach(way.address, port))] = way
                running = [leg for leg in legs if not leg.done()]
                done, _ = await asyncio.wait(
                    running, timeout=_STAGGER_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                for leg in done:
                    error = leg.exception()
                    if error is None:
                        return legs.pop(leg), leg.result()
                    failures.append(error)
        finally:
            for leg in legs:
                leg.cancel()
            for late in await asyncio.gather(*legs, return_exceptions=True):
                if not isinstance(late, BaseException):
                    self._sockets -= 1
                    late.close()
        raise next((error for error in failures if isinstance(error, Shortage)), failures[0])

    async def _reach(self, address: Address, port: int) -> socket.socket:
        """Return a socket connected to this address, which counts until `_sockets` is told otherwise."""
        if self._sockets >= self._most and not self._make_room(1):
            raise Shortage(errno.EMFILE, "as many connections are open as may be")
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        made = None
        self._sockets += 1
        try:
            made = socket.socket(family, socket.SOCK_STREAM)
            made.setblocking(False)
            await asyncio.get_running_loop().sock_connect(made, (str(address), port))
        except BaseException as error:
            self._sockets -= 1
            if made is not None:
                made.close()
            # Out of local ports; but where IPv6 is switched off, it says this of any IPv6 address.
            has_no_port = family == socket.AF_INET and getattr(error, "errno", 0) == errno.EADDRNOTAVAIL
            if has_no_port or is_shortage(error):
                raise self._shortage(error) from error
            raise
        return made

    def _shortage(self, error: BaseException) -> Shortage:
        number = error.errno if isinstance(error, OSError) and error.errno else errno.ENOMEM
        if number in (errno.EMFILE, errno.ENFILE):
            self._make_room(_ROOM_AT_ONCE)  # others of this process need descriptors more than these
        return Shortage(number, os.strerror(number))

    def _make_room(self, count: int) -> bool:
        """Close the oldest idle connections. Return whether there was one."""
        oldest = list(islice(self._by_age, count))
        for connection in oldest:
            connection.abort()
        return bool(oldest)

    def _sweep(self) -> None:
        """Close what has been idle for too long."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for connection in [each for each in self._by_age if each.idle_until_s <= now_s]:
            connection.abort()
        self._sweeping = loop.call_later(_SWEEP_S, self._sweep) if self._by_age else None

    def _forget(self, connection: Connection) -> None:
        if connection in self._live:
            self._live.remove(connection)
            self._sockets -= 1
        if connection in self._by_age:
            self._unlist(connection)

    def _unlist(self, connection: Connection) -> None:
        del self._by_age[connection]
        key = connection.way.key
        kept = self._idle[key]
        del kept[connection]
        if not kept:
            del self._idle[key]
