"""What is written when an attempt has ended."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.contract.builders import START_MS, make_app, make_log, make_move, make_outcome, make_row

from ringtime_dispatcher.delivery.ledger import home_of
from ringtime_dispatcher.delivery.recording import (
    age_ms,
    attempt_of,
    closing,
    dead_letter_of,
    next_filing,
    outcome_of,
    unsent,
)
from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.schedule import LOG_LENGTH, Attempt, Outcome, Place, Row, RowUpdate, Status
from ringtime_shared.schedules.changing import Verdict, judge

APP = make_app(app_id="shop", number=7)
HOME = make_row(APP, START_MS, partition=2)
MOVE = make_move(HOME, START_MS + 60_000)
FAILED = make_outcome(status=Status.FAILURE, log=make_log())


def replay_of(number: int) -> Row:
    return replace(MOVE, replay=number, attempts=0)


def pointing(offset_ms: int, home: Row = HOME) -> Row:
    """The home row, pointing so far past `MOVE`."""
    return replace(home, moved_to=MOVE.place._replace(slot_ms=MOVE.place.slot_ms + offset_ms))


@pytest.mark.parametrize("row", [HOME, MOVE, replay_of(1)])
def test_the_home_row_is_found_from_every_filing(row: Row) -> None:
    assert home_of(row.place, row.schedule.schedule_id) == HOME.place == Place("shop", 2, START_MS)


@pytest.mark.parametrize("row", [HOME, MOVE])
def test_age_counts_from_the_home_slot_and_not_from_a_later_filing(row: Row) -> None:
    assert age_ms(row, START_MS + 90_000) == 90_000


def test_a_replay_has_no_age() -> None:
    assert age_ms(replay_of(1), START_MS + 10**9) == 0


@pytest.mark.parametrize(
    ("row", "home", "wanted"),
    [
        (MOVE, HOME, True),
        (MOVE, None, True),
        (replay_of(3), None, True),
        (MOVE, replace(HOME, cancelled_ms=START_MS), False),
        (replay_of(1), replace(HOME, cancelled_ms=START_MS), False),
        (MOVE, replace(pointing(0), cancelled_ms=START_MS), False),
        (MOVE, replace(HOME, outcome=make_outcome()), False),
        (MOVE, replace(HOME, outcome=make_outcome(status=Status.MISS)), False),
        (replay_of(1), replace(HOME, outcome=FAILED), True),
        (replay_of(2), replace(HOME, outcome=replace(FAILED, replay=1)), True),
        (replay_of(2), replace(HOME, outcome=replace(FAILED, replay=2)), False),
        (replay_of(2), replace(HOME, outcome=replace(FAILED, replay=3)), False),
        (MOVE, replace(HOME, outcome=replace(FAILED, replay=1)), False),
        (MOVE, pointing(-30_000), True),
        (MOVE, pointing(0), True),
        (MOVE, pointing(1), False),
        (replay_of(1), replace(pointing(-30_000), outcome=FAILED), True),
        (replay_of(1), replace(pointing(1), outcome=FAILED), False),
        (HOME, HOME, True),
        (HOME, pointing(0), False),
        (HOME, replace(HOME, cancelled_ms=START_MS), False),
        (HOME, replace(HOME, outcome=make_outcome()), False),
    ],
)
def test_whether_a_filing_is_still_to_fire(row: Row, home: Row | None, wanted: bool) -> None:
    assert (judge(row, home, None) is Verdict.SEND) is wanted


@pytest.mark.parametrize("cancelled_ms", [None, START_MS])
def test_a_filing_of_a_delivery_that_ended_is_closed_with_its_outcome(cancelled_ms: int | None) -> None:
    home = replace(pointing(1), outcome=FAILED, cancelled_ms=cancelled_ms)
    closed = closing(MOVE, home, START_MS + 99)
    ended = replace(FAILED, log=(), attempts=0, fired_ms=None, took_ms=None)  # it made no attempt itself
    assert closed == RowUpdate(place=MOVE.place, schedule_id=MOVE.schedule.schedule_id, outcome=ended)


def test_a_filing_of_a_cancelled_schedule_is_closed_as_deleted() -> None:
    home = replace(pointing(0), cancelled_ms=START_MS)
    assert closing(MOVE, home, START_MS + 99) == RowUpdate(
        place=MOVE.place,
        schedule_id=MOVE.schedule.schedule_id,
        outcome=Outcome(status=Status.DELETED, ended_ms=START_MS + 99),
    )


def test_a_filing_that_was_superseded_points_where_the_schedule_went() -> None:
    home = pointing(5_000)
    assert closing(MOVE, home, START_MS) == RowUpdate(
        place=MOVE.place, schedule_id=MOVE.schedule.schedule_id, moved_to=home.moved_to
    )


@pytest.mark.parametrize(
    "home",
    [
        replace(HOME, cancelled_ms=START_MS),
        replace(HOME, outcome=make_outcome(replay=1)),
        pointing(1),
        replace(pointing(1), outcome=FAILED),
    ],
)
@pytest.mark.parametrize("row", [MOVE, replay_of(1)])
def test_whatever_closes_a_filing_leaves_it_dead(row: Row, home: Row) -> None:
    assert judge(row, home, None) is Verdict.CLOSE
    update = closing(row, home, START_MS)
    assert update.place == row.place
    assert not replace(row, moved_to=update.moved_to, outcome=update.outcome).is_live


@pytest.mark.parametrize(
    "row", [HOME, replace(MOVE, log=make_log(3)), replace(replay_of(2), log=make_log(1))]
)
def test_a_row_that_is_parked_keeps_all_it_knew(row: Row) -> None:
    again = next_filing(row, START_MS + 90_000)
    assert again == replace(row, place=Place("shop", 2, START_MS + 90_000))
    assert not again.is_home


def test_a_retry_remembers_the_attempt_before() -> None:
    row = replace(MOVE, attempts=2, replay=1, log=make_log(2))
    attempt = Attempt(at_ms=START_MS, took_ms=5, code=500)
    assert next_filing(row, START_MS + 90_000, attempt) == replace(
        row, place=Place("shop", 2, START_MS + 90_000), attempts=3, log=(*make_log(2), attempt)
    )


def test_the_log_keeps_the_newest_attempts() -> None:
    row = HOME
    for number in range(LOG_LENGTH + 5):
        attempt = Attempt(at_ms=START_MS + number, took_ms=number)
        row = next_filing(row, row.place.slot_ms + 1_000, attempt)
        assert row.log[-1] == attempt
        assert len(row.log) == min(number + 1, LOG_LENGTH)
    assert row.attempts == LOG_LENGTH + 5
    assert [attempt.took_ms for attempt in row.log] == list(range(5, LOG_LENGTH + 5))


def test_an_attempt_is_remembered_as_it_was_answered() -> None:
    reply = Reply(ok=False, code=503, error="e" * 300, retry_after_ms=9)
    assert attempt_of(reply, at_ms=START_MS, took_ms=42) == Attempt(
        at_ms=START_MS, took_ms=42, code=503, error="e" * 200
    )


@pytest.mark.parametrize(("ok", "status"), [(True, Status.SUCCESS), (False, Status.FAILURE)])
def test_an_outcome_counts_the_last_attempt_and_keeps_those_before(ok: bool, status: Status) -> None:
    row = replace(MOVE, attempts=2, replay=4, log=make_log(2))
    reply = Reply(ok=ok, code=201, error="half \ud800 of a pair")
    assert outcome_of(row, reply, at_ms=START_MS, took_ms=42) == Outcome(
        status=status,
        ended_ms=START_MS + 42,
        fired_ms=START_MS,
        attempts=3,
        code=201,
        error="half ? of a pair",
        took_ms=42,
        replay=4,
        log=make_log(2),
    )


def test_an_outcome_without_a_last_attempt_counts_those_before() -> None:
    row = replace(MOVE, attempts=2, replay=4, log=make_log(2))
    assert unsent(row, Status.MISS, "came due too late", START_MS + 9) == Outcome(
        status=Status.MISS,
        ended_ms=START_MS + 9,
        attempts=2,
        error="came due too late",
        replay=4,
        log=make_log(2),
    )


def test_a_dead_letter_is_filed_under_the_slot_of_the_last_filing() -> None:
    row = replace(MOVE, attempts=2, replay=4)
    outcome = outcome_of(row, Reply(ok=False, code=503, error="busy"), at_ms=START_MS, took_ms=42)
    schedule = row.schedule
    assert dead_letter_of(row, outcome) == DeadLetter(
        app_id="shop",
        schedule_id=schedule.schedule_id,
        slot_ms=MOVE.place.slot_ms,
        fire_ms=schedule.fire_ms,
        failed_ms=START_MS + 42,
        attempts=3,
        code=503,
        error="busy",
        callback_type=schedule.callback_type,
        replay=4,
        expires_ms=schedule.expires_ms,
    )


def test_a_delivery_that_is_repeated_writes_the_same_dead_letter_key() -> None:
    first, second = (
        dead_letter_of(MOVE, outcome_of(MOVE, Reply(ok=False), at_ms=START_MS + n, took_ms=n)) for n in (0, 9)
    )
    assert (first.slot_ms, first.schedule_id) == (second.slot_ms, second.schedule_id)
    assert first.failed_ms != second.failed_ms
