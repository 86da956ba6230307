"""Thousands of recurring schedules on the split deployment, with dispatchers killed and an app resized: each
nominal time has exactly one recorded run.

In the long set alone, for it is about minutes: `RINGTIME_FAULTS=long pytest -s tests/e2e/test_recurring.py`,
with `RINGTIME_TEST_CRONS` and `RINGTIME_TEST_CRON_MINUTES` for another size. The simulation of crons holds
the same on virtual time in each run. Before it, as an app that was resized has other partitions, is what many
definitions of one minute do without a window and with both kinds, `-k one_minute`, with
`RINGTIME_TEST_CRONS_AT_ONCE` for another number.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter

import pytest

from ringtime_local.cluster import Cluster
from ringtime_shared.models.recurring import DefinitionState
from ringtime_shared.models.schedule import Place, Row, Status
from ringtime_shared.models.times import Spread
from ringtime_shared.recurring.run_rows import run_in
from ringtime_shared.stores.cassandra.store import CassandraStore
from ringtime_shared.stores.protocol import DefinitionKey
from tests.e2e.conftest import APPS, PARTITIONS, register_apps, until_shared
from tests.e2e.crons import EACH_MINUTE, ask_all, connected, ended, planned, put_all
from tests.harness.client import LoadClient
from tests.harness.ledger import Verdict
from tests.harness.receiver import Receiver
from tests.harness.report import IS_LONG, report

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(1_800)]

CRONS = int(os.environ.get("RINGTIME_TEST_CRONS", "2000"))
MINUTES = int(os.environ.get("RINGTIME_TEST_CRON_MINUTES", "10"))
AT_ONCE = int(os.environ.get("RINGTIME_TEST_CRONS_AT_ONCE", "10000"))
KILLS = 2
RESIZED, QUOTA = APPS[0], PARTITIONS + 8


def path_of(number: int) -> str:
    return f"/apps/{APPS[number % len(APPS)]}/recurring/cron-{number}"


async def resize(cluster: Cluster) -> None:
    command = [sys.executable, "-m", "ringtime_ringctl.main", "--operator", "e2e", "--json", "--config"]
    words = [str(cluster.folder / "ringtime.json"), "resize", RESIZED, "--partitions", str(QUOTA)]
    done = await asyncio.to_thread(
        subprocess.run, [*command, *words, "--apply", "--wait"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["appId"] == RESIZED


@pytest.mark.skipif(not IS_LONG, reason="in the long set: make faults; tests/unit/dispatcher/test_loads.py")
@pytest.mark.parametrize("spread", [None, *Spread])
async def test_many_of_one_minute_are_on_time_and_spread_over_their_window(
    cluster: Cluster, receiver: Receiver, spread: Spread | None
) -> None:
    await until_shared(cluster)
    apps = [f"at-once-{spread}-{number}" for number in range(3)]
    await register_apps(cluster.base, apps)
    window = {} if spread is None else {"windowMs": 60_000, "windowSpread": spread}
    times = {**EACH_MINUTE, **window}
    async with LoadClient(cluster.base, 32) as client:
        paths = [f"/apps/{apps[number % 3]}/recurring/cron-{number}" for number in range(AT_ONCE)]
        keys = await put_all(client, receiver.url, paths, times)
        minute_ms = int((time.time() + 2) // 60 + 1) * 60_000  # a version begins a second after its put
        # The length of the minute, and of its window, is what it is about.
        await asyncio.sleep(minute_ms / 1_000 + (5 if spread is None else 62) - time.time())
        for app_id in apps:
            await client.request("POST", f"/apps/{app_id}/deactivate")
    arrived, seconds, lags, missing = receiver.arrivals(), Counter[int](), list[float](), 0
    async with connected(cluster) as store:
        for start in range(0, len(keys), 100):
            runs = await asyncio.gather(
                *(_run_at(store, key, minute_ms) for key in keys[start : start + 100])
            )
            for row in runs:
                found = None if row is None else arrived[str(row.schedule.schedule_id)]
                if row is None or not found:
                    missing += 1
                    continue
                slot_ms = (row.moved_to or row.place).slot_ms
                seconds[slot_ms // 1_000] += 1
                lags.append(min(each.at_ms for each in found) - slot_ms)
    lags.sort()
    p50, p99 = (round(lags[int(len(lags) * share)]) for share in (0.5, 0.99))
    facts = {"crons": AT_ONCE, "missing": missing, "busiest_second": max(seconds.values())}
    name = f"recurring-{spread or 'at-once'}"
    report(
        name,
        Verdict(acknowledged=len(lags)),
        **facts,
        lag_p50_ms=p50,
        lag_p99_ms=p99,
        most_ms=round(lags[-1]),
    )
    assert not missing
    assert p99 <= 5_000
    if spread is not None:
        assert max(seconds.values()) <= AT_ONCE / (20 if spread is Spread.HASH else 40)


@pytest.mark.skipif(not IS_LONG, reason="in the long set: make faults; the simulation holds it in each run")
async def test_each_minute_has_one_run_while_dispatchers_are_killed_and_an_app_is_resized(
    cluster: Cluster, receiver: Receiver
) -> None:
    await until_shared(cluster)
    async with LoadClient(cluster.base, 16) as client:
        keys = await put_all(client, receiver.url, [path_of(number) for number in range(CRONS)])
        begun_s = time.time()
        for number in range(KILLS):
            # The length of the test is what it is about; a kill comes in a minute's burst.
            due_s = (begun_s + (number + 1) * MINUTES * 60 / (KILLS + 1)) // 60 * 60 + 1
            await asyncio.sleep(due_s - time.time())
            victim = f"dispatcher-{1 + number}"
            await asyncio.to_thread(cluster.pods[victim].process.kill)
            pod = cluster.start_pod(victim)
            await asyncio.to_thread(pod.wait_ready, time.monotonic() + 90)
            if not number:
                await resize(cluster)
        await asyncio.sleep(max(begun_s + MINUTES * 60 - time.time(), 0))
        await ask_all(client, "POST", [f"{path_of(number)}/pause" for number in range(CRONS)], {})
    async with connected(cluster) as store:
        definitions = list((await store.fetch_definitions(keys)).values())
        assert len(definitions) == CRONS
        assert {each.state for each in definitions} == {DefinitionState.PAUSED}
        runs = await ended(store, definitions)
    arrived = receiver.arrivals()
    missing, doubled, not_sent, lags = 0, 0, 0, list[float]()
    for definition, rows in zip(definitions, runs, strict=True):
        made = [row for row in rows if run_in(row).nominal_ms <= definition.from_ms]
        count, wanted = Counter(run_in(row).nominal_ms for row in made), planned(definition)
        missing += sum(count[nominal_ms] == 0 for nominal_ms in wanted)
        doubled += sum(count.values()) - len(count)
        assert set(count) <= set(wanted)
        for row in made:
            found = arrived[str(row.schedule.schedule_id)]
            is_sent = row.outcome is not None and row.outcome.status is Status.SUCCESS and bool(found)
            not_sent += not is_sent
            if found:
                lags.append(min(each.at_ms for each in found) - run_in(row).nominal_ms)
        for row in rows:  # at most one, filed before the pause was stored
            if row not in made:
                assert row.status is Status.DELETED
                assert not arrived[str(row.schedule.schedule_id)]
    sent_twice = sum(len(arrivals) > 1 for arrivals in arrived.values())
    lags.sort()
    verdict = Verdict(acknowledged=len(lags), duplicates=sent_twice)
    p50, p99 = (round(lags[int(len(lags) * share)]) for share in (0.5, 0.99))
    facts = {"crons": CRONS, "missing": missing, "doubled": doubled, "not_sent": not_sent}
    report("recurring", verdict, **facts, lag_p50_ms=p50, lag_p99_ms=p99, most_ms=round(lags[-1]))
    assert (missing, doubled, not_sent) == (0, 0, 0)
    assert sent_twice <= KILLS * 2 * CRONS / 3


async def _run_at(store: CassandraStore, key: DefinitionKey, nominal_ms: int) -> Row | None:
    """Return the home row of a definition's run of this nominal time."""
    for entry in await store.fetch_runs(key, nominal_ms, nominal_ms, 1):
        return await store.fetch_row(Place.of_home(key.app_id, entry.schedule_id), entry.schedule_id)
    return None
