"""Serve an ASGI application until told to stop: the one place that knows uvicorn and signals."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from ringtime_shared.errors import StartupError
from ringtime_shared.settings import ServerSettings

_BACKLOG = 2_048
_KEEP_ALIVE_S = 75


def listen(settings: ServerSettings) -> socket.socket:
    """Take the port. Raises StartupError that names it."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio switches Nagle's algorithm off only where the protocol is named.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except (OSError, UnicodeError) as error:  # a host name that cannot be asked for is the latter
        listener.close()
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise StartupError(f"cannot listen on {settings.host}:{settings.port}: {why}") from error
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


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
    app: Callable[..., Any], settings: ServerSettings, listener: socket.socket, stop: asyncio.Event
) -> None:
    """Serve until `stop` is set, then take no more connections and answer what is open, within `drain_s`."""
    server = _Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            loop="none",
            http="httptools",
            ws="none",
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(settings.drain_s),
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http server")
    stopping = asyncio.create_task(stop.wait(), name="wait for a signal")
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    server.should_exit = True
    await serving


class _Server(uvicorn.Server):
    """uvicorn's own handlers raise the signal again when it is done, which would end the draining."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
