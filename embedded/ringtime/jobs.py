"""The verbs of bulk jobs, of the library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import cast
from uuid import UUID

from ringtime.instants import to_ms
from ringtime_ingest.service import IngestService
from ringtime_ingest.service.jobs import JobPage
from ringtime_shared.api.jobs import LIST_SIZE
from ringtime_shared.arguments import Instant, checked
from ringtime_shared.auditing import asked_of_library
from ringtime_shared.models.job import Job, JobAction
from ringtime_shared.models.schedule import Status
from ringtime_shared.schedules.bulk import NewJob


class JobVerbs(ABC):
    """What `Ringtime` does with bulk jobs; the names are those of the clients."""

    @property
    @abstractmethod
    def _service(self) -> IngestService:
        """What runs. Raises RuntimeError outside `async with`."""

    @checked
    @asked_of_library("schedules bulk")
    async def create_job(
        self,
        app_id: str,
        action: JobAction,
        *,
        start: Instant | None = None,
        end: Instant | None = None,
        status: Status | None = None,
        dry_run: bool = False,
        reason: str = "",
        until: Instant | None = None,
    ) -> Job:
        """Act on all that an app has in a time range, in the background; `get_job` tells how far it is.

        Args:
            start: from those due at this instant on; None: an hour before `end`.
            end: up to before this instant; None: an hour after `start` if that is given, else now. At most 31
                days after `start`. A pause and a resume are about all recurring schedules, and take no range.
            status: only schedules with this one.
            dry_run: count what would be done, and do nothing.
            reason, until: of a pause.

        Raises InvalidRequest, NotFound (app), AppInactive, LimitReached.
        """
        new = NewJob(
            app_id=app_id,
            action=action,
            start_ms=to_ms("start", start),
            end_ms=to_ms("end", end),
            status=status,
            is_plan=dry_run,
            reason=reason,
            until_ms=to_ms("until", until),
        )
        return await self._service.jobs.ask(new)

    @checked
    async def get_job(self, app_id: str, job_id: UUID | str) -> Job:
        """Return a bulk job as it is now. Raises InvalidRequest, NotFound (app or job)."""
        return await self._service.jobs.fetch(app_id, cast(UUID, job_id))

    @checked
    @asked_of_library("schedules jobs cancel")
    async def cancel_job(self, app_id: str, job_id: UUID | str) -> Job:
        """Let a bulk job do no more, after the page that it is at; what it did stands. Cancelling twice is no
        error. Raises InvalidRequest, NotFound (app or job), Conflict if it has ended."""
        return await self._service.jobs.cancel(app_id, cast(UUID, job_id))

    @checked
    async def list_jobs(self, app_id: str, *, size: int = LIST_SIZE, token: str = "") -> JobPage:
        """Return a page of an app's bulk jobs, newest first.

        Args:
            size: most jobs on the page, 1 to 100.
            token: the one of the page before; "": the first page.

        Raises InvalidRequest, NotFound (app).
        """
        return await self._service.jobs.fetch_page(app_id, size, token)
