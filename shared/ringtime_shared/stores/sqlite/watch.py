"""Whether the files under a running server are still the ones it opened.

A process keeps writing happily to a database that was deleted, moved away or replaced under it, and all of
that is gone when it ends. So the folder, the database and its log must stay the same inodes. A database that
was written to in place must hold no fewer transactions than at the last look: checkpoints, ours or those of
a backup program, write newer pages, a copy put over it holds older ones. A look is three calls of `stat`,
five microseconds in all, and reads the database only after it was written to.
"""

from __future__ import annotations

import os
from pathlib import Path

from ringtime_shared.stores.sqlite.count import Count
from ringtime_shared.stores.sqlite.examine import read_count_in_file
from ringtime_shared.stores.sqlite.files import DATABASE_NAME, WAL_NAME

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
