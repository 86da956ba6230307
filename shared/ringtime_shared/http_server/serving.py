"""Serve an ASGI application until told to stop: the one place that knows uvicorn and signals."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import uvicorn

from ringtime_shared.certificates import Contexts, server_context
from ringtime_shared.errors import StartupError
from ringtime_shared.http_server.connection import App, Connection, House
from ringtime_shared.http_server.crowd import Crowd
from ringtime_shared.http_server.handshakes import Acceptor
from ringtime_shared.http_server.heads import Door, takes_no_forms
from ringtime_shared.process.descriptors import descriptor_limit, share_out
from ringtime_shared.settings import ServerSettings

_BACKLOG = 2_048
_SWEEP_S = 1.0


def listen(settings: ServerSettings, *, is_shared: bool = False) -> socket.socket:
    """Take the port. Raises StartupError that names it, or a certificate that cannot be used.

    Args:
        is_shared: with other processes. Each gets its part of the connections from when it calls `listen` on
            what is returned: those of one that is not ready would wait, or be lost with it.
    """
    tls_of(settings)
    listener = _bind(settings, is_shared=is_shared)
    if not is_shared:
        listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def hold_port(settings: ServerSettings) -> socket.socket:
    """Take the port for those who are to share it; what is returned keeps anybody else off, also while none
    of them listens. Raises StartupError that names it, or a certificate that cannot be used."""
    tls_of(settings)
    holder = _bind(settings, is_shared=False)  # shared from the start, it would not notice that it is taken
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # Needed to bind after a server that has just ended; but others, too, could bind where nobody listens.
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return holder


def tls_of(settings: ServerSettings) -> Contexts | None:
    """Return what connections are encrypted with; None: they are not. Raises StartupError."""
    if not settings.cert_file:
        return None
    files = settings.cert_file, settings.key_file, settings.client_ca_file
    return Contexts(files, lambda: server_context(*files))


def _bind(settings: ServerSettings, *, is_shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio switches Nagle's algorithm off only where the protocol is named.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if is_shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((settings.host, settings.port))
    except (OSError, UnicodeError) as error:  # a host name that cannot be asked for is the latter
        bound.close()
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise StartupError(f"cannot listen on {settings.host}:{settings.port}: {why}") from error
    return bound


@contextmanager
def stop_on_signals() -> Iterator[asyncio.Event]:
    """Yield an event that SIGINT and SIGTERM set; a second signal ends the process as if uncaught."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    watched = (signal.SIGINT, signal.SIGTERM)

    def on_signal() -> None:
        stop.set()
        for number in watched:
            loop.remove_signal_handler(number)

    for number in watched:
        loop.add_signal_handler(number, on_signal)
    try:
        yield stop
    finally:
        for number in watched:
            loop.remove_signal_handler(number)


async def serve_http(
    app: App,
    settings: ServerSettings,
    listener: socket.socket,
    stop: asyncio.Event,
    *,
    takes_forms: Callable[[str], bool] = takes_no_forms,
) -> None:
    """Serve until `stop` is set, then take no more connections and answer what is open, within `drain_s`.

    Args:
        takes_forms: as of `Door`.
    """
    crowd = Crowd(settings, share_out(descriptor_limit()).clients)
    server = _Server(app, settings, crowd, takes_forms)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http server")
    stopping = asyncio.create_task(stop.wait(), name="wait for a signal")
    sweeping = asyncio.create_task(_sweep_for_ever(crowd, settings), name="sweep of connections")
    try:
        await asyncio.wait([serving, stopping, sweeping], return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
    finally:
        stopping.cancel()
        sweeping.cancel()
        await asyncio.wait([stopping, sweeping])
        crowd.log_refused()
    if not sweeping.cancelled():
        sweeping.result()  # it never ends by itself: this raises what ended it


async def _sweep_for_ever(crowd: Crowd, settings: ServerSettings) -> None:
    deadlines_s = settings.head_deadline_s, settings.read_deadline_s, settings.idle_deadline_s
    wait_s = min(_SWEEP_S, *(deadline_s / 4 for deadline_s in deadlines_s))
    now_s = asyncio.get_running_loop().time
    while True:
        await asyncio.sleep(wait_s)
        crowd.sweep(now_s())


class _Server(uvicorn.Server):
    """uvicorn's life cycle around our own connections and signals.

    Its own handlers raise a signal again when it is done, which would end the draining.
    """

    def __init__(
        self, app: App, settings: ServerSettings, crowd: Crowd, takes_forms: Callable[[str], bool]
    ) -> None:
        super().__init__(
            uvicorn.Config(
                cast(Any, app),
                log_level="warning",
                access_log=False,
                lifespan="off",
                loop="none",
                http=cast(Any, self._connect),
                ws="none",
                server_header=False,
                backlog=_BACKLOG,
                timeout_graceful_shutdown=int(settings.drain_s),
            )
        )
        self._tls = tls_of(settings)
        self._house = House(
            app=app,
            settings=settings,
            door=Door(settings, takes_forms),
            crowd=crowd,
            loop=asyncio.get_running_loop(),
            state=self.server_state,
            scheme="http" if self._tls is None else "https",
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._tls is None:
            await super().startup(sockets)
            return
        await super().startup([])
        acceptors = [Acceptor(each, self._tls, self._house, _BACKLOG) for each in sockets or ()]
        self.servers += cast(Any, acceptors)

    def _connect(self, **_: object) -> Connection:
        return Connection(self._house)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
