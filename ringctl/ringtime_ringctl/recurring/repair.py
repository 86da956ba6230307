"""`ringctl recurring repair`: start recurring schedules again that make no more runs."""

from __future__ import annotations

import click

from ringtime_ringctl.deployment.changes import audited
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.deployment.ownership import fetch_app
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.shell import RingctlCommand, deployed
from ringtime_shared.api.instants import to_iso
from ringtime_shared.errors import Conflict, RingtimeError, VersionConflict
from ringtime_shared.models.recurring import Definition
from ringtime_shared.schedules.chain_repair import find_broken, repair

MAX_BROKEN = 1_000  #: repaired by one command
_DAY_MS = 86_400_000
_BROKEN = (Column("NAME"), Column("CHANGED"), Column("WHAT FOLLOWS", folds=True))


@click.command("repair", cls=RingctlCommand)
@click.argument("app_id", metavar="APP")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--apply", "is_applied", is_flag=True, help="Do it. Without: print what it would do.")
@deployed
async def repair_command(
    deployment: Deployment, output: Output, app_id: str, names: tuple[str, ...], is_applied: bool
) -> None:
    """Start recurring schedules again that are active and have no run to come, as `doctor` finds them.

    That is a change of each, which goes on with the next run as if nothing had been; what should have run in
    between is not made up for. It works on the store; no pod need run.

    \b
    Examples:
      ringctl recurring repair pay
      ringctl recurring repair pay report --apply
    """
    app = await fetch_app(deployment, app_id)
    days = app.configuration.retention_days or deployment.settings.limits.retention_days
    shown: list[tuple[Definition, str]] = []
    failed = 0
    async for part in find_broken(deployment.store, app_id, deployment.clock):
        for each in part.broken:
            if names and each.name not in names:
                continue
            if each.damage:
                shown.append((each, f"it cannot be read ({each.damage}): put it anew by its name"))
            elif not is_applied:
                shown.append((each, "it would be started again"))
            else:
                try:
                    shown.append((each, await _repair(deployment, each, days * _DAY_MS)))
                except RingtimeError as error:  # the others are repaired all the same
                    failed += 1
                    shown.append((each, f"not repaired, or perhaps not: {error}"))
        if len(shown) >= MAX_BROKEN:
            break
    if output.is_json:
        output.data({"broken": [{"name": _name(each), "found": text} for each, text in shown]})
    else:
        output.table(_BROKEN, [(_name(each), to_iso(each.changed_ms), text) for each, text in shown])
        if not shown:
            output.line("each that is active has a run to come")
        elif not is_applied:
            output.line("nothing was changed; --apply starts them again")
    if failed:
        raise Conflict(f"{failed:,} were not repaired, or perhaps not; the same command goes on with them")


async def _repair(deployment: Deployment, definition: Definition, retention_ms: int) -> str:
    """Start one again; return what became of it."""
    before = {"revision": definition.revision, "version": definition.version}
    async with audited(
        deployment,
        "recurring repair",
        f"{definition.app_id}/{definition.name}",
        before=before,
        after={"version": definition.version + 1},
        app_id=definition.app_id,
    ):
        app = await fetch_app(deployment, definition.app_id)
        try:
            made = await repair(deployment.store, deployment.clock, app, definition, retention_ms)
        except VersionConflict:
            return "it was changed meanwhile, and left alone"
    if made.version == definition.version:
        return f"no run is to come: it is {made.state}"
    return f"it makes runs again after {to_iso(made.starts_after_ms)}"


def _name(definition: Definition) -> str:
    return definition.name or str(definition.recurring_id)
