"""TokenBuckets of tokens: nobody gets more than his rate and his rest, and nobody less."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ringtime_shared.fairness.rates import Left, Rate, TokenBuckets


def test_a_share_holds_what_comes_in_the_time_and_at_least_one() -> None:
    assert Rate.share(100, 4, 10.0) == Rate(25.0, 250.0)
    assert Rate.share(1, 4, 1.0) == Rate(0.25, 1.0)


def test_what_is_left_comes_back_with_time() -> None:
    buckets, rate = TokenBuckets(10), Rate(2.0, 4.0)
    assert buckets.left("a", rate, 0) == Left(4, 0)
    for _ in range(4):
        assert buckets.wait_ms("a", 1, rate, 0) == 0
        buckets.take("a", 1, rate, 0)
    assert buckets.left("a", rate, 0) == Left(0, 2)
    assert buckets.wait_ms("a", 1, rate, 0) == 500
    assert buckets.wait_ms("a", 1, rate, 499) == 1
    assert buckets.wait_ms("a", 1, rate, 500) == 0
    assert buckets.left("a", rate, 1_250) == Left(2, 1)
    assert buckets.wait_ms("b", 4, rate, 0) == 0  # another has his own


def test_more_than_a_bucket_holds_needs_it_full_and_is_paid_back() -> None:
    buckets, rate = TokenBuckets(10), Rate(10.0, 10.0)
    buckets.take("a", 1, rate, 0)
    assert buckets.wait_ms("a", 1_000, rate, 0) == 100
    assert buckets.wait_ms("a", 1_000, rate, 100) == 0
    buckets.take("a", 1_000, rate, 100)
    assert buckets.left("a", rate, 100) == Left(0, 100)
    assert buckets.wait_ms("a", 1, rate, 100) == 99_100


def test_another_rate_begins_with_a_full_bucket() -> None:
    buckets = TokenBuckets(10)
    buckets.take("a", 1_000, Rate(1.0, 10.0), 0)
    assert buckets.wait_ms("a", 1, Rate(5.0, 50.0), 0) == 0


def test_the_bucket_used_longest_ago_is_forgotten() -> None:
    buckets, rate = TokenBuckets(3), Rate(1.0, 1.0)
    for name in "abcad":
        buckets.take(name, 1, rate, 0)
    assert len(buckets) == 3
    assert [name for name in "abcd" if buckets.wait_ms(name, 1, rate, 0)] == ["a", "c", "d"]


@settings(max_examples=40)
@given(
    per_s=st.integers(1, 1_000),
    parts=st.integers(1, 9),
    at_once_s=st.floats(0.1, 60),
    steps=st.lists(st.tuples(st.integers(0, 5_000), st.integers(1, 10)), min_size=1, max_size=40),
)
def test_no_span_of_time_holds_more_than_rest_and_rate(
    per_s: int, parts: int, at_once_s: float, steps: list[tuple[int, int]]
) -> None:
    """And whoever is told to wait may go on at that moment."""
    buckets, rate, now_ms, taken = TokenBuckets(2), Rate.share(per_s, parts, at_once_s), 0.0, list[float]()
    for pause_ms, count in steps:
        now_ms += pause_ms
        wait_ms = buckets.wait_ms("a", 1, rate, now_ms)
        if wait_ms:
            assert buckets.wait_ms("a", 1, rate, now_ms + wait_ms) == 0
            assert buckets.wait_ms("a", 1, rate, now_ms + wait_ms - min(wait_ms, 0.1)) > 0
        for _ in range(count):
            if not buckets.wait_ms("a", 1, rate, now_ms):
                buckets.take("a", 1, rate, now_ms)
                taken.append(now_ms)
    for first, begun_ms in enumerate(taken):
        for last in range(first, len(taken)):
            most = rate.most + rate.per_s * (taken[last] - begun_ms) / 1_000
            assert last - first + 1 <= most + 0.01
