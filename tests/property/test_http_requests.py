"""Our reader of requests against two others: what it takes they read alike, however it is cut.

Strictness is the point, so nothing is said here of what it refuses: `tests/unit/http_server` does.
"""

from __future__ import annotations

from typing import NamedTuple

import h11
import httptools
from hypothesis import given
from hypothesis import strategies as st

from ringtime_shared.http_server.chunks import Chunks
from ringtime_shared.http_server.heads import Head, parse_head

_LINES = (
    b"Host: localhost", b"host:localhost:8080", b"Host: a, b", b"Content-Length: 4", b"Content-Length: 0",
    b"content-length:\t4 ", b"Content-Length: +4", b"Content-Length: 4, 4", b"Content-Length : 4",
    b"Transfer-Encoding: chunked", b"transfer-encoding: Chunked", b"Transfer-Encoding: gzip", b" chunked",
    b"Transfer-Encoding: chunked, chunked", b"Connection: close", b"Connection: keep-alive, X",
    b"Connection: Upgrade", b"Upgrade: h2c", b"Expect: 100-continue", b"X-A: \xe9", b"X-A: a\x00", b"X-A:",
    b"X(A): b", b"X-A: b\rContent-Length: 9", b"X-A: b\nContent-Length: 9", b"",
)  # fmt: skip
_FIRST = (
    b"GET /a HTTP/1.1", b"POST /a/b-c_d.e~f?x=%2f HTTP/1.1", b"POST / HTTP/1.0", b"DELETE /a/ HTTP/1.1",
    b"GET /a%2fb HTTP/1.1", b"GET  /a HTTP/1.1", b"GET /a HTTP/1.2", b"GET http://x/a HTTP/1.1",
    b"get /a HTTP/1.1",
)  # fmt: skip
_BODIES = (
    b"",
    b"abcd",
    b"4\r\nabcd\r\n0\r\n\r\n",
    b"2;x=y\r\nab\r\n02\r\ncd\r\n0\r\nT: u\r\n\r\n",
    b"4\r\nabcde\r\n0\r\n\r\n",
)


class Read(NamedTuple):
    """What a reader made of a request; names in lower case."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes


def read_by_us(head: bytes, body: bytes, cuts: list[int]) -> Read | None:
    found = parse_head(head)
    if not isinstance(found, Head):
        return None
    target = found.path.encode() + (b"?" + found.query if found.query else b"")
    if found.length is not None:
        whole = body[: found.length] if len(body) >= found.length else None
    else:
        whole = _read_chunks(body, cuts)
    return None if whole is None else Read(found.method.encode(), target, found.headers, whole)


def _read_chunks(body: bytes, cuts: list[int]) -> bytes | None:
    chunks, arrived = Chunks(1_000), bytearray()
    ends = sorted({*(cut for cut in cuts if cut < len(body)), len(body)})
    for start, end in zip([0, *ends], ends, strict=False):
        arrived += body[start:end]
        is_whole = chunks.take(arrived)
        if is_whole is not False:
            return bytes(chunks.body) if is_whole is True else None
    return None


def read_by_h11(sent: bytes) -> Read:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(sent)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    return Read(request.method, request.target, [(bytes(a), bytes(b)) for a, b in request.headers], body)


class _Httptools:
    def __init__(self) -> None:
        self.target, self.body, self.headers, self.is_whole = b"", b"", list[tuple[bytes, bytes]](), False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.rstrip()))  # it leaves the space behind a value

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.is_whole = True


def read_by_httptools(sent: bytes) -> Read:
    found = _Httptools()
    parser = httptools.HttpRequestParser(found)
    parser.feed_data(sent)
    assert found.is_whole
    return Read(parser.get_method(), found.target, found.headers, found.body)


@given(
    first=st.sampled_from(_FIRST),
    lines=st.lists(st.sampled_from(_LINES), max_size=6, unique=True),
    body=st.sampled_from(_BODIES),
    cuts=st.lists(st.integers(1, 40), max_size=5),
)
def test_what_we_take_others_read_alike(
    first: bytes, lines: list[bytes], body: bytes, cuts: list[int]
) -> None:
    head = b"\r\n".join([first, b"Host: localhost", *lines])
    read = read_by_us(head, body, cuts)
    if read is None:
        return
    sent = head + b"\r\n\r\n" + (body if b"chunked" in head.lower() else read.body)
    by_h11 = read_by_h11(sent)
    assert (by_h11.method, by_h11.target, by_h11.body) == (read.method, read.target, read.body)
    lower = {b"chunked"}  # h11 lowers this value
    ours = [(name, value.lower() if value.lower() in lower else value) for name, value in read.headers]
    assert by_h11.headers == ours
    if b"upgrade" in dict(read.headers):
        return  # httptools gives up the body: why we do not use it
    by_httptools = read_by_httptools(sent)
    assert (by_httptools.method, by_httptools.target) == (read.method, read.target)
    assert by_httptools.body == read.body
    assert by_httptools.headers[: len(read.headers)] == read.headers  # trailers follow


@given(
    body=st.binary(max_size=60),
    sizes=st.lists(st.integers(1, 9), max_size=30),
    cuts=st.lists(st.integers(1, 200)),
)
def test_chunks_are_put_together_however_they_are_cut(body: bytes, sizes: list[int], cuts: list[int]) -> None:
    sent, left = b"", body
    for size in sizes:
        piece, left = left[:size], left[size:]
        sent += b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
    sent += (b"%X;e\r\n%b\r\n" % (len(left), left) if left else b"") + b"0\r\n\r\n"
    assert _read_chunks(sent, cuts) == body
    assert _read_chunks(sent[:-1], cuts) is None
