"""Bugs of recurring schedules put in on purpose: the simulation must find each of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from ringtime_dispatcher.delivery import ledger
from ringtime_dispatcher.delivery.following import Follower
from ringtime_ingest.service import recurring
from ringtime_ringctl.resize.runner import Resizer
from ringtime_shared.models.app import App
from ringtime_shared.models.recurring import Definition, DefinitionState, Origin
from ringtime_shared.recurring import run_rows
from ringtime_shared.recurring.chain import Decision, Step
from tests.cluster.cron_world import CronPlan
from tests.cluster.planted import Plant, point_at_a_filing_without_a_look
from tests.cluster.pod import FaultRates


def file_what_follows_later(patch: pytest.MonkeyPatch) -> None:
    """The run goes on first, and what follows it is written some time after that."""
    real = Follower._carry_out

    def carry_out(self: Follower, item: Any, step: Step, now_ms: int, begun_ms: int = 0) -> None:
        async def follow() -> None:
            await asyncio.sleep(1)
            await self._store.put_rows(step.files)

        if step.files:
            task = asyncio.create_task(follow())
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            writing.append(task)
        real(self, item, replace(step, files=()), now_ms, begun_ms)

    async def close(self: Follower) -> None:
        for task in writing:
            task.cancel()
        await real_close(self)

    writing: list[asyncio.Task[None]] = []
    real_close = Follower.close
    patch.setattr(Follower, "_carry_out", carry_out)
    patch.setattr(Follower, "close", close)


def edit_without_a_version(patch: pytest.MonkeyPatch) -> None:
    real = run_rows.next_version

    def next_version(definition: Definition, now_ms: int, **changes: Any) -> Definition:
        kept = {name: getattr(definition, name) for name in ("version", "from_ms", "earlier")}
        return replace(real(definition, now_ms, **changes), **kept)

    patch.setattr(recurring, "next_version", next_version)


def pause_that_drops_the_chain(patch: pytest.MonkeyPatch) -> None:
    """What was due before the pause and is not made yet is forgotten with it."""
    real = Decision.make

    def make(self: Decision, found: Any) -> Step:
        step, definition = real(self, found), self._definition
        is_paused = definition is not None and definition.state is DefinitionState.PAUSED
        return replace(step, files=(), missed=()) if is_paused else step

    patch.setattr(Decision, "make", make)


def step_for_home_rows_alone(patch: pytest.MonkeyPatch) -> None:
    """One that was parked, or filed too late, before its step was taken, is followed by nothing."""
    real = ledger.RowItem.__init__

    def init(self: ledger.RowItem, owned: Any, row: Any) -> None:
        real(self, owned, row)
        self.has_step = self.has_step and not self.needs_look

    patch.setattr(ledger.RowItem, "__init__", init)


def let_two_versions_run_one_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Decision, "_rival", None)


def check_that_begins_nothing(patch: pytest.MonkeyPatch) -> None:
    real = Decision._follow

    def follow(self: Decision, definition: Any, span: Any, step: Step) -> Step:
        return step if self._run.origin is Origin.CHECK else real(self, definition, span, step)

    patch.setattr(Decision, "_follow", follow)


def take_the_next_time_after_now(patch: pytest.MonkeyPatch) -> None:
    """A step that comes late passes over what came due meanwhile, and says nothing of it."""
    real = Decision.make

    def make(self: Decision, found: Any) -> Step:
        step = real(self, found)
        return replace(step, files=step.files[-1:])

    patch.setattr(Decision, "make", make)


def know_the_pause_of_now_alone(patch: pytest.MonkeyPatch) -> None:
    """What a pause has stopped is sent if it is looked at after the resume."""

    def stop(self: Decision) -> str | None:
        definition = self._definition
        if definition is None or definition.version <= self._run.version:
            return None
        return "paused" if definition.current.stops(self._slot_ms) else None

    patch.setattr(Decision, "_stop", property(stop))


def move_no_recurring_schedule(patch: pytest.MonkeyPatch) -> None:
    """A shrink leaves them where they are."""

    async def move_none(self: Resizer, app: App) -> int:
        return 0

    patch.setattr(Resizer, "_move_recurring", move_none)


#: An edit would move what a shrink leaves. All that is asked for is stored: nothing holds up the last.
_SHRINKS = CronPlan(schedules=8, load_s=20.0, changes=1, kill_rate=0.0, resizes=4, finish_s=200.0)

#: Definitions are stored so late that the version before has gone on, and both have the same times.
_SLOW_CHANGES = CronPlan(
    schedules=8,
    load_s=30.0,
    rates=FaultRates(slow=0.5, slow_calls=frozenset({"replace_definition"})),
    kill_rate=0.0,
)

#: Nobody is there to send for longer than a minute, so that several runs follow at once.
_LONG_AWAY = CronPlan(dispatchers=1, schedules=8, load_s=30.0, pauses=4, pause_s=150.0, kill_rate=0.0)

#: Runs lie far behind their nominal times, pauses follow each other closely, and who sends is often away.
_SHORT_PAUSES = CronPlan(
    dispatchers=1,
    schedules=8,
    load_s=30.0,
    changes=20,
    kill_rate=0.0,
    has_windows=True,
    pauses=6,
    pause_s=9.0,
)

#: Each with a plan that makes its gap wide; None: what a seed draws.
CRON_PLANTS: list[tuple[Plant, CronPlan | None]] = [
    (file_what_follows_later, None),
    (edit_without_a_version, None),
    (pause_that_drops_the_chain, None),
    (step_for_home_rows_alone, None),
    (let_two_versions_run_one_time, _SLOW_CHANGES),
    (check_that_begins_nothing, None),
    (take_the_next_time_after_now, _LONG_AWAY),
    (point_at_a_filing_without_a_look, None),
    (know_the_pause_of_now_alone, _SHORT_PAUSES),
    (move_no_recurring_schedule, _SHRINKS),
]
