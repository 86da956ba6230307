"""Many quiet tenants on real Cassandra and etcd: how punctual their callbacks are, and what that costs.

    PYTHONPATH=. python benchmarks/bench_wide.py [quiet] [near] [burst] [partitions]
        [--apps N] [--dispatchers D] [--to http|kafka] [--minutes M] [--idle-s S] [--profile FILE]

Registers the apps, measures a while in which nothing is due, files, and measures whole minutes:

- `quiet`: N apps of one partition, one schedule a minute each, spread over it, filed before it begins;
- `near`: the same, but each filed 5 to 15 s before it is due, so that all of it is announced;
- `burst`: as `quiet`, and 20,000 of another app due in one second of that minute;
- `partitions`: one app of 64 partitions, 20 schedules a second.

Lag is from the fire time to the first byte at the receiver, or to Kafka's record. Processor time is that of
each process in the measured minute, as a share of one core. All of it shares the cores with the load.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tests.harness.client import LoadClient
from tests.harness.load import wait_until
from tests.harness.receiver import Receiver, running_receiver

from benchmarks.bench_split import cpu_of, resident_mib
from ringtime_local.cluster import Cluster

CASES = ("quiet", "near", "burst", "partitions")
MINUTE_MS = 60_000
TOPIC, TOPIC_PARTITIONS = "bench.wide", 20
BURST, BURST_APP = 20_000, "burst"
DENSE_APP, DENSE_PARTITIONS, DENSE_PER_S = "dense", 64, 20
NEAR_LEAD_MS = (5_000, 15_000)
CONNECTIONS = 64
LATE_MS = 100
WAIT_S = 15  #: waited for callbacks that have not come when their minute is over


class Filed(NamedTuple):
    """A schedule that was acknowledged."""

    schedule_id: str
    app_id: str
    fire_ms: int
    took_ms: float  #: from request to answer


class Callbacks(Protocol):
    """Where callbacks go, and when they came."""

    kind: str
    details: dict[str, object]

    async def read(self) -> Mapping[str, Sequence[float]]:
        """Return the instants of all that came so far, in ms, by schedule id."""
        ...


class HttpCallbacks:
    """To a receiver of the test's."""

    kind = "http"

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self.details: dict[str, object] = {"url": receiver.url, "method": "POST", "headers": {}}

    async def read(self) -> Mapping[str, Sequence[float]]:
        came = self._receiver.arrivals()
        return {each: [arrival.at_ms for arrival in arrivals] for each, arrivals in came.items()}


class KafkaCallbacks:
    """To one topic; the instants are those of its records."""

    kind = "kafka"

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._came: dict[str, list[float]] = defaultdict(list)
        self.details: dict[str, object] = {"topic": TOPIC}

    async def read(self) -> Mapping[str, Sequence[float]]:
        while records := await self._consumer.getmany(timeout_ms=200, max_records=5_000):
            for batch in records.values():
                for record in batch:
                    self._came[record.key.decode()].append(record.timestamp)
        return self._came


@asynccontextmanager
async def kafka_consumer(bootstrap: str) -> AsyncIterator[AIOKafkaConsumer]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, TOPIC_PARTITIONS, 1)])
    await admin.close()
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    consumer.assign([TopicPartition(TOPIC, number) for number in range(TOPIC_PARTITIONS)])
    await consumer.start()
    await consumer.seek_to_beginning()
    try:
        yield consumer
    finally:
        await consumer.stop()


def percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def describe(name: str, filed: Sequence[Filed], came: Mapping[str, Sequence[float]]) -> None:
    """Print what became of these schedules."""
    lags = sorted(came[each.schedule_id][0] - each.fire_ms for each in filed if each.schedule_id in came)
    doubled = sum(len(came.get(each.schedule_id, ())) > 1 for each in filed)
    early, late = sum(lag < 0 for lag in lags), sum(lag > LATE_MS for lag in lags)
    if not lags:
        print(f"  {name:12}{len(filed):7} filed, none came", flush=True)
        return
    print(
        f"  {name:12}{len(filed):7} due: {len(filed) - len(lags)} lost, {early} early, {doubled} doubled,"
        f" {late} later than {LATE_MS} ms;"
        f" lag p50 {percentile(lags, 0.5):,.1f}, p99 {percentile(lags, 0.99):,.1f}, max {lags[-1]:,.1f} ms",
        flush=True,
    )


class Bench:
    """One cluster, and what is asked of it."""

    def __init__(self, cluster: Cluster, client: LoadClient, callbacks: Callbacks) -> None:
        self._cluster = cluster
        self._client = client
        self._callbacks = callbacks
        self._registered = 0
        self._pids = {name: pod.process.pid for name, pod in cluster.pods.items()}
        self._pids |= {
            "cassandra": cluster.servers.cassandra.nodes[0].pid,
            "etcd": cluster.servers.etcd.pid,
        }
        self._dispatchers = [name for name in cluster.pods if name.startswith("dispatcher")]

    def owned(self) -> int:
        total = 0
        for name in self._dispatchers:
            url = f"http://127.0.0.1:{self._cluster.pods[name].port}/health/ready"
            with urllib.request.urlopen(url, timeout=10) as answer:
                total += int(json.loads(answer.read())["owned"])
        return total

    def used(self) -> dict[str, float]:
        return {name: cpu_of(pid) for name, pid in self._pids.items()}

    def print_cpu(self, before: dict[str, float], seconds: float) -> None:
        shares = {name: (value - before[name]) / seconds * 100 for name, value in self.used().items()}
        together = sum(shares[name] for name in self._dispatchers)
        each = ", ".join(f"{name} {share:.1f} %" for name, share in shares.items())
        memory = ", ".join(f"{resident_mib(self._pids[name]):.0f}" for name in self._dispatchers)
        print(f"  of a core: {each}; dispatchers together {together:.1f} %, {memory} MiB", flush=True)

    async def register(self, names: Sequence[str], partitions: int = 1) -> None:
        began_s = time.perf_counter()
        bodies = [{"appId": name, "partitions": partitions, "active": True} for name in names]
        answers = await asyncio.gather(*(self._client.request("POST", "/apps", body) for body in bodies))
        assert {answer.status for answer in answers} == {200}, answers[0]
        seconds = time.perf_counter() - began_s
        wanted = self._registered = self._registered + len(names) * partitions
        await wait_until(lambda: self.owned() >= wanted, timeout_s=300)
        whole_s = time.perf_counter() - began_s
        print(
            f"registered {len(names)} apps of {partitions}: {len(names) / seconds:,.0f}/s;"
            f" all {wanted} owned after {whole_s:.1f} s",
            flush=True,
        )

    async def idle(self, seconds: float) -> None:
        await asyncio.sleep(5)  # the first seals
        before = self.used()
        await asyncio.sleep(seconds)
        print(f"idle, nothing filed, {seconds:.0f} s", flush=True)
        self.print_cpu(before, seconds)

    async def file(self, app_id: str, fire_ms: int) -> Filed:
        body = {
            "appId": app_id,
            "payload": "{}",
            "scheduleTime": fire_ms / 1000,
            "callback": {"type": self._callbacks.kind, "details": self._callbacks.details},
        }
        began_s = time.perf_counter()
        answer = await self._client.request("POST", "/schedules", body)
        assert answer.status == 200, answer
        took_ms = (time.perf_counter() - began_s) * 1000
        return Filed(answer.data["schedule"]["scheduleId"], app_id, fire_ms, took_ms)

    async def file_all(self, wanted: Sequence[tuple[str, int]]) -> list[Filed]:
        began_s = time.perf_counter()
        filed = await asyncio.gather(*(self.file(app_id, fire_ms) for app_id, fire_ms in wanted))
        print(f"created {len(filed)}: {len(filed) / (time.perf_counter() - began_s):,.0f}/s", flush=True)
        return filed

    async def file_in_time(self, wanted: Sequence[tuple[str, int]]) -> list[Filed]:
        """File each some seconds before it is due, the leads spread evenly."""
        least_ms, most_ms = NEAR_LEAD_MS
        leads = [least_ms + n * 7_919 % (most_ms - least_ms) for n in range(len(wanted))]
        tasks = []
        for lead_ms, (app_id, fire_ms) in sorted(
            zip(leads, wanted, strict=True), key=lambda each: each[1][1] - each[0]
        ):
            wait_s = (fire_ms - lead_ms) / 1000 - time.time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            tasks.append(asyncio.create_task(self.file(app_id, fire_ms)))
        return await asyncio.gather(*tasks)

    async def minutes(self, case: str, apps: Sequence[str], minutes: int, profile: Path | None) -> None:
        """Measure so many minutes of a case, one after the other."""
        needs_s = 10 + minutes * (len(apps) / 300 + (BURST / 1_000 if case == "burst" else 0))
        first_ms = (int(time.time() * 1000 + needs_s * 1000) // MINUTE_MS + 1) * MINUTE_MS
        wanted = [plan(case, apps, first_ms + n * MINUTE_MS) for n in range(minutes)]
        near = case == "near"
        filed = [] if near else await self.file_all([each for minute in wanted for each in minute])
        filing = (
            asyncio.create_task(self.file_in_time([each for part in wanted for each in part]))
            if near
            else None
        )
        for n in range(minutes):
            start_ms = first_ms + n * MINUTE_MS
            await asyncio.sleep(max(start_ms / 1000 - time.time(), 0))
            before = self.used()
            with profiled(self._pids["dispatcher-1"], profile if n == minutes - 1 else None):
                await asyncio.sleep((start_ms + MINUTE_MS) / 1000 - time.time())
            print(f"{case}, minute {n + 1} of {minutes}", flush=True)
            self.print_cpu(before, MINUTE_MS / 1000)
        if filing:
            filed += await filing
            took_ms = sorted(each.took_ms for each in filed)
            print(
                f"  creates took p50 {percentile(took_ms, 0.5):,.0f}, p99 {percentile(took_ms, 0.99):,.0f},"
                f" max {took_ms[-1]:,.0f} ms",
                flush=True,
            )
        came = await self._wait_for({each.schedule_id for each in filed})
        for n in range(minutes):
            start_ms = first_ms + n * MINUTE_MS
            mine = [each for each in filed if start_ms <= each.fire_ms < start_ms + MINUTE_MS]
            for app_id in (BURST_APP, None):
                part = [each for each in mine if (each.app_id == BURST_APP) == (app_id is not None)]
                if part:
                    describe(app_id or case, part, came)

    async def _wait_for(self, schedule_ids: set[str]) -> Mapping[str, Sequence[float]]:
        """Return what came, once these are among it or time is up."""
        until_s = time.monotonic() + WAIT_S
        while True:
            came = await self._callbacks.read()
            if schedule_ids <= came.keys() or time.monotonic() > until_s:
                return came
            await asyncio.sleep(0.5)


def plan(case: str, apps: Sequence[str], start_ms: int) -> list[tuple[str, int]]:
    """Return what is due in the minute that begins then: app and fire time."""
    if case == "partitions":
        return [(DENSE_APP, start_ms + n * 1_000 // DENSE_PER_S) for n in range(60 * DENSE_PER_S)]
    due = [(name, start_ms + n * MINUTE_MS // len(apps)) for n, name in enumerate(apps)]
    if case == "burst":
        due += [(BURST_APP, start_ms + 30_000 + n * 1_000 // BURST) for n in range(BURST)]
    return due


@asynccontextmanager
async def callbacks_to(kind: str, cluster: Cluster, folder: Path) -> AsyncIterator[Callbacks]:
    if kind == "kafka":
        async with kafka_consumer(cluster.servers.kafka.bootstrap) as consumer:
            yield KafkaCallbacks(consumer)
    else:
        with running_receiver(folder) as receiver:
            yield HttpCallbacks(receiver)


def profiled(pid: int, file: Path | None) -> subprocess.Popen[bytes] | nullcontext[None]:
    """Record what a process does for most of a minute, as raw stacks, by py-spy, which is no dependency."""
    if file is None:
        return nullcontext()
    argv = ["py-spy", "record", "-p", str(pid), "-o", str(file), "-f", "raw", "-d", "50", "-r", "200"]
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL)


async def run(cluster: Cluster, folder: Path, options: argparse.Namespace) -> None:
    async with (
        callbacks_to(options.to, cluster, folder) as callbacks,
        LoadClient(cluster.base, CONNECTIONS) as client,
    ):
        bench = Bench(cluster, client, callbacks)
        apps = [f"app-{number}" for number in range(options.apps)]
        if set(options.cases) - {"partitions"}:
            await bench.register(apps)
        if "burst" in options.cases:
            await bench.register([BURST_APP], 20)
        if "partitions" in options.cases:
            await bench.register([DENSE_APP], DENSE_PARTITIONS)
        if options.idle_s:
            await bench.idle(options.idle_s)
        for case in options.cases:
            await bench.minutes(case, apps, options.minutes, options.profile)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", choices=CASES, default="quiet")
    parser.add_argument("--apps", type=int, default=3_000)
    parser.add_argument("--dispatchers", type=int, default=1)
    parser.add_argument("--to", choices=["http", "kafka"], default="http")
    parser.add_argument("--minutes", type=int, default=2, help="the first warms two JVMs up")
    parser.add_argument("--idle-s", type=float, default=60)
    parser.add_argument("--profile", type=Path, help="of the first dispatcher, by py-spy")
    options = parser.parse_args()
    options.cases = [options.cases] if isinstance(options.cases, str) else options.cases
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cluster = Cluster(folder / "cluster", ingest=1, dispatchers=options.dispatchers, settings={})
        try:
            cluster.start()
            print(f"{options.dispatchers} dispatchers, callbacks by {options.to}", flush=True)
            asyncio.run(run(cluster, folder, options))
        finally:
            cluster.stop()


if __name__ == "__main__":
    main()
