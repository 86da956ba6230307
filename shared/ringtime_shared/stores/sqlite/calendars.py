"""Operations of `CalendarStore`, and what definitions are read with."""

from __future__ import annotations

from collections.abc import Collection

from ringtime_shared.models.calendar import Calendar
from ringtime_shared.stores.codec.recurring import encode_calendar, read_calendar
from ringtime_shared.stores.protocol import calendar_conflict
from ringtime_shared.stores.sqlite.session import Session

_COLUMNS = "revision, changed_ms, is_deleted, calendar"
_ALL = f"SELECT name, {_COLUMNS} FROM calendars WHERE app = ? ORDER BY name"
_ONE = f"SELECT name, {_COLUMNS} FROM calendars WHERE app = ? AND name = ?"
_PUT = f"REPLACE INTO calendars (app, name, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"
_DROP = "DELETE FROM calendars WHERE app = ? AND name = ?"


def fetch_calendars(session: Session, app_id: str) -> list[Calendar]:
    found = session.fetch(_ALL, (session.number_of(app_id),))
    return [read_calendar(app_id, *record) for record in found]


def fetch_some(session: Session, app_id: str, names: Collection[str]) -> dict[str, Calendar]:
    """Return those of these names that there are."""
    number = session.number_of(app_id) if names else None
    records = (record for name in names for record in session.fetch(_ONE, (number, name)))
    return {record[0]: read_calendar(app_id, *record) for record in records}


def replace_calendar(session: Session, calendar: Calendar) -> None:
    stored = fetch_some(session, calendar.app_id, [calendar.name]).get(calendar.name)
    if stored == calendar:
        return
    if (0 if stored is None else stored.revision) != calendar.revision - 1:
        raise calendar_conflict(stored, calendar)
    key = (session.give_number(calendar.app_id), calendar.name)
    session.connection.execute(_PUT, (*key, *encode_calendar(calendar)))


def drop_calendar(session: Session, calendar: Calendar) -> None:
    stored = fetch_some(session, calendar.app_id, [calendar.name]).get(calendar.name)
    if stored is None:
        return
    if stored.revision != calendar.revision:
        raise calendar_conflict(stored, calendar)
    session.connection.execute(_DROP, (session.number_of(calendar.app_id), calendar.name))
