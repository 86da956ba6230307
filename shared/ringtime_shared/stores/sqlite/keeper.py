"""What the writer sees to around its transactions: the count, the files, the reserve, the checkpoints.

Files. A process keeps writing happily to a database that was deleted, moved away or replaced under it, and
all of that is gone when it ends. So the folder, the database and its log must stay the same inodes. A
database that was written to in place must be no shorter and hold no fewer transactions than at the last
look: checkpoints, ours or those of a backup program, write newer pages, a copy put over it holds older ones,
and nothing here gives pages back. A look is three calls of `stat`, five microseconds in all, and reads the
database only after it was written to.

Checkpoints. What is in the log alone hangs on every one of its frames, so it is moved to the database each
`checkpoint_ms`, and when the log has grown. SQLite would do it within a COMMIT; here it is done after the
answers are out, and between two looks at the files: a checkpoint hides that a database was overwritten.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from ringtime_shared.errors import DiskFull, FolderLost, OutcomeUnknown
from ringtime_shared.stores.sqlite.examine import (
    COUNT_FORM,
    Count,
    fetch_count,
    read_count,
    read_count_in_file,
    write_count,
)
from ringtime_shared.stores.sqlite.folder import COUNT_NAME, DATABASE_NAME, WAL_NAME, FolderLock, open_private
from ringtime_shared.stores.sqlite.reserve import Reserve
from ringtime_shared.stores.sqlite.session import Session, from_sqlite

CHECKPOINT_BYTES = 16 << 20  # of growth of the log
_CHORES_S = 1.0
_log = logging.getLogger(__name__)

Seen = tuple[int, int]  # device and inode


class FolderWatch:
    """Whether the files are still the ones that were opened."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths = tuple(str(path) for path in (folder, folder / DATABASE_NAME, folder / WAL_NAME))
        self._seen: tuple[Seen, ...] = ()
        self._changed: tuple[int, int] = (0, 0)  # of the database: when it was written to, and its size
        self.wal_bytes = 0  #: size of the log at the last look
        self._floor: int | None = None  # transactions in the database without its log
        self._database = ""

    def begin(self, count: Count) -> None:
        """Take the files as they are. Raises OSError."""
        stats = [os.stat(path) for path in self._paths]  # noqa: PTH116 - as below
        self._seen = tuple((found.st_dev, found.st_ino) for found in stats)
        self.wal_bytes = stats[2].st_size
        self._changed = (stats[1].st_mtime_ns, stats[1].st_size)
        in_file = read_count_in_file(Path(self._paths[1]))  # none in a new file that was never checkpointed
        self._floor = in_file.commits if in_file else None
        self._database = count.database

    def find_change(self, least: int) -> str | None:
        """Return what is wrong, None if nothing is.

        Args:
            least: where the log became shorter, as many transactions are in the database at least.
        """
        for path, seen in zip(self._paths, self._seen, strict=True):
            try:
                found = os.stat(path)  # noqa: PTH116 - half the cost, with each commit
            except OSError as error:
                return f"{path} is not there any more ({error.strerror})"
            if (found.st_dev, found.st_ino) != seen:
                return f"{path} was replaced by another"
            if path is self._paths[1] and (found.st_mtime_ns, found.st_size) != self._changed:
                if found.st_size < self._changed[1]:
                    return f"{path} was cut short"
                if (fault := self._look_into_database(0)) is not None:
                    return fault
                self._changed = (found.st_mtime_ns, found.st_size)
        if found.st_size < self.wal_bytes and (fault := self._look_into_database(least)) is not None:
            return f"{self._paths[2]} was cut short: {fault}"
        self.wal_bytes = found.st_size
        return None

    def _look_into_database(self, least: int) -> str | None:
        count = read_count_in_file(Path(self._paths[1]))
        if count is None:
            was_readable = self._floor is not None
            return f"{self._paths[1]} was overwritten: it cannot be read" if was_readable else None
        least = max(least, self._floor or 0)
        if count.database != self._database or count.commits < least:
            return (
                f"{self._paths[1]} was overwritten: it holds {count.commits:,} transactions instead of"
                f" {least:,}"
            )
        self._floor = count.commits
        return None


class CommitCount:
    """Keeps `COMMITS` up to date. For one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fd = -1
        self._last: Count | None = None
        self._is_failing = False

    def note(self, count: Count) -> None:
        """Write the number; a disk that does not take it is told once in the log, and is no error."""
        self._last = count
        try:
            if self._fd < 0:
                self._fd = open_private(self._folder / COUNT_NAME)
            os.pwrite(self._fd, COUNT_FORM % (count.commits, count.database.encode()), 0)
            self._is_failing = False
        except OSError as error:
            if not self._is_failing:
                _log.warning("cannot write %s: %s", self._folder / COUNT_NAME, error.strerror)
            self._is_failing = True

    def restore(self) -> None:
        """Write the file again if somebody removed it."""
        try:
            if self._fd >= 0 and os.path.samestat(os.fstat(self._fd), (self._folder / COUNT_NAME).stat()):
                return
        except OSError:
            _log.warning("%s was removed; it is written again", self._folder / COUNT_NAME)
        self.close()
        if self._last is not None:
            self.note(self._last)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


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
