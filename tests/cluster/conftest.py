"""What all simulations share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.cluster.campaign import end_players


def quick_and_slow(seeds: range, *, quick: int) -> list[object]:
    """Return the seeds of a test, of which those after the first `quick` are left to `./test`."""
    return [*seeds[:quick], *(pytest.param(seed, marks=pytest.mark.slow) for seed in seeds[quick:])]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The runs log every simulated fault; nobody reads a thousand of them."""
    logger = logging.getLogger("ringtime_dispatcher")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


@pytest.fixture(scope="session", autouse=True)
def _players() -> Iterator[None]:
    yield
    end_players()
