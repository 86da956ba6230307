"""One thread's connection, and what it knows to be in the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from ringtime_shared.stores.sqlite.failures import from_commit

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
        self._indexed: dict[IndexKey, None] = {}  # in order of last use
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
            del self._indexed[key]
        elif len(self._indexed) >= INDEXED_ENTRIES:
            del self._indexed[next(iter(self._indexed))]
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
