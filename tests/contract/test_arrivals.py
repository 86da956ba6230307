"""Every DueStore driver announces rows that were filed into a minute that may have been read."""

from __future__ import annotations

from tests.contract.builders import NOW_MS, make_app, make_row, make_rows

from ringtime_shared.buckets import BUCKET_MS
from ringtime_shared.clock import ManualClock
from ringtime_shared.models.app import App, Instance
from ringtime_shared.stores.arrivals import ANNOUNCE_AHEAD_MS, SLOTS_AT_ONCE
from ringtime_shared.stores.protocol import Arrival, Store

SOON_MS = NOW_MS + 1_500


async def arrivals_of(store: Store, app: App, after_ms: int = NOW_MS - 1) -> list[Arrival]:
    found = await store.fetch_arrivals(after_ms)
    return sorted(arrival for arrival in found if arrival.instance.app_id == app.app_id)


async def test_a_near_row_is_announced_when_it_is_durable(store: Store, app: App) -> None:
    await store.put_rows([make_row(app, SOON_MS, 2)])
    assert await arrivals_of(store, app) == [Arrival(NOW_MS, Instance(app.app_id, 2), (SOON_MS,))]


async def test_rows_of_one_write_are_one_arrival_an_instance_and_minute(store: Store, app: App) -> None:
    other = await store.create_app(make_app())
    next_ms = NOW_MS + BUCKET_MS
    slots_ms = [SOON_MS + 7, SOON_MS, SOON_MS, next_ms + 59_999, next_ms]
    rows = [*make_rows(app, slots_ms), *make_rows(app, [SOON_MS], 1), make_row(other, SOON_MS)]
    await store.put_rows(rows)
    assert await arrivals_of(store, app) == [
        Arrival(NOW_MS, Instance(app.app_id, 0), (SOON_MS, SOON_MS + 7)),
        Arrival(NOW_MS, Instance(app.app_id, 1), (SOON_MS,)),
    ]
    assert await arrivals_of(store, other) == [Arrival(NOW_MS, Instance(other.app_id, 0), (SOON_MS,))]


async def test_the_next_minute_is_announced_from_some_time_before_it_on(
    store: Store, app: App, clock: ManualClock
) -> None:
    next_ms = NOW_MS + BUCKET_MS
    clock.advance(BUCKET_MS - ANNOUNCE_AHEAD_MS)
    await store.put_rows([make_row(app, next_ms), make_row(app, next_ms + 59_999)])
    assert await arrivals_of(store, app) == []
    clock.advance(1)
    await store.put_rows([make_row(app, next_ms + 59_999), make_row(app, next_ms), make_row(app, SOON_MS)])
    stamp_ms = next_ms - ANNOUNCE_AHEAD_MS + 1
    assert await arrivals_of(store, app) == [
        Arrival(stamp_ms, Instance(app.app_id, 0), (SOON_MS,)),
        Arrival(stamp_ms, Instance(app.app_id, 0), (next_ms, next_ms + 59_999)),
    ]


async def test_only_what_was_stamped_after_is_returned(store: Store, app: App, clock: ManualClock) -> None:
    for n in range(40):
        await store.put_rows([make_row(app, SOON_MS + n)])
        clock.advance(700)
    for n in (0, 11, 39, 40):
        found = await arrivals_of(store, app, NOW_MS + 700 * n - 1)
        assert [arrival.slots for arrival in found] == [(SOON_MS + k,) for k in range(n, 40)]
    assert await arrivals_of(store, app, clock.now_ms() + 10_000) == [], "a clock behind the one asked from"


async def test_many_slots_of_a_minute_are_several_arrivals(store: Store, app: App) -> None:
    slots_ms = [SOON_MS + n for n in range(SLOTS_AT_ONCE + 1)]
    await store.put_rows(make_rows(app, slots_ms))
    found = await arrivals_of(store, app)
    assert sorted(slot_ms for arrival in found for slot_ms in arrival.slots) == slots_ms
    assert all(len(arrival.slots) <= SLOTS_AT_ONCE for arrival in found)


async def test_rows_filed_again_are_announced_again(store: Store, app: App, clock: ManualClock) -> None:
    row = make_row(app, SOON_MS)
    await store.put_rows([row])
    clock.advance(300)
    await store.put_rows([row])
    assert {arrival.written_ms for arrival in await arrivals_of(store, app)} == {NOW_MS, NOW_MS + 300}


async def test_no_rows_announce_nothing(store: Store, app: App) -> None:
    await store.put_rows([])
    assert await arrivals_of(store, app) == []
