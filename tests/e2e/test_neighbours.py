"""What apps that do harm, one of each kind at once, do to one that does none; and few descriptors to all."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
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

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LOADED = {"callbacks_types": "tests.harness.silent_names:SilentNames"}


@pytest.mark.alone
async def test_one_app_of_each_bad_kind_at_once_harms_no_other(tmp_path: Path, receiver: Receiver) -> None:
    """2,000 callbacks of a bystander, while black holes, silent name servers, an app with as many partitions
    as there may be, endless interim answers and rows that cannot be read do their worst."""
    with running_hostile(tmp_path) as hostile, serving(tmp_path, **LOADED) as server:
        async with LoadClient(server.base) as client:
            await register(client, Bystander.app_id)
            bystander = Bystander(client, receiver)
            await bystander.run(per_s=50, seconds=1)  # warm
            harm = [asyncio.create_task(harming(server, hostile, kind)) for kind in KINDS]
            verdict = await bystander.run(per_s=200, seconds=10, lead_s=(3, 3.5))
            await asyncio.gather(*harm)
        report("one app of each bad kind", verdict, foreign_work=bystander.foreign)
        assert verdict.acknowledged == 2_000
        assert verdict.broken() == []
        assert verdict.lag_ms(0.99) <= 1_000


async def harming(server: ServerProcess, hostile: HostileReceiver, kind: Kind) -> None:
    async with LoadClient(server.base, connections=100) as client:
        await kind(client, hostile, server)


async def create_all(
    client: LoadClient, app_id: str, urls: Sequence[str], count: int, delay_s: int
) -> list[str]:
    """Create schedules that fall due so long after each was accepted; return their ids."""
    answers = await gather(
        client.request(
            "POST",
            "/schedules",
            {
                "appId": app_id,
                "payload": "",
                "delaySeconds": delay_s,
                "callback": http_to(urls[n % len(urls)]),
            },
        )
        for n in range(count)
    )
    assert {answer.status for answer in answers} == {200}
    return [answer.data["schedule"]["scheduleId"] for answer in answers]


async def black_holes(client: LoadClient, hostile: HostileReceiver, server: ServerProcess) -> None:
    """Three apps, of which the caps of one allow 200 attempts under way, for a minute each."""
    urls = [hostile.at(path) for path in ("/hang", "/switch")]
    for app_id in ("hole-1", "hole-2", "hole-3"):
        await register(client, app_id, httpTimeout=60_000)
        await create_all(client, app_id, urls, 250, 1)


async def silent_names(client: LoadClient, hostile: HostileReceiver, server: ServerProcess) -> None:
    """Each names another host, whose name server is silent."""
    await register(client, "silent", httpTimeout=60_000)
    await create_all(client, "silent", [f"http://host-{n}.{ZONE}/" for n in range(300)], 300, 1)


async def many_partitions(client: LoadClient, hostile: HostileReceiver, server: ServerProcess) -> None:
    await register(client, "wide", partitions=4_096)
    await create_all(client, "wide", [hostile.at("/ok")], 500, 1)


async def interim_floods(client: LoadClient, hostile: HostileReceiver, server: ServerProcess) -> None:
    await register(client, "flood")
    await create_all(client, "flood", [hostile.at("/interim")], 300, 1)


async def unreadable_rows(client: LoadClient, hostile: HostileReceiver, server: ServerProcess) -> None:
    await register(client, "broken", partitions=4)
    ids = await create_all(client, "broken", [hostile.at("/ok")], 100, 5)
    statement = "UPDATE schedules SET extras = CAST(x'7bff' AS TEXT) WHERE schedule_id = ?"
    with closing(sqlite3.connect(server.data / "ringtime.db", timeout=60)) as connection, connection:
        connection.executemany(statement, [(UUID(each).bytes,) for each in ids[::2]])


Kind = Callable[[LoadClient, HostileReceiver, ServerProcess], Awaitable[None]]
KINDS: tuple[Kind, ...] = (black_holes, silent_names, many_partitions, interim_floods, unreadable_rows)


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
    """500 callbacks at one instant that take a while to answer, three times, each time to hosts that were not
    called before."""
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
                    http_to(f"http://{ports[burst * 4 + n % 4]}/late/700"),
                    begun_ms + burst * 1_500,
                )
                for burst in range(3)
                for n in range(500)
            )
        )
        asking = asyncio.create_task(ask_anew(server, until_s=time.monotonic() + 8))
        views = await until_ended(client, ids, timeout_s=90)
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
