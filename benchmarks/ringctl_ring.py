"""How long `ringctl ring` takes on 50,000 poller instances: the command on a folder, its parts with etcd.

Run: PYTHONPATH=. python benchmarks/ringctl_ring.py [instances]
"""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from ringtime_local import LocalServers
from ringtime_ringctl.commands.ring import ring_to_json
from ringtime_ringctl.context import Deployment
from ringtime_ringctl.output import Output
from ringtime_ringctl.ring_report import report_ring, ring_of
from ringtime_ringctl.simulation import change_nodes, simulate
from ringtime_ringctl.snapshot import fetch_snapshot
from ringtime_shared.clock import SystemClock
from ringtime_shared.coordination.etcd import EtcdOperator, EtcdSession
from ringtime_shared.coordination.protocol import Member
from ringtime_shared.models.app import App, Instance
from ringtime_shared.settings import CoordinationSettings, Settings
from ringtime_shared.stores.protocol import Marks, MarksWrite
from ringtime_shared.stores.sqlite import SqliteStore

APPS = 50
NODES = 10
CLOCK = SystemClock()


@contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    print(f"{what:<60}{time.perf_counter() - began:8.2f} s")


async def fill(folder: Path, instances: int) -> None:
    """Register apps and write marks as an owner of all would."""
    store = await SqliteStore.open(folder)
    now_ms = CLOCK.now_ms()
    for number in range(APPS):
        size = instances // APPS
        app = App(
            app_id=f"app{number}",
            number=0,
            writable=size,
            polled=size,
            active=True,
            version=1,
            created_ms=now_ms,
        )
        await store.create_app(app)
        marks = Marks(now_ms - 2_000, now_ms - 2_000)
        await store.put_marks(
            [MarksWrite(Instance(app.app_id, n), 3 << 48 | n + 1, marks) for n in range(size)]
        )
    await store.close()
    (folder / "LOCK").write_text(f"{os.getpid()}\n")  # as if this process were the server


def run(folder: Path, *words: str) -> None:
    command = [sys.executable, "-m", "ringtime_ringctl.main", "--data", str(folder), "ring", *words]
    with timed(f"ringctl ring {' '.join(words)}".rstrip()):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    print(f"    {done.stdout.splitlines()[0][:100]} ... {len(done.stdout):,} characters")


async def measure_parts(folder: Path, endpoint: str) -> None:
    """The same with claims in etcd and ten nodes, part by part."""
    settings = CoordinationSettings(endpoints=(endpoint,), prefix="/bench", ttl_s=60)
    store = await SqliteStore.open(folder, exclusive=False, create=False)
    instances = [each for app in await store.fetch_apps() for each in app.instances()]
    sessions = [EtcdSession(settings, CLOCK) for _ in range(NODES)]
    for number, session in enumerate(sessions):
        await session.join(Member(node=f"node-{number}"))
        await session.claim(instances[number::NODES])
    operator = EtcdOperator(settings)
    deployment = Deployment(
        store=store, coordination=operator, settings=Settings(), operator="bench", clock=CLOCK
    )
    with timed("apps, claims from etcd, marks"):
        snapshot = await fetch_snapshot(deployment)
    with timed("the ring, shares, moves"):
        report = report_ring(snapshot, {})
    assert not report.unowned
    with timed("as JSON"), redirect_stdout(io.StringIO()):
        Output(is_json=True).data(ring_to_json(report, report.instances))
    with timed("--simulate +2, after the reading"):
        ring = ring_of(snapshot)
        simulate(ring, change_nodes(ring.nodes, ["+2"]))
    await operator.close()
    for session in sessions:
        await session.close()
    await store.close()


def main() -> None:
    instances = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        asyncio.run(fill(data, instances))
        print(f"{instances:,} poller instances of {APPS} apps")
        for words in ((), ("--all",), ("--json",), ("--simulate", "+2")):
            run(data, *words)
        with LocalServers(Path(folder) / "etcd", cassandra=False, kafka=False) as servers:
            asyncio.run(measure_parts(data, servers.etcd.endpoint))


if __name__ == "__main__":
    main()
