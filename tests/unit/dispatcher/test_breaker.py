"""The circuit breaker of one destination, and the ones a node keeps of all."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringtime_dispatcher.delivery import breaker as destinations_module
from ringtime_dispatcher.delivery.breaker import Breaker, Destinations
from ringtime_shared.callbacks.protocol import OutageRules, Reply
from ringtime_shared.settings import DispatchSettings

NOW_MS = 1_800_000_000_000
OPEN_MS = 30_000
TIMEOUT_MS = 2_000
SETTINGS = DispatchSettings(breaker_failures=3, breaker_open_ms=OPEN_MS, park_per_s=10)
GOOD = Reply(ok=True, code=200)
REFUSED = Reply(ok=False, code=404)
DOWN = Reply(ok=False, code=503)


def closed(**changes: int) -> Breaker:
    settings = {"failures": 3, "open_ms": OPEN_MS, "park_per_s": 10} | changes
    return Breaker(settings.pop("failures"), OutageRules(**settings))


def opened(at_ms: int = NOW_MS) -> Breaker:
    breaker = closed()
    for _ in range(3):
        breaker.note(DOWN, at_ms)
    assert not breaker.is_closed
    return breaker


def admits(breaker: Breaker, at_ms: int) -> bool:
    return breaker.admits(at_ms, TIMEOUT_MS)


@pytest.mark.parametrize(
    ("reply", "blames"),
    [
        (GOOD, False),
        (REFUSED, False),
        (Reply(ok=False, code=302), False),
        (Reply(ok=False, code=410, is_final=True), False),
        (Reply(ok=False, code=429), True),
        (Reply(ok=False, code=499), False),
        (Reply(ok=False, code=500), True),
        (DOWN, True),
        (Reply(ok=False, error="no answer"), True),
        (Reply(ok=False, error="not this request", is_final=True), False),
    ],
)
def test_what_counts_against_a_destination(reply: Reply, blames: bool) -> None:
    breaker = closed()
    answers = [breaker.note(reply, NOW_MS) for _ in range(3)]
    assert answers == [False, False, blames]
    assert breaker.is_closed is not blames


def test_closed_everything_is_sent() -> None:
    breaker = closed()
    assert all(admits(breaker, NOW_MS) for _ in range(100))


@pytest.mark.parametrize("most", [1, 2, 5])
def test_it_opens_with_the_last_failure_allowed(most: int) -> None:
    breaker = closed(failures=most)
    for _ in range(most - 1):
        assert not breaker.note(DOWN, NOW_MS)
        assert admits(breaker, NOW_MS)
    assert breaker.note(DOWN, NOW_MS)
    assert not admits(breaker, NOW_MS)


@pytest.mark.parametrize("between", [GOOD, REFUSED])
def test_only_failures_in_a_row_count(between: Reply) -> None:
    breaker = closed()
    for _ in range(20):
        assert not breaker.note(DOWN, NOW_MS)
        assert not breaker.note(DOWN, NOW_MS)
        assert not breaker.note(between, NOW_MS)
    assert breaker.is_closed


def test_zero_failures_allowed_means_it_never_opens() -> None:
    breaker = closed(failures=0)
    assert not any(breaker.note(DOWN, NOW_MS) for _ in range(10_000))
    assert admits(breaker, NOW_MS)


@pytest.mark.parametrize("after_ms", [0, 1, OPEN_MS - 1])
def test_open_nothing_is_sent(after_ms: int) -> None:
    assert not admits(opened(), NOW_MS + after_ms)


def test_half_open_one_row_is_sent() -> None:
    breaker = opened()
    assert admits(breaker, NOW_MS + OPEN_MS)
    assert not any(admits(breaker, NOW_MS + OPEN_MS + n) for n in range(100))


@pytest.mark.parametrize("answer", [GOOD, REFUSED])
def test_a_probe_that_is_answered_closes_it(answer: Reply) -> None:
    breaker = opened()
    probed_ms = NOW_MS + OPEN_MS
    assert admits(breaker, probed_ms)
    assert not breaker.note(answer, probed_ms + 50)
    assert breaker.is_closed
    assert all(admits(breaker, probed_ms + 50) for _ in range(10))
    assert not breaker.note(DOWN, probed_ms + 60), "it counts from the beginning"


def test_a_probe_that_fails_opens_it_for_as_long_again() -> None:
    breaker = opened()
    probed_ms = NOW_MS + OPEN_MS
    assert admits(breaker, probed_ms)
    assert breaker.note(DOWN, probed_ms + 500)
    assert not admits(breaker, probed_ms + 500 + OPEN_MS - 1)
    assert admits(breaker, probed_ms + 500 + OPEN_MS)
    assert not admits(breaker, probed_ms + 500 + OPEN_MS)


def test_a_probe_that_is_lost_makes_way_for_the_next() -> None:
    breaker = opened()
    probed_ms = NOW_MS + OPEN_MS
    lost_ms = probed_ms + TIMEOUT_MS + 1_000
    assert admits(breaker, probed_ms)
    assert not admits(breaker, lost_ms - 1)
    assert admits(breaker, lost_ms)
    assert not admits(breaker, lost_ms)


def test_what_was_under_way_when_it_opened_does_not_lengthen_it() -> None:
    breaker = opened()
    for n in range(100):
        assert breaker.note(DOWN, NOW_MS + n)
    assert admits(breaker, NOW_MS + OPEN_MS)


def test_what_was_under_way_and_succeeds_closes_it() -> None:
    breaker = opened()
    assert not breaker.note(GOOD, NOW_MS + 10)
    assert admits(breaker, NOW_MS + 10)


@pytest.mark.parametrize(
    ("retry_after_ms", "open_ms"),
    [
        (None, OPEN_MS),
        (0, OPEN_MS),
        (OPEN_MS - 1, OPEN_MS),
        (OPEN_MS + 1, OPEN_MS + 1),
        (120_000, 120_000),
        (3_600_000, 3_600_000),
        (86_400_000, 3_600_000),
    ],
)
def test_retry_after_lengthens_the_open_time_up_to_an_hour(retry_after_ms: int | None, open_ms: int) -> None:
    breaker = closed()
    for _ in range(3):
        breaker.note(Reply(ok=False, code=429, retry_after_ms=retry_after_ms), NOW_MS)
    assert not admits(breaker, NOW_MS + open_ms - 1)
    assert admits(breaker, NOW_MS + open_ms)


def test_retry_after_of_a_probe_counts_too() -> None:
    breaker = opened()
    probed_ms = NOW_MS + OPEN_MS
    assert admits(breaker, probed_ms)
    breaker.note(Reply(ok=False, code=503, retry_after_ms=100_000), probed_ms)
    assert not admits(breaker, probed_ms + 99_999)
    assert admits(breaker, probed_ms + 100_000)


def test_parked_rows_are_spaced_from_the_end_of_the_open_time() -> None:
    breaker = opened()
    slots = [breaker.park_slot(NOW_MS + 7) for _ in range(50)]
    assert slots == [NOW_MS + OPEN_MS + 100 * n for n in range(50)]


def test_parked_rows_go_behind_those_parked_before() -> None:
    breaker = opened()
    first = [breaker.park_slot(NOW_MS) for _ in range(1_000)]
    probed_ms = NOW_MS + OPEN_MS
    admits(breaker, probed_ms)
    breaker.note(DOWN, probed_ms)
    assert breaker.park_slot(probed_ms) == first[-1] + 100 > probed_ms + OPEN_MS


def test_a_slot_is_a_second_ahead_whatever_the_state() -> None:
    for breaker, now_ms in (
        (closed(), NOW_MS),
        (opened(), NOW_MS + OPEN_MS - 1),
        (opened(), NOW_MS + OPEN_MS + 5),
    ):
        assert breaker.park_slot(now_ms) == now_ms + 1_000
        assert breaker.park_slot(now_ms) == now_ms + 1_100


@given(
    per_s=st.integers(1, 10_000),
    steps=st.lists(
        st.tuples(st.integers(0, 20_000), st.integers(1, 30), st.sampled_from([GOOD, DOWN, None])),
        max_size=12,
    ),
)
def test_no_second_gets_more_slots_than_the_rate(
    per_s: int, steps: list[tuple[int, int, Reply | None]]
) -> None:
    breaker = closed(park_per_s=per_s, failures=1)
    now_ms, slots = NOW_MS, list[int]()
    for wait_ms, count, reply in steps:
        now_ms += wait_ms
        if reply is not None:
            breaker.note(reply, now_ms)
        for _ in range(count):
            slots.append(breaker.park_slot(now_ms))
            assert slots[-1] >= now_ms + 1_000
    assert slots == sorted(slots)
    for first, start_ms in enumerate(slots):
        for count, slot_ms in enumerate(slots[first:]):
            # Both ends are cut to whole milliseconds.
            assert count <= (slot_ms - start_ms + 1) * per_s / 1_000 * 1.002


@pytest.mark.parametrize("per_s", [1, 3, 7, 300, 999, 10_000])
def test_slots_keep_their_pace_however_many_there_are(per_s: int) -> None:
    breaker = closed(park_per_s=per_s)
    slots = [breaker.park_slot(NOW_MS) for _ in range(10 * per_s + 1)]
    assert slots[-1] - slots[0] == pytest.approx(10_000, rel=0.005)
    steps = [later - earlier for earlier, later in pairwise(slots)]
    assert max(steps) - min(steps) <= 1, "evenly"


def test_idle_is_closed_without_failures_and_without_slots_to_come() -> None:
    breaker = closed()
    assert breaker.is_idle(NOW_MS)
    breaker.note(DOWN, NOW_MS)
    assert not breaker.is_idle(NOW_MS)
    breaker.note(GOOD, NOW_MS)
    assert breaker.is_idle(NOW_MS)
    slot_ms = breaker.park_slot(NOW_MS)
    assert not breaker.is_idle(slot_ms)
    assert breaker.is_idle(slot_ms + 100)
    assert not opened().is_idle(NOW_MS + 1_000_000_000)


def many() -> Destinations:
    return Destinations(SETTINGS)


def sends(several: Destinations, app_id: str, destination: str, at_ms: int) -> bool:
    """Whether a row for this destination would be sent."""
    breaker = several.find(app_id, destination)
    return breaker is None or admits(breaker, at_ms)


def open_one(all_of_them: Destinations, app_id: str, destination: str) -> None:
    for _ in range(3):
        all_of_them.note(app_id, destination, DOWN, NOW_MS)


def test_each_app_and_destination_has_its_own() -> None:
    several = many()
    open_one(several, "a", "x")
    assert not sends(several, "a", "x", NOW_MS)
    for app_id, destination in (("a", "y"), ("b", "x"), ("ax", "")):
        assert sends(several, app_id, destination, NOW_MS)
        assert not several.note(app_id, destination, DOWN, NOW_MS)


def test_a_destination_in_good_order_is_not_kept() -> None:
    several = many()
    for n in range(100):
        assert not several.note("a", str(n), GOOD, NOW_MS)
        assert sends(several, "a", str(n), NOW_MS)
    assert not several.known


@pytest.mark.parametrize("failures", [1, 3])
def test_a_destination_that_has_healed_is_forgotten(failures: int) -> None:
    several = many()
    for _ in range(failures):
        several.note("a", "x", DOWN, NOW_MS)
    assert not several.note("a", "x", GOOD, NOW_MS + OPEN_MS)
    assert not several.known
    assert sends(several, "a", "x", NOW_MS + OPEN_MS)


def test_one_with_slots_to_come_is_kept_so_that_they_are_not_given_twice() -> None:
    several = many()
    open_one(several, "a", "x")
    slots = [several.park_slot("a", "x", NOW_MS) for _ in range(5)]
    healed_ms = NOW_MS + OPEN_MS
    several.note("a", "x", GOOD, healed_ms - 900)
    assert several.park_slot("a", "x", healed_ms - 900) == slots[-1] + 100
    several.note("a", "x", GOOD, healed_ms + 600)
    assert not several.known


def test_a_callback_type_may_have_its_own_rules() -> None:
    several, rules = many(), OutageRules(open_ms=5_000, park_per_s=1_000)
    for _ in range(3):
        several.note("a", "kafka:a.x", DOWN, NOW_MS, rules)
        several.note("a", "http://x", DOWN, NOW_MS)
    slots = [several.park_slot("a", "kafka:a.x", NOW_MS, rules) for _ in range(3)]
    assert slots == [NOW_MS + 5_000 + n for n in range(3)]
    assert several.park_slot("a", "http://x", NOW_MS) == NOW_MS + OPEN_MS
    assert sends(several, "a", "kafka:a.x", NOW_MS + 5_000)
    assert not sends(several, "a", "http://x", NOW_MS + 5_000)


def test_a_slow_destination_is_given_slots_without_ever_failing() -> None:
    several = many()
    assert several.park_slot("a", "x", NOW_MS) == NOW_MS + 1_000
    assert several.park_slot("a", "x", NOW_MS) == NOW_MS + 1_100
    assert sends(several, "a", "x", NOW_MS)


def test_no_more_are_remembered_than_the_bound() -> None:
    several = many()
    most = destinations_module._MOST
    for n in range(most + 50):
        several.note("a", str(n), DOWN, NOW_MS)
        assert len(several.known) <= most
    assert len(several.known) == most == 10_000
    several.park_slot("b", "x", NOW_MS)
    assert len(several.known) == most


def test_beyond_the_bound_the_one_not_used_for_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """An app whose destinations all fail must not make the node forget another's that is in use."""
    monkeypatch.setattr(destinations_module, "_MOST", 10)
    several = many()
    open_one(several, "shop", "down")
    for n in range(50):
        several.note("noisy", str(n), DOWN, NOW_MS)
        assert not sends(several, "shop", "down", NOW_MS)
        several.park_slot("shop", "down", NOW_MS)
