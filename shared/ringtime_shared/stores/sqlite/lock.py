"""One server a data folder: an advisory lock that the kernel drops when its process ends."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from ringtime_shared.errors import StartupError


class FolderLock:
    """Holds `LOCK` in a data folder, with the holder's pid in it for people."""

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Raises:
            StartupError: another server holds it, or the folder cannot be written.
        """
        path = folder / "LOCK"
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StartupError(f"cannot open {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(self._fd, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise StartupError(f"data folder {folder} is in use by the server with pid {holder}") from None
        except OSError as error:
            os.close(self._fd)
            raise StartupError(f"cannot lock {path}: {error.strerror}") from error

    def release(self) -> None:
        """Let go. The file stays, empty: removing it would let two processes lock two different files."""
        if self._fd >= 0:
            with suppress(OSError):  # the pid in it is for people; a full disk must not keep us from closing
                os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


def find_server(folder: Path) -> int | None:
    """Return the pid of the server that holds `LOCK`, None if none does or it cannot be told.

    The lock is not tried: that would hold it for a moment, and keep a server that starts just then out. A
    server that was killed leaves its pid; should another process have that pid by now, it is taken for it.
    """
    try:
        pid = int((folder / "LOCK").read_text())
        os.kill(pid, 0)
    except PermissionError:  # it is alive, and somebody else's
        return pid
    except (OSError, ValueError):
        return None
    return pid
