"""Space set aside for a full disk.

Where the disk is full a delivery could not be recorded, and would be made again after a restart; SQLite could
not even open the database. So some space is held in the file `RESERVE`, and given up when it is needed: to
outcomes and marks. New schedules are refused until there is room to set it aside again.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

from ringtime_shared.errors import DiskFull
from ringtime_shared.stores.sqlite.folder import RESERVE_NAME, open_private

_log = logging.getLogger(__name__)


class Reserve:
    """The file, and whether it holds its space."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        """`size_bytes` 0: there is none, and new schedules are refused only by the disk itself."""
        self._folder = folder
        self._path = folder / RESERVE_NAME
        self._size_bytes = size_bytes
        self.is_held = True

    def begin(self) -> None:
        """Hold the space; on a disk that is full already give it up, so that the database can be opened."""
        with suppress(OSError):
            space = os.statvfs(self._folder)
            if space.f_bavail * space.f_frsize < self._size_bytes:
                self.give_up()
                return
        self.take()

    def take(self) -> bool:
        """Hold the space if as much again stays free; return whether it is held."""
        try:
            is_held = self._take()
        except OSError:
            is_held = False
        if is_held and not self.is_held:
            _log.warning("there is room in %s again: new schedules are taken", self._folder)
        if self.is_held and not is_held:
            _log.error("the disk of %s is nearly full: new schedules are refused", self._folder)
        self.is_held = is_held
        return is_held

    def give_up(self) -> None:
        """Let others have the space."""
        if self._size_bytes and self.is_held:
            _log.error("the disk of %s is full: new schedules are refused", self._folder)
            self.is_held = False
        with suppress(OSError):
            os.truncate(self._path, 0)

    def end(self) -> None:
        """Hold what there is, once SQLite has removed its log: the next start will need it."""
        if self.is_held:
            return
        with suppress(OSError):
            fd = open_private(self._path)
            try:
                space = os.fstatvfs(fd)
                size_bytes = min(self._size_bytes, space.f_bavail * space.f_frsize)
                if size_bytes:
                    os.posix_fallocate(fd, 0, size_bytes)
            finally:
                os.close(fd)

    def require(self) -> None:
        """Raise DiskFull unless the space is held, or there is room for it by now."""
        if not self.is_held and not self.take():
            raise DiskFull(
                f"the disk of {self._folder} is full: new schedules are refused, what is left of it is for"
                " the outcomes of those that are filed"
            )

    def _take(self) -> bool:
        if not self._size_bytes:
            self._path.unlink(missing_ok=True)
            return True
        fd = open_private(self._path)
        try:
            found = os.fstat(fd)
            if found.st_size == self._size_bytes and found.st_blocks * 512 >= self._size_bytes:
                return True
            space = os.fstatvfs(fd)
            if space.f_bavail * space.f_frsize < 2 * self._size_bytes:
                return False
            try:
                os.ftruncate(fd, self._size_bytes)
                os.posix_fallocate(fd, 0, self._size_bytes)
            except OSError:
                os.ftruncate(fd, 0)
                raise
            return True
        finally:
            os.close(fd)
