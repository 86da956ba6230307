"""A deployment whose wall clocks jump both ways, drift, differ, and are wrong at the start; hosts of the
store lie about the time, too, and marks are found that a false clock has left.

Whoever is relied on may be off by what the bound allows, and so a send may be early by that much; never by
the size of a jump.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from random import Random

from ringtime_shared.clock import Clock
from ringtime_shared.clock.watched import WatchedClock
from ringtime_shared.settings import ClockSettings, IngestSettings
from ringtime_shared.stores.protocol import Marks, MarksWrite
from tests.cluster.pod import FaultRates, Pod, PodStore
from tests.cluster.world import Plan, World, random_plan

_SKEW_MS = 200
_HOSTS = 3
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockPlan(Plan):
    """What happens to the clocks of one run, besides all else."""

    jumps: int = 3  #: of some pod's clock, and back
    host_lies: int = 1  #: of some host of the store, for a while
    drift: float = 0.0  #: the most a pod's clock gains or loses, ms a ms
    wrong_start: float = 0.3  #: chance that a dispatcher that starts again has a wrong clock
    false_marks: int = 1  #: how often marks an hour ahead are found, after which their owner dies


def random_clock_plan(rng: Random) -> ClockPlan:
    """Draw a run; the other faults are as everywhere."""
    base = random_plan(rng)
    return ClockPlan(
        crashes=base.crashes,
        pauses=base.pauses,
        rates=base.rates,
        failure_rate=base.failure_rate,
        outage_s=base.outage_s,
        schedules=60,
        jumps=rng.choice([1, 3, 6]),
        host_lies=rng.choice([0, 1, 2]),
        drift=rng.choice([0.0, 0.0, 0.001, 0.03]),
        false_marks=rng.choice([0, 0, 1]),
    )


class ClockWorld(World):
    """Build it inside a running virtual loop."""

    def __init__(self, seed: int, plan: ClockPlan | None = None) -> None:
        rng = Random(seed ^ 0xC10C)
        drawn = plan or random_clock_plan(rng)
        # Rows further ahead than `near_ms` are filed without a look at the marks: some of these must be.
        self._clock_plan = replace(
            drawn,
            ingest=IngestSettings(near_ms=6_500),
            clock=ClockSettings(max_skew_ms=_SKEW_MS, look_ms=500, look_back_s=60),
        )
        super().__init__(seed, self._clock_plan)
        self.early_ms = 5 * _SKEW_MS // 2
        self._hosts_off_ms = [self.rng.uniform(-20, 20) for _ in range(_HOSTS)]
        self._is_healed = False

    async def _clock_of(self, pod: Pod, store: PodStore) -> Clock:
        store.hosts_off_ms = self._hosts_off_ms
        pod.drift = self.rng.uniform(-1, 1) * self._clock_plan.drift
        clock = WatchedClock(pod, self._clock_plan.clock)
        await clock.look(store.fetch_times)
        self.spawn(self._watch(clock, pod, store))
        return clock

    async def _watch(self, clock: WatchedClock, pod: Pod, store: PodStore) -> None:
        while pod.is_alive:
            await asyncio.sleep(self._clock_plan.clock.look_ms / 1_000)
            await clock.look(store.fetch_times)

    def _make_pod(self, name: str) -> Pod:
        pod = Pod(name, self.rng, self.plan.rates, skew_ms=self.rng.randint(-50, 50))
        is_wrong = self.creates and not self._is_healed and self.rng.random() < self._clock_plan.wrong_start
        if is_wrong:
            self.spawn(self._jump(pod, self.rng.uniform(2, 8)))
        return pod

    async def _cause_faults(self) -> None:
        plan, rng = self._clock_plan, self.rng
        faults = [self._jump_sometime() for _ in range(plan.jumps)]
        faults += [self._lie_sometime() for _ in range(plan.host_lies)]
        faults += [self._leave_false_marks() for _ in range(plan.false_marks)]
        rng.shuffle(faults)
        await asyncio.gather(super()._cause_faults(), *faults)

    def _far(self) -> float:
        """Return some distance, in ms: a bit over the bound, or hours."""
        return float(self.rng.choice([-1, 1]) * _SKEW_MS * 10 ** self.rng.uniform(0.1, 4.5))

    async def _jump_sometime(self) -> None:
        await asyncio.sleep(self.rng.uniform(0, 1.3 * self.plan.load_s))
        await self._jump(self.rng.choice(self._pods()), self.rng.uniform(0.05, 8))

    async def _jump(self, pod: Pod, seconds: float) -> None:
        far_ms = self._far()
        pod.off_ms += far_ms
        await asyncio.sleep(seconds)
        if not self._is_healed:
            pod.off_ms -= far_ms

    async def _lie_sometime(self) -> None:
        await asyncio.sleep(self.rng.uniform(0, self.plan.load_s))
        host, far_ms = self.rng.randrange(_HOSTS), self._far()
        self._hosts_off_ms[host] += far_ms
        await asyncio.sleep(self.rng.uniform(1, 8))
        self._hosts_off_ms[host] -= far_ms

    async def _leave_false_marks(self) -> None:
        """As an owner of an earlier release leaves them: under its own term, an hour ahead; then it dies."""
        await asyncio.sleep(self.rng.uniform(2, self.plan.load_s))
        name = self.rng.choice(sorted(self._dispatchers))
        owned = [each for each, claim in self.hub.claims.items() if claim.node == name]
        terms = await self.store.fetch_terms(owned)
        ahead_ms = self.now_ms() + _HOUR_MS
        await self.store.put_marks(
            [MarksWrite(each, term, Marks(ahead_ms, ahead_ms)) for each, term in terms.items()]
        )
        await asyncio.sleep(self.rng.uniform(0, 6))
        await self._crash_and_restart(name)

    def _heal(self) -> None:
        super()._heal()
        self._is_healed = True
        self._hosts_off_ms[:] = [0.0] * _HOSTS
        for pod in self._pods():
            pod.off_ms = pod.drift = 0.0
            pod.rates = FaultRates()
