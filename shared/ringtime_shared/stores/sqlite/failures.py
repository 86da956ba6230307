"""What an SQLite error means to a caller."""

from __future__ import annotations

import sqlite3

from ringtime_shared.errors import DiskFull, OutcomeUnknown, StoreUnavailable

# A COMMIT that failed like this wrote no commit frame to the WAL, so it cannot come back after a crash.
_NOTHING_COMMITTED = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_IOERR_WRITE,
}


_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}


def from_sqlite(error: sqlite3.Error) -> StoreUnavailable:
    """Return what to raise when the transaction was rolled back."""
    if getattr(error, "sqlite_errorcode", 0) in _NO_ROOM:
        return DiskFull(f"the disk of the data folder takes no more: {_describe(error)}")
    return StoreUnavailable(_describe(error))


def from_commit(error: sqlite3.Error) -> StoreUnavailable | OutcomeUnknown:
    """Return what to raise when COMMIT itself failed."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code in _NOTHING_COMMITTED or code & 0xFF in _NOTHING_COMMITTED:
        return from_sqlite(error)
    return OutcomeUnknown(_describe(error))


def _describe(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return f"SQLite: {error} ({name})"
