"""The commit path: what is acknowledged will be seen by a dispatcher, what is not says which kind of not."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.contract.builders import START_MS, make_app, make_row
from tests.harness.virtual import on_virtual_time
from tests.unit.ingest.commit_rig import CommitRig, make_commit_rig
from tests.unit.spy_store import spin

from ringtime_shared.apps.feed import AppReading
from ringtime_shared.apps.states import begin_deletion
from ringtime_shared.errors import NotFound, OutcomeUnknown, StoreUnavailable
from ringtime_shared.models.app import Instance
from ringtime_shared.models.schedule import Row

MAP_AGE_MS = 10_000
NEAR_MS = 90_000


async def filed_again(rig: CommitRig, home: Row, answer: Row) -> Row:
    """Check that `answer` is the home row with a pointer, and return the row it points at."""
    assert answer.moved_to is not None
    assert answer == replace(home, moved_to=answer.moved_to)
    assert await rig.stored(home) == answer
    again = await rig.store.real.fetch_row(answer.moved_to, home.schedule.schedule_id)
    assert again == replace(home, place=answer.moved_to)
    return again


async def test_requests_that_come_while_a_batch_is_out_join_the_next() -> None:
    rig = await make_commit_rig()
    gate = rig.store.hold("put_rows")
    filed = [rig.file(rig.row())]
    await spin()
    for _ in range(9):
        filed.append(rig.file(rig.row()))
        await spin(2)
    gate.set()
    await asyncio.gather(*filed)
    assert rig.store.sizes("put_rows") == [1, 9]
    assert rig.store.names() == ["put_rows", "fetch_marks"] * 2, "one check a batch"


async def test_requests_of_one_turn_share_a_batch_and_nothing_waits_for_a_timer() -> None:
    rig = await make_commit_rig()
    await asyncio.gather(*(rig.file(rig.row()) for _ in range(50)))
    assert rig.store.sizes("put_rows") == [50]


async def test_a_batch_is_bounded_and_keeps_the_order() -> None:
    rig = await make_commit_rig(flush_rows=4)
    rows = [rig.row(START_MS + n) for n in range(10)]
    await asyncio.gather(*map(rig.file, rows))
    batches = [argument for name, argument in rig.store.calls if name == "put_rows"]
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert [row for batch in batches for row in batch] == rows


async def test_more_lanes_write_at_once() -> None:
    rig = await make_commit_rig(commit_lanes=3, flush_rows=1)
    gate = rig.store.hold("put_rows")
    filed = [rig.file(rig.row()) for _ in range(5)]
    await spin()
    assert rig.store.sizes("put_rows") == [1, 1, 1]
    gate.set()
    await asyncio.gather(*filed)
    assert rig.store.sizes("put_rows") == [1] * 5


async def test_single_creates_wait_for_the_lane_under_way_until_a_whole_flush_waits() -> None:
    rig = await make_commit_rig(commit_lanes=3, flush_rows=4)
    gate = rig.store.hold("put_rows")
    filed = [rig.file(rig.row())]
    await spin()
    filed += [rig.file(rig.row()) for _ in range(3)]
    await spin()
    assert rig.store.sizes("put_rows") == [1]
    filed.append(rig.file(rig.row()))
    await spin()
    assert rig.store.sizes("put_rows") == [1, 4]
    gate.set()
    await asyncio.gather(*filed)


async def test_a_single_create_does_not_wait_for_a_flush_that_hangs() -> None:
    rig = await make_commit_rig(commit_lanes=2, flush_rows=4)
    gate = rig.store.hold("put_rows")
    filed = [rig.file(rig.row())]
    await spin()
    rig.clock.advance(50)
    filed.append(rig.file(rig.row()))
    await spin()
    assert rig.store.sizes("put_rows") == [1]
    rig.clock.advance(1)
    filed.append(rig.file(rig.row()))
    await spin()
    assert rig.store.sizes("put_rows") == [1, 2]
    gate.set()
    await asyncio.gather(*filed)


async def test_a_create_that_comes_in_the_moment_a_lane_ends_is_written() -> None:
    """The lane's task ends a turn of the loop after its last look at the queue."""
    rig = await make_commit_rig()

    async def one_after_another() -> None:
        for _ in range(5):
            await rig.path.file(rig.row(), rig.reading())

    async with asyncio.timeout(60):
        await one_after_another()
        for turns in range(12):  # whichever turn it is that the lane ends in
            first = rig.file(rig.row())
            await spin(turns)
            second = rig.file(rig.row())
            await asyncio.gather(first, second)


async def test_closing_finishes_what_is_under_way() -> None:
    rig = await make_commit_rig()
    gate = rig.store.hold("put_rows")
    filed = rig.file(rig.row())
    await spin()
    closing = asyncio.create_task(rig.path.close())
    await spin()
    assert not closing.done()
    gate.set()
    await closing
    await spin(2)
    assert filed.done()
    await rig.path.close()


@pytest.mark.parametrize(
    ("sealed_ms", "overtaken"), [(START_MS - 1, False), (START_MS, True), (START_MS + 1, True)]
)
async def test_a_row_at_or_under_sealed_is_filed_again(sealed_ms: int, overtaken: bool) -> None:
    rig = await make_commit_rig()
    await rig.seal(sealed_ms)
    home = rig.row()
    answer = await rig.file(home)
    if not overtaken:
        assert answer == home == await rig.stored(home)
        assert rig.store.names() == ["put_rows", "fetch_marks"]
        return
    again = await filed_again(rig, home, answer)
    assert again.place.slot_ms > sealed_ms
    assert again.place.slot_ms >= rig.clock.now_ms() + 600
    assert again.place.partition == home.place.partition
    assert rig.store.names() == ["put_rows", "fetch_marks", "put_rows", "put_updates", "fetch_marks"]


async def test_an_overtaken_row_lies_above_what_a_fast_clock_sealed() -> None:
    """The owner's clock is ahead of this one's; nothing rests on the two agreeing."""
    rig = await make_commit_rig()
    await rig.seal(START_MS + 30_000)
    home = rig.row()
    again = await filed_again(rig, home, await rig.file(home))
    assert again.place.slot_ms == START_MS + 30_002


async def test_only_the_overtaken_of_a_batch_are_filed_again() -> None:
    rig = await make_commit_rig()
    await rig.seal(START_MS + 10, partition=1)
    rows = [rig.row(START_MS + n, n % 3) for n in range(30)]
    answers = await asyncio.gather(*map(rig.file, rows))
    moved = [row.place for row, answer in zip(rows, answers, strict=True) if answer.moved_to is not None]
    assert moved == [
        row.place for row in rows if row.place.partition == 1 and row.place.slot_ms <= START_MS + 10
    ]
    assert rig.store.sizes("put_rows") == [30, len(moved)]


@pytest.mark.parametrize(
    ("lead_ms", "checked"), [(NEAR_MS - 1, True), (NEAR_MS, False), (NEAR_MS + 60_000, False)]
)
async def test_a_row_that_is_far_off_needs_no_check(lead_ms: int, checked: bool) -> None:
    rig = await make_commit_rig(lead_ms=lead_ms)
    await rig.file(rig.row())
    assert ("fetch_marks" in rig.store.names()) is checked


async def test_a_slow_write_is_checked_against_the_time_after_it() -> None:
    """Far off when it was sent, near when it was durable."""
    rig = await make_commit_rig(lead_ms=NEAR_MS + 1_000)
    gate = rig.store.hold("put_rows")
    filed = rig.file(rig.row())
    await spin()
    rig.clock.advance(2_000)
    gate.set()
    await filed
    assert "fetch_marks" in rig.store.names()


async def test_a_poller_instance_is_asked_for_once_a_batch() -> None:
    rig = await make_commit_rig()
    await asyncio.gather(*(rig.file(rig.row(START_MS + n, n % 2)) for n in range(40)))
    [asked] = [argument for name, argument in rig.store.calls if name == "fetch_marks"]
    assert asked == [Instance(rig.app.app_id, 0), Instance(rig.app.app_id, 1)]


async def shrink(rig: CommitRig, partitions: int, *, polled: int | None = None) -> None:
    """What a resize that was over while this process slept leaves behind; `polled`: it goes on still."""
    smaller = replace(rig.app, writable=partitions, polled=polled or partitions, version=rig.app.version + 1)
    await rig.store.real.replace_app(smaller)


@pytest.mark.parametrize(
    ("age_ms", "reread"), [(MAP_AGE_MS - 1, False), (MAP_AGE_MS, False), (MAP_AGE_MS + 1, True)]
)
async def test_a_map_that_is_too_old_is_read_again(age_ms: int, reread: bool) -> None:
    rig = await make_commit_rig()
    home = rig.row()
    assert await rig.file(home, age_ms=age_ms) == home
    assert ("fetch_app" in rig.store.names()) is reread


@pytest.mark.parametrize("lead_ms", [1_000, 86_400_000])
async def test_a_row_in_a_partition_polled_no_more_is_filed_in_another(lead_ms: int) -> None:
    rig = await make_commit_rig(lead_ms=lead_ms)
    await shrink(rig, 1)
    stays, moves = rig.row(START_MS, 0), rig.row(START_MS, 2)
    kept, moved = await asyncio.gather(
        rig.file(stays, age_ms=MAP_AGE_MS + 1), rig.file(moves, age_ms=MAP_AGE_MS + 1)
    )
    assert kept == stays
    again = await filed_again(rig, moves, moved)
    assert again.place.partition == 0
    assert again.place.slot_ms == START_MS + 2
    assert rig.store.names().count("fetch_app") == 1, "once an app and batch; what was read is fresh"


@pytest.mark.parametrize("sealed", [False, True])
async def test_a_row_in_a_partition_about_to_be_released_is_filed_in_another(sealed: bool) -> None:
    """It is polled yet, but whoever releases it may have looked for its rows already."""
    rig = await make_commit_rig()
    await shrink(rig, 1, polled=3)
    if sealed:
        await rig.seal(START_MS + 50, 2)
    row = rig.row(START_MS, 2)
    moved = await rig.file(row, age_ms=MAP_AGE_MS + 1)
    again = await filed_again(rig, row, moved)
    assert again.place.partition == 0


async def test_a_row_in_a_partition_not_yet_open_is_filed_in_another() -> None:
    """A resize to more partitions may be given up, and what it made polled is so no more."""
    rig = await make_commit_rig()
    await shrink(rig, 1, polled=2)
    moved = await rig.file(rig.row(START_MS, 1), age_ms=MAP_AGE_MS + 1)
    assert moved.moved_to is not None
    assert moved.moved_to.partition == 0


async def delete(rig: CommitRig) -> None:
    await rig.store.real.delete_app(rig.app)


async def delete_and_register_again(rig: CommitRig) -> None:
    await delete(rig)
    await rig.store.real.create_app(make_app(app_id=rig.app.app_id))


async def begin_to_delete(rig: CommitRig) -> None:
    await rig.store.real.replace_app(begin_deletion(rig.app, cancels=True, now_ms=START_MS))


@pytest.mark.parametrize(
    ("fate", "error"),
    [(delete, NotFound), (delete_and_register_again, NotFound), (begin_to_delete, OutcomeUnknown)],
)
async def test_a_create_is_not_acknowledged_once_its_app_may_be_gone(
    fate: Callable[[CommitRig], Awaitable[None]], error: type[Exception]
) -> None:
    """Nor are creates of other apps in the same batch any the worse for it."""
    rig = await make_commit_rig(lead_ms=600_000)
    other = await rig.store.real.create_app(make_app())
    gate = rig.store.hold("put_rows")
    lost = rig.file(rig.row())
    kept = asyncio.create_task(rig.path.file(make_row(other), AppReading(other, rig.clock.boot_ms())))
    await spin()
    await fate(rig)
    rig.clock.advance(MAP_AGE_MS + 1)
    gate.set()
    with pytest.raises(error):
        await lost
    assert (await kept).place.app_id == other.app_id


async def test_a_process_that_slept_between_write_and_check_reads_the_map_again() -> None:
    rig = await make_commit_rig(lead_ms=600_000)
    gate = rig.store.hold("put_rows")
    filed = rig.file(rig.row(START_MS, 2))
    await spin()
    rig.clock.advance(MAP_AGE_MS + 1)
    await shrink(rig, 1)
    gate.set()
    moved_to = (await filed).moved_to
    assert moved_to is not None
    assert moved_to.partition == 0


async def test_a_row_overtaken_three_times_is_left_unknown() -> None:
    rig = await make_commit_rig()
    home = rig.row()
    rounds = 0

    async def always_ahead(instances: Any) -> Any:
        nonlocal rounds
        rounds += 1
        await rig.seal(START_MS + rounds * 10_000)
        return await type(rig.store.real).fetch_marks(rig.store.real, instances)

    rig.store.real.fetch_marks = always_ahead  # type: ignore[method-assign]
    with pytest.raises(OutcomeUnknown, match="overtaken"):
        await rig.file(home)
    assert rounds == 3
    stored = await rig.stored(home)
    assert stored is not None
    assert stored.moved_to is not None
    assert stored.moved_to.slot_ms == START_MS + 20_002


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("put_rows", StoreUnavailable("no"), StoreUnavailable),
        ("put_rows", OutcomeUnknown("silence"), OutcomeUnknown),
        ("fetch_marks", StoreUnavailable("no"), OutcomeUnknown),
        ("fetch_marks", OutcomeUnknown("silence"), OutcomeUnknown),
        ("fetch_app", StoreUnavailable("no"), OutcomeUnknown),
        ("put_updates", StoreUnavailable("no"), OutcomeUnknown),
        ("put_updates", OutcomeUnknown("silence"), OutcomeUnknown),
    ],
)
async def test_what_is_told_says_whether_the_row_may_exist(
    name: str, error: Exception, told: type[Exception]
) -> None:
    rig = await make_commit_rig()
    await rig.seal(START_MS)
    rig.store.fail(name, error)
    home = rig.row()
    with pytest.raises(told):
        await rig.file(home, age_ms=MAP_AGE_MS + 1)
    if told is StoreUnavailable:
        assert await rig.stored(home) is None
    assert await rig.file(rig.row(START_MS + 60_000)) is not None, "the next one is not harmed"


async def test_a_second_filing_that_is_refused_leaves_the_outcome_unknown() -> None:
    """Its first filing is in the store. One that was to be filed for the first time is told "no"."""
    rig = await make_commit_rig()
    await rig.seal(START_MS)
    gate = rig.store.hold("fetch_marks")
    old = rig.file(rig.row())
    await spin()
    new = rig.file(rig.row(START_MS + 30_000))
    rig.store.fail("put_rows", StoreUnavailable("no"))
    gate.set()
    told = await asyncio.gather(old, new, return_exceptions=True)
    assert [type(error) for error in told] == [OutcomeUnknown, StoreUnavailable]
    assert rig.store.sizes("put_rows") == [1, 2]


async def test_a_bug_in_the_store_is_told_to_everybody_and_ends_nothing() -> None:
    rig = await make_commit_rig()
    rig.store.fail("put_rows", ZeroDivisionError())
    told = await asyncio.gather(rig.file(rig.row()), rig.file(rig.row()), return_exceptions=True)
    assert [type(error) for error in told] == [ZeroDivisionError] * 2
    await rig.file(rig.row())


async def test_one_more_than_may_wait_is_refused_and_nothing_is_filed_of_it() -> None:
    rig = await make_commit_rig(max_pending=3, flush_rows=1)
    gate = rig.store.hold("put_rows")
    out = rig.file(rig.row())
    await spin()
    waiting = [rig.file(rig.row()) for _ in range(3)]
    await spin()
    refused = rig.row()
    with pytest.raises(StoreUnavailable, match="3 creates are waiting"):
        await rig.file(refused)
    gate.set()
    await asyncio.gather(out, *waiting)
    assert await rig.stored(refused) is None
    await rig.file(rig.row())


@pytest.mark.parametrize("name", ["put_rows", "fetch_marks"])
@on_virtual_time
async def test_no_answer_within_the_deadline_leaves_the_outcome_unknown(name: str) -> None:
    rig = await make_commit_rig(write_deadline_ms=2_000)
    gate = rig.store.hold(name)
    loop = asyncio.get_running_loop()
    filed = rig.file(rig.row())
    with pytest.raises(OutcomeUnknown, match="no answer in time"):
        await filed
    assert 2.0 <= loop.time() <= 2.01
    gate.set()
    await rig.file(rig.row())


async def test_a_request_whose_client_went_away_harms_nobody() -> None:
    rig = await make_commit_rig()
    gate = rig.store.hold("put_rows")
    gone, stays = rig.row(), rig.row()
    leaving, waiting = rig.file(gone), rig.file(stays)
    await spin()
    leaving.cancel()
    gate.set()
    assert await waiting == stays
    assert await rig.stored(gone) == gone


async def test_a_lane_outlives_a_cancel_that_came_out_of_the_store() -> None:
    """A driver's future that somebody cancelled; lanes that ended with it would never be started again."""
    rig = await make_commit_rig()
    for _ in range(3):
        rig.store.fail("put_rows", asyncio.CancelledError())
        with pytest.raises(OutcomeUnknown, match="broken off"):
            await asyncio.wait_for(rig.file(rig.row()), 60)
    assert await asyncio.wait_for(rig.file(rig.row()), 60)


async def test_who_waits_behind_a_flush_that_was_broken_off_is_served() -> None:
    rig = await make_commit_rig(flush_rows=1)
    rig.store.fail("put_rows", asyncio.CancelledError())
    first, second = rig.file(rig.row()), rig.file(rig.row())
    with pytest.raises(OutcomeUnknown, match="broken off"):
        await asyncio.wait_for(first, 60)
    assert await asyncio.wait_for(second, 60)


async def test_rows_that_are_filed_together_share_the_flushes() -> None:
    rig = await make_commit_rig(flush_rows=4, commit_lanes=2)
    rows = [rig.row(START_MS + n) for n in range(10)]
    assert await rig.path.file_many([(row, rig.reading()) for row in rows]) == rows
    assert rig.store.sizes("put_rows") == [4, 4, 2]


async def test_each_row_filed_together_comes_to_its_own_end() -> None:
    rig = await make_commit_rig(flush_rows=2)
    await rig.seal(START_MS + 2)
    rig.store.fail("put_rows", StoreUnavailable("no"))
    rows = [rig.row(START_MS + n) for n in range(4)]
    results = await rig.path.file_many([(row, rig.reading()) for row in rows])
    assert [type(result) for result in results] == [StoreUnavailable, StoreUnavailable, Row, Row]
    overtaken, ahead = results[2:]
    assert isinstance(overtaken, Row)
    assert overtaken.moved_to is not None, "it is filed again above `sealed`"
    assert ahead == rows[3]


async def test_neither_line_waits_for_all_of_the_other() -> None:
    rig = await make_commit_rig(flush_rows=4)
    gate = rig.store.hold("put_rows")
    out = rig.file(rig.row())
    await spin()
    rows = [(rig.row(), rig.reading()) for _ in range(5)]
    many = asyncio.create_task(rig.path.file_many(rows))
    single = [rig.file(rig.row()) for _ in range(5)]
    await spin()
    gate.set()
    await asyncio.gather(out, many, *single)
    batches = [rows for name, rows in rig.store.calls if name == "put_rows"]
    alone = {task.result().schedule.schedule_id for task in (out, *single)}
    assert [sum(row.schedule.schedule_id in alone for row in rows) for rows in batches] == [1, 2, 2, 1]
    assert [len(rows) for rows in batches] == [1, 4, 4, 2]


async def test_rows_for_which_there_is_no_room_are_refused_together() -> None:
    rig = await make_commit_rig(max_pending=3, flush_rows=1)
    with pytest.raises(StoreUnavailable, match="0 creates are waiting"):
        await rig.path.file_many([(rig.row(), rig.reading()) for _ in range(4)])
    assert "put_rows" not in rig.store.names()


async def test_who_filed_many_and_went_away_harms_nobody() -> None:
    rig = await make_commit_rig(flush_rows=1)
    gate = rig.store.hold("put_rows")
    rig.store.fail("put_rows", StoreUnavailable("no"))
    rows = [rig.row(START_MS + n) for n in range(3)]
    leaving = asyncio.create_task(rig.path.file_many([(row, rig.reading()) for row in rows]))
    await spin()
    leaving.cancel()
    gate.set()
    await rig.file(rig.row())
    assert leaving.cancelled()
    assert await rig.stored(rows[2]) == rows[2]


async def test_nobody_is_told_of_what_fails_after_who_filed_many_went_away() -> None:
    rig = await make_commit_rig(flush_rows=1)
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    gate = rig.store.hold("put_rows")
    for _ in range(3):
        rig.store.fail("put_rows", StoreUnavailable("no"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(rig.path.file_many([(rig.row(), rig.reading()) for _ in range(3)]), 0.01)
    gate.set()
    await rig.file(rig.row())
    gc.collect()  # what ended with an error that nobody fetched is told of when it goes
    assert told == []
