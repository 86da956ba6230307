"""When to try again."""

from __future__ import annotations

from random import Random

from ringtime_dispatcher.delivery.policy import RetryPolicy
from ringtime_shared.callbacks.protocol import Reply


def plan_retry(reply: Reply, *, attempts: int, age_ms: int, policy: RetryPolicy, rng: Random) -> int | None:
    """Return the wait in ms before the next attempt, or None to give up.

    The wait is uniform in [0, min(max_delay, first_delay * factor ** (attempts - 1))], so a burst of
    failures does not come back as a burst; never shorter than what the receiver asked for.

    Args:
        reply: how the last attempt ended; not a success.
        attempts: attempts made so far, at least 1.
        age_ms: how long ago the delivery should have been made.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (full jitter).
    """
    if attempts >= policy.max_attempts or not is_worth_another(reply, policy):
        return None
    growth = policy.factor ** min(attempts - 1, 100)  # bounded, so the float cannot overflow
    wait_ms = int(rng.uniform(0, min(policy.max_delay_ms, policy.first_delay_ms * growth)))
    wait_ms = max(wait_ms, min(reply.retry_after_ms or 0, policy.max_delay_ms))
    return None if age_ms + wait_ms > policy.max_age_ms else wait_ms


def is_worth_another(reply: Reply, policy: RetryPolicy) -> bool:
    """Whether the policy wants another attempt after this answer.

    A status that the policy names itself is tried again even where the callback type calls it final, as
    `http` does with 410; one that only its class (`4xx`) covers is not.
    """
    if reply.code is not None and str(reply.code) in policy.statuses:
        return True
    if reply.is_final:
        return False
    return reply.code is None or f"{reply.code // 100}xx" in policy.statuses
