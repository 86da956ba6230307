"""The two clocks a node reads, behind one protocol, so that tests move time by hand.

Wall time (UTC, milliseconds) decides when a callback is due. Boot time (milliseconds since boot,
counting suspension: CLOCK_BOOTTIME) measures how long ago something happened: a lease renewal, the
last read of an app's map. CLOCK_MONOTONIC stands still while a machine is suspended, so a node that
wakes up would believe its lease is fresh.

Waiting is asyncio's business; a test that wants virtual time runs an event loop on virtual time.
"""

from __future__ import annotations

import sys
import time
from typing import Protocol

_BOOT_CLOCK = time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC


class Clock(Protocol):
    """Where `now` comes from."""

    def now_ms(self) -> int:
        """Return UTC wall time in whole milliseconds since 1970, rounded down."""
        ...

    def boot_ms(self) -> int:
        """Return milliseconds since boot; never goes back, goes on during suspension."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def boot_ms(self) -> int:
        return time.clock_gettime_ns(_BOOT_CLOCK) // 1_000_000


class ManualClock:
    """A clock that stands still until told otherwise."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms
        self._boot_ms = 0

    def now_ms(self) -> int:
        return self._now_ms

    def boot_ms(self) -> int:
        return self._boot_ms

    def advance(self, ms: int) -> None:
        """Let both clocks go on by `ms`."""
        self._now_ms += ms
        self._boot_ms += ms

    def step_wall(self, ms: int) -> None:
        """Move wall time alone, as a clock correction does; `ms` may be negative."""
        self._now_ms += ms
