"""Creates with an idempotency key: one schedule a key, whoever dies and whatever gets lost in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
from tests.contract.builders import START_MS, make_outcome
from tests.unit.ingest.commit_rig import AnyDetails, ServiceRig, make_service_rig
from tests.unit.spy_store import spin

from ringtime_ingest.service import IngestParts, IngestService, Kept, NewSchedule
from ringtime_ingest.service.keyed import digest_of
from ringtime_ingest.service.requests import ScheduleChange
from ringtime_shared.errors import (
    AppInactive,
    InFlight,
    InvalidRequest,
    KeyReused,
    NotFound,
    OutcomeUnknown,
    StoreUnavailable,
)
from ringtime_shared.models.app import Instance
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Row, RowUpdate, Status
from ringtime_shared.settings import AppLimits, IngestSettings
from ringtime_shared.stores.protocol import Marks, MarksWrite

HOUR_MS = 3_600_000
BUSY_MS = IngestSettings().write_deadline_ms


def asked(key: str = "order-17", *, payload: str = "{}", **changes: Any) -> NewSchedule:
    given: dict[str, Any] = {
        "app_id": "shop",
        "payload": payload,
        "delay_ms": 60_000,
        "callback_type": "sim",
        "callback_details": {"a": 1, "b": [2]},
        "idempotency_key": key,
    }
    return NewSchedule(**given | changes)


@dataclass
class Pods:
    """Two pods on one store."""

    rig: ServiceRig
    other: IngestService

    async def create(self, new: NewSchedule | None = None) -> Kept:
        return await self.rig.service.keyed.create(new or asked())

    async def create_on_other(self, new: NewSchedule | None = None) -> Kept:
        return await self.other.keyed.create(new or asked())

    def rows(self) -> list[Row]:
        return [row for rows in self.rig.store.real._rows.values() for row in rows.values()]

    async def seal(self, upto_ms: int) -> None:
        for partition in range(3):
            write = MarksWrite(Instance("shop", partition), 1 << 48 | 1, Marks(upto_ms, upto_ms))
            await self.rig.store.real.put_marks([write])


@pytest.fixture
async def pods() -> Pods:
    rig = await make_service_rig()
    await rig.register()
    parts = IngestParts(
        store=cast(Any, rig.store),
        clock=rig.clock,
        settings=IngestSettings(),
        limits=AppLimits(),
        callbacks={"sim": AnyDetails()},
        holder="other",
    )
    return Pods(rig, await IngestService.start(parts))


async def outcome(call: Awaitable[Kept]) -> Kept | Exception:
    try:
        return await call
    except Exception as error:  # noqa: BLE001 - told
        return error


async def test_who_repeats_a_create_gets_the_same_schedule_on_any_pod(pods: Pods) -> None:
    first = await pods.create()
    assert (first.is_replay, first.expires_ms) == (False, START_MS + 24 * HOUR_MS)
    pods.rig.clock.advance(2_000)
    for again in (await pods.create(), await pods.create_on_other()):
        assert again == Kept(first.row, is_replay=True, expires_ms=first.expires_ms)
    assert pods.rows() == [first.row]
    assert (await pods.create(asked("order-18"))).row.schedule.schedule_id != first.row.schedule.schedule_id


async def test_a_create_without_a_key_costs_nothing_more(pods: Pods) -> None:
    await pods.rig.create()
    before = len(pods.rig.store.calls)
    await pods.rig.create()
    calls = [name for name in pods.rig.store.names()[before:] if "_app" not in name]
    assert calls == ["put_rows", "fetch_marks"]


async def test_many_at_once_on_two_pods_make_one_schedule_a_key(pods: Pods) -> None:
    async def insist(service: IngestService, key: str) -> Kept:
        while True:
            try:
                return await service.keyed.create(asked(key))
            except InFlight:
                await asyncio.sleep(0)

    keys = [f"key-{n}" for n in range(50)]
    services = [pods.rig.service, pods.other] * 5
    made = await asyncio.gather(*(insist(service, key) for key in keys for service in services))
    by_key = [made[n : n + 10] for n in range(0, len(made), 10)]
    assert {len({each.row.schedule.schedule_id for each in same}) for same in by_key} == {1}
    assert {sum(not each.is_replay for each in same) for same in by_key} == {1}
    assert len(pods.rows()) == len(keys)


@pytest.mark.parametrize(
    "change",
    [
        {"payload": "[]"},
        {"delay_ms": 60_001},
        {"delay_ms": None, "fire_ms": START_MS + 60_000},
        {"callback_details": {"a": 1, "b": [3]}},
        {"retry": RetryRules(attempts=2)},
    ],
)
async def test_a_key_that_stands_for_another_create_is_refused(pods: Pods, change: dict[str, Any]) -> None:
    first = await pods.create()
    with pytest.raises(KeyReused):
        await pods.create_on_other(replace(asked(), **change))
    assert pods.rows() == [first.row]


def test_the_same_is_asked_for_however_it_is_written() -> None:
    turned = replace(asked(), callback_details={"b": [2], "a": 1}, idempotency_key="other")
    assert digest_of(turned) == digest_of(asked())


async def test_while_the_first_is_being_written_the_others_are_told_to_wait(pods: Pods) -> None:
    gate = pods.rig.store.hold("put_rows")
    first = asyncio.create_task(pods.create())
    await spin()
    with pytest.raises(InFlight):
        await pods.create_on_other()
    with pytest.raises(KeyReused):  # that is sure already
        await pods.create_on_other(asked(payload="other"))
    gate.set()
    assert not (await first).is_replay
    assert (await pods.create_on_other()).is_replay


async def test_who_comes_after_one_that_filed_nothing_need_not_wait(pods: Pods) -> None:
    pods.rig.store.fail("put_rows", StoreUnavailable("away"))
    with pytest.raises(StoreUnavailable):
        await pods.create()
    pods.rig.clock.advance(1)
    second = await pods.create_on_other()
    assert (second.is_replay, second.row.schedule.created_ms) == (True, START_MS)
    assert pods.rows() == [second.row] == [(await pods.create()).row]


async def test_who_comes_after_one_that_died_before_its_row_files_that_row(pods: Pods) -> None:
    pods.rig.store.fail("put_rows", OutcomeUnknown("no answer"))
    with pytest.raises(OutcomeUnknown):
        await pods.create()
    pods.rig.clock.advance(BUSY_MS - 1)
    with pytest.raises(InFlight):
        await pods.create_on_other()
    pods.rig.clock.advance(1)
    second = await pods.create_on_other()
    assert (second.is_replay, second.row.schedule.fire_ms) == (True, START_MS + 60_000)  # as first asked for
    assert second.row.schedule.created_ms == START_MS
    assert pods.rows() == [second.row] == [(await pods.create()).row]


async def test_the_row_of_one_that_died_long_ago_is_filed_where_it_is_read(pods: Pods) -> None:
    pods.rig.store.fail("put_rows", OutcomeUnknown("no answer"))
    assert isinstance(await outcome(pods.create()), OutcomeUnknown)
    pods.rig.clock.advance(HOUR_MS)
    await pods.seal(START_MS + HOUR_MS - 2_000)
    late = await pods.create_on_other()
    assert late.row.moved_to is not None
    assert late.row.moved_to.slot_ms > START_MS + HOUR_MS
    assert {row.schedule.schedule_id for row in pods.rows()} == {late.row.schedule.schedule_id}


async def test_a_row_that_may_never_be_read_is_not_taken_for_an_answer(pods: Pods) -> None:
    """The first died between its write and its check: the final read had come before the row."""
    pods.rig.store.fail("fetch_marks", StoreUnavailable("died"))
    assert isinstance(await outcome(pods.create(asked(delay_ms=0))), OutcomeUnknown)
    (row,) = pods.rows()
    await pods.seal(row.place.slot_ms)
    pods.rig.clock.advance(10)
    again = await pods.create_on_other(asked(delay_ms=0))
    assert again.row.moved_to is not None
    moved = await pods.rig.store.real.fetch_row(again.row.moved_to, row.schedule.schedule_id)
    assert moved is not None
    assert moved.is_live
    # and once more: that one was finally read, too
    await pods.seal(again.row.moved_to.slot_ms)
    third = await pods.create(asked(delay_ms=0))
    assert third.row.moved_to is not None
    assert third.row.moved_to.slot_ms > again.row.moved_to.slot_ms
    home = await pods.rig.store.real.fetch_row(row.place, row.schedule.schedule_id)
    assert home is not None
    assert home.moved_to == third.row.moved_to


@pytest.mark.parametrize("is_there", [False, True])
async def test_a_repeat_that_takes_until_it_is_due_undoes_no_change(pods: Pods, is_there: bool) -> None:
    """Whoever repeats a create has read the row, or that there is none, before it was changed."""
    if is_there:
        row = (await pods.create()).row
    else:
        pods.rig.store.fail("put_rows", OutcomeUnknown("no answer"))
        assert isinstance(await outcome(pods.create()), OutcomeUnknown)
        pods.rig.clock.advance(BUSY_MS)
    gate = pods.rig.store.hold("fetch_marks")
    repeat = asyncio.create_task(pods.create_on_other())
    await spin()
    del pods.rig.store._gates["fetch_marks"]
    row = (await pods.create()).row
    assert row.moved_to is None
    later = ScheduleChange(delay_ms=600_000, payload="new")
    await pods.rig.service.change_schedule(row.schedule.schedule_id, later)
    await pods.seal(row.place.slot_ms)
    pods.rig.clock.advance(62_000)
    gate.set()
    assert (await repeat).row.schedule.payload == "new"
    home = await pods.rig.store.real.fetch_row(row.place, row.schedule.schedule_id)
    assert home is not None
    assert home.moved_to is not None
    assert home.moved_to.slot_ms >= START_MS + 600_000, "the change is what is sent"


async def test_a_dispatchers_own_filing_is_left_alone(pods: Pods) -> None:
    first = await pods.create(asked(delay_ms=0))
    row = first.row
    retry = replace(row, place=row.place._replace(slot_ms=row.place.slot_ms + 1_000), attempts=1)
    await pods.rig.store.real.put_rows([retry])
    update = RowUpdate(place=row.place, schedule_id=row.schedule.schedule_id, moved_to=retry.place)
    await pods.rig.store.real.put_updates([update])
    await pods.seal(retry.place.slot_ms)
    again = await pods.create_on_other(asked(delay_ms=0))
    assert (again.row.moved_to, again.row.attempts) == (retry.place, 1)
    assert len(pods.rows()) == 2


async def test_a_claim_without_an_answer_is_the_same_as_a_death(pods: Pods) -> None:
    pods.rig.store.fail("replace_claim", OutcomeUnknown("no answer"), carried_out=True)
    assert isinstance(await outcome(pods.create()), OutcomeUnknown)
    pods.rig.clock.advance(BUSY_MS)
    assert (await pods.create_on_other()).is_replay
    assert len(pods.rows()) == 1


async def test_a_key_is_gone_when_what_it_made_is_deleted(pods: Pods) -> None:
    first = await pods.create()
    await pods.rig.service.cancel_schedule(first.row.schedule.schedule_id)
    made = await asyncio.gather(*(outcome(call) for call in (pods.create(), pods.create_on_other())))
    kept = [each for each in made if isinstance(each, Kept)]
    assert sum(not each.is_replay for each in kept) == 1
    assert all(isinstance(each, Kept | InFlight) for each in made)
    assert {each.row.schedule.schedule_id for each in kept} != {first.row.schedule.schedule_id}
    assert len(pods.rows()) == 2
    assert (await pods.create()).row.schedule.schedule_id == kept[0].row.schedule.schedule_id


async def test_a_key_stands_for_what_has_ended_until_its_time_is_over(pods: Pods) -> None:
    first = await pods.create(asked(delay_ms=None, fire_ms=START_MS + 60_000))
    update = RowUpdate(
        place=first.row.place, schedule_id=first.row.schedule.schedule_id, outcome=make_outcome()
    )
    await pods.rig.store.real.put_updates([update])
    pods.rig.clock.advance(24 * HOUR_MS - 1)  # its time is in the past, which no create may ask for
    again = await pods.create_on_other(asked(delay_ms=None, fire_ms=START_MS + 60_000))
    assert (again.is_replay, again.row.status) == (True, Status.SUCCESS)
    with pytest.raises(InvalidRequest):
        await pods.create_on_other(asked(delay_ms=None, fire_ms=START_MS + 60_001))
    pods.rig.clock.advance(1)
    with pytest.raises(InvalidRequest):
        await pods.create(asked(delay_ms=None, fire_ms=START_MS + 60_000))
    assert not (await pods.create(asked())).is_replay


async def test_a_deactivated_app_still_tells_what_was_made(pods: Pods) -> None:
    first = await pods.create()
    await pods.rig.service.set_active("shop", False)
    assert (await pods.create()).row == first.row
    with pytest.raises(AppInactive):
        await pods.create(asked("other"))


async def test_keys_do_not_outlive_their_app(pods: Pods) -> None:
    first = await pods.create()
    app = await pods.rig.store.real.fetch_app("shop")
    assert app is not None
    await pods.rig.store.real.delete_app(app)
    pods.rig.clock.advance(20_000)
    with pytest.raises(NotFound):
        await pods.create()
    await pods.rig.register()
    anew = await pods.create()
    assert not anew.is_replay
    assert anew.row.schedule.schedule_id != first.row.schedule.schedule_id


@pytest.mark.parametrize("key", ["with space", "ü", "x" * 256, "a\nb"])
async def test_a_key_has_a_form(pods: Pods, key: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await pods.create(asked(key))
    assert [each.field for each in caught.value.violations] == ["idempotencyKey"]
    assert "fetch_claim" not in pods.rig.store.names()


async def test_items_of_a_batch_have_keys_of_their_own(pods: Pods) -> None:
    items: list[NewSchedule | Exception] = [asked("one"), asked(""), asked("one"), asked("two", payload="2")]
    results = await pods.rig.service.batches.create(items)
    again = await pods.other.batches.create([asked("two"), asked("two", payload="2"), asked("one")])
    assert [type(each) for each in results] == [Kept, Row, Kept, Kept]
    assert [each.is_replay for each in results if isinstance(each, Kept)] == [False, True, False]
    assert isinstance(again[0], KeyReused)
    assert all(isinstance(each, Kept) and each.is_replay for each in again[1:])
    assert len(pods.rows()) == 3
