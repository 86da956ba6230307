"""Hooks: what is written before an outcome that somebody is told of, and what follows when things fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.contract.builders import START_MS, make_app, make_row
from tests.harness.virtual import on_virtual_time
from tests.unit.dispatcher.rig import Rig, make_rig
from tests.unit.dispatcher.test_signing import delivery

from ringtime_dispatcher.callbacks.http.callback import parse_route, request_bytes
from ringtime_dispatcher.callbacks.kafka.callback import KafkaRecord
from ringtime_dispatcher.delivery.hooks import hook_row
from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.models.app import AppConfiguration, Deletion
from ringtime_shared.models.hooks import Hook, HookEvent, HookOf, Hooks
from ringtime_shared.models.recurring import RunOf
from ringtime_shared.models.schedule import Outcome, Row, Status
from ringtime_shared.models.sending import Sending
from ringtime_shared.recurring.chain import Step, passed_over

TELL = Hook(callback_type="sim", callback_details='{"to":"ops"}')
HOOKS = Hooks(on_success=TELL, on_failure=TELL, on_missed=TELL)


def hooked(rig: Rig, hooks: Hooks | None = HOOKS) -> Row:
    row = rig.row(rig.clock.now_ms())
    return replace(row, schedule=replace(row.schedule, sending=Sending(hooks=hooks)))


@on_virtual_time
async def test_the_row_is_durable_and_looked_at_before_the_outcome_is_written() -> None:
    rig = make_rig()
    row = hooked(rig)
    await rig.put(row)
    rig.store.calls.clear()
    rig.store.fail("put_rows", StoreUnavailable("away"), OutcomeUnknown("no answer"))
    rig.store.fail("fetch_marks", StoreUnavailable("away"))
    await asyncio.sleep(3)
    writes = [name for name, _ in rig.store.calls if name in ("put_rows", "fetch_marks", "put_updates")]
    assert writes == ["put_rows"] * 3 + ["fetch_marks"] * 2 + ["put_updates"]
    assert (await rig.stored(row)).status is Status.SUCCESS


@on_virtual_time
async def test_one_filed_under_what_is_sealed_is_filed_above_it_and_pointed_at() -> None:
    rig = make_rig()
    row = hooked(rig)
    filed: list[Row] = []
    real = rig.store.real.put_rows

    async def put_rows(rows: Sequence[Row]) -> None:
        filed.extend(rows)
        await real(rows)

    await rig.put(row)
    await rig.seal(row.place.slot_ms + 9_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rig.store.real, "put_rows", put_rows)
        await asyncio.sleep(1)
    first, second = filed
    assert first.is_home
    assert (await rig.stored(first)).moved_to == second.place
    assert second.place.slot_ms > row.place.slot_ms + 9_000
    assert (await rig.stored(row)).status is Status.SUCCESS
    rig.give(second)
    await asyncio.sleep(10)
    assert rig.receiver.sent[-1][1].schedule.hook_of == first.schedule.hook_of
    assert (await rig.stored(first)).status is Status.SUCCESS


@on_virtual_time
async def test_without_hooks_nothing_is_read_or_written_more() -> None:
    rig = make_rig()
    for row in (rig.row(rig.clock.now_ms()), hooked(rig, None), hooked(rig, Hooks(on_failure=TELL))):
        await rig.put(row)
        rig.store.calls.clear()
        await asyncio.sleep(3)
        assert [name for name, _ in rig.store.calls] == ["put_updates"]


@on_virtual_time
async def test_nobody_of_an_app_that_goes_with_all_it_has_is_told() -> None:
    rig = make_rig(configuration=AppConfiguration(hooks=HOOKS))
    leaving = Deletion(cancels=True, began_at=1, begun_ms=1, was_active=True)
    rig.app = replace(rig.app, deletion=leaving)
    await rig.put(rig.row(rig.clock.now_ms()))
    rig.store.calls.clear()
    await asyncio.sleep(3)
    assert [name for name, _ in rig.store.calls] == ["put_updates"]


def test_a_hook_says_what_it_is_and_tells_of_nothing_itself() -> None:
    app = make_app()
    row = make_row(app, START_MS)
    ends = {Status.SUCCESS: "onSuccess", Status.FAILURE: "onFailure", Status.MISS: "onMissed"}
    for status, word in ends.items():
        outcome = Outcome(status=status, ended_ms=START_MS + 7, attempts=1, replay=2)
        made = hook_row(row, outcome, HOOKS, now_ms=START_MS + 9, retention_ms=60_000, others=3)
        assert made is not None
        assert made == hook_row(row, outcome, HOOKS, now_ms=START_MS + 9, retention_ms=60_000, others=3)
        assert (made.is_home, made.is_shown) == (True, False)
        told = HookOf(schedule_id=row.schedule.schedule_id, event=HookEvent(word), replay=2)
        assert made.schedule.hook_of == told
        body = json.loads(made.schedule.payload)
        assert (body["hook"], body["key"], body["othersMissed"]) == (word, told.key, 3)
        assert hook_row(made, outcome, HOOKS, now_ms=START_MS, retention_ms=1) is None
    for status in (Status.DELETED, Status.SCHEDULED):
        gone = Outcome(status=status, ended_ms=START_MS)
        assert hook_row(row, gone, HOOKS, now_ms=START_MS, retention_ms=1) is None


def test_headers_say_what_a_hook_tells_of() -> None:
    told = HookOf(schedule_id=make_row(make_app()).schedule.schedule_id, event=HookEvent.MISSED)
    given = replace(delivery("whsec_x"), secrets=(), details={"url": "http://127.0.0.1/", "method": "POST"})
    given = replace(given, schedule=replace(given.schedule, sending=Sending(hook_of=told)))
    route = parse_route("http://127.0.0.1/")
    assert route is not None
    head = request_bytes(route, given, 7).decode().lower()
    named = {"hook": "onMissed", "hook-of": str(told.schedule_id), "hook-key": told.key}
    for name, value in named.items():
        assert f"\r\nringtime-{name}: {value.lower()}\r\n" in head
    record = KafkaRecord.of(replace(given, details={"topic": "t"}))
    for name, value in named.items():
        assert (f"ringtime-{name}", value.encode()) in record.headers


@on_virtual_time
async def test_a_hook_that_came_late_is_sent_and_one_that_fails_is_a_dead_letter() -> None:
    rig = make_rig(configuration=AppConfiguration(max_lateness_s=1))
    ended = Outcome(status=Status.FAILURE, ended_ms=START_MS)
    late = hook_row(rig.row(START_MS - 9_000), ended, HOOKS, now_ms=START_MS - 9_000, retention_ms=9**9)
    assert late is not None
    rig.receiver.answers = [Reply(ok=False, code=410, is_final=True)]
    await rig.put(late)
    rig.store.calls.clear()
    await asyncio.sleep(1)
    assert len(rig.receiver.sent) == 1
    assert (await rig.stored(late)).status is Status.FAILURE
    assert [name for name, _ in rig.store.calls] == ["put_dead_letters", "put_updates"]


def test_a_step_that_was_cut_short_tells_again_of_what_it_had_recorded() -> None:
    app = make_app()
    rows = [make_row(app, START_MS + n) for n in range(3)]
    end = Outcome(status=Status.MISS, ended_ms=START_MS + 9)
    run = RunOf(recurring_id=rows[0].schedule.schedule_id, version=1, nominal_ms=START_MS)
    step = Step(run=run, missed=tuple((row, end) for row in rows))
    recorded, filed = rows[0].schedule.schedule_id, rows[1].schedule.schedule_id
    again = passed_over(step, {recorded: replace(rows[0], outcome=end), filed: rows[1]})
    assert again.told_of == ((rows[0], end),)
    assert again.missed == ((rows[2], end),)
    assert again.files == (rows[1],)  # it is a run like others, and has a hook of its own
