"""Runs of recurring schedules: what is written before one is sent, and what follows when things fail."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.contract.builders import START_MS
from tests.harness.recurring import checked, every, first_of, new_definition
from tests.harness.virtual import on_virtual_time
from tests.unit.dispatcher.rig import Rig, make_rig

from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.ids import IdMint
from ringtime_shared.metrics.names import MISSED
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.recurring import Definition, DefinitionState, Overlap, Stage, recurring_id_of
from ringtime_shared.models.schedule import Place, Row, Status
from ringtime_shared.recurring.run_rows import next_version, run_in
from ringtime_shared.settings import DispatchSettings
from ringtime_shared.stores.protocol import DefinitionKey, Position

PERIOD_MS = 5_000


async def begin(rig: Rig, name: str = "nightly", times: Any = None, **others: Any) -> tuple[Definition, Row]:
    """Store a definition that runs each five seconds from `START_MS` on, and hand over its first run."""
    definition, check = checked(
        new_definition(
            START_MS - 2_000,
            times or every(5),
            app_id=rig.app.app_id,
            name=name,
            recurring_id=recurring_id_of(0, name),
            **others,
        ),
        IdMint(5),
        now_ms=START_MS - 2_000,
    )
    first = first_of(definition, check, START_MS - 2_000)
    assert first is not None
    await rig.store.real.replace_definition(definition)
    await rig.put(first)
    return definition, first


async def runs(rig: Rig, definition: Definition) -> list[Row]:
    """Return the home rows of a definition's runs, in order."""
    key = DefinitionKey(definition.app_id, definition.recurring_id)
    entries = await rig.store.real.fetch_runs(key, 0, START_MS + 10**9, 1_000)
    rows = []
    for entry in entries:
        place = Place.of_home(rig.app.app_id, entry.schedule_id)
        row = await rig.store.real.fetch_row(place, entry.schedule_id)
        assert row is not None
        rows.append(row)
    return rows


@on_virtual_time
async def test_a_run_is_sent_at_its_slot_when_the_next_one_is_durable() -> None:
    rig = make_rig()
    definition, first = await begin(rig)
    gate = rig.store.hold("put_rows")
    await asyncio.sleep(1)
    assert rig.receiver.sent == []
    gate.set()
    await asyncio.sleep(1)
    (_, delivery) = rig.receiver.sent[0]
    assert delivery.schedule.schedule_id == first.schedule.schedule_id
    assert len(rig.receiver.sent) == 1
    first, second = await runs(rig, definition)
    assert first.outcome is not None
    assert second.place.slot_ms == first.place.slot_ms + PERIOD_MS
    assert rig.deliverer.is_idle


@on_virtual_time
async def test_a_definition_is_read_at_the_slot_and_not_before() -> None:
    rig = make_rig()
    definition, first = await begin(rig, times=every(5, START_MS + 2_000))
    await asyncio.sleep(1.9)
    await rig.store.real.replace_definition(
        replace(definition, revision=2, skipped=(run_in(first).nominal_ms,))
    )
    await asyncio.sleep(1)
    assert rig.receiver.sent == []
    first, second = await runs(rig, definition)
    assert first.status is Status.DELETED
    assert second.status is Status.SCHEDULED


@on_virtual_time
async def test_many_definitions_are_read_in_one_trip_and_their_runs_filed_in_one() -> None:
    rig = make_rig()
    for number in range(100):
        await begin(rig, f"job-{number}", times=every(5, START_MS + 2_000))
    rig.store.calls.clear()
    await asyncio.sleep(3)
    assert len(rig.receiver.sent) == 100
    assert rig.store.names().count("fetch_definitions") <= 2
    assert rig.store.names().count("put_rows") <= 3
    assert "fetch_row" not in rig.store.names()


@on_virtual_time
async def test_a_row_that_is_no_run_reads_no_definition() -> None:
    rig = make_rig()
    await rig.put(rig.row(START_MS + 100))
    await asyncio.sleep(1)
    assert len(rig.receiver.sent) == 1
    assert rig.store.names() == ["put_updates"]


@on_virtual_time
async def test_what_follows_a_run_does_not_wait_for_the_outcomes_of_others() -> None:
    rig = make_rig()
    definition, _ = await begin(rig)
    gate = rig.store.hold("put_updates")
    await asyncio.sleep(3)
    first, second = await runs(rig, definition)
    rig.give(second)
    await asyncio.sleep(5)
    assert len(rig.receiver.sent) == 2
    assert (await rig.stored(first)).outcome is None
    gate.set()
    await asyncio.sleep(1)
    assert rig.deliverer.is_idle


@pytest.mark.parametrize("name", ["fetch_definitions", "put_rows", "fetch_marks"])
@on_virtual_time
async def test_a_store_that_is_away_is_waited_for(name: str) -> None:
    rig = make_rig()
    definition, _ = await begin(rig)
    rig.store.fail(name, StoreUnavailable("away"), OutcomeUnknown("no answer"))
    await asyncio.sleep(3)
    assert len(rig.receiver.sent) == 1
    assert len(await runs(rig, definition)) == 2


@on_virtual_time
async def test_a_run_that_follows_under_what_is_sealed_is_filed_above_it_and_pointed_at() -> None:
    rig = make_rig()
    definition, first = await begin(rig)
    await rig.seal(first.place.slot_ms + PERIOD_MS)
    await asyncio.sleep(1)
    assert len(rig.receiver.sent) == 1
    _, second = await runs(rig, definition)
    assert second.moved_to is not None
    assert second.moved_to.slot_ms > first.place.slot_ms + PERIOD_MS
    again = await rig.store.real.fetch_row(second.moved_to, second.schedule.schedule_id)
    assert again is not None
    assert run_in(again).stage is Stage.NEW  # its step is to be taken yet
    rig.give(again)
    await asyncio.sleep(7)
    assert len(rig.receiver.sent) == 2
    assert len(await runs(rig, definition)) == 3


@on_virtual_time
async def test_a_retry_and_a_parked_row_take_no_second_step() -> None:
    rig = make_rig(dispatch=DispatchSettings(breaker_failures=2))
    rig.receiver.answers = [Reply(ok=False, code=500), Reply(ok=False, code=500)]
    definition, first = await begin(rig)
    await asyncio.sleep(1)
    (place,) = {(await rig.stored(first)).moved_to}
    assert place is not None
    again = await rig.store.real.fetch_row(place, first.schedule.schedule_id)
    assert again is not None
    assert run_in(again).stage is Stage.LET_GO
    rig.store.calls.clear()
    rig.give(again)
    await asyncio.sleep(3)
    filed = [row for name, rows in rig.store.calls if name == "put_rows" for row in rows]
    assert {row.schedule.schedule_id for row in filed} <= {first.schedule.schedule_id}
    assert len(await runs(rig, definition)) == 2


@on_virtual_time
async def test_the_last_run_marks_its_definition_before_it_is_sent() -> None:
    rig = make_rig()
    definition, _ = await begin(rig, times=every(5, count=1))
    gate = rig.store.hold("replace_definition")
    await asyncio.sleep(1)
    assert rig.receiver.sent == []
    gate.set()
    await asyncio.sleep(1)
    assert len(rig.receiver.sent) == 1
    stored = await rig.store.real.fetch_definition(DefinitionKey(rig.app.app_id, definition.recurring_id))
    assert stored is not None
    assert stored.state is DefinitionState.ENDED


@on_virtual_time
async def test_a_definition_that_is_edited_while_it_is_marked_goes_on() -> None:
    rig = make_rig()
    definition, first = await begin(rig, times=every(5, count=1))
    gate = rig.store.hold("replace_definition")
    await asyncio.sleep(1)
    await rig.store.real.replace_definition(next_version(definition, rig.clock.now_ms(), times=every(5)))
    gate.set()
    await asyncio.sleep(1)
    assert len(rig.receiver.sent) == 1
    stored = await rig.store.real.fetch_definition(DefinitionKey(rig.app.app_id, definition.recurring_id))
    assert stored is not None
    assert stored.state is DefinitionState.ACTIVE
    assert (await rig.stored(first)).status is Status.SUCCESS


@on_virtual_time
async def test_a_definition_that_cannot_be_read_costs_its_own_run_alone() -> None:
    rig = make_rig()
    definition, first = await begin(rig)
    _, other = await begin(rig, "other")
    key = DefinitionKey(definition.app_id, definition.recurring_id)
    rig.store.real._definitions[key] = replace(definition, damage="definition: not JSON")
    await asyncio.sleep(2)
    assert [delivery.schedule.schedule_id for _, delivery in rig.receiver.sent] == [
        other.schedule.schedule_id
    ]
    outcome = (await rig.stored(first)).outcome
    assert outcome is not None
    assert outcome.status is Status.FAILURE
    assert "not JSON" in outcome.error


@on_virtual_time
async def test_times_of_a_later_version_of_ringtime_cost_their_own_run_alone() -> None:
    rig = make_rig()
    _, first = await begin(rig)
    definition, other = await begin(rig, "other")
    key = DefinitionKey(definition.app_id, definition.recurring_id)
    rig.store.real._definitions[key] = replace(definition, times=every(5, dialect=99))
    await asyncio.sleep(2)
    assert [delivery.schedule.schedule_id for _, delivery in rig.receiver.sent] == [
        first.schedule.schedule_id
    ]
    assert (await rig.stored(other)).status is Status.FAILURE


@on_virtual_time
async def test_a_node_that_is_not_trusted_decides_nothing() -> None:
    rig = make_rig()
    rig.trusted_until_ms = 0
    definition, first = await begin(rig)
    await asyncio.sleep(1)
    assert rig.store.calls == []
    rig.trusted_until_ms = 1 << 62
    rig.deliverer.pump()
    await asyncio.sleep(1)
    assert len(rig.receiver.sent) == 1
    assert len(await runs(rig, definition)) == 2
    assert (await rig.stored(first)).status is Status.SUCCESS


@on_virtual_time
async def test_a_step_whose_instance_is_given_up_is_left_to_the_next_owner() -> None:
    rig = make_rig()
    gate = rig.store.hold("fetch_definitions")
    definition, first = await begin(rig)
    await asyncio.sleep(1)
    assert not rig.owned.is_quiet
    rig.owned.stop()
    gate.set()
    await asyncio.wait_for(rig.owned.wait_quiet(), 60)
    assert rig.receiver.sent == []
    assert (await rig.stored(first)).is_live
    assert rig.owned.is_open(Position(first.place.slot_ms, first.schedule.schedule_id))
    assert len(await runs(rig, definition)) == 2


@on_virtual_time
async def test_a_stopped_node_leaves_its_steps_open() -> None:
    rig = make_rig()
    rig.store.hold("fetch_definitions")
    _, first = await begin(rig)
    await asyncio.sleep(1)
    await rig.deliverer.close()
    assert rig.owned.is_quiet
    assert (await rig.stored(first)).is_live


@on_virtual_time
async def test_runs_that_came_due_meanwhile_are_missed_where_they_may_not_overlap() -> None:
    rig = make_rig(configuration=AppConfiguration(http_timeout_ms=20_000))
    rig.receiver.open.clear()
    definition, _ = await begin(rig, overlap=Overlap.SKIP)
    await asyncio.sleep(1)
    rig.give((await runs(rig, definition))[1])
    await asyncio.sleep(PERIOD_MS / 1_000)
    rig.receiver.open.set()
    await asyncio.sleep(1)
    first, second, third = await runs(rig, definition)
    assert (first.status, second.status) == (Status.SUCCESS, Status.MISS)
    assert run_in(third).running == first.schedule.schedule_id
    assert rig.counted(MISSED) == 1


@on_virtual_time
async def test_a_run_waits_for_the_one_before_and_is_sent_then() -> None:
    rig = make_rig(configuration=AppConfiguration(http_timeout_ms=20_000))
    rig.receiver.open.clear()
    definition, _ = await begin(rig, overlap=Overlap.BUFFER_ONE)
    await asyncio.sleep(1)
    rig.give((await runs(rig, definition))[1])
    await asyncio.sleep(PERIOD_MS / 1_000)
    second = (await runs(rig, definition))[1]
    assert second.moved_to is not None
    rig.receiver.open.set()
    waiting = await rig.store.real.fetch_row(second.moved_to, second.schedule.schedule_id)
    assert waiting is not None
    rig.give(waiting)
    await asyncio.sleep(3)
    assert len(rig.receiver.sent) == 2
    assert (await rig.stored(second)).status is Status.SUCCESS
    assert rig.deliverer.is_idle
