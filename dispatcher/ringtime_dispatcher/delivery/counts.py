"""What a node counts of its deliveries: the one account of them, in plain numbers. Metrics and the status of
the node are read from it; nobody keeps another."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.metrics import Metrics
from ringtime_shared.metrics.apps import FAILURE, MISS, RETRY, SUCCESS
from ringtime_shared.metrics.names import (
    ATTEMPT,
    ATTEMPTS,
    DEAD_LETTERS,
    FIRE_LAG,
    FIRES,
    FOUND_LATE,
    MISSED,
    PARKINGS,
)
from ringtime_shared.metrics.registry import Buckets
from ringtime_shared.models.schedule import Row

_FROM_START = (("success", "2xx"), ("retry", "none"), ("failure", "none"))  #: so that a first one is a step
_CLASSES = {n: f"{n}xx" for n in range(1, 6)}


@dataclass(slots=True)
class Tally:
    """What a node has done since it started."""

    sent: int = 0
    succeeded: int = 0
    failed: int = 0  #: given up
    buried: int = 0  #: kept as a dead letter: all of these, but of apps that are being deleted
    retried: int = 0
    parked: int = 0  #: filed for later without an attempt
    missed: int = 0
    shadowed: int = 0  #: left to goscheduler
    passed_over: int = 0  #: of those missed: runs that their rules leave out
    found_late: int = 0


class DeliveryCounts:
    """Counts the attempts of one node, and what became of them."""

    def __init__(self, metrics: Metrics) -> None:
        self.tally = tally = Tally()
        self.lags = Buckets(FIRE_LAG)  #: of first attempts
        self._took = Buckets(ATTEMPT)
        self._attempts = Counter[tuple[str, ...]](dict.fromkeys(_FROM_START, 0))  # by result and class
        self._apps = metrics.apps
        self._is_measured = metrics.is_on
        metrics.buckets(FIRE_LAG, self.lags)
        metrics.buckets(ATTEMPT, self._took)
        metrics.counts(ATTEMPTS, lambda: self._attempts)
        metrics.counts(
            FIRES,
            lambda: {
                ("success",): tally.succeeded,
                ("failure",): tally.failed,
                ("miss",): tally.missed,
                ("shadow",): tally.shadowed,
            },
        )
        metrics.counts(
            MISSED,
            lambda: {
                ("too_late",): tally.missed - tally.passed_over,
                ("passed_over",): tally.passed_over,
            },
        )
        metrics.counts(DEAD_LETTERS, lambda: {(): tally.buried})
        metrics.counts(PARKINGS, lambda: {(): tally.parked})
        metrics.counts(FOUND_LATE, lambda: {(): tally.found_late})

    def began(self, row: Row, now_ms: int) -> None:
        """An attempt is made. The first says how late its schedule is; a run is so from its slot on, not for
        the second it was given within a window, or the run that it waited for."""
        self.tally.sent += 1
        self._lag(row, now_ms)

    def shadowed(self, row: Row, now_ms: int) -> None:
        """One came due that goscheduler delivers. It counts for how late this node is, as an attempt
        would."""
        self.tally.shadowed += 1
        self._lag(row, now_ms)

    def _lag(self, row: Row, now_ms: int) -> None:
        if row.attempts or row.replay or row.schedule.hook_of is not None:
            return
        awaited_ms = row.schedule.awaited_ms
        if row.schedule.run is not None:
            awaited_ms = max(awaited_ms, row.place.slot_ms)
        lag_s = max(now_ms - awaited_ms, 0) / 1_000
        self.lags.add(lag_s)
        if self._is_measured:
            self._apps.lagged(row.place.app_id, lag_s)

    def attempted(self, row: Row, reply: Reply, result: str, took_ms: int) -> None:
        """An attempt ended; `result` as of `ringtime_attempts_total`."""
        code = reply.code
        code_class = "none" if code is None else _CLASSES.get(code // 100, "other")
        self._attempts[result, code_class] += 1
        if self._is_measured:
            self._took.add(took_ms / 1_000)
        if result == "retry":
            self.tally.retried += 1
            self._apps.of(row.place.app_id)[RETRY] += 1

    def succeeded(self, app_id: str) -> None:
        """A schedule, run, replay or hook has ended well."""
        self.tally.succeeded += 1
        if self._is_measured:
            self._apps.of(app_id)[SUCCESS] += 1

    def failed(self, app_id: str, *, is_buried: bool = True) -> None:
        """One was given up; `is_buried`: and is kept as a dead letter."""
        self.tally.failed += 1
        self.tally.buried += is_buried
        self._apps.of(app_id)[FAILURE] += 1

    def missed(self, app_id: str) -> None:
        """One came due later than its app accepts."""
        self.tally.missed += 1
        self._apps.of(app_id)[MISS] += 1

    def passed_over(self, app_id: str, runs: int) -> None:
        """So many runs are left out, as the rules of their recurring schedule have it."""
        self.tally.missed += runs
        self.tally.passed_over += runs
        self._apps.of(app_id)[MISS] += runs

    async def gone_wrong(self, late_s: float) -> dict[str, tuple[int, int, int]]:
        """Return how many were missed, given up, and first sent later than this, of each app that has any."""
        return await self._apps.gone_wrong(late_s)

    def parked(self) -> None:
        """A row is filed for later without an attempt."""
        self.tally.parked += 1

    def found_late(self) -> None:
        """Only the final read has returned a row."""
        self.tally.found_late += 1
