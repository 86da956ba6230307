"""Connections that are to be encrypted, from when they come in until they are.

asyncio's own TLS server shows a connection when its handshake is over: until then nobody could count it, nor
end it for another. So connections are accepted here, and each is one of the crowd from its first moment: a
stranger, with `head_deadline_s` for its handshake, which goes first when there are too many.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from functools import partial

from ringtime_shared.certificates import Contexts, certificate_fault
from ringtime_shared.http_server.connection import Connection, House
from ringtime_shared.process.descriptors import is_shortage

_AT_ONCE = 64  #: accepted in one turn of the event loop
_SPARE_S = 60.0  #: until the event loop itself would end a handshake; the crowd's sweep comes first
_SHORTAGE_WAIT_S = 1.0  #: as asyncio's servers wait
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
        self._waiting: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        listener.listen(backlog)
        self._begin()

    def close(self) -> None:
        """Take no more, and end what is not encrypted yet."""
        self._house.loop.remove_reader(self._listener)
        if self._waiting is not None:
            self._waiting.cancel()
        for guest in [*self._guests]:
            guest.evict()

    async def wait_closed(self) -> None:
        """Wait until the handshakes under way have ended."""
        await asyncio.gather(*(guest.task for guest in self._guests), return_exceptions=True)

    def _begin(self) -> None:
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
                self._waiting = self._house.loop.call_later(_SHORTAGE_WAIT_S, self._begin)
                return
            guest = Handshake(taken, str(address[0]), self._tls, self._house)
            self._guests.add(guest)
            guest.task.add_done_callback(partial(self._forget, guest))
            self._house.crowd.enter(guest)

    def _forget(self, guest: Handshake, _: asyncio.Task[None]) -> None:
        self._guests.discard(guest)


class Handshake:
    """A connection whose handshake is under way; a `Guest`."""

    def __init__(self, taken: socket.socket, peer: str, tls: Contexts, house: House) -> None:
        self.peer = peer.removeprefix("::ffff:").lower()
        self.deadline_s = house.loop.time() + house.settings.head_deadline_s
        self.held_bytes = 0
        self._socket = taken
        self._house = house
        self.task = house.loop.create_task(self._run(tls))
        self.task.add_done_callback(self._end)

    def expire(self) -> None:
        """End what took too long."""
        rule = f"must end within {self._house.settings.head_deadline_s:g} s"
        self._house.crowd.note(f"TLS handshake: {rule}", self.peer)
        self.task.cancel()

    def evict(self) -> None:
        """Make room for another."""
        self.task.cancel()

    async def _run(self, tls: Contexts) -> None:
        settings = self._house.settings
        try:
            await self._house.loop.connect_accepted_socket(
                self._go_on,
                self._socket,
                ssl=tls.current,
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
        self._house.crowd.leave(self)
        if task.cancelled():  # perhaps before it began; a transport that has it lets go of it as well
            self._socket.close()
