"""The ring in the shapes it is made for; the figures behind it are in its package docstring."""

import itertools
import statistics
from collections import Counter

import pytest

from ringtime_shared.parts import group_of
from ringtime_shared.ring import BOUND, Move, Ring, imbalance, plan_moves
from ringtime_shared.ring.placement import fair_shares

STYLES = ("dispatcher-{}", "10.0.7.{}:7070", "ringtime-dispatcher-{}.ringtime.svc:8080", "node{}")
QUOTAS = (1, 16, 20, 64)


def instances_of(count: int, quota: int) -> list[str]:
    return [f"app{number // quota}.{number % quota}" for number in range(count)]


@pytest.mark.parametrize(
    ("node_count", "instance_count", "mean", "nine_of_ten", "most"),
    [
        (3, 64, 1.15, 1.25, 1.5),
        (10, 1_000, 1.15, 1.25, 1.5),
        pytest.param(100, 10_000, 1.15, 1.25, 1.5, marks=pytest.mark.slow),
    ],
)
def test_balance_and_moves(
    node_count: int, instance_count: int, mean: float, nine_of_ten: float, most: float
) -> None:
    """Over 16 name sets: the bound always; so many shares moved by one join or leave."""
    moved = []
    for style in STYLES:
        names = [style.format(number) for number in range(1, node_count + 2)]
        for quota in QUOTAS:
            ring = Ring(dict.fromkeys(names[:-1], 1.0), instances_of(instance_count, quota))
            larger = ring.with_nodes(dict.fromkeys(names, 1.0))
            smaller = ring.with_nodes(dict.fromkeys(names[1:-1], 1.0))
            assert max(imbalance(ring), imbalance(larger), imbalance(smaller)) <= BOUND
            moved.append(len(plan_moves(ring, larger)) * (node_count + 1) / instance_count)
            moved.append(len(plan_moves(ring, smaller)) * node_count / instance_count)
    assert statistics.mean(moved) <= mean
    assert statistics.quantiles(moved, n=10)[-1] <= nine_of_ten
    assert max(moved) <= most


def test_a_part_of_as_many_as_there_are_groups_is_read_by_little_more_than_one_node() -> None:
    ring = Ring({f"dispatcher-{number}": 1.0 for number in range(100)}, instances_of(20_000, 16))
    owners = ring.assignment()
    readers = Counter(group for _, group in {(node, group_of(each)) for each, node in owners.items()})
    assert statistics.mean(readers[group_of(each)] for each in owners) <= 1.05


def test_a_join_takes_about_its_share() -> None:
    nodes = dict.fromkeys(["a", "b", "c"], 1.0)
    ring = Ring(nodes, instances_of(3_000, 20))
    larger = ring.with_nodes({**nodes, "d": 1.0})
    assert 0.85 * 750 <= len(larger.owned_by("d")) <= BOUND * 750
    assert len(plan_moves(ring, larger)) == len(larger.owned_by("d"))


def test_capacity_is_respected() -> None:
    ring = Ring({"small": 0.5, "plain": 1, "large": 2.5}, instances_of(4_000, 20))
    loads = [len(ring.owned_by(node)) for node in ("small", "plain", "large")]
    assert loads == [pytest.approx(share, rel=0.15) for share in (500, 1_000, 2_500)]
    assert imbalance(ring) <= BOUND


@pytest.mark.parametrize("unit", [1e-300, 1e-3, 1.0, 512e6, 1e308])
def test_capacity_may_be_in_any_unit(unit: float) -> None:
    ring = Ring({"a": unit, "b": unit / 2, "c": unit / 2}, instances_of(1_000, 20))
    assert imbalance(ring) <= BOUND


def test_a_node_of_next_to_no_capacity_gets_nothing() -> None:
    ring = Ring({"a": 1.0, "b": 1e-15}, instances_of(50, 5))
    assert ring.owned_by("b") == frozenset()
    assert len(ring.owned_by("a")) == 50


@pytest.mark.parametrize("weight", [0, 0.0, -1, float("nan"), float("inf")])
def test_bad_capacity_is_refused_by_name(weight: float) -> None:
    ring = Ring({"good": 1.0}, ["app.0"])
    with pytest.raises(ValueError, match="dispatcher-7"):
        Ring({"good": 1.0, "dispatcher-7": weight})
    with pytest.raises(ValueError, match="dispatcher-7"):
        ring.with_nodes({"good": 1.0, "dispatcher-7": weight})
    assert ring.owner("app.0") == "good"


def test_names_with_the_same_hash_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringtime_shared.ring.placement.tag_of", len)
    with pytest.raises(ValueError, match="'aa' and 'bb'"):
        Ring({"aa": 1.0, "bb": 1.0})


def test_shares_do_not_depend_on_the_order_of_nodes() -> None:
    weights = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4, "e": 0.6, "f": 1.0}  # plain sums differ by order
    shares = [fair_shares(dict(order), 1_000) for order in itertools.permutations(weights.items())]
    assert all(share == shares[0] for share in shares)


def test_without_nodes_nobody_owns() -> None:
    ring = Ring(instances=["app.0", "app.1"])
    assert ring.owner("app.0") is None
    assert ring.assignment() == {}
    assert ring.instances == {"app.0", "app.1"}
    assert ring.with_instances(["app.2"]).assignment() == {}
    assert imbalance(ring) == imbalance(Ring()) == imbalance(Ring({"a": 1.0})) == 1.0


def test_the_first_node_gets_all_and_the_last_one_leaves_none() -> None:
    empty = Ring(instances=["app.0", "app.1"])
    one = empty.with_nodes({"a": 1.0})
    assert plan_moves(empty, one) == [Move("app.0", None, "a"), Move("app.1", None, "a")]
    assert plan_moves(one, one.with_nodes({})) == [Move("app.0", "a", None), Move("app.1", "a", None)]
    assert plan_moves(one, one) == []


def test_unknown_names_own_and_are_owned_by_nothing() -> None:
    ring = Ring({"a": 1.0}, ["app.0"])
    assert ring.owner("other.0") is None
    assert ring.owned_by("b") == frozenset()


def test_a_ring_never_changes() -> None:
    nodes = dict.fromkeys(["a", "b", "c"], 1.0)
    ring = Ring(nodes, instances_of(100, 20))
    before = dict(ring.assignment()), [ring.owned_by(node) for node in nodes]
    ring.with_nodes({"a": 1.0, "d": 2.0})
    ring.with_nodes(dict.fromkeys("abcdefghijklmnop", 1.0)).with_nodes(nodes)
    ring.with_instances(instances_of(40, 20))
    nodes["e"] = 1.0
    assert (dict(ring.assignment()), [ring.owned_by(node) for node in "abc"]) == before
    assert set(ring.nodes) == {"a", "b", "c"}


def test_a_new_app_hardly_moves_the_others() -> None:
    nodes = {f"dispatcher-{number}": 1.0 for number in range(10)}
    ring = Ring(nodes, instances_of(1_000, 20))
    grown = ring.with_instances([*ring.instances, *(f"new.{number}" for number in range(20))])
    others = [move for move in plan_moves(ring, grown) if move.source is not None]
    assert len(others) <= 10


def test_partition_choice_is_the_same_in_every_version() -> None:
    """Nodes of different versions share one cluster: changing this moves instances in a rolling upgrade."""
    ring = Ring(
        {f"dispatcher-{number}:7070": 1.0 for number in (1, 2, 3)}, [f"orders.{p}" for p in range(12)]
    )
    owners = "".join((ring.owner(f"orders.{p}") or "?").removeprefix("dispatcher-")[0] for p in range(12))
    assert owners == "331133112222"
