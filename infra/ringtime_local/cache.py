"""The per-user cache folder, filled so that two runs at once do not break each other.

A cache entry is a folder that is complete from the moment it exists: it is filled under another name, then
renamed. Only one run fills at a time, under a lock, because Maven 3 may damage its own repository when two of
it run at once. What takes minutes and no Maven has a lock of its own, so that servers need not wait for it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from ringtime_local.errors import Aborted

LOCK_POLL_S = 0.2
FILL_TIMEOUT_S = 600.0


def cache_folder() -> Path:
    """Return `$XDG_CACHE_HOME/ringtime`, `~/.cache/ringtime` by default."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "ringtime"


def cached(name: str, fill: Callable[[Path], None], abort: Event, *, lock: str = ".lock") -> Path:
    """Return the entry `name`; when it does not exist, let `fill` write it into an empty folder first, while
    nobody else fills under the same lock. Raises Aborted and what `fill` does."""
    entry = cache_folder() / name
    if entry.is_dir():
        return entry
    entry.parent.mkdir(parents=True, exist_ok=True)
    with _only_one_at_a_time(entry.parent / lock, abort):
        if entry.is_dir():  # another run filled it while we waited
            return entry
        for left_behind in entry.parent.glob(f".{name}-*"):  # by a run that was killed while filling
            shutil.rmtree(left_behind, ignore_errors=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=entry.parent))
        try:
            fill(draft)
            draft.chmod(0o755)
            draft.rename(entry)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return entry


@contextmanager
def _only_one_at_a_time(lock: Path, abort: Event) -> Iterator[None]:
    give_up_at = time.monotonic() + FILL_TIMEOUT_S
    with lock.open("wb") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up_at:
                    raise Aborted(f"another run holds {lock} for more than {FILL_TIMEOUT_S:.0f} s") from None
            if abort.wait(LOCK_POLL_S):
                raise Aborted("given up while another run fills the cache")
        yield
