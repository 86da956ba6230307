"""A TCP proxy on loopback that injures what passes through it, as it is told, while connections stand.

    with FaultProxy("etcd of dispatcher-1", etcd_port) as proxy:
        proxy.set(Fault(to_server=Way(delay_s=0.15), to_client=Way(delay_s=0.15, jitter_s=0.05)))
        proxy.set(BLACK_HOLE)
        proxy.heal()

It runs in a thread with an event loop of its own, so plain and async tests can use it alike.

Two kinds of silence. "swallow" loses what is sent: since the stream then has a hole, such connections are
reset on healing, and so are those accepted meanwhile. "hold" keeps it and delivers it on healing, even from
a client that gave up, which is what TCP's retransmissions do: old requests arrive late.

Dropped replies: requests are carried out, their answers are lost. Of CQL single answers are dropped and the
connection goes on; of any other protocol, the connection says nothing more and is closed a moment later.
"""

from __future__ import annotations

import asyncio
import io
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from random import Random
from typing import Literal, Protocol, Self

from cassandra.segment import SegmentCodec

from ringtime_local.ports import take_ports

_HOST = "127.0.0.1"
_CHUNK = 65_536
_CHUNKS = 256  # read ahead in one direction while it is delayed or held
_MUTE_S = 0.3  # between a lost reply and the end of its connection
_WAIT_S = 10.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close by RST


@dataclass(frozen=True, slots=True)
class Way:
    """One direction of the link."""

    delay_s: float = 0.0
    jitter_s: float = 0.0  #: up to this more, at random for each chunk; the order stays
    silence: Literal["", "swallow", "hold"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with the link."""

    to_server: Way = Way()
    to_client: Way = Way()
    is_refusing: bool = False  #: nobody listens; connections that stand go on
    drop_replies: float = 0.0  #: share of the replies that is lost

    @property
    def silences(self) -> set[str]:
        return {self.to_server.silence, self.to_client.silence}


HEALTHY = Fault()
BLACK_HOLE = Fault(to_server=Way(silence="swallow"), to_client=Way(silence="swallow"))
STALL = Fault(to_server=Way(silence="hold"), to_client=Way(silence="hold"))


class Muted(Exception):
    """A reply was lost, and no later one can be told from its rest."""


class Replies(Protocol):
    """What one connection's server says."""

    def sift(self, data: bytes, is_dropped: Callable[[], bool]) -> bytes:
        """Return what is to be passed on; asks `is_dropped` once for each reply. Raises Muted."""
        ...


class Bursts:
    """Any protocol: what arrives together counts as one reply."""

    def sift(self, data: bytes, is_dropped: Callable[[], bool]) -> bytes:
        if is_dropped():
            raise Muted
        return data


class CqlReplies:
    """CQL, version 4 or 5, uncompressed. Only results and errors are dropped; an answer that is larger than
    a segment (128 KiB) always passes."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_segmented = False  # from version 5 on, after the handshake

    def sift(self, data: bytes, is_dropped: Callable[[], bool]) -> bytes:
        self._rest += data
        passed = b""
        while size := self._size():
            piece, self._rest = self._rest[:size], self._rest[size:]
            if self._is_segmented:
                passed += self._sift_segment(piece, is_dropped)
                continue
            passed += self._sift_envelopes(piece, is_dropped)
            self._is_segmented = piece[0] & 0x7F >= 5 and piece[4] in (0x02, 0x03)  # READY, AUTHENTICATE
        return passed

    def _size(self) -> int:
        """Return the size of the next segment or envelope, 0 if it is not whole yet."""
        if len(self._rest) < 9:
            return 0
        if self._is_segmented:
            size = 6 + (int.from_bytes(self._rest[:3], "little") & 0x1FFFF) + 4
        else:
            size = 9 + int.from_bytes(self._rest[5:9], "big")
        return size if size <= len(self._rest) else 0

    def _sift_segment(self, segment: bytes, is_dropped: Callable[[], bool]) -> bytes:
        is_whole = segment[2] >> 1 & 1
        payload = segment[6:-4]
        passed = self._sift_envelopes(payload, is_dropped) if is_whole else payload
        if not passed or passed == payload:
            return segment if passed else b""
        buffer = io.BytesIO()
        SegmentCodec().encode(buffer, passed)
        return buffer.getvalue()

    @staticmethod
    def _sift_envelopes(payload: bytes, is_dropped: Callable[[], bool]) -> bytes:
        passed, at = b"", 0
        while at < len(payload):
            end = at + 9 + int.from_bytes(payload[at + 5 : at + 9], "big")
            if payload[at + 4] not in (0x00, 0x08) or not is_dropped():  # ERROR, RESULT
                passed += payload[at:end]
            at = end
        return passed


class FaultProxy:
    """Listens on a port of its own and forwards to one port of this machine."""

    def __init__(
        self, name: str, target_port: int, *, replies: Callable[[], Replies] = Bursts, seed: int = 1
    ) -> None:
        self.name = name
        self.port = take_ports(1)[0]
        self.fault = HEALTHY
        self.accepted = 0  #: connections so far
        self.dropped = 0  #: replies so far
        self.journal: list[tuple[float, str]] = []  #: wall clock in ms, what was changed
        self._target_port = target_port
        self._replies = replies
        self._rng = Random(seed)
        self._links: dict[asyncio.Task[None], _Link] = {}
        self._server: asyncio.Server | None = None
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name=f"proxy {name}")

    @property
    def endpoint(self) -> str:
        return f"{_HOST}:{self.port}"

    def set(self, fault: Fault) -> float:
        """Change the link; return when it was changed, wall clock in ms."""
        return self._do(lambda: self._apply(fault), str(fault))

    def heal(self) -> float:
        return self._do(lambda: self._apply(HEALTHY), "healed")

    def cut(self) -> float:
        """Reset every connection; new ones are welcome."""
        return self._do(self._cut, "cut")

    def is_dropped(self) -> bool:
        """Decide on one reply."""
        if not self.fault.drop_replies or self._rng.random() >= self.fault.drop_replies:
            return False
        self.dropped += 1
        return True

    def pause_s(self, way: Way) -> float:
        return way.delay_s + (self._rng.uniform(0, way.jitter_s) if way.jitter_s else 0)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return once `holds` does after some change."""
        while not holds():
            await self._changed.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.result(_WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(_WAIT_S)

    def _do(self, change: Callable[[], object], what: str) -> float:
        async def run() -> None:
            result = change()
            if asyncio.iscoroutine(result):
                await result

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(_WAIT_S)
        now_ms = time.time() * 1000
        self.journal.append((now_ms, what))
        return now_ms

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over, self._changed = asyncio.Event(), asyncio.Event()
        try:
            await self._listen()
        except OSError as error:
            self._started.set_exception(error)
            return
        self._started.set_result(None)
        await self._over.wait()
        self._server.close() if self._server else None
        self._cut()
        await asyncio.gather(*self._links, return_exceptions=True)
        await asyncio.sleep(0)  # closed transports let go of their sockets

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, _HOST, self.port, backlog=512)

    async def _apply(self, fault: Fault) -> None:
        before, self.fault = self.fault, fault
        if fault.is_refusing and self._server is not None:
            self._server.close()
            self._server = None
        elif not fault.is_refusing and self._server is None:
            await self._listen()
        if before.silences != fault.silences:
            for task, link in self._links.items():
                if link.is_torn:
                    link.reset(task)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _cut(self) -> None:
        for task, link in self._links.items():
            link.reset(task)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        link = self._links[task] = _Link(self, writer)
        try:
            await link.run(reader, self._target_port, self._replies())
        except (OSError, asyncio.CancelledError):
            pass  # one side went away, or the link was cut
        finally:
            del self._links[task]
            link.close()


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: FaultProxy, writer: asyncio.StreamWriter) -> None:
        self.is_torn = "swallow" in proxy.fault.silences
        self._proxy = proxy
        self._writers = [writer]

    async def run(self, reader: asyncio.StreamReader, target_port: int, replies: Replies) -> None:
        proxy = self._proxy
        await proxy.until(lambda: proxy.fault.silences == {""})
        far_reader, far_writer = await asyncio.open_connection(_HOST, target_port)
        self._writers.append(far_writer)

        def sift(data: bytes) -> bytes:
            return replies.sift(data, proxy.is_dropped)

        pumps = [
            asyncio.create_task(self._pump(reader, far_writer, lambda: proxy.fault.to_server, bytes)),
            asyncio.create_task(
                self._pump(far_reader, self._writers[0], lambda: proxy.fault.to_client, sift)
            ),
        ]
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if any(isinstance(pump.exception(), Muted) for pump in done):
                await asyncio.sleep(_MUTE_S)  # what is asked still arrives, nothing is answered
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    def reset(self, task: asyncio.Task[None]) -> None:
        """Close both ends by RST."""
        for writer in self._writers:
            end = writer.get_extra_info("socket")
            if end is not None and end.fileno() >= 0:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        task.cancel()

    def close(self) -> None:
        for writer in self._writers:
            writer.close()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        way: Callable[[], Way],
        sift: Callable[[bytes], bytes],
    ) -> None:
        chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS)
        feeding = asyncio.create_task(self._feed(reader, chunks, way))
        try:
            while True:
                due_s, data = await chunks.get()
                pause_s = due_s - time.monotonic()
                if pause_s > 0:
                    await asyncio.sleep(pause_s)
                await self._proxy.until(lambda: way().silence != "hold")
                if way().silence == "swallow":
                    self.is_torn = True
                elif not data:
                    return  # both ends are closed; no protocol here needs one half open
                elif passed := sift(data):
                    writer.write(passed)
                    await writer.drain()
        finally:
            feeding.cancel()

    async def _feed(
        self, reader: asyncio.StreamReader, chunks: asyncio.Queue[tuple[float, bytes]], way: Callable[[], Way]
    ) -> None:
        data = b"-"
        while data:
            try:
                data = await reader.read(_CHUNK)
            except OSError:
                data = b""
            await chunks.put((time.monotonic() + self._proxy.pause_s(way()), data))
