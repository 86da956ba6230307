"""Faults of the network between pods and their servers, by proxies that pods go through.

dispatcher-1 reaches etcd through a proxy of its own; ingest pods and dispatchers reach Cassandra through one
proxy each (the driver takes the address of its only contact point for the node's own, so all of its
connections go there; the fixture checks that none goes round).
"""

from __future__ import annotations

import asyncio
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ringtime_local import LocalServers
from ringtime_local.cluster import Cluster, Pod
from tests.conftest import NOT_OF_CLUSTERS
from tests.e2e.conftest import APPS, COORDINATION, MARGIN_S, TTL_S, clustered, owners_of, register_apps
from tests.harness.client import Answer, LoadClient
from tests.harness.fault_proxy import BLACK_HOLE, STALL, CqlReplies, Fault, FaultProxy, Way
from tests.harness.ledger import Verdict, judge
from tests.harness.load import Load, wait_for_deliveries, wait_until
from tests.harness.receiver import Receiver
from tests.harness.report import IS_LONG, record

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(300)]

#: what `./test` has no time for; `make faults` runs it
LONG_ONLY = pytest.mark.skipif(not IS_LONG, reason="in the long set: make faults")
RATE = 200.0 if IS_LONG else 100.0
LEAD_S = (1.0, 30.0) if IS_LONG else (1.0, 6.0)
FAR_S = (6.0, 30.0) if IS_LONG else (6.0, 9.0)  #: where a create may take seconds
BEFORE_S, AFTER_S = (20, 40) if IS_LONG else (3, 7)
SETTLE_S = 10.0  #: after the end of a fault lags are those of a healthy cluster again
TRUST_S = TTL_S - MARGIN_S
SLACK_S = 0.5  # from the last look at the lease to the receiver's ledger, on a busy machine
MOST_MIB = 300
SOUND = {"POST": {200, 503}, "DELETE": {200, 202, 409, 503}}  #: answers that are no bug


@dataclass
class Network:
    """A cluster and the proxies in it."""

    cluster: Cluster
    etcd: FaultProxy  #: of dispatcher-1
    cassandra: dict[str, FaultProxy]  #: of a role

    def pods(self, role: str) -> list[Pod]:
        return [pod for name, pod in self.cluster.pods.items() if name.startswith(role)]

    def set_cassandra(self, fault: Fault) -> None:
        for proxy in self.cassandra.values():
            proxy.set(fault)

    def heal(self) -> None:
        for proxy in (self.etcd, *self.cassandra.values()):
            proxy.heal()


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, own_servers: LocalServers) -> Iterator[Network]:
    own_servers.start(but=NOT_OF_CLUSTERS)
    cql = own_servers.cassandra.port
    with (
        FaultProxy("etcd", own_servers.etcd.port) as etcd,
        FaultProxy("cassandra of ingest", cql, replies=CqlReplies) as of_ingest,
        FaultProxy("cassandra of dispatchers", cql, replies=CqlReplies) as of_dispatchers,
    ):
        proxies = {"ingest": of_ingest, "dispatcher": of_dispatchers}
        pods: dict[str, dict[str, object]] = {
            f"{role}-{number}": {"cassandra": {"port": proxy.port}}
            for role, proxy in proxies.items()
            for number in (1, 2, 3)
        }
        pods["dispatcher-1"]["coordination"] = {"endpoints": [etcd.endpoint]}
        with clustered(
            tmp_path_factory.mktemp("network"),
            own_servers,
            # What moved may move back at once, so that a run sees a healed node own something again.
            coordination={**COORDINATION, "dwell_ms": 2_000},
            # By default so few rows wake few poller instances: a node may have nothing to send for seconds.
            ingest={"chunk_rows": 10},
            pod_settings=pods,
        ) as cluster:
            running = Network(cluster, etcd, proxies)
            _check_ways(running)
            asyncio.run(register_apps(cluster.base))
            yield running
            running.heal()


@pytest.fixture(autouse=True)
def healed(network: Network) -> Iterator[None]:
    yield
    network.heal()


def _check_ways(network: Network) -> None:
    """No pod may go round a proxy that it is meant to go through."""
    servers = network.cluster.servers
    for role, proxy in network.cassandra.items():
        for pod in network.pods(role):
            ports = _remote_ports(pod.process.pid)
            assert proxy.port in ports, pod.name
            assert servers.cassandra.port not in ports, pod.name
    ports = _remote_ports(network.cluster.pods["dispatcher-1"].process.pid)
    assert network.etcd.port in ports
    assert servers.etcd.port not in ports


def _remote_ports(pid: int) -> set[int]:
    """Return the ports that a process is connected to, by TCP."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            inodes.add(str(entry.readlink()).removeprefix("socket:[").rstrip("]"))
    tables = [Path(f"/proc/{pid}/net/{name}").read_text() for name in ("tcp", "tcp6")]  # gRPC's are tcp6
    lines = [line.split() for table in tables for line in table.splitlines()[1:]]
    return {int(line[2].rpartition(":")[2], 16) for line in lines if line[9] in inodes}


class TalliedClient(LoadClient):
    """Notes method, status and time of each answer."""

    def __init__(self, base: str) -> None:
        super().__init__(base, 600)
        self.seen: list[tuple[str, int, float]] = []

    def request(self, method: str, path: str, body: object = None) -> Awaitable[Answer]:
        begun_s = time.monotonic()
        answer = asyncio.ensure_future(super().request(method, path, body))

        def note(done: asyncio.Future[Answer]) -> None:
            if not done.cancelled():
                self.seen.append((method, done.result().status, time.monotonic() - begun_s))

        answer.add_done_callback(note)
        return answer


@dataclass
class Run:
    """A load with a fault in its middle, and what came of it."""

    network: Network
    receiver: Receiver
    load: Load
    begun_ms: float = 0.0
    healed_ms: float = 0.0
    seen: list[tuple[str, int, float]] = field(default_factory=list)

    async def through(
        self, fault: Awaitable[None], seconds: float, lead_s: tuple[float, float] = LEAD_S
    ) -> Verdict:
        """Load; after a while begin `fault`, which lasts `seconds`; heal, go on, wait and judge."""
        async with AsyncExitStack() as stack:
            bases = [f"http://127.0.0.1:{pod.port}/goscheduler" for pod in self.network.pods("ingest")]
            clients = [TalliedClient(base) for base in bases]
            for client in clients:
                await stack.enter_async_context(client)
            share = RATE / len(clients)
            length_s = BEFORE_S + seconds + AFTER_S
            loads = [
                self.load.run(client, per_s=share, seconds=length_s, lead_s=lead_s, cancels=0.05)
                for client in clients
            ]
            await asyncio.gather(self._suffer(fault, seconds), *loads)
            self.seen = [each for client in clients for each in client.seen]
        await wait_for_deliveries(self.receiver, self.load.creates, timeout_s=lead_s[1] + 90)
        return judge(self.load.creates, self.receiver.arrivals())

    async def _suffer(self, fault: Awaitable[None], seconds: float) -> None:
        await asyncio.sleep(BEFORE_S)
        self.begun_ms = time.time() * 1000
        suffering = asyncio.create_task(asyncio.wait_for(fault, seconds + 30))
        await asyncio.sleep(seconds)
        self.network.heal()
        self.healed_ms = time.time() * 1000
        await suffering

    def facts(self) -> dict[str, Any]:
        """What every report tells: answers, their time, lags while the fault lasts and afterwards."""
        arrivals = self.receiver.arrivals()
        unanswered = [entry for entry in self.load.creates if entry.schedule_id is None]
        targets = {arrival.target for found in arrivals.values() for arrival in found}
        times = sorted(taken_s for method, _, taken_s in self.seen if method == "POST")
        return {
            "answers": {f"{method} {status}": n for (method, status), n in sorted(self.answers().items())},
            "create_s": {"p50": round(_share(times, 0.5), 3), "p99": round(_share(times, 0.99), 3)},
            "create_max_s": round(_share(times, 1), 3),
            "unanswered": len(unanswered),
            "unanswered_but_delivered": sum(f"/callback?n={entry.number}" in targets for entry in unanswered),
            "lag_during_ms": self._lags(self.begun_ms, self.healed_ms),
            "lag_settled_ms": self._lags(self.healed_ms + SETTLE_S * 1000, float("inf")),
            "peak_mib": {name: _peak_mib(pod.process.pid) for name, pod in self.network.cluster.pods.items()},
        }

    def answers(self) -> Counter[tuple[str, int]]:
        return Counter((method, status) for method, status, _ in self.seen)

    def unsound(self) -> dict[tuple[str, int], int]:
        """Return the answers that nothing excuses: no 500, no broken connection."""
        return {key: n for key, n in self.answers().items() if key[1] not in SOUND[key[0]]}

    def settled_p99_ms(self) -> float:
        return self._lags(self.healed_ms + SETTLE_S * 1000, float("inf"))["p99"]

    def _lags(self, from_ms: float, to_ms: float) -> dict[str, float]:
        """Return the lags of what was due in a time."""
        arrivals = self.receiver.arrivals()
        lags = []
        for entry in self.load.creates:
            due_ms = max(entry.fire_ms, entry.acked_ms)
            if entry.schedule_id in arrivals and from_ms <= due_ms < to_ms:
                lags.append(min(each.at_ms for each in arrivals[entry.schedule_id]) - due_ms)
        lags.sort()
        return {name: round(_share(lags, share)) for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1))}


def _share(values: Sequence[float], share: float) -> float:
    return values[min(int(len(values) * share), len(values) - 1)] if values else 0.0


def _peak_mib(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) // 1024


#: How nothing gets through: for ever, or late. The second takes a long run to be worth its time.
SILENCES = [
    pytest.param(BLACK_HOLE, "black-hole", id="black-hole"),
    pytest.param(STALL, "stall", id="stall", marks=LONG_ONLY),
]


@pytest.fixture
def run(network: Network, receiver: Receiver) -> Run:
    return Run(network, receiver, Load(receiver, apps=APPS, rng=Random(11)))


def _is_ready(pod: Pod) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{pod.port}/health/ready", timeout=10):
            return True
    except (urllib.error.URLError, OSError):
        return False


@pytest.mark.parametrize(("silence", "name"), SILENCES)
async def test_a_dispatcher_cut_off_from_etcd_alone(
    network: Network, run: Run, silence: Fault, name: str
) -> None:
    """It falls silent by its own clock before others take over, and comes back by itself."""
    hole_s = 60.0 if IS_LONG else 2.5 * TTL_S
    victim = network.cluster.pods["dispatcher-1"]
    ready: dict[str, bool | float] = {}

    async def hole() -> None:
        network.etcd.set(silence)
        await asyncio.sleep(TTL_S)
        ready["without trust"] = await asyncio.to_thread(_is_ready, victim)
        await asyncio.sleep(hole_s - TTL_S)
        while not await asyncio.to_thread(_is_ready, victim):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.2)
        ready["after_s"] = round(time.time() - run.healed_ms / 1000, 1)

    with owners_of(network.cluster) as owners:
        await wait_until(lambda: len(owners.of("dispatcher-1", time.time() * 1000)) >= 8, timeout_s=90)
        verdict = await run.through(hole(), hole_s)
        arrivals = [each for found in run.receiver.arrivals().values() for each in found]
    epochs = owners.epochs("dispatcher-1")
    sent_ms = [each.at_ms for each in arrivals if each.term % 2**48 in epochs]
    last_s = max((at_ms for at_ms in sent_ms if at_ms < run.healed_ms), default=0) / 1000
    held = owners.of("dispatcher-1", run.begun_ms)
    heirs = [owners.next_of(term) for term in held]
    taken_s = [(heir.from_ms - run.begun_ms) / 1000 for heir in heirs if heir is not None]
    back = [term for term in owners.terms if term.node == "dispatcher-1" and term.from_ms > run.healed_ms]
    record(
        f"etcd-{name}-of-one-dispatcher",
        verdict,
        seconds=hole_s,
        instances=len(held),
        silent_after_s=round(last_s - run.begun_ms / 1000, 2),
        taken_over_after_s=round(max(taken_s), 2),
        ready_again_after_s=ready["after_s"],
        owns_again=len(back),
        sent_again=sum(at_ms > run.healed_ms for at_ms in sent_ms),
        **run.facts(),
    )
    print(verdict, run.facts())
    assert verdict.broken() == []
    assert verdict.duplicates == 0
    assert run.unsound() == {}
    assert run.facts()["unanswered"] == 0, "creates need no etcd"
    assert len(held) >= 8
    assert len(taken_s) == len(held)
    assert {heir.node for heir in heirs if heir is not None} <= {"dispatcher-2", "dispatcher-3"}
    assert max(taken_s) <= TTL_S + 2
    assert TRUST_S - TTL_S / 3 - 1 < last_s - run.begun_ms / 1000 <= TRUST_S + SLACK_S
    assert ready["without trust"] is False
    assert ready["after_s"] <= 10
    assert back
    assert any(at_ms > run.healed_ms for at_ms in sent_ms)
    assert run.settled_p99_ms() <= 3_000


async def test_one_in_twenty_replies_of_cassandra_is_lost(network: Network, run: Run) -> None:
    """What was asked is done, and nobody is told."""
    seconds = 120.0 if IS_LONG else 14.0

    async def lose() -> None:
        network.set_cassandra(Fault(drop_replies=0.05))

    before = sum(proxy.dropped for proxy in network.cassandra.values())
    verdict = await run.through(lose(), seconds, FAR_S)
    dropped = sum(proxy.dropped for proxy in network.cassandra.values()) - before
    record("cassandra-replies-lost", verdict, seconds=seconds, share=0.05, dropped=dropped, **run.facts())
    print(verdict, run.facts())
    assert dropped >= 50
    assert verdict.broken() == []
    assert verdict.duplicates == 0
    assert run.unsound() == {}
    assert run.settled_p99_ms() <= 3_000
    assert max(map(_peak_mib, [pod.process.pid for pod in network.cluster.pods.values()])) <= MOST_MIB


@LONG_ONLY
async def test_cassandra_is_300_ms_further_away_for_a_while(network: Network, run: Run) -> None:
    seconds = 60.0 if IS_LONG else 20.0

    async def slow() -> None:
        network.set_cassandra(Fault(to_server=Way(0.15), to_client=Way(0.15, 0.02)))

    verdict = await run.through(slow(), seconds, FAR_S)
    record("cassandra-300-ms-away", verdict, seconds=seconds, **run.facts())
    print(verdict, run.facts())
    assert verdict.broken() == []
    assert verdict.duplicates == 0
    assert run.unsound() == {}
    assert max(taken_s for _, _, taken_s in run.seen) <= 10
    assert run.settled_p99_ms() <= 3_000
    assert max(map(_peak_mib, [pod.process.pid for pod in network.cluster.pods.values()])) <= MOST_MIB


@LONG_ONLY
@pytest.mark.parametrize(("silence", "name"), SILENCES)
async def test_cassandra_says_nothing_for_a_while(
    network: Network, run: Run, silence: Fault, name: str
) -> None:
    """Pods are not ready meanwhile, clients are told so in bounded time, leases and owners stay."""
    seconds = 40.0 if IS_LONG else 15.0
    pods = list(network.cluster.pods.values())
    ready: dict[str, object] = {}

    async def be_silent() -> None:
        begun_s = time.monotonic()
        network.set_cassandra(silence)
        await asyncio.sleep(seconds - 5)
        ready["meanwhile"] = await asyncio.gather(*(asyncio.to_thread(_is_ready, pod) for pod in pods))
        await asyncio.sleep(max(begun_s + seconds - time.monotonic(), 0))
        for pod in pods:
            while not await asyncio.to_thread(_is_ready, pod):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)
        ready["after_s"] = round(time.time() - run.healed_ms / 1000, 1)

    with owners_of(network.cluster) as owners:
        verdict = await run.through(be_silent(), seconds, FAR_S)
    moved = sum(term.from_ms > run.begun_ms for term in owners.terms)
    record(f"cassandra-{name}", verdict, seconds=seconds, moved=moved, ready=ready, **run.facts())
    print(verdict, run.facts(), ready, moved)
    assert verdict.broken() == []
    assert verdict.duplicates == 0
    assert run.unsound() == {}
    assert ready["meanwhile"] == [False] * len(pods)
    assert moved == 0
    assert max(taken_s for _, _, taken_s in run.seen) <= 20
    assert run.settled_p99_ms() <= 3_000
    assert max(map(_peak_mib, [pod.process.pid for pod in pods])) <= MOST_MIB


@LONG_ONLY
async def test_etcd_far_from_one_dispatcher(network: Network, run: Run) -> None:
    """Slow is not lost: nothing moves."""
    seconds = 60.0 if IS_LONG else 20.0

    async def be_far() -> None:
        network.etcd.set(Fault(to_server=Way(0.3, 0.2), to_client=Way(0.3, 0.2)))

    with owners_of(network.cluster) as owners:
        verdict = await run.through(be_far(), seconds)
    moved = sum(term.from_ms > run.begun_ms for term in owners.terms)
    record("etcd-800-ms-from-one-dispatcher", verdict, seconds=seconds, moved=moved, **run.facts())
    print(verdict, run.facts(), moved)
    assert verdict.broken() == []
    assert verdict.duplicates == 0
    assert run.unsound() == {}
    assert run.facts()["unanswered"] == 0, "creates need no etcd"
    assert moved == 0


@LONG_ONLY
async def test_every_connection_reset_again_and_again(network: Network, run: Run) -> None:
    seconds = 60.0 if IS_LONG else 20.0
    every_s = 2.0

    async def cut_often() -> None:
        for _ in range(int(seconds / every_s) - 1):
            for proxy in (network.etcd, *network.cassandra.values()):
                proxy.cut()
            await asyncio.sleep(every_s)

    with owners_of(network.cluster) as owners:
        verdict = await run.through(cut_often(), seconds, FAR_S)
    moved = sum(term.from_ms > run.begun_ms for term in owners.terms)
    record("connections-reset", verdict, seconds=seconds, every_s=every_s, moved=moved, **run.facts())
    print(verdict, run.facts(), moved)
    assert verdict.broken() == []
    assert verdict.duplicates == 0
    assert run.unsound() == {}
    assert moved == 0
    assert run.settled_p99_ms() <= 3_000
