"""`ringtime serve` as its users meet it: a process on a folder, killed and restarted at will."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.harness.client import LoadClient
from tests.harness.ledger import judge
from tests.harness.load import Load, wait_for_deliveries, wait_until
from tests.harness.receiver import Receiver
from tests.harness.report import IS_LONG
from tests.harness.server import ServerProcess, fetch_ready

APPS = ("pay", "mail")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path / "data")
    process.start()
    yield process
    process.close()


async def register(client: LoadClient, partitions: int = 8) -> None:
    for app_id in APPS:
        body = {"appId": app_id, "partitions": partitions, "active": True}
        assert (await client.request("POST", "/apps", body)).status == 200


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(300)
async def test_every_schedule_of_a_minute_fires_on_time(server: ServerProcess, receiver: Receiver) -> None:
    """Of a third of a minute, unless it is the long set."""
    seconds = 60 if IS_LONG else 20
    count = seconds * 5_000 // 60
    load = Load(receiver, apps=APPS, rng=Random(1))
    async with LoadClient(server.base) as client:
        await register(client)
        start_ms = int(time.time() * 1000) + 5_000
        fire_times = [start_ms + load._rng.randrange(seconds * 1_000) for _ in range(count)]
        await asyncio.gather(*(load.create(client, fire_ms) for fire_ms in fire_times))
    await wait_for_deliveries(receiver, load.creates, timeout_s=90)
    verdict = judge(load.creates, receiver.arrivals())
    print(verdict)
    assert verdict.acknowledged == count
    assert verdict.broken() == []
    assert verdict.duplicates == 0
    assert verdict.lag_ms(0.5) <= 20
    assert verdict.lag_ms(0.99) <= 150


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(300)
async def test_twenty_thousand_due_in_one_second_all_arrive(
    server: ServerProcess, receiver: Receiver
) -> None:
    load = Load(receiver, apps=APPS, rng=Random(2))
    async with LoadClient(server.base) as client:
        await register(client)
        start_ms = int(time.time() * 1000) + 15_000
        await asyncio.gather(*(load.create(client, start_ms + n // 20) for n in range(20_000)))
    await wait_for_deliveries(receiver, load.creates, timeout_s=90)
    verdict = judge(load.creates, receiver.arrivals())
    print(verdict)
    assert verdict.acknowledged == 20_000
    assert verdict.broken() == []
    assert verdict.duplicates == 0
    assert verdict.lag_ms(1) <= 15_000


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_killed_again_and_again_it_loses_nothing(server: ServerProcess, receiver: Receiver) -> None:
    """Duplicates: at most what was in flight or unrecorded at each kill, 1,000 by default settings."""
    kills = 20 if IS_LONG else 7
    rng = Random(3)
    load = Load(receiver, apps=APPS, rng=rng)
    async with LoadClient(server.base) as client:
        await register(client)
    for _ in range(kills):
        async with LoadClient(server.base, 32) as client:
            running = asyncio.create_task(
                load.run(client, per_s=300, seconds=4, lead_s=(0.2, 6), cancels=0.1)
            )
            await asyncio.sleep(rng.uniform(0.3, 2.5))  # the random moment of the kill
            await asyncio.to_thread(server.kill)
            running.cancel()
            await asyncio.wait([running])
        await asyncio.to_thread(server.start)
    await wait_for_deliveries(receiver, load.creates, timeout_s=90)
    verdict = judge(load.creates, receiver.arrivals())
    print(verdict, f"unanswered {sum(entry.schedule_id is None for entry in load.creates)}")
    assert verdict.acknowledged > 50 * kills
    assert verdict.broken() == []
    assert verdict.duplicates <= kills * 1_000


async def test_a_signal_drains_and_what_was_left_fires_after_the_next_start(
    server: ServerProcess, receiver: Receiver
) -> None:
    load = Load(receiver, apps=APPS, rng=Random(4))
    async with LoadClient(server.base) as client:
        await register(client)
        now_ms = int(time.time() * 1000)
        await asyncio.gather(*(load.create(client, now_ms + 2_000 + n * 30) for n in range(200)))
    await wait_until(lambda: receiver.count() >= 50, timeout_s=90)
    assert await asyncio.to_thread(server.stop) == 0
    assert receiver.count() < 200
    await asyncio.to_thread(server.start)
    await wait_for_deliveries(receiver, load.creates, timeout_s=90)
    verdict = judge(load.creates, receiver.arrivals())
    assert verdict.broken() == []
    assert verdict.duplicates == 0


def test_a_second_server_on_the_folder_is_refused(server: ServerProcess, tmp_path: Path) -> None:
    second = ServerProcess(tmp_path / "data")
    try:
        with pytest.raises(AssertionError, match="did not start"):
            second.start()
        assert "data" in (tmp_path / "data.log").read_text()
    finally:
        second.close()


@pytest.mark.parametrize(
    ("variable", "value"), [("RINGTIME_DISPATCH_TICK_MS", "0"), ("RINGTIME_SERVER_POTR", "1"), ("PORT", "x")]
)
def test_a_bad_setting_is_refused_by_name(tmp_path: Path, variable: str, value: str) -> None:
    process = ServerProcess(tmp_path / "data", environment={variable: value})
    try:
        with pytest.raises(AssertionError, match="did not start"):
            process.start()
        assert variable in (tmp_path / "data.log").read_text()
    finally:
        process.close()


async def test_a_full_disk_is_answered_503_and_heals(tmp_path: Path, receiver: Receiver) -> None:
    """The file may grow to a limit of the process; the limit stands for the end of the disk."""
    process = ServerProcess(tmp_path / "data")
    process.start()
    try:
        async with LoadClient(process.base, 4) as client:
            await register(client)
            load = Load(receiver, apps=APPS, rng=Random(5))
            assert (await load.create(client, _soon_ms())).schedule_id is not None
            _limit_file_size(process.pid, 1)
            big = {
                "appId": "pay",
                "payload": "x" * 1_000,
                "scheduleTime": _soon_ms() / 1000,
                "callback": {"type": "http", "details": {"url": receiver.url, "method": "POST"}},
            }
            refused = await client.request("POST", "/schedules", big)
            assert refused.status == 503, refused
            assert b'"error":"DISK_FULL"' in refused.body  # a mark, or this, is what found out
            assert await asyncio.to_thread(fetch_ready, process) == 503
            _limit_file_size(process.pid, -1)
            assert (await load.create(client, _soon_ms())).schedule_id is not None
            assert await asyncio.to_thread(fetch_ready, process) == 200
        await wait_for_deliveries(receiver, load.creates, timeout_s=90)
        assert judge(load.creates, receiver.arrivals()).broken() == []
    finally:
        process.close()


def _soon_ms() -> int:
    """Return a time that a create is in time for, even on a busy machine."""
    return int(time.time() * 1000) + 5_000


def _limit_file_size(pid: int, size: int) -> None:
    limit = resource.RLIM_INFINITY if size < 0 else size
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def test_the_demo_says_ok() -> None:
    command = [sys.executable, "-m", "ringtime.demo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("demo ok: fired 21 of 21, max lag ")
