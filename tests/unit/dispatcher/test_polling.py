"""Which pages a tick reads, and in which order."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.contract.builders import BUCKET, START_MS, before, key_of, make_app, make_row, make_rows
from tests.unit.dispatcher.rig import instances_of, make_owned
from tests.unit.spy_store import SpyStore

from ringtime_dispatcher.ownership.instance import OwnedInstance
from ringtime_dispatcher.reading.polling import Poller, plan_reads
from ringtime_shared.buckets import last_slot
from ringtime_shared.clock import ManualClock
from ringtime_shared.models.schedule import Row
from ringtime_shared.parts import GROUPS, PartMap
from ringtime_shared.settings import DispatchSettings
from ringtime_shared.stores.protocol import DamagedRow, DueQuery

APP = make_app(polled=8, writable=8)
END_MS = last_slot(BUCKET)


def reading(partition: int, *buckets: int) -> OwnedInstance:
    owned = make_owned(APP, partition)
    for bucket in buckets:
        owned.open_bucket(bucket)
    return owned


def plan(*owned: OwnedInstance, horizon_ms: int = END_MS, page_rows: int = 100, room: int = 1_000) -> Any:
    return plan_reads(owned, horizon_ms=horizon_ms, page_rows=page_rows, room=lambda _: room)


def test_the_oldest_is_read_first() -> None:
    young, old = reading(0, BUCKET), reading(1, BUCKET - 1)
    assert [owned for owned, _ in plan(young, old)] == [old, young]


def test_a_query_ends_with_its_bucket_and_with_the_horizon() -> None:
    owned = reading(0, BUCKET)
    [(_, near)] = plan(owned, horizon_ms=START_MS + 250)
    assert near == DueQuery(owned.instance, BUCKET, before(START_MS), START_MS + 250, 100)
    [(_, far)] = plan(owned, horizon_ms=END_MS + 5_000)
    assert far.upto_ms == END_MS


def test_no_more_rows_than_there_is_room_for() -> None:
    owned = [reading(partition, BUCKET) for partition in range(4)]
    assert [query.limit for _, query in plan(*owned, room=250)] == [100, 100, 50]
    assert [query.limit for _, query in plan(*owned, room=200)] == [100, 100]
    assert plan(*owned, room=0) == []
    assert plan(*owned, room=-5) == []


def test_one_app_without_room_does_not_keep_another_waiting() -> None:
    full, free = reading(0, BUCKET - 1), make_owned(make_app(app_id="other"), 0)
    free.open_bucket(BUCKET)
    rooms = {full.instance.app_id: 0, "other": 70}
    plans = plan_reads([full, free], horizon_ms=END_MS, page_rows=100, room=rooms.__getitem__)
    assert [(owned, query.limit) for owned, query in plans] == [(free, 70)]


def test_what_drains_or_is_read_already_is_left_alone() -> None:
    draining, idle, future = reading(0, BUCKET), reading(1), reading(2, BUCKET + 1)
    draining.is_draining = True
    assert plan(draining, idle, future) == []


class Sink:
    """Takes rows until it is full."""

    def __init__(self, room: int) -> None:
        self.rows: list[Row] = []
        self._room = room

    def room(self, app_id: str) -> int:
        return self._room - len(self.rows)

    def accept(self, owned: OwnedInstance, row: Row) -> bool:
        is_new = owned.take(key_of(row))
        if is_new:
            self.rows.append(row)
        return is_new

    def reject(self, owned: OwnedInstance, row: DamagedRow) -> None:
        raise AssertionError(row)


class Ticks:
    """A poller over one partition or two."""

    def __init__(self, *, room: int = 1_000, page_rows: int = 3) -> None:
        self.clock = ManualClock(START_MS)
        self.store = SpyStore(self.clock.now_ms)
        self.owned = [make_owned(APP, partition) for partition in range(2)]
        self.sink = Sink(room)
        self.poller = Poller(
            cast(Any, self.store),
            self.clock,
            DispatchSettings(page_rows=page_rows, read_ahead_ms=250),
            instances_of(*self.owned),
            self.sink,
            self.sink.room,
        )

    def slots(self) -> list[int]:
        return [row.place.slot_ms - START_MS for row in self.sink.rows]


async def test_a_tick_reads_up_to_the_read_ahead_and_no_further() -> None:
    ticks = Ticks()
    await ticks.store.put_rows(make_rows(APP, [START_MS + n for n in (0, 249, 250, 251, 400)]))
    await ticks.poller.tick()
    assert ticks.slots() == [0, 249, 250]
    ticks.clock.advance(250)
    await ticks.poller.tick()
    assert ticks.slots() == [0, 249, 250, 251, 400]


async def test_pages_are_read_to_their_end_and_every_row_once() -> None:
    ticks = Ticks(page_rows=3)
    await ticks.store.put_rows([*make_rows(APP, [START_MS] * 7), *make_rows(APP, [START_MS + 1] * 2)])
    await ticks.poller.tick()
    await ticks.poller.tick()
    assert ticks.slots() == [0] * 7 + [1] * 2


async def test_reading_stops_when_memory_is_full_and_goes_on_later() -> None:
    ticks = Ticks(room=4)
    await ticks.store.put_rows(make_rows(APP, [START_MS + n for n in range(10)]))
    await ticks.poller.tick()
    assert ticks.slots() == [0, 1, 2, 3]
    ticks.sink._room = 100
    await ticks.poller.tick()
    assert ticks.slots() == list(range(10))


async def test_near_the_end_of_a_minute_the_next_one_is_read_too() -> None:
    ticks = Ticks()
    await ticks.store.put_rows(make_rows(APP, [END_MS, END_MS + 1]))
    ticks.clock.advance(59_900)
    await ticks.poller.tick()
    assert ticks.slots() == [59_999, 60_000]


async def test_a_minute_passed_over_between_two_ticks_is_looked_at() -> None:
    ticks = Ticks()
    await ticks.poller.tick()
    await ticks.store.put_rows([make_row(APP, START_MS + 30_000), make_row(APP, START_MS + 90_000)])
    ticks.clock.advance(150_000)
    await ticks.poller.tick()
    assert ticks.slots() == [30_000, 90_000]


async def test_idle_instances_cost_one_look_at_the_arrivals_a_tick_and_the_index_once_a_minute() -> None:
    ticks = Ticks()
    for _ in range(4):
        await ticks.poller.tick()
    assert ticks.store.names() == ["fetch_index"] + ["fetch_arrivals"] * 4


@pytest.mark.parametrize("is_walked", [True, False])
async def test_an_instance_whose_walk_is_not_done_is_not_read(is_walked: bool) -> None:
    """Its walk must find the oldest bucket first, or the newest would be taken for all there is."""
    ticks = Ticks()
    ticks.owned[0].is_walked = is_walked
    await ticks.store.put_rows([make_row(APP)])
    await ticks.poller.tick()
    assert len(ticks.sink.rows) == is_walked


async def test_rows_of_an_instance_owned_elsewhere_are_not_read() -> None:
    ticks = Ticks()
    await ticks.store.put_rows([make_row(APP, START_MS, 7)])
    await ticks.poller.tick()
    assert ticks.sink.rows == []


async def test_an_instance_that_comes_while_the_index_is_read_is_in_that_read() -> None:
    ticks = Ticks()
    await ticks.store.real.replace_parts(PartMap(GROUPS, 1))
    await ticks.store.put_rows([make_row(APP, START_MS + 10, 5)])
    late, real = make_owned(APP, 5), ticks.store.real.fetch_index

    async def read(*args: Any) -> Any:
        found = await real(*args)
        ticks.poller._instances.add(late)
        return found

    cast(Any, ticks.store.real).fetch_index = read
    await ticks.poller.tick()
    assert ticks.slots() == [10]
