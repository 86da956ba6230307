"""The `ringtime` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from ringtime.backups import backup_command, restore_command
from ringtime.importing.command import import_group
from ringtime.serve import serve
from ringtime.stepped_clock import TestClock
from ringtime_shared.errors import InvalidRequest, RingtimeError
from ringtime_shared.process.options import conf_option, host_option, ring_port_option
from ringtime_shared.process.service import one_line, run_service
from ringtime_shared.settings import Settings, load_settings
from ringtime_shared.settings.goscheduler import Conf, read_conf, write_toml

_DATA = ".ringtime/data"
config_option = click.option("--config", type=click.Path(path_type=Path), help="Settings file, TOML or JSON.")


@click.group()
@click.version_option(package_name="ringtime")
def main() -> None:
    """Ringtime: schedules and callbacks."""


@main.command("serve")
@click.option("--port", type=int, help="TCP port; 0 takes a free one. Default: PORT, or 8080.")
@host_option
@click.option("--data", help=f"Folder of the store. Default: {_DATA}.")
@click.option(
    "--clock",
    type=click.Choice(["machine", "manual"]),
    default="machine",
    help="manual: for tests. Time stands still but for POST /clock/advance, and nothing is kept.",
)
@click.option("--clock-start", help="What time it is first on a manual clock, as 2030-01-31T08:00:00Z.")
@config_option
@conf_option
@ring_port_option
def serve_command(
    port: int | None,
    host: str | None,
    data: str | None,
    clock: str,
    clock_start: str | None,
    config: Path | None,
    conf: Path | None,
) -> None:
    """Run the API and the dispatcher in one process, on a folder."""
    flags = {"server.port": port, "server.host": host, "embedded.data": data}
    of_conf = None if conf is None else Conf(path=conf, is_alone=True)
    stepped = _stepped(data, clock_start) if clock == "manual" else None
    if clock_start is not None and stepped is None:
        raise click.UsageError("--clock-start goes with --clock manual")

    async def on_folder(settings: Settings) -> None:
        if not settings.embedded.data:
            settings = replace(settings, embedded=replace(settings.embedded, data=_DATA))
        await serve(settings)

    run_service(stepped or on_folder, service="ringtime", config=config, flags=flags, conf=of_conf)


def _stepped(data: str | None, start: str | None) -> Callable[[Settings], Coroutine[Any, Any, None]]:
    """Return what runs both on a test clock, and on rows in memory."""
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

    return stepped


@main.command("migrate")
@config_option
@conf_option
def migrate_command(config: Path | None, conf: Path | None) -> None:
    """Bring the Cassandra schema up to date; safe to run twice and from two places at once."""

    from ringtime_shared.stores.cassandra.migrate import migrate  # here, for `serve` does without the driver

    async def apply(settings: Settings) -> None:
        for step in await migrate(settings.cassandra):
            click.echo(f"applied {step}")
        click.echo("the schema is up to date")

    of_conf = None if conf is None else Conf(path=conf)
    run_service(apply, service="migrate", config=config, flags={}, conf=of_conf)


@main.command("convert-config")
@click.argument("conf", type=click.Path(path_type=Path))
def convert_command(conf: Path) -> None:
    """Write goscheduler's configuration as settings of Ringtime's, TOML; what has no effect goes to stderr.

    \b
    Example:
      ringtime convert-config conf.json > ringtime.toml
    """
    try:
        conversion = read_conf(Conf(path=conf), os.environ)
        load_settings(None, {}, under=conversion.given)  # what is written can be read
    except RingtimeError as error:
        sys.exit(f"Error: {one_line(str(error))}")
    click.echo(write_toml(conversion, conf.name), nl=False)
    for each in conversion.unused:
        click.echo(f"without effect: {each}", err=True)


main.add_command(backup_command)
main.add_command(restore_command)
main.add_command(import_group)

if __name__ == "__main__":
    main()
