"""How many schedules an app may have in the store: what is counted, by whom, and how far it may be off."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.contract.builders import make_app
from tests.harness.virtual import on_virtual_time
from tests.unit.ingest.rig import NOW_MS, NOW_S, Rig, make_rig, schedule_body

from ringtime_ingest.service.stored import FRESH_S, Stored
from ringtime_shared.clock import ManualClock
from ringtime_shared.errors import RateLimited, StoreUnavailable
from ringtime_shared.models.app import App, AppConfiguration
from ringtime_shared.models.tally import DAY_MS
from ringtime_shared.settings import AppLimits
from ringtime_shared.stores.memory import MemoryStore

SCHEDULES = "/goscheduler/schedules"
APP = replace(make_app(), number=5, configuration=AppConfiguration(stored_schedules=10))
SOON = [NOW_MS + 1_000]


class World:
    """Processes on one store."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW_MS)
        self.store: Any = MemoryStore(self.clock.now_ms)
        self.holders = 0

    def process(self) -> Stored:
        self.holders += 1
        return Stored(self.store, self.clock, AppLimits(), self.holders)


async def admitted(stored: Stored, app: App = APP, expires_ms: int = NOW_MS + 1_000) -> int:
    """Return how many more it lets in."""
    for count in range(1_000):
        try:
            await stored.admit(app, [expires_ms])
        except RateLimited:
            return count
    raise AssertionError("there is no end")


async def test_alone_a_process_is_exact() -> None:
    stored = World().process()
    assert await admitted(stored) == 10
    assert await admitted(stored, replace(APP, number=6)) == 10
    with pytest.raises(RateLimited):
        await stored.admit(replace(APP, number=7), SOON * 11)
    await stored.admit(replace(APP, number=7), SOON * 10)
    await stored.close()


async def test_two_pass_the_bound_by_what_they_file_between_two_exchanges() -> None:
    world = World()
    one, two = world.process(), world.process()
    for _ in range(6):
        await one.admit(APP, SOON)
    await two.admit(APP, SOON)
    assert await admitted(one) == 4
    await one.exchange()
    assert await admitted(two) == 9  # it has not heard of it
    await two.exchange()
    assert await admitted(two) == 0
    await one.exchange()
    assert await admitted(one) == 0
    await asyncio.gather(one.close(), two.close())


async def test_a_process_that_begins_knows_what_was_filed() -> None:
    world = World()
    first = world.process()
    await admitted(first)
    await first.close()
    assert await admitted(world.process()) == 0


async def test_what_expires_is_forgotten_with_its_day() -> None:
    world = World()
    stored = world.process()
    assert await admitted(stored, expires_ms=NOW_MS) == 10
    world.clock.advance(DAY_MS - NOW_MS % DAY_MS - 1)
    assert await admitted(stored) == 0
    world.clock.advance(1)
    await stored.exchange()
    assert await admitted(stored, expires_ms=NOW_MS + DAY_MS) == 10
    await stored.close()
    assert await admitted(world.process()) == 0


async def test_a_store_that_is_away_keeps_nobody_waiting_and_loses_no_count() -> None:
    world = World()
    stored = world.process()
    real = world.store.put_tallies

    async def fail(*_: object) -> None:
        raise StoreUnavailable("away")

    world.store.put_tallies = fail
    await stored.admit(APP, SOON * 4)
    await stored.exchange()
    world.store.put_tallies = real
    await stored.exchange()
    assert await admitted(world.process()) == 6
    await stored.close()


@on_virtual_time
async def test_counts_are_exchanged_every_ten_seconds() -> None:
    world = World()
    one, two = world.process(), world.process()
    await two.admit(APP, SOON)
    await one.admit(APP, SOON * 9)
    await asyncio.sleep(2 * FRESH_S + 1)
    assert await admitted(two) == 0
    await asyncio.gather(one.close(), two.close())


async def test_without_a_bound_nothing_is_counted() -> None:
    world = World()
    stored = world.process()
    await stored.admit(replace(APP, configuration=AppConfiguration()), SOON * 1_000)
    await stored.close()
    assert world.store._tallies == {}


def bounded(most: int) -> Rig:
    rig = make_rig()
    rig.apps["test"] = replace(rig.apps["test"], configuration=AppConfiguration(stored_schedules=most))
    return rig


async def test_the_api_says_so() -> None:
    rig = bounded(2)
    for status in (200, 200, 429):
        reply = await rig.client.call("POST", SCHEDULES, schedule_body())
        assert reply.status == status
    assert reply.json["status"]["details"] == {"limit": "app-stored"}
    assert int(reply.headers["retry-after"]) >= 3_600
    assert len(rig.rows) == 2
    await rig.service.close()


async def test_a_batch_of_an_app_is_filed_whole_or_not_at_all() -> None:
    rig = bounded(2)
    rig.apps["calm"] = replace(rig.apps["test"], app_id="calm", number=7, configuration=AppConfiguration())
    items = [schedule_body(appId=app_id) for app_id in ("test", "calm", "test", "test")]
    reply = await rig.client.call("POST", f"{SCHEDULES}/batch", {"schedules": items})
    words = [each.get("status", {}).get("error", "done") for each in reply.json["data"]["results"]]
    assert words == ["RATE_LIMITED", "done", "RATE_LIMITED", "RATE_LIMITED"]
    assert {row.schedule.app_id for row in rig.rows.values()} == {"calm"}
    await rig.service.close()


async def test_a_create_that_was_done_is_answered_again_when_it_is_full() -> None:
    rig = bounded(1)
    body = schedule_body(idempotencyKey="k")
    first = await rig.client.call("POST", SCHEDULES, body)
    again = await rig.client.call("POST", SCHEDULES, body)
    assert again.json["data"]["schedule"] == first.json["data"]["schedule"]
    assert (await rig.client.call("POST", SCHEDULES, schedule_body())).status == 429
    await rig.service.close()


NAMED = "/goscheduler/apps/test/schedules/report"


async def test_what_files_nothing_counts_for_nothing() -> None:
    """A dry run, a put of what is there, a change of it, and a create that repeats its key."""
    rig = bounded(3)
    call, body = rig.client.call, schedule_body(appId=...)
    for _ in range(5):
        assert (await call("PUT", f"{NAMED}?dry_run=true", body)).status == 200
    for n in range(5):
        assert (await call("PUT", NAMED, body)).status == 200
        assert (await call("PUT", NAMED, body | {"payload": f"{n}"})).status == 200
        assert (await call("POST", SCHEDULES, schedule_body(idempotencyKey="k"))).status == 200
        other = await call("POST", SCHEDULES, schedule_body(idempotencyKey="k", payload=f"{n}"))
        assert other.json["status"]["error"] == "KEY_REUSED"
    rig.clock.advance(59_700)  # it is about to be sent
    for n in range(5):
        late = await call("PUT", NAMED, body | {"payload": f"late {n}", "scheduleTime": NOW_S + 600})
        assert late.json["status"]["error"] == "NOT_CHANGEABLE"
    assert len({each.schedule.schedule_id for each in rig.rows.values()}) == 2
    for status in (200, 429):
        assert (await call("POST", SCHEDULES, schedule_body(scheduleTime=NOW_S + 600))).status == status
    await rig.service.close()


async def test_what_has_a_name_is_put_again_and_changed_when_it_is_full() -> None:
    rig = bounded(1)
    call, body = rig.client.call, schedule_body(appId=...)
    assert (await call("PUT", NAMED, body)).json["data"]["created"]
    for changed in (body, body | {"payload": "other"}):
        for query in ("?dry_run=true", ""):
            assert (await call("PUT", f"{NAMED}{query}", changed)).status == 200
    for query in ("?dry_run=true", ""):
        assert (await call("PUT", f"{NAMED}s{query}", body)).status == 429
    assert (await call("DELETE", NAMED)).status == 200
    assert (await call("PUT", NAMED, body)).status == 429
    await rig.service.close()


async def test_what_is_taken_back_is_taken_back_from_what_others_read() -> None:
    world = World()
    stored = world.process()
    await stored.admit(APP, SOON * 4)
    await stored.exchange()
    stored.take_back(APP, SOON[0])
    await stored.exchange()
    assert await admitted(world.process()) == 7
    await stored.exchange()
    assert stored._counts == {}
    await stored.close()


@on_virtual_time
async def test_an_end_does_not_wait_for_a_store_that_is_away() -> None:
    world = World()
    stored = world.process()
    for number in range(100):
        await stored.admit(replace(APP, number=number), SOON)

    async def fail(*_: object) -> None:
        await asyncio.sleep(2)
        raise StoreUnavailable("away")

    world.store.put_tallies = fail
    begun_s = asyncio.get_running_loop().time()
    await stored.close()
    assert asyncio.get_running_loop().time() - begun_s < 6
