"""Processes known by pid and start time, so that a pid used again by a stranger is never signalled.

Run as a script (by `guard.py`), it reads lines `watch PID START-TIME` and `release PID START-TIME` until its
input closes, and then ends the processes that are still watched. So it imports the standard library only.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

POLL_S = 0.05
GUARD_GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process that leads its own process group."""

    pid: int
    started: int  #: clock ticks since boot, field 22 of /proc/PID/stat

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """Note a process that is there now, running or not yet waited for. Raises ProcessLookupError."""
        found = _read_stat(pid)
        if found is None:
            raise ProcessLookupError(pid)
        return cls(pid, found[1])

    def is_running(self) -> bool:
        """Say whether this very process is still there; one that ended and waits for its parent is not."""
        found = _read_stat(self.pid)
        return found is not None and found[1] == self.started and found[0] not in "ZX"

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to the process group; False when the process is gone."""
        if not self.is_running():
            return False
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def wait_gone(self, timeout_s: float) -> bool:
        """Wait until the process has ended; False when it has not within `timeout_s`."""
        give_up_at = time.monotonic() + timeout_s
        while self.is_running():
            if time.monotonic() > give_up_at:
                return False
            time.sleep(POLL_S)
        return True

    def end(self, grace_s: float) -> None:
        """SIGTERM, wait, SIGKILL. A stopped process gets SIGCONT too, or it could not obey."""
        terminated = self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        if terminated and not self.wait_gone(grace_s):
            self.signal(signal.SIGKILL)
            self.wait_gone(grace_s)


def _read_stat(pid: int) -> tuple[str, int] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # the name in brackets may hold spaces and brackets
    return fields[0], int(fields[19])


def _guard() -> None:
    watched: set[ProcessId] = set()
    for line in sys.stdin:
        verb, pid, started = line.split()
        change = watched.add if verb == "watch" else watched.discard
        change(ProcessId(int(pid), int(started)))
    left = [process for process in watched if process.is_running()]
    for process in left:  # all of them first, so that they end side by side
        process.signal(signal.SIGTERM)
        process.signal(signal.SIGCONT)
    for process in left:
        process.end(GUARD_GRACE_S)


if __name__ == "__main__":
    _guard()
