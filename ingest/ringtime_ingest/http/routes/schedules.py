"""The routes of schedules."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ringtime_ingest.http.envelope import success
from ringtime_ingest.http.parsing import parse_new_schedule, parse_schedule_id
from ringtime_ingest.http.routes import BASE, Routes
from ringtime_shared.api.schedules import schedule_to_json


class ScheduleRoutes(Routes):
    """Create, read and cancel."""

    def all(self) -> list[BaseRoute]:
        by_id = [
            Route(f"{BASE}/{word}/{{schedule_id}}", endpoint, methods=[method])
            for word in ("schedules", "schedule")
            for endpoint, method in ((self.fetch, "GET"), (self.cancel, "DELETE"))
        ]
        return [
            Route(f"{BASE}/schedules", self.create, methods=["POST"]),
            Route(f"{BASE}/schedule", self.create_flat, methods=["POST"]),
            *by_id,
        ]

    async def create(self, request: Request) -> Response:
        return success({"schedule": await self._create(request)}, code=201, http=self._created)

    async def create_flat(self, request: Request) -> Response:
        return success(await self._create(request), code=201, http=self._created)

    async def _create(self, request: Request) -> dict[str, object]:
        body = await self._bodies.read(request)
        return schedule_to_json(await self._service.create_schedule(parse_new_schedule(body, self._depth)))

    async def fetch(self, request: Request) -> Response:
        schedule_id = parse_schedule_id(request.path_params["schedule_id"])
        return success({"schedule": schedule_to_json(await self._service.fetch_schedule(schedule_id))})

    async def cancel(self, request: Request) -> Response:
        schedule_id = parse_schedule_id(request.path_params["schedule_id"])
        cancellation = await self._service.cancel_schedule(schedule_id)
        shown = {"schedule": schedule_to_json(cancellation.row)}
        if cancellation.promised:
            return success(shown)
        return success(shown | {"cancel": "best_effort"}, code=202, http=202)
