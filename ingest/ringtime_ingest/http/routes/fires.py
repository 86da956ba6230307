"""The routes of completeness: the mark of an app, that of all apps, and audits of fires."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ringtime_ingest.http.envelope import success
from ringtime_ingest.http.guard import Declared
from ringtime_ingest.http.parsing import parse_app_id
from ringtime_ingest.http.query import Query
from ringtime_ingest.http.routes import BASE, Routes
from ringtime_ingest.service.fires import IN_QUERY, FireQuery
from ringtime_shared.access import Scope
from ringtime_shared.api.fires import audit_to_json, completeness_to_json
from ringtime_shared.api.ids import check_app_id


class FireRoutes(Routes):
    """Tell how far everything has its outcome, and what has not."""

    def all(self) -> list[BaseRoute]:
        return [
            *(
                Declared(f"{BASE}/{word}/{{app_id}}/{tail}", endpoint, ["GET"], Scope.SCHEDULES_READ)
                for word in ("apps", "app")
                for tail, endpoint in (
                    ("completeness", self.fetch_completeness),
                    ("audit-fires", self.audit),
                )
            ),
            Declared(f"{BASE}/completeness", self.fetch_completeness_of_all, ["GET"], Scope.RING_OPERATE),
        ]

    async def fetch_completeness(self, request: Request) -> Response:
        app_id = parse_app_id(request.path_params["app_id"])
        return success(completeness_to_json(await self._service.fires.completeness(app_id)))

    async def fetch_completeness_of_all(self, request: Request) -> Response:
        return success(completeness_to_json(await self._service.fires.completeness()))

    async def audit(self, request: Request) -> Response:
        app_id = request.path_params["app_id"]
        asked = Query(request, (*IN_QUERY, "zone"))
        asked.wrong += check_app_id(app_id)
        zone = asked.zone("zone")
        query = FireQuery(
            app_id=app_id,
            start_ms=asked.instant(IN_QUERY.start, zone),
            end_ms=asked.instant(IN_QUERY.end, zone),
            token=asked.text(IN_QUERY.token),
            names=IN_QUERY,
        )
        asked.check()
        part = await self._service.fires.audit(query)
        return success(audit_to_json(part.found, part.token), total=len(part.found.findings))
