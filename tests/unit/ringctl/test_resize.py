"""A resize from its beginning to its end, and what keeps it from ending."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.contract.builders import make_app, make_row
from tests.harness.recurring import checked, every, first_of, new_definition
from tests.unit.ringctl.resize_rig import (
    QUIET_S,
    START_MS,
    CutStore,
    ResizeRig,
    actions,
    play,
    quotas,
    resize,
)

from ringtime_ingest.service.apps import AppMaps
from ringtime_ingest.service.commit import CommitPath
from ringtime_ringctl.resize.runner import Unfinished
from ringtime_shared.apps.feed import AppFeed, AppReading
from ringtime_shared.coordination.memory import Hub, MemoryOperator, MemorySession
from ringtime_shared.coordination.protocol import Member
from ringtime_shared.errors import (
    Conflict,
    InvalidRequest,
    LimitReached,
    NotFound,
    OutcomeUnknown,
    StoreUnavailable,
    VersionConflict,
)
from ringtime_shared.ids import IdMint
from ringtime_shared.models.app import Instance, Resize
from ringtime_shared.models.recurring import Definition, DefinitionState, recurring_id_of
from ringtime_shared.models.schedule import Place
from ringtime_shared.partition_choice import PartitionChooser
from ringtime_shared.settings import AppLimits, IngestSettings, Settings
from ringtime_shared.stores.protocol import DefinitionKey, Marks

DAY_S = 86_400


def now_s() -> float:
    return asyncio.get_running_loop().time()


class TestGrow:
    def test_new_partitions_open_once_they_are_owned(self) -> None:
        async def work(rig: ResizeRig) -> None:
            resizer = rig.resizer()
            begun = await resizer.begin(8)
            assert quotas(begun) == (4, 8, True)
            finishing = asyncio.create_task(resizer.finish(begun, timeout_s=60, is_waiting=False))
            await asyncio.sleep(5)
            assert quotas(await rig.app()) == (4, 8, True)
            rig.dispatch()
            assert quotas(await finishing) == (8, 8, False)
            assert now_s() < 6
            assert actions(await rig.audit()) == ["resize begin", "resize open"]

        play(work)

    def test_without_a_dispatcher_it_says_so_and_can_be_resumed(self) -> None:
        async def work(rig: ResizeRig) -> None:
            with pytest.raises(Unfinished, match="4 of 4 new partitions are owned by no dispatcher yet"):
                await resize(rig, 8, timeout_s=30)
            assert quotas(await rig.app()) == (4, 8, True)
            rig.dispatch()
            resizer = rig.resizer()
            done = await resizer.finish(await resizer.resume(), timeout_s=30, is_waiting=False)
            assert quotas(done) == (8, 8, False)

        play(work)

    def test_more_than_all_apps_may_have_is_refused_and_fewer_never_is(self) -> None:
        limits = AppLimits(max_partitions_in_all=6)

        async def work(rig: ResizeRig) -> None:
            await rig.store.create_app(make_app(writable=3, polled=3))
            resizer = rig.resizer(settings=Settings(limits=limits))
            with pytest.raises(LimitReached, match=r"7 partitions are in use, 1 .* allows 6"):
                await resizer.begin(5)
            assert await rig.audit() == []
            assert quotas(await resizer.begin(3)) == (3, 4, True)

        play(work)

    def test_partitions_that_come_back_wait_for_an_owner_again(self) -> None:
        async def work(rig: ResizeRig) -> None:
            rig.dispatch()
            await asyncio.sleep(1)
            assert quotas(await resize(rig, 2)) == (2, 2, False)
            await rig.close()  # nobody runs any more, though they were owned once
            with pytest.raises(Unfinished):
                await resize(rig, 4, timeout_s=20)

        play(work)

    def test_an_owner_that_never_noticed_the_shrink_counts(self) -> None:
        """It goes on under its old term; what shows it is that it seals."""

        async def work(rig: ResizeRig) -> None:
            rig.dispatch()
            await asyncio.sleep(1)
            terms = await rig.store.fetch_terms([Instance("pay", 3)])
            app = await rig.app()
            await rig.store.replace_app(replace(app, writable=2, polled=2, version=app.version + 1))
            assert quotas(await resize(rig, 4, timeout_s=20)) == (4, 4, False)
            assert await rig.store.fetch_terms([Instance("pay", 3)]) == terms

        play(work)

    def test_partitions_that_come_back_begin_a_minute_ago(self) -> None:
        """Their new owner would else walk every minute since they were released."""

        async def work(rig: ResizeRig) -> None:
            rig.dispatch()
            await asyncio.sleep(1)
            await resize(rig, 2)
            await rig.close()
            await asyncio.sleep(40 * DAY_S)
            gained = [Instance("pay", 2), Instance("pay", 3)]
            old = await rig.store.fetch_marks(gained)
            await rig.resizer().begin(4)
            now_ms = rig.clock.now_ms()
            assert max(marks.settled_ms for marks in old.values()) < now_ms - 39 * DAY_S * 1_000
            assert await rig.store.fetch_marks(gained) == dict.fromkeys(
                gained, Marks(now_ms - 60_000, now_ms - 60_000)
            )

        play(work)


class TestShrink:
    def test_creates_leave_at_once_and_partitions_after_the_quiet_time(self) -> None:
        async def work(rig: ResizeRig) -> None:
            rig.dispatch()
            resizer = rig.resizer()
            begun = await resizer.begin(1)
            assert quotas(begun) == (1, 4, True)
            done = await resizer.finish(begun, timeout_s=60, is_waiting=False)
            assert quotas(done) == (1, 1, False)
            assert QUIET_S < now_s() < QUIET_S + 3
            assert actions(await rig.audit()) == ["resize begin", "resize release"]

        play(work)

    @pytest.mark.parametrize("in_s", [30, 200, 7_000])
    def test_rows_ahead_are_waited_for(self, in_s: float) -> None:
        async def work(rig: ResizeRig) -> None:
            row = await rig.file(partition=3, in_s=in_s)
            rig.dispatch()
            assert quotas(await resize(rig, 1, timeout_s=DAY_S)) == (1, 1, False)
            stored = await rig.store.fetch_row(row.place, row.schedule.schedule_id)
            assert stored is not None
            assert stored.outcome is not None
            assert in_s < now_s() < in_s + 8

        play(work)

    def test_or_not(self) -> None:
        async def work(rig: ResizeRig) -> None:
            await rig.file(partition=3, in_s=3_600)
            await rig.file(partition=2, in_s=60)
            rig.dispatch()
            with pytest.raises(
                Unfinished, match=r"2 of 3 old partitions hold rows ahead, the last before 2027-01-15T09:01"
            ):
                await resize(rig, 1, is_waiting=False)
            assert now_s() < 1
            assert quotas(await rig.app()) == (1, 4, True)
            resizer = rig.resizer("bob")
            with pytest.raises(Unfinished, match="1 of 3 old partitions"):
                await resizer.finish(await resizer.resume(), timeout_s=100, is_waiting=True)
            assert (await rig.app()).resize == Resize(quota=1, before=4, operator="bob", begun_ms=START_MS)
            done = await resizer.finish(await resizer.resume(), timeout_s=7_200, is_waiting=True)
            assert quotas(done) == (1, 1, False)
            assert actions(await rig.audit()) == ["resize begin", "resize resume", "resize release"]

        play(work)

    def test_rows_of_partitions_that_stay_hold_nothing_up(self) -> None:
        async def work(rig: ResizeRig) -> None:
            await rig.file(partition=0, in_s=3_600)
            rig.dispatch()
            assert quotas(await resize(rig, 1)) == (1, 1, False)

        play(work)

    def test_who_resumes_counts_the_quiet_time_anew(self) -> None:
        """Nobody knows how long ago the change became durable, so nobody else's count is trusted."""

        async def work(rig: ResizeRig) -> None:
            rig.dispatch()
            with pytest.raises(Unfinished):
                await resize(rig, 1, timeout_s=10)
            resizer, begun_s = rig.resizer(), now_s()
            await resizer.finish(await resizer.resume(), timeout_s=60, is_waiting=False)
            assert now_s() - begun_s > QUIET_S

        play(work)

    def test_a_row_that_lands_between_the_look_and_the_release_is_moved_away(self) -> None:
        """The gap that only ingest can close: its map is old, and the partition polled still."""

        async def work(rig: ResizeRig) -> None:
            rig.dispatch()
            app = await rig.app()
            reading = AppReading(app, rig.clock.boot_ms())
            maps = AppMaps(rig.store, rig.clock)
            path = CommitPath(rig.store, maps, PartitionChooser(), rig.clock, IngestSettings())
            row = make_row(app, rig.clock.now_ms() + 600_000, partition=3)
            store = CutStore(rig.store)
            filed = []

            async def land() -> None:
                filed.append(await path.file(row, reading))

            resizer = rig.resizer(store=store)
            begun = await resizer.begin(1)
            await asyncio.sleep(QUIET_S + 1)
            store.before["replace_app"] = land
            assert quotas(await resizer.finish(begun, timeout_s=60, is_waiting=False)) == (1, 1, False)
            assert filed[0].moved_to is not None
            assert filed[0].moved_to.partition == 0

        play(work)


class TestInactive:
    def test_growing_needs_no_owner(self) -> None:
        async def work(rig: ResizeRig) -> None:
            assert quotas(await resize(rig, 8, timeout_s=1)) == (8, 8, False)

        play(work, active=False)

    def test_shrinking_an_empty_app_works(self) -> None:
        async def work(rig: ResizeRig) -> None:
            assert quotas(await resize(rig, 1)) == (1, 1, False)

        play(work, active=False)

    def test_rows_stay_until_it_is_activated(self) -> None:
        async def work(rig: ResizeRig) -> None:
            await rig.file(partition=3, in_s=30)
            rig.dispatch()
            with pytest.raises(Unfinished, match=r"deactivated.*activate it first"):
                await resize(rig, 1, timeout_s=7_200)
            assert now_s() < 60
            app = await rig.app()
            await rig.store.replace_app(replace(app, active=True, version=app.version + 1))
            resizer = rig.resizer()
            done = await resizer.finish(await resizer.resume(), timeout_s=100, is_waiting=True)
            assert quotas(done) == (1, 1, False)

        play(work, active=False)

    def test_deactivated_while_it_waits_for_owners(self) -> None:
        async def work(rig: ResizeRig) -> None:
            resizer = rig.resizer()
            finishing = asyncio.create_task(
                resizer.finish(await resizer.begin(8), timeout_s=60, is_waiting=False)
            )
            await asyncio.sleep(3)
            app = await rig.app()
            await rig.store.replace_app(replace(app, active=False, version=app.version + 1))
            done = await finishing
            assert (quotas(done), done.active) == ((8, 8, False), False)

        play(work)


class TestAbort:
    def test_a_growth_is_undone(self) -> None:
        async def work(rig: ResizeRig) -> None:
            await rig.resizer().begin(8)
            assert quotas(await rig.resizer("bob").abort()) == (4, 4, False)
            assert actions(await rig.audit()) == ["resize begin", "resize abort"]

        play(work)

    def test_a_shrink_is_undone_with_rows_where_they_are(self) -> None:
        async def work(rig: ResizeRig) -> None:
            await rig.file(partition=3, in_s=3_600)
            await rig.resizer().begin(1)
            assert quotas(await rig.resizer("bob").abort()) == (4, 4, False)

        play(work)

    def test_there_must_be_something_to_give_up(self) -> None:
        async def work(rig: ResizeRig) -> None:
            for attempt in (rig.resizer().abort, rig.resizer().resume):
                with pytest.raises(Conflict, match="no resize of app pay is under way"):
                    await attempt()
            assert await rig.audit() == []

        play(work)


class TestTwoOperators:
    @pytest.mark.parametrize("quota", [2, 4, 8, 16])
    def test_the_second_is_refused_with_the_firsts_name_and_time(self, quota: int) -> None:
        async def work(rig: ResizeRig) -> None:
            await rig.resizer("ana").begin(8)
            before = await rig.app()
            text = (
                "app pay is being resized 4 -> 8 by ana since 2027-01-15T08:00:00.000Z;"
                " `--resume` goes on with it, `--abort` gives it up"
            )
            with pytest.raises(Conflict, match=text.replace(".", r"\.")):
                await rig.resizer("bob").begin(quota)
            assert await rig.app() == before

        play(work)

    def test_at_the_same_instant_one_wins(self) -> None:
        async def work(rig: ResizeRig) -> None:
            store = CutStore(rig.store)

            async def faster() -> None:
                await rig.resizer("ana").begin(16)

            store.before["replace_app"] = faster
            with pytest.raises(VersionConflict, match="being resized 4 -> 16 by ana"):
                await rig.resizer("bob", store=store).begin(8)
            assert quotas(await rig.app()) == (4, 16, True)
            assert actions(await rig.audit())[-1] == "resize begin failed"

        play(work)

    def test_who_was_taken_over_ends(self) -> None:
        async def work(rig: ResizeRig) -> None:
            resizer = rig.resizer("ana")
            first = asyncio.create_task(resizer.finish(await resizer.begin(8), timeout_s=60, is_waiting=True))
            await asyncio.sleep(1)
            await rig.resizer("bob").resume()
            with pytest.raises(Conflict, match=r"by bob since .*; this one ends here"):
                await first

        play(work)

    def test_who_was_given_up_on_ends(self) -> None:
        async def work(rig: ResizeRig) -> None:
            resizer = rig.resizer("ana")
            first = asyncio.create_task(resizer.finish(await resizer.begin(1), timeout_s=60, is_waiting=True))
            await asyncio.sleep(1)
            await rig.resizer("bob").abort()
            with pytest.raises(Conflict, match="given up meanwhile"):
                await first

        play(work)

    def test_two_who_finish_the_same_are_both_done(self) -> None:
        async def work(rig: ResizeRig) -> None:
            rig.dispatch()
            begun = await rig.resizer().begin(1)
            done = await asyncio.gather(
                *(rig.resizer().finish(begun, timeout_s=60, is_waiting=True) for _ in range(3))
            )
            assert [quotas(app) for app in done] == [(1, 1, False)] * 3

        play(work)

    def test_changes_of_other_kinds_are_kept(self) -> None:
        async def work(rig: ResizeRig) -> None:
            resizer = rig.resizer()
            begun = await resizer.begin(8)
            configured = replace(
                begun, version=begun.version + 1, configuration=replace(begun.configuration, retention_days=3)
            )
            await rig.store.replace_app(configured)
            rig.dispatch()
            done = await resizer.finish(begun, timeout_s=60, is_waiting=False)
            assert (quotas(done), done.configuration.retention_days) == ((8, 8, False), 3)

        play(work)


class TestRefused:
    def test_the_same_quota_is_nothing_to_do(self) -> None:
        async def work(rig: ResizeRig) -> None:
            before = await rig.app()
            assert await rig.resizer().begin(4) == before
            assert await rig.audit() == []

        play(work)

    @pytest.mark.parametrize("quota", [0, -1, 4_097, 1_000_000])
    def test_quotas_out_of_range(self, quota: int) -> None:
        async def work(rig: ResizeRig) -> None:
            before = await rig.app()
            with pytest.raises(InvalidRequest, match="partitions: must be from 1 to 4,096"):
                await rig.resizer().begin(quota)
            assert await rig.app() == before

        play(work)

    def test_an_unknown_app(self) -> None:
        async def work(rig: ResizeRig) -> None:
            resizer = rig.resizer()
            resizer._app_id = "nobody"
            with pytest.raises(NotFound, match="no app nobody"):
                await resizer.begin(3)

        play(work)

    def test_what_was_left_by_hand_is_released_first(self) -> None:
        async def work(rig: ResizeRig) -> None:
            rig.dispatch()
            with pytest.raises(Conflict, match="resize it to 2 first"):
                await rig.resizer().begin(8)
            assert quotas(await resize(rig, 2)) == (2, 2, False)

        play(work, writable=2)


class TestStoreTrouble:
    @pytest.mark.parametrize("is_carried_out", [False, True])
    def test_an_outcome_of_the_beginning_that_stays_unknown_is_told(self, is_carried_out: bool) -> None:
        async def work(rig: ResizeRig) -> None:
            real = rig.store.replace_app

            async def lost(app: Any) -> None:
                if is_carried_out:
                    await real(app)
                raise OutcomeUnknown("no answer")

            rig.store.replace_app = lost  # type: ignore[method-assign]
            with pytest.raises(OutcomeUnknown):
                await rig.resizer().begin(8)
            if is_carried_out:
                assert quotas(await rig.resizer().resume()) == (4, 8, True)
            else:
                assert quotas(await rig.app()) == (4, 4, False)

        play(work)

    def test_an_outage_under_way_is_waited_out(self) -> None:
        async def work(rig: ResizeRig) -> None:
            rig.dispatch()
            store = CutStore(rig.store)

            async def away() -> None:
                await asyncio.sleep(1)
                raise StoreUnavailable("Cassandra is away")

            resizer = rig.resizer(store=store)
            begun = await resizer.begin(1)
            for name in ("fetch_app", "fetch_marks", "fetch_app_buckets", "put_audit", "replace_app"):
                store.before[name] = away
            assert quotas(await resizer.finish(begun, timeout_s=60, is_waiting=True)) == (1, 1, False)

        play(work)

    def test_or_the_time_runs_out(self) -> None:
        async def work(rig: ResizeRig) -> None:
            resizer = rig.resizer()
            begun = await resizer.begin(8)

            async def away(app_id: str) -> Any:
                raise StoreUnavailable("Cassandra is away")

            rig.store.fetch_app = away  # type: ignore[method-assign]
            with pytest.raises(Unfinished, match="Cassandra is away"):
                await resizer.finish(begun, timeout_s=5, is_waiting=True)

        play(work)


class TestLettingGo:
    def test_it_waits_until_the_claims_are_gone(self) -> None:
        async def work(rig: ResizeRig) -> None:
            hub, held = Hub(), [Instance("pay", 2), Instance("pay", 3)]
            session = MemorySession(hub, rig.clock)
            await session.join(Member(node="n1"))
            await session.claim([*held, Instance("pay", 0)])
            resizer = rig.resizer(coordination=MemoryOperator(hub))
            waiting = asyncio.create_task(resizer.until_let_go(held))
            await asyncio.sleep(2)
            assert not waiting.done()
            await session.release(held)
            assert await waiting == []
            assert now_s() < 3

        play(work)

    def test_a_release_that_was_not_counted_is_counted_first(self) -> None:
        """Else a dispatcher sees it only when it next reads all apps, up to a minute later."""

        async def work(rig: ResizeRig) -> None:
            hub, old = Hub(), [Instance("pay", partition) for partition in (1, 2, 3)]
            session, feed = MemorySession(hub, rig.clock), AppFeed(rig.store, rig.clock)
            await session.join(Member(node="n1"))
            await session.claim(old)
            await feed.refresh()
            count_it = rig.store.announce_app

            async def die(app_id: str) -> None:
                rig.store.announce_app = count_it  # type: ignore[method-assign]
                raise OutcomeUnknown("no answer")

            async def follow() -> None:
                while feed.apps["pay"].polled > 1:
                    await asyncio.sleep(1)
                    await feed.refresh()
                await session.release(old)

            resizer = rig.resizer(coordination=MemoryOperator(hub))
            begun = await resizer.begin(1)
            following = asyncio.create_task(follow())
            finishing = asyncio.create_task(resizer.finish(begun, timeout_s=60, is_waiting=True))
            await asyncio.sleep(QUIET_S - 1)
            rig.store.announce_app = die  # type: ignore[method-assign]
            assert quotas(await finishing) == (1, 1, False)
            released_s = now_s()
            assert await resizer.until_let_go(old) == []
            assert now_s() < released_s + 6
            await following

        play(work)

    def test_but_not_for_ever(self) -> None:
        async def work(rig: ResizeRig) -> None:
            hub, held = Hub(), [Instance("pay", 3)]
            session = MemorySession(hub, rig.clock)
            await session.join(Member(node="n1"))
            await session.claim(held)
            assert await rig.resizer(coordination=MemoryOperator(hub)).until_let_go(held) == held

        play(work)

    def test_one_process_is_given_the_time_to_notice(self) -> None:
        async def work(rig: ResizeRig) -> None:
            await rig.resizer(server="me").until_let_go([Instance("pay", 3)])
            assert now_s() == 2
            await rig.resizer(server=None).until_let_go([Instance("pay", 3)])
            assert now_s() == 2

        play(work)


class TestRecurring:
    def test_a_shrink_moves_recurring_schedules_and_waits_for_the_run_they_have_filed(self) -> None:
        async def work(rig: ResizeRig) -> None:
            app = await rig.app()
            last = await put_recurring(rig, partition=3, in_s=40)
            kept = await put_recurring(rig, partition=0, in_s=40, name="kept")
            paused = replace(
                new_definition(rig.clock.now_ms(), every(40), app_id="pay", partition=3),
                recurring_id=recurring_id_of(app.number, "paused"),
                state=DefinitionState.PAUSED,
            )
            await rig.store.replace_definition(paused)
            rig.dispatch()
            shrunk = await resize(rig, 2)
            assert quotas(shrunk) == (2, 2, False)
            assert 40 < now_s() < 60
            moved = await stored(rig, last)
            assert (moved.version, moved.partition < 2, moved.times) == (2, True, last.times)
            assert await stored(rig, kept) == kept
            assert await stored(rig, paused) == paused
            entries = await rig.store.fetch_runs(
                DefinitionKey("pay", last.recurring_id), moved.from_ms, moved.from_ms + 40_000, 10
            )
            places = [Place.of_home("pay", each.schedule_id) for each in entries]
            assert moved.partition in [place.partition for place in places]
            assert actions(await rig.audit()) == ["resize begin", "resize move", "resize release"]

        play(work)

    def test_one_that_is_made_on_an_older_map_is_moved_by_the_last_look(self) -> None:
        async def work(rig: ResizeRig) -> None:
            rig.dispatch()
            resizer = rig.resizer()
            begun = await resizer.begin(2)
            finishing = asyncio.create_task(resizer.finish(begun, timeout_s=600, is_waiting=True))
            await asyncio.sleep(QUIET_S / 2)
            late = await put_recurring(rig, partition=3, in_s=3)
            assert quotas(await finishing) == (2, 2, False)
            assert (await stored(rig, late)).partition < 2

        play(work)

    def test_one_whose_runs_are_over_is_left_where_it_is(self) -> None:
        async def work(rig: ResizeRig) -> None:
            end_ms = rig.clock.now_ms() + 3_000
            last = await put_recurring(rig, partition=3, in_s=2, end_ms=end_ms)
            await asyncio.sleep(1.5)
            rig.dispatch()
            assert quotas(await resize(rig, 2)) == (2, 2, False)
            assert await stored(rig, last) == last

        play(work)


async def put_recurring(
    rig: ResizeRig, *, partition: int, in_s: int, name: str = "nightly", end_ms: int | None = None
) -> Definition:
    """Store a definition as its first change leaves it; its first run is that many seconds away."""
    app, now_ms = await rig.app(), rig.clock.now_ms()
    definition, check = checked(
        replace(
            new_definition(now_ms, every(in_s, now_ms, end_ms=end_ms), app_id="pay", name=name),
            recurring_id=recurring_id_of(app.number, name),
            partition=partition,
        ),
        IdMint(1),
        now_ms=now_ms,
        app_number=app.number,
    )
    first = first_of(definition, check, now_ms)
    assert first is not None
    await rig.store.put_rows([first])
    await rig.store.replace_definition(definition)
    return definition


async def stored(rig: ResizeRig, definition: Definition) -> Definition:
    found = await rig.store.fetch_definition(DefinitionKey("pay", definition.recurring_id))
    assert found is not None
    return found
