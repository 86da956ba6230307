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
