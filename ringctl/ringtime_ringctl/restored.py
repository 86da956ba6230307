"""`ringctl restored`: make a deployment whose store, or etcd, went back in time one that may be started."""

from __future__ import annotations

import click

from ringtime_ringctl.deployment.changes import audited
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.output import Output
from ringtime_ringctl.shell import RingctlCommand, deployed
from ringtime_ringctl.times import FORMS, count_of, parse_time
from ringtime_shared.api.instants import to_iso
from ringtime_shared.apps.restoring import CameDue, Settled, settle_restore
from ringtime_shared.errors import Conflict, InvalidRequest

_SHOWN = 20  #: names of apps


@click.command("restored", cls=RingctlCommand)
@click.option(
    "--came-due",
    type=click.Choice([each.value for each in CameDue]),
    required=True,
    help="What becomes of what came due since the backup: send it, again where it was sent already; skip it,"
    " as sent; hold: deactivate every app.",
)
@click.option(
    "--sent-until", default="now", show_default=True, help=f"With skip: up to when it was sent: {FORMS}."
)
@click.option("--apply", "is_applied", is_flag=True, help="Do it; without it, only say what would be done.")
@deployed
async def restored(
    deployment: Deployment, output: Output, came_due: str, sent_until: str, is_applied: bool
) -> None:
    """Settle a store that was restored from a backup, or whose etcd was, before anything is started on it.

    From then on no id is given out that was given out since the backup, and terms begin in a new era. Where
    only etcd was restored or lost, `--came-due send` is right: the store knows what was sent. May be run
    again, with another decision.

    \b
    Examples:
      ringctl restored --came-due skip --sent-until 2026-11-27T08:12:30Z
      ringctl restored --came-due skip --sent-until 2026-11-27T08:12:30Z --apply
      ringctl --data data restored --came-due hold --apply
    """
    choice, now_ms = CameDue(came_due), deployment.clock.now_ms()
    until_ms = parse_time("--sent-until", sent_until, now_ms)
    if until_ms > now_ms:
        raise InvalidRequest.of("--sent-until", "must not be in the future")
    if sent_until != "now" and choice is not CameDue.SKIP:
        raise InvalidRequest.of("--sent-until", "goes with --came-due skip")
    await _require_silence(deployment)
    settled = await settle_restore(
        deployment.kept, choice, sent_until_ms=until_ms, now_ms=now_ms, is_applied=False
    )
    if is_applied:
        after = _to_json(choice, until_ms, settled)
        async with audited(deployment, "restored", "deployment", before={}, after=after):
            await settle_restore(deployment.kept, choice, sent_until_ms=until_ms, now_ms=now_ms)
            if deployment.coordination is not None:
                await deployment.coordination.forget_history()
    if output.is_json:
        output.data({"applied": is_applied, **_to_json(choice, until_ms, settled)})
        return
    output.line(_tell(choice, until_ms, settled))
    if settled.ended_jobs:
        output.line(f"bulk jobs that send things again, ended: {settled.ended_jobs:,}")
    output.line("start the servers now" if is_applied else "nothing was changed: `--apply` does it")


async def _require_silence(deployment: Deployment) -> None:
    """Raise Conflict while somebody works on the store: what he has in memory is from before the restore."""
    if deployment.server is not None:
        raise Conflict(f"{deployment.server} runs on this folder: stop it first")
    if deployment.coordination is not None and (
        members := (await deployment.coordination.fetch_view()).members
    ):
        some = ", ".join(sorted(members)[:_SHOWN])
        raise Conflict(f"{count_of(len(members), 'dispatcher')} in the ring: {some}. Stop all pods first")


def _to_json(choice: CameDue, until_ms: int, settled: Settled) -> dict[str, object]:
    return {
        "cameDue": choice.value,
        "sentUntil": to_iso(until_ms) if choice is CameDue.SKIP else None,
        "held": list(settled.held[:_SHOWN]),
        "heldApps": len(settled.held),
        "endedJobs": settled.ended_jobs,
    }


def _tell(choice: CameDue, until_ms: int, settled: Settled) -> str:
    if choice is CameDue.SKIP:
        until = to_iso(until_ms)
        return f"taken as sent, and recorded MISS: what came due up to {until}; what came due later is sent"
    if choice is CameDue.SEND:
        return "what came due is sent, again where it was sent already, with the same ids"
    names = ", ".join(settled.held[:_SHOWN]) + (", ..." if len(settled.held) > _SHOWN else "")
    return f"deactivated: {count_of(len(settled.held), 'app')}" + (f": {names}" if names else "")
