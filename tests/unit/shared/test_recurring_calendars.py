"""Exclusion calendars: what is read of days, spans and ICS, what is refused, and what does not run."""

from __future__ import annotations

from datetime import date
from random import Random

import pytest

from ringtime_shared.api.instants import parse_instant, to_iso
from ringtime_shared.api.times import calendar_to_json
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.models.times import Exclusions, Omitted, Run
from ringtime_shared.recurring import calendars
from ringtime_shared.recurring.calendars import MAX_DAYS, merge, parse_calendar, resolve
from ringtime_shared.recurring.parsing import parse_times
from ringtime_shared.recurring.runs import next_after, preview

NOW_MS = parse_instant("2026-11-26T00:00:00Z")


def ics(*events: str) -> str:
    body = "".join(f"BEGIN:VEVENT\nUID:{n}\n{event}\nEND:VEVENT\n" for n, event in enumerate(events))
    return f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\n{body}END:VCALENDAR\n"


def days_of(*events: str) -> list[str]:
    return [day.isoformat() for day in sorted(parse_calendar({"ics": ics(*events)}, NOW_MS).dates)]


def spans_of(*events: str) -> list[tuple[str, str]]:
    return [(to_iso(a)[:16], to_iso(b)[:16]) for a, b in parse_calendar({"ics": ics(*events)}, NOW_MS).spans]


def fault_of(fields: dict[str, object]) -> str:
    with pytest.raises(InvalidRequest) as caught:
        parse_calendar(fields, NOW_MS)
    return str(caught.value)


def test_days_spans_and_a_file_count_together() -> None:
    calendar = parse_calendar(
        {
            "dates": ["2026-12-25", "2026-12-24"],
            "spans": [{"startTime": "2026-12-31T12:00:00Z", "endTime": "2026-12-31T18:00:00Z"}],
            "ics": ics("DTSTART;VALUE=DATE:20270101"),
        },
        NOW_MS,
    )

    assert calendar.dates == {date(2026, 12, 24), date(2026, 12, 25), date(2027, 1, 1)}
    assert len(calendar.spans) == 1
    assert parse_calendar(calendar_to_json(calendar), NOW_MS) == calendar


def test_an_event_of_days_excludes_each_and_not_the_one_it_ends_on() -> None:
    assert days_of("DTSTART;VALUE=DATE:20261224\nDTEND;VALUE=DATE:20261227") == [
        "2026-12-24",
        "2026-12-25",
        "2026-12-26",
    ]
    assert days_of("DTSTART;VALUE=DATE:20261224\nDURATION:P2D") == ["2026-12-24", "2026-12-25"]
    assert days_of("DTSTART;VALUE=DATE:20261224") == ["2026-12-24"]


def test_an_event_of_hours_is_a_span_in_its_zone() -> None:
    assert spans_of("DTSTART;TZID=Europe/Berlin:20261224T120000\nDURATION:PT2H") == [
        ("2026-12-24T11:00", "2026-12-24T13:00")
    ]
    assert spans_of("DTSTART;TZID=W. Europe Standard Time:20260701T120000\nDURATION:PT2H") == [
        ("2026-07-01T10:00", "2026-07-01T12:00")
    ]
    assert spans_of("DTSTART:20261224T120000Z\nDTEND:20261224T120000Z") == []


def test_what_repeats_every_year_is_followed_for_ten_years() -> None:
    christmas = days_of("DTSTART;VALUE=DATE:20001225\nRRULE:FREQ=YEARLY\nEXDATE;VALUE=DATE:20271225")
    thanksgiving = days_of(
        "DTSTART;VALUE=DATE:20201126\nRRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=4TH;UNTIL=20281201"
    )

    assert christmas == ["2000-12-25", *(f"{year}-12-25" for year in (2025, 2026, *range(2028, 2036)))]
    assert thanksgiving == ["2020-11-26", "2025-11-27", "2026-11-26", "2027-11-25", "2028-11-23"]
    assert days_of("DTSTART;VALUE=DATE:20261231\nRDATE;VALUE=DATE:20270105") == ["2026-12-31", "2027-01-05"]


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({}, "dates: required, or spans, or ics"),
        ({"dates": "2026-12-25"}, "dates: must be a list of at most 1000 days"),
        ({"dates": ["2026-02-30"]}, "dates: must be a list"),
        ({"dates": ["20261225"]}, "dates: must be a list"),
        ({"dates": ["2026-W52-5"]}, "dates: must be a list"),
        ({"dates": ["1969-12-31"]}, "from 1970 to 4999"),
        ({"dates": ["2026-12-25"] * (MAX_DAYS + 1)}, "dates: must be a list of at most 1000"),
        ({"spans": [{"startTime": 5, "endTime": 5}]}, "spans: must be a list"),
        ({"spans": [{"startTime": 5}]}, "spans: must be a list"),
        ({"spans": [7]}, "spans: must be a list"),
        ({"ics": 7}, "ics: must be the text"),
        ({"ics": "x" * 300_000}, "ics: must be the text"),
        ({"ics": ""}, "ics: cannot be read"),
        ({"ics": "hello"}, "ics: cannot be read"),
        ({"ics": ics("SUMMARY:x")}, "ics: cannot be read"),
        ({"ics": ics("DTSTART;VALUE=DATE:20261301")}, "DTSTART"),
        ({"ics": ics("DTSTART;VALUE=DATE:20261225\nDTEND;VALUE=DATE:20261220")}, "ends before it begins"),
        ({"ics": ics("DTSTART;VALUE=DATE:20261225\nDTEND;VALUE=DATE:21261220")}, "must end later"),
        ({"ics": ics("DTSTART:20261224T120000\nDURATION:PT1H")}, "has no zone"),
        ({"ics": ics("DTSTART;TZID=Mars/X:20261224T120000\nDURATION:PT1H")}, "has no zone"),
        ({"ics": ics("DTSTART;VALUE=DATE:20261225\nRRULE:FREQ=SECONDLY")}, "FREQ=YEARLY"),
        ({"ics": ics("DTSTART;VALUE=DATE:20261225\nRRULE:FREQ=YEARLY;BYSECOND=1")}, "FREQ=YEARLY"),
        ({"ics": ics("DTSTART;VALUE=DATE:20261225\nRRULE:FREQ=YEARLY;INTERVAL=0")}, "INTERVAL"),
        (
            {"ics": ics("DTSTART;VALUE=DATE:20261225\nRRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30")},
            "there is no day",
        ),
        (
            {"ics": ics(*["DTSTART;VALUE=DATE:20261225\nRRULE:FREQ=YEARLY"] * 101)},
            "more than 100 events repeat",
        ),
    ],
)
def test_what_is_wrong_with_a_calendar_is_told(fields: dict[str, object], fault: str) -> None:
    assert fault in fault_of(fields)


@pytest.mark.parametrize(
    "event",
    [
        "DTSTART;VALUE=DATE:99991231",
        "DTSTART:20260101T000000\nDTEND;TZID=Europe/Berlin:20260329T023000",
        "DTSTART:20260101T000000Z\nEXDATE;VALUE=PERIOD:20260101T000000Z/PT1H",
        "DTSTART;VALUE=DATE:20260101\nRRULE:FREQ=YEARLY;BYDAY=99MO",
    ],
)
def test_an_event_that_contradicts_itself_is_refused(event: str) -> None:
    assert "ics: cannot be read as ICS" in fault_of({"ics": ics(event)})


def test_a_file_cannot_bring_zones_that_repeat_without_end() -> None:
    zone = (
        "BEGIN:VTIMEZONE\nTZID:Own\nBEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0200\n"
        "RRULE:FREQ=SECONDLY\nEND:STANDARD\nEND:VTIMEZONE\n"
    )
    text = ics("DTSTART;TZID=Own:20261224T120000\nDURATION:PT1H").replace(
        "BEGIN:VEVENT", zone + "BEGIN:VEVENT", 1
    )

    assert "has no zone" in fault_of({"ics": text})


def test_whatever_a_file_says_is_read_or_refused() -> None:
    rng = Random(4)
    whole = ics(
        "DTSTART;VALUE=DATE:20261224\nDTEND;VALUE=DATE:20261227\nRRULE:FREQ=YEARLY;COUNT=3;BYDAY=MO",
        "DTSTART;TZID=Europe/Berlin:20261224T120000\nDURATION:PT2H\nEXDATE:20261224T120000Z\nRDATE:20270101T000000Z",
    )
    for _ in range(400):
        text = whole
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(text))
            text = (
                text[:at]
                + rng.choice(["", "\n", ";", ":", "0", "9", "Z", "T", "=", "-"])
                + text[at + rng.randint(0, 3) :]
            )
        try:
            parse_calendar({"ics": text}, NOW_MS)
        except InvalidRequest:
            continue


def test_without_the_extra_a_file_is_refused_and_days_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> Exclusions:
        raise ImportError("icalendar")

    monkeypatch.setattr(calendars, "_read_ics", missing)

    assert "extra `calendars`" in fault_of({"ics": ics("DTSTART;VALUE=DATE:20270101")})
    assert parse_calendar({"dates": ["2027-01-01"]}, NOW_MS).dates == {date(2027, 1, 1)}


def test_calendars_of_a_definition_count_together() -> None:
    one = Exclusions(frozenset([date(2026, 1, 1)]), ((10, 20), (40, 50)))
    other = Exclusions(frozenset([date(2026, 1, 2)]), ((15, 30), (50, 60)))

    assert merge([one, other]) == Exclusions(
        frozenset([date(2026, 1, 1), date(2026, 1, 2)]), ((10, 30), (40, 60))
    )
    assert merge([]) == Exclusions()
    assert merge([one, other], parse_instant("2026-01-03T00:00:00Z")) == Exclusions(
        frozenset([date(2026, 1, 2)])
    )


def test_a_calendar_that_is_not_there_is_told() -> None:
    known = {"holidays": Exclusions(frozenset([date(2026, 1, 1)]))}

    assert resolve(["holidays"], known) == known["holidays"]
    with pytest.raises(InvalidRequest, match="exclusionCalendars: there is no calendar a, b in this app"):
        resolve(("a", "holidays", "b"), known)


def test_nothing_runs_on_an_excluded_day_or_in_a_span() -> None:
    times = parse_times({"cronExpression": "0 */8 * * *", "timeZone": "America/New_York"})
    begin = parse_instant("2026-12-24T00:00:00-05:00")
    span = (parse_instant("2026-12-26T07:00:00-05:00"), parse_instant("2026-12-26T16:00:00-05:00"))
    exclusions = Exclusions(frozenset([date(2026, 12, 25)]), (span,))
    shown = preview(times, 4, begin, exclusions=exclusions)

    assert [each.wall.strftime("%d %H") for each in shown if isinstance(each, Run)] == [
        "24 08",
        "24 16",
        "26 00",
        "26 16",
    ]
    assert [each.wall.strftime("%d %H") for each in shown if isinstance(each, Omitted)] == ["25 00", "26 08"]


@pytest.mark.timeout(10)
def test_a_definition_whose_every_day_is_excluded_ends_and_at_once() -> None:
    """A step for each excluded day at most, though it would run each minute of them."""
    days = frozenset(date.fromordinal(date(2026, 1, 1).toordinal() + n) for n in range(MAX_DAYS))
    times = parse_times(
        {"cronExpression": "* * * * *", "timeZone": "Europe/Berlin", "endTime": "2028-09-01T00:00:00Z"}
    )
    seconds = parse_times(
        {"interval": {"every": 1, "unit": "seconds", "anchorTime": 0}, "timeZone": "Europe/Berlin"}
    )
    found = next_after(seconds, NOW_MS, exclusions=Exclusions(days))

    assert next_after(times, NOW_MS, exclusions=Exclusions(days)) is None
    assert found is not None
    assert found.wall.isoformat() == "2028-09-27T00:00:00"


def test_minutes_of_the_day_before_that_come_again_still_run() -> None:
    """In Newfoundland clocks went back from 00:01, so the 29th came again after the 30th."""
    times = parse_times({"cronExpression": "* * * * *", "timeZone": "America/St_Johns"})
    shown = preview(
        times,
        2,
        parse_instant("2005-10-29T23:58:00-02:30"),
        exclusions=Exclusions(frozenset([date(2005, 10, 30)])),
    )

    assert [each.wall.strftime("%d %H:%M") for each in shown] == ["29 23:59", "30 00:00", "29 23:01"]
    assert isinstance(shown[1], Omitted)


def test_the_hour_that_comes_again_before_an_excluded_day_runs_twice() -> None:
    """In Cairo the last hour of 29 October comes twice; on the 30th nothing runs."""
    times = parse_times({"cronExpression": "0 * * * *", "timeZone": "Africa/Cairo"})
    shown = preview(
        times,
        3,
        parse_instant("2026-10-29T22:30:00+03:00"),
        exclusions=Exclusions(frozenset([date(2026, 10, 30)])),
    )

    assert [each.wall.strftime("%d %H") for each in shown if isinstance(each, Run)] == [
        "29 23",
        "29 23",
        "31 00",
    ]
