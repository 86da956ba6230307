"""Which app a page is about: suggestions while somebody types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import convert
from starlette.responses import Response
from starlette.routing import Route

from ringtime_client.exchange import BASE, Call
from ringtime_client.forms import safe, with_query
from ringtime_shared.api.apps import AppView, read_app
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
    return [app.app_id for app in (await seek_apps(visit, part, size=MOST_SHOWN)).apps]


class Found(NamedTuple):
    """A page of apps."""

    apps: list[AppView]
    in_all: int  #: on all pages


async def seek_apps(visit: Visit, part: str, *, size: int, after: str = "") -> Found:
    """Return those whose ids hold this, those that begin with it first, from behind one on."""
    asked = {"contains": part, "after": safe(after) if after else "", "size": size}
    return await visit.api.run(Call(method="GET", path=with_query(f"{BASE}/apps", asked), read=_to_found))


def _to_found(data: Mapping[str, Any]) -> Found:
    apps = [read_app(app) for app in convert(data.get("apps"), list[Mapping[str, Any]])]
    return Found(apps, convert(data.get("count", len(apps)), int))  # an API of the release before lists all
