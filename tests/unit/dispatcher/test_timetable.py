"""The timetable: at the slot or later, whatever the timer's clock says."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from tests.contract.builders import START_MS
from tests.harness.virtual import LoopClock, on_virtual_time
from tests.unit.spy_store import spin

from ringtime_dispatcher.delivery.queue import Timetable
from ringtime_shared.clock import ManualClock


@on_virtual_time
async def test_items_come_in_order_of_their_slots() -> None:
    clock, handed = LoopClock(), []
    table: Timetable[int] = Timetable(clock, lambda slot: handed.append((slot, clock.now_ms() - START_MS)))
    for slot in (700, 300, 301, 5_000, 1):
        table.add(START_MS + slot, slot)
    assert len(table) == 5
    await asyncio.sleep(6)
    assert [slot for slot, _ in handed] == [1, 300, 301, 700, 5_000]
    assert all(slot <= at <= slot + 1 for slot, at in handed)
    assert len(table) == 0


@on_virtual_time
async def test_equal_slots_keep_their_order() -> None:
    handed: list[int] = []
    table: Timetable[int] = Timetable(LoopClock(), handed.append)
    for item in range(10):
        table.add(START_MS + 50, item)
    await asyncio.sleep(1)
    assert handed == list(range(10))


@on_virtual_time
async def test_an_earlier_item_brings_the_timer_forward() -> None:
    clock, handed = LoopClock(), []
    table: Timetable[str] = Timetable(clock, lambda item: handed.append((item, clock.boot_ms())))
    table.add(START_MS + 10_000, "late")
    table.add(START_MS + 100, "early")
    await asyncio.sleep(11)
    assert handed[0][0] == "early"
    assert handed[0][1] <= 101


async def test_what_is_due_is_handed_over_at_once() -> None:
    clock, handed = ManualClock(START_MS), list[int]()
    table: Timetable[int] = Timetable(clock, handed.append)
    table.add(START_MS, 1)
    table.add(START_MS - 60_000, 2)
    assert handed == [1, 2]
    table.add(START_MS + 1, 3)
    assert handed == [1, 2]
    table.close()


async def test_a_timer_that_fires_early_hands_nothing_over() -> None:
    """Wall time may run behind the loop's: after a step back, a slow clock, a timer's rounding."""
    clock, handed = ManualClock(START_MS), list[int]()
    table: Timetable[int] = Timetable(clock, handed.append)
    table.add(START_MS + 100, 100)
    clock.advance(99)
    table._fire()
    assert handed == []
    assert table._timer is not None, "it is armed again"
    clock.advance(1)
    table._fire()
    assert handed == [100]
    assert table._timer is None


@on_virtual_time
async def test_a_wall_clock_set_back_delays_and_set_forward_is_noticed_at_the_next_timer() -> None:
    clock = ManualClock(START_MS)
    handed: list[int] = []
    table: Timetable[int] = Timetable(clock, handed.append)
    table.add(START_MS + 1_000, 1)
    clock.step_wall(-5_000)
    await asyncio.sleep(1.5)
    assert handed == []
    clock.step_wall(60_000)
    await asyncio.sleep(10)
    assert handed == [1]


@on_virtual_time
async def test_an_item_may_add_another() -> None:
    clock, handed = LoopClock(), list[int]()

    def on_due(item: int) -> None:
        handed.append(item)
        if item < 3:
            table.add(clock.now_ms() + 100, item + 1)

    table: Timetable[int] = Timetable(clock, on_due)
    table.add(START_MS + 100, 0)
    table.add(START_MS + 5_000, 9)
    await asyncio.sleep(6)
    assert handed == [0, 1, 2, 3, 9]


@on_virtual_time
async def test_where_much_is_due_at_once_others_have_their_turns_meanwhile() -> None:
    handed: list[int] = []
    table: Timetable[int] = Timetable(LoopClock(), handed.append)
    for number in range(4_000):
        table.add(START_MS + 100, number)
    await asyncio.sleep(0.1)
    counts = [len(handed)]
    while counts[-1] < 4_000:
        await asyncio.sleep(0)
        counts.append(len(handed))
    assert handed == list(range(4_000))
    assert {after - before for before, after in pairwise(counts)} == {1_000}
    table.add(START_MS + 200, 4_000)  # and it goes on
    await asyncio.sleep(0.2)
    assert handed[-1] == 4_000


@on_virtual_time
async def test_a_closed_timetable_hands_nothing_over() -> None:
    handed: list[int] = []
    table: Timetable[int] = Timetable(LoopClock(), handed.append)
    table.add(START_MS + 100, 1)
    table.close()
    await asyncio.sleep(1)
    await spin()
    assert handed == []
