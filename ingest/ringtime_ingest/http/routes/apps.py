"""The routes of apps and of their signing secrets. A secret itself is in one answer only, that of its
create."""

from __future__ import annotations

import asyncio
from typing import cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ringtime_ingest.http.changing import changing
from ringtime_ingest.http.envelope import success
from ringtime_ingest.http.fields import NEW_SIGNING_SECRET
from ringtime_ingest.http.guard import Declared, grant_in, see
from ringtime_ingest.http.parsing import parse_app_id, parse_configuration, parse_flag, parse_new_app
from ringtime_ingest.http.query import Query
from ringtime_ingest.http.routes import BASE, Routes
from ringtime_ingest.http.shapes import Unreadable
from ringtime_ingest.service.apps import AppsAsked
from ringtime_shared.access import Grant, Scope
from ringtime_shared.api.apps import (
    MAX_APPS,
    MAX_CONTAINS_CHARS,
    app_to_json,
    configured_to_json,
    secret_to_json,
)
from ringtime_shared.api.ids import check_app_id
from ringtime_shared.errors import Forbidden, InvalidRequest, NotFound, Violation
from ringtime_shared.models.app import AppConfiguration, SigningKind, kind_of

_KINDS = tuple(each.value for each in SigningKind)
_USUAL = 100  #: apps on a page, if nobody says how many
_AT_ONCE = 500  #: apps written down without letting anybody else run
_READ, _ADMIN = Scope.SCHEDULES_READ, Scope.APPS_ADMIN


class AppRoutes(Routes):
    """Register, read, configure, activate and delete apps; create, list and revoke their secrets."""

    def all(self) -> list[BaseRoute]:
        return [
            Declared(f"{BASE}/{word}{tail}", endpoint, [method], needs)
            for word in ("apps", "app")
            for tail, endpoint, method, needs in (
                ("", changing("apps create", self.register), "POST", _ADMIN),
                ("", self.fetch, "GET", _READ),
                ("/{app_id}", changing("apps delete", self.delete), "DELETE", _ADMIN),
                ("/{app_id}/configuration", self.fetch_configuration, "GET", _READ),
                (
                    "/{app_id}/configuration",
                    changing("apps configure", self.replace_configuration),
                    "POST",
                    _ADMIN,
                ),
                (
                    "/{app_id}/configuration",
                    changing("apps configure", self.replace_configuration),
                    "PUT",
                    _ADMIN,
                ),
                (
                    "/{app_id}/configuration",
                    changing("apps configure", self.merge_configuration),
                    "PATCH",
                    _ADMIN,
                ),
                (
                    "/{app_id}/configuration",
                    changing("apps configure", self.clear_configuration),
                    "DELETE",
                    _ADMIN,
                ),
                ("/{app_id}/activate", changing("apps activate", self.activate), "POST", _ADMIN),
                ("/{app_id}/deactivate", changing("apps deactivate", self.deactivate), "POST", _ADMIN),
                (
                    "/{app_id}/signing-secrets",
                    changing("signing-secrets create", self.create_secret),
                    "POST",
                    _ADMIN,
                ),
                ("/{app_id}/signing-secrets", self.fetch_secrets, "GET", _ADMIN),
                ("/{app_id}/signing-keys", self.fetch_keys, "GET", _READ),
                (
                    "/{app_id}/signing-secrets/{secret_id}",
                    changing("signing-secrets delete", self.delete_secret),
                    "DELETE",
                    _ADMIN,
                ),
            )
        ]

    async def register(self, request: Request) -> Response:
        new = parse_new_app(await self._bodies.read(request), self._depth)
        see(request, new.app_id)
        if grant_in(request).apps is not None:
            await self._must_be_there(new.app_id)
        return success(app_to_json(await self._service.register_app(new)), code=201, http=self._created)

    async def _must_be_there(self, app_id: str) -> None:
        """Raise Forbidden unless there is this app: a new one takes its share of the deployment, which is for
        those who have all of it."""
        try:
            await self._service.fetch_apps(app_id)
        except NotFound:
            why = f"to register a new app takes a key for all apps with the scope {_ADMIN}"
            raise Forbidden(_ADMIN, why) from None

    async def fetch(self, request: Request) -> Response:
        grant = grant_in(request)
        query = Query(request, ("app_id", "contains", "after", "size"))
        page = _page_of(query)
        query.check()
        if not query.text("app_id") and any(map(query.text, ("contains", "after", "size"))):
            return await self._find(page, grant)
        asked = query.text("app_id") or None
        if asked is not None:
            parse_app_id(asked)
            if not grant.sees(asked):
                raise NotFound("registered app", asked)
        try:
            apps = await self._service.fetch_apps(asked, grant.apps)
        except NotFound as error:
            raise NotFound("registered app", error.key) from None
        shown: list[object] = []
        for start in range(0, len(apps), _AT_ONCE):
            shown += [app_to_json(app) for app in apps[start : start + _AT_ONCE]]
            await asyncio.sleep(0)  # of 10,000 it takes a tenth of a second
        return success({"apps": shown}, total=len(apps))

    async def _find(self, asked: AppsAsked, grant: Grant) -> Response:
        """Return a page of those that fit, of which there may be many."""
        page = await self._service.find_apps(asked, grant.apps)
        data = {"apps": [app_to_json(app) for app in page.apps], "count": page.count}
        return success(data, total=len(page.apps))

    async def delete(self, request: Request) -> Response:
        app_id = _app_id_of(request)
        cancels = parse_flag("cancel_schedules", request.query_params.multi_items())
        app = await self._service.delete_app(app_id, cancel_schedules=cancels)
        return success(app_to_json(app), code=202, http=202)

    async def fetch_configuration(self, request: Request) -> Response:
        (app,) = await self._service.fetch_apps(_app_id_of(request))
        return success(configured_to_json(app))

    async def replace_configuration(self, request: Request) -> Response:
        return await self._configure(request, merges=False)

    async def merge_configuration(self, request: Request) -> Response:
        return await self._configure(request, merges=True)

    async def clear_configuration(self, request: Request) -> Response:
        nothing = AppConfiguration()
        return success(
            configured_to_json(await self._service.configure_app(_app_id_of(request), nothing, merges=False)),
            code=201,
        )

    async def _configure(self, request: Request, *, merges: bool) -> Response:
        app_id = _app_id_of(request)
        given = parse_configuration(await self._bodies.read(request), self._depth)
        app = await self._service.configure_app(app_id, given, merges=merges)
        return success(configured_to_json(app), code=201)

    async def activate(self, request: Request) -> Response:
        return await self._set_active(request, active=True)

    async def deactivate(self, request: Request) -> Response:
        return await self._set_active(request, active=False)

    async def _set_active(self, request: Request, *, active: bool) -> Response:
        app = await self._service.set_active(_app_id_of(request), active)
        shown = {"appId": app.app_id, "Active": app.active, "active": app.active}
        return success(shown, code=201, total=0)

    async def create_secret(self, request: Request) -> Response:
        app_id = _app_id_of(request)
        body = await self._bodies.read(request)
        made = await self._service.signing.create(app_id, *parse_new_secret(body, self._depth))
        answer = success(secret_to_json(made, is_new=True), code=201, http=self._created)
        answer.raw_headers.append((b"cache-control", b"no-store"))
        return answer

    async def fetch_secrets(self, request: Request) -> Response:
        live = await self._service.signing.fetch(_app_id_of(request))
        return success({"signingSecrets": [secret_to_json(each) for each in live]}, total=len(live))

    async def fetch_keys(self, request: Request) -> Response:
        live = await self._service.signing.fetch(_app_id_of(request))
        keys = [secret_to_json(each) for each in live if kind_of(each) is SigningKind.ED25519]
        return success({"signingKeys": keys}, total=len(keys))

    async def delete_secret(self, request: Request) -> Response:
        secret_id = request.path_params["secret_id"]
        await self._service.signing.delete(_app_id_of(request), secret_id)
        return success({"secretId": secret_id})


def _page_of(query: Query) -> AppsAsked:
    """Return which page is asked for; what is wrong with that is noted in the query."""
    after, contains = query.text("after"), query.text("contains")
    if after:
        query.wrong += [Violation("after", each.rule) for each in check_app_id(after)]
    if len(contains) > MAX_CONTAINS_CHARS:
        query.wrong.append(Violation("contains", f"must be at most {MAX_CONTAINS_CHARS} characters"))
    size = query.size("size", _USUAL, MAX_APPS)
    if not 1 <= size <= MAX_APPS:
        query.wrong.append(Violation("size", f"must be a whole number from 1 to {MAX_APPS}"))
    return AppsAsked(contains, after, size)


def parse_new_secret(body: bytes, max_depth: int) -> tuple[str | None, SigningKind]:
    """Return the client's own secret, None, also without a body: make one; and its kind. Raises Unreadable,
    InvalidRequest."""
    if not body:
        return None, SigningKind.HMAC
    wrong: list[Violation] = []
    values = NEW_SIGNING_SECRET.decode(body, max_depth, wrong)
    if wrong:
        raise Unreadable(wrong)
    kind = values.get("kind", SigningKind.HMAC.value)
    if kind not in _KINDS:
        raise InvalidRequest([Violation("kind", f"must be {' or '.join(_KINDS)}")])
    return cast("str | None", values.get("secret")), SigningKind(kind)


def _app_id_of(request: Request) -> str:
    return parse_app_id(request.path_params["app_id"])
