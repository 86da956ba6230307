"""Seeded runs of a deployment whose app is resized under load, with operators who are killed, frozen, slow
and in each other's way. Every seed must keep the promise; each planted bug must break it."""

from __future__ import annotations

from functools import partial

import pytest

from tests.cluster.campaign import first_failure, play_resize_seed, play_seeds
from tests.cluster.conftest import many_seeds, quick_and_slow
from tests.cluster.planted import Plant
from tests.cluster.planted_resize import FIRST_SEEDS, RESIZE_PLANTS
from tests.cluster.resize_world import ResizePlan


@pytest.mark.parametrize("seed", quick_and_slow(range(8), quick=3))
def test_a_few_seeds_keep_the_promise(seed: int) -> None:
    assert play_resize_seed(seed) == []


@pytest.mark.slow
def test_a_change_that_arrives_long_after_its_operator_was_killed_is_finished() -> None:
    plan = ResizePlan(
        schedules=20,
        load_s=2.0,
        lead_s=40.0,
        kill_rate=1,
        operator_slow=1.0,
        operator_slow_s=60.0,
        operator_slow_calls=frozenset({"replace_app"}),
    )
    assert {seed: play_resize_seed(seed, plan) for seed in range(5)} == {seed: [] for seed in range(5)}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_seeds_keep_the_promise() -> None:
    assert play_seeds(many_seeds(15, long=300), play_resize_seed) == {}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("plant", "plan"), RESIZE_PLANTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_bug_is_found(
    plant: Plant, plan: ResizePlan | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = FIRST_SEEDS.get(plant, 0)
    plant(monkeypatch)
    assert first_failure(range(first, first + 400), partial(play_resize_seed, plan=plan)) is not None
