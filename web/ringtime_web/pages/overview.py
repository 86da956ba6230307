"""The first page: how it goes, what is wrong, and what to do about it."""

from __future__ import annotations

from collections import deque
from datetime import UTC, timedelta
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from ringtime_client import operating
from ringtime_shared.api.operating import OverviewView, ProblemView
from ringtime_shared.errors import Forbidden
from ringtime_web.events import pieces
from ringtime_web.pages.choosing import MOST_SHOWN, seek_apps
from ringtime_web.rendering import to_packed
from ringtime_web.site import Site, Visit

_SAMPLES = 450  #: a quarter of an hour of looks, two seconds apart
_APART_S = 1.0  #: several people who look at once make no more samples than one
_MINUTE = timedelta(minutes=1)


class OverviewPages:
    """The first page. It remembers what it saw while anybody looked at it, for the charts of the next."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._samples: deque[OverviewView] = deque(maxlen=_SAMPLES)

    def all(self) -> list[Route]:
        """Return the routes."""
        return [self._site.page("/", self.show), self._site.page("/live/overview", self.live)]

    async def show(self, visit: Visit) -> Response:
        """Show the whole deployment; to whom may not see it, his apps."""
        try:
            known = await self._know(visit)
        except Forbidden:
            found = await seek_apps(visit, "", size=MOST_SHOWN)
            return visit.render("overview_apps.html", apps=found.apps, count=found.in_all)
        return visit.render("overview.html", **known)

    async def live(self, visit: Visit) -> Response:
        """Tell what may have changed."""
        known = await self._know(visit)
        return pieces(
            {
                "tiles": visit.piece("overview_tiles.html", **known),
                "problem-count": visit.piece("overview_count.html", **known),
                "problems": visit.piece("overview_problems.html", **known),
                "lag-chart": known["lag_chart"],
                "rate-chart": known["rate_chart"],
                "ahead-note": visit.piece("overview_ahead.html", **known),
                "ahead-chart": known["ahead_chart"],
            }
        )

    async def _know(self, visit: Visit) -> dict[str, Any]:
        view = await visit.api.run(operating.get_overview())
        samples = self._samples
        if not samples or (view.at - samples[-1].at).total_seconds() >= _APART_S:
            samples.append(view)
        return {
            "view": view,
            "problems": [(problem, self._cause_of(problem)) for problem in view.problems],
            "lag_chart": _lag_chart(samples),
            "rate_chart": _rate_chart(samples),
            "ahead_chart": _ahead_chart(view),
            "over": [minute for minute in view.ahead if minute.due > view.carried_per_minute],
        }

    def _cause_of(self, problem: ProblemView) -> tuple[str, str]:
        """Return where its cause is to be seen: what is to be read on the link, and its address."""
        url = self._site.url
        match problem.word:
            case "destination":
                return "Destination", url(
                    "/destinations", app=problem.app_id, destination=problem.destination
                )
            case "given_up":
                return "Dead letters", url("/dead-letters", app=problem.app_id)
            case "missed" | "late" if problem.app_id:
                return "Fires", url("/fires", app=problem.app_id)
            case "over_quota" | "app_damaged" | "resizing":
                return "App", url("/app", app=problem.app_id)
        return "Ring", url("/ring", node=problem.node)


def _lag_chart(samples: deque[OverviewView]) -> str:
    return to_packed(
        {
            "series": [{"label": "p50", "kind": "good"}, {"label": "p99", "kind": "accent"}],
            "data": [
                [int(each.at.timestamp()) for each in samples],
                [_rounded(each.lag_p50_ms) for each in samples],
                [_rounded(each.lag_p99_ms) for each in samples],
            ],
            "unit": " ms",
            "least": 10,
        }
    )


def _rate_chart(samples: deque[OverviewView]) -> str:
    return to_packed(
        {
            "series": [{"label": "sent", "kind": "accent"}, {"label": "given up", "kind": "bad"}],
            "data": [
                [int(each.at.timestamp()) for each in samples],
                [round(each.sent_per_second, 2) for each in samples],
                [round(each.failed_per_second, 2) for each in samples],
            ],
            "unit": "/s",
        }
    )


def _ahead_chart(view: OverviewView) -> str:
    """Return the next hour minute by minute, those without anything due as well."""
    due = {minute.at.astimezone(UTC): minute.due for minute in view.ahead}
    first = view.at.astimezone(UTC).replace(second=0, microsecond=0)
    minutes = [first + n * _MINUTE for n in range(61)]
    return to_packed(
        {
            "series": [
                {"label": "due", "kind": "accent", "bars": True},
                {"label": "quota carries", "kind": "warn", "dashed": True},
            ],
            "data": [
                [int(minute.timestamp()) for minute in minutes],
                [due.get(minute, 0) for minute in minutes],
                [view.carried_per_minute] * len(minutes),
            ],
        }
    )


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 1)
