"""`ringctl schedules bulk` and `jobs`: one action on all of a time range, as a job that servers carry out.

A job is a row in the store, so no server need answer here: whichever runs takes it within some seconds.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from uuid import UUID

import click

from ringtime_ringctl.deployment.changes import audited
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.deployment.ownership import fetch_app
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.shell import RingctlGroup, WaitExpired, deployed
from ringtime_ringctl.times import FORMS, count_of, parse_time, read_window
from ringtime_shared.api.ids import check_schedule_id
from ringtime_shared.api.instants import to_iso
from ringtime_shared.api.jobs import MAX_LIST_SIZE, job_to_json, progress_of
from ringtime_shared.api.schedules import MAX_LIST_DAYS
from ringtime_shared.errors import Conflict, InvalidRequest
from ringtime_shared.models.job import Job, JobAction, JobKey, JobState
from ringtime_shared.models.schedule import Status
from ringtime_shared.schedules import bulk

_LOOK_S = 0.5
_DAY_MS = 86_400_000
_SHORTENED = {
    "end": "--to",
    "start": "--from",
    "status": "--status",
    "reason": "--reason",
    "until": "--until",
}
NAMES = bulk.BulkNames(**_SHORTENED)
_LIST = (
    Column("JOB"),
    Column("ACTION"),
    Column("STATE"),
    Column("DONE", right=True),
    Column("PASSED", right=True),
    Column("FAILED", right=True),
    Column("ASKED"),
)


@click.command("bulk")
@click.argument("action", type=click.Choice([each.value for each in JobAction], case_sensitive=False))
@click.argument("app_id", metavar="APP")
@click.option("--from", "start", help=f"Due from here on: {FORMS}. Default: an hour ago.")
@click.option("--to", "end", help="Up to here, in the same forms; at most 31 days on. Default: now.")
@click.option(
    "--status",
    type=click.Choice([each.value for each in Status], case_sensitive=False),
    help="Only schedules with this status.",
)
@click.option("--reason", default="", help="Of a pause: why, for people.")
@click.option("--until", help="Of a pause: when runs are made again, in the same forms.")
@click.option("--apply", "is_applied", is_flag=True, help="Do it. Without: count what it would do.")
@click.option("--no-wait", is_flag=True, help="Say which job it is, and leave it to itself.")
@click.option("--timeout", "timeout_s", type=float, default=600.0, show_default=True, help="Seconds to wait.")
@deployed
async def bulk_command(
    deployment: Deployment,
    output: Output,
    action: str,
    app_id: str,
    start: str | None,
    end: str | None,
    status: str | None,
    reason: str,
    until: str | None,
    is_applied: bool,
    no_wait: bool,
    timeout_s: float,
) -> None:
    """Cancel, send again or retry all that is due in a time range; pause or resume all recurring schedules.

    A server carries it out as a job, in the background, and another one goes on if that one dies.

    \b
    Examples:
      ringctl schedules bulk delete pay --from now --to +24h           how many would be cancelled
      ringctl schedules bulk delete pay --from now --to +24h --apply   cancel them
      ringctl schedules bulk reconcile pay --from -2h --status FAILURE --apply
      ringctl schedules bulk pause pay --reason maintenance --until +2h --apply
    """
    app, now_ms = await fetch_app(deployment, app_id), deployment.clock.now_ms()
    kind = JobAction(action.lower())
    start_ms = end_ms = None
    if kind.has_range or start or end:
        start_ms, upto_ms = read_window(start or "-1h", end or "now", now_ms)
        end_ms = min(upto_ms + 1, start_ms + MAX_LIST_DAYS * _DAY_MS)
    new = bulk.NewJob(
        app_id=app_id,
        action=kind,
        start_ms=start_ms,
        end_ms=end_ms,
        status=Status(status.upper()) if status else None,
        is_plan=not is_applied,
        reason=reason,
        until_ms=None if until is None else parse_time("--until", until, now_ms),
        names=NAMES,
    )

    def noted(job: Job) -> AbstractAsyncContextManager[None]:
        action, asked = f"schedules bulk {kind}", job_to_json(job)
        return audited(deployment, action, app_id, before=None, after=asked, app_id=app_id)

    job = await bulk.ask(deployment.store, new, app, deployment.clock, noted)
    if not no_wait:
        job = await _wait(deployment, output, job, timeout_s)
    _show(output, job)
    if job.state is JobState.CANCELLED:
        raise Conflict(f"job {job.job_id} was cancelled by somebody; what it did stands")


@click.group("jobs", cls=RingctlGroup)
def jobs() -> None:
    """Look at bulk jobs, wait for one, cancel one."""


@jobs.command("list")
@click.argument("app_id", metavar="APP")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, MAX_LIST_SIZE))
@deployed
async def list_command(deployment: Deployment, output: Output, app_id: str, limit: int) -> None:
    """List the jobs of an app, newest first.

    \b
    Examples:
      ringctl schedules jobs list pay
    """
    app = await fetch_app(deployment, app_id)
    found = await deployment.store.list_jobs(app_id, None, limit)
    shown = [job for job in found if job.app_number == app.number and not job.damage]
    if output.is_json:
        output.data({"jobs": [job_to_json(job) for job in shown]})
        return
    output.table(
        _LIST,
        [
            (
                str(job.job_id),
                f"{job.action}, counted" if job.is_plan else job.action.value,
                job.state.value,
                job.done,
                job.passed,
                job.failed,
                to_iso(job.created_ms),
            )
            for job in shown
        ],
    )


@jobs.command("get")
@click.argument("app_id", metavar="APP")
@click.argument("job_id", metavar="JOB")
@click.option("--wait", "is_waited", is_flag=True, help="Until it has ended.")
@click.option("--timeout", "timeout_s", type=float, default=600.0, show_default=True, help="Seconds to wait.")
@deployed
async def get_command(
    deployment: Deployment, output: Output, app_id: str, job_id: str, is_waited: bool, timeout_s: float
) -> None:
    """Show a job as it is now, or wait for its end.

    \b
    Examples:
      ringctl schedules jobs get pay 01a217e4-4dda-7965-ad46-27e97a63a46b --wait
    """
    app = await fetch_app(deployment, app_id)
    job = await bulk.find(deployment.store, JobKey(app_id, _parse_id(job_id)), app)
    if is_waited:
        job = await _wait(deployment, output, job, timeout_s)
    _show(output, job)


@jobs.command("cancel")
@click.argument("app_id", metavar="APP")
@click.argument("job_id", metavar="JOB")
@deployed
async def cancel_command(deployment: Deployment, output: Output, app_id: str, job_id: str) -> None:
    """Let a job do no more, after the page that it is at; what it did stands.

    \b
    Examples:
      ringctl schedules jobs cancel pay 01a217e4-4dda-7965-ad46-27e97a63a46b
    """
    app, key = await fetch_app(deployment, app_id), JobKey(app_id, _parse_id(job_id))
    before = await bulk.find(deployment.store, key, app)
    after = {"state": JobState.CANCELLED}
    async with audited(
        deployment, "schedules jobs cancel", job_id, before=job_to_json(before), after=after, app_id=app_id
    ):
        job = await bulk.cancel(deployment.store, key, app, deployment.clock.now_ms)
    _show(output, job)


def _parse_id(text: str) -> UUID:
    """Return a job's id. Raises InvalidRequest."""
    if violations := check_schedule_id(text, "JOB"):
        raise InvalidRequest(violations)
    return UUID(text)


async def _wait(deployment: Deployment, output: Output, job: Job, timeout_s: float) -> Job:
    """Return a job once it has ended. Raises WaitExpired."""
    until_ms = deployment.clock.boot_ms() + timeout_s * 1_000
    with output.progress(job.action, 100) as bar:
        while job.is_open:
            bar.show(int(progress_of(job) * 100), f"{job.action}: {job.done:,} done")
            if deployment.clock.boot_ms() > until_ms:
                nobody = "; nobody has begun it: does a server run?" if job.state is JobState.WAITING else ""
                raise WaitExpired(f"job {job.job_id} of app {job.app_id} is {job.state} still{nobody}")
            await asyncio.sleep(_LOOK_S)
            job = await deployment.store.fetch_job(job.key) or job
    return job


def _show(output: Output, job: Job) -> None:
    """Say how far a job is. Raises Conflict if it was given up, or something of it failed."""
    if output.is_json:
        output.data(job_to_json(job))
    else:
        would = "would be " if job.is_plan else ""
        output.line(
            f"job {job.job_id}, {job.action}, is {job.state}" + (f": {job.error}" if job.error else "")
        )
        output.line(
            f"{would}acted on {job.done:,} of {count_of(job.looked, 'thing')} looked at; nothing to do about"
            f" {job.passed:,}; {job.failed:,} failed" + ("; --apply does it" if job.is_plan else "")
        )
        for problem in job.problems:
            output.line(f"  {problem}")
    if job.state is JobState.FAILED or job.failed:
        raise Conflict(f"job {job.job_id}: {job.error or f'{job.failed:,} failed'}")
