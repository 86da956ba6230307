"""The outcome writer: batches without a timer, home rows first, never giving up."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from tests.contract.builders import START_MS, make_app, make_move, make_outcome, make_row, make_update
from tests.unit.dispatcher.rig import LoopClock, on_virtual_time
from tests.unit.spy_store import SpyStore, spin

from ringtime_dispatcher.delivery.recording import OutcomeWriter, Record
from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.models.schedule import Row

APP = make_app()


class Desk:
    """A writer over a store that holds rows 0 to 9 and a move of each."""

    def __init__(self, batch_rows: int = 100) -> None:
        self.store = SpyStore(LoopClock().now_ms)
        self.writer = OutcomeWriter(cast(Any, self.store), batch_rows)
        self.rows = [make_row(APP, START_MS + n) for n in range(10)]
        self.moves = [make_move(row, START_MS + 5_000 + n) for n, row in enumerate(self.rows)]
        self.durable: list[int] = []
        self.refused: list[int] = []

    async def fill(self) -> Desk:
        await self.store.real.put_rows([*self.rows, *self.moves])
        return self

    def put(self, number: int, *, moved: bool = False) -> None:
        outcome = make_outcome(attempts=number + 1)
        move = make_update(self.moves[number], outcome) if moved else None
        self.writer.put(
            Record(
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
