"""What all simulations share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.cluster.campaign import end_players
from tests.harness.report import IS_LONG


def quick_and_slow(seeds: range, *, quick: int) -> list[object]:
    """Return the seeds of a test, of which those after the first `quick` are left to `./test`."""
    return [*seeds[:quick], *(pytest.param(seed, marks=pytest.mark.slow) for seed in seeds[quick:])]


def many_seeds(quick: int, *, long: int = 1_000) -> range:
    """Return the seeds of a soak: `long` of them in `make faults`, fewer in `./test`.

    There they would show again what is known, as each run plays the same: that a simulation sees what it is
    for is held by its planted bugs. A thousand look for what a change breaks, also in `make simulate`.
    """
    return range(1_000, 1_000 + (long if IS_LONG else quick))


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
