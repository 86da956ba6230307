"""When to try again, and by whose policy."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.builders import make_app, make_row

from ringtime_dispatcher.delivery.policy import (
    DeliveryPolicy,
    Policies,
    RetryPolicy,
    is_missed,
    is_worth_another,
    plan_retry,
)
from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.fairness.fair_queue import Share
from ringtime_shared.models.app import App, AppConfiguration, SigningSecret
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.settings import AppLimits, DispatchSettings, RetrySettings

FAILED = Reply(ok=False, code=503)
POLICY = RetryPolicy(
    max_attempts=1_000_000_000_000,
    first_delay_ms=1_000,
    factor=4.0,
    max_delay_ms=3_600_000,
    max_age_ms=1 << 60,
    statuses=frozenset(["5xx", "4xx"]),
)
DAY_MS = 86_400_000


def wait_ms(
    reply: Reply = FAILED,
    *,
    attempts: int = 1,
    age_ms: int = 0,
    policy: RetryPolicy = POLICY,
    rng: Random | None = None,
) -> int | None:
    return plan_retry(reply, attempts=attempts, age_ms=age_ms, policy=policy, rng=rng or Random(1))


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
    policy = replace(POLICY, first_delay_ms=first_ms, factor=factor, max_delay_ms=most_ms)
    reply = Reply(ok=False, retry_after_ms=retry_after_ms)
    waited_ms = wait_ms(reply, attempts=attempts, policy=policy, rng=Random(seed))
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


def test_the_last_attempt_ends_it() -> None:
    policy = replace(POLICY, max_attempts=3)
    assert wait_ms(attempts=2, policy=policy) is not None
    assert wait_ms(attempts=3, policy=policy) is None
    assert wait_ms(attempts=4, policy=policy) is None


def test_no_attempt_is_planned_beyond_the_age() -> None:
    policy = replace(POLICY, max_age_ms=10_000)
    asked = Reply(ok=False, code=503, retry_after_ms=4_000)
    assert wait_ms(asked, age_ms=6_000, policy=policy) == 4_000
    assert wait_ms(asked, age_ms=6_001, policy=policy) is None


@pytest.mark.parametrize(
    ("reply", "again"),
    [
        (Reply(ok=False), True),
        (Reply(ok=False, is_final=True), False),
        (Reply(ok=False, code=500), True),
        (Reply(ok=False, code=404), True),
        (Reply(ok=False, code=302), False),
        (Reply(ok=False, code=410, is_final=True), False),
    ],
)
def test_a_class_of_statuses_covers_all_but_final_answers(reply: Reply, again: bool) -> None:
    assert is_worth_another(reply, POLICY) is again


def test_a_status_named_itself_is_tried_again_even_when_final() -> None:
    policy = replace(POLICY, statuses=frozenset(["410", "503"]))
    assert is_worth_another(Reply(ok=False, code=410, is_final=True), policy)
    assert is_worth_another(Reply(ok=False, code=503), policy)
    assert not is_worth_another(Reply(ok=False, code=500), policy)


def policies(**limits: int) -> Policies:
    return Policies(DispatchSettings(), RetrySettings(), AppLimits(**limits))


def of(app: App | None, **limits: int) -> DeliveryPolicy:
    return policies(**limits).of_app("shop", app)


@pytest.mark.parametrize("app", [None, make_app()])
def test_the_defaults_stand_in_where_an_app_sets_nothing(app: App | None) -> None:
    assert of(app, http_attempts=4, http_timeout_ms=700, max_lateness_s=9) == DeliveryPolicy(
        timeout_ms=700,
        max_lateness_ms=9_000,
        retry=RetryPolicy(
            max_attempts=4,
            first_delay_ms=1_000,
            factor=4.0,
            max_delay_ms=3_600_000,
            max_age_ms=DAY_MS,
            statuses=frozenset(["3xx", "4xx", "5xx"]),
        ),
        share=Share(in_flight=200, per_s=None, weight=1),
        secrets=(),
    )
    assert of(app).max_lateness_ms is None


def test_an_app_has_its_own_policy() -> None:
    retry = RetryRules(first_delay_ms=50, factor=2.0, max_delay_ms=99, max_age_s=7, statuses=("503",))
    configuration = AppConfiguration(
        http_attempts=7,
        http_timeout_ms=50,
        max_lateness_s=1,
        retry=retry,
        max_in_flight=3,
        max_per_second=9,
        weight=5,
    )
    app = replace(
        make_app(configuration=configuration),
        secrets=tuple(SigningSecret(secret_id=each, secret=each * 3, created_ms=0) for each in "ba"),
    )
    assert of(app, max_lateness_s=9) == DeliveryPolicy(
        timeout_ms=50,
        max_lateness_ms=1_000,
        retry=RetryPolicy(
            max_attempts=7,
            first_delay_ms=50,
            factor=2.0,
            max_delay_ms=99,
            max_age_ms=7_000,
            statuses=frozenset(["503"]),
        ),
        share=Share(in_flight=3, per_s=9, weight=5),
        secrets=("bbb", "aaa"),
    )


def test_a_changed_app_gets_a_new_policy_and_an_unchanged_one_the_same() -> None:
    made = policies()
    app = make_app()
    first = made.of_app("shop", app)
    assert made.of_app("shop", app) is first
    changed = replace(app, configuration=AppConfiguration(http_attempts=9))
    assert made.of_app("shop", changed).retry.max_attempts == 9


def test_a_schedule_overrides_its_app_field_by_field() -> None:
    made, app = policies(), make_app(configuration=AppConfiguration(http_attempts=7))
    policy = made.of_app("shop", app)
    schedule = make_row(app).schedule
    assert made.of_schedule(schedule, policy) is policy.retry
    own = replace(schedule, retry=RetryRules(attempts=2, statuses=("5xx",)))
    assert made.of_schedule(own, policy) == replace(policy.retry, max_attempts=2, statuses=frozenset(["5xx"]))


def test_no_attempt_outlives_the_row() -> None:
    made, app = policies(), make_app()
    schedule = make_row(app).schedule
    short = replace(schedule, expires_ms=schedule.fire_ms + 5_000)
    assert made.of_schedule(short, made.of_app("shop", app)).max_age_ms == 5_000


@pytest.mark.parametrize(("now_ms", "missed"), [(0, False), (110_000, False), (110_001, True)])
def test_exactly_as_late_as_allowed_is_not_missed(now_ms: int, missed: bool) -> None:
    assert is_missed(of(None, max_lateness_s=10), slot_ms=100_000, now_ms=now_ms) is missed


def test_without_a_limit_nothing_is_missed() -> None:
    assert not is_missed(of(None), slot_ms=0, now_ms=1 << 60)
