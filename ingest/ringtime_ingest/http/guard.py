"""What a route needs of its caller, and the one place where that is asked.

A route says where it is declared what it needs: a scope, any good key, or nothing (`OPEN`). `Guard.over` puts
the question before the method that answers, so that both ways to it, the short and the long, pass it; a route
that says nothing is a bug, which `create_app` refuses to start with.

Whose app it is, is asked here too, for every route that has an app or the id of a schedule in its path: the
number of the app is a part of each id, so no row is read for it. What is in a query or a body is asked by the
methods that read them, with `see` and `seen_only`. Another's app is answered as one that does not exist, and
another's schedule as one that was never made, without a look whether they do. What the caller may see is
counted against the limits of the app (`meter`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from enum import Enum
from functools import cache, cached_property, wraps
from typing import Any, Protocol, TypeVar
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, get_name, request_response
from starlette.types import ASGIApp

from ringtime_shared.access import Caller, Grant, Scope
from ringtime_shared.api.ids import parse_schedule_id
from ringtime_shared.errors import Forbidden, InvalidRequest, NotFound
from ringtime_shared.ids import app_number_of, is_ours

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]
HttpScope = MutableMapping[str, Any]
Count = Callable[[HttpScope, str], None]

CALLER = "ringtime.caller"  #: in the ASGI scope: the `Caller`, of every request but those of open routes
_SCHEDULE_ID = "ringtime.schedule_id"  #: there, too: the id in the path, if there is one that is well-formed


class Without(Enum):
    """What a route may need instead of a scope."""

    KEY = "no key"  #: it tells nothing of anybody, or has a proof of its own
    SCOPE = "any key"  #: it is for whoever may be here


OPEN, ANY_KEY = Without.KEY, Without.SCOPE
Needs = Scope | Without


class Declared(Route):
    """A route that says what it needs."""

    def __init__(self, path: str, endpoint: Endpoint, methods: Sequence[str], needs: Needs) -> None:
        self.given_methods = tuple(methods)
        self.needs = needs
        vars(self).update(_of_path(path, self.given_methods))
        self.endpoint, self.name = endpoint, get_name(endpoint)

    @cached_property
    def app(self) -> ASGIApp:  # type: ignore[override]
        """What answers, made for the first request: most of an application's routes never see one."""
        return request_response(self.endpoint)

    def behind(self, endpoint: Endpoint) -> Declared:
        """Return the same route with this method before its own."""
        return Declared(self.path, endpoint, self.given_methods, self.needs)


@cache
def _of_path(path: str, methods: tuple[str, ...]) -> Mapping[str, object]:
    """Return what Starlette makes of a path and its methods: the same in each application of a process."""
    made = vars(Route(path, _nothing, methods=list(methods)))
    del made["app"]
    return made


async def _nothing(_: Request) -> Response:
    """Stands in a route for the method that answers."""
    raise NotImplementedError


class Apps(Protocol):
    """Whose the ids of schedules are."""

    def known_app_id(self, number: int) -> str | None:
        """Return the id of the app of this number, without asking anybody; None: it is not known here."""
        ...

    async def resolve(self, asked: Sequence[UUID]) -> Mapping[UUID, UUID]:
        """Return which schedules are meant by ids of another scheduler: those that are meant by one. Raises
        StoreUnavailable."""
        ...

    async def app_of(self, schedule_id: UUID) -> str | None:
        """Return the app that the id of a schedule is of; None: of none. Raises StoreUnavailable."""
        ...


class Guard:
    """Stands before the methods that answer."""

    def __init__(self, apps: Apps, count: Count, *, has_keys: bool = True) -> None:
        """
        Args:
            count: counts a request about the app that its path names, or whose schedule it does; raises
                RateLimited.
            has_keys: callers are told by keys; else every caller is `ANYBODY`, whom no route keeps out.
        """
        self._apps = apps
        self._count = count
        self._has_keys = has_keys

    def over(self, routes: Iterable[BaseRoute]) -> list[Declared]:
        """Return the same routes, guarded. Raises TypeError for one that does not say what it needs."""
        guarded = []
        for route in routes:
            if not isinstance(route, Declared):
                raise TypeError(f"a route must say what its caller needs: {route}")
            if isinstance(route.needs, Scope) and (self._has_keys or "{" in route.path):
                route = route.behind(self._guarded(route.endpoint, route.needs))
            guarded.append(route)
        return guarded

    def _guarded(self, endpoint: Endpoint, needs: Scope) -> Endpoint:
        @wraps(endpoint)
        async def guarded(request: Request) -> Response:
            scope = request.scope
            grant: Grant = scope[CALLER].grant
            if needs not in grant.scopes:
                raise Forbidden(needs)
            if grant.apps is not None and needs is Scope.RING_OPERATE:
                raise Forbidden(needs, f"{needs} takes a key for all apps")
            if named := scope.get("path_params"):
                app_id = self._app_in(scope, named)
                asked: UUID | None = scope.get(_SCHEDULE_ID)
                if app_id is None and asked is not None and not is_ours(asked):
                    app_id = await self._find_alias(scope, named)
                if grant.apps is not None:
                    await self._see_path(named, app_id, grant, asked)
                if app_id is not None:
                    self._count(scope, app_id)
            return await endpoint(request)

        return guarded

    def _app_in(self, scope: HttpScope, named: Mapping[str, str]) -> str | None:
        """Return the app that a path names, or whose schedule it does, if that is known here; keep the
        schedule's id, so that it is read once."""
        text = named.get("schedule_id")
        if text is None:
            return named.get("app_id")
        try:
            schedule_id = scope[_SCHEDULE_ID] = parse_schedule_id(text)
        except InvalidRequest:
            return None  # the method that answers says what is wrong with it
        return self._apps.known_app_id(app_number_of(schedule_id)) if is_ours(schedule_id) else None

    async def _find_alias(self, scope: HttpScope, named: MutableMapping[str, str]) -> str | None:
        """Let an id of another scheduler stand for the schedule that is meant by it here, if there is one;
        return its app, if that is known here."""
        alias = scope[_SCHEDULE_ID]
        schedule_id = (await self._apps.resolve([alias])).get(alias)
        if schedule_id is None:
            return None
        scope[_SCHEDULE_ID] = schedule_id
        named["schedule_id"] = str(schedule_id)
        return self._apps.known_app_id(app_number_of(schedule_id))

    async def _see_path(
        self, named: Mapping[str, str], app_id: str | None, grant: Grant, asked: UUID | None
    ) -> None:
        """Raise NotFound unless what a path names is of an app of the grant."""
        if "app_id" in named and not grant.sees(named["app_id"]):
            raise not_granted(named["app_id"])
        if "schedule_id" in named and (app_id is None or not grant.sees(app_id)):
            # nearly always it is known; a number is one app's ever
            await see_schedule(grant, parse_schedule_id(named["schedule_id"]), self._apps, asked)


def schedule_id_in(request: Request) -> UUID:
    """Return the id of a schedule in the path, which the guard has read. Raises InvalidRequest."""
    known: UUID | None = request.scope.get(_SCHEDULE_ID)
    return parse_schedule_id(request.path_params["schedule_id"]) if known is None else known


async def see_schedule(grant: Grant, schedule_id: UUID, apps: Apps, asked: UUID | None = None) -> None:
    """Raise NotFound unless the schedule, if there is one, is of an app of the grant.

    Args:
        asked: the id that the caller gave, if that is another scheduler's: what it means here tells whose it
            is and when it is due, so the refusal names this.
    """
    app_id = await apps.app_of(schedule_id)
    if app_id is None or not grant.sees(app_id):
        raise NotFound("schedule", str(asked or schedule_id))


def not_granted(app_id: str) -> NotFound:
    """Return the error for an app that is not among those of a key. Whether there is one of this id was not
    looked at, so nothing tells this from an app that does not exist."""
    return NotFound("granted app", app_id)


def grant_in(request: Request) -> Grant:
    """Return what the caller of a request may do."""
    caller: Caller = request.scope[CALLER]
    return caller.grant


def require(request: Request, scope: Scope) -> None:
    """Raise Forbidden unless the caller has this scope, beside what the route says it needs."""
    if not grant_in(request).may(scope):
        raise Forbidden(scope)


def see(request: Request, app_id: str) -> None:
    """Raise NotFound unless the app is one of the caller's."""
    grant = grant_in(request)
    if grant.apps is not None and not grant.sees(app_id):
        raise not_granted(app_id)


def seen_only(
    request: Request, items: Sequence[T], app_id_of: Callable[[T], str | None]
) -> list[T | NotFound]:
    """Return the items of a request, with the refusal in place of each whose app is not one of the caller's.

    Args:
        app_id_of: None: the item is of no app.
    """
    grant = grant_in(request)
    named = ((item, app_id_of(item)) for item in items)
    return [item if app_id is None or grant.sees(app_id) else not_granted(app_id) for item, app_id in named]
