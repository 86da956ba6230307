"""Operations of `CalendarStore`, and what definitions are read with: plain reads; LWTs on the revision."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Self

from ringtime_shared.models.calendar import Calendar
from ringtime_shared.stores.cassandra.lwt import change
from ringtime_shared.stores.cassandra.session import CqlSession, Prepared
from ringtime_shared.stores.codec.recurring import encode_calendar, read_calendar
from ringtime_shared.stores.protocol import calendar_conflict

_COLUMNS = "revision, changed_ms, is_deleted, calendar"
_ALL = f"SELECT name, {_COLUMNS} FROM $calendars WHERE app_id = ?"
_ONE = f"{_ALL} AND name = ?"
_CREATE = f"INSERT INTO $calendars ({_COLUMNS}, app_id, name) VALUES (?, ?, ?, ?, ?, ?) IF NOT EXISTS"
_REPLACE = (
    "UPDATE $calendars SET revision = ?, changed_ms = ?, is_deleted = ?, calendar = ?"
    " WHERE app_id = ? AND name = ? IF revision = ?"
)
_DROP = "DELETE FROM $calendars WHERE app_id = ? AND name = ? IF revision = ?"


class Calendars:
    """`CalendarStore` on one session."""

    def __init__(self, session: CqlSession, *statements: Prepared) -> None:
        """Use `prepare`."""
        self._session = session
        self._all, self._one, self._create, self._replace, self._drop = statements

    @classmethod
    async def prepare(cls, session: CqlSession) -> Self:
        return cls(session, *await session.prepare(_ALL, _ONE, _CREATE, _REPLACE, _DROP))

    async def fetch_calendars(self, app_id: str) -> list[Calendar]:
        return [read_calendar(app_id, *each) for each in await self._session.read(self._all.bind(app_id))]

    async def fetch_some(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Calendar]:
        """Return those that there are, by app and name: one trip for all."""
        asked = list(keys)
        answers = await self._session.read_all([self._one.bind(*key) for key in asked])
        return {
            key: read_calendar(key[0], *record)
            for key, records in zip(asked, answers, strict=True)
            for record in records
        }

    async def replace_calendar(self, calendar: Calendar) -> None:
        values = (*encode_calendar(calendar), calendar.app_id, calendar.name)
        before = calendar.revision - 1
        statement = self._replace.bind(*values, before) if before else self._create.bind(*values)
        await self._change(statement, calendar, before, calendar)

    async def drop_calendar(self, calendar: Calendar) -> None:
        statement = self._drop.bind(calendar.app_id, calendar.name, calendar.revision)
        await self._change(statement, calendar, calendar.revision, None)

    async def delete_all(self, app_id: str) -> None:
        """Forget the calendars of an app."""
        for each in await self.fetch_calendars(app_id):
            await self.drop_calendar(each)

    async def _change(self, statement: Any, calendar: Calendar, before: int, after: Calendar | None) -> None:
        stored = await change(
            self._session,
            statement,
            lambda: self._fetch_serial(calendar),
            wanted=after,
            is_before=lambda found: (0 if found is None else found.revision) == before,
            what=f"the change of calendar {calendar.name}",
        )
        if stored != after:
            raise calendar_conflict(stored, calendar)

    async def _fetch_serial(self, calendar: Calendar) -> Calendar | None:
        statement = self._one.bind(calendar.app_id, calendar.name)
        records = await self._session.read(statement, is_serial=True)
        return read_calendar(calendar.app_id, *records[0]) if records else None
