"""Many apps on real Cassandra: registering them, creates over all of them, and what knowing them costs.

    PYTHONPATH=infra python benchmarks/cassandra_apps.py [apps] [seconds of creates]

One ingest service in this process, without HTTP; `cpu` is this process's processor time. The server shares
the machine. Registrations are 64 side by side; creates 256, round robin over the apps, an hour ahead.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from ringtime_ingest.service import IngestParts, IngestService, NewApp, NewSchedule
from ringtime_local import LocalServers
from ringtime_shared.callbacks.protocol import CallbackRules
from ringtime_shared.clock import SystemClock
from ringtime_shared.errors import Violation
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.settings import AppLimits, CassandraSettings, IngestSettings
from ringtime_shared.stores.cassandra import CassandraStore, migrate

REGISTERED_AT_ONCE, CREATED_AT_ONCE = 64, 256
PAYLOAD = '{"order":123456,"customer":"abcdef"}' * 4


class AnyDetails(CallbackRules):
    """Rules of a callback type that takes everything."""

    name = "sim"

    def validate(self, details: object, app_id: str) -> list[Violation]:
        return []


@contextmanager
def timed(what: str) -> Iterator[list[int]]:
    """Print how long the body took for as many as it says."""
    began, cpu = time.perf_counter(), time.process_time()
    done: list[int] = []
    yield done
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    count = sum(done)
    rate, cpu_us = count / took_s, cpu_s / count * 1e6
    print(f"{what:<36}{count:8,} in {took_s:7.2f} s{rate:10,.0f}/s{cpu_us:9,.0f} us cpu", flush=True)


async def register(service: IngestService, numbers: Iterator[int], done: list[int]) -> None:
    for number in numbers:
        new = NewApp(app_id=f"app-{number}", partitions=1, active=True, configuration=AppConfiguration())
        await service.register_app(new)
        done.append(1)


async def create(
    service: IngestService, numbers: Iterator[int], apps: int, until_s: float, done: list[int]
) -> None:
    while time.perf_counter() < until_s:
        await service.create_schedule(
            NewSchedule(
                app_id=f"app-{next(numbers) % apps}",
                payload=PAYLOAD,
                delay_ms=3_600_000,
                callback_type="sim",
                callback_details={"n": 1},
            )
        )
        done.append(1)


async def measure(settings: CassandraSettings, apps: int, seconds: float) -> None:
    await migrate(settings)
    store = await CassandraStore.connect(settings)
    service = await IngestService.start(
        IngestParts(
            store=store,
            clock=SystemClock(),
            settings=IngestSettings(),
            limits=AppLimits(),
            callbacks={"sim": AnyDetails()},
            holder="bench",
        )
    )
    numbers = iter(range(apps))
    with timed("register") as done:
        await asyncio.gather(*(register(service, numbers, done) for _ in range(REGISTERED_AT_ONCE)))
    with timed("read all apps, 5 times") as done:
        for _ in range(5):
            done.append(len(await store.fetch_apps()))
    again = itertools.count()
    for turn in ("first", "second"):
        with timed(f"creates, round robin, {turn} time") as done:
            until_s = time.perf_counter() + seconds
            works = [create(service, again, apps, until_s, done) for _ in range(CREATED_AT_ONCE)]
            await asyncio.gather(*works)
    await service.close()
    await store.close()


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with LocalServers(etcd=False, kafka=False) as servers:
        asyncio.run(
            measure(
                CassandraSettings(
                    contact_points=tuple(servers.cassandra.contact_points),
                    port=servers.cassandra.port,
                    keyspace=f"bench_{uuid4().hex[:8]}",
                    request_timeout_ms=10_000,
                ),
                count,
                float(sys.argv[2]) if len(sys.argv) > 2 else 15.0,
            )
        )
