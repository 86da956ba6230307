"""What a list of one app's schedules costs on real Cassandra: rows a second, processor time, memory.

    PYTHONPATH=. python benchmarks/list_schedules.py [--rows N] [--address HOST:PORT:PID | --sqlite]

Files N rows (a million, unless said otherwise) of one app with 16 partitions over two hours, every third
with its outcome, and lists them in pages of 1,000 as the HTTP route does, while others are created; then an
empty month. Without an address, and the id of Cassandra's process, a server is started, as for the service
tests. With `--sqlite` the rows are in a folder, and the processor time is that of the database, too;
`--profile` says where this process spends it, `--minutes` makes the rows lie closer.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import resource
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from uuid import uuid4

import orjson
import uvloop

from benchmarks.cassandra_store import done, make_row
from benchmarks.processes import cpu_s
from ringtime_ingest.service import IngestParts, IngestService, NewApp
from ringtime_ingest.service.listing import ListQuery
from ringtime_local import LocalServers
from ringtime_local.addresses import Address, parse_addresses
from ringtime_local.servers import CASSANDRA_VARIABLE
from ringtime_shared.api.schedules import page_to_json
from ringtime_shared.clock import SystemClock
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.process.service import settle_memory
from ringtime_shared.settings import AppLimits, CassandraSettings, IngestSettings
from ringtime_shared.stores.cassandra import CassandraStore, migrate
from ringtime_shared.stores.sqlite import SqliteStore

APP, PARTITIONS = "checkout-service", 16
HOUR_MS = 3_600_000
SPAN_MS = 2 * HOUR_MS


async def run_cassandra(address: Address, pid: int, count: int, profiled: bool) -> None:
    settings = CassandraSettings(
        contact_points=(address.host,),
        port=address.port,
        keyspace=f"bench_{uuid4().hex[:8]}",
        request_timeout_ms=20_000,
    )
    await migrate(settings)
    await run(await CassandraStore.connect(settings), count, profiled, pid)


async def run_sqlite(count: int, profiled: bool) -> None:
    with TemporaryDirectory() as folder:
        await run(await SqliteStore.open(Path(folder)), count, profiled)


async def run(
    store: CassandraStore | SqliteStore, count: int, profiled: bool, pid: int | None = None
) -> None:
    service = await IngestService.start(
        IngestParts(
            store=store,
            clock=SystemClock(),
            settings=IngestSettings(),
            limits=AppLimits(),
            callbacks={},
            holder="bench",
        )
    )
    try:
        new = NewApp(app_id=APP, partitions=PARTITIONS, active=True, configuration=AppConfiguration())
        app = await service.register_app(new)
        start_ms = SystemClock().now_ms() + 24 * HOUR_MS
        rng = Random(1)
        begun = time.perf_counter()

        async def fill(size: int) -> None:
            rows = [
                make_row(app, rng.randrange(PARTITIONS), start_ms + rng.randrange(SPAN_MS))
                for _ in range(size)
            ]
            await store.put_rows(rows)
            await store.put_updates([done(row) for row in rows[::3]])

        for _ in range(0, count, 4_000):
            await asyncio.gather(*(fill(500) for _ in range(8)))
        print(f"{count:,} rows filed in {time.perf_counter() - begun:.0f} s")
        settle_memory()  # as a server does when it has started
        profile = cProfile.Profile()
        if profiled:
            profile.enable()
        await list_all(service, start_ms, count, fill, pid)
        if profiled:
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        begun = time.perf_counter()
        month = ListQuery(
            app_id=APP, start_ms=start_ms - 61 * 24 * HOUR_MS, end_ms=start_ms - 30 * 24 * HOUR_MS
        )
        page = await service.listing.fetch(month)
        print(f"an empty month: {(time.perf_counter() - begun) * 1_000:.1f} ms, {len(page.rows)} rows")
    finally:
        await service.close()
        await store.close()


async def list_all(
    service: IngestService, start_ms: int, count: int, fill: Callable[[int], Awaitable[None]], pid: int | None
) -> None:
    """`pid`: of Cassandra."""
    stopped = asyncio.Event()

    async def create_meanwhile() -> None:
        while not stopped.is_set():
            await fill(20)
            await asyncio.sleep(0.5)

    others = asyncio.create_task(create_meanwhile())
    before_mib = peak_mib()
    there_s = 0.0 if pid is None else cpu_s(pid)
    wall_s, here_s = time.perf_counter(), time.process_time()
    seen, last, sizes, slowest, token = 0, (0, ""), 0, 0.0, ""
    pages = 0
    while True:
        begun = time.perf_counter()
        query = ListQuery(app_id=APP, start_ms=start_ms, end_ms=start_ms + SPAN_MS, size=1_000, token=token)
        page = await service.listing.fetch(query)
        sizes += len(orjson.dumps(page_to_json(page.rows, page.token, page.next_ms, page.unreadable)))
        slowest = max(slowest, time.perf_counter() - begun)
        for row in page.rows:
            key = (row.place.slot_ms, str(row.schedule.schedule_id))
            assert key > last, "out of order, or twice"
            last = key
        seen += len(page.rows)
        pages += 1
        token = page.token
        if not token:
            break
    wall_s, here_s = time.perf_counter() - wall_s, time.process_time() - here_s
    there = "" if pid is None else f" and {(cpu_s(pid) - there_s) / seen * 1e6:.1f} of Cassandra"
    stopped.set()
    await others
    assert seen >= count, f"{count - seen} are missing"
    print(
        f"{seen:,} listed in {pages:,} pages, {wall_s:.1f} s: {seen / wall_s:,.0f}/s,"
        f" {here_s / seen * 1e6:.1f} cpu us a row here{there}, slowest page {slowest * 1_000:.0f} ms,"
        f" {sizes / seen:.0f} B a row, {peak_mib() - before_mib:.0f} MiB more at the peak"
    )


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--address", default="")
    parser.add_argument("--sqlite", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--minutes", type=int, default=120)
    options = parser.parse_args()
    SPAN_MS = options.minutes * 60_000
    if options.sqlite:
        uvloop.run(run_sqlite(options.rows, options.profile))
    elif options.address:
        host_and_port, _, number = options.address.rpartition(":")
        address = parse_addresses(host_and_port, source="the address")[0]
        uvloop.run(run_cassandra(address, int(number), options.rows, options.profile))
    else:
        os.environ.pop(CASSANDRA_VARIABLE, None)
        with LocalServers(kafka=False, etcd=False) as servers:
            node = servers.cassandra.nodes[0]
            uvloop.run(run_cassandra(node.address, node.pid, options.rows, options.profile))
