"""The mark of an app and of all: it never says more than is so, and what is idle does not hold it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from tests.contract.builders import make_app, make_outcome, make_row, make_update

from ringtime_shared.buckets import BUCKET_MS, bucket_of, first_slot, last_slot
from ringtime_shared.clock import ManualClock
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.fires import Completeness, Waits
from ringtime_shared.models.schedule import Change, Row
from ringtime_shared.schedules import completeness
from ringtime_shared.schedules.completeness import LATEST_MS, CompletenessMarks
from ringtime_shared.stores.protocol import Marks, MarksWrite, Store

MINUTE_MS = BUCKET_MS


@dataclass
class Rig:
    store: Store
    clock: ManualClock
    apps: dict[str, App]
    marks: CompletenessMarks

    async def settle(self, app: App, upto_ms: int, partitions: Sequence[int] = (0, 1, 2)) -> None:
        now = Marks(upto_ms, upto_ms)
        writes = [MarksWrite(Instance(app.app_id, each), 1 << 48 | 1, now) for each in partitions]
        await self.store.put_marks(writes)

    async def of_app(self, app: App) -> Completeness:
        self.clock.advance(1_000)  # else it is the answer of a moment ago
        return await self.marks.of_app(app)

    def at_best(self) -> int:
        """Return the end of the last minute that may be vouched for now."""
        return last_slot(bucket_of(self.clock.now_ms() - LATEST_MS) - 1)


@pytest.fixture
def rig(store: Store, clock: ManualClock, app: App) -> Rig:
    apps = {app.app_id: app}
    return Rig(store, clock, apps, CompletenessMarks(store, clock, apps.get))


def minute_start(clock: ManualClock, minutes_ago: int) -> int:
    return first_slot(bucket_of(clock.now_ms()) - minutes_ago)


async def test_an_idle_app_is_complete_up_to_the_last_minutes_whatever_its_own_marks_say(
    rig: Rig, app: App
) -> None:
    found = await rig.of_app(app)
    assert (found.through_ms, found.waits) == (rig.at_best(), Waits.NOTHING)
    rig.clock.advance(3 * 3_600_000)
    assert (await rig.of_app(app)).through_ms == rig.at_best()


async def test_it_stands_before_rows_that_are_not_settled_and_goes_on_when_they_are(
    rig: Rig, app: App
) -> None:
    due_ms = minute_start(rig.clock, 30) + 7_000
    row = make_row(app, due_ms, 1)
    await rig.store.put_rows([row])
    await rig.settle(app, due_ms - 1)
    found = await rig.of_app(app)
    assert (found.through_ms, found.waits) == (first_slot(row.place.bucket) - 1, Waits.NOT_SETTLED)
    assert found.instance == row.place.instance
    await rig.settle(app, due_ms)  # not the whole minute: rows may be filed in the rest of it
    assert (await rig.of_app(app)).through_ms == first_slot(row.place.bucket) - 1
    await rig.settle(app, last_slot(row.place.bucket))
    assert (await rig.of_app(app)).through_ms == rig.at_best()


async def test_it_stands_at_a_schedule_that_is_tried_again_until_it_has_its_outcome(
    rig: Rig, app: App
) -> None:
    due_ms = minute_start(rig.clock, 30)
    tried, sent = make_row(app, due_ms), make_row(app, due_ms + 1)
    again = replace(tried, place=tried.place._replace(slot_ms=rig.clock.now_ms() + MINUTE_MS), attempts=1)
    await rig.store.put_rows([tried, sent, again])
    await rig.store.put_updates([make_update(sent, make_outcome()), make_update(tried, None, again.place)])
    await rig.settle(app, rig.clock.now_ms() - 2_000)
    for _ in range(2):  # as it is found, and as it is remembered
        found = await rig.of_app(app)
        assert (found.through_ms, found.waits) == (due_ms - 1, Waits.TRIED_AGAIN)
        assert found.schedule_id == tried.schedule.schedule_id
    await rig.store.put_updates([make_update(tried, make_outcome()), make_update(again, make_outcome())])
    assert (await rig.of_app(app)).through_ms == rig.at_best()


async def file_again(rig: Rig, app: App, due_ms: int, *, has_ended: bool, partition: int = 0) -> Row:
    """File a schedule that failed at this time and was, or is to be, sent again."""
    tried = make_row(app, due_ms, partition)
    again = replace(tried, place=tried.place._replace(slot_ms=rig.clock.now_ms() + MINUTE_MS), attempts=1)
    outcome = make_outcome() if has_ended else None
    await rig.store.put_rows([tried, again])
    await rig.store.put_updates([make_update(tried, outcome, again.place)])
    return tried


async def test_a_minute_of_more_rows_than_a_look_reads_is_gone_through_in_several(
    rig: Rig, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completeness, "_PAGE_ROWS", 2)
    monkeypatch.setattr(completeness, "_MOST_PAGES", 1)
    due_ms = minute_start(rig.clock, 30)
    for n in range(7):
        await file_again(rig, app, due_ms + n, has_ended=True)
    last = await file_again(rig, app, due_ms + 7, has_ended=False)
    await rig.settle(app, rig.clock.now_ms() - 2_000)
    found = [await rig.of_app(app) for _ in range(6)]
    assert {each.through_ms for each in found} == {due_ms - 1}
    assert {each.waits for each in found} == {Waits.TRIED_AGAIN}
    assert found[-1].schedule_id == last.schedule.schedule_id
    await rig.store.put_updates([make_update(last, make_outcome())])
    assert (await rig.of_app(app)).through_ms == due_ms - 1  # the rest of its page
    assert (await rig.of_app(app)).through_ms == rig.at_best()


async def test_minutes_with_more_that_waits_than_is_remembered_are_gone_through_in_turn(
    rig: Rig, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completeness, "_MOST_NOTED", 2)
    due_ms = minute_start(rig.clock, 30)
    waiting = [
        await file_again(rig, app, due_ms + n * MINUTE_MS, has_ended=False, partition=partition)
        for n in range(3)
        for partition in range(3)
    ]
    await rig.settle(app, rig.clock.now_ms() - 2_000)
    for n in range(3):
        found = await rig.of_app(app)
        assert (found.through_ms, found.waits) == (due_ms + n * MINUTE_MS - 1, Waits.TRIED_AGAIN)
        await rig.store.put_updates(
            [make_update(each, make_outcome()) for each in waiting[3 * n : 3 * n + 3]]
        )
        await rig.of_app(app)  # forgets them, and has room for the next
    assert (await rig.of_app(app)).through_ms == rig.at_best()


async def test_a_cancel_ends_a_schedule_that_is_tried_again(rig: Rig, app: App) -> None:
    tried = make_row(app, minute_start(rig.clock, 9))
    again = replace(tried, place=tried.place._replace(slot_ms=rig.clock.now_ms() + MINUTE_MS), attempts=1)
    await rig.store.put_rows([tried, again])
    await rig.store.put_updates([make_update(tried, None, again.place)])
    await rig.settle(app, rig.clock.now_ms() - 2_000)
    assert (await rig.of_app(app)).waits is Waits.TRIED_AGAIN
    await rig.store.put_cancel(tried.place, tried.schedule.schedule_id, rig.clock.now_ms())
    assert (await rig.of_app(app)).waits is Waits.NOTHING


async def test_what_was_changed_to_a_later_time_was_not_due(rig: Rig, app: App) -> None:
    """And when it fails at that time, it waits from then on."""
    home = make_row(app, minute_start(rig.clock, 30))
    change = Change(home.place.slot_ms - 60_000, 5)
    changed = replace(home, place=home.place._replace(slot_ms=minute_start(rig.clock, 10) + 1), change=change)
    again = replace(changed, place=home.place._replace(slot_ms=rig.clock.now_ms() + MINUTE_MS), attempts=1)
    await rig.store.put_rows([home, changed])
    await rig.store.put_updates([make_update(home, None, changed.place)])
    await rig.settle(app, changed.place.slot_ms - 1)
    found = await rig.of_app(app)
    assert (found.through_ms, found.waits) == (first_slot(changed.place.bucket) - 1, Waits.NOT_SETTLED)
    await rig.store.put_rows([again])
    await rig.store.put_updates(
        [make_update(home, None, again.place), make_update(changed, None, again.place)]
    )
    await rig.settle(app, rig.clock.now_ms() - 2_000)
    for _ in range(2):
        found = await rig.of_app(app)
        assert (found.through_ms, found.waits) == (first_slot(changed.place.bucket) - 1, Waits.TRIED_AGAIN)


async def test_partitions_that_are_polled_no_more_hold_nothing(rig: Rig, app: App) -> None:
    row = make_row(app, minute_start(rig.clock, 30), 2)
    await rig.store.put_rows([row])
    smaller = rig.apps[app.app_id] = replace(app, polled=2, writable=2)
    assert (await rig.of_app(smaller)).waits is Waits.NOTHING


async def test_it_looks_back_a_day(rig: Rig, app: App) -> None:
    row = make_row(app, minute_start(rig.clock, 1_500))
    await rig.store.put_rows([row])
    found = await rig.of_app(app)
    assert found.from_ms > row.place.slot_ms
    assert found.waits is Waits.NOTHING


class TestAllApps:
    """Stores are shared with other tests, so these say nothing of what others have due."""

    async def of_all(self, rig: Rig) -> Completeness:
        rig.clock.advance(1_000)
        return await rig.marks.of_all()

    async def test_one_app_holds_the_mark_of_all(self, rig: Rig, app: App) -> None:
        other = await rig.store.create_app(make_app())
        rig.apps[other.app_id] = other
        assert (await self.of_all(rig)).through_ms == rig.at_best()
        rig.clock.advance(40 * MINUTE_MS)
        row: Row = make_row(other, minute_start(rig.clock, 30))
        await rig.store.put_rows([row])
        found = await self.of_all(rig)
        assert (found.through_ms, found.instance) == (first_slot(row.place.bucket) - 1, row.place.instance)
        await rig.settle(other, rig.clock.now_ms() - 2_000)
        assert (await self.of_all(rig)).through_ms == rig.at_best()

    async def test_an_app_that_is_not_active_is_left_out_until_it_is(self, rig: Rig, app: App) -> None:
        rig.clock.advance(40 * MINUTE_MS)
        row = make_row(app, minute_start(rig.clock, 30))
        await rig.store.put_rows([row])
        rig.apps[app.app_id] = halted = replace(app, active=False)
        assert (await self.of_all(rig)).waits is Waits.NOTHING
        assert (await rig.of_app(halted)).waits is Waits.NOT_SETTLED
        rig.apps[app.app_id] = app
        found = await self.of_all(rig)
        assert (found.through_ms, found.waits) == (first_slot(row.place.bucket) - 1, Waits.NOT_SETTLED)
