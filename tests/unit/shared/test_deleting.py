"""Deleting an app: what must be so before it is gone. The simulated cluster plays the races."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
from tests.contract.builders import (
    START_MS,
    make_app,
    make_definition,
    make_letter,
    make_move,
    make_outcome,
    make_row,
    make_update,
)
from tests.harness.virtual import LoopClock, on_virtual_time
from tests.unit.spy_store import SpyStore

from ringtime_shared.apps.deleting import Deleter
from ringtime_shared.apps.feed import AppFeed
from ringtime_shared.errors import (
    ClockInDoubt,
    Conflict,
    LiveSchedules,
    NotFound,
    OutcomeUnknown,
    StoreUnavailable,
    VersionConflict,
)
from ringtime_shared.models.app import App, Instance, Resize
from ringtime_shared.models.recurring import DefinitionState
from ringtime_shared.models.schedule import Row, Status
from ringtime_shared.settings import AppLimits, IngestSettings
from ringtime_shared.stores.protocol import LAST_ID, Marks, MarksWrite, Position

QUIET_S = 15.0  #: map_age_ms and write_deadline_ms together
DAY_MS = 86_400_000


@dataclass(slots=True)
class Rig:
    """An app of three partitions, and who deletes it."""

    store: SpyStore
    app: App
    deleter: Deleter

    async def file(self, *slots_ms: int, partition: int = 0) -> list[Row]:
        rows = [make_row(self.app, slot_ms, partition) for slot_ms in slots_ms]
        await self.store.real.put_rows(rows)
        return rows

    async def stored(self) -> App | None:
        return await self.store.real.fetch_app(self.app.app_id)

    async def status(self, row: Row) -> Status:
        found = await self.store.real.fetch_row(row.place, row.schedule.schedule_id)
        assert found is not None
        return found.status


async def make_rig(**settings: Any) -> Rig:
    clock = LoopClock()
    store = SpyStore(clock.now_ms)
    app = await store.real.create_app(make_app(created_ms=START_MS))
    return Rig(store, app, Deleter(cast(Any, store), clock, IngestSettings(**settings), AppLimits()))


@on_virtual_time
async def test_an_app_with_nothing_to_fire_is_gone_after_the_quiet_time() -> None:
    rig = await make_rig()
    (fired,) = await rig.file(START_MS + 5_000)
    await rig.store.real.put_updates([make_update(fired, make_outcome())])
    await rig.store.real.put_dead_letters([make_letter(rig.app)])
    begun = await rig.deleter.begin(rig.app.app_id, cancels=False)
    assert (begun.active, begun.halted_ms, begun.version) == (False, START_MS, 2)
    finishing = asyncio.create_task(rig.deleter.finish(begun))
    await asyncio.sleep(QUIET_S - 0.001)
    assert await rig.stored() == begun
    await finishing
    assert await rig.stored() is None
    assert asyncio.get_running_loop().time() == QUIET_S


@on_virtual_time
@pytest.mark.parametrize(("map_age_ms", "quiet_s"), [(500, 15.0), (60_000, 65.0)])
async def test_the_quiet_time_outlasts_old_maps_and_dispatchers_that_read_none(
    map_age_ms: int, quiet_s: float
) -> None:
    rig = await make_rig(map_age_ms=map_age_ms)
    await rig.deleter.finish(await rig.deleter.begin(rig.app.app_id, cancels=False))
    assert asyncio.get_running_loop().time() == quiet_s


@on_virtual_time
async def test_what_is_to_fire_yet_is_counted_and_the_first_is_named() -> None:
    rig = await make_rig()
    await rig.file(START_MS + 3 * DAY_MS, START_MS + DAY_MS + 61_000, START_MS + 40 * DAY_MS, partition=2)
    with pytest.raises(LiveSchedules, match=r"3 schedules, the first in the minute 2027-01-16T08:11\+00:00"):
        await rig.deleter.begin(rig.app.app_id, cancels=False)
    assert await rig.stored() == rig.app


@on_virtual_time
async def test_a_recurring_schedule_that_is_paused_counts_and_one_that_has_ended_does_not() -> None:
    rig = await make_rig()
    ended = make_definition(rig.app, state=DefinitionState.ENDED)
    paused = make_definition(rig.app, state=DefinitionState.PAUSED)
    await rig.store.real.replace_definition(ended)
    assert not (await rig.deleter.find_left(rig.app)).schedules
    await rig.store.real.replace_definition(paused)
    with pytest.raises(LiveSchedules, match="has recurring schedules that may be resumed"):
        await rig.deleter.begin(rig.app.app_id, cancels=False)
    await rig.deleter.finish(await rig.deleter.begin(rig.app.app_id, cancels=True))
    assert await rig.stored() is None
    assert await rig.store.real.list_definitions(rig.app.app_id, None, 10) == []


@on_virtual_time
async def test_counting_ends_at_a_thousand() -> None:
    rig = await make_rig()
    await rig.file(*range(START_MS + DAY_MS, START_MS + DAY_MS + 1_200))
    with pytest.raises(LiveSchedules, match="at least 1,000 schedules"):
        await rig.deleter.begin(rig.app.app_id, cancels=False)


@on_virtual_time
async def test_what_is_overdue_counts_and_what_is_settled_does_not() -> None:
    rig = await make_rig()
    await rig.file(START_MS - 50_000, START_MS - 30_000)
    marks = Marks(START_MS - 40_000, START_MS - 40_000)
    await rig.store.real.put_marks([MarksWrite(Instance(rig.app.app_id, 0), 5, marks)])
    await rig.store.real.replace_app(replace(rig.app, active=False, version=2))
    with pytest.raises(LiveSchedules, match="2 schedules"):  # of a bucket, all that have no outcome
        await rig.deleter.begin(rig.app.app_id, cancels=False)


@on_virtual_time
async def test_marks_of_a_false_clock_hide_nothing() -> None:
    rig = await make_rig()
    await rig.file(START_MS + DAY_MS)
    false = Marks(START_MS + 2 * DAY_MS, START_MS + 2 * DAY_MS)
    await rig.store.real.put_marks([MarksWrite(Instance(rig.app.app_id, 1), 5, false)])
    with pytest.raises(ClockInDoubt, match=r"\.1 is marked as settled 172,800 s ahead of now"):
        await rig.deleter.begin(rig.app.app_id, cancels=False)
    assert await rig.stored() == rig.app


@on_virtual_time
async def test_what_has_not_fired_is_cancelled_if_that_is_asked_for() -> None:
    rig = await make_rig()
    rows = await rig.file(*range(START_MS + DAY_MS, START_MS + DAY_MS + 350), START_MS + 90 * DAY_MS)
    (retried,) = await rig.file(START_MS - 1_000, partition=1)
    again = make_move(retried, START_MS + 90_000)
    await rig.store.real.put_rows([again])
    await rig.store.real.put_updates([make_update(retried, moved_to=again.place)])
    await rig.deleter.finish(await rig.deleter.begin(rig.app.app_id, cancels=True))
    assert await rig.stored() is None
    assert {await rig.status(row) for row in (*rows, retried)} == {Status.DELETED}


@on_virtual_time
async def test_a_create_that_was_acknowledged_meanwhile_gives_the_deletion_up() -> None:
    rig = await make_rig()
    begun = await rig.deleter.begin(rig.app.app_id, cancels=False)
    finishing = asyncio.create_task(rig.deleter.finish(begun))
    await asyncio.sleep(QUIET_S - 1)
    (row,) = await rig.file(START_MS + DAY_MS)
    with pytest.raises(LiveSchedules):
        await finishing
    assert await rig.stored() == replace(rig.app, version=3)
    assert await rig.status(row) == Status.SCHEDULED


@on_virtual_time
async def test_a_retry_that_is_filed_between_the_reads_of_one_look_is_seen_by_the_next() -> None:
    """An attempt that was in flight when the app was halted ends: its row is closed behind the retry."""
    rig = await make_rig()
    begun = await rig.deleter.begin(rig.app.app_id, cancels=False)
    (row,) = await rig.file(START_MS - 1_000)
    real = rig.store.real.count_live

    async def count(*args: Any) -> list[int]:
        rig.store.real.count_live = real  # type: ignore[method-assign]
        again = make_move(row, START_MS + 3_600_000)
        await rig.store.real.put_rows([again])
        await rig.store.real.put_updates([make_update(row, moved_to=again.place)])
        return await real(*args)

    rig.store.real.count_live = count  # type: ignore[method-assign,assignment]
    with pytest.raises(LiveSchedules):
        await rig.deleter.finish(begun)


async def kill(rig: Rig, begun: App) -> None:
    """Its process ended."""


async def race(rig: Rig, begun: App) -> None:
    """Another one finishes it, too."""
    other = Deleter(cast(Any, rig.store), LoopClock(), IngestSettings(), AppLimits())
    asyncio.create_task(other.finish(begun))  # noqa: RUF006 - it ends with the loop, both at one moment


async def configure(rig: Rig, begun: App) -> None:
    """The app is changed in other ways."""
    await rig.store.real.replace_app(replace(begun, secrets=(), version=begun.version + 1))


@on_virtual_time
@pytest.mark.parametrize("fate", [kill, race, configure])
async def test_whoever_asks_again_goes_on(fate: Callable[[Rig, App], Awaitable[None]]) -> None:
    rig = await make_rig()
    begun = await rig.deleter.begin(rig.app.app_id, cancels=False)
    await fate(rig, begun)
    again = await rig.deleter.begin(rig.app.app_id, cancels=False)
    assert again.deletion == begun.deletion
    await rig.deleter.finish(again)
    assert await rig.stored() is None
    with pytest.raises(NotFound):
        await rig.deleter.begin(rig.app.app_id, cancels=False)


@on_virtual_time
async def test_a_deletion_that_began_anew_meanwhile_has_a_quiet_time_of_its_own() -> None:
    rig = await make_rig()
    begun = await rig.deleter.begin(rig.app.app_id, cancels=False)
    finishing = asyncio.create_task(rig.deleter.finish(begun))
    await asyncio.sleep(QUIET_S - 1)
    given_up = replace(rig.app, version=begun.version + 1)
    await rig.store.real.replace_app(given_up)
    second = await rig.deleter.begin(rig.app.app_id, cancels=False)
    await asyncio.sleep(QUIET_S)
    assert await rig.stored() == second
    await finishing
    assert await rig.stored() is None


@on_virtual_time
async def test_a_note_whose_maker_died_before_it_was_counted_is_known_in_the_quiet_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else ingest takes its map for proved, and creates into an app that is deleted under it."""
    rig = await make_rig()
    feed = AppFeed(rig.store.real, LoopClock())
    await feed.refresh()

    async def die(app_id: str) -> None:
        raise OutcomeUnknown("killed")

    with monkeypatch.context() as patch:
        patch.setattr(rig.store.real, "announce_app", die)
        with pytest.raises(OutcomeUnknown):
            await rig.deleter.begin(rig.app.app_id, cancels=False)
    begun = await rig.deleter.begin(rig.app.app_id, cancels=False)
    finishing = asyncio.create_task(rig.deleter.finish(begun))
    await asyncio.sleep(1)
    await feed.refresh()
    known = feed.reading(rig.app.app_id)
    assert known is not None
    assert known.app == begun
    await finishing
    assert await rig.stored() is None


@on_virtual_time
async def test_one_that_somebody_else_gave_up_is_told() -> None:
    rig = await make_rig()
    begun = await rig.deleter.begin(rig.app.app_id, cancels=True)
    await rig.store.real.replace_app(replace(rig.app, version=begun.version + 1))
    with pytest.raises(Conflict, match="was given up"):
        await rig.deleter.finish(begun)


@on_virtual_time
async def test_the_next_app_of_the_id_is_left_alone() -> None:
    rig = await make_rig()
    begun = await rig.deleter.begin(rig.app.app_id, cancels=True)
    await rig.store.real.delete_app(begun)
    second = await rig.store.real.create_app(make_app(app_id=rig.app.app_id))
    await rig.deleter.finish(begun)
    assert await rig.stored() == second


@on_virtual_time
async def test_an_app_that_is_being_resized_is_not_deleted() -> None:
    rig = await make_rig()
    resize = Resize(quota=8, before=3, operator="ana", begun_ms=0)
    await rig.store.real.replace_app(replace(rig.app, resize=resize, version=2))
    with pytest.raises(Conflict, match="ringctl resize"):
        await rig.deleter.begin(rig.app.app_id, cancels=True)


@on_virtual_time
async def test_a_change_by_another_in_between_is_decided_again() -> None:
    rig = await make_rig()
    rig.store.fail("replace_app", VersionConflict("x"))
    assert (await rig.deleter.begin(rig.app.app_id, cancels=True)).deletion is not None
    rig.store.fail("replace_app", *[VersionConflict("x")] * 10)
    other = await rig.store.real.create_app(make_app())
    with pytest.raises(VersionConflict, match="all the time"):
        await rig.deleter.begin(other.app_id, cancels=True)


@on_virtual_time
async def test_an_app_that_never_stands_still_stays_halted_for_whoever_asks_again() -> None:
    rig = await make_rig()
    begun = await rig.deleter.begin(rig.app.app_id, cancels=False)
    rig.store.fail("delete_app", *[VersionConflict("changed")] * 100)
    with pytest.raises(VersionConflict, match="all the time"):
        await rig.deleter.finish(begun)
    assert rig.store.names().count("delete_app") < 10
    assert await rig.stored() == begun
    rig.store.heal("delete_app")
    await rig.deleter.finish(begun)
    assert await rig.stored() is None


@on_virtual_time
async def test_a_store_that_is_away_changes_nothing() -> None:
    rig = await make_rig()
    begun = await rig.deleter.begin(rig.app.app_id, cancels=True)
    rig.store.fail("delete_app", StoreUnavailable("no"))
    with pytest.raises(StoreUnavailable):
        await rig.deleter.finish(begun)
    await rig.deleter.finish(begun)
    assert await rig.stored() is None
    assert await rig.store.real.fetch_dead_letters(rig.app.app_id, Position(0, LAST_ID), 1 << 62, 1) == []
