"""The routes of operators: what nodes said of themselves, put together, and what is wrong by it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.contract.builders import make_app, make_rows
from tests.unit.ingest.rig import NOW_MS, Rig, make_rig

from ringtime_ingest.service import operating
from ringtime_shared.api.operating import DestinationList, NodeList, OverviewView, RingView
from ringtime_shared.api.views import read, show
from ringtime_shared.buckets import BUCKET_MS
from ringtime_shared.coordination.protocol import Member, fit_members
from ringtime_shared.errors import StoreUnavailable
from ringtime_shared.models.node_status import AppWork, NodeStatus, OverQuota, Trouble, Work
from ringtime_shared.ring import Ring
from ringtime_shared.ring.simulation import Simulation, simulate

BASE = "/goscheduler"
LAGS = (0, 0, 50, 0, 0, 0, 0, 50)


def status(node: str, **changes: Any) -> NodeStatus:
    work = Work(window_ms=60_000, lags=LAGS, sent=120, succeeded=60)
    usual = NodeStatus(
        node=node, at_ms=NOW_MS - 3_000, since_ms=NOW_MS - 90_000, is_ready=True, work=work, owned=2
    )
    return replace(usual, **changes)


def trouble(**changes: Any) -> Trouble:
    usual = Trouble(
        app_id="test",
        destination="https://a:443",
        state="open",
        failures=5,
        waiting=2,
        parked=7,
        in_flight=1,
        most_in_flight=100,
        opens_in_ms=9_000,
        error="answered 503",
        failed_ms=NOW_MS - 500,
    )
    return replace(usual, **changes)


async def make_world(*statuses: NodeStatus) -> Rig:
    rig = make_rig()
    for each in statuses:
        await rig.store.real.put_node_status(each)
    return rig


async def get(rig: Rig, path: str, code: int = 200) -> Any:
    reply = await rig.client.call("GET", f"{BASE}{path}")
    assert reply.status == code, reply.body
    return reply.json["data"] if code == 200 else reply.json


def words(overview: OverviewView) -> list[str]:
    return [each.word for each in overview.problems]


async def test_nodes_are_told_with_what_they_do_and_what_the_ring_gives_them() -> None:
    rig = await make_world(
        status("a", owned=5, version="1", address="h:1"),
        status("b", capacity=2.0, is_drained=True),
        status("c", at_ms=NOW_MS - 60_000),
        status("d", is_draining=True),
        status("e", clock_doubt="no server answers"),
        status("f", is_ready=False),
        NodeStatus(node="g", at_ms=NOW_MS, damage="status: no"),
    )
    nodes = read(NodeList, await get(rig, "/nodes")).nodes
    assert [each.node for each in nodes] == list("abcdefg")
    states = ["ready", "drained", "silent", "draining", "clock in doubt", "not ready", "damaged"]
    assert [each.state for each in nodes] == states
    first = nodes[0]
    assert (first.sent_per_second, first.succeeded_per_second, first.silent_ms) == (2.0, 1.0, 3_000)
    assert first.lag_p50_ms == 5
    assert first.lag_p99_ms is not None
    assert 290 < first.lag_p99_ms < 300
    polled = sum(app.polled for app in rig.apps.values() if app.active)
    assert polled > 0
    assert {each.node: each.wanted for each in nodes if each.state in ("silent", "drained", "draining")} == {
        "b": 0,
        "c": 0,
        "d": 0,
    }
    assert sum(each.wanted for each in nodes) == polled


async def test_the_ring_is_that_of_the_dispatchers() -> None:
    rig = await make_world(status("a", most=50), status("b", capacity=3.0))
    app = rig.apps["test"]
    rig.apps["wide"] = replace(app, app_id="wide", writable=200, polled=200, number=77)
    ring = read(RingView, await get(rig, "/ring?app_id=wide"))
    names = [str(each) for one in rig.apps.values() for each in one.instances()]
    members = {"a": Member(node="a", most=50), "b": Member(node="b", capacity=3.0)}
    expected = Ring(instances=names).with_nodes(*fit_members(members, len(names)))
    assert ring.instances == len(names)
    assert {each.node: each.wanted for each in ring.nodes} == {
        node: len(expected.owned_by(node)) for node in "ab"
    }
    assert ring.partitions is not None
    assert [each.node for each in ring.partitions] == [expected.owner(f"wide.{n}") for n in range(200)]
    assert (ring.owned, ring.moving) == (4, len(names) - 4)
    assert [each.wanted_of_app for each in ring.nodes] == [
        sum(each.node == node for each in ring.partitions) for node in "ab"
    ]
    assert ring.moves is None
    assert ring.flows is None


async def test_a_join_and_a_leave_are_simulated() -> None:
    rig = await make_world(status("a"), status("b"), status("c"))
    rig.apps["wide"] = replace(rig.apps["test"], app_id="wide", writable=300, polled=300, number=77)
    ring = read(RingView, await get(rig, "/ring?app_id=wide&join=1&leave=c"))
    assert [each.node for each in ring.nodes] == ["a", "b", "c", "new-1"]
    after = {each.node: each.wanted_after for each in ring.nodes}
    assert after["c"] == 0
    assert sum(each or 0 for each in after.values()) == ring.instances
    assert ring.partitions is not None
    assert ring.flows is not None
    moved = Counter((each.node, each.node_after) for each in ring.partitions if each.node != each.node_after)
    assert ring.moves == sum(each.count for each in ring.flows) >= sum(moved.values())
    assert all(each.node_after != "c" for each in ring.partitions)
    refused = await get(rig, "/ring?leave=nobody", 400)
    assert refused["status"]["errors"] == [{"field": "leave", "rule": "no node nobody"}]
    await get(rig, "/ring?app_id=nobody", 400)
    for query, field in (("join=101", "join"), ("join=x", "join"), ("app_id=.", "app_id")):
        refused = await get(rig, f"/ring?{query}", 400)
        assert [each["field"] for each in refused["status"]["errors"]] == [field]


async def test_a_page_that_shows_a_simulation_again_and_again_has_it_computed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = await make_world(status("a"), status("b"))
    computed = 0

    def counted(ring: Ring, nodes: Mapping[str, float]) -> Simulation:
        nonlocal computed
        computed += 1
        return simulate(ring, nodes)

    monkeypatch.setattr(operating, "simulate", counted)
    for query, count in (("join=1", 1), ("join=1&app_id=test", 1), ("join=2", 2), ("leave=a", 3), ("", 3)):
        for _ in range(3):
            await get(rig, f"/ring?{query}")
            rig.clock.advance(1_500)
        assert computed == count, query
    await get(rig, "/ring?join=1")
    await rig.service.set_active("idle", True)
    rig.clock.advance(1_500)
    assert read(RingView, await get(rig, "/ring?join=1")).instances == 10
    assert computed == 5, "of another ring more is to be told"


async def test_a_destination_is_told_once_for_all_nodes() -> None:
    slow = trouble(app_id="other", destination="kafka:x", state="slow", waiting=50, error="", failed_ms=0)
    rig = await make_world(
        status("a", troubles=(trouble(), slow), troubles_in_all=12),
        status("b", troubles=(trouble(state="failing", failures=2, error="old", failed_ms=5),)),
        status("c", at_ms=NOW_MS - 60_000, troubles=(trouble(app_id="gone"),)),
    )
    found = read(DestinationList, await get(rig, "/destinations"))
    assert [(each.app_id, each.state) for each in found.destinations] == [("test", "open"), ("other", "slow")]
    first = found.destinations[0]
    assert (first.nodes, first.failures, first.waiting, first.parked) == (2, 5, 4, 14)
    assert (first.error, first.probe_in_ms) == ("answered 503", 9_000)
    assert "nothing is sent" in first.meaning
    assert found.more == 10
    assert read(DestinationList, await get(rig, "/destinations?size=1")).more == 11
    own = read(DestinationList, await get(rig, "/apps/test/destinations"))
    assert [each.app_id for each in own.destinations] == ["test"]
    assert own.more == 0, "how many others have is nobody's to know"
    await get(rig, "/apps/nobody/destinations", 400)
    for size in ("0", "501", "x"):
        await get(rig, f"/destinations?size={size}", 400)


async def test_what_a_node_did_not_name_of_an_app_counts_for_that_app_alone() -> None:
    other = trouble(app_id="other")
    of_app = {"test": 4, "other": 9}
    rig = await make_world(
        status("a", troubles=(trouble(), other), troubles_in_all=13, troubles_of_app=of_app),
        status("b", troubles=(other,), troubles_in_all=9, troubles_of_app={"other": 9}),
    )
    assert read(DestinationList, await get(rig, "/apps/test/destinations")).more == 3
    assert read(DestinationList, await get(rig, "/destinations")).more == 11 + 8


async def test_looks_at_the_deployment_read_no_app_while_none_changes() -> None:
    rig = await make_world(status("a"))
    for _ in range(20):
        await get(rig, "/overview")
        rig.clock.advance(1_000)
    assert rig.store.names().count("fetch_apps") == 1
    await rig.service.set_active("idle", True)
    rig.clock.advance(1_000)
    assert read(OverviewView, await get(rig, "/overview")).instances == 10


async def test_the_overview_is_quiet_where_all_is_well() -> None:
    rig = await make_world(status("a"), status("b"))
    overview = read(OverviewView, await get(rig, "/overview"))
    assert (overview.nodes, overview.nodes_ready) == (2, 2)
    assert (overview.sent_per_second, overview.succeeded_per_second) == (4.0, 2.0)
    assert overview.lag_p50_ms == 5
    assert overview.problems == []
    assert overview.ahead == []


async def test_the_next_hour_is_counted_in_the_background() -> None:
    rig = await make_world(status("a"))
    app = rig.apps["test"]
    first_ms = NOW_MS // BUCKET_MS * BUCKET_MS + 5 * BUCKET_MS
    await rig.store.real.put_rows(make_rows(app, [first_ms + n for n in range(20)]))
    await rig.store.real.put_rows(make_rows(app, [first_ms + n for n in range(7)], partition=1))
    await get(rig, "/overview")
    overview = read(OverviewView, await get(rig, "/overview"))
    for _ in range(100):
        if overview.ahead_at is not None:
            break
        await asyncio.sleep(0)
        overview = read(OverviewView, await get(rig, "/overview"))
    assert [(each.at.timestamp(), each.due) for each in overview.ahead] == [(first_ms / 1_000, 27)]
    assert not overview.ahead_estimated
    forecast = await get(rig, "/apps/test/forecast?hours=2")
    assert (forecast["due"], len(forecast["minutes"]), forecast["over"]) == (27, 1, 0)
    assert forecast["carriedPerMinute"] == app.writable * 1_000
    await get(rig, "/apps/test/forecast?hours=49", 400)
    await get(rig, "/apps/nobody/forecast", 400)
    await rig.service.close()


@pytest.mark.parametrize(
    ("statuses", "word", "severity", "about"),
    [
        ([], "no_nodes", "bad", {}),
        ([status("a"), status("b", at_ms=NOW_MS - 60_000)], "node_silent", "bad", {"node": "b"}),
        ([status("a", is_ready=False)], "node_not_ready", "bad", {"node": "a"}),
        ([status("a", clock_doubt="it jumped")], "node_not_ready", "bad", {"node": "a"}),
        ([status("a", left_out=3)], "left_out", "bad", {"node": "a"}),
        ([status("a", oldest_due_ms=11_000)], "overdue", "warn", {"node": "a"}),
        ([status("a", oldest_due_ms=61_000)], "overdue", "bad", {"node": "a"}),
        ([status("a", work=Work(window_ms=60_000, missed=1))], "missed", "bad", {"node": "a"}),
        ([status("a", work=Work(window_ms=60_000, failed=1))], "given_up", "warn", {"node": "a"}),
        ([status("a", work=Work(window_ms=60_000, lags=(0,) * 12 + (9,)))], "late", "warn", {"node": "a"}),
        (
            [
                status(
                    "a", work=Work(window_ms=60_000, missed=3), worst_apps=(AppWork(app_id="x", missed=2),)
                ),
                status("b", worst_apps=(AppWork(app_id="x", missed=1),)),
            ],
            "missed",
            "bad",
            {"appId": "x"},
        ),
        ([status("a", worst_apps=(AppWork(app_id="x", failed=2),))], "given_up", "warn", {"appId": "x"}),
        ([status("a", worst_apps=(AppWork(app_id="x", late=2),))], "late", "warn", {"appId": "x"}),
        ([status("a", mark_age_ms=900_000)], "marks_behind", "warn", {"node": "a"}),
        (
            [status("a", troubles=(trouble(),))],
            "destination",
            "bad",
            {"appId": "test", "destination": "https://a:443"},
        ),
        (
            [status("a", troubles=(trouble(state="slow"),))],
            "destination",
            "warn",
            {"appId": "test", "destination": "https://a:443"},
        ),
        (
            [status("a", over_quota=(OverQuota(app_id="test", minute_ms=NOW_MS, due=9_000),))],
            "over_quota",
            "warn",
            {"appId": "test"},
        ),
    ],
)
async def test_each_problem_is_told_with_what_to_do(
    statuses: list[NodeStatus], word: str, severity: str, about: dict[str, str]
) -> None:
    rig = await make_world(*statuses)
    (problem,) = (await get(rig, "/overview"))["problems"]
    assert (problem["word"], problem["severity"]) == (word, severity)
    assert problem["told"]
    assert problem["remedy"].endswith((".", "`"))
    assert {key: problem[key] for key in problem.keys() & {"appId", "node", "destination"}} == about


async def test_the_worst_comes_first_and_there_is_an_end() -> None:
    many = tuple(trouble(state="slow", destination=f"https://{n}") for n in range(50))
    rig = await make_world(status("a", troubles=many), status("b", at_ms=NOW_MS - 50_000))
    overview = read(OverviewView, await get(rig, "/overview"))
    assert words(overview) == ["node_silent"] + ["destination"] * 20


async def test_a_damaged_app_is_a_problem() -> None:
    rig = await make_world(status("a"))
    rig.apps["bad"] = make_app(app_id="bad", damage="configuration: no")
    (problem,) = read(OverviewView, await get(rig, "/overview")).problems
    assert (problem.word, problem.app_id) == ("app_damaged", "bad")


async def test_what_was_read_is_good_for_a_second() -> None:
    rig = await make_world(status("a"))
    for _ in range(3):
        await get(rig, "/nodes")
        await get(rig, "/destinations")
    assert rig.store.names().count("fetch_node_statuses") == 1
    rig.clock.advance(1_000)
    rig.store.fail("fetch_node_statuses", StoreUnavailable("no"))
    await get(rig, "/nodes", 503)
    await get(rig, "/nodes")


def test_a_view_is_shown_as_it_is_read() -> None:
    view = DestinationList(destinations=[], more=3)
    assert show(view) == {"destinations": [], "more": 3}
    assert read(DestinationList, show(view)) == view
