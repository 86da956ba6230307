"""`ringctl schedules list` reads minute by minute, a page at a time."""

from __future__ import annotations

from random import Random

import pytest
from tests.contract.builders import START_MS, make_app, make_move, make_rows, make_update
from tests.unit.ringctl.rig import make_rig

from ringtime_ringctl.schedules import command
from ringtime_ringctl.schedules.command import fetch_all, fetch_live
from ringtime_shared.models.schedule import Row, Status
from ringtime_shared.stores.memory import MemoryStore

HOUR_MS = 3_600_000


async def filled(rng: Random) -> tuple[MemoryStore, str, list[Row]]:
    rig = make_rig()
    app = await rig.store.create_app(make_app())
    rows = [
        row
        for partition in range(3)
        for row in make_rows(app, [START_MS + rng.randrange(8 * HOUR_MS) for _ in range(40)], partition)
    ]
    await rig.store.put_rows(rows)
    for row in rows[::10]:
        await rig.store.put_cancel(row.place, row.schedule.schedule_id, 1)
    live = [row for number, row in enumerate(rows) if number % 10]
    return rig.store, app.app_id, sorted(live, key=lambda row: (row.place.slot_ms, row.schedule.schedule_id))


@pytest.mark.parametrize("seed", range(5))
async def test_the_first_live_rows_of_the_window(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "PAGE", 2)
    rng = Random(seed)
    store, app_id, rows = await filled(rng)
    for _ in range(20):
        first_ms, last_ms = sorted(START_MS + rng.randrange(-HOUR_MS, 9 * HOUR_MS) for _ in range(2))
        limit = rng.randint(1, 60)
        expected = [row for row in rows if first_ms <= row.place.slot_ms <= last_ms]
        found = await fetch_live(store, app_id, first_ms, last_ms, limit)
        assert [row.schedule.schedule_id for row in found] == [
            row.schedule.schedule_id for row in expected[:limit]
        ]


async def test_both_ends_are_included() -> None:
    store, app_id, rows = await filled(Random(1))
    slot_ms = rows[3].place.slot_ms
    assert [row.place for row in await fetch_live(store, app_id, slot_ms, slot_ms, 9)] == [rows[3].place]


async def test_an_app_without_rows() -> None:
    rig = make_rig()
    app = await rig.store.create_app(make_app())
    assert await fetch_live(rig.store, app.app_id, START_MS, START_MS + HOUR_MS, 5) == []


async def test_all_are_listed_with_those_that_have_ended_and_each_once() -> None:
    rng = Random(2)
    store, app_id, live = await filled(rng)
    again = make_move(live[0], live[0].place.slot_ms + HOUR_MS)
    await store.put_rows([again])
    await store.put_updates([make_update(live[0], moved_to=again.place)])
    found = await fetch_all(store, app_id, START_MS, START_MS + 9 * HOUR_MS, 1_000)
    keys = [(row.place.slot_ms, row.schedule.schedule_id) for row in found]
    assert (len(keys), keys) == (120, sorted(set(keys)))
    assert sum(row.status is Status.DELETED for row in found) == 12
