"""The timestamps of writes, and how long they last."""

from __future__ import annotations

from dataclasses import replace

from tests.contract.builders import make_app
from tests.contract.test_claim_store import make_claim

from ringtime_shared.clock import ManualClock
from ringtime_shared.stores.cassandra.claims import claim_ttl_s
from ringtime_shared.stores.cassandra.cluster import WriteTimes


def test_the_later_write_has_the_later_timestamp() -> None:
    clock = ManualClock()
    next_us = WriteTimes(clock.now_ms)
    times = [next_us() for _ in range(3)]
    clock.step_wall(-4_000)  # as a correction by less than the bound of the watched clock
    times += [next_us() for _ in range(3)]
    clock.advance(5_000)
    times += [next_us()]
    assert times == sorted(set(times))
    assert times[0] == ManualClock().now_ms() * 1_000
    assert times[-1] == clock.now_ms() * 1_000


def test_a_false_time_is_left_when_the_clock_is_set_back() -> None:
    clock = ManualClock()
    next_us = WriteTimes(clock.now_ms)
    clock.step_wall(3_600_000)
    next_us()
    clock.step_wall(-3_600_000)
    assert next_us() == clock.now_ms() * 1_000


def test_a_claim_ends_when_it_says_and_one_of_a_century_never() -> None:
    now_ms = ManualClock().now_ms()
    claim = make_claim(make_app())
    ends = {60_000: 60, 1: 1, -5_000: 1, 100 * 366 * 86_400_000: 0}
    told = {ahead: claim_ttl_s(replace(claim, expires_ms=now_ms + ahead), now_ms) for ahead in ends}
    assert told == ends
