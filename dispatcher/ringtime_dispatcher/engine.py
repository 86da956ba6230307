"""One dispatcher node: its loops, and the order in which they start and stop.

Stop order: leave the ring, stop reading and sealing, drain what is in flight, publish the last marks,
release, give back the lease. The lease is kept alive until the draining is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from random import Random
from typing import TYPE_CHECKING, Protocol

from ringtime_dispatcher.delivery.deliverer import Deliverer, DeliveryParts
from ringtime_dispatcher.delivery.ledger import Ledger
from ringtime_dispatcher.delivery.recording import persist
from ringtime_dispatcher.levels import NodeLevels
from ringtime_dispatcher.ownership.capacity import most_owned
from ringtime_dispatcher.ownership.instance import OwnedInstance
from ringtime_dispatcher.ownership.keeper import BACK_OFF_S, PASSING, Owner, OwnerParts, wait_at_most
from ringtime_dispatcher.reading.polling import Poller
from ringtime_dispatcher.reading.sealing import Sealer
from ringtime_dispatcher.rounds import Beat
from ringtime_dispatcher.status import Observer
from ringtime_shared.callbacks.foreign import is_own_cancel
from ringtime_shared.callbacks.protocol import CallbackType
from ringtime_shared.clock import Clock
from ringtime_shared.coordination.protocol import Member, Session
from ringtime_shared.encryption.keyring import KeyRing
from ringtime_shared.metrics import UNMEASURED, Metrics
from ringtime_shared.metrics.names import LEFT_OUT, READY, RING_IMBALANCE
from ringtime_shared.metrics.store_calls import measured_store
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.node_status import NodeStatus
from ringtime_shared.settings import (
    AppLimits,
    ClockSettings,
    CoordinationSettings,
    DispatchSettings,
    IngestSettings,
    RetrySettings,
    Settings,
)
from ringtime_shared.stores.protocol import (
    AppFeedStore,
    AppStore,
    ClaimStore,
    DamageStore,
    DeadLetterStore,
    DueStore,
    MarkStore,
    MetaStore,
    RecurringStore,
    ScheduleStore,
)

if TYPE_CHECKING:
    from ringtime_shared.traces.spans import Spans

_log = logging.getLogger(__name__)
_VERSION = version("ringtime")


class DispatchStore(
    AppStore,
    AppFeedStore,
    ScheduleStore,
    DueStore,
    MarkStore,
    DeadLetterStore,
    DamageStore,
    RecurringStore,
    ClaimStore,
    MetaStore,
    Protocol,
):
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
    commit_margin_ms: int = IngestSettings().commit_margin_ms  #: of those who file rows
    retry: RetrySettings = field(default_factory=RetrySettings)
    limits: AppLimits = field(default_factory=AppLimits)
    coordination: CoordinationSettings = field(default_factory=CoordinationSettings)
    trust: ClockSettings = field(default_factory=ClockSettings)  #: in the clock
    ring: KeyRing | None = None  #: decrypts secrets
    spans: Spans | None = None  #: begins those of attempts; None: there are none
    rng: Random = field(default_factory=Random)
    beat: Beat = field(default_factory=Beat)
    metrics: Metrics = UNMEASURED


def make_dispatcher(
    settings: Settings,
    *,
    node: str,
    address: str = "",
    store: DispatchStore,
    clock: Clock,
    new_session: Callable[[], Session],
    callbacks: Mapping[str, CallbackType],
    ring: KeyRing | None = None,
    spans: Spans | None = None,
    beat: Beat | None = None,
    metrics: Metrics = UNMEASURED,
) -> Dispatcher:
    """Return a dispatcher as the settings have it; see `fit_to_machine` for what comes before.

    Args:
        address: where it answers to health checks; empty: nowhere.
        ring: decrypts secrets of rows and apps.
        spans: begins those of attempts; None: there are none.
        beat: struck when the store is asked for what has come; None: nobody else waits for that.
    """
    return Dispatcher(
        DispatcherParts(
            member=Member(
                node=node,
                address=address,
                capacity=settings.node.capacity,
                version=_VERSION,
                most=most_owned(settings.dispatch),
            ),
            store=measured_store(store, metrics),
            clock=clock,
            new_session=new_session,
            callbacks=callbacks,
            dispatch=settings.dispatch,
            commit_margin_ms=settings.ingest.commit_margin_ms,
            retry=settings.retry,
            limits=settings.limits,
            coordination=settings.coordination,
            trust=settings.clock,
            ring=ring,
            spans=spans,
            beat=beat or Beat(),
            metrics=metrics,
        )
    )


class Dispatcher:
    """Create it, `start` it, `stop` it. `kill` drops everything as a crash would."""

    def __init__(self, parts: DispatcherParts) -> None:
        self._parts = parts
        self._node = parts.member.node
        self._clock = parts.clock
        self._store = parts.store
        self._settings = parts.dispatch
        self._owner = Owner(
            OwnerParts(
                member=parts.member,
                store=parts.store,
                clock=parts.clock,
                new_session=parts.new_session,
                dispatch=parts.dispatch,
                coordination=parts.coordination,
                trust=parts.trust,
                beat=parts.beat,
                metrics=parts.metrics,
            )
        )
        self._room = asyncio.Event()
        self._ledger = Ledger(parts.dispatch.max_loaded, self._room.set)
        self._deliverer = Deliverer(
            DeliveryParts(
                store=parts.store,
                clock=parts.clock,
                callbacks=parts.callbacks,
                find_app=self._owner.apps.get,
                is_trusted=self.is_trusted,
                dispatch=parts.dispatch,
                retry=parts.retry,
                limits=parts.limits,
                rng=parts.rng,
                slots_ahead=self._owner.instances.slots_ahead,
                sure_ahead=self._owner.instances.sure_ahead,
                ring=parts.ring,
                spans=parts.spans,
                metrics=parts.metrics,
            ),
            self._ledger,
        )
        self._poller = Poller(
            parts.store,
            parts.clock,
            parts.dispatch,
            self._owner.instances,
            self._deliverer,
            self._ledger.room,
            self._ledger.is_full,
            parts.commit_margin_ms,
            parts.beat.strike,
        )
        self._sealer = Sealer(
            parts.store,
            parts.clock,
            parts.dispatch,
            self._owner.instances,
            self._deliverer,
            self._owner.is_retired,
            self._deliverer.counts.found_late,
        )
        self._observer = Observer(
            parts.member, _VERSION, self._owner, self._deliverer, self._ledger, parts.clock, parts.dispatch
        )
        self._is_stopping = False
        self._loops: dict[str, asyncio.Task[None]] = {}
        levels = NodeLevels(self._owner.instances, parts.clock, parts.dispatch.read_ahead_ms)
        levels.register(parts.metrics)
        parts.metrics.level(RING_IMBALANCE, self._owner.imbalance)
        parts.metrics.level(LEFT_OUT, lambda: self.left_out)
        parts.metrics.level(READY, self.is_ready)

    @property
    def owned(self) -> Mapping[Instance, OwnedInstance]:
        return self._owner.owned

    @property
    def apps(self) -> Mapping[str, App]:
        """What this node has read of the apps."""
        return self._owner.apps

    @property
    def left_out(self) -> int:
        """How many poller instances have no owner, because this node may not own more."""
        return self._owner.left_out

    def fronts(self) -> dict[str, int]:
        """Return up to which slot, in ms, each poller instance with rows is read; idle ones are up to now."""
        horizon_ms = self._clock.now_ms() + self._settings.read_ahead_ms
        return {str(each.instance): each.sealable_ms(horizon_ms) for each in self._owner.instances.active()}

    async def observe(self) -> NodeStatus:
        """Return what this node says of itself to those who cannot ask it."""
        return await self._observer.observe(is_ready=self.is_ready(), is_draining=self._is_stopping)

    def is_trusted(self) -> bool:
        """Whether this node may act as an owner at this moment."""
        return self._owner.is_trusted()

    def is_emptied(self) -> bool:
        """Whether this node is drained and has no share of the ring for it."""
        return self._owner.is_emptied()

    def is_first(self) -> bool:
        """Whether this node does what one node does for all."""
        return self._owner.is_first()

    async def start(self) -> None:
        """Join the ring and start the loops, when the store has said what was sent before it was put back.
        Raises StartupError."""
        self._deliverer.sent_until_ms = await persist(self._store.fetch_sent_until)
        await self._owner.join()
        for name, step in (
            ("ownership", self._owner.step),
            ("apps", self._owner.keep_apps),
            ("poll", self._poll_step),
            ("seal", self._seal_step),
        ):
            self._loops[name] = asyncio.create_task(self._loop(name, step), name=f"{self._node} {name}")
            self._loops[name].add_done_callback(_log_end)

    async def stop(self) -> None:
        """Drain and leave; bounded by `drain_s`. What is left over is fired again by the next owner."""
        self._is_stopping = True
        await self._owner.leave()
        await self._end_loops()
        try:
            async with asyncio.timeout(self._settings.drain_s):
                await self._owner.hand_over_all()
        except (TimeoutError, *PASSING) as error:
            _log.warning("%s did not drain fully: %r", self._node, error)
        await self._deliverer.close()
        await self._owner.close()

    async def kill(self) -> None:
        """End every task at once and say nothing to anybody; for tests of crashes."""
        await self._end_loops()
        self._owner.kill()
        await self._deliverer.close()

    async def _end_loops(self) -> None:
        for task in self._loops.values():
            task.remove_done_callback(_log_end)
            task.cancel()
        if self._loops:
            await asyncio.wait(self._loops.values())

    async def _loop(self, name: str, step: Callable[[], Awaitable[None]]) -> None:
        failed = 0  # steps, one after the other
        while True:
            try:
                await step()
                if failed:
                    _log.info("%s %s: goes on; steps that failed: %d", self._node, name, failed)
                    failed = 0
            except PASSING as error:
                failed += 1
                _log.warning("%s %s: %s", self._node, name, error)
                await asyncio.sleep(BACK_OFF_S)
            except (Exception, asyncio.CancelledError) as error:  # a bug in one step must not end the loop
                if is_own_cancel(error):
                    raise
                _log.exception("%s %s: a bug; going on", self._node, name)
                await asyncio.sleep(BACK_OFF_S)

    async def _poll_step(self) -> None:
        begun_ms = self._clock.boot_ms()
        self._room.clear()
        is_more = await self._poller.tick()
        self._deliverer.pump()
        if is_more:  # the tick has ended for its time alone; what the store takes, others have meanwhile
            await asyncio.sleep(0)
            return
        cost_ms = self._clock.boot_ms() - begun_ms
        # A tick that costs more than its share is followed by a longer pause, up to a bound.
        period_ms = min(
            max(self._settings.tick_ms, cost_ms / self._settings.poll_share), self._settings.max_tick_ms
        )
        pause_s = max(period_ms - cost_ms, 1) / 1000
        if self._ledger.is_short:  # go on as soon as there is room, within the same share of the time
            least_s = min(cost_ms * (1 / self._settings.poll_share - 1) / 1000, pause_s)
            await asyncio.sleep(least_s)
            await wait_at_most(self._room.wait(), pause_s - least_s)
        else:
            await asyncio.sleep(pause_s)

    async def _seal_step(self) -> None:
        if self.is_trusted() and await self._sealer.round():
            return
        await asyncio.sleep(self._settings.seal_ms / 1000)

    def is_ready(self) -> bool:
        """Whether this node is in the ring and its loops run."""
        return (
            self.is_trusted() and bool(self._loops) and not any(map(asyncio.Task.done, self._loops.values()))
        )


def _log_end(loop: asyncio.Task[None]) -> None:
    """Say aloud that a loop ended which nobody stopped; the node is not ready from then on."""
    error = None if loop.cancelled() else loop.exception()
    _log.critical("%s has ended; this node cannot work without it", loop.get_name(), exc_info=error)
