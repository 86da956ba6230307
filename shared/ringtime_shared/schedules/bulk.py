"""Bulk jobs: how one is asked for, and cancelled. Clients and operators share it; ingest carries them out.

What a job acts on stands in its row when it is asked for: app, action, range and status. So nothing of it is
lost with the process that was asked, and what another process does of it is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import NamedTuple

from ringtime_shared.api.recurring import MAX_REASON_CHARS
from ringtime_shared.api.schedules import MAX_LIST_DAYS
from ringtime_shared.apps.states import inactive
from ringtime_shared.clock import Clock, require_trust
from ringtime_shared.errors import (
    Conflict,
    InvalidRequest,
    LimitReached,
    NotFound,
    VersionConflict,
    Violation,
)
from ringtime_shared.models.app import App
from ringtime_shared.models.job import Job, JobAction, JobKey, JobState, made_ms, new_job_id
from ringtime_shared.models.schedule import Status
from ringtime_shared.recurring.zones import LAST_MS, LAST_YEAR
from ringtime_shared.stores.protocol import JobStore

MOST_OPEN = 20  #: jobs of one app that have not ended
OPEN_AT_ONCE = 1_000  #: jobs of all apps that are looked at: the oldest
MOST_ASKED = 200  #: and that are asked for within an hour
_HOUR_MS = 3_600_000
_DAY_MS = 86_400_000
_TRIES = 10


class BulkNames(NamedTuple):
    """What the fields are called where the caller spelled them."""

    start: str
    end: str
    status: str = "status"
    reason: str = "reason"
    until: str = "until"


IN_QUERY = BulkNames("start_time", "end_time")
IN_LIBRARY = BulkNames("start", "end")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job to be asked for. Of recurring schedules it is about all of the app, and takes no range."""

    app_id: str
    action: JobAction
    start_ms: int | None = None  #: from then on; None: an hour before the end
    end_ms: int | None = None  #: up to before then; None: an hour after the start if that is given, else now
    status: Status | None = None  #: only schedules with this status
    is_plan: bool = False
    reason: str = ""  #: of a pause
    until_ms: int | None = None  #: of a pause
    names: BulkNames = IN_LIBRARY


Noted = Callable[[Job], AbstractAsyncContextManager[None]]
"""What stands around the write of a job: `auditing`."""


def unnoted(job: Job) -> AbstractAsyncContextManager[None]:  # noqa: ARG001
    """Note nothing."""
    return nullcontext()


async def ask(store: JobStore, new: NewJob, app: App, clock: Clock, noted: Noted = unnoted) -> Job:
    """Store a job for whoever carries it out; return it. One that only counts is not `noted`.

    When it was asked for says which of what has ended is sent again, and which job comes first: a clock in
    doubt cannot tell.

    Raises InvalidRequest, AppInactive, LimitReached, ClockInDoubt, StoreUnavailable, OutcomeUnknown: it may
    be carried out.
    """
    require_trust(clock)
    now_ms = clock.now_ms()
    job = make_job(new, app, now_ms)
    if new.action.needs_active and not new.is_plan and not app.active:
        raise inactive(app)
    latest = await store.list_jobs(app.app_id, None, MOST_ASKED)
    eldest = await store.fetch_open_jobs(OPEN_AT_ONCE)  # an open one may have more after it than are read
    is_open = {each.job_id for each in (*latest, *eldest) if each.app_id == app.app_id and each.is_open}
    if len(is_open) >= MOST_OPEN:
        raise LimitReached(f"{MOST_OPEN} jobs of app {app.app_id} have not ended yet; cancel one, or wait")
    if len(latest) == MOST_ASKED and made_ms(latest[-1].job_id) > now_ms - _HOUR_MS:
        raise LimitReached(f"{MOST_ASKED} jobs of app {app.app_id} were asked for within an hour; wait")
    async with unnoted(job) if job.is_plan else noted(job):
        await store.replace_job(job)
    return job


def make_job(new: NewJob, app: App, now_ms: int) -> Job:
    """Return the job that is asked for. Raises InvalidRequest."""
    start_ms, end_ms = 0, 0
    wrong = _check(new, now_ms)
    if new.action.has_range:
        start_ms, end_ms = _range(new, now_ms)
        wrong += [
            Violation(name, f"must be from 1970 to {LAST_YEAR - 1}")
            for name, at_ms in ((new.names.start, start_ms), (new.names.end, end_ms))
            if not 0 <= at_ms < LAST_MS
        ]
        if start_ms > end_ms:
            wrong.append(Violation(new.names.start, f"must not be after {new.names.end}"))
        elif end_ms - start_ms > MAX_LIST_DAYS * _DAY_MS:
            rule = f"must be at most {MAX_LIST_DAYS} days before {new.names.end}"
            wrong.append(Violation(new.names.start, rule))
    if wrong:
        raise InvalidRequest(wrong)
    return Job(
        job_id=new_job_id(now_ms),
        app_id=app.app_id,
        app_number=app.number,
        action=new.action,
        start_ms=start_ms,
        end_ms=end_ms,
        status=new.status,
        is_plan=new.is_plan,
        reason=new.reason,
        until_ms=new.until_ms,
        created_ms=now_ms,
        changed_ms=now_ms,
        through_ms=start_ms,
    )


def _check(new: NewJob, now_ms: int) -> list[Violation]:
    """Return what is given and has no meaning for the action, or none at all."""
    names, wrong = new.names, []
    if not new.action.has_range:
        rule = f"has no meaning for {new.action}, which is about all recurring schedules of the app"
        of_range = ((names.start, new.start_ms), (names.end, new.end_ms), (names.status, new.status))
        wrong += [Violation(name, rule) for name, value in of_range if value is not None]
    elif new.action is JobAction.RETRY and new.status not in (None, Status.FAILURE):
        wrong.append(
            Violation(names.status, f"must be {Status.FAILURE} or left out: dead letters have no other")
        )
    if new.action is not JobAction.PAUSE:
        of_pause = ((names.reason, new.reason or None), (names.until, new.until_ms))
        wrong += [
            Violation(name, "has a meaning for pause alone") for name, value in of_pause if value is not None
        ]
    if len(new.reason) > MAX_REASON_CHARS:
        wrong.append(Violation(names.reason, f"must be at most {MAX_REASON_CHARS} characters"))
    if new.until_ms is not None and not now_ms < new.until_ms < LAST_MS:
        wrong.append(Violation(names.until, "must be an instant to come"))
    return wrong


def _range(new: NewJob, now_ms: int) -> tuple[int, int]:
    start_ms, end_ms = new.start_ms, new.end_ms
    if end_ms is None:
        end_ms = now_ms + 1 if start_ms is None else start_ms + _HOUR_MS
    return (max(0, end_ms - _HOUR_MS) if start_ms is None else start_ms), end_ms


async def find(store: JobStore, key: JobKey, app: App) -> Job:
    """Return a job of this app. Raises NotFound, Damaged, StoreUnavailable."""
    job = await store.fetch_job(key)
    if job is None or job.app_number != app.number:
        raise NotFound("job", str(key.job_id))
    return job


async def cancel(
    store: JobStore, key: JobKey, app: App, now_ms: Callable[[], int], noted: Noted = unnoted
) -> Job:
    """Let a job do no more, after the page that it is at; what it did stands. Cancelling twice is no error.

    Raises NotFound, Damaged, Conflict if it has ended, VersionConflict, StoreUnavailable, OutcomeUnknown.
    """
    for _ in range(_TRIES):
        job = await find(store, key, app)
        if job.state is JobState.CANCELLED:
            return job
        if not job.is_open:
            raise Conflict(f"job {job.job_id} is {job.state} already", "jobId")
        cancelled = ended(job, JobState.CANCELLED, now_ms())
        try:
            async with noted(job):
                await store.replace_job(cancelled)
        except VersionConflict:  # it went on by a page
            continue
        return cancelled
    raise VersionConflict(f"job {key.job_id} was changed by others all the time; try again")


def ended(job: Job, state: JobState, now_ms: int, error: str = "") -> Job:
    """Return a job as it ends."""
    return replace(
        job,
        revision=job.revision + 1,
        state=state,
        error=error,
        worker="",
        leased_until_ms=0,
        changed_ms=now_ms,
        ended_ms=now_ms,
    )
