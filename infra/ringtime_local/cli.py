"""`ringtime-dev up|down|status`: detached servers for development."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from ringtime_local import state
from ringtime_local.errors import LaunchError
from ringtime_local.servers import LocalServers
from ringtime_local.state import NAMES, Entry
from ringtime_shared.entry import take_interrupts

DEFAULT_FOLDER = Path(".ringtime") / "dev"

folder_option = click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_FOLDER,
    show_default=True,
    help="Where data, logs and servers.json are kept.",
)


@click.group()
def main() -> None:
    """Run real Cassandra, Kafka and etcd on this machine."""


@main.command()
@folder_option
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="Start just these.")
def up(folder: Path, only: tuple[str, ...]) -> None:
    """Start the servers, wait until each answers, and print their addresses."""
    names = only or NAMES
    with _locked(folder):
        running = [entry.name for entry in state.load(folder) if entry.is_running()]
        if running:
            raise click.ClickException(
                f"already running in {folder}: {', '.join(running)}. `down` ends them."
            )
        try:
            servers = LocalServers(folder, **{name: name in names for name in NAMES})
            servers.start()
        except (LaunchError, ValueError) as error:
            raise click.ClickException(str(error)) from error
        state.save(folder, servers)  # before they are let go: a kill in between leaves nothing running
        servers.detach()
    for variable, addresses in servers.environment().items():
        click.echo(f"export {variable}={addresses}")


@main.command()
@folder_option
def down(folder: Path) -> None:
    """End the servers that `up` started; their data stays."""
    with _locked(folder):
        for entry in _load(folder):
            click.echo(f"{entry.name}: {_ended(entry)}")
        state.forget(folder)


@main.command()
@folder_option
def status(folder: Path) -> None:
    """Say what runs; exit code 1 when nothing was started or something has ended."""
    entries = _load(folder)
    for entry in entries:
        click.echo(f"{entry.name:<10} {_condition(entry):<9} {entry.addresses}")
    if not entries:
        click.echo(f"nothing was started in {folder}")
    if not entries or any(_condition(entry) == "ended" for entry in entries):
        raise click.exceptions.Exit(1)


def _ended(entry: Entry) -> str:
    if entry.is_external:
        return "external, left alone"
    was_running = entry.is_running()
    entry.end()
    return "stopped" if was_running or entry.compose_file else "had ended before"


def _condition(entry: Entry) -> str:
    if entry.is_external:
        return "external"
    if entry.compose_file:
        return "container"
    return "running" if entry.is_running() else "ended"


def _load(folder: Path) -> list[Entry]:
    try:
        return state.load(folder)
    except LaunchError as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep a second `up` or `down` of the same folder waiting outside."""
    take_interrupts()  # what was started has to be stopped
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / ".lock", os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise click.ClickException(f"another ringtime-dev is at work in {folder}") from None
    try:
        yield
    finally:
        os.close(lock)
