"""A receiver that misbehaves as it is asked to, and a canary that nobody may call: each a process.

Run as `python -m tests.harness.hostile receiver FOLDER CANARY_URL` and `... canary FILE`; both print one line
of JSON about their ports. The receiver notes each request in `FOLDER/hostile.ledger`, in the form that
`tests.harness.receiver` has, before it does what the path says; each behaviour has a port of its own, so that
for the service each is a destination of its own.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import uvloop

from tests.harness.receiver import LedgerConnection, Receiver

_GB = 1_000_000_000
_PIECE = b"a" * 65_536
_PIECES_AT_ONCE = 16  #: then others have a turn
_BOMB_BYTES = 64 << 20
_BOMBS = 16  #: gzip streams may be put together: a GiB in all, in about 1 MB
_HEADERS = 100_000
_INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n" * 2_000
_NO_LINGER = struct.pack("ii", 1, 0)
_HEALED = "healed"


def _head(status: int, *headers: str) -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status} so be it", *headers, "", "")).encode()


def _empty(status: int, *headers: str) -> bytes:
    return _head(status, "content-length: 0", *headers)


class Hostile(LedgerConnection):
    """One connection; what it does is said by the first word of the path, `act_WORD`."""

    folder = Path()
    canary_url = ""
    bomb = b""
    flood = b""

    def __init__(self, ledger: int) -> None:
        super().__init__(ledger)
        self._left = 0
        self._piece = _PIECE
        self._may_write = True
        self._is_open = True

    @classmethod
    def words(cls) -> list[str]:
        """Return the behaviours there are."""
        return [name.removeprefix("act_") for name in dir(cls) if name.startswith("act_")]

    def answer(self, target: str, attempt: int) -> None:
        """Misbehave as the path says."""
        word, _, rest = target.partition("?")[0].lstrip("/").partition("/")
        act: Callable[[str, int], None] = getattr(self, f"act_{word}")
        act(rest, attempt)

    def act_ok(self, rest: str, attempt: int) -> None:
        self._transport.write(_empty(200))

    def act_status(self, rest: str, attempt: int) -> None:
        self._transport.write(_empty(int(rest)))

    def act_busy(self, rest: str, attempt: int) -> None:
        self._transport.write(_empty(429, "retry-after: 2"))

    def act_redirect(self, rest: str, attempt: int) -> None:
        self._transport.write(_empty(302, f"location: {self.canary_url}"))

    def act_gone(self, rest: str, attempt: int) -> None:
        self._transport.write(_empty(410))

    def act_hang(self, rest: str, attempt: int) -> None:
        """Keep the connection and say nothing."""

    def act_late(self, rest: str, attempt: int) -> None:
        """Answer after so many milliseconds as the path says."""
        asyncio.get_running_loop().call_later(int(rest) / 1_000, self._transport.write, _empty(200))

    def act_drip(self, rest: str, attempt: int) -> None:
        """A body of 1 MB, a byte a second."""
        self._transport.write(_head(200, "content-length: 1000000"))
        self._drip()

    def _drip(self) -> None:
        if self._is_open:
            self._transport.write(b"a")
            asyncio.get_running_loop().call_later(1, self._drip)

    def act_huge(self, rest: str, attempt: int) -> None:
        """A body of 1 GB, as fast as it is taken."""
        self._transport.write(_head(200, f"content-length: {_GB}"))
        self._left = _GB
        self._pour()

    def _pour(self) -> None:
        for _ in range(_PIECES_AT_ONCE):
            if not (self._is_open and self._may_write and self._left):
                return
            piece = self._piece[: self._left]
            self._left -= len(piece)
            self._transport.write(piece)
        asyncio.get_running_loop().call_soon(self._pour)

    def act_interim(self, rest: str, attempt: int) -> None:
        """1 GB of interim answers, as fast as they are taken, and no other."""
        self._piece, self._left = _INTERIM, _GB
        self._pour()

    def act_folded(self, rest: str, attempt: int) -> None:
        """A header that goes on in the next line, and one with a space before its colon."""
        self._transport.write(_empty(200, "x: y", "\tz", "a : b"))

    def act_many(self, rest: str, attempt: int) -> None:
        """More headers than most clients take."""
        self._transport.write(_empty(200, *(f"x-{number}: y" for number in range(500))))

    def act_cut(self, rest: str, attempt: int) -> None:
        """A body that is not all there."""
        self._transport.write(_head(200, "content-length: 1000") + b"a")
        self._transport.close()

    def act_bomb(self, rest: str, attempt: int) -> None:
        """A body of 1 MB that unpacks to a thousand times as much."""
        length = f"content-length: {len(self.bomb)}"
        self._transport.write(_head(200, "content-encoding: gzip", length))
        self._transport.write(self.bomb)

    def act_reset(self, rest: str, attempt: int) -> None:
        """Throw the connection away, as a crashed host does."""
        with socket.socket(fileno=os.dup(self._transport.get_extra_info("socket").fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()

    def act_headers(self, rest: str, attempt: int) -> None:
        """A head of 100,000 lines."""
        self._transport.write(self.flood)

    def act_flaky(self, rest: str, attempt: int) -> None:
        """Fail the first attempts, so many as the path says."""
        self._transport.write(_empty(408 if attempt <= int(rest) else 200))

    def act_switch(self, rest: str, attempt: int) -> None:
        """A black hole until it has healed."""
        if (self.folder / _HEALED).exists():
            self._transport.write(_empty(200))

    def act_heal(self, rest: str, attempt: int) -> None:
        """422 until it has healed."""
        self._transport.write(_empty(200 if (self.folder / _HEALED).exists() else 422))

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        if self._left:
            self._pour()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_open = False


class _CanaryConnection(asyncio.Protocol):
    def __init__(self, file: int) -> None:
        self._file = file

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        os.write(self._file, b"%s %.3f\n" % (str(transport.get_extra_info("peername")).encode(), time.time()))
        transport.close()


async def _serve_hostile(folder: Path, canary_url: str) -> None:
    Hostile.folder, Hostile.canary_url = folder, canary_url
    Hostile.bomb = gzip.compress(bytes(_BOMB_BYTES)) * _BOMBS
    Hostile.flood = _empty(200, *(f"x-{number}: y" for number in range(_HEADERS)))
    ledger = os.open(folder / "hostile.ledger", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    loop = asyncio.get_running_loop()
    servers = {
        word: await loop.create_server(lambda: Hostile(ledger), "127.0.0.1", 0, backlog=1024)
        for word in Hostile.words()
    }
    print(json.dumps({word: server.sockets[0].getsockname()[1] for word, server in servers.items()}))
    await asyncio.gather(*(server.serve_forever() for server in servers.values()))


async def _serve_canary(path: Path) -> None:
    file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    loop = asyncio.get_running_loop()
    for _ in range(20):  # until a port is free at both addresses
        four = await loop.create_server(lambda: _CanaryConnection(file), "127.0.0.1", 0, backlog=1024)
        port = four.sockets[0].getsockname()[1]
        with suppress(OSError):
            six = await loop.create_server(lambda: _CanaryConnection(file), "::1", port, backlog=1024)
            break
        four.close()
    else:
        raise OSError("no port is free at 127.0.0.1 and at ::1")
    print(json.dumps({"canary": port}))
    await asyncio.gather(four.serve_forever(), six.serve_forever())


class HostileReceiver(Receiver):
    """A running hostile receiver and its ledger."""

    def __init__(self, ports: dict[str, int], folder: Path) -> None:
        super().__init__(ports["ok"], folder / "hostile.ledger")
        self._ports = ports
        self._folder = folder

    def at(self, path: str) -> str:
        """Return the URL of a behaviour, such as `/status/500`."""
        return f"http://127.0.0.1:{self._ports[path.split('/')[1]]}{path}"

    def heal(self) -> float:
        """End the misbehaviour of `/switch` and `/heal`; return when, epoch ms."""
        (self._folder / _HEALED).touch()
        return time.time() * 1000


class Canary:
    """A running canary, at 127.0.0.1 and ::1 on one port."""

    def __init__(self, port: int, file: Path) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/canary"
        self._file = file

    def visits(self) -> list[str]:
        """Return who connected so far."""
        return self._file.read_text().splitlines()


@contextmanager
def running_hostile(folder: Path, canary_url: str = "http://127.0.0.1:9/") -> Iterator[HostileReceiver]:
    """Start a hostile receiver that writes to `folder`; end it on the way out."""
    with _running(["receiver", str(folder), canary_url]) as ports:
        yield HostileReceiver(ports, folder)


@contextmanager
def running_canary(folder: Path) -> Iterator[Canary]:
    """Start a canary that writes to `folder`; end it on the way out."""
    file = folder / "canary.visits"
    with _running(["canary", str(file)]) as ports:
        yield Canary(ports["canary"], file)


@contextmanager
def _running(arguments: Sequence[str]) -> Iterator[dict[str, int]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.harness.hostile", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    if sys.argv[1] == "canary":
        uvloop.run(_serve_canary(Path(sys.argv[2])))
    else:
        uvloop.run(_serve_hostile(Path(sys.argv[2]), sys.argv[3]))
