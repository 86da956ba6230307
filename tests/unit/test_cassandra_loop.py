"""Connections on the event loop, against a server that answers when it is told to."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import pairwise
from struct import pack, unpack
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop
from cassandra import OperationTimedOut
from cassandra.connection import ConnectionBusy, ConnectionShutdown, DefaultEndPoint
from cassandra.protocol import OptionsMessage

from ringtime_shared.stores.cassandra import loop_connection
from ringtime_shared.stores.cassandra.direct import _Replicas
from ringtime_shared.stores.cassandra.loop_connection import LoopConnection, LoopIo, to_segments

READY, OPTIONS, SUPPORTED, RESULT, EXECUTE = 2, 5, 6, 8, 10
OPTIONS_BODY = b"\0\2\0\x0bCQL_VERSION\0\1\0\x053.4.7\0\x0bCOMPRESSION\0\0"
Runner = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Runner:
    runner: Runner = request.param
    return runner


class FakeServer:
    """Says what a server says while a client connects; then it notes requests, and answers by hand."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, bytes]] = []  #: stream and body
        self._frames = b""
        self._news = asyncio.Event()
        self.writer: Any = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        for answer, body in ((SUPPORTED, OPTIONS_BODY), (READY, b"")):
            _, _, stream, _, length = unpack(">BBhBi", await reader.readexactly(9))
            await reader.readexactly(length)
            writer.write(self.frame(stream, body, answer))
        unread = b""
        while data := await reader.read(1 << 16):
            unread = self._note(unread + data)

    def _note(self, data: bytes) -> bytes:
        while len(data) >= 6 and len(data) >= (end := int.from_bytes(data[:3], "little") % (1 << 17) + 10):
            self._frames, data = self._frames + data[6 : end - 4], data[end:]
            while len(self._frames) >= 9:
                _, _, stream, opcode, length = unpack(">BBhBi", self._frames[:9])
                if len(self._frames) < 9 + length:
                    break
                body, self._frames = self._frames[9 : 9 + length], self._frames[9 + length :]
                if opcode == OPTIONS:  # a heartbeat
                    self.write(self.frame(stream, OPTIONS_BODY, SUPPORTED))
                else:
                    self.asked.append((stream, body))
            self._news.set()
        return data

    async def heard(self, count: int) -> list[tuple[int, bytes]]:
        while len(self.asked) < count:
            self._news.clear()
            await self._news.wait()
        return self.asked

    def frame(self, stream: int, body: bytes, opcode: int = RESULT) -> bytes:
        return pack(">BBhBi", 0x85, 0, stream, opcode, len(body)) + body

    def write(self, *frames: bytes) -> None:
        self.writer.write(to_segments(list(frames)))

    def answer(self, stream: int, body: bytes) -> None:
        self.write(self.frame(stream, body))


class Asked:
    """A request, and what it heard."""

    def __init__(self, timeout_s: float = 60) -> None:
        self.deadline = time.monotonic() + timeout_s
        self.heard: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def answered(self, flags: int, opcode: int, body: bytes) -> None:
        self.heard.set_result(body)

    def failed(self, error: Exception) -> None:
        self.heard.set_result(error)


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[LoopConnection, FakeServer]]:
    fake, io = FakeServer(), LoopIo()
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    endpoint = DefaultEndPoint(*server.sockets[0].getsockname())
    link = await asyncio.to_thread(
        io.connection_class.factory, endpoint, 5.0, protocol_version=5, compression=False
    )
    try:
        yield link, fake
    finally:
        await io.close()
        fake.writer.close()
        server.close()
        await server.wait_closed()


def ask(link: LoopConnection, body: bytes = b"?", timeout_s: float = 60) -> Asked:
    asked = Asked(timeout_s)
    link.send(asked, EXECUTE, body)
    return asked


def test_answers_reach_those_who_asked_however_they_are_cut(run: Runner) -> None:
    async def check() -> None:
        async with linked() as (link, server):
            bodies = [bytes([n]) * size for n, size in enumerate((1, 70_000, 400_000, 0, 131_071))]
            requests = [ask(link, body) for body in bodies]
            streams = [stream for stream, _ in await server.heard(len(bodies))]
            assert [body for _, body in server.asked] == bodies
            answers = list(zip(streams, reversed(bodies), strict=True))
            data = to_segments([server.frame(*answer) for answer in reversed(answers)])
            cuts = [*range(30), *range(30, len(data), 50_001), len(data)]
            for start, end in pairwise(cuts):
                server.writer.write(data[start:end])
                await asyncio.sleep(0.001 if start < 30 else 0)
            assert [await each.heard for each in requests] == [body for _, body in answers]
            heartbeat = await asyncio.to_thread(link.wait_for_response, OptionsMessage(), 5.0)
            assert heartbeat.cql_versions == ["3.4.7"], "the driver's own messages go the same way"

    run(check())


def test_what_one_turn_of_the_loop_asks_leaves_together(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        async with linked() as (link, server):
            written: list[int] = []
            segments = loop_connection.to_segments

            def noting(frames: list[bytes]) -> bytes:
                written.append(len(frames))
                return segments(frames)

            monkeypatch.setattr(loop_connection, "to_segments", noting)
            requests = [ask(link) for _ in range(100)]
            for stream, _ in await server.heard(100):
                server.answer(stream, b"%d" % stream)
            answers = [await each.heard for each in requests]
            assert answers == [b"%d" % stream for stream, _ in server.asked]
            assert written == [100]

    run(check())


def test_a_late_answer_reaches_nobody(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        monkeypatch.setattr(loop_connection, "STREAMS", 50)
        async with linked() as (link, server):
            late = ask(link, timeout_s=0.01)
            assert isinstance(await late.heard, OperationTimedOut)
            ((stream, _),) = await server.heard(1)
            others = [ask(link) for _ in range(loop_connection.STREAMS - 1)]
            waiting = ask(link)
            streams = [each for each, _ in (await server.heard(loop_connection.STREAMS))[1:]]
            assert stream not in streams, "a stream is free again when it was answered"
            server.answer(stream, b"too late")
            assert (await server.heard(loop_connection.STREAMS + 1))[-1][0] == stream, "now it is"
            for each in [*streams, stream]:
                server.answer(each, b"in time")
            assert {await each.heard for each in [*others, waiting]} == {b"in time"}

    run(check())


def test_every_request_without_an_answer_ends_whatever_ended_before(run: Runner) -> None:
    async def check() -> None:
        async with linked() as (link, _):
            for timeouts_s in ((0.01, 0.03, 0.03), (0.01,)):
                for each in [ask(link, timeout_s=timeout_s) for timeout_s in timeouts_s]:
                    assert isinstance(await asyncio.wait_for(each.heard, 60), OperationTimedOut)

    run(check())


def test_a_connection_that_owes_too_many_answers_is_given_up(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check() -> None:
        monkeypatch.setattr(loop_connection, "MOST_LATE", 10)
        async with linked() as (link, _):
            lost: list[LoopConnection] = []
            link.io.lost = lost.append
            requests = [ask(link, timeout_s=0.01) for _ in range(11)]
            patient = ask(link)
            for each in requests:
                assert isinstance(await each.heard, OperationTimedOut)
            assert isinstance(await patient.heard, ConnectionShutdown)
            assert lost == [link]
            assert not link.is_usable

    run(check())


def test_those_that_wait_are_bounded_and_end_in_time_unsent(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check() -> None:
        monkeypatch.setattr(loop_connection, "MOST_WAITING", 2)
        async with linked() as (link, server):
            link.pause_writing()
            assert link.is_busy
            hasty, patient = ask(link, timeout_s=0.01), ask(link, timeout_s=60)
            with pytest.raises(ConnectionBusy):
                ask(link)
            assert isinstance(await hasty.heard, ConnectionBusy)
            link.resume_writing()
            ((stream, _),) = await server.heard(1)
            server.answer(stream, b"sent at last")
            assert await patient.heard == b"sent at last"

    run(check())


def test_nobody_overtakes_who_waits(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream is free when its answer is handed out, and who is told of that may ask again at once."""

    async def check() -> None:
        monkeypatch.setattr(loop_connection, "STREAMS", 1)
        async with linked() as (link, server):
            asked_again: list[Asked] = []

            class Eager(Asked):
                def answered(self, flags: int, opcode: int, body: bytes) -> None:
                    super().answered(flags, opcode, body)
                    asked_again.append(ask(link, b"again"))

            link.send(Eager(), EXECUTE, b"first")
            waiting = ask(link, b"waiting")
            for count in (1, 2, 3):
                server.answer((await server.heard(count))[-1][0], b"done")
            await asyncio.gather(waiting.heard, asked_again[0].heard)
            assert [body for _, body in server.asked] == [b"first", b"waiting", b"again"]

    run(check())


def test_answers_that_wait_unread_while_the_loop_is_held_up_are_in_time(run: Runner) -> None:
    async def check() -> None:
        async with linked() as (link, server):
            request = ask(link, timeout_s=0.5)
            ((stream, _),) = await server.heard(1)
            server.answer(stream, b"in time")
            time.sleep(0.6)  # noqa: ASYNC251 - what holds the loop up
            assert await request.heard == b"in time"

    run(check())


@pytest.mark.parametrize("data", [b"nonsense" * 9, None, b"late"])
def test_a_connection_that_breaks_tells_all_who_wait(run: Runner, data: bytes | None) -> None:
    async def check() -> None:
        async with linked() as (link, server):
            sent = ask(link)
            await server.heard(1)
            link.pause_writing()
            unsent = ask(link)
            if data is None:
                server.writer.close()
            elif data == b"late":
                server.answer(loop_connection.FIRST_STREAM + 7, b"nobody asked this")
            else:
                server.writer.write(data)
            assert isinstance(await sent.heard, ConnectionShutdown)
            assert isinstance(await unsent.heard, ConnectionBusy)

    run(check())


def test_a_loop_that_is_closed_is_an_error_of_the_connection_and_leaves_nothing(run: Runner) -> None:
    made: list[LoopIo] = []

    async def check() -> None:
        made.append(LoopIo())

    run(check())
    (io,) = made

    def use() -> None:
        io.call(print)
        io.connection_class.create_timer(1.0, print).cancel()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            endpoint = DefaultEndPoint(*listener.getsockname())
            with pytest.raises(ConnectionShutdown, match="loop is closed"):
                io.connection_class(endpoint, connect_timeout=1.0)

    with ThreadPoolExecutor(1) as pool:  # as the driver does
        pool.submit(use).result()


def test_a_connection_that_is_made_after_the_others_were_closed_is_closed_too(run: Runner) -> None:
    async def check() -> None:
        io = LoopIo()
        await io.close()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            endpoint = DefaultEndPoint(*listener.getsockname())
            made = await asyncio.to_thread(io.connection_class.factory, endpoint, 2.0, protocol_version=5)
            assert made.is_closed
            await io.close()

    run(check())


def test_timers_of_the_driver_may_be_set_and_cancelled_in_any_thread(run: Runner) -> None:
    async def check() -> None:
        timer, rung = LoopIo().connection_class.create_timer, asyncio.Event()
        await asyncio.to_thread(lambda: timer(0.0, lambda: pytest.fail("cancelled")).cancel())
        timer(0.0, lambda: pytest.fail("cancelled")).cancel()
        await asyncio.to_thread(timer, 0.01, rung.set)
        await asyncio.wait_for(rung.wait(), 60)

    run(check())


class Token:
    def __init__(self, value: int) -> None:
        self.value = value


class TokenMap:
    """Of four nodes with a token each; a keyspace has one copy, or two."""

    token_class = SimpleNamespace(hash_fn=lambda key: int(key))

    def __init__(self) -> None:
        self.ring = [Token(10 * n) for n in range(4)]
        self.tokens_to_hosts_by_ks: dict[str, dict[Any, Any]] = {}

    def get_replicas(self, keyspace: str, token: Any) -> None:
        if keyspace == "ks" and not self.tokens_to_hosts_by_ks:
            self.set_copies(1)

    def set_copies(self, count: int) -> None:
        hosts = ["a", "b", "c", "d"] * 2
        self.tokens_to_hosts_by_ks["ks"] = {
            token: hosts[n : n + count] for n, token in enumerate(self.ring)
        }  # fmt: skip


def test_replicas_follow_the_drivers_map() -> None:
    tokens = TokenMap()
    metadata = SimpleNamespace(token_map=tokens)
    pools = {host: host for host in "abc"}
    replicas = _Replicas(metadata, "ks")
    assert [replicas.of(key, pools) for key in (b"-5", b"0", b"1", b"10", b"20", b"31")] == [
        ("a",), ("a",), ("b",), ("b",), ("c",), ("a",),
    ]  # fmt: skip
    assert replicas.of(b"25", pools) == (), "the node has no connection"
    tokens.set_copies(2)  # the keyspace was altered
    assert sorted(replicas.of(b"15", pools)) == ["c"]
    assert {replicas.of(b"5", pools) for _ in range(100)} == {("b", "c"), ("c", "b")}
    assert sorted(replicas.of(None, pools)) == ["a", "b", "c"]
    assert _Replicas(metadata, "other").of(b"5", pools) == ()
    assert sorted(_Replicas(SimpleNamespace(token_map=None), "ks").of(b"5", pools)) == ["a", "b", "c"]
