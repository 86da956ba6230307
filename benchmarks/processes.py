"""Processor time and memory of processes, as /proc tells them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_MOST_CHILDREN = 1_000


def cpu_s(pid: int, proc: Path = PROC) -> float:
    """Return the processor time a process has used so far, user and system, in seconds."""
    fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def compiling_s(pid: int, proc: Path = PROC) -> float:
    """Return the processor time that the compilers of a JVM have used so far, of which it needs much until it
    has done the same for a while; 0 of other programs."""
    ticks = 0
    for each in (proc / str(pid) / "task").glob("*/stat"):
        with suppress(OSError):  # it has just ended
            name, _, rest = each.read_text().rpartition(")")
            if "CompilerThre" in name:  # C1 and C2; names of threads end at 15 letters
                ticks += sum(map(int, rest.split()[11:13]))
    return ticks / _TICKS


def resident_mib(pid: int, proc: Path = PROC) -> float:
    """Return the memory a process has in use."""
    status = (proc / str(pid) / "status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def family(pid: int, proc: Path = PROC) -> list[int]:
    """Return a process and all that descend from it: the workers of a pod count with it."""
    found = [pid]
    for each in found:
        for tasks in (proc / str(each) / "task").glob("*/children"):
            with suppress(OSError):  # it has just ended
                found += [int(child) for child in tasks.read_text().split()]
        if len(found) > _MOST_CHILDREN:
            raise RuntimeError(f"{pid} has more than {_MOST_CHILDREN} descendants")
    return found


@dataclass(frozen=True, slots=True)
class Processes:
    """Named groups of processes; what a name has in the table is what its processes used together."""

    pids: Mapping[str, Sequence[int]]
    proc: Path = PROC

    def used_s(self) -> dict[str, float]:
        """Return the processor time of each name so far. Raises OSError when one of them has ended."""
        return {
            name: sum(cpu_s(each, self.proc) for pid in pids for each in family(pid, self.proc))
            for name, pids in self.pids.items()
        }

    def compiling_s(self) -> float:
        """Return what of the processor time of all went into compiling so far."""
        return sum(compiling_s(pid, self.proc) for pids in self.pids.values() for pid in pids)

    def resident_mib(self) -> dict[str, float]:
        """Return the memory of each name."""
        return {
            name: sum(resident_mib(each, self.proc) for pid in pids for each in family(pid, self.proc))
            for name, pids in self.pids.items()
        }


@dataclass(frozen=True, slots=True)
class Machine:
    """How busy all processors of this machine were, in seconds since it started."""

    busy_s: float
    all_s: float

    @classmethod
    def now(cls, proc: Path = PROC) -> Machine:
        line = (proc / "stat").read_text().partition("\n")[0]
        user, nice, system, idle, wait, *rest = (int(each) / _TICKS for each in line.split()[1:9])
        busy = user + nice + system + sum(rest)
        return cls(busy, busy + idle + wait)

    def foreign_share(self, earlier: Machine, ours_s: float) -> float:
        """Return the share of the machine that others took since then, 0 to 1, if `ours_s` of it was ours."""
        total = self.all_s - earlier.all_s
        return max(self.busy_s - earlier.busy_s - ours_s, 0.0) / total if total > 0 else 0.0
