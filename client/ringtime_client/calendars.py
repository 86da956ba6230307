"""The verbs of exclusion calendars, as `calls` has the others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from functools import partial
from typing import Any

from msgspec import convert

from ringtime_client.exchange import BASE, Call
from ringtime_client.forms import instant, safe, to_body
from ringtime_shared.api.calendars import CalendarSummary, CalendarView
from ringtime_shared.api.ids import check_name
from ringtime_shared.api.views import read
from ringtime_shared.arguments import checked
from ringtime_shared.errors import InvalidRequest


@checked
def put_calendar(
    app_id: str,
    name: str,
    *,
    dates: Sequence[date] | None = None,
    spans: Sequence[Sequence[datetime]] | None = None,
    ics: str | None = None,
) -> Call[CalendarView]:
    """Create an exclusion calendar, or put it in place of the one of its name. It counts for runs that
    are not filed yet: of each recurring schedule that names it, one is.

    Args:
        dates: days of the wall clock; and
        spans: pairs of begin and end, timezone-aware; and
        ics: the text of an ICS file. At least one of them.

    Raises InvalidRequest, NotFound (app), AppInactive, LimitReached, VersionConflict.
    """
    return Call(
        method="PUT",
        path=_path(app_id, name),
        body=to_body(calendar_fields(dates, spans, ics)),
        read=partial(read, CalendarView),
        app_id=app_id,
    )


@checked
def get_calendar(app_id: str, name: str) -> Call[CalendarView]:
    """Return an exclusion calendar. Raises InvalidRequest, NotFound, Damaged."""
    return _call("GET", app_id, name)


@checked
def list_calendars(app_id: str) -> Call[list[CalendarSummary]]:
    """Return the exclusion calendars of an app by name. Raises InvalidRequest, NotFound (app)."""
    path = f"{BASE}/apps/{safe(app_id)}/calendars"
    return Call(method="GET", path=path, read=_to_summaries, app_id=app_id)


@checked
def delete_calendar(app_id: str, name: str) -> Call[CalendarView]:
    """Delete an exclusion calendar. Raises InvalidRequest, NotFound, Conflict if a definition names it."""
    return _call("DELETE", app_id, name)


def calendar_fields(
    dates: Sequence[date] | None, spans: Sequence[Sequence[datetime]] | None, ics: str | None
) -> dict[str, object]:
    """Return a calendar as the API reads it. Raises InvalidRequest."""
    fields: dict[str, object] = {}
    if dates is not None:
        fields["dates"] = [each.isoformat()[:10] for each in dates]
    if spans is not None:
        fields["spans"] = [_span_to_json(f"spans[{n}]", each) for n, each in enumerate(spans)]
    if ics is not None:
        fields["ics"] = ics
    return fields


def _span_to_json(field: str, span: Sequence[datetime]) -> dict[str, object]:
    if len(span) != 2:
        raise InvalidRequest.of(field, "must be a begin and an end")
    return {"startTime": instant(f"{field}[0]", span[0]), "endTime": instant(f"{field}[1]", span[1])}


def _call(method: str, app_id: str, name: str) -> Call[CalendarView]:
    return Call(
        method=method,
        path=_path(app_id, name),
        read=partial(read, CalendarView),
        kind="calendar",
        key=name,
        app_id=app_id,
    )


def _path(app_id: str, name: str) -> str:
    if violations := check_name(name):
        raise InvalidRequest(violations)
    return f"{BASE}/apps/{safe(app_id)}/calendars/{name}"


def _to_summaries(data: dict[str, Any]) -> list[CalendarSummary]:
    return [read(CalendarSummary, shown) for shown in convert(data.get("calendars"), list[Any])]
