"""Seeded runs of a whole deployment, with crashes, pauses and a store that keeps clients guessing.

Every seed must keep the promise; and each planted bug must break it, or the runs prove nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

import pytest

from tests.cluster.campaign import WORLDS, first_failure, play_seed, play_seeds
from tests.cluster.conftest import many_seeds, quick_and_slow
from tests.cluster.planted import (
    FIRST_SEEDS,
    PLANTS,
    Plant,
    announce_first_rows_alone,
    drop_the_final_read,
    settle_before_outcomes,
    skip_the_sealed_check,
)
from tests.cluster.pod import FaultRates
from tests.cluster.world import BY_MINUTES, Plan


@pytest.mark.parametrize("seed", quick_and_slow(range(20), quick=6))
def test_a_few_seeds_keep_the_promise(seed: int) -> None:
    assert play_seed(seed) == []


@pytest.mark.parametrize("seed", range(5))
def test_what_nobody_announced_is_found_by_the_final_read(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    announce_first_rows_alone(monkeypatch)
    assert play_seed(seed) == []


@pytest.mark.slow
def test_a_seed_is_the_same_run_in_every_process() -> None:
    """Or a seed that breaks something in one place shows nothing in another."""
    kinds = [*WORLDS, "resize", "crons", "resize", "crons"]
    program = f"""from tests.cluster.campaign import begin_player, recall
begin_player()
for seed, kind in enumerate({kinds}):
    print(recall(kind, seed))
"""
    runs = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.splitlines()
        for hash_seed in ("1", "2")
    ]
    assert len(runs[0]) == len(kinds)
    assert runs[0] == runs[1]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_many_seeds_keep_the_promise() -> None:
    assert play_seeds(many_seeds(50)) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    "plant",
    [plant for plant in PLANTS if plant is not settle_before_outcomes],
    ids=lambda plant: plant.__name__,
)
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    first = FIRST_SEEDS.get(plant, 0)
    plant(monkeypatch)
    assert first_failure(range(first, first + 400)) is not None


#: Slow writes of what is due at a minute's end, which is when marks move as they do by default.
AT_THE_MINUTE = Plan(
    schedules=150,
    load_s=25.0,
    lead_s=2.0,
    dispatch=BY_MINUTES,
    rates=FaultRates(slow=0.4, slow_s=5.0, slow_calls=frozenset({"put_rows"})),
)
play_at_the_minute = partial(play_seed, plan=AT_THE_MINUTE)


@pytest.mark.parametrize("seed", quick_and_slow(range(10), quick=5))
def test_marks_that_follow_minutes_keep_the_promise(seed: int) -> None:
    assert play_at_the_minute(seed) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "plant", [skip_the_sealed_check, drop_the_final_read], ids=lambda plant: plant.__name__
)
def test_what_marks_that_follow_minutes_rest_on_is_found_to_be_missing(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    assert first_failure(range(100), play_at_the_minute) is not None


#: Outcomes are long on their way, and who writes them is killed: what is settled too early is lost then.
LONG_OUTCOMES = Plan(
    schedules=150,
    load_s=25.0,
    lead_s=2.0,
    slow_answers=0.5,
    crashes=3,
    wait_s=160,  # what is read late, for want of room, may be found as late as behind the next minute
    rates=FaultRates(slow=0.9, slow_s=9.0, slow_calls=frozenset({"put_updates"})),
)
play_long_outcomes = partial(play_seed, plan=LONG_OUTCOMES)


@pytest.mark.parametrize("seed", quick_and_slow(range(10), quick=3))
def test_outcomes_that_are_long_on_their_way_keep_the_promise(seed: int) -> None:
    assert play_long_outcomes(seed) == []


@pytest.mark.slow
def test_what_is_settled_before_its_outcome_is_found_to_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    settle_before_outcomes(monkeypatch)
    assert first_failure(range(100), play_long_outcomes) is not None
