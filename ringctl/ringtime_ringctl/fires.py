"""`ringctl completeness` and `ringctl audit-fires`: up to when all that was due has its outcome, and what has
none, or two."""

from __future__ import annotations

import click

from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.deployment.ownership import fetch_app
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.shell import UNHEALTHY, RingctlCommand, deployed
from ringtime_ringctl.times import FORMS, count_of, read_window, to_span
from ringtime_shared.api.fires import audit_to_json, completeness_to_json
from ringtime_shared.api.instants import to_iso
from ringtime_shared.models.fires import Completeness, FireCounts, Waits
from ringtime_shared.schedules.completeness import CompletenessMarks
from ringtime_shared.schedules.fires import FireAudit

_COLUMNS = (Column("SCHEDULE"), Column("REASON"), Column("DUE"), Column("FOUND", folds=True))


@click.command("completeness", cls=RingctlCommand)
@click.argument("app_id", metavar="[APP]", required=False)
@deployed
async def completeness(deployment: Deployment, output: Output, app_id: str | None) -> None:
    """Show up to when everything that was due has its recorded outcome: of an app, or of all active ones.

    \b
    Examples:
      ringctl completeness
      ringctl completeness pay
    """
    apps = {app.app_id: app for app in await deployment.store.fetch_apps()}
    marks = CompletenessMarks(deployment.store, deployment.clock, apps.get)
    if app_id is None:
        found = await marks.of_all()
    else:
        found = await marks.of_app(await fetch_app(deployment, app_id))
    if output.is_json:
        output.data(completeness_to_json(found))
        return
    output.line(_told(found, app_id or "all active apps"))


def _told(found: Completeness, whose: str) -> str:
    through = f"{whose}: complete from {to_iso(found.from_ms)} up to {to_iso(found.through_ms)}"
    age = f", {to_span(found.age_ms)} ago"
    if found.waits is Waits.NOTHING:
        return f"{through}{age}; nothing is late"
    if found.waits is Waits.NOT_SETTLED:
        return f"{through}{age}; then {found.instance} has rows that are not all sent yet: ringctl ring"
    which = "a schedule" if found.schedule_id is None else f"schedule {found.schedule_id}"
    return f"{through}{age}; then {which} of {found.instance} is to be sent again: ringctl explain"


@click.command("audit-fires", cls=RingctlCommand)
@click.argument("app_id", metavar="APP")
@click.option("--from", "start", default="-1h", show_default=True, help=f"First slot: {FORMS}.")
@click.option("--to", "end", default="now", show_default=True, help="Last slot, in the same forms.")
@deployed
async def audit_fires(deployment: Deployment, output: Output, app_id: str, start: str, end: str) -> None:
    """Check that every expected fire of a time range has exactly one outcome; list what has none, or two.

    It reads all rows of the range, a page at a time. Exit code 4: there is something to list.

    \b
    Examples:
      ringctl audit-fires pay
      ringctl audit-fires pay --from -7d --to -1h
      ringctl audit-fires pay --from -1d --json | jq '.findings[].scheduleId'
    """
    app = await fetch_app(deployment, app_id)
    from_ms, upto_ms = read_window(start, end, deployment.clock.now_ms())
    whole = FireCounts()
    audit = FireAudit(deployment.store, deployment.clock, app, from_ms, upto_ms)
    with output.progress(f"fires of {app_id}", None) as bar:
        async for page in audit.pages():
            whole.add(page.found)
            bar.show(whole.expected)
    if output.is_json:
        shown = audit_to_json(whole, "")
        del shown["continuationToken"]
        output.data(shown | {"from": to_iso(from_ms), "to": to_iso(upto_ms)})
    else:
        _show(output, whole, app_id)
    if whole.gaps or whole.doubles:
        click.get_current_context().exit(UNHEALTHY)


def _show(output: Output, whole: FireCounts, app_id: str) -> None:
    if whole.findings:
        output.table(
            _COLUMNS,
            [
                (str(each.schedule_id), each.reason.value, to_iso(each.due_ms), each.says)
                for each in whole.findings
            ],
        )
        output.line()
    unlisted = whole.gaps + whole.doubles - len(whole.findings)
    if unlisted:
        output.line(f"... and {unlisted:,} more: take a shorter range")
    ended = ", ".join(f"{whole.ended[status]:,} {status}" for status in sorted(whole.ended)) or "none ended"
    output.line(
        f"{app_id}: {count_of(whole.expected, 'fire')} expected; {ended}; {whole.waiting:,} to be sent yet;"
        f" {count_of(whole.gaps, 'gap')}, {count_of(whole.doubles, 'double')}"
    )
