"""goscheduler's cron expressions, as expressions of ours for the same minutes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from ringtime.importing.crontab import translate
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.recurring.parsing import parse_times
from ringtime_shared.recurring.runs import next_after


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("* * * * *", "* * * * *"),
        ("5/25 0 * * *", "25,50 0 * * *"),  # a step begins at its next multiple
        ("0 0 */10 * *", "0 0 10,20,30 * *"),  # days are stepped from 0
        ("0 0 */31 * *", "0 0 * * *"),  # which leaves none, so every day
        ("*/1 * * * *", "* * * * *"),
        ("*/20 0/6 * * *", "0,20,40 0,6,12,18 * * *"),
        ("7,1-3,2 9-17 * jan,DEC mon", "1-3,7 9-17 * 1,12 1"),
        ("0 0 1,2 * 0-6", "0 0 1,2 * *"),  # every weekday says nothing
        ("0 0 1-31 * FRI", "0 0 * * 5"),
    ],
)
def test_it_names_the_minutes_that_goscheduler_runs_at(theirs: str, ours: str) -> None:
    assert translate(theirs) == ours


@pytest.mark.parametrize(
    ("theirs", "why"),
    [
        ("0 0 13 * FRI", "on days that are both"),
        ("*/0 * * * *", "a step of 0"),
        ("5/0 * * * *", "a step of 0"),
        ("59/60 * * * *", "behind the last value"),
        ("* * * */2 *", "no step that goscheduler takes"),
        ("1-5/2 * * * *", "no step that goscheduler takes"),
        ("60 * * * *", "nothing that goscheduler takes"),
        ("* * 0 * *", "nothing that goscheduler takes"),
        ("* * * * 7", "nothing that goscheduler takes"),
        ("* * * * MON-FRI", "nothing that goscheduler takes"),
        ("5-1 * * * *", "runs backwards"),
        ("*  * * * *", "five fields"),
        ("@daily", "five fields"),
        ("", "five fields"),
        ("\u0665 * * * *", "nothing that goscheduler takes"),
    ],
)
def test_what_it_cannot_say_is_refused_with_the_reason(theirs: str, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        translate(theirs)


def rule(expression: str) -> Callable[[datetime], bool]:
    """Return whether goscheduler runs it at a minute: its parser, once, and its comparison, as they are."""
    minutes, hours, days, months, weekdays = (
        _listed(part, first, below)
        for part, (first, below) in zip(
            expression.split(" "), [(0, 60), (0, 24), (1, 31), (1, 0), (0, 0)], strict=True
        )
    )

    def matches(at: datetime) -> bool:
        return (
            (not minutes or at.minute in minutes)
            and (not hours or at.hour in hours)
            and (not days or at.day in days)
            and (not months or at.month in months)
            and (not weekdays or at.isoweekday() % 7 in weekdays)
        )

    return matches


def _listed(part: str, first: int, below: int) -> set[int]:
    """Return what a field lists; nothing: every value will do."""
    listed: set[int] = set()
    if "/" in part:
        start, step = part.split("/")
        begin = 0 if start == "*" else -(-int(start) // int(step)) * int(step)
        return {each for each in range(begin, below, int(step)) if each >= first}
    if part != "*":
        for each in part.split(","):
            low, _, high = each.partition("-")
            listed |= set(range(int(low), int(high or low) + 1))
    return listed


@pytest.mark.parametrize(
    "theirs", ["5/25 */7 * * *", "0 3 */10 * *", "0,30 6-8 * 1,3 *", "15 12 * * 1-5", "1-4 0 5,31 * *"]
)
def test_a_year_of_minutes_agrees_with_goschedulers_own_rule(theirs: str) -> None:
    times = parse_times({"cronExpression": translate(theirs), "timeZone": "UTC"}, None)
    start = datetime(2027, 1, 1, tzinfo=UTC)
    matches = rule(theirs)
    said = [at for n in range(120 * 24 * 60) if matches(at := start + timedelta(minutes=n))]
    ours, after_ms = list[datetime](), int(start.timestamp() * 1_000) - 1
    while (run := next_after(times, after_ms)) is not None and len(ours) < len(said):
        ours.append(datetime.fromtimestamp(run.nominal_ms / 1_000, UTC))
        after_ms = run.nominal_ms
    assert ours == said
