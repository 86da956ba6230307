"""The fair queue against a model that looks at everything each time."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ringtime_dispatcher.fair_queue import FairQueue, Share

START_MS = 1_800_000_000_000
APPS = ("a", "b", "c", "d")
DESTINATIONS = ("x", "y", "z")
shares = st.builds(
    Share,
    in_flight=st.integers(1, 6),
    per_s=st.none() | st.sampled_from([1, 3, 7, 50, 1_000]),
    weight=st.integers(1, 4),
)
app_ids = st.sampled_from(APPS)
destinations = st.sampled_from(DESTINATIONS)


class Ticket(NamedTuple):
    """An item."""

    app_id: str
    destination: str
    number: int


@dataclass(slots=True)
class ModelLane:
    waiting: list[tuple[int, Ticket]] = field(default_factory=list)
    in_flight: int = 0


@dataclass(slots=True)
class ModelApp:
    """Tokens are counted in thousandths, which whole rates and milliseconds make exact."""

    wanted: Share  #: in force from the next put
    share: Share
    lanes: dict[str, ModelLane] = field(default_factory=lambda: defaultdict(ModelLane))
    most_weight: int = 0
    milli_tokens: int = 0
    starts_ms: list[int] = field(default_factory=list)
    passed_over: int = 0  #: starts of others while this one could have started something

    @property
    def in_flight(self) -> int:
        return sum(lane.in_flight for lane in self.lanes.values())

    def is_ready(self, lane_cap: int) -> bool:
        """Whether the caps let it start something."""
        return self.in_flight < self.share.in_flight and any(
            lane.waiting and lane.in_flight < lane_cap for lane in self.lanes.values()
        )

    def is_surely_startable(self, lane_cap: int) -> bool:
        """Leaves out the very millisecond of a token, where the queue may round the other way."""
        return self.is_ready(lane_cap) and (self.share.per_s is None or self.milli_tokens > 1_000)


class FairQueueMachine(RuleBasedStateMachine):
    """Rates stay what they are for a run; caps and weights change."""

    @initialize(lane_cap=st.integers(1, 3), of_apps=st.lists(shares, min_size=len(APPS), max_size=len(APPS)))
    def begin(self, lane_cap: int, of_apps: list[Share]) -> None:
        self.lane_cap = lane_cap
        self.queue: FairQueue[Ticket] = FairQueue(lane_cap)
        self.now_ms = START_MS
        self.count = 0
        self.in_flight: list[Ticket] = []
        self.apps = {
            app_id: ModelApp(share, share, milli_tokens=1_000 * (share.per_s or 0))
            for app_id, share in zip(APPS, of_apps, strict=True)
        }

    def _put(self, app_id: str, destination: str) -> None:
        app = self.apps[app_id]
        app.share = app.wanted
        app.most_weight = max(app.most_weight, app.share.weight)
        self.count += 1
        ticket = Ticket(app_id, destination, self.count)
        self.queue.put(app_id, app.share, destination, ticket, self.now_ms)
        app.lanes[destination].waiting.append((self.now_ms, ticket))

    @rule(app_id=app_ids, destination=destinations, count=st.integers(1, 8))
    def put(self, app_id: str, destination: str, count: int) -> None:
        for _ in range(count):
            self._put(app_id, destination)

    @rule(app_id=app_ids, in_flight=st.integers(1, 6), weight=st.integers(1, 4))
    def change(self, app_id: str, in_flight: int, weight: int) -> None:
        app = self.apps[app_id]
        app.wanted = replace(app.wanted, in_flight=in_flight, weight=weight)

    @rule(count=st.integers(1, 12))
    def take(self, count: int) -> None:
        for _ in range(count):
            if not self._take():
                return

    def _take(self) -> bool:
        startable = {key for key, app in self.apps.items() if app.is_surely_startable(self.lane_cap)}
        ticket = self.queue.take(self.now_ms)
        if ticket is None:
            assert not startable, "work conserving"
            self._check_next_token()
            return False
        app = self.apps[ticket.app_id]
        lane = app.lanes[ticket.destination]
        assert lane.waiting, "handed out twice"
        assert lane.waiting.pop(0)[1] == ticket, "first in, first out"
        assert lane.in_flight < self.lane_cap
        assert app.in_flight < app.share.in_flight
        if app.share.per_s is not None:
            assert app.milli_tokens >= 1_000
            app.milli_tokens -= 1_000
            app.starts_ms.append(self.now_ms)
        lane.in_flight += 1
        self.in_flight.append(ticket)
        self._count_turns(ticket.app_id, startable)
        return True

    def _count_turns(self, served: str, startable: set[str]) -> None:
        for app_id, app in self.apps.items():
            app.passed_over = app.passed_over + 1 if app_id in startable and app_id != served else 0
            others = sum(other.most_weight for key, other in self.apps.items() if key != app_id)
            assert app.passed_over <= others, f"{app_id} starves"

    def _check_next_token(self) -> None:
        """Whoever waits for a token only is told when to come back, and not too late."""
        waits_ms = [
            -((app.milli_tokens - 1_000) // app.share.per_s)
            for app in self.apps.values()
            if app.share.per_s is not None and app.is_ready(self.lane_cap)
        ]
        next_ms = self.queue.next_token_ms()
        if waits_ms:
            assert next_ms is not None
            assert next_ms <= self.now_ms + min(waits_ms) + 1
        assert next_ms is None or next_ms > self.now_ms

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), count=st.integers(1, 4))
    def end(self, data: st.DataObject, count: int) -> None:
        for _ in range(min(count, len(self.in_flight))):
            ticket = self.in_flight.pop(data.draw(st.integers(0, len(self.in_flight) - 1)))
            self.apps[ticket.app_id].lanes[ticket.destination].in_flight -= 1
            self.queue.end(ticket.app_id, ticket.destination)

    @rule(app_id=app_ids, destination=destinations)
    def drain(self, app_id: str, destination: str) -> None:
        waiting = self.apps[app_id].lanes[destination].waiting
        assert self.queue.drain(app_id, destination) == [ticket for _, ticket in waiting]
        waiting.clear()
        if not self.apps[app_id].is_ready(self.lane_cap):
            self.apps[app_id].passed_over = 0  # it gave up its place

    @rule(wait_ms=st.integers(1, 3_000))
    def wait(self, wait_ms: int) -> None:
        self.now_ms += wait_ms
        for app in self.apps.values():
            per_s = app.share.per_s or 0
            app.milli_tokens = min(app.milli_tokens + wait_ms * per_s, 1_000 * per_s)

    @rule(app_id=app_ids, destination=destinations, age_ms=st.integers(-1, 3_000))
    def ask_whether_slow(self, app_id: str, destination: str, age_ms: int) -> None:
        lane = self.apps[app_id].lanes[destination]
        before_ms = self.now_ms - age_ms
        is_slow = bool(lane.waiting and lane.waiting[0][0] < before_ms and lane.in_flight >= self.lane_cap)
        assert self.queue.is_slow(app_id, destination, before_ms) is is_slow

    @invariant()
    def nothing_is_kept_that_holds_nothing(self) -> None:
        holding = {
            app_id: {to for to, lane in app.lanes.items() if lane.waiting or lane.in_flight}
            for app_id, app in self.apps.items()
        }
        for app_id, kept in self.queue._apps.items():
            assert set(kept.lanes) == holding[app_id]
            assert kept.lanes or self.apps[app_id].share.per_s is not None
        assert {app_id for app_id, lanes in holding.items() if lanes} <= set(self.queue._apps)
        assert len(self.queue._spent) <= len(APPS)

    @invariant()
    def no_rate_is_exceeded_in_any_window(self) -> None:
        for app in self.apps.values():
            per_s = app.share.per_s or 0
            for count, since_ms in enumerate(reversed(app.starts_ms), start=1):
                window_ms = app.starts_ms[-1] - since_ms
                assert 1_000 * count <= per_s * (1_000 + window_ms)

    def teardown(self) -> None:
        """Given time, everything that was put is handed out."""
        if not hasattr(self, "queue"):
            return
        while any(lane.waiting for app in self.apps.values() for lane in app.lanes.values()):
            while self._take():
                pass
            for ticket in self.in_flight:
                self.apps[ticket.app_id].lanes[ticket.destination].in_flight -= 1
                self.queue.end(ticket.app_id, ticket.destination)
            self.in_flight.clear()
            self.wait(1_000)
        self.nothing_is_kept_that_holds_nothing()


TestFairQueue = FairQueueMachine.TestCase
TestFairQueue.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@given(
    weights=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    skip=st.integers(0, 60),
    rounds=st.integers(1, 5),
)
@settings(max_examples=100, deadline=None)
def test_apps_that_always_have_work_share_by_weight(weights: list[int], skip: int, rounds: int) -> None:
    """From any moment on, over whole rounds exactly."""
    queue: FairQueue[int] = FairQueue(1_000_000)
    for app, weight in enumerate(weights):
        share = Share(in_flight=1_000_000, per_s=None, weight=weight)
        for _ in range(weight * rounds + skip):
            queue.put(str(app), share, "x", app, START_MS)
    for _ in range(skip):
        queue.take(START_MS)
    served = Counter(queue.take(START_MS) for _ in range(sum(weights) * rounds))
    assert served == {app: weight * rounds for app, weight in enumerate(weights)}
