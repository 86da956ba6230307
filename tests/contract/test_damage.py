"""One stored cell that cannot be read costs its own record, and nothing else; on every durable driver."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import pytest
from tests.contract.builders import (
    NOW_MS,
    START_MS,
    key_of,
    make_app,
    make_definition,
    make_letter,
    make_outcome,
    make_query,
    make_row,
    make_update,
)
from tests.contract.conftest import DRIVERS, Opener, find_opener
from tests.contract.test_job_store import make_job

from ringtime_shared.errors import Damaged, RingtimeError
from ringtime_shared.models.app import App, AppConfiguration, Instance
from ringtime_shared.models.audit import AuditEntry
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.job import Job
from ringtime_shared.models.recurring import Definition
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Row
from ringtime_shared.stores.codec.cells import LAST_MS
from ringtime_shared.stores.protocol import (
    DAMAGED_MARKS,
    LAST_ID,
    DefinitionKey,
    Marks,
    MarksWrite,
    Position,
    Store,
)
from ringtime_shared.stores.sqlite import schema
from ringtime_shared.stores.sqlite.session import Session

HUGE = "[" * (1 << 20) + "]"
DEEP = '{"log":' + "[" * 10_000 + "]" * 10_000 + "}"


class Vandal(Protocol):
    """Writes cells as no driver does. `None` stands for a cell that is missing."""

    def row(self, row: Row, column: str, value: Any) -> None: ...

    def app(self, app: App, column: str, value: Any) -> None: ...

    def letter(self, letter: DeadLetter, column: str, value: Any) -> None: ...

    def entry(self, entry: AuditEntry, value: Any) -> None: ...

    def definition(self, definition: Definition, column: str, value: Any) -> None: ...

    def job(self, job: Job, value: Any) -> None: ...

    def marks(self, instance: Instance, column: str, value: Any) -> None: ...


class SqliteVandal:
    def __init__(self, folder: Path) -> None:
        self._file = folder / schema.FILE_NAME

    def run(self, statement: str, *values: Any) -> None:
        with closing(sqlite3.connect(self._file)) as connection, connection:
            # A missing cell is written past NOT NULL, as damage is.
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute(
                "UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') WHERE type = 'table'"
            )
            connection.execute("PRAGMA schema_version = 99999")
        with closing(sqlite3.connect(self._file)) as connection, connection:
            assert connection.execute(statement, values).rowcount >= 1

    def row(self, row: Row, column: str, value: Any) -> None:
        self.run(
            f"UPDATE schedules SET {column} = ? WHERE schedule_id = ?", value, row.schedule.schedule_id.bytes
        )

    def app(self, app: App, column: str, value: Any) -> None:
        self.run(f"UPDATE apps SET {column} = ? WHERE app_id = ?", value, app.app_id)

    def letter(self, letter: DeadLetter, column: str, value: Any) -> None:
        self.run(
            f"UPDATE dead_letters SET {column} = ? WHERE schedule_id = ?", value, letter.schedule_id.bytes
        )

    def entry(self, entry: AuditEntry, value: Any) -> None:
        self.run("UPDATE audit_log SET entry = ? WHERE entry_id = ?", value, entry.entry_id.bytes)

    def definition(self, definition: Definition, column: str, value: Any) -> None:
        self.run(
            f"UPDATE definitions SET {column} = ? WHERE recurring_id = ?",
            value,
            definition.recurring_id.bytes,
        )

    def job(self, job: Job, value: Any) -> None:
        self.run("UPDATE jobs SET job = ? WHERE job_id = ?", value, job.job_id.bytes)

    def marks(self, instance: Instance, column: str, value: Any) -> None:
        number = "(SELECT number FROM app_numbers WHERE app_id = ?)"
        self.run(
            f"UPDATE partition_state SET {column} = ? WHERE app = {number} AND partition = ?",
            value,
            *instance,
        )


class CassandraVandal:
    def __init__(self, session: Any, keyspace: str) -> None:
        self._session = session
        self._keyspace = keyspace

    def run(self, statement: str, *values: Any) -> None:
        prepared = self._session.prepare(statement.replace("$", f"{self._keyspace}."))
        prepared.consistency_level = 6  # LOCAL_QUORUM
        self._session.execute(prepared, values)

    def row(self, row: Row, column: str, value: Any) -> None:
        place = row.place
        self.run(
            f"UPDATE $schedules SET {column} = ?"
            " WHERE app_id = ? AND partition = ? AND bucket = ? AND slot_ms = ? AND schedule_id = ?",
            value,
            place.app_id,
            place.partition,
            place.bucket,
            place.slot_ms,
            row.schedule.schedule_id,
        )

    def app(self, app: App, column: str, value: Any) -> None:
        self.run(f"UPDATE $apps SET {column} = ? WHERE app_id = ? IF EXISTS", value, app.app_id)

    def letter(self, letter: DeadLetter, column: str, value: Any) -> None:
        self.run(
            f"UPDATE $dead_letters SET {column} = ?"
            " WHERE app_id = ? AND day = ? AND slot_ms = ? AND schedule_id = ?",
            value,
            letter.app_id,
            letter.slot_ms // 86_400_000,
            letter.slot_ms,
            letter.schedule_id,
        )

    def entry(self, entry: AuditEntry, value: Any) -> None:
        self.run(
            "UPDATE $audit_entries SET entry = ?"
            " WHERE app_id = '' AND slice = ? AND at_ms = ? AND entry_id = ?",
            value,
            entry.at_ms // 600_000,
            entry.at_ms,
            entry.entry_id,
        )

    def definition(self, definition: Definition, column: str, value: Any) -> None:
        self.run(
            f"UPDATE $definitions SET {column} = ? WHERE app_id = ? AND shard = ? AND recurring_id = ?"
            " IF EXISTS",
            value,
            definition.app_id,
            definition.recurring_id.int >> 124,
            definition.recurring_id,
        )

    def job(self, job: Job, value: Any) -> None:
        self.run(
            "UPDATE $jobs SET job = ? WHERE app_id = ? AND job_id = ? IF EXISTS",
            value,
            job.app_id,
            job.job_id,
        )

    def marks(self, instance: Instance, column: str, value: Any) -> None:
        # Under the term that is stored: the next one wins, as over any mark.
        self.run(
            f"UPDATE $partition_state USING TIMESTAMP 1 SET {column} = ? WHERE app_id = ? AND partition = ?",
            value,
            *instance,
        )


@pytest.fixture(params=DRIVERS[1:])  # the memory driver keeps the objects themselves
def opener(request: pytest.FixtureRequest) -> Opener:
    return find_opener(request)


@pytest.fixture
def vandal(request: pytest.FixtureRequest, store: Store, tmp_path: Path) -> Vandal:
    if is_typed(store):
        _, session, keyspace = request.getfixturevalue("cassandra_connections")
        return CassandraVandal(session, keyspace)
    return SqliteVandal(tmp_path / "data")


def is_typed(store: Store) -> bool:
    """Whether the server keeps values of other types out of its columns."""
    return type(store).__name__ == "CassandraStore"


NO_JSON = ["", "{", "nonsense", "[]", "7", '{"replay":"x"}', '{"replay":-1}', '{"log":[{}]}', HUGE, DEEP]
BROKEN_CELLS: list[tuple[str, Sequence[Any]]] = [
    ("extras", [*NO_JSON, '{"retry":{"attempts":"three"}}', '{"log":[{"at_ms":-1,"took_ms":1}]}']),
    ("fire_ms", [None, -1, LAST_MS + 1, "soon", 1.5, b"\x00"]),
    ("created_ms", [None, -1, LAST_MS + 1, "then"]),
    ("expires_ms", [None, -1, LAST_MS + 1, "never"]),
    ("attempts", [None, -1, "three"]),
    ("callback_type", [None, b"http"]),
    ("callback_details", [None, 7, "text"]),
    ("payload", [None, b"\xff\xfe"]),
    ("schedule_id", [b"short", b"x" * 17, "text", 7]),
]
CASES = [
    pytest.param(column, value, id=f"{column}-{n}")
    for column, values in BROKEN_CELLS
    for n, value in enumerate(values)
]


def skip_what_the_server_refuses(store: Store, column: str, value: Any) -> None:
    text = column in ("extras", "callback_type", "payload", "configuration", "secrets", "resize", "letter")
    if is_typed(store) and (
        column in ("schedule_id", "active")
        or (value is not None and isinstance(value, str) is not text)
        or isinstance(value, float)
        or (isinstance(value, bytes) and not text)
        or (value == 7 and column == "callback_details")
    ):
        pytest.skip("the server takes no such value")


@pytest.mark.parametrize(("column", "value"), CASES)
async def test_a_page_goes_on_over_a_row_that_cannot_be_read(
    store: Store, app: App, vandal: Vandal, column: str, value: Any
) -> None:
    skip_what_the_server_refuses(store, column, value)
    rows = [make_row(app, START_MS + n, retry=RetryRules(attempts=2)) for n in range(5)]
    other = await store.create_app(make_app())
    await store.put_rows([*rows, make_row(other)])
    vandal.row(rows[2], column, value)
    good = [row for row in rows if row is not rows[2]]
    page, others = await store.fetch_due([make_query(app), make_query(other)])
    assert (list(page.rows), page.next, len(others.rows)) == (good, None, 1)
    [damaged] = page.damaged
    assert damaged.fault.startswith(f"{column}: ")
    assert len(damaged.fault) <= 200
    found: list[Row] = []
    query = make_query(app, limit=1)
    while True:  # page by page: the damaged one has a page of its own
        [page] = await store.fetch_due([query])
        found += page.rows
        if page.next is None:
            break
        assert page.next > query.after
        query = query._replace(after=page.next)
    assert found == good
    [page_of_ids] = await store.fetch_live_ids([make_query(app)])
    assert set(page_of_ids.ids) >= {key_of(row) for row in good}
    if column == "schedule_id":
        return
    assert (damaged.place, damaged.schedule_id) == (rows[2].place, rows[2].schedule.schedule_id)
    [page] = await store.fetch_rows([make_query(app)])
    assert (list(page.rows), list(page.damaged)) == (good, [damaged])
    with pytest.raises(Damaged, match=f"schedule {rows[2].schedule.schedule_id} cannot be read: {column}: "):
        await store.fetch_row(rows[2].place, rows[2].schedule.schedule_id)
    # Its outcome can be recorded, whatever of it cannot be read; then it is live no more.
    await store.put_updates([make_update(rows[2], make_outcome())])
    [page] = await store.fetch_due([make_query(app)])
    assert (list(page.rows), list(page.damaged)) == (good, [])


WRITTEN_LATER: list[tuple[str, Any]] = [
    ("outcome_status", "WELL"),
    ("outcome_ended_ms", None),
    ("outcome_ended_ms", -5),
    ("outcome_fired_ms", "soon"),
    ("outcome_attempts", None),
    ("outcome_code", "OK"),
    ("outcome_error", b"x"),
    ("outcome_took_ms", -1),
    ("outcome_extras", "{"),
    ("cancelled_ms", "yes"),
    ("moved_slot_ms", "later"),
    ("outcome", "{"),
    ("outcome", '{"status":"WELL","ended_ms":1}'),
    ("outcome", '{"status":"SUCCESS","ended_ms":-1}'),
    ("outcome", '{"status":"SUCCESS"}'),
    ("cancelled_ms", -1),
]


@pytest.mark.parametrize(("column", "value"), WRITTEN_LATER)
async def test_what_was_written_later_is_read_with_the_same_care(
    store: Store, app: App, vandal: Vandal, column: str, value: Any
) -> None:
    if is_typed(store) != (column == "outcome") and value != -1:
        pytest.skip("no such column, or the server takes no such value")
    if column.startswith("outcome_") and is_typed(store):
        pytest.skip("no such column")
    row, beside = make_row(app), make_row(app)
    await store.put_rows([row, beside])
    await store.put_updates([make_update(row, make_outcome())])
    vandal.row(row, column, value)
    with pytest.raises(Damaged, match=f"cannot be read: {column}"):
        await store.fetch_row(row.place, row.schedule.schedule_id)
    assert await store.fetch_row(beside.place, beside.schedule.schedule_id) == beside


APP_CELLS: list[tuple[str, Sequence[Any]]] = [
    ("number", [None, -1, 1 << 20, "seven"]),
    ("writable", [None, 0, 1 << 17, 4, "many"]),
    ("polled", [None, 0, 1 << 30, "many"]),
    ("active", [None, 7, "yes"]),
    ("version", [None, -1, "one"]),
    ("created_ms", [None, -1, LAST_MS + 1]),
    (
        "configuration",
        [None, "", "{", "[]", '{"weight":0}', '{"weight":"1"}', '{"retry":{"attempts":-1}}', HUGE],
    ),
    ("secrets", ["{", '[{"secret_id":7}]', HUGE]),
    ("resize", ["{", '{"quota":1}', '{"quota":-1,"before":1,"operator":"a","begun_ms":1}']),
]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        pytest.param(column, value, id=f"{column}-{n}")
        for column, values in APP_CELLS
        for n, value in enumerate(values)
    ],
)
async def test_an_app_that_cannot_be_read_keeps_no_other_back(
    store: Store, app: App, vandal: Vandal, column: str, value: Any
) -> None:
    skip_what_the_server_refuses(store, column, value)
    other = await store.create_app(make_app())
    vandal.app(app, column, value)
    with pytest.raises(
        Damaged, match=f"app {app.app_id} cannot be read: {'polled' if value == 4 else column}: "
    ):
        await store.fetch_app(app.app_id)
    found = {each.app_id: each for each in await store.fetch_apps()}
    assert found[other.app_id] == other
    assert found[app.app_id].damage
    assert found[app.app_id].instances() == []
    with pytest.raises(RingtimeError):
        await store.replace_app(app)


@pytest.mark.parametrize("value", [None, "", "{", "7", '{"attempts":-1}', HUGE])
async def test_a_page_of_dead_letters_goes_on_over_a_damaged_one(
    store: Store, app: App, vandal: Vandal, value: Any
) -> None:
    if is_typed(store) and value is None:
        pytest.skip("what is left of a letter that expired, and passed over")
    letters = [make_letter(app, START_MS + n) for n in range(3)]
    await store.put_dead_letters(letters)
    vandal.letter(letters[1], "letter", value)
    found = await store.fetch_dead_letters(app.app_id, Position(START_MS - 1, LAST_ID), START_MS + 10, 10)
    assert [found[0], found[2]] == [letters[0], letters[2]]
    assert (found[1].schedule_id, found[1].slot_ms) == (letters[1].schedule_id, START_MS + 1)
    assert found[1].error.startswith("this dead letter cannot be read: letter: ")
    assert len(found[1].error) <= 200


@pytest.mark.parametrize(
    ("column", "value"),
    [("definition", value) for value in (None, "", "{", "7", '{"name":"x"}', HUGE)]
    + [("payload", None), ("revision", 9)],
)
async def test_definitions_go_on_over_a_damaged_one(
    store: Store, app: App, vandal: Vandal, column: str, value: Any
) -> None:
    stored = sorted((make_definition(app) for _ in range(3)), key=lambda each: each.recurring_id)
    for definition in stored:
        await store.replace_definition(definition)
    vandal.definition(stored[1], column, value)
    keys = [DefinitionKey(app.app_id, each.recurring_id) for each in stored]
    found = await store.fetch_definitions(keys)
    listed = await store.list_definitions(app.app_id, None, 10)
    assert [found[key] for key in keys] == listed
    assert [listed[0], listed[2]] == [stored[0], stored[2]]
    assert listed[1].recurring_id == stored[1].recurring_id
    assert listed[1].damage.startswith("definition")
    assert not listed[1].is_live
    with pytest.raises(Damaged, match=f"recurring schedule {stored[1].recurring_id} cannot be read: def"):
        await store.fetch_definition(keys[1])


@pytest.mark.parametrize("value", [None, "", "{", "7", HUGE])
async def test_the_audit_log_goes_on_over_a_damaged_entry(
    store: Store, clock: Any, vandal: Vandal, value: Any
) -> None:
    at_ms = START_MS + hash(uuid4()) % 1_000_000_000 * 60_000  # the table is shared
    entries = [
        AuditEntry(entry_id=uuid4(), at_ms=at_ms + n, operator="ana", action="drain", subject="n")
        for n in range(3)
    ]
    for entry in entries:
        await store.put_audit(entry)
    vandal.entry(entries[1], value)
    found = await store.fetch_audit(at_ms, at_ms + 2, 10)
    assert [found[0], found[2]] == [entries[2], entries[0]]
    assert (found[1].entry_id, found[1].at_ms) == (entries[1].entry_id, at_ms + 1)
    assert found[1].subject.startswith("this entry cannot be read: entry: ")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (column, value)
        for column in ("sealed_ms", "settled_ms")
        for value in (None, -7, LAST_MS + 1, "x", b"y")
    ]
    + [("term", value) for value in (None, -1, "x")],
)
async def test_marks_that_cannot_be_read_are_told_and_the_next_write_mends_them(
    store: Store, app: App, vandal: Vandal, column: str, value: Any
) -> None:
    if is_typed(store) and (isinstance(value, (str, bytes)) or column == "term"):
        pytest.skip("the server takes no such value, or does not look at it")
    first, second = Instance(app.app_id, 0), Instance(app.app_id, 1)
    before = await store.fetch_marks([second])
    vandal.marks(first, column, value)
    found = await store.fetch_marks([first, second])
    assert found[second] == before[second]
    if column != "term":
        assert found[first] == DAMAGED_MARKS
    assert (await store.fetch_terms([first]))[first] == 0
    marks = Marks(START_MS, START_MS - 1)
    await store.put_marks([MarksWrite(first, 1 << 48, marks)])
    assert await store.fetch_marks([first]) == {first: marks}
    assert await store.fetch_terms([first]) == {first: 1 << 48}


async def test_text_that_is_not_utf8_fails_alone(store: Store, app: App, vandal: Vandal) -> None:
    if not isinstance(vandal, SqliteVandal):
        pytest.skip("the server takes no such value")
    rows = [make_row(app, START_MS + n, payload=str(n)) for n in range(3)]
    other = await store.create_app(make_app(configuration=AppConfiguration(weight=2)))
    letter = make_letter(app)
    await store.put_rows(rows)
    await store.put_dead_letters([letter])
    bad = "CAST(x'7bff' AS TEXT)"
    for table, column in (("schedules", "payload"), ("dead_letters", "letter"), ("apps", "configuration")):
        vandal.run(
            f"UPDATE {table} SET {column} = {bad} WHERE {column} = (SELECT min({column}) FROM {table})"
        )
    [page] = await store.fetch_due([make_query(app)])
    assert [len(page.rows), len(page.damaged)] == [2, 1]
    [found] = await store.fetch_dead_letters(app.app_id, Position(0, LAST_ID), START_MS, 5)
    assert "cannot be read" in found.error
    assert {each.app_id: bool(each.damage) for each in await store.fetch_apps()} in (
        {app.app_id: True, other.app_id: False},
        {app.app_id: False, other.app_id: True},
    )


def test_sqlite_text_that_is_not_utf8_comes_as_bytes(tmp_path: Path) -> None:
    """The SQLite module raises the error of a broken disk for it, which would fail everything beside it."""
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
        session = Session(connection)
        connection.execute("CREATE TABLE t (a TEXT)")
        connection.execute("INSERT INTO t VALUES ('good'), (CAST(x'ff' AS TEXT))")
        assert session.fetch("SELECT a FROM t") == [("good",), (b"\xff",)]
        assert connection.text_factory is str
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            session.fetch("SELECT a FROM other")


@pytest.mark.parametrize("value", [None, '{"app_id":"x"}'])
async def test_jobs_go_on_beside_a_damaged_one(store: Store, vandal: Vandal, app: App, value: object) -> None:
    jobs = [make_job(app, NOW_MS + n) for n in range(3)]
    for job in jobs:
        await store.replace_job(job)
    vandal.job(jobs[1], value)
    listed = await store.list_jobs(app.app_id, None, 10)
    assert [each.job_id for each in listed] == [job.job_id for job in jobs[::-1]]
    assert (listed[0], listed[2]) == (jobs[2], jobs[0])
    assert listed[1].damage.startswith("job")
    found = await store.fetch_open_jobs(1_000)
    assert [each for each in found if each.app_id == app.app_id] == [jobs[0], jobs[2]]
    with pytest.raises(Damaged, match="job"):
        await store.fetch_job(jobs[1].key)
