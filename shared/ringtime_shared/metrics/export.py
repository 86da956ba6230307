"""How what a process measures leaves it: at a port of its own, and by statsd if that is asked for.

The port has no API keys. They are in the store, and who looks at metrics does so above all while the store is
away; so it has a token of its own, or takes clients by their certificates.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from hmac import compare_digest
from importlib.metadata import version
from platform import python_version

from ringtime_shared.http_server import listen, serve_http
from ringtime_shared.http_server.connection import Message, Receive, Send
from ringtime_shared.http_server.exposure import require_metrics_guarded
from ringtime_shared.metrics.app_series import AppSeries
from ringtime_shared.metrics.goscheduler import goscheduler_families
from ringtime_shared.metrics.names import BUILD_INFO, Role
from ringtime_shared.metrics.page import TYPE, page
from ringtime_shared.metrics.registry import Metrics
from ringtime_shared.metrics.statsd import sending
from ringtime_shared.settings import MetricsSettings, Settings

PATH = "/metrics"
_CONNECTIONS = 16
_DRAIN_S = 2  #: for a page that is being written when the process ends
_PLAIN = b"text/plain; charset=utf-8"


def new_metrics(settings: MetricsSettings, *roles: Role) -> Metrics:
    """Return what a process of these roles measures with: nothing yet, but what it is."""
    metrics = Metrics(roles, settings.apps)
    runs = version("ringtime"), python_version()
    metrics.levels(BUILD_INFO, lambda: {(role, *runs): 1 for role in roles})
    if settings.goscheduler:
        metrics.translate(goscheduler_families)
    series = AppSeries(metrics)
    metrics.add(series)
    metrics.before_reading(series.look)
    return metrics


@asynccontextmanager
async def exported(settings: Settings, metrics: Metrics) -> AsyncIterator[None]:
    """Let it be read until the block ends. Raises StartupError when the port is taken, or beyond this machine
    and unguarded."""
    require_metrics_guarded(settings)
    async with AsyncExitStack() as stack:
        if settings.metrics.port:
            await stack.enter_async_context(_served(settings, metrics))
        if settings.metrics.statsd_host:
            await stack.enter_async_context(sending(settings.metrics, metrics))
        yield


@asynccontextmanager
async def _served(settings: Settings, metrics: Metrics) -> AsyncIterator[None]:
    own = replace(
        settings.server,
        host=settings.metrics.host,
        port=settings.metrics.port,
        max_connections=_CONNECTIONS,
        drain_s=_DRAIN_S,
    )
    stop = asyncio.Event()
    with listen(own) as listener:
        app = MetricsApp(metrics, settings.metrics.token)
        serving = asyncio.create_task(serve_http(app, own, listener, stop), name="metrics")
        try:
            yield
        finally:
            stop.set()
            await serving


class MetricsApp:
    """`GET /metrics`, for who has the token."""

    def __init__(self, metrics: Metrics, token: str) -> None:
        """`token`: empty: nothing is asked for."""
        self._metrics = metrics
        self._token = f"Bearer {token}".encode() if token else b""
        self._reading = asyncio.Lock()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if self._token and not (len(given) == 1 and compare_digest(given[0], self._token)):
            told = b"needs the token of metrics.token: Authorization: Bearer ...\n"
            await _answer(send, 401, told, (b"www-authenticate", b"Bearer"))
        elif scope["path"] != PATH:
            await _answer(send, 404, b"there is /metrics\n")
        elif scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, b"GET it\n", (b"allow", b"GET, HEAD"))
        else:
            async with self._reading:  # one page at a time, whoever asks how often
                text = await page(self._metrics)
            await _answer(send, 200, text, kind=TYPE)


async def _answer(
    send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes], kind: bytes = _PLAIN
) -> None:
    about = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*about, *headers]})
    await send({"type": "http.response.body", "body": body})
