"""What can be asked of recurring schedules, on the memory store; a step of a run is taken by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from tests.contract.builders import START_MS
from tests.unit.ingest.commit_rig import ServiceRig, make_service_rig

from ringtime_ingest.service import NewRecurring
from ringtime_ingest.service.recurring import TRIES
from ringtime_shared.errors import (
    AlreadyDone,
    AppInactive,
    Conflict,
    InvalidRequest,
    LimitReached,
    NotFound,
    OutcomeUnknown,
    StoreUnavailable,
    VersionConflict,
)
from ringtime_shared.models.recurring import Definition, DefinitionState, Misfire, Origin, Overlap
from ringtime_shared.models.schedule import Outcome, Place, Row, RowUpdate, Status
from ringtime_shared.models.times import Run, Times
from ringtime_shared.recurring.chain import Decision, Found
from ringtime_shared.recurring.run_rows import CHECK_AFTER_MS, run_in
from ringtime_shared.stores.codec.recurring import read_definition
from ringtime_shared.stores.protocol import DefinitionKey

MINUTE_MS = 60_000
DAY_MS = 86_400_000
ALL = tuple(DefinitionState)


async def make_rig() -> ServiceRig:
    rig = await make_service_rig()
    await rig.register()
    return rig


def new(name: str = "nightly", cron: str = "* * * * *", **changes: Any) -> NewRecurring:
    given: dict[str, Any] = {
        "app_id": "shop",
        "name": name,
        "times": Times(cron=cron),
        "payload": "{}",
        "callback_type": "sim",
        "callback_details": {"n": 1},
    }
    return NewRecurring(**{**given, **changes})


def plant_damage(rig: ServiceRig, definition: Definition) -> None:
    """Let the record of a definition be one that cannot be read."""
    key = DefinitionKey(definition.app_id, definition.recurring_id)
    rig.store.real._definitions[key] = read_definition(*key, definition.revision, "{", "")


def runs(rig: ServiceRig, definition: Definition, *origins: Origin) -> list[Row]:
    """All home rows of a definition's runs, by nominal time."""
    found = [row for rows in rig.store.real._rows.values() for row in rows.values() if row.is_home]
    wanted = origins or (Origin.PLAN,)
    of_it = [
        row
        for row in found
        if (run := row.schedule.run) is not None
        and run.recurring_id == definition.recurring_id
        and run.origin in wanted
    ]
    return sorted(of_it, key=lambda row: (row.schedule.run.nominal_ms, row.schedule.run.version))  # type: ignore[union-attr]


def nominals(rows: list[Row]) -> list[int]:
    return [row.schedule.run.nominal_ms - START_MS for row in rows if row.schedule.run is not None]


async def step(rig: ServiceRig, row: Row) -> None:
    """Take the step of a run at its slot, and send it."""
    rig.clock.advance(row.place.slot_ms - rig.clock.now_ms())
    run = row.schedule.run
    assert run is not None
    definition = await rig.service.recurring.fetch_by_id(run.recurring_id)
    decision = Decision(definition, row, rig.clock.now_ms(), DAY_MS)
    found: dict[UUID, Found] = {}
    for schedule_id in decision.looks():
        home = await rig.store.real.fetch_row(Place.of_home("shop", schedule_id), schedule_id)
        found[schedule_id] = Found(home)
    made = decision.make(found)
    await rig.store.real.put_rows(made.files)
    outcome = made.outcome or Outcome(status=Status.SUCCESS, ended_ms=rig.clock.now_ms(), attempts=1)
    update = RowUpdate(place=row.place, schedule_id=row.schedule.schedule_id, outcome=outcome)
    await rig.store.real.put_updates([update])


async def test_a_create_files_check_and_first_run_before_it_answers() -> None:
    rig = await make_rig()
    made = await rig.service.recurring.put(new())
    assert (made.version, made.revision, made.state) == (1, 1, DefinitionState.ACTIVE)
    assert made == await rig.service.recurring.fetch("shop", "nightly")
    assert made == await rig.service.recurring.fetch_by_id(made.recurring_id)
    [first] = runs(rig, made)
    [check] = runs(rig, made, Origin.CHECK)
    assert nominals([first]) == [MINUTE_MS]
    assert check.schedule.schedule_id == made.check_id
    assert check.place.slot_ms == START_MS + CHECK_AFTER_MS
    assert first.place.partition == check.place.partition == made.partition
    with pytest.raises(NotFound):
        await rig.service.fetch_schedule(check.schedule.schedule_id)


async def test_a_put_of_the_same_changes_nothing_and_of_another_is_a_version() -> None:
    rig = await make_rig()
    first = await rig.service.recurring.put(new())
    assert await rig.service.recurring.put(new()) == first
    [old] = runs(rig, first)
    second = await rig.service.recurring.put(new(payload="2"))
    assert (second.version, second.revision, second.recurring_id) == (2, 2, first.recurring_id)
    assert [span.version for span in second.earlier] == [1]
    rows = runs(rig, second)
    assert nominals(rows) == [MINUTE_MS, MINUTE_MS]
    assert {row.schedule.payload for row in rows} == {"{}", "2"}
    shown = await rig.service.fetch_schedule(old.schedule.schedule_id)
    assert shown.status is Status.DELETED  # its time is the second version's now


async def test_revisions_are_asked_for() -> None:
    rig = await make_rig()
    recurring = rig.service.recurring
    with pytest.raises(VersionConflict, match="is not there"):
        await recurring.put(new(), revision=1)
    made = await recurring.put(new(), revision=0)
    for revision in (0, 2):
        with pytest.raises(VersionConflict, match="is at revision 1"):
            await recurring.put(new(payload="2"), revision=revision)
    assert (await recurring.put(new(payload="2"), revision=made.revision)).revision == 2


async def test_two_edits_at_once_are_two_versions() -> None:
    rig = await make_rig()
    recurring = rig.service.recurring
    made = await recurring.put(new())
    await recurring.pause(made, "first")
    paused = await recurring.pause(made, "second")  # of one that was read before
    assert (paused.version, paused.reason, paused.revision) == (3, "second", 3)


async def test_runs_are_counted_over_versions_and_pauses() -> None:
    rig = await make_rig()
    recurring = rig.service.recurring
    made = await recurring.put(new(times=Times(cron="* * * * *", count=5)))
    for _ in range(3):
        await step(rig, runs(rig, made)[-1])
    paused = await recurring.pause(made, "deploy")
    assert paused.ordinal == 3
    rig.clock.advance(10 * MINUTE_MS)
    resumed = await recurring.resume(paused)
    assert (resumed.ordinal, resumed.state) == (3, DefinitionState.ACTIVE)
    edited = await recurring.put(new(times=Times(cron="* * * * *", count=4)))
    last = runs(rig, edited)[-1]
    assert last.schedule.run is not None
    assert last.schedule.run.ordinal == 3
    with pytest.raises(InvalidRequest, match="maxRuns: it has had 3 runs already"):
        await recurring.put(new(times=Times(cron="* * * * *", count=3)))
    await recurring.delete(edited)
    again = await recurring.put(new())
    assert (again.ordinal, again.recurring_id, again.state) == (0, made.recurring_id, DefinitionState.ACTIVE)
    assert again.version > edited.version


async def test_a_pause_stops_what_is_filed_and_a_resume_begins_from_now() -> None:
    rig = await make_rig()
    recurring = rig.service.recurring
    made = await recurring.put(new())
    paused = await recurring.pause(made, "deploy")
    assert (paused.state, paused.reason) == (DefinitionState.PAUSED, "deploy")
    await step(rig, runs(rig, made)[0])
    assert [row.outcome and row.outcome.status for row in runs(rig, made)] == [Status.DELETED]
    rig.clock.advance(5 * MINUTE_MS)
    resumed = await recurring.resume(paused)
    assert await recurring.resume(resumed) == resumed
    assert nominals(runs(rig, made)) == [MINUTE_MS, 7 * MINUTE_MS]
    with pytest.raises(InvalidRequest, match="reason"):
        await recurring.pause(resumed, "x" * 501)


async def test_a_pause_until_an_instant_runs_at_that_instant() -> None:
    rig = await make_rig()
    recurring = rig.service.recurring
    made = await recurring.put(new())
    paused = await recurring.pause(made, "night", START_MS + 30 * MINUTE_MS)
    assert paused.state is DefinitionState.ACTIVE
    assert nominals(runs(rig, made)) == [MINUTE_MS, 30 * MINUTE_MS]
    [upcoming] = await rig.service.runs.preview(paused, 1)
    assert isinstance(upcoming, Run)
    assert upcoming.nominal_ms == START_MS + 30 * MINUTE_MS
    edited = await recurring.put(new(payload="2"))  # the pause stays
    assert nominals(runs(rig, made))[-1] == 30 * MINUTE_MS
    assert edited.paused_until_ms == START_MS + 30 * MINUTE_MS
    for until_ms in (START_MS, START_MS - 1):
        with pytest.raises(InvalidRequest, match="until: must be an instant to come"):
            await recurring.pause(edited, "", until_ms)
    resumed = await recurring.resume(edited)
    assert resumed.paused_until_ms is None
    assert nominals(runs(rig, made))[:3] == [MINUTE_MS] * 2 + [30 * MINUTE_MS]


async def test_a_resume_after_the_end_ends() -> None:
    rig = await make_rig()
    recurring = rig.service.recurring
    times = Times(cron="* * * * *", end_ms=START_MS + 5 * MINUTE_MS)
    kept, gone = [
        await recurring.pause(await recurring.put(new(name, times=times, keeps=keeps)))
        for name, keeps in (("kept", True), ("gone", False))
    ]
    rig.clock.advance(10 * MINUTE_MS)
    kept, gone = await recurring.resume(kept), await recurring.resume(gone)
    assert (kept.state, gone.state) == (DefinitionState.ENDED, DefinitionState.DELETED)
    with pytest.raises(Conflict, match="has ended"):
        await recurring.resume(kept)
    with pytest.raises(NotFound):
        await recurring.resume(gone)
    with pytest.raises(InvalidRequest, match="endTime: no run is to come"):
        await recurring.put(new(times=times))


async def test_a_deleted_one_is_found_by_id_alone_and_deleted_again() -> None:
    rig = await make_rig()
    recurring = rig.service.recurring
    made = await recurring.put(new())
    gone = await recurring.delete(made)
    assert await recurring.delete(gone) == gone
    assert (await recurring.fetch_by_id(made.recurring_id)).state is DefinitionState.DELETED
    with pytest.raises(NotFound):
        await recurring.fetch("shop", "nightly")
    assert await rig.service.runs.preview(gone, 3) == []
    await step(rig, runs(rig, made)[0])
    assert nominals(runs(rig, made)) == [MINUTE_MS]


async def test_a_planned_run_is_cancelled_and_the_next_one_runs() -> None:
    rig = await make_rig()
    recurring = rig.service.recurring
    made = await recurring.put(new())
    [first] = runs(rig, made)
    first_id = first.schedule.schedule_id
    cancellation = await rig.service.cancel_schedule(first_id)
    assert (cancellation.promised, cancellation.row.status) == (True, Status.DELETED)
    assert await rig.service.cancel_schedule(first_id) == cancellation
    assert (await rig.service.fetch_schedule(first_id)).status is Status.DELETED
    changed = await recurring.fetch("shop", "nightly")
    assert (changed.version, changed.revision) == (1, 2)
    _, upcoming = rig.service.runs.outlook(changed)
    assert upcoming is not None
    assert upcoming.nominal_ms == START_MS + 2 * MINUTE_MS
    await step(rig, first)
    assert nominals(runs(rig, made)) == [MINUTE_MS, 2 * MINUTE_MS]
    with pytest.raises(AlreadyDone):
        await rig.service.cancel_schedule(first_id)
    rig.clock.advance(59_500)
    assert not (await rig.service.cancel_schedule(runs(rig, made)[1].schedule.schedule_id)).promised


async def test_a_run_that_was_cancelled_stays_so_when_its_name_is_made_anew() -> None:
    """It may be looked at late. What is planned later is the new one's."""
    rig = await make_rig()
    recurring = rig.service.recurring
    made = await recurring.put(new())
    rig.clock.advance(MINUTE_MS - 2_000)
    await rig.service.cancel_schedule(runs(rig, made)[0].schedule.schedule_id)
    stored = await recurring.fetch("shop", "nightly")
    later = replace(stored, revision=stored.revision + 1, skipped=(*stored.skipped, START_MS + 9 * MINUTE_MS))
    await rig.store.real.replace_definition(later)
    rig.clock.advance(3_000)
    await recurring.delete(later)
    rig.clock.advance(1_000)
    anew = await recurring.put(new())
    assert (anew.version, anew.skipped) == (3, (START_MS + MINUTE_MS,))


async def test_cancelled_runs_of_a_definition_are_bounded() -> None:
    rig = await make_rig()
    made = await rig.service.recurring.put(new())
    full = replace(made, revision=2, skipped=tuple(START_MS + DAY_MS + n for n in range(100)))
    await rig.store.real.replace_definition(full)
    with pytest.raises(LimitReached, match="100 runs of recurring schedule nightly are cancelled already"):
        await rig.service.cancel_schedule(runs(rig, made)[0].schedule.schedule_id)


async def test_a_trigger_is_a_run_of_its_own_beside_the_plan() -> None:
    rig = await make_rig()
    recurring = rig.service.recurring
    made = await recurring.put(new(overlap=Overlap.SKIP))
    await step(rig, runs(rig, made)[0])
    planned = runs(rig, made)
    rig.clock.advance(1)
    rows = [await recurring.trigger(made) for _ in range(2)]
    assert len({row.schedule.schedule_id for row in rows}) == 2
    assert runs(rig, made) == planned
    running = [row.schedule.run and row.schedule.run.running for row in rows]
    assert running == [None, rows[0].schedule.schedule_id]  # the planned run has ended, the first one not
    assert (await rig.service.cancel_schedule(rows[1].schedule.schedule_id)).row.status is Status.DELETED


async def test_runs_are_listed_past_and_future_in_pages() -> None:
    rig = await make_rig()
    recurring = rig.service.recurring
    made = await recurring.put(new())
    for _ in range(5):
        await step(rig, runs(rig, made)[-1])
    triggered = await recurring.trigger(made)
    every = [*runs(rig, made)[::-1]]
    page = await rig.service.runs.fetch_page(made)
    assert set(nominals(list(page.rows))) == {*nominals(every), 5 * MINUTE_MS}
    assert triggered.schedule.schedule_id in {row.schedule.schedule_id for row in page.rows}
    assert nominals(list((await rig.service.runs.fetch_page(made, "future")).rows)) == [6 * MINUTE_MS]
    past = await rig.service.runs.fetch_page(made, "past")
    assert nominals(list(past.rows)) == [n * MINUTE_MS for n in (5, 5, 4, 3, 2, 1)]
    found: list[Row] = []
    token = ""
    while True:
        part = await rig.service.runs.fetch_page(made, "", 1, token)
        found += part.rows
        token = part.token
        if not token:
            break
    assert found == list(page.rows)
    for wrong in ({"size": 0}, {"size": 1_001}, {"token": "x"}):
        with pytest.raises(InvalidRequest):
            await rig.service.runs.fetch_page(made, **wrong)


async def test_definitions_are_listed_by_state_in_pages() -> None:
    rig = await make_rig()
    recurring = rig.service.recurring
    made = [await recurring.put(new(f"job-{n}")) for n in range(7)]
    await recurring.delete(made[0])
    await recurring.pause(made[1])
    found: list[Definition] = []
    token = ""
    while True:
        page = await recurring.fetch_page("shop", ALL[:3], 2, token)
        found += page.definitions
        token = page.token
        if not token:
            break
    assert {each.name for each in found} == {f"job-{n}" for n in range(1, 7)}
    paused = await recurring.fetch_page("shop", [DefinitionState.PAUSED])
    assert [each.name for each in paused.definitions] == ["job-1"]
    with pytest.raises(NotFound):
        await recurring.fetch_page("nobody", ALL)


async def test_a_preview_is_numbered_on_and_marks_the_clocks() -> None:
    rig = await make_rig()
    recurring = rig.service.recurring
    made = await recurring.put(new())
    for _ in range(2):
        await step(rig, runs(rig, made)[-1])
    shown = await rig.service.runs.preview(made, 2)
    assert [each.index for each in shown if isinstance(each, Run)] == [3, 4]
    berlin = Times(cron="30 2 * * *", zone="Europe/Berlin")
    assert len(await rig.service.runs.preview_times("shop", berlin, 3)) == 3


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"payload": "x" * 2_000}, "payload"),
        ({"name": "no spaces"}, "name"),
        ({"callback_type": "smoke"}, "callback.type"),
        ({"misfire": Misfire.ALL, "misfire_most": 101}, "misfireMost"),
        ({"misfire_age_ms": 0}, "misfireAgeSeconds"),
        ({"times": Times(cron="* * * * *", calendars=("holidays",))}, "exclusionCalendars"),
    ],
)
async def test_what_breaks_a_rule_is_refused_by_field(changes: dict[str, Any], field: str) -> None:
    rig = await make_rig()
    with pytest.raises(InvalidRequest) as caught:
        await rig.service.recurring.put(new(**changes))
    assert [each.field for each in caught.value.violations] == [field]
    assert rig.store.real._rows == {}


async def test_an_app_that_is_not_active_takes_deletes_alone() -> None:
    rig = await make_rig()
    recurring = rig.service.recurring
    made = await recurring.put(new())
    await rig.service.set_active("shop", False)
    for call in (recurring.put(new("other")), recurring.pause(made), recurring.trigger(made)):
        with pytest.raises(AppInactive):
            await call
    assert (await recurring.delete(made)).state is DefinitionState.DELETED


async def test_a_change_whose_partition_is_not_writable_any_more_is_made_again() -> None:
    """The app shrinks between the change and its first run."""
    rig = await make_rig()
    recurring = rig.service.recurring
    replace_definition = rig.store.real.replace_definition
    done: list[Definition] = []

    async def slow(definition: Definition) -> None:
        await replace_definition(definition)
        if not done:
            app = await rig.store.real.fetch_app("shop")
            assert app is not None
            await rig.store.real.replace_app(replace(app, version=app.version + 1, writable=1))
            rig.clock.advance(20_000)
        done.append(definition)

    rig.store.real.replace_definition = slow  # type: ignore[method-assign]
    made = [await recurring.put(new(f"job-{n}", times=Times(cron="0 * * * *"))) for n in range(1)]
    stored = await recurring.fetch("shop", "job-0")
    assert stored == made[0]
    assert stored.partition == 0
    if done[0].partition != 0:
        assert (len(done), stored.version) == (2, 2)


async def test_what_fails_after_the_change_is_unknown_and_the_check_is_there() -> None:
    rig = await make_rig()
    recurring = rig.service.recurring
    puts = 0
    put_rows = rig.store.real.put_rows

    async def failing(rows: Any) -> None:
        nonlocal puts
        puts += 1
        if puts == 2:
            raise StoreUnavailable("away")
        await put_rows(rows)

    rig.store.real.put_rows = failing  # type: ignore[method-assign]
    with pytest.raises(OutcomeUnknown, match="recurring schedule nightly is stored"):
        await recurring.put(new())
    made = await recurring.fetch("shop", "nightly")
    assert runs(rig, made) == []
    await step(rig, runs(rig, made, Origin.CHECK)[0])
    await step(rig, runs(rig, made)[0])  # which is due by now
    assert nominals(runs(rig, made)) == [MINUTE_MS, 2 * MINUTE_MS]


async def test_others_that_are_always_faster_are_told() -> None:
    rig = await make_rig()
    made = await rig.service.recurring.put(new())
    tries = 0

    async def conflict(definition: Definition) -> None:
        nonlocal tries
        tries += 1
        raise VersionConflict("somebody was faster")

    rig.store.real.replace_definition = conflict  # type: ignore[method-assign]
    with pytest.raises(VersionConflict, match="read it again"):
        await rig.service.recurring.pause(made)
    assert tries == TRIES


async def test_one_that_cannot_be_read_is_put_anew_and_its_runs_are_not_sent() -> None:
    rig = await make_rig()
    made = await rig.service.recurring.put(new())
    made = await rig.service.recurring.put(new(payload="2"))
    *_, old = runs(rig, made)
    plant_damage(rig, made)
    with pytest.raises(VersionConflict):
        await rig.service.recurring.put(new(), revision=1)
    anew = await rig.service.recurring.put(new(payload="3"))
    assert (anew.revision, anew.recurring_id, anew.damage) == (3, made.recurring_id, "")
    assert anew.version > made.version
    (row,) = [each for each in runs(rig, anew) if run_in(each).version == anew.version]
    assert run_in(row).nominal_ms == run_in(old).nominal_ms
    decision = Decision(anew, old, rig.clock.now_ms() + MINUTE_MS, DAY_MS)
    outcome = decision.make({each: Found(None) for each in decision.looks()}).outcome
    assert (outcome and outcome.status) is Status.DELETED
