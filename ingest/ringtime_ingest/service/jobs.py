"""Bulk jobs, carried out by whatever ingest process has the time.

A job is a row (`ringtime_shared.models.job`). Whoever works at it holds its lease, does a page, and writes
how far it is, which renews the lease; the page token in the row is where the next page begins. The oldest
open job of an app is the only one of it that is worked at; while more apps have one than there is room for,
they take turns.

Invariant. Every page is acted on, at least once, between the ask and the end of the job; and acting on a page
twice does what acting once does: a cancel, a pause and a resume find nothing left to do, and what was sent
again is not sent again once more (`actions`). So no lease needs to be exact, and no clock takes part in what
is right: two that work at one job do the same, and the one that comes second with its progress finds another
revision, and lets go.

| what fails | what happens |
|---|---|
| the process is killed, or cut off | its lease ends; another one goes on from the last page written |
| it is killed between a page and its progress | the page is done again, and counted as of the second time |
| it is stopped in good order | it gives the lease back; others go on at their next look |
| one process on a folder starts again | nobody else can be at it: it goes on at once |
| the store fails in the middle of a page | the lease is taken anew, after a while, and the page done again |
| a thing in the page cannot be acted on | it counts as failed, and the others are done |
| somebody cancels the job | what is under way of its page is done; then it ends |
| the app is deactivated, deleted, or made anew | the job is FAILED, and says so; what was done stands |
| a bug | the job is FAILED; the log has it |
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from functools import partial
from itertools import count
from typing import NamedTuple
from uuid import UUID, uuid4

from ringtime_ingest.service.apps import AppMaps
from ringtime_ingest.service.job_actions import JobActions, PageReport
from ringtime_ingest.service.tokens import decode_token, encode_token
from ringtime_shared.api.jobs import MAX_LIST_SIZE, job_to_json
from ringtime_shared.apps.states import inactive
from ringtime_shared.auditing import AuditTrail
from ringtime_shared.clock import Clock
from ringtime_shared.errors import (
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    RingtimeError,
    StoreUnavailable,
    VersionConflict,
)
from ringtime_shared.models.job import MOST_PROBLEMS, Job, JobKey, JobState
from ringtime_shared.schedules import bulk
from ringtime_shared.stores.protocol import JobStore, Position

LEASE_MS = 15_000  #: many times what a page takes
AT_ONCE = 4  #: jobs of one process, each of another app
TURN_MS = 10_000  #: of a job, while those of other apps wait for one
LOOK_S = 5.0  #: between two looks for jobs of others
_BACK_OFF_S = 2.0
_log = logging.getLogger(__name__)


class JobPage(NamedTuple):
    """Newest first."""

    jobs: Sequence[Job]
    token: str  #: goes on after this page; "": there is nothing more


class Jobs:
    """Asks for jobs, tells of them, and works at them once `start` was called."""

    def __init__(
        self,
        store: JobStore,
        apps: AppMaps,
        clock: Clock,
        actions: JobActions,
        trail: AuditTrail | None = None,
    ) -> None:
        """`trail`: notes what is asked; None: nothing."""
        self._store = store
        self._apps = apps
        self._clock = clock
        self._actions = actions
        self._trail = trail
        self._worker = uuid4().hex
        self._is_alone = False
        self._wake = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._working: dict[JobKey, asyncio.Task[None]] = {}
        self._turn = count(1)
        self._turns: dict[str, int] = {}  # by app, its latest; of those that have jobs
        self._do_others_wait = False

    async def ask(self, new: bulk.NewJob) -> Job:
        """Store a job; it is carried out in the background.

        Raises InvalidRequest, NotFound (app), AppInactive, LimitReached, ClockInDoubt, StoreUnavailable,
        OutcomeUnknown.
        """
        app = (await self._apps.get(new.app_id)).app
        job = await bulk.ask(self._store, new, app, self._clock, self._asked)
        self._wake.set()
        return job

    async def fetch(self, app_id: str, job_id: UUID) -> Job:
        """Return a job as it is now. Raises NotFound (app or job), Damaged."""
        return await bulk.find(self._store, JobKey(app_id, job_id), (await self._apps.get(app_id)).app)

    async def fetch_page(self, app_id: str, size: int, token: str = "") -> JobPage:
        """Return jobs of an app. Raises NotFound (app), InvalidRequest."""
        if not 1 <= size <= MAX_LIST_SIZE:
            raise InvalidRequest.of("size", f"must be from 1 to {MAX_LIST_SIZE}")
        app = (await self._apps.get(app_id)).app
        try:
            before = decode_token(app_id, token).schedule_id if token else None
        except ValueError as error:
            raise InvalidRequest.of("continuation_token", str(error)) from None
        jobs = await self._store.list_jobs(app_id, before, size)
        shown = [job for job in jobs if job.app_number == app.number and not job.damage]
        more = encode_token(app_id, Position(0, jobs[-1].job_id)) if len(jobs) == size else ""
        return JobPage(shown, more)

    async def cancel(self, app_id: str, job_id: UUID) -> Job:
        """Let a job do no more. Raises as `bulk.cancel`, and NotFound (app)."""
        app = (await self._apps.get(app_id)).app
        return await bulk.cancel(
            self._store, JobKey(app_id, job_id), app, self._clock.now_ms, self._cancelled
        )

    def _asked(self, job: Job) -> AbstractAsyncContextManager[None]:
        return self._note(job, None, job_to_json(job))

    def _cancelled(self, job: Job) -> AbstractAsyncContextManager[None]:
        return self._note(job, {"state": job.state}, {"state": JobState.CANCELLED})

    def _note(self, job: Job, before: object, after: object) -> AbstractAsyncContextManager[None]:
        if self._trail is None:
            return bulk.unnoted(job)
        return self._trail.change(job.app_id, str(job.job_id), before, after)

    def start(self, *, is_alone: bool) -> None:
        """Work from now on, until `close`.

        Args:
            is_alone: no other process can be at the jobs of this store, so nobody holds a lease.
        """
        self._is_alone = is_alone
        self._looking = asyncio.create_task(self._look_for_ever(), name="look for jobs")

    async def close(self) -> None:
        """Stop after what is under way; give the leases back."""
        tasks = [*self._working.values(), *([self._looking] if self._looking is not None else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _look_for_ever(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self.look()
            except RingtimeError as error:
                _log.warning("looking for jobs: %s", error)
            except Exception:  # noqa: BLE001 - the next look may do better
                _log.exception("looking for jobs: a bug")
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()

    async def look(self) -> None:
        """Begin to work at jobs that nobody is at, as long as there is room. Raises StoreUnavailable."""
        oldest: dict[str, Job] = {}
        for job in await self._store.fetch_open_jobs(bulk.OPEN_AT_ONCE):
            oldest.setdefault(job.app_id, job)
        busy = {key.app_id for key in self._working}
        free = [job for app_id, job in oldest.items() if app_id not in busy and self._is_free(job)]
        free.sort(key=lambda job: self._turns.get(job.app_id, 0))
        room = AT_ONCE - len(self._working)
        self._do_others_wait = len(free) > room
        self._turns = {app_id: turn for app_id, turn in self._turns.items() if app_id in oldest}
        for job in free[:room]:
            self._turns[job.app_id] = next(self._turn)
            task = asyncio.create_task(self.work(job), name=f"job {job.job_id}")
            self._working[job.key] = task
            task.add_done_callback(partial(self._end, job.key))

    def _end(self, key: JobKey, task: asyncio.Task[None]) -> None:
        del self._working[key]
        self._wake.set()

    def _is_free(self, job: Job) -> bool:
        left_ms = job.leased_until_ms - self._clock.now_ms()
        is_held = job.worker not in ("", self._worker) and 0 < left_ms < 2 * LEASE_MS  # else a clock is false
        return self._is_alone or not is_held

    async def work(self, job: Job) -> None:
        """Carry a job out, from where it is to its end, until somebody else has changed it, or until its turn
        is over."""
        until_ms = self._clock.boot_ms() + TURN_MS
        try:
            while job.is_open and not (self._do_others_wait and self._clock.boot_ms() >= until_ms):
                try:
                    job = await self._step(job)
                except (StoreUnavailable, OutcomeUnknown) as error:
                    _log.warning(
                        "job %s of app %s waits: %s", job.job_id, job.app_id, error, extra=_fields_of(job)
                    )
                    await asyncio.sleep(_BACK_OFF_S)
                    # The lease is taken anew, which also tells what it waits for, unless it was cancelled.
                    job = replace(job, worker="", error=str(error))
        except VersionConflict:
            return  # it was cancelled, or another one is at it
        except asyncio.CancelledError:
            await self._give_back(job)
            raise
        if job.is_open:
            await self._give_back(job)

    async def _give_back(self, job: Job) -> None:
        with suppress(RingtimeError, TimeoutError):  # else the lease runs out
            async with asyncio.timeout(_BACK_OFF_S):
                given_back = replace(job, revision=job.revision + 1, worker="", leased_until_ms=0)
                await self._store.replace_job(given_back)

    async def _step(self, job: Job) -> Job:
        """Take the lease, or do a page; return the job as it is then."""
        if job.worker != self._worker:
            return await self._put(self._claimed(job))
        try:
            reading = await self._apps.get(job.app_id)
            if reading.app.number != job.app_number:
                raise NotFound("app", job.app_id)
            if job.action.needs_active and not job.is_plan and not reading.app.active:
                raise inactive(reading.app)
            report = await self._actions.do_page(job, reading)
        except (StoreUnavailable, OutcomeUnknown):
            raise
        except RingtimeError as error:
            return await self._put(bulk.ended(job, JobState.FAILED, self._clock.now_ms(), str(error)))
        except Exception:  # noqa: BLE001 - nobody awaits this; the job says it
            _log.exception("job %s of app %s: a bug", job.job_id, job.app_id, extra=_fields_of(job))
            why = "a bug; the server's log says more"
            return await self._put(bulk.ended(job, JobState.FAILED, self._clock.now_ms(), why))
        return await self._put(self._moved_on(job, report))

    async def _put(self, job: Job) -> Job:
        await self._store.replace_job(job)
        return job

    def _claimed(self, job: Job) -> Job:
        now_ms = self._clock.now_ms()
        return replace(
            job,
            revision=job.revision + 1,
            state=JobState.RUNNING,
            worker=self._worker,
            leased_until_ms=now_ms + LEASE_MS,
            changed_ms=now_ms,
        )

    def _moved_on(self, job: Job, report: PageReport) -> Job:
        now_ms = self._clock.now_ms()
        job = replace(
            job,
            cursor=report.token,
            error="",
            through_ms=report.through_ms,
            looked=job.looked + report.looked,
            done=job.done + report.done,
            passed=job.passed + report.looked - report.done - len(report.problems),
            failed=job.failed + len(report.problems),
            problems=(*job.problems, *report.problems)[:MOST_PROBLEMS],
        )
        if not report.token:
            return bulk.ended(job, JobState.DONE, now_ms)
        return replace(job, revision=job.revision + 1, leased_until_ms=now_ms + LEASE_MS, changed_ms=now_ms)


def _fields_of(job: Job) -> dict[str, object]:
    """Return what log lines say of a job beside their words."""
    return {"app_id": job.app_id, "job_id": job.job_id}
