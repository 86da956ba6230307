"""The deployment as operators see it, put together from what its nodes say of themselves in the store.

Ingest asks no dispatcher and no etcd. Who owns how much is what each node said last, a few seconds ago; who
should own what is computed with the ring of the dispatchers, from the nodes that said something lately. A
node that died is counted on for `SILENT_MS`, and called silent as long as its last word is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from ringtime_ingest.service.ahead import Ahead
from ringtime_ingest.service.problems import find_problems
from ringtime_shared.api.operating import (
    MAX_DESTINATIONS,
    MAX_FORECAST_HOURS,
    MAX_JOINS,
    MAX_LEAVES,
    DestinationList,
    DestinationView,
    FlowView,
    ForecastView,
    MinuteView,
    NodeList,
    NodeView,
    OverviewView,
    PartitionView,
    ResizeView,
    RingNodeView,
    RingView,
)
from ringtime_shared.buckets import first_slot
from ringtime_shared.clock import Clock
from ringtime_shared.coordination.protocol import Member, View, fit_members
from ringtime_shared.errors import InvalidRequest, NotFound
from ringtime_shared.models.app import App
from ringtime_shared.models.node_status import (
    TROUBLE_STATES,
    NodeStatus,
    OverQuota,
    Trouble,
    quantile_ms,
    summed,
)
from ringtime_shared.ring import Ring, imbalance
from ringtime_shared.ring.simulation import Simulation, simulate
from ringtime_shared.schedules.forecast import PER_PARTITION, Forecast
from ringtime_shared.schedules.minutes_ahead import AheadStore
from ringtime_shared.stores.protocol import AppStore, NodeStatusStore

SILENT_MS = 20_000  #: a node that said nothing for so long is not counted on; more than hosts' clocks differ
_FRESH_MS = 1_000  #: what was read is good for so long
_MOST_FLOWS = 200
_ORDER = {state: n for n, state in enumerate(TROUBLE_STATES)}


class OperatingStore(AheadStore, NodeStatusStore, AppStore, Protocol):
    """What it needs of a store."""


class Apps(Protocol):
    """All apps, as this process follows them."""

    async def all(self) -> Sequence[App]:
        """Return them by id. Raises StoreUnavailable."""
        ...


class _Known:
    """Nodes and apps at one moment, and the ring that follows from them."""

    def __init__(self, statuses: Sequence[NodeStatus], apps: Sequence[App], now_ms: int) -> None:
        self.now_ms = now_ms
        self.statuses = statuses
        self.apps = apps
        self.states = {each.node: _state_of(each, now_ms) for each in statuses}
        counted = [
            each for each in statuses if self.states[each.node] not in ("silent", "draining", "damaged")
        ]
        self.members = {
            each.node: Member(node=each.node, capacity=each.capacity, most=each.most) for each in counted
        }
        self.drained = frozenset(each.node for each in counted if each.is_drained)
        self.instances = sum(app.polled for app in apps if app.active and not app.damage)

    @property
    def key(self) -> object:
        """What the ring follows from."""
        apps = tuple((app.app_id, app.polled) for app in self.apps if app.active and not app.damage)
        return self.members, self.drained, apps

    def make_ring(self) -> Ring:
        """Return the ring as the dispatchers compute it. Takes a second where there are 100,000."""
        names = [str(instance) for app in self.apps for instance in app.instances()]
        nodes, most = fit_members(View(self.members, {}, self.drained).eligible(), len(names))
        return Ring(instances=names).with_nodes(nodes, most)


class Operating:
    """Tells how the deployment is."""

    def __init__(self, store: OperatingStore, apps: Apps, clock: Clock) -> None:
        self._store = store
        self._apps = apps
        self._clock = clock
        self._ahead = Ahead(store, clock)
        self._known: tuple[int, _Known] | None = None  # boot time
        self._reading = asyncio.Lock()
        self._ring: tuple[object, Ring] | None = None
        self._simulated: tuple[Ring, Mapping[str, float], tuple[Simulation, Ring]] | None = None
        self._placing = asyncio.Lock()

    async def close(self) -> None:
        """Stop what goes on in the background."""
        await self._ahead.close()

    async def nodes(self) -> NodeList:
        """Return all nodes that said something lately. Raises StoreUnavailable."""
        known = await self._know()
        return NodeList(nodes=_nodes_of(known, await self._ring_of(known)))

    async def destinations(self, size: int, app_id: str = "") -> DestinationList:
        """Return the destinations in trouble, the worst first. Raises StoreUnavailable.

        Args:
            app_id: only those of this app; "": of all.
        """
        if not 1 <= size <= MAX_DESTINATIONS:
            raise InvalidRequest.of("size", f"must be a whole number from 1 to {MAX_DESTINATIONS}")
        known = await self._know()
        every = [each for each in _destinations_of(known) if app_id in ("", each.app_id)]
        untold = sum(_untold(each, app_id) for each in known.statuses if known.states[each.node] != "silent")
        return DestinationList(destinations=every[:size], more=max(len(every) - size, 0) + untold)

    async def forecast(self, app_id: str, hours: float) -> ForecastView:
        """Return what falls due of an app. Raises NotFound, StoreUnavailable."""
        if not 1 <= hours <= MAX_FORECAST_HOURS:
            raise InvalidRequest.of("hours", f"must be a whole number from 1 to {MAX_FORECAST_HOURS}")
        app = await self._store.fetch_app(app_id)
        if app is None:
            raise NotFound("app", app_id)
        return _forecast_view(*await self._ahead.of_app(app_id, app.writable, hours))

    async def ring(self, app_id: str = "", join: int = 0, leave: Sequence[str] = ()) -> RingView:
        """Return the ring, and what it would be with other nodes.

        Args:
            app_id: tell where each partition of this app is; "": of none.
            join: so many nodes of capacity 1 more.
            leave: without these.

        Raises InvalidRequest, NotFound (app), StoreUnavailable.
        """
        if not 0 <= join <= MAX_JOINS:
            raise InvalidRequest.of("join", f"must be a whole number from 0 to {MAX_JOINS}")
        if len(leave) > MAX_LEAVES:
            raise InvalidRequest.of("leave", f"must be given at most {MAX_LEAVES} times")
        known = await self._know()
        app = next((each for each in known.apps if each.app_id == app_id), None)
        if app_id and app is None:
            raise NotFound("app", app_id)
        ring = await self._ring_of(known)
        simulation, after = None, None
        if join or leave:
            simulation, after = await self._simulated_with(ring, _changed(ring.nodes, join, leave))
        return await asyncio.to_thread(_ring_view, known, ring, app, simulation, after)

    async def overview(self) -> OverviewView:
        """Return the whole in one answer. Raises StoreUnavailable."""
        known, hour = await self._know(), self._ahead.hour()
        nodes, destinations = _nodes_of(known, None), _destinations_of(known)
        over = {each.app_id: each for status in known.statuses for each in status.over_quota}
        live = [each for each in known.statuses if known.states[each.node] not in ("silent", "damaged")]
        lags = summed([each.work.lags for each in live])
        return OverviewView(
            at=_at(known.now_ms),
            nodes=len(live),
            nodes_ready=sum(known.states[each.node] in ("ready", "drained") for each in live),
            apps=len(known.apps),
            instances=known.instances,
            carried_per_minute=PER_PARTITION * sum(app.writable for app in known.apps if app.active),
            window_ms=max((each.work.window_ms for each in live), default=0),
            sent_per_second=_rate(live, "sent"),
            succeeded_per_second=_rate(live, "succeeded"),
            failed_per_second=_rate(live, "failed"),
            retried_per_second=_rate(live, "retried"),
            missed_per_second=_rate(live, "missed"),
            backlog=sum(each.backlog for each in live),
            oldest_due_ms=max((each.oldest_due_ms for each in live), default=0),
            in_flight=sum(each.in_flight for each in live),
            parked=sum(each.parked for each in live),
            mark_age_ms=max((each.mark_age_ms for each in live), default=0),
            lag_p50_ms=_rounded(quantile_ms(lags, 0.5)),
            lag_p99_ms=_rounded(quantile_ms(lags, 0.99)),
            ahead=[
                MinuteView(at=_at(each.start_ms), due=each.due)
                for each in (() if hour is None else hour.minutes)
                if each.due
            ],
            ahead_estimated=hour is not None and hour.is_estimate,
            ahead_at=None if hour is None else _at(hour.at_ms),
            problems=find_problems(
                nodes,
                destinations,
                _first(over.values()),
                known.apps,
                [each for status in live for each in status.worst_apps],
            ),
        )

    async def _know(self) -> _Known:
        async with self._reading:  # whoever waits has what was read meanwhile
            boot_ms = self._clock.boot_ms()
            if self._known is None or boot_ms - self._known[0] >= _FRESH_MS:
                statuses, apps = await asyncio.gather(self._store.fetch_node_statuses(), self._apps.all())
                self._known = boot_ms, _Known(statuses, apps, self._clock.now_ms())
            return self._known[1]

    async def _ring_of(self, known: _Known) -> Ring:
        async with self._placing:
            key = known.key
            if self._ring is None or self._ring[0] != key:
                self._ring = key, await asyncio.to_thread(known.make_ring)
            return self._ring[1]

    async def _simulated_with(self, ring: Ring, nodes: Mapping[str, float]) -> tuple[Simulation, Ring]:
        """Return what would move. A page that shows it asks again every few seconds; nothing is computed anew
        until the ring changes, or somebody asks for other nodes."""
        async with self._placing:
            last = self._simulated
            if last is None or last[0] is not ring or last[1] != nodes:
                self._simulated = last = ring, nodes, await asyncio.to_thread(_simulate, ring, nodes)
            return last[2]


def _simulate(ring: Ring, nodes: Mapping[str, float]) -> tuple[Simulation, Ring]:
    return simulate(ring, nodes), ring.with_nodes(nodes)


def _changed(nodes: Mapping[str, float], join: int, leave: Sequence[str]) -> dict[str, float]:
    after = dict(nodes)
    for node in leave:
        if after.pop(node, None) is None:
            raise InvalidRequest.of("leave", f"no node {node}")
    number = 0
    for _ in range(join):
        while (name := f"new-{(number := number + 1)}") in after:
            pass
        after[name] = 1.0
    return after


def _state_of(status: NodeStatus, now_ms: int) -> str:
    if now_ms - status.at_ms > SILENT_MS:
        return "silent"
    if status.damage:
        return "damaged"
    if status.clock_doubt:
        return "clock in doubt"
    if status.is_draining:
        return "draining"
    if not status.is_ready:
        return "not ready"
    return "drained" if status.is_drained else "ready"


def _nodes_of(known: _Known, ring: Ring | None) -> list[NodeView]:
    """Return the nodes; without the ring, what it gives them is left at what they own."""
    return [
        NodeView(
            node=each.node,
            state=known.states[each.node],
            at=_at(each.at_ms),
            silent_ms=max(known.now_ms - each.at_ms, 0),
            version=each.version,
            address=each.address,
            since=_at(each.since_ms),
            capacity=each.capacity,
            owned=each.owned,
            wanted=each.owned if ring is None else len(ring.owned_by(each.node)),
            apps=each.apps,
            left_out=each.left_out,
            sent_per_second=_rate([each], "sent"),
            succeeded_per_second=_rate([each], "succeeded"),
            failed_per_second=_rate([each], "failed"),
            retried_per_second=_rate([each], "retried"),
            parked_per_second=_rate([each], "parked"),
            missed_per_second=_rate([each], "missed"),
            loaded=each.loaded,
            short=each.is_short,
            backlog=each.backlog,
            oldest_due_ms=each.oldest_due_ms,
            in_flight=each.in_flight,
            max_in_flight=each.most_in_flight,
            parked=each.parked,
            mark_age_ms=each.mark_age_ms,
            destinations_in_trouble=each.troubles_in_all,
            lag_p50_ms=_rounded(quantile_ms(each.work.lags, 0.5)),
            lag_p99_ms=_rounded(quantile_ms(each.work.lags, 0.99)),
            clock_doubt=each.clock_doubt,
            damage=each.damage,
        )
        for each in known.statuses
    ]


def _destinations_of(known: _Known) -> list[DestinationView]:
    """Return what live nodes say of destinations, put together."""
    by_key: dict[tuple[str, str], list[Trouble]] = {}
    for status in known.statuses:
        if known.states[status.node] != "silent":
            for each in status.troubles:
                by_key.setdefault((each.app_id, each.destination), []).append(each)
    return sorted(
        (_destination_view(*key, troubles) for key, troubles in by_key.items()),
        key=lambda each: (
            _ORDER.get(each.state, 0),
            -each.waiting - each.parked,
            each.app_id,
            each.destination,
        ),
    )


def _untold(status: NodeStatus, app_id: str) -> int:
    """Return how many destinations in trouble a node does not name; of an app, how many of its own."""
    in_all = status.troubles_of_app.get(app_id, 0) if app_id else status.troubles_in_all
    return max(in_all - sum(app_id in ("", each.app_id) for each in status.troubles), 0)


def _destination_view(app_id: str, destination: str, troubles: Sequence[Trouble]) -> DestinationView:
    state = min((each.state for each in troubles), key=lambda each: _ORDER.get(each, 0))
    last = max(troubles, key=lambda each: each.failed_ms)
    return DestinationView(
        app_id=app_id,
        destination=destination,
        state=state,
        meaning=TROUBLE_STATES.get(state, ""),
        nodes=len(troubles),
        failures=max(each.failures for each in troubles),
        waiting=sum(each.waiting for each in troubles),
        oldest_wait_ms=max(each.oldest_wait_ms for each in troubles),
        parked=sum(each.parked for each in troubles),
        in_flight=sum(each.in_flight for each in troubles),
        max_in_flight=sum(each.most_in_flight for each in troubles),
        probe_in_ms=min((each.opens_in_ms for each in troubles if each.state == "open"), default=0),
        error=last.error,
        failed_at=_at(last.failed_ms) if last.failed_ms else None,
    )


def _ring_view(
    known: _Known, ring: Ring, app: App | None, simulation: Simulation | None, after: Ring | None
) -> RingView:
    total = len(ring.instances)
    by_node = {each.node: each for each in known.statuses}
    names = [] if app is None else [str(instance) for instance in app.instances()]
    owners = [ring.owner(name) for name in names]
    nodes = []
    for node in sorted(by_node.keys() | (after.nodes.keys() if after is not None else set())):
        status = by_node.get(node)
        wanted = len(ring.owned_by(node))
        nodes.append(
            RingNodeView(
                node=node,
                state="joining" if status is None else known.states[node],
                capacity=1.0 if status is None else status.capacity,
                share=round(wanted / total, 4) if total else 0.0,
                owned=0 if status is None or known.states[node] == "silent" else status.owned,
                wanted=wanted,
                owned_of_app=None if status is None or app is None else status.owned_by_app.get(app.app_id),
                wanted_of_app=None if app is None else owners.count(node),
                wanted_after=None if after is None else len(after.owned_by(node)),
            )
        )
    view = RingView(
        nodes=nodes,
        instances=total,
        owned=sum(each.owned for each in nodes),
        moving=sum(max(each.wanted - each.owned, 0) for each in nodes),
        imbalance=round(imbalance(ring), 4),
        resizes=[
            ResizeView(
                app_id=each.app_id,
                quota_before=each.resize.before,
                quota=each.resize.quota,
                begun_at=_at(each.resize.begun_ms),
            )
            for each in known.apps
            if each.resize is not None and not each.damage
        ],
        partitions=None
        if app is None
        else [
            PartitionView(
                partition=n,
                node=owner or "",
                node_after=None if after is None else after.owner(names[n]) or "",
            )
            for n, owner in enumerate(owners)
        ],
    )
    if simulation is None:
        return view
    return replace(
        view,
        moves=len(simulation.moves),
        imbalance_after=round(simulation.imbalance_after, 4),
        flows=[
            FlowView(source=source, target=target, count=count)
            for source, target, count in simulation.flows()[:_MOST_FLOWS]
        ],
    )


def _forecast_view(ahead: Forecast, last: int) -> ForecastView:
    return ForecastView(
        app_id=ahead.app_id,
        quota=ahead.quota,
        carried_per_minute=ahead.capacity,
        due=ahead.total,
        minutes=[MinuteView(at=_at(each.start_ms), due=each.due) for each in ahead.minutes],
        through=_at(first_slot(last + 1)),
        over=len(ahead.over),
        advised_quota=ahead.advised,
    )


def _rate(statuses: Sequence[NodeStatus], what: str) -> float:
    """Return how many a second, of all of them."""
    rates = (
        1_000 * getattr(each.work, what) / each.work.window_ms for each in statuses if each.work.window_ms > 0
    )
    return round(float(sum(rates)), 3)


def _first(over: Collection[OverQuota]) -> list[OverQuota]:
    return sorted(over, key=lambda each: (each.minute_ms, each.app_id))


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 1)


def _at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1_000, UTC)
