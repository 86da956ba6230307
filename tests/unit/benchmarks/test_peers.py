"""The benchmark beside other schedulers: what it judges and shows. No scheduler is run here."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from benchmarks.peers.__main__ import main
from benchmarks.peers.judging import Arrival, Ledger, Result, judge
from benchmarks.peers.report import picture, put_between, table

DUE_MS = 1_000_000


def came(*arrivals: tuple[int, float]) -> list[Arrival]:
    """Arrivals of jobs, each a number and its lag; all were due at once."""
    return [Arrival(number, DUE_MS, DUE_MS + lag_ms) for number, lag_ms in arrivals]


def result(name: str = "River", scenario: str = "kill", **changes: object) -> Result:
    arrivals = came((0, 5.0), (1, 7.0), (1, 9_000.0), (2, -400.0))
    judged = judge(range(5), arrivals, unfinished=1)
    given = {"system": name, "version": "1", "scenario": scenario, "judged": judged, "waited_s": 90.0}
    return Result(**{**given, **changes})  # type: ignore[arg-type]


def test_each_promise_is_judged_once_a_job() -> None:
    found = result().judged
    assert (found.jobs, found.done) == (5, 3)
    assert (found.early, found.earliest_ms) == (1, 400.0)
    assert found.duplicates == 1
    assert (found.stuck, found.lost) == (1, 1)  # the system holds one of the two that did not come
    assert (found.p50_ms, found.p99_ms, found.max_ms) == (5.0, 7.0, 7.0)  # a duplicate is no lag


def test_a_system_that_counts_more_than_is_missing_lost_nothing() -> None:
    found = judge(range(2), came((0, 1.0)), unfinished=40)  # it has yet to note what it has done
    assert (found.stuck, found.lost) == (1, 0)


def test_jobs_of_another_scenario_are_left_aside() -> None:
    found = judge(range(10, 12), came((9, 1.0), (10, 2.0), (11, 4.0), (12, -5.0)), unfinished=0)
    assert (found.done, found.early, found.lost, found.max_ms) == (2, 0, 0, 4.0)
    assert found.per_s == pytest.approx(2 / 0.004)


def test_a_job_that_never_came_has_no_end_in_the_picture() -> None:
    found = judge(range(4), came((0, 1.0), (1, 2.0)), unfinished=0)
    assert found.quantiles[100] == 2.0
    assert math.isinf(found.quantiles[-1])
    assert found.max_ms == 2.0


def test_nothing_done_is_shown_as_never() -> None:
    nothing = judge(range(3), [], unfinished=3)
    assert (nothing.stuck, nothing.lost, nothing.per_s) == (3, 0, 0.0)
    assert "| never | never | never |" in table([result(judged=nothing)])


def test_a_ledger_is_read_as_it_grows() -> None:
    noted = [("/callback/7/1000", 1000.5)]
    ledger = Ledger(lambda first: noted[first:])
    ledger.read()
    assert ledger.arrivals == [Arrival(7, 1000, 1000.5)]
    noted += [("/callback/8/1000", 1001.25), ("/callback/8/1000", 1002.0)]
    ledger.read()
    assert [each.number for each in ledger.arrivals] == [7, 8, 8]
    assert ledger.done(range(8)) == 1
    assert ledger.done(range(100)) == 2


def test_the_table_has_a_block_for_each_scenario_and_tells_losses() -> None:
    lines = table(
        [
            result(scenario="kill", recovery_s=11.26),
            result("BullMQ", "burst", cpu_us={"worker": 500.0, "database": 70.0}),
        ]
    ).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| **burst")
    assert lines[3].startswith("| BullMQ | 5 |")
    assert "| 1 by up to 400 ms | 1 | 1 | 1 |" in lines[3]
    assert lines[3].endswith("| 570: worker 500, database 70 |")
    assert lines[5].startswith("| River |")
    assert "| not in 90 |" in lines[5]  # it came back after 11 s, but not with all


def test_recovery_is_told_where_all_came() -> None:
    whole = judge(range(1), came((0, 1.0)), unfinished=0)
    assert "| 11.3 |" in table([result(judged=whole, recovery_s=11.26)])


def test_the_picture_has_a_line_for_each_system() -> None:
    drawing = picture([result("River", "burst"), result("a < b", "burst"), result("River", "kill")])
    assert drawing.count("<polyline") == 3
    assert "a &lt; b" in drawing
    assert "inf" not in drawing
    assert "nan" not in drawing


def test_a_result_is_kept_as_it_was() -> None:
    kept = result(recovery_s=2.0, cpu_us={"worker": 3.0}, waiting=7)
    assert Result.from_json(json.loads(json.dumps(kept.to_json()))) == kept


def test_a_section_of_a_page_is_replaced_and_the_rest_stays() -> None:
    page = put_between("# Benchmarks\n\nbefore\n", "old")
    assert put_between(page + "\nafter\n", "new") == page.replace("old", "new") + "\nafter\n"
    assert put_between("", "first") == "<!-- peers: begin -->\nfirst\n<!-- peers: end -->\n"


def test_a_wrong_name_is_answered_with_all_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["peers", "--systems", "nobody"])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().err
    assert "nobody; there are ringtime, split, river, river-rescue-15-s, asynq, bullmq" in said


def test_the_table_is_made_of_what_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    kept = tmp_path / ".ringtime" / "peers" / "results"
    kept.mkdir(parents=True)
    (kept / "river.kill.json").write_text(json.dumps(result(recovery_s=1.0).to_json()))
    monkeypatch.setattr("sys.argv", ["peers", "--report", "--docs"])
    main()
    shown = capsys.readouterr().out
    assert "| River | 5 |" in shown
    page = (tmp_path / "docs" / "benchmarks.md").read_text()
    assert shown.strip() in page
    assert "River 1" in page
    assert (tmp_path / "docs" / "peers.svg").read_text().startswith("<svg")
