"""When a recurring schedule runs, in JSON: definitions, calendars and previews; `recurring` reads them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from ringtime_shared.api.instants import to_iso
from ringtime_shared.api.views import Doc
from ringtime_shared.models.times import (
    DstGap,
    DstOverlap,
    Effect,
    Exclusions,
    Omitted,
    Run,
    Spread,
    Times,
    Unit,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalView:
    """Every so many units from an instant."""

    every: Annotated[int, Doc("How many units from one run to the next.")]
    unit: Annotated[Unit, Doc("Elapsed time up to `hours`; wall time in `days`, `weeks` and `months`.")]
    anchor_time: Annotated[datetime, Doc("The first of the times.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimesView:
    """When a recurring schedule runs."""

    cron_expression: Annotated[
        str | None, Doc("Minute, hour, day of the month, month, weekday; or `@daily` and the like.")
    ] = None
    interval: Annotated[IntervalView | None, Doc("Instead of an expression.")] = None
    time_zone: Annotated[str, Doc("IANA name of the zone whose wall time counts.")]
    start_time: Annotated[datetime | None, Doc("No run before it.")] = None
    end_time: Annotated[datetime | None, Doc("No run at it or later.")] = None
    max_runs: Annotated[int | None, Doc("No more runs than that.")] = None
    dst_gap: Annotated[DstGap, Doc("What becomes of a planned wall time that the clocks jump over.")]
    dst_overlap: Annotated[DstOverlap, Doc("Which run is made for a planned wall time that comes twice.")]
    exclusion_calendars: Annotated[
        tuple[str, ...], Doc("Names of calendars of the app, on whose days nothing runs.")
    ] = ()
    window_ms: Annotated[int | None, Doc("How much later than its nominal time a run may be sent.")] = None
    window_share: Annotated[
        float | None, Doc("The same as a share of the time to the next run, over 0 and up to 1.")
    ] = None
    window_spread: Annotated[
        Spread,
        Doc("Where in the window: by a `hash` of the definition, or in the second in which least is due."),
    ] = Spread.HASH
    dialect: Annotated[int, Doc("The version of the rules by which all this is read.")]


def times_to_json(times: Times) -> dict[str, object]:
    """Return times as the API shows them and definitions store them; `parse_times` makes the same of it."""
    shown: dict[str, object] = {}
    if times.interval is None:
        shown["cronExpression"] = times.cron
    else:
        shown["interval"] = {
            "every": times.interval.every,
            "unit": times.interval.unit.value,
            "anchorTime": to_iso(times.interval.anchor_ms),
        }
    shown["timeZone"] = times.zone
    if times.start_ms is not None:
        shown["startTime"] = to_iso(times.start_ms)
    if times.end_ms is not None:
        shown["endTime"] = to_iso(times.end_ms)
    if times.count is not None:
        shown["maxRuns"] = times.count
    shown["dstGap"] = times.dst_gap.value
    shown["dstOverlap"] = times.dst_overlap.value
    if times.calendars:
        shown["exclusionCalendars"] = list(times.calendars)
    if times.window is not None:
        if times.window.ms is not None:
            shown["windowMs"] = times.window.ms
        else:
            shown["windowShare"] = times.window.share
        if times.window.spread is not Spread.HASH:
            shown["windowSpread"] = times.window.spread.value
    shown["dialect"] = times.dialect
    return shown


def calendar_to_json(calendar: Exclusions) -> dict[str, object]:
    """Return a calendar as the API shows it and stores keep it; `parse_calendar` makes the same of it."""
    return {
        "dates": [day.isoformat() for day in sorted(calendar.dates)],
        "spans": [{"startTime": to_iso(begin), "endTime": to_iso(end)} for begin, end in calendar.spans],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedView:
    """A run to come, or a planned time that makes none, which has no instants."""

    local_time: Annotated[
        str, Doc("The planned wall time in the definition's zone, as `2026-03-29T02:30:00`.")
    ]
    index: Annotated[int | None, Doc("Which run it is, from 1.")] = None
    nominal_time: Annotated[datetime | None, Doc("When the definition says.")] = None
    effective_time: Annotated[
        datetime | None,
        Doc(
            "When it is to be sent: the nominal time or later, within the window. Where its second is chosen"
            " when the window has begun: not before this."
        ),
    ] = None
    effective_until: Annotated[
        datetime | None, Doc("Where its second is chosen when the window has begun: before this.")
    ] = None
    effect: Annotated[
        Effect | None,
        Doc(
            "What a change of the clocks or a calendar does to it: `shifted`, `first` or `second` of two;"
            " `skipped` or `excluded` where there is no run."
        ),
    ] = None


def planned_to_json(planned: Run | Omitted) -> dict[str, object]:
    """Return one entry of a preview."""
    shown: dict[str, object] = {}
    if isinstance(planned, Run):
        shown["index"] = planned.index
        shown["nominalTime"] = to_iso(planned.nominal_ms)
        shown["effectiveTime"] = to_iso(planned.effective_ms)
        if planned.until_ms is not None:
            shown["effectiveUntil"] = to_iso(planned.until_ms)
    shown["localTime"] = planned.wall.isoformat(timespec="seconds")
    if planned.effect is not None:
        shown["effect"] = planned.effect.value
    return shown
