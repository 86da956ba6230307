"""The part map while it is changed: no acknowledged entry is out of sight of a complete read, whoever sleeps,
dies, or goes by an old map, and however late an answer comes.

Processes and operators are the real code. Every call to the store stops twice, before it is carried out and
before its answer arrives, and goes on when a rule says so; a process that sleeps is one whose calls no rule
picks. Time passes by a rule, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from tests.contract.builders import BUCKET, make_app, make_row

from ringtime_ringctl.deployment.context import Deployment
from ringtime_ringctl.parts import change
from ringtime_ringctl.parts.change import PartChanger
from ringtime_shared import parts as rules
from ringtime_shared.clock import ManualClock
from ringtime_shared.errors import RingtimeError
from ringtime_shared.parts import CopyPage, HeldParts, PartMap
from ringtime_shared.settings import Settings
from ringtime_shared.stores.memory import MemoryStore
from ringtime_shared.stores.protocol import IndexEntry

COUNTS = (1, 4, 64)
INSTANCES = 12
PROCESSES = 2
MOST_CALLS = 6  #: of one process, under way at once
OPERATORS = ("ana", "bob")
_PROCESS = st.integers(0, PROCESSES - 1)
APP = make_app(writable=INSTANCES, polled=INSTANCES)


@dataclass(slots=True, eq=False)
class Call:
    """A call to the store, on its way there or back."""

    carry_out: Callable[[], Awaitable[Any]]
    answer: asyncio.Future[Any]
    result: Any = None
    is_done: bool = False


@dataclass(slots=True)
class Gate:
    """The store as one process has it, behind a network in which nothing moves by itself."""

    store: MemoryStore
    calls: list[Call] = field(default_factory=list)

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        return partial(self._call, getattr(self.store, name))

    async def put_audit(self, entry: Any) -> None:
        """Not what this is about."""

    async def fetch_apps(self) -> list[Any]:
        return []

    async def _call(self, method: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        call = Call(partial(method, *args), asyncio.get_running_loop().create_future())
        self.calls.append(call)
        return await call.answer

    async def move(self, number: int = 0) -> None:
        """Let a call go on, to the store or back from it."""
        call = self.calls[number % len(self.calls)]
        if not call.is_done:
            call.is_done = True
            try:
                call.result = await call.carry_out()
            except RingtimeError as error:
                call.result = error
            return
        self.calls.remove(call)
        if call.answer.done():
            return  # whoever asked is gone
        if isinstance(call.result, RingtimeError):
            call.answer.set_exception(call.result)
        else:
            call.answer.set_result(call.result)


class Parts(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock.now_ms)
        self.filed: set[IndexEntry] = set()  # acknowledged
        self.broken: list[str] = []
        self.gates = [Gate(self.store) for _ in range(PROCESSES)]
        self.held = [HeldParts(gate.fetch_parts, self.clock.boot_ms, PartMap()) for gate in self.gates]
        self.posts = [Gate(self.store) for _ in OPERATORS]  # the operators' gates
        self.operators = [self.operator(who) for who in range(len(OPERATORS))]
        self.steps: dict[int, asyncio.Task[None]] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def operator(self, who: int) -> PartChanger:
        return PartChanger(
            Deployment(
                store=cast(Any, self.posts[who]),
                coordination=None,
                settings=Settings(),
                operator=OPERATORS[who],
                clock=self.clock,
            )
        )

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        self.settle()
        return task

    def settle(self) -> None:
        """Let everything run until it waits for the network."""

        async def turn() -> None:
            for _ in range(12):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turn())

    def move(self, gate: Gate, number: int = 0) -> None:
        self.loop.run_until_complete(gate.move(number))
        self.settle()

    @rule(process=_PROCESS, partition=st.integers(0, INSTANCES - 1), is_quick=st.booleans())
    def write(self, process: int, partition: int, is_quick: bool) -> None:
        gate, held = self.gates[process], self.held[process]
        row = make_row(APP, partition=partition)
        entry = IndexEntry(row.place.bucket, row.place.instance)
        if len(gate.calls) >= MOST_CALLS or entry in self.filed:
            return

        async def work() -> None:
            with suppress(RingtimeError):
                await held.write(lambda count: gate.file_rows([row], count))
                self.filed.add(entry)

        self.finish(self.spawn(work()), gate, is_quick)

    @rule(process=_PROCESS, is_quick=st.booleans())
    def read(self, process: int, is_quick: bool) -> None:
        gate, held = self.gates[process], self.held[process]
        if len(gate.calls) >= MOST_CALLS:
            return

        async def work() -> None:
            before = set(self.filed)
            with suppress(RingtimeError):
                found = await held.read(lambda counts: gate.read_index(BUCKET, BUCKET, None, counts))
                if not before <= set(found):
                    self.broken.append(f"a read by process {process} missed {before - set(found)}")

        self.finish(self.spawn(work()), gate, is_quick)

    @rule(process=_PROCESS, number=st.integers(0, MOST_CALLS))
    def move_one(self, process: int, number: int) -> None:
        if self.gates[process].calls:
            self.move(self.gates[process], number)

    @rule(process=_PROCESS)
    def move_all(self, process: int) -> None:
        for _ in range(50):
            if self.gates[process].calls:
                self.move(self.gates[process])

    @rule(ms=st.sampled_from([100, 100, 100, 3_000, 6_000, rules.MAP_AGE_MS + 1]))
    def pass_time(self, ms: int) -> None:
        self.clock.advance(ms)

    @rule(
        who=st.sampled_from([0, 0, 0, 1]),
        act=st.sampled_from(["go on"] * 12 + ["abort", "resume"]),
        count=st.sampled_from(COUNTS),
        is_quick=st.sampled_from([True] * 4 + [False]),
        waits=st.booleans(),
    )
    def operate(self, who: int, act: str, count: int, is_quick: bool, waits: bool) -> None:
        """An operator takes the next step, or tries to, unless it is at something yet."""
        post = self.posts[who]
        if who in self.steps and not self.steps[who].done():
            self.finish(self.steps[who], post, is_quick)
            return
        changer = self.operators[who]

        async def work() -> None:
            with suppress(RingtimeError):
                found = await changer.fetch()
                if found.change is None:
                    await changer.begin(count)
                elif act == "abort":
                    await changer.abort()
                elif act == "resume":
                    await changer.resume()
                else:
                    await self.take_step(changer, found, waits)

        self.steps[who] = self.spawn(work())
        self.finish(self.steps[who], post, is_quick)

    async def take_step(self, changer: PartChanger, found: PartMap, waits: bool) -> None:
        try:
            await changer._take_step(found)
        except change._Waiting as waiting:
            if waits:
                self.clock.advance(round(waiting.pause_s * 1_000))
                await changer._take_step(await changer.fetch())

    def finish(self, task: asyncio.Task[None], gate: Gate, is_quick: bool) -> None:
        """Let all calls of a process go on until it has done this, if it `is_quick`."""
        while is_quick and not task.done():
            self.move(gate)

    @rule(who=st.integers(0, 1))
    def kill(self, who: int) -> None:
        """What was sent is carried out all the same."""
        if who in self.steps:
            self.steps[who].cancel()
            self.settle()
        self.operators[who] = self.operator(who)

    @rule(who=st.integers(0, 1))
    def carry_out(self, who: int) -> None:
        if self.posts[who].calls:
            self.move(self.posts[who], -1)

    @invariant()
    def nothing_is_out_of_sight(self) -> None:
        found = self.loop.run_until_complete(self.store.fetch_index(BUCKET, BUCKET))
        assert self.filed <= set(found), (self.filed - set(found), self.store._parts)
        assert not self.broken

    def teardown(self) -> None:
        async def end() -> None:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, *(held.close() for held in self.held), return_exceptions=True)

        self.loop.run_until_complete(end())
        self.loop.close()


def search(examples: int, steps: int = 60) -> None:
    run_state_machine_as_test(
        Parts,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.slow
def test_no_entry_is_ever_out_of_sight() -> None:
    search(60)


def believe_any_map(patch: pytest.MonkeyPatch) -> None:
    async def prove(self: HeldParts, used: Any) -> Any:
        return used

    patch.setattr(HeldParts, "_prove", prove)


def wait_for_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(change, "CHANGE_WAIT_MS", 0)


def copy_nothing(patch: pytest.MonkeyPatch) -> None:
    async def copy(self: MemoryStore, written: int, cursor: str | None, kept_ms: int) -> CopyPage:
        return CopyPage(None, 1.0, 0)

    patch.setattr(MemoryStore, "copy_entries", copy)


def write_before_it_is_read(patch: pytest.MonkeyPatch) -> None:
    real = change.begin

    def begin(parts: PartMap, count: int, **others: Any) -> PartMap:
        begun = change.advance(real(parts, count, **others))
        return replace(begun, version=parts.version + 1)

    patch.setattr(change, "begin", begin)


def keep_entries_where_they_are_read_yet(patch: pytest.MonkeyPatch) -> None:
    """The copy may have passed already."""

    async def write(self: HeldParts, write: Callable[[int], Awaitable[None]]) -> None:
        used = self._use()
        await write(used.map.written)
        while (proven := await self._prove(used)).map.written != used.map.written:
            if used.map.written in proven.map.read:
                return
            used = proven
            await write(used.map.written)

    patch.setattr(HeldParts, "write", write)


@pytest.mark.slow
@pytest.mark.parametrize(
    "plant",
    [
        believe_any_map,
        wait_for_nobody,
        copy_nothing,
        keep_entries_where_they_are_read_yet,
    ],
)
def test_a_planted_bug_is_found(
    monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        search(300)


def play_a_reader_of_the_map_before() -> list[str]:
    """Return what a read missed that goes by a map from before a change began, and is young enough."""
    world = Parts()
    world.read(process=0, is_quick=True)
    world.write(process=1, partition=0, is_quick=True)
    for _ in range(2):
        world.operate(who=0, act="go on", count=64, is_quick=True, waits=False)
    world.pass_time(ms=6_000)
    world.write(process=1, partition=1, is_quick=True)
    world.move_all(process=1)  # it holds the map as it is
    for partition in range(2, INSTANCES):
        world.write(process=1, partition=partition, is_quick=True)
    world.read(process=0, is_quick=True)
    world.teardown()
    return world.broken


def test_what_is_written_before_it_is_read_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug that a search at random hardly ever finds."""
    assert play_a_reader_of_the_map_before() == []
    write_before_it_is_read(monkeypatch)
    assert play_a_reader_of_the_map_before() != []
