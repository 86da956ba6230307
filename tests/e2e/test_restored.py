"""The split deployment when etcd loses its memory or goes back in time: nothing is lost."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import aetcd
import pytest

from ringtime_local.cluster import Cluster
from ringtime_local.server import LocalServer
from tests.e2e.clients import BEFORE_S, LEAD_S, PER_KILL, clients_of, through
from tests.e2e.conftest import prefix_of
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
