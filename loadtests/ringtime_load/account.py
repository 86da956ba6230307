"""Whether each promise was kept: creates and cancels on one side, callbacks on the other. Pure.

All processes of a run are on one machine, so times of different ledgers compare. Events may be told in any
order: ledgers are read file by file. A schedule is forgotten some time after it was due, so memory
follows what is open and not what was ever created; the callback of a schedule not known is a stranger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace

from ringtime_load.plan import WARMING, Criteria

FORGET_MS = 120_000.0  #: after a fire time; a duplicate that comes later still counts as a stranger
_STEP = math.log(1.02)


class Spread:
    """Quantiles of milliseconds in bounded memory, 2 % exact from 0.1 ms on."""

    def __init__(self) -> None:
        self.count = 0
        self.largest = 0.0
        self._counts: dict[int, int] = {}

    def add(self, ms: float) -> None:
        step = math.ceil(math.log(max(ms, 0.1)) / _STEP)
        self._counts[step] = self._counts.get(step, 0) + 1
        self.count += 1
        self.largest = max(self.largest, ms)

    def at(self, share: float) -> float:
        """Return the value that this share of the values does not exceed; 0 if there are none."""
        left = share * self.count
        for step in sorted(self._counts):
            left -= self._counts[step]
            if left <= 0:
                return min(math.exp(step * _STEP), self.largest)
        return self.largest


@dataclass(slots=True)
class _Entry:
    fire_ms: float | None = None  #: None: a callback or a cancel was read before the create
    answered_ms: float = 0.0
    called_ms: list[float] = field(default_factory=list)
    is_cancel_tried: bool = False
    cancelled_ms: float | None = None


@dataclass(slots=True)
class Second:
    """What was due in one second."""

    due: int = 0
    called: int = 0
    lags: Spread = field(default_factory=Spread)


@dataclass(slots=True)
class Tally:
    """Counts of schedules, but for `duplicates` and `strangers`, which count callbacks."""

    created: int = 0
    called: int = 0
    cancelled: int = 0
    waiting: int = 0  #: not called back, and not given up
    lost: int = 0
    early: int = 0
    after_cancel: int = 0
    late: int = 0
    duplicates: int = 0
    strangers: int = (
        0  #: callbacks of schedules nobody was told of: their creates had no answer, or are forgotten
    )
    examples: dict[str, list[str]] = field(
        default_factory=dict
    )  #: what is wrong, and a few schedules of which it is
    lags: Spread = field(default_factory=Spread)
    seconds: dict[int, Second] = field(default_factory=dict)  #: by the second of the fire time since 1970

    def note(self, wrong: str, schedule_id: str) -> None:
        setattr(self, wrong, getattr(self, wrong) + 1)
        if len(found := self.examples.setdefault(wrong, [])) < 5:
            found.append(schedule_id)

    def __str__(self) -> str:
        return (
            f"{self.created:,} created, {self.called:,} called back, {self.cancelled:,} cancelled, "
            f"{self.waiting:,} waiting, {self.lost:,} lost, {self.early:,} early, {self.late:,} late, "
            f"{self.duplicates:,} duplicates, {self.after_cancel:,} after a cancel, "
            f"lag p50 {self.lags.at(0.5):.0f} p99 {self.lags.at(0.99):.0f} max {self.lags.largest:.0f} ms"
        )


class Account:
    """Takes events in any order; `tally` says how things stand."""

    def __init__(self, late_ms: float) -> None:
        self._late_ms = late_ms
        self._open: dict[str, _Entry] = {}
        self._settled = Tally()

    def take(self, words: Sequence[str]) -> None:
        """Take one line of a ledger."""
        kind, schedule_id, *times = words
        entry = self._open.get(schedule_id)
        if entry is None:
            entry = self._open[schedule_id] = _Entry()
        if kind == "create":
            entry.fire_ms, entry.answered_ms = float(times[0]), float(times[1])
        elif kind == "trying":
            entry.is_cancel_tried = True
        elif kind == "cancel":
            entry.is_cancel_tried, entry.cancelled_ms = True, float(times[0])
        elif kind == "called":
            entry.called_ms.append(float(times[0]))
        else:
            raise ValueError(f"no such event: {kind}")

    def tally(self, now_ms: float, *, is_over: bool = False) -> Tally:
        """Return how things stand, and forget what was settled long ago.

        Args:
            is_over: nothing more is waited for: what has not come is lost, however short ago it was due.
        """
        old = [
            schedule_id
            for schedule_id, entry in self._open.items()
            if entry.fire_ms is not None and entry.fire_ms < now_ms - FORGET_MS
        ]
        for schedule_id in old:
            self._add(self._settled, schedule_id, self._open.pop(schedule_id), is_over=True)
        found = deepcopy(self._settled)
        for schedule_id, entry in self._open.items():
            self._add(found, schedule_id, entry, is_over=is_over)
        return found

    def _add(self, tally: Tally, schedule_id: str, entry: _Entry, *, is_over: bool) -> None:
        if entry.fire_ms is None:
            tally.strangers += len(entry.called_ms)
            return
        tally.created += 1
        tally.cancelled += entry.cancelled_ms is not None
        second = tally.seconds.setdefault(int(entry.fire_ms // 1000), Second())
        is_expected = not entry.is_cancel_tried
        second.due += is_expected
        if not entry.called_ms:
            if is_expected and is_over:
                tally.note("lost", schedule_id)
            tally.waiting += is_expected and not is_over
            return
        tally.called += 1
        second.called += is_expected
        first_ms = min(entry.called_ms)
        if first_ms < entry.fire_ms:
            tally.note("early", schedule_id)
        lag_ms = max(0.0, first_ms - max(entry.fire_ms, entry.answered_ms))
        second.lags.add(lag_ms)
        tally.lags.add(lag_ms)
        if lag_ms > self._late_ms:
            tally.note("late", schedule_id)
        for _ in entry.called_ms[1:]:
            tally.note("duplicates", schedule_id)
        if entry.cancelled_ms is not None and max(entry.called_ms) > entry.cancelled_ms:
            tally.note("after_cancel", schedule_id)


@dataclass(frozen=True, slots=True)
class Requests:
    """What Locust measured of one kind of request."""

    name: str
    count: int
    failed: int
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Check:
    """One criterion and what was found."""

    what: str
    bound: str
    found: str
    is_kept: bool


def judge(tally: Tally, requests: Sequence[Requests], criteria: Criteria, *, asked: int) -> list[Check]:
    """Return every criterion; the run passes if all are kept.

    Args:
        tally: of the run's end.
        asked: creates that the plan asked for.
    """
    checks = [
        Check(what, "0", f"{count:,} {' '.join(tally.examples.get(key, ()))}".strip(), count == 0)
        for what, key, count in (
            ("callbacks lost", "lost", tally.lost),
            ("callbacks early", "early", tally.early),
            ("callbacks after a promised cancel", "after_cancel", tally.after_cancel),
            (f"callbacks later than {criteria.late_ms:,.0f} ms", "late", tally.late),
        )
    ]
    checks.append(_most("duplicate callbacks", tally.duplicates, criteria.duplicates))
    checks.append(_most("lag p99, ms", tally.lags.at(0.99), criteria.lag_p99_ms))
    for each in requests:
        p99 = _most(f"{each.name}: p99, ms", each.p99_ms, criteria.p99_ms)
        checks.append(replace(p99, bound="not judged", is_kept=True) if each.name.endswith(WARMING) else p99)
        share = each.failed / each.count if each.count else 0.0
        checks.append(_most(f"{each.name}: failed, %", share * 100, criteria.failed_share * 100))
    reached, wanted = tally.created, asked * criteria.reached_share
    checks.append(
        Check("creates acknowledged", f"at least {wanted:,.0f}", f"{reached:,}", 0 < wanted <= reached)
    )
    return checks


def _most(what: str, found: float, bound: float) -> Check:
    return Check(
        what, f"at most {bound:,g}", f"{found:,.4g}" if found < 1e4 else f"{found:,.0f}", found <= bound
    )
