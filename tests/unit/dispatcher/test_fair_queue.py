"""Whose turn it is: weights, caps, rates, and that nobody waits behind somebody who cannot move."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from ringtime_dispatcher.fair_queue import FairQueue, Share

NOW_MS = 1_800_000_000_000
OPEN = Share(in_flight=1_000_000, per_s=None, weight=1)


class Queue:
    """A queue of numbered items; an item knows its app and destination."""

    def __init__(self, lane_in_flight: int = 1_000_000) -> None:
        self.real: FairQueue[tuple[str, str, int]] = FairQueue(lane_in_flight)
        self.now_ms = NOW_MS

    def put(self, app_id: str, count: int = 1, *, share: Share = OPEN, to: str = "x", first: int = 0) -> None:
        for number in range(first, first + count):
            self.real.put(app_id, share, to, (app_id, to, number), self.now_ms)

    def take(self, most: int = 1_000_000) -> list[tuple[str, str, int]]:
        """Take until nothing may start, at most `most` items."""
        taken: list[tuple[str, str, int]] = []
        while len(taken) < most:
            item = self.real.take(self.now_ms)
            if item is None:
                break
            taken.append(item)
        return taken

    def apps(self, most: int = 1_000_000) -> str:
        """Take, and return the first letters of the apps in order."""
        return "".join(app_id[0] for app_id, _, _ in self.take(most))

    def end(self, app_id: str, to: str = "x", count: int = 1) -> None:
        for _ in range(count):
            self.real.end(app_id, to)


def test_an_empty_queue_has_nothing() -> None:
    queue = Queue()
    assert queue.take() == []
    assert queue.real.next_token_ms() is None


def test_one_destination_is_served_in_order() -> None:
    queue = Queue()
    queue.put("a", 5)
    assert [number for _, _, number in queue.take()] == [0, 1, 2, 3, 4]


def test_apps_take_turns_however_much_each_has() -> None:
    queue = Queue()
    queue.put("a", 100)
    queue.put("b", 3)
    queue.put("c", 2)
    assert queue.apps(11) == "abcabcabaaa"


def test_a_newcomer_waits_one_round() -> None:
    queue = Queue()
    for app_id in "abcd":
        queue.put(app_id, 100)
    queue.take(17)
    queue.put("e", 1)
    assert "e" in queue.apps(5)


@pytest.mark.parametrize("weights", [(1, 2, 5), (3, 3, 3), (100, 1, 1)])
def test_each_round_gives_every_app_its_weight(weights: tuple[int, ...]) -> None:
    queue = Queue()
    for app_id, weight in zip("abc", weights, strict=True):
        queue.put(app_id, weight * 10, share=replace(OPEN, weight=weight))
    for _ in range(10):
        turn = Counter(queue.apps(sum(weights)))
        assert turn == dict(zip("abc", weights, strict=True))
    assert queue.take() == []


def test_a_changed_weight_counts_from_the_next_turn() -> None:
    queue = Queue()
    queue.put("a", 50)
    queue.put("b", 50)
    queue.take(10)
    queue.put("a", share=replace(OPEN, weight=4))
    queue.take(2)
    assert Counter(queue.apps(10)) == {"a": 8, "b": 2}


def test_destinations_of_an_app_take_turns() -> None:
    queue = Queue()
    queue.put("a", 100, to="x")
    queue.put("a", 2, to="y")
    assert "".join(to for _, to, _ in queue.take(6)) == "xyxyxx"


def test_many_destinations_earn_an_app_nothing() -> None:
    queue = Queue()
    for number in range(50):
        queue.put("a", 2, to=str(number))
    queue.put("b", 10)
    assert Counter(queue.apps(20)) == {"a": 10, "b": 10}


def test_a_destination_at_its_cap_steps_aside() -> None:
    queue = Queue(lane_in_flight=2)
    queue.put("a", 5, to="x")
    queue.put("a", 1, to="y")
    queue.put("b", 1, to="x")
    assert Counter((app_id, to) for app_id, to, _ in queue.take()) == {
        ("a", "x"): 2,
        ("a", "y"): 1,
        ("b", "x"): 1,
    }
    queue.end("a", "x")
    assert queue.take() == [("a", "x", 2)]


def test_an_app_at_its_cap_steps_aside() -> None:
    queue = Queue()
    queue.put("a", 5, share=replace(OPEN, in_flight=2))
    queue.put("b", 3)
    assert Counter(queue.apps()) == {"a": 2, "b": 3}
    queue.end("b")
    assert queue.take() == []
    queue.end("a")
    assert queue.take() == [("a", "x", 2)]


def test_a_raised_cap_counts_at_once_and_a_lowered_one_when_attempts_have_ended() -> None:
    queue = Queue()
    queue.put("a", 4, share=replace(OPEN, in_flight=2))
    assert len(queue.take()) == 2
    queue.put("a", first=4, share=replace(OPEN, in_flight=4))
    assert len(queue.take()) == 2
    queue.put("a", first=5, share=replace(OPEN, in_flight=1))
    queue.end("a", count=3)
    assert queue.take() == []
    queue.end("a")
    assert queue.take() == [("a", "x", 4)]


def test_a_rate_allows_one_second_at_once_and_then_its_pace() -> None:
    queue = Queue()
    queue.put("a", 1_000, share=replace(OPEN, per_s=10))
    started: list[int] = []
    for elapsed_ms in range(5_000):
        queue.now_ms = NOW_MS + elapsed_ms
        started += [elapsed_ms] * len(queue.take())
    assert started[:10] == [0] * 10
    assert len(started) == 10 + 49
    assert all(later - earlier in (100, 101) for earlier, later in pairwise(started[9:]))


def test_a_pause_earns_one_second_and_no_more() -> None:
    queue = Queue()
    queue.put("a", 1_000, share=replace(OPEN, per_s=10))
    assert len(queue.take()) == 10
    queue.now_ms += 3_600_000
    assert len(queue.take()) == 10


def test_an_app_without_work_cannot_shake_off_its_rate() -> None:
    queue = Queue()
    for number in range(3):
        queue.put("a", 10, share=replace(OPEN, per_s=10), to=str(number))
        assert len(queue.take()) == (10 if number == 0 else 0)
        assert len(queue.real.drain("a", str(number))) == (0 if number == 0 else 10)
        if number == 0:
            queue.end("a", "0", count=10)


def test_others_do_not_wait_for_an_app_without_tokens() -> None:
    queue = Queue()
    queue.put("a", 10, share=replace(OPEN, per_s=2))
    queue.put("b", 10)
    assert Counter(queue.apps()) == {"a": 2, "b": 10}


@pytest.mark.parametrize("per_s", [1, 3, 7, 999, 1_000, 100_000])
def test_the_next_token_is_there_when_it_is_said_to_be(per_s: int) -> None:
    queue = Queue()
    queue.put("a", per_s + 3, share=replace(OPEN, per_s=per_s))
    assert len(queue.take()) == per_s
    next_ms = queue.real.next_token_ms()
    assert next_ms is not None
    assert NOW_MS < next_ms <= NOW_MS + 1_000 // per_s + 1
    queue.now_ms = next_ms
    assert queue.take()


def test_the_next_token_is_that_of_the_app_which_gets_one_first() -> None:
    queue = Queue()
    queue.put("slow", 5, share=replace(OPEN, per_s=1))
    queue.put("quick", 150, share=replace(OPEN, per_s=100))
    queue.take()
    assert queue.real.next_token_ms() == NOW_MS + 11


@pytest.mark.parametrize("step_ms", [-3_600_000, -1, 0])
def test_a_clock_that_is_set_back_costs_a_rated_app_a_second_at_most(step_ms: int) -> None:
    queue = Queue()
    queue.put("a", 30, share=replace(OPEN, per_s=10))
    queue.take()
    queue.now_ms += step_ms
    assert queue.take() == []
    queue.now_ms += 1_000
    assert len(queue.take()) in (9, 10)


def test_a_rate_set_while_an_app_is_busy_begins_with_a_full_second() -> None:
    """What it started before nobody limited it must not be held against it."""
    queue = Queue()
    queue.put("a", 1_000)
    assert len(queue.take(900)) == 900
    queue.put("a", 1, share=replace(OPEN, per_s=10))
    queue.now_ms += 1_000
    assert len(queue.take()) == 10


def test_a_rate_that_is_lifted_sets_the_app_free_at_once() -> None:
    queue = Queue()
    queue.put("a", 100, share=replace(OPEN, per_s=1))
    assert len(queue.take()) == 1
    queue.put("a", 1)
    assert len(queue.take()) == 100
    assert queue.real.next_token_ms() is None


def test_a_lowered_rate_takes_what_was_saved_up() -> None:
    queue = Queue()
    queue.put("a", 1, share=replace(OPEN, per_s=100))
    queue.put("a", 50, share=replace(OPEN, per_s=5))
    assert len(queue.take()) == 5


def test_what_is_drained_is_gone_and_the_rest_stays() -> None:
    queue = Queue(lane_in_flight=1)
    queue.put("a", 4, to="x")
    queue.put("a", 2, to="y")
    queue.put("b", 1, to="x")
    assert queue.take(1) == [("a", "x", 0)]
    assert queue.real.drain("a", "x") == [("a", "x", n) for n in (1, 2, 3)]
    assert queue.real.drain("a", "x") == []
    queue.end("a", "x")
    assert sorted(queue.take()) == [("a", "y", 0), ("b", "x", 0)]


def test_draining_what_was_never_there_is_fine() -> None:
    queue = Queue()
    assert queue.real.drain("a", "x") == []
    queue.put("a", 1, to="y")
    assert queue.real.drain("a", "x") == []
    assert queue.take() == [("a", "y", 0)]


def test_what_comes_after_a_drain_is_served() -> None:
    queue = Queue()
    queue.put("a", 3)
    queue.real.drain("a", "x")
    queue.put("a", 1, first=9)
    assert queue.take() == [("a", "x", 9)]


def test_slow_is_a_destination_at_its_cap_whose_oldest_item_waits_too_long() -> None:
    queue = Queue(lane_in_flight=1)
    assert not queue.real.is_slow("a", "x", NOW_MS + 99)
    queue.put("a", 2)
    assert not queue.real.is_slow("a", "x", NOW_MS + 99), "nothing is under way: the next take starts it"
    queue.take()
    assert queue.real.is_slow("a", "x", NOW_MS + 1)
    assert not queue.real.is_slow("a", "x", NOW_MS), "exactly as old as allowed"
    assert not queue.real.is_slow("a", "y", NOW_MS + 99)
    queue.end("a")
    assert not queue.real.is_slow("a", "x", NOW_MS + 99)
    queue.take()
    assert not queue.real.is_slow("a", "x", NOW_MS + 99), "at its cap, but nothing waits"


def test_after_clear_nothing_waits_and_what_is_under_way_may_end() -> None:
    queue = Queue()
    queue.put("a", 5)
    queue.put("b", 5, share=replace(OPEN, per_s=1), to="y")
    queue.take(2)
    queue.real.clear()
    assert queue.take() == []
    queue.end("a")
    queue.end("b", "y")
    queue.put("a", 1, first=7)
    assert queue.take() == [("a", "x", 7)]


def test_apps_and_destinations_without_work_are_forgotten() -> None:
    queue = Queue(lane_in_flight=2)
    for app_id in ("a", "b", "c"):
        for to in ("x", "y"):
            queue.put(app_id, 3, to=to)
    for to in ("x", "y"):
        queue.real.drain("c", to)
    while taken := queue.take():
        for app_id, to, _ in taken:
            queue.end(app_id, to)
    assert not queue.real._apps
    assert not queue.real._round


def test_only_a_rate_is_remembered() -> None:
    queue = Queue()
    queue.put("a", 3, share=replace(OPEN, per_s=5))
    queue.take()
    queue.end("a", count=3)
    [app] = queue.real._apps.values()
    assert not app.lanes
