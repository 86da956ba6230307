"""Operations of `AliasStore`: one partition an alias, written in batches of the partitions of one node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self
from uuid import UUID

from ringtime_shared.models.alias import Alias
from ringtime_shared.stores.cassandra.rows import pack_int, ttl_s
from ringtime_shared.stores.cassandra.session import CqlSession, Item, Prepared, make_batches

_PUT = "INSERT INTO $aliases (alias, schedule_id) VALUES (?, ?) USING TTL ?"
_GET = "SELECT schedule_id FROM $aliases WHERE alias = ?"
_ROWS_PER_BATCH = 64


class AliasTable:
    """`AliasStore` on one session."""

    def __init__(self, session: CqlSession, put: Prepared, get: Prepared, now_ms: Callable[[], int]) -> None:
        """Use `prepare`."""
        self._session = session
        self._put = put
        self._get = get
        self._now_ms = now_ms

    @classmethod
    async def prepare(cls, session: CqlSession, now_ms: Callable[[], int]) -> Self:
        put, get = await session.prepare(_PUT, _GET)
        return cls(session, put, get, now_ms)

    async def put_aliases(self, aliases: Sequence[Alias]) -> None:
        now_ms = self._now_ms()
        items = [
            Item(each.alias.bytes, self._put.in_batch((each.alias.bytes, each.schedule_id.bytes, ttl)))
            for each in aliases
            for ttl in [pack_int(_ttl_s(each.expires_ms, now_ms))]
        ]
        if items:
            await self._session.write(make_batches(items, self._session, _ROWS_PER_BATCH))

    async def fetch_aliases(self, aliases: Sequence[UUID]) -> dict[UUID, UUID]:
        asked = list(dict.fromkeys(aliases))
        answers = await self._session.read_all([self._get.bind(each) for each in asked])
        return {
            alias: schedule_id
            for alias, records in zip(asked, answers, strict=True)
            for (schedule_id,) in records
        }


def _ttl_s(expires_ms: int | None, now_ms: int) -> int:
    """Return the TTL to write with: at least a second, 0 for ever."""
    return 0 if expires_ms is None else ttl_s(max(expires_ms, now_ms + 1_000), now_ms)
