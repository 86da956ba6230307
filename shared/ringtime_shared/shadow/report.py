"""What goscheduler did against what Ringtime did, or would have done, for schedules that both have.

goscheduler's side is the calls that came by the tap, passed on or kept; Ringtime's is the outcomes of its
rows, those left to goscheduler among them, which come about by the same reading, waiting and recording as
any. Read minute by minute: the calls of two minutes are held at a time, since a row that was created as it
came due is filed a moment behind its fire time. Lags are kept to 10 ms, and to a minute beyond ten, so a
report has a bound however long its range.

| finding | what is there |
|---|---|
| ONLY_GOSCHEDULER | a call, and no outcome here though the slot is past, or no row at all |
| ONLY_RINGTIME | an outcome, and no call |
| NEITHER | a row whose slot is past, without an outcome, and no call |
| UNDELIVERED | calls that were passed on, none of which the receiver took |
| DOUBLE | two calls that the receiver took |
| BOTH_SIDES | a call that was passed on, and an attempt of Ringtime's: never, if the promise holds |
| CANCELLED | a call that was passed on of a schedule that was cancelled here |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from ringtime_shared.api.instants import to_iso
from ringtime_shared.buckets import bucket_of, first_slot, last_slot
from ringtime_shared.ids import app_number_of
from ringtime_shared.models.app import App
from ringtime_shared.models.schedule import Row, Status
from ringtime_shared.models.shadow import LEFT_TO_GOSCHEDULER, Tap
from ringtime_shared.stores.protocol import (
    LAST_ID,
    DueQuery,
    OperatorStore,
    Position,
    ScheduleStore,
    TapKey,
    TapStore,
)

MOST_LISTED = 100
SETTLED_MS = 180_000  #: goscheduler is so late at most, unless a node of it died; and so are we
_PAGE = 1_000
_FINE_MS, _FINE_UP_TO_MS, _COARSE_MS = 10, 600_000, 60_000


class ReportStore(ScheduleStore, OperatorStore, TapStore, Protocol):
    """What a report reads."""


class Difference(StrEnum):
    """What is to be looked at of one schedule."""

    ONLY_GOSCHEDULER = "ONLY_GOSCHEDULER"
    ONLY_RINGTIME = "ONLY_RINGTIME"
    NEITHER = "NEITHER"
    UNDELIVERED = "UNDELIVERED"
    DOUBLE = "DOUBLE"
    BOTH_SIDES = "BOTH_SIDES"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class Found:
    """One schedule to look at."""

    schedule_id: UUID
    what: Difference
    fire_ms: int


class Lags:
    """How late one side was, by how many schedules."""

    def __init__(self) -> None:
        self._counts = Counter[int]()

    def add(self, lag_ms: int) -> None:
        step_ms = _FINE_MS if abs(lag_ms) < _FINE_UP_TO_MS else _COARSE_MS
        self._counts[lag_ms // step_ms * step_ms] += 1

    def quantile_ms(self, share: float) -> int | None:
        """Return what this share is not later than; None: there are none."""
        left = share * self._counts.total()
        for lag_ms, count in sorted(self._counts.items()):
            left -= count
            if left <= 0:
                return lag_ms
        return None


@dataclass(slots=True)
class ShadowReport:
    """The sums, and the first of what is to be looked at."""

    both: int = 0
    waiting: int = 0  #: neither side has come to it yet
    cancelled: int = 0
    own: int = 0  #: without a twin: Ringtime's alone, and not compared
    passed: int = 0  #: schedules of which a call was passed on
    kept: int = 0  #: schedules of which every call was kept
    differences: Counter[Difference] = field(default_factory=Counter)
    found: list[Found] = field(default_factory=list)  #: `MOST_LISTED` at most
    goscheduler: Lags = field(default_factory=Lags)
    ringtime: Lags = field(default_factory=Lags)

    def find(self, schedule_id: UUID, what: Difference, fire_ms: int) -> None:
        """Count one, and list it if there is room."""
        self.differences[what] += 1
        if len(self.found) < MOST_LISTED:
            self.found.append(Found(schedule_id, what, fire_ms))


def report_to_json(report: ShadowReport) -> dict[str, object]:
    """Return a report for programs."""
    return {
        "both": report.both,
        "waiting": report.waiting,
        "cancelled": report.cancelled,
        "own": report.own,
        "passed": report.passed,
        "kept": report.kept,
        "differences": {what.value: count for what, count in sorted(report.differences.items())},
        "findings": [
            {"scheduleId": str(each.schedule_id), "found": each.what, "due": to_iso(each.fire_ms)}
            for each in report.found
        ],
        "lag": {"goscheduler": _lag_to_json(report.goscheduler), "ringtime": _lag_to_json(report.ringtime)},
    }


def _lag_to_json(lags: Lags) -> dict[str, int | None]:
    return {"p50Ms": lags.quantile_ms(0.5), "p99Ms": lags.quantile_ms(0.99)}


async def compare(store: ReportStore, app: App, from_ms: int, upto_ms: int, now_ms: int) -> ShadowReport:
    """Return the report of what was due from one instant to the other, both included. Raises
    StoreUnavailable, Damaged."""
    report = ShadowReport()
    calls: dict[UUID, list[Tap]] = {}  # of the minute, and of the one before
    for bucket in range(bucket_of(from_ms), bucket_of(upto_ms) + 2):  # one more of rows
        before, calls = calls, await _fetch_calls(store, app, bucket, from_ms, upto_ms)
        async for row in _read_rows(store, app, bucket, from_ms, upto_ms):
            schedule_id = row.schedule.schedule_id
            _judge(report, row, calls.pop(schedule_id, []) or before.pop(schedule_id, []), now_ms)
        for taps in before.values():
            _judge_rowless(report, taps)
    for taps in calls.values():
        _judge_rowless(report, taps)
    return report


def _judge(report: ShadowReport, row: Row, taps: Sequence[Tap], now_ms: int) -> None:
    schedule, outcome = row.schedule, row.outcome
    if not taps and (schedule.sending is None or not schedule.sending.twin):
        report.own += 1
        return
    passed = _count_calls(report, taps)
    if row.status is Status.DELETED:
        report.cancelled += 1
        if passed:
            report.find(schedule.schedule_id, Difference.CANCELLED, schedule.fire_ms)
        return
    if outcome is not None and outcome.error == LEFT_TO_GOSCHEDULER:
        report.ringtime.add(outcome.ended_ms - schedule.awaited_ms)
    elif row.lag_ms is not None:
        report.ringtime.add(row.lag_ms)
    if outcome is not None and taps:
        report.both += 1
    elif row.place.slot_ms >= now_ms - SETTLED_MS or (outcome is None and row.moved_to is not None):
        report.waiting += 1
    else:
        here = Difference.NEITHER if outcome is None else Difference.ONLY_RINGTIME
        what = Difference.ONLY_GOSCHEDULER if taps else here
        report.find(schedule.schedule_id, what, schedule.fire_ms)
    if passed and outcome is not None and outcome.attempts:
        report.find(schedule.schedule_id, Difference.BOTH_SIDES, schedule.fire_ms)
    _judge_calls(report, passed)


def _judge_rowless(report: ShadowReport, taps: Sequence[Tap]) -> None:
    """Judge calls of a schedule that is not here."""
    passed = _count_calls(report, taps)
    report.find(taps[0].schedule_id, Difference.ONLY_GOSCHEDULER, taps[0].fire_ms)
    _judge_calls(report, passed)


def _count_calls(report: ShadowReport, taps: Sequence[Tap]) -> list[Tap]:
    """Count the calls of one schedule; return those that were passed on."""
    passed = [each for each in taps if each.is_passed]
    if taps:
        first = min(taps, key=lambda each: each.at_ms)
        report.goscheduler.add(first.at_ms - first.fire_ms)
        report.passed += bool(passed)
        report.kept += not passed
    return passed


def _judge_calls(report: ShadowReport, passed: Sequence[Tap]) -> None:
    delivered = sum(each.is_delivered for each in passed)
    if passed and not delivered:
        report.find(passed[0].schedule_id, Difference.UNDELIVERED, passed[0].fire_ms)
    if delivered > 1:
        report.find(passed[0].schedule_id, Difference.DOUBLE, passed[0].fire_ms)


async def _fetch_calls(
    store: TapStore, app: App, bucket: int, from_ms: int, upto_ms: int
) -> dict[UUID, list[Tap]]:
    """Return the calls of a minute, by schedule."""
    found: dict[UUID, list[Tap]] = {}
    after: TapKey | None = None
    while True:
        page = await store.fetch_taps(app.app_id, bucket, after, _PAGE)
        for tap in page:
            if app_number_of(tap.schedule_id) == app.number and from_ms <= tap.fire_ms <= upto_ms:
                found.setdefault(tap.schedule_id, []).append(tap)
        if len(page) < _PAGE:
            return found
        after = TapKey(page[-1].schedule_id, page[-1].tap_id)


async def _read_rows(
    store: ReportStore, app: App, bucket: int, from_ms: int, upto_ms: int
) -> AsyncIterator[Row]:
    """Yield the home rows of a minute of slots."""
    for entry in await store.fetch_app_buckets(app.app_id, bucket, bucket):
        query = DueQuery(
            entry.instance, bucket, Position(first_slot(bucket) - 1, LAST_ID), last_slot(bucket), _PAGE
        )
        while True:
            (page,) = await store.fetch_rows([query])
            for row in page.rows:
                is_of_app = row.is_shown and app_number_of(row.schedule.schedule_id) == app.number
                if is_of_app and from_ms <= row.schedule.fire_ms <= upto_ms:
                    yield row
            if page.next is None:
                break
            query = query._replace(after=page.next)
