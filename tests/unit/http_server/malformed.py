"""Requests that two readers could read in two ways, and others that nobody should send: each by its bytes.

The table is run on a server in the test's own process and on `ringtime serve`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from tests.unit.http_server.raw import ask, error_of

PATH = b"/goscheduler/apps"
HOST = b"Host: localhost\r\n"


class Bad(NamedTuple):
    name: str
    sent: bytes
    status: int
    field: str


def _with(name: str, lines: bytes, field: str, body: bytes = b"", status: int = 400) -> Bad:
    """A POST with these header lines."""
    head = b"POST " + PATH + b" HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n" + lines
    return Bad(name, head + b"\r\n" + body, status, field)


def _target(name: str, target: bytes, field: str = "path") -> Bad:
    return Bad(name, b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n", 400, field)


def _hosts(name: str, lines: bytes, status: int = 400) -> Bad:
    return Bad(name, b"GET " + PATH + b" HTTP/1.1\r\n" + lines + b"\r\n", status, "Host")


def _line(name: str, line: bytes, status: int = 400) -> Bad:
    return Bad(name, line + b"\r\n" + HOST + b"\r\n", status, "request")


_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_HIDDEN = b"GET /goscheduler/apps/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
_MANY = b"".join(b"x%d: y\r\n" % n for n in range(99))

CASES = [
    # where the body ends
    _with("CL and TE", b"Content-Length: 4\r\n" + _CHUNKED, "Transfer-Encoding", b"0\r\n\r\n" + _HIDDEN),
    _with("TE and CL", _CHUNKED + b"Content-Length: 4\r\n", "Transfer-Encoding", b"0\r\n\r\n" + _HIDDEN),
    _with("two CL", b"Content-Length: 2\r\nContent-Length: 0\r\n", "Content-Length", b"{}"),
    _with("the same CL twice", b"Content-Length: 2\r\nContent-Length: 2\r\n", "Content-Length", b"{}"),
    _with("CL list", b"Content-Length: 2, 2\r\n", "Content-Length", b"{}"),
    _with("CL plus", b"Content-Length: +2\r\n", "Content-Length", b"{}"),
    _with("CL minus", b"Content-Length: -2\r\n", "Content-Length", b"{}"),
    _with("CL hex", b"Content-Length: 0x2\r\n", "Content-Length", b"{}"),
    _with("CL space", b"Content-Length: 2 2\r\n", "Content-Length", b"{}"),
    _with("CL underscore", b"Content-Length: 1_0\r\n", "Content-Length", b"{}"),
    _with("CL other digits", "Content-Length: ²\r\n".encode(), "Content-Length", b"{}"),
    _with("CL empty", b"Content-Length:\r\n", "Content-Length"),
    _with("CL of 5,000 digits", b"Content-Length: " + b"9" * 5_000 + b"\r\n", "Content-Length"),
    _with("CL of 10 GB", b"Content-Length: 10000000000\r\n", "body", status=413),
    _with("CL too large", b"Content-Length: 262145\r\n", "body", b"{" * 262_145, 413),
    _with("two TE", _CHUNKED + _CHUNKED, "Transfer-Encoding", b"0\r\n\r\n"),
    _with("TE list", b"Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding", b"0\r\n\r\n"),
    _with("TE identity", b"Transfer-Encoding: identity\r\n", "Transfer-Encoding"),
    _with("TE xchunked", b"Transfer-Encoding: xchunked\r\n", "Transfer-Encoding"),
    _with("TE with a control", b"Transfer-Encoding: \x0bchunked\r\n", "header"),
    _with("TE after a space", b"Transfer-Encoding : chunked\r\n", "header"),
    _with("TE folded", b"Transfer-Encoding:\r\n chunked\r\n", "header"),
    _with("TE behind a bare LF", b"X: y\nTransfer-Encoding: chunked\r\n", "header"),
    Bad(
        "TE in HTTP/1.0",
        b"POST " + PATH + b" HTTP/1.0\r\n" + HOST + _CHUNKED + b"\r\n0\r\n\r\n",
        400,
        "Transfer-Encoding",
    ),
    # chunks
    _with("chunk without size", _CHUNKED, "body", b"\r\n\r\n"),
    _with("chunk of 0x1", _CHUNKED, "body", b"0x1\r\n{\r\n0\r\n\r\n"),
    _with("chunk of -1", _CHUNKED, "body", b"-1\r\n{\r\n0\r\n\r\n"),
    _with("chunk of 1 and a space", _CHUNKED, "body", b"1 \r\n{\r\n0\r\n\r\n"),
    _with("chunk longer than said", _CHUNKED, "body", b"1\r\n{}\r\n0\r\n\r\n"),
    _with("chunk that ends in LF", _CHUNKED, "body", b"1\r\n{\n0\r\n\r\n"),
    _with("chunk size that ends in LF", _CHUNKED, "body", b"1\n{\r\n0\r\n\r\n"),
    _with("chunk of 2^64", _CHUNKED, "body", b"10000000000000001\r\n{\r\n0\r\n\r\n"),
    _with("chunks too large", _CHUNKED, "body", b"20000\r\n" + b" " * 131_072 + b"\r\n20001\r\n", 413),
    _with("chunk too large", _CHUNKED, "body", b"FFFFFFFF\r\n", 413),
    _with("extension without end", _CHUNKED, "body", b"1;" + b"e" * 5_000),
    _with("extensions without end", _CHUNKED, "body", (b"1;" + b"e" * 900 + b"\r\n{\r\n") * 20, 431),
    _with("trailer without end", _CHUNKED, "body", b"0\r\nX: " + b"y" * 5_000),
    _with("trailers without end", _CHUNKED, "body", b"0\r\n" + b"X: y\r\n" * 5_000, 431),
    _with("chunks of one byte", _CHUNKED, "body", b"1\r\n{\r\n" * 6_000),
    # lines
    _with("folded", b"X-A: a\r\n b\r\n", "header"),
    _with("folded with a tab", b"X-A: a\r\n\tb\r\n", "header"),
    _with("space before the colon", b"X-A : a\r\n", "header"),
    _with("no colon", b"X-A\r\n", "header"),
    _with("no name", b": a\r\n", "header"),
    _with("name with a bracket", b"X(A): a\r\n", "header"),
    _with("name with a high byte", b"X\xe9: a\r\n", "header"),
    _with("NUL in a value", b"X-A: a\x00b\r\n", "header"),
    _with("CR in a value", b"X-A: a\rContent-Length: 5\r\n", "header"),
    _with("DEL in a value", b"X-A: a\x7f\r\n", "header"),
    _with("101 headers", _MANY, "header", status=431),
    _with("one long header", b"X-A: " + b"a" * 32_768 + b"\r\n", "header", status=431),
    _with("long headers", (b"X-A: " + b"a" * 1_000 + b"\r\n") * 40, "header", status=431),
    _with("two content types", b"Content-Type: text/plain\r\n", "Content-Type"),
    _with("expects something", b"Expect: the unexpected\r\n", "Expect", status=417),
    # the first line
    _line("LF alone", b"GET " + PATH + b" HTTP/1.1\nHost: localhost\n\n"),
    _line("two spaces", b"GET  " + PATH + b" HTTP/1.1"),
    _line("a tab", b"GET\t" + PATH + b" HTTP/1.1"),
    _line("a space at the end", b"GET " + PATH + b" HTTP/1.1 "),
    _line("a space in the path", b"GET /goscheduler/ apps HTTP/1.1"),
    _line("lower case", b"get " + PATH + b" HTTP/1.1"),
    _line("no version", b"GET " + PATH),
    _line("version 2", b"GET " + PATH + b" HTTP/2.0", 505),
    _line("version 1.2", b"GET " + PATH + b" HTTP/1.2", 505),
    _line("a version of its own", b"GET " + PATH + b" HTTP/1.10"),
    _line("another protocol", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    _line("no request", b" GET " + PATH + b" HTTP/1.1"),
    _line("a method without end", b"G" * 40_000 + b" / HTTP/1.1")._replace(status=431, field="header"),
    _line("a high byte", b"GET /goscheduler/\xe9 HTTP/1.1"),
    _line("HTTP/2 prior knowledge", b"PRI * HTTP/2.0", 505),
    # targets
    _target("encoded slash", b"/goscheduler%2fapps%2ftest%2fsigning-secrets"),
    _target("encoded letter", b"/goscheduler/%61pps"),
    _target("encoded dots", b"/goscheduler/%2e%2e/health/live"),
    _target("encoded backslash", b"/goscheduler%5capps"),
    _target("encoded NUL", b"/goscheduler/apps%00"),
    _target("half an escape", b"/goscheduler/apps%2"),
    _target("backslash", b"/goscheduler\\apps"),
    _target("dots", b"/health/../goscheduler/apps"),
    _target("dots at the end", b"/goscheduler/apps/.."),
    _target("one dot", b"/./goscheduler/apps"),
    _target("double slash", b"//goscheduler/apps"),
    _target("double slash inside", b"/goscheduler//apps"),
    _target("double slash at the end", b"/goscheduler/apps//"),
    _target("matrix parameter", b"/goscheduler;x=1/apps"),
    _target("fragment", b"/goscheduler/apps?x=1#y"),
    _target("absolute", b"http://localhost/goscheduler/apps"),
    _target("absolute, elsewhere", b"http://example.com/goscheduler/apps"),
    _target("authority", b"localhost:80"),
    _target("asterisk", b"*"),
    _target("no slash", b"goscheduler/apps"),
    Bad("CONNECT", b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "path"),
    # hosts
    _hosts("no Host", b"X: y\r\n"),
    Bad("no Host in HTTP/1.0", b"GET " + PATH + b" HTTP/1.0\r\n\r\n", 400, "Host"),
    _hosts("empty Host", b"Host:\r\n"),
    _hosts("two Hosts", b"Host: localhost\r\nHost: example.com\r\n"),
    _hosts("the same Host twice", b"Host: localhost\r\nhost: localhost\r\n"),
    _hosts("Host with a path", b"Host: localhost/x\r\n"),
    _hosts("Host with a user", b"Host: localhost@example.com\r\n"),
    _hosts("Host list", b"Host: localhost, example.com\r\n"),
    _hosts("Host with a port of letters", b"Host: localhost:http\r\n"),
    _hosts("unknown Host", b"Host: rebound.example.com\r\n", 421),
    _hosts("a name that begins as ours", b"Host: localhost.example.com\r\n", 421),
    _hosts("a name that ends as ours", b"Host: notlocalhost\r\n", 421),
    _hosts("an address that is not ours", b"Host: 192.0.2.1\r\n", 421),
    # web pages
    Bad(
        "a page's simple POST",
        b"POST " + PATH + b" HTTP/1.1\r\n" + HOST + b"Origin: http://example.com\r\n"
        b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
        403,
        "Origin",
    ),
    Bad(
        "text from no page",
        b"POST "
        + PATH
        + b" HTTP/1.1\r\n"
        + HOST
        + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
        415,
        "Content-Type",
    ),
    Bad(
        "a body without a type",
        b"POST " + PATH + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\n{}",
        415,
        "Content-Type",
    ),
]


async def told_wrong(port: int, cases: Sequence[Bad]) -> list[str]:
    """Send each in one piece and in two; return those that are not refused as the table says."""
    found = await asyncio.gather(
        *(_told(port, case, cut) for case in cases for cut in (0, len(case.sent) // 2))
    )
    return [each for each in found if each]


async def _told(port: int, case: Bad, cut: int) -> str:
    answers = await ask(port, *(piece for piece in (case.sent[:cut], case.sent[cut:]) if piece))
    if answers.statuses != [case.status]:
        return f"{case.name}: {answers.statuses}, not {case.status}"
    field, kind = error_of(answers.bodies[0])["field"], answers.headers[0]["content-type"]
    if (field, kind, answers.headers[0]["connection"]) != (case.field, "application/json", "close"):
        return f"{case.name}: {field}, {answers.headers[0]}"
    return ""
