"""`ringctl shadow`: the move of an app from goscheduler, and back."""

from __future__ import annotations

from collections.abc import Callable

import click

from ringtime_ringctl.deployment.changes import audited
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.deployment.ownership import fetch_app
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.shell import UNHEALTHY, RingctlGroup, deployed
from ringtime_ringctl.times import FORMS, count_of, parse_time, read_window, to_span
from ringtime_shared.api.instants import to_iso
from ringtime_shared.clock import require_trust
from ringtime_shared.models.app import App
from ringtime_shared.models.shadow import Side, side_of
from ringtime_shared.shadow import moves
from ringtime_shared.shadow.moves import shadow_to_json
from ringtime_shared.shadow.report import Lags, ShadowReport, compare, report_to_json

_COLUMNS = (Column("SCHEDULE"), Column("FOUND"), Column("DUE"))
_SPARE_MS = 60_000  #: of the default handover, for who types the next command
_MINUTE_MS = 60_000


@click.group("shadow", cls=RingctlGroup)
def shadow() -> None:
    """Move an app from goscheduler: watch, compare, hand over by fire time, and back (docs/shadow.md)."""


@shadow.command("begin")
@click.argument("app_id", metavar="APP")
@deployed
async def begin(deployment: Deployment, output: Output, app_id: str) -> None:
    """Forward each create of an app to goscheduler, which delivers; Ringtime keeps it and sends nothing.

    \b
    Examples:
      ringctl shadow begin pay
    """
    await _change(deployment, output, app_id, "shadow begin", moves.begin)


@shadow.command("switch")
@click.argument("app_id", metavar="APP")
@click.option(
    "--to", "to", type=click.Choice([each.value for each in Side]), required=True, help="Who delivers."
)
@click.option(
    "--at",
    "at",
    help=f"Fire times from here on: {FORMS}. At least {moves.LEAD_MS // _MINUTE_MS} minutes ahead."
    " Default: the next full minute for which that holds in a minute, too.",
)
@deployed
async def switch(deployment: Deployment, output: Output, app_id: str, to: str, at: str | None) -> None:
    """Hand over what is due from an instant on; what is due before stays with who has it.

    \b
    Examples:
      ringctl shadow switch pay --to ringtime
      ringctl shadow switch pay --to ringtime --at 2030-01-31T08:00:00Z
      ringctl shadow switch pay --to goscheduler --at +10m
    """

    def hand_over(app: App, now_ms: int) -> App:
        soonest_ms = now_ms + moves.LEAD_MS + _SPARE_MS
        at_ms = -(-soonest_ms // _MINUTE_MS) * _MINUTE_MS if at is None else parse_time("at", at, now_ms)
        return moves.hand_over(app, Side(to), at_ms, now_ms)

    await _change(deployment, output, app_id, "shadow switch", hand_over)


@shadow.command("end")
@click.argument("app_id", metavar="APP")
@deployed
async def end(deployment: Deployment, output: Output, app_id: str) -> None:
    """Forward nothing any more. Ringtime must deliver by then; there is no way back.

    \b
    Examples:
      ringctl shadow end pay
    """
    await _change(deployment, output, app_id, "shadow end", moves.end)


@shadow.command("show")
@click.argument("app_id", metavar="APP")
@deployed
async def show(deployment: Deployment, output: Output, app_id: str) -> None:
    """Show who delivers for an app, and the handovers.

    \b
    Examples:
      ringctl shadow show pay
    """
    _show(output, await fetch_app(deployment, app_id), deployment.clock.now_ms())


@shadow.command("report")
@click.argument("app_id", metavar="APP")
@click.option("--from", "start", default="-1h", show_default=True, help=f"First fire time: {FORMS}.")
@click.option("--to", "end", default="now", show_default=True, help="Last fire time, in the same forms.")
@deployed
async def report(deployment: Deployment, output: Output, app_id: str, start: str, end: str) -> None:
    """Compare what goscheduler did, and when, with what Ringtime did or would have done.

    Exit code 4: there is something to look at.

    \b
    Examples:
      ringctl shadow report pay
      ringctl shadow report pay --from -1d --json | jq '.differences'
    """
    app = await fetch_app(deployment, app_id)
    now_ms = deployment.clock.now_ms()
    from_ms, upto_ms = read_window(start, end, now_ms)
    found = await compare(deployment.store, app, from_ms, upto_ms, now_ms)
    if output.is_json:
        output.data(report_to_json(found) | {"from": to_iso(from_ms), "to": to_iso(upto_ms)})
    else:
        _show_report(output, app_id, found)
    if found.differences:
        click.get_current_context().exit(UNHEALTHY)


async def _change(
    deployment: Deployment, output: Output, app_id: str, action: str, decide: Callable[[App, int], App]
) -> None:
    """Store what an operator says. The time is read before, and the write is refused by who was first."""
    require_trust(deployment.clock)
    app = await fetch_app(deployment, app_id)
    changed = decide(app, deployment.clock.now_ms())
    before, after = (None if each.shadow is None else shadow_to_json(each.shadow) for each in (app, changed))
    async with audited(deployment, action, app_id, before=before, after=after, app_id=app_id):
        await deployment.store.replace_app(changed)
    _show(output, changed, deployment.clock.now_ms())


def _show(output: Output, app: App, now_ms: int) -> None:
    if output.is_json:
        output.data(
            {"appId": app.app_id, "shadow": None if app.shadow is None else shadow_to_json(app.shadow)}
        )
        return
    if app.shadow is None:
        output.line(f"{app.app_id} is not in shadow: Ringtime delivers, and goscheduler knows nothing of it")
        return
    now = f"{app.app_id}: {side_of(app.shadow, now_ms)} delivers what is due now"
    forwarded = "creates are not forwarded any more" if app.shadow.is_over else "creates are forwarded"
    output.line(f"{now}; in shadow since {to_iso(app.shadow.begun_ms)}; {forwarded}")
    for each in app.shadow.handovers:
        ahead = f", in {to_span(each.at_ms - now_ms)}" if each.at_ms > now_ms else ""
        output.line(f"  from {to_iso(each.at_ms)}{ahead}: {each.to}")


def _show_report(output: Output, app_id: str, found: ShadowReport) -> None:
    if found.found:
        output.table(
            _COLUMNS, [(str(each.schedule_id), each.what.value, to_iso(each.fire_ms)) for each in found.found]
        )
        output.line()
    unlisted = found.differences.total() - len(found.found)
    if unlisted:
        output.line(f"... and {unlisted:,} more: take a shorter range")
    counts = ", ".join(f"{count:,} {what}" for what, count in sorted(found.differences.items()))
    output.line(
        f"{app_id}: {found.both:,} by both; {counts or 'none differs'}; {found.waiting:,} to come,"
        f" {found.cancelled:,} cancelled, {count_of(found.own, 'schedule')} of Ringtime's alone"
    )
    output.line(f"goscheduler's calls: {found.passed:,} passed on, {found.kept:,} kept")
    output.line(f"lag: goscheduler {_told(found.goscheduler)}; Ringtime {_told(found.ringtime)}")


def _told(lags: Lags) -> str:
    half, most = lags.quantile_ms(0.5), lags.quantile_ms(0.99)
    return "none" if half is None or most is None else f"p50 {to_span(half)}, p99 {to_span(most)}"
