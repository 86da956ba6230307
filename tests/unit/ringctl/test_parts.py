"""`ringctl parts` on virtual time: a change from begin to end, cut off anywhere, given up, taken over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, TypeVar, cast

import pytest
from tests.contract.builders import BUCKET, make_app, make_row
from tests.harness.virtual import LoopClock, run_virtual
from tests.unit.ringctl.resize_rig import START_MS, CutStore, Killed, actions

from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.parts.change import PartChanger, Progress, Unfinished, kept_ms
from ringtime_ringctl.parts.command import plan_parts
from ringtime_shared.errors import Conflict, InvalidRequest, OutcomeUnknown, StoreUnavailable
from ringtime_shared.models.app import AppConfiguration, Instance
from ringtime_shared.parts import CHANGE_WAIT_MS, GROUPS, PartMap
from ringtime_shared.ring import Ring
from ringtime_shared.settings import AppLimits, Settings
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import IndexEntry

T = TypeVar("T")
WAIT_S = CHANGE_WAIT_MS / 1_000
MINUTES = 3


class Rig:
    """A store with entries in three minutes, filed under 4 parts."""

    def __init__(self) -> None:
        self.clock = LoopClock(START_MS)
        self.store = MemoryStore(self.clock.now_ms)
        self.filed: list[IndexEntry] = []

    async def set_up(self) -> None:
        app = await self.store.create_app(make_app(writable=20, polled=20))
        for minute in range(MINUTES):
            rows = [make_row(app, (BUCKET + minute) * 60_000, partition) for partition in range(20)]
            await self.store.put_rows(rows)
            self.filed += [IndexEntry(row.place.bucket, row.place.instance) for row in rows]

    def changer(self, operator: str = "ana", store: Any = None, **others: Any) -> PartChanger:
        deployment = Deployment(
            store=cast(Any, store or self.store),
            coordination=None,
            settings=Settings(),
            operator=operator,
            clock=self.clock,
        )
        return PartChanger(deployment, **others)

    async def is_readable(self) -> bool:
        return set(self.filed) <= set(await self.store.fetch_index(BUCKET, BUCKET + MINUTES))

    async def actions(self) -> list[str]:
        return actions(await self.store.fetch_audit(0, 1 << 62, 100, is_oldest_first=True))


def play(work: Callable[[Rig], Coroutine[Any, Any, T]]) -> T:
    async def run() -> T:
        rig = Rig()
        await rig.set_up()
        return await work(rig)

    return run_virtual(run())


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def change(changer: PartChanger, count: int) -> PartMap:
    begun = await changer.begin(count)
    return begun if begun.change is None else await changer.finish(begun, timeout_s=100)


class TestChange:
    @pytest.mark.parametrize("count", [64, 1, GROUPS])
    def test_every_step_waits_and_is_in_the_log(self, count: int) -> None:
        async def work(rig: Rig) -> None:
            seen: list[Progress] = []
            done = await change(rig.changer(on_progress=seen.append), count)
            assert (done.written, done.change) == (count, None)
            assert 2 * WAIT_S <= now_s() <= 2 * WAIT_S + 1
            assert await rig.actions() == ["parts begin", "parts write", "parts copy", "parts end"]
            assert await rig.is_readable()
            assert [each.share for each in seen if "copied" in each.text] == sorted(
                each.share for each in seen if "copied" in each.text
            )
            assert await rig.store.fetch_parts() == done

        play(work)

    def test_the_same_count_is_nothing_to_do(self) -> None:
        async def work(rig: Rig) -> None:
            assert await change(rig.changer(), 4) == PartMap()
            assert await rig.actions() == []

        play(work)

    @pytest.mark.parametrize("count", [0, -4, 3, 2 * GROUPS])
    def test_another_count_is_refused(self, count: int) -> None:
        async def work(rig: Rig) -> None:
            with pytest.raises(InvalidRequest, match="a power of two from 1 to 131,072"):
                await rig.changer().begin(count)

        play(work)

    def test_time_runs_out_and_somebody_else_goes_on(self) -> None:
        async def work(rig: Rig) -> None:
            changer = rig.changer()
            begun = await changer.begin(64)
            with pytest.raises(Unfinished, match="readers may go by an older map"):
                await changer.finish(begun, timeout_s=5)
            with pytest.raises(Conflict, match=r"from 4 parts to 64 by ana .* `--resume` goes on"):
                await rig.changer("bob").begin(16)
            other = rig.changer("bob")
            started_s = now_s()
            done = await other.finish(await other.resume(), timeout_s=100)
            assert done.written == 64
            assert now_s() - started_s >= 2 * WAIT_S, "its own wait, whatever the first one had waited"
            with pytest.raises(Conflict, match="no change of the parts"):
                await other.resume()

        play(work)

    def test_who_is_overtaken_ends(self) -> None:
        async def work(rig: Rig) -> None:
            changer = rig.changer()
            finishing = asyncio.create_task(changer.finish(await changer.begin(64), timeout_s=100))
            await asyncio.sleep(WAIT_S / 2)
            other = rig.changer("bob")
            resumed = await other.resume()
            with pytest.raises(Conflict, match=r"by bob since .*; this one ends here"):
                await finishing
            assert (await other.finish(resumed, timeout_s=100)).written == 64

        play(work)

    def test_who_is_aborted_ends(self) -> None:
        async def work(rig: Rig) -> None:
            changer = rig.changer()
            finishing = asyncio.create_task(changer.finish(await changer.begin(64), timeout_s=100))
            await asyncio.sleep(WAIT_S / 2)
            assert (await rig.changer("bob").abort()).change is None
            with pytest.raises(Conflict, match="given up meanwhile; there are 4"):
                await finishing

        play(work)

    def test_a_change_that_is_written_is_turned_round(self) -> None:
        async def work(rig: Rig) -> None:
            changer = rig.changer()
            with pytest.raises(Unfinished, match="writers may go by an older map"):
                await changer.finish(await changer.begin(64), timeout_s=1.5 * WAIT_S)
            app = make_app(app_id="late", writable=9, polled=9)
            rows = [make_row(app, BUCKET * 60_000, partition) for partition in range(9)]
            await rig.store.put_rows(rows)  # under 64
            rig.filed += [IndexEntry(BUCKET, Instance("late", partition)) for partition in range(9)]
            other = rig.changer("bob")
            back = await other.abort()
            assert await rig.is_readable()
            done = await other.finish(back, timeout_s=100)
            assert (done.written, done.change) == (4, None)
            assert await rig.is_readable()

        play(work)

    @pytest.mark.parametrize("error", [StoreUnavailable, OutcomeUnknown])
    def test_a_store_that_is_away_for_a_while_is_tried_again(self, error: type[Exception]) -> None:
        async def work(rig: Rig) -> None:
            store = CutStore(rig.store)

            async def fail() -> None:
                raise error("away")

            changer = rig.changer(store=store)
            begun = await changer.begin(64)
            store.before = dict.fromkeys(["replace_parts", "copy_entries", "fetch_parts"], fail)
            assert (await changer.finish(begun, timeout_s=100)).written == 64
            assert await rig.is_readable()

        play(work)


@pytest.mark.parametrize("is_carried_out", [False, True])
@pytest.mark.parametrize("act", ["resume", "abort"])
def test_cut_off_at_any_call_whoever_comes_next_ends_it(is_carried_out: bool, act: str) -> None:
    async def work(rig: Rig, cut_at: int) -> bool:
        store = CutStore(rig.store, cut_at=cut_at, is_carried_out=is_carried_out)
        was_cut = False
        try:
            await change(rig.changer(store=store), 64)
        except Killed:
            was_cut = True
        assert await rig.is_readable()
        other = rig.changer("bob")
        parts = await other.fetch()
        if parts.change is not None:
            begun = await (other.resume() if act == "resume" else other.abort())
            parts = begun if begun.change is None else await other.finish(begun, timeout_s=100)
        assert parts.change is None
        assert await rig.is_readable()
        return was_cut

    cuts = next(n for n in count(1) if not play(lambda rig, n=n: work(rig, n))) - 1  # type: ignore[misc]
    assert cuts >= 15


class TestPlan:
    def test_readers_and_parts_of_each_node(self) -> None:
        ring = Ring(dict.fromkeys(["a", "b", "c"], 1.0), [f"app-{n}.0" for n in range(3_000)])
        made = plan_parts(ring, PartMap(), GROUPS)
        assert [each.before for each in made.nodes] == [4, 4, 4]
        assert all(500 < each.after < 1_100 for each in made.nodes)
        assert made.readers_before == 3
        assert made.readers_after < 1.02

    def test_without_nodes_nobody_reads(self) -> None:
        made = plan_parts(Ring(instances=["a.0"]), PartMap(), 64)
        assert (made.nodes, made.readers_before, made.readers_after) == ([], 0, 0)


def test_entries_are_kept_for_the_longest_retention_there_is() -> None:
    app = make_app(configuration=AppConfiguration(retention_days=500))
    limits = AppLimits(max_retention_days=30)
    assert kept_ms([], limits) == 31 * 86_400_000
    assert kept_ms([make_app(), app], limits) == 501 * 86_400_000
