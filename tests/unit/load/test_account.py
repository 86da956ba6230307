"""The account of a load run, and that its verdict finds each thing that may go wrong."""

from __future__ import annotations

import pytest

from ringtime_load.account import FORGET_MS, Account, Check, Requests, Spread, Tally, judge
from ringtime_load.plan import Criteria

FIRE_MS = 1_800_000_000_000.0
CRITERIA = Criteria(p99_ms=30.0)
CREATE = f"create a {FIRE_MS} {FIRE_MS - 5_000}"


def tally_of(*lines: str, now_ms: float = FIRE_MS + 20_000, is_over: bool = True) -> Tally:
    account = Account(CRITERIA.late_ms)
    for line in lines:
        account.take(line.split())
    return account.tally(now_ms, is_over=is_over)


def called(after_ms: float, name: str = "a") -> str:
    return f"called {name} {FIRE_MS + after_ms}"


def broken(tally: Tally, *requests: Requests, asked: int = 1) -> list[str]:
    return [check.what for check in judge(tally, requests, CRITERIA, asked=asked) if not check.is_kept]


GOOD = (CREATE, called(3))


def test_a_good_run_passes() -> None:
    tally = tally_of(*GOOD)
    assert broken(tally, Requests("create", 1, 0, 29.0)) == []
    assert (tally.created, tally.called, tally.waiting) == (1, 1, 0)
    assert tally.lags.at(0.99) == pytest.approx(3, rel=0.02)


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        ((CREATE,), ["callbacks lost"]),
        ((CREATE, called(-1)), ["callbacks early"]),
        ((*GOOD, called(9)), ["duplicate callbacks"]),
        ((CREATE, called(2_000)), ["lag p99, ms"]),
        ((CREATE, called(10_500)), ["callbacks later than 10,000 ms", "lag p99, ms"]),
        (
            (CREATE, "trying a", f"cancel a {FIRE_MS - 1_000}", called(3)),
            ["callbacks after a promised cancel"],
        ),
    ],
    ids=["lost", "early", "doubled", "slow", "late", "after a cancel"],
)
def test_each_wrong_fails_and_is_named(lines: tuple[str, ...], wrong: list[str]) -> None:
    for order in (lines, lines[::-1]):  # ledgers are read file by file, in no order of time
        tally = tally_of(*order)
        assert broken(tally) == wrong


def test_one_late_callback_among_thousands_fails() -> None:
    lines = [
        line
        for number in range(2_000)
        for line in (
            f"create {number} {FIRE_MS} {FIRE_MS - 1}",
            called(10_001 if number == 77 else 2, str(number)),
        )
    ]
    tally = tally_of(*lines)
    assert broken(tally) == ["callbacks later than 10,000 ms"]
    assert tally.examples["late"] == ["77"]


@pytest.mark.parametrize(
    ("requests", "asked", "wrong"),
    [
        (Requests("create", 1_000, 2, 5.0), 1, ["create: failed, %"]),
        (Requests("create", 1_000, 1, 5.0), 1, []),
        (Requests("create", 1_000, 0, 31.0), 1, ["create: p99, ms"]),
        (Requests("create", 1, 0, 5.0), 2, ["creates acknowledged"]),
    ],
)
def test_slow_failing_and_missing_requests_fail(requests: Requests, asked: int, wrong: list[str]) -> None:
    assert broken(tally_of(*GOOD), requests, asked=asked) == wrong


def test_a_run_without_a_single_create_does_not_pass() -> None:
    assert broken(tally_of(), asked=0) == ["creates acknowledged"]


def test_what_is_not_promised_may_come_or_not() -> None:
    assert broken(tally_of(CREATE, "trying a")) == []
    assert broken(tally_of(CREATE, "trying a", called(4))) == []
    came_before = tally_of(CREATE, called(4), "trying a", f"cancel a {FIRE_MS + 50}")
    assert broken(came_before) == []
    assert came_before.cancelled == 1


def test_an_answer_behind_the_fire_time_is_where_lag_begins() -> None:
    tally = tally_of(f"create a {FIRE_MS} {FIRE_MS + 400}", called(410))
    assert tally.lags.largest == 10
    assert tally_of(f"create a {FIRE_MS} {FIRE_MS + 400}", called(390)).lags.largest == 0


def test_while_it_runs_what_is_due_waits() -> None:
    tally = tally_of(CREATE, now_ms=FIRE_MS + 500, is_over=False)
    assert (tally.waiting, tally.lost) == (1, 0)
    assert tally_of(CREATE, now_ms=FIRE_MS + FORGET_MS + 1, is_over=False).lost == 1


def test_what_is_long_over_is_forgotten_but_stays_counted() -> None:
    account = Account(CRITERIA.late_ms)
    for line in (CREATE, called(3), called(7), "called unknown 1"):
        account.take(line.split())
    for _ in range(2):
        tally = account.tally(FIRE_MS + FORGET_MS + 1)
        assert (tally.created, tally.called, tally.duplicates, tally.strangers) == (1, 1, 1, 1)
        assert tally.seconds[int(FIRE_MS // 1000)].called == 1
    account.take(called(FORGET_MS).split())
    assert account.tally(FIRE_MS + FORGET_MS + 2).strangers == 2


def test_a_spread_is_exact_to_two_per_cent() -> None:
    spread = Spread()
    assert spread.at(0.99) == 0
    for ms in range(1, 10_001):
        spread.add(float(ms))
    for share in (0.01, 0.5, 0.99):
        assert spread.at(share) == pytest.approx(share * 10_000, rel=0.02)
    assert spread.at(1) == spread.largest == 10_000


def test_an_unknown_event_is_refused() -> None:
    with pytest.raises(ValueError, match="no such event"):
        tally_of("cretae a 1 2")


def test_a_check_says_bound_and_found() -> None:
    checks = judge(tally_of(CREATE), (), CRITERIA, asked=1)
    assert checks[0] == Check("callbacks lost", "0", "1 a", is_kept=False)
