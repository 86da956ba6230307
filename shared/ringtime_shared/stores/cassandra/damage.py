"""Operations of `DamageStore`."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Self

from ringtime_shared.models.damage import Damage
from ringtime_shared.stores.cassandra.session import CqlSession, Prepared
from ringtime_shared.stores.codec import KEPT_MS

_SHARDS = 16
_COLUMNS = "in_table, record, app_id, fault, found_ms"
_PUT = f"INSERT INTO $damage (shard, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?) USING TTL {KEPT_MS // 1_000}"
_GET = f"SELECT {_COLUMNS} FROM $damage WHERE shard = ? LIMIT ?"


class DamageTable:
    """`DamageStore` on one session."""

    def __init__(self, session: CqlSession, statements: Sequence[Prepared]) -> None:
        """Use `prepare`."""
        self._session = session
        self._put, self._get = statements

    @classmethod
    async def prepare(cls, session: CqlSession) -> Self:
        return cls(session, await session.prepare(_PUT, _GET))

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
