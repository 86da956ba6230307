"""The routes of an app's calendars."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ringtime_ingest.http.changing import changing
from ringtime_ingest.http.envelope import success
from ringtime_ingest.http.fields import CALENDAR
from ringtime_ingest.http.guard import Declared
from ringtime_ingest.http.parsing import parse_app_id, refused
from ringtime_ingest.http.routes import BASE, Routes, needs_of
from ringtime_shared.api.calendars import named_calendar_to_json, summary_to_json
from ringtime_shared.errors import Violation
from ringtime_shared.models.calendar import Calendar


class CalendarRoutes(Routes):
    """Put, read, list and delete."""

    def all(self) -> list[BaseRoute]:
        return [
            Declared(f"{BASE}/{word}/{{app_id}}/calendars{tail}", endpoint, [method], needs_of(method))
            for word in ("apps", "app")
            for tail, endpoint, method in (
                ("", self.fetch_all, "GET"),
                ("/{name}", changing("calendars put", self.put), "PUT"),
                ("/{name}", self.fetch, "GET"),
                ("/{name}", changing("calendars delete", self.delete), "DELETE"),
            )
        ]

    async def put(self, request: Request) -> Response:
        wrong: list[Violation] = []
        fields = CALENDAR.decode(await self._bodies.read(request), self._depth, wrong)
        if wrong:
            raise refused(wrong, ())
        return _answer(await self._service.calendars.put(*_key_of(request), fields))

    async def fetch(self, request: Request) -> Response:
        return _answer(await self._service.calendars.fetch(*_key_of(request)))

    async def delete(self, request: Request) -> Response:
        return _answer(await self._service.calendars.delete(*_key_of(request)))

    async def fetch_all(self, request: Request) -> Response:
        found = await self._service.calendars.fetch_all(parse_app_id(request.path_params["app_id"]))
        return success({"calendars": [summary_to_json(each) for each in found]}, total=len(found))


def _key_of(request: Request) -> tuple[str, str]:
    return request.path_params["app_id"], request.path_params["name"]


def _answer(calendar: Calendar) -> Response:
    return success(named_calendar_to_json(calendar))
