"""Which app a page is about: suggestions while somebody types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import convert
from starlette.responses import Response
from starlette.routing import Route

from ringtime_client.exchange import BASE, Call
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


async def find_apps(visit: Visit, part: str) -> list[str]:
    """Return ids of apps that hold this, those that begin with it first."""
    found = [str(app["appId"]) for app in await seek_apps(visit, part)]
    found.sort(key=lambda app_id: (not app_id.lower().startswith(part.lower()), app_id))
    return found[:MOST_SHOWN]


async def seek_apps(visit: Visit, part: str) -> list[Mapping[str, Any]]:
    """Return the apps whose ids hold this as the API shows them; `read_app` reads those that are shown.

    To read a thousand would take ten times as long as all the rest.
    """
    part = part.lower()
    return [app for app in await visit.api.run(_LIST) if part in str(app["appId"]).lower()]


def _to_apps(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return convert(data.get("apps"), list[Mapping[str, Any]])


_LIST = Call(method="GET", path=f"{BASE}/apps", read=_to_apps)
