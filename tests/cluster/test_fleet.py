"""Many dispatchers with many quiet poller instances: what they read for a row that is due, and how late it
is."""

from __future__ import annotations

import resource

import pytest

from tests.cluster.fleet import FleetPlan, FleetTally, play_fleet
from tests.harness.report import IS_LONG


def check(tally: FleetTally) -> None:
    assert (tally.lost, tally.late_ms) == (0, 0)
    assert tally.per_due <= 3
    assert tally.pages < 1.1 * tally.due
    assert tally.looks < 2.2 * tally.due  # before its minute, and behind it


@pytest.mark.slow
def test_a_small_fleet_reads_what_is_due() -> None:
    check(play_fleet(FleetPlan(nodes=10, instances=8_000, minutes=4)))


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.skipif(not IS_LONG, reason="a million poller instances take minutes")
def test_a_large_fleet_reads_what_is_due_in_bounded_memory() -> None:
    check(play_fleet(FleetPlan()))
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert peak_kib < 2 << 20
