"""What is counted of single apps, in bounded memory and with a bounded number of series.

Two thousand histograms of apps make a page of Prometheus that takes 219 ms to write. So the busiest `shown`
apps have series of their own, and all others together are `other`; of some thousand the counts are kept all
the same, for who asks about his own app.

Invariant: what all series together grow by from one reading to the next is what was counted in between, and
none of them ever falls. An app that becomes busy begins at 0 (what was before stays in `other`). Of one that
is so no longer `other` takes what is counted from its last reading on, and nothing that its own series told:
a rate would count that twice. So a rate is right whoever comes and goes, as Prometheus takes a series that is
back for one that began anew.

| what happens | what follows |
|---|---|
| more apps than are kept | the new ones are counted in `other`, until the next ranking makes room |
| nobody reads | nothing is ranked; what is kept stays bounded |
| an app is deleted | nothing more is counted of it, so it falls out by and by |
| an app is called `other` | it has no series of its own, or there would be two of that name |

Counting is a look-up and an addition of plain numbers; ranking is done by who reads, in slices.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Sequence
from heapq import nlargest
from itertools import islice

from ringtime_shared.metrics.names import APP_FIRE_LAG

OTHER = "other"  #: stands for all apps without series of their own
_KEPT = 4_096  #: apps counted by themselves: some 2 MB
_RANK_S = 60.0  #: between two rankings
_SLICE = 256  #: apps looked at without letting anybody else run

#: What is at which place of the numbers of one app.
CREATES, SUCCESS, FAILURE, MISS, RETRY, LAG_S = range(6)
LAG = 6
LAG_BOUNDS = APP_FIRE_LAG.buckets
_WIDTH = LAG + len(LAG_BOUNDS) + 1
Numbers = list[float]


class AppCounts:
    """The counts of one process. For one event loop."""

    def __init__(self, shown: int, now_s: Callable[[], float], kept: int = _KEPT) -> None:
        """
        Args:
            shown: how many apps may have series of their own.
            now_s: a clock that never goes back.
        """
        self._most_shown = shown
        self._most = max(kept, shown)
        self._now_s = now_s
        self._ranked_s: float | None = None
        self._numbers: dict[str, Numbers] = {}
        self._others: Numbers = [0] * _WIDTH  # of apps that are not kept
        self._shown: dict[str, Numbers] = {}  # with what each had when its series began
        self._read: dict[str, Numbers] = {}  # what the series of these told last
        self._told: dict[str, Numbers] = {}  # what earlier series of an app have told, and `other` does not
        self._scores: dict[str, float] = {}  # how busy each was lately
        self._seen: dict[str, float] = {}  # what had been counted of each at the last ranking
        self._reading = asyncio.Lock()  # a ranking between two slices of another reader would show in `other`

    def of(self, app_id: str) -> Numbers:
        """Return the numbers of an app, to be added to at once and not kept."""
        numbers = self._numbers.get(app_id)
        if numbers is None:
            if len(self._numbers) >= self._most:
                return self._others
            numbers = self._numbers[app_id] = [0] * _WIDTH
        return numbers

    def lagged(self, app_id: str, lag_s: float) -> None:
        """Count a first attempt."""
        numbers = self.of(app_id)
        numbers[LAG_S] += lag_s
        numbers[LAG + bisect_left(LAG_BOUNDS, lag_s)] += 1

    def find(self, app_id: str) -> Sequence[float]:
        """Return what was counted of an app; zeros if nothing was, or it was quiet for long."""
        return self._numbers.get(app_id) or [0] * _WIDTH

    async def gone_wrong(self, late_s: float) -> dict[str, tuple[int, int, int]]:
        """Return of each app that has any how many were missed, given up, and first sent later than this,
        which is one of the bounds."""
        first = LAG + LAG_BOUNDS.index(late_s) + 1
        found = {}
        for n, (app_id, numbers) in enumerate(list(self._numbers.items()), start=1):
            if n % _SLICE == 0:
                await asyncio.sleep(0)
            late = sum(numbers[first:])
            if numbers[MISS] or numbers[FAILURE] or late:
                found[app_id] = int(numbers[MISS]), int(numbers[FAILURE]), int(late)
        return found

    @property
    def kept(self) -> int:
        """How many apps are counted by themselves."""
        return len(self._numbers)

    async def series(self) -> dict[str, Sequence[float]]:
        """Return the numbers of each series by app, `OTHER` last, ranking anew if it is time to."""
        async with self._reading:
            return await self._series()

    async def _series(self) -> dict[str, Sequence[float]]:
        if self._ranked_s is None or self._now_s() - self._ranked_s >= _RANK_S:
            self._ranked_s = self._now_s()
            await self._rank()
        other = list(self._others)
        for n, (app_id, numbers) in enumerate(list(self._numbers.items()), start=1):
            _add(other, self._untold(app_id, self._shown.get(app_id, numbers)))
            if n % _SLICE == 0:
                await asyncio.sleep(0)
        self._read = {app_id: _less(self._numbers[app_id], begun) for app_id, begun in self._shown.items()}
        return {**self._read, OTHER: other}

    def _untold(self, app_id: str, numbers: Numbers) -> Numbers:
        """Return of these numbers of an app what no earlier series of its own has told."""
        told = self._told.get(app_id)
        return numbers if told is None else _less(numbers, told)

    async def _rank(self) -> None:
        """Choose the apps with series of their own anew, and forget the quietest if there are many."""
        scores: dict[str, float] = {}
        best: list[tuple[float, str]] = []
        names = list(self._numbers)
        for start in range(0, len(names), _SLICE):
            for app_id in islice(names, start, start + _SLICE):
                numbers = self._numbers[app_id]
                total = (
                    numbers[CREATES] + numbers[SUCCESS] + numbers[FAILURE] + numbers[MISS] + numbers[RETRY]
                )
                # One that has a series keeps it against an equal: they would take turns otherwise.
                score = self._scores.get(app_id, 0.0) / 2 + total - self._seen.get(app_id, 0)
                scores[app_id], self._seen[app_id] = score, total
            part = [
                (scores[each] * (1.25 if each in self._shown else 1.0), each)
                for each in names[start : start + _SLICE]
            ]
            best = nlargest(self._most_shown, [*best, *(each for each in part if each[0] > 0)])
            await asyncio.sleep(0)
        self._scores = scores
        chosen = {app_id for _, app_id in best if app_id != OTHER}  # an app may be called so
        for app_id in self._shown.keys() - chosen:
            if (read := self._read.pop(app_id, None)) is not None:  # else its reading was given up
                _add(self._told.setdefault(app_id, [0] * _WIDTH), read)
        # What an app had before it was shown stays in `other`.
        self._shown = {
            app_id: self._shown[app_id] if app_id in self._shown else list(self._numbers[app_id])
            for app_id in sorted(chosen)
        }
        if len(names) > self._most * 3 // 4:
            await self._forget(len(names) - self._most // 2)

    async def _forget(self, count: int) -> None:
        """Leave the counts of the quietest to `other`."""
        quiet = sorted(
            (each for each in self._scores if each not in self._shown), key=self._scores.__getitem__
        )
        for n, app_id in enumerate(quiet[:count], start=1):
            _add(self._others, self._untold(app_id, self._numbers.pop(app_id)))
            self._told.pop(app_id, None)
            del self._scores[app_id], self._seen[app_id]
            if n % _SLICE == 0:
                await asyncio.sleep(0)


def _add(to: Numbers, numbers: Numbers) -> None:
    for place, number in enumerate(numbers):
        to[place] += number


def _less(numbers: Numbers, others: Numbers) -> Numbers:
    return [number - other for number, other in zip(numbers, others, strict=True)]


class NoAppCounts(AppCounts):
    """Where nobody measures: what is added goes nowhere."""

    def __init__(self) -> None:
        super().__init__(0, lambda: 0.0, kept=0)

    def lagged(self, app_id: str, lag_s: float) -> None:
        return
