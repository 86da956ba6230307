"""What all simulations share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.cluster.campaign import end_players


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
