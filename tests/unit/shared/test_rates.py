"""Token buckets: nobody gets more than his rate and his rest, and nobody less."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ringtime_shared.fairness.rates import Left, Rate, TokenBucket


def test_a_share_holds_what_comes_in_the_time_and_at_least_one() -> None:
    assert Rate.share(100, 4, 10.0) == Rate(25.0, 250.0)
    assert Rate.share(1, 4, 1.0) == Rate(0.25, 1.0)


def test_what_is_left_comes_back_with_time() -> None:
    bucket = TokenBucket(Rate(2.0, 4.0))
    assert bucket.left(0) == Left(4, 0)
    for _ in range(4):
        assert bucket.wait_ms(1, 0) == 0
        bucket.take(1, 0)
    assert bucket.left(0) == Left(0, 2)
    assert [bucket.wait_ms(1, now_ms) for now_ms in (0, 499, 500)] == [500, 1, 0]
    assert bucket.left(1_250) == Left(2, 1)


def test_more_than_a_bucket_holds_needs_it_full_and_is_paid_back() -> None:
    bucket = TokenBucket(Rate(10.0, 10.0))
    bucket.take(1, 0)
    assert [bucket.wait_ms(1_000, now_ms) for now_ms in (0, 100)] == [100, 0]
    bucket.take(1_000, 100)
    assert bucket.left(100) == Left(0, 100)
    assert bucket.wait_ms(1, 100) == 99_100


def test_what_was_taken_counts_at_another_rate_as_far_as_that_bucket_holds() -> None:
    old = TokenBucket(Rate(1.0, 10.0))
    old.take(4, 1_000)
    for rate, left in (
        (Rate(2.0, 20.0), Left(16, 2)),
        (Rate(1.0, 3.0), Left(0, 3)),
        (Rate(1.0, 10.0), Left(6, 4)),
    ):
        new = TokenBucket(rate)
        new.follow(old, 1_000)
        assert new.left(1_000) == left
    old.take(1_000, 1_000)
    new = TokenBucket(Rate(100.0, 1_000.0))
    new.follow(old, 1_000)
    assert new.wait_ms(1, 1_000) == 10  # no longer than its own rate takes
    new.follow(TokenBucket(Rate(1.0, 10.0)), 1_000)
    assert new.left(1_000) == Left(1_000, 0)


def test_at_the_same_rate_all_that_was_taken_counts() -> None:
    """Else whoever changes something else of his app is let off what a large batch is worth."""
    old, new = TokenBucket(Rate(10.0, 10.0)), TokenBucket(Rate(10.0, 10.0))
    old.take(1_000, 1_000)
    new.follow(old, 2_000)
    assert new.left(2_000) == old.left(2_000) == Left(0, 99)


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
    rate, now_ms, taken = Rate.share(per_s, parts, at_once_s), 0.0, list[float]()
    bucket = TokenBucket(rate)
    for pause_ms, count in steps:
        now_ms += pause_ms
        wait_ms = bucket.wait_ms(1, now_ms)
        if wait_ms:
            assert bucket.wait_ms(1, now_ms + wait_ms) == 0
            assert bucket.wait_ms(1, now_ms + wait_ms - min(wait_ms, 0.1)) > 0
        for _ in range(count):
            if not bucket.wait_ms(1, now_ms):
                bucket.take(1, now_ms)
                taken.append(now_ms)
    for first, begun_ms in enumerate(taken):
        for last in range(first, len(taken)):
            most = rate.most + rate.per_s * (taken[last] - begun_ms) / 1_000
            assert last - first + 1 <= most + 0.01
