"""One HTTP attempt: what is sent, what an answer means, and how little a bad server can do."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
from functools import cache
from pathlib import Path

import pytest
from tests.unit.dispatcher.http_rig import (
    BOTH,
    Act,
    Site,
    answering,
    call,
    calling,
    delivery,
    sending,
    serving,
)

from ringtime_dispatcher.delivery.attempt import make_attempt
from ringtime_shared.callbacks.deadlines import Deadlines
from ringtime_shared.callbacks.protocol import Reply

HOST = "callback.test"  #: exists in no name server
NAMES = {HOST: ["127.0.0.2"]}
MIB = 1 << 20
OK = Reply(ok=True, code=200)
SILENCE = Reply(ok=False, error="no answer within 300 ms")
TOO_LONG = "the request failed: no final answer within 64 KiB and 1,000 lines"


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4_096


async def test_what_is_sent() -> None:
    async with serving() as site, calling(NAMES) as http:
        headers = {"X-Own": "1", "Content-Type": "text/plain"}
        reply = await call(http, site.url(HOST.upper(), "/a%20b?c=d"), method="PUT", headers=headers)
    assert reply == Reply(ok=True, code=200)
    [request] = site.requests
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    sent = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    assert lines[0] == "PUT /a%20b?c=d HTTP/1.1"
    assert body.decode() == delivery("http://a").schedule.payload
    assert sent["host"] == f"{HOST}:{site.port}"
    assert (sent["x-own"], sent["content-type"]) == ("1", "text/plain")
    assert (sent["ringtime-attempt"], sent["ringtime-term"]) == ("1", "7")
    assert not {"accept-encoding", "referer", "cookie"} & set(sent)


@pytest.mark.parametrize(
    ("status", "header", "reply"),
    [
        ("204 No Content", "x: y", Reply(ok=True, code=204)),
        ("304 Not Modified", "x: y", Reply(ok=False, code=304, error="answered 304")),
        ("404 Not Found", "x: y", Reply(ok=False, code=404, error="answered 404")),
        ("410 Gone", "x: y", Reply(ok=False, code=410, error="answered 410", is_final=True)),
        (
            "429 Too Many",
            "Retry-After: 7",
            Reply(ok=False, code=429, error="answered 429", retry_after_ms=7_000),
        ),
        ("503 Busy", "retry-after: soon", Reply(ok=False, code=503, error="answered 503")),
    ],
)
async def test_what_an_answer_means(status: str, header: str, reply: Reply) -> None:
    async with serving(answering(status, header, body="")) as site, calling(NAMES) as http:
        assert await call(http, site.url(HOST)) == reply


async def test_connections_are_used_again() -> None:
    async with serving() as site, calling(NAMES) as http:
        for path in ("/a", "/b", "/c"):
            assert (await call(http, site.url(HOST, path))).ok
        assert (len(site.requests), site.connections) == (3, 1)


async def test_the_system_is_not_asked_for_a_pinned_name() -> None:
    """It would say 127.0.0.1 for localhost, and does not know the other name."""
    names = {"localhost": ["127.0.0.2"], HOST: ["127.0.0.2"]}
    async with serving() as site, serving(host="127.0.0.1", port=site.port) as canary, calling(names) as http:
        for host in names:
            assert (await call(http, site.url(host))).ok
        assert [len(site.requests), canary.connections] == [2, 0]


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as site, serving(host="127.0.0.1") as canary:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, canary.url("127.0.0.1", ""))
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        async with calling(NAMES) as http:
            assert (await call(http, site.url(HOST))).ok
        assert canary.connections == 0


@pytest.mark.parametrize(
    ("act", "reply"),
    [
        (sending(b""), SILENCE),
        (sending(b"HTTP/1.1 ", b" ", pause_s=0.05), SILENCE),
        (sending(b"", b"HTTP/1.1 100 Continue\r\n\r\n", pause_s=0.05), SILENCE),
        (sending(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n", pause_s=0.05), OK),
        (sending(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", b"a", pause_s=0.05), OK),
        (sending(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\na\r\n", pause_s=0.05), OK),
    ],
    ids=["silence", "status drips", "interim answers drip", "headers drip", "body drips", "chunks drip"],
)
async def test_the_deadline_is_a_total(act: Act, reply: Reply) -> None:
    """At the deadline the status counts, if it has come."""
    async with serving(act) as site, calling(NAMES) as http:
        assert await call(http, site.url(HOST), timeout_ms=300) == reply
        await site.until_live(0)


async def test_what_is_known_at_the_deadline_is_not_lost() -> None:
    """Whoever makes the attempt has a deadline too, for types that do not keep to theirs."""
    drip = sending(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", b"a", pause_s=0.05)
    async with serving(drip) as site, calling(NAMES) as http:
        given, guards = delivery(site.url(HOST), timeout_ms=300), Deadlines(waits_a_turn=True)
        assert await make_attempt({http.name: http}, given, lambda: False, guards) == OK
        asyncio.get_running_loop().call_later(0.25, time.sleep, 0.2)  # the loop is late for both
        assert await make_attempt({http.name: http}, given, lambda: False, guards) == OK


FOLDED = b"HTTP/1.1 200 OK\r\nx: y\r\n  and more\r\ncontent-length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("answer", "piece"),
    [
        (FOLDED, b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nok", b""),
        (b"HTTP/1.1 200 OK\r\n: no name\r\nno colon\r\nx\x00\xff: \x01\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 900 + b"\r\n", b""),
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\n", b"x: " + b"y" * 8_000 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nx: ", b"y" * 65_536),
        (b"HTTP/1.1 200 OK\n\n", b""),
        (b"HTTP/1.1 200\r\n\r\n", b""),
        (b"HTTP/1.0 200 OK\r\n\r\nok", b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok", b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nok", b""),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnothing of the kind\r\n", b""),
        (b"HTTP/1.1 200 OK\r\n\r\n" + FOLDED, b""),
        (b"\r\n" + FOLDED, b""),
    ],
    ids=[
        *("folded", "space before the colon", "no headers at all", "900 headers", "endless headers"),
        *("endless long headers", "endless header", "bare line feeds", "no reason", "old and without length"),
        *("two lengths", "negative length", "no chunks", "two answers", "a blank line before"),
    ],
)
async def test_the_status_decides_whatever_follows_it(answer: bytes, piece: bytes) -> None:
    before = resident_bytes()
    async with serving(sending(answer, piece)) as site, calling(NAMES) as http:
        assert await call(http, site.url(HOST)) == OK
        await site.until_live(0)  # and the connection is not used for another request
        assert site.sent_bytes < 16 * MIB, "what the kernel buffers"
    assert resident_bytes() - before < 32 * MIB


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 O",
        b"HTTP/1.1 200 OK\r\nx: y\r\nx",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbut no more than this",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nbut no more than this",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
    ],
    ids=[
        "in the status line",
        "in the reason",
        "in the head",
        "in the body",
        "in a chunk",
        "after an interim one",
    ],
)
async def test_an_answer_that_is_cut_off_after_its_status(answer: bytes) -> None:
    async def cut(site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await site.read_request(reader)
        writer.write(answer)

    async with serving(cut) as site, calling(NAMES) as http:
        assert await call(http, site.url(HOST)) == OK


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (
            sending(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10),
            "the request failed: more than 32 interim answers",
        ),
        (sending(b"HTTP/1.1 100 Continue\r\n", b"x: y\r\n" * 100), TOO_LONG),
        (sending(b"HTTP/1.1 100 Continue\r\nx: ", b"y" * 65_536), TOO_LONG),
        (sending(b"", b"\r\n"), TOO_LONG),
        (sending(b"", b"y" * 65_536), TOO_LONG),
        (sending(b"SSH-2.0-OpenSSH_9.6\r\n"), "the request failed: the answer is not HTTP/1.1"),
        (sending(b"\x00\x00\x06\x04\x00\x00\x00\n"), "the request failed: the answer is not HTTP/1.1"),
    ],
    ids=[
        *("interim answers", "endless headers of one", "endless header of one", "blank lines", "no line"),
        *("another protocol", "HTTP/2"),
    ],
)
async def test_an_answer_that_is_none(act: Act, error: str) -> None:
    before = resident_bytes()
    async with serving(act) as site, calling(NAMES) as http:
        reply = await call(http, site.url(HOST))
        await site.until_live(0)
        assert site.sent_bytes < 16 * MIB, "what the kernel buffers"
    assert reply == Reply(ok=False, error=error)
    assert reply.blames_destination
    assert resident_bytes() - before < 32 * MIB


async def test_floods_of_interim_answers_keep_nobody_waiting() -> None:
    """A hundred receivers that never come to the point, beside one that does."""
    flood = sending(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000)
    async with serving(flood) as floods, serving() as site, calling(NAMES) as http:
        flooded = [asyncio.create_task(call(http, floods.url(HOST))) for _ in range(100)]
        while not all(each.done() for each in flooded):
            assert await call(http, site.url(HOST)) == OK
        assert {(await each).error for each in flooded} == {
            "the request failed: more than 32 interim answers"
        }


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n", b"a" * 65_536),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"10000\r\n" + b"a" * 65_536 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 65_536),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n", gzip.compress(b"a" * MIB) * 64),
    ],
    ids=["length", "chunked", "until close", "bomb"],
)
async def test_a_huge_body_is_dropped(head: bytes, piece: bytes) -> None:
    """The head has said what the outcome is."""
    async with serving(sending(head, piece)) as site, calling(NAMES) as http:
        before = resident_bytes()
        replies = await asyncio.gather(*(call(http, site.url(HOST)) for _ in range(20)))
        assert set(replies) == {Reply(ok=True, code=200)}
        await site.until_live(0)
        assert resident_bytes() - before < 48 * MIB


@cache
def zeros_packed_twice() -> bytes:
    return gzip.compress(gzip.compress(b"\0" * MIB) * 128)


async def test_a_compressed_answer_is_not_unpacked() -> None:
    """128 MiB of zeros in less than is read."""
    bomb = zeros_packed_twice()
    assert len(bomb) < 16_384
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip, gzip\r\ncontent-length: %d\r\n\r\n" % len(bomb)
    async with serving(sending(head + bomb)) as site, calling(NAMES) as http:
        before = resident_bytes()
        assert (await call(http, site.url(HOST))).ok
        assert resident_bytes() - before < 16 * MIB


async def test_an_attempt_that_broke_is_not_repeated_at_another_address() -> None:
    async def reset(site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await site.read_request(reader)
        linger = b"\1\0\0\0\0\0\0\0"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with (
        serving(reset) as site,
        serving(host="127.0.0.3", port=site.port) as other,
        calling({HOST: ["127.0.0.2", "127.0.0.3"]}, settings=BOTH) as http,
    ):
        reply = await call(http, site.url(HOST))
        assert reply == Reply(ok=False, error="the connection broke")
        assert [len(site.requests), len(other.requests)] == [1, 0]
        assert (await call(http, site.url(HOST))).ok, "the next attempt starts with the other address"
        assert [len(site.requests), len(other.requests)] == [1, 1]


async def test_the_next_address_is_tried_when_one_cannot_be_reached() -> None:
    async with serving() as site, calling({HOST: ["127.0.0.3", "127.0.0.2"]}, settings=BOTH) as http:
        assert (await call(http, site.url(HOST))).ok
        assert len(site.requests) == 1


async def test_nobody_listens() -> None:
    async with serving() as site:
        url = site.url(HOST)
    async with calling(NAMES) as http:
        assert await call(http, url) == Reply(ok=False, error="could not connect")


async def test_a_lookup_counts_against_the_deadline() -> None:
    def look_up(host: str) -> list[str]:
        time.sleep(0.4)
        return ["127.0.0.2"]

    async with serving() as site, calling(look_up) as http:
        reply = await call(http, site.url(HOST), timeout_ms=100)
        assert reply == Reply(ok=False, error="could not resolve the host")
        assert site.connections == 0


@pytest.mark.parametrize(
    "url", ["", "ftp://a.example/", "http://a@b.example/", "http://xn--a.b/", "http://127.1/"]
)
async def test_a_url_that_no_create_would_pass_is_not_sent(url: str) -> None:
    async with calling(NAMES) as http:
        reply = await call(http, url)
        assert (reply.ok, reply.is_final) == (False, True)


async def test_a_destination_is_scheme_host_and_port() -> None:
    async with calling() as http:
        assert http.destination({"url": "http://A.example/x?y"}) == "http://a.example:80"
        assert http.destination({"url": "https://a.example/x?y"}) == "https://a.example:443"
        assert http.destination({"url": 7}) == "http"
