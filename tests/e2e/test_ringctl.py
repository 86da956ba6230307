"""`ringctl` on the split deployment: the commands as an operator runs them, on real servers and pods."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from ringtime_local.cluster import Cluster
from ringtime_shared.settings import load_settings
from ringtime_shared.stores.cassandra.cluster import make_cluster
from tests.e2e.conftest import APPS, PARTITIONS, PATIENT, until_shared, wait_blocking
from tests.harness.client import LoadClient
from tests.harness.ledger import judge
from tests.harness.load import Load, wait_for_deliveries
from tests.harness.receiver import Receiver

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(600)]

TOTAL = len(APPS) * PARTITIONS
NODE = "dispatcher-2"


@pytest.fixture(scope="module")
def coordination() -> Mapping[str, object]:
    return PATIENT


def ringctl(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "ringtime_ringctl.main",
        "--config",
        str(cluster.folder / "ringtime.json"),
    ]
    return subprocess.run([*command, *words], capture_output=True, text=True, timeout=90, check=False)


def shown(cluster: Cluster, *words: str) -> Any:
    done = ringctl(cluster, "--json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def owned(cluster: Cluster) -> dict[str, int]:
    return {each["node"]: each["owned"] for each in shown(cluster, "nodes")["nodes"]}


async def settled_ring(cluster: Cluster) -> Any:
    """Return the ring once nothing moves: a node may have about its share and be due one instance more."""
    ring: Any = None

    def is_settled() -> bool:
        nonlocal ring
        ring = shown(cluster, "ring")
        return bool((ring["unowned"], ring["moving"]) == (0, 0))

    await asyncio.to_thread(wait_blocking, is_settled, 60)
    return ring


async def test_a_node_is_drained_under_load_and_taken_back(cluster: Cluster, receiver: Receiver) -> None:
    await until_shared(cluster)
    counts = owned(cluster)
    assert (len(counts), sum(counts.values())) == (3, TOTAL)
    nodes = {each["node"]: each for each in shown(cluster, "nodes")["nodes"]}
    assert all(each["ready"] and abs(each["skewMs"]) < 1_000 for each in nodes.values())
    assert len((await settled_ring(cluster))["instances"]) == TOTAL
    assert shown(cluster, "ring", "--simulate", "-node", NODE)["after"].keys() == nodes.keys() - {NODE}

    load = Load(receiver, apps=APPS, rng=Random(77))
    async with LoadClient(cluster.base, 64) as client:
        working = asyncio.create_task(load.run(client, per_s=150, seconds=12, lead_s=(1, 6), cancels=0.0))
        await asyncio.sleep(2)
        busy = (await asyncio.to_thread(shown, cluster, "ring"))["instances"]
        assert any(each["front"] for each in busy), "fronts come from the nodes"
        begun_s = time.monotonic()
        drained = await asyncio.to_thread(ringctl, cluster, "--operator", "ann", "drain", NODE, "--wait")
        drain_s = time.monotonic() - begun_s
        assert drained.returncode == 0, drained.stderr
        assert "owns nothing" in drained.stdout
        counts = await asyncio.to_thread(owned, cluster)
        assert (counts[NODE], sum(counts.values())) == (0, TOTAL)
        nodes = {each["node"]: each for each in (await asyncio.to_thread(shown, cluster, "nodes"))["nodes"]}
        assert (nodes[NODE]["state"], nodes[NODE]["drainedBy"]) == ("drained", "ann")
        await working
        assert (await asyncio.to_thread(ringctl, cluster, "undrain", NODE)).returncode == 0
    await until_shared(cluster)
    assert owned(cluster)[NODE] > TOTAL / 5
    await wait_for_deliveries(receiver, load.creates, timeout_s=90)
    verdict = judge(load.creates, receiver.arrivals())
    print(f"drained in {drain_s:.1f} s", verdict)
    assert verdict.broken() == []
    assert verdict.duplicates == 0
    doctor = ringctl(cluster, "doctor")
    assert doctor.returncode == 0, doctor.stdout


async def test_a_pod_is_empty_before_it_is_stopped_and_has_its_share_when_it_is_back(
    cluster: Cluster,
) -> None:
    """As the chart's hook has it: nobody undrains."""
    await until_shared(cluster)
    pod = cluster.pods[NODE]
    done = ringctl(cluster, "--reason", "preStop", "drain", NODE, "--until-exit", "--wait", "--timeout", "70")
    assert done.returncode == 0, done.stderr
    with pytest.raises(urllib.error.HTTPError) as refused:
        await asyncio.to_thread(urllib.request.urlopen, f"{pod.root}/health/ready", timeout=60)
    told = json.loads(refused.value.read())
    assert (refused.value.code, told["status"], told["owned"]) == (503, "drained", 0)
    assert ringctl(cluster, "doctor").returncode == 0, "it is as it was told to be"
    await asyncio.to_thread(pod.process.stop, 60)
    assert shown(cluster, "nodes")["nodes"][1]["node"] != NODE
    cluster.start_pod(NODE).wait_ready(time.monotonic() + 60)
    await until_shared(cluster)
    assert not any(each["drained"] for each in shown(cluster, "nodes")["nodes"])


async def test_one_schedule_from_filing_to_cancel(cluster: Cluster, receiver: Receiver) -> None:
    at_s = int(time.time()) + 600
    async with LoadClient(cluster.base, 1) as client:
        body = {
            "appId": "pay",
            "payload": "{}",
            "scheduleTime": at_s,
            "callback": {"type": "http", "details": {"url": receiver.url, "method": "POST", "headers": {}}},
        }
        answer = await client.request("POST", "/schedules", body)
    schedule_id = answer.data["schedule"]["scheduleId"]
    explained = shown(cluster, "explain", schedule_id)
    assert explained["owner"]["node"] in owned(cluster)
    listed = shown(cluster, "schedules", "list", "pay", "--from", "+9m", "--to", "+11m")["schedules"]
    assert schedule_id in [each["scheduleId"] for each in listed]
    assert shown(cluster, "forecast", "pay", "--hours", "1")["due"] >= 1
    assert shown(cluster, "schedules", "cancel", schedule_id)["promised"]
    assert shown(cluster, "schedules", "get", schedule_id)["schedule"]["status"] == "DELETED"


def test_bad_input_is_one_line_and_changes_nothing(cluster: Cluster) -> None:
    for words in (
        ["forecast", "nope"],
        ["drain", "nope"],
        ["undrain", "nope"],
        ["ring", "--simulate", "-nope"],
    ):
        done = ringctl(cluster, *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert "nope" in done.stderr
    assert not any(each["drained"] for each in shown(cluster, "nodes")["nodes"])


def test_another_schema_is_refused_by_name(cluster: Cluster) -> None:
    """Newer, then older; what runs has checked the schema at its start and does not notice."""
    settings = load_settings(cluster.folder / "ringtime.json", {}).cassandra
    driver = make_cluster(settings)
    try:
        session = driver.connect(settings.keyspace)
        noted = [version for (version,) in session.execute("SELECT version FROM schema_steps")]
        last = max(noted, key=abs)  # a step that only adds is noted under its negative number
        floor = abs(last) + 1
        steps = {
            floor: ("INSERT INTO schema_steps (version, name) VALUES (%s, 'x')", "knows only"),
            last: ("DELETE FROM schema_steps WHERE version = %s", "run `migrate`"),
        }
        undo = {
            floor: "DELETE FROM schema_steps WHERE version = %s",
            last: "INSERT INTO schema_steps (version, name) VALUES (%s, 'put back')",
        }
        for version, (change, says) in steps.items():
            session.execute(change, (version,))
            try:
                done = ringctl(cluster, "drain", NODE)
                assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
                assert says in done.stderr
                assert ringctl(cluster, "doctor").returncode == 4
            finally:
                session.execute(undo[version], (version,))
    finally:
        driver.shutdown()
    assert not any(each["drained"] for each in shown(cluster, "nodes")["nodes"])
