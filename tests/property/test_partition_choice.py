"""Properties of placement: even over many rows, quiet over few, every partition visited, memory bounded."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringtime_shared import partition_choice
from ringtime_shared.partition_choice import PartitionChooser, nth_partition

ROWS = 100_000
MINUTE = 30_000_000  #: a bucket of 2027
#: Each takes a hundred thousand rows; `make check` tries a few.
COUNTS = [pytest.param(n, marks=[] if n in (1, 7, 20, 64) else [pytest.mark.slow]) for n in range(1, 65)]
quotas = st.integers(1, 4_096)
app_numbers = st.integers(0, (1 << 20) - 1)
buckets = st.integers(26_000_000, 100_000_000)
first_asked = nth_partition.__wrapped__  #: whoever asks for each once has nothing of what is remembered


def assert_even(rows: Counter[int], partitions: int, *, share: float = 0.1) -> None:
    """Every partition has its share of the rows, give or take 10 %."""
    assert set(rows) <= set(range(partitions))
    fair = rows.total() / partitions
    worst = max(range(partitions), key=lambda each: abs(rows[each] - fair))
    assert abs(rows[worst] - fair) <= share * fair, f"{rows[worst]} rows in {worst}, a share is {fair:.0f}"


def chi_square_bound(freedoms: int, sigmas: float = 4.0) -> float:
    """Return what chi-square exceeds by chance once in 30,000 trials (Wilson and Hilferty, 1931)."""
    part = 2 / (9 * freedoms)
    return freedoms * (1 - part + sigmas * sqrt(part)) ** 3


@pytest.mark.parametrize("partitions", COUNTS)
def test_many_rows_of_one_minute_are_even(partitions: int) -> None:
    """Give or take one chunk, by construction; a chunk of 100 is 6.4 % of a share at 64 partitions."""
    rows: Counter[int] = Counter()
    for step in range(ROWS // 100):  # as a chooser does, a chunk at a time
        rows[nth_partition(partitions * 7, MINUTE, partitions, step)] += 100
    assert_even(rows, partitions)


@pytest.mark.parametrize("partitions", [1, 7, 20, 64])
def test_a_chooser_fills_chunk_after_chunk_of_the_walk(partitions: int) -> None:
    chooser = PartitionChooser(chunk_rows=100)
    placed = [chooser.choose(3, MINUTE, partitions) for _ in range(2_050)]
    assert placed == [nth_partition(3, MINUTE, partitions, row // 100) for row in range(2_050)]


@pytest.mark.parametrize("partitions", COUNTS)
def test_one_row_in_each_of_many_minutes_is_even(partitions: int) -> None:
    """The first step of each walk is as good as random, so the counts pass as drawn from a fair die."""
    rows = Counter(first_asked(partitions * 7, MINUTE + bucket, partitions, 0) for bucket in range(ROWS))
    assert_even(rows, partitions)
    if partitions > 1:
        fair = ROWS / partitions
        chi_square = sum((rows[each] - fair) ** 2 / fair for each in range(partitions))
        assert chi_square < chi_square_bound(partitions - 1)


@pytest.mark.parametrize("step", [1, 2, 5])
def test_later_steps_over_many_minutes_are_even_too(step: int) -> None:
    rows = Counter(first_asked(9, MINUTE + bucket, 20, step) for bucket in range(ROWS))
    assert_even(rows, 20)


def test_the_same_minute_of_many_apps_is_even() -> None:
    rows = Counter(first_asked(app_number, MINUTE, 20, 0) for app_number in range(ROWS))
    assert_even(rows, 20)


@given(app_numbers, buckets, quotas)
def test_a_quiet_minute_wakes_one_poller_instance(app_number: int, bucket: int, partitions: int) -> None:
    chooser = PartitionChooser(chunk_rows=100)
    assert len({chooser.choose(app_number, bucket, partitions) for _ in range(60)}) == 1


@given(app_numbers, buckets, quotas, st.integers(0, 1_000))
def test_a_walk_visits_every_partition_once_a_round(
    app_number: int, bucket: int, partitions: int, begun: int
) -> None:
    visited = {
        nth_partition(app_number, bucket, partitions, step) for step in range(begun, begun + partitions)
    }
    assert visited == set(range(partitions))


@given(app_numbers, buckets, quotas)
def test_processes_agree_where_a_minute_begins(app_number: int, bucket: int, partitions: int) -> None:
    first = {PartitionChooser(chunk_rows=100).choose(app_number, bucket, partitions) for _ in range(3)}
    assert len(first) == 1


def test_a_row_placed_after_the_quota_shrank_stays_inside_it() -> None:
    chooser = PartitionChooser(chunk_rows=1)
    for _ in range(64):
        chooser.choose(1, MINUTE, 64)
    assert {chooser.choose(1, MINUTE, 3) for _ in range(6)} == {0, 1, 2}


def test_memory_is_bounded_and_the_oldest_minute_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_choice, "_TRACKED_BUCKETS", 50)
    chooser = PartitionChooser(chunk_rows=1)
    begun = [chooser.choose(1, MINUTE, 64), chooser.choose(1, MINUTE, 64)]
    for bucket in range(1, 1_000):
        chooser.choose(1, MINUTE + bucket, 64)
        assert len(chooser._filled) <= 50
    assert next(islice(chooser._filled, 1)) == (1, MINUTE + 950)
    assert [chooser.choose(1, MINUTE, 64), chooser.choose(1, MINUTE, 64)] == begun  # its walk starts anew
