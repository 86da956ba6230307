"""What the processes of a test said last, for the report of one that fails."""

from __future__ import annotations

import os
import re
from pathlib import Path

LINES = 40  #: of each log
MOST_LOGS = 12  #: those written to last; a cluster has nine
_TAIL_BYTES = 1 << 16
_DATA = re.compile("[0-9]{20}|CommitLog-.*")


def last_said(folder: Path, since_s: float) -> list[tuple[Path, str]]:
    """Return the logs under `folder` that were written to since `since_s` (as files' times are), each with
    its last lines, the one written to last at the end."""
    # The data of Kafka (numbers of twenty digits) and Cassandra is in files of this name, too.
    named = (path for path in folder.rglob("*.log") if path.is_file() and not _DATA.fullmatch(path.stem))
    logs = [(path.stat().st_mtime, path) for path in named]
    recent = sorted(entry for entry in logs if entry[0] >= since_s)[-MOST_LOGS:]
    return [(path, _tail(path)) for _, path in recent]


def _tail(path: Path) -> str:
    with path.open("rb") as log:
        log.seek(-min(path.stat().st_size, _TAIL_BYTES), os.SEEK_END)
        return "\n".join(log.read().decode(errors="replace").splitlines()[-LINES:])
