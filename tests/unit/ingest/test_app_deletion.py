"""Deleting an app through the service and over HTTP; `test_deleting` has the rules."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from tests.harness.virtual import LoopClock, on_virtual_time
from tests.unit.ingest.commit_rig import AnyDetails, ServiceRig
from tests.unit.ingest.rig import Rig, make_rig
from tests.unit.spy_store import SpyStore

from ringtime_ingest.service import IngestParts, IngestService
from ringtime_shared.errors import (
    Conflict,
    InvalidRequest,
    LiveSchedules,
    NotFound,
    StoreUnavailable,
    VersionConflict,
)
from ringtime_shared.settings import AppLimits, IngestSettings

PATH = "/goscheduler/apps/test"
GONE_S = 15.1  #: after the quiet time


async def make_pods(count: int = 1) -> list[ServiceRig]:
    """Ingest pods on one store, on virtual time."""
    clock = LoopClock()
    store = SpyStore(clock.now_ms)
    parts = IngestParts(
        store=cast(Any, store),
        clock=clock,
        settings=IngestSettings(),
        limits=AppLimits(),
        callbacks={"sim": AnyDetails()},
        holder="test",
    )
    return [ServiceRig(cast(Any, clock), store, await IngestService.start(parts)) for _ in range(count)]


@on_virtual_time
async def test_a_deleted_app_is_gone_and_its_id_can_be_registered_anew() -> None:
    [pod] = await make_pods()
    first = await pod.register()
    row = await pod.create()
    with pytest.raises(LiveSchedules):
        await pod.service.delete_app("shop", cancel_schedules=False)
    halted = await pod.service.delete_app("shop", cancel_schedules=True)
    assert not halted.active
    with pytest.raises(Conflict, match="is being deleted"):
        await pod.register()
    with pytest.raises(Conflict, match="is being deleted"):
        await pod.create()
    await asyncio.sleep(GONE_S)
    for call in (
        pod.service.fetch_apps("shop"),
        pod.service.delete_app("shop", cancel_schedules=False),
        pod.service.fetch_schedule(row.schedule.schedule_id),
        pod.service.cancel_schedule(row.schedule.schedule_id),
    ):
        with pytest.raises(NotFound):
            await call
    second = await pod.register(partitions=1)
    assert (second.version, second.writable) == (1, 1)
    assert second.number > first.number
    with pytest.raises(NotFound):
        await pod.service.fetch_schedule(row.schedule.schedule_id)
    again = await pod.create()
    assert await pod.service.fetch_schedule(again.schedule.schedule_id) == again


@on_virtual_time
@pytest.mark.parametrize("is_registered_again", [False, True])
async def test_another_pod_finds_its_ids_no_more_ten_seconds_later(is_registered_again: bool) -> None:
    first, other = await make_pods(2)
    await first.register()
    row = await other.create()
    schedule_id = row.schedule.schedule_id
    await first.service.delete_app("shop", cancel_schedules=True)
    await asyncio.sleep(GONE_S)
    if is_registered_again:
        await first.register()
    await asyncio.sleep(10)
    with pytest.raises(NotFound):
        await other.service.fetch_schedule(schedule_id)


@on_virtual_time
async def test_who_only_reads_schedules_reads_their_app_no_more_once_all_apps_were_read() -> None:
    [pod] = await make_pods()
    await pod.register()
    row = await pod.create()
    for _ in range(41):
        await pod.service.fetch_schedule(row.schedule.schedule_id)
        await asyncio.sleep(1)
    names = pod.store.names()
    assert names.count("fetch_app") == 1, "before all were read again"
    assert names.count("fetch_apps") == 2, "one of them the start's"
    assert names.count("count_app_changes") <= 10


@on_virtual_time
async def test_a_pod_that_stops_leaves_the_rest_to_whoever_asks_again() -> None:
    first, other = await make_pods(2)
    await first.register()
    await first.service.delete_app("shop", cancel_schedules=False)
    await first.service.close()
    await asyncio.sleep(60)
    [app] = await other.service.fetch_apps("shop")
    assert app.deletion is not None
    await other.service.delete_app("shop", cancel_schedules=False)
    await asyncio.sleep(GONE_S)
    assert await other.service.fetch_apps(None) == []


@on_virtual_time
async def test_a_store_that_is_away_only_delays_it() -> None:
    [pod] = await make_pods()
    await pod.register()
    await pod.service.delete_app("shop", cancel_schedules=False)
    pod.store.fail("fetch_marks", *[StoreUnavailable("no")] * 3)
    await asyncio.sleep(4 * GONE_S + 3 * 5)
    assert await pod.service.fetch_apps(None) == []


@on_virtual_time
async def test_others_who_change_the_app_all_the_time_only_delay_it() -> None:
    [pod] = await make_pods()
    await pod.register()
    await pod.service.delete_app("shop", cancel_schedules=False)
    pod.store.fail("delete_app", *[VersionConflict("changed")] * 15)
    await asyncio.sleep(2 * GONE_S + 5)
    assert await pod.service.fetch_apps(None) == []


@on_virtual_time
async def test_asking_again_begins_no_second_task() -> None:
    [pod] = await make_pods()
    await pod.register()
    for _ in range(3):
        await pod.service.delete_app("shop", cancel_schedules=False)
    await asyncio.sleep(GONE_S)
    assert pod.store.names().count("delete_app") == 1


async def test_a_bad_id_is_refused() -> None:
    [pod] = await make_pods()
    with pytest.raises(InvalidRequest):
        await pod.service.delete_app("a b", cancel_schedules=False)


@pytest.fixture
def rig() -> Rig:
    return make_rig()


@pytest.mark.parametrize("path", [PATH, "/goscheduler/app/test"])
@pytest.mark.parametrize(
    ("query", "cancels"),
    [
        ("", False),
        ("?cancel_schedules=", False),
        ("?cancel_schedules=false", False),
        ("?cancel_schedules=true", True),
        ("?cancel_schedules=true&cancel_schedules=true", True),
        ("?cancelschedules=true", False),
    ],
)
async def test_http_answers_202_with_the_app_as_it_is(rig: Rig, path: str, query: str, cancels: bool) -> None:
    reply = await rig.client.call("DELETE", path + query)
    assert (reply.status, reply.json["status"]["statusCode"]) == (202, 202)
    app = rig.apps["test"]
    assert reply.json["data"] == {
        "appId": "test",
        "partitions": 5,
        "active": False,
        "configuration": {},
        "deleting": True,
    }
    assert app.deletion is not None
    assert app.deletion.cancels is cancels


@pytest.mark.parametrize("query", ["cancel_schedules=yes", "cancel_schedules=true&cancel_schedules=false"])
async def test_http_refuses_a_flag_that_says_neither(rig: Rig, query: str) -> None:
    reply = await rig.client.call("DELETE", f"{PATH}?{query}")
    assert (reply.status, reply.json["status"]["errors"][0]["field"]) == (400, "cancel_schedules")
    assert rig.apps["test"].deletion is None


async def test_http_names_the_way_out(rig: Rig) -> None:
    rig.store.failure = LiveSchedules("app test has 3 schedules to fire yet")
    reply = await rig.client.call("DELETE", PATH)
    assert (reply.status, reply.json["status"]["statusCode"]) == (409, 409)
    assert reply.json["status"]["errors"][0]["field"] == "appId"


async def test_http_answers_an_unknown_app_as_elsewhere(rig: Rig) -> None:
    reply = await rig.client.call("DELETE", "/goscheduler/apps/nobody")
    assert (reply.status, reply.json["status"]["statusCode"]) == (400, 4001)
