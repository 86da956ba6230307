"""The operator's side: what stands in etcd, read without a lease, and the drains."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from aetcd import rpc

from ringtime_shared.coordination.etcd.book import Book
from ringtime_shared.coordination.etcd.connection import Connection
from ringtime_shared.coordination.etcd.keys import DrainKey, Layout, drain_to_value, parse_drain
from ringtime_shared.coordination.etcd.requests import absent, delete, present, put, under_lease
from ringtime_shared.coordination.etcd.watching import PAGE, Watching
from ringtime_shared.coordination.protocol import Drain, View
from ringtime_shared.errors import NotFound, OutcomeUnknown, StoreUnavailable
from ringtime_shared.settings import CoordinationSettings

_Found = TypeVar("_Found")


class EtcdOperator:
    """Implements `OperatorCoordination`. Connects at its first call."""

    def __init__(self, settings: CoordinationSettings) -> None:
        self._connection = Connection(settings)
        self._layout = Layout(settings.prefix)

    async def fetch_view(self) -> View:
        async def load() -> View:
            book = Book(self._layout)
            await Watching(self._connection, self._layout, book, lambda: None).load()
            return book.view()

        return await self._read(load)

    async def fetch_drains(self) -> dict[str, Drain]:
        return await self._read(self._load_drains)

    async def put_drain(self, drain: Drain) -> None:
        member, key = self._layout.node_key(drain.node), self._layout.drain_key(drain.node)
        lease = await self._lease_of(drain.node) if drain.ends_with_node else 0
        mark = put(key, drain_to_value(drain), lease)
        if_absent = rpc.RequestOp(request_txn=rpc.TxnRequest(compare=[absent(key)], success=[mark]))
        is_there = under_lease(member, lease) if lease else present(member)
        reply = await self._connection.txn_again(rpc.TxnRequest(compare=[is_there], success=[if_absent]))
        if not reply.succeeded:
            raise NotFound("node", drain.node)

    async def delete_drain(self, node: str) -> None:
        await self._connection.txn_again(rpc.TxnRequest(success=[delete(self._layout.drain_key(node))]))

    async def forget_history(self) -> None:
        await self._connection.txn_again(rpc.TxnRequest(success=[delete(self._layout.identity)]))

    async def close(self) -> None:
        await self._connection.close()

    async def _lease_of(self, node: str) -> int:
        """Return the lease that a member has now, and in no later life. Raises NotFound."""
        found = await self._connection.fetch_range(rpc.RangeRequest(key=self._layout.node_key(node)))
        if not found.kvs:
            raise NotFound("node", node)
        lease: int = found.kvs[0].lease
        return lease

    async def _load_drains(self) -> dict[str, Drain]:
        drains: dict[str, Drain] = {}
        key, end = self._layout.drains
        while True:
            page = await self._connection.fetch_range(rpc.RangeRequest(key=key, range_end=end, limit=PAGE))
            for item in page.kvs:
                place = self._layout.parse(item.key)
                if isinstance(place, DrainKey):
                    drains[place.node] = parse_drain(place.node, item.value, item.lease)
            if not page.more:
                return drains
            key = page.kvs[-1].key + b"\0"

    async def _read(self, load: Callable[[], Awaitable[_Found]]) -> _Found:
        """Ask once more than there are servers: a call that fails moves on to the next one."""
        for _ in self._connection.endpoints:
            try:
                return await load()
            except (StoreUnavailable, OutcomeUnknown):
                continue
        try:
            return await load()
        except OutcomeUnknown as error:
            raise StoreUnavailable(str(error)) from error
