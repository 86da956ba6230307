"""The `ringtime` command."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import click
import uvloop

from ringtime.serve import serve
from ringtime_shared.errors import RingtimeError
from ringtime_shared.settings import load_settings

_DATA = ".ringtime/data"


@click.group()
@click.version_option(package_name="ringtime")
def main() -> None:
    """Ringtime: schedules and callbacks."""


@main.command("serve")
@click.option("--port", type=int, help="TCP port; 0 takes a free one. Default: PORT, or 8080.")
@click.option("--host", help="Address to listen on. Default: this machine only.")
@click.option("--data", help=f"Folder of the store. Default: {_DATA}.")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file, TOML or JSON.")
def serve_command(port: int | None, host: str | None, data: str | None, config: Path | None) -> None:
    """Run the API and the dispatcher in one process, on a folder."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    flags = {"server.port": port, "server.host": host, "embedded.data": data}
    try:
        settings = load_settings(config, os.environ, flags=flags)
        if not settings.embedded.data:
            settings = load_settings(config, os.environ, flags=flags | {"embedded.data": _DATA})
        uvloop.run(serve(settings))
    except RingtimeError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
