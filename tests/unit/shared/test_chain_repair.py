"""Which recurring schedules have no run to come, and how they are begun anew."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from tests.contract.builders import make_app, make_outcome, make_update
from tests.harness.recurring import DAY_MS, checked, every, first_of, new_definition

from ringtime_shared.clock import ManualClock
from ringtime_shared.errors import Damaged, OutcomeUnknown, VersionConflict
from ringtime_shared.ids import IdMint
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.recurring import Definition, DefinitionState, recurring_id_of
from ringtime_shared.models.schedule import Place, Row
from ringtime_shared.recurring.run_rows import next_version, run_in
from ringtime_shared.schedules.chain_repair import (
    begin_anew,
    count_planned,
    find_broken,
    has_broken,
    move_off,
    repair,
)
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import DefinitionKey, Marks, MarksWrite

HOUR_S = 3_600


class Town:
    """An app of two partitions with a recurring schedule that runs each hour, whose first run is due soon."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock.now_ms)
        self.app: App = make_app(app_id="app", writable=2, polled=2)

    async def put(self, name: str = "nightly", **others: Any) -> tuple[Definition, Row]:
        now_ms = self.clock.now_ms()
        times = others.pop("times", every(HOUR_S, now_ms + 5_000))
        others = {"recurring_id": recurring_id_of(self.app.number, name), "name": name, **others}
        made = new_definition(now_ms, times, **others)
        definition, check = checked(made, IdMint(1), now_ms=now_ms, app_number=self.app.number)
        first = first_of(definition, check, now_ms)
        assert first is not None
        await self.store.put_rows([first])
        await self.store.replace_definition(definition)
        return definition, first

    async def end(self, row: Row) -> None:
        await self.store.put_updates([make_update(row, make_outcome())])

    async def broken(self) -> list[str]:
        found = [each async for each in find_broken(self.store, "app", self.clock)]
        return [definition.name for part in found for definition in part.broken]


async def test_one_with_a_run_to_come_is_whole_also_while_that_is_late() -> None:
    town = Town()
    await town.put()
    for ahead_s in (0, 300, 2 * HOUR_S, 20 * 24 * HOUR_S):  # nobody is there to make it
        town.clock.advance(ahead_s * 1_000)
        assert await town.broken() == []


async def test_one_whose_run_ended_without_a_next_one_has_broken() -> None:
    town = Town()
    _, first = await town.put()
    await town.put("other")
    await town.end(first)
    assert await town.broken() == []  # it was changed a moment ago: its check may be on its way
    town.clock.advance(300_000)
    assert await town.broken() == ["nightly"]


async def test_one_that_makes_none_for_now_or_no_more_has_not_broken() -> None:
    town = Town()
    for state in (DefinitionState.PAUSED, DefinitionState.ENDED, DefinitionState.DELETED):
        _, first = await town.put(state.lower(), state=state)
        await town.end(first)
    town.clock.advance(300_000)
    assert await town.broken() == []


async def test_a_run_of_an_earlier_version_does_not_count() -> None:
    town = Town()
    definition, _ = await town.put()
    await town.store.replace_definition(next_version(definition, town.clock.now_ms()))
    town.clock.advance(300_000)
    assert await town.broken() == ["nightly"]


async def test_one_that_goes_on_between_two_looks_has_not_broken() -> None:
    town = Town()
    definition, first = await town.put()
    await town.end(first)
    town.clock.advance(300_000)
    real = town.store.fetch_definition

    async def fetch(key: DefinitionKey) -> Definition | None:
        await begin_anew(town.store, town.clock, town.app, definition, DAY_MS)
        return await real(key)

    town.store.fetch_definition = fetch  # type: ignore[method-assign]
    assert not await has_broken(town.store, definition, town.clock.now_ms())


async def test_what_is_repaired_goes_on_with_the_next_run() -> None:
    town = Town()
    definition, first = await town.put()
    await town.end(first)
    town.clock.advance(2 * HOUR_S * 1_000)
    made = await repair(town.store, town.clock, town.app, definition, DAY_MS)
    assert (made.version, made.state, made.ordinal) == (2, DefinitionState.ACTIVE, 2)
    key = DefinitionKey("app", definition.recurring_id)
    assert await town.store.fetch_definition(key) == made
    next_ms = run_in(first).nominal_ms + 2 * HOUR_S * 1_000
    (entry,) = await town.store.fetch_runs(key, next_ms, next_ms, 10)
    row = await town.store.fetch_row(Place.of_home("app", entry.schedule_id), entry.schedule_id)
    assert row is not None
    assert (run_in(row).version, run_in(row).ordinal, row.place.partition) == (2, 2, made.partition)
    assert await town.broken() == []
    town.clock.advance(300_000)
    assert await town.broken() == []
    with pytest.raises(VersionConflict):
        await repair(town.store, town.clock, town.app, definition, DAY_MS)


@pytest.mark.parametrize(
    ("keeps", "state"), [(True, DefinitionState.ENDED), (False, DefinitionState.DELETED)]
)
async def test_what_has_no_run_to_come_is_marked_as_over(keeps: bool, state: DefinitionState) -> None:
    town = Town()
    end_ms = town.clock.now_ms() + 10_000
    times = every(HOUR_S, town.clock.now_ms() + 5_000, end_ms=end_ms)
    definition, first = await town.put(times=times, keeps=keeps)
    await town.end(first)
    town.clock.advance(300_000)
    assert await town.broken() == ["nightly"]
    made = await repair(town.store, town.clock, town.app, definition, DAY_MS)
    assert (made.version, made.state) == (1, state)
    assert await town.broken() == []


async def test_a_run_that_its_owner_may_not_read_is_filed_again() -> None:
    town = Town()
    definition, _ = await town.put()
    now_ms = town.clock.now_ms()
    sealed_ms = now_ms + 30_000  # an owner whose clock is ahead
    both = [Instance("app", 0), Instance("app", 1)]
    await town.store.put_marks([MarksWrite(each, 1, Marks(sealed_ms, now_ms)) for each in both])
    made = await begin_anew(town.store, town.clock, town.app, definition, DAY_MS)
    assert made is not None
    key = DefinitionKey("app", definition.recurring_id)
    entries = await town.store.fetch_runs(key, now_ms, now_ms + 10_000, 10)
    homes = [
        await town.store.fetch_row(Place.of_home("app", each.schedule_id), each.schedule_id)
        for each in entries
    ]
    (home,) = [each for each in homes if each is not None and run_in(each).version == 2]
    assert home.moved_to is not None
    assert home.moved_to.slot_ms > sealed_ms
    again = await town.store.fetch_row(home.moved_to, home.schedule.schedule_id)
    assert again is not None
    assert again.is_live


async def test_marks_that_cannot_be_true_leave_the_outcome_unknown() -> None:
    town = Town()
    definition, _ = await town.put()
    far_ms = town.clock.now_ms() + 3_600_000
    both = [Instance("app", 0), Instance("app", 1)]
    await town.store.put_marks([MarksWrite(each, 1, Marks(far_ms, far_ms)) for each in both])
    with pytest.raises(OutcomeUnknown):
        await begin_anew(town.store, town.clock, town.app, definition, DAY_MS)


async def test_only_what_lies_in_a_partition_that_goes_is_moved() -> None:
    town = Town()
    stays, _ = await town.put()
    goes, _ = await town.put("other", partition=1)
    app = replace(town.app, writable=1)
    assert not await move_off(town.store, town.clock, app, stays, DAY_MS)
    assert await move_off(town.store, town.clock, app, goes, DAY_MS)
    key = DefinitionKey("app", goes.recurring_id)
    moved = await town.store.fetch_definition(key)
    assert moved is not None
    assert moved.partition == 0
    assert not await move_off(town.store, town.clock, app, moved, DAY_MS)
    assert await move_off(town.store, town.clock, app, goes, DAY_MS)  # it was changed since it was read


async def test_one_whose_latest_run_cannot_be_read_is_repaired() -> None:
    town = Town()
    definition, first = await town.put()
    town.clock.advance(2 * HOUR_S * 1_000)
    assert await count_planned(town.store, definition, town.clock.now_ms(), town.clock.now_ms()) == 2

    async def fetch(place: Place, schedule_id: UUID) -> Row | None:
        if schedule_id == first.schedule.schedule_id:
            raise Damaged("schedule", str(schedule_id), "extras: no JSON")
        return await MemoryStore.fetch_row(town.store, place, schedule_id)

    town.store.fetch_row = fetch  # type: ignore[method-assign]
    assert await town.broken() == ["nightly"]
    made = await repair(town.store, town.clock, town.app, definition, DAY_MS)
    assert (made.version, made.ordinal) == (2, 2)
