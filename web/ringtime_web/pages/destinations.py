"""Destinations that are not well: how, since when, what waits for them."""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from starlette.routing import Route

from ringtime_client import operating
from ringtime_shared.access import Scope
from ringtime_shared.api.operating import DestinationList
from ringtime_web.site import Site, Visit

KINDS = {"open": "bad", "half open": "bad", "slow": "warn", "failing": "warn", "recovering": "run"}
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
        listed = await _list(visit, app_id)
        found = [
            each
            for each in listed.destinations
            if state in ("", each.state) and chosen in ("", each.destination)
        ]
        return visit.render(
            "destinations.html",
            found=found,
            more=listed.more,
            app_id=app_id,
            state=state,
            states=list(KINDS),
            chosen=chosen,
            kinds=KINDS,
        )


async def _list(visit: Visit, app_id: str) -> DestinationList:
    if app_id:
        return await visit.api.run(operating.list_destinations(app_id, size=_SIZE))
    if visit.may(Scope.RING_OPERATE) or visit.person.apps is None:
        return await visit.api.run(operating.list_destinations(size=_SIZE))
    lists = await asyncio.gather(
        *(
            visit.api.run(operating.list_destinations(each, size=_SIZE))
            for each in visit.person.apps[:_MOST_APPS]
        )
    )
    return DestinationList(
        destinations=[each for one in lists for each in one.destinations],
        more=sum(one.more for one in lists),
    )
