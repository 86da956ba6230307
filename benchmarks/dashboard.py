"""How long the server takes for each page of the dashboard, with 1,000 apps and 1,000,000 schedules stored.

`ringtime serve` on a folder of its own; or with `--split` an ingest pod, a dispatcher and `ringtime-web` on
Cassandra and etcd of this machine. Filled by batches over HTTP, then each page is asked for several times.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.harness.server import serving

from ringtime_client import HttpCallbackDetails, NewSchedule, RecurringTimes, RingtimeClient
from ringtime_local import LocalServers
from ringtime_local.cluster import Cluster

BATCH = 1_000
HEAVY = "app-0000"  #: has a tenth of all schedules
LOOKS = 7
_AT_ONCE = 4
_SPREAD = timedelta(days=7)
_PATIENCE_S = 600.0
_PAUSE_S = 0.3  #: between two looks, so that what is remembered for a second is not all that is seen


def fill(client: RingtimeClient, apps: int, schedules: int, most_s: float) -> tuple[str, int]:
    """Register and create, for no longer than that; return the id of a schedule of the app that has most, and
    how many there are."""
    until_s = time.monotonic() + most_s
    names = [f"app-{n:04}" for n in range(apps)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda name: client.register_app(name, partitions=2), names))
    callback = HttpCallbackDetails(url="http://127.0.0.1:9/callback")
    first = datetime.now(UTC) + timedelta(minutes=30)
    for n in range(50):
        client.put_recurring(
            HEAVY,
            f"report-{n:02}",
            times=RecurringTimes(cron=f"{n} 3 * * *", zone="Europe/Berlin"),
            payload="{}",
            callback=callback,
        )

    def create(batch: int) -> str:
        if time.monotonic() > until_s:
            return ""
        app_id = HEAVY if batch % 10 == 0 else names[batch * 7 % apps]
        made = client.create_schedules(
            [
                NewSchedule(
                    app_id=app_id,
                    payload='{"order": 1}',
                    callback=callback,
                    at=first + _SPREAD * (n / BATCH),
                    labels={"order": str(n)},
                )
                for n in range(BATCH)
            ]
        )
        wrong = [each for each in made if isinstance(each, Exception)]
        assert not wrong, wrong[0]
        return str(getattr(made[0], "schedule_id", ""))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        ids = list(pool.map(create, range(schedules // BATCH)))
    return ids[0], BATCH * sum(map(bool, ids))


@contextmanager
def one_process(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield where the API is, and where the pages are."""
    with serving(folder) as server:
        origin = server.base.removesuffix("/goscheduler")
        yield origin, origin


@contextmanager
def split(folder: Path) -> Iterator[tuple[str, str]]:
    """The same of a split deployment."""
    with ExitStack() as stack:
        servers = LocalServers(folder / "servers")
        stack.callback(servers.stop)
        servers.start(but=("kafka",))
        cluster = Cluster(folder / "pods", ingest=1, dispatchers=1, settings={}, servers=servers)
        try:
            cluster.start()
            api = cluster.base.removesuffix("/goscheduler")
            command = ["ringtime_web.main", "--port", "0", "--api-url", api]
            with subprocess.Popen(
                ["env", "RINGTIME_ACCESS_KEYS=off", "PYTHONUNBUFFERED=1", sys.executable, "-m", *command],
                stdout=subprocess.PIPE,
                text=True,
            ) as web:
                try:
                    assert web.stdout is not None
                    yield api, web.stdout.readline().split("listens on ")[1].strip().removesuffix("/")
                finally:
                    web.terminate()
        finally:
            cluster.stop()


def main() -> None:
    """Fill, ask for each page, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--apps", type=int, default=1_000)
    parser.add_argument("--schedules", type=int, default=1_000_000)
    parser.add_argument(
        "--split", action="store_true", help="pods on Cassandra and etcd, not `ringtime serve`"
    )
    parser.add_argument("--most-s", type=float, default=3_600.0, help="it is filled no longer than that")
    asked = parser.parse_args()
    start = split if asked.split else one_process
    with tempfile.TemporaryDirectory() as folder, start(Path(folder)) as (api, origin):
        with RingtimeClient(api, deadline=timedelta(seconds=_PATIENCE_S)) as client:
            begun_s = time.monotonic()
            schedule_id, count = fill(client, asked.apps, asked.schedules, asked.most_s)
            print(f"{asked.apps:,} apps, {count:,} schedules in {time.monotonic() - begun_s:.0f} s")
        connection = http.client.HTTPConnection(origin.removeprefix("http://"), timeout=60)
        print("| page | bytes | first ms | median ms | most ms |\n|---|---|---|---|---|")
        worst_ms = 0.0
        for name, path in pages(schedule_id).items():
            took_ms = []
            for _ in range(LOOKS):
                time.sleep(_PAUSE_S)
                started_s = time.perf_counter()
                connection.request("GET", path, headers={"Accept": "text/html"})
                answer = connection.getresponse()
                body = answer.read()
                took_ms.append((time.perf_counter() - started_s) * 1_000)
                assert answer.status == 200, (path, answer.status, body[-500:])
            worst_ms = max(worst_ms, *took_ms)
            figures = (took_ms[0], statistics.median(took_ms), max(took_ms))
            print(f"| {name} | {len(body):,} | " + " | ".join(f"{each:.0f}" for each in figures) + " |")
        print(f"worst of all: {worst_ms:.0f} ms")


def pages(schedule_id: str) -> dict[str, str]:
    """Return a path of every page, about the app that has most."""
    return {
        "Overview": "/",
        "Overview, live": "/ui/live/overview",
        "Schedules": f"/ui/schedules?app={HEAVY}",
        "Schedules, searched": f"/ui/schedules?app={HEAVY}&q=report-4",
        "Schedules, no app": "/ui/schedules",
        "One-time": f"/ui/schedules?app={HEAVY}&kind=once&span=next",
        "One-time, by label": f"/ui/schedules?app={HEAVY}&kind=once&span=next&q=order:77",
        "Schedule": f"/ui/schedule?id={schedule_id}",
        "Recurring": f"/ui/schedule?app={HEAVY}&name=report-01",
        "New": f"/ui/schedule/new?app={HEAVY}",
        "Edit": f"/ui/schedule/edit?app={HEAVY}&name=report-01",
        "Suggestions": "/ui/suggest/apps?app=99",
        "Bulk jobs": f"/ui/jobs?app={HEAVY}",
        "Fires": f"/ui/fires?app={HEAVY}",
        "Dead letters": f"/ui/dead-letters?app={HEAVY}",
        "Destinations": "/ui/destinations",
        "Ring": "/ui/ring",
        "Ring, simulated": f"/ui/ring?app={HEAVY}&join=2",
        "Apps": "/ui/apps",
        "App": f"/ui/app?app={HEAVY}",
        "Keys": "/ui/keys",
        "Audit": "/ui/audit",
    }


if __name__ == "__main__":
    main()
