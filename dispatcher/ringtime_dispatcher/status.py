"""What a node says of itself: gathered every few seconds, and written where those find it who cannot ask.

Ingest and the dashboard know no dispatcher; they read the store. A node writes one short row there, over its
own last one. Nothing depends on it: a write that fails is forgotten, and the next one says it all. What is
gathered has other sources (counts, queues, breakers, marks) and keeps no books beside them. With 100,000
poller instances and 10,000 destinations in trouble it takes 50 ms of CPU, a slice of 1,000 at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from heapq import nlargest, nsmallest
from typing import NamedTuple

from ringtime_dispatcher.delivery.breaker import Breaker
from ringtime_dispatcher.delivery.counts import Tally
from ringtime_dispatcher.delivery.deliverer import Deliverer
from ringtime_dispatcher.delivery.ledger import Ledger
from ringtime_dispatcher.ownership.instance import OwnedInstance
from ringtime_dispatcher.ownership.keeper import Owner
from ringtime_shared.callbacks.foreign import is_own_cancel
from ringtime_shared.clock import Clock
from ringtime_shared.coordination.protocol import Member
from ringtime_shared.fairness.fair_queue import LaneState
from ringtime_shared.models.node_status import (
    ERROR_CHARS,
    LATE_S,
    MOST_APPS,
    MOST_OVER,
    MOST_TROUBLES,
    MOST_WORST,
    TROUBLE_STATES,
    AppWork,
    NodeStatus,
    OverQuota,
    Trouble,
    Work,
)
from ringtime_shared.schedules.forecast import Minute
from ringtime_shared.settings import DispatchSettings
from ringtime_shared.stores.protocol import NodeStatusStore

_WINDOW_MS = 60_000  #: what was done is counted over so long
_MOST_COUNTS = 100  #: remembered; where it is asked more often, over less
_AT_ONCE = 1_000  #: looked at without letting anybody else run: about a millisecond
_SLOW_MS = 1_000  #: a row that waits longer for a destination with attempts under way is worth a word
_WRITE_S = 10.0
_log = logging.getLogger(__name__)
_ORDER = {state: n for n, state in enumerate(TROUBLE_STATES)}
Observe = Callable[[], Awaitable[NodeStatus]]


class _Counts(NamedTuple):
    boot_ms: int
    tally: Tally
    lags: tuple[int, ...]
    apps: Mapping[str, tuple[int, int, int]]  #: missed, given up, late


@dataclass(slots=True)
class _Queues:
    """What waits and is under way, put together."""

    waiting: int = 0
    under_way: int = 0
    parked: int = 0
    troubles: int = 0
    of_apps: Counter[str] = field(default_factory=Counter)  #: of these


class _Case:
    """A destination that is not well: cheap, for there may be 10,000, of which fifty are told."""

    __slots__ = ("breaker", "held", "key", "lane", "state")

    def __init__(
        self, key: tuple[str, str], breaker: Breaker | None, lane: LaneState | None, now_ms: int
    ) -> None:
        self.key = key
        self.breaker = breaker
        self.lane = lane
        self.held = 0 if lane is None else lane.waiting
        self.state = "slow"
        if breaker is None:
            return
        self.held += breaker.parked(now_ms)
        if not breaker.is_closed:
            self.state = "open" if breaker.opens_in_ms(now_ms) else "half open"
        elif breaker.failures:
            self.state = "failing"
        elif lane is None:
            self.state = "recovering"

    def rank(self) -> tuple[int, int, int]:
        """The worst has the least."""
        return _ORDER[self.state], -self.held, 0 if self.breaker is None else -self.breaker.failures


class Observer:
    """Looks at the parts of one node."""

    def __init__(
        self,
        member: Member,
        version: str,
        owner: Owner,
        deliverer: Deliverer,
        ledger: Ledger,
        clock: Clock,
        settings: DispatchSettings,
    ) -> None:
        self._member = member
        self._version = version
        self._owner = owner
        self._deliverer = deliverer
        self._ledger = ledger
        self._clock = clock
        self._settings = settings
        self._since_ms = clock.now_ms()
        self._counts = deque([self._count({})], maxlen=_MOST_COUNTS)  # nothing was done yet

    async def observe(self, *, is_ready: bool, is_draining: bool) -> NodeStatus:
        """Return what there is to say now."""
        member, owner, settings = self._member, self._owner, self._settings
        work, worst = self._work(await self._deliverer.counts.gone_wrong(LATE_S))
        queues, troubles = await self._look_at_queues()
        oldest_ms, mark_ms, apps = await self._look_at_owned(list(owner.owned.values()))
        now_ms = self._clock.now_ms()
        return NodeStatus(
            node=member.node,
            at_ms=now_ms,
            version=self._version,
            address=member.address,
            since_ms=self._since_ms,
            capacity=member.capacity,
            most=member.most,
            is_ready=is_ready,
            is_draining=is_draining,
            is_drained=owner.is_drained(),
            clock_doubt=self._clock.doubt() or "",
            work=work,
            worst_apps=worst,
            loaded=sum(self._ledger.held.values()),
            is_short=self._ledger.is_short,
            backlog=queues.waiting,
            oldest_due_ms=0 if oldest_ms is None else max(now_ms - oldest_ms, 0),
            in_flight=queues.under_way,
            most_in_flight=settings.max_in_flight,
            parked=queues.parked,
            mark_age_ms=0 if mark_ms is None else max(now_ms - mark_ms, 0),
            owned=apps.total(),
            left_out=owner.left_out,
            apps=len(apps),
            owned_by_app=dict(apps.most_common(MOST_APPS)),
            troubles=tuple(troubles),
            troubles_in_all=queues.troubles,
            troubles_of_app={each.app_id: queues.of_apps[each.app_id] for each in troubles},
        )

    def _count(self, apps: Mapping[str, tuple[int, int, int]]) -> _Counts:
        counts = self._deliverer.counts
        return _Counts(
            self._clock.boot_ms(),
            replace(counts.tally),
            tuple(counts.lags.counts),
            apps,
        )

    def _work(self, apps: Mapping[str, tuple[int, int, int]]) -> tuple[Work, tuple[AppWork, ...]]:
        """Return what was done since the oldest count that is not older than the window, or the last one."""
        last = self._count(apps)
        while len(self._counts) > 1 and last.boot_ms - self._counts[0].boot_ms > _WINDOW_MS:
            self._counts.popleft()
        first = self._counts[0]
        self._counts.append(last)
        done = {
            each.name: getattr(last.tally, each.name) - getattr(first.tally, each.name)
            for each in fields(Tally)
            if each.name in Work.__slots__
        }
        lags = tuple(now - before for now, before in zip(last.lags, first.lags, strict=True))
        work = Work(window_ms=last.boot_ms - first.boot_ms, lags=lags, **done)
        return work, _worst(first.apps, last.apps)

    async def _look_at_queues(self) -> tuple[_Queues, list[Trouble]]:
        turns, boot_ms = self._deliverer.turns, self._clock.boot_ms
        queues = _Queues()
        waiting: dict[tuple[str, str], LaneState] = {}
        for n, lane in enumerate(turns.lanes(), start=1):
            queues.waiting += lane.waiting
            queues.under_way += lane.under_way
            if lane.oldest_ms is not None and lane.under_way and boot_ms() - lane.oldest_ms >= _SLOW_MS:
                waiting[lane.app_id, lane.destination] = lane
            if n % _AT_ONCE == 0:
                await asyncio.sleep(0)
        cases: list[_Case] = []
        for n, (app_id, destination, breaker) in enumerate(turns.breakers(), start=1):
            now_ms, key = boot_ms(), (app_id, destination)
            queues.parked += breaker.parked(now_ms)
            lane_there = waiting.pop(key, None)
            if lane_there is not None or not breaker.is_idle(now_ms):
                cases.append(_Case(key, breaker, lane_there, now_ms))
            if n % _AT_ONCE == 0:
                await asyncio.sleep(0)
        cases += [_Case(key, None, lane, boot_ms()) for key, lane in waiting.items()]
        queues.troubles = len(cases)
        told = await _worst_of_each(cases, queues.of_apps)
        return queues, [self._tell(each) for each in told]

    def _tell(self, case: _Case) -> Trouble:
        now_ms, breaker, lane = self._clock.boot_ms(), case.breaker, case.lane
        trouble = Trouble(
            app_id=case.key[0],
            destination=case.key[1][:ERROR_CHARS],
            state=case.state,
            most_in_flight=self._settings.destination_in_flight,
            waiting=0 if lane is None else lane.waiting,
            oldest_wait_ms=now_ms - lane.oldest_ms if lane is not None and lane.oldest_ms is not None else 0,
            in_flight=0 if lane is None else lane.under_way,
        )
        if breaker is None:
            return trouble
        age_ms = None if breaker.failed_ms is None else now_ms - breaker.failed_ms
        return replace(
            trouble,
            failures=breaker.failures,
            parked=breaker.parked(now_ms),
            opens_in_ms=breaker.opens_in_ms(now_ms),
            error=breaker.error[:ERROR_CHARS],
            failed_ms=0 if age_ms is None else self._clock.now_ms() - age_ms,
        )

    async def _look_at_owned(self, owned: list[OwnedInstance]) -> tuple[int | None, int | None, Counter[str]]:
        """Return the oldest slot without an outcome, the least `settled`, and how many are of which app."""
        oldest_ms: int | None = None
        mark_ms: int | None = None
        apps = Counter[str]()
        for start in range(0, len(owned), _AT_ONCE):
            part = owned[start : start + _AT_ONCE]
            apps.update(each.instance.app_id for each in part)
            least_ms = min(each.settled_ms for each in part)
            mark_ms = least_ms if mark_ms is None else min(mark_ms, least_ms)
            for each in part:
                # Open rows count also where all has been read: such a row is what holds `settled` back.
                each_ms = each.oldest_ms() if each.has_rows or each.has_open_rows else None
                if each_ms is not None and (oldest_ms is None or each_ms < oldest_ms):
                    oldest_ms = each_ms
            await asyncio.sleep(0)
        return oldest_ms, mark_ms, apps


async def _worst_of_each(cases: Sequence[_Case], of_apps: Counter[str]) -> list[_Case]:
    """Return those that are told, the worst first: the worst of each app, then the next of each. An app with
    a thousand that are dead hides no other's. Count them by app, too."""
    by_app: dict[str, list[tuple[tuple[int, int, int], int]]] = {}
    for start in range(0, len(cases), _AT_ONCE):
        for n in range(start, min(start + _AT_ONCE, len(cases))):
            by_app.setdefault(cases[n].key[0], []).append((cases[n].rank(), n))
        await asyncio.sleep(0)
    turns = []
    for app_id, ranked in by_app.items():
        of_apps[app_id] = len(ranked)
        turns += [(turn, *each) for turn, each in enumerate(nsmallest(MOST_TROUBLES, ranked))]
        if len(turns) >= _AT_ONCE:
            turns = nsmallest(MOST_TROUBLES, turns)
            await asyncio.sleep(0)
    chosen = sorted(each[1:] for each in nsmallest(MOST_TROUBLES, turns))
    return [cases[n] for _, n in chosen]


def _worst(
    before: Mapping[str, tuple[int, int, int]], now: Mapping[str, tuple[int, int, int]]
) -> tuple[AppWork, ...]:
    """Return the apps of which most went wrong in between."""
    gone = ((app_id, counts, before.get(app_id, (0, 0, 0))) for app_id, counts in now.items())
    wrong = ((app_id, [max(a - b, 0) for a, b in zip(*both, strict=True)]) for app_id, *both in gone)
    worst = nlargest(MOST_WORST, (each for each in wrong if any(each[1])), key=lambda each: each[1])
    return tuple(
        AppWork(app_id=app_id, missed=missed, failed=failed, late=late)
        for app_id, (missed, failed, late) in worst
    )


class Reporter:
    """Writes what a node says of itself, from `start` to `close`."""

    def __init__(
        self,
        observe: Observe,
        store: NodeStatusStore,
        period_ms: int,
        over_quota: Callable[[], Mapping[str, Minute]] = dict,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """
        Args:
            observe: returns what there is to say.
            period_ms: between two writes, a second at least; 0: none is made.
            over_quota: returns the apps with a minute ahead that their quota does not carry.
            pause: passes about so many seconds.
        """
        self._pause = pause
        self._over_quota = over_quota
        self._observe = observe
        self._store = store
        self._period_s = max(period_ms, 1_000) / 1_000 if period_ms else 0.0
        self._task: asyncio.Task[None] | None = None
        self._node = ""

    def start(self) -> None:
        if self._period_s:
            self._task = asyncio.create_task(self._report(), name="node status")

    async def close(self) -> None:
        """Take away what was written last: this node ends in order. Raises nothing."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        with suppress(Exception):  # it is forgotten by itself, in a while
            async with asyncio.timeout(_WRITE_S):
                await self._store.drop_node_status(self._node)

    async def _report(self) -> None:
        is_failing = False
        while True:
            try:
                async with asyncio.timeout(_WRITE_S):
                    status = await self._observe()
                    self._node = status.node
                    await self._store.put_node_status(replace(status, over_quota=self._first_over()))
                is_failing = False
            except (Exception, asyncio.CancelledError) as error:
                if is_own_cancel(error):
                    raise
                if not is_failing:  # said once: others say what keeps the store from answering
                    _log.warning("the status of this node is not written: %r", error)
                is_failing = True
            await self._pause(self._period_s)

    def _first_over(self) -> tuple[OverQuota, ...]:
        over = sorted(self._over_quota().items(), key=lambda each: each[1].bucket)
        return tuple(
            OverQuota(app_id=app_id, minute_ms=minute.start_ms, due=minute.due)
            for app_id, minute in over[:MOST_OVER]
        )
