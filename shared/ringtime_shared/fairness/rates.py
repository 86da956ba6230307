"""How much of something somebody may have in a time: buckets of tokens, one number each. Pure.

A bucket gets `per_s` tokens a second and holds `most`. Kept of it is only when it will be full again; so one
that is full is as one that never was, and the bucket that was used longest ago is the first that may be
forgotten. With room for all that were used within the time a bucket takes to fill, forgetting changes
nothing; with less, it errs for the client.

Who takes more at once than a bucket holds has to find it full, and waits that much longer the next time: a
batch of 1,000 passes where 10 a second are allowed, once in 100 s.

| what happens | then |
|---|---|
| the rate of somebody is changed | he begins with a full bucket of the new rate |
| the clock stands still, or the process is suspended | the clock is the boot clock, which counts both |
| a process restarts | all buckets are full: at most `most` too many, once |
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from math import ceil

_ROUNDING_MS = 1e-3  #: sums of fractions; far less than any token takes


@dataclass(frozen=True)
class Rate:
    """So many a second, and so many at once after a rest, at least one."""

    per_s: float
    most: float

    @cached_property
    def each_ms(self) -> float:
        """How long one token takes to come."""
        return 1_000 / self.per_s

    @cached_property
    def whole_ms(self) -> float:
        """How long all of them take."""
        return self.most * self.each_ms

    @classmethod
    def share(cls, per_s: float, parts: int, at_once_s: float) -> Rate:
        """Return one of so many equal parts of a rate, which holds what comes in `at_once_s` seconds."""
        own = per_s / parts
        return cls(own, max(own * at_once_s, 1.0))


@dataclass(frozen=True, slots=True)
class Left:
    """What is in a bucket."""

    tokens: int
    full_s: int  #: until it is full, rounded up


class TokenBuckets:
    """The buckets of one process, by any name. Times in ms of a clock that never goes back."""

    def __init__(self, most: int) -> None:
        """`most`: buckets that are kept."""
        self._most = most
        self._full_ms: OrderedDict[tuple[Hashable, float], float] = OrderedDict()  # used longest ago first

    def __len__(self) -> int:
        return len(self._full_ms)

    def wait_ms(self, name: Hashable, count: int, rate: Rate, now_ms: float) -> float:
        """Return for how long so many may not be taken yet; 0: they may be now. Takes nothing."""
        missing_ms = self._full_ms.get((name, rate.per_s), now_ms) - now_ms
        if missing_ms <= 0:
            return 0
        wait_ms = missing_ms + min(count * rate.each_ms, rate.whole_ms) - rate.whole_ms
        return wait_ms if wait_ms > _ROUNDING_MS else 0

    def take(self, name: Hashable, count: int, rate: Rate, now_ms: float) -> None:
        """Take so many, whether they are there or not."""
        key = name, rate.per_s
        full_ms = self._full_ms.get(key, now_ms)
        self._full_ms[key] = (max(now_ms, full_ms)) + count * rate.each_ms
        self._full_ms.move_to_end(key)
        if len(self._full_ms) > self._most:
            self._full_ms.popitem(last=False)

    def left(self, name: Hashable, rate: Rate, now_ms: float) -> Left:
        """Return what is in it now."""
        missing_ms = max(0.0, self._full_ms.get((name, rate.per_s), now_ms) - now_ms)
        tokens = int((rate.whole_ms - missing_ms + _ROUNDING_MS) / rate.each_ms)
        return Left(max(0, tokens), ceil(missing_ms / 1_000))
