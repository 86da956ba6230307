"""The routes of API keys: a list of all, and of those of an app. They are issued and ended with `ringctl
keys`, which works on the store itself: no key can make another one."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ringtime_ingest.http.envelope import success
from ringtime_ingest.http.guard import Declared, grant_in
from ringtime_ingest.http.query import Query
from ringtime_ingest.http.routes import BASE, Routes
from ringtime_shared.access import Scope
from ringtime_shared.access.keys import is_key_id
from ringtime_shared.api.ids import check_app_id
from ringtime_shared.api.keys import LIST_SIZE, MAX_SIZE
from ringtime_shared.api.views import show
from ringtime_shared.errors import Violation


class KeyRoutes(Routes):
    """List keys."""

    def all(self) -> list[BaseRoute]:
        return [
            Declared(f"{BASE}/keys", self.fetch, ["GET"], Scope.RING_OPERATE),
            *(
                Declared(f"{BASE}/{word}/{{app_id}}/keys", self.fetch_of_app, ["GET"], Scope.APPS_ADMIN)
                for word in ("apps", "app")
            ),
        ]

    async def fetch(self, request: Request) -> Response:
        return await self._page(request, "")

    async def fetch_of_app(self, request: Request) -> Response:
        return await self._page(request, request.path_params["app_id"])

    async def _page(self, request: Request, app_id: str) -> Response:
        asked = Query(request, ("size", "after"))
        after = asked.text("after")
        if app_id:
            asked.wrong += check_app_id(app_id)
        if after and not is_key_id(after):
            asked.wrong.append(Violation("after", "must be the id of a key"))
        size = asked.size("size", LIST_SIZE, MAX_SIZE)
        if not 1 <= size <= MAX_SIZE:
            asked.wrong.append(Violation("size", f"must be a whole number from 1 to {MAX_SIZE}"))
        asked.check()
        if app_id:
            await self._service.fetch_apps(app_id)  # of an app that there is not, there is nothing to tell
        found = await self._service.keys.find(grant_in(request), app_id=app_id, after=after, size=size)
        return success(show(found), total=len(found.keys))
