"""How much is due in the fullest of the next minutes, as one node tells it."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.contract.builders import BUCKET, make_app, make_rows
from tests.harness.measured import counted
from tests.unit.spy_store import SpyStore

from ringtime_dispatcher.bursts import BurstWatch
from ringtime_shared.buckets import first_slot
from ringtime_shared.clock import ManualClock
from ringtime_shared.errors import StoreUnavailable
from ringtime_shared.metrics import Metrics
from ringtime_shared.metrics.names import FORECAST_DUE


class World:
    """A store with two apps, and the watch of one node."""

    def __init__(self) -> None:
        self.clock = ManualClock(now_ms=first_slot(BUCKET))
        self.store = SpyStore(self.clock.now_ms)
        self.metrics = Metrics()
        self.is_mine = True
        self.watch = BurstWatch(cast(Any, self.store), self.clock, lambda: self.is_mine)
        self.watch.register(self.metrics)

    async def file(self, counts: dict[int, int]) -> None:
        """File so many rows of each of two apps so many minutes from now."""
        for app_id in ("pay", "mail"):
            app = await self.store.create_app(make_app(app_id=app_id))
            for minute, count in counts.items():
                slots = [first_slot(BUCKET + minute) + n for n in range(count)]
                await self.store.put_rows(make_rows(app, slots, minute % 2))

    def peaks(self) -> dict[str, float]:
        return {each: counted(self.metrics, FORECAST_DUE, minutes=each) for each in ("5", "10", "15")}

    def told(self) -> set[str]:
        """Return the horizons that there are series of."""
        samples = [each for family in self.metrics.families() for each in family.samples]
        return {each.labels["minutes"] for each in samples if each.name == FORECAST_DUE.name}


@pytest.fixture
def world() -> World:
    return World()


async def test_the_fullest_minute_of_all_apps_together_is_told(world: World) -> None:
    await world.file({0: 3, 4: 10, 5: 20, 14: 30, 15: 40})
    await world.watch.round()
    assert world.peaks() == {"5": 20, "10": 40, "15": 60}


async def test_minutes_that_are_over_count_no_more(world: World) -> None:
    await world.file({0: 30, 3: 10, 12: 5})
    await world.watch.round()
    assert world.peaks() == {"5": 60, "10": 60, "15": 60}
    world.clock.advance(60_000)
    assert world.peaks() == {"5": 20, "10": 20, "15": 20}
    world.clock.advance(4 * 60_000)
    assert world.peaks() == {"5": 0, "10": 10, "15": 10}


async def test_no_minute_is_told_that_was_not_counted(world: World) -> None:
    """A look that takes long is followed by a long rest."""
    await world.file({19: 5})
    await world.watch.round()
    world.clock.advance(5 * 60_000)
    assert world.peaks() == {"5": 0, "10": 0, "15": 10}
    world.clock.advance(60_000)
    assert world.told() == {"5", "10"}
    world.clock.advance(9 * 60_000)
    assert world.told() == {"5"}
    world.clock.advance(60_000)
    assert world.told() == set()
    world.clock.step_wall(-17 * 60_000)  # it is set back
    assert world.told() == set()


async def test_one_node_tells_and_the_others_have_no_series(world: World) -> None:
    await world.file({1: 1})
    await world.watch.round()
    world.is_mine = False
    world.store.calls.clear()
    await world.watch.round()
    assert not world.store.calls
    assert world.told() == set()


async def test_a_store_that_is_away_leaves_what_was_told(world: World) -> None:
    await world.file({1: 1})
    await world.watch.round()
    world.store.fail("fetch_index", StoreUnavailable("away"))
    with pytest.raises(StoreUnavailable):
        await world.watch.round()
    assert world.peaks() == {"5": 2, "10": 2, "15": 2}


async def test_a_look_that_takes_long_is_made_less_often(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    fetch = world.store.real.fetch_index

    async def slow(*args: Any) -> Any:
        nonlocal looks
        looks += 1
        world.clock.advance(1_000)
        return await fetch(*args)

    monkeypatch.setattr(world.store.real, "fetch_index", slow)
    await world.watch.round()
    first, begun_ms = looks, world.clock.boot_ms()
    while looks == first:
        world.clock.advance(1_000)
        await world.watch.round()
    assert world.clock.boot_ms() - begun_ms >= 19 * first * 1_000
