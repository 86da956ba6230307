"""Parts of a minute's index, on every driver that has them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from tests.contract.builders import BUCKET, make_app, make_row

from ringtime_shared.errors import VersionConflict
from ringtime_shared.models.app import App, Instance
from ringtime_shared.parts import PartChange, PartMap, Phase, group_of
from ringtime_shared.stores.protocol import IndexEntry, Store
from ringtime_shared.stores.sqlite import SqliteStore

KEPT_MS = 10 * 86_400_000


@pytest_asyncio.fixture(loop_scope="session")
async def parts(store: Store) -> AsyncIterator[PartMap]:
    """The map as a test finds it, which it is to leave with as many parts."""
    if isinstance(store, SqliteStore):
        pytest.skip("one process on a folder has no parts")
    first = await store.fetch_parts()
    yield first
    last = await store.fetch_parts()
    if last != first:
        await store.replace_parts(PartMap(first.written, last.version + 1))


def changing(parts: PartMap, written: int, other: int, phase: Phase, cursor: str | None = None) -> PartMap:
    return PartMap(written, parts.version + 1, PartChange(other, phase, "ana", 5, cursor))


async def copy_all(store: Store, written: int) -> int:
    """Carry a copy out; return how many entries were filed."""
    copied, share, cursor = 0, 0.0, None
    while True:
        page = await store.copy_entries(written, cursor, KEPT_MS)
        assert share <= page.share <= 1
        copied, share, cursor = copied + page.copied, page.share, page.cursor
        if cursor is None:
            return copied


async def of_app(store: Store, app: App, bucket: int, groups: set[int] | None = None) -> list[Instance]:
    entries = await store.fetch_index(bucket, bucket, groups)
    assert len(set(entries)) == len(entries)
    return sorted(entry.instance for entry in entries if entry.instance.app_id == app.app_id)


async def test_a_map_is_replaced_one_version_at_a_time(store: Store, parts: PartMap) -> None:
    begun = changing(parts, parts.written, 64, Phase.READING)
    await store.replace_parts(begun)
    assert await store.fetch_parts() == begun
    await store.replace_parts(begun)  # again, as after a lost answer
    with pytest.raises(VersionConflict, match="the part map is at version"):
        await store.replace_parts(changing(parts, parts.written, 32, Phase.READING))
    copying = changing(begun, 64, parts.written, Phase.COPYING, "far")
    await store.replace_parts(copying)
    assert await store.fetch_parts() == copying


async def test_the_index_is_read_by_groups(store: Store, app: App) -> None:
    instances = [Instance(app.app_id, partition) for partition in range(3)]
    await store.put_rows([make_row(app, partition=each.partition) for each in instances])
    for each in instances:
        found = await of_app(store, app, BUCKET, {group_of(str(each))})
        assert each in found
    assert await of_app(store, app, BUCKET, {group_of(str(each)) for each in instances[:2]} or None)
    assert await of_app(store, app, BUCKET, set(map(group_of, map(str, instances)))) == instances
    assert await of_app(store, app, BUCKET) == instances


async def test_entries_are_read_at_each_step_of_a_change(store: Store, parts: PartMap) -> None:
    """By a process that holds the map as it is; what holds for older ones is in tests/property."""
    app = await store.create_app(make_app(writable=40, polled=40))
    filed: list[IndexEntry] = []

    async def file(minute: int) -> None:
        rows = [make_row(app, (BUCKET + minute) * 60_000, partition) for partition in range(40)]
        await store.put_rows(rows)
        filed.extend(IndexEntry(row.place.bucket, row.place.instance) for row in rows)

    async def check() -> None:
        found = await store.fetch_index(BUCKET, BUCKET + 9)
        assert set(filed) <= set(found)
        assert len(found) == len(set(found))
        groups = {group_of(str(Instance(app.app_id, partition))) for partition in range(5)}
        some = await store.fetch_index(BUCKET, BUCKET + 9, groups)
        assert {entry for entry in filed if entry.instance.partition < 5} <= set(some)

    old, new = parts.written, 64
    steps = [parts]
    for step in (
        changing(steps[-1], old, new, Phase.READING),
        changing(steps[-1], new, old, Phase.WRITING),
        changing(steps[-1], new, old, Phase.COPYING),
    ):
        await file(len(steps))
        await check()
        steps.append(replace(step, version=steps[-1].version + 1))
        await store.replace_parts(steps[-1])
    await file(len(steps))
    assert await copy_all(store, new) > 0
    last = replace(await store.fetch_parts(), change=None)
    await store.replace_parts(replace(last, version=last.version + 1))
    await check()
    await file(8)
    await check()


async def test_a_copy_files_what_is_not_there_and_nothing_else(store: Store, parts: PartMap) -> None:
    app = await store.create_app(make_app(writable=20, polled=20))
    await store.put_rows([make_row(app, partition=partition) for partition in range(20)])
    assert await copy_all(store, 2 * parts.written) >= 5
    assert len(await of_app(store, app, BUCKET)) == 20
