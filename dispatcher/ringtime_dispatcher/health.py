"""What a supervisor asks a dispatcher: does it live, and can it do its work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ringtime_shared.errors import RingtimeError


def create_health_app(
    ping: Callable[[], Awaitable[None]], is_ready: Callable[[], bool], count_owned: Callable[[], int]
) -> Starlette:
    """Return an application with `/health/live` and `/health/ready`.

    Ready means: a real query was answered just now, and the node holds a lease it can trust. The answer
    tells how many poller instances the node runs.
    """

    async def live(request: Request) -> JSONResponse:  # noqa: ARG001 - the signature of a route
        return JSONResponse({"status": "live"})

    async def ready(request: Request) -> JSONResponse:  # noqa: ARG001 - the signature of a route
        try:
            await ping()
        except RingtimeError as error:
            return JSONResponse({"status": "not ready", "reason": str(error)}, status_code=503)
        if not is_ready():
            return JSONResponse({"status": "not ready", "reason": "no trusted lease"}, status_code=503)
        return JSONResponse({"status": "ready", "owned": count_owned()})

    return Starlette(routes=[Route("/health/live", live), Route("/health/ready", ready)])
