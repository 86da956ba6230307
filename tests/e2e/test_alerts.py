"""Every alert fires once: a real Prometheus reads a real deployment, to which real faults are done.

The rules are those of `infra/prometheus`, with seconds in place of minutes: windows, ages and how long
something must last. What is well is seen first, with the same rules.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from threading import Event

import pytest

from ringtime_local import LocalServers, MissingPrerequisite
from ringtime_local.cluster import Cluster
from ringtime_local.ports import take_ports
from ringtime_local.prometheus import PrometheusServer, find_prometheus
from tests.conftest import NOT_OF_CLUSTERS
from tests.harness.client import Answer, LoadClient
from tests.harness.monitoring import RULES, alert_names, queries
from tests.harness.receiver import LedgerConnection

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(600)]

TTL_S = 6  #: a busy machine takes no lease away while all is well
SLOW_S = 0.3  #: what the slow receiver takes
APPS = ("good", "slow", "hung", "dead", "sla", "over")
PODS = ("ingest-1", "dispatcher-1", "dispatcher-2")
SHORTER = {"5m": "10s", "15m": "60s", "30m": "15s", "1h": "20s", "6h": "30s"}
LOWER = {"> 120": "> 5", "> 60": "> 5", "> 300": "> 20", "> 900": "> 20"}
#: What no fault of this test gives anything to draw.
EMPTY = {"ringtime-nodes: Found late a second"}


def brief_rules() -> str:
    """Return the rules as they are, but for how long everything takes."""
    text = RULES.read_text()
    text = re.sub(r"\[(\d+[mh])\]|(?<=offset )(\d+m)", _shorter, text)
    text = re.sub(r"(?<=for: )\d+m", "2s", text)
    for threshold, lower in LOWER.items():
        text, found = re.subn(rf"(?<=\) ){re.escape(threshold)}$", lower, text, flags=re.MULTILINE)
        assert found == 1, threshold
    return text


def _shorter(match: re.Match[str]) -> str:
    window = match.group(1) or match.group(2)
    return f"[{SHORTER[window]}]" if match.group(1) else SHORTER[window]


class Answering(LedgerConnection):
    """Answers at once, after a while, or never, as the path says."""

    def __init__(self, ledger: int, transports: set[asyncio.Transport]) -> None:
        super().__init__(ledger)
        self._open = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._open.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self._transport)

    def answer(self, target: str, attempt: int) -> None:
        if target == "/slow":
            asyncio.get_running_loop().call_later(SLOW_S, super().answer, target, attempt)
        elif target != "/hung":
            super().answer(target, attempt)


@pytest.fixture(scope="module")
def deployment(
    tmp_path_factory: pytest.TempPathFactory, own_servers: LocalServers
) -> Iterator[tuple[Cluster, PrometheusServer]]:
    try:
        find_prometheus(abort=Event())
    except MissingPrerequisite as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("alerts")
    ports = dict(zip(PODS, take_ports(len(PODS)), strict=True))
    settings: dict[str, object] = {
        "cassandra": {"keyspace": folder.name},
        "coordination": {
            "ttl_s": TTL_S,
            "margin_ms": 2_000,
            "prefix": f"/{folder.name}",
            "join_debounce_ms": 500,
            "dwell_ms": 500,
        },
        "ingest": {"chunk_rows": 10},
        "dispatch": {
            "breaker_failures": 3,
            "breaker_open_ms": 5_000,
            "drain_s": 1,  # what hangs at the end is to end
            "forecast_s": 1,
            "max_loaded": 60,  # of which a slow app takes half: then it is read no further
            "max_in_flight": 20,
            "max_owned": 20,
            "page_rows": 60,
            "seal_ms": 1_000,
            "seal_rows": 0,  # what has rows is sealed in each round, not when its minute is over
            "slow_after_ms": 600_000,  # a backlog waits in memory, and is not parked
        },
    }
    own_servers.start(but=NOT_OF_CLUSTERS)
    cluster = Cluster(folder, ingest=1, dispatchers=2, settings=settings, servers=own_servers)
    cluster.pod_settings.update({pod: {"metrics": {"port": port}} for pod, port in ports.items()})
    rules = folder / "rules.yml"
    rules.write_text(brief_rules())
    targets = [f"127.0.0.1:{port}" for port in ports.values()]
    configuration = {
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"},
        "rule_files": [rules.name],
        "scrape_configs": [{"job_name": "ringtime", "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.json").write_text(json.dumps(configuration))  # YAML as well
    prometheus = PrometheusServer(folder / "prometheus", folder / "prometheus.json")
    try:
        cluster.start()
        prometheus.start()
        yield cluster, prometheus
    finally:
        prometheus.stop()
        cluster.stop()


class Faults:
    """One load on all apps, and what is done to them."""

    def __init__(self, client: LoadClient, port: int) -> None:
        self._client = client
        self._port = port
        self._loads: list[asyncio.Task[None]] = []
        self._dead_port = take_ports(1)[0]  # where nobody listens

    def begin(self, load: Coroutine[None, None, None]) -> None:
        """Let a load run until `end`."""
        self._loads.append(asyncio.create_task(load))

    async def end(self) -> None:
        for load in self._loads:
            load.cancel()
        await asyncio.wait(self._loads)

    def _new(self, app_id: str, path: str, at_s: float) -> dict[str, object]:
        port = self._dead_port if path == "/dead" else self._port
        details = {"url": f"http://127.0.0.1:{port}{path}", "method": "POST", "headers": {}}
        callback = {"type": "http", "details": details}
        return {"appId": app_id, "payload": "{}", "scheduleTime": round(at_s, 3), "callback": callback}

    async def create(self, app_id: str, path: str, *delays_s: float) -> None:
        """Have so many callbacks of an app sent there, so long from now."""
        new = [self._new(app_id, path, time.time() + delay_s) for delay_s in delays_s]
        await self.ask("POST", "/schedules/batch", {"schedules": new})

    async def register(self, app_id: str, configuration: Mapping[str, object], partitions: int = 1) -> None:
        body = {"appId": app_id, "partitions": partitions, "active": True, "configuration": configuration}
        await self.ask("POST", "/apps", body)

    async def ask(self, method: str, path: str, body: object = None) -> Answer:
        answer = await self._client.request(method, path, body)
        assert answer.status in (200, 201), answer.body
        return answer

    async def steady(self) -> None:
        """Two a second of each app, to a good receiver, until it is cancelled; some may be refused."""
        while True:
            new = [self._new(app_id, "/good", time.time() + 1.5) for app_id in APPS]
            await self._client.request("POST", "/schedules/batch", {"schedules": new})
            await asyncio.sleep(0.5)

    async def overload(self) -> None:
        """More than a receiver takes that answers one after the other, until it is cancelled."""
        while True:
            await self.create("slow", "/slow", *(1.5 + n / 8 for n in range(4)))
            await asyncio.sleep(0.5)

    async def miss(self) -> None:
        """Deactivate an app until what it has due is later than it accepts.

        Dispatchers have to know before it is due, on a busy machine too.
        """
        await self.create("sla", "/good", 5, 5, 5)
        await self.ask("POST", "/apps/sla/deactivate")
        await asyncio.sleep(7)
        await self.ask("POST", "/apps/sla/activate")


class Seen:
    """What fired, and when."""

    def __init__(self, prometheus: PrometheusServer) -> None:
        self._prometheus = prometheus
        self.fired: dict[str, float] = {}
        self._begun_s = time.monotonic()

    async def look(self) -> set[str]:
        alerts = await asyncio.to_thread(self._prometheus.alerts)
        firing = {alert.name for alert in alerts if alert.state == "firing"}
        for name in firing - self.fired.keys():
            self.fired[name] = round(time.monotonic() - self._begun_s, 1)
        return {alert.name for alert in alerts}

    async def until(self, holds: Callable[[], bool], timeout_s: float) -> None:
        until_s = time.monotonic() + timeout_s
        while not holds():
            await self.look()
            assert time.monotonic() < until_s, f"after {timeout_s} s only {self.fired}"
            await asyncio.sleep(0.5)

    async def until_fired(self, *names: str, timeout_s: float = 60) -> None:
        await self.until(lambda: self.fired.keys() >= set(names), timeout_s)

    async def until_quiet(self, timeout_s: float = 90) -> None:
        """Return when for some seconds nothing fired, nor was about to."""
        calm = 0
        until_s = time.monotonic() + timeout_s
        while calm < 6:
            alerts = await self.look()
            calm = 0 if alerts else calm + 1
            assert time.monotonic() < until_s, alerts
            await asyncio.sleep(0.5)
        self.fired.clear()
        self._begun_s = time.monotonic()


@asynccontextmanager
async def loaded(cluster: Cluster) -> AsyncIterator[Faults]:
    """Register the apps, and have each called back twice a second meanwhile."""
    loop = asyncio.get_running_loop()
    ledger = os.open(os.devnull, os.O_WRONLY)
    transports: set[asyncio.Transport] = set()
    server = await loop.create_server(lambda: Answering(ledger, transports), "127.0.0.1", 0)
    async with LoadClient(cluster.base, 8) as client:
        faults = Faults(client, server.sockets[0].getsockname()[1])
        limits: dict[str, dict[str, object]] = {
            "slow": {"maxInFlight": 1},
            "hung": {"httpTimeout": 60_000},
            "dead": {"httpRetries": 1},
            "sla": {"maxLatenessSeconds": 1},
        }
        for app_id in APPS:
            await faults.register(app_id, limits.get(app_id, {}))
        faults.begin(faults.steady())
        try:
            yield faults
        finally:
            await faults.end()
    server.close()
    while transports:
        for transport in transports:
            transport.abort()
        await asyncio.sleep(0)
    os.close(ledger)


async def test_each_alert_fires_on_its_fault_and_none_without(
    deployment: tuple[Cluster, PrometheusServer],
) -> None:
    cluster, prometheus = deployment
    async with loaded(cluster) as faults:
        seen = Seen(prometheus)
        await seen.until_quiet()
        assert [rule["name"] for rule in prometheus.rules() if rule["health"] != "ok"] == []

        faults.begin(faults.overload())
        await faults.create("hung", "/hung", 1.5)
        await faults.create("dead", "/dead", *(1.5 + n / 10 for n in range(10)))
        minute_s = (int(time.time()) // 60 + 600) * 60
        ahead_s = [minute_s + n / 20 - time.time() for n in range(1_010)]
        await faults.create("over", "/good", *ahead_s[:505])
        await faults.create("over", "/good", *ahead_s[505:])
        await faults.miss()
        await seen.until_fired(
            "RingtimeBreakerOpen",
            "RingtimeDeadLetters",
            "RingtimeForecastOverQuota",
            "RingtimeFrontBehind",
            "RingtimeLagBurnFast",
            "RingtimeLagBurnSlow",
            "RingtimeMarkBehind",
            "RingtimeMissed",
            "RingtimeOldestDue",
        )
        drawn = await asyncio.to_thread(drawn_by_panels, prometheus)
        assert {panel for panel, count in drawn.items() if not count} <= EMPTY

        assert seen.fired.keys().isdisjoint({"RingtimeLeftOut", "RingtimeNoDispatcher", "RingtimeTargetDown"})
        await faults.register("wide", {}, partitions=100)
        await seen.until_fired("RingtimeLeftOut")

        dispatchers = [cluster.pods[name].process for name in PODS[1:]]
        for process in dispatchers:
            process.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(TTL_S + 1)  # their leases end
            await seen.until_fired("RingtimeNoDispatcher", "RingtimeTargetDown")
        finally:
            for process in dispatchers:
                process.signal(signal.SIGCONT)
        await seen.until_fired("RingtimeLeaseChurn")
    print(f"seconds after the first fault: {seen.fired}")
    assert sorted(seen.fired) == sorted(alert_names())


def drawn_by_panels(prometheus: PrometheusServer) -> dict[str, int]:
    """Return how many series each panel of the dashboards shows."""
    counts: dict[str, int] = {}
    for panel, expression in queries(interval="10s"):
        counts[panel] = counts.get(panel, 0) + len(prometheus.query(expression))
    return counts
