"""Carry out what `plan` decides: claim, take over, hand over, start anew when the lease is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from ringtime_dispatcher.ownership.instance import Instances, OwnedInstance
from ringtime_dispatcher.ownership.plan import Membership, OwnershipPlan, came_from_another, plan_ownership
from ringtime_dispatcher.ownership.recovery import TermsWentBack, marks_to_begin_at, take_over, walk
from ringtime_dispatcher.rounds import Beat
from ringtime_shared.apps.feed import AppFeed, spread_of
from ringtime_shared.apps.states import APPS_TRUST_MS
from ringtime_shared.clock import Clock, require_trust
from ringtime_shared.coordination.protocol import Claim, Member, Session, View
from ringtime_shared.errors import LeaseLost, OutcomeUnknown, StartupError, StoreUnavailable
from ringtime_shared.metrics import UNMEASURED, Metrics
from ringtime_shared.metrics.names import LEASE_LOST, MOVES, TERM_REJECTED
from ringtime_shared.models.app import App, Instance
from ringtime_shared.settings import ClockSettings, CoordinationSettings, DispatchSettings
from ringtime_shared.stores.protocol import (
    AppFeedStore,
    AppStore,
    DueStore,
    Marks,
    MarkStore,
    MarksWrite,
)

_log = logging.getLogger(__name__)
BACK_OFF_S = 0.5
CLAIMS_AT_ONCE = 4_000  #: claimed and taken over, or handed over, together: marks are written for each
PASSING = (StoreUnavailable, OutcomeUnknown, LeaseLost, StartupError)  #: worth trying again after a while


class OwnerStore(AppStore, AppFeedStore, DueStore, MarkStore, Protocol):
    """What owning needs of a store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerParts:
    """What an owner is made of."""

    member: Member
    store: OwnerStore
    clock: Clock
    new_session: Callable[[], Session]  #: called again each time a lease was lost
    dispatch: DispatchSettings
    coordination: CoordinationSettings
    trust: ClockSettings  #: in the clock
    beat: Beat = field(default_factory=Beat)  #: of what the node asks of the store in any case
    metrics: Metrics = UNMEASURED


class Owner:
    """The poller instances of one node, and the lease they hang on."""

    def __init__(self, parts: OwnerParts) -> None:
        self.instances = Instances()
        self.left_out = 0  #: poller instances that nobody owns, because this node may not own more
        self._parts = parts
        self._node = parts.member.node
        self._clock = parts.clock
        self._store = parts.store
        self._session: Session | None = None
        self._steps = parts.clock.steps()  # as they were when this session began
        self._feed = AppFeed(parts.store, parts.clock, spread=spread_of(parts.member.node))
        self.apps: Mapping[str, App] = self._feed.apps  #: as this node last read them; the same always
        self._placed: dict[str, int] = {}  # app -> how many partitions of it are on the ring
        self._placed_at = -1  # turn of the feed
        self._balanced: tuple[View, frozenset[Instance]] | None = None  # nothing to do while these stand
        self._arrived_ms: dict[Instance, int] = {}  # instances that moved here, and when
        self._last_claims: Mapping[Instance, Claim] = {}
        self._membership = Membership(join_debounce_ms=parts.coordination.join_debounce_ms)
        self._handovers: set[asyncio.Task[None]] = set()
        metrics = parts.metrics
        self._count_in = metrics.count(MOVES, "in").inc
        self._count_out = metrics.count(MOVES, "out").inc
        self._count_lost = metrics.count(LEASE_LOST).inc
        self._count_ended = metrics.count(TERM_REJECTED).inc  # terms, without a handover

    @property
    def owned(self) -> Mapping[Instance, OwnedInstance]:
        """The poller instances of this node, by name."""
        return self.instances.owned

    def is_trusted(self) -> bool:
        """Whether this node may act as an owner at this moment: its lease is sure to hold, its clock is not
        in doubt, and it has read not long ago which apps are active."""
        if self._clock.doubt() is not None or self._feed.age_ms() > APPS_TRUST_MS:
            return False
        if self._parts.coordination.on_loss == "continue":
            return self._session is not None
        return self._session is not None and self._clock.boot_ms() < self._session.trusted_until_ms()

    def is_drained(self) -> bool:
        """Whether an operator wants this node to own nothing."""
        return self._session is not None and self._node in self._session.view().drained

    def is_emptied(self) -> bool:
        """Whether it is to own nothing, and there is another node that may."""
        session = self._session
        return self.is_drained() and session is not None and self._node not in session.view().eligible()

    def is_first(self) -> bool:
        """Whether this node does what one does for all: it is the first by name of those with a share."""
        session = self._session
        return (
            self.is_trusted()
            and session is not None
            and self._node == min(session.view().eligible(), default="")
        )

    def imbalance(self) -> float:
        """Return what the ring gives this node over what is its due; 1: just that."""
        return self._membership.imbalance_of(self._node)

    def is_retired(self, instance: Instance) -> bool:
        """Whether a resize is to take this instance away, and waits for its `settled`."""
        app = self.apps.get(instance.app_id)
        return app is not None and instance.partition >= app.writable

    async def join(self) -> None:
        """Take a lease and enter the ring, unless the clock is in doubt. Raises StartupError."""
        if self._clock.doubt() is not None:
            return
        self._steps = self._clock.steps()
        session = self._parts.new_session()
        await session.join(self._parts.member)
        self._session = session

    async def step(self) -> None:
        """Compare what this node should run with what it runs, act, and wait for news."""
        if self._clock.doubt() is not None or self._clock.steps() != self._steps:
            await self._stand_down()
            return
        session = self._session
        if session is None or session.is_lost():
            await self._rejoin()
            return
        # Half of the pause, as a beat may have ended it early, and news of the ring may come at any time.
        await self._refresh_apps(self._parts.dispatch.apps_refresh_ms / 2)
        now_ms = self._clock.boot_ms()
        view = session.view()
        self._membership.observe(view, boot_ms=now_ms)
        self._update_ring()
        await asyncio.sleep(0)  # with many instances each of these takes a while: others go in between
        wanted = self._membership.wanted_by(self._node)
        await asyncio.sleep(0)
        if not self._is_balanced(view, wanted):
            await self._rebalance(session, view, wanted, now_ms)
        self._last_claims = view.claims
        await self._wait_for_news(session)

    async def _wait_for_news(self, session: Session) -> None:
        """Return when there is some of the ring, or the apps are to be looked at again."""
        with suppress(TimeoutError):
            async with self._parts.beat.pause(self._parts.dispatch.apps_refresh_ms / 1000):
                await session.wait_for_change()

    async def keep_apps(self) -> None:
        """Read the apps again if a step takes long, as one that walks through days does."""
        await self._refresh_apps(APPS_TRUST_MS // 3)
        await asyncio.sleep(APPS_TRUST_MS / 10_000)

    async def leave(self) -> None:
        """Leave the ring; the claims stay until they are handed over."""
        if self._session is not None:
            await self._session.leave()

    async def hand_over_all(self) -> None:
        """Hand over everything this node runs."""
        if self._handovers:
            await asyncio.wait(self._handovers)
        await self._hand_over(list(self.owned))

    async def close(self) -> None:
        """Give the lease back."""
        if self._session is not None:
            await self._session.close()

    def kill(self) -> None:
        """Drop everything as a crash would."""
        for task in self._handovers:
            task.cancel()

    async def _rejoin(self) -> None:
        """The lease is gone, and with it every claim: drop the instances and start over.

        Until a new lease is there, the old instances stay: under `on_loss = "continue"` they go on firing.
        """
        lost = self._session
        await self.join()
        if lost is not None:
            self._count_lost()
        self._count_ended(len(self.owned))
        self._drop(list(self.owned))

    async def _stand_down(self) -> None:
        """The clock is in doubt, or was set: give everything up without publishing anything.

        Others may own it meanwhile. What this node owns afterwards it owns under a new term, which lowers
        marks that turn out to lie in the future; within a term they could not be.
        """
        self._steps = self._clock.steps()
        session, self._session = self._session, None
        if session is not None:
            self._count_lost()
        self._drop(list(self.owned))
        if session is None:
            await asyncio.sleep(BACK_OFF_S)
            return
        _log.error("%s gives up its poller instances: %s", self._node, self._clock.doubt() or "clock set")
        await session.close()

    def _note_left_out(self, count: int) -> None:
        if count and count != self.left_out:
            _log.error(
                "%s: %d poller instances have no owner, because this node may own %d (dispatch.max_owned) and"
                " runs %d: nothing of them fires; start a dispatcher, or raise the setting",
                self._node,
                count,
                self._parts.member.most,
                len(self.owned),
            )
        self.left_out = count

    def _is_balanced(self, view: View, wanted: frozenset[Instance]) -> bool:
        """Whether nothing changed since this node last ran just what it should."""
        return self._balanced is not None and self._balanced[0] is view and self._balanced[1] is wanted

    async def _rebalance(
        self, session: Session, view: View, wanted: frozenset[Instance], now_ms: int
    ) -> None:
        # Dwelling keeps a node that comes and goes from dragging instances along; a drain is an order.
        dwell_ms = 0 if self._node in view.drained else self._parts.coordination.dwell_ms
        arrived = {each for each, since_ms in self._arrived_ms.items() if now_ms - since_ms < dwell_ms}
        plan = plan_ownership(
            self._node,
            view,
            wanted=wanted,
            polled=_Polled(self._placed),
            running=self.owned.keys(),
            settled_in=self.owned.keys() - arrived if arrived else self.owned.keys(),
            most=self._parts.member.most,
        )
        self._note_left_out(plan.left_out)
        self._count_ended(len(plan.drop))
        self._drop(plan.drop)
        if plan.abandon:
            await session.release(plan.abandon)
        self._begin_handover(plan.hand_over + plan.retire)
        for start in range(0, len(plan.claim), CLAIMS_AT_ONCE):
            await self._claim(session, plan.claim[start : start + CLAIMS_AT_ONCE])
        unwalked = [each for each in self.owned.values() if not each.is_walked and not each.is_draining]
        if unwalked:  # just claimed, or the store gave up half way last time
            await walk(self._store, self._clock, self.instances, unwalked, self._parts.dispatch.walk_buckets)
        if plan == OwnershipPlan() and self.owned.keys() == wanted:
            self._balanced = (view, wanted)

    async def _refresh_apps(self, age_ms: float) -> None:
        looked_ms = self._feed.looked_ms_ago()
        if looked_ms is None or looked_ms >= age_ms:
            await self._feed.refresh()

    def _update_ring(self) -> None:
        """Put on the ring what is polled now, take off what is so no more."""
        if self._feed.turn == self._placed_at:
            return
        self._placed_at = self._feed.turn
        polled = {app.app_id: app.polled for app in self.apps.values() if app.active and not app.damage}
        if polled != self._placed:
            self._membership.place(_beyond(self._placed, polled), _beyond(polled, self._placed))
            self._placed = polled

    async def _claim(self, session: Session, instances: Sequence[Instance]) -> None:
        won = await session.claim(instances)
        terms = {instance: session.era << 48 | epoch for instance, epoch in won.items()}
        if not terms:
            return
        try:
            taken = await take_over(self._store, terms, self._begin_at)
        except TermsWentBack as error:
            _log.error(
                "%s: %s: the coordination service was restored; joining anew, in a new era", self._node, error
            )
            await session.forget_history()
            raise LeaseLost(str(error)) from error
        boot_ms = self._clock.boot_ms()
        self._count_in(len(taken))
        for owned in taken:
            self.instances.add(owned)
            if came_from_another(owned.instance, self._last_claims, self._node):
                self._arrived_ms[owned.instance] = boot_ms

    def _begin_at(self, instance: Instance, stored: Marks | None) -> Marks:
        """Raises ClockInDoubt: no marks may be judged then."""
        require_trust(self._clock)
        now_ms = self._clock.now_ms()
        if stored is None:
            app = self.apps.get(instance.app_id)
            before_first_ms = (now_ms if app is None else app.created_ms) - 60_000  # None: it is gone since
            stored = Marks(before_first_ms, before_first_ms)
        trust = self._parts.trust
        return marks_to_begin_at(
            stored,
            now_ms=now_ms,
            most_ahead_ms=2 * trust.max_skew_ms,
            look_back_ms=trust.look_back_s * 1_000,
        )

    def _begin_handover(self, instances: Sequence[Instance]) -> None:
        fresh = [each for each in instances if not self.owned[each].is_draining]
        if fresh:
            for instance in fresh:
                self.owned[instance].stop()
            task = asyncio.create_task(self._hand_over(fresh), name=f"{self._node} handover")
            self._handovers.add(task)
            task.add_done_callback(self._handovers.discard)

    async def _hand_over(self, instances: Sequence[Instance]) -> None:
        """Stop, wait for what is in flight, publish the last `settled`, give up the claims."""
        leaving = [self.owned[each] for each in instances if each in self.owned]
        for owned in leaving:
            owned.stop()
        for owned in leaving:
            await owned.wait_quiet()
        while leaving:
            try:
                await self._release(leaving[:CLAIMS_AT_ONCE])  # so that others take over meanwhile
            except PASSING as error:
                _log.warning("%s handover: %s", self._node, error)
                await asyncio.sleep(BACK_OFF_S)
            except Exception:  # noqa: BLE001 - a bug must not leave instances that neither fire nor move
                _log.exception("%s handover: a bug; going on", self._node)
                await asyncio.sleep(BACK_OFF_S)
            # What was lost with a lease in between is not this node's to release any more.
            leaving = [each for each in leaving if self.owned.get(each.instance) is each]

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
            if self.owned.get(owned.instance) is owned:
                self._count_out()
                self.instances.remove(owned.instance)
                self._arrived_ms.pop(owned.instance, None)
        # From here on the claims are held without being run: if this call fails, the next ownership step
        # finds and releases them.
        if self._session is not None:
            await self._session.release([owned.instance for owned in leaving])

    def _drop(self, instances: Sequence[Instance]) -> None:
        """Run these no more; what is in flight ends, nothing new is sent."""
        for instance in instances:
            self._count_out()
            self.instances.remove(instance)
            self._arrived_ms.pop(instance, None)


class _Polled:
    """The poller instances of all active apps, without an object for each."""

    def __init__(self, partitions: Mapping[str, int]) -> None:
        self._partitions = partitions

    def __contains__(self, instance: object) -> bool:
        return isinstance(instance, Instance) and instance.partition < self._partitions.get(
            instance.app_id, 0
        )


def _beyond(some: Mapping[str, int], more: Mapping[str, int]) -> list[Instance]:
    """Return the poller instances that are in `more` and not in `some`, both from app to partitions."""
    return [
        Instance(app_id, partition)
        for app_id, partitions in more.items()
        for partition in range(some.get(app_id, 0), partitions)
    ]


async def wait_at_most(event: Awaitable[object], seconds: float) -> None:
    """Await `event`, but no longer than `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await event
    except TimeoutError:
        return
