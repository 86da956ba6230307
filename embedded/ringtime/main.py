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
        await serve(_on_folder(settings))

    run_service(stepped or on_folder, service="ringtime", config=config, flags=flags, conf=of_conf)


def _on_folder(settings: Settings) -> Settings:
    """Return settings that name a data folder: this one where they name none."""
    if settings.embedded.data:
        return settings
    return replace(settings, embedded=replace(settings.embedded, data=_DATA))


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


@main.command("doctor")
@click.option("--data", help=f"Folder of the store. Default: {_DATA}.")
@click.option("--port", type=int, help="TCP port that the server is to listen on.")
@host_option
@config_option
@conf_option
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def doctor_command(
    data: str | None,
    port: int | None,
    host: str | None,
    config: Path | None,
    conf: Path | None,
    is_json: bool,
) -> None:
    """Check whether `ringtime serve` would start with the same options, and a server that runs on the folder.

    Settings, guard, folder, disk, port and clock; beside a server also what `ringctl doctor` looks at. The
    exit code is 4 if something failed, 1 if the settings are wrong. It changes nothing.
    """
    from ringtime.doctor import run_doctor  # here, for `serve` does without all that it needs

    try:
        of_conf = None if conf is None else read_conf(Conf(path=conf, is_alone=True), os.environ)
        settings = load_settings(
            config,
            os.environ,
            flags={"server.port": port, "server.host": host, "embedded.data": data},
            under=() if of_conf is None else of_conf.given,
        )
    except RingtimeError as error:
        sys.exit(f"Error: {one_line(str(error))}")
    sys.exit(run_doctor(_on_folder(settings), config, is_json=is_json))


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
