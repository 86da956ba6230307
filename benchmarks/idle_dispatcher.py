"""What a dispatcher costs that owns many poller instances and has nothing to do, on an etcd of this machine.

    PYTHONPATH=. python benchmarks/idle_dispatcher.py [apps] [partitions each] [idle seconds] [cassandra]

The store is in memory and keeps no marks, so that memory is the dispatcher's own: instances, ring, claims.
With `cassandra` it is a real one on this machine, whose driver keeps something for each statement under way;
give it few apps of many partitions, for each app is registered. One node owns all of them. `of a core` is
this process's processor time.
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
from ringtime_local import CassandraServer, LocalServers
from ringtime_shared.clock import SystemClock
from ringtime_shared.coordination.etcd import EtcdSession
from ringtime_shared.coordination.protocol import Member
from ringtime_shared.models.app import App, Instance
from ringtime_shared.settings import CassandraSettings, CoordinationSettings
from ringtime_shared.stores.cassandra import CassandraStore, migrate
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


async def in_memory(clock: SystemClock) -> NoMarks:
    return NoMarks(clock.now_ms)


async def on_cassandra(server: CassandraServer) -> CassandraStore:
    settings = CassandraSettings(
        contact_points=tuple(server.contact_points),
        port=server.port,
        keyspace="idle",
        request_timeout_ms=10_000,
    )
    await migrate(settings)
    return await CassandraStore.connect(settings)


async def register(
    store: MemoryStore | CassandraStore, clock: SystemClock, apps: int, partitions: int
) -> None:
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
    if isinstance(store, MemoryStore):
        store._marks.clear()  # noqa: SLF001 - first marks, which are the store's


async def measure(servers: LocalServers, apps: int, partitions: int, idle_s: float, *, is_real: bool) -> None:
    clock = SystemClock()
    store = await (on_cassandra(servers.cassandra) if is_real else in_memory(clock))
    await register(store, clock, apps, partitions)
    endpoint = servers.etcd.endpoint
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
    await store.close()


if __name__ == "__main__":
    is_real_ = "cassandra" in sys.argv
    given = [float(text) for text in sys.argv[1:] if text != "cassandra"]
    apps_, partitions_, idle_ = given + [10_000, 10, 30][len(given) :]
    with LocalServers(cassandra=is_real_, kafka=False) as servers_:
        asyncio.run(measure(servers_, int(apps_), int(partitions_), idle_, is_real=is_real_))
