"""Seeded runs of a deployment with many apps. Every seed must keep the promise, be as punctual as what
happens to it allows, and read what is due and little else; each planted bug must break one of these."""

from __future__ import annotations

import pytest

from tests.cluster.campaign import first_failure, play_seeds, play_wide_seed
from tests.cluster.planted import Plant
from tests.cluster.planted_wide import FIRST_SEEDS, PLANTS
from tests.harness.report import IS_LONG


@pytest.mark.parametrize("seed", range(10))
def test_a_few_seeds_keep_the_promise(seed: int) -> None:
    assert play_wide_seed(seed) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_hundreds_of_seeds_keep_the_promise() -> None:
    assert play_seeds(range(1_000, 2_000 if IS_LONG else 1_100), play_wide_seed) == {}


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    first = FIRST_SEEDS.get(plant, 0)
    plant(monkeypatch)
    assert first_failure(range(first, first + 100), play_wide_seed) is not None
