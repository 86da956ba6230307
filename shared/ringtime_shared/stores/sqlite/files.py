"""The files of a data folder, and who may read them: payloads and secrets are in them.

The folder is for its owner alone (0700), and each file too (0600), whatever the umask is. SQLite gives its
`-wal` and `-shm` the mode of the database. An older release left them readable to everybody: files are
tightened at each start. A folder is tightened if it is ours and holds nothing of others; else it may have
been made for more than us (a mounted volume, somebody's home), and if others can write it that is said.
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from ringtime_shared.errors import StartupError

DATABASE_NAME = "ringtime.db"
WAL_NAME = "ringtime.db-wal"
SHM_NAME = "ringtime.db-shm"
LOCK_NAME = "LOCK"
COUNT_NAME = "COMMITS"
RESERVE_NAME = "RESERVE"

_OURS = (DATABASE_NAME, WAL_NAME, SHM_NAME, LOCK_NAME, COUNT_NAME, RESERVE_NAME)
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
