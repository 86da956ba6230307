"""Destinations that are not well: how, since when, what waits for them."""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from starlette.routing import Route

from ringtime_client import operating
from ringtime_shared.access import Scope
from ringtime_shared.api.operating import DestinationList, DestinationView
from ringtime_shared.errors import NotFound
from ringtime_web.site import Site, Visit

KINDS = {"open": "bad", "half open": "bad", "slow": "warn", "failing": "warn", "recovering": "run"}
_ORDER = {state: n for n, state in enumerate(KINDS)}
_SIZE = 200
_MOST_APPS = 20  #: asked one by one for whoever may not see all


class DestinationPages:
    """One page."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def all(self) -> list[Route]:
        """Return the routes."""
        return [self._site.page("/destinations", self.show)]

    async def show(self, visit: Visit) -> Response:
        """Show those in trouble, the worst first."""
        app_id, state, chosen = visit.query("app"), visit.query("state"), visit.query("destination")
        listed, unasked = await _list(visit, app_id)
        found = [
            each
            for each in listed.destinations
            if state in ("", each.state) and chosen in ("", each.destination)
        ]
        return visit.render(
            "destinations.html",
            found=found,
            more=listed.more,
            unasked=unasked,
            app_id=app_id,
            state=state,
            states=list(KINDS),
            chosen=chosen,
            kinds=KINDS,
        )


async def _list(visit: Visit, app_id: str) -> tuple[DestinationList, int]:
    """Return the worst, and of how many apps nobody was asked."""
    if app_id:
        return await visit.api.run(operating.list_destinations(app_id, size=_SIZE)), 0
    apps = visit.person.apps
    if visit.may(Scope.RING_OPERATE) or apps is None:
        return await visit.api.run(operating.list_destinations(size=_SIZE)), 0
    asked = apps[:_MOST_APPS]
    lists = await asyncio.gather(*(_list_of(visit, each) for each in asked))
    worst = sorted((each for one in lists for each in one.destinations), key=_rank)
    more = sum(one.more for one in lists) + len(worst[_SIZE:])
    return DestinationList(destinations=worst[:_SIZE], more=more), len(apps) - len(asked)


async def _list_of(visit: Visit, app_id: str) -> DestinationList:
    try:
        return await visit.api.run(operating.list_destinations(app_id, size=_SIZE))
    except NotFound:  # a key outlives the apps it was given
        return DestinationList(destinations=[], more=0)


def _rank(shown: DestinationView) -> tuple[int, int, str, str]:
    """The worst has the least, as in the API's own lists."""
    order = _ORDER.get(shown.state, len(_ORDER))
    return order, -shown.waiting - shown.parked, shown.app_id, shown.destination
