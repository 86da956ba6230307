"""Sealing: what may be sealed, in which order it is done, and what a failure leaves behind."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.contract.builders import BUCKET, START_MS, key_of, make_app, make_outcome, make_row, make_update
from tests.unit.dispatcher.rig import instances_of, make_owned
from tests.unit.spy_store import SpyStore

from ringtime_dispatcher.ownership.instance import OwnedInstance
from ringtime_dispatcher.reading.sealing import Sealer, plan_seals
from ringtime_shared.buckets import BUCKET_MS, last_slot
from ringtime_shared.clock import ManualClock
from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.models.schedule import Row
from ringtime_shared.settings import DispatchSettings
from ringtime_shared.stores.protocol import LAST_ID, DamagedRow, Marks, Position

APP = make_app(polled=4, writable=4)
LAG_MS = 2_000
END_MS = last_slot(BUCKET)


def active(partition: int = 0, *, read_ms: int) -> OwnedInstance:
    """An instance with rows in `BUCKET`, read up to `read_ms`."""
    owned = make_owned(APP, partition, settled_ms=START_MS - 1)
    owned.open_bucket(BUCKET)
    owned.set_front(BUCKET, Position(read_ms, LAST_ID))
    return owned


def plan(*owned: OwnedInstance, limit_ms: int, walk_buckets: int = 60) -> list[tuple[int, int]]:
    seals = plan_seals(owned, limit_ms=limit_ms, walk_buckets=walk_buckets)
    return [(each.instance.partition, upto_ms) for each, upto_ms in seals]


def test_an_active_instance_is_sealed_as_far_as_it_is_read() -> None:
    limit_ms = START_MS + 30_000
    assert plan(active(read_ms=limit_ms + 5_000), limit_ms=limit_ms) == [(0, limit_ms)]
    assert plan(active(read_ms=limit_ms - 5_000), limit_ms=limit_ms) == [(0, limit_ms - 5_000)]
    assert plan(active(read_ms=START_MS - 1), limit_ms=limit_ms) == []


@pytest.mark.parametrize("flag", ["is_draining", "is_walked"])
def test_an_instance_that_leaves_or_is_not_walked_is_not_sealed(flag: str) -> None:
    owned = active(read_ms=END_MS)
    setattr(owned, flag, not getattr(owned, flag))
    assert plan(owned, limit_ms=START_MS + 30_000) == []


def test_a_long_way_is_gone_in_bounded_steps() -> None:
    idle = make_owned(APP, settled_ms=START_MS - 1)
    assert plan(idle, limit_ms=END_MS + 500 * BUCKET_MS, walk_buckets=60) == [
        (0, START_MS - 1 + 60 * BUCKET_MS)
    ]


def test_outcomes_alone_are_reason_enough() -> None:
    """The last row of a minute was slow: nothing is left to seal, but `settled` can follow."""
    owned = active(read_ms=END_MS)
    key = key_of(make_row(APP))
    owned.take(key)
    owned.set_checked(START_MS + 10_000)
    owned.settled_ms = owned.settleable_ms()
    assert plan(owned, limit_ms=START_MS + 10_000) == []
    owned.close(key)
    assert plan(owned, limit_ms=START_MS + 10_000) == [(0, START_MS + 10_000)]


class Rounds:
    """A sealer over some instances; by default one with rows that is read ahead of the clock."""

    def __init__(self, *owned: OwnedInstance, now_ms: int = START_MS + 30_000, **dispatch: Any) -> None:
        self.clock = ManualClock(now_ms)
        self.store = SpyStore(self.clock.now_ms)
        self.owned = owned or (active(read_ms=now_ms + 250),)
        self.instances = instances_of(*self.owned)
        self.late: list[Row] = []
        self.damaged: list[DamagedRow] = []
        self.sealer = Sealer(
            cast(Any, self.store),
            self.clock,
            DispatchSettings(
                **{
                    "seal_lag_ms": LAG_MS,
                    "walk_buckets": 60,
                    "seal_rows": 0,
                    "idle_seal_minutes": 1,
                    **dispatch,
                }
            ),
            self.instances,
            self,
        )
        self.sealed_ms = now_ms - LAG_MS

    def accept(self, owned: OwnedInstance, row: Row) -> bool:
        is_new = owned.take(key_of(row))
        if is_new:
            self.late.append(row)
        return is_new

    def reject(self, owned: OwnedInstance, row: DamagedRow) -> None:
        if owned.take(Position(row.place.slot_ms, row.schedule_id)):
            self.damaged.append(row)

    async def marks(self) -> Marks:
        instance = self.owned[0].instance
        return (await self.store.real.fetch_marks([instance]))[instance]


async def test_seal_is_published_before_the_final_read_begins() -> None:
    rounds = Rounds()
    await rounds.sealer.round()
    assert rounds.store.names() == ["put_marks", "fetch_live_ids"]
    assert await rounds.marks() == Marks(rounds.sealed_ms, START_MS - 1)
    assert rounds.owned[0].checked_ms == rounds.sealed_ms


async def test_an_idle_minute_is_looked_up_in_the_index_behind_the_publish() -> None:
    rounds = Rounds(make_owned(APP, settled_ms=START_MS - 1), now_ms=END_MS + 1 + LAG_MS)
    await rounds.sealer.round()
    assert rounds.store.names() == ["put_marks", "fetch_index", "fetch_live_ids"]
    assert await rounds.marks() == Marks(END_MS, START_MS - 1)


async def test_each_minute_of_the_index_is_read_once_though_each_is_checked_up_to_another() -> None:
    owned = [
        make_owned(APP, n, settled_ms=START_MS - 1 - ago * BUCKET_MS) for n, ago in enumerate((0, 2, 500))
    ]
    rounds = Rounds(*owned, now_ms=END_MS + 1 + LAG_MS)
    await rounds.sealer.round()
    # The last one is a long way back and gets 60 minutes of it; what lies between is nobody's to read.
    firsts = [first for name, first in rounds.store.calls if name == "fetch_index"]
    assert firsts == [BUCKET - 500, BUCKET - 2]


async def test_settled_follows_a_round_behind() -> None:
    rounds = Rounds()
    await rounds.sealer.round()
    await rounds.sealer.round()
    assert await rounds.marks() == Marks(rounds.sealed_ms, rounds.sealed_ms)
    assert rounds.owned[0].is_settled


async def test_a_row_that_landed_after_its_slot_was_read_is_found_once() -> None:
    rounds = Rounds()
    seen, late, cancelled = (make_row(APP, START_MS + n) for n in (1, 2, 3))
    await rounds.store.real.put_rows([seen, late, cancelled])
    await rounds.store.real.put_cancel(cancelled.place, cancelled.schedule.schedule_id, START_MS)
    rounds.owned[0].take(key_of(seen))
    await rounds.sealer.round()
    await rounds.sealer.round()
    assert rounds.late == [late]
    assert rounds.owned[0].settleable_ms() == START_MS, "under the oldest open row"


async def test_a_row_above_the_seal_is_left_to_the_tick() -> None:
    rounds = Rounds()
    await rounds.store.real.put_rows([make_row(APP, rounds.sealed_ms + 1), make_row(APP, rounds.sealed_ms)])
    await rounds.sealer.round()
    assert [row.place.slot_ms for row in rounds.late] == [rounds.sealed_ms]


async def test_a_row_that_ended_between_the_two_reads_is_not_fired() -> None:
    rounds = Rounds()
    row = make_row(APP)
    await rounds.store.real.put_rows([row])
    real = rounds.store.real.fetch_live_ids

    async def then_ends(queries: Any) -> Any:
        found = await real(queries)
        await rounds.store.real.put_updates([make_update(row, make_outcome())])
        return found

    rounds.store.real.fetch_live_ids = then_ends  # type: ignore[method-assign]
    await rounds.sealer.round()
    assert rounds.late == []


async def test_the_first_row_of_an_idle_minute_is_found() -> None:
    rounds = Rounds(make_owned(APP, settled_ms=START_MS - 1), now_ms=END_MS + 1 + LAG_MS)
    row = make_row(APP, END_MS)
    await rounds.store.real.put_rows([row, make_row(APP, END_MS, 3)])
    await rounds.sealer.round()
    assert rounds.late == [row], "and nothing of an instance owned elsewhere"


@pytest.mark.parametrize("error", [StoreUnavailable("no"), OutcomeUnknown("silence")])
async def test_without_a_publish_nothing_is_read_or_checked(error: Exception) -> None:
    rounds = Rounds()
    rounds.store.fail("put_marks", error)
    with pytest.raises(type(error)):
        await rounds.sealer.round()
    assert rounds.store.names() == ["put_marks"]
    assert (rounds.owned[0].sealed_ms, rounds.owned[0].checked_ms) == (START_MS - 1, START_MS - 1)


async def test_a_failed_final_read_is_repeated_from_where_it_was() -> None:
    rounds = Rounds()
    row = make_row(APP, START_MS + 5)
    await rounds.store.real.put_rows([row])
    rounds.store.fail("fetch_live_ids", StoreUnavailable("no"))
    with pytest.raises(StoreUnavailable):
        await rounds.sealer.round()
    assert rounds.owned[0].checked_ms == START_MS - 1
    rounds.clock.advance(2_000)
    await rounds.sealer.round()
    assert rounds.late == [row]
    assert (await rounds.marks()).settled_ms == START_MS - 1


async def test_an_idle_instance_costs_one_write_a_minute() -> None:
    rounds = Rounds(make_owned(APP, settled_ms=START_MS - 1), now_ms=END_MS + 1 + LAG_MS)
    for _ in range(30):
        await rounds.sealer.round()
        rounds.clock.advance(1_999)
    assert rounds.store.names().count("put_marks") == 1
    assert await rounds.marks() == Marks(END_MS, START_MS - 1)
    rounds.clock.advance(2_000)
    await rounds.sealer.round()
    assert await rounds.marks() == Marks(END_MS + BUCKET_MS, END_MS), "`settled` follows with the next"


async def test_whoever_has_rows_is_brought_up_to_their_minute_with_those_that_have_none() -> None:
    """So their minute's end asks for their ids alone, though they were idle before it."""
    idle, closing, ahead = (make_owned(APP, n, settled_ms=START_MS - 1 - BUCKET_MS) for n in range(3))
    rounds = Rounds(idle, closing, ahead, now_ms=START_MS + LAG_MS + 1, seal_rows=1_000)
    await rounds.sealer.round()
    assert {each.checked_ms for each in rounds.owned} == {START_MS - 1}
    rounds.clock.advance(BUCKET_MS)
    rounds.instances.open_bucket(closing, BUCKET)
    rounds.instances.open_bucket(ahead, BUCKET + 1)
    late = make_row(APP, START_MS + 5)
    await rounds.store.real.put_rows([late])
    rounds.store.calls.clear()
    await rounds.sealer.round()
    assert rounds.store.names() == ["put_marks", "fetch_index", "fetch_live_ids", "fetch_row"]
    assert rounds.late == [late]
    assert idle.checked_ms == ahead.checked_ms == END_MS
    assert closing.checked_ms == START_MS - 1, "it has rows that are not read yet"
    closing.set_front(BUCKET, Position(END_MS, LAST_ID))
    rounds.store.calls.clear()
    await rounds.sealer.round()
    assert rounds.store.names() == ["put_marks", "fetch_live_ids"]
    assert closing.checked_ms == END_MS


async def test_the_index_behind_a_minute_is_read_once_for_those_sealed_and_for_what_nobody_told_of() -> None:
    app = make_app(polled=40, writable=40)
    owned = [make_owned(app, n, settled_ms=START_MS - 1 - BUCKET_MS) for n in range(40)]
    rounds = Rounds(*owned, now_ms=START_MS + LAG_MS + 1, seal_rows=1_000, idle_seal_minutes=2)
    await rounds.sealer.round()
    for minute in range(4):
        rounds.clock.advance(BUCKET_MS)
        rows = [make_row(app, START_MS + minute * BUCKET_MS, n) for n in range(40)]
        await rounds.store.real.put_rows(rows)
        rounds.store.calls.clear()
        rounds.late.clear()
        await rounds.sealer.round()
        firsts = [first for name, first in rounds.store.calls if name == "fetch_index"]
        assert firsts == ([] if minute else [BUCKET - 1]) + [BUCKET + minute]
        opened = [each for each in owned if each.is_reading(BUCKET + minute)]
        assert 0 < len(opened) < 40
        assert len(opened) + len(rounds.late) == 40, "the others had their turn, and were read"
        for each in opened:
            rounds.accept(each, rows[each.instance.partition])
            each.set_front(BUCKET + minute, Position(END_MS + minute * BUCKET_MS, LAST_ID))
        await rounds.sealer.round()
        assert not any(each.has_rows for each in owned)


async def test_who_begins_to_leave_while_it_is_sealed_is_not_checked() -> None:
    """What the index names of it then is not opened, and so not read."""
    owned = make_owned(APP, settled_ms=START_MS - 1)
    rounds = Rounds(owned, now_ms=END_MS + 1 + LAG_MS)
    await rounds.store.real.put_rows([make_row(APP, START_MS + 5)])
    real = rounds.store.real.fetch_index

    async def while_it_leaves(*args: Any) -> Any:
        owned.stop()
        return await real(*args)

    rounds.store.real.fetch_index = while_it_leaves  # type: ignore[method-assign, assignment]
    await rounds.sealer.round()
    assert (owned.sealed_ms, owned.checked_ms, owned.settleable_ms()) == (END_MS, START_MS - 1, START_MS - 1)


async def test_catching_up_is_said_until_it_is_done() -> None:
    rounds = Rounds(make_owned(APP, settled_ms=START_MS - 1), now_ms=START_MS + 150 * BUCKET_MS)
    said: list[bool] = []
    while not said or said[-1]:
        said.append(await rounds.sealer.round())
        assert len(said) < 10
    assert said == [True, True, False]
    assert rounds.owned[0].checked_ms >= START_MS + 148 * BUCKET_MS


async def test_a_round_without_instances_does_nothing() -> None:
    rounds = Rounds()
    sealer = Sealer(cast(Any, rounds.store), rounds.clock, DispatchSettings(), instances_of(), rounds)
    assert await sealer.round() is False
    assert rounds.store.calls == []


async def test_many_idle_instances_are_sealed_some_thousand_marks_at_a_time() -> None:
    """And every minute only: in between nobody looks at them."""
    app = make_app(polled=9_000, writable=9_000)
    rounds = Rounds(
        *(make_owned(app, n, settled_ms=START_MS - 1) for n in range(9_000)), now_ms=END_MS + 10_000
    )
    for minute in range(2):
        rounds.store.calls.clear()
        rounds.clock.advance(minute * BUCKET_MS)
        await rounds.sealer.round()
        assert rounds.store.sizes("put_marks") == [4_000, 4_000, 1_000]
        assert rounds.store.names().count("fetch_index") <= 1
    assert {each.settled_ms for each in rounds.owned} == {END_MS}
    rounds.store.calls.clear()
    for _ in range(20):
        await rounds.sealer.round()
    assert rounds.store.calls == []


async def test_an_outcome_that_comes_after_the_last_read_is_settled_before_the_minute_ends() -> None:
    rounds = Rounds(now_ms=START_MS + 30_000)
    owned = rounds.owned[0]
    key = key_of(make_row(APP, START_MS))
    owned.take(key)
    owned.set_front(BUCKET, Position(END_MS, LAST_ID))
    rounds.clock.advance(END_MS + 10_000 - rounds.clock.now_ms())
    for _ in range(3):
        await rounds.sealer.round()
    assert not owned.has_rows
    assert owned.settled_ms == START_MS - 1
    owned.close(key)
    await rounds.sealer.round()
    assert owned.settled_ms == owned.checked_ms >= END_MS
