"""Operations of `DueStore`: one statement a query, all within one partition, many at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self
from uuid import UUID

from ringtime_shared.buckets import first_slot, last_slot
from ringtime_shared.models.app import Instance
from ringtime_shared.stores.cassandra.bridge import Record
from ringtime_shared.stores.cassandra.encoding import pack_int, pack_long
from ringtime_shared.stores.cassandra.known import Known
from ringtime_shared.stores.cassandra.rows import CREATED_AND_EXTRAS, IS_DONE, read_live_rows
from ringtime_shared.stores.cassandra.session import CqlSession, Prepared
from ringtime_shared.stores.protocol import LAST_ID, DuePage, DueQuery, IndexEntry, Position

_RANGE = (
    "FROM $schedules WHERE app_id = ? AND partition = ? AND bucket = ?"
    " AND (slot_ms, schedule_id) > (?, ?) AND (slot_ms) <= (?) LIMIT ?"
)
_GET_DUE = f"SELECT {CREATED_AND_EXTRAS}, {IS_DONE} {_RANGE}"
_GET_IDS = f"SELECT slot_ms, schedule_id, expires_ms, {IS_DONE} {_RANGE}"
_GET_INDEX = "SELECT app_id, partition FROM $due_index WHERE bucket = ? AND shard = ?"


class Due:
    """`DueStore` on one session."""

    def __init__(
        self, session: CqlSession, statements: Sequence[Prepared], shards: int, expiries: Known[UUID]
    ) -> None:
        """Use `prepare`."""
        self._session = session
        self._get_due, self._get_ids, self._get_index = statements
        self._shards = shards
        self._expiries = expiries

    @classmethod
    async def prepare(cls, session: CqlSession, shards: int, expiries: Known[UUID]) -> Self:
        return cls(session, await session.prepare(_GET_DUE, _GET_IDS, _GET_INDEX), shards, expiries)

    async def fetch_index(self, first: int, last: int) -> list[IndexEntry]:
        keys = [(bucket, shard) for bucket in range(first, last + 1) for shard in range(self._shards)]
        statements = [self._get_index.with_raw((pack_int(bucket), pack_int(shard))) for bucket, shard in keys]
        answers = await self._session.read_all(statements)
        return [
            IndexEntry(bucket, Instance(app_id, partition))
            for (bucket, _), records in zip(keys, answers, strict=True)
            for app_id, partition in records
        ]

    async def fetch_due(self, queries: Sequence[DueQuery]) -> list[DuePage]:
        answers = await self._session.read_all([_bind(self._get_due, query) for query in queries])
        return [self._page(query, records) for query, records in zip(queries, answers, strict=True)]

    def _page(self, query: DueQuery, records: list[Record]) -> DuePage:
        rows, damaged = read_live_rows(*query.instance, records)
        self._expiries.update({row.schedule.schedule_id: row.schedule.expires_ms for row in rows})
        return DuePage(rows, _next(query, records), damaged)

    async def fetch_live_ids(self, queries: Sequence[DueQuery]) -> list[list[Position]]:
        found: list[list[Position]] = [[] for _ in queries]
        left = dict(enumerate(queries))
        while left:
            answers = await self._session.read_all([_bind(self._get_ids, query) for query in left.values()])
            for (n, query), records in zip(list(left.items()), answers, strict=True):
                found[n] += _live_ids(records)
                after = _next(query, records)
                if after is None:
                    del left[n]
                else:
                    left[n] = query._replace(after=after)
        return found


def _bind(statement: Prepared, query: DueQuery) -> Any:
    app_id, partition = query.instance
    after = max(query.after, Position(first_slot(query.bucket) - 1, LAST_ID))
    upto_ms = min(query.upto_ms, last_slot(query.bucket))
    return statement.with_raw(
        (
            app_id.encode(),
            pack_int(partition),
            pack_int(query.bucket),
            pack_long(after.slot_ms),
            after.schedule_id.bytes,
            pack_long(upto_ms),
            pack_int(query.limit),
        )
    )


def _next(query: DueQuery, records: list[Record]) -> Position | None:
    """Rows that are not live count towards the limit."""
    return None if len(records) < query.limit else Position(records[-1][0], records[-1][1])


def _live_ids(records: list[Record]) -> list[Position]:
    return [
        Position(slot_ms, schedule_id)
        for slot_ms, schedule_id, expires_ms, is_cancelled, is_moved, has_outcome in records
        if is_cancelled is is_moved is has_outcome is None and expires_ms is not None
    ]
