"""Options of the command line that several services take, with goscheduler's own spelling of them.

`PORT=8080 goscheduler -h 127.0.0.1 -p 9091 -conf=./conf.json` is a start of ours by another name. As
Go has it, a value stands behind a space or `=`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

NO_RING = "nodes find each other in etcd, which coordination.endpoints names"
Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def conf_option(command: Decorated) -> Decorated:
    """Add `--conf`, a configuration of goscheduler's, to a command."""
    return click.option(
        "-conf",
        "--conf",
        "conf",
        type=click.Path(path_type=Path),
        help="Configuration of goscheduler's, JSON or TOML; the log names what of it has no effect. --config"
        " and variables win over it.",
    )(command)


def host_option(command: Decorated) -> Decorated:
    """Add `--host` to a command, which is `-h` as well."""
    return click.option(
        "-h",
        "--host",
        callback=_behind_equals,
        help="Address to listen on. Default: this machine only.",
    )(command)


def ring_port_option(command: Decorated) -> Decorated:
    """Add `-p` to a command that has no use for it."""
    return click.option(
        "-p",
        metavar="PORT",
        expose_value=False,
        callback=_say_unused,
        help="The port of goscheduler's ring: taken, and without effect. The API's is --port, or PORT.",
    )(command)


def node_port_option(command: Decorated) -> Decorated:
    """Add `-p` to a command that answers there."""
    return click.option(
        "-p",
        "ring_port",
        metavar="PORT",
        callback=_behind_equals,
        help="The same as --port: where others reach this node, as in goscheduler.",
    )(command)


def _behind_equals(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:  # noqa: ARG001
    """`-h=HOST`, as Go takes it, comes here with the sign."""
    return None if value is None else value.removeprefix("=")


def _say_unused(context: click.Context, parameter: click.Parameter, value: str | None) -> None:  # noqa: ARG001
    if value is not None:
        click.echo(f"-p is without effect here: {NO_RING}; the API's port is --port, or PORT", err=True)
