"""The split deployment when etcd, or Cassandra, loses its memory or goes back in time: nothing is lost."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import aetcd
import pytest

from ringtime_local.cassandra_config import DATA_FOLDERS
from ringtime_local.cluster import Cluster
from ringtime_local.server import LocalServer
from tests.e2e.clients import BEFORE_S, LEAD_S, PER_KILL, clients_of, through
from tests.e2e.conftest import prefix_of
from tests.e2e.test_ringctl import ringctl
from tests.harness.load import wait_for_deliveries
from tests.harness.receiver import Receiver
from tests.harness.report import IS_LONG

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(900)]

ETCD_DATA = ("data",)
DOWN_S = 12  #: most that a server and the pods take to be back, on a busy machine
LOAD_S = 20 if IS_LONG else 4


def snapshot(server: LocalServer, names: Sequence[str], target: Path) -> None:
    """Copy what a server has on its disk at one moment, as a snapshot of the volume does."""
    server.pause()
    try:
        for name in names:
            shutil.copytree(server.folder / name, target / name)
    finally:
        server.resume()


def put_back(server: LocalServer, names: Sequence[str], source: Path) -> None:
    """Start a server on an earlier snapshot."""
    server.kill()
    for name in names:
        shutil.rmtree(server.folder / name)
        shutil.copytree(source / name, server.folder / name)
    server.start()


def kill_pods(cluster: Cluster) -> None:
    for pod in cluster.pods.values():
        pod.process.signal(signal.SIGKILL)
    for pod in cluster.pods.values():
        pod.process.stop(30)


def start_pods(cluster: Cluster) -> None:
    for name in list(cluster.pods):
        cluster.start_pod(name)
    until_s = time.monotonic() + 120
    for pod in cluster.pods.values():
        pod.wait_ready(until_s)


def settled(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `ringctl restored`, once the leases of killed nodes have ended."""
    until_s = time.monotonic() + 60
    while True:
        done = ringctl(cluster, "restored", *words)
        if "in the ring" not in done.stderr or time.monotonic() > until_s:
            return done
        time.sleep(0.5)


def said(cluster: Cluster) -> str:
    return "\n".join(pod.log.read_text() for pod in cluster.pods.values())


async def test_an_etcd_that_loses_all_it_has_under_load_costs_nothing(
    cluster: Cluster, receiver: Receiver
) -> None:
    etcd = cluster.servers.etcd
    async with clients_of(cluster, receiver, 41) as clients:

        async def wipe() -> None:
            async with aetcd.Client(etcd.host, etcd.port) as client:
                await client.delete_prefix(f"{prefix_of(cluster)}/".encode())
            await asyncio.sleep(BEFORE_S)

        await through(clients, wipe())
        verdict = await clients.verdict("etcd-wiped")
    assert verdict.duplicates <= 3 * PER_KILL
    assert "what was kept in etcd was deleted" in said(cluster)


async def test_an_etcd_that_is_restored_while_nobody_runs_is_noticed(
    cluster: Cluster, receiver: Receiver, tmp_path: Path
) -> None:
    """Its next epochs are lower than those that Cassandra knows: marks of such terms would be lost."""
    etcd = cluster.servers.etcd
    async with clients_of(cluster, receiver, 42) as clients:
        await asyncio.to_thread(snapshot, etcd, ETCD_DATA, tmp_path)
        for _ in range(3):  # terms that the snapshot knows nothing of
            await asyncio.to_thread(kill_pods, cluster)
            await asyncio.to_thread(start_pods, cluster)
        await clients.steady(LOAD_S, lead_s=LEAD_S)
        await clients.steady(LOAD_S, lead_s=(LEAD_S[1], LEAD_S[1] + DOWN_S))
        await asyncio.to_thread(kill_pods, cluster)
        await asyncio.to_thread(put_back, etcd, ETCD_DATA, tmp_path)
        await asyncio.to_thread(start_pods, cluster)
        verdict = await clients.verdict("etcd-restored", timeout_s=120)
    assert verdict.duplicates <= 3 * PER_KILL
    assert "were owned under later terms" in said(cluster)


@pytest.mark.skipif(not IS_LONG, reason="two starts of Cassandra: in the long set alone")
async def test_a_cassandra_that_is_restored_has_all_that_was_acknowledged_before_its_snapshot(
    cluster: Cluster, receiver: Receiver, tmp_path: Path
) -> None:
    (cassandra,) = cluster.servers.cassandra.nodes
    await asyncio.to_thread(kill_pods, cluster)
    await asyncio.to_thread(cassandra.restart)  # it flushes its schema, without which no log can be replayed
    await asyncio.to_thread(start_pods, cluster)
    async with clients_of(cluster, receiver, 43) as clients:
        load = clients.load
        await clients.steady(1, lead_s=(1, 2))
        soon = list(load.creates)
        await clients.steady(LOAD_S, lead_s=(90, 95))
        taken_s = time.time()
        await asyncio.to_thread(snapshot, cassandra, DATA_FOLDERS, tmp_path)
        await clients.steady(1, lead_s=(90, 95))
        await wait_for_deliveries(receiver, soon, timeout_s=60)
        await asyncio.to_thread(kill_pods, cluster)
        dead = datetime.now(UTC).isoformat()
        await asyncio.to_thread(put_back, cassandra, DATA_FOLDERS, tmp_path)
        words = ("--came-due", "skip", "--sent-until", dead)
        planned = await asyncio.to_thread(settled, cluster, *words)
        assert "nothing was changed" in planned.stdout, planned.stderr
        done = await asyncio.to_thread(settled, cluster, *words, "--apply")
        assert "start the servers" in done.stdout, done.stderr
        await asyncio.to_thread(start_pods, cluster)
        given_out = {each.schedule_id for each in load.creates}
        owed = [each for each in load.creates if each.schedule_id and each.acked_ms < taken_s * 1_000]
        count = len(load.creates)
        await clients.steady(1, lead_s=(1, 2))
        fresh = load.creates[count:]
        await wait_for_deliveries(receiver, [*owed, *fresh], timeout_s=180)
    arrivals = receiver.arrivals()
    wanted = [str(each.schedule_id) for each in [*owed, *fresh] if each.schedule_id and not each.cancel_tried]
    assert len(wanted) > 100
    assert {key: len(arrivals.get(key, ())) for key in wanted} == dict.fromkeys(wanted, 1)
    assert not {each.schedule_id for each in fresh if each.schedule_id} & given_out
