"""What a create by library call costs, on a folder: many at once, one by one, and in batches.

    PYTHONPATH=. python benchmarks/library_creates.py [creates]

`cpu us` is the processor time of this process, user and system, for each create: the caller's part included.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvloop

from ringtime import Ringtime
from ringtime_client import NewSchedule

AT_ONCE = 64
BATCH = 1_000
CALLBACK = {"type": "http", "details": {"url": "http://127.0.0.1:9/", "method": "POST"}}
PAYLOAD = "x" * 200


async def report(name: str, count: int, work: Callable[[], Awaitable[object]]) -> None:
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    await work()
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    print(f"{name:20}{count:8}{count / took_s:10,.0f}/s{cpu_s / count * 1e6:10.0f} cpu us", flush=True)


async def measure(folder: Path, count: int) -> None:
    far = datetime.now(UTC) + timedelta(days=1)
    async with Ringtime(folder) as ringtime:
        await ringtime.register_app("bench", partitions=20)

        def at(number: int) -> datetime:
            return far + timedelta(seconds=number % 600)

        async def one_after_another(numbers: range) -> None:
            for number in numbers:
                await ringtime.create_schedule("bench", payload=PAYLOAD, at=at(number), callback=CALLBACK)

        async def many_at_once() -> None:
            await asyncio.gather(*(one_after_another(range(n, count, AT_ONCE)) for n in range(AT_ONCE)))

        async def batches() -> None:
            for first in range(0, count, BATCH):
                await ringtime.create_schedules(
                    [
                        NewSchedule(app_id="bench", payload=PAYLOAD, at=at(first + n), callback=CALLBACK)
                        for n in range(BATCH)
                    ]
                )

        await one_after_another(range(min(count, 1_000)))  # warms up
        await report(f"{AT_ONCE} at once", count, many_at_once)
        await report("one by one", count // 20, lambda: one_after_another(range(count // 20)))
        await report(f"in batches of {BATCH}", -(-count // BATCH) * BATCH, batches)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with (
        tempfile.TemporaryDirectory(prefix="ringtime-bench-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(measure(Path(folder), count))


if __name__ == "__main__":
    main()
