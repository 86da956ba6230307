"""`ringctl ring --simulate`."""

from __future__ import annotations

import click
import pytest

from ringtime_ringctl.ring.command import read_changes
from ringtime_ringctl.ring.simulation import MAX_NODES, change_nodes
from ringtime_shared.errors import InvalidRequest, NotFound
from ringtime_shared.ring import BOUND, Ring, plan_moves
from ringtime_shared.ring.simulation import simulate

NODES = {"a": 1.0, "b": 1.0, "c": 2.0}
INSTANCES = [f"pay.{number}" for number in range(1_000)]


def test_two_more_nodes_move_about_their_share_and_only_to_them() -> None:
    ring = Ring(NODES, INSTANCES)
    simulation = simulate(ring, change_nodes(ring.nodes, ["+2"]))
    assert set(simulation.after) == {"a", "b", "c", "new-1", "new-2"}
    assert 1_000 / 3 * 0.7 < len(simulation.moves) < 1_000 / 3 * 1.3
    assert simulation.imbalance_after <= BOUND
    assert sum(count for _, _, count in simulation.flows()) == len(simulation.moves)
    assert {target for _, target, _ in simulation.flows()} >= {"new-1", "new-2"}


def test_the_moves_are_those_of_the_dispatchers_ring() -> None:
    ring = Ring(NODES, INSTANCES)
    simulation = simulate(ring, change_nodes(ring.nodes, ["-b"]))
    assert list(simulation.moves) == plan_moves(ring, Ring({"a": 1.0, "c": 2.0}, INSTANCES))
    assert simulation.before["b"] == len(ring.owned_by("b"))
    assert "b" not in simulation.after


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (["+1"], {"a", "b", "c", "new-1"}),
        (["+2 nodes"], {"a", "b", "c", "new-1", "new-2"}),
        (["+1 node", "+1"], {"a", "b", "c", "new-1", "new-2"}),
        (["-node a"], {"b", "c"}),
        (["-a", "-b"], {"c"}),
        (["+1", "-new-1"], {"a", "b", "c"}),
        (["-a", "-b", "-c"], set()),
    ],
)
def test_changes(changes: list[str], expected: set[str]) -> None:
    assert set(change_nodes(NODES, changes)) == expected


@pytest.mark.parametrize("change", ["", "2", "+", "+x", "nodes", "+2 nodess", "- a", "+99999", "-a b"])
def test_what_is_no_change_is_refused(change: str) -> None:
    with pytest.raises(InvalidRequest, match="--simulate"):
        change_nodes(NODES, [change])


def test_too_many_nodes_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=f"more than {MAX_NODES}"):
        change_nodes(NODES, ["+1000"])


def test_an_unknown_node_is_refused() -> None:
    with pytest.raises(NotFound, match="no node z"):
        change_nodes(NODES, ["-z"])


def test_nobody_is_left() -> None:
    simulation = simulate(Ring(NODES, INSTANCES), {})
    assert {target for _, target, _ in simulation.flows()} == {""}


@pytest.mark.parametrize(
    ("simulated", "words", "expected"),
    [
        ((), (), []),
        (("+2",), (), ["+2"]),
        (("+2",), ("nodes",), ["+2 nodes"]),
        (("-a", "-node"), ("b",), ["-a", "-node b"]),
    ],
)
def test_words_after_the_option_belong_to_it(
    simulated: tuple[str, ...], words: tuple[str, ...], expected: list[str]
) -> None:
    assert read_changes(simulated, words) == expected


@pytest.mark.parametrize(("simulated", "words"), [((), ("x",)), (("+2",), ("nodes", "x"))])
def test_other_words_are_bad_usage(simulated: tuple[str, ...], words: tuple[str, ...]) -> None:
    with pytest.raises(click.UsageError):
        read_changes(simulated, words)
