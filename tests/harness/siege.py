"""Connections that are there to be there: a process that opens many, and opens again what is closed.

Run as `python -m tests.harness.siege PORT EACH AGAIN_S`: so many that say nothing, so many that send a
request byte by byte, and so many that stop in the middle of a body. It prints a line once it has tried each.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvloop

_BODY_BYTES = 60_000
_HEAD = (
    b"POST /goscheduler/schedules HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % _BODY_BYTES
)
_OPENING = 50  #: at once, so that a siege is no flood of new connections


async def _idle(writer: asyncio.StreamWriter) -> None:
    """Say nothing."""


async def _drip(writer: asyncio.StreamWriter) -> None:
    for byte in _HEAD + b" " * _BODY_BYTES:
        writer.write(bytes([byte]))
        await asyncio.sleep(1)


async def _half(writer: asyncio.StreamWriter) -> None:
    writer.write(_HEAD + b" " * (_BODY_BYTES // 2))


async def _hold(
    port: int, act: int, again_s: float, opening: asyncio.Semaphore, tried: asyncio.Semaphore
) -> None:
    while True:
        with suppress(OSError):
            async with opening:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            tried.release()
            acting = asyncio.create_task((_idle, _drip, _half)[act](writer))
            with suppress(OSError):
                while await reader.read(4_096):
                    pass
            acting.cancel()
            writer.transport.abort()
        await asyncio.sleep(again_s)


async def _main(port: int, each: int, again_s: float) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    opening, tried = asyncio.Semaphore(_OPENING), asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as group:
        for number in range(3 * each):
            group.create_task(_hold(port, number % 3, again_s, opening, tried))
        for _ in range(3 * each):
            await tried.acquire()
        print("besieged", flush=True)


@contextmanager
def besieging(port: int, *, each: int, again_s: float) -> Iterator[None]:
    """Besiege a server of this machine until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.harness.siege", str(port), str(each), str(again_s)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "besieged\n"
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
