"""When a recurring schedule runs, as its definition stores it, and what one run of it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

#: What expressions and policies mean, in one number. A change of meaning is a new number beside the old one,
#: which goes on to mean what it meant: a stored definition never moves by an upgrade.
DIALECT = 1


class Unit(StrEnum):
    """What an interval counts in: elapsed time up to hours, wall time from days on."""

    SECONDS = "seconds"
    MINUTES = "minutes"
    HOURS = "hours"
    DAYS = "days"
    WEEKS = "weeks"
    MONTHS = "months"


class DstGap(StrEnum):
    """What becomes of a planned wall time that the clocks jump over, in spring as a rule."""

    SKIP = "skip"  #: no run
    SHIFT = "shift"  #: at the jump itself; several are one run
    KEEP = "keep"  #: by the offset from before the jump: as much later as the clocks jumped
    CRON = "cron"  #: as Debian's cron: SHIFT for a fixed time, SKIP where minute or hour begin with `*`


class DstOverlap(StrEnum):
    """Which run is made for a planned wall time that comes twice, in autumn as a rule."""

    FIRST = "first"
    SECOND = "second"
    BOTH = "both"
    CRON = "cron"  #: as Debian's cron: FIRST for a fixed time, BOTH where minute or hour begin with `*`


class Effect(StrEnum):
    """What a change of the clocks, or a calendar, did to a planned time."""

    SKIPPED = "skipped"  #: the wall time did not exist, and there is no run
    SHIFTED = "shifted"  #: the wall time did not exist; the run is at another
    FIRST = "first"  #: the wall time comes twice; this is the first
    SECOND = "second"  #: the wall time comes twice; this is the second
    EXCLUDED = "excluded"  #: a calendar of the app excludes it


@dataclass(frozen=True, slots=True)
class Interval:
    """Every `every` units from an instant, which is the first time."""

    every: int
    unit: Unit
    anchor_ms: int


class Spread(StrEnum):
    """How it is found where in its window a run is sent."""

    HASH = "hash"  #: by a hash of its definition: late by the same part of the window each time
    LEAST_LOADED = "leastLoaded"  #: at the second in which least is due, chosen when its window has begun


@dataclass(frozen=True, slots=True)
class Window:
    """How long a run may be held back, so that many of one nominal time spread: by one of the first two."""

    ms: int | None = None
    share: float | None = None  #: of the time from this run to the next, over 0 and up to 1
    spread: Spread = Spread.HASH


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """When a recurring schedule runs: by a cron expression or an interval, within limits.

    Made by `recurring.parsing.parse_times`, which checks what is written here.
    """

    cron: str = ""  #: as given, without `CRON_TZ=`; "" where there is an interval
    interval: Interval | None = None
    zone: str = "UTC"  #: IANA name
    start_ms: int | None = None  #: no run before it
    end_ms: int | None = None  #: no run at it or later
    count: int | None = None  #: no more runs than that
    dst_gap: DstGap = DstGap.CRON
    dst_overlap: DstOverlap = DstOverlap.CRON
    calendars: tuple[str, ...] = ()  #: names of the app's; what they exclude is passed in, see `Exclusions`
    window: Window | None = None
    dialect: int = DIALECT


@dataclass(frozen=True, slots=True)
class Exclusions:
    """When nothing runs: what a calendar says, or those of a definition together."""

    dates: frozenset[date] = frozenset()  #: days of the wall clock, whatever the zone of the definition
    spans: tuple[tuple[int, int], ...] = ()  #: half-open, epoch ms, sorted, apart


@dataclass(frozen=True, slots=True)
class Run:
    """One planned run."""

    nominal_ms: int  #: when the definition says; with the definition's version, the identity of the run
    effective_ms: int  #: when it is to be sent: `nominal_ms`, or later within the window; its home row's slot
    index: int  #: which one it is, from 1; excluded and skipped times do not count
    window_ms: int  #: it may be sent from `nominal_ms` to less than that later; 0: at once
    wall: datetime  #: the planned wall time, without zone
    effect: Effect | None = None  #: SHIFTED, FIRST or SECOND
    #: its second is chosen at `effective_ms`, from then on and before this; None: `effective_ms` is when
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Omitted:
    """A planned wall time that makes no run; of a gap, or of a day that is excluded, the first one."""

    wall: datetime
    effect: Effect  #: SKIPPED or EXCLUDED
