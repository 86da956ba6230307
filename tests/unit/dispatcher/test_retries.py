"""When to try again, and by whose policy."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.builders import make_app

from ringtime_dispatcher.policy import DeliveryPolicy, is_missed, policy_of
from ringtime_dispatcher.retries import plan_retry
from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.settings import AppLimits, RetrySettings

FAILED = Reply(ok=False, code=503)
SETTINGS = RetrySettings(first_delay_ms=1_000, factor=4.0, max_delay_ms=3_600_000)


def wait_ms(reply: Reply = FAILED, *, attempts: int = 1, rng: Random | None = None) -> int | None:
    return plan_retry(reply, attempts=attempts, max_attempts=1_000, settings=SETTINGS, rng=rng or Random(1))


@pytest.mark.parametrize(
    ("attempts", "bound_ms"),
    [(1, 1_000), (2, 4_000), (3, 16_000), (6, 1_024_000), (7, 3_600_000), (8, 3_600_000), (999, 3_600_000)],
)
def test_waits_are_spread_over_all_of_their_bound(attempts: int, bound_ms: int) -> None:
    rng = Random(attempts)
    waits = [wait_ms(attempts=attempts, rng=rng) or 0 for _ in range(1_000)]
    assert 0 <= min(waits) <= bound_ms * 0.02
    assert bound_ms * 0.98 <= max(waits) <= bound_ms
    assert abs(sum(waits) / len(waits) - bound_ms / 2) < bound_ms * 0.05


@given(
    attempts=st.integers(1, 10**9),
    first_ms=st.integers(1, 86_400_000),
    factor=st.floats(1, 100),
    most_ms=st.integers(1, 604_800_000),
    retry_after_ms=st.none() | st.integers(0, 10**15),
    seed=st.integers(0, 99),
)
def test_no_wait_overflows_or_passes_the_cap(
    attempts: int, first_ms: int, factor: float, most_ms: int, retry_after_ms: int | None, seed: int
) -> None:
    waited_ms = plan_retry(
        Reply(ok=False, retry_after_ms=retry_after_ms),
        attempts=attempts,
        max_attempts=attempts + 1,
        settings=RetrySettings(first_delay_ms=first_ms, factor=factor, max_delay_ms=most_ms),
        rng=Random(seed),
    )
    assert waited_ms is not None
    assert min(retry_after_ms or 0, most_ms) <= waited_ms <= most_ms


@pytest.mark.parametrize(
    ("retry_after_ms", "least_ms"),
    [(0, 0), (5_000, 5_000), (3_600_000, 3_600_000), (999_999_999, 3_600_000)],
)
def test_retry_after_is_kept_up_to_the_cap(retry_after_ms: int, least_ms: int) -> None:
    waited_ms = wait_ms(Reply(ok=False, retry_after_ms=retry_after_ms))
    assert waited_ms is not None
    assert least_ms <= waited_ms <= max(least_ms, 1_000)


def test_the_last_attempt_and_a_final_answer_end_it() -> None:
    plan = {"settings": SETTINGS, "rng": Random(1), "max_attempts": 3}
    assert plan_retry(FAILED, attempts=2, **plan) is not None  # type: ignore[arg-type]
    assert plan_retry(FAILED, attempts=3, **plan) is None  # type: ignore[arg-type]
    assert plan_retry(FAILED, attempts=4, **plan) is None  # type: ignore[arg-type]
    assert plan_retry(Reply(ok=False, is_final=True), attempts=1, **plan) is None  # type: ignore[arg-type]


def test_the_defaults_stand_in_where_an_app_sets_nothing() -> None:
    limits = AppLimits(http_attempts=4, http_timeout_ms=700, max_lateness_s=9)
    by_default = DeliveryPolicy(4, 700, 9_000)
    assert policy_of(None, limits) == by_default
    assert policy_of(make_app(), limits) == by_default
    assert policy_of(make_app(), AppLimits()).max_lateness_ms is None


def test_an_app_has_its_own_policy() -> None:
    app = make_app(configuration=AppConfiguration(http_attempts=7, http_timeout_ms=50, max_lateness_s=1))
    assert policy_of(app, AppLimits(max_lateness_s=9)) == DeliveryPolicy(7, 50, 1_000)


@pytest.mark.parametrize(("now_ms", "missed"), [(0, False), (110_000, False), (110_001, True)])
def test_exactly_as_late_as_allowed_is_not_missed(now_ms: int, missed: bool) -> None:
    assert is_missed(DeliveryPolicy(1, 1, 10_000), slot_ms=100_000, now_ms=now_ms) is missed


def test_without_a_limit_nothing_is_missed() -> None:
    assert not is_missed(DeliveryPolicy(1, 1, None), slot_ms=0, now_ms=1 << 60)
