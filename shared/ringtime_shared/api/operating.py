"""The deployment as operators see it: nodes, ring, destinations in trouble, what is ahead, what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from ringtime_shared.api.views import Doc

MAX_DESTINATIONS = 500
MAX_JOINS = 100
MAX_LEAVES = 100
MAX_FORECAST_HOURS = 48
MAX_PROBLEMS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """A dispatcher, as it said of itself last. Rates and lag are those of its last minute."""

    node: Annotated[str, Doc("Its name.")]
    state: Annotated[
        str,
        Doc("`ready`, `draining`, `drained`, `not ready`, `clock in doubt`, `silent` or `damaged`."),
    ]
    at: Annotated[datetime, Doc("When it said this.")]
    silent_ms: Annotated[int, Doc("How long ago that was.")]
    version: Annotated[str, Doc("Of Ringtime.")]
    address: Annotated[str, Doc("Where it answers to health checks; empty: nowhere.")]
    since: Annotated[datetime, Doc("When it started.")]
    capacity: Annotated[float, Doc("Its weight in the ring.")]
    owned: Annotated[int, Doc("Poller instances that it owns.")]
    wanted: Annotated[int, Doc("Poller instances that the ring gives it.")]
    apps: Annotated[int, Doc("Of which it owns poller instances.")]
    left_out: Annotated[int, Doc("Poller instances that have no owner, because it may not own more.")]
    sent_per_second: Annotated[float, Doc("Attempts.")]
    succeeded_per_second: Annotated[float, Doc("Schedules and runs that succeeded.")]
    failed_per_second: Annotated[float, Doc("Schedules and runs that were given up.")]
    retried_per_second: Annotated[float, Doc("Attempts that are to be repeated.")]
    parked_per_second: Annotated[float, Doc("Rows filed for later without an attempt.")]
    missed_per_second: Annotated[float, Doc("Schedules and runs that came too late to be sent.")]
    loaded: Annotated[int, Doc("Rows in memory.")]
    short: Annotated[bool, Doc("Whether rows of some app stay in the store until there is room in memory.")]
    backlog: Annotated[int, Doc("Rows in memory that are due and wait for their turn.")]
    oldest_due_ms: Annotated[int, Doc("How late the oldest row without an outcome is; 0: none is overdue.")]
    in_flight: Annotated[int, Doc("Attempts under way.")]
    max_in_flight: Annotated[int, Doc("Attempts that may be under way at once.")]
    parked: Annotated[int, Doc("Rows filed for later without an attempt that are still to come; about.")]
    mark_age_ms: Annotated[int, Doc("How far the `settled` furthest behind lies in the past.")]
    destinations_in_trouble: Annotated[int, Doc("Destinations of apps that are not well.")]
    lag_p50_ms: Annotated[float | None, Doc("How late half of the first attempts were; left out: none.")] = (
        None
    )
    lag_p99_ms: Annotated[float | None, Doc("The same, of 99 in 100.")] = None
    clock_doubt: Annotated[str, Doc("Why its clock cannot be relied on; else left out.")] = ""
    damage: Annotated[str, Doc("Why what it said cannot be read; else left out.")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeList:
    """All dispatchers that said something in the last minutes."""

    nodes: Annotated[Sequence[NodeView], Doc("By name.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class RingNodeView:
    """A node, and what the ring gives it."""

    node: Annotated[str, Doc("Its name.")]
    state: Annotated[str, Doc("As in the list of nodes.")]
    capacity: Annotated[float, Doc("Its weight.")]
    share: Annotated[float, Doc("Of all poller instances, what the ring gives it: 0 to 1.")]
    owned: Annotated[int, Doc("Poller instances that it owned when it last said something.")]
    wanted: Annotated[int, Doc("Poller instances that the ring gives it.")]
    owned_of_app: Annotated[
        int | None, Doc("Of the app asked for, what it owns; left out: no app, or it did not say.")
    ] = None
    wanted_of_app: Annotated[int | None, Doc("Of the app asked for, what the ring gives it.")] = None
    wanted_after: Annotated[int | None, Doc("What the ring would give it after the joins and leaves.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionView:
    """A poller instance of the app that was asked for."""

    partition: Annotated[int, Doc("Its number.")]
    node: Annotated[str, Doc("Whom the ring gives it to; empty: nobody.")]
    node_after: Annotated[str | None, Doc("Whom it would be given to after the joins and leaves.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowView:
    """Poller instances that would change hands."""

    source: Annotated[str, Doc("From this node; empty: nobody.")]
    target: Annotated[str, Doc("To this node; empty: nobody.")]
    count: Annotated[int, Doc("How many.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizeView:
    """An app whose quota is being changed."""

    app_id: Annotated[str, Doc("The app's id.")]
    quota_before: Annotated[int, Doc("Partitions it had.")]
    quota: Annotated[int, Doc("Partitions it is to have.")]
    begun_at: Annotated[datetime, Doc("Since when.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class RingView:
    """Who should own what, computed as the dispatchers do, beside what they said they own."""

    nodes: Annotated[Sequence[RingNodeView], Doc("By name; those that would join are among them.")]
    instances: Annotated[int, Doc("Poller instances of all active apps.")]
    owned: Annotated[int, Doc("Poller instances that the nodes said they own.")]
    moving: Annotated[int, Doc("Poller instances that their nodes do not own yet.")]
    imbalance: Annotated[float, Doc("The most loaded node over its fair share; 1 is perfect.")]
    resizes: Annotated[Sequence[ResizeView], Doc("Apps whose quota is being changed.")]
    partitions: Annotated[
        Sequence[PartitionView] | None, Doc("Of the app asked for, all of them; left out: no app was.")
    ] = None
    moves: Annotated[int | None, Doc("Poller instances that would move; left out: no change.")] = None
    imbalance_after: Annotated[float | None, Doc("What it would be after the change.")] = None
    flows: Annotated[Sequence[FlowView] | None, Doc("What would move, the most first; at most 200.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationView:
    """A destination of an app that is not well, over all nodes."""

    app_id: Annotated[str, Doc("The app's id.")]
    destination: Annotated[str, Doc("Scheme, host and port of URLs, or what else is down together.")]
    state: Annotated[str, Doc("`open`, `half open`, `slow`, `failing` or `recovering`.")]
    meaning: Annotated[str, Doc("What that means, in a sentence.")]
    nodes: Annotated[int, Doc("On how many nodes it is not well.")]
    failures: Annotated[int, Doc("In a row, on the node with the most.")]
    waiting: Annotated[int, Doc("Rows that are due and wait in memory.")]
    oldest_wait_ms: Annotated[int, Doc("Of these, how long the oldest waits.")]
    parked: Annotated[int, Doc("Rows filed for later without an attempt that are still to come; about.")]
    in_flight: Annotated[int, Doc("Attempts under way.")]
    max_in_flight: Annotated[int, Doc("Attempts that may be under way to it at once, on these nodes.")]
    probe_in_ms: Annotated[int, Doc("Until the first node sends one row to see; 0: it may.")]
    error: Annotated[str, Doc("Of the last failure; left out: none.")] = ""
    failed_at: Annotated[datetime | None, Doc("When that was.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationList:
    """Those in trouble, the worst first. What is well is not in it."""

    destinations: Annotated[Sequence[DestinationView], Doc("The destinations.")]
    more: Annotated[int, Doc("How many more there are at most; nodes tell of fifty each.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class MinuteView:
    """A minute ahead."""

    at: Annotated[datetime, Doc("When it begins.")]
    due: Annotated[int, Doc("Rows that are filed for it.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastView:
    """What falls due of an app, as far as it is filed."""

    app_id: Annotated[str, Doc("The app's id.")]
    quota: Annotated[int, Doc("Its partitions.")]
    carried_per_minute: Annotated[int, Doc("Callbacks a minute that the quota is made for.")]
    due: Annotated[int, Doc("In all these minutes.")]
    minutes: Annotated[Sequence[MinuteView], Doc("Those with something due.")]
    through: Annotated[
        datetime, Doc("Up to where it was counted: earlier than asked for, where that is much.")
    ]
    over: Annotated[int, Doc("Minutes with more than the quota is made for.")]
    advised_quota: Annotated[int | None, Doc("That carries the fullest minute with room to spare.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemView:
    """Something that is wrong, and what to do about it."""

    word: Annotated[str, Doc("What kind of problem it is; a word is never renamed.")]
    severity: Annotated[str, Doc("`bad`: callbacks are late, missed or given up; `warn`: they may be.")]
    told: Annotated[str, Doc("What is wrong, in a sentence.")]
    remedy: Annotated[str, Doc("What to do, in a sentence.")]
    app_id: Annotated[str, Doc("Whose it is; left out: not one app's.")] = ""
    destination: Annotated[str, Doc("The destination, if it is about one.")] = ""
    node: Annotated[str, Doc("The node, if it is about one.")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewView:
    """The whole deployment in one answer."""

    at: Annotated[datetime, Doc("When it was put together.")]
    nodes: Annotated[int, Doc("Dispatchers that said something lately.")]
    nodes_ready: Annotated[int, Doc("Of these, those that fire.")]
    apps: Annotated[int, Doc("Registered apps.")]
    instances: Annotated[int, Doc("Poller instances of active apps.")]
    carried_per_minute: Annotated[int, Doc("Callbacks a minute that all quotas are made for.")]
    window_ms: Annotated[int, Doc("Over how long lag and rates were counted.")]
    sent_per_second: Annotated[float, Doc("Attempts.")]
    succeeded_per_second: Annotated[float, Doc("Schedules and runs that succeeded.")]
    failed_per_second: Annotated[float, Doc("Schedules and runs that were given up.")]
    retried_per_second: Annotated[float, Doc("Attempts that are to be repeated.")]
    missed_per_second: Annotated[float, Doc("Schedules and runs that came too late to be sent.")]
    backlog: Annotated[int, Doc("Rows in memory that are due and wait for their turn.")]
    oldest_due_ms: Annotated[int, Doc("How late the oldest row without an outcome is; 0: none is overdue.")]
    in_flight: Annotated[int, Doc("Attempts under way.")]
    parked: Annotated[int, Doc("Rows filed for later without an attempt that are still to come; about.")]
    mark_age_ms: Annotated[int, Doc("How far the `settled` furthest behind lies in the past.")]
    ahead: Annotated[Sequence[MinuteView], Doc("Of the next 60 minutes, those with something due.")]
    ahead_estimated: Annotated[bool, Doc("Whether they were counted in a sample, as there is much in them.")]
    problems: Annotated[Sequence[ProblemView], Doc("What is wrong, the worst first; at most 60.")]
    lag_p50_ms: Annotated[float | None, Doc("How late half of the first attempts were; left out: none.")] = (
        None
    )
    lag_p99_ms: Annotated[float | None, Doc("The same, of 99 in 100.")] = None
    ahead_at: Annotated[datetime | None, Doc("When the minutes ahead were counted; left out: not yet.")] = (
        None
    )
