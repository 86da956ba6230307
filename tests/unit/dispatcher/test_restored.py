"""What lies under slots up to a restore's instant is taken as sent, and nothing else is."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tests.contract.builders import START_MS
from tests.harness.virtual import on_virtual_time
from tests.unit.dispatcher.rig import Rig, make_node, make_rig
from tests.unit.dispatcher.test_following import PERIOD_MS, begin, runs
from tests.unit.dispatcher.test_hooks import HOOKS

from ringtime_dispatcher.delivery.deliverer import PASSED_OVER
from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.coordination.memory import Hub
from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.schedule import Row, Status
from ringtime_shared.settings import RetrySettings


async def judged(rig: Rig, row: Row) -> tuple[Status, str]:
    outcome = (await rig.stored(row)).outcome
    assert outcome is not None
    return outcome.status, outcome.error


@on_virtual_time
async def test_a_row_up_to_the_instant_is_missed_and_the_next_one_sent() -> None:
    rig = make_rig(configuration=AppConfiguration(hooks=HOOKS))
    rig.deliverer.sent_until_ms = START_MS
    over, due = rig.row(START_MS), rig.row(START_MS + 1)
    rig.store.calls.clear()
    await rig.put(over)
    await asyncio.sleep(1)
    assert await judged(rig, over) == (Status.MISS, PASSED_OVER)
    assert "put_rows" not in rig.store.names()  # nobody is told that it was missed: it was not, most likely
    await rig.put(due)
    await asyncio.sleep(1)
    assert await judged(rig, due) == (Status.SUCCESS, "")
    assert [each.schedule.schedule_id for _, each in rig.receiver.sent] == [due.schedule.schedule_id]


@on_virtual_time
async def test_a_row_whose_destination_is_in_trouble_is_passed_over_and_not_filed_for_later() -> None:
    """Under a later slot it would be taken for one that is yet to be sent."""
    rig = make_rig(retry=RetrySettings(first_delay_ms=60_000))
    rig.receiver.answers = [Reply(ok=False, code=500) for _ in range(20)]
    for n in range(10):
        await rig.put(rig.row(START_MS + 1 + n))
    await asyncio.sleep(1)
    rig.deliverer.sent_until_ms = START_MS + 2_000
    row = rig.row(START_MS + 1_500)
    sent = len(rig.receiver.sent)
    await rig.put(row)
    await asyncio.sleep(5)
    assert await judged(rig, row) == (Status.MISS, PASSED_OVER)
    assert (await rig.stored(row)).moved_to is None
    assert all(each.schedule.schedule_id != row.schedule.schedule_id for _, each in rig.receiver.sent[sent:])


@on_virtual_time
async def test_the_chain_of_a_recurring_schedule_goes_on() -> None:
    rig = make_rig()
    rig.deliverer.sent_until_ms = START_MS + PERIOD_MS - 1
    definition, first = await begin(rig)
    await asyncio.sleep(1)
    assert await judged(rig, first) == (Status.MISS, PASSED_OVER)
    _, second = await runs(rig, definition)
    assert second.is_live
    rig.give(second)
    await asyncio.sleep(PERIOD_MS / 1_000)
    assert (await rig.stored(second)).status is Status.SUCCESS


@on_virtual_time
async def test_a_retry_that_was_due_is_passed_over_as_a_first_attempt_is() -> None:
    rig = make_rig()
    home = rig.row(START_MS - 30_000)
    again = replace(home, place=home.place._replace(slot_ms=START_MS), attempts=1)
    await rig.store.real.put_rows([home, again])
    rig.deliverer.sent_until_ms = START_MS
    rig.give(again)
    await asyncio.sleep(1)
    assert rig.receiver.sent == []
    assert await judged(rig, home) == (Status.MISS, PASSED_OVER)


@on_virtual_time
async def test_a_node_asks_the_store_at_its_start_until_it_answers() -> None:
    rig = make_rig()
    await rig.store.real.note_restore(START_MS, 1)
    rig.store.fail("fetch_sent_until", StoreUnavailable("away"), OutcomeUnknown("no answer"))
    node = make_node(rig.store, rig.clock, Hub())
    await node.start()
    try:
        assert node._deliverer.sent_until_ms == START_MS
    finally:
        await node.kill()
