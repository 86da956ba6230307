"""What a list of one app's schedules costs on real Cassandra: rows a second, processor time, memory.

    PYTHONPATH=. python benchmarks/list_schedules.py [--rows N] [--address HOST:PORT:PID | --sqlite] [--http]

Files N rows (a million, unless said otherwise) of one app with 16 partitions over two hours, every third
with its outcome, and lists them in pages of 1,000 as the HTTP route does, while others are created; then an
empty month. With `--http` an ingest pod of its own is asked for the pages, and processor time and memory
are the pod's. Without an address, and the id of Cassandra's process, a server is started, as for the service
tests. With `--sqlite` the rows are in a folder, and the processor time is that of the database, too;
`--profile` says where this process spends it, `--minutes` makes the rows lie closer, `--keyspace` names one
that is kept: another run lists what the first one filed there, and what was created since.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import NamedTuple, Protocol
from urllib.parse import urlencode
from uuid import UUID, uuid4

import orjson
import uvloop

from benchmarks.cassandra_store import done, make_row
from benchmarks.processes import cpu_s
from ringtime_ingest.service import IngestParts, IngestService, NewApp
from ringtime_ingest.service.listing import ListQuery
from ringtime_local import LocalServers
from ringtime_local.addresses import Address, parse_addresses
from ringtime_local.cluster import Pod
from ringtime_local.ports import take_ports
from ringtime_local.servers import CASSANDRA_VARIABLE
from ringtime_shared.api.instants import to_iso
from ringtime_shared.api.schedules import page_to_json
from ringtime_shared.clock import SystemClock
from ringtime_shared.ids import home_slot
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.process.service import settle_memory
from ringtime_shared.settings import AppLimits, CassandraSettings, IngestSettings
from ringtime_shared.stores.cassandra import CassandraStore, migrate
from ringtime_shared.stores.sqlite import SqliteStore

APP, PARTITIONS = "checkout-service", 16
HOUR_MS = 3_600_000
SPAN_MS = 2 * HOUR_MS


class Page(NamedTuple):
    ids: Sequence[str]
    token: str
    size_bytes: int


class Ask(Protocol):
    async def __call__(self, start_ms: int, token: str, span_ms: int | None = None) -> Page: ...


async def run_cassandra(address: Address, pid: int, options: argparse.Namespace) -> None:
    settings = CassandraSettings(
        contact_points=(address.host,),
        port=address.port,
        keyspace=options.keyspace or f"bench_{uuid4().hex[:8]}",
        request_timeout_ms=20_000,
    )
    await migrate(settings)
    store = await CassandraStore.connect(settings)
    if not options.http:
        await run(store, options.rows, options.profile, pid)
        return
    with TemporaryDirectory() as folder:
        config = Path(folder) / "pod.json"
        there = {"contact_points": [address.host], "port": address.port, "keyspace": settings.keyspace}
        config.write_text(json.dumps({"cassandra": there, "access": {"keys": "off"}}))
        pod = Pod("ingest", "ringtime_ingest.main", take_ports(1)[0], config, ())
        try:
            await asyncio.to_thread(pod.wait_ready, time.monotonic() + 60)
            await run(store, options.rows, options.profile, pid, pod)
        finally:
            await asyncio.to_thread(pod.process.stop, 20)


async def run_sqlite(count: int, profiled: bool) -> None:
    with TemporaryDirectory() as folder:
        await run(await SqliteStore.open(Path(folder)), count, profiled)


async def run(
    store: CassandraStore | SqliteStore,
    count: int,
    profiled: bool,
    pid: int | None = None,
    pod: Pod | None = None,
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
        found = await store.fetch_app(APP)
        app = found or await service.register_app(new)
        start_ms = app.created_ms + 24 * HOUR_MS
        rng = Random(1 if found is None else None)
        begun = time.perf_counter()

        async def fill(size: int) -> list[str]:
            rows = [
                make_row(app, rng.randrange(PARTITIONS), start_ms + rng.randrange(SPAN_MS))
                for _ in range(size)
            ]
            await store.put_rows(rows)
            await store.put_updates([done(row) for row in rows[::3]])
            return [str(row.schedule.schedule_id) for row in rows]

        if found is None:
            for _ in range(0, count, 4_000):
                await asyncio.gather(*(fill(500) for _ in range(8)))
            print(f"{count:,} rows filed in {time.perf_counter() - begun:.0f} s", flush=True)
        settle_memory()  # as a server does when it has started
        profile = cProfile.Profile()
        if profiled:
            profile.enable()
        ask = partial(ask_service, service) if pod is None else Http(pod).ask
        await list_all(ask, start_ms, count, fill, pid, pod)
        if profiled:
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        begun = time.perf_counter()
        page = await ask(start_ms - 61 * 24 * HOUR_MS, "", span_ms=31 * 24 * HOUR_MS)
        print(f"an empty month: {(time.perf_counter() - begun) * 1_000:.1f} ms, {len(page.ids)} rows")
    finally:
        await service.close()
        await store.close()


async def ask_service(service: IngestService, start_ms: int, token: str, span_ms: int | None = None) -> Page:
    """Do what the route does, in this process."""
    end_ms = start_ms + (span_ms or SPAN_MS)
    query = ListQuery(app_id=APP, start_ms=start_ms, end_ms=end_ms, size=1_000, token=token)
    page = await service.listing.fetch(query)
    size_bytes = len(orjson.dumps(page_to_json(page.rows, page.token, page.next_ms, page.unreadable)))
    return Page([str(row.schedule.schedule_id) for row in page.rows], page.token, size_bytes)


class Http:
    """Asks a pod, on one connection."""

    def __init__(self, pod: Pod) -> None:
        self._connection = HTTPConnection("127.0.0.1", pod.port, timeout=60)

    async def ask(self, start_ms: int, token: str, span_ms: int | None = None) -> Page:
        return await asyncio.to_thread(self._ask, start_ms, start_ms + (span_ms or SPAN_MS), token)

    def _ask(self, start_ms: int, end_ms: int, token: str) -> Page:
        asked = {
            "start_time": to_iso(start_ms),
            "end_time": to_iso(end_ms),
            "size": 1_000,
            "continuation_token": token,
        }
        self._connection.request("GET", f"/goscheduler/apps/{APP}/schedules?{urlencode(asked)}")
        with self._connection.getresponse() as answer:
            body = answer.read()
        assert answer.status == 200, body[:500]
        data = orjson.loads(body)["data"]
        ids = [each["scheduleId"] for each in data["schedules"]]
        return Page(ids, data["continuationToken"], len(body))


async def list_all(
    ask: Ask,
    start_ms: int,
    count: int,
    fill: Callable[[int], Awaitable[list[str]]],
    pid: int | None,
    pod: Pod | None,
) -> None:
    """`pid`: of Cassandra."""
    stopped, new = asyncio.Event(), set[str]()

    async def create_meanwhile() -> None:
        while not stopped.is_set():
            new.update(await fill(20))
            await asyncio.sleep(0.5)

    def used_s() -> float:
        return time.process_time() if pod is None else cpu_s(pod.process.pid)

    others = asyncio.create_task(create_meanwhile())
    before_mib = peak_mib(pod)
    there_s = 0.0 if pid is None else cpu_s(pid)
    here_s = used_s()
    seen, last, sizes, slowest, token = 0, (0, ""), 0, 0.0, ""
    times_s, found, early_mib = [0.0], set[str](), 0.0
    while True:
        begun = time.perf_counter()
        page = await ask(start_ms, token)
        times_s.append(time.perf_counter() - begun)
        for each in page.ids:
            key = home_slot(UUID(each)), each
            assert key > last, "out of order, or twice"
            last = key
        found.update(new.intersection(page.ids))
        seen += len(page.ids)
        sizes += page.size_bytes
        token = page.token
        if len(times_s) <= 51:  # the first is none
            early_mib = peak_mib(pod)
        if not token:
            break
    wall_s, slowest, here_s = sum(times_s), max(times_s), used_s() - here_s
    there = "" if pid is None else f" and {(cpu_s(pid) - there_s) / seen * 1e6:.1f} of Cassandra"
    stopped.set()
    await others
    assert seen - len(found) >= count, f"{count - seen + len(found)} are missing"
    print(
        f"{seen:,} listed, {len(found):,} of which created meanwhile, in {len(times_s) - 1:,} pages,"
        f" {wall_s:.1f} s: {seen / wall_s:,.0f}/s,"
        f" {here_s / seen * 1e6:.1f} cpu us a row here{there}, slowest page {slowest * 1_000:.0f} ms,"
        f" {sizes / seen:.0f} B a row, {peak_mib(pod) - before_mib:.0f} MiB more at the peak,"
        f" {peak_mib(pod) - early_mib:.0f} of which after 50 pages"
    )


def peak_mib(pod: Pod | None) -> float:
    status = Path(f"/proc/{'self' if pod is None else pod.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1_024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--address", default="")
    parser.add_argument("--sqlite", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--minutes", type=int, default=120)
    parser.add_argument("--http", action="store_true")
    parser.add_argument("--keyspace", default="")
    options = parser.parse_args()
    SPAN_MS = options.minutes * 60_000
    if options.sqlite:
        uvloop.run(run_sqlite(options.rows, options.profile))
    elif options.address:
        host_and_port, _, number = options.address.rpartition(":")
        address = parse_addresses(host_and_port, source="the address")[0]
        uvloop.run(run_cassandra(address, int(number), options))
    else:
        os.environ.pop(CASSANDRA_VARIABLE, None)
        with LocalServers(kafka=False, etcd=False) as servers:
            node = servers.cassandra.nodes[0]
            uvloop.run(run_cassandra(node.address, node.pid, options))
