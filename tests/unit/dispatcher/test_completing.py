"""Runs whose receiver works on after its answer: what a dispatcher files, and what it looks for."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tests.contract.builders import START_MS
from tests.harness.virtual import on_virtual_time
from tests.unit.dispatcher.rig import Rig, make_rig
from tests.unit.dispatcher.test_following import begin, runs

from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.metrics.names import DEAD_LETTERS
from ringtime_shared.models.recurring import Definition, Stage
from ringtime_shared.models.schedule import Row, RowUpdate, Status
from ringtime_shared.models.sending import Sending
from ringtime_shared.recurring.completing import NOT_IN_TIME, Ticket, completed, place_of_note
from ringtime_shared.recurring.run_rows import run_in

TIME_MS = 20_000


async def accept(rig: Rig) -> tuple[Definition, Row, Row]:
    """Have a run answered 202; return its home row, and the filing for the end of its time."""
    rig.receiver.answers = [Reply(ok=True, code=202)]
    definition, first = await begin(rig, sending=Sending(completion_ms=TIME_MS))
    await asyncio.sleep(1)
    home = await rig.stored(first)
    assert home.moved_to is not None
    accepted = await rig.store.real.fetch_row(home.moved_to, home.schedule.schedule_id)
    assert accepted is not None
    return definition, home, accepted


def ticket_of(row: Row) -> Ticket:
    schedule = row.schedule
    return Ticket(
        app_id=schedule.app_id,
        schedule_id=schedule.schedule_id,
        replay=0,
        attempt=1,
        sent_ms=START_MS,
        expires_ms=1 << 50,
    )


@on_virtual_time
async def test_an_answer_of_202_is_filed_for_the_end_of_its_time() -> None:
    rig = make_rig()
    _, home, accepted = await accept(rig)
    assert home.outcome is None
    work = accepted.schedule.work
    assert work is not None
    assert (run_in(accepted).stage, work.until_ms) == (Stage.ACCEPTED, (work.accepted_ms or 0) + TIME_MS)
    assert rig.deliverer.is_idle
    rig.give(accepted)
    await asyncio.sleep(TIME_MS / 1_000 + 6)
    ended = (await rig.stored(home)).outcome
    assert ended is not None
    assert (ended.status, ended.error, ended.accepted_ms) == (Status.FAILURE, NOT_IN_TIME, work.accepted_ms)
    assert rig.counted(DEAD_LETTERS) == 1


@on_virtual_time
async def test_what_was_said_and_never_read_is_found_at_the_end_of_the_time() -> None:
    rig = make_rig()
    _, home, accepted = await accept(rig)
    word = completed(home, ticket_of(home), now_ms=START_MS + 5_000, error="")
    await rig.store.real.put_rows([word])
    rig.give(accepted)
    await asyncio.sleep(TIME_MS / 1_000 + 6)
    ended = (await rig.stored(home)).outcome
    assert ended is not None
    assert (ended.status, ended.ended_ms) == (Status.SUCCESS, START_MS + 5_000)
    assert ended.accepted_ms is not None


@on_virtual_time
async def test_what_was_said_ends_the_run_when_it_is_read_and_the_rest_is_closed() -> None:
    rig = make_rig()
    _, home, accepted = await accept(rig)
    word = completed(accepted, ticket_of(home), now_ms=rig.clock.now_ms(), error="no")
    await rig.put(word)
    await asyncio.sleep(1)
    ended = (await rig.stored(home)).outcome
    assert ended is not None
    assert (ended.status, ended.error) == (Status.FAILURE, "no")
    rig.give(accepted)
    await asyncio.sleep(TIME_MS / 1_000 + 6)
    assert (await rig.stored(home)).outcome == ended
    assert (await rig.stored(accepted)).outcome is not None
    assert len(rig.receiver.sent) == 1


@on_virtual_time
async def test_another_filing_of_a_run_that_is_worked_on_is_not_sent() -> None:
    """Two owners filed it again, and the home row points at the one that was not sent."""
    rig = make_rig()
    _, home, accepted = await accept(rig)
    other = replace(home, place=home.place._replace(slot_ms=START_MS + 3_000), moved_to=None)
    await rig.store.real.put_updates(
        [RowUpdate(place=home.place, schedule_id=home.schedule.schedule_id, moved_to=other.place)]
    )
    await rig.put(other)
    await asyncio.sleep(4)
    assert len(rig.receiver.sent) == 1
    assert (await rig.stored(home)).moved_to == accepted.place
    assert (await rig.stored(other)).moved_to == accepted.place


@on_virtual_time
async def test_who_reads_the_note_itself_files_what_it_notes() -> None:
    rig = make_rig()
    definition, home, accepted = await accept(rig)
    place = place_of_note(home.place.app_id, home.schedule.schedule_id, 0)
    note = await rig.store.real.fetch_row(place, home.schedule.schedule_id)
    assert note is not None
    assert not note.is_live
    rig.give(replace(note, outcome=None))
    await asyncio.sleep(3)
    home = (await runs(rig, definition))[0]
    assert (home.outcome, home.moved_to) == (None, accepted.place)
