"""Every AppFeedStore driver passes this file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from tests.contract.builders import NOW_MS, make_app

from ringtime_shared.clock import ManualClock
from ringtime_shared.errors import AppExists, VersionConflict
from ringtime_shared.models.app import App
from ringtime_shared.stores.protocol import Store

Change = Callable[[Store, App], Awaitable[object]]


async def create(store: Store, app: App) -> None:
    await store.create_app(make_app())


async def put_the_next_version(store: Store, app: App) -> None:
    await store.replace_app(replace(app, version=2, active=False))


async def put_it_again(store: Store, app: App) -> None:
    """Whoever repeats a change was not told that it was made: perhaps nobody else knows."""
    await store.replace_app(app)


async def delete(store: Store, app: App) -> None:
    await store.delete_app(app)


async def announce(store: Store, app: App) -> None:
    await store.announce_app(app.app_id)


@pytest.mark.parametrize("change", [create, put_the_next_version, put_it_again, delete, announce])
async def test_a_change_is_counted_when_it_has_returned(store: Store, app: App, change: Change) -> None:
    count = await store.count_app_changes()
    await change(store, app)
    assert await store.count_app_changes() > count


async def test_what_changes_nothing_leaves_the_count(store: Store, app: App) -> None:
    count = await store.count_app_changes()
    with pytest.raises(AppExists):
        await store.create_app(make_app(app_id=app.app_id))
    with pytest.raises(VersionConflict):
        await store.replace_app(replace(app, version=7))
    await store.fetch_apps()
    assert await store.count_app_changes() == count


async def test_changes_are_named_with_their_time(store: Store, app: App, clock: ManualClock) -> None:
    clock.advance(90_000)
    await store.replace_app(replace(app, version=2, active=False))
    clock.advance(70_000)
    other = await store.create_app(make_app())
    await store.delete_app(other)

    async def named(after_ms: int) -> set[tuple[int, str]]:
        ours = (app.app_id, other.app_id)
        changes = await store.fetch_app_changes(after_ms)
        return {(change.changed_ms - NOW_MS, change.app_id) for change in changes if change.app_id in ours}

    first, second, third = (0, app.app_id), (90_000, app.app_id), (160_000, other.app_id)
    assert await named(NOW_MS - 1) == {first, second, third}
    assert await named(NOW_MS) == {second, third}
    assert await named(NOW_MS + 90_000) == {third}
    assert await named(NOW_MS + 160_000) == set()


async def test_changes_at_once_are_all_counted_and_named(store: Store) -> None:
    count = await store.count_app_changes()
    apps = await asyncio.gather(*(store.create_app(make_app()) for _ in range(20)))
    assert await store.count_app_changes() > count
    assert len({app.number for app in apps}) == 20
    named = {change.app_id for change in await store.fetch_app_changes(NOW_MS - 1)}
    assert {app.app_id for app in apps} <= named


async def test_the_count_rises_by_what_the_named_changes_weigh(store: Store, clock: ManualClock) -> None:
    count, known = await store.count_app_changes(), set(await store.fetch_app_changes(NOW_MS - 1))
    for _ in range(2):
        await asyncio.gather(*(store.create_app(make_app()) for _ in range(5)))
        clock.advance(1)
    named = set(await store.fetch_app_changes(NOW_MS - 1)) - known
    assert len(named) == 10
    assert await store.count_app_changes() == count + sum(change.weight for change in named)


async def test_some_apps_are_read_by_name(store: Store, app: App) -> None:
    other, _ = await store.create_app(make_app()), await store.create_app(make_app())
    found = await store.fetch_some_apps([app.app_id, other.app_id, "nobody", app.app_id])
    assert sorted(found, key=lambda each: each.number) == [app, other]
    assert await store.fetch_some_apps([]) == []
