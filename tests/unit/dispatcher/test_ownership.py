"""Which claims a node makes and gives up, and which members count."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.contract.builders import make_app
from tests.harness.virtual import LoopClock, on_virtual_time
from tests.unit.dispatcher.rig import make_node
from tests.unit.spy_store import SpyStore

from ringtime_dispatcher.engine import Dispatcher
from ringtime_dispatcher.ownership.capacity import memory_bytes, most_owned
from ringtime_dispatcher.ownership.plan import Membership, OwnershipPlan, came_from_another, plan_ownership
from ringtime_shared.coordination.memory import Hub
from ringtime_shared.coordination.protocol import Claim, Member, View
from ringtime_shared.models.app import Instance
from ringtime_shared.settings import DispatchSettings
from ringtime_shared.stores.memory import MemoryStore

A, B, C, D = (Instance("app", number) for number in range(4))
ALL_OF_FIVE = [A, B, C, D, Instance("app", 4)]
ALL = frozenset(Instance("app", number) for number in range(200))
DEBOUNCE_MS = 5_000


def held(*mine: Instance, others: tuple[Instance, ...] = ()) -> View:
    claims = {each: Claim("me", 1) for each in mine} | {each: Claim("other", 2) for each in others}
    return View({}, claims)


def plan(
    view: View,
    *,
    wanted: set[Instance],
    running: set[Instance],
    polled: frozenset[Instance] = ALL,
    settled_in: set[Instance] | None = None,
) -> OwnershipPlan:
    return plan_ownership(
        "me",
        view,
        wanted=wanted,
        polled=polled,
        running=running,
        settled_in=running if settled_in is None else settled_in,
    )


def test_what_is_free_is_claimed_and_what_is_taken_is_not() -> None:
    assert plan(held(others=(B,)), wanted={A, B}, running=set()) == OwnershipPlan(claim=[A])


def test_what_runs_and_is_wanted_stays() -> None:
    assert plan(held(A), wanted={A}, running={A}) == OwnershipPlan()


def test_what_belongs_elsewhere_is_handed_over_once_it_has_dwelt() -> None:
    assert plan(held(A, B), wanted=set(), running={A, B}, settled_in={B}) == OwnershipPlan(hand_over=[B])


def test_what_is_polled_no_more_is_retired_at_once() -> None:
    found = plan(held(A), wanted=set(), running={A}, polled=frozenset(), settled_in=set())
    assert found == OwnershipPlan(retire=[A])


def test_what_is_claimed_but_not_run_is_abandoned() -> None:
    """A claim whose answer was lost. It is claimed anew when it is seen free."""
    assert plan(held(A), wanted={A}, running=set()) == OwnershipPlan(abandon=[A])


def test_what_is_run_but_claimed_no_more_is_dropped() -> None:
    found = plan(held(others=(B,)), wanted={A, B}, running={A, B})
    assert found == OwnershipPlan(drop=[A, B])


def test_all_of_it_at_once_and_in_order() -> None:
    view = held(B, C, others=(D,))
    found = plan(view, wanted={A, C}, running={B, D})
    assert found == OwnershipPlan(claim=[A], hand_over=[B], abandon=[C], drop=[D])


class Looks:
    """What one node sees, look after look."""

    def __init__(self, instances: frozenset[Instance] = ALL) -> None:
        self.membership = Membership(join_debounce_ms=DEBOUNCE_MS)
        self.membership.place(instances, [])

    def at(self, boot_ms: int, *nodes: str, drained: frozenset[str] = frozenset()) -> dict[str, int]:
        """Look; return how many instances each node is given, of those that are given any."""
        members = {node: Member(node=node) for node in nodes}
        self.membership.observe(View(members, drained=drained), boot_ms=boot_ms)
        counts = {node: len(self.membership.wanted_by(node)) for node in ("a", "b", "c")}
        return {node: count for node, count in counts.items() if count}


def test_those_there_at_the_first_look_count_at_once() -> None:
    looks = Looks()
    assert set(looks.at(77, "a", "b")) == {"a", "b"}


def test_an_empty_look_is_not_the_first() -> None:
    looks = Looks()
    assert looks.at(0) == {}
    assert set(looks.at(10, "a", "b")) == {"a", "b"}


def test_a_newcomer_counts_after_the_debounce_and_not_before() -> None:
    looks = Looks()
    looks.at(0, "a")
    assert looks.at(1_000, "a", "b") == {"a": 200}
    assert looks.at(1_000 + DEBOUNCE_MS - 1, "a", "b") == {"a": 200}
    assert set(looks.at(1_000 + DEBOUNCE_MS, "a", "b")) == {"a", "b"}


def test_one_that_comes_and_goes_begins_anew() -> None:
    looks = Looks()
    looks.at(0, "a")
    looks.at(1_000, "a", "b")
    looks.at(4_000, "a")
    looks.at(5_000, "a", "b")
    assert looks.at(1_000 + DEBOUNCE_MS, "a", "b") == {"a": 200}
    assert set(looks.at(5_000 + DEBOUNCE_MS, "a", "b")) == {"a", "b"}


def test_one_that_leaves_is_replaced_at_once() -> None:
    looks = Looks()
    looks.at(0, "a", "b")
    assert looks.at(1, "b") == {"b": 200}


def test_when_nobody_is_old_enough_the_young_do_it() -> None:
    looks = Looks()
    looks.at(0, "a")
    assert set(looks.at(1_000, "b", "c")) == {"b", "c"}


def test_a_node_that_has_not_seen_itself_wants_nothing() -> None:
    looks = Looks()
    assert looks.at(0, "b") == {"b": 200}
    assert looks.membership.wanted_by("a") == frozenset()


def test_a_join_moves_about_its_share_and_only_to_the_newcomer() -> None:
    looks = Looks(frozenset(Instance("orders", number) for number in range(200)))  # of which none is spilled
    looks.at(0, "a", "b")
    before = {node: looks.membership.wanted_by(node) for node in "ab"}
    looks.at(1, "a", "b", "c")
    looks.at(1 + DEBOUNCE_MS, "a", "b", "c")
    for node in "ab":
        assert looks.membership.wanted_by(node) <= before[node] | looks.membership.wanted_by("c")
    assert 40 <= len(looks.membership.wanted_by("c")) <= 77


def test_new_instances_are_placed_and_the_gone_forgotten() -> None:
    looks = Looks()
    looks.at(0, "a")
    looks.membership.place([A, B], ALL - {A, B})
    assert looks.membership.wanted_by("a") == {A, B}
    looks.membership.place([], [A, B])
    assert looks.membership.wanted_by("a") == frozenset()


def test_only_what_another_had_came_from_another() -> None:
    seen = {A: Claim("me", 1), B: Claim("other", 2)}
    assert [came_from_another(each, seen, "me") for each in (A, B, C)] == [False, True, False]


def test_a_drained_node_has_no_share_from_the_next_look_on() -> None:
    looks = Looks()
    looks.at(0, "a", "b", "c")
    assert set(looks.at(1, "a", "b", "c", drained=frozenset("b"))) == {"a", "c"}


def test_an_undrained_node_has_its_old_share_at_once() -> None:
    looks = Looks()
    before = looks.at(0, "a", "b", "c")
    looks.at(1, "a", "b", "c", drained=frozenset("b"))
    assert looks.at(2, "a", "b", "c") == before


def test_a_drain_of_everybody_is_a_drain_of_nobody() -> None:
    looks = Looks()
    assert looks.at(0, "a", "b", drained=frozenset("ab")) == looks.at(1, "a", "b")


def test_a_young_node_takes_over_from_one_that_is_drained() -> None:
    looks = Looks()
    looks.at(0, "a")
    assert looks.at(1_000, "a", "b", drained=frozenset("a")) == {"b": 200}


def test_the_drain_of_a_node_that_is_gone_changes_nothing() -> None:
    looks = Looks()
    assert set(looks.at(0, "a", "b", drained=frozenset("c"))) == {"a", "b"}


@pytest.mark.parametrize(("most", "claimed"), [(None, 3), (5, 3), (4, 2), (2, 0), (1, 0)])
def test_no_more_is_claimed_than_a_node_may_own(most: int | None, claimed: int) -> None:
    found = plan_ownership(
        "me", held(A, B), wanted=set(ALL_OF_FIVE), polled=ALL, running={A, B}, settled_in=set(), most=most
    )
    assert (len(found.claim), found.left_out) == (claimed, 3 - claimed)
    assert not found.drop, "what runs goes on, also under a bound that is lower than that"


def test_a_node_that_may_own_few_leaves_the_rest_to_the_others() -> None:
    membership = Membership(join_debounce_ms=DEBOUNCE_MS)
    membership.place(ALL, [])
    members = {"a": Member(node="a", most=10), "b": Member(node="b"), "c": Member(node="c", most=150)}
    membership.observe(View(members), boot_ms=0)
    assert {node: len(membership.wanted_by(node)) for node in members}["a"] <= 10
    assert sum(len(membership.wanted_by(node)) for node in members) == 200
    assert len(membership.wanted_by("c")) <= 150
    membership.place([], sorted(ALL)[:195])
    assert max(len(membership.wanted_by(node)) for node in members) <= 3, "there is room for all: even shares"


@on_virtual_time
async def test_what_no_node_may_own_is_told_until_another_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    clock = LoopClock()
    store, hub = MemoryStore(clock.now_ms), Hub()
    await store.create_app(make_app(writable=5, polled=5, created_ms=clock.now_ms()))

    async def start(node: str, most: int) -> Dispatcher:
        dispatcher = make_node(store, clock, hub, member=Member(node=node, most=most))
        await dispatcher.start()
        return dispatcher

    first = await start("a", 2)
    await asyncio.sleep(3)
    assert (len(first.owned), first.left_out) == (2, 3)
    assert [record.levelname for record in caplog.records if "max_owned" in record.message] == ["ERROR"]
    second = await start("b", 4)
    await asyncio.sleep(60)
    assert (len(first.owned), len(second.owned)) in ((1, 4), (2, 3))
    assert (first.left_out, second.left_out) == (0, 0)
    await first.stop()
    await second.stop()


def test_memory_is_that_of_the_machine_or_of_the_container(tmp_path: Path) -> None:
    machine = memory_bytes(())
    for name, text in (("no", "max\n"), ("less", "1048576\n"), ("odd", "lots"), ("more", f"{1 << 60}\n")):
        (tmp_path / name).write_text(text)
    assert memory_bytes((str(tmp_path / "no"), str(tmp_path / "odd"), str(tmp_path / "none"))) == machine
    assert memory_bytes((str(tmp_path / "more"), str(tmp_path / "less"))) == 1 << 20


def test_what_a_node_may_own_is_set_or_half_of_its_memory() -> None:
    assert most_owned(DispatchSettings(max_owned=7)) == 7
    assert most_owned(DispatchSettings()) == memory_bytes() // 2 // 3_000


@on_virtual_time
async def test_a_node_that_leaves_hands_over_some_thousand_at_a_time() -> None:
    clock = LoopClock()
    store, hub = SpyStore(clock.now_ms), Hub()
    await store.real.create_app(make_app(writable=9_000, polled=9_000))
    dispatcher = make_node(store, clock, hub)
    await dispatcher.start()
    await asyncio.sleep(1)
    assert len(dispatcher.owned) == 9_000
    before = len(store.sizes("put_marks"))
    await dispatcher.stop()
    assert store.sizes("put_marks")[before:] == [4_000, 4_000, 1_000]
    assert hub.claims == {}


@on_virtual_time
async def test_an_idle_node_looks_at_the_apps_when_it_asks_the_store_anyway() -> None:
    clock = LoopClock()
    store = SpyStore(clock.now_ms)
    await store.create_app(make_app(polled=2, writable=2))
    node = make_node(store, clock, Hub(era=1))
    await node.start()
    await asyncio.sleep(30)  # by then all is quiet
    asked_ms: dict[str, list[int]] = {"fetch_arrivals": [], "count_app_changes": []}
    for name, at_ms in asked_ms.items():
        note_when_called(store, name, at_ms, clock)
    await asyncio.sleep(20)
    counted, looked = asked_ms["count_app_changes"], asked_ms["fetch_arrivals"]
    assert len(looked) == 50
    assert set(counted) <= set(looked)
    assert max(later - ms for ms, later in pairwise(counted)) <= 1_000
    await node.stop()


def note_when_called(store: SpyStore, name: str, at_ms: list[int], clock: LoopClock) -> None:
    real = getattr(store.real, name)

    async def call(*args: Any) -> Any:
        at_ms.append(clock.now_ms())
        return await real(*args)

    setattr(store.real, name, call)


@on_virtual_time
async def test_news_of_the_ring_do_not_wait_for_a_look_at_the_apps() -> None:
    clock, hub = LoopClock(), Hub(era=1)
    store = SpyStore(clock.now_ms)
    await store.create_app(make_app(polled=2, writable=2))
    first, second = (make_node(store, clock, hub, member=Member(node=name)) for name in "ab")
    await first.start()
    await second.start()
    await asyncio.sleep(30)
    assert len(first.owned) + len(second.owned) == 2
    left_ms = clock.now_ms()
    await second.stop()
    while len(first.owned) < 2:  # noqa: ASYNC110 - on virtual time
        await asyncio.sleep(0.01)
    assert clock.now_ms() - left_ms < 100
