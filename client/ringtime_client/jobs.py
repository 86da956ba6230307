"""The verbs of bulk jobs, as `calls` has the others."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import UUID

from ringtime_client.exchange import BASE, Call
from ringtime_client.forms import instant, safe, with_query
from ringtime_shared.api.jobs import LIST_SIZE, JobPage, JobView
from ringtime_shared.api.views import read
from ringtime_shared.arguments import Instant, checked
from ringtime_shared.models.job import JobAction
from ringtime_shared.models.schedule import Status


@checked
def create_job(
    app_id: str,
    action: JobAction,
    *,
    start: Instant | None = None,
    end: Instant | None = None,
    status: Status | None = None,
    dry_run: bool = False,
    reason: str = "",
    until: Instant | None = None,
) -> Call[JobView]:
    """Act on all that an app has in a time range, in the background; `get_job` tells how far it is.

    After OutcomeUnknown it may be carried out; the list tells, and doing it again does no harm.

    Args:
        start: from those due at this instant on; None: an hour before `end`.
        end: up to before this instant; None: an hour after `start` if that is given, else now. At most 31
            days after `start`. A pause and a resume are about all recurring schedules, and take no range.
        status: only schedules with this one.
        dry_run: count what would be done, and do nothing.
        reason, until: of a pause.

    Raises InvalidRequest, NotFound (app), AppInactive, LimitReached.
    """
    asked: dict[str, object] = {
        "start_time": instant("start", start),
        "end_time": instant("end", end),
        "status": status,
        "dry_run": "true" if dry_run else None,
        "reason": reason,
        "until": instant("until", until),
    }
    path = with_query(f"{BASE}/apps/{safe(app_id)}/bulk-action/{action.value}", asked)
    return Call(method="POST", path=path, read=_to_asked, app_id=app_id)


@checked
def get_job(app_id: str, job_id: UUID | str) -> Call[JobView]:
    """Return a bulk job as it is now. Raises InvalidRequest, NotFound (app or job)."""
    return _of_job("GET", app_id, job_id)


@checked
def cancel_job(app_id: str, job_id: UUID | str) -> Call[JobView]:
    """Let a bulk job do no more, after the page that it is at; what it did stands.

    Cancelling twice is no error. Raises InvalidRequest, NotFound (app or job), Conflict if it has ended.
    """
    return _of_job("DELETE", app_id, job_id)


@checked
def list_jobs(app_id: str, *, size: int = LIST_SIZE, token: str = "") -> Call[JobPage]:
    """Return a page of an app's bulk jobs, newest first.

    Args:
        size: most jobs on the page, 1 to 100.
        token: the one of the page before; "": the first page.

    Raises InvalidRequest, NotFound (app).
    """
    asked = {"size": size, "continuation_token": token}
    path = with_query(f"{BASE}/apps/{safe(app_id)}/jobs", asked)
    return Call(method="GET", path=path, read=partial(read, JobPage), app_id=app_id)


def _of_job(method: str, app_id: str, job_id: UUID | str) -> Call[JobView]:
    return Call(
        method=method,
        path=f"{BASE}/apps/{safe(app_id)}/jobs/{job_id}",
        read=partial(read, JobView),
        kind="job",
        key=str(job_id),
        app_id=app_id,
    )


def _to_asked(data: Mapping[str, Any]) -> JobView:
    return read(JobView, data["job"])
