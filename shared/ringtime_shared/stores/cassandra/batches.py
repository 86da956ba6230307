"""Statements of one call, put together into few unlogged batches.

A batch is cheaper than its statements one by one if one node can carry it out, so statements are grouped
by the replicas of their partition. It stays under the server's limits: a batch over several partitions
fails from 50 KiB on (a batch within one partition has no such limit, so a large row may go alone).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple, Protocol

from ringtime_shared.stores.cassandra.session import Query, RawBatch

MAX_BYTES = 40 * 1024
_BYTES_PER_STATEMENT = 160  # what a row with ten cells takes besides its values


class Item(NamedTuple):
    """One statement, and what goes into its batch if there is room."""

    routing_key: bytes
    query: Query
    companions: Sequence[tuple[bytes, Query]] = ()


class Layout(Protocol):
    """What a session knows of where partitions are."""

    keyspace: str

    def replicas_of(self, routing_key: bytes) -> Hashable: ...


def make_batches(items: Iterable[Item], layout: Layout, max_items: int) -> list[RawBatch]:
    """Return batches that hold all items, at most `max_items` each; companions are not counted."""
    by_key: dict[bytes, list[Item]] = defaultdict(list)
    for item in items:
        by_key[item.routing_key].append(item)
    by_replicas: dict[Hashable, list[Item]] = defaultdict(list)
    for routing_key, group in by_key.items():
        by_replicas[layout.replicas_of(routing_key)].extend(group)
    return [batch for group in by_replicas.values() for batch in _pack(group, layout.keyspace, max_items)]


def _pack(items: Sequence[Item], keyspace: str, max_items: int) -> Iterable[RawBatch]:
    filling = _Filling()
    for item in items:
        size = _size(item.query)
        if filling.items == max_items or (filling.queries and filling.size + size > MAX_BYTES):
            yield filling.close(keyspace)
            filling = _Filling()
        filling.items += 1
        filling.add(item.routing_key, item.query, size)
        for routing_key, query in item.companions:
            size = _size(query)
            if filling.size + size > MAX_BYTES:
                yield filling.close(keyspace)
                filling = _Filling()
            filling.add(routing_key, query, size)
    if filling.queries:
        yield filling.close(keyspace)


def _size(query: Query) -> int:
    return _BYTES_PER_STATEMENT + sum([len(value) for value in query[2] if value is not None])


class _Filling:
    """A batch that is being filled."""

    def __init__(self) -> None:
        self.items = 0
        self.size = 0
        self.queries: list[Query] = []
        self._keys: dict[bytes, None] = {}

    def add(self, routing_key: bytes, query: Query, size: int) -> None:
        self.size += size
        self.queries.append(query)
        self._keys[routing_key] = None

    def close(self, keyspace: str) -> RawBatch:
        return RawBatch(self.queries, keyspace, next(iter(self._keys)), spans_partitions=len(self._keys) > 1)
