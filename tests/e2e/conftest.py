"""The split deployment for end-to-end tests: real servers, real pods, one receiver."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from ringtime_local import LocalServers
from ringtime_local.cluster import Cluster
from tests.conftest import NOT_OF_CLUSTERS
from tests.harness.claims import Owners
from tests.harness.client import LoadClient, gather
from tests.harness.receiver import Receiver, running_receiver
from tests.harness.report import IS_LONG

APPS = ("pay", "mail", "sla")
PARTITIONS = 16


#: Life of a lease, and how long before its end a node falls silent. Full length in the long set alone: what a
#: run waits for most is the end of a lease.
TTL_S, MARGIN_S = (10, 3.0) if IS_LONG else (5, 1.5)
#: Shares settle sooner than by default, so that each test begins with every node owning its share.
COORDINATION: Mapping[str, object] = {
    "ttl_s": TTL_S,
    "margin_ms": int(MARGIN_S * 1_000),
    "join_debounce_ms": 2_000,
    "dwell_ms": 6_000 if IS_LONG else 3_000,
}
#: Where no node is killed or frozen in the quick set: no run waits for the end of a lease, and no machine is
#: so busy that one ends.
PATIENT = COORDINATION if IS_LONG else {**COORDINATION, "ttl_s": 20, "margin_ms": 5_000}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB; see `test_serve` for a full disk that needs no rights."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def coordination() -> Mapping[str, object]:
    """What a module's `cluster` has for leases."""
    return COORDINATION


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, own_servers: LocalServers, coordination: Mapping[str, object]
) -> Iterator[Cluster]:
    """Two ingest pods and three dispatchers, with the apps registered."""
    # By default the few rows of the quick set wake few poller instances: a frozen node may hold none.
    ingest = {} if IS_LONG else {"chunk_rows": 10}
    folder = tmp_path_factory.mktemp("cluster")
    with clustered(folder, own_servers, ingest=ingest, coordination=coordination) as running:
        asyncio.run(register_apps(running.base))
        yield running


@contextmanager
def clustered(
    folder: Path,
    servers: LocalServers,
    *,
    coordination: Mapping[str, object] = COORDINATION,
    ingest: Mapping[str, object] = {},
    pod_settings: Mapping[str, dict[str, object]] = {},
    python: str | None = None,
) -> Iterator[Cluster]:
    """Run a split deployment of two ingest pods and three dispatchers, with keys and tables of its own."""
    settings: dict[str, object] = {
        "cassandra": {"keyspace": folder.name.translate(str.maketrans("-", "_"))},
        "coordination": {**coordination, "prefix": f"/{folder.name}"},
        "ingest": dict(ingest),
        "access": {"keys": "off"},
    }
    servers.start(but=NOT_OF_CLUSTERS)  # what an earlier test may have left ended
    running = Cluster(folder, ingest=2, dispatchers=3, settings=settings, servers=servers, python=python)
    running.pod_settings.update(pod_settings)
    try:
        running.start()
        yield running
    finally:
        running.stop()


def prefix_of(cluster: Cluster) -> str:
    """Return what the keys of this deployment in etcd begin with."""
    return f"/{cluster.folder.name}"


def owners_of(cluster: Cluster) -> Owners:
    """Return a watch of this deployment's claims."""
    return Owners(cluster.servers.etcd.port, prefix_of(cluster))


def count_owned(cluster: Cluster) -> dict[str, int]:
    """Return how many poller instances each dispatcher runs."""
    found = {}
    for name, pod in cluster.pods.items():
        if name.startswith("dispatcher") and pod.process.is_running():
            with urllib.request.urlopen(f"http://127.0.0.1:{pod.port}/health/ready", timeout=60) as answer:
                found[name] = json.loads(answer.read())["owned"]
    return found


async def until_shared(cluster: Cluster, total: int = len(APPS) * PARTITIONS) -> None:
    """Return when every dispatcher runs about its share of `total` poller instances."""

    def is_shared() -> bool:
        try:
            owned = count_owned(cluster)
        except urllib.error.HTTPError:  # not ready: it was frozen, say, and has no lease yet
            return False
        return sum(owned.values()) == total and min(owned.values()) * len(owned) >= total * 0.6

    await asyncio.to_thread(wait_blocking, is_shared, 120)


def wait_blocking(holds: Callable[[], bool], timeout_s: float) -> None:
    until_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < until_s, "it did not come about in time"
        time.sleep(0.2)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with running_receiver(tmp_path) as running:
        yield running


async def register_apps(base: str, apps: Collection[str] = APPS, *, partitions: int = PARTITIONS) -> None:
    async with LoadClient(base, 16) as client:
        bodies = [{"appId": app_id, "partitions": partitions, "active": True} for app_id in apps]
        answers = await gather(client.request("POST", "/apps", body) for body in bodies)
        assert [answer.status for answer in answers] == [200] * len(apps)
