"""The start of an ownership term."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from tests.contract.builders import BUCKET, START_MS, make_app, make_row
from tests.harness.virtual import LoopClock, on_virtual_time
from tests.unit.dispatcher.rig import instances_of, make_node, make_owned
from tests.unit.spy_store import SpyStore

from ringtime_dispatcher.ownership.recovery import TermsWentBack, marks_to_begin_at, take_over, walk
from ringtime_shared.buckets import first_slot, last_slot
from ringtime_shared.clock import ManualClock
from ringtime_shared.coordination.memory import Hub
from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.ids import EPOCH_2020_MS
from ringtime_shared.models.app import Instance
from ringtime_shared.stores.protocol import Marks, MarksWrite

APP = make_app(polled=4, writable=4)
MINE, OTHER = Instance(APP.app_id, 0), Instance(APP.app_id, 1)
FIRST = Marks(11, 11)


def as_found(_: Instance, found: Marks | None) -> Marks:
    return FIRST if found is None else found


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START_MS + 30_000)


@pytest.fixture
def store(clock: ManualClock) -> Any:
    return cast(Any, SpyStore(clock.now_ms))


async def test_marks_are_written_back_under_the_new_term_before_use(store: Any) -> None:
    await store.real.put_marks([MarksWrite(MINE, 5, Marks(100, 90))])
    owned, new = await take_over(store, {MINE: 6, OTHER: 7}, as_found)
    assert store.names() == ["fetch_marks", "fetch_terms", "put_marks"]
    assert (owned.instance, owned.term) == (MINE, 6)
    assert (owned.sealed_ms, owned.settled_ms, owned.checked_ms) == (100, 90, 90)
    assert (new.term, new.sealed_ms, new.settled_ms) == (7, 11, 11), "an instance that has no marks yet"
    await store.real.put_marks([MarksWrite(MINE, 5, Marks(1_000, 1_000))])
    assert (await store.real.fetch_marks([MINE]))[MINE] == Marks(100, 90), "the old owner writes in vain"


@pytest.mark.parametrize("name", ["fetch_marks", "put_marks"])
@pytest.mark.parametrize("error", [StoreUnavailable("no"), OutcomeUnknown("silence")])
async def test_no_term_begins_without_the_write(store: Any, name: str, error: Exception) -> None:
    store.fail(name, error)
    with pytest.raises(type(error)):
        await take_over(store, {MINE: 6}, as_found)


async def test_no_term_begins_that_is_below_one_that_the_store_knows(store: Any) -> None:
    """What it would write would lose, and nobody would know."""
    await store.real.put_marks([MarksWrite(MINE, 9, Marks(100, 90))])
    with pytest.raises(TermsWentBack, match=f"1 poller instances, {MINE}"):
        await take_over(store, {MINE: 8, OTHER: 10}, as_found)
    assert "put_marks" not in store.names()


@on_virtual_time
async def test_a_node_whose_etcd_went_back_joins_anew_in_a_new_era() -> None:
    clock = LoopClock()
    store, hub = SpyStore(clock.now_ms), Hub(era=4)
    app = await store.real.create_app(make_app(created_ms=clock.now_ms()))
    instance = Instance(app.app_id, 1)
    before = Marks(clock.now_ms() - 5_000, clock.now_ms() - 9_000)
    await store.real.put_marks([MarksWrite(instance, 4 << 48 | 70, before)])
    node = make_node(store, clock, hub)
    await node.start()
    await asyncio.sleep(200)
    assert set(node.owned) == {Instance(app.app_id, number) for number in range(app.polled)}
    assert {each.term >> 48 for each in node.owned.values()} == {5}
    assert (await store.real.fetch_marks([instance]))[instance].sealed_ms > before.sealed_ms
    await node.kill()


HOUR_MS = 3_600_000
OLDEST_MS = EPOCH_2020_MS


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Marks(-2_000, -9_000), Marks(-2_000, -9_000)),
        (Marks(10_000, -9_000), Marks(10_000, -9_000)),  # two clocks that are relied on may differ so much
        (Marks(10_001, 10_001), Marks(-HOUR_MS, -HOUR_MS)),
        (Marks(9 * HOUR_MS, -9_000), Marks(-HOUR_MS, -HOUR_MS)),
        (Marks(9 * HOUR_MS, -2 * HOUR_MS), Marks(-HOUR_MS, -2 * HOUR_MS)),
    ],
    ids=["behind", "ahead within the bound", "ahead", "only sealed ahead", "settled further back"],
)
def test_a_term_lowers_marks_that_lie_in_the_future(found: Marks, expected: Marks) -> None:
    begun = marks_to_begin_at(
        Marks(*(START_MS + ms for ms in found)),
        now_ms=START_MS,
        most_ahead_ms=10_000,
        look_back_ms=HOUR_MS,
    )
    assert begun == Marks(*(START_MS + ms for ms in expected))


def test_no_term_begins_before_the_first_slot_there_can_be() -> None:
    """Marks of an app that was registered while the clock said 1970: 29 million minutes to walk."""
    begun = marks_to_begin_at(Marks(5, 5), now_ms=START_MS, most_ahead_ms=10_000, look_back_ms=HOUR_MS)
    assert begun == Marks(OLDEST_MS, OLDEST_MS)


async def test_lowered_marks_are_in_the_store_before_use_and_the_old_owner_writes_in_vain(store: Any) -> None:
    await store.real.put_marks([MarksWrite(MINE, 5, Marks(START_MS + HOUR_MS, START_MS + HOUR_MS))])
    lowered = Marks(START_MS - HOUR_MS, START_MS - HOUR_MS)
    (owned,) = await take_over(store, {MINE: 6}, lambda _, __: lowered)
    assert (owned.sealed_ms, owned.settled_ms, owned.checked_ms) == (lowered[0],) * 3
    await store.real.put_marks([MarksWrite(MINE, 5, Marks(START_MS + HOUR_MS, START_MS + HOUR_MS))])
    assert (await store.real.fetch_marks([MINE]))[MINE] == lowered


async def test_a_walk_opens_every_minute_with_rows_from_settled_to_now(
    store: Any, clock: ManualClock
) -> None:
    buckets = [BUCKET - 130, BUCKET - 129, BUCKET - 61, BUCKET - 60, BUCKET - 1, BUCKET, BUCKET + 1]
    await store.real.put_rows([make_row(APP, first_slot(bucket)) for bucket in buckets])
    owned = make_owned(APP, settled_ms=last_slot(BUCKET - 130))
    owned.is_walked = False
    await walk(store, clock, instances_of(owned), [owned], walk_buckets=60)
    assert owned.buckets() == buckets[1:-1], "what is settled and what is to come is left out"
    assert owned.is_walked
    assert store.names() == ["fetch_index"] * 3, "129 minutes and this one, 60 at a time"


async def test_one_walk_serves_all_and_begins_at_the_oldest(store: Any, clock: ManualClock) -> None:
    await store.real.put_rows(
        [make_row(APP, first_slot(BUCKET - n), partition) for n in (1, 3) for partition in range(4)]
    )
    old, young = (
        make_owned(APP, 0, last_slot(BUCKET - 5)),
        make_owned(APP, 1, last_slot(BUCKET - 2)),
    )
    await walk(store, clock, instances_of(young, old), [young, old], walk_buckets=60)
    assert store.names() == ["fetch_index"]
    assert old.buckets() == [BUCKET - 3, BUCKET - 1]
    assert young.buckets() == [BUCKET - 1]


async def test_a_walk_that_takes_long_goes_on_to_the_new_now(store: Any, clock: ManualClock) -> None:
    await store.real.put_rows([make_row(APP, first_slot(BUCKET + 1))])
    owned = make_owned(APP, settled_ms=last_slot(BUCKET - 3))
    real = store.real.fetch_index

    async def slowly(*args: Any) -> Any:
        clock.advance(30_000)
        return await real(*args)

    store.real.fetch_index = slowly
    await walk(store, clock, instances_of(owned), [owned], walk_buckets=1)
    assert owned.buckets() == [BUCKET + 1]


async def test_a_walk_that_failed_half_way_is_not_done(store: Any, clock: ManualClock) -> None:
    owned = make_owned(APP, settled_ms=last_slot(BUCKET - 130))
    owned.is_walked = False
    real = store.real.fetch_index

    async def once(*args: Any) -> Any:
        store.fail("fetch_index", StoreUnavailable("no"))
        return await real(*args)

    store.real.fetch_index = once
    with pytest.raises(StoreUnavailable):
        await walk(store, clock, instances_of(owned), [owned], walk_buckets=60)
    assert store.names() == ["fetch_index"] * 2
    assert not owned.is_walked
