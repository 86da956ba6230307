"""When a recurring schedule runs, in JSON: names of keys, and what is shown. `recurring.parsing` reads it."""

from __future__ import annotations

from ringtime_shared.api.instants import to_iso
from ringtime_shared.models.times import Times


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
    shown["dstGap"] = times.gap.value
    shown["dstOverlap"] = times.overlap.value
    if times.calendars:
        shown["exclusionCalendars"] = list(times.calendars)
    if times.window is not None:
        if times.window.ms is not None:
            shown["windowMs"] = times.window.ms
        else:
            shown["windowShare"] = times.window.share
    shown["dialect"] = times.dialect
    return shown
