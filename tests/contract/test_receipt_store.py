"""Every ReceiptStore and MovedStore driver passes this file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID

from tests.contract.builders import (
    BUCKET,
    NOW_MS,
    START_MS,
    make_app,
    make_move,
    make_outcome,
    make_row,
    make_rows,
    make_update,
)

from ringtime_shared.clock import ManualClock
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.hooks import HookEvent, HookOf
from ringtime_shared.models.schedule import Row
from ringtime_shared.models.sending import Sending
from ringtime_shared.settings import EmbeddedSettings
from ringtime_shared.stores.protocol import RECEIPT_MARGIN_MS, IndexEntry, Store
from ringtime_shared.stores.sqlite import SqliteStore

ENTRY_IDS = 70  # more than one receipt holds


def entry_at(app: App, partition: int = 0, bucket: int = BUCKET) -> IndexEntry:
    return IndexEntry(bucket, Instance(app.app_id, partition))


async def ids_at(store: Store, entry: IndexEntry, limit: int = 100) -> set[UUID]:
    """Return what all receipts of a minute tell of."""
    found: set[UUID] = set()
    after: bytes | None = None
    while True:
        page = await store.fetch_receipts(entry, after, limit)
        found |= set(page.schedule_ids)
        if page.next is None:
            return found
        after = page.next


def ids_of(rows: list[Row]) -> set[UUID]:
    return {row.schedule.schedule_id for row in rows}


async def test_they_tell_what_was_filed_by_minute_and_partition(store: Store, app: App) -> None:
    rows = make_rows(app, [START_MS + n for n in range(ENTRY_IDS)])
    beside, later = make_row(app, START_MS, 1), make_row(app, START_MS + 60_000)
    await store.put_rows([*rows, beside, later])
    assert await ids_at(store, entry_at(app)) == ids_of(rows)
    assert await ids_at(store, entry_at(app), limit=1) == ids_of(rows)
    assert await ids_at(store, entry_at(app, 1)) == ids_of([beside])
    assert await ids_at(store, entry_at(app, 0, BUCKET + 1)) == ids_of([later])
    assert await ids_at(store, entry_at(app, 2)) == set()
    assert await ids_at(store, entry_at(make_app())) == set()


async def test_filings_one_by_one_add_up(store: Store, app: App) -> None:
    rows = make_rows(app, [START_MS + n for n in range(5)])
    for row in rows:
        await store.put_rows([row])
    await store.put_rows(rows[1:3])  # again: their answer was lost
    await store.put_rows([rows[0]])
    assert await ids_at(store, entry_at(app), limit=2) == ids_of(rows)


async def test_what_stands_for_no_schedule_has_none(store: Store, app: App) -> None:
    home = make_row(app)
    hook_of = HookOf(schedule_id=home.schedule.schedule_id, event=HookEvent.MISSED)
    hook = make_row(app, START_MS + 2, sending=Sending(hook_of=hook_of))
    await store.put_rows([home, make_move(home, START_MS + 4), hook])
    assert await ids_at(store, entry_at(app)) == ids_of([home])


async def test_they_end_before_their_rows(store: Store, app: App, clock: ManualClock) -> None:
    """So a row that has expired is not missed: of those filed together, the first counts."""
    short = make_row(app, START_MS + 1)
    short = replace(short, schedule=replace(short.schedule, expires_ms=NOW_MS + 2 * 86_400_000))
    await store.put_rows([make_row(app), short])
    assert await ids_at(store, entry_at(app))
    clock.advance(2 * 86_400_000 - RECEIPT_MARGIN_MS)
    if type(store).__name__ != "CassandraStore":  # which counts by its own clock
        assert short.schedule.schedule_id not in await ids_at(store, entry_at(app))


async def test_a_row_filed_again_for_longer_is_told_of_for_longer(
    store: Store, app: App, clock: ManualClock
) -> None:
    row = make_row(app)
    await store.put_rows([row])
    longer = replace(row, schedule=replace(row.schedule, expires_ms=row.schedule.expires_ms + 86_400_000))
    await store.put_rows([longer])
    clock.advance(row.schedule.expires_ms - NOW_MS)
    assert await ids_at(store, entry_at(app)) == ids_of([row])


async def test_without_them_nothing_is_told(clock: ManualClock, tmp_path: Path) -> None:
    store = await SqliteStore.open(
        tmp_path / "data", now_ms=clock.now_ms, settings=EmbeddedSettings(receipts=False)
    )
    try:
        app = await store.create_app(make_app())
        await store.for_new().put_rows([make_row(app)])
        assert await ids_at(store, entry_at(app)) == set()
    finally:
        await store.close()


class TestMoved:
    async def test_minutes_with_a_pointer_are_noted_and_no_others(self, store: Store, app: App) -> None:
        rows = make_rows(app, [START_MS, START_MS + 1, START_MS + 60_000])
        far, beside = make_row(app, START_MS + 3 * 3_600_000), make_row(app, START_MS, 1)
        await store.put_rows([*rows, far, beside])
        later = rows[0].place._replace(slot_ms=START_MS + 120_000)
        await store.put_updates([make_update(row, None, later) for row in (*rows[:2], far)])
        await store.put_updates([make_update(beside, make_outcome())])
        hours = (BUCKET - 60, BUCKET + 240)
        noted = [entry_at(app), entry_at(app, 0, BUCKET + 180)]
        assert await store.fetch_moved(*hours, app.app_id) == noted
        assert await store.fetch_moved(BUCKET, BUCKET, app.app_id) == noted[:1]
        assert await store.fetch_moved(BUCKET + 1, BUCKET + 179, app.app_id) == []
        assert [
            each for each in await store.fetch_moved(*hours) if each.instance.app_id == app.app_id
        ] == noted

    async def test_a_pointer_of_a_row_that_is_not_there_is_noted_or_not(self, store: Store, app: App) -> None:
        row = make_row(app)
        await store.put_updates([make_update(row, None, row.place._replace(slot_ms=START_MS + 9))])
        assert await store.fetch_moved(BUCKET, BUCKET, app.app_id) in ([], [entry_at(app)])
