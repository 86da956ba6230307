"""What each route does: parse, ask the service, answer.

The seed's code has plural paths and nests a schedule as `data.schedule`; its README shows singular ones
and, for a create, the schedule itself as `data`. Both are served.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ringtime_ingest.http.body import BodyReader
from ringtime_ingest.http.envelope import UNAVAILABLE, Answer, failure, success
from ringtime_ingest.http.parsing import (
    parse_app_id,
    parse_flag,
    parse_new_app,
    parse_new_schedule,
    parse_schedule_id,
)
from ringtime_ingest.service.requests import Service
from ringtime_shared.api.apps import app_to_json
from ringtime_shared.api.schedules import schedule_to_json
from ringtime_shared.errors import ClockInDoubt, NotFound, RingtimeError
from ringtime_shared.models.schedule import Row
from ringtime_shared.settings import ServerSettings

Ready = Callable[[], Awaitable[None]]

BASE = "/goscheduler"
ANY_METHOD = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_HEALTHY = b'{"status":"Success","code":200}'
_log = logging.getLogger(__name__)


class Api:
    """The endpoints."""

    def __init__(self, service: Service, bodies: BodyReader, settings: ServerSettings, ready: Ready) -> None:
        self._service = service
        self._bodies = bodies
        self._depth = settings.max_json_depth
        self._created = settings.created_http_status
        self._ready = ready

    def routes(self) -> list[BaseRoute]:
        """Return all routes, the busiest first."""
        apps = [
            Route(f"{BASE}/{word}{tail}", endpoint, methods=[method])
            for word in ("apps", "app")
            for tail, endpoint, method in (
                ("", self.register_app, "POST"),
                ("", self.fetch_apps, "GET"),
                ("/{app_id}", self.delete_app, "DELETE"),
                ("/{app_id}/activate", self.activate_app, "POST"),
                ("/{app_id}/deactivate", self.deactivate_app, "POST"),
            )
        ]
        by_id = [
            Route(f"{BASE}/{word}/{{schedule_id}}", endpoint, methods=[method])
            for word in ("schedules", "schedule")
            for endpoint, method in ((self.fetch_schedule, "GET"), (self.cancel_schedule, "DELETE"))
        ]
        return [
            Route(f"{BASE}/schedules", self.create_schedule, methods=["POST"]),
            Route(f"{BASE}/schedule", self.create_schedule_flat, methods=["POST"]),
            *by_id,
            *apps,
            Route(f"{BASE}/healthcheck", self.healthcheck, methods=ANY_METHOD),
            Route("/health/live", self.healthcheck),
            Route("/health/ready", self.check_ready),
        ]

    async def create_schedule(self, request: Request) -> Response:
        shown = schedule_to_json(await self._create(request))
        return success({"schedule": shown}, code=201, http=self._created)

    async def create_schedule_flat(self, request: Request) -> Response:
        return success(schedule_to_json(await self._create(request)), code=201, http=self._created)

    async def _create(self, request: Request) -> Row:
        return await self._service.create_schedule(parse_new_schedule(await self._body(request), self._depth))

    async def _body(self, request: Request) -> bytes:
        return await self._bodies.read(request.scope, request.receive)

    async def fetch_schedule(self, request: Request) -> Response:
        schedule_id = parse_schedule_id(request.path_params["schedule_id"])
        return success({"schedule": schedule_to_json(await self._service.fetch_schedule(schedule_id))})

    async def cancel_schedule(self, request: Request) -> Response:
        schedule_id = parse_schedule_id(request.path_params["schedule_id"])
        cancellation = await self._service.cancel_schedule(schedule_id)
        shown = {"schedule": schedule_to_json(cancellation.row)}
        if cancellation.promised:
            return success(shown)
        return success(shown | {"cancel": "best_effort"}, code=202, http=202)

    async def register_app(self, request: Request) -> Response:
        new = parse_new_app(await self._body(request), self._depth)
        app = await self._service.register_app(new)
        return success(app_to_json(app), code=201, http=self._created)

    async def fetch_apps(self, request: Request) -> Response:
        asked = request.query_params.get("app_id") or None
        if asked is not None:
            parse_app_id(asked)
        try:
            apps = await self._service.fetch_apps(asked)
        except NotFound:
            apps = []
        if asked is not None and not apps:
            raise NotFound("registered app", asked)
        return success({"apps": [app_to_json(app) for app in apps]}, total=len(apps))

    async def activate_app(self, request: Request) -> Response:
        return await self._set_active(request, active=True)

    async def deactivate_app(self, request: Request) -> Response:
        return await self._set_active(request, active=False)

    async def delete_app(self, request: Request) -> Response:
        app_id = parse_app_id(request.path_params["app_id"])
        cancels = parse_flag("cancel_schedules", request.query_params.multi_items())
        app = await self._service.delete_app(app_id, cancel_schedules=cancels)
        return success(app_to_json(app), code=202, http=202)

    async def _set_active(self, request: Request, *, active: bool) -> Response:
        app = await self._service.set_active(parse_app_id(request.path_params["app_id"]), active)
        shown = {"appId": app.app_id, "Active": app.active, "active": app.active}
        return success(shown, code=201, total=0)

    async def healthcheck(self, request: Request) -> Response:
        return Answer(_HEALTHY, 200)

    async def check_ready(self, request: Request) -> Response:
        try:
            await self._ready()
        except ClockInDoubt as error:
            _log.warning("not ready: %s", error)
            return failure(UNAVAILABLE, f"not ready: {error}")
        except RingtimeError as error:
            _log.warning("not ready: %s", error)
        except Exception:  # noqa: BLE001 - whatever it is, the probe has to hear that it is not ready
            _log.exception("not ready")
        else:
            return Answer(_HEALTHY, 200)
        return failure(UNAVAILABLE, "not ready; the server's log says why")
