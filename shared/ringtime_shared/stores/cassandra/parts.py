"""`PartStore`: the part map, one row of `meta`; and the copy of index entries from part to part.

The copy walks `due_index` by token, so it meets the keys that are there and no others, each once, in an order
that no writer disturbs. Its cursor is a token. What it files lasts until no row of its minute can be left,
and as an entry's write time is the time it ends, that wins over a shorter one. Nothing is deleted: a delete
would hide an entry that is filed in the same part later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from ringtime_shared.buckets import last_slot
from ringtime_shared.errors import Damaged
from ringtime_shared.parts import CopyPage, PartMap, group_of, part_of
from ringtime_shared.stores.cassandra.lwt import change
from ringtime_shared.stores.cassandra.rows import ttl_s
from ringtime_shared.stores.cassandra.schedules import PUT_INDEX
from ringtime_shared.stores.cassandra.session import CqlSession, Prepared
from ringtime_shared.stores.codec.documents import encode_parts, read_parts
from ringtime_shared.stores.protocol import parts_conflict

KEYS_AT_ONCE = 500  #: of `due_index`, read and copied before the cursor moves
_LEAST_TOKEN, _TOKENS = -(1 << 63), 1 << 64

_NAME = "due_index_shards"
_GET = f"SELECT number, note FROM $meta WHERE name = '{_NAME}'"
_PUT = f"UPDATE $meta SET number = ?, note = ? WHERE name = '{_NAME}' IF number = ? AND note = ?"
_GET_KEYS = (
    "SELECT DISTINCT bucket, shard, token(bucket, shard) FROM $due_index"
    " WHERE token(bucket, shard) > ? LIMIT ?"
)
_GET_ENTRIES = "SELECT app_id, partition FROM $due_index WHERE bucket = ? AND shard = ?"


class PartTable:
    """`PartStore` on one session."""

    def __init__(
        self, session: CqlSession, statements: Sequence[Prepared], now_ms: Callable[[], int]
    ) -> None:
        """Use `prepare`."""
        self._session = session
        self._get, self._put, self._get_keys, self._get_entries, self._put_index = statements
        self._now_ms = now_ms

    @classmethod
    async def prepare(cls, session: CqlSession, now_ms: Callable[[], int]) -> Self:
        return cls(session, await session.prepare(_GET, _PUT, _GET_KEYS, _GET_ENTRIES, PUT_INDEX), now_ms)

    async def fetch_parts(self) -> PartMap:
        return await self._fetch(is_serial=False)

    async def replace_parts(self, parts: PartMap) -> None:
        stored = await self._fetch(is_serial=True)
        if stored.version == parts.version - 1:
            stored = await self._change(stored, parts)
        if stored != parts:
            raise parts_conflict(stored, parts)

    async def _change(self, before: PartMap, wanted: PartMap) -> PartMap:
        """Try the LWT until the map is no more as it was `before`; return it as it is then."""
        statement = self._put.bind(wanted.written, encode_parts(wanted), before.written, encode_parts(before))
        return await change(
            self._session,
            statement,
            lambda: self._fetch(is_serial=True),
            wanted=wanted,
            is_before=lambda stored: stored == before,
            what="the change of the part map",
        )

    async def _fetch(self, *, is_serial: bool) -> PartMap:
        records = await self._session.read(self._get.bind(), is_serial=is_serial)
        if not records:
            raise Damaged("meta", "part map", "it is not there: run `migrate`")
        return read_parts(*records[0])

    async def copy_entries(self, written: int, cursor: str | None, kept_ms: int) -> CopyPage:
        after = _LEAST_TOKEN if cursor is None else int(cursor)
        keys = await self._session.read(self._get_keys.bind(after, KEYS_AT_ONCE))
        answers = await self._session.read_all(
            [self._get_entries.bind(bucket, shard) for bucket, shard, _ in keys]
        )
        now_ms = self._now_ms()
        puts: list[Any] = []
        for (bucket, shard, _), records in zip(keys, answers, strict=True):
            end_ms = max(last_slot(bucket), now_ms) + kept_ms
            for app_id, partition in records:
                part = part_of(group_of(f"{app_id}.{partition}"), written)
                if part != shard:
                    puts.append(
                        self._put_index.bind(bucket, part, app_id, partition, ttl_s(end_ms, now_ms), end_ms)
                    )
        await self._session.write(puts)
        if len(keys) < KEYS_AT_ONCE:
            return CopyPage(None, 1.0, len(puts))
        token = keys[-1][2]
        return CopyPage(str(token), (token - _LEAST_TOKEN) / _TOKENS, len(puts))
