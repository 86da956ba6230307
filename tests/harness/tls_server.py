"""A server that speaks TLS as most do: it tells a client what was wrong with its certificate, which asyncio's
own servers do not."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from ringtime_local import TlsFiles

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
_PATIENCE_S = 60.0


@dataclass
class TlsServer:
    """Where it listens, and the heads of requests that came."""

    port: int
    requests: list[bytes] = field(default_factory=list)


@contextmanager
def tls_server(
    files: TlsFiles, *, wants_client: bool = False, host: str = "127.0.0.1"
) -> Iterator[TlsServer]:
    """Answer 200 to one request of each connection, in a thread.

    Args:
        wants_client: a certificate that the authority of `files` signed.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    if wants_client:
        context.load_verify_locations(files.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server((host, 0))
    server, is_over = TlsServer(listener.getsockname()[1]), threading.Event()

    def serve() -> None:
        while True:
            taken, _ = listener.accept()
            if is_over.is_set():
                taken.close()
                return
            taken.settimeout(_PATIENCE_S)
            with suppress(OSError), _begun(context, taken) as secure:
                _answer(secure, server)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        is_over.set()
        socket.create_connection((host, server.port), _PATIENCE_S).close()
        thread.join(_PATIENCE_S)
        listener.close()


def _begun(context: ssl.SSLContext, taken: socket.socket) -> ssl.SSLSocket:
    """Return the connection after its handshake. If that fails, wait until the client has read why."""
    secure = context.wrap_socket(taken, server_side=True, do_handshake_on_connect=False)
    try:
        secure.do_handshake()
    except OSError:
        with secure:
            while socket.socket.recv(secure, 65_536):
                pass
        raise
    return secure


def _answer(secure: ssl.SSLSocket, server: TlsServer) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        data = secure.recv(65_536)
        if not data:
            return
        head += data
    server.requests.append(head)
    secure.sendall(_ANSWER)
