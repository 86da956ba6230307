"""Properties of the ring: no history, the bound, and that only what must moves."""

import math
from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringtime_shared.ring import BOUND, Ring, fitted, plan_moves
from ringtime_shared.ring.circle import CIRCLE, TAG_BITS, points_of, position_of, scale_of, tag_of
from ringtime_shared.ring.placement import Placement

pytestmark = pytest.mark.slow

many = settings(max_examples=250, deadline=None)
names = st.integers(1, 12).map("dispatcher-{}:7070".format)
weights = st.sampled_from([0.25, 0.5, 1.0, 1.0, 1.0, 1.5, 3.0])
memberships = st.dictionaries(names, weights, max_size=7)
apps = st.dictionaries(
    st.sampled_from(["orders", "mail", "billing", "x", "a.b"]), st.integers(1, 40), max_size=4
)
instance_sets = apps.map(
    lambda quotas: [f"{app}.{number}" for app in quotas for number in range(quotas[app])]
)
steps = st.lists(st.one_of(memberships, instance_sets), max_size=6)


@pytest.fixture(autouse=True)
def hard_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uneven arcs, so that more nodes are full and more spills; and updates in place of rebuilds."""
    monkeypatch.setattr("ringtime_shared.ring.circle.POINTS", 32)
    monkeypatch.setattr("ringtime_shared.ring.placement.REBUILD_SHARE", 1.5)


def by_definition(nodes: Mapping[str, float], instances: list[str]) -> dict[str, str]:
    """Place by walking the ranking of all pairs, as the package docstring defines the placement."""
    rooms = Placement(nodes, instances)._room() if nodes else {}
    room = {node: rooms[tag_of(node)] for node in nodes}
    circle = {
        node: [point >> TAG_BITS for point in points_of(node, nodes[node], scale_of(nodes))] for node in nodes
    }
    ranking = sorted(
        (
            min((point - position_of(instance)) % CIRCLE for point in circle[node]),
            tag_of(node),
            instance,
            node,
        )
        for node in nodes
        for instance in set(instances)
    )
    owners: dict[str, str] = {}
    for _, _, instance, node in ranking:
        if instance not in owners and room[node] > 0:
            owners[instance] = node
            room[node] -= 1
    return owners


def first_choice(nodes: Mapping[str, float], instance: str) -> str | None:
    return Ring(nodes, [instance]).owner(instance)


@given(memberships, instance_sets)
@many
def test_partition_choice_is_the_defined_one(nodes: dict[str, float], instances: list[str]) -> None:
    assert Ring(nodes, instances).assignment() == by_definition(nodes, instances)


@given(memberships, instance_sets, steps)
@many
def test_updated_ring_equals_rebuilt_ring(
    nodes: dict[str, float], instances: list[str], changes: list[dict[str, float] | list[str]]
) -> None:
    ring = Ring(nodes, instances)
    for change in changes:
        if isinstance(change, dict):
            nodes, ring = change, ring.with_nodes(change)
        else:
            instances, ring = change, ring.with_instances(change)
        rebuilt = Ring(nodes, instances)
        assert ring.assignment() == rebuilt.assignment()
        assert ring._placement.spilled == rebuilt._placement.spilled
        assert ring._placement.points == rebuilt._placement.points


@given(memberships, instance_sets, st.randoms())
@many
def test_joins_one_by_one_in_any_order_end_the_same(
    nodes: dict[str, float], instances: list[str], rng: Random
) -> None:
    order = list(nodes.items())
    rng.shuffle(order)
    ring = Ring({}, instances)
    for count in range(len(order)):
        ring = ring.with_nodes(dict(order[: count + 1]))
    assert ring.assignment() == Ring(nodes, reversed(instances)).assignment()


@given(memberships, instance_sets)
@many
def test_every_instance_has_one_owner_within_the_bound(nodes: dict[str, float], instances: list[str]) -> None:
    ring = Ring(nodes, instances)
    assert sorted(name for node in nodes for name in ring.owned_by(node)) == sorted(
        instances if nodes else []
    )
    for node, weight in nodes.items():
        share = len(instances) * weight / sum(nodes.values())
        assert len(ring.owned_by(node)) <= max(BOUND * share, math.ceil(share - 1e-9)) + 1e-9
        assert all(ring.owner(name) == node for name in ring.owned_by(node))


@given(memberships, instance_sets, st.data())
@many
def test_a_leave_moves_only_the_leavers_and_the_spilled(
    nodes: dict[str, float], instances: list[str], data: st.DataObject
) -> None:
    if not nodes:
        return
    leaver = data.draw(st.sampled_from(sorted(nodes)))
    rest = {node: weight for node, weight in nodes.items() if node != leaver}
    before, after = Ring(nodes, instances), Ring(rest, instances)
    assert before.owned_by(leaver) <= {move.instance for move in plan_moves(before, after)}
    for there, back in ((before, after), (after, before)):  # a leave, and the join that undoes it
        for move in plan_moves(there, back):
            was_spilled = move.source != first_choice(there.nodes, move.instance)
            is_spilled = move.target != first_choice(back.nodes, move.instance)
            assert leaver in (move.source, move.target) or was_spilled or is_spilled


@given(memberships, instance_sets, memberships)
@many
def test_a_plan_leads_from_one_ring_to_the_other(
    nodes: dict[str, float], instances: list[str], others: dict[str, float]
) -> None:
    before, after = Ring(nodes, instances), Ring(others, instances)
    owners: dict[str, str | None] = dict(before.assignment())
    for move in plan_moves(before, after):
        assert owners.pop(move.instance, None) == move.source != move.target
        owners[move.instance] = move.target
    assert {name: owner for name, owner in owners.items() if owner} == after.assignment()


@given(memberships, instance_sets, instance_sets)
@many
def test_exchanging_what_differs_is_the_same_as_naming_all(
    nodes: dict[str, float], before: list[str], after: list[str]
) -> None:
    come, gone = set(after) - set(before), set(before) - set(after)
    exchanged = Ring(nodes, before).with_exchanged(come, gone)
    assert exchanged.instances == set(after)
    assert exchanged.assignment() == Ring(nodes, after).assignment()


@given(memberships, instance_sets, st.data())
@many
def test_no_node_gets_more_than_it_may_own_while_others_may(
    nodes: dict[str, float], instances: list[str], data: st.DataObject
) -> None:
    most = data.draw(st.dictionaries(st.sampled_from(sorted(nodes) or ["x"]), st.integers(1, 60)))
    most = {node: count for node, count in most.items() if node in nodes}
    count = len(set(instances))
    ring = Ring({}, instances).with_nodes(fitted(nodes, most, count), most)
    assert sum(len(ring.owned_by(node)) for node in nodes) == (count if nodes else 0)
    if sum(most.get(node, count) for node in nodes) >= count:
        assert all(len(ring.owned_by(node)) <= limit for node, limit in most.items())
    again = Ring(nodes, instances[::2]).with_nodes(fitted(nodes, most, count), most).with_instances(instances)
    assert again.assignment() == ring.assignment()


@given(memberships, st.integers(0, 10_000))
@many
def test_without_bounds_capacities_stay(nodes: dict[str, float], count: int) -> None:
    assert fitted(nodes, {}, count) == nodes
    assert fitted(nodes, dict.fromkeys(nodes, 20_000), count) == nodes
