"""What a create costs through `AsyncRingtimeClient`, with and without coalescing, on `ringtime serve`.

    PYTHONPATH=. python benchmarks/client_creates.py [creates a round] [rounds]

So many callers at once, each awaiting one create after another. Medians of rounds that alternate; `cpu us` is
the processor time, user and system, of this process and of the server, for each create.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from statistics import median

import uvloop
from tests.harness.server import ServerProcess, serving

from benchmarks.processes import cpu_s
from ringtime_client import AsyncRingtimeClient, HttpCallbackDetails

CALLERS = (1, 8, 64, 256)
HOOK = HttpCallbackDetails(url="http://127.0.0.1:9/hook")


async def make(client: AsyncRingtimeClient, count: int, callers: int) -> None:
    numbers = iter(range(count))

    async def one_after_another() -> None:
        for _ in numbers:
            await client.create_schedule(
                "bench", payload="x" * 200, callback=HOOK, delay=timedelta(seconds=3_600)
            )

    await asyncio.gather(*(one_after_another() for _ in range(callers)))


async def measure(server: ServerProcess, count: int, rounds: int) -> None:
    print(f"{'callers':>8}{'':>12}{'per s':>9}{'client us':>11}{'server us':>11}{'all':>7}")
    url = server.base
    async with AsyncRingtimeClient(url) as joined, AsyncRingtimeClient(url, coalesce=False) as alone:
        await joined.register_app("bench", partitions=20)
        for callers in CALLERS:
            found: dict[str, list[tuple[float, ...]]] = {"coalesced": [], "one by one": []}
            number = count if callers > 1 else count // 10
            for n in range(rounds + 1):
                for name, client in (("coalesced", joined), ("one by one", alone)):
                    began_s, mine, its = time.perf_counter(), time.process_time(), cpu_s(server.pid)
                    await make(client, number, callers)
                    took_s = time.perf_counter() - began_s
                    used = (time.process_time() - mine, cpu_s(server.pid) - its)
                    if n:  # the first warms up
                        found[name].append((number / took_s, *(each / number * 1e6 for each in used)))
            for name, each in found.items():
                per_s, mine_us, its_us = (median(column) for column in zip(*each, strict=True))
                total = mine_us + its_us
                print(
                    f"{callers:8}{name:>12}{per_s:9,.0f}{mine_us:11.0f}{its_us:11.0f}{total:7.0f}", flush=True
                )


def main() -> None:
    given = [int(each) for each in sys.argv[1:]]
    count, rounds = (given + [5_000, 3][len(given) :])[:2]
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder)) as server,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(measure(server, count, rounds))


if __name__ == "__main__":
    main()
