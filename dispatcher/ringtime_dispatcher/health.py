"""What a supervisor asks a dispatcher: does it live, can it do its work; and what `ringctl` asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ringtime_shared.errors import RingtimeError


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthParts:
    """What the endpoints ask."""

    check: Callable[[], Awaitable[None]]  #: returns if the store answers and takes writes
    is_ready: Callable[[], bool]
    is_emptied: Callable[[], bool]  #: it is drained, and others are there that are not
    clock_doubt: Callable[[], str | None]  #: why its clock is not to be relied on; None: it is
    count_owned: Callable[[], int]  #: poller instances this node runs
    count_left_out: Callable[[], int]  #: those nobody owns, because this node may not own more
    fronts: Callable[[], Mapping[str, int]]  #: of those that have rows: the slot read up to, ms
    now_ms: Callable[[], int]


def create_health_app(parts: HealthParts) -> Starlette:
    """Return an application with `/health/live`, `/health/ready` and `/health/fronts`, and `/` to name them.

    Ready means: a query was answered and a write was possible just now, the node's clock is relied on, it
    holds a lease it can trust, and it is not drained: then all is well with it, but it takes no work. The
    answer tells how many poller instances the node runs, how many have no owner because it may not run more,
    and what time it is here, for whoever compares clocks.
    """

    async def live(request: Request) -> JSONResponse:  # noqa: ARG001 - the signature of a route
        return JSONResponse({"status": "live"})

    async def ready(request: Request) -> JSONResponse:  # noqa: ARG001 - the signature of a route
        try:
            await parts.check()
        except RingtimeError as error:
            return _not_ready(str(error), parts.now_ms())
        doubt = parts.clock_doubt()
        if doubt is not None:
            return _not_ready(f"its clock is in doubt: {doubt}", parts.now_ms())
        if not parts.is_ready():
            return _not_ready("no trusted lease", parts.now_ms())
        if parts.is_emptied():
            drained = {"status": "drained", "reason": "it is drained", "owned": parts.count_owned()}
            return JSONResponse(drained | {"nowMs": parts.now_ms()}, status_code=503)
        told = {"status": "ready", "owned": parts.count_owned(), "nowMs": parts.now_ms()}
        left_out = parts.count_left_out()
        return JSONResponse(told | {"leftOut": left_out} if left_out else told)

    async def fronts(request: Request) -> JSONResponse:  # noqa: ARG001 - the signature of a route
        return JSONResponse({"nowMs": parts.now_ms(), "fronts": parts.fronts()})

    probes = {"/health/live": live, "/health/ready": ready, "/health/fronts": fronts}

    async def tell(request: Request) -> JSONResponse:  # noqa: ARG001 - the signature of a route
        return JSONResponse({"name": "ringtime-dispatcher", "paths": list(probes)})

    return Starlette(routes=[Route("/", tell), *(Route(path, probe) for path, probe in probes.items())])


def _not_ready(reason: str, now_ms: int) -> JSONResponse:
    return JSONResponse({"status": "not ready", "reason": reason, "nowMs": now_ms}, status_code=503)
