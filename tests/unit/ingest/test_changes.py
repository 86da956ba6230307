"""Changing schedules: what is refused, what is answered, what is in the store whoever fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.contract.builders import START_MS, make_outcome, make_update
from tests.unit.ingest.commit_rig import ServiceRig, make_service_rig
from tests.unit.ingest.test_keyed import Pods, pods
from tests.unit.spy_store import spin

from ringtime_dispatcher.delivery.recording import next_filing
from ringtime_ingest.service.listing import ListQuery
from ringtime_ingest.service.requests import NOW, ScheduleChange
from ringtime_shared.errors import (
    AppInactive,
    InvalidRequest,
    NotChangeable,
    OutcomeUnknown,
    StoreUnavailable,
    VersionConflict,
)
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Change, Place, Row, Status
from ringtime_shared.models.sending import Sending

__all__ = ["pods"]
MINUTE_MS = 60_000
DAY_MS = 86_400_000


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> ServiceRig:
    monkeypatch.setattr("ringtime_ingest.service.service.random_first", lambda: 1)  # so each run is the same
    rig = await make_service_rig()
    await rig.register()
    return rig


async def change(rig: ServiceRig, row: Row, **asked: Any) -> Row:
    return await rig.service.change_schedule(row.schedule.schedule_id, ScheduleChange(**asked))


async def shown(rig: ServiceRig, row: Row) -> Row:
    return await rig.service.fetch_schedule(row.schedule.schedule_id)


async def home_of(rig: ServiceRig, row: Row) -> Row:
    home = await rig.store.real.fetch_row(row.place, row.schedule.schedule_id)
    assert home is not None
    return home


async def in_force(rig: ServiceRig, row: Row) -> Row:
    place = (await home_of(rig, row)).moved_to or row.place
    filing = await rig.store.real.fetch_row(place, row.schedule.schedule_id)
    assert filing is not None
    return filing


async def live(rig: ServiceRig, row: Row) -> list[Row]:
    rows = (each.get(row.schedule.schedule_id) for each in rig.store.real._rows.values())
    return [each for each in rows if each is not None and each.is_live]


async def test_what_is_given_is_changed_and_the_rest_stays(rig: ServiceRig) -> None:
    row = await rig.create(delay_ms=MINUTE_MS)
    changed = await change(rig, row, payload="new", retry=RetryRules(attempts=2))
    before = row.schedule
    assert changed.schedule == replace(before, payload="new", retry=RetryRules(attempts=2))
    assert changed == await shown(rig, row)
    filing = await in_force(rig, row)
    assert (filing.schedule, filing.place.slot_ms) == (changed.schedule, row.place.slot_ms + 1)
    assert await live(rig, row) == [filing]
    later = await change(rig, row, fire_ms=row.schedule.fire_ms + 30 * DAY_MS // 10)
    assert (later.schedule.payload, later.status) == ("new", Status.SCHEDULED)
    assert await live(rig, row) == [await in_force(rig, row)], "the change before is closed"


async def test_a_trigger_sends_it_as_soon_as_a_create_would(rig: ServiceRig) -> None:
    row = await rig.create(delay_ms=10 * MINUTE_MS)
    changed = await rig.service.change_schedule(row.schedule.schedule_id, NOW)
    assert changed.schedule.fire_ms == rig.clock.now_ms()
    assert (await in_force(rig, row)).place.slot_ms == rig.clock.now_ms() + 601


async def test_many_changes_to_one_time_have_a_place_each(rig: ServiceRig) -> None:
    row = await rig.create(delay_ms=MINUTE_MS)
    places = set()
    for n in range(20):
        await change(rig, row, payload=str(n))
        places.add((await in_force(rig, row)).place)
        assert (await shown(rig, row)).schedule.payload == str(n)
    assert len(places) == 20
    assert max(place.slot_ms for place in places) < row.place.slot_ms + 1_100


async def test_a_later_time_keeps_the_home_row_for_longer(rig: ServiceRig) -> None:
    row = await rig.create(delay_ms=MINUTE_MS)
    await change(rig, row, fire_ms=row.schedule.fire_ms + 6 * DAY_MS)
    home = await home_of(rig, row)
    assert home.schedule.expires_ms == (await in_force(rig, row)).schedule.expires_ms
    assert home.schedule.expires_ms == row.schedule.expires_ms + 6 * DAY_MS
    assert replace(home.schedule, expires_ms=row.schedule.expires_ms) == row.schedule


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, "body"),
        ({"payload": "x" * 10_000_000}, "payload"),
        ({"fire_ms": START_MS - 10**7}, "scheduleTime"),
        ({"fire_ms": START_MS + 4_000 * DAY_MS}, "scheduleTime"),
        ({"fire_ms": START_MS + DAY_MS, "delay_ms": 1}, "scheduleTime"),
        ({"delay_ms": -1}, "delaySeconds"),
        ({"callback_type": "pigeon", "callback_details": {}}, "callback.type"),
        ({"retry": RetryRules(attempts=1_000)}, "retryPolicy.attempts"),
    ],
)
async def test_the_bounds_are_those_of_a_create(rig: ServiceRig, asked: dict[str, Any], field: str) -> None:
    row = await rig.create()
    with pytest.raises(InvalidRequest) as refusal:
        await change(rig, row, **asked)
    assert [each.field for each in refusal.value.violations] == [field]
    assert (await home_of(rig, row)).moved_to is None


async def test_what_stays_is_not_judged_by_the_limits_of_today() -> None:
    rig = await make_service_rig()
    await rig.register(configuration=AppConfiguration(payload_bytes=2))
    row = await rig.create(delay_ms=10 * MINUTE_MS)
    await change(rig, row, timeout_ms=30_000)
    await rig.service.configure_app("shop", AppConfiguration(payload_bytes=1), merges=False)
    rig.service._limits = replace(rig.service._limits, max_http_timeout_ms=20_000)
    with pytest.raises(InvalidRequest) as refusal:
        await change(rig, row, payload="{}", timeout_ms=30_000)
    assert [each.field for each in refusal.value.violations] == ["payload", "timeoutMs"]
    changed = await rig.service.change_schedule(row.schedule.schedule_id, NOW)
    assert (changed.schedule.payload, changed.schedule.sending) == ("{}", Sending(timeout_ms=30_000))


@pytest.mark.parametrize("case", ["cancelled", "done", "attempted", "due", "inactive"])
async def test_what_is_over_or_about_to_be_sent_is_refused(rig: ServiceRig, case: str) -> None:
    row = await rig.create(delay_ms=MINUTE_MS)
    if case == "cancelled":
        await rig.service.cancel_schedule(row.schedule.schedule_id)
    elif case == "done":
        await rig.store.real.put_updates([make_update(row, outcome=make_outcome())])
    elif case == "attempted":
        again = replace(row, place=row.place._replace(slot_ms=row.place.slot_ms + DAY_MS), attempts=1)
        await rig.store.real.put_rows([again])
        await rig.store.real.put_updates([make_update(row, moved_to=again.place)])
    elif case == "due":
        rig.clock.advance(MINUTE_MS - 1_000)
    else:
        await rig.service.set_active("shop", False)
    with pytest.raises(AppInactive if case == "inactive" else NotChangeable):
        await change(rig, row, payload="new")
    assert len(await live(rig, row)) <= 1


async def test_a_pointer_that_may_be_too_late_is_no_success(rig: ServiceRig) -> None:
    row = await rig.create(delay_ms=MINUTE_MS)
    gate = rig.store.hold("put_updates")
    changing = asyncio.create_task(change(rig, row, payload="new"))
    await spin()
    rig.clock.advance(250)
    gate.set()
    with pytest.raises(OutcomeUnknown):
        await changing
    assert (await shown(rig, row)).schedule.payload == "new"


@pytest.mark.parametrize("name", ["put_rows", "fetch_row", "put_updates", "replace_claim"])
async def test_without_a_store_nothing_is_changed(rig: ServiceRig, name: str) -> None:
    row = await rig.create(delay_ms=MINUTE_MS)
    rig.store.fail(name, StoreUnavailable("away"))
    with pytest.raises(StoreUnavailable):
        await change(rig, row, payload="new")
    assert (await home_of(rig, row)).moved_to is None


async def test_a_filing_whose_answer_is_lost_changes_nothing(rig: ServiceRig) -> None:
    row = await rig.create(delay_ms=MINUTE_MS)
    rig.store.fail("put_rows", OutcomeUnknown("lost"), carried_out=True)
    with pytest.raises(StoreUnavailable):
        await change(rig, row, payload="new")
    assert (await shown(rig, row)).schedule == row.schedule


async def test_of_two_at_once_the_last_pointer_wins_and_the_other_is_told(rig: ServiceRig) -> None:
    row = await rig.create(delay_ms=MINUTE_MS)
    answers = await asyncio.gather(
        change(rig, row, payload="a"), change(rig, row, payload="b"), return_exceptions=True
    )
    done = [each for each in answers if isinstance(each, Row)]
    assert [type(each) for each in answers if not isinstance(each, Row)] == [VersionConflict]
    assert (await shown(rig, row)).schedule == done[0].schedule
    assert await live(rig, row) == [await in_force(rig, row)], "no dispatcher has to look at the other"


@pytest.mark.parametrize("steps", range(6))
async def test_two_changes_never_share_a_filing(pods: Pods, steps: int) -> None:
    """As on Cassandra, which keeps the later write of a key, whoever has seen the earlier one."""
    rig = pods.rig
    row = await rig.create(delay_ms=MINUTE_MS)
    keep_the_later(rig, steps)
    answers = await asyncio.gather(
        change(rig, row, payload="a"),
        pods.other.change_schedule(row.schedule.schedule_id, ScheduleChange(payload="b")),
        return_exceptions=True,
    )
    done = [each for each in answers if isinstance(each, Row)]
    assert [each.schedule.payload for each in done] == [(await in_force(rig, row)).schedule.payload]


def keep_the_later(rig: ServiceRig, steps: int = 0) -> None:
    """Let a write of a row that is there take its place, whatever it says; the second write takes longer."""
    real, calls = rig.store.real, 0
    put_rows = real.put_rows

    async def overwrite(rows: Sequence[Row]) -> None:
        nonlocal calls
        calls += 1
        for _ in range(steps if calls == 2 else 0):  # of the other change, before this one is durable
            await asyncio.sleep(0)
        await put_rows(rows)
        for each in rows:
            stored = real._rows[each.place][each.schedule.schedule_id]
            written = replace(stored, schedule=each.schedule, change=each.change)
            real._rows[each.place][each.schedule.schedule_id] = written

    real.put_rows = overwrite  # type: ignore[method-assign]


async def test_two_changes_that_are_overtaken_do_not_share_one_either(pods: Pods) -> None:
    """Whoever is filed again above one mark gets one slot: it is claimed, too."""
    rig = pods.rig
    row = await rig.create(delay_ms=2 * MINUTE_MS)
    keep_the_later(rig)
    await pods.seal(START_MS + MINUTE_MS // 2)
    answers = await asyncio.gather(
        *(
            service.change_schedule(row.schedule.schedule_id, ScheduleChange(delay_ms=0, payload=payload))
            for service, payload in ((rig.service, "a"), (pods.other, "b"))
        ),
        return_exceptions=True,
    )
    done = [each for each in answers if isinstance(each, Row)]
    assert [each.schedule.payload for each in done] == [(await in_force(rig, row)).schedule.payload]
    assert await live(rig, row) == [await in_force(rig, row)]


@pytest.mark.parametrize("at_ms", [START_MS, START_MS + 1])
async def test_what_is_filed_again_as_it_is_never_meets_a_change(rig: ServiceRig, at_ms: int) -> None:
    """Neither can know of the other's slot before it is written."""
    row = await rig.create(delay_ms=2 * MINUTE_MS)
    changed = await change(rig, row, fire_ms=at_ms + MINUTE_MS)
    assert changed.moved_to is not None
    for filing in (row, changed, await in_force(rig, row)):
        again = next_filing(filing, at_ms + MINUTE_MS)
        assert again.place.slot_ms != changed.moved_to.slot_ms
        assert 0 <= again.place.slot_ms - (at_ms + MINUTE_MS) <= 1


async def test_a_cancel_that_takes_long_promises_nothing_if_it_was_changed_meanwhile(rig: ServiceRig) -> None:
    row = await rig.create(delay_ms=MINUTE_MS)
    gate = rig.store.hold("put_cancel")
    cancelling = asyncio.create_task(rig.service.cancel_schedule(row.schedule.schedule_id))
    await spin()
    await rig.service.change_schedule(row.schedule.schedule_id, NOW)
    rig.clock.advance(200)
    gate.set()
    assert not (await cancelling).promised


async def test_lists_show_it_as_it_is_and_read_no_more_for_others(rig: ServiceRig) -> None:
    rows = [await rig.create(delay_ms=MINUTE_MS + n) for n in range(3)]
    await change(rig, rows[1], payload="new")
    sent = Place("shop", rows[2].place.partition, rows[2].place.slot_ms + 9)
    await rig.store.real.put_rows([replace(rows[2], place=sent, change=Change(START_MS, 1))])
    outcome = make_outcome(changed_in=sent)
    await rig.store.real.put_updates([make_update(rows[2], outcome=outcome)])
    rig.store.calls.clear()
    page = await rig.service.listing.fetch(
        ListQuery(app_id="shop", start_ms=START_MS, end_ms=START_MS + DAY_MS)
    )
    assert [row.schedule.payload for row in page.rows] == ["{}", "new", "{}"]
    assert [row.change is not None for row in page.rows] == [False, True, True]
    assert rig.store.names().count("fetch_row") == 2
