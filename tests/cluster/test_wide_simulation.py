"""Seeded runs of a deployment with many apps. Every seed must keep the promise, be as punctual as what
happens to it allows, and read what is due and little else; each planted bug must break one of these."""

from __future__ import annotations

from functools import partial

import pytest

from ringtime_shared.settings import DispatchSettings
from tests.cluster.arrival_faults import ArrivalRates
from tests.cluster.campaign import first_failure, play_seeds, play_wide_seed
from tests.cluster.conftest import many_seeds, quick_and_slow
from tests.cluster.planted import Plant
from tests.cluster.planted_wide import (
    FIRST_SEEDS,
    PLANTS,
    look_too_seldom_where_nothing_comes,
    read_no_index_for_those_without_rows,
)
from tests.cluster.pod import FaultRates
from tests.cluster.wide_world import WidePlan, WideWorld
from tests.harness.virtual import run_virtual


@pytest.mark.parametrize("seed", quick_and_slow(range(10), quick=3))
def test_a_few_seeds_keep_the_promise(seed: int) -> None:
    assert play_wide_seed(seed) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_seeds_keep_the_promise() -> None:
    assert play_seeds(many_seeds(25), play_wide_seed) == {}


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    first = FIRST_SEEDS.get(plant, 0)
    plant(monkeypatch)
    assert first_failure(range(first, first + 100), play_wide_seed) is not None


#: Idle instances whose row lands so late, and unannounced, that the index behind its minute has been read.
BEHIND_THE_MINUTE = WidePlan(
    apps=150,
    is_skewed=False,
    schedules=150,
    load_s=25.0,
    lead_s=2.0,
    rates=FaultRates(slow=0.4, slow_s=5.0, slow_calls=frozenset({"put_rows"})),
    arrivals=ArrivalRates(lost=1.0),
    is_punctual=False,
)
play_behind_the_minute = partial(play_wide_seed, plan=BEHIND_THE_MINUTE)


@pytest.mark.parametrize("seed", range(4))
def test_what_lands_after_its_minute_was_looked_at_again_is_found_by_the_turn(seed: int) -> None:
    assert play_behind_the_minute(seed) == []


@pytest.mark.slow
def test_sealing_the_idle_without_a_read_behind_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    read_no_index_for_those_without_rows(monkeypatch)
    assert first_failure(range(100), play_behind_the_minute) is not None


#: A row now and then, each filed as near as can be: most are the first after a quiet time.
TRICKLE = WidePlan(
    apps=60,
    is_skewed=False,
    schedules=8,
    load_s=240.0,
    lead_s=1.0,
    failure_rate=0.0,
    slow_answers=0.0,
    dispatch=DispatchSettings(apps_refresh_ms=2_000, walk_buckets=3),
)
play_trickle = partial(play_wide_seed, plan=TRICKLE)


@pytest.mark.parametrize("seed", range(4))
def test_the_first_row_after_a_quiet_time_is_prompt(seed: int) -> None:
    assert play_trickle(seed) == []


def test_looking_too_seldom_where_nothing_comes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    look_too_seldom_where_nothing_comes(monkeypatch)
    assert first_failure(range(20), play_trickle) is not None


#: Part counts go from 4 to 64 while ten schedules a second are filed, near and far, and fire.
GROWTH = WidePlan(
    apps=300,
    schedules=600,
    load_s=60.0,
    lead_s=40.0,
    failure_rate=0.0,
    slow_answers=0.0,
    part_changes=1,
    part_counts=(64,),
)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_part_count_grows_under_load_and_nothing_is_lost_or_late(seed: int) -> None:
    async def play() -> tuple[list[str], int, int]:
        world = WideWorld(seed, GROWTH)
        before, found = await world.store.fetch_parts(), await world.run()
        after = await world.store.fetch_parts()
        assert (before.written, after.written, after.change) == (4, 64, None)
        return found, max(world.worst_ms.values()), len(world.creates)

    found, worst_ms, created = run_virtual(play())
    assert found == []
    assert worst_ms <= 1_000
    assert created == 600
