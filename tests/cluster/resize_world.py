"""A deployment whose app `pay` is resized while it works, by operators who are killed, frozen and in each
other's way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import cast
from uuid import UUID

from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.resize.runner import Resizer, Unfinished
from ringtime_shared.apps.feed import FULL_MS
from ringtime_shared.coordination.memory import MemoryOperator
from ringtime_shared.errors import RingtimeError
from ringtime_shared.ids import unpack_id
from ringtime_shared.models.app import App, Instance
from ringtime_shared.models.schedule import Place
from ringtime_shared.settings import IngestSettings, Settings
from ringtime_shared.stores.memory import MemoryStore
from tests.cluster.pod import FaultRates, Pod, PodStore
from tests.cluster.verifier import ClientEntry
from tests.cluster.world import Plan, World, random_plan

APP = "pay"
MOST = 8  #: partitions
_LOOK_S = 0.1
_OWNED_S = 30.0  #: after a change of the app is known, what it polls is owned, and nothing else
#: A pod's map ages in a fraction of the pauses, and a flush that waits for a slow one outlives it.
INGEST = IngestSettings(map_age_ms=1_000, write_deadline_ms=5_000, commit_lanes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizePlan(Plan):
    """What happens in one run; `random_resize_plan` draws one from a seed."""

    kill_rate: float = 0.35  #: of operators, at a random moment
    operator_slow_s: float = 0.5  #: calls of theirs may take so long, to widen the gaps between their steps
    operator_slow: float = 0.4  #: chance of that
    operator_slow_calls: frozenset[str] = frozenset()  #: only these of theirs; empty: any
    ingest_frozen_s: float = 0.0  #: ingest pods are frozen up to so long as partitions are closed


def random_resize_plan(rng: Random) -> ResizePlan:
    """Draw the faults of one run."""
    plan = random_plan(rng)
    return ResizePlan(
        schedules=90,
        load_s=50.0,
        lead_s=rng.choice([4.0, 12.0]),
        failure_rate=plan.failure_rate,
        outage_s=rng.choice([(0.0, 0.0), (5.0, 25.0), (20.0, 45.0)]),
        crashes=plan.crashes,
        pauses=plan.pauses,
        pause_s=12.0,
        rates=replace(plan.rates, slow=rng.choice([0.0, 0.05, 0.2])),
        ingest=INGEST,
        operator_slow_s=rng.choice([0.5, 4.0, 10.0]),
    )


class ResizeWorld(World):
    """Build it inside a running virtual loop."""

    plan: ResizePlan

    def __init__(self, seed: int, plan: ResizePlan | None = None) -> None:
        super().__init__(seed, plan or random_resize_plan(Random(seed ^ 0x5EED)))
        self._found: list[str] = []  # rows that were acknowledged and polled by nobody
        self._ended: set[UUID] = set()  # schedules with an outcome, which they keep
        self._is_over = False

    async def run(self) -> list[str]:
        violations = await super().run()
        return violations + self._found

    async def _cause_faults(self) -> None:
        self.spawn(self._watch())
        if self.plan.ingest_frozen_s:
            self.spawn(self._freeze_ingest())
        await asyncio.gather(super()._cause_faults(), self._resize_all_the_time())

    async def _freeze_ingest(self) -> None:
        """Freeze the pods just when partitions are closed: what they have under way comes long after."""
        rng, closed = self.rng, 0
        while not self._is_over:
            app = await self._app()
            if (
                app.resize is not None
                and app.resize.quota < app.resize.before
                and app.resize.begun_ms > closed
            ):
                closed = app.resize.begun_ms
                most_s = self.plan.ingest_frozen_s
                for pod, _ in self._ingest:
                    pod.pause(rng.uniform(most_s / 2, most_s))
            await asyncio.sleep(_LOOK_S)

    async def _resize_all_the_time(self) -> None:
        rng, loop = self.rng, asyncio.get_running_loop()
        while loop.time() < self.plan.load_s + 5:
            work = self.spawn(self._operate(rng.choice(["ana", "bob"])))
            self.works.append(work)
            is_killed = rng.random() < self.plan.kill_rate
            # An operator who takes longer gets company.
            await asyncio.wait([work], timeout=rng.uniform(0.01, 15) if is_killed else 30)
            if is_killed:
                work.cancel()  # kill -9: what it has sent is carried out all the same
            await asyncio.sleep(rng.uniform(0, 2))

    async def _operate(self, operator: str) -> None:
        """Do what an operator would who finds the app as it is."""
        rng = self.rng
        pod = Pod(f"ringctl-{operator}-{len(self.operators)}", rng, self._operator_rates())
        self.operators.append(pod)
        if rng.random() < 0.2:
            asyncio.get_running_loop().call_later(rng.uniform(0, 10), pod.pause, rng.uniform(1, 12))
        resizer = self._resizer(pod, operator)
        try:
            before = await resizer.fetch()
            is_noted = before.resize is not None
            act = rng.choice(["resume", "resume", "abort", "begin"]) if is_noted else "begin"
            if act == "begin":
                app = await resizer.begin(rng.randint(1, MOST))
            else:
                app = await (resizer.resume() if act == "resume" else resizer.abort())
            if app.resize is not None:
                app = await resizer.finish(app, timeout_s=40, is_waiting=True)
            await resizer.until_let_go(
                [Instance(APP, partition) for partition in range(app.polled, before.polled)]
            )
        except (RingtimeError, Unfinished):
            return

    def _operator_rates(self) -> FaultRates:
        return replace(
            self.plan.rates,
            slow=self.plan.operator_slow,
            slow_s=self.plan.operator_slow_s,
            slow_calls=self.plan.operator_slow_calls,
            uncounted=0.3,
        )

    def _resizer(self, pod: Pod, operator: str) -> Resizer:
        deployment = Deployment(
            store=cast("MemoryStore", PodStore(self.store, pod)),
            coordination=MemoryOperator(self.hub),
            settings=Settings(ingest=self.plan.ingest, dispatch=self.plan.dispatch),
            operator=operator,
            clock=pod,
        )
        return Resizer(deployment, APP)

    async def _watch(self) -> None:
        while not self._is_over:
            await self._look()
            await asyncio.sleep(_LOOK_S)

    async def _look(self) -> None:
        """Note each acknowledged row that has no outcome and lies where nobody polls."""
        app = await self._app()
        names = {app.number: app.app_id for app in await self.store.fetch_apps()}
        for entry in self.creates:
            if entry.schedule_id in self._ended:
                continue
            place = await self._pending(entry, names)
            if place is None:
                self._ended.add(entry.schedule_id)
            elif place.app_id == APP and place.partition >= app.polled:
                self._is_over = True
                name = str(entry.schedule_id)[-8:]
                self._found.append(f"not polled: {name} in {place.partition} of {app.polled}")

    async def _app(self) -> App:
        app = await self.store.fetch_app(APP)
        assert app is not None
        return app

    async def _pending(self, entry: ClientEntry, names: Mapping[int, str]) -> Place | None:
        parts = unpack_id(entry.schedule_id)
        place = Place(names[parts.app_number], parts.partition, parts.slot_ms)
        home = await self.store.fetch_row(place, entry.schedule_id)
        if home is None or home.outcome is not None or home.cancelled_ms is not None:
            return None
        return home.moved_to or home.place

    async def _wait_for_outcomes(self, deadline_s: float) -> None:
        """Finish what the last operator left, wait, and see that nothing else is left."""
        await self._end_operators()
        app = await self._app()
        if app.resize is not None:
            resizer = self._resizer(Pod("ringctl-last", self.rng, FaultRates()), "eve")
            app = await resizer.finish(await resizer.resume(), timeout_s=120, is_waiting=True)
        await super()._wait_for_outcomes(max(deadline_s, asyncio.get_running_loop().time() + 40))
        await self._look()
        self._is_over = True
        app = await self._app()
        if app.resize is not None or app.writable != app.polled:
            self._found.append(f"unfinished: {app}")
        await self._see_owned(app)

    async def _see_owned(self, app: App) -> None:
        """Note it if what is owned does not become what is polled.

        A node may be frozen yet, or have just come back. A change that its operator did not live to count,
        and nobody since, is known when all apps are read.
        """
        loop = asyncio.get_running_loop()
        count = await self.store.count_app_changes()
        uncounted_s = [since_s for at, since_s in (pod.uncounted for pod in self.operators) if at == count]
        until_s = max([loop.time(), *(since_s + FULL_MS / 1_000 for since_s in uncounted_s)]) + _OWNED_S
        wanted = set(app.instances())
        while (owned := {instance for instance in self.hub.claims if instance.app_id == APP}) != wanted:
            if loop.time() >= until_s:
                self._found.append(f"owned: {sorted(owned)}, polled: {app.polled}")
                return
            await asyncio.sleep(1)
