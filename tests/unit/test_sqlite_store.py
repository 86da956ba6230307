"""What is special about the SQLite driver; what every driver must do is in tests/contract."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.contract.builders import (
    BUCKET,
    NOW_MS,
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
    pretend_schema,
)
from tests.contract.test_claim_store import make_claim

from ringtime_shared.clock import ManualClock
from ringtime_shared.errors import AppExists, Damaged, OutcomeUnknown, StartupError, StoreUnavailable
from ringtime_shared.models.app import AppConfiguration, Instance, Resize
from ringtime_shared.models.audit import AuditEntry
from ringtime_shared.models.schedule import Row
from ringtime_shared.stores.protocol import IdPage, IndexEntry, Marks, MarksWrite
from ringtime_shared.stores.sqlite import SqliteStore, purge, schema
from ringtime_shared.stores.sqlite.purge import LOOK_AGAIN_MS
from ringtime_shared.stores.sqlite.session import Worker

AFTER_RETENTION_MS = START_MS + WEEK_MS + 60_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(tmp_path, now_ms=clock.now_ms)
    yield opened
    await opened.close()


@asynccontextmanager
async def busy_writer(store: SqliteStore) -> AsyncIterator[None]:
    """Keep the writer thread busy, so that what is written meanwhile queues up."""
    begun, gate = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hold(_: object) -> None:
        loop.call_soon_threadsafe(begun.set)
        gate.wait()

    holder = asyncio.create_task(store._writer.run(hold))
    await begun.wait()
    try:
        yield
    finally:
        gate.set()
        await holder


async def start(*coroutines: object) -> list[asyncio.Task[object]]:
    """Let each run until it waits for the writer."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]  # type: ignore[call-overload]
    await asyncio.sleep(0)
    return tasks


async def limit_pages(store: SqliteStore, spare: int | None) -> None:
    """Make the disk full after `spare` more pages; None: make room again."""

    def run(session: object) -> None:
        connection: sqlite3.Connection = session.connection  # type: ignore[attr-defined]
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {1 << 30 if spare is None else pages + spare}")

    await store._writer.run(run)


async def fetch(store: SqliteStore, row: Row) -> Row | None:
    return await store.fetch_row(row.place, row.schedule.schedule_id)


def file_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path)
    app = await store.create_app(make_app())
    row = make_row(app)
    await store.put_rows([row])
    await store.put_updates([make_update(row, make_outcome())])
    instance = Instance(app.app_id, 0)
    await store.put_marks([MarksWrite(instance, 5, Marks(2, 1))])
    nonce = await store.claim_nonce("first")
    era = await store.raise_era("cluster-1")
    await store.close()

    store = await SqliteStore.open(tmp_path)
    assert await store.fetch_apps() == [app]
    assert await fetch(store, row) == replace(row, outcome=make_outcome())
    assert await store.fetch_marks([instance]) == {instance: Marks(2, 1)}
    assert await store.claim_nonce("second") == nonce + 1
    assert await store.raise_era("cluster-1") == era
    assert (await store.create_app(make_app())).number != app.number
    await store.close()


async def test_second_server_is_refused_by_name(tmp_path: Path) -> None:
    first = await SqliteStore.open(tmp_path)
    with pytest.raises(StartupError) as caught:
        await SqliteStore.open(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert str(os.getpid()) in str(caught.value)
    await first.close()
    await (await SqliteStore.open(tmp_path)).close()


async def test_tool_reads_and_writes_beside_the_server(store: SqliteStore, tmp_path: Path) -> None:
    tool = await SqliteStore.open(tmp_path, exclusive=False)
    app = await store.create_app(make_app())
    row = make_row(app)
    await store.put_rows([row])
    assert await fetch(tool, row) == row
    changed = replace(app, version=2, active=False)
    await tool.replace_app(changed)
    assert await store.fetch_app(app.app_id) == changed
    await tool.close()
    await store.ping()


async def test_newer_schema_is_refused_with_both_versions(tmp_path: Path) -> None:
    await (await SqliteStore.open(tmp_path)).close()
    with closing(sqlite3.connect(tmp_path / schema.FILE_NAME)) as connection:
        pretend_schema(connection, 99)
    with pytest.raises(StartupError, match=f"version 99, .* {schema.SCHEMA_VERSION}"):
        await SqliteStore.open(tmp_path)
    with closing(sqlite3.connect(tmp_path / schema.FILE_NAME)) as connection:
        pretend_schema(connection, schema.SCHEMA_VERSION)
    await (await SqliteStore.open(tmp_path)).close()  # and the lock was released


async def test_file_of_the_first_schema_is_brought_up_to_date_and_read(tmp_path: Path) -> None:
    waiting, done = (make_row(make_app(app_id="old"), START_MS + n) for n in range(2))
    with closing(sqlite3.connect(tmp_path / schema.FILE_NAME)) as connection:
        connection.executescript(schema.STEPS[0])
        connection.execute("INSERT INTO app_numbers VALUES (0, 'old')")
        connection.execute(
            "INSERT INTO apps VALUES ('old', 0, 3, 3, 1, 1, ?, '{\"retention_days\": 7}')", (NOW_MS,)
        )
        for row, outcome in (
            (waiting, [None] * 6),
            (done, ["SUCCESS", START_MS + 40, START_MS + 3, 1, 200, ""]),
        ):
            schedule = row.schedule
            values = (
                0, 0, row.place.slot_ms, schedule.schedule_id.bytes, schedule.fire_ms, schedule.created_ms,
                schedule.expires_ms, 0, schedule.callback_type, schedule.callback_details, schedule.payload,
                None, None, None, *outcome,
            )  # fmt: skip
            connection.execute(f"INSERT INTO schedules VALUES ({', '.join('?' * len(values))})", values)
        connection.execute("INSERT INTO due_index VALUES (?, 0, 0, 0)", (BUCKET,))
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    app = make_app(app_id="old", configuration=AppConfiguration(retention_days=7))
    for _ in range(2):
        store = await SqliteStore.open(tmp_path)
        assert await store.fetch_apps() == [app]
        assert await fetch(store, waiting) == waiting
        assert await fetch(store, done) == replace(done, outcome=make_outcome())
        (page,) = await store.fetch_due([make_query(app)])
        assert list(page.rows) == [waiting]
        letter = make_letter(app)
        await store.put_dead_letters([letter])  # and the new columns and tables are there
        assert letter in await store.fetch_dead_letters("old", before(START_MS), START_MS, 10)
        again = replace(make_row(app), replay=1, log=make_log())
        await store.put_rows([again])
        assert await fetch(store, again) == again
        await store.put_updates([make_update(again, make_outcome(replay=1))])
        await store.close()


async def test_file_of_the_second_schema_is_brought_up_to_date_and_read(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / schema.FILE_NAME)) as connection:
        for step in schema.STEPS[:2]:
            connection.executescript(step)
        connection.execute("INSERT INTO app_numbers VALUES (0, 'old')")
        connection.execute("INSERT INTO apps VALUES ('old', 0, 3, 3, 1, 1, ?, '{}', '[]')", (NOW_MS,))
        connection.execute("INSERT INTO due_index VALUES (?, 0, 2, 0)", (BUCKET,))
        connection.execute("INSERT INTO partition_state VALUES (0, 2, 77, ?, ?)", (NOW_MS, NOW_MS))
        connection.execute("PRAGMA user_version = 2")
        connection.commit()
    app = make_app(app_id="old")
    instance = Instance("old", 2)
    store = await SqliteStore.open(tmp_path)
    assert await store.fetch_apps() == [app]
    assert await store.fetch_app_buckets("old", BUCKET, BUCKET) == [IndexEntry(BUCKET, instance)]
    assert await store.fetch_terms([instance]) == {instance: 77}
    assert await store.fetch_schema() == (schema.SCHEMA_VERSION, schema.SCHEMA_VERSION)
    resized = replace(
        app, version=2, writable=2, resize=Resize(quota=2, before=3, operator="ana", begun_ms=NOW_MS)
    )
    await store.replace_app(resized)
    entry = AuditEntry(entry_id=uuid4(), at_ms=NOW_MS, operator="ana", action="resize", subject="old")
    await store.put_audit(entry)
    await store.close()
    store = await SqliteStore.open(tmp_path)
    assert await store.fetch_app("old") == resized
    assert await store.fetch_audit(NOW_MS, NOW_MS, 9) == [entry]
    await store.close()


async def test_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="file"):
        await SqliteStore.open(tmp_path / "file")
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage" / schema.FILE_NAME).write_bytes(b"no database " * 1000)
    with pytest.raises(StartupError, match="not a database"):
        await SqliteStore.open(tmp_path / "garbage")


async def test_writes_that_wait_share_one_commit(store: SqliteStore) -> None:
    app = await store.create_app(make_app())
    statements: list[str] = []
    await store._writer.run(lambda session: session.connection.set_trace_callback(statements.append))
    statements.clear()
    rows = make_rows(app, [START_MS + n for n in range(50)])
    async with busy_writer(store):
        tasks = await start(*(store.put_rows([row]) for row in rows))
    await asyncio.gather(*tasks)
    assert statements.count("COMMIT") == 2  # the holder's and one for fifty
    assert [await fetch(store, row) for row in rows] == rows


async def test_how_to_undo_a_statement_is_noted_in_memory(store: SqliteStore) -> None:
    ((kept,),) = await store._writer.run(lambda session: session.fetch("PRAGMA temp_store"))

    assert kept == 2  # else in files of /var/tmp, which costs the writer a third more and needs room there


async def test_errors_of_ours_fail_alone(store: SqliteStore) -> None:
    app = make_app()
    async with busy_writer(store):
        tasks = await start(store.create_app(app), store.create_app(app), store.create_app(make_app()))
    first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(second, AppExists)
    assert await store.fetch_apps() == sorted([first, third], key=lambda app: app.app_id)  # type: ignore


async def test_data_sqlite_refuses_fails_alone(store: SqliteStore) -> None:
    app = await store.create_app(make_app())
    good, also_good = make_rows(app, [START_MS, START_MS + 1])
    bad = make_row(app, payload=object())
    unencodable = make_row(app, payload="\ud800")
    async with busy_writer(store):
        tasks = await start(
            store.put_rows([good]),
            store.put_rows([make_row(app, START_MS + 60_000), bad]),
            store.put_rows([unencodable]),
            store.put_rows([also_good]),
        )
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [
        type(None),
        StoreUnavailable,
        UnicodeEncodeError,
        type(None),
    ]
    assert [await fetch(store, row) for row in (good, bad, also_good)] == [good, None, also_good]
    assert await store.fetch_index(BUCKET + 1, BUCKET + 1) == []


async def test_full_disk_refuses_writes_until_there_is_room(store: SqliteStore) -> None:
    app = await store.create_app(make_app())
    await limit_pages(store, spare=2)
    big = make_row(app, payload="x" * 65_536)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="full"):
            await store.put_rows([big])
    assert await fetch(store, big) is None
    assert await store.fetch_index(BUCKET, BUCKET) == []
    await limit_pages(store, spare=None)
    await store.put_rows([big])
    assert await fetch(store, big) == big
    assert len(await store.fetch_index(BUCKET, BUCKET)) == 1  # not believed written by the failed try


async def test_a_file_that_answers_reads_and_takes_no_write_is_not_ready(store: SqliteStore) -> None:
    await store._writer.run(lambda session: session.connection.execute("PRAGMA query_only = 1"))
    assert await store.fetch_apps() == []
    with pytest.raises(StoreUnavailable):
        await store.check_ready()


async def test_app_number_of_a_failed_write_is_not_believed_given(store: SqliteStore) -> None:
    unregistered = make_app()
    await limit_pages(store, spare=2)
    with pytest.raises(StoreUnavailable):
        await store.put_rows([make_row(unregistered, payload="x" * 65_536)])
    await limit_pages(store, spare=None)
    other = await store.create_app(make_app())
    row = make_row(unregistered)
    await store.put_rows([row])
    assert await fetch(store, row) == row
    assert await store.fetch_row(row.place._replace(app_id=other.app_id), row.schedule.schedule_id) is None


async def test_lock_held_by_a_tool_is_waited_for_then_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_TIMEOUT_MS", 30)
    store = await SqliteStore.open(tmp_path)
    with closing(sqlite3.connect(tmp_path / schema.FILE_NAME, isolation_level=None)) as tool:
        tool.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.claim_nonce("server")
        await store.ping()
        tool.execute("ROLLBACK")
        assert await store.claim_nonce("server") == 0
    await store.close()


async def test_queue_is_bounded(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path, queue_limit=3)
    async with busy_writer(store):
        tasks = await start(store.claim_nonce("a"), store.claim_nonce("b"))
        with pytest.raises(StoreUnavailable, match="3 operations wait"):
            await store.claim_nonce("c")
        await store.ping()
    assert await asyncio.gather(*tasks) == [0, 1]
    assert await store.claim_nonce("d") == 2
    await store.close()


async def test_cancelled_caller_does_not_disturb_the_others(store: SqliteStore) -> None:
    async with busy_writer(store):
        first, second = await start(store.claim_nonce("a"), store.claim_nonce("b"))
        first.cancel()
    assert await second == 1
    assert first.cancelled()


async def test_close_finishes_what_is_queued_and_is_safe_twice(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path)
    app = await store.create_app(make_app())
    rows = make_rows(app, [START_MS, START_MS + 1])
    async with busy_writer(store):
        tasks = await start(*(store.put_rows([row]) for row in rows), store.close(), store.close())
    await asyncio.gather(*tasks)
    await store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.put_rows(rows)
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.ping()
    assert file_names(tmp_path) == ["COMMITS", "LOCK", "RESERVE", schema.FILE_NAME]  # checkpointed
    store = await SqliteStore.open(tmp_path)
    assert [await fetch(store, row) for row in rows] == rows
    await store.close()


class FailingCommit(sqlite3.Connection):
    """Fails the next COMMIT with `code`."""

    code: int | None = None

    def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        if sql == "COMMIT" and self.code is not None:
            error = sqlite3.OperationalError("planted")
            error.sqlite_errorcode, self.code = self.code, None
            raise error
        return super().execute(sql, *parameters)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_FULL, StoreUnavailable),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreUnavailable),
        (sqlite3.SQLITE_IOERR_WRITE, StoreUnavailable),
        (sqlite3.SQLITE_IOERR_FSYNC, OutcomeUnknown),
    ],
)
async def test_commit_that_fails(tmp_path: Path, code: int, expected: type[Exception]) -> None:
    connect = partial(sqlite3.connect, tmp_path / "x.db", isolation_level=None, factory=FailingCommit)
    worker = Worker(connect, name="writer", begin="BEGIN IMMEDIATE", queue_limit=10)
    await worker.run(lambda session: session.connection.execute("CREATE TABLE t (a)"))

    def insert(session: object) -> None:
        connection: FailingCommit = session.connection  # type: ignore[attr-defined]
        connection.execute("INSERT INTO t VALUES (1)")
        connection.code = code

    with pytest.raises(expected, match="planted"):
        await worker.run(insert)
    count = await worker.run(lambda session: session.connection.execute("SELECT count(*) FROM t").fetchone())
    assert count == (0,)
    await worker.close()


async def test_purge_deletes_only_what_expired_and_is_finished(store: SqliteStore) -> None:
    app = await store.create_app(make_app())
    done, moved, cancelled, live, kept = make_rows(app, [START_MS + n for n in range(5)])
    kept = replace(kept, schedule=replace(kept.schedule, expires_ms=AFTER_RETENTION_MS + 1))
    await store.put_rows([done, moved, cancelled, live, kept])
    move_to = moved.place._replace(slot_ms=START_MS + 90_000)
    await store.put_updates(
        [
            make_update(done, make_outcome()),
            make_update(moved, moved_to=move_to),
            make_update(kept, make_outcome()),
        ]
    )
    await store.put_cancel(cancelled.place, cancelled.schedule.schedule_id, START_MS)

    assert await store.purge(START_MS + WEEK_MS - 1) == 0
    assert await store.purge(AFTER_RETENTION_MS) == 3
    assert [await fetch(store, row) is None for row in (done, moved, cancelled)] == [True] * 3
    assert await fetch(store, live) == live
    assert await fetch(store, kept) is not None
    assert len(await store.fetch_index(BUCKET, BUCKET)) == 1


async def test_purge_deletes_audit_entries_that_expired(store: SqliteStore) -> None:
    entries = [
        AuditEntry(
            entry_id=uuid4(), at_ms=NOW_MS, operator="ana", action="a", subject="s", expires_ms=expires_ms
        )
        for expires_ms in (NOW_MS + 5, NOW_MS + 6, 0)
    ]
    for entry in entries:
        await store.put_audit(entry)
    await store.purge(NOW_MS + 5)
    assert {entry.entry_id for entry in await store.fetch_audit(NOW_MS, NOW_MS, 9)} == {
        entry.entry_id for entry in entries[1:]
    }


async def test_purge_comes_back_when_the_next_row_expires(store: SqliteStore) -> None:
    app = await store.create_app(make_app())
    rows = [make_row(app, START_MS + n, expires_ms=AFTER_RETENTION_MS + n * 10) for n in range(3)]
    await store.put_rows(rows)
    await store.put_updates([make_update(row, make_outcome()) for row in rows])
    assert [await store.purge(AFTER_RETENTION_MS + ms) for ms in (0, 9, 10, 19, 20, 30)] == [1, 0, 1, 0, 1, 0]


async def test_purge_deletes_rows_under_settled_and_then_the_index_entry(store: SqliteStore) -> None:
    app = await store.create_app(make_app())
    rows = make_rows(app, [START_MS, START_MS + 1])
    await store.put_rows(rows)
    await store.put_marks([MarksWrite(Instance(app.app_id, 0), 1, Marks(START_MS, START_MS))])
    assert await store.purge(AFTER_RETENTION_MS) == 1
    assert await fetch(store, rows[1]) == rows[1]
    await store.put_updates([make_update(rows[1], make_outcome())])
    assert await store.purge(AFTER_RETENTION_MS + LOOK_AGAIN_MS) == 1
    assert await store.fetch_index(BUCKET, BUCKET) == []


async def test_row_filed_after_a_purge_is_indexed_again(store: SqliteStore, tmp_path: Path) -> None:
    app = await store.create_app(make_app())
    for purger in (store, await SqliteStore.open(tmp_path, exclusive=False)):
        row = make_row(app)
        await store.put_rows([row])
        await store.put_updates([make_update(row, make_outcome())])
        assert await purger.purge(AFTER_RETENTION_MS + LOOK_AGAIN_MS) == 1
        assert await store.fetch_index(BUCKET, BUCKET) == []
    await purger.close()


async def test_purge_by_a_tool_does_not_fool_the_index_cache(
    store: SqliteStore, clock: ManualClock, tmp_path: Path
) -> None:
    app = await store.create_app(make_app())
    row = make_row(app)
    await store.put_rows([row])
    await store.put_updates([make_update(row, make_outcome())])
    clock.advance(AFTER_RETENTION_MS - clock.now_ms())
    tool = await SqliteStore.open(tmp_path, exclusive=False, now_ms=clock.now_ms)
    assert await tool.purge(clock.now_ms()) == 1
    await tool.close()
    await store.put_rows([make_row(app, START_MS + 1)])
    assert len(await store.fetch_index(BUCKET, BUCKET)) == 1


async def test_purge_deletes_dead_letters_that_expired_in_chunks(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringtime_shared.stores.sqlite.purge.ROWS_PER_CHUNK", 7)
    app = await store.create_app(make_app())
    letters = [make_letter(app, START_MS + n, expires_ms=AFTER_RETENTION_MS + n) for n in range(30)]
    row = make_row(app)
    await store.put_dead_letters(letters)
    await store.put_replayed(app.app_id, [key_of_letter(letters[0])], START_MS)
    await store.put_rows([row])
    await store.put_updates([make_update(row, make_outcome())])
    assert await store.purge(START_MS) == 0
    assert await store.purge(AFTER_RETENTION_MS + 24) == 25 + 1
    kept = await store.fetch_dead_letters(app.app_id, before(START_MS), START_MS + 100, 500)
    assert kept == letters[25:]
    assert await store.count_dead_letters(app.app_id, START_MS, START_MS + 100) == 5
    assert await fetch(store, row) is None


async def test_purge_deletes_claims_that_expired_in_chunks(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringtime_shared.stores.sqlite.purge.ROWS_PER_CHUNK", 2)
    app = await store.create_app(make_app())
    claims = [replace(make_claim(app, f"key-{n}"), expires_ms=START_MS + n) for n in range(7)]
    for claim in claims:
        await store.replace_claim(claim, None)
    await store.purge(START_MS + 5)
    assert [await store.fetch_claim(claim.key) for claim in claims] == [None] * 6 + claims[6:]


async def test_a_claim_that_cannot_be_read_is_told_apart(store: SqliteStore, tmp_path: Path) -> None:
    app = await store.create_app(make_app())
    bad, good = make_claim(app, "bad"), make_claim(app, "good")
    for claim in (bad, good):
        await store.replace_claim(claim, None)
    with sqlite3.connect(tmp_path / schema.FILE_NAME) as connection:
        connection.execute("UPDATE claims SET claim = '[1]' WHERE claimed = 'bad'")
    connection.close()
    for call in (store.fetch_claim(bad.key), store.replace_claim(bad, None)):
        with pytest.raises(Damaged, match="key bad cannot be read"):
            await call
    assert await store.fetch_claim(good.key) == good


async def test_purge_works_in_chunks(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringtime_shared.stores.sqlite.purge.ROWS_PER_CHUNK", 7)
    monkeypatch.setattr("ringtime_shared.stores.sqlite.purge.ENTRIES_PER_CHUNK", 2)
    app = await store.create_app(make_app())
    rows = [make_row(app, START_MS + n // 5 * 60_000, n % 3) for n in range(75)]
    await store.put_rows(rows)
    await store.put_updates([make_update(row, make_outcome()) for row in rows])
    changes: list[str] = []
    await store._writer.run(lambda session: session.connection.set_trace_callback(changes.append))
    assert await store.purge(AFTER_RETENTION_MS + 3_600_000) == 75
    assert changes.count("COMMIT") >= 11
    assert await store.fetch_index(0, BUCKET + 100) == []
    assert await store.fetch_live_ids([make_query(app)]) == [IdPage([], None)]


async def test_a_server_files_under_the_next_app_of_an_id_that_a_tool_has_deleted(
    store: SqliteStore, tmp_path: Path
) -> None:
    first = await store.create_app(make_app())
    (before,) = make_rows(first, [START_MS])
    await store.put_rows([before])
    assert await store.fetch_row(before.place, before.schedule.schedule_id) is not None
    tool = await SqliteStore.open(tmp_path, exclusive=False)
    await tool.delete_app(first)
    second = await tool.create_app(make_app(app_id=first.app_id))
    await tool.close()
    (after,) = make_rows(second, [START_MS])
    await store.put_rows([after])
    assert await store.fetch_row(before.place, before.schedule.schedule_id) is None
    assert await store.fetch_row(after.place, after.schedule.schedule_id) == after
    (page,) = await store.fetch_due([make_query(second)])
    assert page.rows == [after]


async def test_purge_deletes_what_a_deleted_app_has_left_when_it_expires(store: SqliteStore) -> None:
    app = await store.create_app(make_app())
    rows = make_rows(app, [START_MS, START_MS + 1])
    await store.put_rows(rows)
    await store.put_dead_letters([make_letter(app)])
    await store.delete_app(app)
    assert await store.purge(START_MS + 60_000 * 5) == 0
    assert await store.purge(START_MS + 2 * WEEK_MS) == 3


async def test_purge_deletes_no_more_receipts_at_once_than_rows(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted: list[int] = []
    delete_receipts = purge._delete_receipts

    def noted(*asked: Any) -> int:
        deleted.append(delete_receipts(*asked))
        return deleted[-1]

    monkeypatch.setattr(purge, "ROWS_PER_CHUNK", 10)
    monkeypatch.setattr(purge, "_delete_receipts", noted)
    app = await store.create_app(make_app())
    rows = [make_row(app, START_MS + n, expires_ms=AFTER_RETENTION_MS) for n in range(35)]
    for row in rows:
        await store.put_rows([row])  # a receipt each
    await store.put_updates([make_update(row, make_outcome()) for row in rows])
    assert await store.purge(AFTER_RETENTION_MS) == 35
    assert sum(deleted) == 35
    assert max(deleted) <= 10
    entry = IndexEntry(BUCKET, Instance(app.app_id, 0))
    assert (await store.fetch_receipts(entry, None, 100)).schedule_ids == []
    assert await store.fetch_index(BUCKET, BUCKET) == []
