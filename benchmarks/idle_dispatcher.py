"""What a dispatcher costs that owns many poller instances and has nothing to do, on an etcd of this machine.

    PYTHONPATH=. python benchmarks/idle_dispatcher.py [apps] [partitions each] [idle seconds]

The store is in memory and keeps no marks, so that memory is the dispatcher's own: instances, ring, claims.
One node owns all of them. `of a core` is this process's processor time.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.harness.load import wait_until

from ringtime_dispatcher.engine import Dispatcher, DispatcherParts
from ringtime_local import LocalServers
from ringtime_shared.clock import SystemClock
from ringtime_shared.coordination.etcd import EtcdSession
from ringtime_shared.coordination.protocol import Member
from ringtime_shared.models.app import App, Instance
from ringtime_shared.settings import CoordinationSettings
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import Marks, MarksWrite


class NoMarks(MemoryStore):
    """Has apps, and forgets marks."""

    async def fetch_marks(self, instances: Sequence[Instance]) -> dict[Instance, Marks]:
        return {}

    async def put_marks(self, writes: Sequence[MarksWrite]) -> None:
        await asyncio.sleep(0)


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def longest_pause(seconds: float) -> float:
    """Return the longest time in which nothing else could run, of the next seconds."""
    longest_s, until_s = 0.0, time.perf_counter() + seconds
    while (began_s := time.perf_counter()) < until_s:
        await asyncio.sleep(0.005)
        longest_s = max(longest_s, time.perf_counter() - began_s - 0.005)
    return longest_s


async def measure(endpoint: str, apps: int, partitions: int, idle_s: float) -> None:
    clock = SystemClock()
    store = NoMarks(clock.now_ms)
    for number in range(apps):
        await store.create_app(
            App(
                app_id=f"app-{number:05}",
                number=0,
                writable=partitions,
                polled=partitions,
                active=True,
                version=1,
                created_ms=clock.now_ms(),
            )
        )
    store._marks.clear()  # noqa: SLF001 - first marks, which are the store's
    settings = CoordinationSettings(endpoints=(endpoint,), prefix="/idle", ttl_s=30)
    dispatcher = Dispatcher(
        DispatcherParts(
            member=Member(node="n1"),
            store=store,
            clock=clock,
            new_session=lambda: EtcdSession(settings, clock),
            callbacks={},
            coordination=settings,
        )
    )
    count = apps * partitions
    before, began_s, began_cpu_s = resident_bytes(), time.perf_counter(), time.process_time()
    pause = asyncio.create_task(longest_pause(5))
    await dispatcher.start()
    await wait_until(lambda: len(dispatcher.owned) == count, timeout_s=300)
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    print(
        f"{count:,} poller instances, {apps:,} apps: owned after {took_s:.1f} s, {cpu_s:.1f} s of processor"
    )
    print(f"longest pause of the event loop meanwhile: {await pause * 1e3:.0f} ms")
    await asyncio.sleep(5)
    after = resident_bytes()
    print(f"memory: {after >> 20} MiB in all, {(after - before) / count:.0f} bytes for each", flush=True)
    cpu_s = time.process_time()
    longest_s = await longest_pause(idle_s)
    share = (time.process_time() - cpu_s) / idle_s
    print(f"idle for {idle_s:.0f} s: {share:.1%} of a core, longest pause {longest_s * 1e3:.0f} ms")
    print(f"memory: {resident_bytes() >> 20} MiB in all", flush=True)
    await dispatcher.stop()


if __name__ == "__main__":
    given = [float(text) for text in sys.argv[1:]]
    apps_, partitions_, idle_ = given + [10_000, 10, 30][len(given) :]
    with LocalServers(cassandra=False, kafka=False) as servers:
        asyncio.run(measure(servers.etcd.endpoint, int(apps_), int(partitions_), idle_))
