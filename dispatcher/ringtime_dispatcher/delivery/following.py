"""The steps of runs: what follows a run is filed, and durable, before anything else is done with it.

`ringtime_shared.recurring.chain` says what a step decides, and what holds whoever dies. Here is who carries
it out: a row of a run that comes due is put here first. Many steps are taken together: one trip for all their
definitions, one filing for all that follows, by the writer of `recording`, who looks whether it will be read.
Then the row waits for its turn like any other, unless it ended, or was filed again to wait.

There are three lanes. What comes due for the first time has what follows it to be filed. What was filed
again, for the second chosen for it above all, does not wait behind that. Nor does anybody behind those whose
second is to be chosen: each is a claim of its own, and thousands may begin their windows together.

What is filed again of a run that was let go, after a failed attempt or for a destination in trouble, says so
and is not followed again; it comes here to see whether the run was cancelled meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

from ringtime_dispatcher.delivery.ledger import Ledger, RowItem, State
from ringtime_dispatcher.delivery.loads import Loads
from ringtime_dispatcher.delivery.recording import (
    OutcomeWriter,
    Record,
    last_slot_ms,
    next_filing,
    persist,
    unsent,
)
from ringtime_shared.callbacks.foreign import is_own_cancel
from ringtime_shared.clock import Clock
from ringtime_shared.errors import Damaged, VersionConflict
from ringtime_shared.models.claim import Claim, ClaimKey, ClaimKind
from ringtime_shared.models.recurring import Definition, DefinitionState, Stage
from ringtime_shared.models.schedule import Outcome, Place, Row, RowUpdate, Status
from ringtime_shared.recurring.chain import Decision, Found, Step, passed_over
from ringtime_shared.recurring.completing import place_of_word, told
from ringtime_shared.settings.rules import CLOCK_SKEW_MS
from ringtime_shared.stores.protocol import ClaimStore, DefinitionKey, RecurringStore, ScheduleStore

STEPS_AT_ONCE = 500
_READS_AT_ONCE = 50  #: of rows, of which few steps need any
T = TypeVar("T")


class FollowStore(RecurringStore, ScheduleStore, ClaimStore, Protocol):
    """What steps need of a store."""


class Deliveries(Protocol):
    """Who delivers what was let go."""

    def take_up(self, item: RowItem) -> bool:
        """Begin to work on an item; False: not now, and it is seen to."""
        ...

    async def is_wanted(self, item: RowItem) -> bool:
        """Look at the home row of an item that is another filing; False: it is over, and is seen to."""
        ...

    def go_on(self, item: RowItem) -> None:
        """An item that was taken up was let go: its turn comes."""
        ...

    def conclude(self, item: RowItem, outcome: Outcome) -> None:
        """A delivery that was taken up ended like this, as its receiver said after the answer."""
        ...

    def end_in_failure(self, item: RowItem, error: BaseException) -> None:
        """An item that was taken up met a bug, or something that cannot be read. Raises an order to stop."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowerParts:
    """What a follower is made of."""

    store: FollowStore
    clock: Clock
    ledger: Ledger
    outcomes: OutcomeWriter
    deliveries: Deliveries
    is_trusted: Callable[[], bool]
    retention_ms: Callable[[str], int]  #: of an app: how long its rows are kept after their slots
    on_missed: Callable[[str, int], None]  #: so many runs of an app are passed over
    #: of what ended, and how many more ended with it: the row of the hook that tells of it, if there is one
    hook_of: Callable[[Row, Outcome, int], Row | None]
    loads: Loads  #: chooses seconds


class _Placing(NamedTuple):
    """A step that has something of its own to be written before it is carried out."""

    item: RowItem
    definition: Definition
    step: Step
    now_ms: int


class Follower:
    """Takes the steps of what is put here. `go` again when this node is trusted."""

    def __init__(self, parts: FollowerParts) -> None:
        self._parts = parts
        self._store = parts.store
        self._first = _Lane("first steps of runs", self._run, STEPS_AT_ONCE)
        self._again = _Lane("steps of runs filed again", self._run, STEPS_AT_ONCE)
        self._placings = _Lane("seconds of runs", self._place_some, _READS_AT_ONCE)

    def put(self, item: RowItem) -> None:
        """Take the step of an item whose slot has come."""
        self._wait(item)
        self.go()

    def _wait(self, item: RowItem) -> None:
        run = item.row.schedule.run
        lane = self._first if run is not None and run.stage is Stage.NEW else self._again
        lane.waiting.append(item)

    def go(self) -> None:
        """Take the steps that wait, while this node is trusted."""
        self._again.go(self._parts.is_trusted)
        self._first.go(self._parts.is_trusted)

    @property
    def has_waiting(self) -> bool:
        """Whether `go` may find something; cheap."""
        return bool(self._first.waiting or self._again.waiting)

    @property
    def is_idle(self) -> bool:
        return self._first.is_idle and self._again.is_idle and self._placings.is_idle

    async def close(self) -> None:
        """Stop at once; whoever owns the rows next takes their steps."""
        await self._first.close()
        await self._again.close()
        for placing in await self._placings.close():
            self._parts.ledger.leave_open(placing.item)

    async def _run(self, some: Sequence[RowItem]) -> None:
        taken = [item for item in some if self._parts.deliveries.take_up(item)]
        if not await self._try(taken):
            for item in taken:  # one of them met a bug, which must cost it alone
                await self._try([item], is_last=True)

    async def _try(self, items: Sequence[RowItem], *, is_last: bool = False) -> bool:
        """Take steps, those that are not taken yet; False: there was a bug.

        Args:
            is_last: what meets a bug ends as a failure.
        """
        try:
            await self._take_steps(_untaken(items))
        except (Exception, asyncio.CancelledError) as error:
            if is_own_cancel(error):
                for item in _untaken(items):
                    self._parts.ledger.leave_open(item)
                raise
            for item in _untaken(items) if is_last else ():
                item.has_step = False
                self._parts.deliveries.end_in_failure(item, error)
            return False
        return True

    async def _take_steps(self, items: Sequence[RowItem]) -> None:
        moved = [item for item in items if item.needs_look]
        await _gather([self._look_home(item) for item in moved])
        definitions = await self._read_definitions(_untaken(items))
        items, now_ms = _untaken(items), self._parts.clock.now_ms()
        decisions = [
            Decision(
                definitions.get(_key_of(item)), item.row, now_ms, self._parts.retention_ms(item.place.app_id)
            )
            for item in items
        ]
        steps = await self._decide(items, decisions)
        if not self._parts.is_trusted():  # no await between this and what is decided
            for item in items:
                self._put_back(item)
            return
        for item, step in zip(items, steps, strict=True):
            if step.within is not None or step.ends:
                item.has_step = False  # it is out of our hands
                self._placings.waiting.append(_Placing(item, definitions[_key_of(item)], step, now_ms))
            else:
                self._carry_out(item, step, now_ms)
        self._placings.go()

    async def _place_some(self, placings: Sequence[_Placing]) -> None:
        await asyncio.gather(*map(self._place_or_end, placings))
        self.go()  # for what was put back

    async def _place_or_end(self, placing: _Placing) -> None:
        item, definition, step, now_ms = placing
        begun_ms = self._parts.clock.boot_ms()
        try:
            if step.within is not None and self._parts.is_trusted():
                step = await self._choose(item, step, step.within)
            if not self._parts.is_trusted():  # no await between this and what is decided
                self._put_back(item)
            elif not step.ends or await self._is_ended(item, definition, now_ms):
                self._carry_out(item, step, now_ms, begun_ms)
        except (Exception, asyncio.CancelledError) as error:
            if is_own_cancel(error):
                self._parts.ledger.leave_open(item)
                raise
            self._parts.deliveries.end_in_failure(item, error)

    async def _look_home(self, item: RowItem) -> None:
        if not await self._parts.deliveries.is_wanted(item):
            item.has_step = False
        elif (run := item.row.schedule.run) is not None and run.stage is Stage.ACCEPTED:
            place = place_of_word(item.place.app_id, item.schedule_id, item.row.replay)
            with suppress(Damaged):  # then nobody knows what was said
                if (word := await persist(self._store.fetch_row, place, item.schedule_id)) is not None:
                    item.row = told(item.row, word)

    async def _read_definitions(self, items: Sequence[RowItem]) -> dict[DefinitionKey, Definition]:
        """Return the definitions that there are. An item of one that cannot be read ends."""
        keys = [*dict.fromkeys(map(_key_of, items))]
        if not keys:
            return {}
        definitions = await persist(self._store.fetch_definitions, keys)
        damaged = {key: each.damage for key, each in definitions.items() if each.damage}
        for item in items if damaged else ():
            if fault := damaged.get(_key_of(item)):
                item.has_step = False
                error = Damaged("recurring schedule", str(_key_of(item).recurring_id), fault)
                self._parts.deliveries.end_in_failure(item, error)
        return definitions

    async def _decide(self, items: Sequence[RowItem], decisions: Sequence[Decision]) -> list[Step]:
        steps = []
        looks = [
            (item, each) for item, decision in zip(items, decisions, strict=True) for each in decision.looks()
        ]
        found = (
            await self._find({(item.place.app_id, schedule_id) for item, schedule_id in looks})
            if looks
            else {}
        )
        for item, decision in zip(items, decisions, strict=True):
            step = decision.make(found)
            if step.missed:
                ids = [row.schedule.schedule_id for row, _ in step.missed]
                stored = await self._find({(item.place.app_id, schedule_id) for schedule_id in ids})
                step = passed_over(step, {key: home for key, (home,) in stored.items() if home is not None})
            steps.append(step)
        return steps

    async def _choose(self, item: RowItem, step: Step, within: tuple[int, int]) -> Step:
        """Return a step with the second of its run: ours, unless one was claimed before."""
        now_ms = self._parts.clock.now_ms()
        second_ms = self._parts.loads.choose(item.row, within, len(self._placings.waiting))
        claim = Claim(
            key=ClaimKey(item.place.app_id, ClaimKind.SECOND, str(item.schedule_id)),
            schedule_id=item.schedule_id,
            digest=str(second_ms),
            claimed_ms=now_ms,
            busy_until_ms=now_ms,
            expires_ms=item.row.schedule.expires_ms + CLOCK_SKEW_MS,
        )
        with suppress(Damaged):  # then nobody knows what was chosen
            second_ms = int((await persist(self._store.replace_claim, claim, None)).digest)
        return replace(step, second_ms=second_ms)

    async def _find(self, runs: Iterable[tuple[str, UUID]]) -> dict[UUID, Found]:
        wanted = sorted(runs)
        found = await _gather([self._look(app_id, schedule_id) for app_id, schedule_id in wanted])
        return {schedule_id: each for (_, schedule_id), each in zip(wanted, found, strict=True)}

    async def _look(self, app_id: str, schedule_id: UUID) -> Found:
        try:
            place = Place.of_home(app_id, schedule_id)
            return Found(await persist(self._store.fetch_row, place, schedule_id))
        except Damaged:
            return Found(None)  # whoever reads it records it, as ended

    async def _is_ended(self, item: RowItem, definition: Definition, now_ms: int) -> bool:
        """Mark a definition as one that has made its last run, before that goes on; False: not now, and the
        step is taken again."""
        ended = DefinitionState.ENDED if definition.keeps else DefinitionState.DELETED
        marked = replace(definition, revision=definition.revision + 1, changed_ms=now_ms, state=ended)
        try:
            await persist(self._store.replace_definition, marked)
        except VersionConflict:
            self._put_back(item)  # it was changed meanwhile, so the step may be another one
            return False
        return True

    def _hook_of(self, row: Row, outcome: Outcome | None, step: Step) -> Row | None:
        """Return the row of the hook that tells of what is missed by a step, if there is one: of the last of
        the runs, and how many there are. It is a filing of the step's record, and the run goes on after that,
        so whoever takes the step again tells of it again."""
        missed = [*step.told_of, *step.missed]
        if outcome is not None:
            missed.append((row, outcome))
        if not missed:
            return None
        last, end = max(missed, key=lambda each: each[0].schedule.fire_ms)
        return self._parts.hook_of(last, end, len(missed) - 1)

    def _put_back(self, item: RowItem) -> None:
        item.has_step = True
        self._parts.ledger.put_back(item)
        self._wait(item)

    def _carry_out(self, item: RowItem, step: Step, now_ms: int, begun_ms: int = 0) -> None:
        """Write what is decided of an item, and see to it that it goes on when that is durable.

        Args:
            begun_ms: when its second was begun to be chosen, on the boot clock.
        """
        row = item.row
        if step.outcome is not None and step.run.work is not None and step.outcome.attempts:
            item.has_step = False
            self._parts.deliveries.conclude(item, step.outcome)
            return
        if step.run is not row.schedule.run:
            row = item.row = replace(row, schedule=replace(row.schedule, run=step.run))
        outcome, filings, home = step.outcome, step.files, None
        again = None
        if step.second_ms is not None:
            again = next_filing(row, max(step.second_ms, now_ms, row.place.slot_ms + 1))  # a place of its own
            again = replace(again, schedule=replace(again.schedule, fire_ms=step.second_ms))
        elif step.wait_ms is not None:
            if step.wait_ms > last_slot_ms(row, row.schedule.expires_ms):
                outcome = unsent(row, Status.MISS, "waited until it was too old", now_ms)
            else:
                again = next_filing(row, step.wait_ms)
        if again is not None:
            filings = (again, *filings)
            home = RowUpdate(place=item.home, schedule_id=item.schedule_id, moved_to=again.place)
        if (hook := self._hook_of(row, outcome, step)) is not None:
            filings = (*filings, hook)
        if outcome is not None:
            home = RowUpdate(place=item.home, schedule_id=item.schedule_id, outcome=outcome)
        missed = len(step.missed) + (outcome is not None and outcome.status is Status.MISS)
        if missed:
            self._parts.on_missed(item.place.app_id, missed)
        item.has_step = False
        if home is None and not filings and not step.missed:
            self._parts.deliveries.go_on(item)
            return
        ledger = self._parts.ledger
        if home is None:
            on_durable = partial(self._parts.deliveries.go_on, item)
        elif step.second_ms is not None:
            on_durable = partial(self._settle_placed, item, begun_ms)
        else:
            on_durable = partial(ledger.settle, item)
        self._parts.outcomes.put(
            Record(
                schedule_id=item.schedule_id,
                home=home,
                move=None if home is None or item.home is item.place else replace(home, place=item.place),
                filings=filings,
                missed=step.missed,
                on_durable=on_durable,
                on_refused=partial(ledger.leave_open, item),
                is_given_up=lambda: item.owned.is_draining,
            )
        )

    def _settle_placed(self, item: RowItem, begun_ms: int) -> None:
        self._parts.loads.note(self._parts.clock.boot_ms() - begun_ms)
        self._parts.ledger.settle(item)


class _Lane(Generic[T]):
    """What waits for some work, and is taken up in order, a few at a time, by whoever comes first."""

    def __init__(self, name: str, work: Callable[[list[T]], Awaitable[None]], at_once: int) -> None:
        self._name = name
        self._work = work
        self._at_once = at_once
        self._task: asyncio.Task[None] | None = None
        self.waiting: list[T] = []

    def go(self, may_go_on: Callable[[], bool] = lambda: True) -> None:
        """Begin to work, if something waits and nobody does."""
        if self.waiting and not self._is_at_work and may_go_on():
            self._task = asyncio.create_task(self._run(may_go_on), name=self._name)

    @property
    def is_idle(self) -> bool:
        return not (self.waiting or self._is_at_work)

    @property
    def _is_at_work(self) -> bool:
        return self._task is not None and not self._task.done()

    async def _run(self, may_go_on: Callable[[], bool]) -> None:
        while self.waiting and may_go_on():
            some, self.waiting = self.waiting[: self._at_once], self.waiting[self._at_once :]
            await self._work(some)

    async def close(self) -> list[T]:
        """Stop at once; return what was not taken up."""
        if self._task is not None and self._is_at_work:
            self._task.cancel()
            await asyncio.wait([self._task])
        left, self.waiting = self.waiting, []
        return left


def _untaken(items: Sequence[RowItem]) -> list[RowItem]:
    """Return those that are in our hands yet."""
    return [item for item in items if item.has_step and item.state is State.UNDER_WAY]


def _key_of(item: RowItem) -> DefinitionKey:
    run = item.row.schedule.run
    if run is None:
        raise TypeError(f"schedule {item.schedule_id} is no run")
    return DefinitionKey(item.place.app_id, run.recurring_id)


async def _gather(calls: Sequence[Awaitable[T]]) -> list[T]:
    """Await many calls, some side by side, and return their answers in order; raise what the first raised,
    when all of its batch have ended."""
    answers: list[T] = []
    for start in range(0, len(calls), _READS_AT_ONCE):
        done = await asyncio.gather(*calls[start : start + _READS_AT_ONCE], return_exceptions=True)
        for each in done:
            if isinstance(each, BaseException):
                raise each
            answers.append(each)
    return answers
