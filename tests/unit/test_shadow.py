"""Apps in the shadow of goscheduler, on a test clock: what `ringtime_shared.shadow` promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from tests.harness.goscheduler_api import Goscheduler, Heard, listening

from ringtime.runtime import Runtime, run
from ringtime.stepped_clock import TestClock
from ringtime_ingest.service import NewApp, NewRecurring, NewSchedule
from ringtime_ingest.service.replay import judge
from ringtime_ingest.service.requests import NOW
from ringtime_ingest.shadow import Passed
from ringtime_shared.api.schedules import schedule_to_json
from ringtime_shared.errors import (
    AlreadyDone,
    Conflict,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    RingtimeError,
    UpstreamUnavailable,
)
from ringtime_shared.models.app import App, AppConfiguration
from ringtime_shared.models.fires import FireCounts
from ringtime_shared.models.hooks import Hook, Hooks
from ringtime_shared.models.schedule import Row, Status
from ringtime_shared.models.sending import Sending
from ringtime_shared.models.shadow import Side
from ringtime_shared.models.times import Times
from ringtime_shared.schedules.fires import FireAudit
from ringtime_shared.settings import Settings, ShadowSettings
from ringtime_shared.shadow import moves
from ringtime_shared.shadow.report import Difference, ShadowReport, compare
from ringtime_shared.shadow.tickets import HEADER

START = datetime(2030, 1, 1, tzinfo=UTC)
SECRET = "s" * 32
MINUTE_MS = 60_000


@dataclass(slots=True)
class Desk:
    """Everything that stands around one app in shadow."""

    runtime: Runtime
    goscheduler: Goscheduler
    receiver: str
    heard: list[Heard] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)  #: what the receiver answers, the first first; then 200

    @property
    def now_ms(self) -> int:
        return self.runtime.clock.now_ms()

    async def create(self, in_ms: int, **changes: Any) -> Row:
        details: dict[str, object] = {
            "url": f"{self.receiver}/paid?n=1",
            "method": "PUT",
            "headers": {"Content-Type": "text/plain", "X-Shop": "7"},
            "secretHeaders": {"X-Key": "hidden"},
        }
        new = NewSchedule(
            app_id="shop",
            payload="hello",
            callback_type="http",
            callback_details=details,
            fire_ms=self.now_ms + in_ms,
        )
        return await self.runtime.service.create_schedule(replace(new, **changes))

    async def advance(self, by_ms: int) -> None:
        assert self.runtime.stepper is not None
        assert await self.runtime.stepper.advance(by_ms)

    async def change(self, decide: Any, *args: Any) -> App:
        app = await self.runtime.store.fetch_app("shop")
        assert app is not None
        changed: App = decide(app, *args, self.now_ms)
        await self.runtime.store.replace_app(changed)
        await self.runtime.service._apps.follow()
        await self.advance(0)  # and the dispatcher knows, too
        return changed

    async def fire(self, row: Row) -> Passed:
        """Call the tap as goscheduler would for the twin of a row."""
        asked: Any = self.goscheduler.schedules[twin_of(row)]
        assert self.runtime.service.tap is not None
        return await self.runtime.service.tap.take(
            asked["callback"]["details"]["headers"][HEADER], asked["payload"].encode()
        )

    async def report(self, *, later_ms: int = 0) -> ShadowReport:
        assert self.runtime.service.tap is not None
        await self.runtime.service.tap.close()
        app = await self.runtime.store.fetch_app("shop")
        assert app is not None
        start_ms = round(START.timestamp() * 1_000)
        return await compare(
            self.runtime.store, app, start_ms, self.now_ms + 86_400_000, self.now_ms + later_ms
        )

    async def status(self, row: Row) -> Status:
        return (await self.runtime.service.fetch_schedule(row.schedule.schedule_id)).status

    def sent(self, row: Row) -> int:
        """Return how often the receiver was called for a schedule."""
        return sum(each.headers["schedule-id"] == str(row.schedule.schedule_id) for each in self.heard)


def twin_of(row: Row) -> str:
    assert row.schedule.sending is not None
    return row.schedule.sending.twin


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with open_desk() as desk:
        yield desk


@asynccontextmanager
async def open_desk() -> AsyncIterator[Desk]:
    goscheduler, heard, statuses = Goscheduler(), list[Heard](), list[int]()

    def receive(request: Heard) -> tuple[int, bytes]:
        heard.append(request)
        return (statuses.pop(0) if statuses else 200), b""

    async with listening(goscheduler.answer) as upstream, listening(receive) as receiver:
        shadow = ShadowSettings(
            upstream_url=upstream, tap_url="http://127.0.0.1:9", secret=SECRET, upstream_timeout_ms=1_000
        )
        async with run(Settings(shadow=shadow), callbacks={}, clock=TestClock(START)) as runtime:
            desk = Desk(runtime, goscheduler, receiver, heard, statuses)
            new = NewApp(app_id="shop", partitions=2, active=True, configuration=AppConfiguration())
            await runtime.service.register_app(new)
            await desk.change(moves.begin)
            yield desk


async def test_goscheduler_has_what_is_kept_here_and_its_call_is_passed_on(desk: Desk) -> None:
    row = await desk.create(90_500)
    asked: Any = desk.goscheduler.schedules[twin_of(row)]
    assert (asked["appId"], asked["payload"]) == ("shop", "hello")
    assert asked["scheduleTime"] == -(-row.schedule.fire_ms // 1_000)
    details = asked["callback"]["details"]
    assert (details["url"], details["method"]) == ("http://127.0.0.1:9/goscheduler/shadow/tap", "POST")
    assert list(details["headers"]) == [HEADER]

    assert await desk.fire(row) == Passed(200)
    [heard] = desk.heard
    assert (heard.method, heard.path, heard.body) == ("PUT", "/paid?n=1", b"hello")
    told = {name: heard.headers.get(name) for name in ("content-type", "x-shop", "x-key", "schedule-id")}
    assert told == {
        "content-type": "text/plain",
        "x-shop": "7",
        "x-key": "hidden",
        "schedule-id": str(row.schedule.schedule_id),
    }
    await desk.advance(2 * MINUTE_MS)
    assert await desk.status(row) is Status.MISS
    home = await desk.runtime.service.fetch_schedule(row.schedule.schedule_id)
    assert home.outcome is not None
    assert (home.outcome.attempts, home.outcome.ended_ms) == (0, row.schedule.fire_ms)
    assert home.outcome.error == "shadow: goscheduler delivers it"
    shown = schedule_to_json(home)
    assert not shown.keys() & {"firedAt", "attemptLog"}
    assert len(desk.heard) == 1

    report = await desk.report(later_ms=10 * MINUTE_MS)
    assert (report.both, report.passed, report.kept, report.differences) == (1, 1, 0, {})
    assert report.goscheduler.quantile_ms(0.99) == -90_500  # it was fired early
    assert report.ringtime.quantile_ms(0.99) == 0


async def test_its_id_there_means_it_here(desk: Desk) -> None:
    row = await desk.create(MINUTE_MS)
    twin = UUID(twin_of(row))
    assert await desk.runtime.service.resolve([twin]) == {twin: row.schedule.schedule_id}


async def test_each_fire_time_is_of_one_side_across_a_switch_and_back(desk: Desk) -> None:
    start_ms, minutes = desk.now_ms, 40
    rows = [await desk.create(n * MINUTE_MS) for n in range(1, minutes)]
    await desk.change(
        lambda app, now_ms: moves.hand_over(app, Side.RINGTIME, start_ms + 10 * MINUTE_MS, now_ms)
    )
    await desk.advance(11 * MINUTE_MS)
    back_ms = start_ms + 20 * MINUTE_MS
    await desk.change(lambda app, now_ms: moves.hand_over(app, Side.GOSCHEDULER, back_ms, now_ms))
    await desk.advance(30 * MINUTE_MS)
    # goscheduler comes to all of them only now, in no order, and to some of them twice
    for row in [*reversed(rows), *rows[::3]]:
        assert (await desk.fire(row)).code == 200
    for n, row in enumerate(rows, 1):
        is_ours = 10 <= n < 20
        assert await desk.status(row) is (Status.SUCCESS if is_ours else Status.MISS), n
        twice = not is_ours and (n - 1) % 3 == 0
        assert desk.sent(row) == (2 if twice else 1), n
    report = await desk.report()
    assert (report.both, report.passed, report.kept) == (39, 29, 10)
    assert report.differences == {Difference.DOUBLE: sum(not 10 <= n < 20 for n in range(1, 40, 3))}


async def test_a_cancel_is_made_on_both_sides(desk: Desk) -> None:
    far, near, lost = [await desk.create(minutes * MINUTE_MS) for minutes in (10, 1, 5)]
    assert (await desk.runtime.service.cancel_schedule(far.schedule.schedule_id)).promised
    # goscheduler may have read its minute already
    assert not (await desk.runtime.service.cancel_schedule(near.schedule.schedule_id)).promised
    assert desk.goscheduler.schedules.keys() == {twin_of(lost)}
    desk.goscheduler.trouble = 503
    with pytest.raises(OutcomeUnknown):
        await desk.runtime.service.cancel_schedule(lost.schedule.schedule_id)
    assert await desk.status(lost) is Status.SCHEDULED
    desk.goscheduler.trouble = None
    del desk.goscheduler.schedules[twin_of(lost)]  # it was done there, and the answer was lost
    await desk.runtime.service.cancel_schedule(lost.schedule.schedule_id)
    assert await desk.status(lost) is Status.DELETED
    await desk.runtime.service.cancel_schedule(lost.schedule.schedule_id)  # twice is no error


async def test_what_came_due_is_cancelled_no_more(desk: Desk) -> None:
    row = await desk.create(MINUTE_MS)
    await desk.advance(2 * MINUTE_MS)
    with pytest.raises(AlreadyDone, match="MISS"):
        await desk.runtime.service.cancel_schedule(row.schedule.schedule_id)


@pytest.mark.parametrize(
    ("trouble", "has_it", "error"),
    [
        (500, False, OutcomeUnknown),
        (500, True, OutcomeUnknown),
        (0, True, OutcomeUnknown),
        (302, False, UpstreamUnavailable),
    ],
)
async def test_a_create_that_goscheduler_did_not_take_is_none(
    desk: Desk, trouble: int, has_it: bool, error: type[RingtimeError]
) -> None:
    desk.goscheduler.trouble, desk.goscheduler.has_it_all_the_same = trouble, has_it
    with pytest.raises(error):
        await desk.create(MINUTE_MS)
    await desk.advance(5 * MINUTE_MS)
    report = await desk.report()
    assert (report.both, report.waiting, desk.heard) == (0, 0, [])
    assert bool(desk.goscheduler.schedules) is has_it
    for asked in desk.goscheduler.schedules.values():  # its call goes as any
        tap, details = desk.runtime.service.tap, asked["callback"]["details"]  # type: ignore[index]
        assert tap is not None
        assert await tap.take(details["headers"][HEADER], b"hello") == Passed(200)
    assert len(desk.heard) == len(desk.goscheduler.schedules)
    assert sum((await desk.report()).differences.values()) == len(desk.heard)


async def test_goscheduler_away_is_said_and_nothing_is_filed() -> None:
    shadow = ShadowSettings(upstream_url="http://127.0.0.1:9", tap_url="http://127.0.0.1:9", secret=SECRET)
    async with run(Settings(shadow=shadow), callbacks={}, clock=TestClock(START)) as runtime:
        desk = Desk(runtime, Goscheduler(), "http://127.0.0.1:9")
        new = NewApp(app_id="shop", partitions=1, active=True, configuration=AppConfiguration())
        await runtime.service.register_app(new)
        await desk.change(moves.begin)
        with pytest.raises(UpstreamUnavailable, match="could not be reached"):
            await desk.create(MINUTE_MS)
        assert (await desk.report()).waiting == 0


async def test_a_refusal_of_goscheduler_is_the_answer(desk: Desk) -> None:
    with pytest.raises(
        InvalidRequest, match="body: goscheduler refused it with 400: payload cannot be empty"
    ):
        await desk.create(MINUTE_MS, payload="")


async def test_what_goscheduler_has_no_words_for_is_refused(desk: Desk) -> None:
    row = await desk.create(MINUTE_MS)
    for changes, field_name in (
        ({"idempotency_key": "k"}, "idempotencyKey"),
        ({"name": "n"}, "name"),
        ({"callback_type": "kafka"}, "callback.type"),
        ({"sending": Sending(is_base64=True)}, "payloadEncoding"),
        (
            {"sending": Sending(hooks=Hooks(on_missed=Hook(callback_type="http", callback_details="{}")))},
            "hooks",
        ),
        ({"sending": Sending(completion_ms=1_000)}, "completionTimeoutSeconds"),
    ):
        with pytest.raises(Conflict) as caught:
            await desk.create(MINUTE_MS, **changes)
        assert caught.value.field == field_name
    service = desk.runtime.service
    [refused] = await service.batches.create(
        [NewSchedule(app_id="shop", payload="", callback_type="http", callback_details={}, delay_ms=1)]
    )
    assert isinstance(refused, Conflict)
    with pytest.raises(Conflict):
        await service.change_schedule(row.schedule.schedule_id, NOW)
    daily = NewRecurring(
        app_id="shop",
        name="daily",
        times=Times(cron="0 9 * * *"),
        payload="",
        callback_type="http",
        callback_details={},
    )
    with pytest.raises(Conflict):
        await service.recurring.put(daily)
    with pytest.raises(Conflict, match="shadow end"):
        await service.delete_app("shop", cancel_schedules=True)
    assert len(desk.goscheduler.schedules) == 1


async def test_a_receiver_that_refuses_is_told_as_it_is(desk: Desk) -> None:
    row = await desk.create(MINUTE_MS)
    desk.statuses += [500, 307, 0, 101, 999]
    assert await desk.fire(row) == Passed(500)
    assert await desk.fire(row) == Passed(307, f"{desk.receiver}/moved")
    for _ in range(3):  # none at all, and two that are no end of a request
        assert (await desk.fire(row)).code == 502
    await desk.advance(5 * MINUTE_MS)
    assert (await desk.report()).differences == {Difference.UNDELIVERED: 1}


async def test_the_tap_takes_no_ticket_but_ours(desk: Desk) -> None:
    row = await desk.create(MINUTE_MS)
    asked: Any = desk.goscheduler.schedules[twin_of(row)]
    ticket = asked["callback"]["details"]["headers"][HEADER]
    tap = desk.runtime.service.tap
    assert tap is not None
    for wrong in ("", "AbC", "é", ticket[:-2] + "AA", "A" + ticket[1:], ticket * 100):
        with pytest.raises(NotFound):
            await tap.take(wrong, b"")
    assert not desk.heard


async def test_the_tap_takes_no_call_while_who_delivers_may_change_nor_when_all_is_over(desk: Desk) -> None:
    row = await desk.create(10 * MINUTE_MS)
    with pytest.raises(Conflict, match="not due yet"):
        await desk.fire(row)
    # as it would be then: the handover comes before it, so it is Ringtime's
    await desk.advance(1_000)  # two changes of one instant have one name in the log of changes
    at_ms = row.schedule.fire_ms
    await desk.change(lambda app, now_ms: moves.hand_over(app, Side.RINGTIME, at_ms, now_ms))
    await desk.advance(8 * MINUTE_MS)
    assert await desk.fire(row) == Passed(200)
    assert not desk.heard
    await desk.advance(row.schedule.expires_ms - desk.now_ms)
    with pytest.raises(NotFound):
        await desk.fire(row)
    assert desk.sent(row) == 1


async def test_what_is_left_to_goscheduler_alarms_nobody_and_is_not_sent_again(desk: Desk) -> None:
    hook = Hook(callback_type="http", callback_details=f'{{"url":"{desk.receiver}/told","method":"POST"}}')
    await desk.change(
        lambda app, now_ms: replace(
            app,
            configuration=replace(app.configuration, hooks=Hooks(on_missed=hook, on_failure=hook)),
            version=app.version + 1,
        )
    )
    row = await desk.create(MINUTE_MS)
    await desk.advance(30 * MINUTE_MS)
    assert await desk.status(row) is Status.MISS
    assert desk.heard == []
    service, store = desk.runtime.service, desk.runtime.store
    assert await store.count_dead_letters("shop", 0, desk.now_ms) == 0
    tally = desk.runtime.dispatcher._deliverer.counts.tally
    assert (tally.shadowed, tally.missed, tally.failed, tally.succeeded) == (1, 0, 0, 0)
    app = await store.fetch_app("shop")
    assert app is not None
    audit = FireAudit(store, desk.runtime.clock, app, row.schedule.created_ms, desk.now_ms)
    found = FireCounts()
    async for page in audit.pages():
        found.add(page.found)
    assert (found.ended, found.gaps, found.doubles) == ({Status.MISS: 1}, 0, 0)
    home = await service.fetch_schedule(row.schedule.schedule_id)
    refusal, _ = judge(home, [], also=(Status.MISS,))
    assert "goscheduler delivers it" in str(refusal)


async def test_when_it_is_over_nothing_is_forwarded_and_calls_are_kept(desk: Desk) -> None:
    row = await desk.create(20 * MINUTE_MS)
    with pytest.raises(Conflict, match="two minutes"):
        await desk.change(moves.end)
    await desk.change(lambda app, now_ms: moves.hand_over(app, Side.RINGTIME, now_ms + moves.LEAD_MS, now_ms))
    await desk.advance(moves.LEAD_MS + 2 * MINUTE_MS)
    await desk.change(moves.end)
    alone = await desk.create(MINUTE_MS)
    assert alone.schedule.sending is None
    assert len(desk.goscheduler.schedules) == 1
    desk.goscheduler.trouble = 0  # it may be gone
    await desk.advance(30 * MINUTE_MS)
    assert [await desk.status(each) for each in (row, alone)] == [Status.SUCCESS] * 2
    assert await desk.fire(row) == Passed(200)
    assert (desk.sent(row), desk.sent(alone)) == (1, 1)
    with pytest.raises(Conflict, match="over"):
        await desk.change(moves.begin)
    await desk.runtime.service.delete_app("shop", cancel_schedules=True)
