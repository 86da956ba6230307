"""`ringtime serve` when its data folder is damaged, taken away or full: nothing is lost in silence."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from ringtime_shared.stores.sqlite.examine import read_count_in_file
from tests.harness.client import Answer, LoadClient, gather
from tests.harness.ledger import judge
from tests.harness.load import Load, wait_for_deliveries, wait_until
from tests.harness.receiver import Receiver
from tests.harness.server import ServerProcess, fetch_ready

APPS = ("pay",)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path / "data", environment={"RINGTIME_EMBEDDED_CHECKPOINT_MS": "100"})
    process.start()
    yield process
    process.close()


async def register(client: LoadClient) -> None:
    body = {"appId": "pay", "partitions": 4, "active": True}
    assert (await client.request("POST", "/apps", body)).status == 200


async def fill(server: ServerProcess, load: Load, count: int, lead_s: float = 600) -> None:
    async with LoadClient(server.base, 1) as client:
        await register(client)
        for n in range(count):
            entry = await load.create(client, int((time.time() + lead_s) * 1000) + n)
            assert entry.schedule_id is not None


async def wait_for_outcomes(server: ServerProcess, load: Load) -> None:
    """Return when every schedule is known to have been delivered; 90 s at most."""
    left = [str(entry.schedule_id) for entry in load.creates if entry.schedule_id is not None]
    until_s = time.monotonic() + 90
    async with LoadClient(server.base, 8) as client:
        while left:
            assert time.monotonic() < until_s, f"{len(left)} have no outcome"
            answers = await gather(client.request("GET", f"/schedules/{each}") for each in left)
            states = [answer.data["schedule"]["status"] for answer in answers]
            left = [each for each, state in zip(left, states, strict=True) if state != "SUCCESS"]


async def create(server: ServerProcess, payload: str = "{}") -> Answer:
    body = {
        "appId": "pay",
        "payload": payload,
        "scheduleTime": int(time.time()) + 600,
        "callback": {"type": "http", "details": {"url": "http://127.0.0.1:9/", "method": "POST"}},
    }
    async with LoadClient(server.base, 1) as client:
        return await client.request("POST", "/schedules", body)


def refused_start(server: ServerProcess) -> str:
    """Start it, and return what it says instead of starting."""
    before = len(server.log())
    with pytest.raises(AssertionError, match="did not start"):
        server.start()
    return server.log()[before:]


def ringctl(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ringtime_ringctl.main", "--data", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def remove_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def replace_database(folder: Path) -> None:
    shutil.copy(folder / "ringtime.db", folder / "copy")
    (folder / "copy").rename(folder / "ringtime.db")


def roll_back_database(folder: Path) -> None:
    shutil.copyfile(folder.with_name("backup.db"), folder / "ringtime.db")


@pytest.mark.parametrize("harm", [remove_folder, replace_database, roll_back_database])
async def test_files_taken_from_under_a_server_end_it_with_the_reason(
    server: ServerProcess, receiver: Receiver, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    folder = tmp_path / "data"
    await asyncio.to_thread(server.stop)
    shutil.copyfile(folder / "ringtime.db", tmp_path / "backup.db")
    await asyncio.to_thread(server.start)
    load = Load(receiver, apps=APPS, rng=Random(1))
    await fill(server, load, 5)
    first = read_count_in_file(tmp_path / "backup.db")
    await wait_until(lambda: read_count_in_file(folder / "ringtime.db") != first, timeout_s=90)
    assert (await create(server)).status == 200  # by now the server knows that there was a checkpoint
    harm(folder)
    answers = []
    async with asyncio.timeout(60):
        while server.is_running():
            answers.append(await create(server))
    assert all(answer.status not in (200, 201) for answer in answers)
    assert await asyncio.to_thread(server.wait) == 1
    said = server.log().splitlines()[-1]
    assert said.startswith("Error: ")
    assert str(folder) in said
    assert "under the running server" in said
    assert receiver.count() == 0


async def test_without_its_lock_file_a_server_still_keeps_others_out(
    server: ServerProcess, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    (folder / "LOCK").unlink()
    second = ServerProcess(folder)
    try:
        assert "in use by the server with pid" in await asyncio.to_thread(refused_start, second)
        await wait_until((folder / "LOCK").exists, timeout_s=90)
        assert f"with pid {server.pid}" in await asyncio.to_thread(refused_start, second)
    finally:
        second.close()
    assert fetch_ready(server) == 200


async def test_a_flipped_byte_of_the_log_is_named_and_accepted_only_knowingly(
    receiver: Receiver, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    server = ServerProcess(folder, environment={"RINGTIME_EMBEDDED_CHECKPOINT_MS": "3600000"})
    try:
        await asyncio.to_thread(server.start)
        load = Load(receiver, apps=APPS, rng=Random(2))
        await fill(server, load, 40)
        await asyncio.to_thread(server.kill)
        log = folder / "ringtime.db-wal"
        whole = log.read_bytes()
        middle = len(whole) // 2
        log.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        said = await asyncio.to_thread(refused_start, server)
        assert "ringtime.db-wal is damaged" in said
        assert "were acknowledged" in said
        told = await asyncio.to_thread(ringctl, folder, "doctor")
        assert told.returncode == 4
        assert "damaged" in told.stdout
        assert "accept-loss" in told.stdout
        planned = await asyncio.to_thread(ringctl, folder, "accept-loss")
        assert planned.returncode == 0
        assert "would be kept" in planned.stdout
        assert "damaged" in await asyncio.to_thread(refused_start, server)
        log.write_bytes(whole)  # what the operator would rather do: put back what was there
        await asyncio.to_thread(server.start)
        kept = await statuses(server, load)
        assert kept == [200] * 40
        await asyncio.to_thread(server.kill)
        log.unlink()
        assert "were acknowledged" in await asyncio.to_thread(refused_start, server)
        applied = await asyncio.to_thread(ringctl, folder, "--operator", "ana", "accept-loss", "--apply")
        assert applied.returncode == 0, applied.stderr
        await asyncio.to_thread(server.start)
        assert 200 in await statuses(server, load) or "0 transactions" in applied.stdout
        audit = await asyncio.to_thread(ringctl, folder, "audit")
        assert "ana" in audit.stdout
        assert "accept-loss" in audit.stdout
    finally:
        server.close()


async def statuses(server: ServerProcess, load: Load) -> list[int]:
    async with LoadClient(server.base, 1) as client:
        return [
            (await client.request("GET", f"/schedules/{entry.schedule_id}")).status for entry in load.creates
        ]


def fill_disk(place: Path) -> Path:
    """Take all that is left."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65_536))
        except OSError:
            pass
    return filler


async def use_up_the_log(server: ServerProcess) -> None:
    """Create until that is refused. After a checkpoint the log is written from its beginning again, which
    needs no space: a server that has little to write would not notice for minutes that there is none."""
    for _ in range(500):
        refused = await create(server, "x" * 1_000)
        if refused.status != 200:
            assert refused.status == 503
            return


async def test_on_a_full_disk_it_starts_fires_and_takes_nothing_new(
    receiver: Receiver, small_disk: Path, tmp_path: Path
) -> None:
    server = ServerProcess(small_disk / "data", log=tmp_path / "server.log")
    try:
        await asyncio.to_thread(server.start)
        load = Load(receiver, apps=APPS, rng=Random(3))
        await fill(server, load, 20, lead_s=8)
        assert fetch_ready(server) == 200
        filler = fill_disk(small_disk)
        await use_up_the_log(server)
        await wait_until(lambda: fetch_ready(server) == 503, timeout_s=90)
        assert fetch_ready(server) == 503
        refused = await create(server)
        assert refused.status == 503
        assert b"full" in refused.body
        await asyncio.to_thread(server.stop)
        fill_disk(small_disk)
        await asyncio.to_thread(server.start)
        assert fetch_ready(server) == 503
        assert (await create(server)).status == 503
        await wait_for_deliveries(receiver, load.creates, timeout_s=90)
        await wait_for_outcomes(server, load)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)  # the outcomes were recorded: nothing is sent again
        filler.unlink()
        await wait_until(lambda: fetch_ready(server) == 200, timeout_s=90)
        async with LoadClient(server.base, 1) as client:
            assert (await load.create(client, int(time.time() * 1000) + 5_000)).schedule_id is not None
        await wait_for_deliveries(receiver, load.creates, timeout_s=90)
        verdict = judge(load.creates, receiver.arrivals())
        assert verdict.broken() == []
        assert verdict.duplicates == 0
    finally:
        server.close()
