"""Firing: at the slot, under the cap, while the lease is trusted; then the retry or the outcome."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.contract.builders import START_MS, key_of, make_app, make_move, make_outcome, make_row, make_update
from tests.harness.virtual import LoopClock, on_virtual_time
from tests.unit.dispatcher.rig import make_node, make_rig
from tests.unit.spy_store import SpyStore, spin

from ringtime_shared.apps.states import begin_deletion
from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.clock import ManualClock
from ringtime_shared.coordination.memory import Hub, MemorySession
from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.metrics.names import DEAD_LETTERS, FIRES, MISSED, PARKINGS
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.schedule import Outcome, Place, Status
from ringtime_shared.settings import CoordinationSettings, DispatchSettings, RetrySettings
from ringtime_shared.stores.protocol import LAST_ID, Position

FAILED = Reply(ok=False, code=503, error="answered 503")
SLOT_MS = START_MS + 1_000


@on_virtual_time
async def test_a_row_fires_at_its_slot_and_is_recorded() -> None:
    rig = make_rig()
    row = rig.row(SLOT_MS)
    await rig.put(row)
    assert rig.rows_held() == 1
    await asyncio.sleep(2)
    [(sent_ms, delivery)] = rig.receiver.sent
    assert SLOT_MS <= sent_ms <= SLOT_MS + 1
    assert (delivery.schedule, delivery.attempt, delivery.term) == (row.schedule, 1, rig.owned.term)
    assert (await rig.stored(row)).outcome == Outcome(
        status=Status.SUCCESS, ended_ms=sent_ms, fired_ms=sent_ms, attempts=1, code=200, took_ms=0
    )
    assert not rig.owned.is_open(key_of(row))
    assert rig.rows_held() == 0
    await rig.owned.wait_quiet()


@on_virtual_time
async def test_one_app_that_hangs_has_half_of_the_places_in_flight() -> None:
    rig = make_rig(dispatch=DispatchSettings(max_in_flight=6))
    rig.receiver.open.clear()
    await rig.put(*(rig.row(SLOT_MS + n) for n in range(10)))
    await asyncio.sleep(1.5)
    assert len(rig.receiver.sent) == 3
    assert rig.rows_held() == 10
    rig.receiver.open.set()
    await asyncio.sleep(1)
    assert len(rig.receiver.sent) == 10
    assert rig.counted(FIRES, result="success") == 10


@pytest.mark.parametrize(("trusted_until_ms", "sent"), [(999, 0), (1_000, 0), (1_001, 1), (60_000, 1)])
@on_virtual_time
async def test_nothing_is_sent_past_the_trust_window(trusted_until_ms: int, sent: int) -> None:
    """The row comes due at boot time 1,000."""
    rig = make_rig()
    rig.trusted_until_ms = trusted_until_ms
    await rig.put(rig.row(SLOT_MS))
    await asyncio.sleep(3)
    assert len(rig.receiver.sent) == sent


@on_virtual_time
async def test_what_waited_for_trust_is_sent_when_it_is_back() -> None:
    rig = make_rig()
    rig.trusted_until_ms = 0
    await rig.put(rig.row(SLOT_MS))
    await asyncio.sleep(3)
    assert rig.receiver.sent == []
    rig.trusted_until_ms = 1 << 62
    rig.deliverer.pump()
    await spin()
    assert len(rig.receiver.sent) == 1


@pytest.mark.parametrize(("boot_ms", "trusted"), [(6_999, True), (7_000, False), (7_001, False)])
async def test_trust_ends_a_margin_before_the_lease_can(boot_ms: int, trusted: bool) -> None:
    """Exactly at TTL less margin, counted from the start of the last renewal."""
    clock = ManualClock()
    session = MemorySession(Hub(), clock, ttl_ms=10_000, margin_ms=3_000)
    dispatcher = make_node(SpyStore(clock.now_ms), clock, session)
    assert not dispatcher.is_trusted(), "not before it joined"
    await dispatcher.start()
    clock.advance(boot_ms)
    assert dispatcher.is_trusted() is trusted
    await dispatcher.kill()
    await session.close()
    assert not dispatcher.is_trusted()


async def test_trust_may_be_waived_by_the_operator() -> None:
    clock = ManualClock()
    session = MemorySession(Hub(), clock, ttl_ms=10_000, margin_ms=3_000)
    dispatcher = make_node(
        SpyStore(clock.now_ms), clock, session, coordination=CoordinationSettings(on_loss="continue")
    )
    await dispatcher.start()
    clock.advance(60_000)
    assert dispatcher.is_trusted()
    await dispatcher.stop()


@pytest.mark.parametrize("on_loss", ["stop", "continue"])
@on_virtual_time
async def test_trust_ends_when_it_is_long_unknown_which_apps_are_active(on_loss: Any) -> None:
    """A deactivation holds soon on every node, also on one that cannot read it."""
    clock = LoopClock()
    store, hub = SpyStore(clock.now_ms), Hub()
    dispatcher = make_node(store, clock, hub, coordination=CoordinationSettings(on_loss=on_loss))
    await dispatcher.start()
    await asyncio.sleep(30)
    assert dispatcher.is_trusted()
    store.fail("count_app_changes", *[StoreUnavailable("no")] * 10_000)
    await asyncio.sleep(8.9)
    assert dispatcher.is_trusted()
    await asyncio.sleep(1.2)
    assert not dispatcher.is_trusted()
    store.heal("count_app_changes")
    await asyncio.sleep(1.5)
    assert dispatcher.is_trusted()
    await dispatcher.stop()


@on_virtual_time
async def test_a_long_step_of_ownership_does_not_age_the_apps() -> None:
    """As the walk through days of buckets is, after an outage."""
    clock = LoopClock()
    store, hub = SpyStore(clock.now_ms), Hub()
    await store.real.create_app(make_app(created_ms=START_MS))
    gate = store.hold("fetch_marks")
    dispatcher = make_node(store, clock, hub)
    await dispatcher.start()
    for _ in range(60):
        await asyncio.sleep(1)
        assert dispatcher.is_trusted()
    gate.set()
    await dispatcher.stop()


@on_virtual_time
async def test_what_is_ready_is_dropped_when_its_instance_drains() -> None:
    rig = make_rig()
    row = rig.row(SLOT_MS)
    await rig.put(row)
    rig.owned.is_draining = True
    await asyncio.sleep(2)
    assert rig.receiver.sent == []
    assert rig.rows_held() == 0
    assert rig.owned.is_open(key_of(row)), "the next owner must find it above `settled`"
    assert (await rig.stored(row)).is_live
    await rig.owned.wait_quiet()


@pytest.mark.parametrize("how", ["trust", "draining"])
@on_virtual_time
async def test_what_changes_during_the_look_at_the_home_row_is_seen_before_the_send(how: str) -> None:
    rig = make_rig()
    homes = [rig.row(START_MS - 5_000) for _ in range(3)]
    await rig.store.real.put_rows(homes)
    gate = rig.store.hold("fetch_row")
    await rig.put(*(make_move(home, SLOT_MS) for home in homes))
    await asyncio.sleep(1.5)
    if how == "trust":
        rig.trusted_until_ms = 0
    else:
        rig.owned.is_draining = True
    gate.set()
    await asyncio.sleep(1)
    assert rig.receiver.sent == []
    await rig.owned.wait_quiet()
    rig.trusted_until_ms = 1 << 62
    rig.deliverer.pump()
    await asyncio.sleep(1)
    assert len(rig.receiver.sent) == (3 if how == "trust" else 0)
    assert rig.rows_held() == 0


@pytest.mark.parametrize(("late_ms", "status"), [(10_000, Status.SUCCESS), (10_001, Status.MISS)])
@on_virtual_time
async def test_a_row_that_is_too_late_is_recorded_as_missed(late_ms: int, status: Status) -> None:
    rig = make_rig(configuration=AppConfiguration(max_lateness_s=10))
    row = rig.row(START_MS - late_ms)
    await rig.put(row)
    await spin()
    outcome = (await rig.stored(row)).outcome
    assert outcome is not None
    assert outcome.status is status
    assert len(rig.receiver.sent) == (status is Status.SUCCESS)
    assert rig.counted(MISSED) == (status is Status.MISS)
    if status is Status.MISS:
        assert (outcome.attempts, outcome.fired_ms) == (0, None)


@on_virtual_time
async def test_without_a_rule_of_the_app_nothing_is_too_late() -> None:
    rig = make_rig()
    rig.owned.checked_ms = 0  # its term began before that row
    await rig.put(rig.row(START_MS - 30 * 86_400_000))
    await spin()
    assert len(rig.receiver.sent) == 1


@on_virtual_time
async def test_a_retry_is_filed_before_the_attempt_is_closed() -> None:
    rig = make_rig()
    rig.receiver.answers = [FAILED]
    row = rig.row(SLOT_MS)
    await rig.put(row)
    filed = rig.store.hold("put_rows")
    await asyncio.sleep(1.5)
    assert rig.store.names() == ["put_rows"]
    assert rig.owned.is_open(key_of(row))
    pointed = rig.store.hold("put_updates")
    filed.set()
    await asyncio.sleep(0.1)
    assert rig.store.names() == ["put_rows", "fetch_marks", "put_updates"]
    assert rig.owned.is_open(key_of(row)), "open until the pointer is durable"
    pointed.set()
    await asyncio.sleep(0.1)
    assert not rig.owned.is_open(key_of(row))

    stored = await rig.stored(row)
    assert stored.outcome is None
    assert stored.moved_to is not None
    assert stored.moved_to.slot_ms >= SLOT_MS + 1_000, "time for its row to become durable"
    again = await rig.store.real.fetch_row(stored.moved_to, row.schedule.schedule_id)
    [attempt] = again.log if again is not None else ()
    assert (attempt.code, attempt.error) == (503, "answered 503")
    assert SLOT_MS <= attempt.at_ms <= SLOT_MS + 1
    assert again == replace(row, place=stored.moved_to, attempts=1, log=(attempt,))
    rig.give(again)
    await asyncio.sleep(5)
    assert [delivery.attempt for _, delivery in rig.receiver.sent] == [1, 2]
    for filing in (row, again):
        outcome = (await rig.stored(filing)).outcome
        assert outcome is not None
        assert (outcome.status, outcome.attempts) == (Status.SUCCESS, 2)


@on_virtual_time
async def test_a_retry_lies_above_sealed_and_as_far_off_as_asked() -> None:
    rig = make_rig()
    rig.receiver.answers = [replace(FAILED, retry_after_ms=7_000), FAILED]
    asked, sealed = rig.row(SLOT_MS), rig.row(SLOT_MS + 10_000)
    await rig.put(asked, sealed)
    await asyncio.sleep(5)
    moved_to = (await rig.stored(asked)).moved_to
    assert moved_to is not None
    assert moved_to.slot_ms >= SLOT_MS + 7_000
    await rig.seal(START_MS + 30_000)
    await asyncio.sleep(10)
    moved_to = (await rig.stored(sealed)).moved_to
    assert moved_to is not None
    assert moved_to.slot_ms > START_MS + 30_000


@pytest.mark.parametrize("name", ["put_rows", "put_updates"])
@pytest.mark.parametrize("error", [StoreUnavailable("no"), OutcomeUnknown("silence")])
@on_virtual_time
async def test_a_retry_that_cannot_be_written_is_written_later(name: str, error: Exception) -> None:
    rig = make_rig()
    rig.receiver.answers = [FAILED]
    rig.store.fail(name, *[error] * 4)
    row = rig.row(SLOT_MS)
    await rig.put(row)
    await asyncio.sleep(1.5)
    assert rig.owned.is_open(key_of(row))
    await asyncio.sleep(1)
    assert not rig.owned.is_open(key_of(row))
    assert len(rig.receiver.sent) == 1


@pytest.mark.parametrize("is_lost", [False, True], ids=["by this node", "by the next owner"])
@on_virtual_time
async def test_a_retry_whose_slot_was_sealed_before_it_was_written_is_filed_above(is_lost: bool) -> None:
    """Found by the simulation: the final read of its slot was over when the row became durable."""
    rig = make_rig()
    rig.receiver.answers = [FAILED]
    row = rig.row(SLOT_MS)
    await rig.put(row)
    filed = rig.store.hold("put_rows")
    await asyncio.sleep(1.5)
    await rig.seal(SLOT_MS + 50_000)
    rig.owned.set_checked(SLOT_MS + 50_000)
    if is_lost:
        rig.owned.stop()
    filed.set()
    await asyncio.sleep(10)
    moved_to = (await rig.stored(row)).moved_to
    assert moved_to is not None
    assert moved_to.slot_ms > SLOT_MS + 50_000
    assert (await rig.stored(replace(row, place=moved_to))).attempts == 1
    assert rig.owned.settleable_ms() == SLOT_MS + 50_000


@on_virtual_time
async def test_a_cancelled_retry_is_not_sent() -> None:
    rig = make_rig()
    home = rig.row(START_MS - 5_000)
    move = make_move(home, SLOT_MS)
    await rig.store.real.put_rows([home])
    await rig.put(move)
    await rig.store.real.put_cancel(home.place, home.schedule.schedule_id, START_MS)
    await asyncio.sleep(2)
    assert rig.receiver.sent == []
    closed = (await rig.stored(move)).outcome
    assert closed is not None
    assert closed.status is Status.DELETED
    assert (await rig.stored(home)).status is Status.DELETED
    assert not rig.owned.is_open(key_of(move))
    await rig.owned.wait_quiet()


@on_virtual_time
async def test_a_move_whose_schedule_has_its_outcome_is_closed_with_it() -> None:
    rig = make_rig()
    home = rig.row(START_MS - 5_000)
    move = make_move(home, SLOT_MS)
    await rig.store.real.put_rows([home])
    await rig.store.real.put_updates([make_update(home, make_outcome())])
    await rig.put(move)
    await asyncio.sleep(2)
    assert rig.receiver.sent == []
    closed = make_outcome(fired_ms=None, attempts=0)  # of this filing nothing was sent
    assert (await rig.stored(move)).outcome == closed


@on_virtual_time
async def test_two_filings_of_a_schedule_are_sent_once() -> None:
    """Overtaken at its creation, but found after all: the home row goes first, the other looks at it."""
    rig = make_rig()
    rig.receiver.open.clear()
    home = rig.row(SLOT_MS)
    move = replace(make_move(home, SLOT_MS + 100), attempts=0)
    await rig.put(home, move)
    await asyncio.sleep(2.5)  # less than the attempt's deadline after the slot
    assert len(rig.receiver.sent) == 1
    rig.receiver.open.set()
    await asyncio.sleep(3)
    assert len(rig.receiver.sent) == 1
    assert not rig.owned.is_open(key_of(home))
    assert not rig.owned.is_open(key_of(move))
    assert rig.rows_held() == 0


@on_virtual_time
async def test_after_the_last_attempt_it_is_given_up() -> None:
    rig = make_rig(configuration=AppConfiguration(http_attempts=1))
    rig.receiver.answers = [replace(FAILED, error="x" * 1_000)]
    row = rig.row(SLOT_MS)
    await rig.put(row)
    await asyncio.sleep(2)
    outcome = (await rig.stored(row)).outcome
    assert outcome is not None
    assert (outcome.status, outcome.code, outcome.attempts) == (Status.FAILURE, 503, 1)
    assert outcome.error == "x" * 200
    assert "put_rows" not in rig.store.names()
    assert rig.counted(DEAD_LETTERS) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Reply(ok=False, code=410, error="answered 410", is_final=True), "answered 410"),
        (ValueError("plug-in bug"), "ValueError: plug-in bug"),
        (TimeoutError(), "no answer within 2000 ms"),
    ],
)
@on_virtual_time
async def test_what_a_callback_type_may_do_wrong(answer: Reply | Exception, error: str) -> None:
    final = isinstance(answer, Reply)
    rig = make_rig(configuration=AppConfiguration(http_attempts=5 if final else 1))
    rig.receiver.answers = [answer]
    row = rig.row(SLOT_MS)
    await rig.put(row)
    await asyncio.sleep(2)
    outcome = (await rig.stored(row)).outcome
    assert outcome is not None
    assert (outcome.status, outcome.error) == (Status.FAILURE, error)


@on_virtual_time
async def test_a_callback_that_hangs_ends_at_its_deadline() -> None:
    rig = make_rig(configuration=AppConfiguration(http_attempts=1, http_timeout_ms=700))
    rig.receiver.open.clear()
    row = rig.row(SLOT_MS)
    await rig.put(row)
    await asyncio.sleep(2)
    outcome = (await rig.stored(row)).outcome
    assert outcome is not None
    assert outcome.error == "no answer within 700 ms"
    assert SLOT_MS + 700 <= outcome.ended_ms <= SLOT_MS + 705
    assert rig.receiver.sent[0][1].timeout_ms == 700


@on_virtual_time
async def test_a_type_that_is_not_registered_here_is_a_failed_attempt() -> None:
    rig = make_rig(configuration=AppConfiguration(http_attempts=1))
    row = rig.row(SLOT_MS)
    row = replace(row, schedule=replace(row.schedule, callback_type="pigeon"))
    await rig.put(row)
    await asyncio.sleep(2)
    outcome = (await rig.stored(row)).outcome
    assert outcome is not None
    assert outcome.error == "callback type pigeon is not registered here"


@on_virtual_time
async def test_room_is_reported_when_half_of_an_apps_share_is_free() -> None:
    """Of ten places the app may hold as many as are free: five."""
    rig = make_rig(dispatch=DispatchSettings(max_loaded=10))
    await rig.put(*(rig.row(SLOT_MS + 1_000 * n) for n in range(5)))
    assert rig.ledger.room(rig.app.app_id) == 0
    assert rig.ledger.is_short
    await asyncio.sleep(1.5)  # one went
    assert rig.rooms == 0
    await asyncio.sleep(1)  # another: 3 held, 7 free
    assert rig.rooms == 1
    assert not rig.ledger.is_short


@on_virtual_time
async def test_closing_ends_what_is_in_flight_and_leaves_it_to_the_next_owner() -> None:
    rig = make_rig()
    rig.receiver.open.clear()
    flying, waiting = rig.row(SLOT_MS), rig.row(SLOT_MS + 60_000)
    await rig.put(flying, waiting)
    await asyncio.sleep(1.5)
    await rig.deliverer.close()
    await asyncio.sleep(120)
    assert len(rig.receiver.sent) == 1
    for row in (flying, waiting):
        assert (await rig.stored(row)).is_live
    await rig.owned.wait_quiet()


@on_virtual_time
async def test_retries_spread_out_and_end() -> None:
    """The whole chain, each retry handed over as a read would."""
    rig = make_rig(configuration=AppConfiguration(http_attempts=4), retry=RetrySettings(first_delay_ms=2_000))
    rig.receiver.answers = [FAILED] * 4
    row = rig.row(SLOT_MS)
    await rig.put(row)
    places: list[Place] = []
    for _ in range(3):
        await asyncio.sleep(40)
        moved_to = (await rig.stored(row)).moved_to
        assert moved_to is not None
        assert moved_to not in places
        places.append(moved_to)
        again = await rig.store.real.fetch_row(moved_to, row.schedule.schedule_id)
        assert again is not None
        rig.give(again)
    await asyncio.sleep(200)
    assert [delivery.attempt for _, delivery in rig.receiver.sent] == [1, 2, 3, 4]
    outcome = (await rig.stored(row)).outcome
    assert outcome is not None
    assert (outcome.status, outcome.attempts) == (Status.FAILURE, 4)


SHORT = Reply(ok=False, error="this node is short of something: Too many open files", is_shortage=True)


@pytest.mark.parametrize("short", [SHORT, OSError(24, "Too many open files"), MemoryError()])
@on_virtual_time
async def test_a_shortage_of_this_node_parks_the_row_and_uses_up_no_attempt(short: Reply | Exception) -> None:
    rig = make_rig(configuration=AppConfiguration(http_attempts=1))
    rig.receiver.answers = [short]
    row = rig.row(SLOT_MS)
    await rig.put(row)
    await asyncio.sleep(1.5)
    home = await rig.stored(row)
    assert (home.outcome, rig.counted(PARKINGS)) == (None, 1)
    assert home.moved_to is not None
    assert SLOT_MS + 1_000 <= home.moved_to.slot_ms <= SLOT_MS + 3_000
    again = await rig.store.real.fetch_row(home.moved_to, row.schedule.schedule_id)
    assert again == replace(row, place=home.moved_to), "same attempts, same log"
    assert rig.rows_held() == 0


@on_virtual_time
async def test_a_node_that_is_short_of_something_does_not_try_the_rest_at_once() -> None:
    rig = make_rig()
    rig.receiver.answers = [SHORT]
    await rig.put(*(rig.row(SLOT_MS + n) for n in range(0, 300, 2)))
    await asyncio.sleep(1.6)
    first, second, *rest = rig.receiver.times_ms()
    assert (first, second) == (SLOT_MS, SLOT_MS + 250)
    assert len(rest) == 148


@on_virtual_time
async def test_a_row_that_met_a_shortage_until_it_was_too_old_is_given_up() -> None:
    rig = make_rig(retry=RetrySettings(max_age_s=4))
    rig.receiver.answers = [SHORT] * 100
    row = rig.row(SLOT_MS)
    await rig.put(row)
    for _ in range(10):
        await asyncio.sleep(1)
        home = await rig.stored(row)
        if home.moved_to is not None and home.outcome is None:
            pending = await rig.store.real.fetch_row(home.moved_to, row.schedule.schedule_id)
            if pending is not None and pending.outcome is None and rig.rows_held() == 0:
                rig.give(pending)
    outcome = (await rig.stored(row)).outcome
    assert outcome is not None
    assert (outcome.status, outcome.attempts) == (Status.FAILURE, 0)
    assert outcome.error.startswith("not sent: this node is short of something")


@on_virtual_time
async def test_what_a_deleted_app_of_the_same_id_left_behind_is_not_sent_and_holds_nothing_up() -> None:
    rig = make_rig(app_number=7)
    left, own, newer = (
        make_row(replace(rig.app, number=n), START_MS, callback_type="sim") for n in (6, 7, 8)
    )
    await rig.put(left, own, newer)
    await asyncio.sleep(1)
    sent = {delivery.schedule.schedule_id for _, delivery in rig.receiver.sent}
    assert sent == {own.schedule.schedule_id, newer.schedule.schedule_id}, (
        "the newer one's app is not read yet"
    )
    assert (await rig.stored(left)).outcome is None
    rig.owned.set_checked(START_MS)
    assert rig.owned.settleable_ms() == START_MS
    assert rig.rows_held() == 0


@on_virtual_time
@pytest.mark.parametrize("cancels", [True, False])
async def test_no_dead_letter_is_left_to_the_next_app_of_the_id(cancels: bool) -> None:
    rig = make_rig(retry=RetrySettings(first_delay_ms=1), configuration=AppConfiguration(http_attempts=1))
    rig.receiver.answers = [Reply(ok=False, code=500)]
    rig.receiver.open.clear()
    await rig.put(rig.row(START_MS))
    await asyncio.sleep(1)
    rig.app = begin_deletion(rig.app, cancels=cancels, now_ms=START_MS)
    rig.receiver.open.set()
    await asyncio.sleep(1)
    assert (rig.counted(FIRES, result="failure"), rig.counted(DEAD_LETTERS)) == (1, not cancels)
    letters = await rig.store.real.fetch_dead_letters(rig.app.app_id, Position(0, LAST_ID), 1 << 62, 10)
    assert len(letters) == (0 if cancels else 1)
