"""A destination that is down or slow: its rows are filed for later, and come back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from tests.contract.builders import START_MS, key_of, make_move, make_outcome, make_update
from tests.harness.virtual import on_virtual_time
from tests.unit.dispatcher.town import PLAIN, SLOT_MS, Town, an_outage, small

from ringtime_shared.buckets import bucket_of
from ringtime_shared.callbacks.protocol import Delivery, Reply
from ringtime_shared.errors import StoreUnavailable
from ringtime_shared.metrics.names import ATTEMPTS, DEAD_LETTERS, PARKINGS
from ringtime_shared.models.app import AppConfiguration, Instance
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Row, Status


@on_virtual_time
async def test_what_waits_for_a_destination_that_fails_is_filed_for_later() -> None:
    town = Town(PLAIN, dispatch=small())
    rows = await an_outage(town)
    sent = {delivery.schedule.schedule_id for _, delivery in town.street.sent}
    assert len(sent) == len(town.street.sent) == 2
    assert (town.counted(PARKINGS), town.counted(ATTEMPTS, result="retry")) == (28, 2)
    slots = []
    for row in rows:
        home, filed = await town.stored(row), await town.newest(row)
        assert home == replace(row, moved_to=filed.place)
        assert not town.owner(row).is_open(key_of(row))
        if row.schedule.schedule_id not in sent:
            assert filed == replace(row, place=filed.place), "same attempts, same log"
            slots.append(filed.place.slot_ms)
    slots.sort()
    assert slots[0] == SLOT_MS + 10_000
    assert all(later - earlier == 100 for earlier, later in pairwise(slots))
    assert town.is_empty()
    for owned in town.owned.values():
        await owned.wait_quiet()


@on_virtual_time
async def test_a_destination_that_stays_down_gets_one_probe_a_period() -> None:
    town = Town(AppConfiguration(http_attempts=100), dispatch=small(breaker_open_ms=5_000))
    rows = await an_outage(town)
    await town.live(until_s=61)
    times_ms = town.street.times_ms()
    assert 10 <= len(times_ms) <= 2 + 60 // 5
    assert all(later - earlier >= 5_000 for earlier, later in pairwise(times_ms[1:]))
    burned = Counter([(await town.newest(row)).attempts for row in rows])
    assert sum(attempts * count for attempts, count in burned.items()) == len(times_ms)
    assert await town.statuses(rows) == {Status.SCHEDULED: 30}


@on_virtual_time
async def test_a_destination_that_heals_gets_what_was_parked_at_the_rate() -> None:
    town = Town(PLAIN, dispatch=small())
    rows = await an_outage(town)
    town.street.down.clear()
    await town.live(until_s=11.3)
    assert len(town.street.sent) >= 3, "the probe went and was answered"
    await town.live(until_s=30)
    assert await town.statuses(rows) == {Status.SUCCESS: 30}
    times_ms = town.street.times_ms()
    assert len(times_ms) == 32, "two were tried twice, the others once"
    parked_ms = [at_ms for at_ms, delivery in town.street.sent if delivery.attempt == 1][2:]
    assert len(parked_ms) == 28
    assert all(later - earlier in (99, 100, 101) for earlier, later in pairwise(parked_ms))
    assert parked_ms[0] - SLOT_MS - 10_000 in (0, 1)
    attempts = Counter([(await town.outcome(row)).attempts for row in rows])
    assert attempts == {1: 28, 2: 2}
    assert town.is_empty()


@on_virtual_time
async def test_new_rows_for_a_destination_that_is_down_are_not_sent_either() -> None:
    town = Town(PLAIN, dispatch=small())
    await an_outage(town, 2)
    late = [town.row(town.apps[0], SLOT_MS + 1_000 + n) for n in range(20)]
    await town.live(*late, until_s=5)
    assert len(town.street.sent) == 2
    assert min([(await town.newest(row)).place.slot_ms for row in late]) >= SLOT_MS + 10_000


@on_virtual_time
async def test_an_outage_is_felt_by_nobody_else() -> None:
    town = Town(PLAIN, PLAIN, dispatch=small())
    mine = [town.row(town.apps[0], SLOT_MS + 500 * n, "y") for n in range(20)]
    others = [town.row(town.apps[1], SLOT_MS + 500 * n, "z") for n in range(20)]
    await town.store.real.put_rows([*mine, *others])
    await an_outage(town, 200)
    await town.live(until_s=12)
    for destination in "yz":
        times_ms = [at_ms for at_ms, _ in town.street.to(destination)]
        assert times_ms == pytest.approx([SLOT_MS + 500 * n for n in range(20)], abs=1)


@on_virtual_time
async def test_what_was_sent_is_recorded_while_hundreds_are_parked() -> None:
    town = Town(PLAIN, PLAIN, dispatch=small(outcome_batch=2))

    async def put_rows(rows: Sequence[Row]) -> None:
        await asyncio.sleep(0.1)
        await town.store.real.put_rows(rows)

    town.store.put_rows = put_rows  # type: ignore[attr-defined]
    others = [town.row(town.apps[1], SLOT_MS + 500 * n, "z") for n in range(20)]
    await town.store.real.put_rows(others)
    await an_outage(town, 400)
    await town.live(until_s=11)
    assert [at_ms for at_ms, _ in town.street.to("z")] == pytest.approx(
        [SLOT_MS + 500 * n for n in range(20)], abs=1
    )
    assert await town.statuses(others) == {Status.SUCCESS: 20}
    assert not town.is_empty(), "the parking goes on"


@on_virtual_time
async def test_retry_after_holds_back_all_that_waits() -> None:
    town = Town(PLAIN, dispatch=small(breaker_failures=1))

    async def invoke(delivery: Delivery) -> Reply:
        town.street.sent.append((town.clock.now_ms(), delivery))
        return Reply(ok=False, code=429, retry_after_ms=40_000)

    town.street.invoke = invoke  # type: ignore[method-assign]
    await town.live(*(town.row(town.apps[0], SLOT_MS) for _ in range(10)), until_s=40.9)
    assert len(town.street.sent) == 2
    await town.live(until_s=41.5)
    assert len(town.street.sent) == 3


@on_virtual_time
async def test_what_is_parked_for_too_long_is_given_up_unsent() -> None:
    rules = RetryRules(max_age_s=12)
    town = Town(AppConfiguration(retry=rules, http_attempts=100), dispatch=small())
    rows = await an_outage(town)
    await town.live(until_s=40)
    assert await town.statuses(rows) == {Status.FAILURE: 30}
    letters = {letter.schedule_id: letter for letter in await town.letters(town.apps[0])}
    assert len(letters) == town.counted(DEAD_LETTERS) == 30
    unsent = 0
    for row in rows:
        outcome, letter = await town.outcome(row), letters[row.schedule.schedule_id]
        assert (letter.attempts, letter.error) == (outcome.attempts, outcome.error)
        if not outcome.attempts:
            unsent += 1
            assert (outcome.code, outcome.fired_ms, outcome.took_ms) == (None, None, None)
            assert outcome.error.startswith("not sent")
    assert unsent >= 27
    assert town.is_empty()


@on_virtual_time
async def test_with_the_breaker_switched_off_every_row_is_tried() -> None:
    town = Town(PLAIN, dispatch=small(breaker_failures=0))
    await an_outage(town)
    assert len(town.street.sent) == 30
    assert town.counted(PARKINGS) == 0


@on_virtual_time
async def test_too_many_for_a_slow_destination_are_parked_and_sent_when_it_has_caught_up() -> None:
    town = Town(AppConfiguration(http_timeout_ms=60_000), dispatch=small())
    [app] = town.apps
    gate = town.street.hang("x")
    queued = [town.row(app, SLOT_MS + n) for n in range(10)]
    overflow = [town.row(app, SLOT_MS + 2_500 + n) for n in range(10)]
    await town.live(*queued, *overflow, until_s=4)
    assert len(town.street.sent) == 2
    assert town.counted(PARKINGS) == 10
    for row in overflow:
        assert await town.newest(row) == replace(row, place=(await town.newest(row)).place)
    assert town.ledger.held == {app.app_id: 10}
    gate.set()
    await town.live(until_s=30)
    assert len(town.street.sent) == 20
    assert await town.statuses([*queued, *overflow]) == {Status.SUCCESS: 20}
    assert town.is_empty()


@on_virtual_time
async def test_a_slow_destination_with_a_short_queue_is_not_parked() -> None:
    town = Town(PLAIN, dispatch=small())
    town.street.slow_s = {"x": 0.5}
    await town.live(*(town.row(town.apps[0], SLOT_MS + 250 * n) for n in range(40)), until_s=20)
    assert town.counted(PARKINGS) == 0
    assert len(town.street.sent) == 40


@on_virtual_time
async def test_a_row_that_is_cancelled_while_it_is_parked_is_not_sent() -> None:
    town = Town(PLAIN, dispatch=small())
    rows = await an_outage(town)
    cancelled = rows[10:20]
    for row in cancelled:
        await town.store.real.put_cancel(row.place, row.schedule.schedule_id, town.clock.now_ms())
    town.street.down.clear()
    await town.live(until_s=30)
    assert await town.statuses(rows) == {Status.SUCCESS: 20, Status.DELETED: 10}
    sent = {delivery.schedule.schedule_id for _, delivery in town.street.sent}
    assert not sent & {row.schedule.schedule_id for row in cancelled}
    assert town.is_empty()
    assert not (await town.newest(cancelled[0])).is_live


@on_virtual_time
async def test_a_row_that_is_cancelled_while_it_is_parked_does_not_fail_of_old_age() -> None:
    """Its destination stays down until it is too old; the client was told that it is cancelled."""
    town = Town(AppConfiguration(retry=RetryRules(max_age_s=12)), dispatch=small())
    rows = await an_outage(town)
    for row in rows:
        await town.store.real.put_cancel(row.place, row.schedule.schedule_id, town.clock.now_ms())
    await town.live(until_s=40)
    assert await town.statuses(rows) == {Status.DELETED: 30}
    assert await town.letters(town.apps[0]) == []
    assert town.counted(DEAD_LETTERS) == 0


@on_virtual_time
async def test_a_filing_left_over_from_a_delivery_that_succeeded_does_not_fail_of_old_age() -> None:
    """A crash left two filings, one was delivered; the other comes due while its destination is down."""
    town = Town(AppConfiguration(retry=RetryRules(max_age_s=12)), dispatch=small())
    [app] = town.apps
    home = town.row(app, START_MS - 10_000)
    left_over = make_move(home, START_MS + 3_000)
    await town.store.real.put_rows([home, left_over])
    await town.store.real.put_updates([make_update(home, make_outcome())])
    await an_outage(town)
    await town.live(until_s=20)
    assert await town.status(home) is Status.SUCCESS
    assert home.schedule.schedule_id not in {each.schedule_id for each in await town.letters(app)}


@on_virtual_time
async def test_a_superseded_filing_is_not_parked_in_front_of_the_one_that_replaced_it() -> None:
    """A crash left it open after the home row went on to a retry in an hour; its destination is down."""
    town = Town(PLAIN, dispatch=small())
    [app] = town.apps
    home = town.row(app, START_MS - 10_000)
    left_over = make_move(home, START_MS + 3_000)
    later = make_move(left_over, START_MS + 3_600_000)
    await town.store.real.put_rows([home, left_over, later])
    await town.store.real.put_updates([make_update(home, moved_to=later.place)])
    await an_outage(town)
    town.street.down.clear()
    await town.live(until_s=60)
    assert (await town.stored(home)).moved_to == later.place
    assert (await town.stored(left_over)).moved_to == later.place
    sent = {delivery.schedule.schedule_id for _, delivery in town.street.sent}
    assert home.schedule.schedule_id not in sent, "not before the hour is over"


@on_virtual_time
async def test_parked_rows_of_an_instance_that_drains_stay_open() -> None:
    town = Town(PLAIN, dispatch=small())
    app = town.apps[0]
    gate = town.street.hang("x")
    rows = [town.row(app, SLOT_MS + n) for n in range(10)]
    await town.live(*rows, until_s=1.5)
    [owned] = {town.owner(row) for row in rows}
    owned.set_checked(SLOT_MS + 500)
    owned.is_draining = True
    town.street.down.add("x")
    gate.set()  # the two under way fail, which turns the others away
    await town.live(until_s=2)
    await owned.wait_quiet()
    assert len(town.street.sent) == 2
    assert town.counted(PARKINGS) == 0
    for row in rows[2:]:
        assert owned.is_open(key_of(row))
        assert (await town.stored(row)).is_live
    assert owned.settleable_ms() == rows[2].place.slot_ms - 1
    assert town.is_empty()


@on_virtual_time
async def test_queued_rows_of_an_instance_that_drains_stay_open_and_others_go_on() -> None:
    town = Town(PLAIN, dispatch=small(slow_after_ms=600_000))
    app = town.apps[0]
    gate = town.street.hang("x")
    rows = [town.row(app, SLOT_MS + n, partition=n % 2) for n in range(10)]
    await town.live(*rows, until_s=1.5)
    leaving, staying = (town.owned[Instance(app.app_id, partition)] for partition in (0, 1))
    leaving.set_checked(SLOT_MS + 500)
    leaving.is_draining = True
    gate.set()
    await town.live(until_s=2)
    await leaving.wait_quiet()
    assert leaving.settleable_ms() == rows[2].place.slot_ms - 1
    for row in rows[2::2]:
        assert leaving.is_open(key_of(row))
        assert (await town.stored(row)).is_live
    assert await town.statuses(rows[1::2]) == {Status.SUCCESS: 5}
    assert not any(staying.is_open(key_of(row)) for row in rows[1::2])
    assert town.is_empty()


@on_virtual_time
async def test_parking_under_way_when_the_instance_drains_is_waited_for() -> None:
    town = Town(PLAIN, dispatch=small())
    gate = town.store.hold("put_rows")
    rows = await an_outage(town)
    for owned in town.owned.values():
        owned.set_checked(SLOT_MS + 500)
        owned.is_draining = True
        assert owned.settleable_ms() == SLOT_MS - 1
        assert not owned.is_quiet
    gate.set()
    await town.live(until_s=2)
    for owned in town.owned.values():
        await owned.wait_quiet()
        assert owned.settleable_ms() == SLOT_MS + 500
    assert all([(await town.newest(row)).is_live for row in rows])
    assert town.is_empty()


@on_virtual_time
async def test_a_dead_letter_is_durable_before_the_home_row_says_failure() -> None:
    town = Town(AppConfiguration(http_attempts=1), dispatch=small())
    [app] = town.apps
    town.street.down.add("x")
    row = town.row(app, SLOT_MS)
    gate = town.store.hold("put_dead_letters")
    await town.live(row, until_s=2)
    assert await town.status(row) is Status.SCHEDULED
    assert town.owner(row).is_open(key_of(row))
    gate.set()
    await town.live(until_s=3)
    assert await town.status(row) is Status.FAILURE
    assert town.store.names() == ["put_dead_letters", "put_updates"]
    [letter] = await town.letters(app)
    assert (letter.schedule_id, letter.attempts, letter.code) == (row.schedule.schedule_id, 1, 503)
    assert not town.owner(row).is_open(key_of(row))


@on_virtual_time
async def test_a_dead_letter_that_cannot_be_written_holds_the_outcome_back() -> None:
    town = Town(AppConfiguration(http_attempts=1), dispatch=small())
    town.street.down.add("x")
    town.store.fail("put_dead_letters", *[StoreUnavailable("no")] * 8)
    row = town.row(town.apps[0], SLOT_MS)
    await town.live(row, until_s=2.5)
    assert await town.status(row) is Status.SCHEDULED
    await town.live(until_s=4)
    assert await town.status(row) is Status.FAILURE
    assert len(await town.letters(town.apps[0])) == 1


@on_virtual_time
async def test_only_what_is_given_up_makes_a_dead_letter() -> None:
    town = Town(AppConfiguration(max_lateness_s=5), dispatch=small())
    [app] = town.apps
    rows = [town.row(app, SLOT_MS), town.row(app, START_MS - 50_000), town.row(app, SLOT_MS)]
    for owned in town.owned.values():
        town.instances.open_bucket(owned, bucket_of(START_MS - 50_000))
    await town.live(*rows, until_s=3)
    assert await town.statuses(rows) == {Status.SUCCESS: 2, Status.MISS: 1}
    assert await town.letters(app) == []
