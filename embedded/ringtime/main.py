"""The `ringtime` command."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ringtime.serve import serve
from ringtime_shared.process import run_service
from ringtime_shared.settings import Settings, load_settings

_DATA = ".ringtime/data"
config_option = click.option("--config", type=click.Path(path_type=Path), help="Settings file, TOML or JSON.")


@click.group()
@click.version_option(package_name="ringtime")
def main() -> None:
    """Ringtime: schedules and callbacks."""


@main.command("serve")
@click.option("--port", type=int, help="TCP port; 0 takes a free one. Default: PORT, or 8080.")
@click.option("--host", help="Address to listen on. Default: this machine only.")
@click.option("--data", help=f"Folder of the store. Default: {_DATA}.")
@config_option
def serve_command(port: int | None, host: str | None, data: str | None, config: Path | None) -> None:
    """Run the API and the dispatcher in one process, on a folder."""

    async def on_folder(settings: Settings) -> None:
        named = settings if settings.embedded.data else load_settings(config, os.environ, flags=default)
        await serve(named)

    flags = {"server.port": port, "server.host": host, "embedded.data": data}
    default = flags | {"embedded.data": _DATA}
    run_service(on_folder, config=config, flags=flags)


@main.command("migrate")
@config_option
def migrate_command(config: Path | None) -> None:
    """Bring the Cassandra schema up to date; safe to run twice and from two places at once."""

    from ringtime_shared.stores.cassandra.migrate import migrate  # here, for `serve` does without the driver

    async def apply(settings: Settings) -> None:
        for step in await migrate(settings.cassandra):
            click.echo(f"applied {step}")
        click.echo("the schema is up to date")

    run_service(apply, config=config, flags={})


if __name__ == "__main__":
    main()
