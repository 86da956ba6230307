"""What a node says of itself: what it did, what waits, which destinations are in trouble and why."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, cast

import pytest
from tests.contract.builders import START_MS, make_app, make_row
from tests.harness.virtual import LoopClock, on_virtual_time
from tests.unit.dispatcher.rig import make_node
from tests.unit.dispatcher.town import Street
from tests.unit.spy_store import SpyStore

from ringtime_dispatcher.engine import Dispatcher
from ringtime_dispatcher.status import Reporter
from ringtime_shared.coordination.memory import Hub
from ringtime_shared.coordination.protocol import Member
from ringtime_shared.errors import StoreUnavailable
from ringtime_shared.metrics import Metrics
from ringtime_shared.metrics.names import FIRE_LAG
from ringtime_shared.models.app import App
from ringtime_shared.models.node_status import (
    LAG_BOUNDS_MS,
    MOST_TROUBLES,
    AppWork,
    NodeStatus,
    quantile_ms,
    summed,
)
from ringtime_shared.models.schedule import Row
from ringtime_shared.settings import DispatchSettings, RetrySettings

SLOT_MS = START_MS + 10_000


class World:
    """One node, one app, and a street that it sends to."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        self.store = SpyStore(self.clock.now_ms)
        self.street = Street(self.clock)
        self.node: Dispatcher = make_node(
            self.store,
            self.clock,
            Hub(),
            member=Member(node="a", address="host:1", capacity=2.0, most=50),
            callbacks={"sim": self.street},
            dispatch=DispatchSettings(destination_in_flight=2, breaker_failures=3),
            retry=RetrySettings(first_delay_ms=600_000, max_delay_ms=3_600_000),
            metrics=Metrics(),
        )

    async def start(self) -> App:
        app: App = await self.store.real.create_app(
            make_app(writable=4, polled=4, created_ms=START_MS - 60_000)
        )
        await self.node.start()
        return app

    async def put(self, app: App, to: str, slots_ms: Sequence[int]) -> list[Row]:
        details = f'{{"to":"{to}"}}'.encode()
        rows = [make_row(app, slot, callback_type="sim", callback_details=details) for slot in slots_ms]
        await self.store.real.put_rows(rows)
        return rows

    async def at(self, second: float) -> NodeStatus:
        """Return what the node says so many seconds after the slot."""
        await asyncio.sleep((SLOT_MS - self.clock.now_ms()) / 1_000 + second)
        return await self.node.observe()


@on_virtual_time
async def test_a_quiet_node_says_who_it_is_and_what_it_owns() -> None:
    world = World()
    app = await world.start()
    status = await world.at(0)
    assert (status.node, status.address, status.capacity, status.most) == ("a", "host:1", 2.0, 50)
    assert status.version
    assert status.is_ready
    assert not status.is_draining
    assert (status.owned, status.apps, status.owned_by_app) == (4, 1, {app.app_id: 4})
    assert (status.backlog, status.in_flight, status.oldest_due_ms, status.troubles) == (0, 0, 0, ())
    assert 0 < status.mark_age_ms <= 240_000
    await world.node.stop()
    assert (await world.node.observe()).is_draining


@on_virtual_time
async def test_what_was_done_is_counted_over_the_last_minute() -> None:
    world = World()
    app = await world.start()
    await world.put(app, "well", [SLOT_MS + n for n in range(6)])
    status = await world.at(5)
    assert (status.work.sent, status.work.succeeded, status.work.failed) == (6, 6, 0)
    assert sum(status.work.lags) == 6
    assert status.work.window_ms == status.at_ms - status.since_ms
    for second in (30, 60, 90):
        status = await world.at(second)
    assert status.work.sent == 0
    assert sum(status.work.lags) == 0
    assert 60_000 <= status.work.window_ms <= 91_000
    await world.node.stop()


@on_virtual_time
async def test_a_destination_that_is_down_is_told_with_its_last_error() -> None:
    world = World()
    app = await world.start()
    world.street.down.add("dead")
    await world.put(app, "dead", [SLOT_MS + n for n in range(40)])
    await world.put(app, "well", [SLOT_MS])
    status = await world.at(3)
    (trouble,) = status.troubles
    assert (trouble.app_id, trouble.destination, trouble.state) == (app.app_id, "dead", "open")
    assert trouble.failures >= 3
    assert trouble.error == "answered 503"
    assert abs(trouble.failed_ms - SLOT_MS) < 1_000
    assert 20_000 < trouble.opens_in_ms <= 30_000
    assert 30 <= trouble.parked <= 40
    assert status.parked == trouble.parked
    assert status.work.parked >= 30
    assert status.worst_apps == ()
    status = await world.at(29.9)
    assert status.troubles[0].state == "open"
    world.street.down.clear()
    for second in (33, 40, 200):
        status = await world.at(second)
    assert status.troubles == ()
    await world.node.stop()


@on_virtual_time
async def test_a_destination_that_is_slow_is_told_with_what_waits_for_it() -> None:
    world = World()
    app = await world.start()
    world.street.slow_s["slow"] = 1.5
    await world.put(app, "slow", [SLOT_MS] * 10)
    status = await world.at(4)
    (trouble,) = status.troubles
    assert (trouble.destination, trouble.state, trouble.error) == ("slow", "slow", "")
    assert (trouble.waiting, trouble.in_flight, trouble.most_in_flight) == (4, 2, 2)
    assert 3_500 <= trouble.oldest_wait_ms <= 4_500
    assert (status.backlog, status.in_flight) == (4, 2)
    assert 3_500 <= status.oldest_due_ms <= 4_500
    await world.node.stop()


@on_virtual_time
async def test_an_app_with_many_dead_destinations_hides_no_other_s_trouble() -> None:
    world = World()
    loud = await world.start()
    quiet = await world.store.real.create_app(
        make_app(app_id="quiet", writable=1, polled=1, created_ms=START_MS - 60_000)
    )
    dead = [f"dead-{n:02}" for n in range(MOST_TROUBLES + 10)]
    world.street.down.update(dead, ["lame"])
    for each in dead:
        await world.put(loud, each, [SLOT_MS] * 4)
    await world.put(quiet, "lame", [SLOT_MS])  # one failure: less than any of the others has
    status = await world.at(8)
    assert len(status.troubles) == MOST_TROUBLES
    assert [each.destination for each in status.troubles if each.app_id == "quiet"] == ["lame"]
    assert status.troubles[-1].app_id == "quiet", "the worst come first all the same"
    assert status.troubles_in_all == len(dead) + 1
    assert status.troubles_of_app == {loud.app_id: len(dead), "quiet": 1}
    await world.node.stop()


@on_virtual_time
async def test_a_row_without_an_outcome_is_told_also_when_its_minute_is_read_no_more() -> None:
    world = World()
    app = await world.start()
    gate = world.store.hold("put_updates")
    await world.put(app, "well", [SLOT_MS])
    assert (await world.at(400)).oldest_due_ms == pytest.approx(400_000, abs=5_000)
    gate.set()
    assert (await world.at(600)).oldest_due_ms == 0
    await world.node.stop()


@on_virtual_time
async def test_the_apps_of_which_most_went_wrong_are_told_for_a_minute() -> None:
    world = World()
    app = await world.start()
    await world.put(app, "well", [SLOT_MS - 60_000 + n for n in range(3)])  # filed long after their time
    status = await world.at(3)
    assert status.work.sent == 3
    assert status.worst_apps == (AppWork(app_id=app.app_id, late=3),)
    for second in (33, 63, 93):
        status = await world.at(second)
    assert status.worst_apps == ()
    await world.node.stop()


@on_virtual_time
async def test_a_status_is_written_again_and_again_and_taken_away_at_the_end() -> None:
    world = World()
    await world.start()
    reporter = Reporter(world.node.observe, cast(Any, world.store), 5_000)
    reporter.start()
    await asyncio.sleep(12)
    (status,) = await world.store.real.fetch_node_statuses()
    assert world.clock.now_ms() - status.at_ms <= 5_000
    assert world.store.names().count("put_node_status") == 3
    await reporter.close()
    assert await world.store.real.fetch_node_statuses() == []
    await asyncio.sleep(30)
    assert world.store.names().count("put_node_status") == 3
    await world.node.stop()


@on_virtual_time
async def test_a_status_that_cannot_be_written_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    app = await world.start()
    caplog.set_level(logging.WARNING)
    world.store.fail("put_node_status", *[StoreUnavailable("no")] * 3, RuntimeError("a bug"))
    reporter = Reporter(world.node.observe, cast(Any, world.store), 5_000)
    reporter.start()
    await world.put(app, "well", [SLOT_MS])
    status = await world.at(15)
    assert status.work.succeeded == 1
    assert status.is_ready
    assert [each.getMessage() for each in caplog.records if "status" in each.getMessage()] == [
        "the status of this node is not written: StoreUnavailable('no')"
    ]
    assert len(await world.store.real.fetch_node_statuses()) == 1, "the fifth was written"
    world.store.fail("drop_node_status", StoreUnavailable("no"))
    await reporter.close()
    await world.node.stop()


async def test_a_node_that_is_to_say_nothing_writes_nothing() -> None:
    world = World()
    reporter = Reporter(world.node.observe, cast(Any, world.store), 0)
    reporter.start()
    await reporter.close()
    assert world.store.calls == []


def test_quantiles_are_read_off_the_counts() -> None:
    assert quantile_ms([], 0.5) is None
    assert quantile_ms([0, 0], 0.5) is None
    one = quantile_ms([0, 10], 0.5)
    assert one is not None
    assert 1 < one < 2.5
    assert quantile_ms([100] + [0] * 30, 1.0) == 1
    assert quantile_ms([0] * 40, 0.99) is None
    assert summed([(1, 2), (1, 2, 3)]) == [2, 4, 3]
    assert summed([]) == []


def test_lags_are_counted_as_prometheus_is_told_them() -> None:
    assert tuple(bound_s * 1_000 for bound_s in FIRE_LAG.buckets) == pytest.approx(LAG_BOUNDS_MS)
