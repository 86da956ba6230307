"""Whose turn it is: weights, caps, rates, and that nobody waits behind somebody who cannot move."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from ringtime_shared.fairness.fair_queue import FairQueue, Rank, Share

NOW_MS = 1_800_000_000_000
OPEN = Share(in_flight=1_000_000, per_s=None, weight=1)


class Queue:
    """A queue of numbered items; an item knows its app and destination."""

    def __init__(self, lane_in_flight: int = 1_000_000, permits: int = 1_000_000) -> None:
        self.real: FairQueue[tuple[str, str, int]] = FairQueue(permits, lane_in_flight)
        self.now_ms = NOW_MS
        self.under_way: list[tuple[str, str, int]] = []

    def put(self, app_id: str, count: int = 1, *, share: Share = OPEN, to: str = "x", first: int = 0) -> None:
        for number in range(first, first + count):
            self.real.put(app_id, share, to, (app_id, to, number), self.now_ms)

    def take(self, most: int = 1_000_000) -> list[tuple[str, str, int]]:
        """Take until nothing may start, at most `most` items."""
        taken: list[tuple[str, str, int]] = []
        while len(taken) < most:
            may_start = self.real.may_start
            item = self.real.take(self.now_ms)
            assert item is None or may_start
            if item is None:
                break
            taken.append(item)
            self.under_way.append(item)
        return taken

    def apps(self, most: int = 1_000_000) -> str:
        """Take, and return the first letters of the apps in order."""
        return "".join(app_id[0] for app_id, _, _ in self.take(most))

    def end(self, app_id: str, to: str = "x", count: int = 1) -> None:
        for _ in range(count):
            item = next(each for each in self.under_way if each[:2] == (app_id, to))
            self.under_way.remove(item)
            self.real.note(app_id, to, item, self.now_ms)
            self.real.end(app_id, to, item)


def test_an_empty_queue_has_nothing() -> None:
    queue = Queue()
    assert queue.take() == []
    assert queue.real.next_start_ms() is None


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


@pytest.mark.parametrize("per_s", [1, 3, 10, 20, 997])
def test_a_rate_holds_in_any_second_and_is_used_to_the_full(per_s: int) -> None:
    queue = Queue()
    queue.put("a", 6 * per_s, share=replace(OPEN, per_s=per_s))
    started: list[int] = []
    for elapsed_ms in range(5_000):
        queue.now_ms = NOW_MS + elapsed_ms
        started += [elapsed_ms] * len(queue.take())
    assert all(later - earlier > 1_000 for earlier, later in zip(started, started[per_s:], strict=False))
    assert 5 * per_s - per_s // 10 - 1 <= len(started) <= 5 * per_s


def test_the_starts_of_a_second_are_spread_over_it() -> None:
    queue = Queue()
    queue.put("a", 1_000, share=replace(OPEN, per_s=20))
    started: list[int] = []
    for elapsed_ms in range(5_000):
        queue.now_ms = NOW_MS + elapsed_ms
        started += [elapsed_ms] * len(queue.take())
    assert all(third - first >= 100 for first, third in zip(started, started[2:], strict=False))


def test_a_pause_earns_nothing() -> None:
    queue = Queue()
    queue.put("a", 1_000, share=replace(OPEN, per_s=10))
    for pause_ms in (0, 3_600_000):
        queue.now_ms += pause_ms
        begun = 0
        for _ in range(1_001):
            begun += len(queue.take())
            queue.now_ms += 1
        assert begun == 10


def test_an_app_without_work_cannot_shake_off_its_rate() -> None:
    queue = Queue()
    for number in range(3):
        queue.put("a", 10, share=replace(OPEN, per_s=10), to=str(number))
        assert len(queue.take()) == (1 if number == 0 else 0)
        assert len(queue.real.drain("a", str(number))) == (9 if number == 0 else 10)
        if number == 0:
            queue.end("a", "0")


def test_others_do_not_wait_for_an_app_without_tokens() -> None:
    queue = Queue()
    queue.put("a", 10, share=replace(OPEN, per_s=2))
    queue.put("b", 10)
    assert Counter(queue.apps()) == {"a": 1, "b": 10}


@pytest.mark.parametrize("per_s", [1, 3, 7, 999, 1_000, 100_000])
def test_the_next_start_is_possible_when_it_is_said_to_be(per_s: int) -> None:
    queue = Queue()
    queue.put("a", per_s + 3, share=replace(OPEN, per_s=per_s))
    assert len(queue.take()) == -(-per_s // 10)
    next_ms = queue.real.next_start_ms()
    assert next_ms is not None
    assert NOW_MS < next_ms <= NOW_MS + max(1_001 // per_s + 1, 101)
    queue.now_ms = next_ms
    assert queue.take()


def test_the_next_start_is_that_of_the_app_which_may_go_on_first() -> None:
    queue = Queue()
    queue.put("slow", 5, share=replace(OPEN, per_s=1))
    queue.put("quick", 150, share=replace(OPEN, per_s=100))
    queue.take()
    assert queue.real.next_start_ms() == NOW_MS + 100


def test_a_rate_set_while_an_app_is_busy_counts_from_now_on() -> None:
    """What it started before nobody limited it must not be held against it."""
    queue = Queue()
    queue.put("a", 1_000)
    assert len(queue.take(900)) == 900
    queue.put("a", 1, share=replace(OPEN, per_s=10))
    assert len(queue.take()) == 1


def test_a_rate_that_is_lifted_sets_the_app_free_at_once() -> None:
    queue = Queue()
    queue.put("a", 100, share=replace(OPEN, per_s=1))
    assert len(queue.take()) == 1
    queue.put("a", 1)
    assert len(queue.take()) == 100
    assert queue.real.next_start_ms() is None


def test_a_lowered_rate_counts_what_was_begun() -> None:
    queue = Queue()
    queue.put("a", 100, share=replace(OPEN, per_s=100))
    assert len(queue.take()) == 10
    queue.put("a", 50, share=replace(OPEN, per_s=5))
    for _ in range(1_000):
        assert queue.take() == []
        queue.now_ms += 1
    queue.now_ms += 1
    assert len(queue.take()) == 1


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


def test_slow_is_also_a_destination_that_has_not_answered_quickly() -> None:
    queue = Queue(permits=10)
    queue.put("a", 20)
    queue.take()
    assert queue.real.is_slow("a", "x", NOW_MS + 1)
    assert not queue.real.is_slow("a", "x", NOW_MS)
    queue.end("a")
    assert not queue.real.is_slow("a", "x", NOW_MS + 1)


def test_it_is_slow_for_those_who_would_wait_behind_what_has_waited_too_long() -> None:
    queue: FairQueue[str] = FairQueue(1, 1)
    for n, rank in enumerate([Rank.LAST, Rank.LAST, Rank.USUAL]):
        queue.put("a", OPEN, "x", str(n), n, rank)
    queue.take(3)
    assert [queue.is_slow("a", "x", 2, rank) for rank in Rank] == [False, False, True]
    queue.put("a", OPEN, "x", "high", 3, Rank.FIRST)
    assert [queue.is_slow("a", "x", 4, rank) for rank in Rank] == [True, True, True]


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
    assert not queue.real._rotation


def test_only_a_rate_is_remembered_and_only_for_its_second() -> None:
    queue = Queue()
    queue.put("a", 1, share=replace(OPEN, per_s=5))
    queue.take()
    queue.end("a")
    [app] = queue.real._apps.values()
    assert not app.lanes
    queue.now_ms += 1_001
    assert queue.take() == []
    assert not queue.real._apps


def hang(queue: Queue, apps: int, each: int = 300) -> None:
    """Let apps of whom nothing is known take all they may; none is answered."""
    for number in range(apps):
        queue.put(f"hang-{number}", each, share=replace(OPEN, in_flight=200))
        queue.take()


@pytest.mark.parametrize("apps", [1, 3, 10, 49])
def test_a_newcomer_gets_a_place_at_once_and_with_its_first_answer_more(apps: int) -> None:
    queue = Queue(lane_in_flight=100, permits=500)
    hang(queue, apps)
    queue.put("a", 50)
    assert ("a", "x", 0) in queue.take()
    queue.end("a")
    queue.take()
    assert len([each for each in queue.under_way if each[0] == "a"]) >= 8


@pytest.mark.parametrize("apps", [3, 100, 400])
def test_who_answered_quickly_before_is_served_however_many_hang(apps: int) -> None:
    queue = Queue(lane_in_flight=100, permits=500)
    queue.put("a", 1)
    queue.take()
    queue.end("a")
    hang(queue, apps)
    assert len(queue.under_way) <= 450
    queue.put("a", 50)
    assert len(queue.take()) >= 8


def test_quick_apps_fill_a_node_between_them() -> None:
    queue = Queue(lane_in_flight=100, permits=20)
    for app_id in "ab":
        queue.put(app_id, 2)
        queue.take()
        queue.end(app_id)
    for app_id in "ab":
        queue.put(app_id, 50, first=2)
    queue.take()
    assert len(queue.under_way) >= 16


def test_a_destination_under_way_for_long_is_not_quick_any_more() -> None:
    queue = Queue(permits=500)
    queue.put("a", 1)
    queue.take()
    queue.end("a")
    queue.put("a", 1_000, first=1)
    assert len(queue.take()) == 200, "half of what is not kept back"
    hang(queue, 100)
    queue.end("a", count=200)
    assert len(queue.take()) >= 8
    queue.now_ms += 1_000
    queue.put("b", 100)
    queue.end("a", count=5)
    assert len([each for each in queue.take() if each[0] == "a"]) == 1, "as any other that is not quick"


def test_permits_that_become_free_go_to_those_who_hold_fewest() -> None:
    queue = Queue(lane_in_flight=100, permits=50)
    hang(queue, 100)
    holding = Counter(app_id for app_id, _, _ in queue.under_way)
    assert sum(holding.values()) == 45
    big = max(holding, key=lambda app_id: holding[app_id])
    queue.now_ms += 60_000
    queue.end(big)
    [(app_id, _, _)] = queue.take()
    assert holding[app_id] == 0


def test_an_app_held_off_starts_nothing_before_its_time() -> None:
    queue = Queue()
    queue.put("a", 3)
    queue.put("b", 1)
    queue.real.hold_off("a", NOW_MS + 250)
    assert queue.apps() == "b"
    assert queue.real.next_start_ms() == NOW_MS + 250
    queue.now_ms += 250
    assert queue.apps() == "aaa"


def test_what_was_not_sent_says_nothing_about_its_destination() -> None:
    queue = Queue(lane_in_flight=100, permits=500)
    hang(queue, 40)
    queue.put("a", 10)
    [item] = [each for each in queue.take() if each[0] == "a"]
    queue.real.end("a", "x", item)
    assert len([each for each in queue.take() if each[0] == "a"]) == 1
