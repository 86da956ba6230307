"""Every AuditStore driver passes this file."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.contract.builders import NOW_MS

from ringtime_shared.models.audit import AuditEntry
from ringtime_shared.stores.protocol import Store

DAY_MS = 86_400_000
_TIMES = count(1_000 + uuid4().int % 200_000)


def make_entry(at_ms: int = NOW_MS, **changes: Any) -> AuditEntry:
    entry = AuditEntry(
        entry_id=uuid4(),
        at_ms=at_ms,
        operator="ana",
        action="resize begin",
        subject="shop",
        before='{"writable":3}',
        after='{"writable":"ü"}',
    )
    return replace(entry, **changes)


async def audit_of(store: Store, entries: list[AuditEntry], **changes: Any) -> list[AuditEntry]:
    """Return what the log has of these: tests share a database."""
    asked = {"from_ms": NOW_MS - 400 * DAY_MS, "upto_ms": NOW_MS + 400 * DAY_MS, "limit": 10_000} | changes
    ours = {entry.entry_id for entry in entries}
    return [entry for entry in await store.fetch_audit(**asked) if entry.entry_id in ours]


def own_time() -> int:
    """Return a time of the test's own, ten days long: tests share a database."""
    return NOW_MS + 10 * DAY_MS * next(_TIMES)


class TestAudit:
    async def test_an_entry_comes_back_whole(self, store: Store) -> None:
        entries = [make_entry(), make_entry(before="", after="", subject="")]
        for entry in entries:
            await store.put_audit(entry)
        found = await audit_of(store, entries)
        assert sorted(found, key=lambda each: each.entry_id) == sorted(
            entries, key=lambda each: each.entry_id
        )

    async def test_writing_one_again_has_no_effect(self, store: Store) -> None:
        entry = make_entry()
        for _ in range(2):
            await store.put_audit(entry)
        assert await audit_of(store, [entry]) == [entry]

    async def test_those_that_come_at_once_are_each_kept(self, store: Store) -> None:
        apps, base_ms = [f"app-{uuid4().hex}" for _ in range(3)], own_time()
        entries = [make_entry(base_ms + n, app_id=apps[n % 3]) for n in range(300)]
        for part in (entries[:1], entries[1:]):
            await asyncio.gather(*map(store.put_audit, part))
        assert await store.fetch_audit(base_ms, base_ms + 300, 1_000) == entries[::-1]
        for n, app_id in enumerate(apps):
            found = await store.fetch_audit(base_ms, base_ms + 300, 1_000, app_id=app_id)
            assert found == entries[n::3][::-1]

    async def test_newest_first_over_days(self, store: Store) -> None:
        times = [NOW_MS + n * DAY_MS // 2 + 1 for n in range(6)] + [NOW_MS + 80 * DAY_MS]
        entries = [make_entry(at_ms) for at_ms in times]
        for entry in entries:
            await store.put_audit(entry)
        found = await audit_of(store, entries, from_ms=NOW_MS, upto_ms=NOW_MS + 90 * DAY_MS)
        assert found == entries[::-1]

    async def test_both_ends_are_included_and_the_limit_keeps_the_newest(self, store: Store) -> None:
        base_ms = own_time()
        entries = [make_entry(base_ms + n) for n in range(5)]
        for entry in entries:
            await store.put_audit(entry)
        found = await store.fetch_audit(base_ms + 1, base_ms + 3, 10)
        assert found == [entries[3], entries[2], entries[1]]
        assert await store.fetch_audit(base_ms, base_ms + 4, 2) == [entries[4], entries[3]]
        assert await store.fetch_audit(base_ms + 5, base_ms + 9, 2) == []

    async def test_entries_of_one_millisecond_are_all_kept(self, store: Store) -> None:
        entries = [make_entry(entry_id=UUID(int=uuid4().int)) for _ in range(3)]
        for entry in entries:
            await store.put_audit(entry)
        assert len(await audit_of(store, entries)) == 3

    @pytest.mark.parametrize("is_oldest_first", [False, True])
    @pytest.mark.parametrize("size", [1, 2, 3, 7])
    async def test_pages_go_on_after_an_entry_in_either_order(
        self, store: Store, size: int, is_oldest_first: bool
    ) -> None:
        """Over days and slices, and between two of one millisecond."""
        base_ms = own_time()
        times = [0, 0, 0, 1, 700_000, DAY_MS, DAY_MS, 2 * DAY_MS + 5]
        entries = [make_entry(base_ms + at_ms) for at_ms in times]
        for entry in entries:
            await store.put_audit(entry)
        found: list[AuditEntry] = []
        after = None
        while page := await store.fetch_audit(
            base_ms, base_ms + 3 * DAY_MS, size, after=after, is_oldest_first=is_oldest_first
        ):
            assert len(page) <= size
            found += page
            after = page[-1].key
        assert found == sorted(entries, key=lambda each: each.key, reverse=not is_oldest_first)

    async def test_an_app_has_its_own(self, store: Store) -> None:
        base_ms, ours, theirs = own_time(), f"app-{uuid4()}", f"app-{uuid4()}"
        entries = [
            make_entry(base_ms + n * DAY_MS // 3, app_id=app_id)
            for n, app_id in enumerate((ours, theirs, "", ours, ours, theirs))
        ]
        for entry in entries:
            await store.put_audit(entry)
        upto_ms = base_ms + 3 * DAY_MS
        assert await store.fetch_audit(base_ms, upto_ms, 10) == entries[::-1]
        assert await store.fetch_audit(base_ms, upto_ms, 10, app_id=ours) == [entries[n] for n in (4, 3, 0)]
        assert await store.fetch_audit(base_ms, upto_ms, 1, app_id=theirs) == [entries[5]]
        after = entries[4].key
        assert await store.fetch_audit(base_ms, upto_ms, 10, app_id=ours, after=after) == [
            entries[n] for n in (3, 0)
        ]
        assert await store.fetch_audit(base_ms, upto_ms, 10, app_id="app-nobody") == []

    async def test_all_of_an_entry_is_kept(self, store: Store) -> None:
        entry = make_entry(
            own_time(),
            app_id="shop",
            source="10.0.0.7",
            reason="because of ü",
            request_id="r-1",
            about=uuid4(),
            expires_ms=NOW_MS + 10**12,
        )
        await store.put_audit(entry)
        assert await store.fetch_audit(entry.at_ms, entry.at_ms, 2) == [entry]
