"""The HTTP application: routes, the gate in front of them, and the answers to what goes wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from platform import python_version
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route, Router, compile_path
from starlette.types import Scope

from ringtime_ingest.http.changing import is_noted
from ringtime_ingest.http.docs_page import render_docs
from ringtime_ingest.http.envelope import ERRORS, NO_METHOD, NO_PATH, Answer, Codes, failure, refusal, success
from ringtime_ingest.http.gate import Bodies, Gate, RequestCounts, Room, Shortcut
from ringtime_ingest.http.guard import ANY_KEY, CALLER, OPEN, Declared, Guard
from ringtime_ingest.http.meter import Meter
from ringtime_ingest.http.openapi import NAMED, Document, openapi_document, to_bytes
from ringtime_ingest.http.routes import BASE
from ringtime_ingest.http.routes.apps import AppRoutes
from ringtime_ingest.http.routes.audit import AuditRoutes
from ringtime_ingest.http.routes.batches import BatchRoutes
from ringtime_ingest.http.routes.calendars import CalendarRoutes
from ringtime_ingest.http.routes.clock import ClockRoutes, SteppedClock
from ringtime_ingest.http.routes.completions import CompletionRoutes
from ringtime_ingest.http.routes.dead_letters import DeadLetterRoutes
from ringtime_ingest.http.routes.fires import FireRoutes
from ringtime_ingest.http.routes.health import HealthRoutes, Ready
from ringtime_ingest.http.routes.imports import ImportRoutes
from ringtime_ingest.http.routes.jobs import JobRoutes
from ringtime_ingest.http.routes.keys import KeyRoutes
from ringtime_ingest.http.routes.metrics import MetricsRoutes
from ringtime_ingest.http.routes.operating import OperatingRoutes
from ringtime_ingest.http.routes.recurring import RecurringRoutes
from ringtime_ingest.http.routes.schedules import ScheduleRoutes
from ringtime_ingest.http.routes.security import SecurityRoutes
from ringtime_ingest.http.routes.shadow import ShadowRoutes
from ringtime_ingest.service import IngestService
from ringtime_shared.access import Caller, KeyChecks, caller_to_json
from ringtime_shared.errors import ErrorWord, RingtimeError
from ringtime_shared.settings import ServerSettings

if TYPE_CHECKING:
    from ringtime_shared.traces.spans import Spans

VERSION = version("ringtime")
_HTML = b"text/html; charset=utf-8"
_DOCS_POLICY = (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'")


def create_app(
    service: IngestService,
    settings: ServerSettings,
    ready: Ready,
    clock: SteppedClock | None = None,
    *,
    keys: KeyChecks | None = None,
    is_short: bool = True,
    processes: int = 1,
    spans: Spans | None = None,
) -> Gate:
    """Return the application.

    Args:
        service: does what the routes ask for; whoever made it closes it.
        settings: limits of the HTTP side.
        ready: awaited by `/health/ready`; raises while the process cannot serve.
        clock: a test clock, which has routes of its own; None: time is the machine's.
        keys: tell callers by their API keys; None: whoever asks may do everything.
        is_short: whether the busiest routes take the short way, by `gate` and `plain`; for tests that
            compare both ways.
        processes: that clients' requests are spread over, this one among them: each has its part of the
        limits.
        spans: begins those of creates; None: there are none.
    """
    bodies = Bodies(settings, reads_plain=is_short)
    room, counts = Room(settings.max_concurrency), RequestCounts()
    meter = Meter(service.offer.limits, processes, service)
    guard = Guard(service, meter.about, has_keys=keys is not None)
    busiest = guard.over(
        [
            *ScheduleRoutes(service, bodies, settings, meter, spans).all(),
            *BatchRoutes(service, bodies, settings, meter, room, spans).all(),
        ]
    )
    routes = busiest + guard.over(
        [
            *AppRoutes(service, bodies, settings, meter).all(),
            *DeadLetterRoutes(service, bodies, settings, meter).all(),
            *JobRoutes(service, bodies, settings, meter).all(),
            *RecurringRoutes(service, bodies, settings, meter).all(),
            *CompletionRoutes(service, bodies, settings, meter).all(),
            *CalendarRoutes(service, bodies, settings, meter).all(),
            *ImportRoutes(service, bodies, settings, meter, room).all(),
            *FireRoutes(service, bodies, settings, meter).all(),
            *AuditRoutes(service, bodies, settings, meter).all(),
            *KeyRoutes(service, bodies, settings, meter).all(),
            *OperatingRoutes(service, bodies, settings, meter).all(),
            *HealthRoutes(ready, is_stepped=clock is not None).all(),
            *MetricsRoutes(counts, service).all(),
            *SecurityRoutes(settings).all(),
            *([] if service.tap is None else ShadowRoutes(service.tap, bodies).all()),
            *([] if clock is None else ClockRoutes(clock, bodies, settings.max_json_depth).all()),
            *_docs_routes(
                lambda: openapi_document(settings, service.offer, needs, noted, is_stepped=clock is not None),
                _info(is_stepped=clock is not None, has_keys=keys is not None),
            ),
        ]
    )
    declared = {
        (method.lower(), NAMED.sub("{}", route.path)): route
        for route in routes
        for method in route.given_methods
    }
    needs = {key: route.needs for key, route in declared.items()}
    noted = {key for key, route in declared.items() if is_noted(route.endpoint)}
    # Starlette would answer a slash too many with 307; clients of goscheduler know 301.
    router = Router(_without_rivals(*routes), redirect_slashes=False)
    handlers = {**dict.fromkeys(ERRORS, _on_error), HTTPException: _on_no_route}
    return Gate(
        ExceptionMiddleware(router, handlers=handlers),
        room=room,
        counts=counts,
        short=Shortcut(busiest) if is_short else None,
        meter=meter,
        keys=keys,
        is_open=_open_paths(*routes),
        most_of_key=settings.max_key_concurrency,
        routes=router.routes,
    )


def _open_paths(*routes: Declared) -> Callable[[str], object]:
    """Return what says of a path whether it is that of an open route."""
    patterns = {compile_path(route.path)[0].pattern for route in routes if route.needs is OPEN}
    return re.compile("|".join(re.sub(r"\?P<\w+>", "?:", each) for each in sorted(patterns))).fullmatch


class _Named(Declared):
    """A route with a name in its path; a path in which another route spells that name out is not its."""

    spelt_out: re.Pattern[str]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        if match is not Match.NONE and self.spelt_out.fullmatch(scope["path"]):
            return Match.NONE, {}
        return match, child


def _without_rivals(*routes: Declared) -> list[Declared]:
    """Return the routes so that `GET /schedules/batch` is a method not allowed, and no schedule."""
    spelt_out = _spelt_out(tuple(route.path for route in routes))
    kept = list(routes)
    for n, route in enumerate(routes):
        if route.path in spelt_out:
            kept[n] = named = _Named(route.path, route.endpoint, route.given_methods, route.needs)
            named.spelt_out = spelt_out[route.path]
    return kept


@cache  # ten thousand comparisons, for the same paths in each app of a process
def _spelt_out(paths: tuple[str, ...]) -> Mapping[str, re.Pattern[str]]:
    """Return, for each path with a name in it, what matches those of the others that spell the name out."""
    regexes = {path: compile_path(path)[0] for path in paths}
    patterns = {}
    for path, regex in regexes.items():
        taken = [other for other in regexes if other != path and regex.fullmatch(other)]
        rivals = [regexes[other].pattern for other in taken if not regexes[other].fullmatch(path)]
        if rivals:
            patterns[path] = re.compile("|".join(re.sub(r"\?P<\w+>", "?:", each) for each in rivals))
    return patterns


def _docs_routes(make_document: Callable[[], Document], info: Mapping[str, object]) -> list[BaseRoute]:
    document = cache(make_document)  # made when somebody first asks
    text, page = cache(lambda: to_bytes(document())), cache(lambda: render_docs(document()))
    front = _front()

    async def openapi(request: Request) -> Response:  # noqa: ARG001
        return Answer(text(), 200)

    async def docs(request: Request) -> Response:  # noqa: ARG001
        return Answer(page(), 200, [_DOCS_POLICY], _HTML)

    async def tell(request: Request) -> Response:  # noqa: ARG001
        return success(front)

    async def tell_more(request: Request) -> Response:  # noqa: ARG001
        return success(info)

    async def tell_caller(request: Request) -> Response:
        caller: Caller = request.scope[CALLER]
        return success(front | {"caller": caller_to_json(caller)})

    return [
        Declared("/", tell, ["GET"], ANY_KEY),
        Declared(BASE, tell_caller, ["GET"], ANY_KEY),
        Declared("/info", tell_more, ["GET"], ANY_KEY),
        Declared("/openapi.json", openapi, ["GET"], ANY_KEY),
        Declared("/docs", docs, ["GET"], ANY_KEY),
    ]


def _front() -> dict[str, object]:
    """Return what whoever opens the server's address is told: what this is, and where the rest is."""
    return {
        "name": "Ringtime",
        "version": VERSION,
        "api": BASE,
        "docs": "/docs",
        "openapi": "/openapi.json",
        "health": "/health/ready",
    }


def _info(*, is_stepped: bool, has_keys: bool) -> dict[str, object]:
    """Return what whoever writes of a problem should name: which release this is, and how it was started."""
    return {
        "name": "Ringtime",
        "version": VERSION,
        "python": python_version(),
        "clock": "manual" if is_stepped else "machine",
        "keys": "required" if has_keys else "off",
    }


async def _on_error(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return refusal(cast(RingtimeError, error))


async def _on_no_route(request: Request, error: Exception) -> Response:
    """Answer an unknown path or method; one with a slash too many is redirected as goscheduler does."""
    path, status = request.scope["path"], cast(HTTPException, error).status_code
    if status == 405:
        methods = ", ".join(sorted(_methods_at(request, path)))
        told = f"method not allowed here; allowed: {methods}"
        return failure(NO_METHOD, ErrorWord.METHOD_NOT_ALLOWED, told, allow=methods)
    if status == 404:
        shorter = path.rstrip("/")
        if shorter != path and _methods_at(request, shorter):
            query = request.scope.get("query_string", b"")
            location = quote(shorter).encode() + (b"?" + query if query else b"")
            return Answer(b"", 301, [(b"location", location)])
        return failure(NO_PATH, ErrorWord.NO_SUCH_PATH, "there is no such path")
    return failure(Codes(status, status), ErrorWord.INVALID_REQUEST, "refused")


def _methods_at(request: Request, path: str) -> set[str]:
    scope = dict(request.scope, path=path)
    matching = [
        route
        for route in cast(Sequence[BaseRoute], request.app.routes)
        if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE
    ]
    return {method for route in matching for method in route.methods or ()}
