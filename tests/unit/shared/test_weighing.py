"""Which of the last changes of apps are counted, where several makers have told and not counted yet."""

from __future__ import annotations

from random import Random

import pytest

from ringtime_shared.apps.feed import Proof
from ringtime_shared.apps.weighing import MOST_OPEN, OPEN_MS, find_counted, open_since
from ringtime_shared.stores.protocol import AppChange


def moments(count: int, *, each: int = 1, every_ms: int = 3) -> list[AppChange]:
    """Return so many entries of each of so many moments, by their stamps."""
    return [AppChange(n * every_ms, f"app-{n}-{m}") for n in range(count) for m in range(each)]


def weigh(*changes: AppChange) -> int:
    return sum(change.weight for change in changes)


def test_all_up_to_some_moment_are_found() -> None:
    told = moments(40, each=3)
    for counted in (0, 1, 3, 60, 120):
        assert find_counted(weigh(*told[:counted]), told) == told[:counted]


@pytest.mark.parametrize("seed", range(20))
def test_makers_that_have_told_and_not_counted_are_left_out(seed: int) -> None:
    told = moments(100)
    open_ones = range(90, 90 + 1 + MOST_OPEN)
    out = {90, *Random(seed).choices(open_ones, k=3), *range(90 + 1 + MOST_OPEN, 100)}
    counted = [change for n, change in enumerate(told) if n not in out]
    assert find_counted(weigh(*counted), told) == counted


def test_of_one_moment_some_may_be_counted() -> None:
    told = moments(1, each=5)
    assert find_counted(weigh(told[0], told[2], told[4]), told) == [told[0], told[2], told[4]]


def test_what_is_missing_makes_no_sum() -> None:
    told = moments(200)
    assert find_counted(weigh(*told[:50], *told[51:]), told[:30] + told[31:]) is None
    assert find_counted(weigh(*told), told[:-1]) is None
    assert find_counted(weigh(told[0]) - 1, told, 0) is None
    assert find_counted(-1, told, 0) is None


def test_where_changes_are_seldom_only_the_last_may_be_left_out() -> None:
    told = moments(3, every_ms=OPEN_MS + 1)
    assert find_counted(weigh(told[0], told[2]), told) is None
    assert open_since(told) == told[2].changed_ms


@pytest.mark.parametrize("seed", range(20))
def test_what_was_told_and_not_counted_when_all_apps_were_read_is_found_by_the_next_look(seed: int) -> None:
    rng, told, proof = Random(seed), moments(100), Proof()
    late = [change for change in told[50 - MOST_OPEN : 50] if rng.random() < 0.5]
    count = weigh(*told[:50]) - weigh(*late)
    proof.note_full(count, 0, told[:50])
    for upto, counted in ((52, [*late, *told[50:52]]), (60, told[52:60]), (100, told[60:])):
        count += weigh(*counted)
        proof.note_told(count, upto, told, proof.news(told))
        assert proof.is_proved
        assert proof.proved_ms == upto
