"""The ledgers of a run: files of one line an event, each written by one process and followed while it grows.

    create SCHEDULE FIRE_MS ANSWERED_MS     a create was acknowledged
    trying SCHEDULE                         a delete is about to be sent
    cancel SCHEDULE ANSWERED_MS             a delete was promised
    called SCHEDULE AT_MS                   a callback came

An event is in its file before its process goes on, so a killed process loses none that it told anyone of.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

SUFFIX = ".ledger"


class Ledger:
    """Where one process writes."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = os.open(
            folder / f"{name}-{os.getpid()}{SUFFIX}", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644
        )

    def write(self, line: str) -> None:
        os.write(self._file, f"{line}\n".encode())


class Follower:
    """Reads what was added to the ledgers of a folder since it was last asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read_to: dict[Path, int] = {}

    def lines(self) -> Iterator[list[str]]:
        """Yield the words of each new whole line, file by file."""
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            with path.open("rb") as file:
                file.seek(self._read_to.get(path, 0))
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._read_to[path] = self._read_to.get(path, 0) + len(line)
                    yield line.decode().split()
