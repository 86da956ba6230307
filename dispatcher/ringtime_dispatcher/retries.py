"""When to try again."""

from __future__ import annotations

from random import Random

from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.settings import RetrySettings


def plan_retry(
    reply: Reply, *, attempts: int, max_attempts: int, settings: RetrySettings, rng: Random
) -> int | None:
    """Return the wait in ms before the next attempt, or None to give up.

    The wait is uniform in [0, min(max_delay, first_delay * factor ** (attempts - 1))], so a burst of
    failures does not come back as a burst; never shorter than what the receiver asked for.

    Args:
        reply: how the last attempt ended; not a success.
        attempts: attempts made so far, at least 1.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (full jitter).
    """
    if reply.is_final or attempts >= max_attempts:
        return None
    growth = settings.factor ** min(attempts - 1, 100)  # bounded, so the float cannot overflow
    wait_ms = int(rng.uniform(0, min(settings.max_delay_ms, settings.first_delay_ms * growth)))
    return max(wait_ms, min(reply.retry_after_ms or 0, settings.max_delay_ms))
