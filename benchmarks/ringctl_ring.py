"""How long `ringctl ring` and the plan of a resize take among 50,000 poller instances of 1,000 apps.

On a folder, and on Cassandra and etcd with ten nodes; there also part by part.

Run: PYTHONPATH=. python benchmarks/ringctl_ring.py [apps]
"""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, redirect_stdout
from pathlib import Path

from ringtime_local import LocalServers
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.deployment.ownership import fetch_snapshot, report_ring, ring_of
from ringtime_ringctl.output import Output
from ringtime_ringctl.ring.command import ring_to_json
from ringtime_ringctl.ring.simulation import change_nodes
from ringtime_shared.clock import SystemClock
from ringtime_shared.coordination.etcd import EtcdOperator, EtcdSession
from ringtime_shared.coordination.protocol import Member
from ringtime_shared.models.app import App
from ringtime_shared.ring.simulation import simulate
from ringtime_shared.settings import load_settings
from ringtime_shared.stores.cassandra import CassandraStore, migrate
from ringtime_shared.stores.protocol import Marks, MarksWrite, Store
from ringtime_shared.stores.sqlite import SqliteStore
from ringtime_shared.stores.sqlite.folder import FolderLock

APPS = 1_000
PARTITIONS = 50
NODES = 10
CLOCK = SystemClock()


@contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    print(f"{what:<60}{time.perf_counter() - began:8.2f} s")


async def fill(store: Store, apps: int) -> None:
    """Register apps and write marks as an owner of all would."""
    now_ms = CLOCK.now_ms()
    marks = Marks(now_ms - 2_000, now_ms - 2_000)
    for number in range(apps):
        app = App(
            app_id=f"app{number}",
            number=0,
            writable=PARTITIONS,
            polled=PARTITIONS,
            active=True,
            version=1,
            created_ms=now_ms,
        )
        await store.create_app(app)
        await store.put_marks(
            [MarksWrite(each, 3 << 48 | n + 1, marks) for n, each in enumerate(app.instances())]
        )


def run(place: list[str]) -> None:
    for words in (
        ["ring"],
        ["ring", "--all"],
        ["ring", "--json"],
        ["ring", "--simulate", "+2"],
        ["resize", "app7", "--partitions", str(PARTITIONS + 10)],
        ["resize", "app7", "--partitions", str(PARTITIONS - 10)],
    ):
        command = [sys.executable, "-m", "ringtime_ringctl.main", *place, *words]
        with timed(f"ringctl {' '.join(words)}"):
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        print(f"    {done.stdout.splitlines()[0][:100]} ... {len(done.stdout):,} characters")


async def measure_folder(folder: Path, apps: int) -> None:
    store = await SqliteStore.open(folder)
    await fill(store, apps)
    await store.close()
    lock = FolderLock(folder)  # as if this process were the server
    await asyncio.to_thread(run, ["--data", str(folder)])
    lock.release()


async def measure_split(config: Path, apps: int) -> None:
    """Ten nodes own everything."""
    settings = load_settings(config, {})
    await migrate(settings.cassandra)
    async with AsyncExitStack() as stack:
        store = await CassandraStore.connect(settings.cassandra)
        stack.push_async_callback(store.close)
        await fill(store, apps)
        instances = [each for app in await store.fetch_apps() for each in app.instances()]
        for number in range(NODES):
            session = EtcdSession(settings.coordination, CLOCK)
            stack.push_async_callback(session.close)
            await session.join(Member(node=f"node-{number}"))
            await session.claim(instances[number::NODES])
        await asyncio.to_thread(run, ["--config", str(config)])
        operator = EtcdOperator(settings.coordination)
        stack.push_async_callback(operator.close)
        await measure_parts(
            Deployment(store=store, coordination=operator, settings=settings, operator="bench", clock=CLOCK)
        )


async def measure_parts(deployment: Deployment) -> None:
    with timed("part: apps, claims, marks"):
        snapshot = await fetch_snapshot(deployment)
    with timed("part: the ring, shares, moves"):
        report = report_ring(snapshot, {})
    assert not report.unowned
    with timed("part: as JSON"), redirect_stdout(io.StringIO()):
        Output(is_json=True).data(ring_to_json(report, report.instances))
    with timed("part: --simulate +2, after the reading"):
        ring = ring_of(snapshot)
        simulate(ring, change_nodes(ring.nodes, ["+2"]))


def main() -> None:
    apps = int(sys.argv[1]) if len(sys.argv) > 1 else APPS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{apps * PARTITIONS:,} poller instances of {apps:,} apps, on a folder")
        asyncio.run(measure_folder(folder / "data", apps))
        with LocalServers(folder / "servers", kafka=False) as servers:
            config = folder / "ringtime.json"
            cassandra = servers.cassandra
            coordination = {"endpoints": [servers.etcd.endpoint], "ttl_s": 60}
            points = {"contact_points": list(cassandra.contact_points), "port": cassandra.port}
            config.write_text(json.dumps({"cassandra": points, "coordination": coordination}))
            print("\nThe same on Cassandra and etcd")
            asyncio.run(measure_split(config, apps))


if __name__ == "__main__":
    main()
