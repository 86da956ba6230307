"""Several apps on one node: what one app, row or record does must not be felt by the others."""

from __future__ import annotations

import asyncio
import logging

import pytest
from tests.contract.builders import START_MS, key_of
from tests.harness.virtual import on_virtual_time
from tests.unit.dispatcher.town import PLAIN, SLOT_MS, Town, an_outage, small

from ringtime_shared.metrics.names import ATTEMPTS
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.schedule import Status
from ringtime_shared.settings import DispatchSettings


@pytest.mark.parametrize("step_ms", [0, 7])
@on_virtual_time
async def test_an_app_whose_destination_hangs_delays_no_other(step_ms: int) -> None:
    town = Town(PLAIN, PLAIN)
    hog, other = town.apps
    town.street.hang("dead")
    backlog = [town.row(hog, SLOT_MS, "dead", n % 2) for n in range(300)]
    await town.live(*backlog, *(town.row(other, SLOT_MS + n * step_ms, "x") for n in range(100)), until_s=4)
    lags_ms = town.street.lags_ms(other)
    assert len(lags_ms) == 100
    assert max(lags_ms) <= 1
    assert town.street.most_under_way["dead"] == town.settings.destination_in_flight


@on_virtual_time
async def test_an_app_with_many_hanging_destinations_delays_no_other() -> None:
    town = Town(PLAIN, PLAIN)
    hog, other = town.apps
    for n in range(10):
        town.street.hang(str(n))
    backlog = [town.row(hog, SLOT_MS, str(n % 10)) for n in range(1_000)]
    await town.live(*backlog, *(town.row(other, SLOT_MS + 7 * n, "x") for n in range(100)), until_s=3)
    assert max(town.street.lags_ms(other)) <= 1
    assert len(town.street.of(other)) == 100
    assert town.street.most_under_way[hog.app_id] == town.settings.app_in_flight


@on_virtual_time
async def test_a_hanging_destination_does_not_delay_the_others_of_its_app() -> None:
    town = Town(PLAIN)
    [app] = town.apps
    town.street.hang("dead")
    await town.live(
        *(town.row(app, SLOT_MS, "dead") for _ in range(300)),
        *(town.row(app, SLOT_MS + 7 * n, "x") for n in range(100)),
        until_s=3,
    )
    alive = town.street.to("x")
    assert [at_ms for at_ms, _ in alive] == pytest.approx([SLOT_MS + 7 * n for n in range(100)], abs=1)


@on_virtual_time
async def test_the_same_destination_of_two_apps_is_two() -> None:
    """What one app does to a destination says nothing about what it answers another."""
    town = Town(PLAIN, PLAIN, dispatch=small())
    hog, other = town.apps
    gate = town.street.hang("x")
    await town.live(*(town.row(hog, SLOT_MS) for _ in range(10)), until_s=1.5)
    del town.street.hanging["x"]
    await town.live(town.row(other, START_MS + 1_800), until_s=2)
    assert max(town.street.lags_ms(other)) <= 1
    gate.set()


@pytest.mark.parametrize("hogs", [3, 10, 40])
@on_virtual_time
async def test_however_many_apps_hang_a_minute_others_are_on_time(hogs: int) -> None:
    town = Town(*[AppConfiguration(http_timeout_ms=60_000)] * hogs, PLAIN)
    *bad, other = town.apps
    for n in range(3):
        town.street.hang(f"dead {n}")
    backlog = [town.row(app, SLOT_MS, f"dead {n % 3}", n % 2) for app in bad for n in range(3_000 // hogs)]
    await town.live(*backlog, *(town.row(other, SLOT_MS + 500 + 7 * n, "x") for n in range(300)), until_s=5)
    lags_ms = town.street.lags_ms(other)
    assert len(lags_ms) == 300
    assert max(lags_ms) <= 1


@on_virtual_time
async def test_who_answered_before_is_on_time_even_if_more_apps_hang_than_there_are_places_kept() -> None:
    town = Town(*[AppConfiguration(http_timeout_ms=60_000)] * 120, PLAIN)
    *bad, other = town.apps
    town.street.hang("dead")
    backlog = [town.row(app, SLOT_MS + 100, "dead", n % 2) for app in bad for n in range(10)]
    known = town.row(other, SLOT_MS, "x")
    burst = [town.row(other, SLOT_MS + 500, "x") for n in range(300)]
    await town.live(known, *backlog, *burst, until_s=5)
    lags_ms = town.street.lags_ms(other)
    assert len(lags_ms) == 301
    assert max(lags_ms) <= 1


@on_virtual_time
async def test_a_clock_that_is_set_back_holds_up_no_app() -> None:
    """What has been begun, and when, is remembered on a clock that is never set."""
    town = Town(AppConfiguration(max_per_second=10))
    [app] = town.apps
    await town.live(*(town.row(app, SLOT_MS) for _ in range(20)), until_s=1.5)
    town.clock.back_ms = 3_600_000
    await town.live(until_s=4)
    assert len(town.street.sent) == 20


@on_virtual_time
async def test_an_apps_own_cap_is_kept() -> None:
    town = Town(AppConfiguration(max_in_flight=3), PLAIN)
    capped, other = town.apps
    town.street.slow_s = {"x": 0.5}
    rows = [town.row(app, SLOT_MS) for app in (capped, other) for _ in range(12)]
    await town.live(*rows, until_s=5)
    assert town.street.most_under_way[capped.app_id] == 3
    assert town.street.most_under_way[other.app_id] == 12
    assert await town.statuses(rows) == {Status.SUCCESS: 24}


@on_virtual_time
async def test_an_app_may_set_fewer_attempts_at_once_than_the_server_and_not_more() -> None:
    """Or one that asks for all of the node, and whose destinations hang, stops everybody else."""
    town = Town(AppConfiguration(max_in_flight=10_000), PLAIN)
    hog, other = town.apps
    for n in range(10):
        town.street.hang(str(n))
    backlog = [town.row(hog, SLOT_MS, str(n % 10)) for n in range(1_000)]
    await town.live(*backlog, *(town.row(other, SLOT_MS + 7 * n, "x") for n in range(100)), until_s=4)
    assert town.street.most_under_way[hog.app_id] == town.settings.app_in_flight
    assert max(town.street.lags_ms(other)) <= 1


@on_virtual_time
async def test_a_backlog_waits_behind_whoever_comes_later() -> None:
    """The node is full all the time; each start goes to the app whose turn it is."""
    town = Town(PLAIN, PLAIN, dispatch=DispatchSettings(max_in_flight=10))
    hog, other = town.apps
    town.street.slow_s = {"x": 0.1}
    await town.live(
        *(town.row(hog, SLOT_MS) for _ in range(1_000)),
        *(town.row(other, SLOT_MS + 500 + 40 * n) for n in range(50)),
        until_s=5,
    )
    assert len(town.street.of(other)) == 50
    assert max(town.street.lags_ms(other)) <= 101, "no longer than an attempt takes"
    assert len(town.street.of(hog)) >= 300, "the rest of the node is the hog's"


@on_virtual_time
async def test_a_full_node_is_shared_by_weight() -> None:
    town = Town(AppConfiguration(weight=3), PLAIN, dispatch=DispatchSettings(max_in_flight=8))
    town.street.slow_s = {"x": 0.1}
    await town.live(*(town.row(app, SLOT_MS) for app in town.apps for _ in range(800)), until_s=3.05)
    heavy, light = (len(town.street.of(app)) for app in town.apps)
    assert heavy - 4 == pytest.approx(3 * (light - 2), abs=4), "the first ones began before all were due"
    assert town.street.most_under_way["node"] == 8


@pytest.mark.parametrize("details", [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"other":1}'])
@on_virtual_time
async def test_a_row_that_cannot_be_read_fails_by_itself(details: bytes) -> None:
    town = Town(AppConfiguration(http_attempts=1), PLAIN)
    app, other = town.apps
    poison = [town.row(app, SLOT_MS, callback_details=details) for _ in range(3)]
    good = [town.row(each, SLOT_MS + n) for each in (app, other) for n in range(10)]
    await town.live(*poison, *good, until_s=2)
    assert await town.statuses(poison) == {Status.FAILURE: 3}
    assert await town.statuses(good) == {Status.SUCCESS: 20}
    assert len(await town.letters(app)) == 3
    assert town.is_empty()


@on_virtual_time
async def test_rows_that_cannot_be_read_open_no_breaker_of_a_real_destination() -> None:
    town = Town(AppConfiguration(http_attempts=1), dispatch=small())
    [app] = town.apps
    poison = [town.row(app, SLOT_MS + n, callback_details=b"{") for n in range(10)]
    good = [town.row(app, SLOT_MS + 100 + n) for n in range(10)]
    await town.live(*poison, *good, until_s=2)
    assert await town.statuses(good) == {Status.SUCCESS: 10}


@on_virtual_time
async def test_a_record_that_no_store_takes_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    town = Town(PLAIN, PLAIN)
    rows = [town.row(app, SLOT_MS) for app in town.apps for _ in range(20)]
    refused = rows[7]
    town.store.refused.add(refused.schedule.schedule_id)
    with caplog.at_level(logging.ERROR):
        await town.live(*rows, until_s=2)
    assert await town.statuses(rows) == {Status.SUCCESS: 39, Status.SCHEDULED: 1}
    assert str(refused.schedule.schedule_id) in caplog.text
    for row in rows:
        assert town.owner(row).is_open(key_of(row)) is (row is refused), "the next owner fires it again"
    later = town.row(town.apps[0], START_MS + 3_000)
    await town.live(later, until_s=4)
    assert await town.status(later) is Status.SUCCESS


@on_virtual_time
async def test_an_instance_with_a_record_that_no_store_takes_can_be_handed_over() -> None:
    """Or the instance stands still from the next rebalance on: it starts nothing and is not let go."""
    town = Town(PLAIN)
    rows = [town.row(town.apps[0], SLOT_MS) for _ in range(3)]
    town.store.refused.add(rows[1].schedule.schedule_id)
    await town.live(*rows, until_s=2)
    owned = town.owner(rows[1])
    owned.set_checked(SLOT_MS + 500)
    async with asyncio.timeout(60):
        await owned.wait_quiet()
    assert owned.settleable_ms() == SLOT_MS - 1, "the next owner finds it"
    assert town.is_empty()


@on_virtual_time
async def test_a_batch_that_is_refused_for_a_moment_is_written_one_by_one() -> None:
    town = Town(PLAIN)
    rows = [town.row(town.apps[0], SLOT_MS) for _ in range(20)]
    town.store.fail("put_rows", TypeError("once"))
    town.street.down.add("x")
    await town.live(*rows, until_s=1.6)  # before the retries are read
    assert town.counted(ATTEMPTS, result="retry") == 20
    assert all([(await town.newest(row)).attempts == 1 for row in rows])
    assert town.is_empty()


@on_virtual_time
async def test_an_apps_rate_is_kept_and_delays_no_other() -> None:
    town = Town(AppConfiguration(max_per_second=10), PLAIN)
    rated, other = town.apps
    await town.live(
        *(town.row(rated, SLOT_MS) for _ in range(50)),
        *(town.row(other, SLOT_MS + 20 * n) for n in range(200)),
        until_s=7,
    )
    times_ms = town.street.of(rated)
    assert len(times_ms) == 50
    for count, at_ms in enumerate(times_ms):
        assert 0 <= at_ms - SLOT_MS - 100 * count <= 12, "one after the other, without a pause"
    assert all(later - earlier > 1_000 for earlier, later in zip(times_ms, times_ms[10:], strict=False))
    assert len(town.street.of(other)) == 200
    assert max(town.street.lags_ms(other)) <= 1


@on_virtual_time
async def test_an_app_with_a_low_rate_does_not_hold_back_one_with_a_high_rate() -> None:
    """Nothing else happens on the node, so only a timer can wake the quick one."""
    town = Town(AppConfiguration(max_per_second=1), AppConfiguration(max_per_second=100))
    slow, quick = town.apps
    await town.live(
        *(town.row(slow, SLOT_MS) for _ in range(5)),
        *(town.row(quick, SLOT_MS + 100) for _ in range(150)),
        until_s=4,
    )
    times_ms = town.street.of(quick)
    assert len(times_ms) == 150
    for count, at_ms in enumerate(times_ms):
        assert at_ms - SLOT_MS - 100 - 10 * count <= 15


@on_virtual_time
async def test_what_waits_for_its_rate_when_the_instance_drains_is_let_go() -> None:
    town = Town(AppConfiguration(max_per_second=2))
    rows = [town.row(town.apps[0], SLOT_MS + n) for n in range(20)]
    await town.live(*rows, until_s=1.5)
    [owned] = {town.owner(row) for row in rows}
    owned.is_draining = True
    await owned.wait_quiet()
    await town.live(until_s=15)
    assert len(town.street.sent) <= 3
    assert all(owned.is_open(key_of(row)) for row in rows[3:])
    assert town.is_empty()


@on_virtual_time
async def test_closing_with_rows_in_every_state_leaves_nothing_running() -> None:
    town = Town(AppConfiguration(max_per_second=5), PLAIN, dispatch=small())
    await an_outage(town)
    town.street.hang("y")
    rows = [town.row(town.apps[1], START_MS + 2_000 + n, "y") for n in range(10)]
    await town.live(*rows, until_s=2.2)
    sent = len(town.street.sent)
    await town.close()
    await asyncio.sleep(0)
    assert {task for task in asyncio.all_tasks() if not task.done()} == {asyncio.current_task()}
    await asyncio.sleep(60)
    assert len(town.street.sent) == sent
