"""A deployment of many apps, most of them quiet, whose rows are announced late, twice or never, while nodes
come, go, die and freeze.

Besides the promise, two things are judged: how late rows are, each by what happened to it, and what was read
for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import accumulate
from random import Random
from typing import cast
from uuid import UUID

from ringtime_ingest.service import NewApp, NewSchedule
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.parts.change import PartChanger, Unfinished
from ringtime_shared.buckets import bucket_of, last_slot
from ringtime_shared.errors import RingtimeError
from ringtime_shared.ids import unpack_id
from ringtime_shared.models.app import App, AppConfiguration
from ringtime_shared.models.schedule import Place, Status
from ringtime_shared.schedules.cancelling import CANCEL_PROMISE_MS
from ringtime_shared.settings import DispatchSettings, Settings
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import LAST_ID, Position
from tests.cluster.arrival_faults import ArrivalFaults, ArrivalRates
from tests.cluster.pod import START_MS, Pod, PodStore, Work
from tests.cluster.verifier import ClientEntry, Trouble, judge_lateness
from tests.cluster.world import TTL_MS, Plan, World, random_plan

BASE_MS = 250  #: a row that nothing happened to is sent within this
TAKEOVER_MS = 3_000  #: after the end of its owner's lease
BACK_MS = 3_000  #: from there to its restart, at most
MOVE_MS = 1_000  #: from one node that works to another
SLOW_ANSWER_MS = 3_000  #: which a handover waits for
LOOK_BACK_MS = 500  #: which a tick looks back for arrivals, at least
SWEEP_MS = 10_500  #: until an arrival is seen that was stamped further back than a tick looks
SWEPT_MS = 1_750  #: one that is later than this may be stamped further back than any sweep looks
CLOSE_MS = 26_000  #: after a minute's end: what is found by no sooner read was found then
NEW_APP_S = 6.0  #: after an app is registered, each dispatcher knows it
FEW = 10  #: reads more than a bound are none too many: there are few rows in a run
SETTLED_MS = 15_000  #: after a node came or went, no more instances move


@dataclass(frozen=True, slots=True, kw_only=True)
class WidePlan(Plan):
    """What happens in one run; `random_wide_plan` draws one from a seed."""

    start_s: float = 0.0  #: how far into the minute, from 37 s on
    apps: int = 200
    is_skewed: bool = True  #: the first apps have most of the rows; else each has as many
    snapped: float = 0.2  #: of fire times, at the begin of a minute
    skew_ms: int = 20  #: clocks are up to this far off
    arrivals: ArrivalRates = field(default_factory=ArrivalRates)
    joins: int = 0
    leaves: int = 0
    part_changes: int = 0  #: of the part count, by operators who may be killed
    part_counts: tuple[int, ...] = (1, 16, 64, 4_096)  #: that it is changed to
    new_apps: int = 0  #: registered while all goes on, and used soon after
    is_punctual: bool = True  #: lateness is judged

    @property
    def is_calm(self) -> bool:
        """Whether nothing happens that costs more reads."""
        changes = self.joins + self.leaves + self.crashes + self.pauses + self.part_changes + self.new_apps
        return self.is_punctual and self.arrivals == ArrivalRates() and not changes


def random_wide_plan(rng: Random) -> WidePlan:
    """Draw one run: as many are calm as have arrivals go wrong, nodes come and go, or everything at once."""
    load_s, lead_s = rng.choice([(15.0, 3.0), (20.0, 12.0), (20.0, 40.0), (10.0, 90.0)])
    apps = rng.choices([40, 150, 500, 2_000], [40, 40, 18, 2])[0]
    plan = WidePlan(
        dispatchers=rng.choice([1, 2, 3, 5]),
        schedules=rng.choice([60, 120, 200]),
        load_s=load_s,
        lead_s=lead_s,
        cancel_rate=0.05,
        failure_rate=0.0,
        slow_answers=rng.choice([0.0, 0.02]),
        start_s=rng.uniform(0, 60),
        apps=apps,
        is_skewed=rng.random() < 0.6,
        snapped=rng.choice([0.0, 0.2, 0.8]),
        skew_ms=rng.choice([20, 20, 200, 1_500]),
        dispatch=DispatchSettings(page_rows=rng.choice([4, 50, 500]), apps_refresh_ms=2_000, walk_buckets=3),
    )
    kind = rng.choice(["calm", "arrivals", "nodes", "both", "store"])
    if kind in ("arrivals", "both"):
        arrivals = ArrivalRates(
            lost=rng.choice([0.0, 0.1, 1.0]),
            late=rng.choice([0.0, 0.3, 1.0]),
            late_ms=rng.choice([300, 1_700, 9_000]),
            doubled=rng.choice([0.0, 0.5]),
        )
        plan = replace(plan, arrivals=arrivals)
    if kind in ("nodes", "both"):
        plan = replace(
            plan,
            crashes=rng.choice([0, 1]),
            pauses=rng.choice([0, 1, 2]),
            joins=rng.choice([0, 1]),
            leaves=rng.choice([0, 1]) if plan.dispatchers > 1 else 0,
        )
    if kind == "store":  # everything at once, and little room: only the promise is judged
        wild = random_plan(rng)
        plan = replace(
            plan,
            is_punctual=False,
            failure_rate=wild.failure_rate,
            outage_s=wild.outage_s,
            crashes=wild.crashes,
            pauses=wild.pauses,
            rates=wild.rates,
            joins=rng.choice([0, 1]),
            arrivals=ArrivalRates(lost=0.2, late=0.2, late_ms=5_000, doubled=0.2),
            dispatch=replace(Plan().dispatch, seal_ms=2_000),
        )
    if rng.random() < 0.4:
        plan = replace(plan, part_changes=rng.choice([1, 2]))
    if rng.random() < 0.3:
        plan = replace(plan, new_apps=rng.choice([1, 5]))
    return plan


class WideWorld(World):
    """Build it inside a running virtual loop."""

    plan: WidePlan

    def __init__(self, seed: int, plan: WidePlan | None = None) -> None:
        super().__init__(seed, plan or random_wide_plan(Random(seed ^ 0x31DE)))
        self.early_ms = self.plan.skew_ms
        self.work = Work()  #: of all dispatchers, after the start
        self.worst_ms: dict[str, int] = {}  #: by cause, how late the latest was
        self._names: dict[int, str] = {}  # by number
        self._shares: list[float] = []  # of the rows, added up, by app
        self._faults = ArrivalFaults(seed, self.plan.arrivals)
        self._troubles: list[Trouble] = []

    async def run(self) -> list[str]:
        await asyncio.sleep(self.plan.start_s)
        found = await super().run()
        if self.plan.is_punctual:
            late, self.worst_ms = self._judge_lateness()
            found += late
        if self.plan.is_calm and self.plan.skew_ms < LOOK_BACK_MS:
            found += self._judge_work()
        return found

    def _judge_work(self) -> list[str]:
        """Return what was read beyond what follows from the rows that were due, and from nothing else."""
        work, nodes = self.work, self.plan.dispatchers
        due, entries, announced = len(self.creates), len(work.filed), work.announced
        bounds = {
            "rows": (work.rows, 1.02 * due),
            "pages": (work.pages, 1.1 * due),
            "looks": (work.looks, 2.2 * entries + 2 * due / self.plan.dispatch.page_rows),
            "positions": (work.positions, 1.1 * due),
            "index": (work.index, 4 * nodes * entries),
            "arrivals": (work.arrivals, 7 * nodes * announced),  # four ticks look so far back, three sweeps
        }
        return [
            f"reads too much: {count} {name} for {due} rows due, bound {bound:.0f}"
            for name, (count, bound) in bounds.items()
            if count > bound + FEW
        ]

    def _judge_lateness(self) -> tuple[list[str], dict[str, int]]:
        troubles = list(self._troubles)
        for slot, kept_until_ms in self._faults.kept_back.items():
            close_ms = last_slot(bucket_of(slot[1])) + CLOSE_MS
            if kept_until_ms is None:
                troubles.append(Trouble("arrival lost", 0, close_ms, slot=slot))
            elif self.plan.arrivals.late_ms + self.plan.skew_ms > SWEPT_MS:
                troubles.append(Trouble("arrival very late", 0, close_ms, slot=slot))
            else:
                seen_ms = kept_until_ms + SWEEP_MS
                troubles.append(Trouble("arrival late", 0, min(seen_ms, close_ms), slot=slot))
        if self.plan.skew_ms > LOOK_BACK_MS:
            # A reader whose clock is ahead asks too late for what others stamp, until a sweep shows it.
            troubles.append(Trouble("clocks", 0, 1 << 62, most_ms=SWEEP_MS + self.plan.skew_ms))
        return judge_lateness(self.creates, self.sends, troubles, base_ms=BASE_MS + self.plan.skew_ms)

    async def _register_apps(self) -> None:
        rng = self.rng
        for number in range(self.plan.apps):
            partitions = 1 if rng.random() < 0.9 else rng.randint(2, 6)
            app = await self.store.create_app(
                App(
                    app_id=f"app-{number}",
                    number=0,
                    writable=partitions,
                    polled=partitions,
                    active=True,
                    version=1,
                    created_ms=self.now_ms(),
                )
            )
            self._names[app.number] = app.app_id
        self._shares = list(
            accumulate(1 / rank if self.plan.is_skewed else 1.0 for rank in range(1, self.plan.apps + 1))
        )

    def _make_pod(self, name: str) -> Pod:
        skew_ms = self.rng.randint(-self.plan.skew_ms, self.plan.skew_ms)
        return Pod(name, self.rng, self.plan.rates, skew_ms=skew_ms)

    def _store_of(self, pod: Pod) -> PodStore:
        store = super()._store_of(pod)
        store.work, store.arrival_faults = self.work, self._faults
        store.hold_parts()
        return store

    def _draw_fire_ms(self) -> int:
        rng, plan = self.rng, self.plan
        fire_ms = self.now_ms() + int(rng.triangular(0, plan.lead_s * 1_000, plan.lead_s * 200))
        if rng.random() < plan.snapped:
            fire_ms = last_slot(bucket_of(fire_ms)) + rng.choice([0, 1, 1, 1, 2])
        return fire_ms

    async def _be_client(self) -> None:
        await asyncio.sleep(self.rng.uniform(0, self.plan.load_s))
        app_id = self._names[self.rng.choices(range(self.plan.apps), cum_weights=self._shares)[0]]
        await self._create(app_id, self._draw_fire_ms())

    async def _create(self, app_id: str, fire_ms: int) -> None:
        rng = self.rng
        _, service = rng.choice(self._ingest)
        new = NewSchedule(
            app_id=app_id,
            payload="{}",
            fire_ms=fire_ms,
            callback_type="sim",
            callback_details={"to": rng.choice("ab")},
        )
        try:
            row = await service.create_schedule(new)
        except RingtimeError:
            return
        place = row.moved_to or row.place
        entry = ClientEntry(row.schedule.schedule_id, fire_ms, self.now_ms(), place=place)
        self.creates.append(entry)
        if rng.random() < self.plan.cancel_rate:
            await self._cancel(entry)

    async def _cancel(self, entry: ClientEntry) -> None:
        await super()._cancel(entry)
        # A sender reads a row, and with it the cancel, the read-ahead before its slot by its own clock. What
        # is left of the promise's second is room for clocks that differ; beyond, only what was in time holds.
        read_ahead_ms, skew_ms = self.plan.dispatch.read_ahead_ms, self.plan.skew_ms
        if 2 * skew_ms <= CANCEL_PROMISE_MS - read_ahead_ms:
            return
        if entry.place is not None and entry.cancel_promised_ms is not None:
            ahead_ms = entry.place.slot_ms - entry.cancel_promised_ms
            if ahead_ms < read_ahead_ms + skew_ms:
                entry.cancel_promised_ms = None

    async def _cause_faults(self) -> None:
        others = [self._change_parts()]
        others += [self._add_app(f"new-{number}") for number in range(self.plan.new_apps)]
        await asyncio.gather(self._act_on_nodes(), *others)

    async def _add_app(self, app_id: str) -> None:
        await asyncio.sleep(self.rng.uniform(0, self.plan.load_s))
        new = NewApp(app_id=app_id, partitions=2, active=True, configuration=AppConfiguration())
        try:
            app = await self.rng.choice(self._ingest)[1].register_app(new)
        except RingtimeError:
            return
        self._names[app.number] = app_id
        for ahead_s in (NEW_APP_S, self.plan.lead_s + NEW_APP_S):
            await self._create(app_id, self.now_ms() + int(ahead_s * 1_000))

    async def _change_parts(self) -> None:
        """Operators change the part count; one who is killed is followed by another."""
        rng = self.rng
        for number in range(self.plan.part_changes):
            await asyncio.sleep(rng.uniform(0, 5))
            count = rng.choice(self.plan.part_counts)
            is_done = False
            while not is_done:
                pod = Pod(f"ringctl-{number}-{len(self.operators)}", rng, self.plan.rates)
                self.operators.append(pod)
                work = self.spawn(self._operate(pod, count))
                self.works.append(work)
                is_killed = rng.random() < 0.3
                await asyncio.wait([work], timeout=rng.uniform(0, 30) if is_killed else None)
                is_done = work.done()
                work.cancel()

    async def _operate(self, pod: Pod, count: int) -> None:
        changer = PartChanger(
            Deployment(
                store=cast("MemoryStore", PodStore(self.store, pod)),
                coordination=None,
                settings=Settings(ingest=self.plan.ingest, dispatch=self.plan.dispatch),
                operator=pod.name,
                clock=pod,
            )
        )
        try:
            parts = await changer.fetch()
            parts = await (changer.begin(count) if parts.change is None else changer.resume())
            if parts.change is not None:
                await changer.finish(parts, timeout_s=120)
        except (RingtimeError, Unfinished):
            return

    async def _act_on_nodes(self) -> None:
        acts: list[Callable[[], None]] = [
            *[self._kill_one] * self.plan.crashes,
            *[self._freeze_one] * self.plan.pauses,
            *[self._add_one] * self.plan.joins,
            *[self._stop_one] * self.plan.leaves,
        ]
        self.rng.shuffle(acts)
        for act in acts:
            await asyncio.sleep(self.rng.uniform(0, (self.plan.load_s + self.plan.lead_s) / len(acts)))
            act()

    def _alive(self) -> list[str]:
        return sorted(name for name, (pod, _, _) in self._dispatchers.items() if pod.is_alive)

    def _note(self, cause: str, *, for_ms: float, most_ms: float) -> None:
        now_ms = self.now_ms()
        slowest_ms = SLOW_ANSWER_MS if self.plan.slow_answers else 0
        self._troubles.append(Trouble(cause, now_ms, now_ms + int(for_ms), most_ms + slowest_ms))

    def _kill_one(self) -> None:
        alive = self._alive()
        if not alive:
            return
        # It comes back at some moment within 3 s of its lease's end, and then instances move to it again.
        longest_ms = TTL_MS + TAKEOVER_MS + (BACK_MS if len(alive) == 1 else 0)
        self._note("kill", for_ms=longest_ms, most_ms=longest_ms)
        self._note("move", for_ms=TTL_MS + BACK_MS + SETTLED_MS, most_ms=MOVE_MS)
        self.spawn(self._crash_and_restart(self.rng.choice(alive)))

    def _freeze_one(self) -> None:
        pods = [pod for pod, _ in self._ingest] + [self._dispatchers[name][0] for name in self._alive()]
        frozen_s = self.rng.uniform(0.3, self.plan.pause_s)
        longest_ms = max(frozen_s * 1_000, TTL_MS) + TAKEOVER_MS
        self._note("freeze", for_ms=longest_ms, most_ms=longest_ms)
        self._note("move", for_ms=longest_ms + SETTLED_MS, most_ms=MOVE_MS)
        self.rng.choice(pods).pause(frozen_s)

    def _add_one(self) -> None:
        self._note("move", for_ms=SETTLED_MS, most_ms=MOVE_MS)
        self.spawn(self._start_dispatcher(f"dispatcher-{len(self._dispatchers)}"))

    def _stop_one(self) -> None:
        alive = self._alive()
        if len(alive) > 1:
            self._note("move", for_ms=SETTLED_MS, most_ms=MOVE_MS)
            pod, dispatcher, _ = self._dispatchers[self.rng.choice(alive)]
            pod.is_alive = False
            self.spawn(dispatcher.stop())

    async def _wait_for_outcomes(self, deadline_s: float) -> None:
        await self._end_operators()
        # Each attempt may wait for the end of a minute, if it is announced to nobody.
        last_ms = max(last_slot(bucket_of(entry.fire_ms)) for entry in self.creates)
        await super()._wait_for_outcomes((last_ms - START_MS) / 1_000 + 400)

    async def _status(self, entry: ClientEntry) -> Status:
        parts = unpack_id(entry.schedule_id)
        place = Place(self._names[parts.app_number], parts.partition, parts.slot_ms)
        row = await self.store.fetch_row(place, entry.schedule_id)
        assert row is not None, "an acknowledged row is not in the store"
        return row.status

    async def _dead_letters(self) -> set[UUID]:
        letters = [
            await self.store.fetch_dead_letters(app_id, Position(0, LAST_ID), 1 << 62, 10_000)
            for app_id in self._names.values()
        ]
        return {letter.schedule_id for page in letters for letter in page}
