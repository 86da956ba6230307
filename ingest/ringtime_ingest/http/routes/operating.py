"""The routes of operators: nodes, ring, destinations, what is ahead, and all of it in one answer."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ringtime_ingest.http.envelope import success
from ringtime_ingest.http.guard import Declared
from ringtime_ingest.http.query import Query
from ringtime_ingest.http.routes import BASE, Routes
from ringtime_shared.access import Scope
from ringtime_shared.api.ids import check_app_id
from ringtime_shared.api.operating import (
    MAX_DESTINATIONS,
    MAX_FORECAST_HOURS,
    MAX_JOINS,
)
from ringtime_shared.api.views import show
from ringtime_shared.errors import Violation

_DESTINATIONS = 100  #: if nobody says how many


class OperatingRoutes(Routes):
    """Tell how the deployment is."""

    def all(self) -> list[BaseRoute]:
        return [
            Declared(f"{BASE}/overview", self.overview, ["GET"], Scope.RING_OPERATE),
            Declared(f"{BASE}/nodes", self.nodes, ["GET"], Scope.RING_OPERATE),
            Declared(f"{BASE}/ring", self.ring, ["GET"], Scope.RING_OPERATE),
            Declared(f"{BASE}/destinations", self.destinations, ["GET"], Scope.RING_OPERATE),
            *(
                Declared(path, answer, ["GET"], Scope.SCHEDULES_READ)
                for word in ("apps", "app")
                for path, answer in (
                    (f"{BASE}/{word}/{{app_id}}/destinations", self.destinations_of_app),
                    (f"{BASE}/{word}/{{app_id}}/forecast", self.forecast),
                )
            ),
        ]

    async def overview(self, request: Request) -> Response:
        return success(show(await self._service.operating.overview()))

    async def nodes(self, request: Request) -> Response:
        nodes = await self._service.operating.nodes()
        return success(show(nodes), total=len(nodes.nodes))

    async def ring(self, request: Request) -> Response:
        asked = Query(request, ("app_id", "join"), repeated=("leave",))
        app_id, joins = asked.text("app_id"), asked.size("join", 0, MAX_JOINS)
        leaves = asked.texts("leave")
        if app_id:
            asked.wrong += [Violation("app_id", each.rule) for each in check_app_id(app_id)]
        asked.check()
        return success(show(await self._service.operating.ring(app_id, joins, leaves)))

    async def destinations(self, request: Request) -> Response:
        return await self._destinations(request, "")

    async def destinations_of_app(self, request: Request) -> Response:
        return await self._destinations(request, request.path_params["app_id"])

    async def forecast(self, request: Request) -> Response:
        app_id = request.path_params["app_id"]
        asked = Query(request, ("hours",))
        asked.wrong += check_app_id(app_id)
        hours = asked.size("hours", 1, MAX_FORECAST_HOURS)
        asked.check()
        return success(show(await self._service.operating.forecast(app_id, hours)))

    async def _destinations(self, request: Request, app_id: str) -> Response:
        asked = Query(request, ("size",))
        if app_id:
            asked.wrong += check_app_id(app_id)
        size = asked.size("size", _DESTINATIONS, MAX_DESTINATIONS)
        asked.check()
        if app_id:
            await self._service.fetch_apps(app_id)  # of an app that there is not, there is nothing to tell
        found = await self._service.operating.destinations(size, app_id)
        return success(show(found), total=len(found.destinations))
