"""What one `ringtime serve` process can do, and what it costs: creates, callbacks, idleness.

    PYTHONPATH=. python benchmarks/bench_embedded.py [--creates N] [--callbacks N] [--idle-s S]
        [--idle-apps N] [--idle-partitions N]

Real processes on the loopback interface: the server, a receiver that notes each callback in a file before
it answers, and this one, the client. They share the machine's cores, so rates are a floor; `cpu us` is the
processor time of the server alone, user and system, per create or callback.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.harness.client import Answer, LoadClient
from tests.harness.load import wait_until
from tests.harness.receiver import Receiver, running_receiver
from tests.harness.server import ServerProcess

from ringtime import Ringtime

CONNECTIONS = 64
PAYLOAD = '{"order":123456,"customer":"abcdef"}'
WAIT_S = 90  #: longest wait for callbacks
FAR_S, SPREAD_S = 86_400, 600  #: creates whose callbacks are not wanted fall due here


@contextmanager
def running_server(data: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(data)
    try:
        server.start()
        yield server
    finally:
        server.close()


async def register(client: LoadClient, app_id: str, partitions: int) -> None:
    answer = await client.request(
        "POST", "/apps", {"appId": app_id, "partitions": partitions, "active": True}
    )
    assert answer.status == 200, answer


def create_body(url: str, fire_ms: int) -> dict[str, Any]:
    return {
        "appId": "bench",
        "payload": PAYLOAD,
        "scheduleTime": fire_ms / 1000,
        "callback": {"type": "http", "details": {"url": url, "method": "POST", "headers": {"X-Bench": "1"}}},
    }


async def in_turns(count: int, call: Callable[[int], Awaitable[Any]]) -> None:
    """Make `count` calls, `CONNECTIONS` at a time."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await call(number)

    await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))


def report(name: str, count: int, wall_s: float, cpu_s: float) -> None:
    print(f"{name:44}{count:8}{count / wall_s:10,.0f}/s{cpu_s / count * 1e6:10.0f} cpu us", flush=True)


def resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


async def http_creates(server: ServerProcess, client: LoadClient, url: str, count: int) -> None:
    far_ms = int((time.time() + FAR_S) * 1000)

    async def create(number: int) -> None:
        answer: Answer = await client.request(
            "POST", "/schedules", create_body(url, far_ms + number * SPREAD_S * 1000 // count)
        )
        assert answer.status == 200, answer

    await in_turns(min(count, 1_000), create)  # warm up: connections, statements, caches
    began_s, began_cpu_s = time.perf_counter(), server.cpu_s()
    await in_turns(count, create)
    report("create over HTTP", count, time.perf_counter() - began_s, server.cpu_s() - began_cpu_s)


async def callbacks(server: ServerProcess, client: LoadClient, receiver: Receiver, count: int) -> None:
    """All due in the same moment, so that the server never waits for a slot."""
    due_ms = int(time.time() * 1000) + 4_000 + count * 2 // 3  # 1,500 creates/s would make it
    late = 0

    async def create(_: int) -> None:
        nonlocal late
        answer: Answer = await client.request("POST", "/schedules", create_body(receiver.url, due_ms))
        late += time.time() * 1000 > due_ms
        assert answer.status == 200, answer

    await in_turns(count, create)
    assert late == 0, "creating took too long: these callbacks were due before"
    await asyncio.sleep(max(due_ms / 1000 - 0.5 - time.time(), 0))
    began_cpu_s = server.cpu_s()
    await wait_until(lambda: receiver.count() >= count, timeout_s=WAIT_S)
    await asyncio.sleep(1)  # the last outcomes
    used_s = server.cpu_s() - began_cpu_s
    arrived_ms = sorted(found[0].at_ms for found in receiver.arrivals().values())
    assert len(arrived_ms) == receiver.count() == count, (len(arrived_ms), receiver.count(), count)
    report("callback over HTTP, all due at once", count, (arrived_ms[-1] - due_ms) / 1000, used_s)


async def library_creates(folder: Path, count: int) -> None:
    """CPU here is that of this process, the caller's part included."""
    far = datetime.now(UTC) + timedelta(seconds=FAR_S)
    callback = {"type": "http", "details": {"url": "http://127.0.0.1:9/", "method": "POST"}}
    async with Ringtime(folder) as ringtime:
        await ringtime.register_app("bench", partitions=20)

        async def create(number: int) -> None:
            at = far + timedelta(seconds=number * SPREAD_S / count)
            await ringtime.create_schedule("bench", payload=PAYLOAD, at=at, callback=callback)

        await in_turns(min(count, 1_000), create)
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        await in_turns(count, create)
        report(
            f"create by library call, {CONNECTIONS} at once",
            count,
            time.perf_counter() - began_s,
            time.process_time() - began_cpu_s,
        )
        few = max(count // 20, 1)
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        for number in range(few):
            await create(number)
        report(
            "create by library call, one by one",
            few,
            time.perf_counter() - began_s,
            time.process_time() - began_cpu_s,
        )


async def idle(server: ServerProcess, client: LoadClient, seconds: float, apps: int, partitions: int) -> None:
    """Count whole minutes if you can: idle instances are sealed once in each."""
    before_mib = resident_mib(server.pid)
    for number in range(apps):
        await register(client, f"idle-{number}", partitions)
    await asyncio.sleep(5)  # claimed and taken over; the server has no way to say so
    began_s, began_cpu_s = time.perf_counter(), server.cpu_s()
    await asyncio.sleep(seconds)
    share = (server.cpu_s() - began_cpu_s) / (time.perf_counter() - began_s)
    print(
        f"idle, {apps * partitions:,} poller instances, {seconds:.0f} s: {share:.1%} of a core, "
        f"{resident_mib(server.pid):.0f} MiB resident ({before_mib:.0f} MiB without them)",
        flush=True,
    )


async def run(folder: Path, options: argparse.Namespace) -> None:
    with running_receiver(folder) as receiver, running_server(folder / "busy") as server:
        async with LoadClient(server.base, CONNECTIONS) as client:
            await register(client, "bench", 20)
            await http_creates(server, client, receiver.url, options.creates)
            await callbacks(server, client, receiver, options.callbacks)
    await library_creates(folder / "library", options.creates)
    if options.idle_s:
        with running_server(folder / "idle") as server:
            async with LoadClient(server.base, 1) as client:
                await idle(server, client, options.idle_s, options.idle_apps, options.idle_partitions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--creates", type=int, default=20_000, choices=range(100, 200_001), metavar="N")
    parser.add_argument("--callbacks", type=int, default=10_000, choices=range(100, 50_001), metavar="N")
    parser.add_argument("--idle-s", type=float, default=60, metavar="S", help="0 leaves the idle case out")
    parser.add_argument("--idle-apps", type=int, default=10, choices=range(1, 1_001), metavar="N")
    parser.add_argument("--idle-partitions", type=int, default=1_000, choices=range(1, 4_097), metavar="N")
    with tempfile.TemporaryDirectory(prefix="ringtime-bench-") as folder:
        asyncio.run(run(Path(folder), parser.parse_args()))


if __name__ == "__main__":
    main()
