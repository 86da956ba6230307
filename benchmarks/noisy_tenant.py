"""What a tenant that sends ten times what it may costs another, on `ringtime serve`.

    PYTHONPATH=. python benchmarks/noisy_tenant.py [rounds] [seconds]

The calm one creates 50 schedules a second, each called back 1 to 3 s later. Beside it, in turns: nobody; the
loud one at its limit of 100 creates a second; the loud one at 1,000 a second, from a process of its own.
Medians of the rounds.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from statistics import median

import orjson
import uvloop
from tests.harness.client import LoadClient
from tests.harness.ledger import judge
from tests.harness.load import Load, wait_for_deliveries
from tests.harness.receiver import Receiver, running_receiver
from tests.harness.server import serving

LIMIT, CALM_PER_S = 100, 50
BESIDE = {"nobody": 0, "at its limit": LIMIT, "at ten times": 10 * LIMIT}


class Timed(LoadClient):
    """Notes how long each answer took."""

    def __init__(self, base: str, connections: int) -> None:
        super().__init__(base, connections)
        self.took_s: list[float] = []

    async def timed(self, body: object) -> int:
        begun_s = time.perf_counter()
        answer = await self.request("POST", "/schedules", body)
        self.took_s.append(time.perf_counter() - begun_s)
        return answer.status


async def be_loud(base: str, per_s: int, seconds: float) -> None:
    """Create at a fixed rate, and print what was answered."""
    statuses, tasks, begun_s = Counter[int](), [], time.monotonic()
    callback = {"type": "http", "details": {"url": "http://127.0.0.1:9/", "method": "POST"}}
    body = orjson.dumps({"appId": "loud", "payload": "", "delaySeconds": 3_600, "callback": callback})
    async with Timed(base, 16) as client:
        for number in range(int(per_s * seconds)):
            wait_s = begun_s + number / per_s - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            tasks.append(asyncio.create_task(client.timed(body)))
        statuses.update(await asyncio.gather(*tasks))
    print(orjson.dumps(statuses, option=orjson.OPT_NON_STR_KEYS).decode())


async def one_round(
    base: str, load: Load, receiver: Receiver, per_s: int, seconds: float
) -> tuple[float, float, Counter[int]]:
    """Return p99 of the calm one's creates and of its lags, in ms, and what the loud one was answered."""
    loud = None
    if per_s:
        words = ["loud", base, str(per_s), str(seconds + 1)]
        command = [sys.executable, __file__, *words]
        loud = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        await asyncio.sleep(0.5)  # it is at work
    before, begun_s, creates = len(load.creates), time.monotonic(), []
    took_ms: list[float] = []
    async with LoadClient(base, 8) as client:

        async def create(fire_ms: int) -> None:
            began_s = time.perf_counter()
            entry = await load.create(client, fire_ms)
            took_ms.append((time.perf_counter() - began_s) * 1_000)
            assert entry.status == 200

        for number in range(int(CALM_PER_S * seconds)):
            await asyncio.sleep(max(0.0, begun_s + number / CALM_PER_S - time.monotonic()))
            creates.append(asyncio.create_task(create(int(time.time() * 1_000) + 1_000 + number % 2_000)))
        await asyncio.gather(*creates)
        await wait_for_deliveries(receiver, load.creates, timeout_s=30)
    verdict = judge(load.creates[before:], receiver.arrivals())
    assert verdict.broken() == []
    answered = Counter[int]()
    if loud is not None:
        told, _ = await loud.communicate()
        answered.update({int(status): count for status, count in orjson.loads(told).items()})
    return sorted(took_ms)[int(len(took_ms) * 0.99)], verdict.lag_ms(0.99), answered


async def measure(rounds: int, seconds: float) -> None:
    """Print a table."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in BESIDE}
    answered: dict[str, Counter[int]] = {name: Counter() for name in BESIDE}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running_receiver(folder) as receiver, serving(folder, limits_at_once_s=1) as server:
            load = Load(receiver, apps=("calm",), rng=Random(1))
            async with LoadClient(server.base, 1) as client:
                for app_id, limits in (("calm", {}), ("loud", {"createsPerSecond": LIMIT})):
                    body = {"appId": app_id, "partitions": 4, "active": True, "configuration": limits}
                    assert (await client.request("POST", "/apps", body)).status == 200
            for number in range(rounds + 1):
                for beside, per_s in BESIDE.items():
                    create_ms, lag_ms, told = await one_round(server.base, load, receiver, per_s, seconds)
                    if number:  # the first warms up
                        found[beside].append((create_ms, lag_ms))
                        answered[beside] += told
    print(f"{'beside the calm one':<20}{'create p99 ms':>14}{'lag p99 ms':>12}  the loud one is answered")
    for beside, each in found.items():
        create_ms, lag_ms = (median(column) for column in zip(*each, strict=True))
        print(f"{beside:<20}{create_ms:>14.1f}{lag_ms:>12.1f}  {dict(answered[beside])}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["loud"]:
        uvloop.run(be_loud(sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
    else:
        given = [*sys.argv[1:], *("3", "8")[len(sys.argv) - 1 :]]
        uvloop.run(measure(int(given[0]), float(given[1])))
