"""The ledger: its steps one by one, and that a deliverer lets go of what it holds, also after a bug."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.contract.builders import START_MS, key_of, make_app, make_move, make_row
from tests.harness.virtual import on_virtual_time
from tests.unit.dispatcher.rig import make_owned
from tests.unit.dispatcher.town import PLAIN, SLOT_MS, Town, an_outage, small

from ringtime_dispatcher.delivery.ledger import Item, Ledger, RowItem, State, home_of
from ringtime_shared.models.schedule import Row, Status

APP = make_app()
ROW = make_row(APP)


class Desk:
    """A ledger for six rows, and one instance."""

    def __init__(self) -> None:
        self.told = 0
        self.ledger = Ledger(6, self.hear)
        self.owned = make_owned(APP)

    def hear(self) -> None:
        self.told += 1

    def entered(self, row: Row = ROW) -> RowItem:
        item = RowItem(self.owned, row)
        assert self.ledger.enter(item)
        return item


def test_an_item_is_entered_once() -> None:
    desk = Desk()
    item = desk.entered()
    assert not desk.ledger.enter(RowItem(desk.owned, ROW)), "another read returned the row"
    with pytest.raises(RuntimeError, match=r"cannot enter schedule .* it is waiting"):
        desk.ledger.enter(item)
    assert desk.ledger.held == {APP.app_id: 1}


@pytest.mark.parametrize("is_settled", [True, False])
def test_an_item_is_let_go_once(is_settled: bool) -> None:
    desk = Desk()
    item = desk.entered()
    assert desk.ledger.begin(item)
    assert not desk.owned.is_quiet
    let_go = desk.ledger.settle if is_settled else desk.ledger.leave_open
    let_go(item)
    assert item.state is (State.SETTLED if is_settled else State.LEFT_OPEN)
    assert desk.owned.is_open(item.key) is not is_settled
    assert desk.owned.is_quiet
    assert not desk.ledger.held
    for step in (desk.ledger.settle, desk.ledger.leave_open, desk.ledger.put_back, desk.ledger.begin):
        with pytest.raises(RuntimeError, match="a bug: cannot"):
            step(item)
    assert desk.owned.is_quiet
    assert not desk.ledger.held


def test_what_is_not_under_way_cannot_be_settled() -> None:
    desk = Desk()
    item = desk.entered()
    with pytest.raises(RuntimeError, match=r"cannot settle schedule .* it is waiting"):
        desk.ledger.settle(item)
    assert desk.owned.is_open(item.key)


def test_two_filings_of_a_schedule_are_not_under_way_at_once() -> None:
    desk = Desk()
    first, second = desk.entered(), desk.entered(make_move(ROW, START_MS + 5_000))
    assert (first.needs_look, second.needs_look) == (False, True)
    assert first.home == second.home == ROW.place
    assert desk.ledger.begin(first)
    assert not desk.ledger.begin(second)
    assert second.state is State.WAITING
    desk.ledger.put_back(first)
    assert desk.ledger.begin(second)
    assert not desk.ledger.begin(first)


def test_what_will_not_be_sent_takes_no_lock_and_frees_none() -> None:
    desk = Desk()
    sent = desk.entered()
    damaged = Item(desk.owned, ROW.place._replace(slot_ms=START_MS + 5_000), ROW.schedule.schedule_id)
    assert desk.ledger.enter(damaged)
    assert desk.ledger.begin(sent)
    assert desk.ledger.begin(damaged, is_sent=False)
    desk.ledger.settle(damaged)
    assert not desk.ledger.begin(desk.entered(make_move(ROW, START_MS + 9_000))), "it is locked"
    assert not desk.owned.is_quiet


def test_an_app_that_was_refused_is_told_of_room() -> None:
    desk = Desk()
    items = [desk.entered(make_row(APP, START_MS + n)) for n in range(3)]
    assert desk.ledger.room(APP.app_id) == 0
    assert desk.ledger.is_short
    desk.ledger.leave_open(items[0])
    assert desk.told == 1
    assert not desk.ledger.is_short


def test_the_home_of_an_id_that_is_none_of_ours_is_where_it_was_found() -> None:
    place = ROW.place._replace(slot_ms=START_MS + 7)
    foreign = type(ROW.schedule.schedule_id)(int=7 << 64)
    assert home_of(place, foreign) is place
    assert home_of(ROW.place, ROW.schedule.schedule_id) is ROW.place


@on_virtual_time
async def test_a_bug_while_a_row_is_queued_costs_that_row_alone(caplog: pytest.LogCaptureFixture) -> None:
    town = Town(PLAIN, dispatch=small())
    [app] = town.apps
    rows = [town.row(app, SLOT_MS, to) for to in ("x", "bad", "y")]
    turns = cast(Any, town.deliverer)._turns
    real = turns.offer

    def offer(item: RowItem, policy: Any) -> bool:
        if item.row.schedule == rows[1].schedule:
            raise TypeError("an impossible value")
        return bool(real(item, policy))

    turns.offer = offer
    await town.live(*rows, until_s=5)
    assert [await town.status(row) for row in rows] == [Status.SUCCESS, Status.FAILURE, Status.SUCCESS]
    assert "a bug: the delivery of" in caplog.text
    assert town.is_empty()


@on_virtual_time
async def test_a_bug_while_a_row_is_parked_costs_that_row_alone() -> None:
    """Left under way, it would hold its room and a handover for ever."""
    town = Town(PLAIN, dispatch=small())
    turns = cast(Any, town.deliverer)._turns
    real, unlucky = turns.park_slot, []

    def park_slot(item: RowItem) -> int:
        unlucky.append(item)
        if len(unlucky) == 3:
            raise TypeError("an impossible value")
        return int(real(item))

    turns.park_slot = park_slot
    rows = await an_outage(town)
    assert (await town.statuses(rows))[Status.FAILURE] == 1
    outcome = await town.outcome(unlucky[2].row)
    assert outcome.error == "Ringtime failed at it: TypeError: an impossible value"
    assert not town.owner(unlucky[2].row).is_open(key_of(unlucky[2].row))
    assert town.is_empty()
    for owned in town.owned.values():
        await owned.wait_quiet()
