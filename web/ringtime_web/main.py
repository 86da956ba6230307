"""`ringtime-web`: the dashboard in a process of its own. Its composition root."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from ringtime_shared.clock import SystemClock
from ringtime_shared.errors import InvalidRequest, StartupError
from ringtime_shared.http_server import listen, serve_http, stop_on_signals
from ringtime_shared.http_server.exposure import require_guarded
from ringtime_shared.process.service import run_service, settle_memory
from ringtime_shared.settings import Settings
from ringtime_web.api import OverNetwork
from ringtime_web.app import Dashboard


async def serve(settings: Settings) -> None:
    """Serve until a signal. Raises StartupError when the port is taken, and for pages that others could
    reach unguarded."""
    web = settings.web
    settings = replace(settings, server=replace(settings.server, host=web.host, port=web.port))
    has_keys = settings.access.are_keys_required()
    require_guarded(settings, has_keys=has_keys)
    with listen(settings.server) as listener, stop_on_signals() as stop:
        try:
            carrier = OverNetwork(web.api_url)
        except InvalidRequest as error:
            raise StartupError(f"web.api_url cannot be used: {error}") from None
        dashboard = Dashboard(
            web,
            carrier,
            has_keys=has_keys,
            is_secure=bool(settings.server.cert_file) or settings.access.gateway,
            boot_ms=SystemClock().boot_ms,
        )
        host, port = listener.getsockname()[:2]
        click.echo(f"ringtime-web listens on {settings.server.scheme}://{host}:{port}{web.prefix}/")
        click.echo(f"it asks the API at {web.api_url}")
        settle_memory()
        await serve_http(dashboard.app, settings.server, listener, stop, takes_forms=dashboard.has)
        await carrier.close()
    click.echo("ringtime-web has stopped")


@click.command()
@click.version_option(package_name="ringtime")
@click.option("--port", type=int, help="TCP port; 0 takes a free one. Default: 8090.")
@click.option("--host", help="Address to listen on. Default: this machine only.")
@click.option("--api-url", help="Where the API is. Default: http://127.0.0.1:8080.")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file, TOML or JSON.")
def main(port: int | None, host: str | None, api_url: str | None, config: Path | None) -> None:
    """Run the dashboard: pages in a browser, which ask the HTTP API."""
    run_service(
        serve,
        service="web",
        config=config,
        flags={"web.port": port, "web.host": host, "web.api_url": api_url},
    )


if __name__ == "__main__":
    main()
