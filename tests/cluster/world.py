"""A whole deployment in one event loop on virtual time: ingest pods, dispatchers, faults, ledgers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, cast
from unittest.mock import patch
from uuid import UUID

from ringtime_dispatcher.engine import Dispatcher, DispatcherParts
from ringtime_ingest.service import IngestParts, IngestService, NewApp, NewSchedule
from ringtime_shared.callbacks.protocol import CallbackType, Delivery, Reply
from ringtime_shared.clock import Clock
from ringtime_shared.coordination.memory import Hub
from ringtime_shared.coordination.protocol import Claim, Member
from ringtime_shared.errors import RingtimeError, Violation
from ringtime_shared.ids import unpack_id
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.schedule import Place, Status
from ringtime_shared.recurring.completing import Completions
from ringtime_shared.settings import (
    AppLimits,
    ClockSettings,
    CoordinationSettings,
    DispatchSettings,
    IngestSettings,
    RetrySettings,
)
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import LAST_ID, Position
from tests.cluster.pod import FaultRates, Pod, PodSession, PodStore, right_ms
from tests.cluster.verifier import ClientEntry, Send, judge

TTL_MS, _MARGIN_MS = 4_000, 1_500
COMPLETIONS = Completions("https://ringtime.example", "x" * 32)
_EPOCH_MASK = (1 << 48) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What happens in one run; `random_plan` draws one from a seed."""

    dispatchers: int = 3
    schedules: int = 40
    load_s: float = 15.0  #: creates come during this time
    lead_s: float = 12.0  #: fire times lie up to this far ahead
    cancel_rate: float = 0.1
    failure_rate: float = 0.05  #: of attempts, answered with an error
    slow_answers: float = 0.2  #: of attempts, which take up to 3 s
    outage_s: tuple[float, float] = (0.0, 0.0)  #: from when to when one of the two destinations is down
    crashes: int = 0
    pauses: int = 0
    pause_s: float = 6.0
    wait_s: float = 40  #: after the faults are over, for outcomes; longer where marks follow minutes
    rates: FaultRates = field(default_factory=FaultRates)
    ingest: IngestSettings = field(default_factory=IngestSettings)
    clock: ClockSettings = field(default_factory=ClockSettings)
    dispatch: DispatchSettings = field(
        default_factory=lambda: DispatchSettings(
            page_rows=4,
            apps_refresh_ms=2_000,
            walk_buckets=3,
            seal_rows=0,  # each round seals: what follows from a mark is met often in a run of a minute
            max_loaded=30,
            destination_in_flight=4,
            breaker_failures=2,
            breaker_open_ms=2_000,
            park_per_s=20,
            slow_after_ms=2_000,
        )
    )


#: Marks follow minutes that are over, as they do by default.
BY_MINUTES = replace(Plan().dispatch, seal_rows=DispatchSettings().seal_rows)


def random_plan(rng: Random) -> Plan:
    """Draw the faults of one run; about one in eight has none, and two in five seal as by default."""
    plan = _random_faults(rng)
    return replace(plan, dispatch=BY_MINUTES) if rng.random() < 0.4 else plan


def _random_faults(rng: Random) -> Plan:
    if rng.random() < 0.12:
        return Plan()
    return Plan(
        crashes=rng.choice([0, 0, 1, 2]),
        pauses=rng.choice([0, 1, 2, 3]),
        rates=FaultRates(
            slow=rng.choice([0.0, 0.01, 0.05]),
            lost_reply=rng.choice([0.0, 0.01, 0.03]),
            refused=rng.choice([0.0, 0.01, 0.03]),
        ),
        failure_rate=rng.choice([0.0, 0.05, 0.2]),
        outage_s=rng.choice([(0.0, 0.0), (3.0, 12.0), (8.0, 25.0)]),
    )


class RecordingCallback(CallbackType):
    """The receiver's ledger, on one dispatcher's side of the wire."""

    name = "sim"

    def __init__(self, world: World, pod: Pod) -> None:
        self._world = world
        self._pod = pod

    def validate(self, details: Mapping[str, object], app_id: str) -> list[Violation]:
        return []

    def destination(self, details: Mapping[str, object]) -> str:
        return str(details["to"])

    async def invoke(self, delivery: Delivery) -> Reply:
        world, schedule = self._world, delivery.schedule
        first_s, last_s = world.plan.outage_s
        is_down = delivery.details["to"] == "b" and first_s <= asyncio.get_running_loop().time() < last_s
        accepted = world.rng.random() >= world.plan.failure_rate and not is_down
        claims, epoch = world.hub.claims.values(), delivery.term & _EPOCH_MASK
        held = self._pod.is_paused or Claim(self._pod.name, epoch) in claims
        send = Send(schedule.schedule_id, world.now_ms(), delivery.attempt, delivery.term, accepted, held)
        send.payload = schedule.payload
        world.sends.append(send)
        is_slow = world.rng.random() >= 1 - world.plan.slow_answers
        slowest_s = 3.0 if is_slow else 0.05  # some answers come after the deadline
        await asyncio.sleep(world.rng.uniform(0.001, slowest_s))
        await self._pod.wait_running()
        send.heard = True
        return Reply(ok=accepted, code=200 if accepted else 500, error="" if accepted else "simulated")


class World:
    """Build it inside a running virtual loop."""

    def __init__(self, seed: int, plan: Plan | None = None) -> None:
        self.rng = Random(seed)
        self._chance = Random(f"chance of {seed}")  #: stands for the operating system's
        self.plan: Plan = plan or random_plan(self.rng)
        self.hub = Hub()
        self.store = MemoryStore(self.now_ms)
        self.early_ms = 0  #: see `judge`
        self.creates: list[ClientEntry] = []
        self.sends: list[Send] = []
        self.operators: list[Pod] = []  #: who change apps by hand; a simulation that has any adds them
        self.works: list[asyncio.Task[None]] = []  #: what they do
        self._background: set[asyncio.Task[Any]] = set()
        self._ingest: list[tuple[Pod, IngestService]] = []
        self._dispatchers: dict[str, tuple[Pod, Dispatcher, list[PodSession]]] = {}

    @staticmethod
    def now_ms() -> int:
        return right_ms()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def run(self) -> list[str]:
        """Play the plan to its end; return the violations."""
        # Some ids are drawn where nobody passes a source in. Rows of one slot go in the order of their ids.
        with patch("os.urandom", self._chance.randbytes), patch("random._urandom", self._chance.randbytes):
            return await self._play()

    async def _play(self) -> list[str]:
        await self._set_up()
        faults = [self.spawn(self._cause_faults())]
        clients = [self.spawn(self._be_client()) for _ in range(self.plan.schedules)]
        async with asyncio.timeout(600):  # a request that is never answered is a bug, too
            await asyncio.gather(*clients, *faults)
        self._heal()
        # Where marks follow minutes, what nobody announced is found behind its minute, or the one after it.
        longest_s = self.plan.wait_s + (0 if self.plan.dispatch.seal_rows == 0 else 2 * 60)
        await self._wait_for_outcomes(deadline_s=asyncio.get_running_loop().time() + longest_s)
        assert self.creates, "no create got through"
        given_up = {
            entry.schedule_id for entry in self.creates if await self._status(entry) == Status.FAILURE
        }
        dead = await self._dead_letters()
        await self._tear_down()
        return judge(self.creates, self.sends, given_up, dead, early_ms=self.early_ms)

    async def _dead_letters(self) -> set[UUID]:
        letters = [
            await self.store.fetch_dead_letters(app_id, Position(0, LAST_ID), 1 << 62, 10_000)
            for app_id in ("pay", "mail")
        ]
        return {letter.schedule_id for page in letters for letter in page}

    async def _set_up(self) -> None:
        for number in range(2):
            pod = Pod(f"ingest-{number}", self.rng, FaultRates(), skew_ms=self.rng.randint(-20, 20))
            self._ingest.append((pod, await self._start_ingest(pod)))
        await self._register_apps()
        for number in range(self.plan.dispatchers):
            await self._start_dispatcher(f"dispatcher-{number}")
        await asyncio.sleep(0.5)
        for pod, _ in self._ingest:
            pod.rates = self.plan.rates

    async def _register_apps(self) -> None:
        for app_id, partitions in (("pay", 4), ("mail", 2)):
            await self._ingest[0][1].register_app(
                NewApp(app_id=app_id, partitions=partitions, active=True, configuration=AppConfiguration())
            )

    def _store_of(self, pod: Pod) -> PodStore:
        """Return the store as this pod sees it."""
        return PodStore(self.store, pod)

    async def _clock_of(self, pod: Pod, store: PodStore) -> Clock:
        """Return the clock that the pod runs on."""
        return pod

    async def _start_ingest(self, pod: Pod) -> IngestService:
        store = self._store_of(pod)
        return await IngestService.start(
            IngestParts(
                store=cast("MemoryStore", store),
                clock=await self._clock_of(pod, store),
                settings=self.plan.ingest,
                limits=AppLimits(),
                callbacks=self._callbacks(pod),
                holder=pod.name,
                completions=COMPLETIONS,
            )
        )

    def _callbacks(self, pod: Pod) -> dict[str, CallbackType]:
        return {"sim": RecordingCallback(self, pod)}

    def _make_pod(self, name: str) -> Pod:
        return Pod(name, self.rng, self.plan.rates)

    async def _start_dispatcher(self, name: str) -> None:
        pod = self._make_pod(name)
        store = self._store_of(pod)
        sessions: list[PodSession] = []

        def new_session() -> PodSession:
            sessions.append(PodSession(self.hub, pod, ttl_ms=TTL_MS, margin_ms=_MARGIN_MS))
            return sessions[-1]

        dispatcher = Dispatcher(
            DispatcherParts(
                member=Member(node=name),
                store=cast("MemoryStore", store),
                clock=await self._clock_of(pod, store),
                new_session=new_session,
                callbacks=self._callbacks(pod),
                dispatch=self.plan.dispatch,
                commit_margin_ms=self.plan.ingest.commit_margin_ms,
                retry=RetrySettings(first_delay_ms=500),
                coordination=CoordinationSettings(join_debounce_ms=1_000, dwell_ms=3_000),
                trust=self.plan.clock,
                rng=self.rng,
            )
        )
        await dispatcher.start()
        self._dispatchers[name] = (pod, dispatcher, sessions)

    async def _be_client(self) -> None:
        """Create one schedule at a random moment, perhaps cancel it later."""
        rng = self.rng
        await asyncio.sleep(rng.uniform(0, self.plan.load_s))
        _, service = rng.choice(self._ingest)
        fire_ms = self.now_ms() + int(rng.triangular(0, self.plan.lead_s * 1000, 1_000))
        new = NewSchedule(
            app_id=rng.choice(["pay", "mail"]),
            payload="{}",
            fire_ms=fire_ms,
            callback_type="sim",
            callback_details={"to": rng.choice("ab")},
        )
        try:
            row = await service.create_schedule(new)
        except RingtimeError:
            return
        entry = ClientEntry(row.schedule.schedule_id, fire_ms, self.now_ms())
        self.creates.append(entry)
        if rng.random() < self.plan.cancel_rate:
            await self._cancel(entry)

    async def _cancel(self, entry: ClientEntry) -> None:
        rng = self.rng
        await asyncio.sleep(rng.uniform(0, 6))
        entry.cancel_tried = True
        try:
            done = await rng.choice(self._ingest)[1].cancel_schedule(entry.schedule_id)
        except RingtimeError:
            return
        if done.promised:
            entry.cancel_promised_ms = self.now_ms()

    async def _cause_faults(self) -> None:
        rng, plan = self.rng, self.plan
        acts = ["crash"] * plan.crashes + ["pause"] * plan.pauses
        rng.shuffle(acts)
        for act in acts:
            await asyncio.sleep(rng.uniform(0, 2 * plan.load_s / (len(acts) + 1)))
            if act == "crash":
                self.spawn(self._crash_and_restart(rng.choice(sorted(self._dispatchers))))
            else:
                pods = [pod for pod, _ in self._ingest] + [pod for pod, _, _ in self._dispatchers.values()]
                rng.choice(pods).pause(rng.uniform(0.3, plan.pause_s))

    async def _crash_and_restart(self, name: str) -> None:
        pod, dispatcher, _ = self._dispatchers[name]
        if not pod.is_alive:
            return
        pod.is_alive = False
        await dispatcher.kill()
        await asyncio.sleep(TTL_MS / 1000 + self.rng.uniform(0.1, 3))
        await self._start_dispatcher(name)

    def _pods(self) -> list[Pod]:
        return [each[0] for each in self._ingest] + [each[0] for each in self._dispatchers.values()]

    def _heal(self) -> None:
        for pod in self._pods() + self.operators:
            pod.rates = FaultRates()

    async def _end_operators(self) -> None:
        """Stop them all, and wait until what they sent is carried out, however late."""
        for work in self.works:
            work.cancel()
        await asyncio.gather(*self.works, return_exceptions=True)
        while any(pod.under_way for pod in self.operators):  # noqa: ASYNC110 - the time is virtual
            await asyncio.sleep(0.01)

    async def _status(self, entry: ClientEntry) -> Status:
        parts = unpack_id(entry.schedule_id)
        app = next(app for app in await self.store.fetch_apps() if app.number == parts.app_number)
        row = await self.store.fetch_row(Place(app.app_id, parts.partition, parts.slot_ms), entry.schedule_id)
        assert row is not None, "an acknowledged row is not in the store"
        return row.status

    async def _wait_for_outcomes(self, deadline_s: float) -> None:
        loop = asyncio.get_running_loop()
        waiting = list(self.creates)
        while waiting and loop.time() < deadline_s:
            while waiting and not await self._is_pending(waiting[-1]):
                waiting.pop()
            await asyncio.sleep(0.5)
        await asyncio.sleep(1)

    async def _is_pending(self, entry: ClientEntry) -> bool:
        try:
            return await self._status(entry) == Status.SCHEDULED
        except AssertionError:
            return False  # judged as lost

    async def _tear_down(self) -> None:
        for _, dispatcher, sessions in self._dispatchers.values():
            await dispatcher.kill()
            for session in sessions:
                await session.close()
        for task in list(self._background):
            task.cancel()
        if self._background:
            await asyncio.wait(self._background)
