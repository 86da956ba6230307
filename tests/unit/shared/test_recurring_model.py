"""Ids of recurring schedules and of their runs, and whose a nominal time is."""

from __future__ import annotations

from typing import Any

from tests.contract.builders import NOW_MS, make_app, make_definition

from ringtime_shared.ids import Kind, unpack_id
from ringtime_shared.models.recurring import Origin, VersionSpan, recurring_id_of, run_id
from ringtime_shared.models.schedule import Place
from ringtime_shared.models.times import Times

RECURRING = recurring_id_of(7, "nightly")
RUN: dict[str, Any] = {
    "recurring_id": RECURRING,
    "version": 1,
    "nominal_ms": NOW_MS,
    "origin": Origin.PLAN,
    "slot_ms": NOW_MS + 5,
    "partition": 3,
    "app_number": 7,
}


def test_the_id_of_a_definition_follows_from_app_and_name() -> None:
    assert recurring_id_of(7, "nightly") == RECURRING
    ids = {recurring_id_of(number, f"job-{n}") for number in (0, 7, (1 << 20) - 1) for n in range(1_000)}
    assert len(ids) == 3_000
    parts = unpack_id(RECURRING)
    assert (parts.kind, parts.app_number) == (Kind.RECURRING, 7)


def test_the_ids_are_golden() -> None:
    """An id that came out otherwise would file a second run, and a second definition of a name."""
    assert str(RECURRING) == "ef8e0153-9fa8-89b4-8000-1e412850b0e5"
    assert str(run_id(**RUN)) == "0cee7d5a-0150-8003-8000-1e6a42b2ae7d"


def test_the_id_of_a_run_says_where_its_home_row_is() -> None:
    schedule_id = run_id(**RUN)
    assert unpack_id(schedule_id).kind is Kind.RUN
    assert Place.of_home("app", schedule_id) == Place("app", 3, NOW_MS + 5)


def test_runs_that_differ_have_ids_that_differ() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"recurring_id": recurring_id_of(7, "daily")},
        {"version": 2},
        {"nominal_ms": NOW_MS + 1},
        {"origin": Origin.TRIGGER},
        {"slot_ms": NOW_MS + 6},
        {"partition": 4},
        {"app_number": 8},
        {"request": "again"},
    ]
    assert len({run_id(**(RUN | change)) for change in changes}) == len(changes)


def test_a_nominal_time_belongs_to_one_version() -> None:
    definition = make_definition(
        make_app(),
        version=4,
        from_ms=400,
        earlier=(VersionSpan(3, 300, Times(), 0), VersionSpan(2, 200, Times(), 0)),
    )
    owners = [definition.owner_of(nominal_ms) for nominal_ms in (200, 201, 300, 301, 400, 401)]
    assert owners == [0, 2, 2, 3, 3, 4]
