"""The search for rows without an outcome under `settled`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.contract.builders import START_MS, make_app, make_row
from tests.unit.ringctl.rig import make_rig

from ringtime_ringctl.doctor import passed_over
from ringtime_ringctl.doctor.passed_over import find_passed_over
from ringtime_ringctl.resize.runner import Resizer
from ringtime_shared.clock import ManualClock
from ringtime_shared.errors import ClockInDoubt
from ringtime_shared.models.app import App
from ringtime_shared.models.schedule import Outcome, Row, RowUpdate, Status
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import Marks

HOUR_MS = 3_600_000


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(ManualClock(START_MS).now_ms)


@pytest.fixture
async def app(store: MemoryStore) -> App:
    return await store.create_app(make_app(writable=2, polled=2))


async def find(store: MemoryStore, app: App, *, settled_ms: int = START_MS + HOUR_MS) -> list[int]:
    """Return the slots of what is found, after `START_MS`."""
    marks = {each: Marks(settled_ms, settled_ms) for each in app.instances()}
    found = await find_passed_over(store, marks, from_ms=START_MS)
    return sorted(row.place.slot_ms - START_MS for row in found.rows)


def update(row: Row, **changes: Any) -> RowUpdate:
    return RowUpdate(place=row.place, schedule_id=row.schedule.schedule_id, **changes)


async def put(store: MemoryStore, *rows: Row) -> None:
    await store.put_rows(rows)


async def test_what_lies_under_settled_in_the_window_is_found(store: MemoryStore, app: App) -> None:
    slots = (-1, 0, 60_000, HOUR_MS, HOUR_MS + 1)
    await put(store, *(make_row(app, START_MS + slot, n % 2) for n, slot in enumerate(slots)))
    assert await find(store, app) == [0, 60_000, HOUR_MS]
    assert await find(store, app, settled_ms=START_MS - 5) == []


async def test_what_is_done_is_not(store: MemoryStore, app: App) -> None:
    rows = [make_row(app, START_MS + n) for n in range(3)]
    await put(store, *rows)
    outcome = Outcome(status=Status.SUCCESS, ended_ms=START_MS)
    await store.put_updates([update(rows[0], outcome=outcome)])
    await store.put_cancel(rows[1].place, rows[1].schedule.schedule_id, START_MS)
    assert await find(store, app) == [2]


async def test_of_a_schedule_that_was_filed_again_the_filing_that_counts(
    store: MemoryStore, app: App
) -> None:
    home = make_row(app, START_MS)
    overtaken, last = (
        replace(home, place=home.place._replace(slot_ms=START_MS + later_ms)) for later_ms in (1_000, 2_000)
    )
    await put(store, home, overtaken, last)
    await store.put_updates([update(home, moved_to=last.place)])
    assert await find(store, app) == [2_000]
    await store.put_cancel(home.place, home.schedule.schedule_id, START_MS)
    assert await find(store, app) == []


async def test_the_search_is_bounded(store: MemoryStore, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(store, *(make_row(app, START_MS + 60_000 * n) for n in range(5)))
    marks = {each: Marks(START_MS + HOUR_MS, START_MS + HOUR_MS) for each in app.instances()}
    for name in ("MOST_ENTRIES", "MOST_ROWS"):
        with monkeypatch.context() as patch:
            patch.setattr(passed_over, name, 3)
            found = await find_passed_over(store, marks, from_ms=START_MS)
        assert found.is_partial
        assert len(found.rows) == 3
        assert max(row.place.slot_ms for row in found.rows) == START_MS + 240_000, "the latest first"


async def test_a_resize_is_refused_while_the_clock_is_in_doubt() -> None:
    """It writes marks that are counted from now: an hour ahead, they would hide what is created next."""
    rig = make_rig()
    await rig.store.create_app(make_app(app_id="pay", writable=2, polled=2))
    rig.clock.in_doubt = "it is +3,600.0 s off"
    with pytest.raises(ClockInDoubt):
        await Resizer(rig.deployment, "pay").begin(4)
    app = await rig.store.fetch_app("pay")
    assert app is not None
    assert app.resize is None
