"""What the writer sees to around its transactions: the count, the files, the reserve, the checkpoints.

Checkpoints. What is in the log alone hangs on every one of its frames, so it is moved to the database each
`checkpoint_ms`, and when the log has grown. SQLite would do it within a COMMIT; here it is done after the
answers are out, and between two looks at the files: a checkpoint hides that a database was overwritten.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from ringtime_shared.errors import DiskFull, FolderLost, OutcomeUnknown
from ringtime_shared.stores.sqlite.count import CommitCount, Count, read_count, write_count
from ringtime_shared.stores.sqlite.examine import fetch_count
from ringtime_shared.stores.sqlite.failures import from_sqlite
from ringtime_shared.stores.sqlite.lock import FolderLock
from ringtime_shared.stores.sqlite.reserve import Reserve
from ringtime_shared.stores.sqlite.session import Session
from ringtime_shared.stores.sqlite.watch import FolderWatch

CHECKPOINT_BYTES = 16 << 20  # of growth of the log
_CHORES_S = 1.0
_log = logging.getLogger(__name__)


class Keeper:
    """Of a tool that works beside a server, or alone: it keeps the count. For the writer's thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = CommitCount(folder)
        self._database = ""

    def opened(self, session: Session) -> Count:
        """A connection was opened."""
        count = fetch_count(session.connection)
        if count is None:
            raise sqlite3.DatabaseError("the database has lost its count of transactions")
        self._database = count.database
        return count

    def committed(self, number: int) -> None:
        """Transaction `number` is durable. Raises OutcomeUnknown if it is not after all."""
        self._count.note(Count(number, self._database))

    def failed(self, error: BaseException) -> None:
        """A transaction was not carried out."""

    def rest(self, session: Session | None) -> None:
        """The answers of a transaction are out, or there was nothing to do for a second."""

    def close(self) -> None:
        self._count.close()


class ServerKeeper(Keeper):
    """Of the server that holds the folder."""

    def __init__(
        self,
        folder: Path,
        *,
        lock: FolderLock,
        reserve: Reserve,
        checkpoint_ms: int,
        on_lost: Callable[[FolderLost], None],
    ) -> None:
        super().__init__(folder)
        self.lost: FolderLost | None = None  #: once set, it stays
        self._lock = lock
        self._reserve = reserve
        self._watch = FolderWatch(folder)
        self._checkpoint_s = checkpoint_ms / 1000
        self._on_lost = on_lost
        self._last = 0  # transaction
        self._is_behind = False  # the database, behind its log
        self._wal_bytes = 0  # size of the log at the last checkpoint
        self._checkpointed_s = self._chores_s = time.monotonic()

    def opened(self, session: Session) -> Count:
        count = super().opened(session)
        self._last = count.commits
        if read_count(self._folder) != count:
            try:
                write_count(self._folder, count)
            except OSError as error:
                _log.warning("cannot write the count of transactions: %s", error.strerror)
        self._count.note(count)
        self._checkpoint(session)
        self._watch.begin(count)
        return count

    def committed(self, number: int) -> None:
        self._look(self._last)
        self._last = number
        self._is_behind = True
        if self.lost is not None:
            raise OutcomeUnknown(f"this may be lost: {self.lost}")
        super().committed(number)

    def failed(self, error: BaseException) -> None:
        if isinstance(error, DiskFull):
            self._reserve.give_up()

    def rest(self, session: Session | None) -> None:
        now_s = time.monotonic()
        if self.lost is not None:
            return
        if now_s - self._chores_s >= _CHORES_S:
            self._chores_s = now_s
            self._look(self._last)
            self._lock.restore_note()
            self._count.restore()
            self._reserve.take()
        is_due = now_s - self._checkpointed_s >= self._checkpoint_s
        has_grown = self._watch.wal_bytes - self._wal_bytes >= CHECKPOINT_BYTES
        if session is not None and self._is_behind and (is_due or has_grown):
            self._checkpointed_s = now_s
            self._look(self._last)
            if self.lost is None:
                self._checkpoint(session)
                self._look(self._last)
                self._wal_bytes = self._watch.wal_bytes

    def refuse_if_lost(self) -> None:
        """Raise FolderLost. For any thread."""
        if self.lost is not None:
            raise FolderLost(*self.lost.args)

    def _look(self, least: int) -> None:
        if self.lost is None and (change := self._watch.find_change(least)) is not None:
            self.lost = FolderLost(
                f"{change}, under the running server: nothing is taken or fired any more. Put the folder back"
                " as it was, then start again"
            )
            _log.critical("%s", self.lost)
            self._on_lost(self.lost)

    def _checkpoint(self, session: Session) -> None:
        try:
            busy, frames, moved = session.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            self.failed(from_sqlite(error))
            _log.warning("checkpoint: %s", error)
        else:
            self._is_behind = bool(busy) or moved < frames
