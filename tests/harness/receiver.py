"""A receiver of callbacks: a process that notes each one in its ledger before it answers.

Run as `python -m tests.harness.receiver LEDGER`; it prints its port. A ledger line is
`schedule id, arrival in ms (with decimals), attempt, term, request target`, separated by spaces.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import httptools
import uvloop

_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class LedgerConnection(asyncio.Protocol):
    """Notes each request and answers 200; override `answer` to do worse."""

    def __init__(self, ledger: int) -> None:
        self._ledger = ledger
        self._parser = httptools.HttpRequestParser(self)
        self._headers: dict[bytes, bytes] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._arrived_ms = time.time() * 1000
        self._parser.feed_data(data)

    def on_url(self, target: bytes) -> None:
        self._target = target

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_message_complete(self) -> None:
        headers, self._headers = self._headers, {}
        line = b"%s %.3f %s %s %s\n" % (
            headers.get(b"schedule-id", b"-"),
            self._arrived_ms,
            headers.get(b"ringtime-attempt", b"0"),
            headers.get(b"ringtime-term", b"0"),
            self._target,
        )
        os.write(self._ledger, line)
        self.answer(self._target.decode(), int(headers.get(b"ringtime-attempt", b"0")))

    def answer(self, target: str, attempt: int) -> None:
        """Answer a request that is in the ledger."""
        self._transport.write(_OK)


async def _serve(ledger: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: LedgerConnection(ledger), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@dataclass(frozen=True, slots=True)
class Arrival:
    """One callback, as it came in."""

    at_ms: float
    attempt: int
    term: int
    target: str


class Receiver:
    """A running receiver and its ledger."""

    def __init__(self, port: int, ledger: Path) -> None:
        self.url = f"http://127.0.0.1:{port}/callback"
        self._ledger = ledger
        self._read_bytes = 0
        self._found: dict[str, list[Arrival]] = defaultdict(list)

    def count(self) -> int:
        """Return how many callbacks came so far, repeats included."""
        return self._ledger.read_bytes().count(b"\n")

    def arrivals(self) -> dict[str, list[Arrival]]:
        """Return what came so far, by schedule id; none came of one that is not there.

        Cheap to ask again and again: only what is new is read.
        """
        with self._ledger.open("rb") as file:
            file.seek(self._read_bytes)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        for line in whole.decode().splitlines():
            schedule_id, at_ms, attempt, term, target = line.split()
            self._found[schedule_id].append(Arrival(float(at_ms), int(attempt), int(term), target))
        return defaultdict(list, {each: list(arrivals) for each, arrivals in self._found.items()})


@contextmanager
def running_receiver(folder: Path) -> Iterator[Receiver]:
    """Start a receiver that writes to `folder`; end it on the way out."""
    ledger = folder / "receiver.ledger"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.harness.receiver", str(ledger)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield Receiver(int(process.stdout.readline()), ledger)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    uvloop.run(_serve(os.open(sys.argv[1], os.O_CREAT | os.O_APPEND | os.O_WRONLY)))
