"""When recurring schedules run: expressions, intervals, limits, windows and calendars."""

from __future__ import annotations

from ringtime_shared.api.instants import parse_instant, to_iso
from ringtime_shared.api.times import times_to_json
from ringtime_shared.models.times import Run
from ringtime_shared.recurring.parsing import parse_times
from ringtime_shared.recurring.runs import next_after, preview


def runs_of(fields: dict[str, object], after: str, n: int = 3) -> list[str]:
    shown = preview(parse_times(fields), n, parse_instant(after))
    return [to_iso(run.nominal_ms)[:16] for run in shown if isinstance(run, Run)]


def test_a_cron_runs_at_its_wall_time_in_its_zone() -> None:
    fields: dict[str, object] = {"cronExpression": "0 9 * * MON-FRI", "timeZone": "Europe/Berlin"}

    assert runs_of(fields, "2026-03-26T12:00:00Z") == [
        "2026-03-27T08:00",
        "2026-03-30T07:00",
        "2026-03-31T07:00",
    ]


def test_the_run_after_a_run_is_the_next_of_the_preview() -> None:
    times = parse_times({"cronExpression": "@hourly", "timeZone": "UTC"})
    shown = preview(times, 5, 0)
    run = next_after(times, 0)
    chain: list[Run] = []
    while run is not None and len(chain) < 5:
        chain.append(run)
        run = next_after(times, run.nominal_ms, run.index)

    assert chain == shown
    assert [each.index for each in chain] == [1, 2, 3, 4, 5]


def test_times_are_stored_as_json_that_reads_the_same() -> None:
    fields: dict[str, object] = {
        "interval": {"every": 2, "unit": "weeks"},
        "timeZone": "Europe/Berlin",
        "startTime": "2026-01-05T08:00:00Z",
        "windowShare": 0.25,
    }
    times = parse_times(fields)

    assert parse_times(times_to_json(times)) == times


def test_a_run_may_be_at_the_start_and_not_at_the_end() -> None:
    fields: dict[str, object] = {
        "cronExpression": "0 9 * * *",
        "timeZone": "UTC",
        "startTime": "2026-03-05T09:00:00Z",
        "endTime": "2026-03-07T09:00:00Z",
    }

    assert runs_of(fields, "2026-01-01T00:00:00Z") == ["2026-03-05T09:00", "2026-03-06T09:00"]
    assert runs_of(fields, "2026-03-05T08:59:59.999Z") == ["2026-03-05T09:00", "2026-03-06T09:00"]
    assert runs_of(fields, "2026-03-06T09:00:00Z") == []


def test_runs_are_counted_from_the_index_that_is_given() -> None:
    times = parse_times({"cronExpression": "0 9 * * *", "timeZone": "UTC", "maxRuns": 3})

    assert len(preview(times, 9, 0)) == 3
    assert len(preview(times, 9, 0, index=2)) == 1
    assert next_after(times, 0, 3) is None


def test_a_preview_is_bounded() -> None:
    assert len(preview(parse_times({"cronExpression": "* * * * *"}, "UTC"), 10_000, 0)) == 100


def test_a_preview_begins_at_the_start() -> None:
    """What the clocks skipped in the years before is not told."""
    fields: dict[str, object] = {
        "timeZone": "Europe/Berlin",
        "startTime": "2026-03-30T00:00:00Z",
        "dstGap": "skip",
    }
    shown = preview(
        parse_times({"cronExpression": "30 2 * * *", **fields}), 2, parse_instant("2020-01-01T00:00:00Z")
    )

    assert [each.wall.isoformat() for each in shown] == ["2026-03-30T02:30:00", "2026-03-31T02:30:00"]


def test_nothing_is_planned_from_the_year_5000_on() -> None:
    late = parse_instant("4999-12-31T23:59:00Z")
    for fields in (
        {"cronExpression": "* * * * *", "timeZone": "UTC"},
        {"cronExpression": "* * * * *", "timeZone": "Europe/Berlin"},
        {"interval": {"every": 1, "unit": "minutes", "anchorTime": 0}, "timeZone": "UTC"},
        {"interval": {"every": 1, "unit": "months", "anchorTime": 0}, "timeZone": "Europe/Berlin"},
    ):
        assert next_after(parse_times(fields), late) is None
