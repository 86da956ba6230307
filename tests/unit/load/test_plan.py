"""Shapes, scaled; ramps; tenants; ledgers and the report's files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from ringtime_load.account import Account, Requests, Tally, judge
from ringtime_load.ledgers import Follower, Ledger
from ringtime_load.main import main
from ringtime_load.plan import MAX_USERS, SHAPES, Plan, Tenants, plan_of
from ringtime_load.report import verdict, write


def plan(name: str = "http", *, factor: float = 0.06, seconds: float = 20.0, ramp_s: float = 10.0) -> Plan:
    return plan_of(name, factor=factor, seconds=seconds, ramp_s=ramp_s)


@pytest.mark.parametrize(
    ("name", "creates_per_min", "p99_ms"),
    [("kafka", 350_000, 50), ("kafka-delete", 240_000, 60), ("http", 100_000, 30), ("wide", 100_000, 30)],
)
def test_shapes_are_the_published_ones_scaled(name: str, creates_per_min: int, p99_ms: float) -> None:
    made = plan(name, factor=0.5)
    assert made.creates_per_s == pytest.approx(creates_per_min / 120)
    assert made.criteria.p99_ms == p99_ms
    assert made.cancel_share == (0.25 if name == "kafka-delete" else 0)
    assert SHAPES[name].tenants == (10_000 if name == "wide" else 1)


def test_users_climb_stay_and_end() -> None:
    made = plan()
    assert made.users == 20
    assert [made.users_at(at) for at in (0, 5, 10, 19.9, 20)] == [1, 10, 20, 20, None]
    assert plan(ramp_s=0).users_at(0) == 20
    assert made.creates == 1_500


def test_a_warm_up_comes_before_and_its_requests_have_names_of_their_own() -> None:
    made = plan_of("http", factor=0.06, seconds=20, ramp_s=10, warm_up_s=30)
    assert [made.users_at(at) for at in (5, 10, 49.9, 50)] == [10, 20, 20, None]
    assert made.creates == 4_500
    named = [made.name_at("create", at) for at in (0, 29.9, 30, 50)]
    assert named == ["create (warming up)", "create (warming up)", "create", "create"]
    assert plan().name_at("delete", 0) == "delete"


def test_what_answers_take_is_not_judged_while_it_warms_up_and_failures_are() -> None:
    requests = [Requests("create (warming up)", 100, 50, 9_000.0), Requests("create", 100, 0, 9_000.0)]
    checks = {each.what: each for each in judge(Tally(), requests, plan().criteria, asked=1)}
    assert checks["create (warming up): p99, ms"].is_kept
    assert checks["create (warming up): p99, ms"].bound == "not judged"
    assert not checks["create (warming up): failed, %"].is_kept
    assert not checks["create: p99, ms"].is_kept


def test_users_keep_the_rate_whatever_their_number() -> None:
    for factor in (0.001, 0.06, 10.0):
        made = plan(factor=factor)
        assert made.users <= MAX_USERS
        assert made.users / made.pace_s == pytest.approx(made.creates_per_s)


@pytest.mark.parametrize(
    "wrong", [{"seconds": 4_000.0}, {"factor": 1e6}, {"factor": 1e-9}, {"ramp_s": 20.0}, {"ramp_s": -1.0}]
)
def test_runs_without_a_bound_or_without_a_request_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"needs|asks"):
        plan(**wrong)  # type: ignore[arg-type]


def test_zipf_favours_the_first_and_reaches_the_last() -> None:
    tenants, rng = Tenants(50, 1.1), Random(1)
    drawn = Counter(tenants.draw(rng) for _ in range(50_000))
    assert set(drawn) == set(range(50))
    assert drawn[0] / drawn[9] == pytest.approx(10**1.1, rel=0.15)
    alike = Counter(Tenants(4, 0).draw(rng) for _ in range(4_000))
    assert min(alike.values()) > 900


def test_ledgers_are_followed_line_by_line(tmp_path: Path) -> None:
    follower, ledger = Follower(tmp_path), Ledger(tmp_path, "client")
    assert list(follower.lines()) == []
    ledger.write("called a 1")
    assert list(follower.lines()) == [["called", "a", "1"]]
    other = tmp_path / "other.ledger"
    other.write_text("called b 2\ncalled c")
    assert list(follower.lines()) == [["called", "b", "2"]]
    other.write_text("called b 2\ncalled c 3\n")
    assert list(follower.lines()) == [["called", "c", "3"]]


def test_the_report_names_what_was_broken(tmp_path: Path) -> None:
    account = Account(10_000)
    account.take(["create", "a", "1800000000000", "1799999999000"])
    tally = account.tally(1_800_000_001_000, is_over=True)
    checks = judge(tally, (), plan().criteria, asked=1)
    write(tmp_path, plan(), tally, checks)
    assert verdict(checks).splitlines()[0].startswith("FAIL  callbacks lost")
    assert verdict(checks).endswith("\nFAIL")
    page = (tmp_path / "report.html").read_text()
    assert "http: FAIL" in page
    picture = ET.parse(tmp_path / "report.svg").getroot()
    assert len(picture.findall(".//{*}polyline")) == 5
    assert (tmp_path / "report.svg").read_text() in page
    assert (tmp_path / "verdict.txt").read_text().endswith("FAIL\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["http", "--base", "http://10.0.0.1:8080/goscheduler"], "loopback"),
        (["kafka", "--base", "http://127.0.0.1:8080/goscheduler"], "--kafka"),
        (["http", "--seconds", "9999"], "needs"),
        (["http", "--warm-up", "3600"], "needs"),
        (["http", "--factor", "0"], "asks for"),
        (["ftp"], "ftp"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_starts(
    words: list[str], told: str, tmp_path: Path
) -> None:
    done = CliRunner().invoke(main, [*words, "--data", str(tmp_path)])
    assert done.exit_code == 2
    assert told in done.output
    assert list(tmp_path.iterdir()) == []
