"""Creates in batches over HTTP on one ingest pod and real Cassandra: rate, and processor time of each part.

    PYTHONPATH=. python benchmarks/create_batches.py [--batches N] [--at-once N]

Each batch has 1,000 schedules of one app, payloads of 300 bytes, due in one minute or over an hour. CPU is
user and system time of the named process, in microseconds for each schedule. Pod, Cassandra and client share
this machine's cores, so rates are a floor.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

from tests.harness.client import LoadClient

from benchmarks.bench_split import cpu_of
from ringtime_local.cluster import Cluster

ITEMS = 1_000
PAYLOAD = "x" * 300
CALLBACK = {
    "type": "http",
    "details": {
        "url": "http://127.0.0.1:9/hook",
        "method": "POST",
        "headers": {"Content-Type": "text/plain"},
    },
}


def make_body(minutes: int) -> bytes:
    """Return a batch that is due tomorrow, over so many minutes."""
    first_s = int(time.time()) // 60 * 60 + 86_400
    items = [
        {
            "appId": "bench",
            "payload": PAYLOAD,
            "scheduleTime": first_s + n % minutes * 60 + n * 59 / ITEMS,
            "callback": CALLBACK,
        }
        for n in range(ITEMS)
    ]
    return json.dumps({"schedules": items}).encode()


async def send(client: LoadClient, body: bytes, batches: int) -> None:
    answers = await asyncio.gather(
        *(client.request("POST", "/schedules/batch", body) for _ in range(batches))
    )
    assert {answer.status for answer in answers} == {200}, answers[0].body[:300]
    assert all(answer.data["done"] == ITEMS for answer in answers[:3])


async def run(cluster: Cluster, batches: int, at_once: int) -> None:
    pids = {
        "ingest": cluster.pods["ingest-1"].process.pid,
        "cassandra": cluster.servers.cassandra.nodes[0].pid,
    }
    async with LoadClient(cluster.base, at_once) as client:
        app = {"appId": "bench", "partitions": 20, "active": True}
        assert (await client.request("POST", "/apps", app)).status == 200
        for name, minutes in (("one minute", 1), ("one hour", 60)):
            body = make_body(minutes)
            await send(client, body, batches)  # has the JVM compile what is measured
            before, began_s = {key: cpu_of(pid) for key, pid in pids.items()}, time.perf_counter()
            await send(client, body, batches)
            took_s, count = time.perf_counter() - began_s, batches * ITEMS
            costs = {key: (cpu_of(pid) - before[key]) / count * 1e6 for key, pid in pids.items()}
            shown = ", ".join(f"{key} {cost:.0f}" for key, cost in costs.items())
            print(f"{name:12}{count:8}{count / took_s:9,.0f}/s   cpu us: {shown}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--at-once", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        cluster = Cluster(Path(name), ingest=1, dispatchers=0, settings={})
        try:
            cluster.start()
            asyncio.run(run(cluster, options.batches, options.at_once))
        finally:
            cluster.stop()


if __name__ == "__main__":
    main()
