"""Which arrivals are asked for, and which are handled."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest

from ringtime_dispatcher.reading import feed as module
from ringtime_dispatcher.reading.feed import (
    GAP_MS,
    LEAST_BACK_MS,
    MOST_BACK_MS,
    QUIET_AFTER_MS,
    SWEEP_EACH_MS,
    Feed,
)
from ringtime_shared.models.app import Instance
from ringtime_shared.stores.protocol import Arrival

PAY = Instance("pay", 0)
NOW_MS = 1_800_000_000_000
TICK_MS = 200


class Table:
    """Arrivals, each seen some time after its stamp; and a feed that asks for them each tick."""

    def __init__(self) -> None:
        self.feed = Feed()
        self.now_ms = NOW_MS
        self.asked = 0  # rows in answers
        self.found: dict[Arrival, int] = {}  # when
        self._seen_ms: dict[Arrival, int] = {}

    def write(self, stamp_ms: int, late_ms: int) -> Arrival:
        arrival = Arrival(stamp_ms, PAY, (stamp_ms + len(self._seen_ms),))
        self._seen_ms[arrival] = stamp_ms + late_ms
        return arrival

    def tick(self) -> None:
        after_ms = self.feed.after_ms(self.now_ms)
        answer = [
            each
            for each, seen_ms in self._seen_ms.items()
            if after_ms < each.written_ms and seen_ms <= self.now_ms
        ]
        self.asked += len(answer)
        for arrival in self.feed.take(answer, self.now_ms):
            assert arrival not in self.found, "handled twice"
            self.found[arrival] = self.now_ms
        self.now_ms += TICK_MS

    def run(self, ms: int) -> None:
        end_ms = self.now_ms + ms
        while self.now_ms < end_ms:
            self.tick()


def test_each_is_handled_once_in_the_tick_after_it_is_seen() -> None:
    table, rng = Table(), Random(1)
    for n in range(400):
        table.write(NOW_MS + n * 50, late_ms=rng.randint(-300, LEAST_BACK_MS - 1))
    table.run(25_000)
    assert len(table.found) == 400
    assert all(
        found_ms - table._seen_ms[each] <= TICK_MS
        for each, found_ms in table.found.items()
        if each.written_ms > NOW_MS + 500
    )
    assert table.feed.look_back_ms == LEAST_BACK_MS


@pytest.mark.parametrize("late_ms", [LEAST_BACK_MS + 300, 4_000, MOST_BACK_MS])
def test_one_that_is_seen_later_than_the_look_back_is_found_by_a_sweep(late_ms: int) -> None:
    table = Table()
    table.run(4_000)
    for n in range(10):
        table.write(table.now_ms + n * 1_000, late_ms=late_ms)
    table.run(40_000)
    assert len(table.found) == 10
    assert (
        max(found_ms - table._seen_ms[each] for each, found_ms in table.found.items())
        <= SWEEP_EACH_MS + TICK_MS
    )


def test_the_look_back_follows_the_delay_that_is_seen_up_and_down() -> None:
    table = Table()
    for n in range(600):
        table.write(NOW_MS + n * 200, late_ms=1_500)
    table.run(60_000)
    assert table.feed.look_back_ms == 4 * LEAST_BACK_MS
    late = [
        found_ms - table._seen_ms[each]
        for each, found_ms in table.found.items()
        if each.written_ms > NOW_MS + 40_000
    ]
    assert max(late) <= TICK_MS, "in the tick after it is seen, by now"
    table.run(120_000)
    assert table.feed.look_back_ms == LEAST_BACK_MS


def test_what_was_handled_is_forgotten_when_it_cannot_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table()
    for n in range(2_000):
        table.write(NOW_MS + n * 100, late_ms=0)
    table.run(200_200)
    assert len(table.found) == 2_000
    assert len(table.feed._seen) <= 350, "of 32 s"
    monkeypatch.setattr(module, "MOST_SEEN", 10)
    table.feed.take([Arrival(n, PAY, (n,)) for n in range(1_000, 1_020)], table.now_ms)
    assert len(table.feed._seen) <= 20


def test_a_minute_without_an_answer_is_a_gap() -> None:
    feed = Feed()
    assert feed.gap_since_ms(NOW_MS) is None
    feed.take([], NOW_MS)
    assert feed.gap_since_ms(NOW_MS + GAP_MS) is None
    assert feed.gap_since_ms(NOW_MS + GAP_MS + 1) == NOW_MS
    assert feed.gap_since_ms(NOW_MS - GAP_MS - 1) == NOW_MS, "the clock was set back"


def test_a_clock_that_was_set_back_a_little_asks_from_where_it_is() -> None:
    feed = Feed()
    feed.take([], NOW_MS)
    assert feed.after_ms(NOW_MS - 5_000) == NOW_MS - 5_000 - LEAST_BACK_MS


def looks(feed: Feed, ticks: Sequence[int], *, tick_ms: int, quiet_ms: int) -> list[int]:
    """Return those ticks in which it asks, of ticks at these times."""
    found = []
    for now_ms in ticks:
        if feed.is_due(now_ms, tick_ms=tick_ms, quiet_ms=quiet_ms):
            feed.take([], now_ms)
            found.append(now_ms)
    return found


@pytest.mark.parametrize(
    ("tick_ms", "quiet_ms", "pause_ms"),
    [(200, 400, 400), (100, 400, 400), (250, 400, 250), (300, 400, 300), (200, 399, 400), (200, 0, 200)],
)
def test_where_nothing_is_new_only_the_ticks_ask_that_have_to(
    tick_ms: int, quiet_ms: int, pause_ms: int
) -> None:
    feed, rng, end_ms = Feed(), Random(1), NOW_MS + 60_000
    ticks = [ms + rng.randint(0, 5) for ms in range(NOW_MS, end_ms, tick_ms)]
    asked = looks(feed, ticks, tick_ms=tick_ms, quiet_ms=quiet_ms)
    while_new = [ms for ms in ticks if ms - ticks[0] < QUIET_AFTER_MS]
    assert asked[: len(while_new)] == while_new
    pauses = [later - ms for ms, later in pairwise(asked[len(while_new) :])]
    assert pauses
    assert all(pause_ms - 5 <= each <= pause_ms + 5 for each in pauses)


def test_the_first_arrival_has_each_tick_ask_again() -> None:
    feed = Feed()
    quiet = range(NOW_MS, NOW_MS + 20_000, TICK_MS)
    assert len(looks(feed, quiet, tick_ms=TICK_MS, quiet_ms=400)) == 50 + 25
    feed.take([Arrival(NOW_MS + 20_000, PAY, (NOW_MS + 20_600,))], NOW_MS + 20_000)
    busy = range(NOW_MS + 20_000 + TICK_MS, NOW_MS + 20_000 + QUIET_AFTER_MS, TICK_MS)
    assert looks(feed, busy, tick_ms=TICK_MS, quiet_ms=400) == list(busy)


@pytest.mark.parametrize("set_ms", [-3_600_000, 3_600_000])
def test_a_clock_that_is_set_keeps_nobody_from_asking(set_ms: int) -> None:
    feed = Feed()
    looks(feed, range(NOW_MS, NOW_MS + 20_000, TICK_MS), tick_ms=TICK_MS, quiet_ms=400)
    set_to_ms = NOW_MS + 20_000 + set_ms
    then = range(set_to_ms, set_to_ms + 20_000, TICK_MS)
    asked = looks(feed, then, tick_ms=TICK_MS, quiet_ms=400)
    assert asked[0] == set_to_ms
    assert max(later - ms for ms, later in pairwise(asked)) == 400
