"""A data folder goes from the release before to this one and back, with schedules under way."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from random import Random

import pytest

from tests.e2e.crons import EVERY_5_S, put_all
from tests.harness.client import LoadClient
from tests.harness.ledger import judge
from tests.harness.load import Load, wait_for_deliveries
from tests.harness.planned import fetch_all
from tests.harness.previous import previous_python
from tests.harness.receiver import Receiver
from tests.harness.server import ServerProcess

APP = "pay"
EACH = 100  #: schedules that each release takes, due over the next 15 s


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_folder_goes_to_this_release_and_back(tmp_path: Path, receiver: Receiver) -> None:
    old, load = str(previous_python()), Load(receiver, apps=(APP,), rng=Random(5))
    server, is_registered = ServerProcess(tmp_path / "data"), False
    try:
        for python in (old, sys.executable, old):
            server.python = python
            await asyncio.to_thread(server.start)
            async with LoadClient(server.base) as client:
                if not is_registered:
                    body = {"appId": APP, "partitions": 4, "active": True}
                    assert (await client.request("POST", "/apps", body)).status == 200
                    await put_all(client, receiver.url, [f"/apps/{APP}/recurring/tick"], EVERY_5_S)
                    is_registered = True
                now_ms = int(time.time() * 1_000)
                made = await asyncio.gather(
                    *(load.create(client, now_ms + 2_000 + n * 13_000 // EACH) for n in range(EACH))
                )
                assert {each.status for each in made} == {200}
                await asyncio.gather(*(load.cancel(client, each) for each in made[-5:]))
                if python is not old or len(load.creates) == EACH:
                    # Something is sent by each, and something left to the one that follows.
                    await wait_for_deliveries(receiver, made[: EACH // 3], timeout_s=60)
                    await asyncio.to_thread(server.stop)
                    continue
                await wait_for_deliveries(receiver, load.creates, timeout_s=90)
                views = await fetch_all(client, [str(each.schedule_id) for each in load.creates])
                runs = (await client.request("GET", f"/apps/{APP}/recurring/tick/runs")).data
    finally:
        server.close()
    verdict = judge(load.creates, receiver.arrivals())
    print(verdict)
    assert verdict.broken() == []
    assert verdict.duplicates == 0
    told = [views[str(each.schedule_id)]["status"] for each in load.creates]
    assert told == ["DELETED" if each.cancel_tried else "SUCCESS" for each in load.creates]
    assert runs
