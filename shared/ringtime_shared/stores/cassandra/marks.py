"""Operations of `MarkStore`.

The server fences: every write of a term carries the term as its timestamp, so a write of an older term
loses, whenever it arrives, and of two writes of one term each column keeps the greater value. (The server
compares values as unsigned bytes, which is the order of the numbers as long as they are not negative.)
No row is ever deleted and none has a TTL: either would be a write that knows of no term. No LWT may touch
this table, because it writes under a timestamp of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Self

from ringtime_shared.models.app import Instance
from ringtime_shared.stores.cassandra.rows import pack_int, pack_long
from ringtime_shared.stores.cassandra.session import (
    PARTITIONS_AT_ONCE,
    CqlSession,
    Item,
    Prepared,
    alike,
    make_batches,
    pack_list,
)
from ringtime_shared.stores.codec.rows import read_marks, read_term
from ringtime_shared.stores.protocol import FirstMarks, Marks, MarksWrite

WRITES_PER_BATCH = 100
PARTITIONS_PER_READ = 200
FIRST_TERM = 0

_GET = (
    "SELECT app_id, partition, sealed_ms, settled_ms, term FROM $partition_state"
    " WHERE app_id IN ? AND partition IN ?"
)
_PUT = (
    "INSERT INTO $partition_state (app_id, partition, sealed_ms, settled_ms, term) VALUES (?, ?, ?, ?, ?)"
    " USING TIMESTAMP ?"
)


class MarkTable:
    """`MarkStore` on one session."""

    def __init__(self, session: CqlSession, statements: Sequence[Prepared]) -> None:
        """Use `prepare`."""
        self._session = session
        self._get, self._put = statements

    @classmethod
    async def prepare(cls, session: CqlSession) -> Self:
        return cls(session, await session.prepare(_GET, _PUT))

    async def fetch_marks(self, instances: Sequence[Instance]) -> dict[Instance, Marks]:
        found = await self._fetch(instances)
        return {instance: marks for instance, (marks, _) in found.items()}

    async def fetch_terms(self, instances: Sequence[Instance]) -> dict[Instance, int]:
        found = await self._fetch(instances)
        return {instance: term for instance, (_, term) in found.items()}

    async def _fetch(self, instances: Sequence[Instance]) -> dict[Instance, tuple[Marks, int]]:
        by_app: dict[str, list[int]] = defaultdict(list)
        for app_id, partition in instances:
            by_app[app_id].append(partition)
        asked = [
            (app_id.encode(), tuple(partitions[start : start + PARTITIONS_PER_READ]))
            for app_id, partitions in by_app.items()
            for start in range(0, len(partitions), PARTITIONS_PER_READ)
        ]
        statements = []
        for numbers in alike(asked, self._session):
            first_app, partitions = asked[numbers[0]]
            their_partitions = pack_list([pack_int(partition) for partition in partitions])
            size = max(1, PARTITIONS_AT_ONCE // len(partitions))
            for start in range(0, len(numbers), size):
                apps = pack_list([asked[number][0] for number in numbers[start : start + size]])
                statements.append(self._get.for_many((apps, their_partitions), first_app))
        found = {
            Instance(app_id, partition): (read_marks(sealed_ms, settled_ms), read_term(term))
            for records in await self._session.read_all(statements)
            for app_id, partition, sealed_ms, settled_ms, term in records
        }
        return {instance: found[instance] for instance in instances if instance in found}

    async def put_marks(self, writes: Sequence[MarksWrite]) -> None:
        items = [self._item(write) for write in writes]
        await self._session.write(make_batches(items, self._session, WRITES_PER_BATCH))

    def _item(self, write: MarksWrite) -> Item:
        (app_id, partition), term, marks = write
        app, stamp = app_id.encode(), pack_long(term)
        values = (app, pack_int(partition), pack_long(marks.sealed_ms), pack_long(marks.settled_ms))
        return Item(app, self._put.in_batch((*values, stamp, stamp)))

    async def put_first_marks(self, first: FirstMarks) -> None:
        """Write the marks of those instances that have none.

        Two changes of an app may both find none and write. Both are done before either lets the instance
        be used, so both marks lie before its first row, and it does not matter that the greater stays.
        """
        known = await self._fetch(list(first))
        await self.raise_first_marks({each: first[each] for each in first if each not in known}, {})

    async def raise_first_marks(self, first: FirstMarks, terms: Mapping[Instance, int]) -> None:
        """Write these marks under the terms that the instances have; the greater of each stays."""
        await self.put_marks(
            [MarksWrite(each, terms.get(each, FIRST_TERM), marks) for each, marks in first.items()]
        )
