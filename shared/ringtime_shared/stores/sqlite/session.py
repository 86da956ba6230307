"""One thread's connection: what it knows to be in the file, many records in few statements, and what an
SQLite error means to a caller.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from ringtime_shared.errors import DiskFull, OutcomeUnknown, StoreUnavailable

_COUNT = "UPDATE meta SET value = value + 1 WHERE name = 'commits' RETURNING value"
INDEXED_ENTRIES = 20_000  # about 4 MB; one entry is a poller instance in a minute

IndexKey = tuple[int, int, int]  # bucket, app number, partition


class Session:
    """What operations run on. Stays in the thread that made it.

    Both caches may hold what only the open transaction has written, because a rollback empties them. Numbers
    are remembered for one transaction: another process may delete an app, and register one of its id.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._numbers: dict[str, int] = {}
        self._indexed: OrderedDict[IndexKey, None] = OrderedDict()  # in order of last use
        self._changes = connection.total_changes  # up to the end of the last transaction

    def fetch(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all records of a query. Text that is not UTF-8 comes as bytes, for its reader to refuse:
        the SQLite module would fail the whole query for it."""
        try:
            return self.connection.execute(sql, values).fetchall()
        except sqlite3.OperationalError as error:
            if not str(error).startswith("Could not decode to UTF-8"):
                raise
        self.connection.text_factory = _text_or_bytes
        try:
            return self.connection.execute(sql, values).fetchall()
        finally:
            self.connection.text_factory = str

    def number_of(self, app_id: str) -> int | None:
        """Return the app's number, None if it has none yet."""
        number = self._numbers.get(app_id)
        if number is None:
            found = self.connection.execute("SELECT number FROM app_numbers WHERE app_id = ?", (app_id,))
            for (number,) in found:
                self._numbers[app_id] = number
        return number

    def give_number(self, app_id: str) -> int:
        """Return the app's number; give it the next one if it has none yet."""
        number = self.number_of(app_id)
        if number is None:
            added = self.connection.execute("INSERT INTO app_numbers (app_id) VALUES (?)", (app_id,))
            number = added.lastrowid or 0
            self._numbers[app_id] = number
        return number

    def note_indexed(self, key: IndexKey) -> bool:
        """Remember that `key` is in `due_index`; return whether that was known before."""
        was_known = key in self._indexed
        if was_known:
            self._indexed.move_to_end(key)
        else:
            if len(self._indexed) >= INDEXED_ENTRIES:
                self._indexed.popitem(last=False)
            self._indexed[key] = None
        return was_known

    def forget_indexed(self, keys: Sequence[IndexKey]) -> None:
        for key in keys:
            self._indexed.pop(key, None)

    def commit(self, *, is_counted: bool) -> int | None:
        """Commit, and return the number of the transaction; None: it wrote nothing, or is not counted.

        Raises StoreUnavailable or OutcomeUnknown.
        """
        number = None
        if is_counted and self.connection.total_changes != self._changes:
            ((number,),) = self.connection.execute(_COUNT).fetchall()
        try:
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise from_commit(error) from error
        finally:
            self._numbers.clear()
        self._changes = self.connection.total_changes
        return number

    def retire_number(self, app_id: str, number: int) -> None:
        """Let the next app of this id get another number. No app id has a dot, so nobody asks for the old."""
        self.connection.execute(
            "UPDATE app_numbers SET app_id = ? WHERE number = ?", (f"{app_id}.{number}", number)
        )
        self._numbers.pop(app_id, None)

    def roll_back(self) -> None:
        """End the open transaction, if SQLite has not done so itself. Raises sqlite3.Error."""
        self._numbers.clear()
        self._indexed.clear()
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        self._changes = self.connection.total_changes


def _text_or_bytes(stored: bytes) -> str | bytes:
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored


# `executemany` gives the interpreter lock up and takes it back once a row. While the event loop is busy, each
# of these can cost a switch interval (5 ms): 512 rows were seen to take over two seconds. With this many
# records a statement it is a few milliseconds, and the CPU time is the same.
RECORDS_PER_STATEMENT = 64


def execute_bulk(connection: sqlite3.Connection, template: str, records: Sequence[tuple[Any, ...]]) -> None:
    """Execute `template`, with `{values}` standing for the `VALUES` clause of up to 64 records."""
    for start in range(0, len(records), RECORDS_PER_STATEMENT):
        part = records[start : start + RECORDS_PER_STATEMENT]
        sql = _fill(template, len(part[0]), len(part))
        connection.execute(sql, tuple(chain.from_iterable(part)))


@lru_cache(maxsize=512)
def _fill(template: str, width: int, count: int) -> str:
    record = f"({', '.join('?' * width)})"
    return template.format(values=f"VALUES {', '.join([record] * count)}")


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
