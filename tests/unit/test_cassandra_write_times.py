"""The timestamps of writes."""

from __future__ import annotations

from ringtime_shared.clock import ManualClock
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
