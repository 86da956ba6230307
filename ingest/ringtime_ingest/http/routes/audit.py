"""The routes of the audit log: that of all, and an app's own."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ringtime_ingest.http.envelope import success
from ringtime_ingest.http.guard import Declared
from ringtime_ingest.http.query import Query
from ringtime_ingest.http.routes import BASE, Routes
from ringtime_ingest.service.audit import IN_QUERY, AuditQuery
from ringtime_shared.access import Scope
from ringtime_shared.api.audit import LIST_SIZE, MAX_SIZE, entries_to_json
from ringtime_shared.api.ids import check_app_id


class AuditRoutes(Routes):
    """List the entries."""

    def all(self) -> list[BaseRoute]:
        return [
            *(
                Declared(f"{BASE}/{word}/{{app_id}}/audit", self.fetch_of_app, ["GET"], Scope.APPS_ADMIN)
                for word in ("apps", "app")
            ),
            Declared(f"{BASE}/audit", self.fetch, ["GET"], Scope.RING_OPERATE),
        ]

    async def fetch(self, request: Request) -> Response:
        return await self._page(Query(request, IN_QUERY), "")

    async def fetch_of_app(self, request: Request) -> Response:
        app_id = request.path_params["app_id"]
        asked = Query(request, IN_QUERY)
        asked.wrong += check_app_id(app_id)
        return await self._page(asked, app_id)

    async def _page(self, asked: Query, app_id: str) -> Response:
        query = AuditQuery(
            app_id=app_id,
            start_ms=asked.instant(IN_QUERY.start),
            end_ms=asked.instant(IN_QUERY.end),
            size=asked.size(IN_QUERY.size, LIST_SIZE, MAX_SIZE),
            token=asked.text(IN_QUERY.token),
            actor=asked.text(IN_QUERY.actor),
            action=asked.text(IN_QUERY.action),
            names=IN_QUERY,
        )
        asked.check()
        page = await self._service.audit.fetch(query)
        return success(entries_to_json(page.entries, page.token), total=len(page.entries))
