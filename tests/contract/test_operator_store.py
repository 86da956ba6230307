"""Every OperatorStore driver passes this file."""

from __future__ import annotations

import pytest
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

from ringtime_shared.buckets import BUCKET_MS, bucket_of, first_slot, last_slot
from ringtime_shared.models.app import App, Instance
from ringtime_shared.stores.protocol import IndexEntry, Marks, MarksWrite, Store

DAY_MS = 86_400_000


def entry_at(app: App, bucket: int = BUCKET, partition: int = 0) -> IndexEntry:
    return IndexEntry(bucket, Instance(app.app_id, partition))


class TestAppBuckets:
    async def test_an_app_without_rows_has_none(self, store: Store, app: App) -> None:
        assert await store.fetch_app_buckets(app.app_id, BUCKET - 10, BUCKET + 10) == []
        assert await store.fetch_app_buckets("app-nobody", BUCKET - 10, BUCKET + 10) == []

    async def test_they_come_by_bucket_and_partition_and_only_once(self, store: Store, app: App) -> None:
        far = bucket_of(START_MS + 40 * DAY_MS)
        rows = [
            make_row(app, first_slot(bucket) + n, partition)
            for bucket, partition in ((far, 0), (BUCKET + 1, 2), (BUCKET, 2), (BUCKET, 1))
            for n in range(2)
        ]
        await store.put_rows(rows)
        assert await store.fetch_app_buckets(app.app_id, BUCKET, far) == [
            entry_at(app, BUCKET, 1),
            entry_at(app, BUCKET, 2),
            entry_at(app, BUCKET + 1, 2),
            entry_at(app, far, 0),
        ]

    async def test_both_ends_are_included(self, store: Store, app: App) -> None:
        buckets = range(BUCKET, BUCKET + 5)
        await store.put_rows(make_rows(app, [first_slot(bucket) for bucket in buckets]))
        found = await store.fetch_app_buckets(app.app_id, BUCKET + 1, BUCKET + 3)
        assert [entry.bucket for entry in found] == [BUCKET + 1, BUCKET + 2, BUCKET + 3]

    @pytest.mark.parametrize("limit", [1, 2, 3, 4, 100])
    async def test_a_limit_leaves_the_first(self, store: Store, app: App, limit: int) -> None:
        far = bucket_of(START_MS + 3 * DAY_MS)
        places = [(BUCKET, 1), (BUCKET, 2), (BUCKET + 1, 0), (far, 0)]
        await store.put_rows([make_row(app, first_slot(bucket), partition) for bucket, partition in places])
        found = await store.fetch_app_buckets(app.app_id, BUCKET, far, limit)
        assert found == [entry_at(app, *place) for place in places[:limit]]

    async def test_other_apps_are_left_out(self, store: Store, app: App) -> None:
        other = await store.create_app(make_app())
        await store.put_rows([make_row(app), make_row(other)])
        assert await store.fetch_app_buckets(app.app_id, BUCKET, BUCKET) == [entry_at(app)]

    async def test_buckets_stay_when_their_rows_are_done(self, store: Store, app: App) -> None:
        row = make_row(app)
        await store.put_rows([row])
        await store.put_updates([make_update(row, make_outcome())])
        assert await store.fetch_app_buckets(app.app_id, BUCKET, BUCKET) == [entry_at(app)]

    async def test_the_first_of_many_apps(self, store: Store, app: App) -> None:
        """Of more apps than one statement takes, in a time over midnight."""
        apps = [app, *[await store.create_app(make_app()) for _ in range(30)]]
        midnight = bucket_of((START_MS // DAY_MS + 1) * DAY_MS)
        first, last = midnight - 2, midnight + 1
        for number, bucket, partition in (
            *((1, first - 1, 0), (2, first, 0), (3, last, 0), (4, last + 1, 0)),
            *((28, first, 0), (28, midnight, 2), (28, midnight, 1), (28, last, 0)),
        ):
            await store.put_rows([make_row(apps[number], first_slot(bucket), partition)])
        asked = ["app-nobody", *(each.app_id for each in apps if each is not apps[3])]
        all_28 = await store.fetch_app_buckets(apps[28].app_id, first, last)
        assert len(all_28) == 4
        for limit in (1, 2, 3, 100):
            assert await store.fetch_first_buckets(asked, first, last, limit) == {
                apps[2].app_id: [entry_at(apps[2], first)],
                apps[28].app_id: all_28[:limit],
            }
        assert await store.fetch_first_buckets([], first, last, 1) == {}


class TestCounts:
    async def test_only_live_rows_count(self, store: Store, app: App) -> None:
        live, done, moved, cancelled, cancelled_too = rows = make_rows(app, [START_MS + n for n in range(5)])
        await store.put_rows(rows)
        await store.put_updates([make_update(done, make_outcome())])
        await store.put_updates([make_update(moved, moved_to=moved.place._replace(partition=1))])
        for row in (cancelled, cancelled_too):
            await store.put_cancel(row.place, row.schedule.schedule_id, NOW_MS)
        assert await store.count_live([entry_at(app)], 10) == [1]
        assert live.is_home

    async def test_each_bucket_and_partition_counts_alone(self, store: Store, app: App) -> None:
        rows = [*make_rows(app, [START_MS + n for n in range(3)]), make_row(app, partition=1)]
        rows.append(make_row(app, last_slot(BUCKET) + 1))
        await store.put_rows(rows)
        asked = [
            entry_at(app),
            entry_at(app, BUCKET, 1),
            entry_at(app, BUCKET + 1),
            entry_at(app, BUCKET + 2),
        ]
        assert await store.count_live(asked, 10) == [3, 1, 1, 0]
        assert await store.count_live([], 10) == []

    @pytest.mark.parametrize("most", [0, 1, 499, 500, 501, 1_200, 2_000])
    async def test_no_further_than_asked(self, store: Store, app: App, most: int) -> None:
        """The done rows in front fill a driver's page without counting."""
        done = make_rows(app, [START_MS + n for n in range(520)])
        live = make_rows(app, [START_MS + 10_000 + n for n in range(1_100)])
        await store.put_rows(done + live)
        await store.put_updates([make_update(row, make_outcome()) for row in done])
        assert await store.count_live([entry_at(app)], most) == [min(most, 1_100)]


class TestLastSlots:
    async def test_the_highest_slot_whatever_became_of_its_row(self, store: Store, app: App) -> None:
        rows = make_rows(app, [START_MS + 7, START_MS + 40, START_MS + 9])
        await store.put_rows(rows)
        await store.put_updates([make_update(rows[1], make_outcome())])
        assert await store.fetch_last_slots([entry_at(app)]) == [START_MS + 40]
        await store.put_cancel(rows[1].place, rows[1].schedule.schedule_id, NOW_MS)
        assert await store.fetch_last_slots([entry_at(app)]) == [START_MS + 40]

    async def test_a_row_filed_again_counts_where_it_went(self, store: Store, app: App) -> None:
        row = make_row(app)
        again = make_move(row, START_MS + BUCKET_MS + 5)
        await store.put_rows([row, again])
        await store.put_updates([make_update(row, moved_to=again.place)])
        asked = [entry_at(app), entry_at(app, BUCKET + 1)]
        assert await store.fetch_last_slots(asked) == [START_MS, START_MS + BUCKET_MS + 5]

    async def test_edges_of_a_bucket_and_none_where_nothing_is(self, store: Store, app: App) -> None:
        await store.put_rows(make_rows(app, [last_slot(BUCKET - 1), START_MS, last_slot(BUCKET)]))
        asked = [entry_at(app, BUCKET + n) for n in (-2, -1, 0, 1)]
        expected = [None, last_slot(BUCKET - 1), last_slot(BUCKET), None]
        assert await store.fetch_last_slots(asked) == expected
        assert await store.fetch_last_slots([]) == []


class TestTerms:
    async def test_nobody_owned_a_new_app(self, store: Store, app: App) -> None:
        asked = [Instance(app.app_id, partition) for partition in range(4)]
        assert await store.fetch_terms(asked) == dict.fromkeys(asked[:3], 0)

    async def test_the_term_of_the_last_write_that_counted(self, store: Store, app: App) -> None:
        instance = Instance(app.app_id, 1)
        marks = Marks(NOW_MS, NOW_MS)
        for term, expected in ((3 << 48 | 8, 3 << 48 | 8), (3 << 48 | 7, 3 << 48 | 8), (4 << 48, 4 << 48)):
            await store.put_marks([MarksWrite(instance, term, marks)])
            assert await store.fetch_terms([instance]) == {instance: expected}


async def test_the_schema_is_the_one_that_is_needed(store: Store) -> None:
    found, needed = await store.fetch_schema()
    assert found == needed >= 1
