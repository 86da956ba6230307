"""goscheduler's tables, as far as an import needs them, read in pages of bounded size by their tokens.

A page begins behind the last row of the one before, so what a pass holds in memory does not grow with the
tables. Of partitions of several rows the rest is read by their key before the next token: a page may end
inside of one. A row that is written while a pass is under way may be seen or not; the next pass sees it.

Instants are asked for as milliseconds since 1970: what the driver makes of a timestamp, it makes in its own
way. goscheduler writes them from whole seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Self
from uuid import UUID

from ringtime.importing.rows import Keyspaces, OldApp, OldCron, OldSchedule
from ringtime_shared.errors import StartupError
from ringtime_shared.settings import CassandraSettings
from ringtime_shared.stores.cassandra.cluster import make_cluster
from ringtime_shared.stores.cassandra.session import CqlSession, Prepared, connect_session

PAGE_ROWS = 1_000
_PROTOCOL = 4  #: of Cassandra 2.2 and newer
_LOWEST = -(1 << 63)  #: below every token
_NO_ID = UUID(int=0)

_SCHEDULE = (
    "app_id, partition_id, schedule_time_group, schedule_id, callback_type, callback_details, payload,"
    " toUnixTimestamp(schedule_time), parent_schedule_id"
)
_PLACE = "app_id, partition_id, schedule_time_group"
_SCHEDULES = (
    f"SELECT token({_PLACE}), {_SCHEDULE} FROM {{schedules}}.schedules WHERE token({_PLACE}) > ? LIMIT ?"
)
_REST = (
    f"SELECT token({_PLACE}), {_SCHEDULE} FROM {{schedules}}.schedules WHERE app_id = ? AND partition_id = ?"
    " AND schedule_time_group = ? AND schedule_id < ? LIMIT ?"
)
_CRONS = (
    "SELECT token(schedule_id), schedule_id, app_id, callback_type, callback_details, payload,"
    " cron_expression, status FROM {schedules}.recurring_schedules_by_id WHERE token(schedule_id) > ? LIMIT ?"
)
_APPS = (
    "SELECT token(id), id, partitions, active, configuration FROM {cluster}.apps WHERE token(id) > ? LIMIT ?"
)
_STATUS = (
    "SELECT schedule_status FROM {schedules}.status WHERE app_id = ? AND partition_id = ? AND schedule_id = ?"
)


class Source:
    """goscheduler's tables. Use `connect`."""

    def __init__(self, session: CqlSession, statements: Sequence[Prepared], page_rows: int) -> None:
        self._session = session
        self._page_rows = page_rows
        self._schedules, self._rest, self._crons, self._apps, self._status = statements

    @classmethod
    async def connect(
        cls, settings: CassandraSettings, keyspaces: Keyspaces, *, page_rows: int = PAGE_ROWS
    ) -> Self:
        """Connect to the cluster that has them. Raises StartupError: nobody answers, or there are no such
        tables."""
        cluster = make_cluster(settings, protocol=_PROTOCOL)
        try:
            driver = await asyncio.to_thread(connect_session, cluster, settings)
            session = CqlSession(cluster, driver, keyspaces.schedules)
            names = {"schedules": keyspaces.schedules, "cluster": keyspaces.cluster}
            texts = (_SCHEDULES, _REST, _CRONS, _APPS, _STATUS)
            return cls(session, await session.prepare(*(text.format_map(names) for text in texts)), page_rows)
        except StartupError:
            await asyncio.to_thread(cluster.shutdown)
            raise

    async def close(self) -> None:
        await self._session.close()

    async def apps(self) -> list[OldApp]:
        """Return all apps, by id."""
        found = [OldApp(*row[1:]) async for page in self._pages(self._apps) for row in page]
        return sorted(found)

    async def crons(self) -> AsyncGenerator[list[OldCron], None]:
        """Give pages of crons."""
        async for page in self._pages(self._crons):
            yield [OldCron(*row[1:]) for row in page]

    async def schedules(self) -> AsyncGenerator[list[OldSchedule], None]:
        """Give pages of schedules, those made of crons among them."""
        page = await self._read(self._schedules, _LOWEST)
        while page:
            yield [_to_schedule(row) for row in page]
            token, app_id, partition, group, schedule_id = page[-1][:5]
            is_full = len(page) == self._page_rows  # then it may have ended inside a partition
            page = await self._read(self._rest, app_id, partition, group, schedule_id) if is_full else []
            page = page or await self._read(self._schedules, token)

    async def outcomes(self, rows: Sequence[OldSchedule]) -> list[str | None]:
        """Return what goscheduler noted of each: `SUCCESS`, `FAILURE`; None: nothing."""
        found = await self._session.read_all(
            [self._status.bind(row.app_id, row.partition, row.schedule_id) for row in rows]
        )
        return [records[0][0] if records else None for records in found]

    async def _pages(self, statement: Prepared) -> AsyncGenerator[list[Any], None]:
        """Give pages of a table whose partitions have one row each."""
        page = await self._read(statement, _LOWEST)
        while page:
            yield page
            if len(page) < self._page_rows:
                return
            page = await self._read(statement, page[-1][0])

    async def _read(self, statement: Prepared, *after: object) -> list[Any]:
        return await self._session.read(statement.bind(*after, self._page_rows))


def _to_schedule(row: Any) -> OldSchedule:
    _, app_id, partition, _, schedule_id, kind, details, payload, fire_ms, parent = row
    cron = None if parent == _NO_ID else parent
    return OldSchedule(app_id, partition, schedule_id, kind, details, payload, fire_ms, cron)
