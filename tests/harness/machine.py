"""How busy the machine was with work that is not this test's."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


class ForeignWork:
    """Counts from when it is made."""

    def __init__(self) -> None:
        self._from = _ticks()

    def share(self) -> float:
        """Return the share of the machine that others took: processes that this one did not start, and the
        hypervisor."""
        now = _ticks()
        total, busy, own = (later - earlier for later, earlier in zip(now, self._from, strict=True))
        return max(busy - own, 0) / total if total else 0.0


def _ticks() -> tuple[int, int, int]:
    """Return clock ticks since boot: all, busy ones, and those of this process and its descendants."""
    first = Path("/proc/stat").read_text().split("\n", 1)[0]
    user, nice, system, idle, wait, *interrupts, steal = (int(each) for each in first.split()[1:9])
    busy = user + nice + system + sum(interrupts) + steal
    return busy + idle + wait, busy, _own_ticks()


def _own_ticks() -> int:
    parents: dict[int, int] = {}
    used: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):  # no process, or it has ended
            pid = int(folder.name)
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            parents[pid] = int(fields[1])
            # Its own, and what its ended children used.
            used[pid] = sum(int(each) for each in fields[11:15])
    return sum(ticks for pid, ticks in used.items() if _descends(pid, parents))


def _descends(pid: int, parents: dict[int, int]) -> bool:
    while pid > 1:
        if pid == os.getpid():
            return True
        pid = parents.get(pid, 0)
    return False
