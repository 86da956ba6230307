"""Every instrument by name: what it counts, in which labels and buckets, and which service has it.

Nobody else spells a name of ours. `docs/metrics.md` is made from here (`python -m ringtime_shared.metrics`),
and the files of Grafana and Prometheus are held against it by their tests.

A label has few values, which `Label` lists, or is one of those that are bounded elsewhere: `app` by
`metrics.apps` (`ringtime_shared.metrics.apps`), `call` by the methods of the store's protocols.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What Prometheus may do with an instrument."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Role(StrEnum):
    """The services that have an instrument; `ringtime serve` is both in one process."""

    INGEST = "ingest"
    DISPATCHER = "dispatcher"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One family of series."""

    name: str  #: as it is exported: a counter ends in `_total`
    kind: Kind
    help: str
    roles: tuple[Role, ...]
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()  #: upper bounds of a histogram, without +Inf


_INGEST, _DISPATCHER, _BOTH = (Role.INGEST,), (Role.DISPATCHER,), (Role.INGEST, Role.DISPATCHER)
#: 0.3 s is what the README promises: alerts count what is later
_LAG_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_CALL_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_APP_LAG_S = (0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0)  #: few, as each app has them
_ROWS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)

#: The values of labels that have few.
LABEL_VALUES = {
    "result of ringtime_fires_total": ("success", "failure", "miss", "shadow"),
    "result of ringtime_attempts_total": ("success", "retry", "failure", "shortage"),
    "code_class": ("1xx", "2xx", "3xx", "4xx", "5xx", "other", "none"),
    "reason": ("too_late", "passed_over"),
    "mark": ("front", "sealed", "settled"),
    "state": ("open", "half_open"),
    "direction": ("in", "out"),
    "minutes": ("5", "10", "15"),
    "role": tuple(Role),
}

FIRE_LAG = Instrument(
    name="ringtime_fire_lag_seconds",
    kind=Kind.HISTOGRAM,
    help="From the time a schedule was due, or acknowledged if that was later, to its first attempt.",
    roles=_DISPATCHER,
    buckets=_LAG_S,
)
CREATE = Instrument(
    name="ringtime_create_seconds",
    kind=Kind.HISTOGRAM,
    help="From the parsed request of a create to its acknowledgement; only of those acknowledged.",
    roles=_INGEST,
    buckets=_CALL_S,
)
FIRES = Instrument(
    name="ringtime_fires_total",
    kind=Kind.COUNTER,
    help="Schedules, runs, replays and hooks that ended, by how.",
    roles=_DISPATCHER,
    labels=("result",),
)
ATTEMPTS = Instrument(
    name="ringtime_attempts_total",
    kind=Kind.COUNTER,
    help="Attempts to call back that ended: retry, failed and to be tried again; failure, failed and given"
    " up; shortage, this node's own, which counts as no attempt elsewhere. By the class of the receiver's"
    " code; none: no answer, or a callback type without codes.",
    roles=_DISPATCHER,
    labels=("result", "code_class"),
)
ATTEMPT = Instrument(
    name="ringtime_attempt_seconds",
    kind=Kind.HISTOGRAM,
    help="Attempts to call back, from the request to the answer, or to what stood for one.",
    roles=_DISPATCHER,
    buckets=(*_CALL_S, 30.0, 60.0),
)
MISSED = Instrument(
    name="ringtime_missed_total",
    kind=Kind.COUNTER,
    help="Schedules and runs recorded as MISS: too_late, as they came due past what their app accepts;"
    " passed_over, runs of a recurring schedule that its rules leave out when they are late.",
    roles=_DISPATCHER,
    labels=("reason",),
)
DUE_BACKLOG = Instrument(
    name="ringtime_due_backlog",
    kind=Kind.GAUGE,
    help="Rows in memory that are due and wait for their turn.",
    roles=_DISPATCHER,
)
OLDEST_DUE_AGE = Instrument(
    name="ringtime_oldest_due_age_seconds",
    kind=Kind.GAUGE,
    help="How long ago the oldest slot was whose row is not recorded yet, of all poller instances owned;"
    " 0: none is overdue.",
    roles=_DISPATCHER,
)
MARK_AGE = Instrument(
    name="ringtime_mark_age_seconds",
    kind=Kind.GAUGE,
    help="How far the mark of the poller instance that is furthest behind lies in the past.",
    roles=_DISPATCHER,
    labels=("mark",),
)
IN_FLIGHT = Instrument(
    name="ringtime_in_flight",
    kind=Kind.GAUGE,
    help="Attempts under way.",
    roles=_DISPATCHER,
)
PARKED = Instrument(
    name="ringtime_parked",
    kind=Kind.GAUGE,
    help="About how many rows this node has filed for later without an attempt, as their destination is in"
    " trouble or too slow, whose later slot has not come.",
    roles=_DISPATCHER,
)
PARKINGS = Instrument(
    name="ringtime_parkings_total",
    kind=Kind.COUNTER,
    help="Rows filed for later without an attempt; one may be again and again.",
    roles=_DISPATCHER,
)
BREAKER_STATE = Instrument(
    name="ringtime_breaker_state",
    kind=Kind.GAUGE,
    help="Destinations of apps whose circuit breaker is open, or half open: a probe is due or under way.",
    roles=_DISPATCHER,
    labels=("state",),
)
DEAD_LETTERS = Instrument(
    name="ringtime_dead_letters_total",
    kind=Kind.COUNTER,
    help="Schedules and runs given up and kept as dead letters.",
    roles=_DISPATCHER,
)
RING_IMBALANCE = Instrument(
    name="ringtime_ring_imbalance",
    kind=Kind.GAUGE,
    help="Poller instances that the ring gives this node, over what is even by the nodes' capacities;"
    " 1: just its part.",
    roles=_DISPATCHER,
)
MOVES = Instrument(
    name="ringtime_moves_total",
    kind=Kind.COUNTER,
    help="Poller instances that came to this node, or left it.",
    roles=_DISPATCHER,
    labels=("direction",),
)
LEASE_LOST = Instrument(
    name="ringtime_lease_lost_total",
    kind=Kind.COUNTER,
    help="Times this node lost its lease, or gave it up because its clock was in doubt.",
    roles=_DISPATCHER,
)
TERM_REJECTED = Instrument(
    name="ringtime_term_rejected_total",
    kind=Kind.COUNTER,
    help="Terms that ended under this node without a handover: it ran a poller instance whose claim is gone"
    " or another's, and the store refuses what it writes of it from then on.",
    roles=_DISPATCHER,
)
COMMIT_BATCH_ROWS = Instrument(
    name="ringtime_commit_batch_rows",
    kind=Kind.HISTOGRAM,
    help="Rows that were made durable together.",
    roles=_INGEST,
    buckets=_ROWS,
)
STORE = Instrument(
    name="ringtime_store_seconds",
    kind=Kind.HISTOGRAM,
    help="Calls of the store, by method; also those that failed.",
    roles=_BOTH,
    labels=("call",),
    buckets=_CALL_S,
)
OWNED = Instrument(
    name="ringtime_owned_instances",
    kind=Kind.GAUGE,
    help="Poller instances that this node owns.",
    roles=_DISPATCHER,
)
LEFT_OUT = Instrument(
    name="ringtime_left_out_instances",
    kind=Kind.GAUGE,
    help="Poller instances that have no owner, because this node may not own more: nothing of them fires.",
    roles=_DISPATCHER,
)
READY = Instrument(
    name="ringtime_ready",
    kind=Kind.GAUGE,
    help="1: in the ring, with a lease and a clock to rely on; 0: this node may not fire.",
    roles=_DISPATCHER,
)
FOUND_LATE = Instrument(
    name="ringtime_found_late_total",
    kind=Kind.COUNTER,
    help="Rows that only the final read of their minute found, after their slot.",
    roles=_DISPATCHER,
)
COMPLETENESS_AGE = Instrument(
    name="ringtime_completeness_age_seconds",
    kind=Kind.GAUGE,
    help="How far the mark lies in the past under which everything due of all active apps has its recorded"
    " outcome: 90 to 150 while nothing is late. One node looks; of the others there is none.",
    roles=_DISPATCHER,
)
FORECAST_OVER_QUOTA = Instrument(
    name="ringtime_forecast_over_quota_apps",
    kind=Kind.GAUGE,
    help="Apps with a minute in the next 24 hours in which more is due than their quota carries. One node"
    " looks, a part of the apps every `dispatch.forecast_s`; of the others it is 0.",
    roles=_DISPATCHER,
)
FORECAST_DUE = Instrument(
    name="ringtime_forecast_due_rows",
    kind=Kind.GAUGE,
    help="About how many rows are due in the fullest of the next minutes, this one included, of all apps"
    " together. One node looks, every `dispatch.ahead_s` or, where a look takes long, less often; none is"
    " told while it is not known, nor by the others and by `ringtime serve`.",
    roles=_DISPATCHER,
    labels=("minutes",),
)
BUILD_INFO = Instrument(
    name="ringtime_build_info",
    kind=Kind.GAUGE,
    help="1, with what runs in the labels.",
    roles=_BOTH,
    labels=("role", "version", "python"),
)
APP_CREATES = Instrument(
    name="ringtime_app_creates_total",
    kind=Kind.COUNTER,
    help="Creates acknowledged, of the busiest apps; all others are `other`.",
    roles=_INGEST,
    labels=("app",),
)
APP_FIRES = Instrument(
    name="ringtime_app_fires_total",
    kind=Kind.COUNTER,
    help="ringtime_fires_total of the busiest apps; all others are `other`.",
    roles=_DISPATCHER,
    labels=("app", "result"),
)
APP_RETRIES = Instrument(
    name="ringtime_app_retries_total",
    kind=Kind.COUNTER,
    help="Attempts of the busiest apps that failed and are tried again; all others are `other`.",
    roles=_DISPATCHER,
    labels=("app",),
)
APP_FIRE_LAG = Instrument(
    name="ringtime_app_fire_lag_seconds",
    kind=Kind.HISTOGRAM,
    help="ringtime_fire_lag_seconds of the busiest apps; all others are `other`.",
    roles=_DISPATCHER,
    labels=("app",),
    buckets=_APP_LAG_S,
)

ALL = (
    FIRE_LAG,
    CREATE,
    FIRES,
    ATTEMPTS,
    ATTEMPT,
    MISSED,
    DUE_BACKLOG,
    OLDEST_DUE_AGE,
    MARK_AGE,
    IN_FLIGHT,
    PARKED,
    PARKINGS,
    BREAKER_STATE,
    DEAD_LETTERS,
    RING_IMBALANCE,
    MOVES,
    LEASE_LOST,
    TERM_REJECTED,
    COMMIT_BATCH_ROWS,
    STORE,
    OWNED,
    LEFT_OUT,
    READY,
    FOUND_LATE,
    COMPLETENESS_AGE,
    FORECAST_OVER_QUOTA,
    FORECAST_DUE,
    BUILD_INFO,
    APP_CREATES,
    APP_FIRES,
    APP_RETRIES,
    APP_FIRE_LAG,
)
