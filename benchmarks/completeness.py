"""What completeness costs: receipts of creates, the mark of 10,000 idle apps, an audit of many fires.

    python -m benchmarks.completeness receipts [host:port of Cassandra, and its process]
    python -m benchmarks.completeness idle [apps]
    python -m benchmarks.completeness audit [fires]

`receipts`: microseconds a row of `put_rows`, with receipts and without, in turns; rows of one minute, of 64
minutes that many batches have, and each in a minute that no other has, which is the worst case: processor
time here and of Cassandra, and what it is more of both. `audit` removes ten rows, doubles ten outcomes with
SQL, and says whether those are what is found.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from types import ModuleType
from uuid import uuid4

from benchmarks.cassandra_store import make_row
from benchmarks.processes import cpu_s
from ringtime_shared.buckets import first_slot
from ringtime_shared.clock import ManualClock, SystemClock
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.fires import FireCounts, Reason
from ringtime_shared.models.schedule import Outcome, Row, RowUpdate, Status
from ringtime_shared.schedules.completeness import CompletenessMarks
from ringtime_shared.schedules.fires import FireAudit
from ringtime_shared.settings import CassandraSettings
from ringtime_shared.stores.cassandra import CassandraStore, migrate
from ringtime_shared.stores.cassandra import schedules as in_cassandra
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import Marks, MarksWrite, Store, is_receipted
from ringtime_shared.stores.sqlite import SqliteStore
from ringtime_shared.stores.sqlite import schedules as in_sqlite
from ringtime_shared.stores.sqlite.schema import FILE_NAME

NOW_MS = SystemClock().now_ms()
FIRST = NOW_MS // 60_000 + 100
BATCH = 64
BATCHES = 60
ROUNDS = 9
PARTITIONS = 4
MINUTES = 250


def new_app(partitions: int = 1) -> App:
    name = f"bench-{uuid4().hex[:8]}"
    return App(
        app_id=name, number=0, writable=partitions, polled=partitions, active=True, version=1,
        created_ms=NOW_MS - 86_400_000,
    )  # fmt: skip


async def receipts(store: Store, module: ModuleType, pid: int | None = None) -> None:
    """Time creates in turns, and print medians.

    Args:
        pid: of the store's own process, if it has one.
    """
    app = await store.create_app(new_app())
    bucket = FIRST
    kinds = (("one minute", 1, 1), ("the same 64", BATCH, 0), ("a minute each", BATCH, BATCH))
    for name, spread, step in kinds:
        took: dict[bool, list[tuple[float, float, float]]] = {True: [], False: []}
        for number in range(2 * (ROUNDS + 1)):
            has_receipts = bool(number % 2)
            module.is_receipted = is_receipted if has_receipts else (lambda _: False)  # type: ignore[attr-defined]
            batches = []
            bucket += spread
            for _ in range(BATCHES):
                bucket += step
                batches.append([make_row(app, 0, first_slot(bucket + n % spread) + n) for n in range(BATCH)])
            begun = time.process_time(), 0.0 if pid is None else cpu_s(pid), time.perf_counter()
            for rows in batches:
                await store.put_rows(rows)
            ended = time.process_time(), 0.0 if pid is None else cpu_s(pid), time.perf_counter()
            here, there, wall = ((b - a) / (BATCH * BATCHES) * 1e6 for a, b in zip(begun, ended, strict=True))
            if number > 1:
                took[has_receipts].append((here, there, wall))
        with_them, without = (
            [statistics.median(column) for column in zip(*took[key], strict=True)] for key in (True, False)
        )
        columns = zip(("here", "of Cassandra", "of time"), without, with_them, strict=True)
        share = (with_them[0] + with_them[1]) / (without[0] + without[1]) - 1
        shown = ", ".join(f"{before:6.1f} -> {after:6.1f} us {what}" for what, before, after in columns)
        print(f"{name:15} {shown} a row: {share:+.0%} of processor")


async def idle(count: int) -> None:
    """Time looks at the mark of all apps that have nothing due, and beside them of one that has."""
    clock = ManualClock(NOW_MS)
    with tempfile.TemporaryDirectory() as folder:
        stores: list[tuple[str, Store, Callable[[], Awaitable[None]]]] = []
        sqlite = await SqliteStore.open(Path(folder), now_ms=clock.now_ms)
        memory = MemoryStore(clock.now_ms)
        stores = [("sqlite", sqlite, sqlite.close), ("memory", memory, _nothing)]
        for name, store, close in stores:
            for apps in (10, count):
                known = {app.app_id: app for app in [await store.create_app(new_app()) for _ in range(apps)]}
                marks = CompletenessMarks(store, clock, known.get)
                await marks.of_all()
                took = []
                for _ in range(60):
                    clock.advance(60_000)
                    begun_s = time.process_time()
                    found = await marks.of_all()
                    took.append((time.process_time() - begun_s) * 1e6)
                print(
                    f"{name}: {apps:6,} idle apps: {statistics.median(took):6.0f} us a look,"
                    f" mark {found.age_ms / 1_000:.0f} s old"
                )
            await close()


async def _nothing() -> None:
    return


def outcome_of(row: Row, later_ms: int = 0) -> Outcome:
    fired_ms = row.place.slot_ms + 2 + later_ms
    return Outcome(
        status=Status.SUCCESS, ended_ms=fired_ms + 30, fired_ms=fired_ms, attempts=1, code=200, took_ms=30
    )


async def audit(count: int) -> bool:
    """File and end so many fires, damage the file by hand, and audit them."""
    with tempfile.TemporaryDirectory() as folder:
        store = await SqliteStore.open(Path(folder))
        try:
            app = await store.create_app(new_app(PARTITIONS))
            picked = random.Random(17).sample(range(count), 20)
            kept: dict[int, Row] = {}
            begun_s = time.perf_counter()
            for start in range(0, count, 5_000):
                rows = [
                    make_row(app, n % PARTITIONS, first_slot(FIRST) + n * MINUTES * 60_000 // count)
                    for n in range(start, min(start + 5_000, count))
                ]
                await store.put_rows(rows)
                await store.put_updates(
                    [
                        RowUpdate(
                            place=row.place, schedule_id=row.schedule.schedule_id, outcome=outcome_of(row)
                        )
                        for row in rows
                    ]
                )
                kept |= {n: rows[n - start] for n in picked if start <= n < start + len(rows)}
            end_ms = first_slot(FIRST + MINUTES) - 1
            marks = Marks(end_ms, end_ms)
            await store.put_marks(
                [MarksWrite(Instance(app.app_id, n), 1 << 48, marks) for n in range(PARTITIONS)]
            )
            print(f"{count:,} fires filed and ended in {time.perf_counter() - begun_s:.0f} s")
            removed, doubled = [kept[n] for n in picked[:10]], [kept[n] for n in picked[10:]]
            _damage(Path(folder), removed, doubled)
            before_kib, begun_s, used_s = _peak_kib(), time.perf_counter(), time.process_time()
            whole = FireCounts()
            async for page in FireAudit(
                store, ManualClock(end_ms + 60_000), app, first_slot(FIRST), end_ms
            ).pages():
                whole.add(page.found)
            print(
                f"audited {whole.expected:,} in {time.perf_counter() - begun_s:.0f} s"
                f" ({time.process_time() - used_s:.0f} s of processor); peak memory grew by"
                f" {(_peak_kib() - before_kib) / 1024:.0f} MiB; {dict(whole.ended)}, {whole.gaps} gaps,"
                f" {whole.doubles} doubles"
            )
        finally:
            await store.close()
    found = {
        reason: {each.schedule_id for each in whole.findings if each.reason is reason} for reason in Reason
    }
    is_exact = (
        found[Reason.REMOVED] == {row.schedule.schedule_id for row in removed}
        and found[Reason.TWO_OUTCOMES] == {row.schedule.schedule_id for row in doubled}
        and len(whole.findings) == 20
    )
    print("found exactly these twenty" if is_exact else f"NOT what was done: {whole.findings}")
    return is_exact


def _damage(folder: Path, removed: Sequence[Row], doubled: Sequence[Row]) -> None:
    """Delete rows, and copy others with their outcomes to another slot, half of them as sent again."""
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection, connection:
        columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(schedules)")]
        for row in removed:
            connection.execute(
                "DELETE FROM schedules WHERE schedule_id = ?", (row.schedule.schedule_id.bytes,)
            )
        for number, row in enumerate(doubled):
            later = {"slot_ms": "slot_ms + 11"}
            if number % 2:
                later |= {
                    "outcome_ended_ms": "outcome_ended_ms + 40",
                    "outcome_fired_ms": "outcome_fired_ms + 40",
                }
            values = ", ".join(later.get(column, column) for column in columns)
            connection.execute(
                f"INSERT INTO schedules ({', '.join(columns)}) SELECT {values} FROM schedules"
                " WHERE schedule_id = ?",
                (row.schedule.schedule_id.bytes,),
            )


def _peak_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


async def _receipts_of_each(address: str, pid: int | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sqlite = await SqliteStore.open(Path(folder))
        print("sqlite")
        await receipts(sqlite, in_sqlite)
        await sqlite.close()
    if address:
        host, _, port = address.partition(":")
        settings = CassandraSettings(
            contact_points=(host,), port=int(port), keyspace=f"bench_{uuid4().hex[:8]}"
        )
        await migrate(settings)
        store = await CassandraStore.connect(settings)
        print("cassandra")
        await receipts(store, in_cassandra, pid)
        await store.close()


def main(words: Sequence[str]) -> int:
    """Run what the words name."""
    match words:
        case ["receipts"]:
            asyncio.run(_receipts_of_each("", None))
        case ["receipts", address, pid]:
            asyncio.run(_receipts_of_each(address, int(pid)))
        case ["idle", *count]:
            asyncio.run(idle(int("".join(count) or 10_000)))
        case ["audit", *count]:
            return 0 if asyncio.run(audit(int("".join(count) or 1_000_000))) else 1
        case _:
            print(__doc__)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
