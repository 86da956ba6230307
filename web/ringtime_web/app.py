"""The dashboard as one ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from importlib.metadata import version
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from ringtime_shared.settings import WebSettings
from ringtime_web.api import Carrier
from ringtime_web.pages import NAV, all_pages
from ringtime_web.sessions import Sessions
from ringtime_web.site import HEADERS, UI, Site
from ringtime_web.static_files import static_files

_FOR_EVER = "public, max-age=31536000, immutable"
Message = MutableMapping[str, Any]
App = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class Dashboard:
    """The pages, and which requests are for them.

    Args:
        carrier: takes requests to the API; whoever made it closes it.
        has_keys: whether the API asks for keys, so that people have to sign in.
        is_secure: whether browsers reach the dashboard by TLS alone, here or at a gateway.
        boot_ms: a clock that never goes back.
    """

    def __init__(
        self,
        settings: WebSettings,
        carrier: Carrier,
        *,
        has_keys: bool,
        is_secure: bool,
        boot_ms: Callable[[], int],
    ) -> None:
        sessions = Sessions(
            boot_ms=boot_ms,
            life_ms=int(settings.session_hours * 3_600_000),
            idle_ms=int(settings.idle_minutes * 60_000),
            most=settings.max_sessions,
        )
        self.site = Site(
            carrier,
            sessions,
            prefix=settings.prefix,
            has_keys=has_keys,
            is_secure=is_secure,
            version=version("ringtime"),
            nav=NAV,
        )
        self._home = f"{settings.prefix}/"
        self._below = f"{settings.prefix}{UI}/"
        self.app = Starlette(
            routes=[
                Route(f"{self._below}static/{{name}}", _send_static, methods=["GET"]),
                *all_pages(self.site),
            ],
            exception_handlers={HTTPException: _on_no_page},
        )
        self.app.router.redirect_slashes = False

    def has(self, path: str) -> bool:
        """Whether a path is one of the dashboard's alone; so forms may be sent there."""
        return path.startswith(self._below)

    def before(self, api: App) -> App:
        """Return an application that is the dashboard for browsers, and the API for programs."""
        home, below, pages = self._home, self._below, self.app

        async def shared(scope: Message, receive: Any, send: Any) -> None:
            path = scope.get("path", "")
            if path.startswith(below) or (path == home and _is_browser(scope)):
                await pages(scope, receive, send)
            else:
                await api(scope, receive, send)

        return shared


def _is_browser(scope: Message) -> bool:
    return scope["method"] in ("GET", "HEAD") and any(
        name == b"accept" and b"text/html" in text for name, text in scope["headers"]
    )


async def _send_static(request: Request) -> Response:
    found = static_files().get(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    is_packed = "gzip" in request.headers.get("accept-encoding", "")
    headers = {
        **HEADERS,
        "content-type": found.kind,
        "vary": "accept-encoding",
        "cache-control": _FOR_EVER if request.query_params.get("v") == found.version else "no-cache",
    }
    if is_packed:
        headers["content-encoding"] = "gzip"
    return Response(found.packed if is_packed else found.body, headers=headers)


async def _on_no_page(request: Request, error: Exception) -> Response:  # noqa: ARG001
    status = error.status_code if isinstance(error, HTTPException) else 500
    body = "<!doctype html><html lang=en><title>Ringtime</title><p>There is no such page.</p></html>"
    return HTMLResponse(body, status, headers=HEADERS)
