"""The fault proxy, on an echo server; and its cutting of CQL, on streams put together here."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from cassandra.segment import SegmentCodec
from tests.harness.fault_proxy import BLACK_HOLE, STALL, CqlReplies, Fault, FaultProxy, Way

pytestmark = pytest.mark.alone

RESULT, READY, SUPPORTED, EVENT = 0x08, 0x02, 0x06, 0x0C


@dataclass
class Echo:
    """A server that says what it hears, and notes it."""

    port: int = 0
    heard: bytes = b""
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while data := await reader.read(65_536):
                self.heard += data
                writer.write(data)
        except OSError:
            pass
        writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    running = Echo()
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    yield running
    server.close()
    for writer in running.writers:
        writer.close()
    await asyncio.sleep(0.05)  # the ends of the connections are seen


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[FaultProxy]:
    with FaultProxy("echo", echo.port) as running:
        yield running


class Client:
    """A connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def hear(self, seconds: float = 30.0) -> bytes | None:
        """Return what comes; b"" at the end or a reset, None if nothing comes in time."""
        try:
            async with asyncio.timeout(seconds):
                return await self.reader.read(65_536)
        except TimeoutError:
            return None
        except ConnectionResetError:
            return b""


Connect = Callable[[], Awaitable[Client]]


@pytest.fixture
async def connect(proxy: FaultProxy) -> AsyncIterator[Connect]:
    clients: list[Client] = []

    async def open_one() -> Client:
        clients.append(Client(*await asyncio.open_connection("127.0.0.1", proxy.port)))
        return clients[-1]

    yield open_one
    for client in clients:
        client.writer.transport.abort()
    await asyncio.sleep(0)


async def test_it_passes_on_all_that_is_said(connect: Connect, proxy: FaultProxy, echo: Echo) -> None:
    client = await connect()
    client.say(b"x" * 300_000)
    got = 0
    while got < 300_000:
        got += len(await client.hear() or b"")
    assert echo.heard == b"x" * 300_000
    assert proxy.accepted == 1


async def test_each_direction_has_its_delay(connect: Connect, proxy: FaultProxy) -> None:
    client = await connect()
    for fault in (Fault(to_server=Way(0.2)), Fault(to_client=Way(0.1, 0.1)), Fault(to_client=Way(0.2))):
        proxy.set(fault)
        begun_s = time.monotonic()
        client.say(b"a")
        assert await client.hear() == b"a"
        assert 0.1 <= time.monotonic() - begun_s < 1.0
    assert [what[:5] for _, what in proxy.journal] == ["Fault"] * 3


async def test_delayed_chunks_do_not_wait_for_each_other(connect: Connect, proxy: FaultProxy) -> None:
    client = await connect()
    proxy.set(Fault(to_server=Way(0.2)))
    begun_s = time.monotonic()
    for _ in range(10):
        client.say(b"a")
        await asyncio.sleep(0.01)  # chunks of their own
    got = b""
    while len(got) < 10:
        got += await client.hear() or b""
    assert time.monotonic() - begun_s < 1.0  # not 10 * 0.2


async def test_a_cut_resets_what_stands_and_lets_new_ones_in(connect: Connect, proxy: FaultProxy) -> None:
    client = await connect()
    client.say(b"a")
    assert await client.hear() == b"a"
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await client.reader.read(1)
    fresh = await connect()
    fresh.say(b"b")
    assert await fresh.hear() == b"b"


async def test_a_black_hole_takes_all_and_gives_nothing(
    connect: Connect, proxy: FaultProxy, echo: Echo
) -> None:
    old = await connect()
    old.say(b"a")
    assert await old.hear() == b"a"
    proxy.set(BLACK_HOLE)
    new = await connect()
    old.say(b"lost")
    new.say(b"lost")
    assert await old.hear(0.2) is None
    assert await new.hear(0.2) is None
    proxy.heal()
    assert await old.hear() == b""  # its stream has a hole
    assert await new.hear() == b""
    assert echo.heard == b"a"
    fresh = await connect()
    fresh.say(b"b")
    assert await fresh.hear() == b"b"


async def test_a_connection_that_said_nothing_survives_a_black_hole(
    connect: Connect, proxy: FaultProxy
) -> None:
    client = await connect()
    client.say(b"a")
    assert await client.hear() == b"a"
    proxy.set(BLACK_HOLE)
    proxy.heal()
    client.say(b"b")
    assert await client.hear() == b"b"


async def test_a_stall_delivers_late_even_of_who_gave_up(
    connect: Connect, proxy: FaultProxy, echo: Echo
) -> None:
    old, gone = await connect(), await connect()
    for client in (old, gone):
        client.say(b"1")
        assert await client.hear() == b"1"
    proxy.set(STALL)
    new = await connect()
    old.say(b"2")
    gone.say(b"3")
    new.say(b"4")
    gone.writer.close()
    assert await old.hear(0.2) is None
    assert echo.heard == b"11"
    proxy.heal()
    assert await old.hear() == b"2"
    assert await new.hear() == b"4"
    await asyncio.sleep(0.05)  # nobody tells when the third arrives
    assert sorted(echo.heard) == sorted(b"11234")


async def test_refused_on_the_same_port_until_healed(connect: Connect, proxy: FaultProxy) -> None:
    old = await connect()
    old.say(b"a")
    assert await old.hear() == b"a"
    proxy.set(Fault(is_refusing=True))
    with pytest.raises(ConnectionRefusedError):
        await connect()
    old.say(b"b")
    assert await old.hear() == b"b"
    proxy.heal()
    fresh = await connect()
    fresh.say(b"c")
    assert await fresh.hear() == b"c"


async def test_a_dropped_reply_ends_the_connection_after_the_request_was_heard(
    connect: Connect, proxy: FaultProxy, echo: Echo
) -> None:
    client = await connect()
    proxy.set(Fault(drop_replies=1.0))
    client.say(b"do it")
    assert await client.hear() == b""
    assert echo.heard == b"do it"
    assert proxy.dropped == 1


async def test_with_nobody_behind_it_connections_end(echo: Echo) -> None:
    with FaultProxy("nobody", 1) as proxy:
        client = Client(*await asyncio.open_connection("127.0.0.1", proxy.port))
        assert await client.hear() == b""
        client.writer.transport.abort()
    await asyncio.sleep(0)


def envelope(opcode: int, stream: int, body: bytes, version: int = 5) -> bytes:
    head = bytes([0x80 | version, 0]) + stream.to_bytes(2, "big") + bytes([opcode])
    return head + len(body).to_bytes(4, "big") + body


def segment(payload: bytes) -> bytes:
    buffer = io.BytesIO()
    SegmentCodec().encode(buffer, payload)
    return buffer.getvalue()


def decode(data: bytes) -> bytes:
    codec, buffer, payload = SegmentCodec(), io.BytesIO(data), b""
    while buffer.tell() < len(data):
        payload += codec.decode(buffer, codec.decode_header(buffer)).payload
    return payload


HANDSHAKE = envelope(SUPPORTED, 0, b"options") + envelope(READY, 1, b"")


@pytest.mark.parametrize("size", [1, 7, 1_000_000])
def test_single_cql_answers_are_dropped_out_of_segments(size: int) -> None:
    answers = [envelope(RESULT, n, b"row" * n) for n in range(10)]
    event = envelope(EVENT, 99, b"up")
    stream = HANDSHAKE + segment(answers[0]) + segment(b"".join(answers[1:9]) + event) + segment(answers[9])
    turns = iter(range(10))
    replies = CqlReplies()
    passed = b"".join(
        replies.sift(stream[at : at + size], lambda: next(turns) % 2 == 0)
        for at in range(0, len(stream), size)
    )
    assert passed.startswith(HANDSHAKE)
    assert decode(passed[len(HANDSHAKE) :]) == b"".join(answers[1:9:2]) + event + answers[9]


def test_cql_passes_unchanged_when_nothing_is_dropped() -> None:
    large = envelope(RESULT, 1, b"x" * 300_000)
    stream = HANDSHAKE + segment(envelope(RESULT, 0, b"y")) + segment(large) + segment(HANDSHAKE)
    assert CqlReplies().sift(stream, lambda: False) == stream


def test_an_answer_over_several_segments_passes_and_what_follows_is_still_read() -> None:
    large, small = envelope(RESULT, 1, b"x" * 300_000), envelope(RESULT, 2, b"y")
    stream = HANDSHAKE + segment(large) + segment(small)
    assert CqlReplies().sift(stream, lambda: True) == HANDSHAKE + segment(large)


def test_version_4_has_no_segments() -> None:
    stream = envelope(READY, 0, b"", 4) + envelope(RESULT, 1, b"a", 4) + envelope(RESULT, 2, b"b", 4)
    turns = iter([True, False])
    passed = CqlReplies().sift(stream, lambda: next(turns))
    assert passed == envelope(READY, 0, b"", 4) + envelope(RESULT, 2, b"b", 4)
