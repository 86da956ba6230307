"""The two clocks a node reads, behind one protocol, so that tests move time by hand.

Wall time (UTC, milliseconds) decides when a callback is due. Boot time (milliseconds since boot,
counting suspension: CLOCK_BOOTTIME) measures how long ago something happened: a lease renewal, the
last read of an app's map. CLOCK_MONOTONIC stands still while a machine is suspended, so a node that
wakes up would believe its lease is fresh.

A wall clock may lie. What a service is given as its clock is a `WatchedClock` (see `watched`), whose
wall time does not follow a jump before it is known to be right, and which says when it is in doubt.

Waiting is asyncio's business; a test that wants virtual time runs an event loop on virtual time.
"""

from __future__ import annotations

import sys
import time
from typing import NamedTuple, Protocol

from ringtime_shared.errors import ClockInDoubt

_BOOT_CLOCK = time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC


class Clock(Protocol):
    """Where `now` comes from."""

    def now_ms(self) -> int:
        """Return UTC wall time in whole milliseconds since 1970, rounded down."""
        ...

    def boot_ms(self) -> int:
        """Return milliseconds since boot; never goes back, goes on during suspension."""
        ...

    def doubt(self) -> str | None:
        """Return why `now_ms` is not to be relied on at this moment; None: it is."""
        ...

    def steps(self) -> int:
        """Return how often `now_ms` was set to another time: marks from before may lie ahead of it."""
        ...


class ServerTime(NamedTuple):
    """What time a server said it was."""

    server: str
    offset_ms: int  #: its wall time less the boot time of this machine, which makes it good for later, too
    doubt_ms: int  #: how wrong that may be: half of the time the answer took


def require_trust(clock: Clock) -> None:
    """Raise ClockInDoubt while the clock cannot be relied on."""
    doubt = clock.doubt()
    if doubt is not None:
        raise ClockInDoubt(doubt)


class SystemClock:
    """The machine's own clocks, taken at their word."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def boot_ms(self) -> int:
        return time.clock_gettime_ns(_BOOT_CLOCK) // 1_000_000

    def doubt(self) -> str | None:
        return None

    def steps(self) -> int:
        return 0


class ManualClock:
    """A clock that stands still until told otherwise."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self.in_doubt: str | None = None  #: what `doubt` answers
        self._now_ms = now_ms
        self._boot_ms = 0

    def now_ms(self) -> int:
        return self._now_ms

    def boot_ms(self) -> int:
        return self._boot_ms

    def doubt(self) -> str | None:
        return self.in_doubt

    def steps(self) -> int:
        return 0

    def advance(self, ms: int) -> None:
        """Let both clocks go on by `ms`."""
        self._now_ms += ms
        self._boot_ms += ms

    def step_wall(self, ms: int) -> None:
        """Move wall time alone, as a clock correction does; `ms` may be negative."""
        self._now_ms += ms
