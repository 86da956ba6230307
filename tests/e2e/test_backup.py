"""`ringtime backup` under load and `ringtime restore` into a new folder: all is there, and fires once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from tests.e2e.test_data_folder import fill_disk, ringctl
from tests.harness.client import LoadClient
from tests.harness.ledger import Create
from tests.harness.load import Load, wait_for_deliveries, wait_until
from tests.harness.receiver import Receiver
from tests.harness.server import ServerProcess

APPS = ("pay", "shop")
PER_S = 100


def ringtime(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ringtime.main", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """The server that is backed up, and the one that takes its place."""
    pair = ServerProcess(tmp_path / "data"), ServerProcess(tmp_path / "new")
    yield pair
    for server in pair:
        server.close()


async def register(server: ServerProcess) -> None:
    async with LoadClient(server.base, 1) as client:
        for app_id in APPS:
            body = {"appId": app_id, "partitions": 4, "active": True}
            assert (await client.request("POST", "/apps", body)).status == 200


def acknowledged(creates: list[Create], before_s: float) -> list[Create]:
    return [each for each in creates if each.schedule_id is not None and each.acked_ms < before_s * 1000]


def ids(creates: list[Create]) -> set[str]:
    """Of those that were acknowledged: what was refused, since it came too late, has none."""
    return {each.schedule_id for each in creates if each.schedule_id is not None}


async def test_what_was_acknowledged_before_a_backup_under_load_fires_once_after_its_restore(
    servers: tuple[ServerProcess, ServerProcess], receiver: Receiver, tmp_path: Path
) -> None:
    """The first ones come due under the server that is backed up; the others when that is dead."""
    old, new = servers
    await asyncio.to_thread(old.start)
    await register(old)
    soon, later = (Load(receiver, apps=APPS, rng=Random(seed)) for seed in (1, 2))
    backup = tmp_path / "backup"
    async with LoadClient(old.base, 8) as client:
        await soon.run(client, per_s=PER_S, seconds=1, lead_s=(1, 2))
        loading = asyncio.create_task(later.run(client, per_s=PER_S, seconds=60, lead_s=(10, 40)))
        await wait_until(lambda: len(later.creates) > 100, timeout_s=60)
        begun_s = time.time()
        made = await asyncio.to_thread(ringtime, "backup", "--data", str(old.data), str(backup))
        await wait_for_deliveries(receiver, soon.creates, timeout_s=60)
        later.is_over = True
        await loading
    assert made.returncode == 0, made.stderr
    await asyncio.to_thread(old.kill)
    dead_s = time.time()
    sent_until = datetime.fromtimestamp(dead_s, UTC).isoformat()
    words = (
        "restore",
        str(backup),
        "--data",
        str(new.data),
        "--came-due",
        "skip",
        "--sent-until",
        sent_until,
    )
    restored = await asyncio.to_thread(ringtime, *words)
    assert restored.returncode == 0, restored.stderr
    await asyncio.to_thread(new.start)
    # What came due before the end was sent by then, or is taken as sent; on a slow machine that is more.
    owed = [each for each in acknowledged(later.creates, begun_s) if each.fire_ms > dead_s * 1000]
    assert owed, "this machine is too slow for the test: all of it has come due"
    after = Load(receiver, apps=APPS, rng=Random(3))
    async with LoadClient(new.base, 8) as client:
        await after.run(client, per_s=PER_S, seconds=1, lead_s=(1, 2))
    await wait_for_deliveries(receiver, [*owed, *after.creates], timeout_s=90)
    arrivals = receiver.arrivals()
    assert {key: len(arrivals.get(key, ())) for key in ids(owed)} == dict.fromkeys(ids(owed), 1)
    assert {key: len(arrivals[key]) for key in ids(soon.creates)} == dict.fromkeys(ids(soon.creates), 1)
    given_out = ids([*soon.creates, *later.creates])
    assert not ids(after.creates) & given_out
    told = await asyncio.to_thread(ringctl, new.data, "audit")
    assert "restore" in told.stdout


async def test_a_full_disk_is_told_and_nothing_is_left_of_the_backup(
    servers: tuple[ServerProcess, ServerProcess], small_disk: Path, tmp_path: Path
) -> None:
    old, _ = servers
    await asyncio.to_thread(old.start)
    fill_disk(small_disk)
    made = await asyncio.to_thread(
        ringtime, "backup", "--data", str(tmp_path / "data"), str(small_disk / "b")
    )
    assert made.returncode == 1
    assert "MiB left" in made.stderr
    assert os.listdir(small_disk) == ["filler"]  # noqa: PTH208 - pathlib's is refused in a coroutine
