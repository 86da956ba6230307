"""Operations of `KeyStore`: a key is written once, each later note of it has a cell of its own, so no write
needs an LWT, and none can undo a revocation."""

from __future__ import annotations

import zlib
from operator import itemgetter
from typing import Self

from ringtime_shared.access.keys import ApiKey
from ringtime_shared.errors import NotFound
from ringtime_shared.stores.cassandra.session import CqlSession, Prepared
from ringtime_shared.stores.codec.documents import encode_api_key, read_api_key

_SHARDS = 16
_KEPT_S = 365 * 86_400  #: a use that is noted of a key which was dropped just then goes in the end
_BY_KEY = "WHERE shard = ? AND key_id = ?"
_COLUMNS = "key_id, facts, revoked_ms, used_ms, retires_ms"
_PUT = "INSERT INTO $api_keys (shard, key_id, facts) VALUES (?, ?, ?)"
_GET = f"SELECT {_COLUMNS} FROM $api_keys {_BY_KEY}"
_LIST = f"SELECT {_COLUMNS} FROM $api_keys WHERE shard = ? AND key_id > ? LIMIT ?"
_REVOKE = f"UPDATE $api_keys SET revoked_ms = ? {_BY_KEY}"
_RETIRE = f"UPDATE $api_keys SET retires_ms = ? {_BY_KEY}"
_USE = f"UPDATE $api_keys USING TTL {_KEPT_S} SET used_ms = ? {_BY_KEY}"
_DROP = f"DELETE FROM $api_keys {_BY_KEY}"


class ApiKeyTable:
    """`KeyStore` on one session."""

    def __init__(self, session: CqlSession, *statements: Prepared) -> None:
        """Use `prepare`."""
        self._session = session
        self._put, self._get, self._list, self._revoke, self._retire, self._use, self._drop = statements

    @classmethod
    async def prepare(cls, session: CqlSession) -> Self:
        return cls(session, *await session.prepare(_PUT, _GET, _LIST, _REVOKE, _RETIRE, _USE, _DROP))

    async def put_key(self, key: ApiKey) -> None:
        if await self.fetch_key(key.key_id) is None:
            await self._session.write([self._put.bind(*_key_of(key.key_id), encode_api_key(key))])

    async def fetch_key(self, key_id: str) -> ApiKey | None:
        for record in await self._session.read(self._get.bind(*_key_of(key_id))):
            if record[1] is not None:
                return read_api_key(*record)
        return None

    async def list_keys(self, after: str, limit: int) -> list[ApiKey]:
        """Rows without facts count towards the limit of a read, so one that is full may go on past it."""
        answers = await self._session.read_all(
            [self._list.bind(shard, after, limit) for shard in range(_SHARDS)]
        )
        found = sorted((record for records in answers for record in records), key=itemgetter(0))
        return [read_api_key(*record) for record in found if record[1] is not None][:limit]

    async def revoke_key(self, key_id: str, at_ms: int) -> None:
        if await self.fetch_key(key_id) is None:
            raise NotFound("key", key_id)
        await self._session.write([self._revoke.bind(at_ms, *_key_of(key_id))])

    async def retire_key(self, key_id: str, at_ms: int) -> None:
        if await self.fetch_key(key_id) is None:
            raise NotFound("key", key_id)
        await self._session.write([self._retire.bind(at_ms, *_key_of(key_id))])

    async def note_key_use(self, key_id: str, at_ms: int) -> None:
        await self._session.write([self._use.bind(at_ms, *_key_of(key_id))])

    async def drop_key(self, key_id: str) -> None:
        await self._session.write([self._drop.bind(*_key_of(key_id))])


def _key_of(key_id: str) -> tuple[int, str]:
    return zlib.crc32(key_id.encode()) % _SHARDS, key_id
