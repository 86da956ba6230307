"""Seeded runs of a deployment with recurring schedules, which are changed by writers who are killed, frozen
and in each other's way. Every seed must keep the promise; each planted bug must break it."""

from __future__ import annotations

from functools import partial

import pytest

from tests.cluster.campaign import first_failure, play_cron_seed, play_seeds
from tests.cluster.conftest import many_seeds, quick_and_slow
from tests.cluster.cron_world import CronPlan
from tests.cluster.planted import Plant
from tests.cluster.planted_crons import CRON_PLANTS


@pytest.mark.parametrize("seed", quick_and_slow(range(5), quick=1))
def test_a_few_seeds_keep_the_promise(seed: int) -> None:
    assert play_cron_seed(seed) == []


#: Each planted bug shows within 4 seeds; a thousand are played by `make faults` and `make simulate`.
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_seeds_keep_the_promise() -> None:
    assert play_seeds(many_seeds(10), play_cron_seed) == {}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("plant", "plan"), CRON_PLANTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_bug_is_found(plant: Plant, plan: CronPlan | None, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    assert first_failure(range(200), partial(play_cron_seed, plan=plan)) is not None
