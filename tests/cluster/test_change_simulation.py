"""Seeded runs of a deployment whose schedules are changed while they come due, and cancelled, by clients who
are killed and in each other's way. Every seed must keep the promise; each planted bug must break it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from tests.cluster.campaign import first_failure, play_change_seed, play_seeds
from tests.cluster.change_world import ChangePlan
from tests.cluster.conftest import many_seeds, quick_and_slow
from tests.cluster.planted import Plant
from tests.cluster.planted_changes import CHANGE_PLANTS, LOST_ANSWERS, SLOW_POINTERS
from tests.harness.report import IS_LONG

#: Changes from 2 s before fire times to 1 s after them: 300 of them, or in the long form 11,000.
RACING = ChangePlan(
    schedules=5_500 if IS_LONG else 150,
    load_s=80.0 if IS_LONG else 15.0,
    changes=4,
    spread=0.0,
    failure_rate=0.02,
    dispatch=replace(ChangePlan().dispatch, max_loaded=2_000, destination_in_flight=200, park_per_s=200),
)


@pytest.mark.parametrize("seed", quick_and_slow(range(8), quick=3))
def test_a_few_seeds_keep_the_promise(seed: int) -> None:
    assert play_change_seed(seed) == []


@pytest.mark.parametrize("seed", range(3))
def test_pointers_that_are_long_on_their_way_keep_the_promise(seed: int) -> None:
    assert play_change_seed(seed, SLOW_POINTERS) == []


@pytest.mark.parametrize("seed", range(2))
def test_pointers_that_are_written_again_keep_the_promise(seed: int) -> None:
    assert play_change_seed(seed, LOST_ANSWERS) == []


@pytest.mark.timeout(600)
def test_changes_that_race_with_fire_keep_the_promise() -> None:
    assert play_change_seed(1, RACING) == []


#: Each planted bug shows within 2 seeds; a thousand are played by `make faults` and `make simulate`.
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_seeds_keep_the_promise() -> None:
    assert play_seeds(many_seeds(10), play_change_seed) == {}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("plant", "plan"), CHANGE_PLANTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_bug_is_found(
    plant: Plant, plan: ChangePlan | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    assert first_failure(range(200), partial(play_change_seed, plan=plan)) is not None
