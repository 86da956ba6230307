"""The whole product in one process, on a wall clock that jumps, drifts and says nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest
from tests.contract.builders import START_MS
from tests.harness.virtual import LoopClock, on_virtual_time

from ringtime import runtime as one_process
from ringtime.library import FunctionCallback
from ringtime.runtime import Runtime, run
from ringtime_ingest.service import NewApp, NewSchedule
from ringtime_shared.callbacks.protocol import Delivery
from ringtime_shared.clock import ManualClock
from ringtime_shared.errors import ClockInDoubt, MarksAhead, StoreUnavailable
from ringtime_shared.models.app import AppConfiguration, Instance
from ringtime_shared.models.schedule import Status
from ringtime_shared.settings import ClockSettings, EmbeddedSettings, Settings
from ringtime_shared.stores.protocol import Marks, MarksWrite
from ringtime_shared.stores.sqlite import SqliteStore

HOUR_S = 3_600
HOLD_S = 20


class LyingClock(LoopClock):
    """`off_s`: how far it is ahead of the right time."""

    off_s = 0.0

    def now_ms(self) -> int:
        return self.true_ms() + round(self.off_s * 1_000)

    def true_ms(self) -> int:
        return super().now_ms()


class Scene:
    """A running process and what it sent: when by the right time, and which schedule."""

    def __init__(self, runtime: Runtime, clock: LyingClock, sent: dict[UUID, list[int]]) -> None:
        self.runtime = runtime
        self.clock = clock
        self.sent = sent

    async def create(self, delay_s: float) -> UUID:
        row = await self.runtime.service.create_schedule(
            NewSchedule(
                app_id="pay",
                payload="{}",
                delay_ms=round(delay_s * 1_000),
                callback_type="note",
                callback_details={},
            )
        )
        return row.schedule.schedule_id

    async def status(self, schedule_id: UUID) -> Status:
        return (await self.runtime.service.fetch_schedule(schedule_id)).status

    async def lag_s(self, delay_s: float) -> float:
        """Create, wait for it, and return how late it was sent; negative: early."""
        due_ms = self.clock.true_ms() + delay_s * 1_000
        schedule_id = await self.create(delay_s)
        await asyncio.sleep(delay_s + 5)
        (sent_ms,) = self.sent[schedule_id]
        return (sent_ms - due_ms) / 1_000


@asynccontextmanager
async def playing(clock: LyingClock | None = None) -> AsyncIterator[Scene]:
    clock = clock or LyingClock()
    sent: dict[UUID, list[int]] = {}

    async def note(delivery: Delivery) -> None:
        sent.setdefault(delivery.schedule.schedule_id, []).append(clock.true_ms())

    settings = Settings(clock=ClockSettings(hold_s=HOLD_S))
    async with run(settings, callbacks={"note": FunctionCallback("note", note)}, clock=clock) as runtime:
        if clock.doubt() is None and runtime.clock.doubt() is None:
            await register(runtime)
            await asyncio.sleep(3)
        yield Scene(runtime, clock, sent)


async def register(runtime: Runtime) -> None:
    await runtime.service.register_app(
        NewApp(app_id="pay", partitions=4, active=True, configuration=AppConfiguration())
    )


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S, 86_400 * 365, -86_400 * 365])
@on_virtual_time
async def test_a_jump_that_is_taken_back_makes_nothing_early_and_nothing_late(jump_s: int) -> None:
    async with playing() as scene:
        before = await scene.create(95)
        due_ms = scene.clock.true_ms() + 95_000
        scene.clock.off_s = jump_s
        with pytest.raises(ClockInDoubt, match="nothing was written"):
            await scene.create(2)
        await asyncio.sleep(6)
        scene.clock.off_s = 0
        await asyncio.sleep(3)
        assert not scene.sent
        far, near = await asyncio.gather(scene.lag_s(95), scene.lag_s(2))
        assert 0 <= near < 0.5
        assert 0 <= far < 0.5
        (sent_ms,) = scene.sent[before]
        assert 0 <= sent_ms - due_ms < 500


@on_virtual_time
async def test_no_cancel_is_promised_while_the_clock_is_in_doubt() -> None:
    async with playing() as scene:
        schedule_id, other = await scene.create(60), await scene.create(60)
        assert (await scene.runtime.service.cancel_schedule(schedule_id)).promised
        scene.clock.off_s = -HOUR_S
        assert not (await scene.runtime.service.cancel_schedule(other)).promised
        await asyncio.sleep(2)
        scene.clock.off_s = 0
        await asyncio.sleep(70)
        assert not scene.sent


async def test_nothing_is_purged_by_a_clock_in_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    purged: list[int] = []

    async def purge(store: SqliteStore, now_ms: int) -> int:
        purged.append(now_ms)
        return 0

    monkeypatch.setattr(SqliteStore, "purge", purge)
    settings = Settings(embedded=EmbeddedSettings(data=str(tmp_path / "data")))
    for clock in (ManualClock(1_000), ManualClock(START_MS)):
        async with run(settings, callbacks={}, clock=clock):
            await asyncio.sleep(0)
    assert purged == [START_MS]


async def test_a_purge_that_fails_is_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its failure must not be the end of it: the folder would grow for ever and nobody would know."""
    tries = 0
    again = asyncio.Event()

    async def purge(store: SqliteStore, now_ms: int) -> int:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise [StoreUnavailable("disk full"), ValueError("a bug")][tries - 1]
        again.set()
        return 0

    monkeypatch.setattr(SqliteStore, "purge", purge)
    monkeypatch.setattr(one_process, "_PURGE_S", 0.01)
    settings = Settings(embedded=EmbeddedSettings(data=str(tmp_path / "data")))
    async with run(settings, callbacks={}, clock=ManualClock(START_MS)):
        await asyncio.wait_for(again.wait(), 60)


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
@on_virtual_time
async def test_a_jump_that_stays_is_believed_and_when_it_is_taken_back_nothing_is_lost(jump_s: int) -> None:
    """The false time was believed, so what came due by it was sent; what is asked for afterwards is not."""
    async with playing() as scene:
        scene.clock.off_s = jump_s
        await asyncio.sleep(HOLD_S + 5)
        assert 0 <= await scene.lag_s(2) < 0.5, "a machine whose clock was put right goes on"
        scene.clock.off_s = 0
        await asyncio.sleep(HOLD_S + 5)
        marks = await scene.runtime.store.fetch_marks([Instance("pay", n) for n in range(4)])
        assert max(max(each) for each in marks.values()) < scene.clock.true_ms()
        far, near = await asyncio.gather(scene.lag_s(95), scene.lag_s(2))
        assert 0 <= near < 0.5
        assert 0 <= far < 0.5


@on_virtual_time
async def test_what_is_due_while_the_clock_is_in_doubt_is_sent_when_it_is_not() -> None:
    async with playing() as scene:
        schedule_id = await scene.create(3)
        due_ms = scene.clock.true_ms() + 3_000
        await asyncio.sleep(1)
        scene.clock.off_s = HOUR_S
        await asyncio.sleep(6)
        assert not scene.sent
        scene.clock.off_s = 0
        await asyncio.sleep(4)
        (sent_ms,) = scene.sent[schedule_id]
        assert due_ms + 4_000 <= sent_ms <= due_ms + 7_000


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
@on_virtual_time
async def test_nothing_is_sent_from_the_very_moment_of_a_jump(jump_s: int) -> None:
    async with playing() as scene:
        await scene.create(3.4)
        await asyncio.sleep(3.35)  # between two looks of whoever looks now and then
        scene.clock.off_s = jump_s
        await asyncio.sleep(0.2)
        assert not scene.sent
        assert abs(scene.runtime.clock.now_ms() - scene.clock.true_ms()) <= 1
        scene.clock.off_s = 0
        await asyncio.sleep(2)
        assert len(scene.sent) == 1


@on_virtual_time
async def test_a_row_held_in_memory_for_a_slot_survives_a_clock_set_back_and_forth() -> None:
    """Also when both times were believed: its instance was given up, and the next term reads it again."""
    async with playing() as scene:
        schedule_id = await scene.create(2 * HOLD_S + 60)
        due_ms = scene.clock.true_ms() + (2 * HOLD_S + 60) * 1_000
        scene.clock.off_s = -HOUR_S
        await asyncio.sleep(HOLD_S + 10)
        scene.clock.off_s = 0
        await asyncio.sleep(HOLD_S + 10)
        assert not scene.sent
        await asyncio.sleep(60)
        (sent_ms,) = scene.sent[schedule_id]
        assert 0 <= sent_ms - due_ms < 500


@on_virtual_time
async def test_a_clock_before_2020_refuses_by_name_and_is_used_once_it_is_right() -> None:
    clock = LyingClock()
    clock.off_s = -START_MS / 1_000
    async with playing(clock) as scene:
        with pytest.raises(ClockInDoubt, match="before 2020"):
            await register(scene.runtime)
        clock.off_s = 0
        await asyncio.sleep(3)
        await register(scene.runtime)
        clock.off_s = -START_MS / 1_000
        with pytest.raises(ClockInDoubt):
            await scene.create(2)
        clock.off_s = 0
        assert 0 <= await scene.lag_s(2) < 0.5


@on_virtual_time
async def test_marks_that_a_false_clock_left_behind_are_lowered_by_the_next_term() -> None:
    """As an earlier release, or a node whose false clock was believed, leaves them."""
    async with playing() as scene:
        store, instances = scene.runtime.store, [Instance("pay", n) for n in range(4)]
        ahead_ms = scene.clock.true_ms() + HOUR_S * 1_000
        terms = await store.fetch_terms(instances)
        await store.put_marks(
            [MarksWrite(each, terms[each], Marks(ahead_ms, ahead_ms)) for each in instances]
        )
        with pytest.raises(MarksAhead, match="only a false clock can have done"):
            await scene.create(2)  # rather than an hour later, in silence
        schedule_id = await scene.create(95)
        due_ms = scene.clock.true_ms() + 95_000
        scene.clock.off_s = HOUR_S  # a moment of doubt ends the term, before anything was read of that row
        await asyncio.sleep(3)
        scene.clock.off_s = 0
        await asyncio.sleep(4)
        assert sum(len(each) for each in scene.sent.values()) == 1, (
            "what was refused, too, for it was written"
        )
        marks = await store.fetch_marks(instances)
        assert max(max(each) for each in marks.values()) < scene.clock.true_ms()
        assert 0 <= await scene.lag_s(2) < 0.5
        await asyncio.sleep(90)
        (sent_ms,) = scene.sent[schedule_id]
        assert 0 <= sent_ms - due_ms < 500
