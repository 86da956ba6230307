"""What is due and waits for its turn: fair between apps, then between an app's destinations.

Each app with something to start takes turns, `weight` starts a turn; within an app its destinations do. What
waits for one destination goes by its `Rank`, and of one rank in the order in which it was put.
An app at its cap, out of its rate (`pace`) or of the permits it may have, and a destination at its cap, step
out of the rotation until an attempt ends or time passes, so nobody waits behind who cannot move.
Every operation takes constant time, but for the logarithm of the number of apps whose rate is spent.

**Permits.** How many attempts each app may have under way is so bounded that those who wait long leave
permits to the others. A destination is **quick** if its latest attempt ended within a second and none has
been under way for longer. Every other one, slow, hanging, or not heard of yet, may hold a permit for as long
as its timeout says, and nothing can take it back. So the permits of a node (M) are given out by two rules, of
which a fifth (K) of the permits is kept back:

| an app may start one more | if it holds so many permits by this rule, h | and |
|---|---|---|
| for a destination that is not quick | h < M - K - U, or h = 0 | U < M - K/2 |
| for one that is quick | h < F - K, or h < 8 | F > 0 |

F is how many permits are free, U how many are held by starts of the first rule, of all apps.

What follows:

1. U <= M - K/2. By `h < M - K - U` it ends at M - K; beyond that each app gets one, and none from M - K/2 on.
   So however many apps hang, and for however long, K/2 permits (50 of 500) go to quick destinations alone.
2. A new app, of which nothing is known, gets its first permit at once as long as fewer than K/2 apps that
   hang hold one of the last. That one answer makes its destination quick.
3. An app alone holds (M - K)/2 permits (200 of 500) by either rule, of n apps that come together each
   (M - K)/(n + 1): what one may take shrinks with what all have taken.
4. A permit held for a quick destination is free again within a second, or the destination is not quick any
   more. Where all are quick, every app has 8 permits and its turns by weight, and no permit stays unused.
5. Apps that were quick and hang all at once hold what they may by the second rule until their timeouts end:
   at most max(8, what is free less K) each.

Sources. Of turns: weighted round robin over active queues, as in M. Shreedhar and G. Varghese, "Efficient
Fair Queuing using Deficit Round Robin", SIGCOMM 1995, with every item of size one. Of permits that shrink
with what is free: A. Choudhury and E. Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet
Switches", IEEE/ACM Transactions on Networking 6(2), 1998, with alpha = 1.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from enum import Enum
from heapq import heappop, heappush
from typing import Generic, NamedTuple, TypeVar

from ringtime_shared.fairness.pace import Pace

T = TypeVar("T", bound=Hashable)
_QUICK, _OTHER = 0, 1  #: the kinds of destinations
_QUICK_MS = 1_000
_SURE = 8  #: permits that an app may have for quick destinations as long as one is free
_MOST_KNOWN = 10_000  #: quick destinations remembered while nothing is due for them


@dataclass(frozen=True, slots=True)
class Share:
    """What one app may use of a node."""

    in_flight: int  #: attempts under way at once
    per_s: int | None  #: attempts begun in any second; None: no limit
    weight: int  #: starts a turn


class Rank(Enum):
    """Which of what one app has for one destination goes first."""

    FIRST = "first"
    USUAL = "usual"
    LAST = "last"


class _Start(NamedTuple):
    at_ms: int
    kind: int


class LaneState(NamedTuple):
    """What there is for one destination of one app. Times are of the clock of `put` and `take`."""

    app_id: str
    destination: str
    waiting: int
    oldest_ms: int | None  #: when that was put which waits longest; None: nothing waits
    under_way: int
    is_quick: bool


class _Lane(Generic[T]):
    """What waits for one destination of one app, and what is under way to it."""

    __slots__ = ("first", "is_in_rotation", "kind", "last", "under_way", "waiting")

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.waiting: deque[tuple[int, T]] = deque()  # when it was put, and the item
        self.first: deque[tuple[int, T]] | None = None  # the same, of those that go before these
        self.last: deque[tuple[int, T]] | None = None  # and behind them
        self.under_way: dict[T, _Start] = {}  # oldest first
        self.is_in_rotation = False

    def line_of(self, rank: Rank) -> deque[tuple[int, T]]:
        if rank is Rank.FIRST:
            self.first = deque() if self.first is None else self.first
            return self.first
        if rank is Rank.LAST:
            self.last = deque() if self.last is None else self.last
            return self.last
        return self.waiting

    @property
    def next_line(self) -> deque[tuple[int, T]]:
        """What is to be started from; empty: nothing waits."""
        return self.first or self.waiting or self.last or self.waiting

    def lines(self) -> list[deque[tuple[int, T]]]:
        """What waits, in the order in which it is started."""
        return [line for line in (self.first, self.waiting, self.last) if line]

    def has_older(self, before_ms: int, upto: Rank) -> bool:
        """Whether something that goes before a new one of this rank was put before then; asked of all that
        comes due."""
        first, waiting, last = self.first, self.waiting, self.last
        if first and first[0][0] < before_ms:
            return True
        if upto is Rank.FIRST:
            return False
        if waiting and waiting[0][0] < before_ms:
            return True
        return bool(upto is Rank.LAST and last and last[0][0] < before_ms)

    def is_quick(self, now_ms: int) -> bool:
        if self.kind == _QUICK:
            for oldest in self.under_way.values():
                return now_ms - oldest.at_ms < _QUICK_MS
        return self.kind == _QUICK


class _AppQueue(Generic[T]):
    __slots__ = (
        "app_id",
        "held",
        "is_in_rotation",
        "lanes",
        "limits",
        "next_kind",
        "not_before_ms",
        "pace",
        "rest",
        "rotations",
        "share",
        "turns",
    )

    def __init__(self, app_id: str, share: Share) -> None:
        self.app_id = app_id
        self.share = share
        self.lanes: dict[str, _Lane[T]] = {}
        # By kind: lanes that are not at their cap and have something to start.
        self.rotations: tuple[deque[_Lane[T]], deque[_Lane[T]]] = (deque(), deque())
        self.next_kind = _QUICK
        self.held = [0, 0]  # by kind, permits
        self.limits: list[int] = []  # where it waits for permits, by kind; empty: it does not
        self.is_in_rotation = False
        self.rest = 0  # number of the entry that ends its rest, until it may begin again by its rate
        self.turns = share.weight
        self.pace = Pace(share.per_s) if share.per_s else None
        self.not_before_ms = 0

    def change(self, share: Share) -> None:
        self.share = share
        self.rest = 0
        if share.per_s is None:
            self.pace = None
        elif self.pace is None:
            self.pace = Pace(share.per_s)
        elif self.pace.per_s != share.per_s:
            self.pace = self.pace.changed(share.per_s)

    @property
    def has_work(self) -> bool:
        return bool(self.rotations[_QUICK] or self.rotations[_OTHER])

    @property
    def is_at_cap(self) -> bool:
        return self.held[_QUICK] + self.held[_OTHER] >= self.share.in_flight

    def next_ms(self) -> int:
        """From when on it may begin something, as far as its rate goes."""
        return max(self.not_before_ms, self.pace.next_ms() if self.pace else 0)

    def rests_ms(self) -> int:
        """From when on there is nothing to remember of its rate; 0: there never was."""
        return max(self.not_before_ms, self.pace.rests_ms() if self.pace else 0)


class FairQueue(Generic[T]):
    """Not for threads. `take` and `end` go together: each item taken is ended once. Times are in ms of a
    clock that never goes back."""

    def __init__(self, permits: int, lane_in_flight: int) -> None:
        """
        Args:
            permits: attempts under way at once.
            lane_in_flight: of these, to one destination of one app.
        """
        self._most = permits
        self._kept = permits // 5  # kept back
        self._cap = lane_in_flight
        self._apps: dict[str, _AppQueue[T]] = {}
        self._rotation: deque[_AppQueue[T]] = deque()  # apps that can start something
        # Apps that wait for permits, by kind and by the limit that is to rise above what is used.
        self._held: tuple[dict[int, dict[_AppQueue[T], None]], ...] = ({}, {})
        self._resting: list[tuple[int, int, _AppQueue[T]]] = []  # a heap: when each goes on
        self._idle: deque[tuple[int, str]] = deque()  # apps to be forgotten when their rate is
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()  # quick destinations without a lane
        self._rests = 0
        self.waiting = 0  #: items that were put and not taken, drained or withdrawn
        self.under_way = 0  #: items that were taken and have not ended
        self._others_under_way = 0  # of these, for destinations that were not quick when they were taken

    def put(
        self,
        app_id: str,
        share: Share,
        destination: str,
        item: T,
        now_ms: int,
        rank: Rank = Rank.USUAL,
    ) -> None:
        """Add an item; `share` is the app's as it is now."""
        app = self._apps.get(app_id)
        if app is None:
            app = self._apps[app_id] = _AppQueue(app_id, share)
        elif app.share is not share and app.share != share:
            app.change(share)
        lane = app.lanes.get(destination)
        if lane is None:
            lane = app.lanes[destination] = _Lane(self._kind_of((app_id, destination)))
        (lane.waiting if rank is Rank.USUAL else lane.line_of(rank)).append((now_ms, item))
        self.waiting += 1
        self._offer(app, lane)

    @property
    def may_start(self) -> bool:
        """Whether `take` may return something, or find that somebody's time has come; cheap."""
        is_asked = self._rotation or self._resting or self._held[_QUICK] or self._held[_OTHER]
        return bool(is_asked) and self.under_way < self._most

    def take(self, now_ms: int) -> T | None:
        """Return the next item that may start, and count it as in flight; None: there is none now."""
        if self._resting or self._idle:
            self._pass_time(now_ms)
        while self.under_way < self._most:
            if self._held[_QUICK] or self._held[_OTHER]:
                self._readmit_held()
            if not self._rotation:
                return None
            app = self._rotation[0]
            lane = None if app.is_at_cap else self._next_lane(app, now_ms)
            wait_ms = 0 if lane is None else app.next_ms()
            if lane is None or wait_ms > now_ms:
                self._rotation.popleft()
                app.is_in_rotation = False
                if lane is not None:
                    self._rest(app, wait_ms)
                elif app.has_work and not app.is_at_cap:
                    self._hold(app)
                continue
            item = self._start(app, lane, now_ms)
            is_over = app.turns <= 0
            if is_over:
                app.turns = app.share.weight
            if app.is_at_cap:  # found now, it costs nobody a call in vain
                self._rotation.popleft()
                app.is_in_rotation = False
            elif is_over:
                self._rotation.rotate(-1)
            return item
        return None

    def note(self, app_id: str, destination: str, item: T, now_ms: int) -> None:
        """An item that was taken has been answered, or will not be: how long it took says whether its
        destination is quick. Comes before `end`; not for an item that was not sent."""
        app = self._apps[app_id]
        lane = app.lanes[destination]
        took_ms = now_ms - lane.under_way[item].at_ms
        self._set_kind(app, lane, _QUICK if took_ms < _QUICK_MS else _OTHER)

    def end(self, app_id: str, destination: str, item: T) -> None:
        """An item that was taken is under way no more."""
        app = self._apps[app_id]
        lane = app.lanes[destination]
        kind = lane.under_way.pop(item).kind
        app.held[kind] -= 1
        self.under_way -= 1
        self._others_under_way -= kind
        if lane.next_line:
            self._offer(app, lane)
        elif not lane.under_way:
            self._close_lane(app_id, destination)
        if app.has_work:
            self._offer_app(app)

    def hold_off(self, app_id: str, until_ms: int) -> None:
        """Start nothing more of this app before `until_ms`."""
        app = self._apps.get(app_id)
        if app is not None:
            app.not_before_ms = max(app.not_before_ms, until_ms)

    def drain(self, app_id: str, destination: str) -> list[T]:
        """Take everything out that waits for this destination; none of it counts as in flight."""
        app = self._apps.get(app_id)
        lane = app.lanes.get(destination) if app is not None else None
        if app is None or lane is None:
            return []
        items = [item for line in lane.lines() for _, item in line]
        self.waiting -= len(items)
        for line in lane.lines():
            line.clear()
        self._leave_rotation(app, lane, destination)
        return items

    def withdraw(self, app_id: str, destination: str, item: T) -> None:
        """Take one item out that waits; takes longer the more do."""
        app = self._apps[app_id]
        lane = app.lanes[destination]
        for line in lane.lines():
            kept = [each for each in line if each[1] is not item]
            self.waiting -= len(line) - len(kept)
            line.clear()
            line.extend(kept)
        if not lane.next_line:
            self._leave_rotation(app, lane, destination)

    def is_slow(self, app_id: str, destination: str, before_ms: int, rank: Rank = Rank.USUAL) -> bool:
        """Whether this destination is at its cap, or asked and not quick, and the oldest item that goes
        before a new one of this rank was put before `before_ms`."""
        app = self._apps.get(app_id)
        lane = app.lanes.get(destination) if app is not None else None
        if lane is None or not lane.under_way or not lane.next_line:
            return False
        if lane.kind == _QUICK and len(lane.under_way) < self._cap:
            return False
        return lane.has_older(before_ms, rank)

    def lanes(self) -> Iterator[LaneState]:
        """Yield what there is for each destination. Others may have their turn between two of an iteration:
        then it is of no one moment."""
        for app in tuple(self._apps.values()):
            for destination, lane in tuple(app.lanes.items()):
                lines = lane.lines()
                yield LaneState(
                    app.app_id,
                    destination,
                    sum(map(len, lines)),
                    min((line[0][0] for line in lines), default=None),
                    len(lane.under_way),
                    lane.kind == _QUICK,
                )

    def next_start_ms(self) -> int | None:
        """When an app that ran out of its rate may go on; None: none did."""
        while self._resting and self._resting[0][2].rest != self._resting[0][1]:
            heappop(self._resting)  # its rate was changed meanwhile
        return self._resting[0][0] if self._resting else None

    def clear(self) -> None:
        """Drop everything that waits."""
        for app in self._apps.values():
            for lane in app.lanes.values():
                for line in lane.lines():
                    line.clear()
                lane.is_in_rotation = False
            for lanes in app.rotations:
                lanes.clear()
        self.waiting = 0

    def _next_lane(self, app: _AppQueue[T], now_ms: int) -> _Lane[T] | None:
        """Return the lane to start from, of the two kinds in turn as far as there are permits for them."""
        quick = app.rotations[_QUICK]
        while quick and not quick[0].is_quick(now_ms):
            self._set_kind(app, quick[0], _OTHER)
        for kind in (app.next_kind, 1 - app.next_kind):
            if app.rotations[kind] and self._used(kind) < self._limit(kind, app.held[kind]):
                return app.rotations[kind][0]
        return None

    def _start(self, app: _AppQueue[T], lane: _Lane[T], now_ms: int) -> T:
        kind = lane.kind
        app.rotations[kind].popleft()
        app.next_kind = 1 - kind
        item = lane.next_line.popleft()[1]
        self.waiting -= 1
        lane.under_way[item] = _Start(now_ms, kind)
        app.held[kind] += 1
        self.under_way += 1
        self._others_under_way += kind
        app.turns -= 1
        if app.pace is not None:
            app.pace.begin(now_ms)
        lane.is_in_rotation = bool(lane.next_line) and len(lane.under_way) < self._cap
        if lane.is_in_rotation:
            app.rotations[kind].append(lane)
        return item

    def _set_kind(self, app: _AppQueue[T], lane: _Lane[T], kind: int) -> None:
        if lane.kind == kind:
            return
        if lane.is_in_rotation:
            app.rotations[lane.kind].remove(lane)
            app.rotations[kind].append(lane)
        lane.kind = kind

    def _leave_rotation(self, app: _AppQueue[T], lane: _Lane[T], destination: str) -> None:
        """Nothing waits for this lane any more."""
        if lane.is_in_rotation:
            app.rotations[lane.kind].remove(lane)
            lane.is_in_rotation = False
        if not lane.under_way:
            self._close_lane(app.app_id, destination)

    def _kind_of(self, key: tuple[str, str]) -> int:
        if key in self._known:
            del self._known[key]
            return _QUICK
        return _OTHER

    def _close_lane(self, app_id: str, destination: str) -> None:
        app = self._apps[app_id]
        if app.lanes.pop(destination).kind == _QUICK:
            if len(self._known) >= _MOST_KNOWN:
                self._known.popitem(last=False)
            self._known[(app_id, destination)] = None
        if not app.lanes:
            self._unhold(app)
            if rests_ms := app.rests_ms():
                self._idle.append((rests_ms, app_id))
            else:
                del self._apps[app_id]

    def _offer(self, app: _AppQueue[T], lane: _Lane[T]) -> None:
        if not lane.is_in_rotation and len(lane.under_way) < self._cap:
            lane.is_in_rotation = True
            app.rotations[lane.kind].append(lane)
        if app.has_work:
            self._offer_app(app)

    def _offer_app(self, app: _AppQueue[T]) -> None:
        if app.is_in_rotation or app.rest or app.is_at_cap:
            return
        if app.limits:
            self._unhold(app)
        app.is_in_rotation = True
        self._rotation.append(app)

    def _used(self, kind: int) -> int:
        return self._others_under_way if kind else self.under_way

    def _limit(self, kind: int, held: int) -> int:
        """Return below which number `_used` is to be, for an app with so many permits of this kind to get one
        more of those that are free."""
        if kind:
            return self._most - self._kept - held if held else self._most - self._kept // 2
        return self._most - self._kept - held if held >= _SURE else self._most

    def _hold(self, app: _AppQueue[T]) -> None:
        """Let an app wait until permits become free."""
        app.limits = [self._limit(kind, app.held[kind]) for kind in (_QUICK, _OTHER)]
        for kind, limit in enumerate(app.limits):
            if app.rotations[kind]:
                self._held[kind].setdefault(limit, {})[app] = None

    def _unhold(self, app: _AppQueue[T]) -> None:
        for held, limit in zip(self._held, app.limits, strict=False):
            waiting = held.get(limit)
            if waiting is not None and app in waiting:
                del waiting[app]
                if not waiting:
                    del held[limit]
        app.limits = []

    def _readmit_held(self) -> None:
        """Let one app go on of those for which there are permits again: of those that hold fewest, the one
        that waited longest. One for each item taken, so that those in the rotation have their turns too."""
        for kind, held in enumerate(self._held):
            while held and self._used(kind) < (limit := max(held)):
                app = next(iter(held[limit]))
                self._unhold(app)
                if app.has_work:
                    self._offer_app(app)
                    break

    def _rest(self, app: _AppQueue[T], until_ms: int) -> None:
        self._rests += 1
        app.rest = self._rests
        heappush(self._resting, (until_ms, app.rest, app))

    def _pass_time(self, now_ms: int) -> None:
        while self._resting and self._resting[0][0] <= now_ms:
            _, rest, app = heappop(self._resting)
            if app.rest == rest:
                app.rest = 0
                if app.has_work:
                    self._offer_app(app)
        while self._idle and self._idle[0][0] <= now_ms:
            idle = self._apps.get(self._idle.popleft()[1])
            if idle is not None and not idle.lanes and idle.rests_ms() <= now_ms:
                del self._apps[idle.app_id]
