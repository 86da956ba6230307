"""Who changed what, from where, when and why."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import Response
from starlette.routing import Route

from ringtime_client import calls
from ringtime_shared.access import Scope
from ringtime_web.pages.asking import SPANS, asked_range, read_range
from ringtime_web.site import Site, Visit

_SIZE = 100


class AuditPages:
    """One page."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def all(self) -> list[Route]:
        """Return the routes."""
        return [self._site.page("/audit", self.show)]

    async def show(self, visit: Visit) -> Response:
        """Show a page of the entries, newest first."""
        app_id, actor, action = visit.query("app"), visit.query("actor"), visit.query("action")
        start, end, span = read_range(visit, "7d")
        page = None
        if app_id or visit.may(Scope.RING_OPERATE):
            page = await visit.api.run(
                calls.list_audit(
                    app_id or None,
                    start=start,
                    end=end,
                    size=_SIZE,
                    token=visit.query("token"),
                    actor=actor,
                    action=action,
                )
            )
        return visit.render(
            "audit.html",
            app_id=app_id,
            actor=actor,
            action=action,
            span=span,
            spans=list(SPANS),
            start=start,
            end=end,
            page=page,
            pretty=_pretty,
            asked={
                "app": app_id,
                "actor": actor,
                "action": action,
                **asked_range(visit),
            },
        )


def _pretty(value: Any) -> str:
    """Return `before` or `after` for people."""
    return "–" if value is None else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
