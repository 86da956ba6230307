"""Which entries of the log of app changes are counted: those that weigh what the count has risen by. Pure.

A maker tells the changes of one moment with one stamp, and then counts what they weigh together, so at any
time the last moment of each may be told and not counted. By the stamps these are among the last of all: what
is counted is all up to some moment that is not, and perhaps some of the few after it. A sum is looked for in
that order, and no further: each set of entries that is tried fits a sum that others made one time in 4
billion. Where changes are seldom, `OPEN_MS` leaves one or two sets to try; where every few milliseconds have
one, some hundreds, and some thousands in the first look after a read of all apps.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate, groupby

from ringtime_shared.stores.protocol import AppChange

OPEN_MS = 100  #: how long a maker takes to count what it has told, and how much clocks differ, as a rule
MOST_OPEN = 5  #: moments beside one that is not counted of which each may be counted or not
NOTHING_OPEN = sys.maxsize  #: a stamp that nothing has


def open_since(told: Collection[AppChange]) -> int:
    """Return the stamp from which on some of these entries, which are told, may not be counted yet."""
    stamps = sorted({change.changed_ms for change in told})[-MOST_OPEN:]
    return next((ms for ms in stamps if ms > stamps[-1] - OPEN_MS), NOTHING_OPEN)


def find_counted(rise: int, told: Sequence[AppChange], open_ms: int = NOTHING_OPEN) -> list[AppChange] | None:
    """Return which of these entries are counted now; None: no set of them is found that weighs this.

    Args:
        rise: by how much the count has risen; entries that were counted before are not in it.
        told: by their stamps.
        open_ms: entries stamped from here on may have been counted before; those until then were not.
    """
    moments = [list(changes) for _, changes in groupby(told, key=lambda change: change.changed_ms)]
    found = _Sums(moments).find(rise, open_ms)
    if found is None and len(moments) < len(told):  # of two makers in one moment, or of one without a log
        found = _Sums([[change] for change in told]).find(rise, open_ms)
    return found


class _Sums:
    """What some entries weigh, of which each of these groups is counted as a whole."""

    def __init__(self, groups: Sequence[list[AppChange]]) -> None:
        self._groups = groups
        self._stamps = [group[0].changed_ms for group in groups]
        self._weights = [sum(change.weight for change in group) for group in groups]
        self._upto = list(accumulate(self._weights, initial=0))  # of so many groups
        self._beside: dict[int, dict[int, tuple[int, ...]]] = {}

    def find(self, rise: int, open_ms: int) -> list[AppChange] | None:
        """As `find_counted`."""
        for before, weight in self._counted_before(open_ms):
            for counted in self._making(rise + weight):
                if counted.issuperset(before):
                    return [change for n in sorted(counted) for change in self._groups[n]]
        return None

    def _counted_before(self, open_ms: int) -> Iterator[tuple[tuple[int, ...], int]]:
        """Yield what may have been counted before, and its weight; first all that is open."""
        start = bisect_left(self._stamps, open_ms)
        sums = self._sums_of(range(start, min(start + MOST_OPEN, len(self._groups))))
        yield from ((groups, weight) for weight, groups in reversed(sums.items()))

    def _making(self, weight: int) -> Iterator[set[int]]:
        """Yield groups that weigh this: all up to one, and some of those beside the next."""
        most = bisect_right(self._upto, weight) - 1  # some of what is beside may weigh as much as others do
        for upto in range(most, max(most - 2 * MOST_OPEN, 0) - 1, -1):
            if upto not in self._beside:
                self._beside[upto] = self._sums_of(self._near(upto))
            rest = self._beside[upto].get(weight - self._upto[upto])
            if rest is not None:
                yield {*range(upto), *rest}

    def _near(self, upto: int) -> range:
        """Return the groups beside one that is not counted."""
        if upto == len(self._groups):
            return range(0)
        end = bisect_right(self._stamps, self._stamps[upto] + OPEN_MS)
        return range(upto + 1, min(upto + 1 + MOST_OPEN, end))

    def _sums_of(self, groups: range) -> dict[int, tuple[int, ...]]:
        """Return each sum that some of these make, and which."""
        sums: dict[int, tuple[int, ...]] = {0: ()}
        for n in groups:
            sums.update({weight + self._weights[n]: (*some, n) for weight, some in sums.items()})
        return sums
