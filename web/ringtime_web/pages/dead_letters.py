"""What was given up: why, and how to send it again, one by one or all of a time, with a plan before."""

from __future__ import annotations

import asyncio
from uuid import UUID

from starlette.responses import Response
from starlette.routing import Route

from ringtime_client import calls, jobs
from ringtime_shared.access import Scope
from ringtime_shared.api.jobs import JobView
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.models.job import JobAction, JobState
from ringtime_web.pages.asking import SPANS, asked_range, read_range, read_reason
from ringtime_web.pages.reading import read_instant
from ringtime_web.site import Site, Visit

_SIZE = 100
_REPLAYED = {"no": False, "yes": True, "all": None}
_ONGOING = (JobState.WAITING, JobState.RUNNING)
_PATH = "/dead-letters"


class DeadLetterPages:
    """The list, and what is done about it."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def all(self) -> list[Route]:
        """Return the routes."""
        site = self._site
        return [
            site.page(_PATH, self.show),
            site.page(f"{_PATH}/job", self.show_job),
            site.action(f"{_PATH}/plan", self.plan),
            site.action(f"{_PATH}/replay-all", self.replay_all),
            site.action(f"{_PATH}/replay", self.replay),
            site.action(f"{_PATH}/stop", self.stop),
        ]

    async def show(self, visit: Visit) -> Response:
        """Show a page of the letters of an app."""
        app_id, replayed = visit.query("app"), visit.query("replayed", "no") or "no"
        if replayed not in _REPLAYED:
            raise InvalidRequest.of("replayed", f"must be one of {', '.join(_REPLAYED)}")
        start, end, span = read_range(visit, "24h")
        page, count, job = None, 0, None
        if app_id:
            page, count, job = await asyncio.gather(
                visit.api.run(
                    calls.list_dead_letters(
                        app_id,
                        start=start,
                        end=end,
                        size=_SIZE,
                        token=visit.query("token"),
                        replayed=_REPLAYED[replayed],
                    )
                ),
                visit.api.run(calls.count_dead_letters(app_id, start=start, end=end)),
                _job_of(visit, app_id),
            )
        return visit.render(
            "dead_letters.html",
            app_id=app_id,
            replayed=replayed,
            span=span,
            spans=list(SPANS),
            start=start,
            end=end,
            page=page,
            count=count,
            job=job,
            is_ongoing=job is not None and job.state in _ONGOING,
            done=visit.done,
            may_replay=visit.may(Scope.DEADLETTERS_REPLAY),
            # What a filter was, for a link to the same with something else.
            asked={"app": app_id, "replayed": replayed, **asked_range(visit)},
        )

    async def show_job(self, visit: Visit) -> Response:
        """Show how far a bulk replay is: a piece of the page."""
        app_id = visit.query("app")
        job = await _job_of(visit, app_id)
        if job is None:
            raise InvalidRequest.of("job", "is needed")
        return visit.render(
            "dead_letter_job.html",
            app_id=app_id,
            job=job,
            is_ongoing=job.state in _ONGOING,
            may_replay=visit.may(Scope.DEADLETTERS_REPLAY),
            asked={"app": app_id},
        )

    async def plan(self, visit: Visit) -> Response:
        """Have it counted what a bulk replay would do."""
        return await self._ask(visit, is_plan=True)

    async def replay_all(self, visit: Visit) -> Response:
        """Replay all of a time."""
        return await self._ask(visit, is_plan=False)

    async def replay(self, visit: Visit) -> Response:
        """Replay one."""
        schedule_id, reason = visit.form.get("schedule_id", ""), read_reason(visit)
        try:
            UUID(schedule_id)
        except ValueError:
            raise InvalidRequest.of("schedule_id", "must be the id of a schedule") from None
        await visit.api.run(calls.replay_schedule(schedule_id), reason=reason)
        return visit.go(_PATH, app=visit.form.get("app", ""), done=f"{schedule_id} is sent again.")

    async def stop(self, visit: Visit) -> Response:
        """Let a bulk replay do no more."""
        app_id, job_id = visit.form.get("app", ""), visit.form.get("job", "")
        await visit.api.run(jobs.cancel_job(app_id, job_id), reason=read_reason(visit))
        return visit.go(_PATH, app=app_id, job=job_id)

    async def _ask(self, visit: Visit, *, is_plan: bool) -> Response:
        form = visit.form
        app_id, reason = form.get("app", ""), "" if is_plan else read_reason(visit)
        start, end = read_instant("start", form.get("start", "")), read_instant("end", form.get("end", ""))
        job = await visit.api.run(
            jobs.create_job(app_id, JobAction.RETRY, start=start, end=end, dry_run=is_plan), reason=reason
        )
        whole = {"from": form.get("start", ""), "to": form.get("end", "")}
        return visit.go(_PATH, app=app_id, job=job.job_id, **whole)


async def _job_of(visit: Visit, app_id: str) -> JobView | None:
    job_id = visit.query("job")
    if not (job_id and app_id):
        return None
    return await visit.api.run(jobs.get_job(app_id, job_id))
