"""Operations of `RecurringStore`: plain reads; LWTs on the revision for changes.

`Schedules.put_rows` files the entry of a run in the batch of its row; which statement that is, is said here.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Self
from uuid import UUID

from ringtime_shared.errors import Damaged, OutcomeUnknown
from ringtime_shared.models.calendar import Calendar
from ringtime_shared.models.recurring import Definition, RunOf
from ringtime_shared.models.schedule import Row
from ringtime_shared.recurring.calendars import names_of, with_calendars
from ringtime_shared.stores.cassandra.calendars import Calendars
from ringtime_shared.stores.cassandra.lwt import ROUNDS, back_off, change
from ringtime_shared.stores.cassandra.rows import pack_int, pack_long, routing_key
from ringtime_shared.stores.cassandra.session import CqlSession, Prepared, Query, pack_list
from ringtime_shared.stores.codec.recurring import encode_definition, read_definition
from ringtime_shared.stores.protocol import (
    RUNS_WINDOW_MS,
    DefinitionKey,
    RunEntry,
    definition_conflict,
    drop_conflict,
)

SHARDS = 16
_SHARD_SHIFT = 124
SHARDS_AT_ONCE = 4  #: read side by side for a page of a list
WEEKS_AT_ONCE = 8
DEFINITIONS_AT_ONCE = 10  #: in one read; each may have a payload of a MiB
_FIRST_ID = UUID(int=0)

_COLUMNS = "revision, definition, payload"
_BY_KEY = "WHERE app_id = ? AND shard = ? AND recurring_id = ?"
_GET = f"SELECT {_COLUMNS} FROM $definitions {_BY_KEY}"
# Those of one shard that come due together: a statement costs Cassandra more than a row does.
_GET_SOME = (
    f"SELECT recurring_id, {_COLUMNS} FROM $definitions WHERE app_id = ? AND shard = ? AND recurring_id IN ?"
)
_LIST = (
    f"SELECT recurring_id, {_COLUMNS} FROM $definitions"
    " WHERE app_id = ? AND shard = ? AND recurring_id > ? LIMIT ?"
)
_CREATE = (
    f"INSERT INTO $definitions ({_COLUMNS}, app_id, shard, recurring_id)"
    " VALUES (?, ?, ?, ?, ?, ?) IF NOT EXISTS"
)
_REPLACE = f"UPDATE $definitions SET revision = ?, definition = ?, payload = ? {_BY_KEY} IF revision = ?"
_DROP = f"DELETE FROM $definitions {_BY_KEY} IF revision = ?"
_DELETE = f"DELETE FROM $definitions {_BY_KEY} IF EXISTS"
PUT_RUN = (
    "INSERT INTO $runs (app_id, recurring_id, week, nominal_ms, schedule_id)"
    " VALUES (?, ?, ?, ?, ?) USING TTL ?"
)
_GET_RUNS = (
    "SELECT nominal_ms, schedule_id FROM $runs WHERE app_id = ? AND recurring_id = ? AND week = ?"
    " AND nominal_ms >= ? AND nominal_ms <= ?"
)
_LIMIT = "LIMIT ?"
_NEWEST_FIRST = "ORDER BY nominal_ms DESC, schedule_id DESC LIMIT ?"


class Recurring:
    """`RecurringStore` on one session."""

    def __init__(self, session: CqlSession, calendars: Calendars, statements: Sequence[Prepared]) -> None:
        """Use `prepare`."""
        self._session = session
        self._calendars = calendars
        self._get, self._get_some, self._list, self._create, self._replace, self._drop, *others = statements
        self._delete, *get_runs = others
        self._get_runs = dict(zip((False, True), get_runs, strict=True))

    @classmethod
    async def prepare(cls, session: CqlSession, calendars: Calendars) -> Self:
        runs = (f"{_GET_RUNS} {_LIMIT}", f"{_GET_RUNS} {_NEWEST_FIRST}")
        changes = (_CREATE, _REPLACE, _DROP, _DELETE)
        return cls(session, calendars, await session.prepare(_GET, _GET_SOME, _LIST, *changes, *runs))

    async def fetch_definition(self, key: DefinitionKey) -> Definition | None:
        definition = (await self.fetch_definitions([key])).get(key)
        if definition is not None and definition.damage:
            raise Damaged("recurring schedule", str(key.recurring_id), definition.damage)
        return definition

    async def fetch_definitions(self, keys: Sequence[DefinitionKey]) -> dict[DefinitionKey, Definition]:
        by_shard: dict[tuple[str, int], list[UUID]] = defaultdict(list)
        for app_id, recurring_id in dict.fromkeys(keys):
            by_shard[app_id, _shard(recurring_id)].append(recurring_id)
        asked = [
            (app_id, shard, ids[n : n + DEFINITIONS_AT_ONCE])
            for (app_id, shard), ids in by_shard.items()
            for n in range(0, len(ids), DEFINITIONS_AT_ONCE)
        ]
        statements = [
            self._get_some.with_raw(
                (app_id.encode(), pack_int(shard), pack_list([each.bytes for each in ids]))
            )
            for app_id, shard, ids in asked
        ]
        answers = await self._session.read_all(statements)
        found = [
            read_definition(app_id, *record)
            for (app_id, _, _), records in zip(asked, answers, strict=True)
            for record in records
        ]
        complete = await self._complete(found)
        return {DefinitionKey(each.app_id, each.recurring_id): each for each in complete}

    async def _complete(self, definitions: list[Definition]) -> list[Definition]:
        """Return definitions with what their calendars say, which takes another trip if they name any."""
        keys = {(each.app_id, name) for each in definitions for name in names_of([each])}
        if not keys:
            return definitions
        found = await self._calendars.fetch_some(keys)
        by_app: dict[str, dict[str, Calendar]] = defaultdict(dict)
        for (app_id, name), calendar in found.items():
            by_app[app_id][name] = calendar
        return [with_calendars(each, by_app[each.app_id]) for each in definitions]

    async def replace_definition(self, definition: Definition) -> None:
        key = DefinitionKey(definition.app_id, definition.recurring_id)
        values = (definition.revision, encode_definition(definition), definition.payload, *_key(key))
        before = definition.revision - 1
        statement = self._replace.bind(*values, before) if before else self._create.bind(*values)
        stored = await self._change(
            statement, key, before, definition, f"the change of recurring schedule {definition.name}"
        )
        if stored != definition:
            raise definition_conflict(stored, definition)

    async def drop_definition(self, definition: Definition) -> None:
        key = DefinitionKey(definition.app_id, definition.recurring_id)
        statement = self._drop.bind(*_key(key), definition.revision)
        stored = await self._change(
            statement, key, definition.revision, None, f"the end of recurring schedule {definition.name}"
        )
        if stored is not None:
            raise drop_conflict(stored, definition)

    async def _change(
        self, statement: Any, key: DefinitionKey, before: int, wanted: Definition | None, what: str
    ) -> Definition | None:
        """Try the LWT until the definition is not at revision `before`; 0: there is none."""
        return await change(
            self._session,
            statement,
            lambda: self._fetch_serial(key),
            wanted=wanted,
            is_before=lambda found: (0 if found is None else found.revision) == before,
            what=what,
        )

    async def _fetch_serial(self, key: DefinitionKey) -> Definition | None:
        records = await self._session.read(self._get.bind(*_key(key)), is_serial=True)
        return read_definition(*key, *records[0]) if records else None

    async def list_definitions(self, app_id: str, after: UUID | None, limit: int) -> list[Definition]:
        after = after or _FIRST_ID
        found: list[Definition] = []
        shards = range(_shard(after), SHARDS)
        for n in range(0, len(shards), SHARDS_AT_ONCE):
            statements = [
                self._list.bind(app_id, shard, after, limit) for shard in shards[n : n + SHARDS_AT_ONCE]
            ]
            for records in await self._session.read_all(statements):
                found += [read_definition(app_id, *record) for record in records]
            if len(found) >= limit:
                break
        return await self._complete(found[:limit])

    async def delete_all(self, app_id: str) -> None:
        """Forget the definitions of an app. By LWT as they are written: of the other writes and this one the
        server says which was later."""
        for n in range(ROUNDS):
            page = await self.list_definitions(app_id, None, 100)
            if not page:
                return
            keys = [DefinitionKey(app_id, each.recurring_id) for each in page]
            answers = await asyncio.gather(
                *(self._session.write_if(self._delete.bind(*_key(key))) for key in keys)
            )
            if None in answers:
                await back_off(n)
        raise OutcomeUnknown(f"Cassandra: no answer to the end of recurring schedules of app {app_id}")

    async def fetch_runs(
        self, key: DefinitionKey, from_ms: int, upto_ms: int, limit: int, *, newest_first: bool = False
    ) -> list[RunEntry]:
        weeks: Sequence[int] = range(from_ms // RUNS_WINDOW_MS, upto_ms // RUNS_WINDOW_MS + 1)
        weeks = weeks[::-1] if newest_first else weeks
        found: list[RunEntry] = []
        for n in range(0, len(weeks), WEEKS_AT_ONCE):
            statements: list[Any] = [
                self._get_runs[newest_first].bind(*key, week, from_ms, upto_ms, limit - len(found))
                for week in weeks[n : n + WEEKS_AT_ONCE]
            ]
            for records in await self._session.read_all(statements):
                found += [RunEntry(*record) for record in records]
            if len(found) >= limit:
                break
        return found[:limit]


def run_entry(put_run: Prepared, row: Row, run: RunOf, ttl: bytes) -> tuple[bytes, Query]:
    """Return what files the entry of a row that is a run, for the batch of the row."""
    key = (row.place.app_id.encode(), run.recurring_id.bytes, pack_int(run.nominal_ms // RUNS_WINDOW_MS))
    values = (*key, pack_long(run.nominal_ms), row.schedule.schedule_id.bytes, ttl)
    return routing_key(*key), put_run.in_batch(values)


def _key(key: DefinitionKey) -> tuple[str, int, UUID]:
    return key.app_id, _shard(key.recurring_id), key.recurring_id


def _shard(recurring_id: UUID) -> int:
    return recurring_id.int >> _SHARD_SHIFT
