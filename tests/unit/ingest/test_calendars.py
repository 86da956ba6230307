"""Calendars of apps: their bound, and what becomes of deleted ones."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import replace

import pytest
from tests.contract.builders import START_MS
from tests.unit.ingest.commit_rig import ServiceRig, make_service_rig
from tests.unit.ingest.test_recurring import new
from tests.unit.spy_store import spin

from ringtime_ingest.service import calendars as service
from ringtime_shared.errors import AppInactive, Conflict, Damaged, InvalidRequest, LimitReached, NotFound
from ringtime_shared.models.times import Exclusions, Times
from ringtime_shared.settings import AppLimits
from ringtime_shared.stores.codec.recurring import read_calendar

DAY = {"dates": ["2027-05-01"]}
HOUR_MS = 3_600_000


async def make_rig() -> ServiceRig:
    rig = await make_service_rig(limits=AppLimits(max_calendars=2))
    await rig.register()
    return rig


def named(*calendars: str, name: str = "nightly") -> dict[str, object]:
    return {"name": name, "times": Times(cron="@daily", calendars=calendars)}


async def test_no_more_than_the_setting_allows_and_what_was_deleted_gives_way() -> None:
    rig = await make_rig()
    calendars = rig.service.calendars
    for name in ("a", "b", "a"):
        await calendars.put("shop", name, DAY)
    with pytest.raises(LimitReached, match=r"limits\.max_calendars is 2"):
        await calendars.put("shop", "c", DAY)
    await calendars.delete("shop", "a")
    with pytest.raises(LimitReached):  # somebody may be about to name it
        await calendars.put("shop", "c", DAY)
    rig.clock.advance(HOUR_MS + 1)
    await calendars.put("shop", "c", DAY)
    assert [each.name for each in await rig.store.real.fetch_calendars("shop")] == ["b", "c"]


async def test_a_definition_that_is_written_while_its_calendar_is_deleted_goes_by_it() -> None:
    """The put has seen the calendar, the delete no definition that names it."""
    rig = await make_rig()
    recurring, calendars = rig.service.recurring, rig.service.calendars
    said = (await calendars.put("shop", "a", DAY)).exclusions
    made = await recurring.put(new(**named("a")))  # type: ignore[arg-type]
    [stored] = await rig.store.real.fetch_calendars("shop")
    await rig.store.real.replace_calendar(replace(stored, revision=2, is_deleted=True))
    assert (await recurring.fetch("shop", "nightly")).exclusions == said
    with pytest.raises(InvalidRequest, match="there is no calendar a"):
        await recurring.put(new(**named("a", name="other")))  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        await calendars.fetch("shop", "a")
    rig.clock.advance(HOUR_MS + 1)
    await calendars.put("shop", "b", DAY)
    with pytest.raises(LimitReached):  # it is named yet
        await calendars.put("shop", "c", DAY)
    await recurring.delete(made)
    await calendars.put("shop", "c", DAY)


async def test_what_an_earlier_version_names_is_kept_for_the_runs_that_it_has_to_make() -> None:
    """A dispatcher that was away for hours makes them, and reads the version with its calendars."""
    rig = await make_rig()
    recurring, calendars = rig.service.recurring, rig.service.calendars
    for name in ("a", "b"):
        await calendars.put("shop", name, DAY)
    await recurring.put(new(**named("a")))  # type: ignore[arg-type]
    await recurring.put(new(**named("b")))  # type: ignore[arg-type]
    await calendars.delete("shop", "a")
    rig.clock.advance(HOUR_MS + 1)
    with pytest.raises(LimitReached):
        await calendars.put("shop", "c", DAY)
    assert (await recurring.fetch("shop", "nightly")).earlier[0].exclusions.dates


async def test_an_app_that_is_deactivated_gets_none() -> None:
    """As one that is being deleted, so that none is left behind for another app of its id."""
    rig = await make_rig()
    await rig.service.set_active("shop", False)
    with pytest.raises(AppInactive):
        await rig.service.calendars.put("shop", "a", DAY)


def test_what_is_stored_is_checked_when_it_is_read() -> None:
    for record, fault in (
        ((1, 0, 0, "{"), "calendar"),
        ((1, 0, 0, 5), "calendar"),
        ((1, -1, 0, "{}"), "changed_ms"),
        ((None, 0, 0, "{}"), "revision"),
        ((1, 0, 7, "{}"), "is_deleted"),
    ):
        read = read_calendar("shop", "a", *record)
        assert (read.name, read.revision) == ("a", record[0] or 0)
        assert read.damage.startswith(fault), read.damage


async def test_one_that_cannot_be_read_is_put_anew() -> None:
    rig = await make_rig()
    recurring, calendars = rig.service.recurring, rig.service.calendars
    stored = await calendars.put("shop", "a", DAY)
    await recurring.put(new(**named("a")))  # type: ignore[arg-type]
    rig.store.real._calendars["shop"]["a"] = replace(stored, damage="calendar: not JSON")
    for ask in (calendars.fetch("shop", "a"), recurring.fetch("shop", "nightly")):
        with pytest.raises(Damaged, match="not JSON"):
            await ask
    [listed] = await calendars.fetch_all("shop")
    assert listed.damage
    await calendars.put("shop", "a", DAY)
    assert (await recurring.fetch("shop", "nightly")).exclusions.dates
    with pytest.raises(Conflict, match="named by recurring schedule nightly"):
        await calendars.delete("shop", "a")
    assert rig.clock.now_ms() == START_MS


async def test_files_are_read_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a tenant who sends many would have the processor for all that this process does."""
    rig = await make_rig()
    begun, has_begun, may_end = list[str](), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def parse(fields: Mapping[str, object], now_ms: int) -> Exclusions:
        begun.append(str(fields["ics"]))
        loop.call_soon_threadsafe(has_begun.set)
        may_end.wait(60)
        return Exclusions()

    monkeypatch.setattr(service, "parse_calendar", parse)
    puts = [
        asyncio.create_task(rig.service.calendars.put("shop", name, {"ics": name})) for name in ("a", "b")
    ]
    await has_begun.wait()
    await spin(200)
    assert begun == ["a"]
    may_end.set()
    await asyncio.gather(*puts)
    assert begun == ["a", "b"]
