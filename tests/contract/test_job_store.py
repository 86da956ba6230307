"""Every JobStore driver passes this file."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.contract.builders import NOW_MS

from ringtime_shared.errors import VersionConflict
from ringtime_shared.models.app import App
from ringtime_shared.models.job import Job, JobAction, JobKey, JobState, new_job_id
from ringtime_shared.models.schedule import Status
from ringtime_shared.stores.protocol import LAST_ID, Store


def make_job(app: App, now_ms: int = NOW_MS) -> Job:
    return Job(
        job_id=new_job_id(now_ms),
        app_id=app.app_id,
        app_number=app.number,
        action=JobAction.DELETE,
        start_ms=1,
        end_ms=2,
        created_ms=now_ms,
        changed_ms=now_ms,
    )


def every_field(job: Job) -> Job:
    """The next revision, in which every field differs from its default."""
    return replace(
        job,
        action=JobAction.PAUSE,
        status=Status.MISS,
        is_plan=True,
        reason="ü",
        until_ms=NOW_MS + 1,
        revision=job.revision + 1,
        state=JobState.RUNNING,
        cursor="c",
        through_ms=3,
        looked=4,
        done=5,
        passed=6,
        failed=7,
        problems=("x: why",),
        error="e",
        worker="w",
        leased_until_ms=8,
        ended_ms=9,
    )


async def test_a_job_is_replaced_by_its_next_revision_alone(store: Store, app: App) -> None:
    job = make_job(app)
    with pytest.raises(VersionConflict):
        await store.replace_job(replace(job, revision=2))
    await store.replace_job(job)
    await store.replace_job(job)  # a repeat is no conflict
    assert await store.fetch_job(job.key) == job
    changed = every_field(job)
    await store.replace_job(changed)
    await store.replace_job(changed)
    assert await store.fetch_job(job.key) == changed
    for wrong in (job, replace(changed, looked=0), replace(changed, revision=4)):
        with pytest.raises(VersionConflict):
            await store.replace_job(wrong)
    assert await store.fetch_job(JobKey(app.app_id, LAST_ID)) is None


async def test_jobs_of_an_app_are_listed_newest_first(store: Store, app: App) -> None:
    jobs = [make_job(app, NOW_MS + n) for n in range(5)]
    for job in jobs:
        await store.replace_job(job)
    assert await store.list_jobs(app.app_id, None, 9) == jobs[::-1]
    assert await store.list_jobs(app.app_id, jobs[3].job_id, 2) == [jobs[2], jobs[1]]
    assert await store.list_jobs("nobody", None, 9) == []


async def test_open_jobs_are_found_until_they_end(store: Store, app: App) -> None:
    jobs = [make_job(app, NOW_MS + n) for n in range(3)]
    for job in jobs:
        await store.replace_job(job)

    async def fetch_open() -> list[Job]:
        found = await store.fetch_open_jobs(1_000)
        return [job for job in found if job.app_id == app.app_id]

    assert await fetch_open() == jobs
    assert len(await store.fetch_open_jobs(2)) == 2
    running = replace(jobs[1], revision=2, state=JobState.RUNNING)
    await store.replace_job(running)
    await store.replace_job(replace(jobs[0], revision=2, state=JobState.CANCELLED))
    assert await fetch_open() == [running, jobs[2]]
