"""What came of a scenario, judged from what the receiver noted: pure, no I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

_QUANTILES = 200  #: how many steps the lags are kept in, for the picture


@dataclass(frozen=True, slots=True)
class Arrival:
    """One job done: the receiver was called."""

    number: int
    due_ms: int
    at_ms: float


class Ledger:
    """What the receiver noted, read as it grows: the path of each request and when it came.

    A path ends in `/number/due_ms`.
    """

    def __init__(self, listed: Callable[[int], Sequence[tuple[str, float]]]) -> None:
        """`listed` returns what came after the first so many."""
        self._listed = listed
        self.arrivals: list[Arrival] = []
        self._seen: set[int] = set()

    def read(self) -> None:
        """Take in what is new."""
        for path, at_ms in self._listed(len(self.arrivals)):
            _, number, due_ms = path.rsplit("/", 2)
            self.arrivals.append(Arrival(int(number), int(due_ms), at_ms))
            self._seen.add(int(number))

    def done(self, numbers: range) -> int:
        """Return how many of these jobs were done at least once, of what was read so far."""
        return len(self._seen.intersection(numbers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Promises kept and broken. A job counts once; what came of it again is a duplicate.

    Lags are of a job's first arrival, in milliseconds; `quantiles` are those of all jobs, from the least lag
    to the largest, infinite for a job that was not done.
    """

    jobs: int
    done: int
    early: int
    earliest_ms: float  #: how long before its due time the worst one came; 0 if none was early
    lost: int  #: not done, and the system holds it no more
    stuck: int  #: not done in the time that was given, and the system still holds it
    duplicates: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    last_at_ms: float
    per_s: float  #: jobs done a second, from the first due time to the last job; of a burst, its throughput
    quantiles: Sequence[float] = field(repr=False)


def judge(numbers: range, arrivals: Sequence[Arrival], *, unfinished: int) -> Judged:
    """Return what came of these jobs; arrivals of others are left aside.

    Args:
        unfinished: how many of them the system itself says it still holds; asked when the wait was over.
    """
    first: dict[int, Arrival] = {}
    repeats = 0
    for each in sorted(arrivals, key=lambda arrival: arrival.at_ms):
        if each.number not in numbers:
            continue
        if each.number in first:
            repeats += 1
        else:
            first[each.number] = each
    lags = sorted(each.at_ms - each.due_ms for each in first.values())
    missing = len(numbers) - len(first)
    stuck = min(missing, max(unfinished, 0))
    last_ms = max((each.at_ms for each in first.values()), default=math.nan)
    took_ms = last_ms - min((each.due_ms for each in first.values()), default=0)
    whole = [*lags, *[math.inf] * missing]
    return Judged(
        jobs=len(numbers),
        done=len(first),
        early=sum(lag < 0 for lag in lags),
        earliest_ms=max(-lags[0], 0.0) if lags else 0.0,
        lost=missing - stuck,
        stuck=stuck,
        duplicates=repeats,
        p50_ms=_at(lags, 0.5),
        p99_ms=_at(lags, 0.99),
        max_ms=_at(lags, 1.0),
        last_at_ms=last_ms,
        per_s=len(first) / took_ms * 1000 if first and took_ms > 0 else 0.0,
        quantiles=[_at(whole, step / _QUANTILES) for step in range(_QUANTILES + 1)],
    )


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One system in one scenario."""

    system: str
    version: str
    scenario: str
    judged: Judged
    waited_s: float  #: how long was waited for jobs that did not come, after the due time or the restart
    waiting: int = 0  #: jobs due in days that the system held meanwhile
    recovery_s: float | None = None  #: from the restart of the killed worker to the last job; None: no kill
    cpu_us: dict[str, float] = field(default_factory=dict)  #: for each job done, by part of the system
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Result:
        return Result(**{**data, "judged": Judged(**data["judged"])})
