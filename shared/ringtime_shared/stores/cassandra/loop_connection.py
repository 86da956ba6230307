"""A connection of the driver whose bytes come and go on the service's own event loop.

To the driver it is a connection like any other: its worker threads connect, log in, prepare, ask for the
topology and send heartbeats over it, on streams 0 to `FIRST_STREAM` - 1. Streams from there on belong to
`direct`, which runs on the event loop alone, so nothing of it needs a lock.

Segments. Protocol 5 puts frames into segments with checksums. All frames of `direct` that one turn of the
event loop makes leave in one segment (128 KiB at most) and one write: the checksums cost us once what they
would cost each statement, and the server, which reads and answers them together, a fraction too.

Late answers. A stream whose request timed out is not used again until its answer came, so an answer can
reach no other request. A connection with more than `MOST_LATE` such streams is given up.

Bounds. `STREAMS` requests are under way at once; more wait here, at most `MOST_WAITING`, within the same
deadline, and are then known not to have been sent. So do those that come while the server does not read.

Deadlines. All requests of a connection have the same timeout, so they end in the order they began in, and
one timer does for all. If it is late itself, the event loop was held up, and answers may wait unread: they
are read first.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from struct import Struct
from threading import get_ident
from typing import Any, ClassVar, Protocol
from zlib import crc32

from cassandra import OperationTimedOut
from cassandra.connection import Connection, ConnectionBusy, ConnectionException, ConnectionShutdown, _Frame

FIRST_STREAM = 16_384
STREAMS = 8_192
MOST_LATE = STREAMS * 3 // 4
MOST_WAITING = 8_192
_WRITE_BUFFER = 1 << 20  # bytes that the server has not taken, until requests wait
_SLACK_S = 0.05

MOST_PAYLOAD = 128 * 1024 - 1  #: of a segment
_HEADER_SIZE, _CHECKSUM_SIZE, _FRAME_HEADER_SIZE = 6, 4, 9
_SELF_CONTAINED = 1 << 17
_CRC32_START = crc32(b"\xfa\x2d\x55\xca")
_CRC24_START, _CRC24_POLYNOMIAL = 0x875060, 0x1974F0B

_frame_header = Struct(">BBhBi")


def _crc24_step(crc: int) -> int:
    for _ in range(8):
        crc <<= 1
        if crc & 0x1000000:
            crc ^= _CRC24_POLYNOMIAL
    return crc


_CRC24 = [_crc24_step(byte << 16) for byte in range(256)]


def crc24(header: int) -> int:
    """Return the checksum of a segment's header, three bytes of which the lowest comes first."""
    crc = _CRC24_START
    for byte in (header & 0xFF, header >> 8 & 0xFF, header >> 16):
        crc = (crc << 8 & 0xFFFFFF) ^ _CRC24[crc >> 16 ^ byte]
    return crc


def to_segments(frames: list[bytes]) -> bytes:
    """Return the frames in segments: as many in one as there is room for; a longer frame in several."""
    segments: list[bytes] = []
    together: list[bytes] = []
    size = 0
    for frame in frames:
        if together and size + len(frame) > MOST_PAYLOAD:
            segments += _segment(b"".join(together), _SELF_CONTAINED)
            together, size = [], 0
        if len(frame) > MOST_PAYLOAD:
            for start in range(0, len(frame), MOST_PAYLOAD):
                segments += _segment(frame[start : start + MOST_PAYLOAD], 0)
        else:
            together.append(frame)
            size += len(frame)
    if together:
        segments += _segment(b"".join(together), _SELF_CONTAINED)
    return b"".join(segments)


def _segment(payload: bytes, flags: int) -> tuple[bytes, bytes, bytes]:
    header = len(payload) | flags
    return (
        (crc24(header) << 24 | header).to_bytes(_HEADER_SIZE, "little"),
        payload,
        crc32(payload, _CRC32_START).to_bytes(_CHECKSUM_SIZE, "little"),
    )


class Request(Protocol):
    """What waits for an answer. Told of one thing, once, on the event loop."""

    deadline: float  #: by time.monotonic

    def answered(self, flags: int, opcode: int, body: bytes) -> None: ...

    def failed(self, error: Exception) -> None: ...


class LoopIo:
    """The connections of one driver cluster on the event loop that runs now."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.thread = get_ident()
        self.open: set[LoopConnection] = set()
        self.is_closing = False  #: connections that come are closed at once
        self.lost: Callable[[LoopConnection], None] = lambda _: None  #: told of each that broke
        self._all_closed = asyncio.Event()
        #: for the driver, which makes its connections and timers of a class
        self.connection_class: type[LoopConnection] = type("LoopConnection", (LoopConnection,), {"io": self})

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call it on the event loop, soon, from any thread; not at all if the loop is closed."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function, *arguments)

    def note_closed(self, connection: LoopConnection) -> None:
        self.open.discard(connection)
        if not self.open:
            self._all_closed.set()

    async def close(self) -> None:
        """Wait until all connections are closed, after the driver was shut down; a thread of it, such as one
        whose `connect` nobody waits for any more, may still be making others."""
        self.is_closing = True
        for connection in tuple(self.open):
            connection.close()
        while self.open:
            self._all_closed.clear()
            await self._all_closed.wait()


class _Timer:
    """A timer as the driver wants one: set and cancelled in any thread."""

    def __init__(self, io: LoopIo, delay_s: float, callback: Callable[[], object]) -> None:
        self._io = io
        self._handle: asyncio.TimerHandle | None = None
        self._is_cancelled = False
        if get_ident() == io.thread:
            self._start(delay_s, callback)
        else:
            io.call(self._start, delay_s, callback)

    def _start(self, delay_s: float, callback: Callable[[], object]) -> None:
        if not self._is_cancelled:
            self._handle = self._io.loop.call_later(delay_s, callback)

    def cancel(self) -> None:
        self._is_cancelled = True
        if get_ident() == self._io.thread:
            self._stop()
        else:
            self._io.call(self._stop)

    def _stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()


class LoopConnection(Connection, asyncio.Protocol):  # type: ignore[misc] # the driver is untyped
    """See the module. Methods without another word are for the event loop."""

    io: ClassVar[LoopIo]
    is_closed: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Connect; for the driver, in a thread of its own. Raises OSError, ConnectionShutdown."""
        Connection.__init__(self, *args, **kwargs)
        self.max_request_id = FIRST_STREAM - 1
        self._transport: Any = None
        self._opening: asyncio.Task[None] | None = None
        self._unread = b""  # the beginning of a segment
        self._parts: list[bytes] = []  # the beginning of a frame
        self._parts_size = 0
        self._frames: list[bytes] = []
        self._is_flush_due = False
        self._free = list(range(FIRST_STREAM, FIRST_STREAM + STREAMS))
        self._under_way: dict[int, Request] = {}  # the oldest first
        self._late: set[int] = set()
        self._waiting: deque[tuple[Request, int, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._connect_socket()
        self._open()
        self._send_options_message()

    # For the driver, in any thread.

    @classmethod
    def create_timer(cls, timeout: float, callback: Callable[[], object]) -> _Timer:
        return _Timer(cls.io, timeout, callback)

    def push(self, data: bytes) -> None:
        if get_ident() == self.io.thread:
            self._write(data)
        else:
            self.io.call(self._write, data)

    def close(self) -> None:
        with self.lock:
            if self.is_closed:
                return
            self.is_closed = True
        self.io.call(self._end)
        if not self.is_defunct:
            self.error_all_requests(ConnectionShutdown(f"Connection to {self.endpoint} was closed"))
            self.connected_event.set()  # whoever waits for the handshake waits no longer

    def _wrap_socket_from_context(self) -> Any:
        return self._socket  # TLS is the transport's

    def _open(self) -> None:
        """Give the socket, which is connected, to the event loop; in the driver's thread."""
        self._socket.setblocking(False)
        opened: concurrent.futures.Future[None] = concurrent.futures.Future()
        try:
            self.io.loop.call_soon_threadsafe(self._begin, opened)
            opened.result(self.connect_timeout)
        except TimeoutError:
            self.io.call(self._abandon)
            raise OSError(f"the connection to {self.endpoint} was not set up in time") from None
        except RuntimeError as error:
            self._socket.close()
            raise ConnectionShutdown(f"the event loop is closed: {error}") from error

    # From here on: on the event loop.

    def _begin(self, opened: concurrent.futures.Future[None]) -> None:
        self._opening = self.io.loop.create_task(self._make_transport(opened))

    async def _make_transport(self, opened: concurrent.futures.Future[None]) -> None:
        tls = {"ssl": self.ssl_context, "server_hostname": self.endpoint.address} if self.ssl_context else {}
        try:
            await self.io.loop.create_connection(lambda: self, sock=self._socket, **tls)
        except BaseException as error:  # also if it is cancelled: a thread waits
            self._socket.close()
            opened.set_exception(error if isinstance(error, OSError) else OSError(repr(error)))
            if not isinstance(error, Exception):
                raise
        else:
            # Not in `connection_made`: uvloop gives the socket to the transport after that. The descriptor
            # would be closed twice, the second time perhaps when it is another connection's.
            if self.io.is_closing:
                self.close()
            if self.is_closed:
                self._end()
            opened.set_result(None)

    def _abandon(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
        self.close()

    def connection_made(self, transport: Any) -> None:
        transport.set_write_buffer_limits(_WRITE_BUFFER)
        self._transport = transport
        self.io.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.io.note_closed(self)
        self.defunct(exc or ConnectionShutdown(f"Connection to {self.endpoint} was closed by the server"))

    def pause_writing(self) -> None:
        self._socket_writable = False

    def resume_writing(self) -> None:
        self._socket_writable = True
        self._send_waiting()

    def _end(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        if self.is_defunct:
            self.io.lost(self)
        under_way, self._under_way = self._under_way, {}
        for request in under_way.values():
            request.failed(ConnectionShutdown(str(self.last_error or "the connection was closed")))
        self._refuse_waiting("the connection was closed")

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    # Requests of `direct`.

    @property
    def is_usable(self) -> bool:
        """Whether requests may be sent, or wait, here."""
        return self._is_checksumming_enabled and not (self.is_closed or self.is_defunct)

    @property
    def is_busy(self) -> bool:
        """Whether requests would wait."""
        return not self._free or not self._socket_writable

    def send(self, request: Request, opcode: int, body: bytes) -> None:
        """Send when the event loop's turn ends, or when there is room; `request` hears what came of it.

        Raises:
            ConnectionBusy: too many wait.
        """
        if self._free and self._socket_writable and not self._waiting:
            self._send(request, opcode, body)
        elif len(self._waiting) < MOST_WAITING:
            self._waiting.append((request, opcode, body))
        else:
            raise ConnectionBusy(f"too many requests wait for {self.endpoint}")
        if self._timer is None:
            self._set_timer(request.deadline)

    def _send(self, request: Request, opcode: int, body: bytes) -> None:
        stream = self._free.pop()
        self._under_way[stream] = request
        self._frames.append(_frame_header.pack(self.protocol_version, 0, stream, opcode, len(body)) + body)
        if not self._is_flush_due:
            self._is_flush_due = True
            self.io.loop.call_soon(self._flush)

    def _send_waiting(self) -> None:
        while self._waiting and self._free and self._socket_writable:
            self._send(*self._waiting.popleft())

    def _refuse_waiting(self, reason: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for request, _, _ in waiting:
            request.failed(ConnectionBusy(f"not sent to {self.endpoint}: {reason}"))

    def _flush(self) -> None:
        self._is_flush_due = False
        frames, self._frames = self._frames, []
        self._write(to_segments(frames))

    def _set_timer(self, at: float) -> None:
        self._timer = self.io.loop.call_later(max(at - time.monotonic(), 0), self._give_up, at)

    def _give_up(self, planned: float | None) -> None:
        """Tell the requests whose time is over. `planned`: when this was to run; None: never mind."""
        now = time.monotonic()
        if planned is not None and now > planned + _SLACK_S:  # the event loop was held up
            self._timer = self.io.loop.call_later(_SLACK_S / 2, self._give_up, None)
            return
        while self._waiting and self._waiting[0][0].deadline <= now:
            request, _, _ = self._waiting.popleft()
            request.failed(ConnectionBusy(f"not sent to {self.endpoint} in time"))
        while self._under_way:
            stream, request = next(iter(self._under_way.items()))
            if request.deadline > now:
                break
            del self._under_way[stream]
            self._late.add(stream)
            request.failed(OperationTimedOut({str(self.endpoint): "no answer in time"}, self.endpoint))
        self._timer = None  # only now: who is told may send again
        if len(self._late) > MOST_LATE:
            self.defunct(ConnectionException(f"{len(self._late)} answers are overdue", self.endpoint))
        elif self._under_way:
            self._set_timer(next(iter(self._under_way.values())).deadline)
        elif self._waiting:
            self._set_timer(self._waiting[0][0].deadline)

    # Answers.

    def data_received(self, data: bytes) -> None:
        self.msg_received = True  # no heartbeat is needed
        try:
            self._read(data)
        except Exception as error:  # noqa: BLE001 - what cannot be read ends the connection
            self.defunct(ConnectionException(f"cannot read what came: {error!r}", self.endpoint))
        if self._waiting:
            self._send_waiting()

    def _read(self, data: bytes) -> None:
        if not self._is_checksumming_enabled:
            rest = self._read_frames(self._unread + data)
            self._unread = b""
            if not self._is_checksumming_enabled:
                self._unread = rest
                return
            data = rest
        if self._unread:
            data = self._unread + data
        position, size = 0, len(data)
        while size - position >= _HEADER_SIZE:
            header = int.from_bytes(data[position : position + _HEADER_SIZE], "little")
            if crc24(header & 0xFFFFFF) != header >> 24:
                raise ValueError("the checksum of a segment's header is wrong")
            start = position + _HEADER_SIZE
            end = start + (header & MOST_PAYLOAD)
            if end + _CHECKSUM_SIZE > size:
                break
            payload = data[start:end]
            position = end + _CHECKSUM_SIZE
            if crc32(payload, _CRC32_START) != int.from_bytes(data[end:position], "little"):
                raise ValueError("the checksum of a segment is wrong")
            if header & _SELF_CONTAINED:
                self._read_frames(payload)
            else:
                self._read_part(payload)
        self._unread = data[position:]

    def _read_part(self, payload: bytes) -> None:
        """Read a piece of a frame that is longer than a segment."""
        self._parts.append(payload)
        self._parts_size += len(payload)
        *_, length = _frame_header.unpack_from(self._parts[0])
        if self._parts_size >= _FRAME_HEADER_SIZE + length:
            frame, self._parts, self._parts_size = b"".join(self._parts), [], 0
            self._read_frames(frame)

    def _read_frames(self, data: bytes) -> bytes:
        """Hand out whole frames; return what is left. Stops when the handshake is over."""
        position, size = 0, len(data)
        was_plain = not self._is_checksumming_enabled
        while size - position >= _FRAME_HEADER_SIZE:
            version, flags, stream, opcode, length = _frame_header.unpack_from(data, position)
            start = position + _FRAME_HEADER_SIZE
            end = start + length
            if end > size:
                break
            position = end
            if stream >= FIRST_STREAM:
                self._hand_out(stream, flags, opcode, data[start:end])
                continue
            header = _Frame(version & 0x7F, flags, stream, opcode, _FRAME_HEADER_SIZE, end - start)
            self.process_msg(header, data[start:end])
            if was_plain and self._is_checksumming_enabled:
                break
        return data[position:]

    def _hand_out(self, stream: int, flags: int, opcode: int, body: bytes) -> None:
        request = self._under_way.pop(stream, None)
        if request is None:
            self._late.remove(stream)  # KeyError: nobody asked on this stream
        self._free.append(stream)
        if request is not None:
            request.answered(flags, opcode, body)
