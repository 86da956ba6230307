"""What one ingest pod and one dispatcher can do on real Cassandra, etcd and Kafka, and what each part costs.

    PYTHONPATH=. python benchmarks/bench_split.py [burst] [steady] [kafka] [idle] [--count N] [--idle-s S]

- `burst`: N creates, all due at one moment;
- `steady`: 200 creates a second for 40 s, each due 2 to 6 s later; lag is from the fire time to the receiver;
- `kafka`: as `burst`, called back into a topic;
- `idle`: 10,000 poller instances and no schedules.

Everything shares this machine's cores, so rates are a floor. CPU is user and system time of the named
process, in microseconds for each create or callback, reading the rows and recording the outcomes included.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
import urllib.request
from pathlib import Path
from random import Random

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tests.harness.client import LoadClient
from tests.harness.ledger import judge
from tests.harness.load import Load, wait_for_deliveries, wait_until
from tests.harness.machine import ForeignWork
from tests.harness.receiver import Receiver, running_receiver

from ringtime_local.cluster import Cluster

IDLE_APPS, IDLE_PARTITIONS = 10, 1_000
KAFKA_PARTITIONS = 20
CASES = ("burst", "steady", "kafka", "idle")
STEADY_PER_S, STEADY_S, STEADY_LEAD_S = 200, 40, (2.0, 6.0)
PAYLOAD = "x" * 300


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


class Bench:
    """One cluster with one pod of each kind."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._pids = {
            "ingest": cluster.pods["ingest-1"].process.pid,
            "dispatcher": cluster.pods["dispatcher-1"].process.pid,
            "cassandra": cluster.servers.cassandra.nodes[0].pid,
            "kafka": cluster.servers.kafka.pid,
        }

    def owned(self) -> int:
        url = f"http://127.0.0.1:{self._cluster.pods['dispatcher-1'].port}/health/ready"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(json.loads(answer.read())["owned"])

    def used(self) -> dict[str, float]:
        return {name: cpu_of(pid) for name, pid in self._pids.items()}

    def report(self, name: str, count: int, wall_s: float, before: dict[str, float]) -> None:
        each = {key: (value - before[key]) / count * 1e6 for key, value in self.used().items()}
        costs = ", ".join(f"{key} {value:.0f}" for key, value in each.items())
        print(f"{name:12}{count:8}{count / wall_s:9,.0f}/s   cpu us: {costs}", flush=True)

    async def register(self, client: LoadClient) -> None:
        body = {"appId": "bench", "partitions": 20, "active": True}
        assert (await client.request("POST", "/apps", body)).status == 200
        await wait_until(lambda: self.owned() == 20, timeout_s=30)

    async def burst(self, client: LoadClient, receiver: Receiver, count: int) -> None:
        load = Load(receiver, apps=["bench"], rng=Random(1))
        for is_warm in (False, True):  # the first round has two JVMs compile what the second runs
            await self._http_round(client, load, receiver, count, is_warm)

    async def _http_round(
        self, client: LoadClient, load: Load, receiver: Receiver, count: int, is_warm: bool
    ) -> None:
        due_ms = int(time.time() * 1000) + 5_000 + count
        earlier, before, began_s = receiver.count(), self.used(), time.perf_counter()
        await asyncio.gather(*(load.create(client, due_ms) for _ in range(count)))
        if is_warm:
            self.report("create", count, time.perf_counter() - began_s, before)
        await asyncio.sleep(max(due_ms / 1000 - 1 - time.time(), 0))
        before = self.used()
        await wait_until(lambda: receiver.count() >= earlier + count, timeout_s=120)
        await asyncio.sleep(1)  # the last outcomes
        last_ms = max(found[0].at_ms for found in receiver.arrivals().values())
        if is_warm:
            self.report("callback", count, (last_ms - due_ms) / 1000, before)

    async def steady(self, client: LoadClient, receiver: Receiver) -> None:
        load = Load(receiver, apps=["bench"], rng=Random(2))
        before, foreign = self.used(), ForeignWork()
        await load.run(client, per_s=STEADY_PER_S, seconds=STEADY_S, lead_s=STEADY_LEAD_S)
        await wait_for_deliveries(receiver, load.creates, timeout_s=15)
        others = foreign.share() * 100
        self.report("steady", len(load.creates), STEADY_S, before)
        ids = {entry.schedule_id for entry in load.creates}
        found = judge(load.creates, {key: each for key, each in receiver.arrivals().items() if key in ids})
        print(f"            {found}; others took {others:.0f} % of the machine", flush=True)

    async def to_kafka(self, client: LoadClient, count: int) -> None:
        """Callbacks to one topic of 20 partitions; the broker's own offsets tell how many it has."""
        bootstrap = self._cluster.servers.kafka.bootstrap
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic("bench.load", KAFKA_PARTITIONS, 1)])
        await admin.close()
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
        await consumer.start()
        for earlier in (0, count):
            await self._kafka_round(client, consumer, count, earlier)
        await consumer.stop()

    async def _kafka_round(
        self, client: LoadClient, consumer: AIOKafkaConsumer, count: int, earlier: int
    ) -> None:
        callback = {"type": "kafka", "details": {"topic": "bench.load"}}
        due_ms = int(time.time() * 1000) + 5_000 + count
        body = {"appId": "bench", "payload": PAYLOAD, "scheduleTime": due_ms / 1000, "callback": callback}
        answers = await asyncio.gather(*(client.request("POST", "/schedules", body) for _ in range(count)))
        assert {answer.status for answer in answers} == {200}
        await asyncio.sleep(max(due_ms / 1000 - 1 - time.time(), 0))
        partitions = [TopicPartition("bench.load", number) for number in range(KAFKA_PARTITIONS)]
        before = self.used()
        while sum((await consumer.end_offsets(partitions)).values()) < earlier + count:
            assert time.time() < due_ms / 1000 + 120
            await asyncio.sleep(0.05)
        wall_s = time.time() - due_ms / 1000
        await asyncio.sleep(1)  # the last outcomes
        if earlier:
            self.report("to Kafka", count, wall_s, before)

    async def idle(self, client: LoadClient, seconds: float) -> None:
        for number in range(IDLE_APPS):
            body = {"appId": f"idle-{number}", "partitions": IDLE_PARTITIONS, "active": True}
            assert (await client.request("POST", "/apps", body)).status == 200
        wanted = IDLE_APPS * IDLE_PARTITIONS
        await wait_until(lambda: self.owned() >= wanted, timeout_s=120)
        await asyncio.sleep(5)  # the first seals
        before = self.used()
        await asyncio.sleep(seconds)
        shares = {key: (value - before[key]) / seconds * 100 for key, value in self.used().items()}
        costs = ", ".join(f"{key} {value:.1f} %" for key, value in shares.items())
        memory = resident_mib(self._pids["dispatcher"])
        print(
            f"idle        {self.owned():8} poller instances: {costs} of a core; {memory:.0f} MiB", flush=True
        )


async def run(cluster: Cluster, folder: Path, options: argparse.Namespace) -> None:
    bench = Bench(cluster)
    with running_receiver(folder) as receiver:
        async with LoadClient(cluster.base, 64) as client:
            await bench.register(client)
            if "burst" in options.cases:
                await bench.burst(client, receiver, options.count)
            if "steady" in options.cases:
                await bench.steady(client, receiver)
            if "kafka" in options.cases:
                await bench.to_kafka(client, options.count)
            if "idle" in options.cases:
                await bench.idle(client, options.idle_s)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; none: all")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--idle-s", type=float, default=60)
    options = parser.parse_args()
    options.cases = options.cases or CASES
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cluster = Cluster(folder / "cluster", ingest=1, dispatchers=1, settings={})
        try:
            cluster.start()
            asyncio.run(run(cluster, folder, options))
        finally:
            cluster.stop()


if __name__ == "__main__":
    main()
