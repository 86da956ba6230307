"""What `models.schedule` makes by hand what `replace` would make in more time."""

from __future__ import annotations

from dataclasses import fields, replace

from tests.contract.builders import START_MS, make_app, make_row

from ringtime_shared.models.schedule import Attempt, Change, Outcome, Place, Status


def test_a_cancelled_row_is_the_same_but_for_its_cancel() -> None:
    row = replace(
        make_row(make_app(), partition=2),
        attempts=3,
        replay=1,
        log=(Attempt(at_ms=START_MS, took_ms=5),),
        change=Change(START_MS, 7),
        cancelled_ms=START_MS,
        moved_to=Place("app", 1, START_MS + 1),
        outcome=Outcome(status=Status.SUCCESS, ended_ms=START_MS),
    )
    assert all(getattr(row, each.name) != each.default for each in fields(row))
    assert row.cancelled(START_MS + 9) == replace(row, cancelled_ms=START_MS + 9)
