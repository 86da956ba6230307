"""Changing an app, on every driver: nobody's change is lost, and who changes it knows what became of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest
from tests.contract.builders import make_app

from ringtime_shared.apps.changes import Decision, change_app
from ringtime_shared.errors import NotFound, OutcomeUnknown, StoreUnavailable, VersionConflict
from ringtime_shared.models.app import App
from ringtime_shared.stores.protocol import AppStore, Store


def more(count: int) -> Decision:
    """Decide on so many more callbacks in flight. Those of two who want the very same are one change."""

    async def decide(app: App) -> App:
        most = (app.configuration.max_in_flight or 0) + count
        configuration = replace(app.configuration, max_in_flight=most)
        return replace(app, configuration=configuration, version=app.version + 1)

    return decide


class Unreliable:
    """An app store whose writes end by an error; `is_written`: although they were carried out."""

    def __init__(self, store: AppStore, error: Exception, *, is_written: bool) -> None:
        self._store = store
        self._error = error
        self._is_written = is_written
        self.writes = 0

    async def fetch_app(self, app_id: str) -> App | None:
        return await self._store.fetch_app(app_id)

    async def replace_app(self, app: App) -> None:
        self.writes += 1
        if self._is_written:
            await self._store.replace_app(app)
        raise self._error


async def test_changes_made_at_once_are_all_kept(store: Store) -> None:
    app = await store.create_app(make_app())
    changed = await asyncio.gather(*(change_app(store, app.app_id, more(1 << n)) for n in range(6)))
    assert sorted(each.version for each in changed) == [app.version + n for n in range(1, 7)]
    stored = await store.fetch_app(app.app_id)
    assert stored is not None
    assert stored.configuration.max_in_flight == 0b111111


async def test_nothing_to_change_is_no_write(store: Store) -> None:
    app = await store.create_app(make_app())

    async def as_it_is(app: App) -> App:
        return app

    failing = Unreliable(store, StoreUnavailable("no"), is_written=False)
    assert await change_app(cast(Any, failing), app.app_id, as_it_is) == app
    assert failing.writes == 0


async def test_an_app_that_others_change_all_the_time_is_a_conflict_in_the_end(store: Store) -> None:
    app = await store.create_app(make_app())
    asked: list[int] = []

    async def too_late(app: App) -> App:
        asked.append(app.version)
        await store.replace_app(await more(100)(app))
        return await more(1)(app)

    with pytest.raises(VersionConflict, match="changed by others"):
        await change_app(store, app.app_id, too_late)
    assert asked == [app.version + n for n in range(10)]


async def test_an_app_that_is_not_there(store: Store) -> None:
    with pytest.raises(NotFound):
        await change_app(store, "nobody", more(1))


async def test_what_the_decision_raises_comes_out_and_nothing_is_written(store: Store) -> None:
    app = await store.create_app(make_app())

    async def refuse(app: App) -> App:
        raise VersionConflict("seen to be another")

    with pytest.raises(VersionConflict, match="seen to be another"):
        await change_app(store, app.app_id, refuse)
    assert await store.fetch_app(app.app_id) == app


@pytest.mark.parametrize("is_written", [True, False])
async def test_an_outcome_that_the_driver_does_not_know_is_told_and_asking_again_is_one_change(
    store: Store, is_written: bool
) -> None:
    app = await store.create_app(make_app())
    wanted = await more(1)(app)
    silent = Unreliable(store, OutcomeUnknown("silence"), is_written=is_written)
    with pytest.raises(OutcomeUnknown, match="silence"):
        await change_app(cast(Any, silent), app.app_id, more(1))
    assert silent.writes == 1
    assert await store.fetch_app(app.app_id) == (wanted if is_written else app)
    await store.replace_app(wanted)
    assert await store.fetch_app(app.app_id) == wanted
