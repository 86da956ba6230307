"""Rows that cannot be read: recorded, seen, and nobody waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import pytest
from tests.contract.builders import START_MS, key_of, make_app, make_move, make_outcome, make_row, make_update
from tests.harness.virtual import LoopClock, on_virtual_time
from tests.unit.dispatcher.rig import Rig, instances_of, make_node, make_owned, make_rig
from tests.unit.dispatcher.test_sealing import Rounds
from tests.unit.spy_store import SpyStore

from ringtime_dispatcher.engine import Dispatcher
from ringtime_dispatcher.ownership.recovery import take_over
from ringtime_dispatcher.reading.polling import Poller
from ringtime_shared.coordination.memory import Hub
from ringtime_shared.coordination.protocol import Member
from ringtime_shared.errors import Damaged, StoreUnavailable
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.schedule import Place, Row, Status
from ringtime_shared.settings import DispatchSettings
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import (
    DAMAGED_MARKS,
    LAST_ID,
    DamagedRow,
    DuePage,
    DueQuery,
    Marks,
    Position,
)

SLOT_MS = START_MS + 200
FAULT = "extras: JSON is malformed"
NOT_SENT = f"not sent: what is stored of it cannot be read: {FAULT}"


class DamagedStore(MemoryStore):
    """Some of its rows, apps and marks cannot be read."""

    def __init__(self, clock: LoopClock) -> None:
        super().__init__(clock.now_ms)
        self.damaged: set[Place] = set()
        self.damaged_apps: set[str] = set()
        self.damaged_marks: set[Instance] = set()

    async def fetch_due(self, queries: Sequence[DueQuery]) -> list[DuePage]:
        pages = []
        for page in await super().fetch_due(queries):
            damaged = [
                DamagedRow(row.place, row.schedule.schedule_id, FAULT)
                for row in page.rows
                if row.place in self.damaged
            ]
            rows = [row for row in page.rows if row.place not in self.damaged]
            pages.append(DuePage(rows, page.next, damaged))
        return pages

    async def fetch_row(self, place: Place, schedule_id: UUID) -> Row | None:
        if place in self.damaged:
            raise Damaged("schedule", str(schedule_id), FAULT)
        return await super().fetch_row(place, schedule_id)

    async def fetch_apps(self) -> list[App]:
        return [
            replace(app, damage="configuration: x", polled=0) if app.app_id in self.damaged_apps else app
            for app in await super().fetch_apps()
        ]


def damaged_of(row: Row) -> DamagedRow:
    return DamagedRow(row.place, row.schedule.schedule_id, FAULT)


async def letters_of(store: Any, app: App) -> list[DeadLetter]:
    found: list[DeadLetter] = await store.fetch_dead_letters(app.app_id, Position(0, LAST_ID), 1 << 60, 100)
    return found


def swap(rig: Rig) -> DamagedStore:
    """Put a store that can be damaged under the rig."""
    store = DamagedStore(rig.clock)
    rig.store.real = store
    return store


@on_virtual_time
async def test_it_is_noted_for_operator_app_and_client_and_settled_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = make_rig()
    row = rig.row(SLOT_MS)
    await rig.store.real.put_rows([row])
    rig.deliverer.reject(rig.owned, damaged_of(row))
    rig.deliverer.reject(rig.owned, damaged_of(row))  # as the next owner may
    await asyncio.sleep(1)
    outcome = (await rig.stored(row)).outcome
    assert outcome is not None
    assert (outcome.status, outcome.error, outcome.fired_ms) == (Status.FAILURE, NOT_SENT, None)
    [letter] = await letters_of(rig.store, rig.app)
    assert (letter.schedule_id, letter.slot_ms, letter.error) == (row.schedule.schedule_id, SLOT_MS, NOT_SENT)
    [note] = await rig.store.real.fetch_damage(10)
    assert (note.table, note.app_id, note.fault) == ("schedules", rig.app.app_id, FAULT)
    assert note.key == f"{rig.owned.instance} {SLOT_MS} {row.schedule.schedule_id}"
    assert not rig.owned.is_open(key_of(row))
    assert rig.rows_held() == 0
    await asyncio.wait_for(rig.owned.wait_quiet(), 60)
    assert caplog.text.count("cannot be read") == 1, "once, not at each turn"
    assert rig.receiver.sent == []


@on_virtual_time
async def test_settled_waits_until_it_is_noted() -> None:
    rig = make_rig()
    row = rig.row(SLOT_MS)
    await rig.store.real.put_rows([row])
    rig.store.fail("put_damage", StoreUnavailable("away"), StoreUnavailable("away"))
    gate = rig.store.hold("put_dead_letters")
    rig.deliverer.reject(rig.owned, damaged_of(row))
    await asyncio.sleep(5)
    assert rig.owned.is_open(key_of(row))
    assert (await rig.stored(row)).outcome is None
    gate.set()
    await asyncio.sleep(1)
    assert not rig.owned.is_open(key_of(row))
    assert [name for name in rig.store.names() if name.startswith("put")] == [
        *["put_damage"] * 3,
        "put_dead_letters",
        "put_updates",
    ]


@on_virtual_time
async def test_a_page_that_holds_it_goes_on_and_what_is_damaged_takes_room() -> None:
    rig = make_rig()
    store = swap(rig)
    rows = [rig.row(SLOT_MS + n) for n in range(6)]
    await store.put_rows(rows)
    store.damaged = {rows[1].place, rows[4].place}
    rig.owned.open_bucket(SLOT_MS // 60_000)
    poller = Poller(
        cast(Any, rig.store),
        rig.clock,
        DispatchSettings(page_rows=2),
        instances_of(rig.owned),
        rig.deliverer,
        rig.ledger.room,
    )
    gate = rig.store.hold("put_updates")
    await poller.read(START_MS + 500)
    assert rig.rows_held() == 6
    gate.set()
    await asyncio.sleep(1)
    assert [delivery.schedule for _, delivery in rig.receiver.sent] == [
        row.schedule for n, row in enumerate(rows) if n not in (1, 4)
    ]
    assert rig.rows_held() == 0
    rig.owned.set_checked(START_MS + 500)
    assert rig.owned.settleable_ms() == START_MS + 500


@on_virtual_time
async def test_one_that_the_final_read_finds_is_handed_over_too() -> None:
    rounds = Rounds()
    row = make_row(make_app(app_id=rounds.owned[0].instance.app_id), START_MS + 10)
    store = DamagedStore(LoopClock())
    rounds.store.real = store
    await store.put_rows([row])
    store.damaged = {row.place}
    await rounds.sealer.round()
    assert (rounds.late, rounds.damaged) == ([], [damaged_of(row)])
    await rounds.sealer.round()
    assert len(rounds.damaged) == 1


@pytest.mark.parametrize("home_state", ["open", "damaged", "done", "failed", "cancelled", "replayed"])
@on_virtual_time
async def test_a_damaged_filing_beside_its_home_row(home_state: str) -> None:
    """The schedule's outcome is the home row's; one that is decided already stays as it is."""
    rig = make_rig()
    store = swap(rig)
    home = rig.row(START_MS - 5_000)
    move = make_move(home, SLOT_MS)
    await store.put_rows([home, move])
    key = home.schedule.schedule_id
    if home_state in ("done", "failed", "replayed"):
        status = Status.SUCCESS if home_state == "done" else Status.FAILURE
        moved_to = move.place if home_state != "failed" else None
        await store.put_updates([make_update(home, make_outcome(status=status), moved_to)])
    elif home_state == "cancelled":
        await store.put_cancel(home.place, key, START_MS)
    store.damaged = {move.place} | ({home.place} if home_state == "damaged" else set())
    rig.deliverer.reject(rig.owned, damaged_of(move))
    await asyncio.sleep(1)
    store.damaged.clear()
    stored = await rig.stored(home)
    closed = await store.fetch_row(move.place, key)
    assert closed is not None
    assert not closed.is_live
    expected = {
        "open": (Status.FAILURE, 1),
        "damaged": (Status.FAILURE, 1),
        "done": (Status.SUCCESS, 0),
        "failed": (Status.FAILURE, 0),
        "cancelled": (Status.DELETED, 0),
        "replayed": (Status.FAILURE, 1),
    }
    assert (stored.status, len(await letters_of(store, rig.app))) == expected[home_state]
    if home_state == "replayed":
        assert stored.outcome == make_outcome(status=Status.FAILURE), "that of the round before"
    assert len(await store.fetch_damage(10)) == 1
    assert not rig.owned.is_open(key_of(move))
    await asyncio.wait_for(rig.owned.wait_quiet(), 60)


@on_virtual_time
async def test_a_retry_whose_home_row_is_damaged_ends_as_a_failure() -> None:
    rig = make_rig()
    store = swap(rig)
    home = rig.row(START_MS - 5_000)
    retry = make_move(home, SLOT_MS)
    await store.put_rows([home, retry])
    store.damaged = {home.place}
    rig.give(retry)
    await asyncio.sleep(2)
    assert rig.receiver.sent == []
    store.damaged.clear()
    outcome = (await rig.stored(home)).outcome
    assert outcome is not None
    assert (outcome.status, outcome.error) == (Status.FAILURE, NOT_SENT)
    assert not rig.owned.is_open(key_of(retry))
    assert rig.rows_held() == 0


@pytest.mark.parametrize("details", [b"", b"{", b"[]", b"7", b"\xff\xfe", b"[" * 5_000])
@on_virtual_time
async def test_details_that_are_no_object_fail_alone_and_are_not_tried(details: bytes) -> None:
    rig = make_rig()
    good, bad = rig.row(SLOT_MS), make_row(rig.app, SLOT_MS, callback_type="sim", callback_details=details)
    await rig.put(good, bad)
    await asyncio.sleep(2)
    assert [delivery.schedule for _, delivery in rig.receiver.sent] == [good.schedule]
    outcome = (await rig.stored(bad)).outcome
    assert outcome is not None
    assert outcome.error.startswith("not sent: what is stored of it cannot be read: callback_details: ")
    assert [note.app_id for note in await rig.store.real.fetch_damage(10)] == [rig.app.app_id]
    assert rig.rows_held() == 0
    assert not rig.owned.is_open(key_of(bad))


@on_virtual_time
async def test_a_damaged_app_keeps_no_other_back_and_goes_on_as_it_was_last_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = LoopClock()
    store, hub = DamagedStore(clock), Hub(era=1)
    kinds = make_rig().deliverer._parts.callbacks

    def node(name: str) -> Dispatcher:
        return make_node(store, clock, hub, member=Member(node=name), callbacks=kinds)

    shop, mail = [await store.create_app(make_app(app_id=name)) for name in ("shop", "mail")]
    first = node("first")
    await first.start()
    await asyncio.sleep(3)
    store.damaged_apps = {"shop"}
    await asyncio.sleep(60)  # nobody told of it: all apps are read once a minute
    rows = [make_row(app, START_MS + 70_000, callback_type="sim") for app in (shop, mail)]
    await store.put_rows(rows)
    await asyncio.sleep(20)
    done = [await store.fetch_row(row.place, row.schedule.schedule_id) for row in rows]
    assert [row.status for row in done if row] == [Status.SUCCESS] * 2
    assert caplog.text.count("app shop cannot be read") == 1
    await first.stop()
    second = node("second")  # which never read it
    await second.start()
    rows = [make_row(app, START_MS + 100_000, callback_type="sim") for app in (shop, mail)]
    await store.put_rows(rows)
    await asyncio.sleep(30)
    done = [await store.fetch_row(row.place, row.schedule.schedule_id) for row in rows]
    assert [row.status for row in done if row] == [Status.SCHEDULED, Status.SUCCESS]
    store.damaged_apps = set()  # mended by its operator
    await asyncio.sleep(65)
    done = [await store.fetch_row(row.place, row.schedule.schedule_id) for row in rows]
    assert [row.status for row in done if row] == [Status.SUCCESS] * 2, "late, and not lost"
    await second.stop()


async def test_a_term_on_damaged_marks_starts_at_the_birth_of_the_app(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = make_app()
    mine = make_owned(app).instance
    store = SpyStore(LoopClock().now_ms)

    async def fetch_marks(_: Any) -> Any:
        return {mine: DAMAGED_MARKS}

    cast(Any, store.real).fetch_marks = fetch_marks
    [owned] = await take_over(cast(Any, store), {mine: 7}, lambda _, found: found or Marks(5, 5))
    assert (owned.settled_ms, owned.sealed_ms) == (5, 5)
    assert f"the marks of 1 poller instances, {mine} among them, cannot be read" in caplog.text
