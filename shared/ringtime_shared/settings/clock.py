"""How far a node's wall clock is trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSettings:
    """A node whose wall clock is in doubt fires nothing and accepts nothing; see
    `ringtime_shared.clock.judge`. Set the same values in every process."""

    max_skew_ms: Annotated[int, Meta(ge=100, le=10_000)] = 5_000
    """How far the wall clock may be off the clocks of Cassandra's hosts, or jump at once, in milliseconds. A
    callback can be that much early or late by another clock, and a promised cancel takes clocks that differ
    by less than 700 ms. Five times this must stay under the minute by
    which the clocks of two nodes may differ."""

    hold_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 60.0
    """One process: how long a wall clock that jumped must stay at its new time before that is believed, in
    seconds. Nothing fires meanwhile. Split: the hosts of Cassandra decide, at once."""

    look_ms: Annotated[int, Meta(ge=50, le=60_000)] = 1_000
    """Time between two comparisons, in milliseconds; each asks up to five hosts of Cassandra, a dispatcher up
    to three tenths sooner, along with a look for due rows. A jump is noticed without one."""

    look_back_s: Annotated[int, Meta(ge=60, le=2_678_400)] = 3_600
    """Marks that lie ahead of a clock that is relied on were set by one that was not; a new owner lowers them
    to this long ago, in seconds, and reads from there again. Longer than a false clock may go unnoticed."""
