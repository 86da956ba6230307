"""What a dispatcher says of itself every few seconds, for whoever cannot ask it: see `NodeStatus`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

KEPT_MS = 900_000  #: a status is forgotten after this; a node that ends in order takes its own away
MOST_BYTES = 16_384  #: of one, as it is stored; what is too much of its lists is left out
MOST_TROUBLES = 50
MOST_WORST = 20
LATE_S = 5.0  #: one of the bounds of an app's lag
MOST_OVER = 50  #: apps over their quota
MOST_APPS = 200  #: named with what a node owns of them
ERROR_CHARS = 200
#: How late an attempt may be to be counted in each place of `Work.lags`; the last place has no bound. As of
#: `ringtime_fire_lag_seconds`.
LAG_BOUNDS_MS = (1, 2.5, 5, 10, 20, 50, 100, 300, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A destination of an app that is not well, as one node sees it."""

    app_id: str
    destination: str
    state: str  #: of `TROUBLE_STATES`
    failures: int = 0  #: in a row that blame the destination
    waiting: int = 0  #: due, in memory
    oldest_wait_ms: int = 0  #: of these
    parked: int = 0  #: filed for later without an attempt, whose slot has not come; about
    in_flight: int = 0
    most_in_flight: int = 0  #: attempts that may be under way at once to one destination
    opens_in_ms: int = 0  #: until a probe is sent; 0: it may be
    error: str = ""  #: of the last failure, without what is secret
    failed_ms: int = 0  #: when that was; 0: it did not fail


#: In the order of how much they matter, with what each means.
TROUBLE_STATES: Mapping[str, str] = {
    "open": "it failed several times in a row: nothing is sent until a probe is due",
    "half open": "it failed, and a probe is due or under way",
    "slow": "as many attempts are under way as may be, and what is due waits or is filed for later",
    "failing": "its last attempts failed, too few for it to be left alone",
    "recovering": "it answers again, and what was filed for later comes due bit by bit",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a node did in the last minute, or since it started."""

    window_ms: int = 0
    lags: tuple[int, ...] = ()  #: first attempts by how late they were sent; see `LAG_BOUNDS_MS`
    sent: int = 0  #: attempts
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    parked: int = 0
    missed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OverQuota:
    """An app with a minute ahead that its quota does not carry: the first one."""

    app_id: str
    minute_ms: int
    due: int  #: this many or more


@dataclass(frozen=True, slots=True, kw_only=True)
class AppWork:
    """What went wrong of one app in the last minute."""

    app_id: str
    missed: int = 0
    failed: int = 0
    late: int = 0  #: first attempts that were later than `LATE_S`


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """One node at one moment. Ages in ms are as of then."""

    node: str
    at_ms: int
    version: str = ""
    address: str = ""
    since_ms: int = 0
    capacity: float = 1.0
    most: int | None = None  #: poller instances it may own; None: any number
    is_ready: bool = False
    is_draining: bool = False  #: on its way out: it hands over all that it owns
    is_drained: bool = False  #: an operator's word; it stays, and is to own nothing
    clock_doubt: str = ""  #: why its clock cannot be relied on; then it fires nothing
    work: Work = field(default_factory=Work)
    loaded: int = 0  #: rows in memory
    is_short: bool = False  #: rows of some app stay in the store until there is room in memory
    backlog: int = 0  #: rows in memory that are due and wait for their turn
    oldest_due_ms: int = (
        0  #: how long ago the oldest slot was whose row has no outcome yet; 0: none is overdue
    )
    in_flight: int = 0
    most_in_flight: int = 0
    parked: int = 0  #: filed for later without an attempt, whose slot has not come; about
    mark_age_ms: int = 0  #: how far the `settled` furthest behind lies in the past
    owned: int = 0
    left_out: int = 0  #: poller instances without an owner, for this node may not own more
    apps: int = 0  #: of which it owns poller instances
    owned_by_app: Mapping[str, int] = field(default_factory=dict)  #: of some of them
    troubles: tuple[Trouble, ...] = ()  #: the worst first, and of many apps some of each
    troubles_in_all: int = 0
    troubles_of_app: Mapping[str, int] = field(default_factory=dict)  #: in all, of the apps of these
    worst_apps: tuple[AppWork, ...] = ()  #: those of which most was missed, late or given up
    over_quota: tuple[OverQuota, ...] = ()  #: known to the one node that looks ahead
    damage: str = ""  #: why what is stored cannot be read; then nothing else but the node counts


def quantile_ms(lags: tuple[int, ...] | list[int], share: float) -> float | None:
    """Return about how late the attempt at this share of all was sent; None: there was none.

    Within a bucket attempts are taken to be spread evenly; what is past the last bound counts as that.
    """
    left = share * sum(lags)
    if not left:
        return None
    low_ms = 0.0
    for count, bound_ms in zip(lags, LAG_BOUNDS_MS, strict=False):
        if left <= count:
            return low_ms + (bound_ms - low_ms) * left / count
        left, low_ms = left - count, bound_ms
    return float(LAG_BOUNDS_MS[-1])


def summed(lags: list[tuple[int, ...]]) -> list[int]:
    """Return the counts of several nodes together."""
    return [sum(each[n] for each in lags if n < len(each)) for n in range(max(map(len, lags), default=0))]
