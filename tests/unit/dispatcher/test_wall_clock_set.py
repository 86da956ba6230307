"""What the dispatcher keeps in memory, when the wall clock is set and that is relied on."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.contract.builders import START_MS, make_app
from tests.harness.virtual import LoopClock, on_virtual_time
from tests.unit.dispatcher.rig import instances_of, make_node, make_owned, make_rig
from tests.unit.spy_store import SpyStore

from ringtime_dispatcher.delivery.ledger import RowItem
from ringtime_dispatcher.delivery.policy import Policies
from ringtime_dispatcher.delivery.queue import Timetable, Turns
from ringtime_dispatcher.reading.polling import Poller
from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.clock import ManualClock
from ringtime_shared.coordination.memory import Hub
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.settings import AppLimits, DispatchSettings, RetrySettings
from ringtime_shared.stores.memory import MemoryStore

HOUR_MS = 3_600_000


@on_virtual_time
async def test_what_waits_for_a_slot_is_handed_over_soon_after_its_time_comes() -> None:
    """Also if it looked an hour away in between, and the timer was set by that."""
    clock, handed = LoopClock(), list[int]()
    table: Timetable[int] = Timetable(clock, handed.append)
    clock.back_ms = HOUR_MS
    table.add(START_MS + 2_000, 1)
    clock.back_ms = 0
    await asyncio.sleep(3)
    assert handed == [1]


@on_virtual_time
async def test_what_nobody_wants_any_more_does_not_wait_for_the_time_to_come_again() -> None:
    clock, dropped = LoopClock(), list[int]()

    def drop(item: int) -> bool:
        dropped.extend([item] * (item % 2))
        return item % 2 == 1

    table: Timetable[int] = Timetable(clock, lambda _: None, drop)
    clock.back_ms = HOUR_MS
    for n in range(4):
        table.add(START_MS + 300 + n, n)
    await asyncio.sleep(1.5)
    assert dropped == [1, 3]
    assert len(table) == 2


@on_virtual_time
async def test_rows_of_an_instance_that_was_given_up_leave_room_for_the_next_term() -> None:
    rig = make_rig()
    for n in range(3):
        await rig.put(rig.row(START_MS + 100 + n))
    rig.clock.back_ms = HOUR_MS
    rig.owned.stop()
    await asyncio.sleep(2)
    assert rig.rows_held() == 0


@on_virtual_time
async def test_a_rate_goes_on_when_the_clock_is_set_back() -> None:
    rig = make_rig(configuration=AppConfiguration(max_per_second=1))
    rows = [rig.row(START_MS + 10 + n) for n in range(3)]
    await rig.put(*rows)
    await asyncio.sleep(0.5)
    assert len(rig.receiver.sent) == 1
    rig.clock.back_ms = HOUR_MS
    await asyncio.sleep(2.5)
    assert len(rig.receiver.sent) == 3


@pytest.mark.parametrize("set_ms", [HOUR_MS, -HOUR_MS])
@on_virtual_time
async def test_a_destination_is_left_alone_as_long_as_it_should_be(set_ms: int) -> None:
    rig = make_rig()
    settings = DispatchSettings(breaker_failures=1, breaker_open_ms=30_000)
    turns = Turns(settings, rig.clock, {"sim": rig.receiver}, lambda: None)
    policy = Policies(settings, RetrySettings(), AppLimits()).of_app(rig.app.app_id, rig.app)
    item = RowItem(rig.owned, rig.row(START_MS))
    assert turns.offer(item, policy)
    turns.take()
    turns.note(item, Reply(ok=False, code=503))
    turns.end(item)
    rig.clock.back_ms = -set_ms
    await asyncio.sleep(29)
    assert not turns.offer(item, policy)
    assert 1_000 <= turns.park_slot(item) - rig.clock.now_ms() <= 1_100
    await asyncio.sleep(1.1)
    assert turns.offer(item, policy)
    turns.close()


async def test_a_tick_after_a_long_time_reads_the_index_some_minutes_at_a_time() -> None:
    clock = ManualClock(START_MS)
    store = SpyStore(clock.now_ms)
    app = make_app()
    owned = make_owned(app)
    settings, sink = DispatchSettings(walk_buckets=60), cast(Any, SimpleNamespace())
    poller = Poller(cast(Any, store), clock, settings, instances_of(owned), sink, lambda _: 10)
    await poller.tick()
    clock.step_wall(3 * HOUR_MS)
    store.calls.clear()
    await poller.tick()
    assert store.names() == ["fetch_index"] * 4 + ["fetch_arrivals"], "180 minutes and this one"


class SetClock(LoopClock):
    """Was set, and relied on again, between two looks of the owner."""

    times_set = 0

    def steps(self) -> int:
        return self.times_set


@on_virtual_time
async def test_a_clock_that_was_set_unseen_ends_every_term() -> None:
    clock = SetClock()
    store = MemoryStore(clock.now_ms)
    app = await store.create_app(make_app())
    hub = Hub()
    dispatcher = make_node(store, clock, hub)
    await dispatcher.start()
    await asyncio.sleep(5)
    instances = list(app.instances())
    before = await store.fetch_terms(instances)
    await asyncio.sleep(5)
    assert await store.fetch_terms(instances) == before
    clock.times_set = 1
    clock.back_ms = HOUR_MS
    await asyncio.sleep(5)
    after = await store.fetch_terms(instances)
    assert all(after[each] > before[each] for each in instances)
    marks = await store.fetch_marks(instances)
    assert max(max(each) for each in marks.values()) < clock.now_ms()
    await dispatcher.stop()
