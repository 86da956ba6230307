"""Every ScheduleStore driver passes this file."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from tests.contract.builders import (
    BUCKET,
    START_MS,
    make_app,
    make_log,
    make_move,
    make_outcome,
    make_query,
    make_row,
    make_rows,
    make_update,
)

from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.hooks import Hook, HookEvent, HookOf, Hooks
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import LOG_LENGTH, Change, Outcome, Place, Row, Status
from ringtime_shared.models.sending import Priority, Sending
from ringtime_shared.models.trace import Trace
from ringtime_shared.stores.protocol import IdPage, Store


async def fetch(store: Store, row: Row) -> Row | None:
    return await store.fetch_row(row.place, row.schedule.schedule_id)


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "plain",
        "zażółć 漢字",
        "😀" * 50,
        "nul\x00inside\x00",
        "quote ' \" \\ {} %s ?",
        "\r\n\t\x7f",
        "x" * 65_536,
    ],
    ids=["empty", "plain", "unicode", "emoji", "nul", "quotes", "control", "64KiB"],
)
async def test_payload_comes_back_as_it_was(store: Store, app: App, payload: str) -> None:
    row = make_row(app, payload=payload, callback_details=payload.encode(), callback_type="kafka-ü")
    await store.put_rows([row])
    assert await fetch(store, row) == row


@pytest.mark.parametrize("state", ["", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"], ids=["parent", "both"])
async def test_a_trace_comes_back_by_every_way_and_with_a_later_filing(
    store: Store, app: App, state: str
) -> None:
    trace = Trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", state)
    row, plain = make_row(app, trace=trace), make_row(app, START_MS + 1)
    move = replace(make_move(row, START_MS + 2), log=make_log())
    await store.put_rows([row, plain, move])
    assert [await fetch(store, each) for each in (row, plain, move)] == [row, plain, move]
    (due,) = await store.fetch_due([make_query(app)])
    assert [each.schedule.trace for each in due.rows] == [trace, None, trace]
    await store.put_updates([make_update(row, make_outcome())])
    (whole,) = await store.fetch_rows([make_query(app)])
    assert [each.schedule.trace for each in whole.rows] == [trace, None, trace]


async def test_every_field_of_a_row_comes_back(store: Store, app: App) -> None:
    row = make_row(app, START_MS + 59_999, 2, fire_ms=1, created_ms=2, expires_ms=START_MS + 10**9)
    row = replace(row, attempts=4)
    await store.put_rows([row])
    assert await fetch(store, row) == row


EXTRAS: dict[str, dict[str, Any]] = {
    "retry": {"retry": RetryRules(attempts=5, factor=1.5, statuses=("5xx", "408"))},
    "no rules": {"retry": RetryRules()},
    "all rules": {"retry": RetryRules(attempts=1, first_delay_ms=2, factor=3, max_delay_ms=4, max_age_s=5)},
    "replay": {"replay": 3},
    "log": {"log": make_log(LOG_LENGTH)},
    "name": {"name": "nightly-report"},
    "labels": {"labels": (("stage", ""), ("team", 'b"ü:'), *((f"z{n}", "x" * 128) for n in range(14)))},
    "all": {"retry": RetryRules(max_age_s=60), "replay": 1, "log": make_log(1), "name": "n"},
}
OF_SCHEDULE = ("retry", "name", "labels")


@pytest.mark.parametrize("extras", EXTRAS.values(), ids=EXTRAS)
async def test_retry_rules_replay_and_log_come_back(store: Store, app: App, extras: dict[str, Any]) -> None:
    row = make_row(app, **{name: value for name, value in extras.items() if name in OF_SCHEDULE})
    row = replace(row, **{name: value for name, value in extras.items() if name not in OF_SCHEDULE})
    plain = make_row(app, START_MS + 1)
    await store.put_rows([plain, row])
    assert await fetch(store, row) == row
    assert await fetch(store, plain) == plain
    (page,) = await store.fetch_due([make_query(app)])
    assert list(page.rows) == [row, plain]


async def test_details_are_bytes_of_any_value(store: Store, app: App) -> None:
    row = make_row(app, callback_details=bytes(range(256)))
    await store.put_rows([row])
    assert await fetch(store, row) == row


async def test_no_rows_is_no_error(store: Store) -> None:
    await store.put_rows([])
    await store.put_updates([])


@pytest.mark.parametrize("count", [1, 63, 64, 65, 300])
async def test_batches_of_any_length(store: Store, app: App, count: int) -> None:
    rows = make_rows(app, [START_MS + n for n in range(count)])
    await store.put_rows(rows)
    (page,) = await store.fetch_due([make_query(app)])
    assert list(page.rows) == rows


async def test_one_batch_may_hold_rows_of_many_places(store: Store, app: App) -> None:
    other = await store.create_app(make_app())
    rows = [
        make_row(whose, START_MS + minute * 60_000, partition)
        for minute in range(3)
        for partition in range(3)
        for whose in (app, other)
    ]
    await store.put_rows(rows)
    assert [await fetch(store, row) for row in rows] == rows


async def test_concurrent_batches_are_all_filed(store: Store, app: App) -> None:
    rows = make_rows(app, [START_MS + n for n in range(100)])
    await asyncio.gather(*(store.put_rows(rows[n : n + 5]) for n in range(0, 100, 5)))
    (page,) = await store.fetch_due([make_query(app)])
    assert list(page.rows) == rows


@pytest.mark.parametrize(
    "other",
    [
        {"partition": 1},
        {"slot_ms": START_MS + 1},
        {"app_id": "app-nobody"},
    ],
    ids=str,
)
async def test_a_row_is_found_only_at_its_place(store: Store, app: App, other: dict[str, Any]) -> None:
    row = make_row(app)
    await store.put_rows([row])
    assert await store.fetch_row(row.place._replace(**other), row.schedule.schedule_id) is None


async def test_a_row_is_found_only_by_its_id(store: Store, app: App) -> None:
    row = make_row(app)
    await store.put_rows([row])
    assert await store.fetch_row(row.place, UUID(int=row.schedule.schedule_id.int + 1)) is None


async def test_putting_a_row_again_leaves_it_as_it_was_filed(store: Store, app: App) -> None:
    row = make_row(app)
    await store.put_rows([row])
    await store.put_rows([row, row])
    (page,) = await store.fetch_due([make_query(app)])
    assert list(page.rows) == [row]


async def test_putting_a_row_again_does_not_undo_a_cancel(store: Store, app: App) -> None:
    row = make_row(app)
    await store.put_rows([row])
    await store.put_cancel(row.place, row.schedule.schedule_id, START_MS - 5_000)
    await store.put_rows([row])
    assert await fetch(store, row) == replace(row, cancelled_ms=START_MS - 5_000)


async def test_putting_a_row_again_does_not_undo_an_update(store: Store, app: App) -> None:
    row = make_row(app)
    moved_to = row.place._replace(slot_ms=START_MS + 90_000)
    await store.put_rows([row])
    await store.put_updates([make_update(row, make_outcome(), moved_to)])
    await store.put_rows([row])
    assert await fetch(store, row) == replace(row, outcome=make_outcome(), moved_to=moved_to)


async def test_a_cancel_of_a_row_just_read_is_as_any_other(store: Store, app: App) -> None:
    row = make_row(app)
    await store.put_rows([row])
    await store.put_cancel(row.place, row.schedule.schedule_id, START_MS - 5_000, row.schedule.expires_ms)
    assert await fetch(store, row) == replace(row, cancelled_ms=START_MS - 5_000)
    (page,) = await store.fetch_due([make_query(app)])
    assert list(page.rows) == []


async def test_a_repeated_cancel_changes_nothing(store: Store, app: App) -> None:
    row = make_row(app)
    await store.put_rows([row])
    for _ in range(2):
        await store.put_cancel(row.place, row.schedule.schedule_id, START_MS - 5_000)
    found = await fetch(store, row)
    assert found == replace(row, cancelled_ms=START_MS - 5_000)
    assert found.status is Status.DELETED


@pytest.mark.parametrize(
    "outcome",
    [
        make_outcome(),
        make_outcome(status=Status.FAILURE, attempts=4, code=503, error="upstream: 漢字 😀 " + "e" * 180),
        make_outcome(status=Status.FAILURE, attempts=2, code=None, error="connect: refused"),
        Outcome(status=Status.MISS, ended_ms=START_MS + 99),
        make_outcome(status=Status.DELETED, fired_ms=None, attempts=0, code=None),
        make_outcome(ended_ms=0, fired_ms=0, attempts=0, code=0),
        make_outcome(took_ms=0),
        make_outcome(took_ms=7, replay=2),
        make_outcome(log=make_log(1)),
        make_outcome(took_ms=60_000, replay=1, attempts=11, log=make_log(LOG_LENGTH)),
    ],
    ids=["success", "failure", "no answer", "miss", "deleted", "zeros", "quick", "replay", "log", "all"],
)
async def test_every_field_of_an_outcome_comes_back(store: Store, app: App, outcome: Outcome) -> None:
    row = make_row(app)
    await store.put_rows([row])
    await store.put_updates([make_update(row, outcome)])
    found = await fetch(store, row)
    assert found == replace(row, outcome=outcome)
    assert found.status is outcome.status


async def test_outcome_and_move_and_cancel_do_not_overwrite_each_other(store: Store, app: App) -> None:
    row = make_row(app)
    moved_to = Place(app.app_id, 2, START_MS + 120_000)
    await store.put_rows([row])
    await store.put_updates([make_update(row, moved_to=moved_to)])
    await store.put_updates([make_update(row, make_outcome())])
    await store.put_cancel(row.place, row.schedule.schedule_id, START_MS)
    expected = replace(row, outcome=make_outcome(), moved_to=moved_to, cancelled_ms=START_MS)
    assert await fetch(store, row) == expected


async def test_a_forward_pointer_may_be_advanced(store: Store, app: App) -> None:
    row = make_row(app)
    await store.put_rows([row])
    for minutes in (1, 2):
        moved_to = row.place._replace(slot_ms=START_MS + minutes * 60_000)
        await store.put_updates([make_update(row, moved_to=moved_to)])
        assert await fetch(store, row) == replace(row, moved_to=moved_to)


async def test_an_update_that_is_written_again_undoes_nothing_that_was_written_since(
    store: Store, app: App
) -> None:
    """Its answer was lost, and others have gone on from what it says."""
    row = make_row(app)
    earlier, later = (row.place._replace(slot_ms=START_MS + minutes * 60_000) for minutes in (1, 2))
    await store.put_rows([row])
    first = make_update(row, make_outcome(status=Status.FAILURE), earlier)
    await store.put_updates([first])
    await store.put_updates([make_update(row, make_outcome(replay=1), later)])
    for again in (first, replace(first, moved_to=row.place._replace(slot_ms=START_MS + 180_000))):
        await store.put_updates([again])
        expected = replace(row, outcome=make_outcome(replay=1), moved_to=later)
        assert await fetch(store, row) == expected
    await store.put_updates([make_update(row, moved_to=earlier)])
    assert await fetch(store, row) == replace(expected, moved_to=earlier), "back again, by another update"


async def test_of_two_updates_of_a_row_in_one_batch_the_later_counts(store: Store, app: App) -> None:
    row = make_row(app)
    moved_to = row.place._replace(slot_ms=START_MS + 60_000)
    await store.put_rows([row])
    await store.put_updates(
        [
            make_update(row, make_outcome(code=500)),
            make_update(row, moved_to=moved_to),
            make_update(row, make_outcome(code=204)),
        ]
    )
    assert await fetch(store, row) == replace(row, outcome=make_outcome(code=204), moved_to=moved_to)


async def test_an_outcome_replaces_the_whole_of_the_one_before(store: Store, app: App) -> None:
    row = make_row(app)
    await store.put_rows([row])
    full = make_outcome(status=Status.FAILURE, took_ms=3, replay=1, log=make_log(), error="no")
    for outcome in (full, make_outcome(replay=2), full, make_outcome()):
        await store.put_updates([make_update(row, outcome)])
        assert await fetch(store, row) == replace(row, outcome=outcome)


@pytest.mark.parametrize("count", [64, 65, 100, 200])
async def test_updates_of_many_rows(store: Store, app: App, count: int) -> None:
    rows = make_rows(app, [START_MS + n for n in range(count)])
    await store.put_rows(rows)
    updates = [make_update(row, make_outcome(code=n)) for n, row in enumerate(rows)]
    await store.put_updates(updates)
    await store.put_updates(updates)  # repeated: no second effect
    found = [await fetch(store, row) for row in rows]
    assert found == [replace(row, outcome=make_outcome(code=n)) for n, row in enumerate(rows)]


async def test_moves_of_one_schedule_are_rows_of_their_own(store: Store, app: App) -> None:
    home = make_row(app)
    move = make_move(home, START_MS + 7_000)
    await store.put_rows([home, move])
    await store.put_updates([make_update(home, moved_to=move.place), make_update(move, make_outcome())])
    assert await fetch(store, home) == replace(home, moved_to=move.place)
    found = await fetch(store, move)
    assert found == replace(move, outcome=make_outcome())
    assert not found.is_home


async def test_writing_to_an_unknown_row_creates_nothing(store: Store, app: App) -> None:
    known, unknown = make_row(app), make_row(app)
    await store.put_rows([known])
    await store.put_cancel(unknown.place, unknown.schedule.schedule_id, START_MS)
    moved_to = unknown.place._replace(slot_ms=START_MS + 1)
    await store.put_updates(
        [make_update(unknown, make_outcome(), moved_to), make_update(known, make_outcome())]
    )
    assert await fetch(store, unknown) is None
    assert (await fetch(store, known)) == replace(known, outcome=make_outcome())
    (page,) = await store.fetch_due([make_query(app)])
    assert list(page.rows) == []
    assert await store.fetch_live_ids([make_query(app)]) == [IdPage([], None)]


async def test_writing_to_a_row_of_an_unknown_app_creates_nothing(store: Store) -> None:
    row = make_row(make_app())
    await store.put_cancel(row.place, row.schedule.schedule_id, START_MS)
    await store.put_updates([make_update(row, make_outcome())])
    assert await fetch(store, row) is None
    entries = await store.fetch_index(BUCKET, BUCKET)
    assert Instance(row.place.app_id, 0) not in {entry.instance for entry in entries}


async def test_ids_that_differ_in_the_last_bit_are_two_rows(store: Store, app: App) -> None:
    first = make_row(app)
    second = make_row(app, schedule_id=UUID(int=first.schedule.schedule_id.int ^ 1))
    await store.put_rows([first, second])
    await store.put_updates([make_update(second, make_outcome())])
    assert await fetch(store, first) == first
    assert await fetch(store, second) == replace(second, outcome=make_outcome())


async def test_what_a_changed_filing_has_comes_back(store: Store, app: App) -> None:
    hooks = Hooks(on_success=Hook(callback_type="a", callback_details='{"to":"ü"}'), has_payload=True)
    told = HookOf(schedule_id=make_row(app).schedule.schedule_id, event=HookEvent.MISSED, replay=3)
    sending = Sending(
        is_base64=True, timeout_ms=70, priority=Priority.LOW, hooks=hooks, hook_of=told, completion_ms=9
    )
    row = make_row(app, sending=sending, payload="AAE=")
    filing = replace(row, place=row.place._replace(slot_ms=START_MS + 5), change=Change(START_MS, 1 << 61))
    await store.put_rows([row, filing])
    outcome = make_outcome(changed_in=filing.place)
    await store.put_updates([make_update(row, moved_to=filing.place, outcome=outcome)])
    assert await fetch(store, filing) == filing
    assert await fetch(store, row) == replace(row, moved_to=filing.place, outcome=outcome)
    (page,) = await store.fetch_due([make_query(app)])
    assert page.rows == [filing]


async def test_a_row_that_is_filed_again_is_kept_as_long_as_it_says_then(store: Store, app: App) -> None:
    row = make_row(app)
    await store.put_rows([row])
    await store.put_cancel(row.place, row.schedule.schedule_id, START_MS)
    for longer_ms in (5_000, 9_000, 9_000):
        longer = replace(row.schedule, expires_ms=row.schedule.expires_ms + longer_ms)
        await store.put_rows([replace(row, schedule=longer)])
        assert await fetch(store, row) == replace(row, schedule=longer, cancelled_ms=START_MS)
