"""Every RecurringStore driver passes this file."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from tests.contract.builders import (
    NOW_MS,
    START_MS,
    WEEK_MS,
    make_app,
    make_calendar,
    make_definition,
    make_move,
    make_outcome,
    make_row,
    make_run,
    make_update,
)

from ringtime_shared.errors import VersionConflict
from ringtime_shared.models.app import App
from ringtime_shared.models.hooks import Hook, Hooks
from ringtime_shared.models.recurring import (
    Backfilled,
    Definition,
    DefinitionState,
    Misfire,
    Origin,
    Overlap,
    Stage,
    VersionSpan,
    Work,
)
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.sending import Sending
from ringtime_shared.models.times import DstGap, DstOverlap, Interval, Times, Unit, Window
from ringtime_shared.stores.protocol import DefinitionKey, RunEntry, Store

UNKNOWN = DefinitionKey("nobody", make_definition(make_app()).recurring_id)


def key_of(definition: Definition) -> DefinitionKey:
    return DefinitionKey(definition.app_id, definition.recurring_id)


def full_definition(app: App) -> Definition:
    """Every field differs from its default."""
    return make_definition(
        app,
        "every-field ü",
        times=Times(
            interval=Interval(2, Unit.WEEKS, NOW_MS),
            zone="Asia/Kolkata",
            start_ms=NOW_MS + 1,
            end_ms=NOW_MS + 2,
            count=7,
            dst_gap=DstGap.KEEP,
            dst_overlap=DstOverlap.BOTH,
            calendars=("holidays", "freeze"),
            window=Window(share=0.5),
        ),
        payload='"x\x00\n' + "ü" * 1_000,
        retry=RetryRules(attempts=5, factor=1.5, statuses=("5xx", "408")),
        sending=Sending(hooks=Hooks(on_failure=Hook(callback_type="a", callback_details="{}"))),
        version=4,
        ordinal=12,
        filed_upto_ms=NOW_MS + 7,
        check_id=make_definition(app).recurring_id,
        earlier=(
            VersionSpan(3, NOW_MS - 4, Times(cron="@daily"), 2, state=DefinitionState.PAUSED),
            VersionSpan(2, NOW_MS - 5, Times(cron="@hourly"), 2, make_definition(app).recurring_id),
            VersionSpan(
                1, NOW_MS - 9, Times(interval=Interval(1, Unit.DAYS, NOW_MS)), 1, paused_until_ms=NOW_MS + 1
            ),
        ),
        state=DefinitionState.PAUSED,
        reason="the ü is down",
        paused_until_ms=NOW_MS + 8,
        misfire=Misfire.ALL,
        misfire_most=4,
        misfire_age_ms=60_000,
        overlap=Overlap.BUFFER_ONE,
        skipped=(NOW_MS + 3, NOW_MS + 4),
        backfilled=(Backfilled(NOW_MS - 9, NOW_MS - 1, NOW_MS, 1),),
        keeps=False,
    )


async def test_every_field_of_a_definition_comes_back(store: Store, app: App) -> None:
    for name in full_definition(app).times.calendars:
        await store.replace_calendar(make_calendar(app, name))
    for definition in (make_definition(app), full_definition(app)):
        await store.replace_definition(definition)
        assert await store.fetch_definition(key_of(definition)) == definition


async def test_a_payload_as_long_as_any_comes_back(store: Store, app: App) -> None:
    definition = make_definition(app, payload="\x00" * 1_048_576)
    await store.replace_definition(definition)
    assert await store.fetch_definition(key_of(definition)) == definition


async def test_an_unknown_definition_is_none_and_left_out(store: Store, app: App) -> None:
    assert await store.fetch_definition(UNKNOWN) is None
    assert await store.fetch_definitions([UNKNOWN]) == {}
    assert await store.list_definitions("nobody", None, 10) == []
    assert await store.fetch_runs(UNKNOWN, NOW_MS, NOW_MS + WEEK_MS, 10) == []


async def test_many_definitions_of_several_apps_come_back_by_key(store: Store, app: App) -> None:
    other = await store.create_app(make_app())
    stored = [make_definition(each) for each in (app, other) for _ in range(60)]
    for definition in stored:
        await store.replace_definition(definition)
    keys = [key_of(definition) for definition in stored]
    assert await store.fetch_definitions([*keys, UNKNOWN, keys[0]]) == dict(zip(keys, stored, strict=True))


async def test_many_definitions_that_are_kept_together_come_back_by_key(store: Store, app: App) -> None:
    stored = [make_definition(app, recurring_id=UUID(int=n)) for n in range(25)]  # one shard in Cassandra
    for definition in stored:
        await store.replace_definition(definition)
    keys = [key_of(definition) for definition in stored]
    assert await store.fetch_definitions(keys) == dict(zip(keys, stored, strict=True))


async def test_a_definition_is_replaced_only_from_the_revision_before(store: Store, app: App) -> None:
    first = make_definition(app)
    second = replace(first, revision=2, payload="2")
    with pytest.raises(VersionConflict):
        await store.replace_definition(second)
    assert await store.fetch_definition(key_of(first)) is None
    for definition in (first, second):
        for _ in range(2):  # a repeat is no conflict
            await store.replace_definition(definition)
            assert await store.fetch_definition(key_of(first)) == definition
    for late in (first, replace(second, payload="another"), replace(second, revision=4)):
        with pytest.raises(VersionConflict):
            await store.replace_definition(late)
    assert await store.fetch_definition(key_of(first)) == second


async def test_definitions_are_listed_by_id_in_pages(store: Store, app: App) -> None:
    other = await store.create_app(make_app())
    await store.replace_definition(make_definition(other))
    stored = sorted((make_definition(app) for _ in range(25)), key=lambda each: each.recurring_id)
    for definition in stored:
        await store.replace_definition(definition)
    listed: list[Definition] = []
    while page := await store.list_definitions(app.app_id, listed[-1].recurring_id if listed else None, 7):
        assert len(page) <= 7
        listed += page
    assert listed == stored


async def test_a_definition_is_dropped_at_its_revision_only(store: Store, app: App) -> None:
    first = make_definition(app)
    second = replace(first, revision=2)
    for definition in (first, second):
        await store.replace_definition(definition)
    with pytest.raises(VersionConflict):
        await store.drop_definition(first)
    assert await store.fetch_definition(key_of(first)) == second
    for _ in range(2):  # a repeat is no error
        await store.drop_definition(second)
        assert await store.fetch_definition(key_of(first)) is None
    await store.replace_definition(first)  # and there may be one anew
    assert await store.list_definitions(app.app_id, None, 10) == [first]


async def test_a_deleted_app_leaves_no_definitions(store: Store, app: App) -> None:
    definition = make_definition(app)
    await store.replace_definition(definition)
    await store.delete_app(app)
    assert await store.fetch_definition(key_of(definition)) is None
    assert await store.list_definitions(app.app_id, None, 10) == []


async def test_what_a_row_knows_of_its_definition_comes_back(store: Store, app: App) -> None:
    definition = make_definition(app)
    plain = make_run(definition)
    full = make_run(
        definition,
        START_MS + 1,
        version=3,
        ordinal=9,
        origin=Origin.TRIGGER,
        running=plain.schedule.schedule_id,
        buffered=plain.schedule.schedule_id,
        stage=Stage.FOLLOWED,
        is_contested=True,
    )
    work = Work(sent_ms=1, attempt=2, accepted_ms=3, until_ms=4, ended_ms=5, error="ü")
    worked = make_run(definition, START_MS + 3, stage=Stage.COMPLETED, work=work)
    rows = [plain, full, make_move(full, START_MS + 2), worked]
    await store.put_rows(rows)
    for row in rows:
        assert await store.fetch_row(row.place, row.schedule.schedule_id) == row
    outcome = make_outcome(accepted_ms=START_MS + 9)
    await store.put_updates([make_update(worked, outcome)])
    found = await store.fetch_row(worked.place, worked.schedule.schedule_id)
    assert found == replace(worked, outcome=outcome)


async def test_runs_are_listed_both_ways_over_weeks(store: Store, app: App) -> None:
    definition = make_definition(app)
    nominals = [START_MS + n * 2 * 86_400_000 for n in range(12)]
    rows = [make_run(definition, nominal_ms) for nominal_ms in nominals]
    other = make_run(make_definition(app), START_MS)
    await store.put_rows([*rows[::-1], other])
    await store.put_rows(rows[:3])
    entries = [RunEntry(row.place.slot_ms, row.schedule.schedule_id) for row in rows]
    key, last_ms = key_of(definition), nominals[-1]
    assert await store.fetch_runs(key, START_MS, last_ms, 100) == entries
    assert await store.fetch_runs(key, START_MS, last_ms, 100, newest_first=True) == entries[::-1]
    assert await store.fetch_runs(key, START_MS, last_ms, 5) == entries[:5]
    assert await store.fetch_runs(key, START_MS, last_ms, 5, newest_first=True) == entries[:-6:-1]
    assert await store.fetch_runs(key, nominals[2], nominals[9], 100) == entries[2:10]
    assert await store.fetch_runs(key, nominals[2] + 1, nominals[9] - 1, 100) == entries[3:9]
    assert await store.fetch_runs(key, nominals[2] + 1, nominals[3] - 1, 100) == []


async def test_several_runs_of_one_nominal_time_are_all_listed(store: Store, app: App) -> None:
    definition = make_definition(app)
    rows = [make_run(definition, origin=origin) for origin in (Origin.PLAN, Origin.TRIGGER, Origin.BACKFILL)]
    await store.put_rows(rows)
    found = await store.fetch_runs(key_of(definition), START_MS, START_MS, 10)
    assert found == sorted(RunEntry(START_MS, row.schedule.schedule_id) for row in rows)


async def test_only_home_rows_of_runs_that_are_sent_are_listed(store: Store, app: App) -> None:
    definition = make_definition(app)
    run = make_run(definition)
    check = make_run(definition, START_MS + 1, origin=Origin.CHECK)
    await store.put_rows([check, make_move(run, START_MS + 5), make_row(app)])
    key = key_of(definition)
    assert await store.fetch_runs(key, START_MS, START_MS + 10, 10) == []
    await store.put_rows([run])
    assert len(await store.fetch_runs(key, START_MS, START_MS + 10, 10)) == 1
