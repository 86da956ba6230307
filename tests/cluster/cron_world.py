"""A deployment with recurring schedules that are edited, paused, resumed and cancelled while it works, by
writers who are killed, frozen and in each other's way. Judged by the plans: each nominal time has one run."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import cast
from uuid import UUID

from ringtime_ingest.service import IngestService, NewRecurring
from ringtime_ingest.service.backfill import BackfillReport
from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.resize.runner import Resizer, Unfinished
from ringtime_shared.api.recurring import BackfillEffect
from ringtime_shared.callbacks.protocol import CallbackType, Delivery, Reply
from ringtime_shared.coordination.memory import MemoryOperator
from ringtime_shared.errors import NotFound, RingtimeError
from ringtime_shared.ids import home_slot
from ringtime_shared.models.recurring import (
    Definition,
    DefinitionState,
    Misfire,
    Origin,
    Overlap,
    RunOf,
)
from ringtime_shared.models.schedule import Place, Row, Status
from ringtime_shared.models.sending import Sending
from ringtime_shared.models.times import Spread, Window
from ringtime_shared.recurring.completing import NOT_IN_TIME, Ticket, completion_ms_of, ticket_of
from ringtime_shared.recurring.run_rows import (
    next_version,
    run_in,
    span_of,
)
from ringtime_shared.recurring.runs import next_after
from ringtime_shared.settings import Settings
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import DefinitionKey
from tests.cluster.pod import FaultRates, Pod
from tests.cluster.world import COMPLETIONS, Plan, RecordingCallback, World, random_plan
from tests.harness.recurring import every

_SKEW_MS = 100  #: by which clocks of dispatchers are off
_PROMISE_MS = 1_000 + _SKEW_MS  #: what is acknowledged so long before a slot holds


@dataclass(frozen=True, slots=True, kw_only=True)
class CronPlan(Plan):
    """What happens in one run; `random_cron_plan` draws one from a seed."""

    crons: int = 6
    changes: int = 5  #: of each, at most
    kill_rate: float = 0.15  #: of writers, at a random moment
    has_windows: bool = False  #: in which the second of each run is chosen
    has_work: bool = False  #: receivers answer 202, and say later that they are done, or never
    resizes: int = 0  #: of the app `pay`, one after the other, by an operator who may be killed
    finish_s: float = (
        4_000.0  #: until the last resize is finished: a change that was never stored holds it up
    )
    watch_s: float = 75.0  #: crons go on so long after the last fault, which is longer than any check takes


def random_cron_plan(rng: Random) -> CronPlan:
    """Draw the faults of one run."""
    plan = random_plan(rng)
    return CronPlan(
        schedules=8,
        load_s=30.0,
        cancel_rate=plan.cancel_rate,
        failure_rate=plan.failure_rate,
        outage_s=plan.outage_s,
        crashes=2 * plan.crashes,
        pauses=2 * plan.pauses,
        pause_s=rng.choice([3.0, 9.0, 20.0]),
        rates=replace(plan.rates, slow=rng.choice([0.0, 0.02, 0.1])),
        dispatch=replace(plan.dispatch, max_loaded=200),
        kill_rate=rng.choice([0.0, 0.15, 0.4]),
        resizes=rng.choice([0, 0, 3]),
        has_windows=rng.choice([False, False, True]),
        has_work=rng.choice([False, False, True]),
    )


@dataclass(slots=True)
class Promise:
    """A change that was acknowledged: a run with a slot from `from_ms` to `until_ms` is not to be sent."""

    recurring_id: UUID
    from_ms: int
    until_ms: int = 1 << 62
    nominal_ms: int | None = None  #: of this one alone
    version: int = 0  #: of a pause
    is_stop: bool = False  #: for what comes due after it; else for the nominal times after it


class Worker(RecordingCallback):
    """A receiver that may work on after its answer."""

    name = "http"  # none other may

    def __init__(self, world: CronWorld, pod: Pod) -> None:
        super().__init__(world, pod)
        self._cron_world = world

    async def invoke(self, delivery: Delivery) -> Reply:
        world, most_ms = self._cron_world, completion_ms_of(delivery.schedule)
        is_worked_on = most_ms is not None and world.rng.random() < 0.8
        if most_ms is not None and is_worked_on:
            ticket = ticket_of(delivery, now_ms=world.now_ms(), most_ms=delivery.timeout_ms + most_ms)
            world.spawn(world.work_on(ticket))
        reply = await super().invoke(delivery)
        return replace(reply, code=202) if reply.ok and is_worked_on else reply


class CronWorld(World):
    """Build it inside a running virtual loop."""

    plan: CronPlan

    def __init__(self, seed: int, plan: CronPlan | None = None) -> None:
        super().__init__(seed, plan or random_cron_plan(Random(seed ^ 0xC40)))
        self.early_ms = _SKEW_MS
        self._found: list[str] = []
        self._promises: list[Promise] = []
        self._asked: list[tuple[str, UUID]] = []  # runs that were acknowledged, triggered or of a backfill
        self._said: list[Ticket] = []  # of runs that were acknowledged to be done

    async def run(self) -> list[str]:
        return await super().run() + self._found

    def _callbacks(self, pod: Pod) -> dict[str, CallbackType]:
        return {**super()._callbacks(pod), "http": Worker(self, pod)}

    async def work_on(self, ticket: Ticket) -> None:
        """Work, and say that it is done or has failed; perhaps before the answer, or twice, or never."""
        rng = self.rng
        await asyncio.sleep(rng.choice([0.0, rng.uniform(0, 3), rng.uniform(0, 12)]))
        error = rng.choice([None, None, "it failed"])
        for _ in range(rng.choice([0, 1, 1, 2, 3])):
            try:
                await rng.choice(self._ingest)[1].completing.complete(COMPLETIONS.sign(ticket), error)
            except RingtimeError:
                await asyncio.sleep(rng.uniform(0, 1))
            else:
                if error is None:  # a failure is one also where its time was over
                    self._said.append(ticket)

    def _make_pod(self, name: str) -> Pod:
        return Pod(name, self.rng, self.plan.rates, skew_ms=self.rng.randint(-_SKEW_MS, _SKEW_MS))

    async def _cause_faults(self) -> None:
        crons = [self._be_owner(number) for number in range(self.plan.crons)]
        await asyncio.gather(super()._cause_faults(), self._resize(), *crons)

    async def _resize(self) -> None:
        rng, plan = self.rng, self.plan
        for number in range(plan.resizes):
            pod = Pod(f"ringctl-{number}", rng, plan.rates)
            self.operators.append(pod)
            work = self.spawn(self._resize_once(pod, rng.randint(1, 6)))
            self.works.append(work)
            is_killed = rng.random() < plan.kill_rate
            await asyncio.wait([work], timeout=rng.uniform(0.01, 10) if is_killed else 30)
            if is_killed:
                work.cancel()
            await asyncio.sleep(rng.uniform(0, 5))

    async def _resize_once(self, pod: Pod, quota: int) -> None:
        resizer = self._resizer(pod)
        try:
            found = await resizer.fetch()
            app = await resizer.begin(quota) if found.resize is None else await resizer.resume()
            if app.resize is not None:
                await resizer.finish(app, timeout_s=40, is_waiting=True)
        except (RingtimeError, Unfinished):
            return

    def _resizer(self, pod: Pod) -> Resizer:
        deployment = Deployment(
            store=cast("MemoryStore", self._store_of(pod)),
            coordination=MemoryOperator(self.hub),
            settings=Settings(ingest=self.plan.ingest, dispatch=self.plan.dispatch),
            operator=pod.name,
            clock=pod,
        )
        return Resizer(deployment, "pay")

    # Whoever has a recurring schedule, and changes it

    async def _be_owner(self, number: int) -> None:
        rng = self.rng
        await asyncio.sleep(rng.uniform(0, 5))
        for _ in range(rng.randint(1, self.plan.changes)):
            service = rng.choice(self._ingest)[1]
            work = self.spawn(self._change(service, number))
            self.works.append(work)
            is_killed = rng.random() < self.plan.kill_rate
            # One who takes longer gets company.
            await asyncio.wait([work], timeout=rng.uniform(0.01, 3) if is_killed else 20)
            if is_killed:
                work.cancel()  # kill -9: what it has sent is carried out all the same
            if work.done() and not work.cancelled():
                work.result()  # what is no error of ours is a bug
            await asyncio.sleep(rng.uniform(0, 2 * self.plan.load_s / self.plan.changes))

    async def _change(self, service: IngestService, number: int) -> None:
        try:
            await self._do(service, number)
        except RingtimeError:
            return

    async def _do(self, service: IngestService, number: int) -> None:
        rng, app_id, name = self.rng, ("pay", "mail")[number % 2], f"cron-{number}"
        recurring = service.recurring
        try:
            before = await recurring.fetch(app_id, name)
        except NotFound:
            await self._put(service, app_id, name)
            return
        act = rng.choice(["edit", "edit", "pause", "pause until", "delete", "cancel", "trigger", "backfill"])
        if before.state is DefinitionState.PAUSED:
            act = "resume"
        if act == "edit" or before.state is DefinitionState.ENDED:
            await self._put(service, app_id, name)
        elif act == "resume":
            self._note(await recurring.resume(before))
        elif act == "pause":
            self._note(await recurring.pause(before, "for a while"))
        elif act == "pause until":
            self._note(await recurring.pause(before, until_ms=self.now_ms() + rng.randint(2_500, 10_000)))
        elif act == "trigger":
            row = await recurring.trigger(before)
            self._asked.append((app_id, row.schedule.schedule_id))
        elif act == "backfill":
            await self._backfill(service, before)
        elif act == "delete":
            self._note(await recurring.delete(before))
        else:
            await self._cancel_run(service, before)

    async def _put(self, service: IngestService, app_id: str, name: str) -> None:
        """Create it, or put another one in its place."""
        rng = self.rng
        count = rng.choice([None, None, None, 12])
        completion_ms = rng.choice([None, 3_000, 8_000]) if self.plan.has_work else None
        window = None
        if self.plan.has_windows:
            window = Window(share=rng.choice([0.5, 1.0]), spread=rng.choice([*Spread, Spread.LEAST_LOADED]))
        self._note(
            await service.recurring.put(
                NewRecurring(
                    app_id=app_id,
                    name=name,
                    times=every(rng.choice([1, 2, 3, 5]), rng.choice([0, 500]), count=count, window=window),
                    payload="{}",
                    callback_type="http" if completion_ms else "sim",
                    sending=Sending(completion_ms=completion_ms) if completion_ms else None,
                    callback_details={"to": rng.choice("ab")},
                    misfire=rng.choice([Misfire.ALL, Misfire.ALL, Misfire.ONCE, Misfire.SKIP]),
                    misfire_most=100,
                    overlap=rng.choice([Overlap.ALLOW, Overlap.ALLOW, Overlap.SKIP, Overlap.BUFFER_ONE]),
                )
            )
        )

    async def _backfill(self, service: IngestService, definition: Definition) -> None:
        """Make up for a time of late; perhaps two do it at once."""
        rng, now_ms = self.rng, self.now_ms()
        first_ms = now_ms - rng.randint(2_000, 60_000)
        several = rng.choice([1, 2])
        most = 3 if self.plan.has_work else 30  # they may go one after the other, each until its time is over
        calls = [
            rng.choice(self._ingest)[1].backfills.backfill(definition, first_ms, now_ms - 1_000, most=most)
            for _ in range(several)
        ]
        for report in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(report, BaseException) and not isinstance(report, RingtimeError):
                raise report
            if isinstance(report, BackfillReport):
                self._asked += [
                    (definition.app_id, run.schedule_id)
                    for run in report.runs
                    if run.effect is BackfillEffect.FILED and run.schedule_id is not None
                ]

    async def _cancel_run(self, service: IngestService, definition: Definition) -> None:
        page = await service.runs.fetch_page(definition, "future", 1)
        for row in page.rows:
            done = await service.recurring.cancel_run(row)
            run, slot_ms = run_in(row), home_slot(row.schedule.schedule_id)
            if done.promised and self.now_ms() < slot_ms - _PROMISE_MS:
                self._promises.append(
                    Promise(
                        definition.recurring_id,
                        slot_ms,
                        slot_ms,
                        nominal_ms=run.nominal_ms,
                        version=run.version,
                    )
                )

    def _note(self, definition: Definition) -> None:
        """A version was acknowledged: runs of earlier ones that come due a second later are over; by a pause
        until an instant, those that come due up to it."""
        promise = Promise(
            definition.recurring_id,
            max(self.now_ms(), definition.from_ms) + _PROMISE_MS,
            version=definition.version - 1,
            is_stop=definition.state in (DefinitionState.PAUSED, DefinitionState.DELETED),
        )
        self._promises.append(promise)
        until_ms = definition.paused_until_ms
        if until_ms is not None and promise.from_ms < until_ms:
            self._promises.append(replace(promise, until_ms=until_ms - 1, is_stop=True))

    # The judge

    async def _wait_for_outcomes(self, deadline_s: float) -> None:
        await self._end_operators()
        await asyncio.sleep(self.plan.watch_s)
        await self._judge_resized()
        for definition in self._definitions():
            await self._judge_alive(definition)
        for definition in self._definitions():
            await self._stop(definition)
        await asyncio.sleep(3)
        await super()._wait_for_outcomes(max(deadline_s, asyncio.get_running_loop().time() + 40))
        for _ in range(120):
            if not any(self._live_rows()):
                break
            await asyncio.sleep(1)
        for definition in self._definitions():
            self._judge_plan(definition)
        for ticket in self._said:
            home = await self.store.fetch_row(
                Place.of_home(ticket.app_id, ticket.schedule_id), ticket.schedule_id
            )
            outcome = None if home is None else home.outcome
            if outcome is None or outcome.error == NOT_IN_TIME:
                self._found.append(f"done and not recorded: {str(ticket.schedule_id)[-8:]}: {outcome}")
        for app_id, schedule_id in self._asked:
            home = await self.store.fetch_row(Place.of_home(app_id, schedule_id), schedule_id)
            if home is None or home.outcome is None:
                self._found.append(f"asked for and not recorded: {str(schedule_id)[-8:]}")

    async def _judge_resized(self) -> None:
        """Finish the resize that somebody left, which must come to an end though crons go on. The check of a
        change that was never stored may hold it up for an hour."""
        app = await self.store.fetch_app("pay")
        assert app is not None
        if app.resize is None:
            return
        resizer = self._resizer(Pod("ringctl-last", self.rng, FaultRates()))
        try:
            app = await resizer.finish(await resizer.resume(), timeout_s=self.plan.finish_s, is_waiting=True)
        except Unfinished as unfinished:
            self._found.append(f"unfinished: {unfinished}")
        for definition in self._definitions():
            is_left = definition.app_id == "pay" and definition.partition >= app.polled
            if is_left and definition.state is DefinitionState.ACTIVE:
                self._found.append(f"left in a partition that went: {definition.name}")

    async def _stop(self, definition: Definition) -> None:
        """Pause what still runs, so that everything comes to an end."""
        while definition.state is DefinitionState.ACTIVE:
            try:
                paused = next_version(definition, self.now_ms(), state=DefinitionState.PAUSED)
                await self.store.replace_definition(paused)
            except RingtimeError:
                current = await self.store.fetch_definition(_key(definition))
                assert current is not None
                definition = current
            else:
                return

    def _definitions(self) -> list[Definition]:
        return list(self.store._definitions.values())

    def _rows(self) -> Iterator[Row]:
        for rows in self.store._rows.values():
            for row in rows.values():
                if row.schedule.run is not None:
                    yield row

    def _live_rows(self) -> Iterator[Row]:
        return (row for row in self._rows() if row.is_live and run_in(row).origin is not Origin.CHECK)

    async def _judge_alive(self, definition: Definition) -> None:
        if definition.state is not DefinitionState.ACTIVE:
            return
        runs = [
            row
            for row in self._rows()
            if row.is_live
            and run_in(row).recurring_id == definition.recurring_id
            and run_in(row).version == definition.version
        ]
        if not runs:
            self._found.append(f"chain ended: {definition.name} at version {definition.version}")

    def _judge_plan(self, definition: Definition) -> None:
        homes, backfills = defaultdict[int, list[Row]](list), defaultdict[int, list[Row]](list)
        for row in self._rows():
            run = run_in(row)
            if row.is_home and run.recurring_id == definition.recurring_id:
                if run.origin is Origin.PLAN:
                    homes[run.nominal_ms].append(row)
                elif run.origin is Origin.BACKFILL:
                    backfills[run.nominal_ms].append(row)
        for nominal_ms in self._planned(definition):
            ends = [row.outcome.status if row.outcome else None for row in homes[nominal_ms]]
            made = [status for status in ends if status is not Status.DELETED]
            is_cancelled = any(
                row.outcome is not None and row.outcome.error == "cancelled" for row in homes[nominal_ms]
            )
            is_cancelled |= any(self._is_stopped(definition, row) for row in homes[nominal_ms])
            if len(made) != 1 and not is_cancelled:
                self._found.append(f"planned: {definition.name} at {nominal_ms}: {ends}")
        sent_ms = defaultdict[UUID, list[int]](list)
        for send in self.sends:
            sent_ms[send.schedule_id].append(send.sent_ms)
        for nominal_ms, rows in backfills.items():
            if len(rows) > 1:
                self._found.append(f"backfilled twice: {definition.name} at {nominal_ms}")
            # One that was cancelled between two attempts is none: a backfill is asked for in its place.
            sent = [
                row
                for row in homes[nominal_ms]
                if row.schedule.schedule_id in sent_ms
                and (row.outcome is None or row.outcome.error != "cancelled")
            ]
            if sent and any(row.schedule.schedule_id in sent_ms for row in rows):
                self._found.append(f"backfilled and sent: {definition.name} at {nominal_ms}")
        for nominal_ms, rows in homes.items():
            sent = [row for row in rows if row.schedule.schedule_id in sent_ms]
            if len(sent) > 1:
                self._found.append(f"twice: {definition.name} at {nominal_ms}")
            for row in sent:
                self._judge_sent(definition, row, sent_ms[row.schedule.schedule_id])

    def _judge_sent(self, definition: Definition, row: Row, sent_ms: list[int]) -> None:
        run, slot_ms = run_in(row), home_slot(row.schedule.schedule_id)
        span = span_of(definition, run.version)
        planned = span and next_after(span.version.times, run.nominal_ms - 1, 0, key=definition.key)
        if planned is None or planned.nominal_ms != run.nominal_ms:
            self._found.append(f"not planned: {definition.name} at {run.nominal_ms}")
        if min(sent_ms) < slot_ms - self.early_ms:
            self._found.append(f"early: {definition.name} at {run.nominal_ms} by {slot_ms - min(sent_ms)} ms")
        outcome = row.outcome
        # One may be cancelled between two attempts.
        if outcome is not None and outcome.status is Status.DELETED and outcome.error != "cancelled":
            self._found.append(f"sent and dropped: {definition.name} at {run.nominal_ms}")
        for promise in self._promises:
            at_ms = run.nominal_ms if promise.nominal_ms is None and not promise.is_stop else slot_ms
            if (
                promise.recurring_id == definition.recurring_id
                and promise.from_ms <= at_ms <= promise.until_ms
                and promise.nominal_ms in (None, run.nominal_ms)
                and run.version <= promise.version
            ):
                self._found.append(f"after a promise: {definition.name} at {run.nominal_ms}")

    def _is_stopped(self, definition: Definition, row: Row) -> bool:
        """Whether a run ended because its definition was stopped before the end of its window."""
        run, outcome = run_in(row), row.outcome
        if outcome is None or outcome.error not in ("paused", "deleted"):
            return False
        span = span_of(definition, run.version)
        planned = span and next_after(span.version.times, run.nominal_ms - 1, 0, key=definition.key)
        return planned is not None and any(
            (each.check_id is None or each.paused_until_ms is not None)
            and each.version > run.version
            and each.from_ms < (planned.until_ms or planned.effective_ms)
            for each in (definition.current, *definition.earlier)
        )

    def _planned(self, definition: Definition) -> set[int]:
        """Return the nominal times of each version that makes runs, as far as it got."""
        planned = set[int]()
        for version in range(1, definition.version + 1):
            span = span_of(definition, version)
            if span is None or span.version.check_id is None:
                continue
            check = self._checks[span.version.check_id]  # it says from when on the version made runs
            after_ms, index = check.nominal_ms, check.ordinal
            while run := next_after(span.version.times, after_ms, index, key=definition.key):
                if run.nominal_ms > (span.until_ms or self.now_ms()):
                    break
                planned.add(run.nominal_ms)
                after_ms, index = run.nominal_ms, run.index
        return planned

    @property
    def _checks(self) -> dict[UUID, RunOf]:
        return {
            row.schedule.schedule_id: run_in(row)
            for row in self._rows()
            if run_in(row).origin is Origin.CHECK
        }


def _key(definition: Definition) -> DefinitionKey:
    return DefinitionKey(definition.app_id, definition.recurring_id)
