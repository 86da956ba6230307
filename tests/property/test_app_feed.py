"""The feed of apps, among makers who die half way, slow reads and a log that loses names: what it vouches for
shows every change that had returned by then."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from random import Random
from typing import Any, cast

import pytest
from tests.cluster.conftest import quick_and_slow
from tests.contract.builders import make_app
from tests.harness.virtual import LoopClock, run_virtual
from tests.unit.spy_store import SpyStore

from ringtime_shared.apps.feed import AppFeed, Proof
from ringtime_shared.models.app import App
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import AppChange

APP_IDS = ("a", "b", "c")
RUN_S = 300.0
STORES: list[SlowStore] = []  #: of the runs so far


class SlowStore(MemoryStore):
    """Reads and counts take a while at both ends; changes are told late, or not at all."""

    def __init__(self, clock: LoopClock, rng: Random) -> None:
        super().__init__(clock.now_ms)
        self.rng = rng
        self.full_reads = 0
        self.lost_names = rng.choice([0.0, 0.05, 0.5])
        self.stamps_ms = rng.choice(
            [1, 1, 500]
        )  # makers whose clocks differ may stamp as if it was one moment
        self.is_quick = False  #: so much so that all happens within one millisecond, in any order

    async def announce_app(self, app_id: str) -> None:
        """A change is told a while before it is counted."""
        changed_ms = self._now_ms() + self.rng.choice([0, 0, -20, 7_000])
        change = AppChange(changed_ms - changed_ms % self.stamps_ms, app_id)
        self._last_app_changes.append(change)
        await self.wait()
        self._app_changes += change.weight

    async def wait(self) -> None:
        if self.is_quick:
            for _ in range(self.rng.choice([0, 0, 1, 5, 40])):
                await asyncio.sleep(0)
            return
        await asyncio.sleep(self.rng.choice([0, 0.001, 0.02, 1.5]) * self.rng.random())

    async def count_app_changes(self) -> int:
        await self.wait()
        count = await super().count_app_changes()
        await self.wait()
        return count

    async def fetch_app_changes(self, after_ms: int) -> list[AppChange]:
        await self.wait()
        told = await super().fetch_app_changes(after_ms)
        await self.wait()
        return [change for change in told if self.rng.random() >= self.lost_names]

    async def fetch_apps(self) -> list[App]:
        """One app after the other, as a scan does."""
        self.full_reads += 1
        found = []
        for app_id in self.rng.sample(APP_IDS, len(APP_IDS)):
            await self.wait()
            found += await super().fetch_some_apps([app_id])
        return found

    async def fetch_some_apps(self, app_ids: Sequence[str]) -> list[App]:
        await self.wait()
        found = await super().fetch_some_apps(app_ids)
        await self.wait()
        return found


class FeedWorld:
    """One feed, and makers of changes."""

    _is_counted_first = False

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.clock = LoopClock()
        self.store = SlowStore(self.clock, self.rng)
        self.feed = AppFeed(self.store, self.clock)
        self.made: dict[tuple[str, tuple[int, int] | None], int] = {}  # states, None: gone; their order
        #: by app, when each change was told; beside it, the highest order of those told until then
        self.returned: dict[str, tuple[list[int], list[int]]] = {app_id: ([], []) for app_id in APP_IDS}
        self.changes = 0
        self.found: list[str] = []
        self.full_ages_s = 0.0  #: the oldest that anything known was
        STORES.append(self.store)

    async def run(self) -> None:
        works: list[Callable[[], Any]] = [
            self._change,
            self._change,
            self._follow,
            self._follow,
            self._reread,
        ]
        tasks = [asyncio.create_task(self._again(work)) for work in works]
        self._check()
        await asyncio.sleep(RUN_S)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended
        assert self._next_check.when() > RUN_S, "the last one failed"
        self._next_check.cancel()

    async def _again(self, work: Callable[[], Any]) -> None:
        while True:
            await asyncio.sleep(self.rng.choice([0.01, 0.3, 4.0]) * self.rng.random())
            await work()

    async def meet(self) -> None:
        """Do everything once or more within one millisecond, in any order, and look at what came of it."""
        self.store.is_quick, self.store.lost_names = True, 0.0
        await asyncio.gather(self._change(), self._change(), self.feed.read_all())
        await asyncio.sleep(0.25)
        works = [self._change, self._change, self._follow, self.feed.look, self.feed.read_all, self._reread]
        works += self.rng.choices(works, k=3)
        await asyncio.gather(*(self._begin(work) for work in works))
        await asyncio.sleep(0.25)
        await self.feed.look()
        self._look_at_all()

    async def _begin(self, work: Callable[[], Any]) -> None:
        for _ in range(5):
            await self.store.wait()
        await work()
        self._look_at_all()

    async def _change(self) -> None:
        """Change an app; the count comes a while later, or never, if the maker dies in between."""
        if (
            self.clock.boot_ms() // 20_000 % 2 and not self.store.is_quick
        ):  # now and then nothing changes for a while
            return
        app_id = self.rng.choice(APP_IDS)
        stored = self.store._apps.get(app_id)
        if stored is None:
            after: App | None = make_app(app_id=app_id, number=self.store._numbers)
            self.store._numbers += 1
        elif self.rng.random() < 0.2:
            after = None
        else:
            after = replace(stored, version=stored.version + 1)
        if self._is_counted_first:
            await self.store.announce_app(app_id)
            await self.store.wait()
            if self.store._apps.get(app_id) is not stored:
                return
        if after is None:
            del self.store._apps[app_id]
        else:
            self.store._apps[app_id] = after
        self.changes += 1
        order = self.made[app_id, _state(after)] = self.changes
        if self.rng.random() < 0.3:
            return
        await self.store.wait()
        if not self._is_counted_first:
            await self.store.announce_app(app_id)
        told, orders = self.returned[app_id]
        told.append(self.clock.boot_ms())
        orders.append(max(order, orders[-1] if orders else 0))

    async def _follow(self) -> None:
        await self.feed.refresh()

    async def _reread(self) -> None:
        app_id = self.rng.choice(APP_IDS)
        begun_ms = self.clock.boot_ms()
        found = await self.store.fetch_some_apps([app_id])
        self.feed.learn(app_id, found[0] if found else None, begun_ms)

    def _check(self) -> None:
        """Look every 10 ms, by a timer: to wake a task for it would be half of the work of a run."""
        self.full_ages_s = max(self.full_ages_s, self.feed.age_ms() / 1_000)
        self._look_at_all()
        self._next_check = asyncio.get_running_loop().call_later(0.01, self._check)

    def _look_at_all(self) -> None:
        for app_id in APP_IDS:
            reading = self.feed.reading(app_id)
            if reading is not None:
                self._judge(app_id, _state(reading.app), reading.read_boot_ms)
            elif self.feed.is_loaded:
                self._judge(app_id, None, self.clock.boot_ms() - self.feed.age_ms())

    def _judge(self, app_id: str, known: tuple[int, int] | None, upto_ms: int) -> None:
        told, orders = self.returned[app_id]
        before = bisect_left(told, upto_ms)
        if before and orders[before - 1] > self.made.get((app_id, known), 0):
            self.found.append(f"{app_id} is known as {known} up to {upto_ms}, but changed before that")


def _state(app: App | None) -> tuple[int, int] | None:
    return None if app is None else (app.number, app.version)


def play(seed: int) -> FeedWorld:
    """Return the world after one run."""

    async def run() -> FeedWorld:
        world = FeedWorld(seed)
        await world.run()
        return world

    return run_virtual(run())


@pytest.mark.parametrize("seed", quick_and_slow(range(10), quick=2))
def test_what_is_vouched_for_shows_every_change_that_had_returned(seed: int) -> None:
    world = play(seed)
    assert world.found == []
    assert sum(len(told) for told, _ in world.returned.values()) > 50
    assert world.full_ages_s < 30, "and it is vouched for again and again"


def first_found_in_a_moment(seeds: range) -> list[str]:
    """Return what is found of the first of many short runs in which something is."""

    async def run() -> list[str]:
        for seed in seeds:
            world = FeedWorld(seed)
            await world.meet()
            if world.found:
                return [f"seed {seed}", *world.found]
        return []

    return run_virtual(run())


@pytest.mark.slow
def test_what_happens_at_once_is_vouched_for_in_no_wrong_order() -> None:
    assert first_found_in_a_moment(range(1_000)) == []


def count_after_the_read(patch: pytest.MonkeyPatch) -> None:
    """Changes made during the read pass for known."""
    real = Proof.note_full

    def note_full(self: Proof, count: int, begun_ms: int, told: Collection[AppChange]) -> None:
        real(self, STORES[-1]._app_changes, begun_ms, told)

    patch.setattr(Proof, "note_full", note_full)


def prove_from_the_answer_on(patch: pytest.MonkeyPatch) -> None:
    real = Proof.note_count

    def note_count(self: Proof, count: int, begun_ms: int) -> None:
        real(self, count, LoopClock().boot_ms())

    patch.setattr(Proof, "note_count", note_count)


def leave_a_gap(patch: pytest.MonkeyPatch) -> None:
    """Changes are named, and not counted."""

    async def announce_app(self: SlowStore, app_id: str) -> None:
        self._last_app_changes.append(AppChange(self._now_ms(), app_id))

    patch.setattr(SlowStore, "announce_app", announce_app)


def count_before_the_change(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FeedWorld, "_is_counted_first", True)


def trust_the_names(patch: pytest.MonkeyPatch) -> None:
    """All is known once what the log names was read."""
    real = AppFeed._read_named

    async def read_named(self: AppFeed, news: Sequence[AppChange]) -> list[AppChange]:
        read = await real(self, news)
        began_ms, count = self._proof._counted
        self._proof.note_full(count, began_ms, news)
        return read

    patch.setattr(AppFeed, "_read_named", read_named)


def weigh_all_alike(patch: pytest.MonkeyPatch) -> None:
    """So many names are as good as any other so many."""
    patch.setattr(AppChange, "weight", 1)


def leave_named_apps_unread(patch: pytest.MonkeyPatch) -> None:
    """What is told accounts for the count, though nobody has read it."""

    async def read_named(self: AppFeed, news: Sequence[AppChange]) -> list[AppChange]:
        return list(news)

    patch.setattr(AppFeed, "_read_named", read_named)


def vouch_for_what_was_not_taken(patch: pytest.MonkeyPatch) -> None:
    """A look has read it, though something else, that may be older, is known."""
    real = AppFeed._read_named

    async def read_named(self: AppFeed, news: Sequence[AppChange]) -> list[AppChange]:
        await real(self, news)
        return list(news)

    patch.setattr(AppFeed, "_read_named", read_named)


def vouch_for_what_an_earlier_look_read(patch: pytest.MonkeyPatch) -> None:
    """An entry is one change: who has seen it knows."""
    real = AppFeed._read_named
    handled: set[AppChange] = set()

    async def read_named(self: AppFeed, news: Sequence[AppChange]) -> list[AppChange]:
        known = handled.copy()
        handled.update(read := await real(self, [change for change in news if change not in known]))
        return sorted({*read, *(change for change in news if change in known)})

    patch.setattr(AppFeed, "_read_named", read_named)


def let_old_reads_in(patch: pytest.MonkeyPatch) -> None:
    """Whatever a read of one app has found is known from then on, however long ago that read began."""
    real = AppFeed.learn

    def learn(self: AppFeed, app_id: str, app: App | None, begun_ms: int) -> None:
        self._alone_ms.pop(app_id, None)
        self._merging_ms = -1
        self.apps.pop(app_id, None)
        real(self, app_id, app, begun_ms)

    patch.setattr(AppFeed, "learn", learn)


@pytest.mark.slow
@pytest.mark.parametrize(
    "plant",
    [count_after_the_read, prove_from_the_answer_on, leave_a_gap, count_before_the_change, trust_the_names,
     weigh_all_alike, leave_named_apps_unread, let_old_reads_in],
)  # fmt: skip
def test_a_planted_bug_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    assert any(play(seed).found for seed in range(20))


@pytest.mark.parametrize("plant", [vouch_for_what_was_not_taken, vouch_for_what_an_earlier_look_read])
def test_a_bug_planted_in_what_happens_at_once_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    assert first_found_in_a_moment(range(1_000))


def test_a_read_of_the_millisecond_of_a_look_does_not_undo_it() -> None:
    async def run() -> None:
        store = MemoryStore((clock := LoopClock()).now_ms)
        feed = AppFeed(store, clock)
        await feed.refresh()
        await asyncio.sleep(1)
        begun_ms = clock.boot_ms()  # of a read that finds nothing, and is answered late
        await store.create_app(make_app(app_id="a"))
        await feed.look()
        assert feed.is_proved()
        feed.learn("a", None, begun_ms)
        assert "a" in feed.apps

    run_virtual(run())


def test_a_look_beside_a_full_read_vouches_for_nothing() -> None:
    """The full read has seen an app that the look has not, which began later."""

    class LateStore(MemoryStore):
        async def fetch_apps(self) -> list[App]:
            found = await super().fetch_apps()
            await asyncio.sleep(2)
            return found

    async def run() -> None:
        store = LateStore((clock := LoopClock()).now_ms)
        feed = AppFeed(store, clock)
        await feed.read_all()
        app = await store.create_app(make_app(app_id="a"))
        await asyncio.sleep(1)
        full = asyncio.create_task(feed.read_all())
        await asyncio.sleep(1)
        del store._apps[app.app_id]
        await store.announce_app(app.app_id)
        gone_ms = clock.boot_ms()
        await asyncio.sleep(0.5)
        await feed.look()
        await full
        assert (reading := feed.reading("a")) is not None
        assert reading.read_boot_ms <= gone_ms
        await feed.look()
        assert feed.is_proved()
        assert "a" not in feed.apps

    run_virtual(run())


def test_a_minute_without_changes_costs_a_count_a_second_and_one_read() -> None:
    async def run() -> tuple[int, int]:
        clock = LoopClock()
        store = SpyStore(clock.now_ms)
        await store.real.create_app(make_app())
        feed = AppFeed(cast(Any, store), clock)
        for _ in range(120):
            await feed.refresh()
            await asyncio.sleep(1)
            assert feed.age_ms() <= 1_000
        names = store.names()
        return names.count("count_app_changes"), names.count("fetch_apps")

    assert run_virtual(run()) == (121, 2)


def test_changes_all_the_time_are_read_by_name_and_all_apps_once_a_minute() -> None:
    async def run() -> tuple[int, int]:
        clock = LoopClock()
        store = SpyStore(clock.now_ms)
        feed = AppFeed(cast(Any, store), clock)
        await feed.refresh()
        for n in range(1_200):
            await store.real.create_app(make_app(app_id=f"app-{n}"))
            await asyncio.sleep(0.1)
            if n % 10 == 0:
                await feed.refresh()
                assert feed.is_proved()
                assert set(feed.apps) == {f"app-{m}" for m in range(n + 1)}
        return store.names().count("fetch_apps"), store.names().count("fetch_some_apps")

    assert run_virtual(run()) == (2, 120)


def test_names_of_strangers_take_no_room() -> None:
    clock = LoopClock()

    async def run() -> int:
        feed = AppFeed(MemoryStore(clock.now_ms), clock)
        for n in range(1_000):
            feed.learn(f"nobody-{n}", None, n)
        return len(feed._alone_ms) + len(feed.apps)

    assert run_virtual(run()) == 0


def test_several_makers_at_once_are_accounted_for_though_there_is_never_a_moment_of_rest() -> None:
    """Four tell a change each 10 ms, and count it 3 to 13 ms later: also when all apps are read at first."""

    class PodsStore(MemoryStore):
        rng = Random(3)

        async def announce_app(self, app_id: str) -> None:
            self._last_app_changes.append(change := AppChange(self._now_ms(), app_id))
            await asyncio.sleep(0.003 + 0.01 * self.rng.random())
            self._app_changes += change.weight

    async def make(store: MemoryStore, pod: int) -> None:
        for n in range(500):
            await asyncio.sleep(0.01)
            await store.create_app(make_app(app_id=f"app-{pod}-{n}"))

    async def run() -> int:
        store = SpyStore((clock := LoopClock()).now_ms)
        store.real = PodsStore(clock.now_ms)
        feed = AppFeed(cast(Any, store), clock)
        pods = asyncio.gather(*(make(store.real, pod) for pod in range(4)))
        while not pods.done():
            await asyncio.sleep(0.5)
            await feed.refresh()
            assert feed.is_proved()
        return store.names().count("fetch_apps")

    assert run_virtual(run()) == 1
