"""`ringctl accept-loss`: let a server start on a folder that does not hold all it should."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from ringtime_ringctl.deployment.changes import audited
from ringtime_ringctl.deployment.context import Context
from ringtime_ringctl.output import Output
from ringtime_ringctl.shell import RingctlCommand
from ringtime_shared.errors import InvalidRequest, StartupError
from ringtime_shared.stores.sqlite import Acceptance
from ringtime_shared.stores.sqlite.accept import accept_loss as accept_folder
from ringtime_shared.stores.sqlite.accept import plan_acceptance


@click.command("accept-loss", cls=RingctlCommand)
@click.option("--apply", "is_applied", is_flag=True, help="Do it; without it, only say what would be done.")
@click.pass_context
def accept_loss(context: click.Context, is_applied: bool) -> None:
    """Go on with a data folder from which something acknowledged is missing, and note that in the audit log.

    A server refuses to start on such a folder. Restore a backup if there is one: what is given up here was
    promised to somebody: `ringtime restore`.

    \b
    Examples:
      ringctl --data data accept-loss
      ringctl --data data accept-loss --apply
    """
    ours = context.ensure_object(Context)
    output = Output(is_json=ours.is_json, is_plain=ours.is_plain)
    data = ours.load_settings().embedded.data
    if not data:
        raise InvalidRequest.of("--data", "required: the folder of a one-process deployment")
    folder = Path(data)
    acceptance = accept(folder) if is_applied else plan(folder)
    if acceptance is not None and is_applied and acceptance.kept:
        asyncio.run(_note(ours, data, acceptance))
    if output.is_json:
        output.data({"applied": is_applied, "missing": None if acceptance is None else _to_json(acceptance)})
    elif acceptance is None:
        output.line("nothing is missing: there is nothing to accept")
    else:
        output.line(acceptance.loss)
        outcome = f"{acceptance.kept:,} transactions {'are' if is_applied else 'would be'} kept"
        output.line(outcome if is_applied else f"{outcome}; `--apply` goes on with them")


def _to_json(acceptance: Acceptance) -> dict[str, object]:
    return {"found": acceptance.loss, "acknowledged": acceptance.acknowledged, "kept": acceptance.kept}


async def _note(context: Context, data: str, acceptance: Acceptance) -> None:
    async with context.open() as deployment:
        before = {"transactions": acceptance.acknowledged}
        after = {"transactions": acceptance.kept, "missing": acceptance.loss}
        async with audited(deployment, "accept-loss", data, before=before, after=after):
            pass  # it is done


def plan(folder: Path) -> Acceptance | None:
    """Return what accepting the loss would keep; None: nothing is missing. Raises StartupError."""
    try:
        return plan_acceptance(folder)
    except OSError as error:
        raise StartupError(f"cannot read {folder}: {error.strerror}") from error


def accept(folder: Path) -> Acceptance | None:
    """Accept the loss, and return what is kept; None: nothing is missing. Raises StartupError."""
    try:
        return accept_folder(folder)
    except OSError as error:
        raise StartupError(f"cannot change {folder}: {error.strerror}") from error
