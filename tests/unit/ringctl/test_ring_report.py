"""What `ringctl ring` and `ringctl nodes` say of a snapshot."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.contract.builders import NOW_MS, make_app
from tests.unit.ringctl.rig import FRESH, make_health, make_snapshot, pay

from ringtime_ringctl.deployment.ownership import one_process_view, report_ring, ring_of
from ringtime_ringctl.ring.nodes import report_nodes
from ringtime_shared.coordination.protocol import Claim
from ringtime_shared.models.app import Instance
from ringtime_shared.models.node_status import NodeStatus
from ringtime_shared.stores.protocol import Marks

P0, P1 = Instance("pay", 0), Instance("pay", 1)


def test_a_settled_ring_has_no_moves() -> None:
    report = report_ring(make_snapshot([pay()]), {})
    assert report.moves == report.unowned == []
    assert report.imbalance == report.ring_imbalance <= 1.15
    assert sum(load.owned for load in report.nodes) == 60
    assert all(load.owned == load.wanted for load in report.nodes)


def test_an_instance_held_elsewhere_is_a_move() -> None:
    given = ring_of(make_snapshot([pay()])).owner("pay.0")
    holder = next(node for node in ("n1", "n2", "n3") if node != given)
    report = report_ring(make_snapshot([pay()], changes={P0: Claim(holder, 9)}), {})
    (move,) = report.moves
    assert (move.instance, move.owner, move.target, move.epoch) == (P0, holder, given, 9)


def test_an_unowned_instance_is_no_move() -> None:
    report = report_ring(make_snapshot([pay()], changes={P0: None}), {})
    assert [each.instance for each in report.unowned] == [P0]
    assert report.moves == []


def test_a_drained_node_is_given_nothing_and_all_it_has_moves() -> None:
    before = make_snapshot([pay()])
    after = make_snapshot([pay()], drained=["n2"], changes=dict(before.view.claims))
    report = report_ring(after, {})
    n2 = next(load for load in report.nodes if load.node == "n2")
    assert n2.is_drained
    assert n2.wanted == 0
    assert {each.instance for each in report.moves if each.owner == "n2"} == {
        each.instance for each in report.instances if each.owner == "n2"
    }


def test_an_owner_that_left_the_ring_is_shown_while_it_holds_something() -> None:
    report = report_ring(make_snapshot([pay()], changes={P0: Claim("gone", 3)}), {})
    gone = next(load for load in report.nodes if load.node == "gone")
    assert (gone.capacity, gone.owned, gone.wanted) == (0.0, 1, 0)


def test_marks_fronts_and_lag() -> None:
    snapshot = make_snapshot([pay()], marks={P0: Marks(NOW_MS - 5_000, NOW_MS - 65_000)})
    report = report_ring(snapshot, {P0: NOW_MS + 300})
    first, second = report.instances[:2]
    assert (first.front_ms, first.sealed_ms, first.settled_ms, first.behind_ms) == (
        NOW_MS + 300,
        NOW_MS - 5_000,
        NOW_MS - 65_000,
        65_000,
    )
    assert (second.front_ms, second.sealed_ms) == (None, FRESH.sealed_ms)


def test_an_inactive_app_is_not_on_the_ring() -> None:
    report = report_ring(make_snapshot([pay(), make_app(active=False)]), {})
    assert {each.instance.app_id for each in report.instances} == {"pay"}


def test_no_nodes_and_no_apps() -> None:
    empty = report_ring(make_snapshot([], nodes=[]), {})
    assert (list(empty.nodes), list(empty.instances), empty.imbalance) == ([], [], 1.0)
    lone = report_ring(make_snapshot([pay(3)], nodes=[]), {})
    assert len(lone.unowned) == 3


def test_nodes_tell_their_state_health_and_drain() -> None:
    snapshot = make_snapshot([pay()], drained=["n2"], changes={P1: Claim("gone", 3)})
    found = {each.node: each for each in report_nodes(snapshot, [make_health("n1")])}
    assert {name: each.state for name, each in found.items()} == {
        "n1": "active",
        "n2": "drained",
        "n3": "active",
        "gone": "leaving",
    }
    assert found["n1"].health is not None
    assert found["n3"].health is None
    assert found["n3"].address == "n3:80"


def test_a_node_of_release_0_1_0_tells_its_version_to_the_store_alone() -> None:
    snapshot = make_snapshot([pay()])
    n1 = replace(snapshot.view.members["n1"], version="0.2.0")
    snapshot = replace(snapshot, view=replace(snapshot.view, members={**snapshot.view.members, "n1": n1}))
    statuses = [NodeStatus(node=name, at_ms=1, version="0.1.0") for name in ("n1", "n2", "gone")]
    found = {each.node: each.version for each in report_nodes(snapshot, [], statuses)}
    assert found == {"n1": "0.2.0", "n2": "0.1.0", "n3": ""}


@pytest.mark.parametrize("server", ["embedded-9", None])
def test_one_process_owns_what_carries_its_era(server: str | None) -> None:
    terms = {P0: 4 << 48 | 2, P1: 3 << 48 | 9, Instance("pay", 2): 0}
    view = one_process_view(terms, server)
    if server is None:
        assert not view.members
        assert not view.claims
    else:
        assert set(view.members) == {server}
        assert view.claims == {P0: Claim(server, 2)}
