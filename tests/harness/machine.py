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
        """Return the share of the machine that others took: processes that this one did not start and that
        do not give way to it, and the hypervisor."""
        now = _ticks()
        total, busy, own = (later - earlier for later, earlier in zip(now, self._from, strict=True))
        return max(busy - own, 0) / total if total else 0.0


def _ticks() -> tuple[int, int, int]:
    """Return clock ticks since boot: all, busy ones, and those of this process, its descendants and whatever
    gives way to them."""
    first = Path("/proc/stat").read_text().split("\n", 1)[0]
    user, nice, system, idle, wait, *interrupts, steal = (int(each) for each in first.split()[1:9])
    busy = user + nice + system + sum(interrupts) + steal
    return busy + idle + wait, busy, sum(_own_ticks().values())


def _own_ticks() -> dict[int, int]:
    """Return ticks by the pid of each process that counts as ours."""
    parents: dict[int, int] = {}
    used: dict[int, int] = {}
    yielding: set[int] = set()
    niceness = os.nice(0)
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):  # no process, or it has ended
            pid = int(folder.name)
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            parents[pid] = int(fields[1])
            # Its own, and what its ended children used.
            used[pid] = sum(int(each) for each in fields[11:15])
            if int(fields[16]) > niceness:
                yielding.add(pid)
    return {pid: ticks for pid, ticks in used.items() if pid in yielding or _descends(pid, parents)}


def _descends(pid: int, parents: dict[int, int]) -> bool:
    while pid > 1:
        if pid == os.getpid():
            return True
        pid = parents.get(pid, 0)
    return False
