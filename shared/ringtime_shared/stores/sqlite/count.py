"""How many transactions were committed, kept beside the database too.

Each transaction that writes raises the number `commits` in the database, and once it is durable the same
number is written to the file `COMMITS`. That write is not flushed: it costs two microseconds, outlives the
process in the kernel's memory, and reaches the disk within half a minute. So after a kill the file holds the
last number, and after a power cut perhaps an earlier one, never a later: a database that holds less than
`COMMITS` says has lost what was acknowledged.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import NamedTuple

from ringtime_shared.stores.sqlite.files import COUNT_NAME, open_private

_FORM = re.compile(rb"(\d{20}) ([0-9a-f]{32})\n")
_log = logging.getLogger(__name__)


class Count(NamedTuple):
    """A number of transactions, and of which database."""

    commits: int
    database: str  #: the random name a database is given when it is made


def read_count(folder: Path) -> Count | None:
    """Return what `COMMITS` says; None: it is not there, or says nothing."""
    try:
        found = _FORM.fullmatch((folder / COUNT_NAME).read_bytes())
    except OSError:
        return None
    return Count(int(found[1]), found[2].decode()) if found else None


def write_count(folder: Path, count: Count) -> None:
    """Write `COMMITS` anew and flush it. Raises OSError."""
    fd = open_private(folder / COUNT_NAME)
    try:
        os.ftruncate(fd, os.pwrite(fd, _to_bytes(count), 0))
        os.fsync(fd)
    finally:
        os.close(fd)
    _flush_folder(folder)


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
            os.pwrite(self._fd, _to_bytes(count), 0)
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


def _to_bytes(count: Count) -> bytes:
    return b"%020d %s\n" % (count.commits, count.database.encode())


def _flush_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
