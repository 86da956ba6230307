"""The small server that tests send spans and callbacks to ends with all that it began."""

from __future__ import annotations

import http.client
import threading

from tests.harness.collector import collecting


def test_it_closes_what_is_kept_open_and_ends_its_threads() -> None:
    before = set(threading.enumerate())
    with collecting() as collector:
        port = int(collector.url.split(":")[2].split("/")[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("POST", "/v1/traces", b"x")
        assert connection.getresponse().read() == b""
    assert connection.sock is not None
    assert connection.sock.recv(1) == b"", "it is closed from there"
    connection.close()
    assert set(threading.enumerate()) == before
