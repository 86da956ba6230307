"""The fair queue against a model that looks at everything each time."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ringtime_shared.fairness.fair_queue import FairQueue, Share

pytestmark = pytest.mark.slow

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


class Start(NamedTuple):
    """An attempt under way."""

    ticket: Ticket
    at_ms: int
    is_quick: bool  #: whether its destination was, when it began


@dataclass(slots=True)
class ModelLane:
    waiting: list[tuple[int, Ticket]] = field(default_factory=list)
    under_way: list[Start] = field(default_factory=list)
    ended_quickly: bool = False

    def is_quick(self, now_ms: int) -> bool:
        return self.ended_quickly and all(now_ms - start.at_ms < 1_000 for start in self.under_way)


@dataclass(slots=True)
class ModelApp:
    """Looks at every attempt each time it is asked."""

    wanted: Share  #: in force from the next put
    share: Share
    lanes: dict[str, ModelLane] = field(default_factory=lambda: defaultdict(ModelLane))
    most_weight: int = 0
    starts_ms: list[int] = field(default_factory=list)
    passed_over: int = 0  #: starts of others while this one could have started something

    @property
    def under_way(self) -> list[Start]:
        return [start for lane in self.lanes.values() for start in lane.under_way]

    def held(self, *, is_quick: bool) -> int:
        return sum(start.is_quick is is_quick for start in self.under_way)

    def next_ms(self, now_ms: int) -> int:
        """When its rate lets it begin something."""
        per_s = self.share.per_s
        if per_s is None:
            return now_ms
        burst = -(-per_s // 10)
        windows = ((per_s, 1_001), (burst, burst * 1_000 // per_s))
        return max([now_ms, *(self.starts_ms[-n] + ms for n, ms in windows if len(self.starts_ms) >= n)])


class FairQueueMachine(RuleBasedStateMachine):
    """Rates stay what they are for a run; caps and weights change."""

    @initialize(
        lane_cap=st.integers(1, 3) | st.just(100),
        most=st.integers(1, 60) | st.just(1_000_000),
        of_apps=st.lists(shares, min_size=len(APPS), max_size=len(APPS)),
    )
    def begin(self, lane_cap: int, most: int, of_apps: list[Share]) -> None:
        self.lane_cap, self.most = lane_cap, most
        self.queue: FairQueue[Ticket] = FairQueue(most, lane_cap)
        self.now_ms = START_MS
        self.count = 0
        self.apps = {app_id: ModelApp(share, share) for app_id, share in zip(APPS, of_apps, strict=True)}

    @property
    def under_way(self) -> list[Start]:
        return [start for app in self.apps.values() for start in app.under_way]

    def has_place(self, app: ModelApp, lane: ModelLane) -> bool:
        """The two rules of `in_flight`."""
        free, kept = self.most - len(self.under_way), self.most // 5
        if lane.is_quick(self.now_ms):
            held = app.held(is_quick=True)
            return free > 0 and (held < free - kept or held < 8)
        others = sum(not start.is_quick for start in self.under_way)
        held = app.held(is_quick=False)
        return free > 0 and (held < self.most - kept - others if held else others < self.most - kept // 2)

    def is_ready(self, app: ModelApp) -> bool:
        """Whether the caps and the permits let it start something."""
        return len(app.under_way) < app.share.in_flight and any(
            lane.waiting and len(lane.under_way) < self.lane_cap and self.has_place(app, lane)
            for lane in app.lanes.values()
        )

    def is_startable(self, app: ModelApp) -> bool:
        return app.next_ms(self.now_ms) <= self.now_ms and self.is_ready(app)

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
        startable = {key for key, app in self.apps.items() if self.is_startable(app)}
        may_start = self.queue.may_start
        ticket = self.queue.take(self.now_ms)
        assert ticket is None or may_start
        if ticket is None:
            assert not startable, "work conserving"
            self._check_next_start()
            return False
        app = self.apps[ticket.app_id]
        lane = app.lanes[ticket.destination]
        assert lane.waiting, "handed out twice"
        assert self.has_place(app, lane)
        assert app.next_ms(self.now_ms) <= self.now_ms
        assert lane.waiting.pop(0)[1] == ticket, "first in, first out"
        assert len(lane.under_way) < self.lane_cap
        assert len(app.under_way) < app.share.in_flight
        if app.share.per_s is not None:
            app.starts_ms.append(self.now_ms)
        lane.under_way.append(Start(ticket, self.now_ms, lane.is_quick(self.now_ms)))
        self._count_turns(ticket.app_id, startable)
        return True

    def _count_turns(self, served: str, startable: set[str]) -> None:
        for app_id, app in self.apps.items():
            app.passed_over = app.passed_over + 1 if app_id in startable and app_id != served else 0
            others = sum(other.most_weight for key, other in self.apps.items() if key != app_id)
            assert app.passed_over <= others, f"{app_id} starves"

    def _check_next_start(self) -> None:
        """Whoever waits for its rate only is told when to come back, and not too late."""
        waits_ms = [app.next_ms(self.now_ms) for app in self.apps.values() if self.is_ready(app)]
        next_ms = self.queue.next_start_ms()
        if waits_ms:
            assert next_ms is not None
            assert next_ms <= min(waits_ms)
        assert next_ms is None or next_ms > self.now_ms

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), count=st.integers(1, 4))
    def end(self, data: st.DataObject, count: int) -> None:
        for _ in range(min(count, len(self.under_way))):
            self._end(data.draw(st.sampled_from(self.under_way)), was_sent=data.draw(st.booleans()))

    def _end(self, start: Start, *, was_sent: bool = True) -> None:
        app_id, destination, _ = start.ticket
        lane = self.apps[app_id].lanes[destination]
        lane.under_way.remove(start)
        if was_sent:
            lane.ended_quickly = self.now_ms - start.at_ms < 1_000
            self.queue.note(app_id, destination, start.ticket, self.now_ms)
        self.queue.end(app_id, destination, start.ticket)

    @rule(app_id=app_ids, destination=destinations)
    def drain(self, app_id: str, destination: str) -> None:
        waiting = self.apps[app_id].lanes[destination].waiting
        assert self.queue.drain(app_id, destination) == [ticket for _, ticket in waiting]
        waiting.clear()
        if not self.is_ready(self.apps[app_id]):
            self.apps[app_id].passed_over = 0  # it gave up its place

    @rule(wait_ms=st.integers(1, 3_000))
    def wait(self, wait_ms: int) -> None:
        self.now_ms += wait_ms

    @rule(app_id=app_ids, destination=destinations, age_ms=st.integers(-1, 3_000))
    def ask_whether_slow(self, app_id: str, destination: str, age_ms: int) -> None:
        lane = self.apps[app_id].lanes[destination]
        before_ms = self.now_ms - age_ms
        if lane.waiting and lane.waiting[0][0] < before_ms and lane.under_way:
            is_behind = len(lane.under_way) >= self.lane_cap or not lane.ended_quickly
            if is_behind or lane.is_quick(self.now_ms):
                assert self.queue.is_slow(app_id, destination, before_ms) is is_behind
        else:
            assert not self.queue.is_slow(app_id, destination, before_ms)

    @invariant()
    def nothing_is_kept_that_holds_nothing(self) -> None:
        holding = {
            app_id: {to for to, lane in app.lanes.items() if lane.waiting or lane.under_way}
            for app_id, app in self.apps.items()
        }
        for app_id, kept in self.queue._apps.items():
            assert set(kept.lanes) == holding[app_id]
            assert kept.lanes or self.apps[app_id].share.per_s is not None
        assert {app_id for app_id, lanes in holding.items() if lanes} <= set(self.queue._apps)
        assert len(self.queue._resting) <= len(APPS)

    @invariant()
    def no_rate_is_exceeded_in_any_second(self) -> None:
        for app in self.apps.values():
            per_s = app.share.per_s
            if per_s is not None:
                pairs = zip(app.starts_ms, app.starts_ms[per_s:], strict=False)
                assert all(later - earlier > 1_000 for earlier, later in pairs)

    @invariant()
    def a_share_is_left_for_quick_destinations(self) -> None:
        if hasattr(self, "queue"):
            others = sum(not start.is_quick for start in self.under_way)
            assert others <= self.most - self.most // 5 // 2
            assert len(self.under_way) <= self.most

    def teardown(self) -> None:
        """Given time, everything that was put is handed out."""
        if not hasattr(self, "queue"):
            return
        while any(lane.waiting for app in self.apps.values() for lane in app.lanes.values()):
            while self._take():
                pass
            for start in self.under_way:
                self._end(start)
            self.wait(1_001)
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
    queue: FairQueue[tuple[int, int]] = FairQueue(1_000_000, 1_000_000)
    for app, weight in enumerate(weights):
        share = Share(in_flight=1_000_000, per_s=None, weight=weight)
        for number in range(weight * rounds + skip):
            queue.put(str(app), share, "x", (app, number), START_MS)
    for _ in range(skip):
        queue.take(START_MS)
    taken = [queue.take(START_MS) for _ in range(sum(weights) * rounds)]
    served = Counter(item[0] for item in taken if item is not None)
    assert served == {app: weight * rounds for app, weight in enumerate(weights)}
