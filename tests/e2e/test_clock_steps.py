"""A real process on a folder whose wall clock is set an hour ahead and back."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.harness.client import Answer, LoadClient
from tests.harness.load import wait_until
from tests.harness.receiver import Receiver
from tests.harness.server import ServerProcess
from tests.harness.steered_clock import steer

HOUR_S = 3_600
_PROMPT = {"RINGTIME_DISPATCH_SEAL_MS": "200"}


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    file = tmp_path / "clock"
    steer(file, 0)
    return file


@pytest.fixture
def server(tmp_path: Path, clock: Path) -> Iterator[ServerProcess]:
    # A false time is believed after a second: what this is about is what becomes of marks that it moved.
    settings = {
        "RINGTIME_CLOCK_HOLD_S": "1",
        "RINGTIME_CLOCK_LOOK_MS": "100",
        "RINGTIME_DISPATCH_SEAL_MS": "200",
    }
    process = ServerProcess(tmp_path / "data", environment=settings, clock=clock)
    process.start()
    yield process
    process.close()


async def create(client: LoadClient, receiver: Receiver, delay_s: float) -> Answer:
    details = {"url": receiver.url, "method": "POST", "headers": {}}
    callback = {"type": "http", "details": details}
    body = {"appId": "pay", "payload": "{}", "delaySeconds": delay_s, "callback": callback}
    return await client.request("POST", "/schedules", body)


def settled_s(server: ServerProcess) -> float:
    """Return how far ahead of the right time the furthest mark is: idle instances write none."""
    with closing(sqlite3.connect(server.data / "ringtime.db")) as connection:
        (furthest_ms,) = connection.execute("SELECT max(settled_ms) FROM partition_state").fetchone()
    return float(furthest_ms / 1_000 - time.time())


async def until_accepted(client: LoadClient, receiver: Receiver) -> None:
    """Return when creates for now are: the clock is relied on, and the marks are no more ahead of it."""
    until_s = time.monotonic() + 90
    while (await create(client, receiver, 0)).status != 200:
        assert time.monotonic() < until_s
        await asyncio.sleep(0.1)


@pytest.mark.alone
@pytest.mark.parametrize("is_restarted", [False, True], ids=["running", "restarted"])
async def test_after_a_clock_was_an_hour_ahead_and_set_right_again_creates_fire_on_time(
    server: ServerProcess, clock: Path, receiver: Receiver, is_restarted: bool
) -> None:
    async with LoadClient(server.base) as client:
        app = {"appId": "pay", "partitions": 4, "active": True}
        assert (await client.request("POST", "/apps", app)).status == 200
        await until_accepted(client, receiver)
        steer(clock, HOUR_S)
        refused = await create(client, receiver, 2)
        assert refused.status == 503
        assert "nothing was written" in json.loads(refused.body)["status"]["statusMessage"]
        await until_accepted(client, receiver)  # the false time is believed
        await wait_until(lambda: settled_s(server) > HOUR_S / 2, timeout_s=60)
        assert settled_s(server) > HOUR_S / 2, "the marks have moved with it"
        if is_restarted:
            server.kill()
        steer(clock, 0)
        if is_restarted:
            server.start()
    async with LoadClient(server.base) as client:
        await until_accepted(client, receiver)
        created_ms = time.time() * 1_000
        schedules = {
            delay_s: (await create(client, receiver, delay_s)).data["schedule"]["scheduleId"]
            for delay_s in (2, 95)
        }
        await wait_until(lambda: schedules[2] in receiver.arrivals(), timeout_s=90)
        lag_ms = receiver.arrivals()[schedules[2]][0].at_ms - created_ms - 2_000
        assert 0 <= lag_ms < 2_000
        steer(clock, 92)  # instead of waiting
        await wait_until(lambda: schedules[95] in receiver.arrivals(), timeout_s=90)
        assert schedules[95] in receiver.arrivals()
