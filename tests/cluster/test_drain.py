"""Nodes are drained and undrained while the deployment works: nothing is lost, and they end up empty."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from ringtime_shared.coordination.memory import MemoryOperator
from ringtime_shared.coordination.protocol import Drain
from ringtime_shared.errors import NotFound
from tests.cluster.conftest import quick_and_slow
from tests.cluster.world import Plan, World, random_plan
from tests.harness.virtual import run_virtual

NODE = "dispatcher-1"


class DrainWorld(World):
    """Drains a random node, and after a while takes it back, again and again."""

    async def _cause_faults(self) -> None:
        await asyncio.gather(super()._cause_faults(), self._drain_all_the_time())

    async def _drain_all_the_time(self) -> None:
        operator = MemoryOperator(self.hub)
        while asyncio.get_running_loop().time() < self.plan.load_s + 5:
            node = self.rng.choice(sorted(self._dispatchers))
            try:
                await operator.put_drain(Drain(node=node, operator="sim", since_ms=0))
            except NotFound:  # it is down just now
                await asyncio.sleep(0.5)
                continue
            await asyncio.sleep(self.rng.uniform(0.1, 8))
            if self.rng.random() < 0.7:  # some stay drained while others are, up to all of them
                await operator.delete_drain(node)
            await asyncio.sleep(self.rng.uniform(0, 2))


class CalmWorld(World):
    """One node is drained, stays empty, and is taken back."""

    drain_s = 0.0
    undrain_s = 0.0

    def firsts(self) -> list[str]:
        """Return the nodes that do what one does for all."""
        return [node for node, (_, dispatcher, _) in self._dispatchers.items() if dispatcher.is_first()]

    def owned(self) -> int:
        return Counter(claim.node for claim in self.hub.claims.values())[NODE]

    async def _cause_faults(self) -> None:
        operator = MemoryOperator(self.hub)
        await asyncio.sleep(4)  # the shares have settled
        before = self.owned()
        assert before
        first = min(self._dispatchers)
        assert self.firsts() == [first]
        await operator.put_drain(Drain(node=NODE, operator="sim", since_ms=0))
        self.drain_s = await seconds_until(lambda: not self.owned())
        for _ in range(40):
            await asyncio.sleep(0.1)
            assert self.owned() == 0
            assert len(self.hub.claims) == 6
        assert self.firsts() == [min(self._dispatchers.keys() - {NODE})], "and a drained one does not"
        await operator.delete_drain(NODE)
        self.undrain_s = await seconds_until(lambda: self.owned() == before)


async def seconds_until(holds: Callable[[], bool]) -> float:
    """Wait, and return how long it took."""
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    while not holds():  # noqa: ASYNC110 - on virtual time a look costs nothing
        await asyncio.sleep(0.05)
    return loop.time() - begun_s


def test_a_drained_node_hands_over_without_loss_or_repeat_and_takes_back() -> None:
    async def play() -> CalmWorld:
        world = CalmWorld(7, Plan(failure_rate=0.0, schedules=200))
        assert await world.run() == []
        return world

    world = run_virtual(play())
    assert world.drain_s < 8  # what is in flight ends within its deadline
    assert world.undrain_s < 10  # those it gave away dwell for 3 s where they are
    sent = Counter(send.schedule_id for send in world.sends if send.accepted and send.heard)
    assert max(sent.values()) == 1


@pytest.mark.parametrize("seed", quick_and_slow(range(12), quick=4))
def test_drains_among_crashes_pauses_and_lost_replies_keep_the_promise(seed: int) -> None:
    async def play() -> list[str]:
        return await DrainWorld(seed, random_plan(Random(seed ^ 0xD3A1))).run()

    assert run_virtual(play()) == []
