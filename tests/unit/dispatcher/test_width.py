"""Many quiet poller instances: what a tick and a round ask for, what is read when something went wrong, and
how much is kept in memory."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, cast

import pytest
from tests.contract.builders import BUCKET, START_MS, key_of, make_app, make_row, make_rows
from tests.unit.dispatcher.rig import make_owned
from tests.unit.spy_store import SpyStore

from ringtime_dispatcher.delivery.ledger import Room
from ringtime_dispatcher.ownership.instance import Instances, OwnedInstance
from ringtime_dispatcher.ownership.minute import SLOTS_KNOWN
from ringtime_dispatcher.ownership.recovery import walk
from ringtime_dispatcher.reading.polling import Poller
from ringtime_dispatcher.reading.sealing import CLOSING_MS, Sealer, find_laden, take_closing
from ringtime_shared.buckets import first_slot, last_slot
from ringtime_shared.clock import ManualClock
from ringtime_shared.errors import StoreUnavailable
from ringtime_shared.models.app import App
from ringtime_shared.models.schedule import Row
from ringtime_shared.settings import DispatchSettings, IngestSettings
from ringtime_shared.stores.arrivals import INDEX_LEAD_MS
from ringtime_shared.stores.protocol import LAST_ID, DamagedRow, Position

pytestmark = pytest.mark.timeout(600)  # ./test runs these in time that nobody else asks for

TICK_MS = 200
MARGIN_MS = IngestSettings().commit_margin_ms
END_MS = last_slot(BUCKET)


class Node:
    """Reading and sealing of one node, without delivery; what is read leaves when the test says so."""

    def __init__(
        self, apps: Sequence[App], *, settled_ms: int = START_MS - 1, now_ms: int = START_MS, **dispatch: Any
    ) -> None:
        self.clock = ManualClock(now_ms)
        self.store = SpyStore(self.clock.now_ms)
        self.settings = DispatchSettings(**dispatch)
        self.instances = Instances()
        self.owned = [
            make_owned(app, partition, settled_ms) for app in apps for partition in range(app.polled)
        ]
        for each in self.owned:
            self.instances.add(each)
        self.memory = Room(self.settings.max_loaded)
        self.held: deque[tuple[OwnedInstance, Row]] = deque()
        self.read: list[tuple[int, Row]] = []  #: when, and what
        store = cast(Any, self.store)
        self.poller = Poller(
            store,
            self.clock,
            self.settings,
            self.instances,
            self,
            self.memory.of,
            self.memory.is_full,
            MARGIN_MS,
        )
        self.sealer = Sealer(store, self.clock, self.settings, self.instances, self)

    def accept(self, owned: OwnedInstance, row: Row) -> bool:
        if not owned.take(key_of(row)):
            return False
        self.held.append((owned, row))
        self.read.append((self.clock.now_ms(), row))
        self.memory.add(row.place.app_id)
        return True

    def reject(self, owned: OwnedInstance, row: DamagedRow) -> None:
        raise AssertionError(row)

    def deliver(self, count: int) -> None:
        for _ in range(min(count, len(self.held))):
            owned, row = self.held.popleft()
            owned.close(key_of(row))
            self.memory.remove(row.place.app_id)

    async def run(self, until_ms: int, *, seals: bool = False) -> None:
        """Tick up to a moment; all that is read is delivered at once."""
        while self.clock.now_ms() <= until_ms:
            await self.poller.tick()
            self.deliver(1 << 30)
            if seals and self.clock.now_ms() % self.settings.seal_ms < TICK_MS:
                await self.sealer.round()
            self.clock.advance(TICK_MS)

    def calls(self) -> Counter[str]:
        return Counter(self.store.names())

    def asked(self, name: str) -> int:
        """Return how many queries the calls of this name were given."""
        return sum(self.store.sizes(name))

    def lateness(self) -> list[int]:
        """Return of each row how long before its slot it was read; negative: that much later."""
        return [row.place.slot_ms - at_ms for at_ms, row in self.read]


def quiet(count: int) -> list[App]:
    return [make_app(app_id=f"app-{n}", number=n, polled=1, writable=1) for n in range(count)]


def spread(apps: Sequence[App], bucket: int, step_ms: int = 0) -> list[Row]:
    """One row an app, spread over a minute."""
    step_ms = step_ms or 60_000 // len(apps)
    return [make_row(app, first_slot(bucket) + n * step_ms) for n, app in enumerate(apps)]


async def test_an_instance_costs_one_look_one_read_and_one_final_read_for_its_row() -> None:
    apps = quiet(300)
    node = Node(apps, now_ms=START_MS - 40_000, settled_ms=START_MS - 60_001)
    await node.store.real.put_rows(spread(apps, BUCKET))
    await node.run(END_MS + CLOSING_MS + 10_000, seals=True)
    assert min(node.lateness()) > 0
    assert max(node.lateness()) <= node.settings.read_ahead_ms, "and none is read further ahead"
    assert node.asked("fetch_due") == 300
    looks_and_final_reads = node.asked("fetch_live_ids")
    assert looks_and_final_reads == 600
    assert node.calls()["fetch_index"] <= 8, (
        "once before each of three minutes, once behind each, and idle turns"
    )
    assert all(not each.has_rows and each.checked_ms >= END_MS for each in node.owned)


async def test_a_node_to_which_nothing_comes_asks_in_every_other_tick_alone() -> None:
    node = Node(quiet(200))
    await node.run(START_MS + 10_000)
    node.store.calls.clear()
    await node.run(START_MS + 30_000)
    assert node.store.names() == ["fetch_arrivals"] * (20_000 // (2 * TICK_MS))


@pytest.mark.parametrize("after_ms", range(1, 4 * TICK_MS, 50))
async def test_the_first_row_after_a_quiet_time_is_read_before_its_slot(after_ms: int) -> None:
    """Whenever it comes between two looks, and though its write took most of what the margin leaves."""
    [app] = quiet(1)
    node = Node([app])
    await node.run(START_MS + 20_000)
    for _ in range(after_ms // TICK_MS + 1):
        await node.poller.tick()
        node.clock.advance(TICK_MS)
    node.clock.step_wall(after_ms % TICK_MS - TICK_MS)
    row = make_row(app, node.clock.now_ms() + MARGIN_MS - 190)
    await node.store.real.put_rows([row])
    node.clock.step_wall(TICK_MS - after_ms % TICK_MS)
    await node.run(row.place.slot_ms)
    assert [each for _, each in node.read] == [row]
    assert min(node.lateness()) > 0


async def test_a_tick_with_nothing_due_asks_for_arrivals_alone() -> None:
    apps = quiet(200)
    node = Node(apps, now_ms=START_MS - INDEX_LEAD_MS)
    await node.store.real.put_rows([make_row(app, START_MS + 30_000) for app in apps])
    await node.run(START_MS + 5_000)
    node.store.calls.clear()
    await node.run(START_MS + 20_000)
    assert set(node.store.names()) == {"fetch_arrivals"}


async def test_looks_are_spread_over_the_lead_and_what_is_left_is_read_directly() -> None:
    apps = quiet(400)
    node = Node(apps, now_ms=START_MS - INDEX_LEAD_MS, looks_at_once=3)
    await node.store.real.put_rows(spread(apps, BUCKET, 10))
    await node.run(START_MS - 500)
    assert set(node.store.sizes("fetch_live_ids")) == {3}
    await node.run(START_MS + 10_000)
    assert min(node.lateness()) > 0, "none is late"
    assert len(node.read) == 400


async def test_few_looks_are_no_more_at_once_than_the_lead_needs() -> None:
    apps = quiet(200)
    node = Node(apps, now_ms=START_MS - INDEX_LEAD_MS)
    await node.store.real.put_rows([make_row(app, START_MS + 30_000) for app in apps])
    await node.run(START_MS)
    assert max(node.store.sizes("fetch_live_ids")) <= 4
    assert node.asked("fetch_live_ids") == 200


@pytest.mark.parametrize("has_rows", [False, True], ids=["the first row of its minute", "one more"])
async def test_a_row_filed_near_is_read_before_its_slot(has_rows: bool) -> None:
    apps = quiet(1)
    node = Node(apps, now_ms=START_MS - INDEX_LEAD_MS)
    if has_rows:
        await node.store.real.put_rows([make_row(apps[0], START_MS + 50_000)])
    await node.run(START_MS + 10_000)
    filed = make_row(apps[0], node.clock.now_ms() + 600)
    await node.store.real.put_rows([filed])
    node.store.calls.clear()
    await node.run(START_MS + 12_000)
    assert [row for _, row in node.read] == [filed]
    assert node.lateness()[0] > 0
    assert "fetch_live_ids" not in node.store.names(), "it is known that there is nothing else"
    assert node.asked("fetch_due") == 1


async def test_a_row_that_lands_behind_the_front_is_read_in_the_next_tick_and_once() -> None:
    [app] = quiet(1)
    node = Node([app])
    await node.store.real.put_rows(make_rows(app, [START_MS + n * 100 for n in range(100)]))
    await node.run(START_MS + 5_000)
    late = make_row(app, node.clock.now_ms() - 3_000)
    before = len(node.read)
    await node.store.real.put_rows([late])
    await node.poller.tick()
    assert late in [row for _, row in node.read[before:]]
    await node.run(START_MS + 12_000)
    assert len({key_of(row) for _, row in node.read}) == len(node.read) == 101


async def test_a_late_page_under_what_was_finally_read_fires_nothing_twice() -> None:
    """It is on its way while the same row is read finally, fired and forgotten."""
    [app] = quiet(1)
    node = Node([app])
    [owned] = node.owned
    row = make_row(app, START_MS + 1_000)
    assert node.accept(owned, row)
    node.deliver(1)
    owned.set_checked(START_MS + 2_000)
    assert not node.accept(owned, row)


def deafen(node: Node) -> None:
    """Let nothing be announced."""

    async def nothing(*_: Any) -> list[Any]:
        return []

    node.store.real.fetch_arrivals = nothing  # type: ignore[method-assign, assignment]


@pytest.mark.parametrize("has_rows", [False, True], ids=["the first row of its minute", "one more"])
async def test_a_row_nobody_announced_is_found_when_its_minute_is_over(has_rows: bool) -> None:
    apps = quiet(3)
    node = Node(apps, now_ms=START_MS - INDEX_LEAD_MS)
    deafen(node)
    if has_rows:
        await node.store.real.put_rows([make_row(apps[0], START_MS + 5_000)])
    await node.run(START_MS + 10_000, seals=True)
    unheard = make_row(apps[0], node.clock.now_ms() + 600)
    await node.store.real.put_rows([unheard])
    await node.run(END_MS, seals=True)
    assert unheard not in [row for _, row in node.read]
    await node.run(END_MS + 5_000, seals=True)
    assert [row for _, row in node.read].count(unheard) == 1


async def test_one_that_lands_after_its_minute_was_looked_at_again_waits_for_the_turn_of_its_instance() -> (
    None
):
    app = quiet(2)[1]  # its turn is a later minute's
    node = Node([app], idle_seal_minutes=10)
    deafen(node)
    await node.run(END_MS + 10_000, seals=True)
    unheard = make_row(app, START_MS + 30_000)
    [owned] = node.owned
    assert owned.sealed_ms < unheard.place.slot_ms, "so that whoever files it believes that it will be read"
    await node.store.real.put_rows([unheard])
    await node.run(END_MS + 660_000, seals=True)
    assert [row for _, row in node.read] == [unheard]


@pytest.mark.parametrize(("turns", "most"), [(2, 130), (10, 60)])
async def test_an_idle_instance_costs_one_write_a_turn_and_not_all_have_theirs_in_the_same_minute(
    turns: int, most: int
) -> None:
    assert DispatchSettings().idle_seal_minutes == 2
    apps = quiet(200)
    node = Node(apps, idle_seal_minutes=turns)
    await node.run(END_MS + 10_000, seals=True)
    node.store.calls.clear()
    await node.run(END_MS + 10_000 + 600_000, seals=True)
    writes = [size for size in node.store.sizes("put_marks") if size]
    assert sum(writes) == 200 * 10 // turns, "`sealed`, and `settled` as it was left by the turn before"
    assert max(writes) < most
    now_ms = node.clock.now_ms()
    assert all(now_ms - each.sealed_ms < (turns + 1) * 60_000 for each in node.owned)
    assert all(now_ms - each.settled_ms < (2 * turns + 1) * 60_000 for each in node.owned)


async def test_after_a_minute_without_arrivals_nothing_is_believed_known() -> None:
    """The store was away for this node alone, and others have filed meanwhile."""
    [app] = quiet(1)
    node = Node([app], now_ms=START_MS - INDEX_LEAD_MS)
    await node.store.real.put_rows([make_row(app, START_MS + 50_000), make_row(app, END_MS + 40_000)])
    await node.run(START_MS - 300)
    node.store.failure = StoreUnavailable("away")
    for _ in range(430):
        with pytest.raises(StoreUnavailable):
            await node.poller.tick()
        node.clock.advance(TICK_MS)
        if node.clock.now_ms() - START_MS in range(10_000, 10_200):
            await node.store.real.put_rows([make_row(app, START_MS + 11_000), make_row(app, END_MS + 30_000)])
    node.store.failure = None
    node.store.real._arrivals._arrivals.clear()  # they have expired
    await node.run(END_MS + 45_000)
    assert [row.place.slot_ms - START_MS for _, row in node.read] == [11_000, 50_000, 89_999, 99_999]


@pytest.mark.parametrize("call", ["fetch_index", "fetch_arrivals", "fetch_due", "fetch_live_ids"])
async def test_whatever_cannot_be_read_is_read_in_a_later_tick(call: str) -> None:
    apps = quiet(20)
    node = Node(apps, now_ms=START_MS - INDEX_LEAD_MS)
    rows = spread(apps, BUCKET)
    await node.store.real.put_rows(rows)
    for n in range(2_000):
        if n % 3 == 0:
            node.store.heal(call)
            node.store.fail(call, StoreUnavailable("no"))
        try:
            await node.poller.tick()
        except StoreUnavailable:
            assert n % 3 < 2
        node.deliver(1_000)
        node.clock.advance(50)
    assert sorted(key_of(row) for _, row in node.read) == sorted(map(key_of, rows))


async def test_an_arrival_for_an_instance_under_a_walk_is_not_taken_for_all_there_is() -> None:
    [app] = quiet(1)
    node = Node([app], now_ms=START_MS + 10_000, settled_ms=START_MS - 120_001)
    [owned] = node.owned
    await node.store.real.put_rows([make_row(app, START_MS - 90_000), make_row(app, START_MS + 11_000)])
    await node.run(node.clock.now_ms())
    owned.is_walked = False
    await node.run(START_MS + 12_000)
    filed = make_row(app, node.clock.now_ms() + 600)
    await node.store.real.put_rows([filed])
    node.read.clear()
    other = make_owned(app, 0, settled_ms=START_MS - 120_001)
    other.is_walked = False
    node.instances.add(other)
    await node.poller.tick()
    assert node.read == []
    await walk(cast(Any, node.store), node.clock, node.instances, [other], walk_buckets=60)
    await node.poller.tick()
    node.clock.advance(600)
    await node.poller.tick()
    slots = [row.place.slot_ms - START_MS for _, row in node.read]
    assert slots == [-90_000, 11_000, filed.place.slot_ms - START_MS]


@pytest.mark.slow
async def test_ten_thousand_apps_after_three_minutes_down_are_read_oldest_first_within_bounds() -> None:
    apps = quiet(10_000)
    down_ms, most = 180_000, 5_000
    node = Node(apps, now_ms=START_MS, settled_ms=START_MS - down_ms - 1, max_loaded=most)
    rows = [row for n in range(3) for row in spread(apps, BUCKET - 3 + n)]
    await node.store.real.put_rows(rows)
    for each in node.owned:
        each.is_walked = False
    await walk(cast(Any, node.store), node.clock, node.instances, node.owned, walk_buckets=60)
    assert node.calls()["fetch_index"] == 1
    ticks, per_tick = 0, 400  #: 2,000 a second
    while len(node.read) < len(rows):
        asked = node.asked("fetch_due")
        await node.poller.tick()
        assert len(node.held) <= most
        assert node.asked("fetch_due") - asked <= 2 * most + 10_000
        node.deliver(per_tick)
        node.clock.advance(TICK_MS)
        ticks += 1
    assert ticks <= (len(rows) - most) // per_tick + 60, "delivery sets the pace, not reading"
    order = [row.place.slot_ms for _, row in node.read]
    ahead = max(earlier - later for earlier, later in _falls(order))
    assert ahead <= 60_000, "by no more than what one instance has to be read minute by minute"
    assert node.asked("fetch_due") <= 5 * len(rows)


def _falls(order: Sequence[int]) -> list[tuple[int, int]]:
    """Return the highest slot so far and the next, wherever the next is lower."""
    falls, highest = [(0, 0)], order[0]
    for slot in order:
        if slot < highest:
            falls.append((highest, slot))
        highest = max(highest, slot)
    return falls


@pytest.mark.slow
async def test_a_backlog_does_not_keep_a_quiet_app_from_its_first_read() -> None:
    busy, calm = quiet(2)
    node = Node([busy, calm], max_loaded=1_000, page_rows=100)
    await node.store.real.put_rows(
        make_rows(busy, [START_MS - 1] * 0 + [START_MS + n % 3_000 for n in range(20_000)])
    )
    await node.store.real.put_rows([make_row(calm, START_MS + 4_000)])
    while not any(row.place.app_id == calm.app_id for _, row in node.read):
        await node.poller.tick()
        node.deliver(50)
        node.clock.advance(TICK_MS)
        assert node.clock.now_ms() <= START_MS + 4_200
    assert node.read[-1][1].place.slot_ms > node.clock.now_ms() - TICK_MS - 300


@pytest.mark.slow
async def test_millions_of_rows_ahead_take_no_memory_but_a_bounded_piece_of_each_bucket() -> None:
    [app] = quiet(1)
    node = Node([app], now_ms=START_MS - INDEX_LEAD_MS)
    await node.store.real.put_rows(make_rows(app, [START_MS + n for n in range(0, 60_000, 4)]))
    await node.run(START_MS - 2 * TICK_MS)
    [owned] = node.owned
    minute = owned.minute(BUCKET)
    assert minute is not None
    assert len(minute._ahead) == SLOTS_KNOWN, "before the first of them are read"
    await node.run(END_MS)
    assert len(node.read) == 15_000
    assert min(node.lateness()) > 0


async def test_where_rows_are_dense_there_is_no_look_until_they_are_no_more() -> None:
    [app] = quiet(1)
    node = Node([app], now_ms=START_MS - INDEX_LEAD_MS)
    dense = [START_MS + n for n in range(0, 20_000, 10)]
    await node.store.real.put_rows(make_rows(app, [*dense, START_MS + 50_000]))
    await node.run(START_MS + 20_000)
    assert node.asked("fetch_live_ids") == 1, "what comes first was announced, and the end is dense no more"
    ticks = 20_000 // TICK_MS
    assert ticks <= node.asked("fetch_due") <= ticks + 5, "each page was long enough"
    node.store.calls.clear()
    await node.run(END_MS)
    assert (node.asked("fetch_live_ids"), node.asked("fetch_due")) == (0, 1)
    assert len(node.read) == len(dense) + 1
    assert min(node.lateness()) > 0


@pytest.mark.slow
async def test_rows_that_were_seen_are_let_go_of_before_they_are_too_many() -> None:
    apps = quiet(20)
    node = Node(apps, seal_rows=100, seen_rows=1_000)
    await node.store.real.put_rows(
        [row for app in apps for row in make_rows(app, [START_MS + n * 100 for n in range(590)])]
    )
    most = 0
    while node.clock.now_ms() < END_MS:
        await node.run(node.clock.now_ms(), seals=True)
        most = max(most, sum(each.rows_seen for each in node.owned))
    assert len(node.read) == 20 * 590
    assert most <= 1_000 + 20 * 10 * 5, "and what comes in between two rounds"


def test_whoever_holds_more_than_an_even_share_is_laden_when_all_hold_too_much() -> None:
    owned = [make_owned(APP, n, settled_ms=START_MS - 1) for n in range(4)]
    for n, each in enumerate(owned):
        each.open_bucket(BUCKET)
        for slot in range(n * 10):
            assert each.take(Position(START_MS + slot, LAST_ID))
    assert find_laden(owned, most_each=30, most=100) == [owned[3]]
    assert find_laden(owned, most_each=30, most=59) == [owned[2], owned[3]]
    assert find_laden(owned, most_each=0, most=100) == owned


APP = make_app(polled=4, writable=4)


def test_minutes_that_are_over_are_sealed_oldest_first_and_not_all_at_once() -> None:
    app = make_app(polled=3_000, writable=3_000)
    owned = [make_owned(app, n, settled_ms=START_MS - 60_001) for n in range(3_000)]
    for n, each in enumerate(owned):
        each.open_bucket(BUCKET - 1 if n % 2 else BUCKET)
    limit_ms = END_MS + 1
    assert take_closing(owned, limit_ms=START_MS, pause_ms=2_000) == owned[1:400:2], "the others are not over"
    first = take_closing(owned, limit_ms=limit_ms, pause_ms=2_000)
    assert first == owned[1:600:2]
    assert take_closing(owned[:150], limit_ms=limit_ms, pause_ms=2_000) == owned[1:150:2] + owned[0:150:2]
    assert len(take_closing(owned, limit_ms=limit_ms + CLOSING_MS, pause_ms=2_000)) == 3_000
