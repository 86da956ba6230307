"""Seeded runs of a deployment with many apps. Every seed must keep the promise, be as punctual as what
happens to it allows, and read what is due and little else; each planted bug must break one of these."""

from __future__ import annotations

import pytest

from tests.cluster.campaign import play_seeds, play_wide_seed
from tests.harness.report import IS_LONG


@pytest.mark.parametrize("seed", range(10))
def test_a_few_seeds_keep_the_promise(seed: int) -> None:
    assert play_wide_seed(seed) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_hundreds_of_seeds_keep_the_promise() -> None:
    assert play_seeds(range(1_000, 2_000 if IS_LONG else 1_100), play_wide_seed) == {}
