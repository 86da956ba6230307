"""Nobody holds a connection by saying little, by saying it slowly, or by not listening."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.unit.http_server.malformed import HOST
from tests.unit.http_server.raw import RawClient, error_of, serving

GET = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
PADDED = HOST + b"X: " + b"y" * 1_000 + b"\r\n\r\n"


async def drip(client: RawClient, data: bytes) -> None:
    """Send byte after byte for as long as the connection takes them."""
    for byte in data * 1_000:
        if client.writer.transport.is_closing() or client.reader.at_eof():
            return
        await client.send(bytes([byte]))
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("before", [b"", GET])
async def test_an_idle_connection_is_closed_without_a_word(before: bytes) -> None:
    async with serving(idle_deadline_s=0.1) as site:
        client = await site.connect()
        await client.send(before)
        assert (await client.read_to_end()).statuses == [200] * bool(before)


@pytest.mark.parametrize(
    ("sent", "dripped", "field"),
    [
        (b"GET /a HTT", b"", "header"),
        (b"GET /a HTTP/1.1\r\n" + HOST, b"X: y\r\n", "header"),
        (POST + b"Content-Length: 60000\r\n\r\n{", b"", "body"),
        (POST + b"Content-Length: 60000\r\n\r\n", b"x", "body"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", "body"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n", "body"),
    ],
)
async def test_a_request_that_does_not_come_to_its_end_is_cut_off(
    sent: bytes, dripped: bytes, field: str
) -> None:
    """The second of a connection no less than its first; what drips in afterwards does not keep it open."""
    async with serving(head_deadline_s=0.1, read_deadline_s=0.1) as site:
        client = await site.connect()
        await client.send(GET, sent)
        dripping = asyncio.create_task(drip(client, dripped))
        begun_s = time.monotonic()
        answers = await client.read_to_end()
        assert answers.statuses == [200, 408]
        assert error_of(answers.bodies[1])["field"] == field
        await dripping
        assert time.monotonic() - begun_s < 30
        assert len(site.seen) == 1


async def test_a_sender_that_was_refused_is_not_listened_to_for_ever() -> None:
    async with serving() as site:
        client = await site.connect()
        await client.send(POST + b"Content-Length: 99999999\r\n\r\n")
        assert (await client.read_answers(1)).statuses == [413]
        with pytest.raises(ConnectionError):
            await client.send_until_cut(b"x" * 65_536)


async def test_a_client_that_does_not_read_is_cut_off_and_asks_no_more() -> None:
    async with serving(write_deadline_s=0.2, idle_deadline_s=0.2) as site:
        client = await site.connect()
        client.transport.pause_reading()
        client.writer.write(b"GET /large HTTP/1.1\r\n" + HOST + b"\r\n" + GET * 20_000)
        with pytest.raises(ConnectionError):
            await client.send_until_cut(GET)
        assert [each.path for each in site.seen] == ["/large"]


async def test_a_slow_reader_gets_its_answer_and_the_next() -> None:
    async with serving() as site:
        client = await site.connect()
        client.transport.pause_reading()
        await client.send(b"GET /large HTTP/1.1\r\n" + HOST + b"\r\n" + GET)
        await site.asked(1)
        for _ in range(100):
            await asyncio.sleep(0)
        client.transport.resume_reading()
        answers = await client.read_answers(2)
        assert [len(body) for body in answers.bodies] == [4_000_000, 4]


@pytest.mark.slow
async def test_requests_sent_ahead_wait_in_the_socket_and_are_answered_in_turn() -> None:
    async with serving() as site:
        client = await site.connect()
        ahead = b"".join(b"GET /%d HTTP/1.1\r\n" % number + PADDED for number in range(8_000))
        client.writer.write(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n" + ahead)
        await site.asked(1)
        for _ in range(100):
            await asyncio.sleep(0)
        assert client.writer.transport.get_write_buffer_size() > 0  # nobody takes it
        assert len(site.seen) == 1
        site.release.set()
        assert (await client.read_answers(8_001)).statuses == [200] * 8_001
        assert [each.path for each in site.seen[1:]] == [f"/{number}" for number in range(8_000)]


async def test_stopping_answers_what_is_whole_and_closes_the_rest() -> None:
    async with serving() as site:
        waiting, idle = await site.connect(), await site.connect()
        await waiting.send(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n")
        await idle.send(GET)
        await idle.read_answers(1)
        await site.asked(2)
        site.stop.set()
        assert (await idle.read_to_end()).statuses == [200]
        site.release.set()
        assert (await waiting.read_to_end()).statuses == [200]
        assert waiting.answers.headers[0]["connection"] == "close"
