"""Seeded runs of a whole deployment on clocks that lie: nothing lost, nothing early by a jump.

And each planted bug must break it, or the runs prove nothing.
"""

from __future__ import annotations

import pytest

from tests.cluster.campaign import first_failure, play_clock_seed, play_seeds
from tests.cluster.conftest import many_seeds, quick_and_slow
from tests.cluster.planted import Plant
from tests.cluster.planted_clocks import CLOCK_PLANTS, FIRST_SEEDS


#: In 744 a retry was filed so late that the next owner had sealed past it.
@pytest.mark.parametrize("seed", [*quick_and_slow(range(12), quick=4), 744])
def test_a_few_seeds_keep_the_promise(seed: int) -> None:
    assert play_clock_seed(seed) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_seeds_keep_the_promise() -> None:
    assert play_seeds(many_seeds(30), play_clock_seed) == {}


@pytest.mark.slow
@pytest.mark.parametrize("plant", CLOCK_PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    first = FIRST_SEEDS.get(plant, 0)
    plant(monkeypatch)
    assert first_failure(range(first, first + 200), play_clock_seed) is not None
