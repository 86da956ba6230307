"""`ringctl forecast`: what falls due when, against what the quota carries."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import click

from ringtime_ringctl.deployment.buckets_ahead import count_entries, read_entries
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.deployment.ownership import fetch_app
from ringtime_ringctl.output import Column, Output
from ringtime_ringctl.shell import RingctlCommand, deployed
from ringtime_ringctl.sizing import HEADROOM, PER_PARTITION, quota_for
from ringtime_shared.api.instants import to_iso
from ringtime_shared.buckets import BUCKET_MS, first_slot

_HOUR_MS = 3_600_000
MAX_HOURS = 168
SHOWN = 20  #: minutes that exceed the quota


class Minute(NamedTuple):
    """One minute with something due."""

    bucket: int
    due: int

    @property
    def start_ms(self) -> int:
        return first_slot(self.bucket)


class Hour(NamedTuple):
    """The minutes of one hour, put together."""

    start_ms: int
    due: int
    peak: int  #: of its fullest minute
    over: int  #: minutes that exceed the quota


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What an app has ahead."""

    app_id: str
    quota: int
    minutes: Sequence[Minute]  #: those with something due, in order

    @property
    def capacity(self) -> int:
        """Callbacks a minute that the quota carries."""
        return self.quota * PER_PARTITION

    @property
    def total(self) -> int:
        return sum(minute.due for minute in self.minutes)

    @property
    def peak(self) -> Minute | None:
        """The fullest minute; the first of several."""
        return max(self.minutes, key=lambda minute: (minute.due, -minute.bucket), default=None)

    @property
    def over(self) -> list[Minute]:
        """The minutes that exceed the quota."""
        return [minute for minute in self.minutes if minute.due > self.capacity]

    @property
    def advised(self) -> int | None:
        """The quota that carries the peak with room to spare; None: nothing is due."""
        return None if self.peak is None else quota_for(self.peak.due)

    def hours(self) -> list[Hour]:
        """Return the hours with something due."""
        by_hour: dict[int, list[int]] = defaultdict(list)
        for minute in self.minutes:
            by_hour[minute.start_ms // _HOUR_MS * _HOUR_MS].append(minute.due)
        return [
            Hour(start_ms, sum(due), max(due), sum(count > self.capacity for count in due))
            for start_ms, due in sorted(by_hour.items())
        ]


def forecast(app_id: str, quota: int, due: Mapping[int, int]) -> Forecast:
    """Return the forecast of an app with `quota` partitions and so many live rows in each bucket."""
    minutes = [Minute(bucket, count) for bucket, count in sorted(due.items()) if count]
    return Forecast(app_id=app_id, quota=quota, minutes=minutes)


def window(now_ms: int, hours: float) -> tuple[int, int]:
    """Return the first and the last bucket from now on."""
    return now_ms // BUCKET_MS, (now_ms + round(hours * _HOUR_MS)) // BUCKET_MS


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
