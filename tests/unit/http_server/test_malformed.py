"""No request that can be read in two ways gets to the application, and each refusal names what is wrong."""

from __future__ import annotations

import logging
from collections import Counter

import pytest
from tests.unit.http_server.malformed import CASES, HOST, told_wrong
from tests.unit.http_server.raw import serving


async def test_malformed_requests_are_refused_by_name() -> None:
    async with serving() as site:
        assert await told_wrong(site.port, CASES) == []
        assert site.seen == []


def test_each_case_is_named_once() -> None:
    assert [name for name, count in Counter(case.name for case in CASES).items() if count > 1] == []


async def test_refusals_are_logged_once_with_a_peer(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with serving() as site:
            for _ in range(20):
                await site.ask(b"nonsense\r\n\r\n")
    lines = [record.getMessage() for record in caplog.records]
    assert (
        1 <= len(lines) <= 2
    )  # the first at once, the others with the next line, a minute later or at the end
    assert sum(int(line.split()[1]) for line in lines) == 20
    assert all("last from 127.0.0.1: 400 request" in line for line in lines)


LENGTH = b"Content-Type: application/json\r\nContent-Length: 8\r\n"
JAVA = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"


@pytest.mark.parametrize("lines", [JAVA, b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"Upgrade: x\r\n"])
@pytest.mark.parametrize("is_split", [False, True])
async def test_an_upgrade_is_passed_over_and_the_body_arrives(lines: bytes, is_split: bool) -> None:
    """A body must not be lost, nor run as a request of its own."""
    head = b"POST /a HTTP/1.1\r\n" + HOST + LENGTH + lines + b"\r\n"
    async with serving() as site:
        client = await site.connect()
        await client.send(*((head, b"GET /b H") if is_split else (head + b"GET /b H",)))
        await client.send(b"POST /c HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        assert (await client.read_to_end()).statuses == [200, 200]
        assert [(each.path, each.body) for each in site.seen] == [("/a", b"GET /b H"), ("/c", b"")]


CHUNKED = (
    b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@pytest.mark.parametrize(
    "sent",
    [
        CHUNKED + b"3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
        CHUNKED + b"4;x=y\r\nabcd\r\n000;z\r\nTrailer: t\r\nOther: u\r\n\r\n",
        CHUNKED.replace(b"chunked", b"Chunked") + b"0004\r\nabcd\r\n0\r\n\r\n",
        b"\r\n\r\nPOST /a HTTP/1.1\r\n" + HOST + LENGTH.replace(b"8", b"04") + b"X-A:\t \xe9 \r\n\r\nabcd",
        b"POST /a HTTP/1.1\r\n"
        + HOST
        + b"CONTENT-TYPE: Application/JSON; charset=utf-8\r\ncontent-length:4\r\n\r\nabcd",
    ],
)
async def test_unusual_but_plain_requests_are_read_however_they_are_cut(sent: bytes) -> None:
    async with serving() as site:
        client = await site.connect()
        await client.send(sent, *(bytes([byte]) for byte in sent))
        assert (await client.read_answers(2)).statuses == [200, 200]
        assert {(each.path, each.body) for each in site.seen} == {("/a", b"abcd")}


async def test_continue_is_said_before_a_body_that_will_be_read() -> None:
    head = b"POST /a HTTP/1.1\r\n" + HOST + LENGTH + b"Expect: 100-continue\r\n\r\n"
    async with serving() as site:
        client = await site.connect()
        await client.send(head)
        assert await client.reader.readexactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"12345678")
        assert (await client.read_answers(1)).statuses == [200]
        await client.send(head.replace(b": 8", b": 999999"))
        assert (await client.read_to_end()).statuses == [200, 413]


@pytest.mark.parametrize(
    "last",
    [
        b"GET /b HTTP/1.0\r\n" + HOST + b"\r\n",
        b"GET /b HTTP/1.1\r\n" + HOST + b"Connection: x\r\nConnection: Close\r\n\r\n",
    ],
)
async def test_a_client_that_wants_it_gets_the_connection_closed(last: bytes) -> None:
    async with serving() as site:
        answers = await site.ask(b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n", last)
        assert answers.statuses == [200, 200]
        assert [headers.get("connection") for headers in answers.headers] == [None, "close"]


async def test_an_answer_reaches_a_client_that_has_ended_its_side() -> None:
    async with serving() as site:
        client = await site.connect()
        await client.send(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n")
        client.writer.write_eof()
        for _ in range(5):
            await client.send()
        site.release.set()
        assert (await client.read_to_end()).statuses == [200]


async def test_a_bug_cuts_its_own_connection_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as site:
        assert (await site.ask(b"GET /bug HTTP/1.1\r\n" + HOST + b"\r\n")).statuses == []
        assert (await site.ask(b"GET /a HTTP/1.0\r\n" + HOST + b"\r\n")).statuses == [200]
    assert [record.exc_info is not None for record in caplog.records] == [True]
