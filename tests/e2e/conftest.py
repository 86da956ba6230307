"""The split deployment for end-to-end tests: real servers, real pods, one receiver."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringtime_local.cluster import Cluster
from tests.harness.client import LoadClient
from tests.harness.receiver import Receiver, running_receiver

APPS = ("pay", "mail", "sla")
PARTITIONS = 16


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two ingest pods and three dispatchers, with the apps registered."""
    # Shares settle sooner than by default, so that each test begins with every node owning its share.
    settings: dict[str, object] = {"coordination": {"join_debounce_ms": 2_000, "dwell_ms": 6_000}}
    running = Cluster(tmp_path_factory.mktemp("cluster"), ingest=2, dispatchers=3, settings=settings)
    try:
        running.start()
        asyncio.run(_register_apps(running.base))
        yield running
    finally:
        running.stop()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with running_receiver(tmp_path) as running:
        yield running


async def _register_apps(base: str) -> None:
    async with LoadClient(base, 1) as client:
        for app_id in APPS:
            body = {"appId": app_id, "partitions": PARTITIONS, "active": True}
            assert (await client.request("POST", "/apps", body)).status == 200
