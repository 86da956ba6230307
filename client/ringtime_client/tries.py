"""When a call is tried again, and how long it may take in all. Pure but for the clock it is given."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random

from ringtime_client.answers import RATE_LIMITED, UNAVAILABLE, to_seconds
from ringtime_client.exchange import Answer, Broken, Ending

MAX_TRIES = 3
_FIRST_WAIT_S = 0.2  #: upper bound of the first wait; doubles with each
_LEAST_S = 0.001
_CONFLICT = 409  #: with Retry-After: the first create with this key is under way


class Tries:
    """The tries of one call.

    Args:
        may_repeat: whether it is tried again: a read, or a write that is carried out once. What a limit
        refused
            is, whatever it is, since nothing was done.
        deadline_s: for all tries and the waits between them.
        now: a clock that never goes back, in seconds.
        rng: spreads the waits of many clients.
    """

    def __init__(
        self,
        *,
        may_repeat: bool,
        deadline_s: float,
        now: Callable[[], float] = time.monotonic,
        rng: Random | None = None,
    ) -> None:
        self._most = MAX_TRIES if may_repeat else 1
        self._now = now
        self._end_s = now() + deadline_s
        self._rng = rng or Random()
        self._made = 0

    def left_s(self) -> float:
        """Return the time left for the next try, more than 0."""
        return max(self._end_s - self._now(), _LEAST_S)

    def plan_wait(self, ending: Ending) -> float | None:
        """Return how many seconds to wait before trying again; None: this ending is the last.

        A server that asks for more time than is left gets no second try.
        """
        self._made += 1
        if not (isinstance(ending, Broken) or _is_passing(ending)):
            return None
        is_refused = isinstance(ending, Answer) and ending.http == RATE_LIMITED  # whatever it was: not done
        if self._made >= (MAX_TRIES if is_refused else self._most):
            return None
        wait_s = self._rng.uniform(0, _FIRST_WAIT_S * 2 ** (self._made - 1))
        if not isinstance(ending, Broken):
            wait_s = max(wait_s, to_seconds(ending.retry_after or ""))
        return wait_s if wait_s < self._end_s - self._now() else None


def _is_passing(answer: Answer) -> bool:
    """Whether another try may be answered otherwise: the server said so, or could not be reached."""
    if answer.http in UNAVAILABLE or answer.http == RATE_LIMITED:
        return True
    return answer.http == _CONFLICT and answer.retry_after is not None
