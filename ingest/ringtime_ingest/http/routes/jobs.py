"""The routes of bulk jobs: goscheduler's, which asks for one, and those that tell of it."""

from __future__ import annotations

from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ringtime_ingest.http.changing import changing
from ringtime_ingest.http.envelope import success
from ringtime_ingest.http.guard import Declared, require
from ringtime_ingest.http.parsing import parse_app_id
from ringtime_ingest.http.query import Query
from ringtime_ingest.http.routes import BASE, Routes, needs_of
from ringtime_shared.access import Scope
from ringtime_shared.api.ids import check_app_id, check_schedule_id
from ringtime_shared.api.jobs import LIST_SIZE, MAX_LIST_SIZE, job_to_json, jobs_to_json, remark_of
from ringtime_shared.errors import InvalidRequest, Violation
from ringtime_shared.models.job import JobAction
from ringtime_shared.models.schedule import Status
from ringtime_shared.schedules.bulk import IN_QUERY, NewJob

_FLAGS = {"": False, "false": False, "true": True}
#: what sends again, which takes a scope of its own beside that of jobs
_REPLAYING = (JobAction.RETRY, JobAction.RECONCILE)
_ASKED = (*IN_QUERY, "zone", "dry_run")


class JobRoutes(Routes):
    """Ask for a job, read it, list jobs, cancel one."""

    def all(self) -> list[BaseRoute]:
        return [
            Declared(f"{BASE}/{word}/{{app_id}}/{tail}", endpoint, [method], needs_of(method))
            for word in ("apps", "app")
            for tail, endpoint, method in (
                ("jobs/{job_id}", self.fetch, "GET"),
                ("jobs/{job_id}", changing("schedules jobs cancel", self.cancel), "DELETE"),
                ("jobs", self.fetch_page, "GET"),
                ("bulk-action/{action}", changing("schedules bulk {action}", self.ask), "POST"),
            )
        ]

    async def ask(self, request: Request) -> Response:
        new = parse_new_job(request)
        if new.action in _REPLAYING:
            require(request, Scope.DEADLETTERS_REPLAY)
        job = await self._service.jobs.ask(new)
        return success({"job": job_to_json(job)}, total=0, remarks=remark_of(job))

    async def fetch(self, request: Request) -> Response:
        return success(job_to_json(await self._service.jobs.fetch(*_key_of(request))))

    async def cancel(self, request: Request) -> Response:
        return success(job_to_json(await self._service.jobs.cancel(*_key_of(request))))

    async def fetch_page(self, request: Request) -> Response:
        app_id = parse_app_id(request.path_params["app_id"])
        asked = Query(request, ("size", "continuation_token"))
        size = asked.size("size", LIST_SIZE, MAX_LIST_SIZE)
        asked.check()
        page = await self._service.jobs.fetch_page(app_id, size, asked.text("continuation_token"))
        return success(jobs_to_json(page.jobs, page.token), total=len(page.jobs))


def parse_new_job(request: Request) -> NewJob:
    """Read path and query; an empty value is the same as none. Raises InvalidRequest.

    What was meant to choose must not be passed over, or more would be done than was asked for: words and
    parameters that are not known are refused.
    """
    app_id, word = request.path_params["app_id"], request.path_params["action"]
    asked = Query(request, _ASKED)
    asked.wrong += check_app_id(app_id)
    if word not in list(JobAction):
        asked.wrong.append(Violation("action", f"must be one of {', '.join(JobAction)}"))
        word = JobAction.DELETE
    unknown = sorted({name for name, _ in request.query_params.multi_items()} - {*_ASKED})
    known = ", ".join(sorted(_ASKED))
    asked.wrong += [Violation(name, f"no such parameter; there are {known}") for name in unknown]
    status, flag, zone = asked.text(IN_QUERY.status), asked.text("dry_run"), asked.zone("zone")
    if status and status not in list(Status):
        asked.wrong.append(Violation(IN_QUERY.status, f"must be one of {', '.join(Status)}"))
        status = ""
    if flag not in _FLAGS:
        asked.wrong.append(Violation("dry_run", "must be true or false"))
    new = NewJob(
        app_id=app_id,
        action=JobAction(word),
        start_ms=asked.instant(IN_QUERY.start, zone),
        end_ms=asked.instant(IN_QUERY.end, zone),
        status=Status(status) if status else None,
        is_plan=_FLAGS.get(flag, False),
        reason=asked.text(IN_QUERY.reason),
        until_ms=asked.instant(IN_QUERY.until, zone),
        names=IN_QUERY,
    )
    asked.check()
    return new


def _key_of(request: Request) -> tuple[str, UUID]:
    app_id, job_id = parse_app_id(request.path_params["app_id"]), request.path_params["job_id"]
    if violations := check_schedule_id(job_id, "jobId"):
        raise InvalidRequest(violations)
    return app_id, UUID(job_id)
