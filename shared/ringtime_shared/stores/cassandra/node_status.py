"""Operations of `NodeStatusStore`: one partition, in which each node writes over its own row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from ringtime_shared.models.node_status import KEPT_MS, NodeStatus
from ringtime_shared.stores.cassandra.rows import ttl_s
from ringtime_shared.stores.cassandra.session import CqlSession, Prepared
from ringtime_shared.stores.status_codec import encode_status, read_status

_HOME = 0
_PUT = "INSERT INTO $node_status (home, node, at_ms, status) VALUES (?, ?, ?, ?) USING TTL ?"
_GET = "SELECT node, at_ms, status FROM $node_status WHERE home = ?"
_DROP = "DELETE FROM $node_status WHERE home = ? AND node = ?"


class NodeStatusTable:
    """`NodeStatusStore` on one session."""

    def __init__(
        self, session: CqlSession, put: Prepared, get: Prepared, drop: Prepared, now_ms: Callable[[], int]
    ) -> None:
        """Use `prepare`."""
        self._session = session
        self._put = put
        self._get = get
        self._drop = drop
        self._now_ms = now_ms

    @classmethod
    async def prepare(cls, session: CqlSession, now_ms: Callable[[], int]) -> Self:
        put, get, drop = await session.prepare(_PUT, _GET, _DROP)
        return cls(session, put, get, drop, now_ms)

    async def put_node_status(self, status: NodeStatus) -> None:
        now_ms = self._now_ms()
        kept_s = ttl_s(now_ms + KEPT_MS, now_ms)
        await self._session.write(
            [self._put.bind(_HOME, status.node, status.at_ms, encode_status(status), kept_s)]
        )

    async def fetch_node_statuses(self) -> list[NodeStatus]:
        found = await self._session.read(self._get.bind(_HOME))
        return [read_status(*record) for record in found]

    async def drop_node_status(self, node: str) -> None:
        await self._session.write([self._drop.bind(_HOME, node)])
