"""Bulk jobs, as the API and the tools show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from ringtime_shared.api.instants import to_iso
from ringtime_shared.api.views import Doc
from ringtime_shared.models.job import Job, JobAction, JobState
from ringtime_shared.models.schedule import Status

LIST_SIZE = 15  #: jobs on a page, if nobody says how many
MAX_LIST_SIZE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A bulk job: what was asked, and how far it is."""

    job_id: Annotated[UUID, Doc("Made by the server; ids rise with time.")]
    app_id: Annotated[str, Doc("Whose schedules it is about.")]
    action: Annotated[JobAction, Doc("What is done to each.")]
    dry_run: Annotated[bool, Doc("It only counts: `done` is how many would be acted on.")]
    state: Annotated[JobState, Doc("WAITING and RUNNING: it goes on.")]
    looked: Annotated[int, Doc("Things looked at so far.")]
    done: Annotated[int, Doc("Acted on.")]
    passed: Annotated[int, Doc("There was nothing to do about them.")]
    failed: Annotated[int, Doc("Refused, or their record cannot be read.")]
    problems: Annotated[Sequence[str], Doc("The first ten of these: which, and why.")]
    created_at: Annotated[datetime, Doc("When it was asked for. What ended later is not sent again.")]
    changed_at: Annotated[datetime, Doc("When it was last heard of.")]
    status: Annotated[
        Status | None, Doc("Only schedules with this status; left out: all.", name="scheduleStatus")
    ] = None
    start_time: Annotated[datetime | None, Doc("From here on; left out where there is no range.")] = None
    end_time: Annotated[datetime | None, Doc("Up to before here.")] = None
    through: Annotated[datetime | None, Doc("Everything due before this instant was looked at.")] = None
    progress: Annotated[float | None, Doc("How much of the range that is, from 0 to 1.")] = None
    ended_at: Annotated[datetime | None, Doc("When it ended.")] = None
    error: Annotated[str, Doc("Why it was given up, or what it waits for.", name="errorMessage")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPage:
    """Newest first."""

    jobs: Annotated[Sequence[JobView], Doc("Jobs of the app, for 30 days after they ended.")]
    token: Annotated[
        str, Doc("Goes on after this answer; empty: there is nothing more.", name="continuationToken")
    ]


def job_to_json(job: Job) -> dict[str, object]:
    """Return a job as the API shows it."""
    shown: dict[str, object] = {
        "jobId": str(job.job_id),
        "appId": job.app_id,
        "action": job.action,
        "dryRun": job.is_plan,
        "state": job.state,
        "looked": job.looked,
        "done": job.done,
        "passed": job.passed,
        "failed": job.failed,
        "problems": list(job.problems),
        "createdAt": to_iso(job.created_ms),
        "changedAt": to_iso(job.changed_ms),
    }
    if job.status is not None:
        shown["scheduleStatus"] = job.status
    if job.action.has_range:
        shown["startTime"], shown["endTime"] = to_iso(job.start_ms), to_iso(job.end_ms)
        shown["through"] = to_iso(job.through_ms)
        shown["progress"] = progress_of(job)
    if job.ended_ms is not None:
        shown["endedAt"] = to_iso(job.ended_ms)
    if job.error:
        shown["errorMessage"] = job.error
    return shown


def progress_of(job: Job) -> float:
    """Return how much of its range a job has been through, from 0 to 1."""
    if job.state is JobState.DONE:
        return 1.0
    whole_ms = job.end_ms - job.start_ms
    return round((job.through_ms - job.start_ms) / whole_ms, 4) if whole_ms else 0.0


def jobs_to_json(jobs: Sequence[Job], token: str) -> dict[str, object]:
    """Return a page of jobs."""
    return {"jobs": [job_to_json(job) for job in jobs], "continuationToken": token}


def remark_of(job: Job) -> str:
    """Return what goscheduler's clients are told of a job that was asked for."""
    status = f", status {job.status}" if job.status is not None else ""
    span = f" from {to_iso(job.start_ms)} up to {to_iso(job.end_ms)}" if job.action.has_range else ""
    what = f"counts what {job.action} would act on" if job.is_plan else f"carries out {job.action}"
    return f"job {job.job_id} {what} for app {job.app_id}{span}{status}"
