"""Apps that have more ahead in a minute than their quota carries."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from tests.contract.builders import BUCKET, make_app, make_rows
from tests.harness.measured import counted
from tests.unit.spy_store import SpyStore

from ringtime_dispatcher.forecasting import Forecaster
from ringtime_shared.buckets import first_slot
from ringtime_shared.errors import StoreUnavailable
from ringtime_shared.metrics import Metrics
from ringtime_shared.metrics.names import FORECAST_OVER_QUOTA
from ringtime_shared.models.app import App
from ringtime_shared.schedules.forecast import PER_PARTITION, Minute
from ringtime_shared.stores.protocol import IndexEntry

FAR = BUCKET + 23 * 60


class Hand:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.bucket = BUCKET
        self.late_ms = 0  #: what has passed on the boot clock

    def now_ms(self) -> int:
        return first_slot(self.bucket)

    def boot_ms(self) -> int:
        return self.now_ms() + self.late_ms

    def doubt(self) -> None:
        return None

    def steps(self) -> int:
        return 0


class World:
    """A store, its apps as a node has read them, and the forecaster of that node."""

    def __init__(self) -> None:
        self.clock = Hand()
        self.store = SpyStore(self.clock.now_ms)
        self.apps: dict[str, App] = {}
        self.is_mine = True
        store = cast(Any, self.store)
        self.forecaster = Forecaster(store, self.clock, self.apps, lambda: self.is_mine)

    async def add(self, app_id: str, *, quota: int = 1, active: bool = True) -> App:
        app = make_app(app_id=app_id, writable=quota, polled=quota, active=active)
        self.apps[app_id] = await self.store.create_app(app)
        return self.apps[app_id]

    async def file(self, app: App, bucket: int, counts: Sequence[int]) -> None:
        """File so many rows of a minute in each partition."""
        for partition, count in enumerate(counts):
            slots = [first_slot(bucket) + n for n in range(count)]
            await self.store.put_rows(make_rows(app, slots, partition))

    async def over(self) -> dict[str, Minute]:
        await self.forecaster.round()
        return dict(self.forecaster.over())


@pytest.fixture
def world() -> World:
    return World()


async def test_a_minute_over_the_quota_is_found_a_day_ahead(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    pay, mail = await world.add("pay", quota=2), await world.add("mail")
    await world.file(pay, FAR, [1_000, 1_001])
    await world.file(mail, FAR, [1_000])
    assert await world.over() == {"pay": Minute(FAR, 2_001)}
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "app pay has 2001 or more due" in caplog.text
    await world.over()
    assert len(caplog.records) == 1, "it is said once"


async def test_it_is_measured(world: World) -> None:
    metrics = Metrics()
    world.forecaster.register(metrics)
    assert counted(metrics, FORECAST_OVER_QUOTA) == 0
    await world.file(await world.add("pay"), FAR, [1_001])
    await world.over()
    assert counted(metrics, FORECAST_OVER_QUOTA) == 1


async def test_what_lies_beyond_a_day_or_in_one_of_two_partitions_is_not_it(world: World) -> None:
    await world.file(await world.add("pay"), BUCKET + 24 * 60 + 1, [1_001])
    await world.file(await world.add("mail", quota=2), FAR, [1_900])
    assert await world.over() == {}


async def test_it_is_over_when_it_is_mended_or_past(world: World) -> None:
    pay, mail, sla = [await world.add(app_id) for app_id in ("pay", "mail", "sla")]
    await world.file(pay, FAR, [1_001])
    await world.file(mail, BUCKET + 1, [1_001])
    await world.file(sla, FAR, [1_001])
    assert (await world.over()).keys() == {"pay", "mail", "sla"}
    world.clock.bucket = BUCKET + 2
    assert world.forecaster.over().keys() == {"pay", "sla"}, "at once"
    world.apps["pay"] = replace(pay, writable=2, polled=2)
    world.apps["sla"] = replace(sla, active=False)
    assert await world.over() == {}


async def test_an_app_that_is_deleted_during_a_round_is_passed_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    pay, gone, sla = [await world.add(app_id) for app_id in ("pay", "quit", "sla")]
    await world.file(pay, FAR, [1])
    await world.file(gone, FAR, [1_001])
    await world.file(sla, FAR, [1_001])
    fetch = world.store.real.fetch_first_buckets

    async def deleting(*args: Any) -> dict[str, list[IndexEntry]]:
        world.apps.pop("quit", None)
        return await fetch(*args)

    monkeypatch.setattr(world.store.real, "fetch_first_buckets", deleting)
    assert (await world.over()).keys() == {"sla"}


async def test_only_one_node_looks(world: World) -> None:
    await world.file(await world.add("pay"), FAR, [1_001])
    assert await world.over()
    world.is_mine = False
    assert await world.over() == {}
    world.store.calls.clear()
    await world.forecaster.round()
    assert not world.store.calls


async def test_a_round_costs_a_bounded_number_of_rows_and_the_next_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringtime_dispatcher.forecasting._ROUND", 1_500)
    monkeypatch.setattr("ringtime_dispatcher.forecasting._FEW", 1)  # as if each had much
    counted: list[int] = []
    count_live = world.store.real.count_live

    async def counting(entries: Sequence[IndexEntry], most: int) -> list[int]:
        counts = await count_live(entries, most)
        counted.append(sum(counts))
        return counts

    monkeypatch.setattr(world.store.real, "count_live", counting)
    apps = [await world.add(f"app-{n}") for n in range(4)]
    for app in apps:
        for hour in range(3):
            await world.file(app, BUCKET + 60 * hour, [400])
    await world.file(apps[3], FAR, [1_001])
    rounds = 0
    while not world.forecaster.over():
        counted.clear()
        await world.forecaster.round()
        rounds += 1
        assert 0 < sum(counted) <= 1_500 + PER_PARTITION * 2
        assert rounds < 10
    assert rounds > 1
    assert world.forecaster.over().keys() == {"app-3"}


async def test_apps_that_have_little_are_looked_at_together(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(1_200):
        await world.add(f"app-{n:04}")
    for n in range(19):
        await world.file(world.apps["app-0700"], FAR - n, [1_001 if n == 0 else 1])
    for n in range(20):
        await world.file(world.apps["app-0800"], FAR - n, [1_001 if n == 0 else 1])
    assert (await world.over()).keys() == {"app-0700", "app-0800"}
    assert world.store.sizes("fetch_first_buckets") == [500, 500, 200]
    assert {app_id for name, app_id in world.store.calls if name == "fetch_app_buckets"} == {"app-0800"}
    world.clock.bucket = FAR + 1  # nothing is ahead
    monkeypatch.setattr("ringtime_dispatcher.forecasting._ROUND", 700)
    for first in ("app-0000", "app-0999", "app-0798"):  # it goes on where it ended, and all round
        world.store.calls.clear()
        await world.forecaster.round()
        assert world.store.sizes("fetch_first_buckets") == [500, 500]
        assert world.store.calls[0][1][0] == first


async def test_what_was_over_is_not_when_its_rows_are_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.file(await world.add("pay"), FAR, [1_001])
    assert await world.over()

    async def none(*_: object) -> dict[str, list[IndexEntry]]:
        return {}

    monkeypatch.setattr(world.store.real, "fetch_first_buckets", none)
    assert await world.over() == {}


async def test_a_large_app_is_looked_at_over_several_rounds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringtime_dispatcher.forecasting._ROUND", 600)
    app = await world.add("pay", quota=5)
    for hour in range(22):
        await world.file(app, BUCKET + 60 * hour, [100] * 5)
    await world.file(app, FAR, [1_001] * 5)
    for _ in range(8):
        await world.forecaster.round()
    assert world.forecaster.over()["pay"].bucket == FAR


async def test_a_store_that_is_away_is_tried_again(world: World) -> None:
    await world.file(await world.add("pay"), FAR, [1_001])
    world.store.fail("fetch_first_buckets", StoreUnavailable("away"))
    with pytest.raises(StoreUnavailable):
        await world.over()
    assert await world.over()


async def test_a_round_has_a_fifth_of_the_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    apps, rests = [await world.add(f"app-{n}") for n in range(3)], list[float]()
    for app in apps:
        await world.file(app, FAR, [1])
    count = world.store.real.count_live

    async def slow(*asked: Any) -> list[int]:
        world.clock.late_ms += 20
        return await count(*asked)

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    monkeypatch.setattr(world.store.real, "count_live", slow)
    monkeypatch.setattr("ringtime_dispatcher.forecasting.asyncio.sleep", rest)
    await world.forecaster.round()
    assert len(rests) == 1 + len(apps)
    assert sum(rests) == pytest.approx(4 * world.clock.late_ms / 1_000)
    assert world.clock.late_ms > 0
