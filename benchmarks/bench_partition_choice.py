"""Three ways to choose a new row's partition, on a real Cassandra: what each costs.

Random for each row, one choice for each flush and bucket, and filling a partition with 100 rows before the
next (what `ringtime_shared.partition_choice` does). One app with 16 partitions, due over 10 minutes: a busy
one of 12,000 rows flushed 40 at a time, and a quiet one of 600 flushed 2 at a time. Columns: client and
server CPU of each create, due-index rows of each 1,000 creates, polls of each fired row (an active poller
instance is polled 300 times a minute).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from benchmarks.processes import cpu_s
from ringtime_local.servers import LocalServers
from ringtime_shared.buckets import BUCKET_MS, bucket_of
from ringtime_shared.ids import IdMint, Kind
from ringtime_shared.models.app import App
from ringtime_shared.models.schedule import Place, Row, Schedule
from ringtime_shared.partition_choice import PartitionChooser
from ringtime_shared.settings import CassandraSettings
from ringtime_shared.stores.cassandra import CassandraStore, migrate

PARTITIONS, MINUTES = 16, 10
LOADS = {"busy": (12_000, 40), "quiet": (600, 2)}  # rows, rows in a flush
POLLS_A_MINUTE = 300
Choose = Callable[[int, int], int]  # flush number, bucket -> partition


@dataclass(frozen=True, slots=True)
class Result:
    client_us: float
    server_us: float
    index_per_1000: float  #: distinct (partition, minute) pairs of each 1,000 rows
    polls_per_row: float
    worst: float  #: fullest partition over the mean


def choosers(rng: Random) -> dict[str, Choose]:
    chooser = PartitionChooser(100)
    per_flush: dict[tuple[int, int], int] = {}
    return {
        "random per row": lambda _flush, _bucket: rng.randrange(PARTITIONS),
        "one per flush": lambda flush, bucket: per_flush.setdefault(
            (flush, bucket), rng.randrange(PARTITIONS)
        ),
        "fill 100": lambda _flush, bucket: chooser.choose(1, bucket, PARTITIONS),
    }


async def measure(
    store: CassandraStore, server_pid: int, app: App, choose: Choose, mint: IdMint, load: tuple[int, int]
) -> Result:
    count, flush_rows = load
    rng, now_ms = Random(7), int(time.time() * 1000)
    counts = [0] * PARTITIONS
    pairs: set[tuple[int, int]] = set()
    flushes = []
    for flush in range(count // flush_rows):
        rows = []
        for _ in range(flush_rows):
            slot_ms = now_ms + 120_000 + rng.randrange(MINUTES * BUCKET_MS)
            partition = choose(flush, bucket_of(slot_ms))
            counts[partition] += 1
            pairs.add((partition, bucket_of(slot_ms)))
            rows.append(_row(app, slot_ms, partition, mint, now_ms))
        flushes.append(rows)
    client_s, server_s = time.process_time(), cpu_s(server_pid)
    for rows in flushes:
        await store.put_rows(rows)
    client_s, server_s = time.process_time() - client_s, cpu_s(server_pid) - server_s
    return Result(
        client_us=client_s / count * 1e6,
        server_us=server_s / count * 1e6,
        index_per_1000=len(pairs) / count * 1_000,
        polls_per_row=len(pairs) * POLLS_A_MINUTE / count,
        worst=max(counts) / (count / PARTITIONS),
    )


def _row(app: App, slot_ms: int, partition: int, mint: IdMint, now_ms: int) -> Row:
    schedule = Schedule(
        schedule_id=mint.mint(
            slot_ms=slot_ms, kind=Kind.ONE_TIME, partition=partition, app_number=app.number
        ),
        app_id=app.app_id,
        fire_ms=slot_ms,
        payload=json.dumps({"order": 1}),
        callback_type="http",
        callback_details=b'{"url":"http://127.0.0.1:1/callback","method":"POST","headers":{}}',
        created_ms=now_ms,
        expires_ms=slot_ms + 86_400_000,
    )
    return Row(schedule=schedule, place=Place(app.app_id, partition, slot_ms))


async def run(settings: CassandraSettings, server_pid: int) -> None:
    await migrate(settings)
    store = await CassandraStore.connect(settings)
    mint = IdMint(await store.claim_nonce("bench"))
    print("| partition | client us | server us | index rows / 1,000 | polls / fired row | fullest / mean |")
    print("|---|---|---|---|---|---|")
    for number, load in enumerate(["busy", *LOADS]):  # the first round warms the server up, unshown
        for name, choose in choosers(Random(number)).items():
            app = await store.create_app(_app(f"{name.replace(' ', '-')}-{number}"))
            found = await measure(store, server_pid, app, choose, mint, LOADS[load])
            if number:
                print(
                    f"| {load}, {name} | {found.client_us:.0f} | {found.server_us:.0f} | "
                    f"{found.index_per_1000:.1f} | {found.polls_per_row:.1f} | {found.worst:.2f} |"
                )
    await store.close()


def _app(app_id: str) -> App:
    return App(
        app_id=app_id,
        number=0,
        writable=PARTITIONS,
        polled=PARTITIONS,
        active=True,
        version=1,
        created_ms=int(time.time() * 1000),
    )


if __name__ == "__main__":
    with LocalServers(kafka=False, etcd=False) as servers:
        cassandra = servers.cassandra
        settings = CassandraSettings(contact_points=tuple(cassandra.contact_points), port=cassandra.port)
        asyncio.run(run(settings, cassandra.nodes[0].pid))
