"""Dead letters: listed, counted, and replayed so that each is delivered once more and none is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from tests.contract.builders import START_MS, make_app, make_letter, make_move, make_outcome, make_update
from tests.unit.ingest.commit_rig import ServiceRig, make_service_rig

from ringtime_dispatcher.delivery.recording import dead_letter_of
from ringtime_ingest.service.dead_letters import (
    IN_LIBRARY,
    IN_QUERY,
    LetterQuery,
    Names,
    ReplayReport,
)
from ringtime_ingest.service.replay import SPACING_MS, Replayer, key_of
from ringtime_shared.clock import ManualClock
from ringtime_shared.errors import (
    AppInactive,
    InvalidRequest,
    NotFound,
    NotReplayable,
    OutcomeUnknown,
    StoreUnavailable,
)
from ringtime_shared.models.app import Instance
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.schedule import Outcome, Row, Status
from ringtime_shared.partition_choice import PartitionChooser
from ringtime_shared.schedules.changing import Verdict, judge
from ringtime_shared.stores.protocol import Marks, MarksWrite

DAY_MS = 86_400_000
MARGIN_MS = 600
FAILED = make_outcome(status=Status.FAILURE, attempts=3, code=503, error="busy")


class Rig:
    """A service with the app `shop`, and deliveries that end."""

    def __init__(self, rig: ServiceRig) -> None:
        self.clock, self.store, self.service = rig.clock, rig.store, rig.service
        self.real = rig.store.real
        self.desk = rig.service.dead_letters
        self._rig = rig

    async def failed(self, app_id: str = "shop", *, retries: int = 0) -> Row:
        """A schedule whose last attempt failed just now, as a dispatcher records it."""
        home = await self._rig.create(app_id, delay_ms=MARGIN_MS)
        self.clock.advance(MARGIN_MS)
        filing = home
        for _ in range(retries):
            self.clock.advance(1_000)
            filing = make_move(filing, self.clock.now_ms())
            await self.real.put_rows([filing])
            await self.real.put_updates([make_update(home, moved_to=filing.place)])
        await self.end(filing)
        return home

    async def end(self, filing: Row, outcome: Outcome = FAILED, *, is_recorded: bool = True) -> DeadLetter:
        """End a filing; `is_recorded`: its outcome has followed the dead letter."""
        outcome = replace(outcome, replay=filing.replay, ended_ms=self.clock.now_ms())
        letter = dead_letter_of(filing, outcome)
        if outcome.status is Status.FAILURE:
            await self.real.put_dead_letters([letter])
        if is_recorded:
            home = await self.service._fetch_home(filing.schedule.schedule_id)
            await self.real.put_updates([make_update(home, outcome), make_update(filing, outcome)])
        return letter

    async def home(self, row: Row) -> Row:
        return await self.service._fetch_home(row.schedule.schedule_id)

    async def filing(self, row: Row) -> Row:
        """Return the filing the schedule's home row points at."""
        home = await self.home(row)
        assert home.moved_to is not None
        found = await self.real.fetch_row(home.moved_to, row.schedule.schedule_id)
        assert found is not None
        return found

    async def letters(self, **query: Any) -> list[DeadLetter]:
        page = await self.desk.fetch(LetterQuery(app_id="shop", **{"size": 1_000} | query))
        assert page.token == ""
        return list(page.letters)

    async def replay_all(self, **query: Any) -> ReplayReport:
        return await self.desk.replay_range(LetterQuery(app_id="shop", **{"size": 1_000} | query))

    async def live_filings(self, row: Row) -> list[Row]:
        """Return what a dispatcher would send of this schedule, by slot."""
        home = await self.home(row)
        found = [rows.get(row.schedule.schedule_id) for rows in self.real._rows.values()]
        return [
            each
            for each in found
            if each and not each.is_home and each.is_live and judge(each, home, None) is Verdict.SEND
        ]


@pytest.fixture
async def rig() -> Rig:
    rig = await make_service_rig()
    await rig.register()
    return Rig(rig)


def ids(things: Sequence[Any]) -> list[UUID]:
    return [each.schedule_id for each in things]


class TestListing:
    async def test_what_failed_is_listed_with_its_last_attempt(self, rig: Rig) -> None:
        row = await rig.failed()
        (letter,) = await rig.letters()
        assert letter == make_letter(
            make_app(app_id="shop"),
            row.place.slot_ms,
            schedule_id=row.schedule.schedule_id,
            fire_ms=row.schedule.fire_ms,
            failed_ms=rig.clock.now_ms(),
            code=503,
            error="busy",
            callback_type="sim",
            expires_ms=row.schedule.expires_ms,
        )
        assert await rig.desk.count(LetterQuery(app_id="shop")) == 1

    async def test_left_out_times_mean_the_day_up_to_now(self, rig: Rig) -> None:
        app, now_ms = make_app(app_id="shop"), rig.clock.now_ms()
        slots_ms = [now_ms - DAY_MS - 1, now_ms - DAY_MS, now_ms, now_ms + 1]
        letters = [make_letter(app, slot_ms) for slot_ms in slots_ms]
        await rig.real.put_dead_letters(letters)
        assert await rig.letters() == letters[1:3]
        assert await rig.letters(end_ms=now_ms - 1) == letters[:2]
        assert await rig.letters(start_ms=now_ms) == letters[2:3]
        assert await rig.letters(start_ms=now_ms - 30 * DAY_MS, end_ms=now_ms + DAY_MS) == letters
        assert await rig.desk.count(LetterQuery(app_id="shop", end_ms=now_ms + 5)) == 2

    @pytest.mark.parametrize("size", [1, 2, 3, 4, 10])
    @pytest.mark.parametrize("replayed", [False, True, None])
    async def test_pages_put_together_are_the_whole(self, rig: Rig, size: int, replayed: bool | None) -> None:
        letters = [make_letter(make_app(app_id="shop"), START_MS - 1_000 + n // 2) for n in range(12)]
        letters.sort(key=key_of)
        await rig.real.put_dead_letters(letters)
        done = letters[::3]
        await rig.real.put_replayed("shop", [key_of(each) for each in done], START_MS)
        expected = [each for each in letters if replayed in (None, each in done)]
        found: list[DeadLetter] = []
        query = LetterQuery(app_id="shop", size=size, replayed=replayed)
        for _ in range(20):
            page = await rig.desk.fetch(query)
            assert len(page.letters) <= size
            found += page.letters
            if not page.token:
                break
            rig.clock.advance(7)  # the default range moves on, the token stands
            query = replace(query, token=page.token)
        assert ids(found) == ids(expected)

    async def test_one_call_reads_so_much_and_no_more(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ringtime_ingest.service.dead_letters._READ", 5)
        monkeypatch.setattr("ringtime_ingest.service.dead_letters._MOST_READ", 20)
        letters = [make_letter(make_app(app_id="shop"), START_MS - 100 + n) for n in range(50)]
        await rig.real.put_dead_letters(letters)
        await rig.real.put_replayed("shop", [key_of(each) for each in letters[:-1]], START_MS)
        query, calls = LetterQuery(app_id="shop", size=3), 0
        while not (page := await rig.desk.fetch(query)).letters:
            query, calls = replace(query, token=page.token), calls + 1
        assert (calls, ids(page.letters), page.token) == (2, ids(letters[-1:]), "")

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"start_ms": START_MS, "end_ms": START_MS - 1}, "startTime"),
            ({"start_ms": START_MS + 1}, "startTime"),
            ({"start_ms": START_MS - 31 * DAY_MS - 1}, "startTime"),
            ({"size": 0}, "size"),
            ({"size": 1_001}, "size"),
            ({"size": -1}, "size"),
            ({"token": "x"}, "continuationToken"),
            ({"token": "A" * 38}, "continuationToken"),
            ({"token": "é" * 38}, "continuationToken"),
            ({"token": "A" * 100_000}, "continuationToken"),
        ],
    )
    async def test_bad_queries_are_refused_by_name(self, rig: Rig, query: dict[str, Any], field: str) -> None:
        assert rig.clock.now_ms() == START_MS
        names: tuple[Names, ...] = (LetterQuery(app_id="shop").names, IN_QUERY, IN_LIBRARY)
        for spelling in names:
            asked = LetterQuery(app_id="shop", **query, names=spelling)
            expected = spelling[names[0].index(field)]
            for call in (rig.desk.fetch, rig.desk.replay_range):
                with pytest.raises(InvalidRequest) as caught:
                    await call(asked)
                assert [each.field for each in caught.value.violations] == [expected]

    async def test_a_token_is_of_one_app_and_within_the_range(self, rig: Rig) -> None:
        await rig._rig.register("other")
        letters = [make_letter(make_app(app_id="shop"), START_MS - n) for n in range(3)]
        await rig.real.put_dead_letters(letters)
        token = (await rig.desk.fetch(LetterQuery(app_id="shop", size=1))).token
        for bad in (
            LetterQuery(app_id="other", token=token),
            LetterQuery(app_id="shop", token=token[:-1] + ("A" if token[-1] != "A" else "B")),
            LetterQuery(app_id="shop", token=token[1:] + token[0]),
            LetterQuery(app_id="shop", token=token + "="),
            LetterQuery(app_id="shop", token=token, end_ms=START_MS - 3),
        ):
            with pytest.raises(InvalidRequest, match="continuationToken"):
                await rig.desk.fetch(bad)
        late = LetterQuery(app_id="shop", token=token, start_ms=START_MS)  # the token lies before: no harm
        assert ids((await rig.desk.fetch(late)).letters) == ids(letters[:1])

    async def test_an_unknown_app_has_no_list(self, rig: Rig) -> None:
        query = LetterQuery(app_id="nobody")
        calls = [rig.desk.fetch(query), rig.desk.count(query), rig.desk.replay_range(query)]
        for call in [*calls, rig.desk.replay_ids("nobody", [uuid4()])]:
            with pytest.raises(NotFound, match="nobody"):
                await call


class TestReplayOfOne:
    @pytest.mark.parametrize("retries", [0, 2])
    async def test_it_is_filed_again_under_its_own_id(self, rig: Rig, retries: int) -> None:
        row = await rig.failed(retries=retries)
        rig.clock.advance(5_000)
        done = await rig.desk.replay(row.schedule.schedule_id)
        assert (done.schedule_id, done.replay) == (row.schedule.schedule_id, 1)
        assert done.slot_ms == rig.clock.now_ms() + MARGIN_MS
        filing = await rig.filing(row)
        assert filing == Row(schedule=row.schedule, place=filing.place, replay=1)
        assert filing.place.slot_ms == done.slot_ms
        assert await rig.live_filings(row) == [filing]
        assert (await rig.home(row)).outcome is not None, "it stays FAILURE until the replay has ended"
        assert await rig.letters() == []
        (letter,) = await rig.letters(replayed=True)
        assert letter.replayed_ms == rig.clock.now_ms()
        assert await rig.desk.count(LetterQuery(app_id="shop")) == 0

    async def test_a_replay_that_failed_is_a_dead_letter_of_its_own(self, rig: Rig) -> None:
        row = await rig.failed()
        for nth in (1, 2, 3):
            assert (await rig.desk.replay(row.schedule.schedule_id)).replay == nth
            rig.clock.advance(MARGIN_MS)
            await rig.end(await rig.filing(row))
            (letter,) = await rig.letters()
            assert letter.replay == nth
        assert len(await rig.letters(replayed=None)) == 4

    async def test_two_at_once_are_one_delivery(self, rig: Rig) -> None:
        row = await rig.failed()
        replays = [rig.desk.replay(row.schedule.schedule_id) for _ in range(2)]
        first, second = await asyncio.gather(*replays)
        assert first.replay == second.replay == 1
        again = await rig.desk.replay(row.schedule.schedule_id)  # and a third, before the first was sent
        assert again.replay == 1
        wanted = await rig.live_filings(row)
        assert wanted
        await rig.end(wanted[0], make_outcome())
        assert await rig.live_filings(row) == []

    @pytest.mark.parametrize("status", [Status.SUCCESS, Status.MISS])
    async def test_only_a_failure_is_replayed(self, rig: Rig, status: Status) -> None:
        row = await rig._rig.create(delay_ms=MARGIN_MS)
        with pytest.raises(NotReplayable, match="is SCHEDULED: only a FAILURE"):
            await rig.desk.replay(row.schedule.schedule_id)
        await rig.end(row, make_outcome(status=status))
        with pytest.raises(NotReplayable) as caught:
            await rig.desk.replay(row.schedule.schedule_id)
        assert caught.value.status == status
        assert (await rig.home(row)).moved_to is None

    async def test_what_was_cancelled_is_not_replayed(self, rig: Rig) -> None:
        """A dispatcher sends nothing of a schedule whose cancel was accepted, late as it may have come."""
        row = await rig.failed()
        await rig.real.put_cancel(row.place, row.schedule.schedule_id, rig.clock.now_ms())
        with pytest.raises(NotReplayable, match="cancelled"):
            await rig.desk.replay(row.schedule.schedule_id)
        pending = await rig._rig.create(delay_ms=MARGIN_MS)
        await rig.service.cancel_schedule(pending.schedule.schedule_id)
        with pytest.raises(NotReplayable, match="is DELETED"):
            await rig.desk.replay(pending.schedule.schedule_id)

    async def test_the_dead_letter_of_what_was_cancelled_leaves_the_list_when_a_replay_meets_it(
        self, rig: Rig
    ) -> None:
        """It would stand there to the end, and nobody could do anything about it."""
        row = await rig.failed()
        await rig.real.put_cancel(row.place, row.schedule.schedule_id, rig.clock.now_ms())
        assert await rig.desk.count(LetterQuery(app_id="shop")) == 1
        with pytest.raises(NotReplayable, match="cancelled"):
            await rig.desk.replay(row.schedule.schedule_id)
        assert await rig.desk.count(LetterQuery(app_id="shop")) == 0

    async def test_a_replay_whose_outcome_is_on_its_way_is_waited_for(self, rig: Rig) -> None:
        """Filed now it would be of the round that is about to end, and closed with it."""
        row = await rig.failed()
        await rig.desk.replay(row.schedule.schedule_id)
        rig.clock.advance(MARGIN_MS)
        filing = await rig.filing(row)
        letter = await rig.end(filing, is_recorded=False)
        with pytest.raises(NotReplayable, match="try again in a moment"):
            await rig.desk.replay(row.schedule.schedule_id)
        report = await rig.replay_all()
        assert (report.replays, ids(report.skipped)) == ([], [row.schedule.schedule_id])
        assert await rig.letters() == [letter]
        await rig.end(filing)
        assert (await rig.desk.replay(row.schedule.schedule_id)).replay == 2

    async def test_unknown_ids_and_inactive_apps_are_refused(self, rig: Rig) -> None:
        row = await rig.failed()
        with pytest.raises(NotFound):
            await rig.desk.replay(uuid4())
        await rig.service.set_active("shop", False)
        query = LetterQuery(app_id="shop")
        for call in (
            rig.desk.replay(row.schedule.schedule_id),
            rig.desk.replay_ids("shop", [row.schedule.schedule_id]),
            rig.desk.replay_range(query),
        ):
            with pytest.raises(AppInactive):
                await call
        assert len((await rig.desk.fetch(query)).letters) == 1, "they can still be looked at"
        assert await rig.desk.count(query) == 1

    async def test_a_filing_that_was_overtaken_is_followed(self, rig: Rig) -> None:
        row = await rig.failed()
        sealed_ms = rig.clock.now_ms() + 10_000
        for partition in range(3):
            marks = Marks(sealed_ms, sealed_ms)
            await rig.real.put_marks([MarksWrite(Instance("shop", partition), 1 << 48, marks)])
        done = await rig.desk.replay(row.schedule.schedule_id)
        assert done.slot_ms > sealed_ms
        filing = await rig.filing(row)
        assert (filing.place.slot_ms, filing.replay) == (done.slot_ms, 1)
        assert await rig.live_filings(row) == [filing]

    @pytest.mark.parametrize("step", ["put_updates", "put_replayed"])
    async def test_a_crash_between_the_steps_leaves_it_listed_and_filed(self, rig: Rig, step: str) -> None:
        row = await rig.failed()
        rig.store.fail(step, StoreUnavailable("no"))
        with pytest.raises(OutcomeUnknown):
            await rig.desk.replay(row.schedule.schedule_id)
        assert ids(await rig.letters()) == [row.schedule.schedule_id]
        filed = await rig.live_filings(row)
        assert len(filed) == 1, "the replay will be sent"
        rig.clock.advance(5)
        await rig.desk.replay(row.schedule.schedule_id)
        assert await rig.letters() == []
        wanted = await rig.live_filings(row)
        await rig.end(wanted[0], make_outcome())
        assert await rig.live_filings(row) == []

    @pytest.mark.parametrize("error", [StoreUnavailable("no"), OutcomeUnknown("silence")])
    async def test_a_filing_that_failed_says_how(self, rig: Rig, error: Exception) -> None:
        row = await rig.failed()
        rig.store.fail("put_rows", error)
        with pytest.raises(type(error)):
            await rig.desk.replay(row.schedule.schedule_id)
        assert ids(await rig.letters()) == [row.schedule.schedule_id]
        assert (await rig.home(row)).moved_to is None


class TestReplayOfMany:
    async def test_all_of_a_range_are_filed_apart_and_noted(self, rig: Rig) -> None:
        rows = [await rig.failed() for _ in range(250)]
        report = await rig.replay_all()
        assert (len(report.replays), report.skipped, report.token) == (250, [], "")
        assert ids(report.replays) == [row.schedule.schedule_id for row in rows]
        slots_ms = [each.slot_ms for each in report.replays]
        assert slots_ms[0] == rig.clock.now_ms() + MARGIN_MS
        assert {later - earlier for earlier, later in pairwise(slots_ms)} == {SPACING_MS}
        for row in rows:
            assert [each.replay for each in await rig.live_filings(row)] == [1]
        assert await rig.letters() == []
        again = await rig.replay_all()
        assert (again.replays, again.skipped, again.token) == ([], [], "")

    async def test_pages_go_on_with_the_token_and_keep_the_pace(self, rig: Rig) -> None:
        rows = [await rig.failed() for _ in range(7)]
        slots_ms: list[int] = []
        token = ""
        for count in (3, 3, 1):
            report = await rig.replay_all(size=3, token=token)
            assert len(report.replays) == count
            slots_ms += [each.slot_ms for each in report.replays]
            token = report.token
        assert token == ""
        assert {later - earlier for earlier, later in pairwise(slots_ms)} == {SPACING_MS}
        assert len(slots_ms) == len(rows)
        one = await rig.failed()  # one alone does not queue behind them
        assert (await rig.desk.replay(one.schedule.schedule_id)).slot_ms == rig.clock.now_ms() + MARGIN_MS

    async def test_chosen_ones_are_filed_and_the_rest_say_why_not(self, rig: Rig) -> None:
        await rig._rig.register("other")
        failed, left, foreign = await rig.failed(), await rig.failed(), await rig.failed("other")
        retried = await rig.failed(retries=2)
        pending = await rig._rig.create()
        unknown = uuid4()
        asked = [row.schedule.schedule_id for row in (failed, foreign, pending, retried, failed)]
        report = await rig.desk.replay_ids("shop", [unknown, *asked])
        assert ids(report.replays) == [failed.schedule.schedule_id, retried.schedule.schedule_id]
        reasons = {each.schedule_id: each.reason for each in report.skipped}
        assert reasons.keys() == {unknown, foreign.schedule.schedule_id, pending.schedule.schedule_id}
        assert reasons[foreign.schedule.schedule_id] == f"no schedule {foreign.schedule.schedule_id}"
        assert "is SCHEDULED" in reasons[pending.schedule.schedule_id]
        assert ids(await rig.letters()) == [left.schedule.schedule_id]

    @pytest.mark.parametrize("count", [0, 1_001])
    async def test_a_list_of_ids_is_bounded(self, rig: Rig, count: int) -> None:
        with pytest.raises(InvalidRequest, match="scheduleIds: must hold 1 to 1000"):
            await rig.desk.replay_ids("shop", [uuid4() for _ in range(count)])

    async def test_letters_that_need_no_replay_any_more_leave_the_list(self, rig: Rig) -> None:
        """What a crash left behind: the replay was filed, and its dead letter never noted."""
        delivered, failed_again = await rig.failed(), await rig.failed()
        for row in (delivered, failed_again):
            rig.store.fail("put_replayed", StoreUnavailable("no"))
            with pytest.raises(OutcomeUnknown):
                await rig.desk.replay(row.schedule.schedule_id)
        rig.clock.advance(MARGIN_MS)
        await rig.end(await rig.filing(delivered), make_outcome())
        newest = await rig.end(await rig.filing(failed_again))
        assert len(await rig.letters()) == 3
        first = await rig.replay_all(end_ms=newest.slot_ms - 1)
        assert first.replays == []
        reasons = {each.schedule_id: each.reason for each in first.skipped}
        assert "is SUCCESS" in reasons[delivered.schedule.schedule_id]
        assert "dead letter of its own" in reasons[failed_again.schedule.schedule_id]
        assert await rig.letters() == [newest]
        assert [each.replay for each in (await rig.replay_all()).replays] == [2]

    async def test_two_letters_of_one_schedule_are_one_replay(self, rig: Rig) -> None:
        row = await rig.failed()
        rig.store.fail("put_replayed", StoreUnavailable("no"))
        with pytest.raises(OutcomeUnknown):
            await rig.desk.replay(row.schedule.schedule_id)
        rig.clock.advance(MARGIN_MS)
        await rig.end(await rig.filing(row))
        assert [letter.replay for letter in await rig.letters()] == [0, 1]
        assert [each.replay for each in (await rig.replay_all()).replays] == [2]
        assert await rig.letters() == []

    async def test_letters_whose_schedule_is_gone_do_not_hold_up_the_others(self, rig: Rig) -> None:
        gone = [make_letter(make_app(app_id="shop"), START_MS - 100 + n) for n in range(5)]
        await rig.real.put_dead_letters(gone)
        row = await rig.failed()
        report = await rig.replay_all(size=3)
        assert (report.replays, len(report.skipped)) == ([], 3)
        report = await rig.replay_all(size=3, token=report.token)
        assert ids(report.replays) == [row.schedule.schedule_id]
        assert await rig.letters() == gone

    async def test_two_callers_at_once_deliver_each_once(self, rig: Rig) -> None:
        rows = [await rig.failed() for _ in range(20)]
        reports = await asyncio.gather(rig.replay_all(), rig.replay_all())
        assert {each.replay for report in reports for each in report.replays} == {1}
        assert await rig.letters() == []
        for row in rows:
            wanted = await rig.live_filings(row)
            await rig.end(wanted[0], make_outcome())
            assert await rig.live_filings(row) == []

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            (("put_rows", StoreUnavailable("no")), StoreUnavailable),
            (("put_rows", OutcomeUnknown("silence")), OutcomeUnknown),
            (("put_updates", StoreUnavailable("no")), OutcomeUnknown),
            (("put_replayed", StoreUnavailable("no")), OutcomeUnknown),
            (("fetch_dead_letters", StoreUnavailable("no")), StoreUnavailable),
            (("fetch_row", StoreUnavailable("no")), StoreUnavailable),
        ],
    )
    async def test_store_trouble_says_whether_any_may_have_been_filed(
        self, rig: Rig, fault: tuple[str, Exception], error: type[Exception]
    ) -> None:
        rows = [await rig.failed() for _ in range(5)]
        rig.store.fail(*fault)
        with pytest.raises(error):
            await rig.replay_all()
        assert len(await rig.letters()) == 5
        rig.clock.advance(5)
        assert len((await rig.replay_all()).replays) == 5, "and the same call goes on where it ended"
        for row in rows:
            wanted = await rig.live_filings(row)
            await rig.end(wanted[0], make_outcome())
            assert await rig.live_filings(row) == []

    async def test_trouble_half_way_keeps_what_was_done(self, rig: Rig) -> None:
        rows = [await rig.failed() for _ in range(150)]
        real, calls = rig.store.real.put_replayed, 0

        async def fail_second(*args: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise StoreUnavailable("no")
            await real(*args)

        rig.store.real.put_replayed = fail_second  # type: ignore[method-assign,assignment]
        with pytest.raises(OutcomeUnknown):
            await rig.replay_all()
        assert ids(await rig.letters()) == [row.schedule.schedule_id for row in rows[100:]]
        assert len((await rig.replay_all()).replays) == 50
        assert await rig.letters() == []


def test_replays_keep_their_pace_when_the_clock_is_set_back() -> None:
    clock = ManualClock()
    replayer = Replayer(cast(Any, None), cast(Any, None), PartitionChooser(), clock, 600)
    first = replayer.next_slot("pay", spread=True)
    clock.step_wall(-3_600_000)
    assert replayer.next_slot("pay", spread=True) == first - 3_600_000 + SPACING_MS
