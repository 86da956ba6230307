"""The tables, and how a connection is opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from ringtime_shared.errors import StartupError
from ringtime_shared.stores.sqlite.folder import DATABASE_NAME

FILE_NAME = DATABASE_NAME
BUSY_TIMEOUT_MS = 5_000  # how long a tool's transaction may keep the server waiting, and the other way
CACHE_KIB = 16_384  # page cache of each connection
CACHED_STATEMENTS = 256  # bulk statements come in 64 lengths each
WAL_LIMIT_BYTES = 64 << 20  # what a WAL that once grew is cut back to

_FIRST = """
CREATE TABLE app_numbers (
    number INTEGER PRIMARY KEY,
    app_id TEXT NOT NULL UNIQUE
);
CREATE TABLE apps (
    app_id TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    writable INTEGER NOT NULL,
    polled INTEGER NOT NULL,
    active INTEGER NOT NULL,
    version INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    configuration TEXT NOT NULL -- JSON object, without the fields that are null
) WITHOUT ROWID;
CREATE TABLE schedules (
    app INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    slot_ms INTEGER NOT NULL,
    schedule_id BLOB NOT NULL,
    fire_ms INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    callback_type TEXT NOT NULL,
    callback_details BLOB NOT NULL,
    payload TEXT NOT NULL,
    cancelled_ms INTEGER,
    moved_partition INTEGER,
    moved_slot_ms INTEGER,
    outcome_status TEXT,
    outcome_ended_ms INTEGER,
    outcome_fired_ms INTEGER,
    outcome_attempts INTEGER,
    outcome_code INTEGER,
    outcome_error TEXT,
    PRIMARY KEY (app, partition, slot_ms, schedule_id)
) WITHOUT ROWID;
CREATE TABLE due_index (
    bucket INTEGER NOT NULL,
    app INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    purge_ms INTEGER NOT NULL, -- when purge should look at these rows (again)
    PRIMARY KEY (bucket, app, partition)
) WITHOUT ROWID;
CREATE INDEX due_index_purge ON due_index (purge_ms);
CREATE TABLE partition_state (
    app INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    term INTEGER NOT NULL,
    sealed_ms INTEGER NOT NULL,
    settled_ms INTEGER NOT NULL,
    PRIMARY KEY (app, partition)
) WITHOUT ROWID;
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value NOT NULL
) WITHOUT ROWID;
INSERT INTO meta VALUES ('nonces', 0), ('nonce_holder', ''), ('era', 0), ('era_identity', '');
"""

_DELIVERY = """
ALTER TABLE schedules ADD COLUMN extras TEXT; -- JSON object: retry rules, replay, attempt log. Mostly null
ALTER TABLE schedules ADD COLUMN outcome_took_ms INTEGER;
ALTER TABLE schedules ADD COLUMN outcome_extras TEXT; -- JSON object: replay, attempt log. Mostly null
ALTER TABLE apps ADD COLUMN secrets TEXT NOT NULL DEFAULT '[]'; -- JSON array
CREATE TABLE dead_letters (
    app INTEGER NOT NULL,
    slot_ms INTEGER NOT NULL,
    schedule_id BLOB NOT NULL,
    expires_ms INTEGER NOT NULL,
    letter TEXT NOT NULL, -- JSON object
    replayed_ms INTEGER,
    PRIMARY KEY (app, slot_ms, schedule_id)
) WITHOUT ROWID;
CREATE INDEX dead_letters_expiry ON dead_letters (expires_ms);
"""

_OPERATOR = """
ALTER TABLE apps ADD COLUMN resize TEXT; -- JSON object. Mostly null
CREATE TABLE audit_log (
    at_ms INTEGER NOT NULL,
    entry_id BLOB NOT NULL,
    entry TEXT NOT NULL, -- JSON object
    PRIMARY KEY (at_ms, entry_id)
) WITHOUT ROWID;
"""

_COUNT = """
INSERT INTO meta VALUES ('commits', 0), ('database', lower(hex(randomblob(16)))); -- see `examine`
"""

_DAMAGE = """
CREATE TABLE damage ( -- notes of records that cannot be read
    in_table TEXT NOT NULL,
    record TEXT NOT NULL, -- its key, for people
    app_id TEXT NOT NULL,
    fault TEXT NOT NULL,
    found_ms INTEGER NOT NULL,
    PRIMARY KEY (in_table, record)
) WITHOUT ROWID;
CREATE INDEX damage_found ON damage (found_ms);
"""

_DELETION = """
ALTER TABLE apps ADD COLUMN halted_ms INTEGER; -- since when it is deactivated
ALTER TABLE apps ADD COLUMN deletion TEXT; -- JSON object. Mostly null
"""

_APP_CHANGES = """
CREATE TABLE app_changes ( -- the last ones, told to servers that keep all apps in memory
    number INTEGER PRIMARY KEY, -- the last is how many there were
    changed_ms INTEGER NOT NULL,
    app_id TEXT NOT NULL
);
"""

_RECURRING = """
CREATE TABLE definitions ( -- of recurring schedules
    app INTEGER NOT NULL,
    recurring_id BLOB NOT NULL,
    revision INTEGER NOT NULL,
    definition TEXT NOT NULL, -- JSON object, without the payload
    payload TEXT NOT NULL,
    PRIMARY KEY (app, recurring_id)
) WITHOUT ROWID;
CREATE TABLE runs (
    app INTEGER NOT NULL,
    recurring_id BLOB NOT NULL,
    nominal_ms INTEGER NOT NULL,
    schedule_id BLOB NOT NULL,
    expires_ms INTEGER NOT NULL,
    PRIMARY KEY (app, recurring_id, nominal_ms, schedule_id)
) WITHOUT ROWID;
CREATE INDEX runs_expiry ON runs (expires_ms);
"""

_CLAIMS = """
CREATE TABLE claims ( -- which schedules idempotency keys and names stand for
    app INTEGER NOT NULL,
    kind TEXT NOT NULL,
    claimed TEXT NOT NULL,
    claim TEXT NOT NULL, -- JSON array
    expires_ms INTEGER NOT NULL,
    PRIMARY KEY (app, kind, claimed)
) WITHOUT ROWID;
CREATE INDEX claims_expiry ON claims (expires_ms);
"""

_JOBS = """
CREATE TABLE jobs (
    app_id TEXT NOT NULL,
    job_id BLOB NOT NULL,
    revision INTEGER NOT NULL,
    job TEXT NOT NULL, -- JSON object
    is_open INTEGER NOT NULL, -- whether something is left to do
    expires_ms INTEGER NOT NULL,
    PRIMARY KEY (app_id, job_id)
) WITHOUT ROWID;
CREATE INDEX jobs_open ON jobs (job_id) WHERE is_open;
CREATE INDEX jobs_expiry ON jobs (expires_ms);
"""

_CALENDARS = """
CREATE TABLE calendars ( -- of apps, named by definitions
    app INTEGER NOT NULL,
    name TEXT NOT NULL,
    revision INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL,
    is_deleted INTEGER NOT NULL,
    calendar TEXT NOT NULL, -- JSON object
    PRIMARY KEY (app, name)
) WITHOUT ROWID;
"""

_TALLIES = """
CREATE TABLE tallies ( -- rows that processes have filed of apps with a bound on them
    app INTEGER NOT NULL,
    day INTEGER NOT NULL, -- on which they expire, since 1970
    holder INTEGER NOT NULL, -- the nonce of the process
    rows INTEGER NOT NULL,
    PRIMARY KEY (app, day, holder)
) WITHOUT ROWID;
CREATE INDEX tallies_day ON tallies (day);
"""

_API_KEYS = """
CREATE TABLE api_keys ( -- what is kept of them, which is not the keys themselves
    key_id TEXT PRIMARY KEY,
    facts TEXT NOT NULL, -- JSON object
    revoked_ms INTEGER,
    used_ms INTEGER
) WITHOUT ROWID;
"""

_AUDIT = """
ALTER TABLE audit_log ADD COLUMN app_id TEXT NOT NULL DEFAULT ''; -- empty: no app's
ALTER TABLE audit_log ADD COLUMN expires_ms INTEGER NOT NULL DEFAULT 0; -- 0: never
CREATE INDEX audit_log_apps ON audit_log (app_id, at_ms, entry_id) WHERE app_id <> '';
CREATE INDEX audit_log_expiry ON audit_log (expires_ms) WHERE expires_ms > 0;
"""

_KEY_RETIREMENT = """
ALTER TABLE api_keys ADD COLUMN retires_ms INTEGER;
"""

_NODE_STATUS = """
CREATE TABLE node_status ( -- what a node said of itself last
    node TEXT PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    status TEXT NOT NULL -- JSON object
) WITHOUT ROWID;
"""

_RECEIPTS = """
CREATE TABLE receipts ( -- which schedules were filed together in a minute, see `ReceiptStore`
    app INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    ids BLOB NOT NULL, -- 16 bytes each
    expires_ms INTEGER NOT NULL, -- of the first of their rows
    PRIMARY KEY (app, partition, bucket, ids)
) WITHOUT ROWID;
CREATE TABLE moved ( -- minutes of which rows were left for later filings, see `MovedStore`
    bucket INTEGER NOT NULL,
    app INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    PRIMARY KEY (bucket, app, partition)
) WITHOUT ROWID;
"""

_ALIASES = """
CREATE TABLE aliases ( -- which schedules are meant by ids of another scheduler
    alias BLOB PRIMARY KEY, -- 16 bytes
    schedule_id BLOB NOT NULL,
    expires_ms INTEGER -- null: never
) WITHOUT ROWID;
CREATE INDEX aliases_expiry ON aliases (expires_ms) WHERE expires_ms IS NOT NULL;
"""

_SHADOW = """
ALTER TABLE apps ADD COLUMN shadow TEXT; -- JSON object
CREATE TABLE taps ( -- calls of goscheduler that came by the tap
    app_id TEXT NOT NULL,
    bucket INTEGER NOT NULL, -- of the fire time
    schedule_id BLOB NOT NULL,
    tap_id BLOB NOT NULL,
    expires_ms INTEGER NOT NULL,
    tap TEXT NOT NULL, -- JSON object
    PRIMARY KEY (app_id, bucket, schedule_id, tap_id)
) WITHOUT ROWID;
CREATE INDEX taps_expiry ON taps (expires_ms);
"""

#: Step n leads from schema version n to n + 1; add at the end, change nothing. A comment holds no semicolon.
STEPS: tuple[str, ...] = (
    _FIRST,
    _DELIVERY,
    _OPERATOR,
    _COUNT,
    _DAMAGE,
    _DELETION,
    _APP_CHANGES,
    _RECURRING,
    _CLAIMS,
    _JOBS,
    _CALENDARS,
    _TALLIES,
    _API_KEYS,
    _AUDIT,
    _KEY_RETIREMENT,
    _NODE_STATUS,
    _RECEIPTS,
    _ALIASES,
    _SHADOW,
)
SCHEMA_VERSION = len(STEPS)

# A Ringtime of the release before opens a file with later steps, as long as these only add: it can be gone
# back to. So `user_version`, on which release 0.1.0 insists, is the last step that a program has to know;
# what was applied beyond it stands in a table. See docs/upgrade.md.

FIRST_FLOOR = 17  #: the steps of release 0.1.0
#: By the version that a step leads to which takes something away: the one that a program has to know then.
FLOORS: Mapping[int, int] = {}
FLOOR = max((FIRST_FLOOR, *FLOORS.values()))
_STEPS_TABLE = "CREATE TABLE IF NOT EXISTS schema_steps (version INTEGER PRIMARY KEY)"


def connect_writer(folder: Path, *, checkpoint_pages: int) -> sqlite3.Connection:
    """Open the file in `folder`, create it or bring its schema up to date.

    Args:
        checkpoint_pages: pages in the log after which a COMMIT moves them to the database; 0: none does.

    Raises:
        StartupError: the file was written by a newer Ringtime, or lies where WAL does not work.
    """
    connection = _connect(folder)
    try:
        if connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
            raise StartupError(f"the file system of {folder} does not support SQLite's WAL mode")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {checkpoint_pages}")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
        _upgrade(connection, folder)
        # A statement that writes many records notes how to undo it: 4 KiB for each page it touches, in a file
        # of its own in /var/tmp. That took a quarter of what a create costs the writer. Only now: a step that
        # makes an index sorts all there is.
        connection.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        connection.close()
        raise
    return connection


def check_file(folder: Path) -> None:
    """Raise StartupError unless the file is there, with the schema this Ringtime knows."""
    file = folder / FILE_NAME
    if not file.is_file():
        raise StartupError(f"{folder} holds no Ringtime data: {FILE_NAME} is not there")
    try:
        connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
        try:
            floor, found = fetch_floor(connection), fetch_version(connection)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StartupError(f"cannot read {file}: {error}") from error
    _refuse_newer(floor, found, folder)
    if found < SCHEMA_VERSION:
        raise StartupError(
            f"{file} has schema version {found}, this Ringtime needs {SCHEMA_VERSION}: `ringtime serve` of"
            " this version brings it up to date"
        )


def connect_reader(folder: Path) -> sqlite3.Connection:
    """Open the file in `folder`, which a writer has prepared, for reading."""
    connection = _connect(folder)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _connect(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        folder / FILE_NAME,
        timeout=BUSY_TIMEOUT_MS / 1000,
        isolation_level=None,  # we say BEGIN and COMMIT ourselves
        cached_statements=CACHED_STATEMENTS,
    )
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    return connection


def _upgrade(connection: sqlite3.Connection, folder: Path) -> None:
    if fetch_version(connection) == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        floor, found = (
            fetch_floor(connection),
            fetch_version(connection),
        )  # again: another may have been faster
        _refuse_newer(floor, found, folder)
        for step in STEPS[found:]:
            for statement in step.split(";"):
                connection.execute(statement)
        if found < SCHEMA_VERSION:
            _note(connection)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _note(connection: sqlite3.Connection) -> None:
    """Write down that all steps were applied."""
    connection.execute(f"PRAGMA user_version = {min(FLOOR, SCHEMA_VERSION)}")
    if SCHEMA_VERSION > FLOOR:
        connection.execute(_STEPS_TABLE)
        connection.execute("INSERT OR REPLACE INTO schema_steps VALUES (?)", (SCHEMA_VERSION,))


def _refuse_newer(floor: int, found: int, folder: Path) -> None:
    if floor > SCHEMA_VERSION:
        raise StartupError(
            f"{folder / FILE_NAME} has schema version {found}, of which a Ringtime has to know {floor}; this"
            f" Ringtime knows {SCHEMA_VERSION}"
        )


def fetch_floor(connection: sqlite3.Connection) -> int:
    """Return the last step that a program has to know to use the open file."""
    floor: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return floor


def fetch_version(connection: sqlite3.Connection) -> int:
    """Return the last step that was applied to the open file."""
    noted = 0
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_steps'").fetchone():
        noted = connection.execute("SELECT max(version) FROM schema_steps").fetchone()[0] or 0
    return max(noted, fetch_floor(connection))
