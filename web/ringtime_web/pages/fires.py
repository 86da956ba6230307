"""What was sent, and what was not: missed and late ones first, or by filters."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from starlette.responses import Response
from starlette.routing import Route

from ringtime_client import calls
from ringtime_shared.api.schedules import ScheduleView
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.models.schedule import Status
from ringtime_web.pages.asking import SPANS, asked_range, read_range
from ringtime_web.pages.reading import read_span
from ringtime_web.site import Site, Visit

LATE_MS = 1_000  #: shown as late
KINDS = {
    Status.SUCCESS: "good",
    Status.FAILURE: "bad",
    Status.MISS: "bad",
    Status.SCHEDULED: "run",
    Status.DELETED: "idle",
}
_SIZE = 100
_LATE = timedelta(milliseconds=LATE_MS)
_ORDER = {Status.MISS: 0, Status.FAILURE: 1}


class FirePages:
    """One page."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def all(self) -> list[Route]:
        """Return the routes."""
        return [self._site.page("/fires", self.show)]

    async def show(self, visit: Visit) -> Response:
        """Show the fires of an app."""
        app_id, status, host = visit.query("app"), visit.query("status"), visit.query("host")
        if status and status not in Status.__members__:
            raise InvalidRequest.of("status", f"must be one of {', '.join(Status.__members__)}")
        start, end, span = read_range(visit, "1h")
        late = read_span("late", visit.query("late"), timedelta(milliseconds=1))
        token, fires, found_token = visit.query("token"), list[ScheduleView](), ""

        async def ask(
            wanted: Status | None, late_by: timedelta | None = late
        ) -> tuple[Sequence[ScheduleView], str]:
            page = await visit.api.run(
                calls.list_schedules(
                    app_id,
                    start=start,
                    end=end,
                    status=wanted,
                    host=host,
                    late_by=late_by,
                    size=_SIZE,
                    token=token,
                )
            )
            return page.schedules, page.token

        if app_id and (status or token or late):
            some, found_token = await ask(Status(status) if status else None)
            fires = list(some)
        elif app_id:
            parts = await asyncio.gather(ask(Status.MISS), ask(Status.FAILURE), ask(None, _LATE), ask(None))
            fires = _worst_first([each for some, _ in parts for each in some])
            found_token = parts[-1][1]
        return visit.render(
            "fires.html",
            app_id=app_id,
            wanted=status,
            statuses=[each.value for each in Status],
            host=host,
            span=span,
            spans=list(SPANS),
            start=start,
            end=end,
            fires=fires,
            token=found_token,
            kinds=KINDS,
            late=visit.query("late"),
            late_ms=LATE_MS,
            asked={
                "app": app_id,
                "status": status,
                "host": host,
                "late": visit.query("late"),
                **asked_range(visit),
            },
        )


def _worst_first(fires: Sequence[ScheduleView]) -> list[ScheduleView]:
    """Return each once: those missed, those that failed, then the others by how late they were."""
    once = {each.schedule_id: each for each in fires}
    return sorted(once.values(), key=lambda each: (_ORDER.get(each.status, 2), -(each.lag_ms or 0)))
