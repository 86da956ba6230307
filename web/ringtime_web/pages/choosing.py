"""Which app a page is about: suggestions while somebody types."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from ringtime_client import calls
from ringtime_shared.api.apps import AppView
from ringtime_web.site import Site, Visit

MOST_SHOWN = 50


class ChoosingPages:
    """Suggestions for the field `app` of every page."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def all(self) -> list[Route]:
        """Return the route."""
        return [self._site.page("/suggest/apps", self.suggest)]

    async def suggest(self, visit: Visit) -> Response:
        """Return the apps whose ids hold what was typed, as options of a list."""
        return visit.render("app_options.html", apps=await find_apps(visit, visit.query("app")))


async def find_apps(visit: Visit, part: str) -> list[AppView]:
    """Return apps whose ids hold this, those that begin with it first."""
    part = part.lower()
    found = [app for app in await visit.api.run(calls.list_apps()) if part in app.app_id.lower()]
    found.sort(key=lambda app: (not app.app_id.lower().startswith(part), app.app_id))
    return found[:MOST_SHOWN]
