"""The service without transport: apps, cancels and ids."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.contract.builders import START_MS, make_app, make_outcome, make_row, make_update
from tests.unit.ingest.commit_rig import AnyDetails, ServiceRig, make_service_rig
from tests.unit.spy_store import spin

from ringtime_shared.errors import (
    AlreadyDone,
    AppActive,
    AppExists,
    AppInactive,
    ClockInDoubt,
    Conflict,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    StoreUnavailable,
    VersionConflict,
)
from ringtime_shared.ids import MAX_COUNT, Kind, pack_id, unpack_id
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.schedule import Row, Status
from ringtime_shared.schedules.changing import WINDOW_MS


@pytest.fixture
async def rig() -> ServiceRig:
    return await make_service_rig()


async def test_registering_again_changes_configuration_and_state_only(rig: ServiceRig) -> None:
    first = await rig.register(partitions=3)
    assert (first.writable, first.polled, first.version, first.active) == (3, 3, 1, True)
    configuration = AppConfiguration(retention_days=2)
    for partitions in (3, None):
        again = await rig.register(partitions=partitions, active=False, configuration=configuration)
        assert again == replace(
            first, active=False, halted_ms=START_MS, configuration=configuration, version=again.version
        )
    assert await rig.service.fetch_apps("shop") == [again]
    assert again.version == 3


async def test_another_quota_takes_a_resize(rig: ServiceRig) -> None:
    first = await rig.register(partitions=3)
    with pytest.raises(Conflict, match=r"has 3 .*`ringctl resize shop --partitions 4 --apply`") as caught:
        await rig.register(partitions=4, configuration=AppConfiguration(retention_days=2))
    assert caught.value.field == "partitions"
    assert await rig.service.fetch_apps("shop") == [first]


async def test_the_servers_default_quota_is_given_to_who_asks_for_none(rig: ServiceRig) -> None:
    assert (await rig.register(partitions=None)).writable == 5


async def test_of_two_that_register_at_once_one_is_told(rig: ServiceRig) -> None:
    gate = rig.store.hold("create_app")
    both = [asyncio.create_task(rig.register(partitions=count)) for count in (3, 4)]
    await asyncio.sleep(0)
    gate.set()
    told = await asyncio.gather(*both, return_exceptions=True)
    assert [type(each) is AppExists for each in told] == [False, True]


async def test_a_bad_registration_is_refused(rig: ServiceRig) -> None:
    with pytest.raises(InvalidRequest, match="partitions"):
        await rig.register(partitions=0)
    with pytest.raises(NotFound):
        await rig.service.fetch_apps("shop")


async def test_activation_and_its_opposite_change_the_state_once(rig: ServiceRig) -> None:
    await rig.register()
    with pytest.raises(AppActive):
        await rig.service.set_active("shop", True)
    assert not (await rig.service.set_active("shop", False)).active
    with pytest.raises(AppInactive):
        await rig.service.set_active("shop", False)
    with pytest.raises(AppInactive):
        await rig.create()
    await rig.service.set_active("shop", True)
    await rig.create()
    with pytest.raises(NotFound):
        await rig.service.set_active("nobody", True)


async def test_a_change_by_another_in_between_is_decided_again(rig: ServiceRig) -> None:
    app = await rig.register()
    other = replace(app, configuration=AppConfiguration(retention_days=7), version=2)
    await _race(rig, other)
    done = await rig.service.set_active("shop", False)
    assert done == replace(other, active=False, halted_ms=START_MS, version=3)
    assert await rig.store.real.fetch_app("shop") == done


async def test_what_another_made_so_in_between_is_told(rig: ServiceRig) -> None:
    app = await rig.register()
    configuration = AppConfiguration(retention_days=7)
    await _race(rig, replace(app, active=False, configuration=configuration, version=2))
    with pytest.raises(AppInactive):
        await rig.service.set_active("shop", False)


async def test_the_very_same_change_by_another_is_no_conflict(rig: ServiceRig) -> None:
    """It cannot be told from one's own, carried out before its answer was lost."""
    inactive = replace(await rig.register(), active=False, halted_ms=START_MS, version=2)
    await _race(rig, inactive)
    assert await rig.service.set_active("shop", False) == inactive


async def test_registering_again_never_undoes_a_change_it_has_not_seen(rig: ServiceRig) -> None:
    app = await rig.register()
    await _race(rig, replace(app, writable=2, version=2))
    with pytest.raises(AppExists, match="has 2 partitions"):
        await rig.register(partitions=3)
    await _race(rig, replace(app, writable=2, active=False, version=3))
    configuration = AppConfiguration(retention_days=7)
    again = await rig.register(partitions=None, configuration=configuration)
    assert (again.writable, again.active, again.configuration, again.version) == (2, True, configuration, 4)


async def test_an_app_that_never_stands_still_is_a_conflict(rig: ServiceRig) -> None:
    await rig.register()
    rig.store.fail("replace_app", *[VersionConflict("changed")] * 100)
    with pytest.raises(VersionConflict, match="all the time"):
        await rig.service.set_active("shop", False)
    assert rig.store.names().count("replace_app") == 10


async def test_what_was_written_before_a_long_sleep_is_no_fresh_map(rig: ServiceRig) -> None:
    """The app shrinks, and is done with it, while the process sleeps on the answer to its write."""
    await rig.register(partitions=8)
    real = rig.store.real.replace_app

    async def sleeps(app: Any) -> None:
        await real(app)
        await real(replace(app, writable=1, polled=1, version=app.version + 1))
        rig.clock.advance(30_000)

    rig.store.real.replace_app = sleeps  # type: ignore[method-assign]
    await rig.register(partitions=8, configuration=AppConfiguration(retention_days=7))
    rows = [await rig.create(delay_ms=600_000 + n * 60_000) for n in range(8)]
    assert {(row.moved_to or row.place).partition for row in rows} == {0}


async def _race(rig: ServiceRig, other: Any) -> None:
    """Let somebody else store `other` just before the next change of an app gets there."""
    real = rig.store.real.replace_app

    async def second(app: Any) -> None:
        rig.store.real.replace_app = real  # type: ignore[method-assign]
        await real(other)
        await real(app)

    rig.store.real.replace_app = second  # type: ignore[method-assign]


async def test_a_create_is_filed_where_its_id_says(rig: ServiceRig) -> None:
    app = await rig.register(configuration=AppConfiguration(retention_days=2))
    row = await rig.create(delay_ms=60_000)
    parts = unpack_id(row.schedule.schedule_id)
    assert (parts.slot_ms, parts.partition, parts.app_number) == (
        row.place.slot_ms,
        row.place.partition,
        app.number,
    )
    assert row.schedule.fire_ms == row.place.slot_ms == START_MS + 60_000
    assert row.schedule.expires_ms == row.place.slot_ms + 2 * 86_400_000
    assert await rig.service.fetch_schedule(row.schedule.schedule_id) == row


@pytest.mark.parametrize(("delay_ms", "slot_ms"), [(0, 600), (599, 600), (600, 600), (601, 601)])
async def test_no_row_is_filed_nearer_than_the_margin(rig: ServiceRig, delay_ms: int, slot_ms: int) -> None:
    await rig.register()
    row = await rig.create(delay_ms=delay_ms)
    assert (row.schedule.fire_ms, row.place.slot_ms) == (START_MS + delay_ms, START_MS + slot_ms)


async def test_a_spent_mint_is_replaced(rig: ServiceRig) -> None:
    await rig.register()
    first = await rig.create()
    rig.service._mint._counter = MAX_COUNT - 1
    last, fresh = await rig.create(), await rig.create()
    parts = [unpack_id(row.schedule.schedule_id) for row in (first, last, fresh)]
    begun, spent, begun_anew = (each.counter for each in parts)
    assert max(begun, begun_anew) < MAX_COUNT // 2  # each begins anywhere there
    assert spent == MAX_COUNT - 1
    assert parts[0].nonce == parts[1].nonce != parts[2].nonce


@pytest.mark.parametrize(
    ("before_ms", "promised"), [(1_001, True), (1_000, False), (999, False), (-5, False)]
)
async def test_a_cancel_is_promised_more_than_a_second_before_the_slot(
    rig: ServiceRig, before_ms: int, promised: bool
) -> None:
    await rig.register()
    row = await rig.create(delay_ms=60_000)
    rig.clock.advance(60_000 - before_ms)
    done = await rig.service.cancel_schedule(row.schedule.schedule_id)
    assert done.promised is promised
    assert (done.row.status, done.row.cancelled_ms) == (Status.DELETED, rig.clock.now_ms())
    assert await rig.service.fetch_schedule(row.schedule.schedule_id) == done.row


async def test_the_promise_counts_from_when_the_cancel_was_durable(rig: ServiceRig) -> None:
    await rig.register()
    row = await rig.create(delay_ms=60_000)
    rig.clock.advance(58_000)
    gate = rig.store.hold("put_cancel")
    cancelling = asyncio.create_task(rig.service.cancel_schedule(row.schedule.schedule_id))
    await spin()
    assert "put_cancel" in rig.store.names()
    rig.clock.advance(1_000)
    gate.set()
    assert not (await cancelling).promised


async def moved(rig: ServiceRig, row: Row, slot_ms: int) -> None:
    await rig.store.real.put_updates([make_update(row, moved_to=row.place._replace(slot_ms=slot_ms))])


async def test_the_promise_is_about_the_pending_filing(rig: ServiceRig) -> None:
    await rig.register()
    row = await rig.create(delay_ms=1_000)
    await moved(rig, row, START_MS + 20_000)
    rig.clock.advance(10_000)
    assert (await rig.service.cancel_schedule(row.schedule.schedule_id)).promised


async def test_a_create_is_one_write_a_get_one_read_and_a_cancel_one_of_each(rig: ServiceRig) -> None:
    """Only what is due within the next minutes is checked against `sealed`."""
    await rig.register()
    rig.clock.advance(10_000)
    await rig.create(delay_ms=600_000)  # which has all apps read again, for one is new
    await spin()
    rig.store.calls.clear()
    row = await rig.create(delay_ms=600_000)
    assert rig.store.names() == ["put_rows"]
    await rig.create(delay_ms=30_000)
    assert rig.store.names()[1:] == ["put_rows", "fetch_marks"]
    rig.store.calls.clear()
    await rig.service.fetch_schedule(row.schedule.schedule_id)
    assert rig.store.names() == ["fetch_row"]
    rig.store.calls.clear()
    await rig.service.cancel_schedule(row.schedule.schedule_id)
    assert rig.store.names() == ["fetch_row", "put_cancel"]


async def test_a_cancel_lasts_as_long_as_a_row_that_was_filed_again_meanwhile(rig: ServiceRig) -> None:
    """Cancels carry the rest of the row's time; a change to a later time files the home row for longer."""
    await rig.register()
    row = await rig.create(delay_ms=60_000)
    schedule_id, expires_ms = row.schedule.schedule_id, row.schedule.expires_ms
    kept: list[int | None] = []
    put_cancel = rig.store.real.put_cancel

    async def noting(*args: Any) -> None:
        kept.append(args[3] if len(args) > 3 else None)
        await put_cancel(*args)

    rig.store.real.put_cancel = noting  # type: ignore[method-assign,assignment]
    gate = rig.store.hold("put_cancel")
    cancelling = asyncio.create_task(rig.service.cancel_schedule(schedule_id))
    await spin()
    longer = replace(row.schedule, expires_ms=expires_ms + 5)
    await rig.store.real.put_rows([replace(row, schedule=longer)])
    rig.clock.advance(WINDOW_MS)
    gate.set()
    await cancelling
    assert kept == [expires_ms, expires_ms + 5]


async def test_a_cancel_of_what_was_read_long_ago_looks_at_it_again(rig: ServiceRig) -> None:
    await rig.register()
    row = await rig.create(delay_ms=60_000)
    gate = rig.store.hold("fetch_row")
    cancelling = asyncio.create_task(rig.service.cancel_schedule(row.schedule.schedule_id))
    await spin()
    rig.clock.advance(WINDOW_MS)
    seen: list[tuple[Any, ...]] = []
    put_cancel = rig.store.real.put_cancel

    async def noting(*args: Any) -> None:
        seen.append(args[3:])
        await put_cancel(*args)

    rig.store.real.put_cancel = noting  # type: ignore[method-assign,assignment]
    gate.set()
    await cancelling
    assert seen == [(None,)]


async def test_cancelling_twice_is_no_error_and_keeps_the_first(rig: ServiceRig) -> None:
    await rig.register()
    row = await rig.create(delay_ms=60_000)
    first = await rig.service.cancel_schedule(row.schedule.schedule_id)
    rig.clock.advance(40_000)
    again = await rig.service.cancel_schedule(row.schedule.schedule_id)
    assert again == first
    assert rig.store.names().count("put_cancel") == 1


async def test_a_repeated_cancel_promises_only_what_the_first_can_have_made_sure(rig: ServiceRig) -> None:
    """Nobody knows when the first became durable, but not later than 30 s after it began, or now."""
    await rig.register()
    row = await rig.create(delay_ms=60_000)
    rig.clock.advance(50_000)
    await rig.service.cancel_schedule(row.schedule.schedule_id)
    rig.clock.advance(8_999)
    assert (await rig.service.cancel_schedule(row.schedule.schedule_id)).promised
    rig.clock.advance(1)
    assert not (await rig.service.cancel_schedule(row.schedule.schedule_id)).promised


async def test_what_has_its_outcome_cannot_be_cancelled(rig: ServiceRig) -> None:
    await rig.register()
    row = await rig.create()
    await rig.store.real.put_updates([make_update(row, make_outcome())])
    with pytest.raises(AlreadyDone, match="SUCCESS"):
        await rig.service.cancel_schedule(row.schedule.schedule_id)


REST_MS = 60_000 + 30_000 + 10_000 + 60_000  #: clocks, the slowest write, a dispatcher's apps, an attempt


@pytest.mark.parametrize(("rest_ms", "promised"), [(0, False), (REST_MS, False), (REST_MS + 1, True)])
async def test_a_late_cancel_is_promised_once_nothing_can_send_it(
    rig: ServiceRig, rest_ms: int, promised: bool
) -> None:
    """The app is deactivated for longer than an attempt lasts that began before."""
    await rig.register()
    row = await rig.create(delay_ms=1_000)
    rig.clock.advance(5_000)
    await rig.service.set_active("shop", False)
    rig.clock.advance(rest_ms)
    assert (await rig.service.cancel_schedule(row.schedule.schedule_id)).promised is promised


async def test_a_late_cancel_is_best_effort_in_an_app_that_was_activated_again(rig: ServiceRig) -> None:
    await rig.register()
    row = await rig.create(delay_ms=1_000)
    await rig.service.set_active("shop", False)
    rig.clock.advance(REST_MS + 5_000)
    await rig.service.set_active("shop", True)
    assert not (await rig.service.cancel_schedule(row.schedule.schedule_id)).promised


async def test_other_changes_of_a_deactivated_app_do_not_count_as_a_new_rest(rig: ServiceRig) -> None:
    await rig.register(active=False)
    rig.clock.advance(5_000)
    again = await rig.register(active=False, configuration=AppConfiguration(retention_days=2))
    assert again.halted_ms == START_MS


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_late_cancel_stands_though_nobody_can_say_more_of_its_app(
    rig: ServiceRig, is_known: bool
) -> None:
    """Its app cannot be read; or it was deactivated before there was a note of when."""
    app = await rig.register()
    row = await rig.create(delay_ms=1_000)
    await rig.store.real.replace_app(replace(app, active=False, version=2))
    rig.clock.advance(86_400_000)
    if is_known:
        rig.store.fail("fetch_app", StoreUnavailable("no"), StoreUnavailable("no"))
    done = await rig.service.cancel_schedule(row.schedule.schedule_id)
    assert (done.promised, done.row.status) == (False, Status.DELETED)


@pytest.mark.parametrize("error", [StoreUnavailable("no"), OutcomeUnknown("silence")])
async def test_a_cancel_that_was_not_written_is_told(rig: ServiceRig, error: Exception) -> None:
    await rig.register()
    row = await rig.create()
    rig.store.fail("put_cancel", error)
    with pytest.raises(type(error)):
        await rig.service.cancel_schedule(row.schedule.schedule_id)
    assert (await rig.service.cancel_schedule(row.schedule.schedule_id)).promised


@pytest.mark.parametrize(
    "schedule_id",
    [
        uuid4(),
        UUID(int=0),
        make_row(make_app(number=0)).schedule.schedule_id,  # a known app, no such row
        make_row(make_app(number=999_999)).schedule.schedule_id,  # an app that is not registered
    ],
    ids=["random", "nil", "no row", "no app"],
)
async def test_an_id_that_names_nothing_is_not_found(rig: ServiceRig, schedule_id: UUID) -> None:
    await rig.register()
    for call in (rig.service.fetch_schedule, rig.service.cancel_schedule):
        with pytest.raises(NotFound, match=str(schedule_id)):
            await call(schedule_id)


async def test_an_id_with_another_place_in_it_finds_nothing(rig: ServiceRig) -> None:
    """Ids can be guessed at; only the exact one finds its row."""
    await rig.register()
    parts = unpack_id((await rig.create()).schedule.schedule_id)
    for wrong in (
        parts._replace(partition=(parts.partition + 1) % 3),
        parts._replace(slot_ms=parts.slot_ms + 1),
        parts._replace(counter=parts.counter + 1),
        parts._replace(kind=Kind.RUN),
    ):
        with pytest.raises(NotFound):
            await rig.service.fetch_schedule(pack_id(wrong))


async def test_ids_of_unknown_apps_read_no_app_while_none_has_changed(rig: ServiceRig) -> None:
    stranger = make_row(make_app(number=999_999)).schedule.schedule_id
    before = rig.store.names()
    gate = rig.store.hold("count_app_changes")
    asked = [asyncio.create_task(rig.service.fetch_schedule(stranger)) for _ in range(50)]
    await spin()
    gate.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(answer) for answer in answers} == {NotFound}
    assert rig.store.names()[len(before) :] == ["count_app_changes"] * 2, "the second for all but the first"


async def test_ids_of_unknown_apps_reload_the_apps_once_for_all_who_ask(rig: ServiceRig) -> None:
    """After changes that the log does not name."""
    stranger = make_row(make_app(number=999_999)).schedule.schedule_id
    rig.clock.step_wall(-60_000)
    await rig.store.real.create_app(make_app())
    rig.clock.step_wall(60_000)
    before = len(rig.store.names())
    gate = rig.store.hold("fetch_apps")
    asked = [asyncio.create_task(rig.service.fetch_schedule(stranger)) for _ in range(50)]
    await spin()
    gate.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(answer) for answer in answers} == {NotFound}
    assert rig.store.names()[before:].count("fetch_apps") <= 2, "one for the first, one for all others"


async def test_whoever_asks_while_the_apps_are_read_is_not_told_that_there_is_none(rig: ServiceRig) -> None:
    """Right after a start, for example: nothing is known yet, and many ask at once."""
    app = await rig.store.real.create_app(make_app())
    rows = [make_row(app) for _ in range(3)]
    await rig.store.real.put_rows(rows)
    gate = rig.store.hold("count_app_changes")
    first = asyncio.create_task(rig.service.fetch_schedule(rows[0].schedule.schedule_id))
    await spin()
    others = [asyncio.create_task(rig.service.fetch_schedule(row.schedule.schedule_id)) for row in rows[1:]]
    await spin()
    gate.set()
    assert await asyncio.gather(first, *others) == rows


async def test_a_read_of_the_apps_that_failed_is_no_answer(rig: ServiceRig) -> None:
    app = await rig.store.real.create_app(make_app())
    row = make_row(app)
    await rig.store.real.put_rows([row])
    rig.store.fail("count_app_changes", StoreUnavailable("no"))
    asked = [rig.service.fetch_schedule(row.schedule.schedule_id) for _ in range(2)]
    first, second = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(first, StoreUnavailable)
    assert second == row


async def test_an_app_registered_by_another_process_is_found(rig: ServiceRig) -> None:
    app = await rig.store.real.create_app(make_app())
    row = make_row(app)
    await rig.store.real.put_rows([row])
    assert await rig.service.fetch_schedule(row.schedule.schedule_id) == row


@pytest.mark.parametrize("member", ["validate", "screen"])
@pytest.mark.parametrize("error", [SystemExit(1), GeneratorExit(), asyncio.CancelledError()])
async def test_a_callback_type_that_lets_anything_out_costs_that_create_alone(
    member: str, error: BaseException
) -> None:
    """As it comes, it would end the task of the request, or the process."""

    class Rude(AnyDetails):
        async def screen(self, details: Any, app_id: str) -> list[Any]:
            raise error

    rude = Rude()
    if member == "validate":
        rude.validate = lambda details, app_id: (_ for _ in ()).throw(error)  # type: ignore[method-assign]
    rig = await make_service_rig(rude)
    await rig.register()
    with pytest.raises(RuntimeError, match=f"callback type sim failed at a create: {type(error).__name__}"):
        await rig.create()


async def test_a_clock_in_doubt_refuses_what_counts_from_now_and_nothing_is_written(rig: ServiceRig) -> None:
    """Before any other fault is looked for: by a false time, a right `scheduleTime` may be in the past."""
    await rig.register()
    rig.clock.in_doubt = "it says a year before 2020"
    rig.clock.step_wall(-START_MS)
    rig.store.calls.clear()
    with pytest.raises(ClockInDoubt):
        await rig.create()
    with pytest.raises(ClockInDoubt):
        await rig.register("other")
    assert not {"put_rows", "create_app"} & set(rig.store.names())
    assert (await rig.register(active=False)).active is False, "what does not, is done"
