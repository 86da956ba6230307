"""Microseconds per row of the SQLite store, event loop and both threads included.

    python benchmarks/sqlite_store.py [folder]

`cpu` is the process's CPU time; `wall` adds the waits for the disk. `busy` repeats a case while a
task keeps the event loop from idling, so it includes the struggle for the interpreter lock.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from ringtime_shared.buckets import first_slot
from ringtime_shared.ids import IdMint, Kind
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.schedule import Outcome, Place, Row, RowUpdate, Schedule, Status
from ringtime_shared.stores.protocol import LAST_ID, DueQuery, Position
from ringtime_shared.stores.sqlite import SqliteStore

BUCKET = 30_000_000
PAYLOAD = '{"order":123456,"customer":"abcdef"}' * 4
DETAILS = b'{"url":"https://example.com/callback/1234567","headers":{"X-A":["1"]},"method":"POST"}'
REPEATS = 40

mint = IdMint(1)
app = App(
    app_id="checkout-service",
    number=0,
    writable=1,
    polled=1,
    active=True,
    version=1,
    created_ms=1_600_000_000_000,
)


def make_rows(count: int, bucket: int) -> list[Row]:
    rows = []
    for n in range(count):
        slot_ms = first_slot(bucket) + n * 60_000 // count
        schedule = Schedule(
            schedule_id=mint.mint(slot_ms=slot_ms, kind=Kind.ONE_TIME, partition=0, app_number=app.number),
            app_id=app.app_id,
            fire_ms=slot_ms,
            payload=PAYLOAD,
            callback_type="http",
            callback_details=DETAILS,
            created_ms=slot_ms - 60_000,
            expires_ms=slot_ms + 7 * 86_400_000,
        )
        rows.append(Row(schedule=schedule, place=Place(app.app_id, 0, slot_ms)))
    return rows


def query(bucket: int, limit: int) -> DueQuery:
    start = first_slot(bucket)
    return DueQuery(Instance(app.app_id, 0), bucket, Position(start - 1, LAST_ID), start + 59_999, limit)


def done(row: Row) -> RowUpdate:
    slot_ms = row.place.slot_ms
    outcome = Outcome(
        status=Status.SUCCESS, ended_ms=slot_ms + 30, fired_ms=slot_ms + 3, attempts=1, code=200
    )
    return RowUpdate(place=row.place, schedule_id=row.schedule.schedule_id, outcome=outcome)


async def measure(
    name: str, per_call: int, calls: list[Callable[[], Awaitable[object]]], at_once: int = 1
) -> None:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    for start in range(0, len(calls), at_once):
        await asyncio.gather(*(call() for call in calls[start : start + at_once]))
    rows = per_call * len(calls)
    cpu_us = (time.process_time() - cpu_s) / rows * 1e6
    wall_us = (time.perf_counter() - wall_s) / rows * 1e6
    print(f"{name:34} {rows:7} rows {cpu_us:8.2f} cpu us/row {wall_us:8.2f} wall us/row")


def on_each(
    call: Callable[..., Awaitable[object]], arguments: list[object]
) -> list[Callable[[], Awaitable[object]]]:
    return [lambda argument=argument: call(argument) for argument in arguments]  # type: ignore[misc]


async def spin() -> None:
    while True:
        sum(range(2_000))
        await asyncio.sleep(0)


async def run(folder: Path) -> None:
    global app
    store = await SqliteStore.open(folder)
    app = await store.create_app(app)
    await store.put_rows(make_rows(500, BUCKET - 1))  # warm up

    for size, at_once in ((64, 1), (64, 8), (300, 1)):
        bucket = BUCKET + size * 10 + at_once * 10_000
        batches: list[object] = [make_rows(size, bucket + n % 4) for n in range(REPEATS)]
        await measure(f"put_rows {size}, {at_once} at once", size, on_each(store.put_rows, batches), at_once)

    full = BUCKET + 100_000
    rows = make_rows(5_000, full)
    await store.put_rows(rows)
    queries: list[object] = [[query(full, 500)] for _ in range(REPEATS)]
    await measure("fetch_due 500", 500, on_each(store.fetch_due, queries))
    many: list[object] = [
        [query(BUCKET + 640 + 10_000 + n % 4, 50) for n in range(20)] for _ in range(REPEATS)
    ]
    await measure("fetch_due 20 queries of 50", 1_000, on_each(store.fetch_due, many))
    whole: list[object] = [[query(full, 5_000)]] * 4
    await measure("fetch_live_ids", 5_000, on_each(store.fetch_live_ids, whole))
    updates: list[object] = [[done(row) for row in rows[n : n + 100]] for n in range(0, 4_000, 100)]
    await measure("put_updates 100", 100, on_each(store.put_updates, updates))

    rows = make_rows(5_000, full + 1)
    await store.put_rows(rows)
    updates = [[done(row) for row in rows[n : n + 100]] for n in range(0, 4_000, 100)]
    await measure("put_updates 100, 8 at once", 100, on_each(store.put_updates, updates), 8)

    spinner = asyncio.create_task(spin())
    batches = [make_rows(64, full + 2 + n % 4) for n in range(REPEATS)]
    await measure("busy: put_rows 64, 8 at once", 64, on_each(store.put_rows, batches), 8)
    queries = [[query(full + 1, 500)] for _ in range(REPEATS)]
    await measure("busy: fetch_due 500", 500, on_each(store.fetch_due, queries))
    spinner.cancel()

    started_s = time.perf_counter()
    purged = await store.purge(first_slot(full) + 30 * 86_400_000)
    print(f"purge: {purged} rows, {(time.perf_counter() - started_s) / max(purged, 1) * 1e6:.2f} wall us/row")
    await store.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(run(Path(sys.argv[1])))
    else:
        with tempfile.TemporaryDirectory() as name:
            asyncio.run(run(Path(name)))
