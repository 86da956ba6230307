"""What all commands share on the command line: `--json`, errors as exit codes, an open deployment."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, Concatenate, ParamSpec

import click
import orjson

from ringtime_ringctl.deployment.context import Context, Deployment
from ringtime_ringctl.output import Output
from ringtime_shared.entry import INTERRUPTED, TOLD, take_interrupts
from ringtime_shared.errors import RingtimeError

P = ParamSpec("P")

_NONE: Mapping[str, str] = MappingProxyType({})

FAILED, EXPIRED, UNHEALTHY = 1, 3, 4  #: exit codes; 2 is click's, for bad usage

EXIT_CODES = """\b
Exit codes:
  0    done
  1    refused, not found, or a server is away: one line on stderr says why, and nothing was changed
       unless the line says that the outcome is unknown
  2    the command line is wrong
  3    a --wait ran out of time; what was begun goes on
  4    doctor found something that failed, audit-fires a gap or a double, or a shadow report a difference
  130  interrupted by Ctrl-C; a resize can be resumed
"""


class WaitExpired(Exception):
    """A wait ran out of time; the message says what is still missing."""


def _ask_for_json(context: click.Context, parameter: click.Parameter, value: bool) -> None:  # noqa: ARG001
    if value:
        context.ensure_object(Context).is_json = True


def json_option() -> click.Option:
    """Return the `--json` of a command; it means the same before and after the command's name."""
    return click.Option(
        ["--json"], is_flag=True, expose_value=False, callback=_ask_for_json, help="Print JSON."
    )


class RingctlCommand(click.Command):
    """A command that takes `--json`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(json_option())


class RingctlGroup(click.Group):
    """A group of such commands; the outermost one turns errors into exit codes.

    `late` are commands by name, as `module:attribute`, whose modules are imported when one is asked for: what
    a command does not need is most of what would be imported.
    """

    command_class = RingctlCommand
    group_class = type

    def __init__(self, *args: Any, late: Mapping[str, str] = _NONE, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._late = late

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self._late})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self._late and cmd_name not in self.commands:
            module, _, attribute = self._late[cmd_name].partition(":")
            self.add_command(getattr(import_module(module), attribute))
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        if ctx.parent is not None:
            return super().invoke(ctx)
        try:
            return super().invoke(ctx)
        except RingtimeError as error:
            _tell(ctx, str(error))
            ctx.exit(FAILED)
        except WaitExpired as error:
            _tell(ctx, str(error))
            ctx.exit(EXPIRED)
        except KeyboardInterrupt:
            _tell(ctx, TOLD)
            ctx.exit(INTERRUPTED)


def _tell(ctx: click.Context, message: str) -> None:
    """Write an error to stderr, as one line or as JSON."""
    line = " ".join(message.split())
    if ctx.ensure_object(Context).is_json:
        click.echo(orjson.dumps({"error": line}).decode(), err=True)
    else:
        click.echo(f"Error: {line}", err=True)


def deployed(
    work: Callable[Concatenate[Deployment, Output, P], Coroutine[Any, Any, None]],
) -> Callable[P, None]:
    """Run a coroutine function as a command: on a loop of its own, with the deployment open."""

    @functools.wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        context = click.get_current_context().ensure_object(Context)

        async def on_deployment() -> None:
            async with context.open() as deployment:
                output = Output(is_json=context.is_json, is_plain=context.is_plain)
                await work(deployment, output, *args, **kwargs)

        take_interrupts()
        asyncio.run(on_deployment())

    return run


def quieten_drivers(is_verbose: bool) -> None:
    """Keep the drivers' logs from the terminal: a server that is away is told in one line of ours."""
    root = logging.getLogger()
    root.handlers.clear()
    if is_verbose:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
        return
    root.addHandler(logging.NullHandler())
    warned = logging.StreamHandler()
    warned.setFormatter(logging.Formatter("Warning: %(message)s"))
    logging.getLogger("ringtime_client").handlers = [warned]  # of a key file that others may read
