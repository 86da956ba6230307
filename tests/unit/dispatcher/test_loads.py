"""Where in its window a run is sent whose second is chosen, and that a choice is no part of what a run is."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from tests.contract.builders import START_MS, make_app
from tests.harness.recurring import every, new_definition
from tests.harness.virtual import LoopClock, on_virtual_time
from tests.unit.dispatcher.rig import instances_of, make_owned, make_rig
from tests.unit.dispatcher.test_following import begin, runs

from ringtime_dispatcher.delivery.loads import Loads
from ringtime_shared.buckets import bucket_of
from ringtime_shared.models.recurring import DefinitionState, Misfire, RunOf, recurring_id_of, run_id
from ringtime_shared.models.schedule import Place, Row, Status
from ringtime_shared.models.times import Spread, Window
from ringtime_shared.recurring.chain import PLACE_AHEAD_MS
from ringtime_shared.recurring.run_rows import next_version, run_in, schedule_of
from ringtime_shared.recurring.runs import next_after
from ringtime_shared.stores.protocol import LAST_ID, IdPage, Position

HOUR_S = 3_600
CRONS = 10_000
LIKE = new_definition(START_MS, every(HOUR_S))
RUN = RunOf(recurring_id=LIKE.recurring_id, version=1, nominal_ms=START_MS)
CHOSEN = Window(ms=30_000, spread=Spread.LEAST_LOADED)


@pytest.mark.slow
@pytest.mark.parametrize("share", [1 / 20, 1 / 40])
@on_virtual_time
async def test_ten_thousand_of_one_time_are_even_over_their_window(share: float) -> None:
    clock = LoopClock()
    nominal_ms = clock.now_ms() // 3_600_000 * 3_600_000 + 3_600_000
    hashed, chosen = Counter[int](), Counter[int]()
    by_hash, by_load = (every(HOUR_S, window=Window(share=share, spread=each)) for each in Spread)
    steps = []
    for number in range(CRONS):
        key = str(recurring_id_of(1, f"cron-{number}"))
        run = next_after(by_hash, nominal_ms - 1, key=key)
        assert run is not None
        hashed[run.effective_ms // 1_000] += 1
        run = next_after(by_load, nominal_ms - 1, key=key)
        assert run is not None
        assert run.until_ms is not None
        steps.append((run.effective_ms, run.until_ms, number))
    loads = Loads(clock, tuple, tuple)
    for at_ms, until_ms, number in sorted(steps):
        await asyncio.sleep((at_ms - clock.now_ms()) / 1_000)
        slot_ms = loads.choose(run_row(number, at_ms), (at_ms + PLACE_AHEAD_MS, until_ms))
        assert at_ms < slot_ms < until_ms
        chosen[slot_ms // 1_000] += 1
    mean = CRONS / (3_600 * share)
    assert 1.2 * mean < max(hashed.values()) < 1.6 * mean
    assert max(chosen.values()) < 1.15 * mean


@pytest.mark.slow
@pytest.mark.parametrize("is_announced", [False, True])
@on_virtual_time
async def test_those_that_wait_for_their_own_second_leave_the_begin_of_the_window_to_others(
    is_announced: bool,
) -> None:
    """Of a node's share of a full minute: what is known by a look, or by arrivals and then a look, as where
    the definitions were made just before; what is chosen is announced in turn, and may be looked at."""
    clock, count = LoopClock(), 3_000
    minute_ms = clock.now_ms() // 60_000 * 60_000 + 60_000
    bucket, app = bucket_of(minute_ms), make_app(polled=16, writable=16)
    parts = [make_owned(app, number) for number in range(16)]
    instances, firsts, seconds = instances_of(*parts), list[Row](), Counter[int]()
    window = Window(ms=60_000, spread=Spread.LEAST_LOADED)
    for number in range(count):
        key = str(recurring_id_of(1, f"cron-{number}"))
        run = next_after(every(60, window=window), minute_ms - 1, key=key)
        assert run is not None
        firsts.append(run_row(number, run.effective_ms, minute_ms))
    firsts.sort(key=lambda row: row.place.slot_ms)
    of_part = [firsts[number::16] for number in range(16)]
    for owned, rows in zip(parts, of_part, strict=True):
        instances.open_bucket(owned, bucket)
        if is_announced:
            instances.expect(owned, sorted({row.place.slot_ms for row in rows}))
        owned.learn(
            bucket, IdPage([Position(row.place.slot_ms, row.schedule.schedule_id) for row in rows], None)
        )
    loads = Loads(clock, instances.slots_ahead, instances.sure_ahead)
    for number, row in enumerate(firsts):
        await asyncio.sleep((row.place.slot_ms - clock.now_ms()) / 1_000)
        owned = parts[number % 16]
        owned.set_front(bucket, Position(row.place.slot_ms, LAST_ID))
        loads.note((clock.now_ms() - minute_ms) // 3)  # as on a node that falls behind
        slot_ms = loads.choose(row, (row.place.slot_ms + PLACE_AHEAD_MS, minute_ms + 60_000))
        seconds[slot_ms // 1_000] += 1
        instances.expect(owned, [slot_ms])
    assert max(seconds.values()) < count / 48


@pytest.mark.slow
@on_virtual_time
async def test_a_node_that_takes_its_time_keeps_the_end_of_the_window_for_those_that_choose_last() -> None:
    """Its share of a full minute takes it forty seconds, of which only the first fifteen were to be so."""
    clock, count, took_s = LoopClock(), 1_500, 1 / 37.5
    minute_ms = clock.now_ms() // 60_000 * 60_000 + 60_000
    slots, seconds = sorted(minute_ms + number * 10 for number in range(count)), Counter[int]()
    loads = Loads(clock, lambda: [*(slot for slot in slots if slot > clock.now_ms())], tuple)
    for number, slot_ms in enumerate(slots):
        await asyncio.sleep(max((slot_ms - clock.now_ms()) / 1_000, took_s))
        behind = sum(slot <= clock.now_ms() for slot in slots[number + 1 :])
        within = (slot_ms + PLACE_AHEAD_MS, minute_ms + 60_000)
        slot_ms = loads.choose(run_row(number, slot_ms, minute_ms), within, behind)
        assert slot_ms > clock.now_ms()
        seconds[slot_ms // 1_000] += 1
    assert max(seconds.values()) < 1.3 * count / 60


def run_row(number: int, slot_ms: int, nominal_ms: int = START_MS) -> Row:
    run = replace(RUN, recurring_id=recurring_id_of(1, f"cron-{number}"), nominal_ms=nominal_ms)
    schedule_id = run_id(
        recurring_id=run.recurring_id,
        version=1,
        nominal_ms=nominal_ms,
        origin=run.origin,
        slot_ms=slot_ms,
        partition=0,
        app_number=1,
    )
    like = schedule_of(LIKE, schedule_id, run, fire_ms=slot_ms, now_ms=slot_ms, expires_ms=1 << 50)
    return Row(schedule=like, place=Place("app", 0, slot_ms))


@pytest.mark.parametrize("free", [3, 13])
@on_virtual_time
async def test_seconds_in_which_others_are_due_are_left_to_them(free: int) -> None:
    clock = LoopClock()
    second = clock.now_ms() // 1_000 + 5
    busy = [1_000 * (second + n) for n in range(20) if n != free for _ in range(3)]
    loads = Loads(clock, lambda: busy, lambda: busy)
    for number in range(3):
        row = run_row(number, second * 1_000, second * 1_000)
        assert loads.choose(row, (second * 1_000, (second + 20) * 1_000)) // 1_000 == second + free


@on_virtual_time
async def test_what_may_only_wait_is_passed_over_in_the_begin_of_a_window_alone() -> None:
    clock = LoopClock()
    second = clock.now_ms() // 1_000 + 5
    busy = [1_000 * (second + n) for n in range(20) for _ in range(3)]
    loads = Loads(clock, lambda: busy, tuple)
    row = run_row(0, second * 1_000, second * 1_000)
    for _ in range(3):
        assert loads.choose(row, (second * 1_000, (second + 20) * 1_000)) // 1_000 < second + 5


@on_virtual_time
async def test_no_second_is_chosen_that_is_over_when_its_filing_is_durable() -> None:
    clock = LoopClock()
    loads, now_ms = Loads(clock, tuple, tuple), clock.now_ms()
    within = (now_ms + PLACE_AHEAD_MS, now_ms + 20_000)
    loads.note(4_000)
    assert min(loads.choose(run_row(number, now_ms), within) for number in range(100)) >= now_ms + 8_000
    loads.note(60_000)  # then the last second is the least bad
    assert min(loads.choose(run_row(number, now_ms), within) for number in range(100)) >= within[1] - 1_000
    loads.note(0)
    assert min(loads.choose(run_row(number, now_ms), within) for number in range(100)) < now_ms + 4_000


@pytest.mark.slow
@on_virtual_time
async def test_a_range_does_not_have_its_end() -> None:
    clock = LoopClock()
    loads, first_ms = Loads(clock, tuple, tuple), clock.now_ms() // 1_000 * 1_000 + 60_000
    for number in range(10_000):
        from_ms = first_ms + number % 7 * 371
        until_ms = from_ms + 1_000 + number % 5 * 777
        assert from_ms <= loads.choose(run_row(number, from_ms), (from_ms, until_ms)) < until_ms


@on_virtual_time
async def test_a_run_is_sent_at_the_second_chosen_for_it_whoever_takes_its_step_twice() -> None:
    rig = make_rig()
    definition, first = await begin(rig, times=every(60, START_MS - 58_000, window=CHOSEN))
    await asyncio.sleep((first.place.slot_ms - START_MS) / 1_000 + 1)
    home = (await runs(rig, definition))[0]
    assert rig.receiver.sent == []
    assert home.moved_to is not None
    assert run_in(first).nominal_ms < home.moved_to.slot_ms < run_in(first).nominal_ms + 30_000
    placed = await rig.store.real.fetch_row(home.moved_to, home.schedule.schedule_id)
    assert placed is not None
    assert placed.schedule.fire_ms == home.moved_to.slot_ms
    rig.give(placed)
    await asyncio.sleep(40)
    ((_, delivery),) = rig.receiver.sent
    assert delivery.schedule.schedule_id == first.schedule.schedule_id
    home, following = await runs(rig, definition)
    assert home.outcome is not None
    assert home.outcome.fired_ms == placed.place.slot_ms
    assert run_in(following).nominal_ms == run_in(first).nominal_ms + 60_000


@on_virtual_time
async def test_nobody_waits_behind_a_run_whose_second_is_to_be_chosen() -> None:
    """Thousands of claims take a while. Neither what is due at once nor what has its second does."""
    rig = make_rig()
    _, placed_first = await begin(rig, times=every(60, START_MS - 58_000, window=CHOSEN))
    await asyncio.sleep((placed_first.place.slot_ms - START_MS) / 1_000 + 0.2)
    home = await rig.stored(placed_first)
    assert home.moved_to is not None
    placed = await rig.store.real.fetch_row(home.moved_to, home.schedule.schedule_id)
    assert placed is not None
    rig.store.hold("replace_claim")
    at_s = rig.clock.now_ms() // 1_000 + 1
    _, choosing = await begin(rig, "choosing", every(60, at_s * 1_000, window=CHOSEN))
    await asyncio.sleep((max(placed.place.slot_ms, choosing.place.slot_ms) - rig.clock.now_ms()) / 1_000 + 1)
    assert (await rig.stored(choosing)).moved_to is None
    rig.give(placed)
    _, plain = await begin(rig, "plain", every(60, rig.clock.now_ms() // 1_000 * 1_000 + 1_000))
    await asyncio.sleep(2)
    sent = {delivery.schedule.schedule_id for _, delivery in rig.receiver.sent}
    assert sent == {placed.schedule.schedule_id, plain.schedule.schedule_id}


@on_virtual_time
async def test_a_pause_before_the_chosen_second_holds() -> None:
    rig = make_rig()
    definition, first = await begin(rig, times=every(60, START_MS - 58_000, window=CHOSEN))
    await asyncio.sleep((first.place.slot_ms - START_MS) / 1_000 + 0.2)
    home = (await runs(rig, definition))[0]
    assert home.moved_to is not None
    placed = await rig.store.real.fetch_row(home.moved_to, home.schedule.schedule_id)
    assert placed is not None
    paused = next_version(definition, home.moved_to.slot_ms - 1_100, state=DefinitionState.PAUSED)
    await rig.store.real.replace_definition(paused)
    rig.give(placed)
    await asyncio.sleep(40)
    assert rig.receiver.sent == []
    home = (await runs(rig, definition))[0]
    assert home.outcome is not None
    assert home.outcome.error == "paused"


@on_virtual_time
async def test_two_owners_of_a_step_go_by_one_second_where_a_pause_lies_between_theirs() -> None:
    """One has chosen. The other read the home row before that, and comes to it when too little is left."""
    rig, other = make_rig(), make_rig()
    other.store.real, other.app, other.owned = rig.store.real, rig.app, make_owned(rig.app)
    definition, first = await begin(rig, times=every(60, START_MS - 58_000, window=CHOSEN))
    await asyncio.sleep((first.place.slot_ms - START_MS) / 1_000 + 0.2)
    home = (await runs(rig, definition))[0]
    assert home.moved_to is not None
    placed = await rig.store.real.fetch_row(home.moved_to, home.schedule.schedule_id)
    assert placed is not None
    paused = next_version(definition, home.moved_to.slot_ms - 1_100, state=DefinitionState.PAUSED)
    await rig.store.real.replace_definition(paused)
    end_ms = run_in(first).nominal_ms + 30_000
    await asyncio.sleep((end_ms - 500 - rig.clock.now_ms()) / 1_000)
    other.give(first)
    await asyncio.sleep(1)
    home = (await runs(rig, definition))[0]
    assert home.moved_to is not None
    assert other.receiver.sent == []
    second = await rig.store.real.fetch_row(home.moved_to, home.schedule.schedule_id)
    assert second is not None
    assert second.schedule.fire_ms == placed.schedule.fire_ms
    assert second.place.slot_ms > placed.place.slot_ms
    rig.give(placed)
    other.give(second)
    await asyncio.sleep(10)
    assert [*rig.receiver.sent, *other.receiver.sent] == []
    home = (await runs(rig, definition))[0]
    assert home.outcome is not None
    assert home.outcome.error == "paused"


@pytest.mark.parametrize(
    ("misfire", "late_s", "status"),
    [
        (Misfire.SKIP, 50, Status.SUCCESS),
        (Misfire.SKIP, 70, Status.MISS),
        (Misfire.ONCE, 70, Status.SUCCESS),  # what follows it is not late yet
        (Misfire.ONCE, 200, Status.MISS),
    ],
)
@on_virtual_time
async def test_a_chosen_second_at_which_nobody_could_send_is_one_for_the_misfire_policy(
    misfire: Misfire, late_s: int, status: Status
) -> None:
    rig = make_rig()
    times = every(60, START_MS - 58_000, window=CHOSEN)
    definition, first = await begin(rig, times=times, misfire=misfire)
    await asyncio.sleep((first.place.slot_ms - START_MS) / 1_000 + 0.2)
    home = (await runs(rig, definition))[0]
    assert home.moved_to is not None
    placed = await rig.store.real.fetch_row(home.moved_to, home.schedule.schedule_id)
    assert placed is not None
    await asyncio.sleep((placed.place.slot_ms - rig.clock.now_ms()) / 1_000 + late_s)
    rig.give(placed)
    await asyncio.sleep(1)
    home = (await runs(rig, definition))[0]
    assert home.outcome is not None
    assert home.outcome.status is status
    assert len(rig.receiver.sent) == (status is Status.SUCCESS)
