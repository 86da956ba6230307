"""How many apps and partitions there may be in all: only growth is refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.contract.builders import make_app
from tests.unit.ingest.commit_rig import ServiceRig, make_service_rig
from tests.unit.spy_store import spin

from ringtime_shared.errors import ClockInDoubt, LimitReached, StoreUnavailable
from ringtime_shared.settings import AppLimits


async def make_rig(*, apps: int = 100, partitions: int = 100) -> ServiceRig:
    return await make_service_rig(limits=AppLimits(max_apps=apps, max_partitions_in_all=partitions))


async def test_one_app_too_many_is_refused_by_the_name_of_the_setting() -> None:
    rig = await make_rig(apps=2)
    await rig.register("a")
    await rig.register("b", active=False)
    with pytest.raises(LimitReached, match=r"limits\.max_apps allows 2") as caught:
        await rig.register("c")
    assert caught.value.field == "appId"
    assert [app.app_id for app in await rig.service.fetch_apps(None)] == ["a", "b"]


async def test_partitions_count_over_all_apps_and_the_last_one_fits() -> None:
    rig = await make_rig(partitions=10)
    await rig.register("a", partitions=6)
    with pytest.raises(LimitReached, match=r"6 partitions are in use, 5 .* allows 10") as caught:
        await rig.register("b", partitions=5)
    assert caught.value.field == "partitions"
    await rig.register("b", partitions=4)


async def test_the_default_quota_counts_too() -> None:
    rig = await make_rig(partitions=4)
    with pytest.raises(LimitReached):
        await rig.register("a", partitions=None)


async def test_what_is_over_a_new_bound_goes_on_and_may_be_configured() -> None:
    rig = await make_rig(apps=1, partitions=5)
    for app_id in ("a", "b"):
        await rig.store.real.create_app(make_app(app_id=app_id, writable=9, polled=9))
    app = await rig.register("a", partitions=9, active=False)
    await rig.service.set_active("a", True)
    await rig.create("b")
    assert app.polled == 9


async def test_partitions_that_a_resize_has_opened_to_nobody_yet_count() -> None:
    rig = await make_rig(partitions=10)
    app = await rig.register("a", partitions=2)
    await rig.store.real.replace_app(replace(app, polled=9, version=2))
    with pytest.raises(LimitReached):
        await rig.register("b", partitions=2)


async def test_registrations_at_once_pass_no_bound() -> None:
    rig = await make_rig(partitions=10)
    gate = rig.store.hold("create_app")
    asked = [asyncio.create_task(rig.register(f"app-{n}", partitions=4)) for n in range(10)]
    await spin()
    gate.set()
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(each, LimitReached) for each in told) == 8
    assert (await rig.store.real.count_apps()).partitions == 8


async def test_while_there_is_much_room_nothing_is_counted_and_nobody_waits() -> None:
    rig = await make_rig(apps=1_000, partitions=100_000)
    gate = rig.store.hold("create_app")
    asked = [asyncio.create_task(rig.register(f"app-{n}", partitions=4)) for n in range(50)]
    await spin()
    assert rig.store.names().count("create_app") == 50
    gate.set()
    await asyncio.gather(*asked)
    assert "count_apps" not in rig.store.names()


async def test_near_a_bound_it_is_looked_at_what_has_changed_and_all_apps_are_not_read() -> None:
    rig = await make_rig(apps=50, partitions=100_000)
    rig.store.calls.clear()
    for n in range(48):
        rig.clock.advance(1)
        await rig.register(f"app-{n}")
    await rig.store.real.create_app(make_app(app_id="elsewhere"))  # by another pod, a moment ago
    rig.clock.advance(1)
    await rig.register("last")
    rig.clock.advance(1)
    with pytest.raises(LimitReached, match="50 apps are registered"):
        await rig.register("one-more")
    assert not {"count_apps", "fetch_apps"} & set(rig.store.names())


async def test_near_a_bound_the_store_counts_where_a_look_does_not_tell_all() -> None:
    rig = await make_rig(apps=2, partitions=100_000)
    await rig.register("a")
    told = rig.store.real._last_app_changes
    await rig.store.real.create_app(make_app(app_id="elsewhere"))
    told.clear()  # a log that has lost its name
    with pytest.raises(LimitReached):
        await rig.register("b")
    assert "count_apps" in rig.store.names()


async def test_a_registration_that_fails_takes_no_room() -> None:
    rig = await make_rig(apps=120, partitions=100_000)
    rig.store.fail("create_app", *[StoreUnavailable("no")] * 40)
    for n in range(40):
        with pytest.raises(StoreUnavailable):
            await rig.register(f"app-{n}")
    assert "count_apps" not in rig.store.names()


async def test_a_new_app_is_registered_without_a_read() -> None:
    rig = await make_rig(apps=1_000, partitions=100_000)
    rig.store.calls.clear()
    await rig.register("a")
    assert rig.store.names() == ["create_app"]


@pytest.mark.parametrize("apps", [1, 1_000])
async def test_an_app_that_another_process_has_just_registered_is_configured(apps: int) -> None:
    """Whatever would keep it from being registered here."""
    rig = await make_rig(apps=apps, partitions=100_000)
    await rig.store.real.create_app(make_app(app_id="a", writable=9, polled=9))
    assert (await rig.register("a", partitions=9, active=False)).active is False
    rig.clock.in_doubt = "it was set back"
    await rig.store.real.delete_app((await rig.service.fetch_apps("a"))[0])
    with pytest.raises(ClockInDoubt):
        await rig.register("a")
