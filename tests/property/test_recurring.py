"""The runs of recurring schedules, for every expression, zone, policy, limit and window."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise, product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.harness.cron_agreement import compare
from tests.harness.wall_times import Expression, instants_of, make_expression

from ringtime_shared.api.times import times_to_json
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.models.times import (
    DstGap,
    DstOverlap,
    Exclusions,
    Interval,
    Run,
    Spread,
    Times,
    Unit,
    Window,
)
from ringtime_shared.recurring.parsing import KEYS, parse_times
from ringtime_shared.recurring.runs import next_after, preview
from ringtime_shared.recurring.zones import zone_of

DAY_MS = 86_400_000
INTERVAL_KEYS = ("every", "unit", "anchorTime", "other")
#: days on which the offset changes, by zone: half an hour, the south, at midnight, two hours, a whole day
CHANGES = {
    "Europe/Berlin": ["2026-03-29", "2026-10-25"],
    "America/New_York": ["2026-03-08", "2026-11-01"],
    "America/St_Johns": ["2026-03-08", "2026-11-01", "2005-04-03", "2005-10-30"],
    "Australia/Lord_Howe": ["2026-04-05", "2026-10-04"],
    "Asia/Beirut": ["2026-03-29", "2026-10-25"],
    "Africa/Cairo": ["2026-04-24", "2026-10-29"],
    "America/Asuncion": ["2024-03-24", "2024-10-06"],
    "Africa/Casablanca": ["2026-02-15", "2026-03-22"],
    "Antarctica/Troll": ["2026-03-29", "2026-10-25"],
    "Pacific/Apia": ["2011-12-30", "2011-04-02"],
    "Asia/Kolkata": ["2026-06-01"],
}
#: Two of them in `make check`: one whose clocks change by an hour, one by half of it.
QUICK_AND_SLOW = [
    zone if zone in ("Europe/Berlin", "Australia/Lord_Howe") else pytest.param(zone, marks=pytest.mark.slow)
    for zone in CHANGES
]


def at(day: str, hour: int = 0) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1_000) + hour * 3_600_000


def chain(times: Times, after_ms: int, until_ms: int, **more: object) -> list[Run]:
    """Return the runs in between, each found from the one before alone."""
    runs: list[Run] = []
    run = next_after(times, after_ms, **more)  # type: ignore[arg-type]
    while run is not None and run.nominal_ms < until_ms:
        runs.append(run)
        run = next_after(times, run.nominal_ms, run.index, **more)  # type: ignore[arg-type]
    return runs


@pytest.mark.parametrize("zone", QUICK_AND_SLOW)
def test_runs_are_what_trying_every_wall_time_gives(zone: str) -> None:
    rng = Random(zone)
    compared = 0
    for text in CHANGES[zone]:
        day = date.fromisoformat(text)
        for gap, overlap, is_once in product(DstGap, DstOverlap, (False, True)):
            expression = make_expression(rng)
            while not (expression.is_on(day) and len(expression.minutes) < 20):
                expression = make_expression(rng)
            if is_once:
                expression = on_one_day(expression, day)
            times = Times(cron=expression.text, zone=zone, dst_gap=gap, dst_overlap=overlap)
            low, high = at(text) - 2 * DAY_MS, at(text) + 2 * DAY_MS
            expected = {
                each * 1_000
                for wall in expression.walls(day - timedelta(days=5), day + timedelta(days=5))
                for each in instants_of(wall, zone, gap, overlap, expression.is_fixed)
            }

            found = [run.nominal_ms for run in chain(times, low - 1, high)]
            assert found == sorted(each for each in expected if low <= each < high), (times, day)
            compared += len(found)
    assert compared > 100


def on_one_day(expression: Expression, day: date) -> Expression:
    """Return an expression for hours of one day, at the same minutes; its next day is a year away."""
    minute, *_ = expression.text.split()
    return replace(
        expression,
        text=f"{minute} 0-3,22-23 {day.day} {day.month} *",
        hours=frozenset([0, 1, 2, 3, 22, 23]),
        days=frozenset([day.day]),
        months=frozenset([day.month]),
        weekdays=frozenset(range(7)),
    )


ZONES = st.sampled_from(sorted(CHANGES))
INSTANTS = st.integers(at("2000-01-01"), at("2040-01-01"))


@st.composite
def crons(draw: st.DrawFn) -> str:
    seed = draw(st.integers(0, 2**32))
    return make_expression(Random(seed)).text


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    return Interval(draw(st.integers(1, 50)), draw(st.sampled_from(Unit)), draw(INSTANTS))


@st.composite
def some_times(draw: st.DrawFn) -> Times:
    """Valid times of every kind; expressions that never match are drawn again."""
    start = draw(st.none() | INSTANTS)
    length = draw(st.none() | st.integers(1, 400 * DAY_MS))
    interval = draw(st.none() | intervals())
    windows = (
        st.none()
        | st.builds(Window, ms=st.integers(1, DAY_MS))
        | st.builds(Window, share=st.floats(0.001, 1, exclude_min=True), spread=st.sampled_from(Spread))
    )
    return Times(
        cron="" if interval else draw(crons().filter(is_taken)),
        interval=interval,
        zone=draw(ZONES),
        start_ms=start,
        end_ms=None if start is None or length is None else start + length,
        count=draw(st.none() | st.integers(1, 12)),
        dst_gap=draw(st.sampled_from(DstGap)),
        dst_overlap=draw(st.sampled_from(DstOverlap)),
        window=draw(windows),
    )


def is_taken(cron: str) -> bool:
    try:
        parse_times({"cronExpression": cron}, "UTC")
    except InvalidRequest:
        return False
    return True


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(times=some_times(), after=INSTANTS, key=st.text(max_size=8), days=st.sets(st.dates(), max_size=5))
def test_what_holds_for_every_definition(times: Times, after: int, key: str, days: set[date]) -> None:
    first = next_after(times, after, key=key)
    if first is not None:
        days.add(first.wall.date())
    exclusions = Exclusions(frozenset(days), ((after, after + 60_000),))
    shown = [
        each for each in preview(times, 15, after, key=key, exclusions=exclusions) if isinstance(each, Run)
    ]
    runs: list[Run] = []
    run = next_after(times, after, key=key, exclusions=exclusions)
    while run is not None and len(runs) < 15:
        runs.append(run)
        run = next_after(times, run.nominal_ms, run.index, key=key, exclusions=exclusions)

    assert runs == shown
    assert [each.index for each in runs] == list(range(1, len(runs) + 1))
    assert all(one.nominal_ms < other.nominal_ms for one, other in pairwise(runs))
    assert all(one.effective_ms < other.effective_ms for one, other in pairwise(runs))
    assert times.count is None or len(runs) <= times.count
    for each in runs:
        assert each.nominal_ms > after
        assert times.start_ms is None or each.nominal_ms >= times.start_ms
        assert times.end_ms is None or each.nominal_ms < times.end_ms
        assert times.interval is None or each.nominal_ms >= times.interval.anchor_ms - 3 * DAY_MS
        assert each.nominal_ms <= each.effective_ms < each.nominal_ms + max(each.window_ms, 1)
        assert each.until_ms is None or each.until_ms == each.nominal_ms + each.window_ms
        assert each.wall.date() not in days
        assert not after <= each.nominal_ms < after + 60_000


@pytest.mark.parametrize("zone", QUICK_AND_SLOW)
def test_an_interval_of_days_is_the_expression_of_its_wall_time(zone: str) -> None:
    """Under every policy; weeks are the one of its weekday, months of its day."""
    rng = Random(zone)
    for day, gap, overlap in product(CHANGES[zone], DstGap, DstOverlap):
        anchor = at(day) - rng.randrange(50, 400) * DAY_MS + rng.randrange(1_440) * 60_000
        wall = zone_of(zone).wall_at(anchor)
        clock = f"{wall.minute} {wall.hour}"
        for unit, cron in (
            (Unit.DAYS, f"{clock} * * *"),
            (Unit.WEEKS, f"{clock} * * {wall.isoweekday()}"),
            (Unit.MONTHS, f"{clock} {wall.day} * *"),
        ):
            if unit is Unit.MONTHS and wall.day > 28:
                continue
            policy = Times(zone=zone, dst_gap=gap, dst_overlap=overlap, cron=cron)
            interval = replace(policy, cron="", interval=Interval(1, unit, anchor))
            low, high = at(day) - 40 * DAY_MS, at(day) + 40 * DAY_MS
            assert chain(interval, low, high) == chain(policy, low, high), (interval, day)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(times=some_times())
def test_what_is_stored_reads_the_same(times: Times) -> None:
    assert parse_times(times_to_json(times)) == times


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.text(max_size=20)
    | st.text("0123456789*/-,#LW ", max_size=20)
    | st.sampled_from(["UTC", "Europe/Berlin", "days", "shift", "both", "* * * * *", "2026-01-01T00:00:00Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(INTERVAL_KEYS), inner),
    max_leaves=6,
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(fields=st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_whatever_is_said_is_read_or_refused(fields: dict[str, object]) -> None:
    try:
        times = parse_times(fields, "UTC")
    except InvalidRequest:
        return
    assert parse_times(times_to_json(times)) == times
    next_after(times, 0)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(times=some_times(), after=INSTANTS, later=st.integers(0, 40 * DAY_MS))
def test_a_run_does_not_depend_on_when_it_is_asked_for(times: Times, after: int, later: int) -> None:
    """Every instant between two runs has the same next one."""
    first = next_after(times, after)
    if first is not None and after + later < first.nominal_ms:
        assert next_after(times, after + later) == first
    if first is not None:
        assert next_after(times, first.nominal_ms - 1) == first


@pytest.mark.slow
def test_croniter_agrees_or_there_is_a_reason() -> None:
    """A sample; `make cron-agreement` compares 2,000 expressions, with what is in docs/recurring.md."""
    tally, unexplained = compare(expressions=10, seed=3)

    assert unexplained == []
    assert tally["agree"] > 1_500
