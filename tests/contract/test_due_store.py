"""Every DueStore driver passes this file."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from tests.contract.builders import (
    BUCKET,
    START_MS,
    before,
    key_of,
    make_app,
    make_log,
    make_outcome,
    make_query,
    make_row,
    make_rows,
    make_update,
)

from ringtime_shared.buckets import last_slot
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.schedule import Row
from ringtime_shared.stores.protocol import LAST_ID, DueQuery, IdPage, IndexEntry, Position, Store


async def fetch_rows(store: Store, query: DueQuery) -> list[Row]:
    (page,) = await store.fetch_due([query])
    return list(page.rows)


async def walk(store: Store, query: DueQuery) -> list[list[Row]]:
    """Follow `next` to the end."""
    pages = []
    after: Position | None = query.after
    while after is not None:
        (page,) = await store.fetch_due([query._replace(after=after)])
        assert page.next is None or page.next > after
        pages.append(list(page.rows))
        after = page.next
    return pages


async def walk_ids(store: Store, query: DueQuery) -> list[list[Position]]:
    """Follow `next` of the keys to the end."""
    pages = []
    after: Position | None = query.after
    while after is not None:
        (page,) = await store.fetch_live_ids([query._replace(after=after)])
        assert page.next is None or page.next > after
        pages.append(list(page.ids))
        after = page.next
    return pages


async def finish(store: Store, rows: list[Row]) -> None:
    """Make rows not live, by turns in each of the three ways."""
    for n, row in enumerate(rows):
        if n % 3 == 0:
            await store.put_cancel(row.place, row.schedule.schedule_id, START_MS)
        elif n % 3 == 1:
            await store.put_updates([make_update(row, make_outcome())])
        else:
            moved_to = row.place._replace(slot_ms=row.place.slot_ms + 60_000)
            await store.put_updates([make_update(row, moved_to=moved_to)])


async def test_rows_come_in_key_order(store: Store, app: App) -> None:
    rows = make_rows(app, [START_MS + n for n in (30, 10, 20, 10, 0, 59_999)])
    await store.put_rows(rows)
    assert await fetch_rows(store, make_query(app)) == sorted(rows, key=key_of)


async def test_ids_of_one_slot_sort_as_big_endian_numbers(store: Store, app: App) -> None:
    numbers = [1, 255, 256, 1 << 63, (1 << 63) - 1, 1 << 127, (1 << 128) - 1, 0]
    rows = [make_row(app, schedule_id=UUID(int=number)) for number in numbers]
    await store.put_rows(rows)
    found = await fetch_rows(store, make_query(app))
    assert [row.schedule.schedule_id.int for row in found] == sorted(numbers)


@pytest.mark.parametrize(("upto", "count"), [(99, 0), (100, 1), (101, 2), (102, 3), (59_999, 3)])
async def test_upto_is_inclusive(store: Store, app: App, upto: int, count: int) -> None:
    rows = make_rows(app, [START_MS + 100, START_MS + 101, START_MS + 102])
    await store.put_rows(rows)
    assert await fetch_rows(store, make_query(app, upto_ms=START_MS + upto)) == rows[:count]


async def test_after_is_exclusive_in_slot_and_id(store: Store, app: App) -> None:
    rows = make_rows(app, [START_MS + 5] * 4 + [START_MS + 6])
    await store.put_rows(rows)
    for n, row in enumerate(rows):
        assert await fetch_rows(store, make_query(app, after=key_of(row))) == rows[n + 1 :]
    assert await fetch_rows(store, make_query(app, after=Position(START_MS + 5, LAST_ID))) == rows[4:]
    assert await fetch_rows(store, make_query(app, after=Position(START_MS + 5, UUID(int=0)))) == rows


async def test_after_need_not_be_a_row_nor_in_the_bucket(store: Store, app: App) -> None:
    rows = make_rows(app, [START_MS, START_MS + 1])
    await store.put_rows(rows)
    assert await fetch_rows(store, make_query(app, after=Position(0, UUID(int=0)))) == rows
    assert await fetch_rows(store, make_query(app, after=before(START_MS + 1))) == rows[1:]
    assert await fetch_rows(store, make_query(app, after=Position(START_MS + 60_000, LAST_ID))) == []


async def test_a_query_stays_in_its_bucket(store: Store, app: App) -> None:
    ours = make_rows(app, [START_MS, START_MS + 59_999])
    await store.put_rows([make_row(app, START_MS - 1), *ours, make_row(app, START_MS + 60_000)])
    wide = make_query(app, after=before(START_MS - 60_000), upto_ms=START_MS + 10**9)
    assert await fetch_rows(store, wide) == ours
    assert await store.fetch_live_ids([wide]) == [IdPage([key_of(row) for row in ours], None)]


async def test_a_query_stays_with_its_instance(store: Store, app: App) -> None:
    other = await store.create_app(make_app())
    rows = [make_row(app), make_row(app, partition=1), make_row(other)]
    await store.put_rows(rows)
    queries = [make_query(app), make_query(app, 1), make_query(other), make_query(app, 2)]
    pages = await store.fetch_due(queries)
    assert [list(page.rows) for page in pages] == [[rows[0]], [rows[1]], [rows[2]], []]


async def test_no_queries_and_unknown_instances(store: Store) -> None:
    assert await store.fetch_due([]) == []
    assert await store.fetch_live_ids([]) == []
    nobody = make_query(make_app())
    (page,) = await store.fetch_due([nobody])
    assert (list(page.rows), page.next) == ([], None)
    assert await store.fetch_live_ids([nobody]) == [IdPage([], None)]


async def test_pages_come_in_the_order_of_the_queries(store: Store, app: App) -> None:
    rows = make_rows(app, [START_MS, START_MS + 60_000, START_MS + 120_000])
    await store.put_rows(rows)
    queries = [make_query(app, bucket=BUCKET + n, upto_ms=START_MS + 10**6) for n in (2, 0, 1, 0, 7)]
    pages = await store.fetch_due(queries)
    assert [list(page.rows) for page in pages] == [[rows[2]], [rows[0]], [rows[1]], [rows[0]], []]


@pytest.mark.parametrize("limit", [1, 2, 10])
async def test_queries_that_are_alike_but_for_their_app_get_each_its_own(store: Store, limit: int) -> None:
    apps = [make_app() for _ in range(60)]
    filed = {}
    for n, app in enumerate(apps):
        filed[app.app_id] = rows = make_rows(app, [START_MS + k for k in range(n % 4)], partition=n % 2)
        await store.put_rows(rows)
    queries = [make_query(app, n % 2, limit=limit) for n, app in enumerate(apps)]
    queries += [queries[3], queries[7]._replace(limit=2), queries[7]._replace(after=before(START_MS + 1))]
    pages, pages_of_ids = await store.fetch_due(queries), await store.fetch_live_ids(queries)
    for query, page, ids in zip(queries, pages, pages_of_ids, strict=True):
        rows = [row for row in filed[query.instance.app_id] if key_of(row) > query.after][: query.limit]
        assert list(page.rows) == rows
        assert list(ids.ids) == [key_of(row) for row in rows]
        assert page.next == ids.next == (key_of(rows[-1]) if len(rows) == query.limit else None)


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8])
async def test_following_next_meets_every_row_once(store: Store, app: App, limit: int) -> None:
    rows = make_rows(app, [START_MS, START_MS, START_MS, START_MS + 1, START_MS + 2, START_MS + 59_999])
    await store.put_rows(rows)
    pages = await walk(store, make_query(app, limit=limit))
    assert [row for page in pages for row in page] == rows
    assert all(len(page) <= limit for page in pages)
    assert len(pages) <= len(rows) // limit + 1


async def test_next_is_none_when_nothing_is_left(store: Store, app: App) -> None:
    await store.put_rows(make_rows(app, [START_MS + n for n in range(4)]))
    (page,) = await store.fetch_due([make_query(app, limit=5)])
    assert page.next is None
    (page,) = await store.fetch_due([make_query(app, limit=3)])
    assert page.next == key_of(page.rows[-1])
    (page,) = await store.fetch_due([make_query(app, limit=3, after=page.next)])
    assert len(page.rows) == 1
    assert page.next is None


async def test_next_does_not_pass_rows_beyond_upto(store: Store, app: App) -> None:
    rows = make_rows(app, [START_MS, START_MS + 1, START_MS + 2])
    await store.put_rows(rows)
    pages = await walk(store, make_query(app, limit=2, upto_ms=START_MS + 1))
    assert [row for page in pages for row in page] == rows[:2]


@pytest.mark.parametrize("limit", [1, 2, 5, 50])
async def test_only_live_rows_come_and_none_is_passed_over(store: Store, app: App, limit: int) -> None:
    rows = make_rows(app, [START_MS + n // 2 for n in range(30)])
    await store.put_rows(rows)
    finished = rows[:9] + rows[12:21] + rows[28:]
    await finish(store, finished)
    live = [row for row in rows if row not in finished]
    pages = await walk(store, make_query(app, limit=limit))
    assert [row for page in pages for row in page] == live
    assert len(pages) <= len(rows) // limit + 1
    pages_of_ids = await walk_ids(store, make_query(app, limit=limit))
    assert [key for page in pages_of_ids for key in page] == [key_of(row) for row in live]
    assert all(len(page) <= limit for page in pages_of_ids)


async def test_a_bucket_without_live_rows_ends(store: Store, app: App) -> None:
    rows = make_rows(app, [START_MS + n for n in range(6)])
    await store.put_rows(rows)
    await finish(store, rows)
    pages = await walk(store, make_query(app, limit=3))
    assert [row for page in pages for row in page] == []


async def test_following_next_of_the_keys_meets_every_live_row_in_range_once(store: Store, app: App) -> None:
    rows = make_rows(app, [START_MS + n // 3 for n in range(50)])
    await store.put_rows(rows)
    after, upto_ms = key_of(rows[4]), START_MS + 10
    expected = [key_of(row) for row in rows[5:] if row.place.slot_ms <= upto_ms]
    pages = await walk_ids(store, make_query(app, after=after, upto_ms=upto_ms, limit=7))
    assert [key for page in pages for key in page] == expected
    assert {len(page) for page in pages[:-1]} == {7}


async def test_pages_of_keys_come_in_the_order_of_the_queries(store: Store, app: App) -> None:
    rows = make_rows(app, [START_MS, START_MS + 1, START_MS + 60_000])
    await store.put_rows(rows)
    ours, far = make_query(app, limit=1), make_query(app, bucket=BUCKET + 1, upto_ms=START_MS + 10**6)
    found = await store.fetch_live_ids([far, ours, ours._replace(after=key_of(rows[0]), limit=2)])
    assert [list(page.ids) for page in found] == [[key_of(rows[2])], [key_of(rows[0])], [key_of(rows[1])]]
    assert [page.next for page in found] == [None, key_of(rows[0]), None]


async def test_a_read_sees_what_was_written_before_it(store: Store, app: App) -> None:
    for n in range(20):
        row = make_row(app, START_MS + n)
        await store.put_rows([row])
        assert await fetch_rows(store, make_query(app, after=before(START_MS + n))) == [row]
        await store.put_updates([make_update(row, make_outcome())])
        assert await fetch_rows(store, make_query(app, after=before(START_MS + n))) == []


async def test_index_holds_each_instance_and_bucket_once_in_order(store: Store, app: App) -> None:
    minutes = (2, 0, 0, 5, 1)
    for partition in (1, 0):
        slots_ms = [START_MS + minute * 60_000 + 9 for minute in minutes]
        await store.put_rows(make_rows(app, slots_ms, partition))
    found = [
        entry for entry in await store.fetch_index(BUCKET, BUCKET + 2) if entry.instance.app_id == app.app_id
    ]
    assert [entry.bucket for entry in found] == sorted(entry.bucket for entry in found)
    assert sorted(found) == [
        IndexEntry(BUCKET + minute, Instance(app.app_id, partition))
        for minute in range(3)
        for partition in range(2)
    ]


@pytest.mark.parametrize(
    ("first", "last", "is_there"),
    [(0, 0, True), (-1, -1, False), (1, 1, False), (-5, 5, True), (1, 0, False)],
)
async def test_index_bounds_are_inclusive(
    store: Store, app: App, first: int, last: int, is_there: bool
) -> None:
    await store.put_rows([make_row(app, last_slot(BUCKET))])
    entries = await store.fetch_index(BUCKET + first, BUCKET + last)
    assert (IndexEntry(BUCKET, Instance(app.app_id, 0)) in entries) is is_there


async def test_index_entry_stays_when_rows_are_finished(store: Store, app: App) -> None:
    row = make_row(app)
    await store.put_rows([row])
    await store.put_updates([make_update(row, make_outcome())])
    assert IndexEntry(BUCKET, Instance(app.app_id, 0)) in await store.fetch_index(BUCKET, BUCKET)


async def test_rows_are_read_whole_whether_live_or_not(store: Store, app: App) -> None:
    waiting, done, cancelled, moved = rows = make_rows(app, [START_MS + n for n in range(4)])
    other = await store.create_app(make_app())
    await store.put_rows([*rows, make_row(app, partition=1), make_row(other)])
    outcome, there = make_outcome(log=make_log()), moved.place._replace(slot_ms=START_MS + 90_000)
    await store.put_updates([make_update(done, outcome), make_update(moved, moved_to=there)])
    await store.put_cancel(cancelled.place, cancelled.schedule.schedule_id, START_MS)
    whole = [
        waiting,
        replace(done, outcome=outcome),
        replace(cancelled, cancelled_ms=START_MS),
        replace(moved, moved_to=there),
    ]
    page, of_another = await store.fetch_rows([make_query(app), make_query(other)])
    assert (list(page.rows), page.next, list(page.damaged)) == (whole, None, [])
    assert len(of_another.rows) == 1
    first, rest = await store.fetch_rows(
        [make_query(app, limit=3), make_query(app, after=key_of(cancelled), limit=3)]
    )
    assert (list(first.rows), first.next) == (whole[:3], key_of(cancelled))
    assert (list(rest.rows), rest.next) == (whole[3:], None)
    assert await store.fetch_rows([]) == []


async def test_rows_of_many_partitions_are_read_side_by_side(store: Store) -> None:
    """Each with its own, in the order of the queries, up to its own limit, whatever lies beside it."""
    app = await store.create_app(make_app(writable=60, polled=60))
    rows = {
        partition: [make_row(app, START_MS + n, partition) for n in range(partition % 4)]
        for partition in range(60)
    }
    await store.put_rows([row for each in rows.values() for row in each])
    order = [*range(59, -1, -1), 3, 3]
    for limit in (2, 30, 600):
        pages = await store.fetch_rows([make_query(app, partition=n, limit=limit) for n in order])
        for n, page in zip(order, pages, strict=True):
            assert list(page.rows) == rows[n][:limit]
            assert page.next == (key_of(rows[n][limit - 1]) if len(rows[n]) >= limit else None)
    mixed = [
        make_query(app, partition=n % 4, limit=1 + n % 3, after=before(START_MS + n % 2)) for n in range(24)
    ]
    for query, page in zip(mixed, await store.fetch_rows(mixed), strict=True):
        of = [row for row in rows[query.instance.partition] if key_of(row) > query.after]
        assert list(page.rows) == of[: query.limit]
