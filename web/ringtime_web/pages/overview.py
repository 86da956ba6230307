"""The first page: how it goes, what is wrong, and what to do about it."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from ringtime_client import calls
from ringtime_web.site import Site, Visit


class OverviewPages:
    """The first page."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def all(self) -> list[Route]:
        """Return the routes."""
        return [self._site.page("/", self.show)]

    async def show(self, visit: Visit) -> Response:
        """Show what there is."""
        apps = await visit.api.run(calls.list_apps())
        return visit.render("overview.html", apps=apps)
