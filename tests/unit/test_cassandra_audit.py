"""What the audit log of Cassandra writes; that entries come back is in tests/contract."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from ringtime_shared.errors import StoreUnavailable
from ringtime_shared.models.audit import AuditEntry
from ringtime_shared.stores.cassandra.audit import DAY_MS, SLICE_MS, AuditTables
from ringtime_shared.stores.cassandra.rows import pack_int
from ringtime_shared.stores.cassandra.session import Prepared

NOW_MS = 1_800_000_000_000 // DAY_MS * DAY_MS
ENTRY, SLICE = b"put", b"put slice"


class FakeSession:
    """Keeps what is written, or fails."""

    keyspace = "ks"

    def __init__(self) -> None:
        self.written: list[list[tuple[bytes, tuple[bytes, ...]]]] = []
        self.is_away = False

    def replicas_of(self, routing_key: bytes) -> None:
        return None

    async def write(self, batches: Any) -> None:
        await asyncio.sleep(0)
        if self.is_away:
            raise StoreUnavailable("away")
        self.written += [
            [(query_id, values) for _, query_id, values in batch._statements_and_parameters]
            for batch in batches
        ]

    def count(self, query_id: bytes) -> int:
        return sum(each == query_id for batch in self.written for each, _ in batch)


def make_tables(session: FakeSession) -> AuditTables:
    names = (ENTRY, SLICE, b"", b"", b"", b"", b"")
    statements = [Prepared(SimpleNamespace(query_id=name), "ks") for name in names]
    return AuditTables(cast(Any, session), statements, lambda: NOW_MS)


def make_entry(number: int, *, app_id: str = "shop", expires_ms: int = 0) -> AuditEntry:
    return AuditEntry(
        entry_id=UUID(int=number),
        at_ms=NOW_MS + number,
        operator="ana",
        action="apps create",
        subject=app_id,
        app_id=app_id,
        before="",
        after="",
        expires_ms=expires_ms,
    )


async def test_entries_of_one_moment_are_one_write_and_say_once_where_they_are() -> None:
    session = FakeSession()
    tables = make_tables(session)
    await asyncio.gather(*(tables.put_audit(make_entry(n, app_id=f"app-{n}")) for n in range(50)))
    assert len(session.written) == 2, "the first goes at once, the others together"
    assert (session.count(ENTRY), session.count(SLICE)) == (100, 51)
    await tables.put_audit(make_entry(50, app_id="app-0"))
    assert (session.count(ENTRY), session.count(SLICE)) == (102, 51)
    await tables.put_audit(make_entry(SLICE_MS, app_id="app-0"))
    assert session.count(SLICE) == 53, "another ten minutes"


async def test_where_an_entry_is_is_said_again_if_it_was_not_written() -> None:
    session = FakeSession()
    tables = make_tables(session)
    session.is_away = True
    with pytest.raises(StoreUnavailable):
        await tables.put_audit(make_entry(1))
    session.is_away = False
    await tables.put_audit(make_entry(2))
    assert session.count(SLICE) == 2


async def test_what_says_where_entries_are_outlasts_each_of_them() -> None:
    session = FakeSession()
    tables = make_tables(session)
    days = (10, 9, 11, 0, 400, 0)  # 0: for ever
    for number, kept in enumerate(days):
        await tables.put_audit(make_entry(number, expires_ms=kept and NOW_MS + kept * DAY_MS))
    told = [
        int.from_bytes(values[-1]) for batch in session.written for each, values in batch if each == SLICE
    ]
    assert told == [86_400 * 11, 86_400 * 11, 86_400 * 12, 86_400 * 12, 0, 0]
    past = make_entry(9, expires_ms=NOW_MS - 5_000)
    await tables.put_audit(past)
    assert session.written[-1][0][1][-1] == pack_int(1), "not 0, which would be for ever"
