"""Runs of recurring schedules on the split deployment while a dispatcher is killed: each nominal time has
exactly one recorded run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import orjson
import pytest

from ringtime_local.cluster import Cluster
from ringtime_shared.errors import VersionConflict
from ringtime_shared.ids import IdMint
from ringtime_shared.models.app import App
from ringtime_shared.models.recurring import Definition, DefinitionState, recurring_id_of
from ringtime_shared.models.schedule import Place, Row, Status
from ringtime_shared.recurring.run_rows import next_version
from ringtime_shared.recurring.runs import next_after
from ringtime_shared.settings import load_settings
from ringtime_shared.stores.cassandra.store import CassandraStore
from ringtime_shared.stores.protocol import DefinitionKey
from tests.e2e.conftest import APPS, PARTITIONS, until_shared
from tests.harness.load import wait_until
from tests.harness.receiver import Receiver
from tests.harness.recurring import checked, every, first_of, new_definition
from tests.harness.report import IS_LONG

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(900)]

CRONS = 200 if IS_LONG else 24
KILLS = 4 if IS_LONG else 1
LEAD_MS = 6_000  #: from the storing of a definition to its first run: more than storing takes


@asynccontextmanager
async def connected(cluster: Cluster) -> AsyncIterator[CassandraStore]:
    """The deployment's store."""
    store = await CassandraStore.connect(load_settings(cluster.folder / "ringtime.json", {}).cassandra)
    try:
        yield store
    finally:
        await store.close()


def key_of(definition: Definition) -> DefinitionKey:
    return DefinitionKey(definition.app_id, definition.recurring_id)


async def begin(store: CassandraStore, app: App, receiver: Receiver, mint: IdMint, number: int) -> Definition:
    """Store a definition that runs each second, with its check and its first run."""
    now_ms, name = int(time.time() * 1_000), f"cron-{number}"
    definition = new_definition(
        now_ms,
        every(1),
        recurring_id=recurring_id_of(app.number, name),
        app_id=app.app_id,
        name=name,
        callback_type="http",
        callback_details=orjson.dumps({"url": receiver.url, "method": "POST"}),
        partition=number % PARTITIONS,
        starts_after_ms=now_ms + LEAD_MS,
    )
    definition, check = checked(definition, mint, now_ms=now_ms, app_number=app.number)
    first = first_of(definition, check, now_ms)
    assert first is not None
    await store.put_rows([check])
    await store.replace_definition(definition)
    await store.put_rows([first])
    return definition


async def pause(store: CassandraStore, definition: Definition) -> Definition:
    """Pause a definition, which may be marked by a dispatcher meanwhile."""
    while True:
        paused = next_version(definition, int(time.time() * 1_000), state=DefinitionState.PAUSED)
        try:
            await store.replace_definition(paused)
        except VersionConflict:
            found = await store.fetch_definition(key_of(definition))
            assert found is not None
            definition = found
        else:
            return paused


async def runs_of(store: CassandraStore, definition: Definition) -> list[Row]:
    """Return the home rows of a definition's runs."""
    entries = await store.fetch_runs(key_of(definition), 0, definition.from_ms + 60_000, 10_000)
    rows = [
        await store.fetch_row(Place.of_home(definition.app_id, entry.schedule_id), entry.schedule_id)
        for entry in entries
    ]
    return [row for row in rows if row is not None]


def planned(definition: Definition) -> list[int]:
    """Return the nominal times from the start to the pause."""
    times, after_ms, found = definition.times, definition.earlier[0].from_ms + LEAD_MS - 1_000, []
    while (run := next_after(times, after_ms, key=definition.key)) and run.nominal_ms <= definition.from_ms:
        found.append(run.nominal_ms)
        after_ms = run.nominal_ms
    return found


def has_come(receiver: Receiver, callbacks: int) -> bool:
    return receiver.count() >= callbacks


def count_ended(runs: Sequence[Sequence[Row]]) -> int:
    return sum(row.outcome is not None for rows in runs for row in rows)


async def test_each_nominal_time_has_one_run_while_dispatchers_are_killed(
    cluster: Cluster, receiver: Receiver
) -> None:
    await until_shared(cluster)
    async with connected(cluster) as store:
        apps = {app.app_id: app for app in await store.fetch_apps()}
        mint = IdMint(await store.claim_nonce("crons"))
        definitions = await asyncio.gather(
            *(begin(store, apps[APPS[n % len(APPS)]], receiver, mint, n) for n in range(CRONS))
        )
        await wait_until(partial(has_come, receiver, 2 * CRONS), timeout_s=60)
        for number in range(KILLS):
            victim = f"dispatcher-{1 + number % 3}"
            goal = receiver.count() + 8 * CRONS
            await asyncio.to_thread(cluster.pods[victim].process.kill)
            # All go on: those of the dead one after its lease has ended.
            await wait_until(partial(has_come, receiver, goal), timeout_s=120)
            pod = cluster.start_pod(victim)
            await asyncio.to_thread(pod.wait_ready, time.monotonic() + 60)
            await until_shared(cluster)
        definitions = await asyncio.gather(*(pause(store, each) for each in definitions))
        until_s = time.monotonic() + 60
        while True:
            runs = [await runs_of(store, each) for each in definitions]
            if count_ended(runs) == sum(map(len, runs)) or time.monotonic() > until_s:
                break
            await asyncio.sleep(0.5)
    arrived = receiver.arrivals()
    for definition, rows in zip(definitions, runs, strict=True):
        assert [row.schedule.run and row.schedule.run.nominal_ms for row in rows] == [
            *planned(definition),
            planned(definition)[-1] + 1_000,
        ]
        assert all(row.outcome is not None and row.outcome.status is Status.SUCCESS for row in rows[:-1])
        assert all(arrived[str(row.schedule.schedule_id)] for row in rows[:-1])
        last = rows[-1]  # filed ahead, beyond the pause
        assert last.status is Status.DELETED
        assert not arrived[str(last.schedule.schedule_id)]
    sent_twice = sum(len(arrivals) > 1 for arrivals in arrived.values())
    assert sent_twice <= KILLS * 3 * CRONS
