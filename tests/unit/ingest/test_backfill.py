"""Nominal times that are over are made up for, each once, whoever repeats a backfill and whoever dies."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from tests.unit.ingest.commit_rig import ServiceRig
from tests.unit.ingest.test_recurring import DAY_MS, MINUTE_MS, make_rig, new, runs, step

from ringtime_ingest.service import backfill as service
from ringtime_ingest.service.backfill import BackfillReport
from ringtime_shared.api.recurring import BackfillEffect
from ringtime_shared.errors import InvalidRequest, OutcomeUnknown, StoreUnavailable
from ringtime_shared.models.recurring import Definition, Origin, Overlap, Stage
from ringtime_shared.models.schedule import Outcome, Row, RowUpdate, Status
from ringtime_shared.models.sending import Priority, Sending
from ringtime_shared.recurring.chain import Decision, Found
from ringtime_shared.recurring.run_rows import run_in
from ringtime_shared.stores.protocol import Marks, MarksWrite

HOUR_MS = 60 * MINUTE_MS


async def backfill(rig: ServiceRig, definition: Definition, minutes: tuple[int, int], **more: Any) -> Any:
    """Backfill from so many minutes before now to so many."""
    now_ms = rig.clock.now_ms()
    first, end = (now_ms - minute * MINUTE_MS for minute in minutes)
    return await rig.service.backfills.backfill(definition, first, end, **more)


def effects(report: BackfillReport) -> Counter[BackfillEffect]:
    return Counter(each.effect for each in report.runs)


async def end(rig: ServiceRig, row: Row, status: Status = Status.SUCCESS) -> None:
    outcome = Outcome(status=status, ended_ms=rig.clock.now_ms(), attempts=1)
    update = RowUpdate(place=row.place, schedule_id=row.schedule.schedule_id, outcome=outcome)
    await rig.store.real.put_updates([update])


async def test_each_nominal_time_of_the_range_gets_one_run() -> None:
    rig = await make_rig()
    made = await rig.service.recurring.put(new())
    dry = await backfill(rig, made, (60, 50), is_dry=True)
    assert effects(dry) == {BackfillEffect.WOULD_BE_FILED: 10}
    assert runs(rig, made, Origin.BACKFILL) == []
    report = await backfill(rig, made, (60, 50))
    assert effects(report) == {BackfillEffect.FILED: 10}
    rows = runs(rig, made, Origin.BACKFILL)
    assert [run_in(row).nominal_ms for row in rows] == [each.nominal_ms for each in report.runs]
    first_ms = rig.clock.now_ms() - 60 * MINUTE_MS
    assert first_ms <= report.runs[0].nominal_ms < first_ms + MINUTE_MS
    assert {row.place.slot_ms > rig.clock.now_ms() for row in rows} == {True}
    assert {row.schedule.payload for row in rows} == {"{}"}
    current = await rig.service.recurring.fetch("shop", "nightly")
    assert (current.version, current.revision) == (1, 2)


async def test_its_runs_are_sent_as_the_runs_of_the_plan() -> None:
    rig = await make_rig()
    sending = Sending(is_base64=True, timeout_ms=700, priority=Priority.HIGH)
    made = await rig.service.recurring.put(new(payload="AAE=", sending=sending))
    await backfill(rig, made, (3, 1))
    (planned,) = runs(rig, made, Origin.PLAN)
    same = ("payload", "callback_type", "callback_details", "retry", "sending")
    for row in runs(rig, made, Origin.BACKFILL):
        assert [getattr(row.schedule, each) for each in same] == [
            getattr(planned.schedule, each) for each in same
        ]


async def test_a_repeat_files_nothing_and_tells_what_is_there() -> None:
    rig = await make_rig()
    made = await rig.service.recurring.put(new())
    first = await backfill(rig, made, (60, 50))
    rig.clock.advance(5_000)
    for stale in (made, await rig.service.recurring.fetch("shop", "nightly")):
        again = await rig.service.backfills.backfill(
            stale, first.runs[0].nominal_ms, first.runs[-1].nominal_ms + 1
        )
        assert effects(again) == {BackfillEffect.HAS_RUN: 10}
        assert [each.schedule_id for each in again.runs] == [each.schedule_id for each in first.runs]
    assert len(runs(rig, made, Origin.BACKFILL)) == 10


async def test_ranges_that_overlap_share_their_runs() -> None:
    rig = await make_rig()
    made = await rig.service.recurring.put(new())
    await backfill(rig, made, (60, 50))
    report = await backfill(rig, made, (55, 45))
    assert effects(report) == {BackfillEffect.HAS_RUN: 5, BackfillEffect.FILED: 5}
    assert len(runs(rig, made, Origin.BACKFILL)) == 15


async def test_the_plans_own_runs_are_told_but_those_that_were_missed() -> None:
    rig = await make_rig()
    made = await rig.service.recurring.put(new())
    for status in (Status.SUCCESS, Status.MISS, Status.FAILURE):
        row = runs(rig, made)[-1]
        await step(rig, row)
        await end(rig, row, status)
    rig.clock.advance(1_000)
    report = await backfill(rig, made, (4, 0))
    assert [each.effect for each in report.runs][-3:] == [
        BackfillEffect.HAS_RUN,
        BackfillEffect.FILED,
        BackfillEffect.HAS_RUN,
    ]


async def test_what_the_plan_will_make_yet_is_left_to_it() -> None:
    rig = await make_rig()
    made = await rig.service.recurring.put(new())
    rig.clock.advance(5 * MINUTE_MS + 1_000)  # nobody is there to send
    report = await backfill(rig, made, (5, 0))
    assert effects(report) == {BackfillEffect.HAS_RUN: 1, BackfillEffect.PLANNED: 4}
    paused = await rig.service.recurring.pause(made)
    rig.clock.advance(5 * MINUTE_MS)
    report = await backfill(rig, paused, (5, 0))
    assert effects(report) == {BackfillEffect.FILED: 5}


async def test_no_more_than_was_asked_for_and_where_it_goes_on() -> None:
    rig = await make_rig()
    made = await rig.service.recurring.put(new())
    report = await backfill(rig, made, (300, 0))
    assert (len(report.runs), effects(report)) == (100, {BackfillEffect.FILED: 100})
    assert report.continues_ms == report.runs[-1].nominal_ms + MINUTE_MS
    assert len((await backfill(rig, made, (900, 0), most=1_000, is_dry=True)).runs) == 900
    assert (await backfill(rig, made, (60, 50), most=10)).continues_ms is None
    never = await rig.service.recurring.put(new("yearly", "0 0 29 2 *"))
    assert (await backfill(rig, never, (300, 0))).runs == []


@pytest.mark.parametrize(
    ("first_ms", "end_ms", "most", "field"),
    [
        (-HOUR_MS, -HOUR_MS, 100, "to"),
        (-HOUR_MS, 1, 100, "to"),
        (-HOUR_MS, 0, 0, "max"),
        (-HOUR_MS, 0, 1_001, "max"),
        (-20 * 365 * DAY_MS, 0, 100, "from"),
    ],
)
async def test_what_is_refused(first_ms: int, end_ms: int, most: int, field: str) -> None:
    rig = await make_rig()
    made = await rig.service.recurring.put(new())
    now_ms = rig.clock.now_ms()
    with pytest.raises(InvalidRequest) as caught:
        await rig.service.backfills.backfill(made, now_ms + first_ms, now_ms + end_ms, most=most)
    assert [each.field for each in caught.value.violations] == [field]


async def test_where_runs_must_not_overlap_they_go_one_after_the_other() -> None:
    rig = await make_rig()
    made = await rig.service.recurring.put(new(overlap=Overlap.SKIP))
    await backfill(rig, made, (60, 57))
    first, second, third = runs(rig, made, Origin.BACKFILL)
    rig.clock.advance(5_000)

    def decide(row: Row, found: Row) -> Any:
        decision = Decision(made, row, rig.clock.now_ms(), DAY_MS)
        return decision.make({each: Found(found) for each in decision.looks()})

    assert run_in(second).running == first.schedule.schedule_id
    assert run_in(third).running == second.schedule.schedule_id
    assert decide(second, first).wait_ms is not None
    ended = replace(first, outcome=Outcome(status=Status.SUCCESS, ended_ms=rig.clock.now_ms()))
    assert decide(second, ended).run.stage is Stage.LET_GO


@pytest.mark.parametrize("overlap", [Overlap.ALLOW, Overlap.SKIP])
async def test_a_run_that_nobody_may_read_is_not_taken_as_there(overlap: Overlap) -> None:
    """Whoever filed it died before its check, and the final read had come before it."""
    rig = await make_rig()
    made = await rig.service.recurring.put(new(overlap=overlap))
    rig.store.fail("fetch_marks", StoreUnavailable("died"))
    assert effects(await backfill(rig, made, (60, 59))) == {BackfillEffect.FAILED: 1}
    (dead,) = runs(rig, made, Origin.BACKFILL)
    await seal(rig, dead)
    current = await rig.service.recurring.fetch("shop", "nightly")
    rig.store.fail("put_rows", StoreUnavailable("away"))
    again = await backfill(rig, current, (60, 59))
    assert effects(again) == {BackfillEffect.FAILED: 1}, "of this one it is not known"
    assert isinstance(again.runs[0].error, StoreUnavailable)
    again = await backfill(rig, current, (60, 58))
    assert effects(again) == {BackfillEffect.HAS_RUN: 1, BackfillEffect.FILED: 1}
    assert await is_read(rig, dead)
    await end(rig, dead)
    rig.store.calls.clear()
    assert effects(await backfill(rig, current, (60, 59))) == {BackfillEffect.HAS_RUN: 1}
    assert "put_rows" not in rig.store.names(), "what has ended is left alone"


async def seal(rig: ServiceRig, row: Row) -> None:
    """Publish as the owner who has finally read a row's slot."""
    marks = Marks(row.place.slot_ms, row.place.slot_ms)
    await rig.store.real.put_marks([MarksWrite(row.place.instance, 1 << 48 | 1, marks)])


async def is_read(rig: ServiceRig, sealed: Row) -> bool:
    """Whether a live filing of a row that lies under the marks is pointed at above them."""
    home = await rig.store.real.fetch_row(sealed.place, sealed.schedule.schedule_id)
    if home is None or home.moved_to is None or home.moved_to.slot_ms <= sealed.place.slot_ms:
        return False
    filing = await rig.store.real.fetch_row(home.moved_to, sealed.schedule.schedule_id)
    return filing is not None and filing.is_live


async def play(seed: int) -> Counter[int]:
    """Backfill ranges that overlap, by several who die, are edited under, and repeat it; return how many runs
    each nominal time got."""
    rng, rig = Random(seed), await make_rig()
    made = await rig.service.recurring.put(new())
    base_ms = rig.clock.now_ms()
    put_rows = rig.store.real.put_rows

    late: list[Row] = []

    async def unsure(rows: Any) -> None:
        await asyncio.sleep(0)
        fault = rng.random()
        if fault < 0.2:
            raise StoreUnavailable("away")
        if fault < 0.5:  # it is carried out after the caller has given up
            late.extend(rows)
            raise OutcomeUnknown("no answer")
        await put_rows(rows)

    rig.store.real.put_rows = unsure  # type: ignore[method-assign]

    async def work() -> None:
        await asyncio.sleep(0)
        definition = made if rng.random() < 0.3 else await rig.service.recurring.fetch("shop", "nightly")
        first = rng.randint(40, 60)
        call = rig.service.backfills.backfill(
            definition, base_ms - first * MINUTE_MS, base_ms - (first - rng.randint(1, 20)) * MINUTE_MS
        )
        try:
            await asyncio.wait_for(call, rng.choice([0, 10]))
        except (StoreUnavailable, OutcomeUnknown, TimeoutError):
            return

    for _ in range(4):
        await asyncio.gather(*(work() for _ in range(3)))
        rig.clock.advance(rng.choice([0, 2_000]))
        if rng.random() < 0.5:
            await put_rows(late)
        if rng.random() < 0.3:
            rig.store.real.put_rows = put_rows  # type: ignore[method-assign]
            stored = await rig.service.recurring.fetch("shop", "nightly")
            await rig.service.recurring.put(replace(new(), payload=f"{stored.revision}"))
            rig.store.real.put_rows = unsure  # type: ignore[method-assign]
    await put_rows(late)
    return Counter(run_in(row).nominal_ms for row in runs(rig, made, Origin.BACKFILL))


@pytest.mark.parametrize("seed", range(20))
async def test_however_often_and_by_however_many_each_gets_one(seed: int) -> None:
    assert set((await play(seed)).values()) <= {1}


async def test_a_backfill_that_doubles_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges that others have begun are not gone by."""
    real = service.Backfills._note

    def note_anew(self: Any, definition: Definition, *args: Any) -> Definition:
        return real(self, replace(definition, backfilled=()), *args)

    monkeypatch.setattr(service.Backfills, "_note", note_anew)
    counts = [max((await play(seed)).values(), default=0) for seed in range(20)]
    assert max(counts) > 1


async def test_a_long_range_leaves_others_their_turns() -> None:
    rig = await make_rig()
    made = await rig.service.recurring.put(new())
    turns, is_over = 0, False

    async def be_another() -> None:
        nonlocal turns
        while not is_over:
            await asyncio.sleep(0)
            turns += 1

    other = asyncio.create_task(be_another())
    report = await backfill(rig, made, (1_000, 0), most=1_000, is_dry=True)
    is_over = True
    await other
    assert len(report.runs) == 1_000
    assert turns >= 2 * 1_000 // 50
