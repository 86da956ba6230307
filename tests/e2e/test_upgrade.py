"""From the release before to this code and back, pod by pod, under load: docs/upgrade.md, as it says there.

Pods of both run side by side on one keyspace and one prefix, those of the release before from a wheel in an
environment of its own (`tests/harness/previous.py`). The schema is first brought up to this code's, and then
has a step more that only adds, so that the rule is tested in a release that needs none. In the quick set some
pods are replaced; all of them, at twice the rate, in the long one:
`RINGTIME_FAULTS=long pytest -s tests/e2e/test_upgrade.py`.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import version

import pytest

from ringtime_local import LocalServers
from ringtime_local.cluster import Cluster
from ringtime_shared.models.schedule import Status
from ringtime_shared.recurring.run_rows import run_in
from ringtime_shared.settings import load_settings
from ringtime_shared.stores.cassandra.migrate import Step, read_steps
from ringtime_shared.stores.protocol import DefinitionKey
from tests.e2e.clients import PER_KILL, Clients, clients_of, restart, through
from tests.e2e.conftest import PATIENT, clustered, register_apps, until_shared
from tests.e2e.crons import EVERY_5_S, connected, ended, planned, put_all
from tests.harness.client import BROKEN, REFUSED, TOO_LATE, gather
from tests.harness.planned import fetch_all
from tests.harness.previous import previous_python, read_releases
from tests.harness.receiver import Receiver
from tests.harness.report import IS_LONG

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(900)]

#: In the same order there and back, so that old and new dispatchers each send what the other release took.
ALL = ("dispatcher-1", "dispatcher-2", "dispatcher-3", "ingest-1", "ingest-2")
ROLLED = ALL if IS_LONG else ("dispatcher-1", "ingest-1")
NEW, OLD = version("ringtime"), read_releases()[-1].tag.removeprefix("v")
LEAD_S = (1, 60) if IS_LONG else (1, 8)  #: near, and so far that another release sends it than took it
CRONS = 60 if IS_LONG else 12
READ_BACK = 200


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, own_servers: LocalServers) -> Iterator[Cluster]:
    """Pods of the release before, with the apps registered."""
    folder = tmp_path_factory.mktemp("upgrade")
    python = str(previous_python())
    with clustered(folder, own_servers, coordination=PATIENT, python=python) as running:
        asyncio.run(register_apps(running.base))
        yield running


async def replace(cluster: Cluster, names: Sequence[str], *, new: bool) -> None:
    """Replace pods one after the other, as docs/upgrade.md says."""
    for name in names:
        await asyncio.to_thread(cluster.pods[name].process.stop, 120)
        if new:
            cluster.pod_pythons[name] = sys.executable
        else:
            del cluster.pod_pythons[name]
        await restart(cluster, name)
        if name.startswith("dispatcher"):
            await until_shared(cluster)


async def add_a_step(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the schema be that of a later release, which has added to what every create writes."""
    module = import_module("ringtime_shared.stores.cassandra.migrate")
    steps = read_steps()
    added = (
        "ALTER TABLE schedules ADD IF NOT EXISTS of_a_later_release text",
        "ALTER TABLE apps ADD IF NOT EXISTS of_a_later_release text",
        "CREATE TABLE IF NOT EXISTS later (id int PRIMARY KEY)",
    )
    later = Step(steps[-1].version + 1, "later.cql", added)
    with monkeypatch.context() as patch:
        patch.setattr(module, "read_steps", lambda: [*steps, later])
        settings = load_settings(cluster.folder / "ringtime.json", {}).cassandra
        assert await module.migrate(settings) == [later.name]


async def crash_an_old_pod(cluster: Cluster) -> None:
    """It starts again, on a schema that is newer than it."""
    await asyncio.to_thread(cluster.pods["ingest-2"].process.kill)
    await restart(cluster, "ingest-2")


def versions(cluster: Cluster, python: str = sys.executable) -> Counter[str]:
    """Return how many nodes run which version, as `ringctl nodes` of this interpreter's Ringtime tells."""
    words = (
        "-m",
        "ringtime_ringctl.main",
        "--json",
        "--config",
        str(cluster.folder / "ringtime.json"),
        "nodes",
    )
    told = subprocess.run([python, *words], cwd=cluster.folder, capture_output=True, text=True, check=True)
    return Counter(each["version"] for each in json.loads(told.stdout)["nodes"])


async def crons_verdict(cluster: Cluster, keys: Sequence[DefinitionKey], receiver: Receiver) -> int:
    """Return how many runs were sent; each nominal time has to have one."""
    async with connected(cluster) as store:
        definitions = list((await store.fetch_definitions(keys)).values())
        assert len(definitions) == len(keys)
        found = await ended(store, definitions)
    arrived, count = receiver.arrivals(), 0
    for definition, rows in zip(definitions, found, strict=True):
        made = [row for row in rows if run_in(row).nominal_ms <= definition.from_ms]
        assert sorted(run_in(row).nominal_ms for row in made) == planned(definition)
        sent = [arrived[str(row.schedule.schedule_id)] for row in made]
        assert [row.outcome.status for row in made if row.outcome] == [Status.SUCCESS] * len(made)
        assert all(sent)
        assert all(
            each.at_ms >= run_in(row).nominal_ms
            for row, all_ in zip(made, sent, strict=True)
            for each in all_
        ), "early"
        count += len(made)
    return count


async def read_back(clients: Clients) -> None:
    """What one release took, and the other sent, both tell of as sent."""
    taken = [each.schedule_id for each in clients.load.creates if each.schedule_id and not each.cancel_tried]
    some = taken[:: max(len(taken) // READ_BACK, 1)]
    for client in clients.clients:
        views = await fetch_all(client, some)
        assert {view["status"] for view in views.values()} == {"SUCCESS"}


async def test_a_rolling_upgrade_and_back(
    cluster: Cluster, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [f"/apps/pay/recurring/tick-{number}" for number in range(CRONS)]
    seen: list[Counter[str]] = []
    told: list[set[str]] = []
    async with clients_of(cluster, receiver, 31) as clients:
        stable = clients.clients[1]
        keys = await put_all(stable, receiver.url, paths, EVERY_5_S)

        async def there_and_back() -> None:
            await asyncio.to_thread(cluster.migrate)
            await add_a_step(cluster, monkeypatch)
            await crash_an_old_pod(cluster)
            await replace(cluster, ROLLED, new=True)
            seen.append(await asyncio.to_thread(versions, cluster))
            theirs = await asyncio.to_thread(versions, cluster, str(previous_python()))
            assert theirs.total() == 3, "the ringctl of the release before goes on"
            async with connected(cluster) as store:
                told.append({each.node for each in await store.fetch_node_statuses()})
            await asyncio.to_thread(cluster.migrate, str(previous_python()))  # as a hook of Helm's may
            await replace(cluster, ROLLED, new=False)
            seen.append(await asyncio.to_thread(versions, cluster))

        await through(clients, there_and_back(), lead_s=LEAD_S)
        answers = await gather(stable.request("POST", f"{path}/pause", {}) for path in paths)
        assert {answer.status for answer in answers} == {200}
        failed = Counter(entry.status for entry in clients.load.creates if entry.schedule_id is None)
        verdict = await clients.verdict("upgrade", replaced=ROLLED, old=OLD, new=NEW)
        runs = await crons_verdict(cluster, keys, receiver)
        await read_back(clients)
        print(f"{runs} runs of {CRONS} recurring schedules, each nominal time once; {dict(failed)}")
    assert failed.keys() <= {REFUSED, BROKEN, TOO_LATE, 503}, "nothing a client would not try again"
    assert told == [{f"dispatcher-{number}" for number in (1, 2, 3)}], "the overview shows all of them"
    assert seen[1] == {OLD: 3}
    rolled = sum(name.startswith("dispatcher") for name in ROLLED)
    assert seen[0] == Counter({NEW: rolled}) + Counter({OLD: 3 - rolled})
    assert verdict.duplicates == 0, "pods that end in order send nothing twice"
    assert verdict.lag_ms(0.99) <= 2_000


@pytest.mark.skipif(not IS_LONG, reason="in the long set: make faults; an ingest pod is killed in each run")
async def test_an_old_dispatcher_that_is_killed_amid_a_roll_comes_back(
    cluster: Cluster, receiver: Receiver
) -> None:
    """The schema is that of a later release by then, and what it held went to old and new ones."""
    await asyncio.to_thread(cluster.migrate)
    await replace(cluster, ["dispatcher-1"], new=True)
    async with clients_of(cluster, receiver, 32) as clients:

        async def crash() -> None:
            await asyncio.to_thread(cluster.pods["dispatcher-2"].process.kill)
            await restart(cluster, "dispatcher-2")
            await until_shared(cluster)

        await through(clients, crash(), lead_s=(1, 4))
        verdict = await clients.verdict("upgrade-crash")
    assert verdict.duplicates <= PER_KILL
