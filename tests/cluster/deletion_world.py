"""A deployment whose app `pay` is deleted and registered anew while it works, by operators who are killed,
frozen and in each other's way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from random import Random
from typing import cast

from ringtime_ingest.service import NewApp
from ringtime_shared.apps.deleting import Deleter
from ringtime_shared.errors import NotFound, RingtimeError
from ringtime_shared.ids import unpack_id
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.schedule import Place, Row, Status
from ringtime_shared.settings import AppLimits, IngestSettings
from ringtime_shared.stores.memory import MemoryStore
from tests.cluster.pod import FaultRates, Pod, PodStore
from tests.cluster.verifier import ClientEntry
from tests.cluster.world import Plan, World, random_plan

APP = "pay"
LIMITS = AppLimits(max_future_period_days=30)
INGEST = IngestSettings(map_age_ms=4_000, write_deadline_ms=5_000, commit_lanes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionPlan(Plan):
    """What happens in one run; `random_deletion_plan` draws one from a seed."""

    kill_rate: float = 0.25  #: of operators, at a random moment
    cancel_share: float = 0.4  #: of deletions that may cancel
    operator_slow_s: float = 0.5  #: calls of theirs may take so long
    uncounted: float = 0.3  #: of their changes, nobody is told


def random_deletion_plan(rng: Random) -> DeletionPlan:
    """Draw the faults of one run; few creates at a time, so that now and then nothing is left to fire."""
    plan = random_plan(rng)
    return DeletionPlan(
        schedules=rng.choice([60, 120]),
        load_s=100.0,
        lead_s=rng.choice([1.0, 2.0, 5.0]),
        failure_rate=plan.failure_rate,
        outage_s=rng.choice([(0.0, 0.0), (20.0, 45.0)]),
        crashes=plan.crashes,
        pauses=2 * plan.pauses,
        pause_s=15.0,
        rates=replace(plan.rates, slow=rng.choice([0.0, 0.05, 0.2])),
        ingest=INGEST,
        operator_slow_s=rng.choice([0.1, 2.0]),
    )


class DeletionWorld(World):
    """Build it inside a running virtual loop."""

    plan: DeletionPlan

    def __init__(self, seed: int, plan: DeletionPlan | None = None) -> None:
        super().__init__(seed, plan or random_deletion_plan(Random(seed ^ 0xDE1)))
        self.deleted = 0  #: how often the app was gone
        self._found: list[str] = []

    async def run(self) -> list[str]:
        return await super().run() + self._found

    async def _cause_faults(self) -> None:
        await asyncio.gather(super()._cause_faults(), self._delete_all_the_time())

    async def _delete_all_the_time(self) -> None:
        rng, loop = self.rng, asyncio.get_running_loop()
        while loop.time() < self.plan.load_s:
            work = self.spawn(self._operate())
            self.works.append(work)
            is_killed = rng.random() < self.plan.kill_rate
            # An operator who takes longer gets company.
            await asyncio.wait([work], timeout=rng.uniform(0.01, 20) if is_killed else 30)
            if is_killed:
                work.cancel()  # kill -9: what it has sent is carried out all the same
            await asyncio.sleep(rng.uniform(0, 3))
            if await self.store.fetch_app(APP) is None:
                self.deleted += 1
                await asyncio.sleep(rng.choice([0, 1, 5]))
                await self._register()

    async def _register(self) -> None:
        _, service = self.rng.choice(self._ingest)
        new = NewApp(
            app_id=APP, partitions=self.rng.randint(1, 4), active=True, configuration=AppConfiguration()
        )
        try:
            await service.register_app(new)
        except RingtimeError:
            return

    async def _operate(self) -> None:
        rng = self.rng
        rates = replace(
            self.plan.rates, slow=0.4, slow_s=self.plan.operator_slow_s, uncounted=self.plan.uncounted
        )
        pod = Pod(f"operator-{len(self.operators)}", rng, rates)
        self.operators.append(pod)
        if rng.random() < 0.2:
            asyncio.get_running_loop().call_later(rng.uniform(0, 10), pod.pause, rng.uniform(1, 12))
        deleter = self._deleter(pod)
        for _ in range(100):  # until nothing is left, or somebody else is in the way
            try:
                begun = await deleter.begin(APP, cancels=rng.random() < self.plan.cancel_share)
                await deleter.finish(begun)
            except NotFound:
                return
            except RingtimeError:
                await asyncio.sleep(rng.uniform(0.05, 0.5))

    def _deleter(self, pod: Pod) -> Deleter:
        store = cast("MemoryStore", PodStore(self.store, pod))
        return Deleter(store, pod, self.plan.ingest, LIMITS)

    async def _wait_for_outcomes(self, deadline_s: float) -> None:
        """End the deletion that is under way, wait, and see that nothing went with an app that should not."""
        await self._end_operators()
        app = await self.store.fetch_app(APP)
        if app is not None and app.deletion is not None:
            deleter = self._deleter(Pod("eve", self.rng, FaultRates()))
            await deleter.finish(await deleter.begin(APP, cancels=True))
        await super()._wait_for_outcomes(max(deadline_s, asyncio.get_running_loop().time() + 40))
        for entry in self.creates:
            if await self._is_gone(entry):
                row = await self._home_of(entry)
                if row is None or (row.outcome is None and row.cancelled_ms is None):
                    self._found.append(f"lost with its app: {str(entry.schedule_id)[-8:]}")
                entry.cancel_tried = True  # the ledgers of clients say no more of it

    async def _status(self, entry: ClientEntry) -> Status:
        if await self._is_gone(entry):
            return Status.DELETED
        return await super()._status(entry)

    async def _is_gone(self, entry: ClientEntry) -> bool:
        number = unpack_id(entry.schedule_id).app_number
        return number not in {app.number for app in await self.store.fetch_apps()}

    async def _home_of(self, entry: ClientEntry) -> Row | None:
        parts = unpack_id(entry.schedule_id)
        return await self.store.fetch_row(Place(APP, parts.partition, parts.slot_ms), entry.schedule_id)
