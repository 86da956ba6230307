"""How much of something somebody may have in a time: token buckets, one number each. Pure.

A bucket gets `per_s` tokens a second and holds `most`. Kept of it is only when it will be full again; so one
that is full is as one that never was, and the bucket that was used longest ago is the first that may be
forgotten. With room for all that were used within the time a bucket takes to fill, forgetting changes
nothing; with less, it errs for the client.

Who takes more at once than a bucket holds has to find it full, and waits that much longer the next time: a
batch of 1,000 passes where 10 a second are allowed, once in 100 s.

| what happens | then |
|---|---|
| the rate is changed | what was taken counts, as far as a bucket of the new rate holds |
| something else is, and the rate stays | what was taken counts, all of it |
| the clock stands still, or the process is suspended | the clock is the boot clock, which counts both |
| a process restarts | all buckets are full: at most `most` too many, once |
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

_ROUNDING_MS = 1e-3  #: sums of fractions; far less than any token takes


class Rate(NamedTuple):
    """So many a second, and so many at once after a rest, at least one."""

    per_s: float
    most: float

    @classmethod
    def share(cls, per_s: int, parts: int, at_once_s: float) -> Rate:
        """Return one of so many equal parts of a rate, which holds what comes in `at_once_s` seconds."""
        own = per_s / parts
        return cls(own, max(own * at_once_s, 1.0))


class Left(NamedTuple):
    """What is in a bucket."""

    tokens: int
    full_s: int  #: until it is full, rounded up


class TokenBucket:
    """What somebody may have. Times in ms of a clock that never goes back, and begins after 0."""

    __slots__ = ("_each_ms", "_full_ms", "_whole_ms", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._each_ms = 1_000 / rate.per_s  # how long one token takes to come
        self._whole_ms = rate.most * self._each_ms  # and all of them
        self._full_ms = 0.0

    def follow(self, other: TokenBucket, now_ms: float) -> None:
        """Take the place of another bucket: what was taken from it counts."""
        if other.rate == self.rate:
            self._full_ms = other._full_ms
            return
        taken = max(0.0, other._full_ms - now_ms) / other._each_ms
        self._full_ms = now_ms + min(taken * self._each_ms, self._whole_ms)

    def wait_ms(self, count: int, now_ms: float) -> float:
        """Return for how long so many may not be taken yet; 0: they may be now. Takes nothing."""
        missing_ms = self._full_ms - now_ms
        if missing_ms <= 0:
            return 0
        wanted_ms = count * self._each_ms
        free_ms = self._whole_ms - missing_ms
        if wanted_ms > self._whole_ms:
            wanted_ms = self._whole_ms
        return wanted_ms - free_ms if wanted_ms - free_ms > _ROUNDING_MS else 0

    def take(self, count: int, now_ms: float) -> None:
        """Take so many, whether they are there or not."""
        begin_ms = max(now_ms, self._full_ms)
        self._full_ms = begin_ms + count * self._each_ms

    def left(self, now_ms: float) -> Left:
        """Return what is in it now."""
        missing_ms = max(0.0, self._full_ms - now_ms)
        tokens = int((self._whole_ms - missing_ms + _ROUNDING_MS) / self._each_ms)
        return Left(max(0, tokens), ceil((missing_ms - _ROUNDING_MS) / 1_000))
