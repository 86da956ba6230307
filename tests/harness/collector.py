"""A small HTTP server on loopback that keeps what it is sent: it collects spans, or receives callbacks."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Heard(NamedTuple):
    """One request."""

    headers: dict[str, str]  #: names in lower case
    body: bytes


class Spoken(NamedTuple):
    """A span as it was sent, with the service that sent it."""

    service: str
    span: Span

    @property
    def attributes(self) -> dict[str, str | int]:
        found = {}
        for each in self.span.attributes:
            found[each.key] = each.value.string_value or each.value.int_value
        return found


class Collector:
    """What was heard so far."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1/traces"
        self.heard: list[Heard] = []

    @property
    def spans(self) -> list[Spoken]:
        """All spans that came by OTLP."""
        found = []
        for heard in self.heard:
            for resource in ExportTraceServiceRequest.FromString(heard.body).resource_spans:
                named = {each.key: each.value.string_value for each in resource.resource.attributes}
                for scope in resource.scope_spans:
                    found += [Spoken(named["service.name"], span) for span in scope.spans]
        return found

    def wait(self, holds: Callable[[], bool], timeout_s: float = 60) -> None:
        """Return once it holds, which is asked for again and again."""
        until_s = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < until_s, f"it did not come about in time: {self.heard}"
            time.sleep(0.05)


class _Server(ThreadingHTTPServer):
    """Closes, when it ends, also the connections that clients keep open, and waits for their threads."""

    daemon_threads = False

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._open: set[socket.socket] = set()

    def get_request(self) -> tuple[socket.socket, Any]:
        request, address = super().get_request()
        self._open.add(request)
        return request, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        for each in list(self._open):
            with suppress(OSError):  # it ends by itself just now
                each.shutdown(socket.SHUT_RDWR)
        super().server_close()


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.heard.append(Heard({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_request(self, code: object = "-", size: object = "-") -> None:
            """Say nothing."""

    server = _Server(("127.0.0.1", 0), Handler)
    collector = Collector(server.server_port)
    thread = threading.Thread(target=server.serve_forever, name="collector")
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
