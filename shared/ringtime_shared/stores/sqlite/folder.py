"""The files of a data folder, who may read them, and the one server that holds it.

Who may read them: payloads and secrets are in them. The folder is for its owner alone (0700), and each file
too (0600), whatever the umask is. SQLite gives its `-wal` and `-shm` the mode of the database. An older
release left them readable to everybody: files are tightened at each start. A folder is tightened if it is
ours and holds nothing of others; else it may have been made for more than us (a mounted volume, somebody's
home), and if others can write it that is said.

One server: advisory locks that the kernel drops when their process ends. What is locked is the folder
itself, an inode that cannot be taken away under its files: who removes `LOCK`, or cannot write it because
the disk is full, neither lets a second server in nor keeps the first one out. `LOCK` holds the pid, for
people, and is locked as well, because servers of releases before this one lock nothing else.

These locks (`flock`) belong to the open file, which a forked child inherits: it would hold the folder after
its parent was killed. So each child closes them at once. (The other kind, `fcntl`, is not inherited, but a
process loses it when it closes any other descriptor of the same file, and does not keep itself out.)
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self
from weakref import WeakSet

from ringtime_shared.errors import StartupError

DATABASE_NAME = "ringtime.db"
WAL_NAME = "ringtime.db-wal"
SHM_NAME = "ringtime.db-shm"
LOCK_NAME = "LOCK"
COUNT_NAME = "COMMITS"
RESERVE_NAME = "RESERVE"
KEYS_NAME = "KEYS"  #: the key ring, which `ringtime_shared.encryption` makes
MANIFEST_NAME = "BACKUP.json"  #: what makes a folder a backup, and no data folder

_OURS = (DATABASE_NAME, WAL_NAME, SHM_NAME, LOCK_NAME, COUNT_NAME, RESERVE_NAME, KEYS_NAME)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_log = logging.getLogger(__name__)


def open_private(path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> int:
    """Open a file that only its owner may read, and make it so. Raises OSError."""
    fd = os.open(path, flags | os.O_NOFOLLOW, 0o600)
    try:
        if stat.S_IMODE(os.fstat(fd).st_mode) != 0o600:
            os.fchmod(fd, 0o600)
    except OSError as error:  # somebody else's; said, because it may hold secrets
        _log.warning("cannot make %s private: %s", path, error.strerror)
    return fd


def make_folder(folder: Path) -> None:
    """Create the folder if it is not there, and make what is in it private.

    Raises:
        StartupError: it cannot be created, or is no folder.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            if not folder.is_dir():
                raise
        _tighten(folder)
    except OSError as error:
        raise StartupError(f"cannot create data folder {folder}: {error.strerror}") from error


def refuse_backup(folder: Path) -> None:
    """Raise StartupError if the folder is a backup: whoever worked on it would spoil it, and give out ids
    that the deployment it was made of has given out."""
    if (folder / MANIFEST_NAME).exists():
        raise StartupError(f"{folder} is a backup: `ringtime restore {folder}` makes a data folder of it")


def _tighten(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    for name in sorted(names.intersection(_OURS)):
        _restrict(folder / name, 0o600)
    found = folder.stat()
    if found.st_uid == os.geteuid() and names.issubset(_OURS):
        _restrict(folder, 0o700)
    elif found.st_mode & _OTHERS_WRITE:
        _log.warning(
            "others may write data folder %s and replace its files (mode %o): give it to Ringtime alone",
            folder,
            stat.S_IMODE(found.st_mode),
        )


def _restrict(path: Path, mode: int) -> None:
    try:
        if stat.S_IMODE(path.lstat().st_mode) != mode and not path.is_symlink():
            path.chmod(mode)
    except OSError as error:
        _log.warning("cannot make %s private: %s", path, error.strerror)


class Home(NamedTuple):
    """Where a folder is served: what is other for a copy of it, as far as a process can tell.

    The file's number and file system stay when the folder is renamed, or its disk is attached to another
    machine; a copy has another number. A disk that is copied as a whole has the same ones; the boot of the
    machine that runs on it is another.
    """

    place: str
    boot: str

    def __str__(self) -> str:
        return f"{self.place} {self.boot}"

    @classmethod
    def parse(cls, text: str) -> Self:
        place, _, boot = text.partition(" ")
        return cls(place, boot)

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Raises OSError."""
        database = folder / DATABASE_NAME
        boot = ""
        with suppress(OSError):
            boot = _BOOT_ID.read_text().strip()
        return cls(f"{os.statvfs(database).f_fsid:x}-{database.stat().st_ino}", boot)


_TRIES, _PAUSE_S = 10, 0.02  # `find_server` holds the lock for a moment, too


class FolderLock:
    """Holds a data folder. Not inherited by forked children."""

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Raises:
            StartupError: another server holds it, or the folder cannot be locked.
        """
        self._folder = folder
        self._note_fd = -1
        try:
            self._fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise StartupError(f"cannot open data folder {folder}: {error.strerror}") from error
        _held.add(self)
        try:
            if not (_try_for_a_while(self._fd) and self._take_note()):
                raise StartupError(
                    f"data folder {folder} is in use by the server with pid {_read_pid(folder) or 'unknown'}"
                )
        except OSError as error:
            self.release()
            raise StartupError(f"cannot lock data folder {folder}: {error.strerror}") from error
        except StartupError:
            self.release()
            raise

    def restore_note(self) -> None:
        """Write `LOCK` again if somebody removed it."""
        try:
            if self._note_fd >= 0 and os.path.samestat(
                os.fstat(self._note_fd), (self._folder / LOCK_NAME).stat()
            ):
                return
        except FileNotFoundError:
            _log.warning("%s was removed; the folder itself stays locked", self._folder / LOCK_NAME)
        except OSError:
            return
        self._close_note()
        self._take_note()

    def release(self) -> None:
        """Let go. `LOCK` stays, empty: removing it would let two old servers lock two different files."""
        if self._note_fd >= 0:
            with suppress(OSError):  # the pid in it is for people; a full disk must not keep us from closing
                os.ftruncate(self._note_fd, 0)
        self.close()

    def close(self) -> None:
        """Close the descriptors and say nothing; where another process has them too, the lock stays."""
        self._close_note()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _take_note(self) -> bool:
        """Return whether no server of an older release holds `LOCK`; one that cannot be written is none."""
        try:
            fd = open_private(self._folder / LOCK_NAME)
        except OSError as error:
            _log.warning("cannot write %s: %s", self._folder / LOCK_NAME, error.strerror)
            return True
        if not _try(fd):
            os.close(fd)
            return False
        self._note_fd = fd
        with suppress(OSError):
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return True

    def _close_note(self) -> None:
        if self._note_fd >= 0:
            os.close(self._note_fd)
            self._note_fd = -1


def find_server(folder: Path) -> int | None:
    """Return the pid of the server that holds the folder, None if none does.

    0 stands for one that could not write its pid. The lock is tried, for a moment that a server which starts
    just then waits out.
    """
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        return None if _try(fd, fcntl.LOCK_SH) else _read_pid(folder)
    except OSError:
        return None
    finally:
        os.close(fd)


def _read_pid(folder: Path) -> int:
    try:
        return int((folder / LOCK_NAME).read_text())
    except (OSError, ValueError):
        return 0


def _try(fd: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _try_for_a_while(fd: int) -> bool:
    for _ in range(_TRIES):
        if _try(fd):
            return True
        time.sleep(_PAUSE_S)
    return False


def _let_go_in_child() -> None:
    for lock in list(_held):
        lock.close()


_held: WeakSet[FolderLock] = WeakSet()
os.register_at_fork(after_in_child=_let_go_in_child)
