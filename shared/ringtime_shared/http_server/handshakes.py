"""Connections that are to be encrypted, from when they come in until they are.

asyncio's own TLS server shows a connection when its handshake is over: until then nobody could count it, nor
end it for another. So connections are accepted here, and each is one of the crowd from its first moment: a
stranger, with `head_deadline_s` for its handshake, which goes first when there are too many.

What OpenSSL and the event loop keep of a handshake is 50 KiB. So one begins when the client's first message
is there, which is left in the system's buffer until then; and of those that have begun and do not end, the
oldest goes for one more than `_MOST_BEGUN`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from ringtime_shared.certificates import Contexts, certificate_fault
from ringtime_shared.http_server.connection import Connection, House
from ringtime_shared.process.descriptors import is_shortage

_AT_ONCE = 64  #: accepted in one turn of the event loop
_SHORTAGE_WAIT_S = 1.0  #: as asyncio's servers wait
_SPARE_S = 60.0  #: until the event loop itself would end a handshake; the crowd's sweep comes first
_MOST_BEGUN = 256
_RECORD_HEAD = 5  #: bytes: kind, version, length of what follows
_HANDSHAKE = 22  #: the kind of record that a client begins with
_MOST_AHEAD = 4_096  #: of a first message that is waited for; longer ones are rare, and come in time
_log = logging.getLogger(__name__)


class Acceptor:
    """Takes the connections of one listening socket. For uvicorn it is one of its servers.

    Args:
        tls: its context of the moment is that of a connection.
    """

    def __init__(self, listener: socket.socket, tls: Contexts, house: House, backlog: int) -> None:
        self._listener = listener
        self._tls = tls
        self._house = house
        self._guests: set[Handshake] = set()
        self._begun: dict[Handshake, None] = {}  # oldest first
        self._waiting: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        listener.listen(backlog)
        self._listen()

    def close(self) -> None:
        """Take no more, and end what is not encrypted yet."""
        self._house.loop.remove_reader(self._listener)
        if self._waiting is not None:
            self._waiting.cancel()
        for guest in [*self._guests]:
            guest.evict()

    async def wait_closed(self) -> None:
        """Wait until the handshakes under way have ended."""
        tasks = [guest.task for guest in self._guests if guest.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _listen(self) -> None:
        self._waiting = None
        self._house.loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                taken, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if not is_shortage(error):
                    raise
                _log.error("no connection can be accepted: %s", error.strerror)
                self._house.loop.remove_reader(self._listener)
                self._waiting = self._house.loop.call_later(_SHORTAGE_WAIT_S, self._listen)
                return
            guest = Handshake(taken, str(address[0]), self._house, self._begin, self._forget)
            self._guests.add(guest)
            self._house.crowd.enter(guest)

    def _begin(self, guest: Handshake) -> ssl.SSLContext:
        self._begun[guest] = None
        if len(self._begun) > _MOST_BEGUN:
            oldest = next(iter(self._begun))
            del self._begun[oldest]
            self._house.crowd.note(f"TLS handshake: more than {_MOST_BEGUN} begun at once", oldest.peer)
            oldest.evict()
        return self._tls.current

    def _forget(self, guest: Handshake) -> None:
        self._guests.discard(guest)
        self._begun.pop(guest, None)
        self._house.crowd.leave(guest)


class Handshake:
    """A connection whose handshake is under way, or to come; a `Guest`.

    Args:
        begin: called when it begins; returns the context.
        forget: called when it is over, however it ended.
    """

    def __init__(
        self,
        taken: socket.socket,
        peer: str,
        house: House,
        begin: Callable[[Handshake], ssl.SSLContext],
        forget: Callable[[Handshake], None],
    ) -> None:
        self.peer = peer.removeprefix("::ffff:").lower()
        self.deadline_s = house.loop.time() + house.settings.head_deadline_s
        self.held_bytes = 0
        self.task: asyncio.Task[None] | None = None  #: None: it has not begun
        self._socket = taken
        self._house = house
        self._begin = begin
        self._forget = forget
        self._awaited = 1  # bytes of the first message, without which there is nothing to do
        taken.setblocking(False)
        house.loop.add_reader(taken, self._look)

    def expire(self) -> None:
        """End what took too long."""
        rule = f"must end within {self._house.settings.head_deadline_s:g} s"
        self._house.crowd.note(f"TLS handshake: {rule}", self.peer)
        self.evict()

    def evict(self) -> None:
        """Make room for another."""
        if self.task is None:
            self._house.loop.remove_reader(self._socket)
            self._socket.close()
            self._forget(self)
        else:
            self.task.cancel()

    def _look(self) -> None:
        """See whether the first message is there; the system tells when as much has come as is awaited."""
        try:
            ahead = self._socket.recv(_MOST_AHEAD, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            ahead = b""
        if not ahead:  # it has gone
            self.evict()
            return
        size = min(_size_of(ahead), _MOST_AHEAD)
        if len(ahead) >= size or len(ahead) < self._awaited:  # the latter: no more will come
            self._house.loop.remove_reader(self._socket)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            self.task = self._house.loop.create_task(self._run(self._begin(self)))
            self.task.add_done_callback(self._end)
        else:
            self._awaited = size
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    async def _run(self, context: ssl.SSLContext) -> None:
        settings = self._house.settings
        try:
            await self._house.loop.connect_accepted_socket(
                self._go_on,
                self._socket,
                ssl=context,
                ssl_handshake_timeout=settings.head_deadline_s + _SPARE_S,
                ssl_shutdown_timeout=settings.write_deadline_s,
            )
        except OSError as error:
            if isinstance(error, ssl.SSLError):  # others have just gone, as whoever looks at ports does
                fault = certificate_fault(error) or (error.reason or "failed").lower().replace("_", " ")
                self._house.crowd.note(f"TLS handshake: {fault}", self.peer)
            self._socket.close()

    def _go_on(self) -> Connection:
        return Connection(self._house, self)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._forget(self)
        if task.cancelled():  # perhaps before it began; a transport that has it lets go of it as well
            self._socket.close()


def _size_of(first: bytes) -> int:
    """Return how many bytes a client's first message has, its head included; of what is none, as many as are
    there."""
    if first[:1] != bytes([_HANDSHAKE]):
        return len(first)
    if len(first) < _RECORD_HEAD:
        return _RECORD_HEAD
    return _RECORD_HEAD + int.from_bytes(first[3:_RECORD_HEAD], "big")
