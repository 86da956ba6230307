"""The ring: nodes, who owns what, what moves, and what would move."""

from __future__ import annotations

import asyncio
from collections import Counter

from starlette.responses import Response
from starlette.routing import Route

from ringtime_client import operating
from ringtime_shared.api.operating import MAX_JOINS
from ringtime_web.pages.reading import read_whole
from ringtime_web.pages.ring_drawing import COLOURS, draw
from ringtime_web.site import Site, Visit

KINDS = {
    "ready": "good",
    "draining": "run",
    "drained": "idle",
    "joining": "run",
    "silent": "bad",
    "not ready": "bad",
    "clock in doubt": "bad",
    "damaged": "bad",
}
_MOST_PARTITIONS = 1_000  #: shown one by one


class RingPages:
    """One page."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def all(self) -> list[Route]:
        """Return the routes."""
        return [self._site.page("/ring", self.show)]

    async def show(self, visit: Visit) -> Response:
        """Show the ring as it is; with `join` and `leave` also as it would be."""
        app_id, join = visit.query("app"), read_whole("join", visit.query("join"), most=MAX_JOINS) or 0
        leave = [node for node in visit.request.query_params.getlist("leave") if node]
        ring, nodes = await asyncio.gather(
            visit.api.run(operating.get_ring(app_id or None, join=join, leave=leave)),
            visit.api.run(operating.list_nodes()),
        )
        colours = {each.node: n % COLOURS for n, each in enumerate(ring.nodes)}
        partitions = list(ring.partitions or ())
        return visit.render(
            "ring.html",
            ring=ring,
            nodes={each.node: each for each in nodes.nodes},
            now=draw(ring.nodes),
            after=None if ring.moves is None else draw(ring.nodes, is_after=True),
            colours=colours,
            kinds=KINDS,
            app_id=app_id,
            join=join,
            leave=leave,
            chosen=visit.query("node"),
            partitions=partitions[:_MOST_PARTITIONS],
            more=max(len(partitions) - _MOST_PARTITIONS, 0),
            of_app=Counter(each.node for each in partitions).most_common(),
        )
