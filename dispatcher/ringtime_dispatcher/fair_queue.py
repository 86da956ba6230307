"""What is due and waits for its turn: fair between apps, then between an app's destinations.

Each app with something to start takes turns, `weight` starts a turn; within an app its destinations do.
An app at its cap or out of its rate, and a destination at its cap, step out of the round until an
attempt ends or time passes, so nobody waits behind somebody who cannot move. Every operation takes
constant time but for apps whose rate is spent.

Source: weighted round robin over active queues, as in M. Shreedhar and G. Varghese, "Efficient Fair
Queuing using Deficit Round Robin", SIGCOMM 1995, with every item of size one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Share:
    """What one app may use of a node."""

    in_flight: int  #: attempts under way at once
    per_s: int | None  #: attempts begun in a second, and at once after a pause; None: no limit
    weight: int  #: starts a turn


class _Lane(Generic[T]):
    __slots__ = ("in_flight", "is_in_round", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[tuple[int, T]] = deque()  # when it was put, and the item
        self.in_flight = 0
        self.is_in_round = False


class _AppQueue(Generic[T]):
    __slots__ = ("in_flight", "is_in_round", "lanes", "refilled_ms", "round", "share", "tokens", "turns")

    def __init__(self, share: Share, now_ms: int) -> None:
        self.share = share
        self.lanes: dict[str, _Lane[T]] = {}
        self.round: deque[_Lane[T]] = deque()  # lanes that can start something
        self.is_in_round = False
        self.in_flight = 0
        self.turns = share.weight
        self.tokens = float(share.per_s or 0)
        self.refilled_ms = now_ms

    def has_token(self, now_ms: int) -> bool:
        if self.share.per_s is None:
            return True
        grown = (now_ms - self.refilled_ms) * self.share.per_s / 1_000
        self.tokens = min(self.tokens + max(grown, 0), self.share.per_s)
        self.refilled_ms = now_ms
        return self.tokens >= 1

    def token_ms(self) -> int:
        """When the next token is there, if there is none now."""
        return self.refilled_ms + int((1 - self.tokens) * 1_000 / (self.share.per_s or 1)) + 1


class FairQueue(Generic[T]):
    """Not for threads. `take` and `end` go together: each item taken is ended once."""

    def __init__(self, lane_in_flight: int) -> None:
        """`lane_in_flight`: attempts under way at once to one destination of one app."""
        self._cap = lane_in_flight
        self._apps: dict[str, _AppQueue[T]] = {}
        self._round: deque[_AppQueue[T]] = deque()  # apps that can start something
        self._spent: list[_AppQueue[T]] = []  # apps that wait for a token

    def put(self, app_id: str, share: Share, destination: str, item: T, now_ms: int) -> None:
        """Add an item; `share` is the app's as it is now."""
        app = self._apps.get(app_id)
        if app is None:
            app = self._apps[app_id] = _AppQueue(share, now_ms)
        elif app.share != share:
            app.share = share
        lane = app.lanes.get(destination)
        if lane is None:
            lane = app.lanes[destination] = _Lane()
        lane.waiting.append((now_ms, item))
        self._offer(app, lane)

    def take(self, now_ms: int) -> T | None:
        """Return the next item that may start, and count it as in flight; None: there is none now."""
        if self._spent:
            self._readmit(now_ms)
        while self._round:
            app = self._round[0]
            if not app.round or app.in_flight >= app.share.in_flight:
                self._round.popleft()
                app.is_in_round = False
                continue
            if not app.has_token(now_ms):
                self._round.popleft()
                app.is_in_round = False
                self._spent.append(app)
                continue
            item = self._start(app)
            if app.turns <= 0:
                app.turns = app.share.weight
                self._round.rotate(-1)
            return item
        return None

    def _start(self, app: _AppQueue[T]) -> T:
        lane = app.round.popleft()
        item = lane.waiting.popleft()[1]
        lane.in_flight += 1
        app.in_flight += 1
        app.turns -= 1
        if app.share.per_s is not None:
            app.tokens -= 1
        lane.is_in_round = False
        if lane.waiting and lane.in_flight < self._cap:
            lane.is_in_round = True
            app.round.append(lane)
        return item

    def end(self, app_id: str, destination: str) -> None:
        """An item that was taken is under way no more."""
        app = self._apps[app_id]
        lane = app.lanes[destination]
        app.in_flight -= 1
        lane.in_flight -= 1
        if lane.waiting:
            self._offer(app, lane)
        elif not lane.in_flight:
            del app.lanes[destination]
        if app.round:
            self._offer_app(app)
        elif not app.lanes and app.share.per_s is None:  # a rate has to be remembered
            self._apps.pop(app_id, None)

    def drain(self, app_id: str, destination: str) -> list[T]:
        """Take everything out that waits for this destination; none of it counts as in flight."""
        app = self._apps.get(app_id)
        lane = app.lanes.get(destination) if app is not None else None
        if app is None or lane is None:
            return []
        items = [item for _, item in lane.waiting]
        lane.waiting.clear()
        if lane.is_in_round:
            app.round.remove(lane)
            lane.is_in_round = False
        if not lane.in_flight:
            del app.lanes[destination]
            if not app.lanes and app.share.per_s is None:
                del self._apps[app_id]
        return items

    def is_slow(self, app_id: str, destination: str, before_ms: int) -> bool:
        """Whether this destination is at its cap and its oldest item was put before `before_ms`."""
        app = self._apps.get(app_id)
        lane = app.lanes.get(destination) if app is not None else None
        if lane is None or not lane.waiting:
            return False
        return lane.in_flight >= self._cap and lane.waiting[0][0] < before_ms

    def next_token_ms(self) -> int | None:
        """When an app that ran out of its rate may go on; None: none did."""
        return min(app.token_ms() for app in self._spent) if self._spent else None

    def clear(self) -> None:
        """Drop everything that waits."""
        for app in self._apps.values():
            for lane in app.lanes.values():
                lane.waiting.clear()
                lane.is_in_round = False
            app.round.clear()

    def _readmit(self, now_ms: int) -> None:
        spent, self._spent = self._spent, []
        for app in spent:
            if not app.has_token(now_ms):
                self._spent.append(app)
            elif app.round:
                self._offer_app(app)

    def _offer(self, app: _AppQueue[T], lane: _Lane[T]) -> None:
        if not lane.is_in_round and lane.in_flight < self._cap:
            lane.is_in_round = True
            app.round.append(lane)
        if app.round:
            self._offer_app(app)

    def _offer_app(self, app: _AppQueue[T]) -> None:
        if not app.is_in_round and app.in_flight < app.share.in_flight and app not in self._spent:
            app.is_in_round = True
            self._round.append(app)
