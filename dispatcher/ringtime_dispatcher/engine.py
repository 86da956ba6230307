"""One dispatcher node: its loops, and the order in which they start and stop.

Stop order: leave the ring, stop reading and sealing, drain what is in flight, publish the last marks,
release, give back the lease. The lease is kept alive until the draining is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from ringtime_dispatcher.delivery import Deliverer, DeliveryParts, Tally
from ringtime_dispatcher.instances import OwnedInstance
from ringtime_dispatcher.ownership import Membership, OwnershipPlan, came_from_another, plan_ownership
from ringtime_dispatcher.polling import Poller
from ringtime_dispatcher.recovery import take_over, walk
from ringtime_dispatcher.sealing import Sealer
from ringtime_shared.callbacks.protocol import CallbackType
from ringtime_shared.clock import Clock
from ringtime_shared.coordination.protocol import Claim, Member, Session, View
from ringtime_shared.errors import LeaseLost, OutcomeUnknown, StartupError, StoreUnavailable
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.schedule import Row
from ringtime_shared.settings import AppLimits, CoordinationSettings, DispatchSettings, RetrySettings
from ringtime_shared.stores.protocol import AppStore, DueStore, Marks, MarkStore, MarksWrite, ScheduleStore

_log = logging.getLogger(__name__)
_BACK_OFF_S = 0.5
_PASSING = (StoreUnavailable, OutcomeUnknown, LeaseLost, StartupError)


class DispatchStore(AppStore, ScheduleStore, DueStore, MarkStore, Protocol):
    """What a dispatcher needs of a store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatcherParts:
    """What a dispatcher is made of."""

    member: Member
    store: DispatchStore
    clock: Clock
    new_session: Callable[[], Session]  #: called again each time a lease was lost
    callbacks: Mapping[str, CallbackType]
    dispatch: DispatchSettings = field(default_factory=DispatchSettings)
    retry: RetrySettings = field(default_factory=RetrySettings)
    limits: AppLimits = field(default_factory=AppLimits)
    coordination: CoordinationSettings = field(default_factory=CoordinationSettings)
    rng: Random = field(default_factory=Random)


class Dispatcher:
    """Create it, `start` it, `stop` it. `kill` drops everything as a crash would."""

    def __init__(self, parts: DispatcherParts) -> None:
        self._parts = parts
        self._node = parts.member.node
        self._clock = parts.clock
        self._store = parts.store
        self._settings = parts.dispatch
        self._session: Session | None = None
        self._apps: dict[str, App] = {}
        self._apps_read_ms: int | None = None
        self._polled: frozenset[Instance] = frozenset()  # of all active apps
        self._owned: dict[Instance, OwnedInstance] = {}
        self._active: dict[OwnedInstance, None] = {}  # those of them that have rows to read
        self._balanced: tuple[View, frozenset[Instance]] | None = None  # nothing to do while these stand
        self._arrived_ms: dict[Instance, int] = {}  # instances that moved here, and when
        self._last_claims: Mapping[Instance, Claim] = {}
        self._membership = Membership(join_debounce_ms=parts.coordination.join_debounce_ms)
        self._room = asyncio.Event()
        self._deliverer = Deliverer(
            DeliveryParts(
                store=parts.store,
                clock=parts.clock,
                callbacks=parts.callbacks,
                find_app=lambda app_id: self._apps.get(app_id),
                is_trusted=self.is_trusted,
                dispatch=parts.dispatch,
                retry=parts.retry,
                limits=parts.limits,
                rng=parts.rng,
            ),
            self._room.set,
        )
        self._poller = Poller(
            parts.store, parts.clock, parts.dispatch, self._owned, self._active.keys(), self._deliverer
        )
        self._sealer = Sealer(parts.store, parts.clock, parts.dispatch, self._owned, self._on_late)
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._handovers: set[asyncio.Task[None]] = set()

    @property
    def tally(self) -> Tally:
        return self._deliverer.tally

    @property
    def owned(self) -> Mapping[Instance, OwnedInstance]:
        return self._owned

    def is_trusted(self) -> bool:
        """Whether this node may act as an owner at this moment."""
        if self._parts.coordination.on_loss == "continue":
            return self._session is not None
        return self._session is not None and self._clock.boot_ms() < self._session.trusted_until_ms()

    async def start(self) -> None:
        """Join the ring and start the loops. Raises StartupError, StoreUnavailable."""
        await self._join()
        for name, step in (
            ("ownership", self._ownership_step),
            ("poll", self._poll_step),
            ("seal", self._seal_step),
        ):
            self._loops[name] = asyncio.create_task(self._loop(name, step), name=f"{self._node} {name}")

    async def stop(self) -> None:
        """Drain and leave; bounded by `drain_s`. What is left over is fired again by the next owner."""
        if self._session is None:
            return
        await self._session.leave()
        await self._end_loops()
        try:
            async with asyncio.timeout(self._settings.drain_s):
                if self._handovers:
                    await asyncio.wait(self._handovers)
                await self._hand_over(list(self._owned))
        except (TimeoutError, *_PASSING) as error:
            _log.warning("%s did not drain fully: %r", self._node, error)
        await self._deliverer.close()
        await self._session.close()

    async def kill(self) -> None:
        """End every task at once and say nothing to anybody; for tests of crashes."""
        await self._end_loops()
        for task in self._handovers:
            task.cancel()
        await self._deliverer.close()

    async def _end_loops(self) -> None:
        for task in self._loops.values():
            task.cancel()
        if self._loops:
            await asyncio.wait(self._loops.values())

    async def _loop(self, name: str, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except _PASSING as error:
                _log.warning("%s %s: %s", self._node, name, error)
                await asyncio.sleep(_BACK_OFF_S)
            except Exception:  # noqa: BLE001 - a bug in one step must not end the loop
                _log.exception("%s %s: a bug; going on", self._node, name)
                await asyncio.sleep(_BACK_OFF_S)

    async def _poll_step(self) -> None:
        begun_ms = self._clock.boot_ms()
        self._room.clear()
        await self._poller.tick()
        self._deliverer.pump()
        cost_ms = self._clock.boot_ms() - begun_ms
        # A tick that costs more than its share is followed by a longer pause, up to a bound.
        period_ms = min(
            max(self._settings.tick_ms, cost_ms / self._settings.poll_share), self._settings.max_tick_ms
        )
        pause_s = max(period_ms - cost_ms, 1) / 1000
        if self._deliverer.room() > 0:
            await asyncio.sleep(pause_s)
        else:
            await _wait_at_most(self._room.wait(), self._settings.max_tick_ms / 1000)

    async def _seal_step(self) -> None:
        if self.is_trusted() and await self._sealer.round():
            return
        await asyncio.sleep(self._settings.seal_ms / 1000)

    def _on_late(self, owned: OwnedInstance, row: Row) -> None:
        self._deliverer.tally.found_late += 1
        self._deliverer.accept(owned, row)

    async def _ownership_step(self) -> None:
        session = self._session
        if session is None or session.is_lost():
            await self._rejoin()
            return
        await self._refresh_apps()
        now_ms = self._clock.boot_ms()
        view = session.view()
        self._membership.observe(view.members, boot_ms=now_ms)
        self._membership.place(self._polled)
        wanted = self._membership.wanted_by(self._node)
        if not self._is_balanced(view, wanted):
            await self._rebalance(session, view, wanted, now_ms)
        self._last_claims = view.claims
        await _wait_at_most(session.wait_for_change(), self._settings.apps_refresh_ms / 1000)

    def _is_balanced(self, view: View, wanted: frozenset[Instance]) -> bool:
        """Whether nothing changed since this node last ran just what it should."""
        return self._balanced is not None and self._balanced[0] is view and self._balanced[1] is wanted

    async def _rebalance(
        self, session: Session, view: View, wanted: frozenset[Instance], now_ms: int
    ) -> None:
        dwell_ms = self._parts.coordination.dwell_ms
        plan = plan_ownership(
            self._node,
            view,
            wanted=wanted,
            polled=self._polled,
            running=self._owned.keys(),
            settled_in=[
                each for each in self._owned if now_ms - self._arrived_ms.get(each, -dwell_ms) >= dwell_ms
            ],
        )
        self._drop(plan.drop)
        if plan.abandon:
            await session.release(plan.abandon)
        self._begin_handover(plan.hand_over + plan.retire)
        if plan.claim:
            await self._claim(session, plan.claim)
        unwalked = [each for each in self._owned.values() if not each.is_walked and not each.is_draining]
        if unwalked:  # just claimed, or the store gave up half way last time
            await walk(self._store, self._clock, unwalked, self._settings.walk_buckets)
        if plan == OwnershipPlan() and self._owned.keys() == wanted:
            self._balanced = (view, wanted)

    async def _refresh_apps(self) -> None:
        boot_ms = self._clock.boot_ms()
        if self._apps_read_ms is None or boot_ms - self._apps_read_ms >= self._settings.apps_refresh_ms:
            apps = {app.app_id: app for app in await self._store.fetch_apps()}
            if apps != self._apps:
                self._apps = apps
                self._polled = frozenset(each for app in apps.values() for each in app.instances())
            self._apps_read_ms = boot_ms

    async def _claim(self, session: Session, instances: Sequence[Instance]) -> None:
        won = await session.claim(instances)
        terms = {instance: session.era << 48 | epoch for instance, epoch in won.items()}
        if not terms:
            return
        taken = await take_over(self._store, terms, self._marks_before_first, self._active)
        boot_ms = self._clock.boot_ms()
        for owned in taken:
            self._owned[owned.instance] = owned
            if came_from_another(owned.instance, self._last_claims, self._node):
                self._arrived_ms[owned.instance] = boot_ms

    def _marks_before_first(self, instance: Instance) -> Marks:
        app = self._apps[instance.app_id]
        return Marks(app.created_ms - 60_000, app.created_ms - 60_000)

    def _begin_handover(self, instances: Sequence[Instance]) -> None:
        fresh = [each for each in instances if not self._owned[each].is_draining]
        if fresh:
            for instance in fresh:
                self._owned[instance].stop()
            task = asyncio.create_task(self._hand_over(fresh), name=f"{self._node} handover")
            self._handovers.add(task)
            task.add_done_callback(self._handovers.discard)

    async def _hand_over(self, instances: Sequence[Instance]) -> None:
        """Stop, wait for what is in flight, publish the last `settled`, give up the claims."""
        leaving = [self._owned[each] for each in instances if each in self._owned]
        for owned in leaving:
            owned.stop()
        for owned in leaving:
            await owned.wait_quiet()
        while leaving:
            try:
                await self._release(leaving)
            except _PASSING as error:
                _log.warning("%s handover: %s", self._node, error)
                await asyncio.sleep(_BACK_OFF_S)
            # What was lost with a lease in between is not this node's to release any more.
            leaving = [each for each in leaving if self._owned.get(each.instance) is each]

    async def _release(self, leaving: Sequence[OwnedInstance]) -> None:
        await self._store.put_marks(
            [
                MarksWrite(
                    owned.instance,
                    owned.term,
                    Marks(owned.sealed_ms, max(owned.settled_ms, owned.settleable_ms())),
                )
                for owned in leaving
            ]
        )
        for owned in leaving:
            if self._owned.get(owned.instance) is owned:
                del self._owned[owned.instance]
                self._arrived_ms.pop(owned.instance, None)
        # From here on the claims are held without being run: if this call fails, the next ownership step
        # finds and releases them.
        if self._session is not None:
            await self._session.release([owned.instance for owned in leaving])

    def is_ready(self) -> bool:
        """Whether this node is in the ring and its loops run."""
        return self.is_trusted() and bool(self._loops)

    async def _join(self) -> None:
        session = self._parts.new_session()
        await session.join(self._parts.member)
        self._session = session

    async def _rejoin(self) -> None:
        """The lease is gone, and with it every claim: drop the instances and start over.

        Until a new lease is there, the old instances stay: under `on_loss = "continue"` they go on firing.
        """
        await self._join()
        self._drop(list(self._owned))

    def _drop(self, instances: Sequence[Instance]) -> None:
        """Run these no more; what is in flight ends, nothing new is sent."""
        for instance in instances:
            self._owned.pop(instance).stop()
            self._arrived_ms.pop(instance, None)


async def _wait_at_most(event: Awaitable[object], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event
    except TimeoutError:
        return
