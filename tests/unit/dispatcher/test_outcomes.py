"""The outcome writer: batches without a timer, home rows first, never giving up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Self, cast

import pytest
from tests.contract.builders import START_MS, make_app, make_move, make_outcome, make_row, make_update
from tests.harness.virtual import LoopClock, on_virtual_time
from tests.unit.spy_store import SpyStore, spin

from ringtime_dispatcher.delivery.recording import OutcomeWriter, Record
from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.models.schedule import Place, Row, RowUpdate
from ringtime_shared.stores.protocol import DAMAGED_MARKS, Marks, MarksWrite

APP = make_app()


class Desk:
    """A writer over a store that holds rows 0 to 9 and a move of each."""

    def __init__(self, batch_rows: int = 100) -> None:
        self.store = SpyStore(LoopClock().now_ms)
        self.is_trusted = True
        self.writer = OutcomeWriter(
            cast(Any, self.store), LoopClock(), batch_rows, is_trusted=lambda: self.is_trusted
        )
        self.rows = [make_row(APP, START_MS + n) for n in range(10)]
        self.moves = [make_move(row, START_MS + 5_000 + n) for n, row in enumerate(self.rows)]
        self.durable: list[int] = []
        self.refused: list[int] = []

    async def fill(self) -> Self:
        await self.store.real.put_rows([*self.rows, *self.moves])
        return self

    def put(self, number: int, *, moved: bool = False) -> None:
        outcome = make_outcome(attempts=number + 1)
        move = make_update(self.moves[number], outcome) if moved else None
        self.writer.put(
            Record(
                schedule_id=self.rows[number].schedule.schedule_id,
                home=make_update(self.rows[number], outcome),
                move=move,
                on_durable=lambda: self.durable.append(number),
                on_refused=lambda: self.refused.append(number),
            )
        )

    async def has_outcome(self, row: Row) -> bool:
        stored = await self.store.real.fetch_row(row.place, row.schedule.schedule_id)
        return stored is not None and stored.outcome is not None


async def test_what_comes_while_a_write_is_out_joins_the_next() -> None:
    desk = await Desk().fill()
    gate = desk.store.hold("put_updates")
    desk.put(0)
    await spin()
    for number in range(1, 10):
        desk.put(number)
    await spin()
    gate.set()
    await spin()
    assert desk.store.sizes("put_updates") == [1, 9]
    assert desk.durable == list(range(10))


async def test_a_batch_is_bounded() -> None:
    desk = await Desk(batch_rows=4).fill()
    for number in range(10):
        desk.put(number)
    await spin()
    assert desk.store.sizes("put_updates") == [4, 4, 2]


async def test_a_record_put_after_the_writer_came_to_rest_is_written() -> None:
    desk = await Desk().fill()
    for number in range(3):
        desk.put(number)
        await spin()
    assert desk.durable == [0, 1, 2]


async def test_a_record_put_by_the_callback_of_another_is_written() -> None:
    desk = await Desk().fill()
    desk.writer.put(
        Record(
            schedule_id=desk.rows[0].schedule.schedule_id,
            home=make_update(desk.rows[0], make_outcome()),
            on_durable=lambda: desk.put(1),
            on_refused=lambda: None,
        )
    )
    await spin()
    assert desk.durable == [1]


async def test_the_home_row_is_durable_before_the_move_is_closed() -> None:
    desk = await Desk().fill()
    desk.put(0, moved=True)
    desk.put(1)
    await spin()
    written = [[update.place for update in updates] for _, updates in desk.store.calls]
    assert written == [[desk.rows[0].place, desk.rows[1].place], [desk.moves[0].place]]
    assert await desk.has_outcome(desk.moves[0])


async def test_nothing_counts_as_durable_before_the_move_is_closed() -> None:
    desk = await Desk().fill()
    desk.put(0)
    await spin()
    gate = desk.store.hold("put_updates")
    desk.put(1, moved=True)
    await spin()
    assert desk.durable == [0]
    gate.set()
    await spin()
    assert desk.durable == [0, 1]


@pytest.mark.parametrize("error", [StoreUnavailable("no"), OutcomeUnknown("silence")])
@on_virtual_time
async def test_a_failed_write_is_repeated_and_holds_up_the_move(error: Exception) -> None:
    desk = await Desk().fill()
    desk.store.fail("put_updates", *[error] * 5)
    desk.put(0, moved=True)
    await asyncio.sleep(1)
    assert desk.durable == []
    assert not await desk.has_outcome(desk.moves[0])
    await asyncio.sleep(1)
    assert desk.durable == [0]
    assert await desk.has_outcome(desk.rows[0])
    assert await desk.has_outcome(desk.moves[0])


@on_virtual_time
async def test_a_write_whose_answer_was_lost_has_no_second_effect() -> None:
    desk = await Desk().fill()
    desk.store.fail("put_updates", OutcomeUnknown("lost"), carried_out=True)
    desk.put(0)
    await asyncio.sleep(1)
    assert desk.durable == [0]


@on_virtual_time
async def test_a_cancel_that_came_out_of_the_store_costs_one_record() -> None:
    """A driver's future that somebody cancelled, twice: for the batch, and for its first record alone."""
    desk = await Desk().fill()
    desk.store.fail("put_updates", asyncio.CancelledError(), asyncio.CancelledError())
    for number in range(3):
        desk.put(number)
    await asyncio.sleep(1)
    assert (desk.durable, desk.refused) == ([1, 2], [0])


@on_virtual_time
async def test_closing_gives_up_what_is_not_written() -> None:
    desk = await Desk().fill()
    desk.store.fail("put_updates", *[StoreUnavailable("no")] * 100)
    desk.put(0)
    await asyncio.sleep(1)
    await desk.writer.close()
    tried = len(desk.store.calls)
    await asyncio.sleep(5)
    assert len(desk.store.calls) == tried
    assert desk.durable == []


async def test_closing_a_writer_that_never_wrote_is_fine() -> None:
    await Desk().writer.close()


class Refiling(Desk):
    """A writer with one row to be filed again: the row's second filing is due at `slot_ms`."""

    def __init__(self) -> None:
        super().__init__()
        self.is_given_up = False

    def file(self, number: int, slot_ms: int) -> None:
        row = self.rows[number]
        again = make_move(row, slot_ms)
        self.writer.put(
            Record(
                schedule_id=row.schedule.schedule_id,
                home=make_update(row, moved_to=again.place),
                filings=(again,),
                on_durable=lambda: self.durable.append(number),
                on_refused=lambda: self.refused.append(number),
                is_given_up=lambda: self.is_given_up,
            )
        )

    async def publish(self, sealed_ms: int, term: int = 1) -> None:
        await self.store.real.put_marks([MarksWrite(self.rows[0].place.instance, term, Marks(sealed_ms, 0))])

    async def moved_to(self, number: int) -> Place | None:
        row = await self.store.real.fetch_row(self.rows[number].place, self.rows[number].schedule.schedule_id)
        assert row is not None
        return row.moved_to


async def test_only_what_is_filed_again_costs_a_look_at_the_marks() -> None:
    desk = await Refiling().fill()
    desk.put(0)
    await spin()
    assert desk.store.names() == ["put_updates"]
    desk.file(1, START_MS + 9_000)
    await spin()
    assert desk.store.names()[1:] == ["put_rows", "fetch_marks", "put_updates"]


@on_virtual_time
async def test_what_was_filed_under_sealed_is_filed_again_above_it_before_anything_points_at_it() -> None:
    desk = await Refiling().fill()
    await desk.publish(START_MS + 9_000)
    desk.file(0, START_MS + 9_000)
    desk.file(1, START_MS + 9_001)
    held = desk.store.hold("put_updates")
    await spin()
    assert desk.store.names() == ["put_rows", "fetch_marks", "put_updates"]
    (first,) = desk.store.calls[-1][1]
    assert first.schedule_id == desk.rows[1].schedule.schedule_id
    held.set()
    await spin()
    moved_to = await desk.moved_to(0)
    assert moved_to is not None
    assert moved_to.slot_ms == START_MS + 9_002
    assert await desk.store.real.fetch_row(moved_to, desk.rows[0].schedule.schedule_id) is not None
    assert desk.durable == [1, 0]


@on_virtual_time
async def test_what_is_overtaken_while_it_is_filed_again_is_filed_a_third_time() -> None:
    desk = await Refiling().fill()
    await desk.publish(START_MS + 9_000)
    held = desk.store.hold("fetch_marks")
    desk.file(0, START_MS + 8_000)
    await spin()
    held.set()
    held = desk.store.hold("put_rows")
    await spin()
    await desk.publish(START_MS + 20_000)
    held.set()
    await spin()
    moved_to = await desk.moved_to(0)
    assert moved_to is not None
    assert moved_to.slot_ms == START_MS + 20_002
    assert desk.durable == [0]


@on_virtual_time
@pytest.mark.parametrize("is_lost", [False, True])
async def test_nothing_points_at_a_later_filing_while_the_lease_is_not_sure(is_lost: bool) -> None:
    """Its next owner may have gone on, and a client changed the schedule since."""
    desk = await Refiling().fill()
    desk.store.fail("put_updates", StoreUnavailable("away"))
    desk.file(0, START_MS + 9_000)
    desk.put(1)
    await spin()
    desk.is_trusted = False
    await asyncio.sleep(3)
    assert await desk.moved_to(0) is None
    assert desk.durable == [1], "an outcome is one, whoever writes it"
    desk.is_trusted, desk.is_given_up = not is_lost, is_lost
    await asyncio.sleep(2)
    assert (await desk.moved_to(0) is None) is is_lost
    assert (desk.durable, desk.refused) == (([1], [0]) if is_lost else ([1, 0], []))


@on_virtual_time
@pytest.mark.parametrize("is_suspect", [False, True])
async def test_a_pointer_whose_answer_was_lost_does_not_undo_a_change_made_since(is_suspect: bool) -> None:
    """The client has read it, and changed what it points at; also if the lease was in doubt for so long that
    the filing had to be looked at again, and was filed anew."""
    desk = await Refiling().fill()
    desk.store.fail("put_updates", OutcomeUnknown("lost"), carried_out=True)
    desk.file(0, START_MS + 9_000)
    await spin()
    row, changed = desk.rows[0], Place(APP.app_id, 0, START_MS + 8_001)
    assert await desk.moved_to(0) == row.place._replace(slot_ms=START_MS + 9_000)
    await desk.store.real.put_updates([make_update(row, moved_to=changed)])
    desk.is_trusted = not is_suspect
    await asyncio.sleep(0.5)
    desk.is_trusted = True
    if is_suspect:
        await desk.publish(START_MS + 9_000)
    await asyncio.sleep(2)
    assert desk.durable == [0]
    assert await desk.moved_to(0) == changed


@on_virtual_time
async def test_what_is_recorded_one_by_one_after_a_bug_undoes_no_change_made_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = await Refiling().fill()
    real, row, changed = desk.store.real, desk.rows[0], Place(APP.app_id, 0, START_MS + 8_001)
    changes = [make_update(row, moved_to=changed)]

    async def put_updates(updates: Sequence[RowUpdate]) -> None:
        if desk.moves[1].place in {update.place for update in updates}:
            if changes:
                await real.put_updates([changes.pop()])
            raise TypeError("no store takes this")
        await real.put_updates(updates)

    monkeypatch.setattr(desk.store, "put_updates", put_updates, raising=False)
    desk.file(0, START_MS + 9_000)
    desk.put(1, moved=True)
    await asyncio.sleep(1)
    assert desk.refused == [1]
    assert desk.durable == [0]
    assert await desk.moved_to(0) == changed


FALSE_MS = START_MS + 3_600_000


@on_virtual_time
async def test_a_filing_under_marks_of_a_wrong_clock_waits_for_the_term_that_lowers_them() -> None:
    desk = await Refiling().fill()
    await desk.publish(FALSE_MS)
    desk.file(0, START_MS + 9_000)
    desk.put(1)
    await asyncio.sleep(3)
    assert desk.durable == [1]
    assert await desk.moved_to(0) is None
    await desk.publish(START_MS, term=2)
    await asyncio.sleep(2)
    moved_to = await desk.moved_to(0)
    assert moved_to is not None
    assert moved_to.slot_ms == START_MS + 9_000
    assert desk.durable == [1, 0]


@on_virtual_time
async def test_a_filing_under_marks_that_cannot_be_read_is_left_to_the_next_owner_once_there_is_one() -> None:
    desk = await Refiling().fill()
    await desk.store.real.put_marks([MarksWrite(desk.rows[0].place.instance, 1, DAMAGED_MARKS)])
    desk.file(0, START_MS + 9_000)
    await asyncio.sleep(3)
    assert desk.refused == []
    desk.is_given_up = True
    await asyncio.sleep(2)
    assert (desk.durable, desk.refused) == ([], [0])
    assert await desk.moved_to(0) is None


@on_virtual_time
async def test_closing_looks_at_no_marks_any_more() -> None:
    desk = await Refiling().fill()
    await desk.publish(FALSE_MS)
    desk.file(0, START_MS + 9_000)
    await asyncio.sleep(0.5)
    await desk.writer.close()
    tried = len(desk.store.calls)
    await asyncio.sleep(5)
    assert len(desk.store.calls) == tried


@on_virtual_time
async def test_what_is_filed_again_beside_a_record_that_no_store_takes_is_recorded_once() -> None:
    """The bad record makes the batch go record by record; what was to be filed again must not go twice."""
    desk = await Refiling().fill()
    await desk.publish(START_MS + 9_000)
    desk.file(0, START_MS + 8_000)
    desk.put(1)
    desk.store.fail("put_updates", ValueError("a bug"), ValueError("a bug"))
    await asyncio.sleep(1)
    assert (desk.durable, desk.refused) == ([0], [1])
    assert desk.store.names().count("put_rows") == 3  # with the batch, alone, and above `sealed`
