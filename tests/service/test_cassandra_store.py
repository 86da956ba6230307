"""What is special about the Cassandra driver, on a real server; what every driver must do is in
tests/contract, and what needs no server in tests/unit."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cassandra import AuthenticationFailed
from cassandra.cluster import NoHostAvailable
from tests.conftest import TABLES_IN_MEMORY
from tests.contract.builders import (
    BUCKET,
    START_MS,
    WEEK_MS,
    before,
    key_of_letter,
    make_app,
    make_letter,
    make_log,
    make_outcome,
    make_query,
    make_row,
    make_rows,
    make_update,
)
from tests.harness.report import IS_LONG
from tests.service.cql import cql_session

from ringtime_local import Authority, CassandraServer, LocalServers
from ringtime_shared.clock import ManualClock, SystemClock
from ringtime_shared.errors import AppExists, OutcomeUnknown, StartupError, StoreUnavailable
from ringtime_shared.models.app import App, AppConfiguration, Instance, Resize
from ringtime_shared.models.audit import AuditEntry
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Row
from ringtime_shared.models.sending import Sending
from ringtime_shared.settings import CassandraSettings
from ringtime_shared.stores.arrivals import MOST_ANNOUNCEMENTS, SLOW_WRITE_MS
from ringtime_shared.stores.cassandra import CassandraStore, migrate
from ringtime_shared.stores.cassandra import rows as ttl
from ringtime_shared.stores.cassandra.cluster import SERIAL
from ringtime_shared.stores.cassandra.migrate import FIRST_FLOOR, Step, read_steps
from ringtime_shared.stores.cassandra.rows import pack_int
from ringtime_shared.stores.cassandra.schedules import _key_values
from ringtime_shared.stores.cassandra.session import CqlSession, RawBatch
from ringtime_shared.stores.codec.documents import encode_entry
from ringtime_shared.stores.protocol import Arrival, Marks, MarksWrite

pytestmark = pytest.mark.service

NOW_MS = SystemClock().now_ms()
STEPS = [step.name for step in read_steps()]


def make_settings(server: CassandraServer, **changes: Any) -> CassandraSettings:
    settings = CassandraSettings(
        contact_points=tuple(server.contact_points),
        port=server.port,
        keyspace=f"store_{uuid4().hex[:8]}",
        request_timeout_ms=10_000,
    )
    return replace(settings, **changes)


@pytest.fixture
def settings(migrated: CassandraSettings) -> CassandraSettings:
    return replace(migrated, request_timeout_ms=10_000)


@asynccontextmanager
async def connected(settings: CassandraSettings, **options: Any) -> AsyncIterator[CassandraStore]:
    store = await CassandraStore.connect(settings, **options)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(settings: CassandraSettings) -> AsyncIterator[CassandraStore]:
    async with connected(settings, now_ms=lambda: START_MS - 60_000) as store:
        yield store


@pytest.fixture
async def app(store: CassandraStore) -> App:
    return await store.create_app(make_app())


async def select(store: CassandraStore, text: str, *values: object) -> list[Any]:
    (statement,) = await store._session.prepare(text)
    return await store._session.read(statement.bind(*values))


async def trace_of(store: CassandraStore, statement: Any) -> list[str]:
    """Return what the server says it did."""

    def execute() -> list[str]:
        future = store._session._session.execute_async(statement, trace=True)
        future.result()
        return [event.description for event in future.get_query_trace(max_wait=10).events]

    return await asyncio.to_thread(execute)


class TestReads:
    async def test_by_id_touches_one_partition(self, store: CassandraStore, app: App) -> None:
        row = make_row(app)
        await store.put_rows([row])
        statement = store._schedules._get_row.with_raw(_key_values(row.place, row.schedule.schedule_id))
        events = await trace_of(store, statement)
        reads = [event for event in events if "single-partition query on" in event]
        assert reads == ["Executing single-partition query on schedules"]
        assert not [event for event in events if "range" in event.lower() and "Computing" in event]

    async def test_large_bucket_pages_by_key(self, store: CassandraStore, app: App) -> None:
        rows = make_rows(app, [START_MS + n // 3 for n in range(6_500)])
        await store.put_rows(rows)
        found: list[Row] = []
        query = make_query(app, limit=2_000)
        while True:
            (page,) = await store.fetch_due([query])
            found += page.rows
            if page.next is None:
                break
            query = query._replace(after=page.next)
        assert found == rows
        (page,) = await store.fetch_due([make_query(app, limit=10_000)])  # more than a page of the server's
        assert list(page.rows) == rows

    @pytest.mark.slow
    async def test_a_fired_bucket_holds_no_tombstones(self, store: CassandraStore, app: App) -> None:
        """Thousands of fired rows in a bucket of an instance: nothing was deleted, so nothing is skipped."""
        buckets, per_bucket = (10, 10_000) if IS_LONG else (2, 2_000)
        for bucket in range(buckets):
            rows = make_rows(app, [START_MS + bucket * 60_000 + n * 5 for n in range(per_bucket)])
            await store.put_rows(rows)
            await store.put_updates([make_update(row, outcome=make_outcome()) for row in rows])
        text = "SELECT * FROM $schedules WHERE app_id = ? AND partition = ? AND bucket = ? LIMIT 500"
        (statement,) = await store._session.prepare(text)
        for bucket in range(buckets):
            minute = START_MS // 60_000 + bucket
            events = await trace_of(store, statement.bind(app.app_id, 0, minute))
            scanned = [re.search(r"(\d+) live rows and (\d+) tombstone cells", event) for event in events]
            counts = [(int(found[1]), int(found[2])) for found in scanned if found]
            assert counts, events
            assert sum(live for live, _ in counts) == 500
            assert sum(tombstones for _, tombstones in counts) <= 100

    async def test_many_queries_at_once(self, store: CassandraStore, app: App) -> None:
        rows = [make_row(app, START_MS + minute * 60_000) for minute in range(300)]
        await store.put_rows(rows)
        queries = [make_query(app, bucket=BUCKET + n, upto_ms=START_MS + 10**9) for n in range(301)]
        pages = await store.fetch_due(queries)
        assert [list(page.rows) for page in pages] == [[row] for row in rows] + [[]]

    async def test_queries_that_differ_in_their_app_alone_share_statements(
        self, store: CassandraStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        apps = [make_app() for _ in range(60)]
        rows = [make_row(app) for app in apps]
        await store.put_rows(rows)
        asked: list[Any] = []
        read_all = store._session.read_all

        async def spy(statements: Any) -> Any:
            asked.append(len(statements))
            return await read_all(statements)

        monkeypatch.setattr(store._session, "read_all", spy)
        for limit, statements in ((20, 3), (50, 6), (400, 60)):
            pages = await store.fetch_due([make_query(app, limit=limit) for app in apps])
            assert [list(page.rows) for page in pages] == [[row] for row in rows]
            assert asked.pop() == statements, "together they return no more rows than a page has"
        pages_of_ids = await store.fetch_live_ids([make_query(app) for app in apps])
        assert [page.ids[0].schedule_id for page in pages_of_ids] == [
            row.schedule.schedule_id for row in rows
        ]
        assert asked.pop() == 3
        others = [make_query(apps[0]), make_query(apps[1], 1), make_query(apps[2], limit=499)]
        assert [len(page.ids) for page in await store.fetch_live_ids(others)] == [1, 0, 1]
        assert asked.pop() == 3
        await store.fetch_marks([Instance(app.app_id, n) for app in apps for n in range(5)])
        assert asked.pop() == 12

    async def test_index_is_spread_and_read_whole(self, store: CassandraStore) -> None:
        apps = [await store.create_app(make_app()) for _ in range(3)]
        bucket = BUCKET + 5_000
        rows = [make_row(app, bucket * 60_000, partition) for app in apps for partition in range(200)]
        await store.put_rows(rows)
        entries = await store.fetch_index(bucket, bucket)
        assert sorted(entry.instance for entry in entries) == sorted(row.place.instance for row in rows)
        shards = await select(store, "SELECT DISTINCT bucket, shard FROM $due_index")
        assert sorted(shard for found, shard in shards if found == bucket) == [0, 1, 2, 3]
        days = await select(
            store,
            "SELECT bucket, partition FROM $app_buckets WHERE app_id = ? AND day = ?",
            apps[0].app_id,
            bucket // 1_440,
        )
        assert sorted(days) == [(bucket, partition) for partition in range(200)]


def counting(asked: list[str], name: str, call: Any) -> Any:
    async def counted(*args: Any, **named: Any) -> Any:
        asked.append(name)
        return await call(*args, **named)

    return counted


async def test_rows_are_read_right_when_their_columns_change_under_a_prepared_statement(
    settings: CassandraSettings,
) -> None:
    async with connected(settings) as one, connected(settings) as other:

        async def change(text: str) -> None:
            await asyncio.to_thread(one._session._session.execute, text.replace("$", f"{settings.keyspace}."))

        await change("CREATE TABLE $shifting (a int PRIMARY KEY, b text, d int)")
        await change("INSERT INTO $shifting (a, b, d) VALUES (1, 'two', 4)")
        sessions = [one._session, other._session]
        statements = [(await session.prepare("SELECT * FROM $shifting"))[0].bind() for session in sessions]
        (update,) = await other._session.prepare("UPDATE $shifting SET d = ? WHERE a = ?")

        async def rows() -> list[list[Any]]:
            return [await each.read(it) for each, it in zip(sessions, statements, strict=True) for _ in "12"]

        assert await rows() == [[(1, "two", 4)]] * 4
        await change("ALTER TABLE $shifting ADD c bigint")
        # The server has forgotten the statement, so the first prepares it again; it then knows the statement
        # that the second asks for, but not its columns.
        assert await rows() == [[(1, "two", None, 4)]] * 4
        await change("ALTER TABLE $shifting DROP b")
        assert await rows() == [[(1, None, 4)]] * 4
        query, key = update.in_batch((pack_int(5), pack_int(1))), pack_int(1)
        await other._session.write([RawBatch([query], settings.keyspace, key, spans_partitions=False)])
        assert await rows() == [[(1, None, 5)]] * 4


class TestWrites:
    async def test_index_entries_are_written_once_and_again_for_rows_kept_longer(
        self, store: CassandraStore, app: App, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written: list[int] = []
        write = store._session.write

        async def spy(batches: Any) -> None:
            written.append(sum(len(batch) for batch in batches))
            await write(batches)

        monkeypatch.setattr(store._session, "write", spy)
        row, same, longer = (
            make_row(app),
            make_row(app, START_MS + 9),
            make_row(app, expires_ms=START_MS + 2 * WEEK_MS),
        )
        for rows in ([row], [row, same], [longer], [same, same]):
            await store.put_rows(rows)
        assert written == [4, 3, 4, 3], "each with a receipt"

    async def test_nothing_counts_as_indexed_before_the_server_said_so(
        self, store: CassandraStore, app: App, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def refuse(batches: Any) -> None:
            raise OutcomeUnknown("no answer")

        row = make_row(app)
        with monkeypatch.context() as patch:
            patch.setattr(store._session, "write", refuse)
            with pytest.raises(OutcomeUnknown):
                await store.put_rows([row])
        await store.put_rows([row])
        entries = await store.fetch_index(BUCKET, BUCKET)
        assert row.place.instance in {entry.instance for entry in entries}

    async def test_every_cell_of_a_row_ends_with_it(self, store: CassandraStore, app: App) -> None:
        row = make_row(app)
        await store.put_rows([row])
        moved_to = row.place._replace(slot_ms=START_MS + 60_000)
        await store.put_updates([make_update(row, make_outcome(), moved_to)])
        await store.put_cancel(row.place, row.schedule.schedule_id, START_MS)
        ((created, *later),) = await select(
            store,
            "SELECT ttl(payload), ttl(outcome), ttl(moved_to), ttl(cancelled_ms) FROM $schedules"
            " WHERE app_id = ? AND partition = 0 AND bucket = ?",
            app.app_id,
            BUCKET,
        )
        expected_s = (row.schedule.expires_ms - (START_MS - 60_000)) // 1000
        assert expected_s - 20 <= created <= expected_s
        assert all(created < one <= expected_s + ttl.LATER_MARGIN_MS // 1000 for one in later)

    async def test_a_cancel_of_a_row_just_read_is_one_write_and_outlasts_it(
        self, store: CassandraStore, app: App, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row, other = make_rows(app, [START_MS, START_MS + 1])
        await store.put_rows([row, other])
        asked: list[str] = []
        for name in ("read", "write"):
            monkeypatch.setattr(store._session, name, counting(asked, name, getattr(store._session, name)))
        found = await store.fetch_row(row.place, row.schedule.schedule_id)
        assert found == row
        await store.put_cancel(row.place, row.schedule.schedule_id, START_MS, row.schedule.expires_ms)
        assert asked == ["read", "write"]
        await store.put_cancel(other.place, other.schedule.schedule_id, START_MS)
        assert asked == ["read", "write"] * 2
        monkeypatch.undo()
        lasts = await select(
            store,
            "SELECT ttl(payload), ttl(cancelled_ms) FROM $schedules"
            " WHERE app_id = ? AND partition = 0 AND bucket = ?",
            app.app_id,
            BUCKET,
        )
        assert len(lasts) == 2
        assert all(row_s < cancel_s <= row_s + ttl.LATER_MARGIN_MS // 1000 + 20 for row_s, cancel_s in lasts)

    async def test_expired_rows_leave_nothing(
        self, settings: CassandraSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ttl, "LEAST_KEPT_MS", 2_000)
        monkeypatch.setattr("ringtime_shared.stores.cassandra.schedules.LATER_MARGIN_MS", 2_000)
        async with connected(settings, now_ms=lambda: START_MS) as store:
            app = await store.create_app(make_app())
            done, open_row = make_row(app, expires_ms=0), make_row(app, START_MS + 59_999, expires_ms=0)
            await store.put_rows([done, open_row])
            await store.put_updates([make_update(done, make_outcome())])
            await asyncio.sleep(2.5)  # now the row has ended, and its outcome has not
            assert await store.fetch_row(done.place, done.schedule.schedule_id) is None
            (page,) = await store.fetch_due([make_query(app)])
            assert list(page.rows) == [open_row]  # its slot was a minute later
            await asyncio.sleep(2.5)
            left = await select(
                store, "SELECT slot_ms FROM $schedules WHERE app_id = ? AND partition = 0 AND bucket = ?",
                app.app_id, BUCKET,
            )  # fmt: skip
            assert left == [(START_MS + 59_999,)]

    async def test_update_by_a_process_that_never_saw_the_row(
        self, settings: CassandraSettings, store: CassandraStore, app: App
    ) -> None:
        rows = make_rows(app, [START_MS, START_MS + 1])
        await store.put_rows(rows)
        async with connected(settings, now_ms=lambda: START_MS) as other:
            await other.put_updates([make_update(row, make_outcome()) for row in [*rows, make_row(app)]])
        (page,) = await store.fetch_due([make_query(app)])
        assert list(page.rows) == []
        stored = await select(
            store, "SELECT ttl(outcome) FROM $schedules WHERE app_id = ? AND partition = 0 AND bucket = ?",
            app.app_id, BUCKET,
        )  # fmt: skip
        assert len(stored) == 2  # nothing for the row that is not there
        assert all(ttl_s > WEEK_MS // 1000 for (ttl_s,) in stored)

    async def test_a_row_without_extras_has_no_cell_for_them(self, store: CassandraStore, app: App) -> None:
        """A null would be a tombstone in nearly every row."""
        plain, full = make_row(app), replace(make_row(app, START_MS + 1), replay=1, log=make_log())
        await store.put_rows([plain, full])
        table = (app.app_id, BUCKET)
        text = "SELECT slot_ms, ttl(extras) FROM $schedules WHERE app_id = ? AND partition = 0 AND bucket = ?"
        (_, none), (_, ttl_s) = await select(store, text, *table)
        assert none is None
        assert ttl_s > WEEK_MS // 1000
        (statement,) = await store._session.prepare(text.replace("slot_ms, ttl(extras)", "*"))
        events = await trace_of(store, statement.bind(*table))
        scanned = [re.search(r"(\d+) live rows and (\d+) tombstone cells", event) for event in events]
        assert [(int(found[1]), int(found[2])) for found in scanned if found] == [(2, 0)]

    async def test_a_retried_and_replayed_row_is_one_of_its_bucket(
        self, store: CassandraStore, app: App
    ) -> None:
        rows = make_rows(app, [START_MS + n for n in range(150)])
        rows = [replace(row, replay=1, log=make_log(n % 11)) if n % 2 else row for n, row in enumerate(rows)]
        await store.put_rows(rows)
        (page,) = await store.fetch_due([make_query(app)])
        assert list(page.rows) == rows


async def announced_again(store: CassandraStore) -> None:
    assert store._arrivals._announcing is not None
    await store._arrivals._announcing


class TestArrivals:
    async def test_near_rows_are_announced_in_their_own_batch(
        self, settings: CassandraSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with connected(settings, now_ms=lambda: START_MS - 1_000) as store:
            app = await store.create_app(make_app())
            written: list[list[int]] = []
            write = store._session.write

            async def spy(batches: Any) -> None:
                written.append([len(batch) for batch in batches])
                await write(batches)

            monkeypatch.setattr(store._session, "write", spy)
            await store.put_rows([make_row(app)])
            await store.put_rows(make_rows(app, [START_MS + n for n in range(5)]))
            await store.put_rows(make_rows(app, [START_MS + n for n in range(100)]))
            far = make_row(app, START_MS + 60_000)
            await store.put_rows([far])
            await store.put_rows([far])
            assert written == [[5], [7], [66, 38], [4], [2]], "of a far row nothing; each with a receipt"
            found = await store.fetch_arrivals(START_MS - 2_000)
            slots = sorted(
                slot_ms for each in found if each.instance.app_id == app.app_id for slot_ms in each.slots
            )
            assert slots == sorted(
                [START_MS, *range(START_MS, START_MS + 5), *range(START_MS, START_MS + 100)]
            )

    async def test_a_row_too_large_for_a_batch_is_announced_beside_it(
        self, settings: CassandraSettings
    ) -> None:
        async with connected(settings, now_ms=lambda: START_MS - 1_000) as store:
            app = await store.create_app(make_app())
            row = make_row(app, payload="x" * 100_000)
            await store.put_rows([row, make_row(app, START_MS + 1)])
            found = await store.fetch_arrivals(START_MS - 2_000)
            mine = [each for each in found if each.instance.app_id == app.app_id]
            assert {slot_ms for each in mine for slot_ms in each.slots} == {START_MS, START_MS + 1}

    async def test_rows_whose_write_was_slow_are_announced_again(
        self, settings: CassandraSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = ManualClock(START_MS - 1_000)
        slow = [SLOW_WRITE_MS, SLOW_WRITE_MS + 1, SLOW_WRITE_MS + 1, SLOW_WRITE_MS]
        async with connected(settings, now_ms=clock.now_ms) as store:
            app = await store.create_app(make_app())
            write = store._session.write

            async def slowly(batches: Any) -> None:
                await write(batches)
                clock.advance(slow.pop(0))

            monkeypatch.setattr(store._session, "write", slowly)
            near, far = make_row(app), make_row(app, START_MS + 90_000)
            await store.put_rows([near])  # just quick enough
            first_ms = clock.now_ms()
            await store.put_rows([near, far])
            await announced_again(store)
            assert slow == []
            found = await store.fetch_arrivals(first_ms - 1)
            mine = sorted(each for each in found if each.instance.app_id == app.app_id)
            stamps = [first_ms, first_ms + SLOW_WRITE_MS + 1, first_ms + 2 * (SLOW_WRITE_MS + 1)]
            assert mine == [Arrival(stamp_ms, near.place.instance, (START_MS,)) for stamp_ms in stamps]

    async def test_what_cannot_be_announced_again_harms_nobody(
        self, settings: CassandraSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = ManualClock(START_MS - 1_000)
        async with connected(settings, now_ms=clock.now_ms) as store:
            app = await store.create_app(make_app())
            write, tries = store._session.write, []

            async def then_fails(batches: Any) -> None:
                tries.append(1)
                if len(tries) > 1:
                    raise StoreUnavailable("away")
                await write(batches)
                clock.advance(SLOW_WRITE_MS + 1)

            monkeypatch.setattr(store._session, "write", then_fails)
            await store.put_rows([make_row(app)])
            await announced_again(store)
            assert len(tries) == MOST_ANNOUNCEMENTS

    async def test_a_damaged_arrival_is_passed_over(self, settings: CassandraSettings) -> None:
        async with connected(settings, now_ms=lambda: START_MS - 1_000) as store:
            app = await store.create_app(make_app())
            window = (START_MS - 1_000) // 10_000
            for slots in (b"", b"\0\0\0\1\xff\xff"):
                await select(
                    store,
                    "INSERT INTO $arrivals (window, part, written_ms, app_id, partition, slots)"
                    " VALUES (?, 0, ?, ?, 0, ?)",
                    window,
                    START_MS - 1_000,
                    app.app_id,
                    slots,
                )
            await store.put_rows([make_row(app)])
            found = await store.fetch_arrivals(START_MS - 2_000)
            assert len([each for each in found if each.instance.app_id == app.app_id]) == 1

    async def test_one_statement_reads_what_is_new(
        self, settings: CassandraSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with connected(settings, now_ms=lambda: START_MS + 5_000) as store:
            asked: list[int] = []
            read_all = store._session.read_all

            async def spy(statements: Any) -> Any:
                asked.append(len(statements))
                return await read_all(statements)

            monkeypatch.setattr(store._session, "read_all", spy)
            await store.fetch_arrivals(START_MS + 4_500)
            await store.fetch_arrivals(START_MS - 1)
            await store.fetch_arrivals(0)
            assert asked == [1, 1, 3]


class TestDeadLetters:
    async def test_the_note_of_a_replay_ends_with_its_letter(self, store: CassandraStore, app: App) -> None:
        letter, forever = make_letter(app), make_letter(app, START_MS + 1, expires_ms=START_MS + 10**12)
        await store.put_dead_letters([letter, forever])
        await store.put_replayed(app.app_id, [key_of_letter(letter), key_of_letter(forever)], START_MS)
        (first, second) = await select(
            store, "SELECT ttl(letter), ttl(replayed_ms) FROM $dead_letters WHERE app_id = ? AND day = ?",
            app.app_id, START_MS // 86_400_000,
        )  # fmt: skip
        expected_s = (letter.expires_ms - (START_MS - 60_000)) // 1000
        assert expected_s - 20 <= first[0] <= expected_s
        assert abs(first[0] - first[1]) <= 1
        assert second == (None, None)  # more than the server's 20 years

    async def test_what_is_left_of_a_letter_that_ended_is_none(self, store: CassandraStore, app: App) -> None:
        letters = [make_letter(app, START_MS + n) for n in range(20)]
        await store.put_dead_letters([letters[3], letters[11]])
        for letter in letters:
            await select(
                store, "UPDATE $dead_letters SET replayed_ms = 1 WHERE app_id = ? AND day = ? AND slot_ms = ?"
                " AND schedule_id = ?",
                app.app_id, letter.slot_ms // 86_400_000, letter.slot_ms, letter.schedule_id,
            )  # fmt: skip
        for limit in (1, 2, 500):
            found = await store.fetch_dead_letters(app.app_id, before(START_MS), START_MS + 100, limit)
            assert [each.slot_ms - START_MS for each in found] == [3, 11][:limit]
        assert await store.count_dead_letters(app.app_id, START_MS, START_MS + 100) == 0

    async def test_a_bad_day_is_paged_and_counted(self, store: CassandraStore, app: App) -> None:
        letters = [make_letter(app, START_MS + n * 1_000) for n in range(12_000)]  # over three hours
        await store.put_dead_letters(letters)
        found = await store.fetch_dead_letters(app.app_id, before(START_MS), START_MS + 10**9, 11_000)
        assert found == letters[:11_000]
        assert await store.count_dead_letters(app.app_id, START_MS + 1, START_MS + 10**9) == 11_999


class TestAudit:
    async def test_what_an_earlier_version_wrote_is_read_with_the_rest(self, store: CassandraStore) -> None:
        entries = [
            AuditEntry(
                entry_id=uuid4(), at_ms=START_MS + n * 700_000, operator="ana", action="a", subject="s"
            )
            for n in range(6)
        ]
        (old,) = await store._session.prepare(
            "INSERT INTO $audit_log (day, at_ms, entry_id, entry) VALUES (?, ?, ?, ?)"
        )
        for n, entry in enumerate(entries):
            if n % 2:
                await store.put_audit(entry)
            else:
                values = (entry.at_ms // 86_400_000, entry.at_ms, entry.entry_id, encode_entry(entry))
                await store._session.write([old.bind(*values)])
        last_ms = entries[-1].at_ms
        for is_oldest_first in (True, False):
            found: list[AuditEntry] = []
            while page := await store.fetch_audit(
                START_MS,
                last_ms,
                2,
                after=found[-1].key if found else None,
                is_oldest_first=is_oldest_first,
            ):
                found += page
            assert found == (entries if is_oldest_first else entries[::-1])

    async def test_a_partition_is_ten_minutes_of_one_app_and_ends_with_its_entries(
        self, store: CassandraStore
    ) -> None:
        app_id, base_ms = f"app-{uuid4()}", START_MS // 600_000 * 600_000
        for at_ms in (base_ms, base_ms + 599_999, base_ms + 600_000):
            entry = AuditEntry(
                entry_id=uuid4(),
                at_ms=at_ms,
                operator="ana",
                action="a",
                subject="s",
                app_id=app_id,
                expires_ms=START_MS + 3_600_000,
            )
            await store.put_audit(entry)
        slices = await select(
            store, "SELECT slice FROM $audit_entries WHERE app_id = ? ALLOW FILTERING", app_id
        )
        assert sorted(slice_ for (slice_,) in slices) == [base_ms // 600_000] * 2 + [base_ms // 600_000 + 1]
        for (slice_,) in slices:
            (found, *_) = await select(
                store,
                "SELECT ttl(entry) FROM $audit_entries WHERE app_id = ? AND slice = ?",
                app_id,
                slice_,
            )
            assert 3_600 < found[0] <= 3_660  # the store's clock is a minute before


async def test_a_row_whose_contents_are_replaced_ends_as_a_whole_and_no_later_than_before(
    store: CassandraStore, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else some of it is left when the rest has ended, or it outlives its outcome and is to be sent again."""
    row = make_row(app)
    await store.put_rows([row])
    cells = ", ".join(f"TTL({name})" for name in ("fire_ms", "expires_ms", "callback_details", "payload"))
    text = f"SELECT {cells}, TTL(extras) FROM $schedules WHERE app_id = ? ALLOW FILTERING"
    [before] = await select(store, text, app.app_id)
    monkeypatch.setattr(store._schedules, "_now_ms", lambda: row.schedule.expires_ms - 3_600_000)
    schedule = replace(row.schedule, payload="other", sending=Sending(is_private=True, is_encrypted=True))
    longer = replace(row, schedule=replace(row.schedule, expires_ms=row.schedule.expires_ms + 1))
    assert not await store.replace_contents(longer, replace(longer, schedule=schedule))
    assert await store.replace_contents(row, replace(row, schedule=schedule))
    [after] = await select(store, text, app.app_id)
    assert len(set(after)) == 1, after
    assert before[0] - 30 <= after[0] <= before[0] + 1, (before, after)


async def test_a_store_that_was_not_written_to_is_found_ready_by_a_write(
    settings: CassandraSettings,
) -> None:
    async with connected(settings) as store:
        names = "SELECT name FROM $meta"
        before_ready = {name for (name,) in await select(store, names)}
        await store.check_ready()
        (written,) = {name for (name,) in await select(store, names)} - before_ready
        assert written.startswith("probe-")


class TestMarks:
    async def test_the_server_fences_by_the_term(self, store: CassandraStore, app: App) -> None:
        instance, term = Instance(app.app_id, 0), (2 << 48) | 77
        await store.put_marks([MarksWrite(instance, term, Marks(900, 800))])
        await store.put_marks([MarksWrite(instance, term - 1, Marks(999, 999))])  # a zombie
        await store.put_marks([MarksWrite(instance, term, Marks(950, 700))])
        assert await store.fetch_marks([instance]) == {instance: Marks(950, 800)}
        await store.put_marks([MarksWrite(instance, term + 1, Marks(500, 400))])  # a new owner
        await store.put_marks([MarksWrite(instance, term, Marks(999, 999))])
        assert await store.fetch_marks([instance]) == {instance: Marks(500, 400)}
        ((*stamps, sealed_ttl, settled_ttl, stored_term),) = await select(
            store,
            "SELECT writetime(sealed_ms), writetime(settled_ms), ttl(sealed_ms), ttl(settled_ms), term"
            " FROM $partition_state WHERE app_id = ? AND partition = 0",
            app.app_id,
        )
        assert stamps == [term + 1, term + 1]
        assert (sealed_ttl, settled_ttl, stored_term) == (None, None, term + 1)


class TestLwt:
    async def test_race_for_one_app_id_has_one_winner(
        self, settings: CassandraSettings, store: CassandraStore
    ) -> None:
        async with connected(settings) as other:
            wanted = make_app()
            answers = await asyncio.gather(
                *(one.create_app(wanted) for one in (store, other) * 3), return_exceptions=True
            )
            (winner,) = [answer for answer in answers if isinstance(answer, App)]
            assert sum(isinstance(answer, AppExists) for answer in answers) == 5
            assert await other.fetch_app(wanted.app_id) == winner

    async def test_registering_takes_one_lwt_an_app_and_no_serial_read(
        self, store: CassandraStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await store.create_app(make_app())  # from here on this process knows the last number
        real, asked = store._session._run, []

        async def spy(statements: Any, profile: object, attempts: int) -> Any:
            asked.append((profile, attempts, len(statements)))
            return await real(statements, profile, attempts)

        monkeypatch.setattr(store._session, "_run", spy)
        apps = await asyncio.gather(*(store.create_app(make_app()) for _ in range(40)))
        assert len({app.number for app in apps}) == 40
        assert [call for call in asked if call[0] == SERIAL] == []
        lwts = [call for call in asked if call[1] == 1]
        assert 40 < len(lwts) <= 48, "one each, and a few for the numbers of many"
        others = [call for call in asked if call[1] != 1]
        assert len(others) <= 20, "what is read and written beside them is for many"

    async def test_race_for_numbers_gives_each_app_its_own(
        self, settings: CassandraSettings, store: CassandraStore
    ) -> None:
        async with connected(settings) as other:
            created = await asyncio.gather(
                *(one.create_app(make_app()) for one in (store, other) for _ in range(5))
            )
            nonces = await asyncio.gather(
                *(one.claim_nonce("me") for one in (store, other) for _ in range(5))
            )
        assert len({app.number for app in created}) == 10
        assert len(set(nonces)) == 10
        holders = await select(store, "SELECT holder FROM $nonce_holders WHERE nonce IN ?", nonces)
        assert holders == [("me",)] * 10

    async def test_no_answer_is_read_back(
        self, store: CassandraStore, app: App, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_if = store._session.write_if

        async def lose_every_other_answer(statement: Any) -> Any:
            lose_every_other_answer.calls += 1  # type: ignore[attr-defined]
            record = await write_if(statement)
            return record if lose_every_other_answer.calls % 2 == 0 else None  # type: ignore[attr-defined]

        lose_every_other_answer.calls = 0  # type: ignore[attr-defined]
        monkeypatch.setattr(store._session, "write_if", lose_every_other_answer)
        await store.replace_app(replace(app, version=2, active=False))
        assert (await store.fetch_app(app.app_id)) == replace(app, version=2, active=False)
        era = await store.raise_era("lost")
        assert await store.raise_era("lost") == era
        created = [await store.create_app(make_app()) for _ in range(4)]
        assert len({one.number for one in [app, *created]}) == 5
        assert [await store.fetch_app(one.app_id) for one in created] == created


class TestSchema:
    async def test_two_migrations_at_once(self, cassandra_server: CassandraServer) -> None:
        settings = make_settings(cassandra_server)
        applied = await asyncio.gather(migrate(settings), migrate(settings))
        assert sorted(applied) == [[], STEPS]
        assert await migrate(settings) == []
        async with connected(settings) as store:
            await store.ping()

    async def test_unknown_schemas_are_refused(
        self, cassandra_server: CassandraServer, settings: CassandraSettings
    ) -> None:
        with pytest.raises(StartupError, match="migrate"):
            await CassandraStore.connect(make_settings(cassandra_server))
        async with connected(settings) as store:
            await select(store, "INSERT INTO $schema_steps (version, name) VALUES (99, 'later.cql')")
            try:
                for attempt in (CassandraStore.connect, migrate):
                    with pytest.raises(StartupError, match=f"version 99.*knows only {len(STEPS)}"):
                        await attempt(settings)
            finally:
                await select(store, "DELETE FROM $schema_steps WHERE version = 99")

    async def test_older_schema_is_refused(self, settings: CassandraSettings) -> None:
        async with connected(settings) as store:
            await select(
                store, "DELETE FROM $schema_steps WHERE version IN ?", [step.note for step in read_steps()]
            )
        with pytest.raises(StartupError, match=f"version 0.*needs {len(STEPS)}.*migrate"):
            await CassandraStore.connect(settings)
        assert await migrate(settings) == STEPS  # they may be run again
        assert await migrate(settings) == []

    async def test_keyspace_of_the_first_schema_is_brought_up_to_date_and_read(
        self, cassandra_server: CassandraServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = make_settings(cassandra_server)
        with monkeypatch.context() as patch:
            first = read_steps()[:1]
            # by name, because as an attribute of the package `migrate` is the function
            module = import_module("ringtime_shared.stores.cassandra.migrate")
            patch.setattr(module, "read_steps", lambda: first)
            assert await migrate(settings) == STEPS[:1]
        app = make_app(configuration=AppConfiguration(retention_days=7))
        row = make_row(app)
        session = await CqlSession.connect(settings)
        put_app, put_row = await session.prepare(
            "INSERT INTO $apps (app_id, number, writable, polled, active, version, created_ms, configuration)"
            " VALUES (?, 0, 3, 3, true, 1, ?, ?)",
            "INSERT INTO $schedules (app_id, partition, bucket, slot_ms, schedule_id, fire_ms, created_ms,"
            " expires_ms, attempts, callback_type, callback_details, payload, outcome)"
            " VALUES (?, 0, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?)",
        )
        of_row = row.schedule
        outcome = '{"status":"SUCCESS","ended_ms":%d,"fired_ms":%d,"attempts":1,"code":200,"error":""}'
        await session.write(
            [
                put_app.bind(app.app_id, app.created_ms, '{"retention_days": 7}'),
                put_row.bind(
                    app.app_id, BUCKET, START_MS, of_row.schedule_id, of_row.fire_ms, of_row.created_ms,
                    of_row.expires_ms, of_row.callback_type, of_row.callback_details, of_row.payload,
                    outcome % (START_MS + 40, START_MS + 3),
                ),
            ]
        )  # fmt: skip
        await session.close()
        with pytest.raises(StartupError, match=f"version 1.*needs {len(STEPS)}.*migrate"):
            await CassandraStore.connect(settings)
        assert await migrate(settings) == STEPS[1:]
        assert await migrate(settings) == []
        async with connected(settings) as store:
            assert await store.fetch_app(app.app_id) == app
            found = await store.fetch_row(row.place, of_row.schedule_id)
            assert found == replace(row, outcome=make_outcome())
            changed = replace(
                app,
                version=2,
                configuration=AppConfiguration(retry=RetryRules(attempts=2)),
                resize=Resize(quota=5, before=3, operator="ana", begun_ms=NOW_MS),
            )
            await store.replace_app(changed)
            assert await store.fetch_app(app.app_id) == changed
            entry = AuditEntry(entry_id=uuid4(), at_ms=NOW_MS, operator="ana", action="a", subject="s")
            await store.put_audit(entry)
            assert await store.fetch_audit(NOW_MS, NOW_MS, 9) == [entry]
            assert await store.fetch_schema() == (len(STEPS), len(STEPS))

    async def test_a_program_runs_on_later_steps_until_one_takes_something_away(
        self, cassandra_server: CassandraServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings, known = make_settings(cassandra_server), read_steps()
        last = known[-1].version
        added = Step(last + 1, "added.cql", ("ALTER TABLE calendars ADD IF NOT EXISTS more text",))
        taken = Step(last + 2, "taken.cql", ("ALTER TABLE calendars DROP IF EXISTS more",), floor=last + 1)
        module = import_module("ringtime_shared.stores.cassandra.migrate")

        async def migrate_later(*steps: Step) -> list[str]:
            with monkeypatch.context() as patch:
                patch.setattr(module, "read_steps", lambda: [*known, *steps])
                return await migrate(settings)

        assert await migrate_later(added) == [*STEPS, "added.cql"]
        assert await migrate(settings) == []
        async with connected(settings) as store:
            assert await store.fetch_schema() == (last + 1, last)
            noted = [version for (version,) in await select(store, "SELECT version FROM $schema_steps")]
        assert max(noted) == FIRST_FLOOR, "release 0.1.0 starts on no other"
        assert await migrate_later(added, taken) == ["taken.cql"]
        assert await migrate_later(added, taken) == []
        for attempt in (CassandraStore.connect, migrate):
            with pytest.raises(StartupError, match=f"has to know {last + 1}; this one knows only {last}"):
                await attempt(settings)

    async def test_wrong_datacenter_is_named(self, cassandra_server: CassandraServer) -> None:
        with pytest.raises(StartupError, match=r"no datacenter 'mars', only: datacenter1"):
            await CassandraStore.connect(make_settings(cassandra_server, local_dc="mars"))

    async def test_nobody_there(self) -> None:
        settings = CassandraSettings(contact_points=("127.0.0.1",), port=9)
        for attempt in (CassandraStore.connect, migrate):
            with pytest.raises(StartupError, match=r"127\.0\.0\.1, port 9"):
                await attempt(settings)


async def until(call: Callable[[], Awaitable[object]], *, timeout_s: float) -> None:
    """Repeat `call` until the store is there again."""
    give_up_at = time.monotonic() + timeout_s
    while True:
        try:
            await call()
            return
        except (StoreUnavailable, OutcomeUnknown):
            if time.monotonic() > give_up_at:
                raise
            await asyncio.sleep(0.1)


@pytest.mark.faults
class TestFaults:
    """On a server of ours, which they stop and kill."""

    @pytest.fixture
    def server(self, own_cassandra: CassandraServer) -> CassandraServer:
        return own_cassandra

    @pytest.fixture(name="settings")
    async def patient_settings(self, server: CassandraServer) -> CassandraSettings:
        """For what must not fail: the machine may be busy, and a server that comes back is slow."""
        settings = make_settings(server)
        await migrate(settings)
        return settings

    @pytest.fixture
    async def app(self, settings: CassandraSettings) -> App:
        async with connected(settings) as patient:
            return await patient.create_app(make_app())

    @pytest.fixture
    async def store(self, settings: CassandraSettings) -> AsyncIterator[CassandraStore]:
        async with connected(replace(settings, request_timeout_ms=500)) as store:
            yield store

    async def test_frozen_server(self, server: CassandraServer, store: CassandraStore, app: App) -> None:
        row, began = make_row(app, NOW_MS + 10**6), time.monotonic()
        server.pause()
        try:
            with pytest.raises(OutcomeUnknown, match="OperationTimedOut"):
                await store.put_rows([row])
            with pytest.raises(StoreUnavailable):
                await store.fetch_apps()
            with pytest.raises(StoreUnavailable):
                await store.ping()
            assert time.monotonic() - began < 6
        finally:
            server.resume()
        await until(lambda: store.put_rows([row]), timeout_s=90)
        await until(lambda: store.fetch_row(row.place, row.schedule.schedule_id), timeout_s=90)

    async def test_kill_loses_nothing_acknowledged_and_the_client_comes_back(
        self, server: CassandraServer, settings: CassandraSettings, store: CassandraStore, app: App
    ) -> None:
        acknowledged: list[Row] = []
        failures: list[Exception] = []
        is_killed = asyncio.Event()

        async def keep_writing(lane: int) -> None:
            for n in range(100_000):
                row = make_row(app, NOW_MS + 10**7 + lane * 20_000 + n, lane % 3)
                began = time.monotonic()
                try:
                    await store.put_rows([row])
                except (StoreUnavailable, OutcomeUnknown) as error:
                    failures.append(error)
                    assert time.monotonic() - began < 5
                    if is_killed.is_set():
                        return
                    continue
                acknowledged.append(row)

        lanes = asyncio.gather(*(keep_writing(lane) for lane in range(8)))
        await asyncio.sleep(1.5)
        server.pause()
        await asyncio.sleep(
            0.1
        )  # what was answered arrives: each lane's next write waits for one that is dead
        is_killed.set()
        server.kill()
        await lanes
        assert len(failures) >= 8
        assert any(isinstance(failure, OutcomeUnknown) for failure in failures)
        for _ in range(3):  # nobody listens: known at once
            began = time.monotonic()
            with pytest.raises((StoreUnavailable, OutcomeUnknown)):
                await store.put_rows([make_row(app, NOW_MS + 10**7)])
            assert time.monotonic() - began < 5
        with pytest.raises(StoreUnavailable):
            await store.put_rows([make_row(app, NOW_MS + 10**7)])

        await asyncio.to_thread(server.restart, kill=True)
        await until(store.ping, timeout_s=90)
        assert len(acknowledged) > 20
        buckets = [row.place.bucket for row in acknowledged]
        async with connected(settings) as patient:
            found = [await patient.fetch_row(row.place, row.schedule.schedule_id) for row in acknowledged]
            entries = await patient.fetch_index(min(buckets), max(buckets))
        assert found == acknowledged
        assert {entry.instance for entry in entries} >= {row.place.instance for row in acknowledged}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[CassandraServer, Path]]:
    """A server with passwords and TLS, and the folder of the certificates."""
    folder = tmp_path_factory.mktemp("guarded")
    files = Authority(folder).issue("node")
    pem = "org.apache.cassandra.security.PEMBasedSslContextFactory"
    options = replace(
        TABLES_IN_MEMORY,
        authenticator="PasswordAuthenticator",
        settings={
            "client_encryption_options": {
                "enabled": True,
                "optional": True,  # the launcher's probe asks without
                "keystore": str(files.both),
                "ssl_context_factory": {"class_name": pem},
            }
        },
    )
    with LocalServers(folder / "servers", cassandra=options, kafka=False, etcd=False, own=True) as servers:
        yield servers.cassandra, folder


@pytest.mark.slow
def test_passwords_of_the_launcher(guarded: tuple[CassandraServer, Path]) -> None:
    server, _ = guarded
    with cql_session(server, username="cassandra", password="cassandra") as session:
        assert session.execute("SELECT now() FROM system.local").one()
    with (
        pytest.raises(NoHostAvailable) as refused,
        cql_session(server, username="cassandra", password="wrong"),
    ):
        pass
    assert all(isinstance(error, AuthenticationFailed) for error in refused.value.errors.values())


@pytest.mark.slow
async def test_password_and_tls(guarded: tuple[CassandraServer, Path]) -> None:
    server, folder = guarded
    settings = make_settings(
        server,
        username="cassandra",
        password="cassandra",
        ca_file=str(folder / "ca.pem"),
    )
    await migrate(settings)
    async with connected(settings) as store:
        await store.ping()
        connections = await select(store, "SELECT ssl_enabled, username FROM system_views.clients")
        assert (True, "cassandra") in connections
    for wrong, message in (
        ({"password": "guess"}, "AuthenticationFailed"),
        ({"username": "", "password": ""}, "AuthenticationFailed"),
        (
            {"ca_file": str(Authority(folder, "stranger").ca)},
            "certificate verify failed",
        ),
    ):
        with pytest.raises(StartupError, match=message):
            await CassandraStore.connect(replace(settings, **wrong))  # type: ignore[arg-type]
    with pytest.raises(StartupError, match="certificates"):
        await CassandraStore.connect(replace(settings, ca_file=str(folder / "none.pem")))
