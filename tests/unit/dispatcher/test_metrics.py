"""Each instrument of a dispatcher moves by the thing it names, and by that alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest
from tests.contract.builders import START_MS, make_app, make_row
from tests.harness.measured import counted
from tests.harness.virtual import LoopClock, on_virtual_time
from tests.unit.dispatcher.rig import Receiver, make_rig
from tests.unit.dispatcher.town import PLAIN, SLOT_MS, Town, an_outage, small
from tests.unit.spy_store import SpyStore

from ringtime_dispatcher.engine import Dispatcher, DispatcherParts
from ringtime_shared.callbacks.protocol import Reply
from ringtime_shared.coordination.memory import Hub, MemorySession
from ringtime_shared.coordination.protocol import Claim, Member
from ringtime_shared.metrics import Metrics, names
from ringtime_shared.metrics.apps import FAILURE, MISS, RETRY, SUCCESS
from ringtime_shared.metrics.names import Instrument
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.retry import RetryRules

DOWN = Reply(ok=False, code=503, error="answered 503")
RETRIED = RetryRules(attempts=2, statuses=("302", "404", "503", "999"))
ONCE = AppConfiguration(retry=RetryRules(attempts=1))


@on_virtual_time
async def test_a_callback_in_time() -> None:
    rig = make_rig()
    await rig.put(*(rig.row(START_MS + 500) for _ in range(3)))
    await asyncio.sleep(1)
    assert rig.counted(names.FIRES, result="success") == rig.counted(names.FIRES) == 3
    assert rig.counted(names.ATTEMPTS, result="success", code_class="2xx") == rig.counted(names.ATTEMPTS) == 3
    assert rig.counted(names.FIRE_LAG) == rig.counted(names.ATTEMPT) == 3
    assert rig.deliverer.counts.lags.counts[names.FIRE_LAG.buckets.index(0.3)] == 3, (
        "0.25 s, as of `make_row`"
    )
    assert rig.metrics.apps.find(rig.app.app_id)[SUCCESS] == 3
    for untouched in (names.MISSED, names.DEAD_LETTERS, names.PARKINGS, names.FOUND_LATE):
        assert rig.counted(untouched) == 0


@on_virtual_time
async def test_the_lag_is_that_of_the_first_attempt_and_counts_from_when_it_was_awaited() -> None:
    rig = make_rig()
    late = rig.row(START_MS - 2_000)
    created_after = rig.row(START_MS - 60_000)
    created_after = replace(
        created_after, schedule=replace(created_after.schedule, created_ms=START_MS - 200)
    )
    tried_before = replace(rig.row(START_MS - 5_000), attempts=1)
    await rig.put(late, created_after, tried_before)
    await asyncio.sleep(1)
    assert rig.counted(names.ATTEMPTS) == 3
    assert rig.counted(names.FIRE_LAG) == 2
    assert rig.deliverer.counts.lags.total == pytest.approx(2.25 + 0.2, abs=0.05)


@pytest.mark.parametrize(
    ("reply", "code_class"),
    [
        (DOWN, "5xx"),
        (Reply(ok=False, code=404, error="x"), "4xx"),
        (Reply(ok=False, code=302, error="x"), "3xx"),
        (Reply(ok=False, code=999, error="x"), "other"),
        (Reply(ok=False, error="no answer"), "none"),
        (RuntimeError("a plug-in"), "none"),
    ],
)
@on_virtual_time
async def test_an_attempt_that_fails_by_its_code_and_what_follows(
    reply: Reply | Exception, code_class: str
) -> None:
    rig = make_rig(configuration=AppConfiguration(retry=RETRIED))
    rig.receiver.answers += [reply]
    await rig.put(rig.row(START_MS))
    await asyncio.sleep(1)
    assert rig.counted(names.ATTEMPTS, result="retry", code_class=code_class) == 1
    assert rig.counted(names.FIRES) == 0
    numbers = rig.metrics.apps.find(rig.app.app_id)
    assert (numbers[RETRY], numbers[FAILURE]) == (1, 0)


@on_virtual_time
async def test_what_is_given_up_is_a_failure_and_a_dead_letter() -> None:
    rig = make_rig(configuration=ONCE)
    rig.receiver.answers += [DOWN]
    await rig.put(rig.row(START_MS))
    await asyncio.sleep(1)
    assert rig.counted(names.ATTEMPTS, result="failure", code_class="5xx") == 1
    assert rig.counted(names.FIRES, result="failure") == rig.counted(names.DEAD_LETTERS) == 1
    assert rig.metrics.apps.find(rig.app.app_id)[FAILURE] == 1


@on_virtual_time
async def test_a_shortage_of_this_node_is_nobody_elses_failure() -> None:
    rig = make_rig()
    rig.receiver.answers += [Reply(ok=False, error="no descriptors", is_shortage=True)]
    await rig.put(rig.row(START_MS))
    await asyncio.sleep(1)
    assert rig.counted(names.ATTEMPTS, result="shortage") == rig.counted(names.PARKINGS) == 1
    assert rig.counted(names.FIRES) == 0


@on_virtual_time
async def test_what_comes_due_too_late_is_missed() -> None:
    rig = make_rig(configuration=AppConfiguration(max_lateness_s=1))
    await rig.put(rig.row(START_MS - 5_000))
    await asyncio.sleep(1)
    assert rig.counted(names.MISSED, reason="too_late") == rig.counted(names.FIRES, result="miss") == 1
    assert rig.counted(names.MISSED, reason="passed_over") == rig.counted(names.FIRE_LAG) == 0
    assert rig.metrics.apps.find(rig.app.app_id)[MISS] == 1


@on_virtual_time
async def test_runs_that_are_left_out_are_missed_for_another_reason() -> None:
    rig = make_rig()
    rig.deliverer.counts.passed_over("shop", 4)
    assert rig.counted(names.MISSED, reason="passed_over") == rig.counted(names.FIRES, result="miss") == 4
    assert rig.counted(names.MISSED, reason="too_late") == 0


@on_virtual_time
async def test_what_waits_and_what_is_under_way() -> None:
    town = Town(PLAIN, dispatch=small())
    [app] = town.apps
    gate = town.street.hang("x")
    await town.live(*(town.row(app, SLOT_MS) for _ in range(5)), until_s=1.5)
    assert (town.counted(names.IN_FLIGHT), town.counted(names.DUE_BACKLOG)) == (2, 3)
    gate.set()
    await asyncio.sleep(1)
    assert (town.counted(names.IN_FLIGHT), town.counted(names.DUE_BACKLOG)) == (0, 0)


@on_virtual_time
async def test_a_destination_in_trouble() -> None:
    town = Town(PLAIN, dispatch=small())
    await an_outage(town)
    assert town.counted(names.BREAKER_STATE, state="open") == 1
    assert town.counted(names.BREAKER_STATE, state="half_open") == 0
    assert town.counted(names.PARKINGS) == 28
    assert town.counted(names.PARKED) == pytest.approx(28, abs=1)
    gate = town.street.hang("x")
    await asyncio.sleep(10)
    assert town.counted(names.BREAKER_STATE, state="open") == 0
    assert town.counted(names.BREAKER_STATE, state="half_open") == 1
    town.street.down.clear()
    gate.set()
    await asyncio.sleep(60)
    assert town.counted(names.BREAKER_STATE) == town.counted(names.PARKED) == 0
    assert town.counted(names.FIRES, result="success") == 30


class Node:
    """A whole dispatcher that is measured, with an app of four partitions."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        self.metrics = Metrics()
        self.hub = Hub()
        self.store = SpyStore(self.clock.now_ms)
        self.sessions: list[MemorySession] = []

    def _new_session(self) -> MemorySession:
        self.sessions.append(MemorySession(self.hub, self.clock))
        return self.sessions[-1]

    async def start(self) -> Dispatcher:
        app = make_app(writable=4, polled=4, created_ms=START_MS - 60_000)
        self.app = await self.store.real.create_app(app)
        node = Dispatcher(
            DispatcherParts(
                member=Member(node="a"),
                store=cast(Any, self.store),
                clock=self.clock,
                new_session=self._new_session,
                callbacks={"sim": Receiver(self.clock)},
                metrics=self.metrics,
            )
        )
        await node.start()
        await asyncio.sleep(5)
        return node

    async def counted(self, instrument: Instrument, **labels: str) -> float:
        await self.metrics.look()
        return counted(self.metrics, instrument, **labels)


@on_virtual_time
async def test_a_node_says_how_it_stands() -> None:
    it = Node()
    node = await it.start()
    assert await it.counted(names.READY) == 1
    assert await it.counted(names.OWNED) == 4
    assert await it.counted(names.RING_IMBALANCE) == 1
    assert await it.counted(names.LEFT_OUT) == 0
    assert (
        await it.counted(names.MOVES, direction="in"),
        await it.counted(names.MOVES, direction="out"),
    ) == (4, 0)
    assert await it.counted(names.MARK_AGE, mark="front") == 0
    assert 0 < await it.counted(names.MARK_AGE, mark="settled") <= 240
    await node.stop()
    assert await it.counted(names.READY) == await it.counted(names.OWNED) == 0
    assert await it.counted(names.MOVES, direction="out") == 4
    assert await it.counted(names.TERM_REJECTED) == await it.counted(names.LEASE_LOST) == 0


@on_virtual_time
async def test_the_oldest_due_row_and_the_marks_that_it_holds_back() -> None:
    it = Node()
    node = await it.start()
    row = make_row(it.app, it.clock.now_ms() + 1_000, callback_type="sim")
    gate = it.store.hold("put_updates")
    await it.store.real.put_rows([row])
    await asyncio.sleep(1)
    assert await it.counted(names.OLDEST_DUE_AGE) < 1
    await asyncio.sleep(400)
    assert await it.counted(names.OLDEST_DUE_AGE) == pytest.approx(400, abs=5)
    assert await it.counted(names.MARK_AGE, mark="settled") >= 395
    gate.set()
    await asyncio.sleep(200)
    assert await it.counted(names.OLDEST_DUE_AGE) == 0
    assert await it.counted(names.MARK_AGE, mark="settled") <= 240
    await node.stop()


@on_virtual_time
async def test_a_lease_that_is_lost_and_terms_that_end_with_it() -> None:
    it = Node()
    node = await it.start()
    it.sessions[-1]._end()
    await asyncio.sleep(5)
    assert await it.counted(names.LEASE_LOST) == 1
    assert await it.counted(names.TERM_REJECTED) == 4
    assert await it.counted(names.MOVES, direction="in") == 8
    assert await it.counted(names.OWNED) == 4
    await node.stop()


@on_virtual_time
async def test_a_claim_that_is_taken_away_ends_a_term() -> None:
    it = Node()
    node = await it.start()
    [instance] = [each for each in it.hub.claims if each.partition == 0]
    it.hub.claims[instance] = Claim("b", 99)
    it.hub.announce()
    await asyncio.sleep(5)
    assert await it.counted(names.TERM_REJECTED) == 1
    assert await it.counted(names.OWNED) == 3
    assert await it.counted(names.LEASE_LOST) == 0
    await node.stop()


@on_virtual_time
async def test_a_row_that_only_the_final_read_finds() -> None:
    it = Node()
    node = await it.start()
    slot_ms = it.clock.now_ms() + 1_000
    await it.store.real.put_rows([make_row(it.app, slot_ms, callback_type="sim")])
    await asyncio.sleep(2)
    assert await it.counted(names.FOUND_LATE) == 0
    it.store.real._arrivals.announce = lambda *_: None  # type: ignore[method-assign]
    await it.store.real.put_rows([make_row(it.app, slot_ms + 1, callback_type="sim")])
    await asyncio.sleep(120)
    assert await it.counted(names.FOUND_LATE) == 1
    await node.stop()
