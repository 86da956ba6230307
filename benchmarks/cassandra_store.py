"""Microseconds of client CPU per row, or per query, of the Cassandra store: event loop and driver thread.

    python benchmarks/cassandra_store.py [host:port]
    python benchmarks/cassandra_store.py --ways [host:port pid]

Without an address a server is started, as for the service tests. `cpu` is this process's CPU time; `wall`
adds the server, which shares the machine.

With `--ways`: reads, updates and creates, one and 64 at once, by each way that `cassandra.io` names in turns:
microseconds of this process and of Cassandra an operation, its rate, and its p99.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal
from uuid import uuid4

import uvloop

from benchmarks.processes import cpu_s
from ringtime_local import LocalServers
from ringtime_local.addresses import Address, parse_addresses
from ringtime_local.servers import CASSANDRA_VARIABLE
from ringtime_shared.buckets import first_slot, last_slot
from ringtime_shared.clock import SystemClock
from ringtime_shared.ids import IdMint, Kind
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.schedule import Outcome, Place, Row, RowUpdate, Schedule, Status
from ringtime_shared.settings import CassandraSettings
from ringtime_shared.stores.cassandra import CassandraStore, migrate
from ringtime_shared.stores.protocol import LAST_ID, DueQuery, Marks, MarksWrite, Position

PAYLOAD = '{"order":123456,"customer":"abcdef"}' * 4
DETAILS = b'{"url":"https://example.com/callback/1234567","headers":{"X-A":["1"]},"method":"POST"}'
WARM_UP_ROWS = 20_000
DAY_MS = 86_400_000

Call = Callable[[], Awaitable[object]]

mint = IdMint(1)
now_ms = SystemClock().now_ms()
first_bucket = now_ms // 60_000 + 10
APP = App(
    app_id="checkout-service",
    number=0,
    writable=1,
    polled=1,
    active=True,
    version=1,
    created_ms=now_ms,
)


def make_row(app: App, partition: int, slot_ms: int) -> Row:
    schedule = Schedule(
        schedule_id=mint.mint(
            slot_ms=slot_ms, kind=Kind.ONE_TIME, partition=partition, app_number=app.number
        ),
        app_id=app.app_id,
        fire_ms=slot_ms,
        payload=PAYLOAD,
        callback_type="http",
        callback_details=DETAILS,
        created_ms=now_ms,
        expires_ms=slot_ms + 7 * DAY_MS,
    )
    return Row(schedule=schedule, place=Place(app.app_id, partition, slot_ms))


def make_rows(app: App, count: int, bucket: int, buckets: int = 1) -> list[Row]:
    return [make_row(app, 0, first_slot(bucket + n % buckets) + n * 59_000 // count) for n in range(count)]


def query(app: App, bucket: int, limit: int = 500, after: Position | None = None) -> DueQuery:
    after = after or Position(first_slot(bucket) - 1, LAST_ID)
    return DueQuery(Instance(app.app_id, 0), bucket, after, last_slot(bucket), limit)


def done(row: Row) -> RowUpdate:
    slot_ms = row.place.slot_ms
    outcome = Outcome(
        status=Status.SUCCESS, ended_ms=slot_ms + 30, fired_ms=slot_ms + 3, attempts=1, code=200
    )
    return RowUpdate(place=row.place, schedule_id=row.schedule.schedule_id, outcome=outcome)


async def measure(name: str, unit: str, count: int, calls: Sequence[Call], at_once: int = 1) -> None:
    """Print the cost of one of `count` things that `calls` do together."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    for start in range(0, len(calls), at_once):
        await asyncio.gather(*(call() for call in calls[start : start + at_once]))
    cpu_us = (time.process_time() - cpu_s) / count * 1e6
    wall_us = (time.perf_counter() - wall_s) / count * 1e6
    print(f"{name:44} {count:7} {unit:8} {cpu_us:8.1f} cpu us {wall_us:8.1f} wall us")


async def run(address: Address) -> None:
    settings = CassandraSettings(
        contact_points=(address.host,),
        port=address.port,
        keyspace=f"bench_{uuid4().hex[:8]}",
        request_timeout_ms=20_000,
    )
    await migrate(settings)
    store = await CassandraStore.connect(settings)
    try:
        app = await store.create_app(APP)
        await cases(store, app)
    finally:
        await store.close()


async def cases(store: CassandraStore, app: App) -> None:
    for n in range(WARM_UP_ROWS // 500):
        await store.put_rows(make_rows(app, 500, first_bucket + n % 5))

    def puts(size: int, calls: int, bucket: int, buckets: int = 1) -> list[Call]:
        batches = [make_rows(app, size, bucket, buckets) for _ in range(calls)]
        return [lambda rows=rows: store.put_rows(rows) for rows in batches]  # type: ignore[misc]

    await store.put_rows(make_rows(app, 60, first_bucket + 10, 60))  # the index entries
    await measure("put_rows of 64, one bucket", "rows", 64 * 100, puts(64, 100, first_bucket + 10))
    await measure("put_rows of 64, 60 buckets", "rows", 64 * 100, puts(64, 100, first_bucket + 10, 60))
    await measure("put_rows of 64, 8 at once", "rows", 64 * 160, puts(64, 160, first_bucket + 10), 8)
    await measure("put_rows of 512, 8 at once", "rows", 512 * 40, puts(512, 40, first_bucket + 11), 8)
    await measure("put_rows of 1", "rows", 400, puts(1, 400, first_bucket + 12))
    await measure("put_rows of 1, 64 at once", "rows", 1_280, puts(1, 1_280, first_bucket + 12), 64)
    await measure(
        "put_rows of 60 with new index entries",
        "rows",
        600,
        [call for n in range(10) for call in puts(60, 1, first_bucket + 10_000 + 60 * n, 60)],
    )

    full = first_bucket + 20_000
    rows = make_rows(app, 8_000, full)
    await store.put_rows(rows)
    fetches: list[Call] = [lambda: store.fetch_due([query(app, full)]) for _ in range(40)]
    await measure("fetch_due, pages of 500", "rows", 500 * 40, fetches)
    ids: list[Call] = [lambda: store.fetch_live_ids([query(app, full, 8_000)]) for _ in range(5)]
    await measure("fetch_live_ids", "rows", 8_000 * 5, ids)

    nothing = Position(last_slot(full), LAST_ID)
    polls: list[Call] = [lambda: store.fetch_due([query(app, full, after=nothing)]) for _ in range(400)]
    await measure("fetch_due, one query that finds nothing", "queries", 400, polls)
    many = [query(app, full, after=nothing)] * 500
    await measure(
        "fetch_due, 500 queries that find nothing", "queries", 2_000, [lambda: store.fetch_due(many)] * 4
    )
    index: list[Call] = [lambda: store.fetch_index(full, full) for _ in range(200)]
    await measure("fetch_index of one minute", "calls", 200, index)
    one = [Instance(app.app_id, 0)]
    await measure("fetch_marks of one", "calls", 400, [lambda: store.fetch_marks(one)] * 400)
    writes = [
        MarksWrite(Instance(app.app_id, partition), 1 << 48, Marks(now_ms, now_ms))
        for partition in range(500)
    ]
    await measure("put_marks of 500", "writes", 5_000, [lambda: store.put_marks(writes)] * 10)

    first = rows[0]
    gets: list[Call] = [lambda: store.fetch_row(first.place, first.schedule.schedule_id) for _ in range(400)]
    await measure("fetch_row", "rows", 400, gets)

    updates = [[done(row) for row in rows[n : n + 100]] for n in range(0, 8_000, 100)]
    calls: list[Call] = [lambda part=part: store.put_updates(part) for part in updates]  # type: ignore[misc]
    await measure("put_updates of 100", "rows", 4_000, calls[:40])
    await measure("put_updates of 100, 8 at once", "rows", 4_000, calls[40:], 8)
    await measure("fetch_live_ids, all done", "rows", 8_000 * 5, ids)


ROUNDS = 5
AT_ONCE = 64


@dataclass
class Costs:
    """Of one operation, a round each: microseconds here and of Cassandra, calls a second, p99 in ms."""

    client_us: list[float] = field(default_factory=list)
    server_us: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    p99s_ms: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        columns = (self.client_us, self.server_us, self.rates, self.p99s_ms)
        client_us, server_us, rate, p99_ms = (sorted(column)[len(column) // 2] for column in columns)
        return f"{client_us:8.1f} us {server_us:8.1f} us of Cassandra {rate:8.0f}/s p99 {p99_ms:6.1f} ms"


async def measure_way(calls: Sequence[Call], at_once: int, pid: int, costs: Costs) -> None:
    waiting = iter(calls)
    took_s: list[float] = []

    async def lane() -> None:
        for call in waiting:
            began = time.perf_counter()
            await call()
            took_s.append(time.perf_counter() - began)

    before = time.perf_counter(), time.process_time(), cpu_s(pid)
    await asyncio.gather(*(lane() for _ in range(at_once)))
    wall_s, client_s, server_s = (
        now - then
        for now, then in zip((time.perf_counter(), time.process_time(), cpu_s(pid)), before, strict=True)
    )
    costs.client_us.append(client_s / len(calls) * 1e6)
    costs.server_us.append(server_s / len(calls) * 1e6)
    costs.rates.append(len(calls) / wall_s)
    costs.p99s_ms.append(sorted(took_s)[len(took_s) * 99 // 100] * 1e3)


async def compare_ways(address: Address, pid: int) -> None:
    settings = CassandraSettings(
        contact_points=(address.host,), port=address.port, keyspace="bench_ways", request_timeout_ms=20_000
    )
    await migrate(settings)
    costs: dict[str, Costs] = defaultdict(Costs)
    ways: tuple[Literal["loop", "driver"], ...] = ("loop", "driver")
    for n in range(ROUNDS + 1):
        for way in ways:
            store = await CassandraStore.connect(replace(settings, io=way))
            try:
                app = await store.create_app(replace(APP, app_id=f"way-{uuid4().hex[:8]}"))
                await compare_one(store, app, way, pid, costs if n else defaultdict(Costs))
            finally:
                await store.close()
    for name in sorted(costs):
        print(f"{name:36} {costs[name]}")


async def compare_one(store: CassandraStore, app: App, way: str, pid: int, costs: dict[str, Costs]) -> None:
    rows = make_rows(app, 512, first_bucket, 16)
    await store.put_rows(rows)
    for at_once, count in ((1, 1_000), (AT_ONCE, 10_000)):
        made = make_rows(app, count, first_bucket, 16)
        reads: list[Call] = [partial(read_row, store, rows[n % len(rows)]) for n in range(count)]
        updates: list[Call] = [partial(store.put_updates, [done(rows[n % len(rows)])]) for n in range(count)]
        creates: list[Call] = [partial(store.put_rows, [row]) for row in made]
        for name, calls in (("fetch_row", reads), ("put_updates of 1", updates), ("put_rows of 1", creates)):
            await measure_way(calls, at_once, pid, costs[f"{name}, {at_once} at once, {way}"])


async def read_row(store: CassandraStore, row: Row) -> None:
    await store.fetch_row(row.place, row.schedule.schedule_id)


def main() -> None:
    is_of_ways = "--ways" in sys.argv
    given = [argument for argument in sys.argv[1:] if argument != "--ways"]
    if given:
        address = parse_addresses(given[0], source="the address")[0]
        uvloop.run(compare_ways(address, int(given[1])) if is_of_ways else run(address))
        return
    os.environ.pop(CASSANDRA_VARIABLE, None)
    with LocalServers(kafka=False, etcd=False) as servers:
        node = servers.cassandra.nodes[0]
        uvloop.run(compare_ways(node.address, node.pid) if is_of_ways else run(node.address))


if __name__ == "__main__":
    main()
