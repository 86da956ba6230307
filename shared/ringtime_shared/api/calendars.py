"""Exclusion calendars as clients see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from ringtime_shared.api.instants import to_iso
from ringtime_shared.api.times import calendar_to_json
from ringtime_shared.api.views import Doc
from ringtime_shared.models.calendar import Calendar


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanView:
    """A time on which nothing runs."""

    start_time: Annotated[datetime, Doc("Its begin.")]
    end_time: Annotated[datetime, Doc("Its end, which does not belong to it.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarView:
    """A calendar of an app: plain days and times, whatever it was given as."""

    name: Annotated[str, Doc("Unique in its app.")]
    revision: Annotated[int, Doc("Goes up with each change.")]
    changed_at: Annotated[datetime, Doc("When it was changed last.")]
    dates: Annotated[Sequence[str], Doc("Days of the wall clock, in order, as `2026-12-25`.")]
    spans: Annotated[Sequence[SpanView], Doc("Times, in order.")]
    damage: Annotated[str, Doc("Why what is stored of it cannot be read.")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarSummary:
    """A calendar in the list of an app's."""

    name: Annotated[str, Doc("Unique in its app.")]
    revision: Annotated[int, Doc("Goes up with each change.")]
    changed_at: Annotated[datetime, Doc("When it was changed last.")]
    date_count: Annotated[int, Doc("How many days it has.")]
    span_count: Annotated[int, Doc("How many times it has.")]
    damage: Annotated[str, Doc("Why what is stored of it cannot be read.")] = ""


def named_calendar_to_json(calendar: Calendar) -> dict[str, object]:
    """Return a calendar."""
    return _head(calendar) | calendar_to_json(calendar.exclusions)


def summary_to_json(calendar: Calendar) -> dict[str, object]:
    """Return a calendar as a list has it."""
    said = calendar.exclusions
    return _head(calendar) | {"dateCount": len(said.dates), "spanCount": len(said.spans)}


def _head(calendar: Calendar) -> dict[str, object]:
    head: dict[str, object] = {
        "name": calendar.name,
        "revision": calendar.revision,
        "changedAt": to_iso(calendar.changed_ms),
    }
    return head | {"damage": calendar.damage} if calendar.damage else head
