"""Expressions and definitions: what each form means, what is refused and why, and goscheduler's parser."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime
from decimal import Decimal

import pytest

from ringtime_shared.api.instants import parse_instant
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.models.times import DstGap, DstOverlap, Interval, Run, Times, Unit, Window
from ringtime_shared.recurring.parsing import parse_times
from ringtime_shared.recurring.rules import cron_of
from ringtime_shared.recurring.runs import next_after, preview


def walls(expression: str, after: str = "2026-01-01 00:00", n: int = 4) -> list[str]:
    """Return the next wall times of an expression, as "01-31 09:00"."""
    found: list[str] = []
    wall = cron_of(expression).next_wall(datetime.fromisoformat(after))
    while len(found) < n and wall is not None:
        found.append(wall.strftime("%m-%d %H:%M"))
        wall = cron_of(expression).next_wall(wall)
    return found


def days(expression: str, after: str = "2026-01-01 00:00", n: int = 4) -> list[str]:
    return [wall[:5] for wall in walls(f"0 12 {expression}", after, n)]


def fault_of(**fields: object) -> dict[str, str]:
    """Return the rules that are broken, by field."""
    with pytest.raises(InvalidRequest) as caught:
        parse_times(fields)
    return {violation.field: violation.rule for violation in caught.value.violations}


def cron_fault(expression: str) -> str:
    return fault_of(cronExpression=expression, timeZone="UTC")["cronExpression"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("*/20 * * * *", ["01-01 00:20", "01-01 00:40", "01-01 01:00", "01-01 01:20"]),
        ("5/25 0 * * *", ["01-01 00:05", "01-01 00:30", "01-01 00:55", "01-02 00:05"]),
        ("10-50/20 9,18 * * *", ["01-01 09:10", "01-01 09:30", "01-01 09:50", "01-01 18:10"]),
        ("0,30-31,*/45 7 * * *", ["01-01 07:00", "01-01 07:30", "01-01 07:31", "01-01 07:45"]),
        ("0 12 1 JAN,mar *", ["01-01 12:00", "03-01 12:00", "01-01 12:00", "03-01 12:00"]),
        ("0 12 * * Mon-wed", ["01-05 12:00", "01-06 12:00", "01-07 12:00", "01-12 12:00"]),
        ("0 12 * * 7", ["01-04 12:00", "01-11 12:00", "01-18 12:00", "01-25 12:00"]),
        ("0 12 * * 0", ["01-04 12:00", "01-11 12:00", "01-18 12:00", "01-25 12:00"]),
        ("0 12 * * 5-7", ["01-02 12:00", "01-03 12:00", "01-04 12:00", "01-09 12:00"]),
        ("  0\t12  *   * 1 ", ["01-05 12:00", "01-12 12:00", "01-19 12:00", "01-26 12:00"]),
        ("@hourly", ["01-01 01:00", "01-01 02:00", "01-01 03:00", "01-01 04:00"]),
        ("@Daily", ["01-02 00:00", "01-03 00:00", "01-04 00:00", "01-05 00:00"]),
        ("@midnight", ["01-02 00:00", "01-03 00:00", "01-04 00:00", "01-05 00:00"]),
        ("@weekly", ["01-04 00:00", "01-11 00:00", "01-18 00:00", "01-25 00:00"]),
        ("@monthly", ["02-01 00:00", "03-01 00:00", "04-01 00:00", "05-01 00:00"]),
        ("@yearly", ["01-01 00:00"] * 4),
        ("@annually", ["01-01 00:00"] * 4),
    ],
)
def test_what_an_expression_means(expression: str, expected: list[str]) -> None:
    assert walls(expression) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("L * *", ["01-31", "02-28", "03-31", "04-30"]),
        ("LW * *", ["01-30", "02-27", "03-31", "04-30"]),
        ("* * 5L", ["01-30", "02-27", "03-27", "04-24"]),
        ("* * 1#2", ["01-12", "02-09", "03-09", "04-13"]),
        ("* * MON#5", ["03-30", "06-29", "08-31", "11-30"]),
        ("13 * FRI", ["01-02", "01-09", "01-13", "01-16"]),  # either
        ("*/2 * MON", ["01-05", "01-19", "02-09", "02-23"]),  # both: it begins with a star
        ("1-7 * */7", ["01-04", "02-01", "03-01", "04-05"]),
        ("30 2 MON", ["02-02", "02-09", "02-16", "02-23"]),  # either, and one of them never
        ("29 2 *", ["02-29", "02-29", "02-29", "02-29"]),
        ("31 * *", ["01-31", "03-31", "05-31", "07-31"]),
    ],
)
def test_which_days_an_expression_means(fields: str, expected: list[str]) -> None:
    assert days(fields) == expected


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("   ", "must have five fields"),
        (
            "* * * *",
            "must have five fields, minute, hour, day of the month, month, day of the week; it has 4",
        ),
        ("0 * * * * *", "it has 6"),
        ("0 0 0 1 1 ? 2026", "it has 7"),
        ("60 * * * *", "the field minute must be of 0 to 59"),
        ("* 24 * * *", "the field hour must be of 0 to 23"),
        ("* * 0 * *", "the field day of the month must be of 1 to 31"),
        ("* * 32 * *", "the field day of the month"),
        ("* * * 13 *", "the field month must be of 1 to 12 or JAN to DEC"),
        ("* * * * 8", "the field day of the week must be of 0 to 7 or SUN to SAT"),
        ("* * * * FRIDAY", "the field day of the week"),
        ("* * * * 1#6", "the field day of the week"),
        ("* * ? * *", "the field day of the month"),
        ("* * 15W * *", "the field day of the month"),
        ("30-10 * * * *", "the field minute must be of 0 to 59; each may be *, a value, a list"),
        ("* * * * FRI-MON", "the field day of the week"),
        ("-5 * * * *", "the field minute"),
        ("*/-5 * * * *", "the field minute"),
        ("*/1.5 * * * *", "the field minute"),
        ("1_0 * * * *", "the field minute"),
        (",5 * * * *", "the field minute"),
        ("H * * * *", "the field minute"),
        ("*/0 * * * *", "a step must be 1 or more; the field minute is */0"),
        ("* 5/0 * * *", "a step must be 1 or more; the field hour is 5/0"),
        ("* * 1-9/000 * *", "a step must be 1 or more"),
        ("@reboot", "must be one of @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly"),
        ("@every 5m", "must be one of @yearly"),
        ("0 0 30 2 *", "never matches: there is no 30 in month 2"),
        ("0 0 31 2,4,6,9,11 *", "never matches: there is no 31 in month 2,4,6,9,11"),
        ("0 0 */20 * 1L", "never matches: there is no such day in 28 years"),
        ("\uff15 * * * *", "must be of printable ASCII"),
        ("5\n* * * *", "must be of printable ASCII"),
        ("5\x00 * * * *", "must be of printable ASCII"),
        ("1," * 100 + "1 * * * *", "must be no longer than 200 characters"),
        ("*" * 10_240, "must be no longer than 200 characters"),
    ],
)
def test_what_is_wrong_with_an_expression_is_told(expression: str, fault: str) -> None:
    assert fault in cron_fault(expression)


def test_the_worst_expressions_are_judged_in_milliseconds() -> None:
    """Where the days have to be tried one by one, and where 200 characters are used up."""
    for expression in (
        "* * */20 * 1L",
        "* * LW 2 */6",
        ",".join(["*/1"] * 47) + " * * * *",
        "0 0 29 2 MON#5",
    ):
        begin = time.process_time()
        with suppress(InvalidRequest):
            parse_times({"cronExpression": expression}, "UTC")
        assert time.process_time() - begin < 0.25  # 15 ms on a quiet machine


#: goscheduler's own forms: what it makes of them, and what they are here, from 1 January 2026
@pytest.mark.parametrize(
    ("expression", "there", "here"),
    [
        ("*/20 * * * *", "the same", ["01-01 00:20", "01-01 00:40", "01-01 01:00"]),
        ("0 9-11 * * *", "the same", ["01-01 09:00", "01-01 10:00", "01-01 11:00"]),
        ("0 9 1 jan,Feb *", "the same", ["01-01 09:00", "02-01 09:00", "01-01 09:00"]),
        ("0 9 * * sun,3", "the same", ["01-04 09:00", "01-07 09:00", "01-11 09:00"]),
        ("5/25 0 * * *", "25 and 50: the value is rounded up", ["01-01 00:05", "01-01 00:30", "01-01 00:55"]),
        ("0 0 */10 * *", "10, 20 and 30: counted from 0", ["01-11 00:00", "01-21 00:00", "01-31 00:00"]),
        ("0 0 */15 * *", "15 and 30, never 31", ["01-16 00:00", "01-31 00:00", "02-01 00:00"]),
        ("0 0 */31 * *", "every day: its list is empty", ["02-01 00:00", "03-01 00:00", "04-01 00:00"]),
        ("0 0 13 * FRI", "Fridays the 13th: both match", ["01-02 00:00", "01-09 00:00", "01-13 00:00"]),
        ("0 0 * * 7", "refused", ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
        ("0-30/15 0 * * *", "refused", ["01-01 00:15", "01-01 00:30", "01-02 00:00"]),
        ("1,*/30 0 * * *", "refused", ["01-01 00:01", "01-01 00:30", "01-02 00:00"]),
        ("0 0 1 */6 *", "refused", ["07-01 00:00", "01-01 00:00", "07-01 00:00"]),
        ("0 0 * * MON-TUE", "refused", ["01-05 00:00", "01-06 00:00", "01-12 00:00"]),
        ("0  0 * * 1", "refused: two spaces", ["01-05 00:00", "01-12 00:00", "01-19 00:00"]),
    ],
)
def test_goschedulers_expressions(expression: str, there: str, here: list[str]) -> None:
    assert walls(expression, n=3) == here, there
    assert parse_times({"cronExpression": expression}, "UTC").zone == "UTC"


@pytest.mark.parametrize(
    ("expression", "there"),
    [
        ("*/0 * * * *", "never ends, and takes all memory"),
        ("5/0 * * * *", "divides by zero"),
        ("0 0 30 2 *", "accepted, never runs"),
    ],
)
def test_what_harms_goscheduler_is_refused(expression: str, there: str) -> None:
    assert cron_fault(expression), there


def test_a_zone_comes_before_the_expression_or_by_itself() -> None:
    before = parse_times({"cronExpression": "CRON_TZ=Asia/Tokyo 0 9 * * *"})
    both = parse_times({"cronExpression": "CRON_TZ=Asia/Tokyo 0 9 * * *", "timeZone": "Asia/Tokyo"})

    assert before == both == Times(cron="0 9 * * *", zone="Asia/Tokyo")
    assert parse_times({"cronExpression": "CRON_TZ=Asia/Tokyo @daily"}).cron == "@daily"
    assert parse_times({"cronExpression": "@daily"}, "UTC").zone == "UTC"
    assert parse_times({"cronExpression": "@daily", "timeZone": "US/Eastern"}, "UTC").zone == "US/Eastern"


@pytest.mark.parametrize(
    ("fields", "field", "fault"),
    [
        ({"timeZone": None}, "timeZone", "required: the IANA name of a time zone"),
        ({"timeZone": ""}, "timeZone", "required: the IANA name of a time zone"),
        ({"timeZone": 5}, "timeZone", "must be text"),
        ({"timeZone": "Mars/Olympus"}, "timeZone", "there is no time zone Mars/Olympus"),
        ({"timeZone": "europe/berlin"}, "timeZone", "is it Europe/Berlin?"),
        ({"timeZone": "../../etc/passwd"}, "timeZone", "there is no time zone"),
        ({"timeZone": "x" * 10_000}, "timeZone", "there is no time zone xxx"),
        ({"timeZone": "+02:00"}, "timeZone", "there is no time zone +02:00"),
        (
            {"cronExpression": "CRON_TZ=Mars/X * * * * *", "timeZone": None},
            "cronExpression",
            "no time zone Mars/X",
        ),
        ({"cronExpression": "CRON_TZ= * * * * *", "timeZone": None}, "timeZone", "required"),
        (
            {"cronExpression": "CRON_TZ=UTC * * * * *", "timeZone": "Asia/Tokyo"},
            "timeZone",
            "the same as CRON_TZ",
        ),
        ({"cronExpression": None}, "cronExpression", "required, or else interval"),
        ({"cronExpression": ""}, "cronExpression", "required, or else interval"),
        ({"cronExpression": 5}, "cronExpression", "must be text"),
        ({"interval": {"every": 1, "unit": "days"}}, "interval", "must not be given beside"),
        ({"startTime": "2026-01-01"}, "startTime", "an instant like"),
        ({"startTime": True}, "startTime", ""),
        ({"startTime": [5]}, "startTime", ""),
        ({"startTime": -1}, "startTime", "must not be before 1970"),
        ({"startTime": "5000-01-01T00:00:00Z"}, "startTime", "must be before the year 5000"),
        ({"startTime": float("nan")}, "startTime", "too large"),
        ({"startTime": Decimal("Infinity")}, "startTime", "too large"),
        ({"startTime": 200, "endTime": 200}, "endTime", "must be later than startTime"),
        ({"startTime": 200, "endTime": 100}, "endTime", "must be later than startTime"),
        ({"maxRuns": 0}, "maxRuns", "must be a whole number from 1 to"),
        ({"maxRuns": 1.5}, "maxRuns", "must be a whole number"),
        ({"maxRuns": True}, "maxRuns", "must be a whole number"),
        ({"maxRuns": "5"}, "maxRuns", "must be a whole number"),
        ({"dstGap": "Shift"}, "dstGap", "must be skip or shift or keep or cron"),
        ({"dstOverlap": ["both"]}, "dstOverlap", "must be first or second or both or cron"),
        ({"exclusionCalendars": "x"}, "exclusionCalendars", "must be a list of at most 10 names"),
        ({"exclusionCalendars": ["a/b"]}, "exclusionCalendars", "must be a list"),
        ({"exclusionCalendars": [f"c{n}" for n in range(11)]}, "exclusionCalendars", "must be a list"),
        ({"windowMs": 86_400_001}, "windowMs", "must be a whole number from 1 to 86400000"),
        ({"windowShare": 0}, "windowShare", "must be a number over 0 and up to 1"),
        ({"windowShare": Decimal("1.01")}, "windowShare", "must be a number over 0"),
        ({"windowShare": float("nan")}, "windowShare", "must be a number over 0"),
        ({"windowShare": Decimal("NaN")}, "windowShare", "must be a number over 0"),
        ({"windowShare": Decimal("sNaN")}, "windowShare", "must be a number over 0"),
        ({"windowShare": 10**400}, "windowShare", "must be a number over 0"),
        ({"windowShare": Decimal("1e-400")}, "windowShare", "must be a number over 0"),
        ({"windowShare": 0.5, "windowMs": 5}, "windowShare", "must not be given beside windowMs"),
        ({"dialect": 2}, "dialect", "must be a whole number from 1 to 1"),
    ],
)
def test_what_is_wrong_with_a_definition_is_told(fields: dict[str, object], field: str, fault: str) -> None:
    faults = fault_of(**({"cronExpression": "@daily", "timeZone": "UTC"} | fields))

    assert set(faults) == {field}
    assert fault in faults[field]


@pytest.mark.parametrize(
    ("interval", "field", "fault"),
    [
        (5, "interval", "must be an object with every, unit, anchorTime"),
        ({"unit": "days"}, "interval.every", "required"),
        ({"every": 1}, "interval.unit", "required: seconds or minutes or hours or days or weeks or months"),
        ({"every": 0, "unit": "days"}, "interval.every", "from 1 to 365"),
        ({"every": 1.0, "unit": "days"}, "interval.every", "from 1 to 365"),
        ({"every": 121, "unit": "months"}, "interval.every", "from 1 to 120"),
        ({"every": 1, "unit": "years"}, "interval.unit", "must be seconds or"),
        ({"every": 1, "unit": "days", "anchor": 5}, "interval.anchor", "must not be given; known are every"),
        ({"every": 1, "unit": "days", "anchorTime": "x"}, "interval.anchorTime", "an instant like"),
    ],
)
def test_what_is_wrong_with_an_interval_is_told(interval: object, field: str, fault: str) -> None:
    faults = fault_of(interval=interval, timeZone="UTC", startTime=0)

    assert set(faults) == {field}
    assert fault in faults[field]


def test_an_interval_needs_an_anchor_or_a_start() -> None:
    every = {"every": 2, "unit": "weeks"}

    assert "interval.anchorTime" in fault_of(interval=every, timeZone="UTC")
    assert parse_times({"interval": every, "timeZone": "UTC", "startTime": 5}).interval == Interval(
        2, Unit.WEEKS, 5_000
    )
    assert parse_times({"interval": every | {"anchorTime": 7}, "timeZone": "UTC"}).interval == Interval(
        2, Unit.WEEKS, 7_000
    )


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert set(fault_of(cronExpression="*/0 * * * *", timeZone="x", startTime=9, endTime=8, maxRuns=0)) == {
        "cronExpression",
        "timeZone",
        "endTime",
        "maxRuns",
    }


def test_a_whole_definition_is_read() -> None:
    times = parse_times(
        {
            "cronExpression": "0 9 * * MON-FRI",
            "timeZone": "Europe/Berlin",
            "startTime": 1_790_000_000,
            "endTime": "2027-01-01T00:00:00Z",
            "maxRuns": 5,
            "dstGap": "keep",
            "dstOverlap": "both",
            "exclusionCalendars": ["holidays", "inventory", "holidays"],
            "windowShare": Decimal("0.25"),
            "somethingElse": 7,
        }
    )

    assert times == Times(
        cron="0 9 * * MON-FRI",
        zone="Europe/Berlin",
        start_ms=1_790_000_000_000,
        end_ms=parse_instant("2027-01-01T00:00:00Z"),
        count=5,
        dst_gap=DstGap.KEEP,
        dst_overlap=DstOverlap.BOTH,
        calendars=("holidays", "inventory"),
        window=Window(share=0.25),
    )


def test_a_dialect_of_a_later_version_is_not_guessed_at() -> None:
    with pytest.raises(ValueError, match="dialect 2"):
        next_after(Times(cron="@daily", dialect=2), 0)
    with pytest.raises(ValueError, match="no zone Mars/X"):
        next_after(Times(cron="@daily", zone="Mars/X"), 0)


@pytest.mark.parametrize(
    ("every", "unit", "anchor", "zone", "expected"),
    [
        (
            6,
            "hours",
            "2026-03-28T18:00:00Z",
            "Europe/Berlin",
            ["28 19:00", "29 01:00", "29 08:00", "29 14:00"],
        ),
        (
            1,
            "days",
            "2026-03-28T01:30:00Z",
            "Europe/Berlin",
            ["28 02:30", "29 03:00", "30 02:30", "31 02:30"],
        ),
        (
            2,
            "weeks",
            "2026-03-20T08:00:00Z",
            "Europe/Berlin",
            ["20 09:00", "03 09:00", "17 09:00", "01 09:00"],
        ),
        (
            1,
            "months",
            "2026-01-31T08:00:00Z",
            "Europe/Berlin",
            ["31 09:00", "28 09:00", "31 09:00", "30 09:00"],
        ),
        (5, "months", "2026-08-31T10:00:00Z", "UTC", ["31 10:00", "31 10:00", "30 10:00", "30 10:00"]),
        (90, "seconds", "2026-01-01T00:00:00.250Z", "UTC", ["01 00:00", "01 00:01", "01 00:03", "01 00:04"]),
    ],
)
def test_intervals(every: int, unit: str, anchor: str, zone: str, expected: list[str]) -> None:
    """Elapsed time up to hours, wall time from days on, and months that keep the anchor's day."""
    times = parse_times({"interval": {"every": every, "unit": unit, "anchorTime": anchor}, "timeZone": zone})
    shown = [each for each in preview(times, 4, 0) if isinstance(each, Run)]

    assert shown[0].nominal_ms == parse_instant(anchor)
    local = [each.wall if each.effect is None else each.wall.replace(hour=3, minute=0) for each in shown]
    assert [wall.strftime("%d %H:%M") for wall in local] == expected


def test_a_window_is_a_stable_part_of_its_length() -> None:
    def late(key: str, **window: object) -> list[int]:
        times = parse_times({"cronExpression": "0 * * * *", "timeZone": "UTC", **window})
        shown = [each for each in preview(times, 3, 0, key=key) if isinstance(each, Run)]
        return [each.effective_ms - each.nominal_ms for each in shown]

    assert late("a", windowMs=60_000) == [late("a", windowMs=60_000)[0]] * 3
    assert late("a", windowMs=60_000) == [15_227] * 3  # as ever: a change would move what is stored
    assert late("a", windowShare=0.5) == [late("a", windowMs=1_800_000)[0]] * 3
    assert late("a") == [0, 0, 0]


def test_many_definitions_spread_evenly_over_a_window() -> None:
    times = parse_times({"cronExpression": "0 9 * * *", "timeZone": "UTC", "windowMs": 60_000})
    seconds = [0] * 60
    for n in range(10_000):
        run = next_after(times, 0, key=f"app/{n}")
        assert run is not None
        seconds[(run.effective_ms - run.nominal_ms) // 1_000] += 1

    assert max(seconds) <= 10_000 / 40  # even would be 167
