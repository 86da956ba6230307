"""`ringtime serve`: the API and the dispatcher in one process, until SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio

import click

from ringtime.runtime import Runtime, run
from ringtime_ingest.http import create_app
from ringtime_ingest.http.routes.clock import WARNING
from ringtime_shared.access import KeyChecks
from ringtime_shared.clock import Clock, require_trust
from ringtime_shared.http_server import is_loopback, listen, serve_http, stop_on_signals
from ringtime_shared.http_server.connection import App
from ringtime_shared.http_server.exposure import require_guarded
from ringtime_shared.http_server.heads import takes_no_forms
from ringtime_shared.metrics.export import exported, new_metrics
from ringtime_shared.metrics.names import Role
from ringtime_shared.process.service import settle_memory
from ringtime_shared.settings import ServerSettings, Settings
from ringtime_shared.settings.access import NO_KEYS
from ringtime_web.api import InProcess
from ringtime_web.app import Dashboard


def make_http_app(runtime: Runtime, settings: ServerSettings, keys: KeyChecks | None = None) -> App:
    """Return the HTTP API of what runs in this process; `keys` as of `create_app`."""

    async def ready() -> None:
        require_trust(runtime.clock)
        await runtime.store.check_ready()

    return create_app(runtime.service, settings, ready, runtime.stepper, keys=keys, spans=runtime.spans)


async def serve(settings: Settings, *, clock: Clock | None = None) -> None:
    """Serve until a signal; then answer what is open, drain what is in flight, and return.

    Args:
        clock: the machine's; or a test clock.

    Raises StartupError when the port or the data folder is taken, the folder is damaged, or others could
    reach the API unguarded; FolderLost when its files are taken from under the server.
    """
    has_keys = needs_keys(settings)
    metrics = new_metrics(settings.metrics, Role.INGEST, Role.DISPATCHER)
    with listen(settings.server) as listener, stop_on_signals() as stop:
        async with (
            exported(settings, metrics),
            run(settings, callbacks={}, clock=clock, metrics=metrics) as runtime,
        ):
            host, port = listener.getsockname()[:2]
            click.echo(f"ringtime listens on {settings.server.scheme}://{host}:{port}/goscheduler")
            if settings.embedded.loopback_callbacks:
                click.echo(
                    "development mode: callbacks may reach this machine on any port; switch it off with "
                    "RINGTIME_EMBEDDED_LOOPBACK_CALLBACKS=false where others create schedules"
                )
            for block in settings.egress.allow:
                click.echo(f"callbacks may reach {block}, as egress.allow says")

            if runtime.stepper is not None:
                click.secho(f"FOR TESTS ONLY: {WARNING}", bold=True)
            keys = KeyChecks(runtime.store, runtime.clock) if has_keys else None
            if keys is None:
                click.secho(NO_KEYS, bold=True)
            app = make_http_app(runtime, settings.server, keys)
            takes_forms = takes_no_forms
            if settings.web.is_served:
                dashboard = Dashboard(
                    settings.web,
                    InProcess(app),
                    has_keys=has_keys,
                    is_secure=bool(settings.server.cert_file) or settings.access.gateway,
                    boot_ms=runtime.clock.boot_ms,
                )
                app, takes_forms = dashboard.before(app), dashboard.has
                click.echo(f"dashboard: {settings.server.scheme}://{host}:{port}{settings.web.prefix}/")
            losing = asyncio.create_task(runtime.wait_lost(), name="watch the data folder")
            losing.add_done_callback(lambda _: stop.set())
            settle_memory()
            await serve_http(app, settings.server, listener, stop, takes_forms=takes_forms)
            if keys is not None:
                await keys.close()
            if losing.done():
                raise losing.result()
            losing.cancel()
            click.echo("ringtime is draining")
    click.echo("ringtime has stopped")


def needs_keys(settings: Settings) -> bool:
    """Return whether requests need an API key. Raises StartupError for an API that others could reach
    unguarded."""
    has_keys = settings.access.are_keys_required(is_serve_on_loopback=is_loopback(settings.server.host))
    require_guarded(settings, has_keys=has_keys)
    return has_keys
