"""A copy of a data folder, made while its server runs on it, and checked.

What is copied: the database with all that is in its log, and `KEYS`. The count, the lock and the reserve are
made anew where the copy is put back (`restore`).

One moment. The copy is of the database as it was when a read transaction was begun, which is held until the
last page is copied. (SQLite's online backup without one begins anew each time that somebody commits: beside
a busy server it would not end.) A schedule is acknowledged after its COMMIT, so all that were acknowledged
before the backup began are in it, each with what had become of it by then.

`KEYS` is read before the database and once more after it. What the copy holds was encrypted under a key that
was in the ring by then. If both readings are the same, that ring decrypts it; if not, a key was added or
removed meanwhile, and there is no backup: it is made again in a minute.

What it costs the server. Reading takes no lock that a writer waits for. But while the transaction is held the
log only grows: what was written since it began cannot be moved to the database. So it is copied neither too
fast, 1 MiB at a time with a pause as long as that took, nor too slow; and the backup is given up when the log
is `MOST_LOG_BYTES`, or the disk has little left. The copy is flushed as it grows, not all at its end, since
the flushes of the server wait behind that. The process gives way to all others (`nice`).

All or nothing: it is written beside its place, under another name, and renamed when it is whole, checked and
flushed.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path

from ringtime_shared.errors import DiskFull, StartupError
from ringtime_shared.stores.sqlite.examine import Count, fetch_count, refuse_loss
from ringtime_shared.stores.sqlite.folder import (
    DATABASE_NAME,
    KEYS_NAME,
    WAL_NAME,
    find_server,
    open_private,
    refuse_backup,
)
from ringtime_shared.stores.sqlite.manifest import (
    FORMAT,
    Manifest,
    describe_file,
    made_whole,
    require_room,
    write_manifest,
    write_private,
)
from ringtime_shared.stores.sqlite.schema import SCHEMA_VERSION, fetch_version

RATE_MIB_S = 128
MOST_LOG_BYTES = 1 << 30
_STEP_BYTES = 1 << 20
_FLUSH_STEPS = 16
_SPARE_BYTES = 32 << 20  # of the disk, for the server beside it
_NICENESS = 10
_BUSY_S = 5.0
_COUNTED = {
    "apps": "SELECT count(*) FROM apps",
    "waiting": (
        "SELECT count(*) FROM schedules"
        " WHERE outcome_status IS NULL AND cancelled_ms IS NULL AND moved_slot_ms IS NULL"
    ),
    "recurring": "SELECT count(*) FROM definitions",
    "deadLetters": "SELECT count(*) FROM dead_letters",
}

OnProgress = Callable[[int, int], None]  #: bytes that are copied, and of how many


def back_up(
    folder: Path,
    target: Path,
    *,
    now_ms: Callable[[], int],
    with_keys: bool = True,
    rate_mib_s: int = RATE_MIB_S,
    most_log_bytes: int = MOST_LOG_BYTES,
    on_progress: OnProgress = lambda copied, total: None,  # noqa: ARG005
) -> Manifest:
    """Copy what `folder` holds to `target`, a folder that is made, and return what is in it.

    Raises:
        StartupError: there is nothing to copy, or less than was acknowledged; `target` is there; the key
            ring was changed meanwhile; the log has grown too far; the copy did not pass its check.
        DiskFull: there is no room for it.

    Nothing is left of it then.
    """
    database = folder / DATABASE_NAME
    refuse_backup(folder)
    if not database.is_file():
        raise StartupError(f"{folder} holds no Ringtime data: {DATABASE_NAME} is not there")
    if find_server(folder) is None:
        refuse_loss(folder, check_s=0)
    with suppress(OSError):
        os.nice(_NICENESS)
    with made_whole(target) as partial:
        keys = _read_keys(folder) if with_keys else None
        begun_ms = now_ms()
        try:
            with closing(_open(database)) as source:
                copied = _copy(source, partial, rate_mib_s, most_log_bytes, on_progress)
            found, schema, counts = _check(partial / DATABASE_NAME)
        except sqlite3.Error as error:
            raise _refusal(error, target) from error
        if found != copied:
            raise StartupError(f"the copy holds {found}, not the {copied} that was copied")
        if keys is not None:
            write_private(partial / KEYS_NAME, keys)
        if with_keys and _read_keys(folder) != keys:
            raise StartupError(f"the key ring in {folder} was changed meanwhile: make the backup again")
        names = [DATABASE_NAME] if keys is None else [DATABASE_NAME, KEYS_NAME]
        manifest = Manifest(
            format=FORMAT,
            ringtime=version("ringtime"),
            schema=schema,
            begun_ms=begun_ms,
            ended_ms=now_ms(),
            host=socket.gethostname(),
            folder=str(folder.absolute()),
            database=found.database,
            commits=found.commits,
            counts=counts,
            files={name: describe_file(partial / name) for name in names},
        )
        write_manifest(partial, manifest)
    return manifest


def _open(database: Path) -> sqlite3.Connection:
    """Read-only: a connection that may write would, where it is the last, do away with the log."""
    return sqlite3.connect(
        f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S, isolation_level=None
    )


def _read_keys(folder: Path) -> bytes | None:
    try:
        return (folder / KEYS_NAME).read_bytes()
    except FileNotFoundError:
        return None


def _copy(
    source: sqlite3.Connection, partial: Path, rate_mib_s: int, most_log_bytes: int, on_progress: OnProgress
) -> Count:
    """Copy the database as it is now; return how many transactions that are."""
    source.execute("BEGIN")
    count = fetch_count(source)  # the first read: from here on it is one moment
    if count is None:
        raise StartupError(
            "the database counts no transactions: start the server of this version on it first"
        )
    ((page_bytes,),) = source.execute("PRAGMA page_size").fetchall()
    ((pages,),) = source.execute("PRAGMA page_count").fetchall()
    require_room(partial, page_bytes * pages + _SPARE_BYTES)
    ((_, _, name),) = source.execute("PRAGMA database_list").fetchall()
    pace = _Pace(Path(name).with_name(WAL_NAME), partial, rate_mib_s, most_log_bytes)
    fd = open_private(partial / DATABASE_NAME)
    try:
        with closing(sqlite3.connect(partial / DATABASE_NAME, isolation_level=None)) as copy:
            copy.execute("PRAGMA synchronous = OFF")  # it is flushed here

            def after_step(_: int, left: int, total: int) -> None:
                on_progress((total - left) * page_bytes, total * page_bytes)
                pace.keep(fd)

            source.backup(copy, pages=max(_STEP_BYTES // page_bytes, 1), progress=after_step)
    finally:
        os.close(fd)
    return count


class _Pace:
    """How fast a copy goes, and when it is given up."""

    def __init__(self, log: Path, partial: Path, rate_mib_s: int, most_log_bytes: int) -> None:
        self._log = log
        self._partial = partial
        self._least_s = _STEP_BYTES / (rate_mib_s << 20)
        self._most_log_bytes = most_log_bytes
        self._steps = 0
        self._begun_s = time.monotonic()

    def keep(self, fd: int) -> None:
        """A step is done. Raises StartupError, DiskFull, OSError."""
        self._steps += 1
        if self._steps % _FLUSH_STEPS == 0:
            os.fdatasync(fd)
            require_room(self._partial, _SPARE_BYTES)
        with suppress(FileNotFoundError):
            if self._log.stat().st_size > self._most_log_bytes:
                raise StartupError(
                    f"{self._log} is larger than {self._most_log_bytes >> 20:,} MiB, and cannot be moved to"
                    " the database while that is copied: the backup is given up. Try it at a quieter time, or"
                    " with a higher --rate"
                )
        took_s = time.monotonic() - self._begun_s
        time.sleep(max(self._least_s - took_s, took_s))
        self._begun_s = time.monotonic()


def _check(database: Path) -> tuple[Count, int, dict[str, int]]:
    """Return the count of transactions, the schema version and what is in a copy, once every page and every
    index of it was found whole."""
    with closing(sqlite3.connect(database, isolation_level=None)) as copy:
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, which needs no log to be read
        faults = [text for (text,) in copy.execute("PRAGMA integrity_check(5)") if text != "ok"]
        if faults:
            raise StartupError(f"the copy is damaged: {'; '.join(' '.join(text.split()) for text in faults)}")
        schema, count = fetch_version(copy), fetch_count(copy)
        if schema > SCHEMA_VERSION:
            raise StartupError(
                f"the database has schema version {schema}, this Ringtime knows {SCHEMA_VERSION}"
            )
        if count is None:
            raise StartupError("the copy counts no transactions")
        tables = {name for (name,) in copy.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        counts = {
            what: copy.execute(sql).fetchone()[0]
            for what, sql in _COUNTED.items()
            if sql.split(" FROM ")[1].split()[0] in tables  # of an older schema
        }
        return count, schema, counts


def _refusal(error: sqlite3.Error, target: Path) -> DiskFull | StartupError:
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_WRITE:
        return DiskFull(f"the disk of {target} is full: nothing of it was kept")
    return StartupError(f"the backup failed, and nothing of it was kept: {error}")
