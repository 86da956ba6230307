"""`ringctl forecast`: what falls due when, against what the quota carries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import click

from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.deployment.ownership import fetch_app
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.shell import RingctlCommand, deployed
from ringtime_shared.api.instants import to_iso
from ringtime_shared.schedules.buckets_ahead import count_entries, read_entries
from ringtime_shared.schedules.forecast import HEADROOM, PER_PARTITION, Forecast, forecast, window

MAX_HOURS = 168
SHOWN = 20  #: minutes that exceed the quota


@click.command("forecast", cls=RingctlCommand)
@click.argument("app_id", metavar="APP")
@click.option(
    "--hours",
    default=24.0,
    show_default=True,
    type=click.FloatRange(min=0.02, max=MAX_HOURS),
    help=f"How far ahead to look, at most {MAX_HOURS}.",
)
@click.option("--minutes", "is_fine", is_flag=True, help="Show every minute, not every hour.")
@deployed
async def forecast_command(
    deployment: Deployment, output: Output, app_id: str, hours: float, is_fine: bool
) -> None:
    """Show what falls due ahead, the minutes the quota does not carry, and the quota to take.

    It counts what is filed now: creates still to come, retries, and the later runs of recurring schedules are
    not in it.

    \b
    Examples:
      ringctl forecast pay
      ringctl forecast pay --hours 1 --minutes
      ringctl forecast pay --json | jq .advisedQuota
    """
    app = await fetch_app(deployment, app_id)
    first, last = window(deployment.clock.now_ms(), hours)
    due: Counter[int] = Counter()
    with output.progress("counting minutes", last - first + 1) as bar:
        async for end, entries in read_entries(deployment.store, app_id, first, last):
            for entry, count in (await count_entries(deployment.store, entries)).items():
                due[entry.bucket] += count
            bar.show(end - first + 1)
    ahead = forecast(app_id, app.writable, due)
    if output.is_json:
        output.data(forecast_to_json(ahead, hours))
    else:
        _show(output, ahead, hours, is_fine=is_fine)


def _show(output: Output, ahead: Forecast, hours: float, *, is_fine: bool) -> None:
    output.line(
        f"{ahead.app_id}: {ahead.total:,} due in the next {hours:g} h;"
        f" {ahead.quota:,} partitions carry {ahead.capacity:,} a minute"
    )
    if ahead.peak is None:
        return
    output.line(f"fullest minute: {ahead.peak.due:,} at {to_iso(ahead.peak.start_ms)[:16]}Z")
    output.line(advice(ahead))
    output.line()
    if is_fine:
        columns = (Column("MINUTE"), Column("DUE", right=True), Column("OF QUOTA", right=True))
        output.table(
            columns,
            [
                (_minute(each.start_ms), each.due, f"{each.due / ahead.capacity:.0%}")
                for each in ahead.minutes
            ],
        )
        return
    output.table(
        (
            Column("HOUR"),
            Column("DUE", right=True),
            Column("FULLEST MINUTE", right=True),
            Column("OF QUOTA", right=True),
            Column("MINUTES OVER", right=True),
        ),
        [
            (_minute(hour.start_ms), hour.due, hour.peak, f"{hour.peak / ahead.capacity:.0%}", hour.over)
            for hour in ahead.hours()
        ],
    )
    if ahead.over:
        output.line()
        output.table(
            (Column("MINUTE OVER THE QUOTA"), Column("DUE", right=True)),
            [(_minute(minute.start_ms), minute.due) for minute in ahead.over[:SHOWN]],
        )
        if len(ahead.over) > SHOWN:
            output.line(f"... and {len(ahead.over) - SHOWN:,} more")


def advice(ahead: Forecast) -> str:
    """Return what to do about the quota, in a sentence."""
    quota = ahead.advised or ahead.quota
    why = f"{PER_PARTITION:,} a minute for each partition, and {HEADROOM - 1:.0%} to spare"
    if quota > ahead.quota:
        return f"advised quota: {quota:,} ({why}): ringctl resize {ahead.app_id} --partitions {quota}"
    if quota == ahead.quota:
        return f"advised quota: {quota:,}, which it has ({why})"
    return f"advised quota: {quota:,} would do for what is filed now ({why}); it has {ahead.quota:,}"


def forecast_to_json(ahead: Forecast, hours: float) -> Mapping[str, object]:
    """Return the forecast for `--json`."""
    peak = ahead.peak
    return {
        "appId": ahead.app_id,
        "hours": hours,
        "quota": ahead.quota,
        "perMinuteCapacity": ahead.capacity,
        "due": ahead.total,
        "peak": None if peak is None else {"minute": to_iso(peak.start_ms), "due": peak.due},
        "advisedQuota": ahead.advised,
        "over": [{"minute": to_iso(each.start_ms), "due": each.due} for each in ahead.over],
        "minutes": [{"minute": to_iso(each.start_ms), "due": each.due} for each in ahead.minutes],
    }


def _minute(ms: int) -> str:
    return f"{to_iso(ms)[:16]}Z"
