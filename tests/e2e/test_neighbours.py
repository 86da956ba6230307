"""What apps that do harm, one of each kind at once, do to one that does none; and few descriptors to all."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from tests.harness.client import LoadClient, gather
from tests.harness.hostile import Hostile, HostileReceiver, running_hostile
from tests.harness.ledger import Verdict
from tests.harness.planned import Bystander, create, http_to, register, until_ended
from tests.harness.receiver import Receiver
from tests.harness.report import report
from tests.harness.server import ServerProcess, serving
from tests.harness.silent_names import ZONE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

LOADED = {"callbacks_types": "tests.harness.silent_names:SilentNames"}


async def test_one_app_of_each_bad_kind_at_once_harms_no_other(tmp_path: Path, receiver: Receiver) -> None:
    """2,000 callbacks of a bystander, while black holes, silent name servers, an app with as many partitions
    as there may be and rows that cannot be read do their worst."""
    with running_hostile(tmp_path) as hostile, serving(tmp_path, **LOADED) as server:
        async with LoadClient(server.base) as client:
            await register(client, Bystander.app_id)
            bystander = Bystander(client, receiver)
            await bystander.run(per_s=50, seconds=1)  # warm
            harm = [asyncio.create_task(harming(server, hostile, kind)) for kind in KINDS]
            verdict = await bystander.run(per_s=200, seconds=10)
            await asyncio.gather(*harm)
        report("one app of each bad kind", verdict, foreign_work=bystander.foreign)
        assert verdict.acknowledged == 2_000
        assert verdict.broken() == []
        assert verdict.lag_ms(0.99) <= 1_000


async def harming(server: ServerProcess, hostile: HostileReceiver, kind: Kind) -> None:
    async with LoadClient(server.base, connections=100) as client:
        await kind(client, hostile, server)


async def black_holes(client: LoadClient, hostile: HostileReceiver, server: ServerProcess) -> None:
    """Three apps, of which the caps of one allow 200 attempts under way, for a minute each."""
    apps = [f"hole-{number}" for number in range(3)]
    for app_id in apps:
        await register(client, app_id, httpTimeout=60_000)
    due_ms = time.time() * 1000 + 2_000
    urls = [hostile.at(path) for path in ("/hang", "/switch")]
    await asyncio.gather(
        *(create(client, app_id, http_to(urls[n % 2]), due_ms) for app_id in apps for n in range(250))
    )


async def silent_names(client: LoadClient, hostile: HostileReceiver, server: ServerProcess) -> None:
    """Creates that each name another host whose name server is silent."""
    await register(client, "silent", httpTimeout=60_000)
    due_ms = time.time() * 1000 + 5_000
    await asyncio.gather(
        *(create(client, "silent", http_to(f"http://host-{n}.{ZONE}/"), due_ms) for n in range(300))
    )


async def many_partitions(client: LoadClient, hostile: HostileReceiver, server: ServerProcess) -> None:
    await register(client, "wide", partitions=4_096)
    due_ms = time.time() * 1000 + 2_000
    await asyncio.gather(
        *(create(client, "wide", http_to(hostile.at("/ok")), due_ms + n * 10) for n in range(500))
    )


async def unreadable_rows(client: LoadClient, hostile: HostileReceiver, server: ServerProcess) -> None:
    await register(client, "broken", partitions=4)
    due_ms = time.time() * 1000 + 5_000
    ids = await asyncio.gather(
        *(create(client, "broken", http_to(hostile.at("/ok")), due_ms + n * 50) for n in range(100))
    )
    statement = "UPDATE schedules SET extras = CAST(x'7bff' AS TEXT) WHERE schedule_id = ?"
    with closing(sqlite3.connect(server.data / "ringtime.db", timeout=10)) as connection, connection:
        connection.executemany(statement, [(UUID(each).bytes,) for each in ids[::2]])


Kind = Callable[[LoadClient, HostileReceiver, ServerProcess], Awaitable[None]]
KINDS: tuple[Kind, ...] = (black_holes, silent_names, many_partitions, unreadable_rows)


async def test_bursts_at_1024_descriptors_leave_the_api_serving_and_use_up_no_attempt(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", descriptors=1_024)
    try:
        with running_hostile(tmp_path) as hostile:
            server.start()
            await three_bursts(server, hostile)
    finally:
        server.close()
    assert "1024 file descriptors" in server.log()


async def three_bursts(server: ServerProcess, hostile: HostileReceiver) -> None:
    """500 callbacks at one instant, three times, each time to hosts that were not called before."""
    ports = sorted({hostile.at(f"/{word}").split("/")[2] for word in Hostile.words()})[:12]
    async with LoadClient(server.base) as client:
        apps = [f"burst-{number}" for number in range(3)]
        for app_id in apps:
            await register(client, app_id, httpTimeout=10_000)
        begun_ms = time.time() * 1000 + 4_000
        ids = await asyncio.gather(
            *(
                create(
                    client,
                    apps[n % 3],
                    http_to(f"http://{ports[burst * 4 + n % 4]}/ok"),
                    begun_ms + burst * 1_500,
                )
                for burst in range(3)
                for n in range(500)
            )
        )
        asking = asyncio.create_task(ask_anew(server, until_s=time.monotonic() + 8))
        views = await until_ended(client, ids, timeout_s=40)
        statuses = await asking
    verdict = Verdict(acknowledged=len(ids))
    report("three bursts", verdict, asked=statuses.total(), descriptors=server.descriptors())
    assert Counter((view["status"], view["attempts"]) for view in views.values()) == {("SUCCESS", 1): 1_500}
    assert set(statuses) == {200}


async def ask_anew(server: ServerProcess, *, until_s: float) -> Counter[int]:
    """Ask over new connections, 20 at a time, until then; return how often what was answered."""
    statuses = Counter[int]()
    while time.monotonic() < until_s:
        async with LoadClient(server.base, connections=20) as client:
            answers = await gather(client.request("GET", "/healthcheck") for _ in range(20))
        statuses.update(answer.status for answer in answers)
        await asyncio.sleep(0.05)  # a rate of new connections, not a wait for anything
    return statuses
