"""What a run of a recurring schedule costs a dispatcher and Cassandra, beside a one-time schedule.

    python benchmarks/recurring_runs.py [definitions] [rounds] [host:port of Cassandra, and its process]

Microseconds of processor time of each, medians. Both come due at once, in turns, in three apps with 16
partitions each. The receiver is nobody, so what an attempt costs is not in it; of a run the step is, and what
follows it. A round is a minute later than the one before, on a clock of its own, and sends what that filed.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from random import Random
from uuid import uuid4

import uvloop

from benchmarks.cassandra_store import DETAILS, PAYLOAD, make_row
from benchmarks.processes import cpu_s
from ringtime_dispatcher.delivery.deliverer import Deliverer, DeliveryParts
from ringtime_dispatcher.delivery.ledger import Ledger
from ringtime_dispatcher.ownership.instance import OwnedInstance
from ringtime_local import LocalServers
from ringtime_local.addresses import Address, parse_addresses
from ringtime_shared.buckets import bucket_of
from ringtime_shared.callbacks.protocol import CallbackType, Delivery, Reply
from ringtime_shared.clock import SystemClock
from ringtime_shared.errors import Violation
from ringtime_shared.ids import IdMint, Kind
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.recurring import Definition, recurring_id_of
from ringtime_shared.models.schedule import Row
from ringtime_shared.models.times import Times
from ringtime_shared.recurring.run_rows import check_row, first_row
from ringtime_shared.settings import AppLimits, CassandraSettings, DispatchSettings, RetrySettings
from ringtime_shared.stores.cassandra import CassandraStore, migrate
from ringtime_shared.stores.protocol import LAST_ID, DueQuery, Marks, Position

APPS, PARTITIONS = 3, 16
MINUTE_MS, RETENTION_MS = 60_000, 7 * 86_400_000
TERM = 1 << 48 | 1
_mint = IdMint(7)


class Later(SystemClock):
    """The machine's clock, so much later."""

    by_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.by_ms


class Nobody(CallbackType):
    """Answers at once."""

    name = "http"

    def validate(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        return []

    async def invoke(self, delivery: Delivery) -> Reply:
        return Reply(ok=True, code=200)

    async def close(self) -> None:
        return


def definition_of(app: App, number: int, now_ms: int) -> Definition:
    partition = number % PARTITIONS
    name = f"cron-{number}"
    check_id = _mint.mint(slot_ms=now_ms, kind=Kind.RUN, partition=partition, app_number=app.number)
    return Definition(
        recurring_id=recurring_id_of(app.number, name), app_id=app.app_id, name=name,
        times=Times(cron="* * * * *", zone="UTC"), payload=PAYLOAD, callback_type="http",
        callback_details=DETAILS, created_ms=now_ms, changed_ms=now_ms, partition=partition, from_ms=now_ms,
        starts_after_ms=now_ms, check_id=check_id,
    )  # fmt: skip


def first_of(definition: Definition, now_ms: int) -> Row:
    check = check_row(definition, slot_ms=now_ms, now_ms=now_ms, retention_ms=RETENTION_MS)
    row = first_row(definition, check, now_ms=now_ms, retention_ms=RETENTION_MS)
    assert row is not None
    return row


async def side_by_side(calls: Sequence[Awaitable[object]], at_once: int = 64) -> None:
    for start in range(0, len(calls), at_once):
        await asyncio.gather(*calls[start : start + at_once])


async def due(store: CassandraStore, apps: Sequence[App], slot_ms: int) -> list[Row]:
    """Return what is filed under a slot."""
    rows: list[Row] = []
    for app in apps:
        for partition in range(PARTITIONS):
            after = Position(slot_ms - 1, LAST_ID)
            query = DueQuery(Instance(app.app_id, partition), bucket_of(slot_ms), after, slot_ms, 50_000)
            (page,) = await store.fetch_due([query])
            rows += page.rows
    return rows


async def send(store: CassandraStore, clock: Later, apps: Sequence[App], rows: Sequence[Row]) -> None:
    """Deliver rows that are due, and return when that is recorded."""
    ledger = Ledger(4 * len(rows), lambda: None)
    by_id = {app.app_id: app for app in apps}
    parts = DeliveryParts(
        store=store, clock=clock, callbacks={"http": Nobody()}, find_app=by_id.get, is_trusted=lambda: True,
        dispatch=DispatchSettings(), retry=RetrySettings(), limits=AppLimits(), rng=Random(1),
    )  # fmt: skip
    deliverer, owned = Deliverer(parts, ledger), dict[Instance, OwnedInstance]()
    for row in rows:
        instance = row.place.instance
        if instance not in owned:
            owned[instance] = OwnedInstance(instance, TERM, Marks(0, 0))
        assert deliverer.accept(owned[instance], row)
    while not deliverer.is_idle:  # noqa: ASYNC110 - nobody says when it is
        await asyncio.sleep(0.001)
    await deliverer.close()


async def measure(store: CassandraStore, clock: Later, pid: int, count: int, rounds: int) -> None:
    made = [
        App(
            app_id=f"bench-{n}-{uuid4().hex[:8]}", number=0, writable=PARTITIONS, polled=PARTITIONS,
            active=True, version=1, created_ms=clock.now_ms(),
        )
        for n in range(APPS)
    ]  # fmt: skip
    apps = [await store.create_app(app) for app in made]
    slot_ms = clock.now_ms() // MINUTE_MS * MINUTE_MS + MINUTE_MS
    definitions = [definition_of(apps[n % APPS], n, slot_ms - MINUTE_MS) for n in range(count)]
    await side_by_side([store.replace_definition(each) for each in definitions])
    firsts = [first_of(each, slot_ms - MINUTE_MS) for each in definitions]
    assert {row.place.slot_ms for row in firsts} == {slot_ms}
    await store.put_rows(firsts)
    took: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for number in range(rounds + 1):
        clock.by_ms += slot_ms + 50 - clock.now_ms()
        recurring = await due(store, apps, slot_ms)
        assert len(recurring) == count, len(recurring)
        singles = [make_row(apps[n % APPS], n % PARTITIONS, slot_ms + 1) for n in range(count)]
        await store.put_rows(singles)
        for name, rows in (("one-time", singles), ("recurring", recurring)):
            rows = [replace(row, cancelled_ms=None) for row in rows]
            before = time.perf_counter(), time.process_time(), cpu_s(pid)
            await send(store, clock, apps, rows)
            now = time.perf_counter(), time.process_time(), cpu_s(pid)
            wall_s, here_s, there_s = (b - a for a, b in zip(before, now, strict=True))
            if number:
                took[name].append((here_s / count * 1e6, there_s / count * 1e6, count / wall_s))
        slot_ms += MINUTE_MS
    for name, each in took.items():
        here, there, rate = (statistics.median(column) for column in zip(*each, strict=True))
        print(f"{name:10} {here:7.0f} us here {there:7.0f} us of Cassandra {rate:8.0f}/s")


async def run(address: Address, pid: int, count: int, rounds: int) -> None:
    clock = Later()
    settings = CassandraSettings(
        contact_points=(address.host,), port=address.port, keyspace=f"bench_{uuid4().hex[:8]}",
        request_timeout_ms=20_000,
    )  # fmt: skip
    await migrate(settings)
    store = await CassandraStore.connect(settings, now_ms=clock.now_ms)
    try:
        await measure(store, clock, pid, count, rounds)
    finally:
        await store.close()


def main() -> None:
    given = sys.argv[1:]
    count, rounds = (int(given[n]) if len(given) > n else default for n, default in enumerate((3_000, 5)))
    if len(given) > 2:
        address = parse_addresses(given[2], source="the address")[0]
        uvloop.run(run(address, int(given[3]), count, rounds))
        return
    with LocalServers(kafka=False, etcd=False) as servers:
        node = servers.cassandra.nodes[0]
        uvloop.run(run(node.address, node.pid, count, rounds))


if __name__ == "__main__":
    main()
