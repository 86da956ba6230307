"""Bulk jobs: a plan first, which only counts; then the job, with how far it is."""

from __future__ import annotations

from datetime import datetime

from starlette.responses import Response
from starlette.routing import Route

from ringtime_client import jobs
from ringtime_shared.api.jobs import JobView
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.models.job import JobAction, JobState
from ringtime_shared.models.schedule import Status
from ringtime_web.events import pieces
from ringtime_web.pages.reading import read_instant
from ringtime_web.site import Site, Visit

_ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
#: what each action is for people: its title, and what it does
ACTIONS = {
    JobAction.DELETE: ("Cancel", "cancels the schedules of the range that wait"),
    JobAction.RECONCILE: ("Send again", "sends again what has ended in the range, and sends now what waits"),
    JobAction.RETRY: ("Replay", "sends the dead letters of the range again"),
    JobAction.PAUSE: ("Pause", "pauses all recurring schedules of the app"),
    JobAction.RESUME: ("Resume", "resumes all recurring schedules of the app"),
}


class JobPages:
    """Ask for a bulk job, look at one, and at all of an app."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def all(self) -> list[Route]:
        """Return the routes."""
        site = self._site
        return [
            site.page("/bulk", self.show_form),
            site.action("/bulk", self.ask),
            site.page("/jobs", self.show_all),
            site.page("/job", self.show),
            site.page("/live/job", self.live),
            site.action("/job/cancel", self.cancel),
        ]

    async def show_form(self, visit: Visit) -> Response:
        """Show what can be asked for."""
        return visit.render(
            "bulk.html",
            app_id=visit.query("app"),
            actions=ACTIONS,
            chosen=visit.query("action"),
            start=visit.query("from"),
            end=visit.query("to"),
            status=visit.query("status"),
        )

    async def ask(self, visit: Visit) -> Response:
        """Plan a job, or carry one out that was planned."""
        form, app_id = visit.form, visit.form.get("app", "").strip()
        if form.get("action") not in set(JobAction):
            raise InvalidRequest.of("action", f"must be one of {', '.join(JobAction)}")
        action = JobAction(form["action"])
        start, end, status = None, None, None
        if action.has_range:
            start, end = _range_of(form.get("from", ""), form.get("to", ""))
            status = Status(form["status"]) if form.get("status") in Status.__members__ else None
        reason = form.get("reason", "").strip()
        is_sure = form.get("sure") == "yes"
        if is_sure and not reason:
            raise InvalidRequest.of("reason", "say why: the audit log has it")
        job = await visit.api.run(
            jobs.create_job(
                app_id,
                action,
                start=start,
                end=end,
                status=status,
                dry_run=not is_sure,
                reason=reason if action is JobAction.PAUSE else "",
            ),
            reason=reason,
        )
        return visit.go("/job", app=app_id, id=job.job_id)

    async def show_all(self, visit: Visit) -> Response:
        """Show the jobs of an app."""
        app_id = visit.query("app")
        page = await visit.api.run(jobs.list_jobs(app_id, size=50, token=visit.query("token")))
        return visit.render("jobs.html", app_id=app_id, jobs=page.jobs, token=page.token, actions=ACTIONS)

    async def show(self, visit: Visit) -> Response:
        """Show how far a job is; of a plan that is done, let it be carried out."""
        job = await self._job(visit)
        return visit.render("job.html", **_known(self._site, job))

    async def live(self, visit: Visit) -> Response:
        """Tell how far a job is; once it has ended, the page is loaded anew."""
        job = await self._job(visit)
        known = _known(self._site, job)
        return pieces({"job": visit.piece("job_progress.html", **known)}, is_over=job.state in _ENDED)

    async def cancel(self, visit: Visit) -> Response:
        """Let a job do no more."""
        app_id, job_id = visit.form.get("app", ""), visit.form.get("id", "")
        await visit.api.run(jobs.cancel_job(app_id, job_id), reason=visit.form.get("reason", ""))
        return visit.go("/job", app=app_id, id=job_id)

    async def _job(self, visit: Visit) -> JobView:
        return await visit.api.run(jobs.get_job(visit.query("app"), visit.query("id")))


def _known(site: Site, job: JobView) -> dict[str, object]:
    title, what = ACTIONS[job.action]
    return {
        "job": job,
        "title": title,
        "what": what,
        "is_over": job.state in _ENDED,
        "live_url": site.url("/live/job", app=job.app_id, id=str(job.job_id)),
    }


def _range_of(start: str, end: str) -> tuple[datetime, datetime]:
    begin, finish = read_instant("from", start), read_instant("to", end)
    if begin is None or finish is None:
        raise InvalidRequest.of("from", "say from when to when")
    return begin, finish
