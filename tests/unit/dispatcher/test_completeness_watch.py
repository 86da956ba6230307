"""The completeness mark as one node measures and tells it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from tests.contract.builders import NOW_MS, make_app, make_row
from tests.harness.measured import counted

from ringtime_dispatcher.completeness import CompletenessWatch
from ringtime_shared.clock import ManualClock
from ringtime_shared.errors import StoreUnavailable
from ringtime_shared.metrics import Metrics
from ringtime_shared.metrics.names import COMPLETENESS_AGE
from ringtime_shared.models.app import App, Instance
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import Marks, MarksWrite

MINUTE_MS = 60_000


class Topic:
    """Keeps what was sent, or refuses."""

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []
        self.is_away = False

    async def send(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        if self.is_away:
            raise StoreUnavailable("away")
        self.records += [(key.decode(), orjson.loads(value)) for key, value in records]

    def take(self) -> list[tuple[str, str]]:
        """Return keys, and what each waits for, of what was sent since."""
        taken, self.records = self.records, []
        return [(key, value["waits"]) for key, value in taken]

    async def close(self) -> None:
        return


class World:
    def __init__(self) -> None:
        self.clock = ManualClock(NOW_MS)
        self.store = MemoryStore(self.clock.now_ms)
        self.apps: dict[str, App] = {}
        self.topic = Topic()
        self.is_mine = True
        self.watch = CompletenessWatch(self.store, self.clock, self.apps, lambda: self.is_mine, self.topic)

    async def add(self, app_id: str) -> App:
        self.apps[app_id] = await self.store.create_app(
            make_app(app_id=app_id, created_ms=NOW_MS - 86_400_000)
        )
        return self.apps[app_id]

    async def round(self, later_ms: int = MINUTE_MS) -> None:
        self.clock.advance(later_ms)
        await self.watch.round()

    async def settle(self, app: App) -> None:
        marks = Marks(self.clock.now_ms(), self.clock.now_ms())
        instances = [Instance(app.app_id, partition) for partition in range(app.polled)]
        await self.store.put_marks([MarksWrite(each, 1 << 48, marks) for each in instances])


@pytest.fixture
def world() -> World:
    return World()


async def test_its_age_is_measured_by_the_node_that_looks(world: World) -> None:
    metrics = Metrics()
    world.watch.register(metrics)
    assert samples(metrics) == []
    await world.round()
    assert 90 <= counted(metrics, COMPLETENESS_AGE) <= 150
    app = await world.add("pay")
    await world.store.put_rows([make_row(app, world.clock.now_ms() + 1_000)])
    await world.round(3_600_000)
    assert 3_500 <= counted(metrics, COMPLETENESS_AGE) <= 3_660
    world.is_mine = False
    await world.round()
    assert samples(metrics) == []


def samples(metrics: Metrics) -> list[Any]:
    return [
        each for family in metrics.families() for each in family.samples if each.name == COMPLETENESS_AGE.name
    ]


async def test_a_mark_that_moved_is_told_once_and_of_apps_with_something_due(world: World) -> None:
    pay, _ = await world.add("pay"), await world.add("idle")
    await world.round()
    assert world.topic.take() == [("*", "NOTHING")]
    await world.round(1_000)
    assert world.topic.take() == []  # it has not moved
    await world.store.put_rows([make_row(pay, world.clock.now_ms() + 1_000)])
    await world.round(10 * MINUTE_MS)
    assert world.topic.take() == [("*", "NOT_SETTLED"), ("pay", "NOT_SETTLED")]
    await world.round()
    assert world.topic.take() == []
    await world.settle(pay)
    await world.round()
    assert ("*", "NOTHING") in world.topic.take()
    await world.round()
    assert [key for key, _ in world.topic.take()] == ["*"]


async def test_what_the_topic_did_not_take_is_told_again(world: World) -> None:
    pay = await world.add("pay")
    await world.store.put_rows([make_row(pay, world.clock.now_ms() + 1_000)])
    world.topic.is_away = True
    with pytest.raises(StoreUnavailable):
        await world.round(10 * MINUTE_MS)
    world.topic.is_away = False
    await world.round(1_000)
    assert world.topic.take() == [("*", "NOT_SETTLED"), ("pay", "NOT_SETTLED")]


async def test_few_apps_are_told_of_in_a_round_and_the_others_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringtime_dispatcher.completeness.MOST_TOLD", 2)
    apps = [await world.add(f"app{n}") for n in range(5)]
    for app in apps:
        await world.store.put_rows([make_row(app, world.clock.now_ms() + 1_000)])
    told = []
    await world.round(10 * MINUTE_MS)
    for _ in range(3):
        told += [key for key, _ in world.topic.take() if key != "*"]
        await world.round(1_000)
    assert sorted(told) == [app.app_id for app in apps]
