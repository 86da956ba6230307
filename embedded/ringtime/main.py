"""The `ringtime` command."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import click

from ringtime.backups import backup_command, restore_command
from ringtime.serve import serve
from ringtime.stepped_clock import TestClock
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.process.service import run_service
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
@click.option(
    "--clock",
    type=click.Choice(["machine", "manual"]),
    default="machine",
    help="manual: for tests. Time stands still but for POST /clock/advance, and nothing is kept.",
)
@click.option("--clock-start", help="What time it is first on a manual clock, as 2030-01-31T08:00:00Z.")
@config_option
def serve_command(
    port: int | None,
    host: str | None,
    data: str | None,
    clock: str,
    clock_start: str | None,
    config: Path | None,
) -> None:
    """Run the API and the dispatcher in one process, on a folder."""
    if clock == "manual":
        _serve_stepped(port, host, data, clock_start, config)
        return
    if clock_start is not None:
        raise click.UsageError("--clock-start goes with --clock manual")

    async def on_folder(settings: Settings) -> None:
        named = settings if settings.embedded.data else load_settings(config, os.environ, flags=default)
        await serve(named)

    flags = {"server.port": port, "server.host": host, "embedded.data": data}
    default = flags | {"embedded.data": _DATA}
    run_service(on_folder, service="ringtime", config=config, flags=flags)


def _serve_stepped(
    port: int | None, host: str | None, data: str | None, start: str | None, config: Path | None
) -> None:
    """Run both on a test clock, and on rows in memory."""
    try:
        clock = TestClock(None if start is None else datetime.fromisoformat(start))
    except (ValueError, InvalidRequest):
        raise click.UsageError(
            "--clock-start must be an instant from 2020 to 2058, with its offset"
        ) from None

    async def stepped(settings: Settings) -> None:
        if settings.embedded.data and data is None:  # a folder of the settings is for the machine's time
            settings = replace(settings, embedded=replace(settings.embedded, data=""))
        await serve(settings, clock=clock)

    run_service(
        stepped,
        service="ringtime",
        config=config,
        flags={"server.port": port, "server.host": host, "embedded.data": data},
    )


@main.command("migrate")
@config_option
def migrate_command(config: Path | None) -> None:
    """Bring the Cassandra schema up to date; safe to run twice and from two places at once."""

    from ringtime_shared.stores.cassandra.migrate import migrate  # here, for `serve` does without the driver

    async def apply(settings: Settings) -> None:
        for step in await migrate(settings.cassandra):
            click.echo(f"applied {step}")
        click.echo("the schema is up to date")

    run_service(apply, service="migrate", config=config, flags={})


main.add_command(backup_command)
main.add_command(restore_command)

if __name__ == "__main__":
    main()
