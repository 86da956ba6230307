"""How many recurring schedules an app may have, and the end of those that were deleted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.contract.builders import START_MS
from tests.unit.ingest.commit_rig import ServiceRig, make_service_rig
from tests.unit.ingest.test_recurring import new, runs
from tests.unit.spy_store import spin

from ringtime_ingest.service import census as service
from ringtime_ingest.service.census import Census
from ringtime_shared.errors import LimitReached, NotFound
from ringtime_shared.models.recurring import DefinitionState, Origin
from ringtime_shared.models.times import Times
from ringtime_shared.recurring.run_rows import forgotten_at
from ringtime_shared.settings import AppLimits

DAY_MS = 86_400_000
MINUTE_MS = 60_000


async def make_rig(most: int = 3) -> ServiceRig:
    rig = await make_service_rig(limits=AppLimits(max_recurring_schedules=most, max_retention_days=20))
    await rig.register()
    return rig


async def count(rig: ServiceRig) -> int:
    return len(await rig.store.real.list_definitions("shop", None, 1_000))


async def test_no_more_are_made_than_the_setting_allows() -> None:
    rig = await make_rig()
    recurring = rig.service.recurring
    for name in ("a", "b", "c", "a"):
        await recurring.put(new(name))
    with pytest.raises(LimitReached, match=r"limits\.max_recurring_schedules is 3") as caught:
        await recurring.put(new("d"))
    assert (caught.value.field, await count(rig)) == ("name", 3)
    await recurring.put(new("a", payload="2"))  # what there is can be changed
    await recurring.delete(await recurring.fetch("shop", "b"))
    with pytest.raises(LimitReached):  # its runs are in the store yet
        await recurring.put(new("d"))
    await recurring.put(new("b"))  # and it can be made anew
    await rig.register("other")
    await recurring.put(new("d", app_id="other"))


async def test_what_was_made_before_the_start_and_by_others_counts() -> None:
    rig = await make_rig()
    for name in ("a", "b", "c"):
        await rig.service.recurring.put(new(name))
    again = Census(rig.store.real, rig.clock, AppLimits(max_recurring_schedules=3))
    with pytest.raises(LimitReached):
        await again.admit("shop")


async def test_one_that_was_deleted_is_forgotten_when_nothing_can_refer_to_it() -> None:
    rig = await make_rig(most=1)
    recurring = rig.service.recurring
    made = await recurring.put(new("a"))
    deleted = await recurring.delete(made)
    for days in (10, 10):
        rig.clock.advance(days * DAY_MS)
        with pytest.raises(LimitReached):
            await recurring.put(new("b"))
        assert await recurring.fetch_by_id(made.recurring_id) == deleted
    rig.clock.advance(DAY_MS + 2 * MINUTE_MS)
    await recurring.put(new("b"))
    assert await count(rig) == 1
    with pytest.raises(NotFound):
        await recurring.fetch_by_id(made.recurring_id)


@pytest.mark.parametrize(
    "way",
    [
        "its next run is a year ahead",
        "a pause that ends in a year",
        "an edit, and the run of the version before",
        "an edit too many",
    ],
)
async def test_a_run_that_is_filed_far_ahead_is_waited_for(way: str) -> None:
    """If the definition was dropped before it, one made anew would file its runs under the same ids."""
    rig = await make_rig(most=1)
    recurring = rig.service.recurring
    yearly = Times(cron="0 0 1 1 *")
    made = await recurring.put(new("a", times=Times(cron="@daily") if "pause" in way else yearly))
    if "pause" in way:
        await recurring.pause(made, until_ms=START_MS + 365 * DAY_MS)
    elif "edit" in way:
        for n in range(60 if "many" in way else 1):
            await recurring.put(new("a", payload=str(n), times=Times(cron="@hourly")))
    deleted = await recurring.delete(await recurring.fetch("shop", "a"))
    last_ms = max(row.place.slot_ms for row in runs(rig, made, Origin.PLAN))
    assert last_ms > START_MS + 300 * DAY_MS
    assert forgotten_at(deleted, 0) >= last_ms
    rig.clock.advance(300 * DAY_MS)
    with pytest.raises(LimitReached):
        await recurring.put(new("b"))


async def test_one_that_ended_by_itself_is_kept_or_forgotten_as_it_says() -> None:
    rig = await make_rig(most=2)
    once: dict[str, Any] = {"times": Times(cron="* * * * *", end_ms=START_MS + 90_000)}
    kept = await rig.service.recurring.put(new("a", **once))
    gone = await rig.service.recurring.put(new("b", **once, keeps=False))
    for each, state in ((kept, DefinitionState.ENDED), (gone, DefinitionState.DELETED)):
        ended = replace(each, revision=2, state=state, changed_ms=START_MS + MINUTE_MS)
        await rig.store.real.replace_definition(ended)
    rig.clock.advance(22 * DAY_MS)
    await rig.service.recurring.put(new("c"))
    names = {each.name for each in await rig.store.real.list_definitions("shop", None, 9)}
    assert names == {"a", "c"}


async def test_an_app_that_is_looked_at_keeps_no_other_waiting() -> None:
    rig = await make_rig()
    await rig.register("other")
    census = Census(rig.store, rig.clock, AppLimits())  # type: ignore[arg-type]
    gate = rig.store.hold("list_definitions")
    waiting = [asyncio.create_task(census.admit(app_id)) for app_id in ("shop", "other")]
    await spin()
    assert rig.store.names().count("list_definitions") == 2
    gate.set()
    await asyncio.gather(*waiting)


async def test_one_look_forgets_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_MOST_DROPPED", 2)
    rig = await make_rig()
    for name in ("a", "b", "c"):
        await rig.service.recurring.delete(await rig.service.recurring.put(new(name)))
    for name in ("d", "e"):  # two are forgotten, then the third one
        rig.clock.advance(23 * DAY_MS)
        await rig.service.recurring.put(new(name))
        assert await count(rig) == 2
