"""Bulk jobs: what each acts on, that it acts on all pages, and that whoever dies leaves it to others."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from tests.contract.builders import START_MS, make_letter, make_outcome, make_update
from tests.unit.ingest.commit_rig import ServiceRig, make_service_rig
from tests.unit.ingest.test_recurring import plant_damage
from tests.unit.spy_store import spin

from ringtime_ingest.service import job_actions, jobs
from ringtime_ingest.service.requests import NewRecurring
from ringtime_shared.errors import (
    AppInactive,
    ClockInDoubt,
    Conflict,
    Damaged,
    InvalidRequest,
    LimitReached,
    NotFound,
    StoreUnavailable,
)
from ringtime_shared.models.job import Job, JobAction, JobState, new_job_id
from ringtime_shared.models.recurring import DefinitionState
from ringtime_shared.models.schedule import Row, Status
from ringtime_shared.models.times import Times
from ringtime_shared.schedules.bulk import MOST_ASKED, MOST_OPEN, NewJob

HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_actions, "PAGE", 7)
    monkeypatch.setattr(job_actions, "_DEFINITIONS", 2)
    monkeypatch.setattr(jobs, "_BACK_OFF_S", 0.0)


def job_of(action: JobAction, **changes: Any) -> NewJob:
    given: dict[str, Any] = {"start_ms": START_MS, "end_ms": START_MS + HOUR_MS} if action.has_range else {}
    return NewJob(app_id="shop", action=action, **given | changes)


async def make_rig(count: int = 0) -> tuple[ServiceRig, list[Row]]:
    rig = await make_service_rig()
    await rig.register()
    return rig, [await rig.create(delay_ms=60_000 + n * 20_000) for n in range(count)]


async def carry_out(rig: ServiceRig, new: NewJob) -> Job:
    job = await rig.service.jobs.ask(new)
    assert (job.state, job.revision) == (JobState.WAITING, 1)
    await rig.service.jobs.work(job)
    return await rig.service.jobs.fetch(job.app_id, job.job_id)


async def settle(rig: ServiceRig, row: Row, status: Status) -> None:
    outcome = make_outcome(status=status, ended_ms=rig.clock.now_ms(), replay=row.replay)
    await rig.store.real.put_updates([make_update(row, outcome=outcome)])


def counts(job: Job) -> tuple[int, int, int, int]:
    return job.looked, job.done, job.passed, job.failed


async def statuses(rig: ServiceRig, rows: list[Row]) -> list[Status]:
    return [(await rig.service.fetch_schedule(row.schedule.schedule_id)).status for row in rows]


async def test_delete_cancels_all_pages_and_a_plan_counts_the_same() -> None:
    rig, rows = await make_rig(30)
    await rig.service.cancel_schedule(rows[3].schedule.schedule_id)
    await settle(rig, rows[4], Status.SUCCESS)
    plan = await carry_out(rig, job_of(JobAction.DELETE, is_plan=True))
    assert (plan.state, counts(plan)) == (JobState.DONE, (30, 28, 2, 0))
    assert await statuses(rig, rows[:3]) == [Status.SCHEDULED] * 3
    job = await carry_out(rig, job_of(JobAction.DELETE))
    assert (job.state, counts(job)) == (JobState.DONE, (30, 28, 2, 0))
    assert await statuses(rig, rows[:5]) == [Status.DELETED] * 4 + [Status.SUCCESS]
    again = await carry_out(rig, job_of(JobAction.DELETE))
    assert counts(again) == (30, 0, 30, 0)


async def test_a_status_and_a_range_choose_what_is_acted_on() -> None:
    rig, rows = await make_rig(9)
    await settle(rig, rows[0], Status.FAILURE)
    failed = await carry_out(rig, job_of(JobAction.DELETE, status=Status.FAILURE))
    assert counts(failed) == (1, 0, 1, 0)
    fire_ms = rows[4].schedule.fire_ms
    job = await carry_out(rig, job_of(JobAction.DELETE, start_ms=rows[2].schedule.fire_ms, end_ms=fire_ms))
    assert counts(job) == (2, 2, 0, 0)  # up to before the end


@pytest.mark.parametrize("action", [each for each in JobAction if each.has_range])
async def test_an_empty_range_has_nothing_in_it(action: JobAction) -> None:
    rig, _ = await make_rig(1)
    job = await carry_out(rig, job_of(action, end_ms=START_MS))
    assert (job.state, counts(job)) == (JobState.DONE, (0, 0, 0, 0))


async def test_reconcile_sends_what_ended_before_it_once_more_each() -> None:
    rig, rows = await make_rig(12)
    for row, status in zip(rows, (Status.SUCCESS, Status.FAILURE, Status.MISS) * 3, strict=False):
        await settle(rig, row, status)
    await rig.service.cancel_schedule(rows[9].schedule.schedule_id)
    rig.clock.advance(5_000)
    only = await carry_out(rig, job_of(JobAction.RECONCILE, status=Status.MISS))
    assert counts(only) == (3, 3, 0, 0)
    job = await rig.service.jobs.ask(job_of(JobAction.RECONCILE, status=Status.SUCCESS))
    await rig.service.jobs.work(job)
    homes = [await rig.store.real.fetch_row(row.place, row.schedule.schedule_id) for row in rows[:9]]
    filed = [home.moved_to for home in homes if home is not None]
    assert [place is not None for place in filed] == [True, False, True] * 3
    slots = sorted(place.slot_ms for place in filed if place is not None)
    assert all(later - earlier >= 5 for earlier, later in pairwise(slots))
    # The job is done again, as after a kill before its progress: what was sent meanwhile is passed over.
    pending = await rig.store.real.fetch_row(filed[0], rows[0].schedule.schedule_id)  # type: ignore[arg-type]
    assert pending is not None
    assert pending.replay == 1
    rig.clock.advance(5_000)
    await settle(rig, replace(rows[0], replay=1), Status.SUCCESS)
    await rig.service.jobs.work(job)  # it is over: nothing is done
    redone = replace(job, job_id=new_job_id(rig.clock.now_ms()))
    await rig.store.real.replace_job(redone)
    await rig.service.jobs.work(redone)
    assert counts(await rig.service.jobs.fetch("shop", redone.job_id)) == (3, 2, 1, 0)


async def test_reconcile_sends_what_waits_now_but_runs_and_cancelled_ones() -> None:
    rig, rows = await make_rig(12)
    await rig.service.cancel_schedule(rows[9].schedule.schedule_id)
    job = await carry_out(rig, job_of(JobAction.RECONCILE, status=Status.SCHEDULED))
    assert counts(job) == (11, 11, 0, 0)
    now_ms = rig.clock.now_ms()
    for n in (0, 11):
        shown = await rig.service.fetch_schedule(rows[n].schedule.schedule_id)
        assert (shown.status, now_ms <= shown.schedule.fire_ms < now_ms + 1_000) == (Status.SCHEDULED, True)


async def test_retry_replays_dead_letters() -> None:
    rig, rows = await make_rig(3)
    (app,) = await rig.service.fetch_apps("shop")
    letters = [
        replace(make_letter(app, row.place.slot_ms), schedule_id=row.schedule.schedule_id) for row in rows
    ]
    for row in rows:
        await settle(rig, row, Status.FAILURE)
    await rig.store.real.put_dead_letters(letters)
    assert counts(await carry_out(rig, job_of(JobAction.RETRY, is_plan=True))) == (3, 3, 0, 0)
    assert counts(await carry_out(rig, job_of(JobAction.RETRY))) == (3, 3, 0, 0)
    assert counts(await carry_out(rig, job_of(JobAction.RETRY))) == (0, 0, 0, 0)


async def test_recurring_schedules_are_paused_and_resumed() -> None:
    rig, _ = await make_rig()
    for n in range(5):
        await rig.service.recurring.put(
            NewRecurring(
                app_id="shop", name=f"n{n}", payload="", callback_type="sim", callback_details={"n": 1},
                times=Times(cron="0 0 * * *"),
            )
        )  # fmt: skip
    paused = await rig.service.recurring.fetch("shop", "n3")
    await rig.service.recurring.pause(paused)
    job = await carry_out(rig, job_of(JobAction.PAUSE, reason="maintenance"))
    assert counts(job) == (5, 4, 1, 0)
    definition = await rig.service.recurring.fetch("shop", "n0")
    assert (definition.state, definition.reason) == (DefinitionState.PAUSED, "maintenance")
    assert counts(await carry_out(rig, job_of(JobAction.RESUME, is_plan=True))) == (5, 5, 0, 0)
    assert counts(await carry_out(rig, job_of(JobAction.RESUME))) == (5, 5, 0, 0)
    assert (await rig.service.recurring.fetch("shop", "n3")).state is DefinitionState.ACTIVE
    plant_damage(rig, definition)
    job = await carry_out(rig, job_of(JobAction.PAUSE))
    assert counts(job) == (5, 4, 0, 1)
    assert job.problems[0].startswith(f"{definition.recurring_id}: it cannot be read, definition: ")


async def test_whoever_comes_next_goes_on_after_the_last_page_written() -> None:
    rig, rows = await make_rig(20)
    job = await rig.service.jobs.ask(job_of(JobAction.DELETE))
    gate = rig.store.hold("put_cancel")
    rig.store.hold("replace_job").set()
    first = asyncio.create_task(rig.service.jobs.work(job))
    while rig.store.names().count("put_cancel") < 7:  # the first page is under way
        await spin(1)
    # Nobody takes it while the lease lasts, and somebody does afterwards.
    other = await make_other(rig)
    await other.look()
    assert not other._working
    rig.clock.advance(jobs.LEASE_MS + 1)
    await other.look()
    gate.set()
    await asyncio.gather(first, *other._working.values())
    ended = await other.fetch("shop", job.job_id)
    assert (ended.state, ended.looked) == (JobState.DONE, 20)
    assert await statuses(rig, rows) == [Status.DELETED] * 20
    await other.close()


async def test_a_lease_that_a_false_clock_gave_holds_nobody_up() -> None:
    rig, rows = await make_rig(1)
    job = await rig.service.jobs.ask(job_of(JobAction.DELETE))
    ahead_ms = rig.clock.now_ms() + HOUR_MS
    leased = replace(job, revision=2, state=JobState.RUNNING, worker="dead", leased_until_ms=ahead_ms)
    await rig.store.real.replace_job(leased)
    await rig.service.jobs.look()
    await asyncio.gather(*rig.service.jobs._working.values())
    assert await statuses(rig, rows) == [Status.DELETED]


async def make_other(rig: ServiceRig) -> jobs.Jobs:
    """Another process on the same store."""
    service = rig.service.jobs
    return jobs.Jobs(rig.store, service._apps, rig.clock, service._actions)  # type: ignore[arg-type]


async def test_a_page_is_done_again_when_the_store_failed() -> None:
    rig, rows = await make_rig(10)
    rig.store.fail("put_cancel", StoreUnavailable("no"))
    rig.store.fail("replace_job", carried_out=False)
    job = await carry_out(rig, job_of(JobAction.DELETE))
    assert (job.state, job.looked) == (JobState.DONE, 10)
    assert await statuses(rig, rows) == [Status.DELETED] * 10


async def test_a_cancelled_job_does_no_more() -> None:
    rig, rows = await make_rig(20)
    job = await rig.service.jobs.ask(job_of(JobAction.DELETE))
    gate = rig.store.hold("put_cancel")
    working = asyncio.create_task(rig.service.jobs.work(job))
    while rig.store.names().count("put_cancel") < 7:
        await spin(1)
    cancelled = await rig.service.jobs.cancel("shop", job.job_id)
    assert await rig.service.jobs.cancel("shop", job.job_id) == cancelled
    gate.set()
    await working
    assert await rig.service.jobs.fetch("shop", job.job_id) == cancelled
    assert (await statuses(rig, rows)).count(Status.DELETED) == 7
    done = await carry_out(rig, job_of(JobAction.DELETE))
    with pytest.raises(Conflict, match="DONE already"):
        await rig.service.jobs.cancel("shop", done.job_id)


async def test_a_stopped_process_gives_its_lease_back() -> None:
    rig, _ = await make_rig(20)
    gate = rig.store.hold("put_cancel")
    job = await rig.service.jobs.ask(job_of(JobAction.DELETE))
    rig.service.jobs.start(is_alone=False)
    while "put_cancel" not in rig.store.names():
        await spin(1)
    await rig.service.jobs.close()
    gate.set()
    other = await make_other(rig)
    await other.look()
    await asyncio.gather(*other._working.values())
    assert (await other.fetch("shop", job.job_id)).state is JobState.DONE


async def test_jobs_of_one_app_go_one_after_the_other() -> None:
    rig, _ = await make_rig(20)
    asked = [await rig.service.jobs.ask(job_of(JobAction.DELETE, is_plan=True)) for _ in range(3)]
    await rig.service.jobs.look()
    assert list(rig.service.jobs._working) == [min(asked, key=lambda job: job.job_id).key]
    await rig.service.jobs.close()


@pytest.mark.parametrize(
    ("action", "changes", "field"),
    [
        (JobAction.DELETE, {"end_ms": START_MS - 1}, "start"),
        (JobAction.DELETE, {"end_ms": START_MS + 32 * 24 * HOUR_MS}, "start"),
        (JobAction.DELETE, {"reason": "x"}, "reason"),
        (JobAction.RETRY, {"status": Status.MISS}, "status"),
        (JobAction.PAUSE, {"start_ms": START_MS}, "start"),
        (JobAction.PAUSE, {"status": Status.SCHEDULED}, "status"),
        (JobAction.PAUSE, {"reason": "x" * 501}, "reason"),
        (JobAction.PAUSE, {"until_ms": START_MS - 1}, "until"),
        (JobAction.RESUME, {"until_ms": START_MS + 1}, "until"),
    ],
)
async def test_what_has_no_meaning_is_refused(action: JobAction, changes: dict[str, Any], field: str) -> None:
    rig, _ = await make_rig()
    with pytest.raises(InvalidRequest) as told:
        await rig.service.jobs.ask(job_of(action, **changes))
    assert [each.field for each in told.value.violations] == [field]


async def test_jobs_of_an_app_are_bounded_and_told_of() -> None:
    rig, _ = await make_rig()
    asked = [await rig.service.jobs.ask(job_of(JobAction.DELETE)) for _ in range(MOST_OPEN)]
    with pytest.raises(LimitReached):
        await rig.service.jobs.ask(job_of(JobAction.DELETE))
    newest = sorted(asked, key=lambda job: job.job_id, reverse=True)
    page = await rig.service.jobs.fetch_page("shop", 15)
    rest = await rig.service.jobs.fetch_page("shop", 15, page.token)
    assert [*page.jobs, *rest.jobs] == newest
    assert not rest.token
    with pytest.raises(NotFound):
        await rig.service.jobs.fetch("shop", new_job_id(0))


async def test_open_jobs_are_counted_however_many_were_asked_for_since() -> None:
    rig, _ = await make_rig()
    for _ in range(MOST_OPEN):
        await rig.service.jobs.ask(job_of(JobAction.DELETE))
    for n in range(MOST_ASKED):
        made = await rig.store.real.list_jobs("shop", None, 1)
        ended = replace(made[0], job_id=new_job_id(rig.clock.now_ms() + n), state=JobState.CANCELLED)
        await rig.store.real.replace_job(ended)
    rig.clock.advance(2 * HOUR_MS)
    with pytest.raises(LimitReached, match="have not ended yet"):
        await rig.service.jobs.ask(job_of(JobAction.DELETE))


async def test_no_job_is_asked_for_by_a_clock_in_doubt() -> None:
    """What ended since would be sent again, and jobs would not come in turn."""
    rig, _ = await make_rig()
    rig.clock.in_doubt = "it was set back"
    with pytest.raises(ClockInDoubt):
        await rig.service.jobs.ask(job_of(JobAction.RECONCILE))
    assert not await rig.store.real.list_jobs("shop", None, 1)


async def test_a_job_ends_with_the_app() -> None:
    rig, _ = await make_rig(3)
    job = await rig.service.jobs.ask(job_of(JobAction.RECONCILE))
    await rig.service.set_active("shop", False)
    with pytest.raises(AppInactive):
        await rig.service.jobs.ask(job_of(JobAction.RECONCILE))
    await rig.service.jobs.work(job)
    failed = await rig.service.jobs.fetch("shop", job.job_id)
    assert (failed.state, "deactivated" in failed.error) == (JobState.FAILED, True)


async def test_a_job_is_cancelled_also_while_its_page_fails_again_and_again() -> None:
    rig, _ = await make_rig(3)
    job = await rig.service.jobs.ask(job_of(JobAction.DELETE))
    rig.store.fail("put_cancel", *[StoreUnavailable("no")] * 10_000)
    working = asyncio.create_task(rig.service.jobs.work(job))
    while not (await rig.service.jobs.fetch("shop", job.job_id)).error:  # what it waits for is told
        await spin(1)
    cancelled = await rig.service.jobs.cancel("shop", job.job_id)
    async with asyncio.timeout(60):
        await working
    assert await rig.service.jobs.fetch("shop", job.job_id) == cancelled


async def test_many_apps_take_turns_and_none_keeps_the_others_waiting() -> None:
    rig, _ = await make_rig()
    names = ["shop", *(f"app{n}" for n in range(jobs.AT_ONCE))]
    for name in names[1:]:
        await rig.register(name)
    asked = []
    for name in names:
        asked.append(await rig.service.jobs.ask(replace(job_of(JobAction.DELETE), app_id=name)))
        rig.clock.advance(1)
    gate = rig.store.hold("fetch_app_buckets")  # each is at its first page
    await rig.service.jobs.look()
    assert [key.app_id for key in rig.service.jobs._working] == names[:-1]
    await spin()
    rig.store.fail("fetch_app_buckets", *[StoreUnavailable("no")] * 10_000)
    rig.clock.advance(jobs.TURN_MS)
    gate.set()
    async with asyncio.timeout(60):  # they get nowhere, and let go
        await asyncio.gather(*rig.service.jobs._working.values())
    rig.store.heal("fetch_app_buckets")
    await spin()
    await rig.service.jobs.look()
    assert next(iter(rig.service.jobs._working)).app_id == names[-1]
    await asyncio.gather(*rig.service.jobs._working.values())
    await spin()
    await rig.service.jobs.look()
    await asyncio.gather(*rig.service.jobs._working.values())
    states = [(await rig.service.jobs.fetch(job.app_id, job.job_id)).state for job in asked]
    assert states == [JobState.DONE] * len(names)


async def test_jobs_of_an_hour_are_bounded() -> None:
    rig, _ = await make_rig()
    for _ in range(MOST_ASKED):
        job = await rig.service.jobs.ask(job_of(JobAction.DELETE))
        await rig.service.jobs.cancel("shop", job.job_id)
    with pytest.raises(LimitReached, match="within an hour"):
        await rig.service.jobs.ask(job_of(JobAction.DELETE))
    rig.clock.advance(HOUR_MS)
    await rig.service.jobs.ask(job_of(JobAction.DELETE))


async def test_a_dead_letter_whose_record_is_lost_is_told_as_failed() -> None:
    rig, rows = await make_rig(1)
    (app,) = await rig.service.fetch_apps("shop")
    await settle(rig, rows[0], Status.FAILURE)
    letter = replace(make_letter(app, rows[0].place.slot_ms), schedule_id=rows[0].schedule.schedule_id)
    await rig.store.real.put_dead_letters([letter])
    rig.store.fail("fetch_row", Damaged("schedule", str(letter.schedule_id), "outcome: no JSON"))
    job = await carry_out(rig, job_of(JobAction.RETRY))
    assert (counts(job), str(letter.schedule_id) in job.problems[0]) == ((1, 0, 0, 1), True)
