"""Operations of `OperatorStore` and `DamageStore`: an operator's reads, and notes of damaged records."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import islice
from typing import Any, Self

from ringtime_shared.buckets import first_slot
from ringtime_shared.models.app import Instance
from ringtime_shared.models.damage import Damage
from ringtime_shared.stores.cassandra.migrate import fetch_applied, read_steps
from ringtime_shared.stores.cassandra.rows import IS_DONE, pack_int, routing_key
from ringtime_shared.stores.cassandra.schedules import MINUTES_PER_DAY
from ringtime_shared.stores.cassandra.session import (
    PARTITIONS_AT_ONCE,
    CqlSession,
    Prepared,
    alike,
    pack_list,
)
from ringtime_shared.stores.codec.cells import KEPT_MS
from ringtime_shared.stores.protocol import LAST_ID, IndexEntry, Position, ReceiptPage, ids_in

ROWS_PER_READ = 500

_GET_BUCKETS = (
    "SELECT bucket, partition FROM $app_buckets WHERE app_id = ? AND day = ? AND bucket >= ? AND bucket <= ?"
)
_GET_FIRST_BUCKETS = f"{_GET_BUCKETS} LIMIT ?"
_GET_MANY_BUCKETS = (
    "SELECT app_id, bucket, partition FROM $app_buckets"
    " WHERE app_id IN ? AND day = ? AND bucket >= ? AND bucket <= ? PER PARTITION LIMIT ?"
)
_OF_BUCKET = "FROM $schedules WHERE app_id = ? AND partition = ? AND bucket = ?"
_GET_DONE = (
    f"SELECT slot_ms, schedule_id, expires_ms, {IS_DONE} {_OF_BUCKET}"
    " AND (slot_ms, schedule_id) > (?, ?) LIMIT ?"
)
_GET_ALL_MOVED = "SELECT app_id, bucket, partition FROM $moved WHERE hour = ?"
_GET_MOVED = f"{_GET_ALL_MOVED} AND app_id = ?"
_GET_RECEIPTS = (
    "SELECT ids FROM $receipts WHERE app_id = ? AND partition = ? AND bucket = ? AND ids > ? LIMIT ?"
)
_GET_LAST = f"SELECT slot_ms {_OF_BUCKET} ORDER BY slot_ms DESC LIMIT 1"


class OperatorReads:
    """`OperatorStore` without the terms, `ReceiptStore` and `MovedStore`, on one session."""

    def __init__(self, session: CqlSession, statements: Sequence[Prepared]) -> None:
        """Use `prepare`."""
        self._session = session
        (
            self._get_buckets,
            self._get_first_buckets,
            self._get_many_buckets,
            self._get_done,
            self._get_last,
            self._get_receipts,
            self._get_moved,
            self._get_all_moved,
        ) = statements

    @classmethod
    async def prepare(cls, session: CqlSession) -> Self:
        return cls(
            session,
            await session.prepare(
                _GET_BUCKETS,
                _GET_FIRST_BUCKETS,
                _GET_MANY_BUCKETS,
                _GET_DONE,
                _GET_LAST,
                _GET_RECEIPTS,
                _GET_MOVED,
                _GET_ALL_MOVED,
            ),
        )

    async def fetch_app_buckets(
        self, app_id: str, first: int, last: int, limit: int | None = None
    ) -> list[IndexEntry]:
        days = range(first // MINUTES_PER_DAY, last // MINUTES_PER_DAY + 1)
        answers = await self._session.read_all(
            [
                self._get_buckets.bind(app_id, day, first, last)
                if limit is None
                else self._get_first_buckets.bind(app_id, day, first, last, limit)
                for day in days
            ]
        )
        entries = (
            IndexEntry(bucket, Instance(app_id, partition))
            for records in answers
            for bucket, partition in records
        )
        return list(islice(entries, limit))

    async def fetch_first_buckets(
        self, app_ids: Sequence[str], first: int, last: int, limit: int
    ) -> dict[str, list[IndexEntry]]:
        apps = [app_id.encode() for app_id in app_ids]
        statements = []
        for day in range(first // MINUTES_PER_DAY, last // MINUTES_PER_DAY + 1):
            number = pack_int(day)
            rest = (number, pack_int(first), pack_int(last), pack_int(limit))
            keys = [routing_key(app, number) for app in apps]
            for numbers in alike([(key, day) for key in keys], self._session):
                for start in range(0, len(numbers), PARTITIONS_AT_ONCE):
                    some = numbers[start : start + PARTITIONS_AT_ONCE]
                    values = (pack_list([apps[n] for n in some]), *rest)
                    statements.append(self._get_many_buckets.for_many(values, keys[some[0]]))
        entries: dict[str, list[IndexEntry]] = {}
        for records in await self._session.read_all(statements):  # day by day
            for app_id, bucket, partition in records:
                of_app = entries.setdefault(app_id, [])
                if len(of_app) < limit:
                    of_app.append(IndexEntry(bucket, Instance(app_id, partition)))
        return entries

    async def count_live(self, entries: Sequence[IndexEntry], most: int) -> list[int]:
        """Rows that are not live count towards the limit of a read, so a bucket may take several."""
        counts = [0] * len(entries)
        left = {
            n: Position(first_slot(entry.bucket) - 1, LAST_ID) for n, entry in enumerate(entries) if most > 0
        }
        while left:
            asked = list(left.items())
            answers = await self._session.read_all(
                [self._rows_after(entries[n], after) for n, after in asked]
            )
            for (n, _), records in zip(asked, answers, strict=True):
                counts[n] += sum(
                    is_cancelled is is_moved is has_outcome is None and expires_ms is not None
                    for _, _, expires_ms, is_cancelled, is_moved, has_outcome in records
                )
                if len(records) < ROWS_PER_READ or counts[n] >= most:
                    del left[n]
                else:
                    left[n] = Position(records[-1][0], records[-1][1])
        return [min(count, most) for count in counts]

    def _rows_after(self, entry: IndexEntry, after: Position) -> Any:
        bucket, (app_id, partition) = entry
        return self._get_done.bind(app_id, partition, bucket, after.slot_ms, after.schedule_id, ROWS_PER_READ)

    async def fetch_last_slots(self, entries: Sequence[IndexEntry]) -> list[int | None]:
        answers = await self._session.read_all(
            [self._get_last.bind(app_id, partition, bucket) for bucket, (app_id, partition) in entries]
        )
        return [records[0][0] if records else None for records in answers]

    async def fetch_receipts(self, entry: IndexEntry, after: bytes | None, limit: int) -> ReceiptPage:
        bucket, (app_id, partition) = entry
        found = await self._session.read(
            self._get_receipts.bind(app_id, partition, bucket, after or b"", limit)
        )
        return ReceiptPage(
            [each for (ids,) in found for each in ids_in(bytes(ids))],
            bytes(found[-1][0]) if len(found) == limit else None,
        )

    async def fetch_moved(self, first: int, last: int, app_id: str = "") -> list[IndexEntry]:
        hours = range(first // 60, last // 60 + 1)
        answers = await self._session.read_all(
            [
                self._get_moved.bind(hour, app_id) if app_id else self._get_all_moved.bind(hour)
                for hour in hours
            ]
        )
        return sorted(
            IndexEntry(bucket, Instance(each, partition))
            for records in answers
            for each, bucket, partition in records
            if first <= bucket <= last
        )

    async def fetch_schema(self) -> tuple[int, int]:
        return (await fetch_applied(self._session)).version, read_steps()[-1].version


_SHARDS = 16
_DAMAGE = "in_table, record, app_id, fault, found_ms"
_PUT_DAMAGE = f"INSERT INTO $damage (shard, {_DAMAGE}) VALUES (?, ?, ?, ?, ?, ?) USING TTL {KEPT_MS // 1_000}"
_GET_DAMAGE = f"SELECT {_DAMAGE} FROM $damage WHERE shard = ? LIMIT ?"


class DamageTable:
    """`DamageStore` on one session."""

    def __init__(self, session: CqlSession, statements: Sequence[Prepared]) -> None:
        """Use `prepare`."""
        self._session = session
        self._put, self._get = statements

    @classmethod
    async def prepare(cls, session: CqlSession) -> Self:
        return cls(session, await session.prepare(_PUT_DAMAGE, _GET_DAMAGE))

    async def put_damage(self, notes: Sequence[Damage]) -> None:
        await self._session.write(
            [
                self._put.bind(
                    zlib.crc32(f"{note.table} {note.key}".encode()) % _SHARDS,
                    note.table,
                    note.key,
                    note.app_id,
                    note.fault,
                    note.found_ms,
                )
                for note in notes
            ]
        )

    async def fetch_damage(self, limit: int) -> list[Damage]:
        answers = await self._session.read_all([self._get.bind(shard, limit) for shard in range(_SHARDS)])
        notes = [
            Damage(table=table, key=key, app_id=app_id or "", fault=fault or "", found_ms=found_ms or 0)
            for records in answers
            for table, key, app_id, fault, found_ms in records
        ]
        return sorted(notes, key=lambda note: note.found_ms, reverse=True)[:limit]
