"""Attempts that have nothing to wait for are made without a task, and end as others do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.contract.builders import START_MS
from tests.harness.virtual import LoopClock, on_virtual_time
from tests.unit.dispatcher.http_rig import (
    BOTH,
    SITE,
    Act,
    Site,
    answering,
    calling,
    delivery,
    sending,
    serving,
)
from tests.unit.dispatcher.rig import Receiver, Rig, make_rig

from ringtime_dispatcher.callbacks.http.callback import HttpCallback
from ringtime_dispatcher.delivery import attempt
from ringtime_shared.callbacks.protocol import Delivery, PromptType, Reply
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.schedule import Schedule, Status
from ringtime_shared.settings import DispatchSettings, EgressSettings

SLOT_MS = START_MS + 1_000
OK = Reply(ok=True, code=200)
HOST = "callback.test"


class Prompt(Receiver, PromptType):
    """Begins at once, as long as it is told to, and answers when it is told to."""

    def __init__(self, clock: LoopClock) -> None:
        super().__init__(clock)
        self.begun: list[tuple[Delivery, Callable[[Reply], None]]] = []
        self.dropped = 0
        self.is_ready = True
        self.on_begin: Callable[[], object] = lambda: None
        self.fault: Exception | None = None

    def begin(self, delivery: Delivery, on_end: Callable[[Reply], None]) -> Callable[[], None] | None:
        self.on_begin()
        if self.fault is not None:
            raise self.fault
        if not self.is_ready:
            return None
        self.begun.append((delivery, on_end))
        return self.drop

    def drop(self) -> None:
        self.dropped += 1

    def answer(self, number: int, reply: Reply = OK) -> None:
        self.begun[number][1](reply)


def prompt_rig(**options: object) -> tuple[Rig, Prompt]:
    rig = make_rig(receiver=Prompt, **options)  # type: ignore[arg-type]
    assert isinstance(rig.receiver, Prompt)
    return rig, rig.receiver


@on_virtual_time
async def test_it_is_sent_at_its_slot_recorded_and_counted() -> None:
    rig, prompt = prompt_rig()
    row = rig.row(SLOT_MS)
    await rig.put(row)
    await asyncio.sleep(1.001)
    [(sent, _)] = prompt.begun
    assert (sent.schedule, sent.attempt, sent.term) == (row.schedule, 1, rig.owned.term)
    assert rig.deliverer.turns.under_way == 1
    assert not rig.deliverer.is_idle
    await asyncio.sleep(0.039)
    prompt.answer(0)
    await asyncio.sleep(0.01)
    outcome = (await rig.stored(row)).outcome
    assert outcome is not None
    assert (outcome.status, outcome.code, outcome.attempts, outcome.took_ms) == (Status.SUCCESS, 200, 1, 40)
    assert rig.deliverer.is_idle
    assert (rig.deliverer.counts.tally.sent, rig.deliverer.counts.tally.succeeded) == (1, 1)
    assert not prompt.sent, "by no task"


@on_virtual_time
async def test_what_has_to_wait_for_something_gets_a_task() -> None:
    rig, prompt = prompt_rig()
    prompt.is_ready = False
    row = rig.row(SLOT_MS)
    await rig.put(row)
    await asyncio.sleep(1.01)
    assert len(prompt.sent) == 1
    assert (await rig.stored(row)).outcome is not None
    assert rig.deliverer.counts.tally.sent == 1, "and is counted once"


@on_virtual_time
async def test_what_is_handed_to_a_task_is_not_decrypted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rig, prompt = prompt_rig()
    prompt.is_ready = False
    decrypted: list[object] = []

    def decrypt(ring: object, schedule: Schedule, details: object) -> object:
        decrypted.append(schedule.schedule_id)
        return schedule, details

    monkeypatch.setattr(attempt, "decrypt_for_sending", decrypt)
    row = rig.row(SLOT_MS)
    details = b'{"url":"http://a","secretHeaders":{"X-Vault":"kanarie-77"}}'
    row = replace(row, schedule=replace(row.schedule, callback_details=details))
    await rig.put(row)
    await asyncio.sleep(1.01)
    assert len(prompt.sent) == 1
    assert decrypted == [row.schedule.schedule_id]


@on_virtual_time
async def test_it_is_dated_when_its_task_sends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rig, prompt = prompt_rig()
    prompt.is_ready = False
    now_ms = rig.clock.now_ms
    prompt.on_begin = lambda: monkeypatch.setattr(rig.clock, "now_ms", lambda: now_ms() + 70)
    row = rig.row(SLOT_MS)
    await rig.put(row)
    await asyncio.sleep(1.01)
    outcome = (await rig.stored(row)).outcome
    assert outcome is not None
    assert outcome.fired_ms == prompt.times_ms()[0] == SLOT_MS + 70


@pytest.mark.parametrize("what", ["lease", "instance"])
@on_virtual_time
async def test_what_is_lost_before_its_task_begins_keeps_it_from_being_sent(what: str) -> None:
    rig, prompt = prompt_rig()
    prompt.is_ready = False

    def lose() -> None:
        if what == "lease":
            rig.trusted_until_ms = 0
        else:
            rig.owned.stop()

    prompt.on_begin = lose
    await rig.put(rig.row(SLOT_MS))
    await asyncio.sleep(1.05)
    assert not prompt.sent
    assert rig.owned.is_quiet
    assert rig.owned.has_open_rows
    assert rig.deliverer.turns.waiting == (what == "lease")
    assert rig.deliverer.counts.tally.sent == 0
    prompt.on_begin = lambda: None
    rig.trusted_until_ms = 1 << 62
    rig.deliverer.pump()
    await asyncio.sleep(0.01)
    assert len(prompt.sent) == (what == "lease")


@on_virtual_time
async def test_closing_before_its_task_begins_leaves_it_open() -> None:
    rig, prompt = prompt_rig()
    prompt.is_ready = False
    closing: list[asyncio.Task[None]] = []
    prompt.on_begin = lambda: closing.append(asyncio.create_task(rig.deliverer.close()))
    await rig.put(rig.row(SLOT_MS))
    await asyncio.sleep(1.05)
    assert [task.done() for task in closing] == [True]
    assert not prompt.sent
    assert rig.owned.is_quiet
    assert rig.owned.has_open_rows
    assert rig.rows_held() == 0


@on_virtual_time
async def test_a_failure_is_tried_again_without_what_is_secret() -> None:
    rig, prompt = prompt_rig()
    row = rig.row(SLOT_MS)
    details = b'{"url":"http://a","headers":{"Authorization":"kanarie-77"}}'
    row = replace(row, schedule=replace(row.schedule, callback_details=details))
    await rig.put(row)
    await asyncio.sleep(1.001)
    prompt.answer(0, Reply(ok=False, code=503, error="kanarie-77 is busy"))
    await asyncio.sleep(0.01)
    moved_to = (await rig.stored(row)).moved_to
    assert moved_to is not None
    again = await rig.store.real.fetch_row(moved_to, row.schedule.schedule_id)
    assert again is not None
    assert again.log[0].error == "*** is busy"


@on_virtual_time
async def test_a_bug_in_it_costs_its_own_row_alone(caplog: pytest.LogCaptureFixture) -> None:
    rig, prompt = prompt_rig(configuration=AppConfiguration(max_in_flight=1))
    first, second = rig.row(SLOT_MS), rig.row(SLOT_MS + 100)
    prompt.fault = KeyError("a bug")
    await rig.put(first, second)
    await asyncio.sleep(1.05)
    prompt.fault = None
    await asyncio.sleep(0.06)
    outcome = (await rig.stored(first)).outcome
    assert outcome is not None
    assert outcome.status is Status.FAILURE
    assert "a bug" in outcome.error
    assert "ends as a failure" in caplog.text
    prompt.answer(0)
    await asyncio.sleep(0.01)
    assert (await rig.stored(second)).outcome is not None
    assert rig.deliverer.is_idle


@on_virtual_time
async def test_the_turn_of_the_next_comes_when_one_has_ended() -> None:
    rig, prompt = prompt_rig(configuration=AppConfiguration(max_in_flight=2))
    await rig.put(*(rig.row(SLOT_MS) for _ in range(5)))
    await asyncio.sleep(1.01)
    for ended, begun in enumerate((2, 3, 4, 5, 5)):
        assert len(prompt.begun) == begun
        prompt.answer(ended)
        assert len(prompt.begun) == begun, "not before others had their say"
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    assert rig.deliverer.is_idle


@on_virtual_time
async def test_failures_that_end_together_open_the_breaker_before_more_is_sent() -> None:
    rig, prompt = prompt_rig(
        configuration=AppConfiguration(max_in_flight=3), dispatch=DispatchSettings(breaker_failures=3)
    )
    await rig.put(*(rig.row(SLOT_MS) for _ in range(6)))
    await asyncio.sleep(1.01)
    for number in range(3):
        prompt.answer(number, Reply(ok=False, code=503, error="busy"))
    await asyncio.sleep(0.05)
    assert len(prompt.begun) == 3, "the others are parked"


@on_virtual_time
async def test_nothing_is_begun_while_the_lease_is_not_trusted() -> None:
    rig, prompt = prompt_rig()
    rig.trusted_until_ms = 0
    await rig.put(rig.row(SLOT_MS))
    await asyncio.sleep(1.05)
    assert not prompt.begun
    rig.trusted_until_ms = 1 << 62
    rig.deliverer.pump()
    assert len(prompt.begun) == 1


@on_virtual_time
async def test_one_whose_instance_was_given_up_is_left_open() -> None:
    rig, prompt = prompt_rig()
    await rig.put(rig.row(SLOT_MS))
    rig.owned.stop()
    await asyncio.sleep(1.05)
    assert not prompt.begun
    assert rig.deliverer.is_idle
    assert rig.owned.has_open_rows


@on_virtual_time
async def test_closing_drops_what_is_under_way_and_leaves_it_open() -> None:
    rig, prompt = prompt_rig()
    row = rig.row(SLOT_MS)
    await rig.put(row)
    await asyncio.sleep(1.01)
    await rig.deliverer.close()
    assert prompt.dropped == 1
    prompt.answer(0)
    await asyncio.sleep(0.1)
    assert (await rig.stored(row)).outcome is None
    assert rig.owned.has_open_rows
    assert rig.owned.is_quiet


async def begun(http: HttpCallback, url: str, **options: object) -> asyncio.Future[Reply] | None:
    """Begin an attempt; None: it needs a task."""
    ended: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    each = delivery(url, **options)  # type: ignore[arg-type]
    return None if http.begin(each, ended.set_result) is None else ended


async def test_http_begins_over_a_connection_that_is_kept() -> None:
    async with serving() as site, calling({HOST: [SITE]}, settings=BOTH) as http:
        url = site.url(HOST)
        assert await begun(http, url) is None, "there is none yet"
        assert await http.invoke(delivery(url)) == OK
        first = await begun(http, url)
        assert first is not None
        assert await begun(http, url) is None, "it is in use"
        assert await first == OK
        again = await begun(http, url)
        assert again is not None
        assert await again == OK
        assert (len(site.requests), site.connections) == (3, 1)


async def test_http_begins_nothing_where_the_name_may_mean_something_else_by_now() -> None:
    names = {HOST: [SITE]}
    keep = EgressSettings(allow=(SITE,), ports=("1-65535",), dns_keep_s=0.05)
    async with serving() as site, calling(names, settings=keep) as http:
        assert await http.invoke(delivery(site.url(HOST))) == OK
        names[HOST] = ["127.0.0.1"]
        async with asyncio.timeout(60):
            while (reply := await begun(http, site.url(HOST))) is not None:
                assert await reply == OK
        assert await http.invoke(delivery(site.url(HOST))) == Reply(
            ok=False, error="the target is not allowed", is_final=True
        )
        assert await begun(http, site.url(HOST)) is None, "though its connection is kept"


@pytest.mark.parametrize(
    ("act", "reply"),
    [
        (answering(after_s=0.5), Reply(ok=False, error="no answer within 200 ms")),
        (
            answering("503 Busy", "Retry-After: 7"),
            Reply(ok=False, code=503, error="answered 503", retry_after_ms=7_000),
        ),
        (sending(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", b"a", pause_s=0.05), OK),
    ],
    ids=["silence", "an error", "half a body"],
)
async def test_what_ends_an_attempt_that_was_begun(act: Act, reply: Reply) -> None:
    async def well_once(site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not site.requests:
            await site.read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await act(site, reader, writer)

    async with serving(well_once) as site, calling({HOST: [SITE]}, settings=BOTH) as http:
        assert await http.invoke(delivery(site.url(HOST))) == OK
        ended = await begun(http, site.url(HOST), timeout_ms=200)
        assert ended is not None
        assert await ended == reply
        is_kept = await begun(http, site.url(HOST)) is not None
        assert is_kept == (reply.code == 503)


async def test_closing_the_type_ends_what_it_began() -> None:
    async with serving() as site, calling({HOST: [SITE]}, settings=BOTH) as http:
        assert await http.invoke(delivery(site.url(HOST))) == OK
        ended = await begun(http, site.url(HOST))
        assert ended is not None
        await http.close()
        assert await ended == Reply(ok=False, error="the connection broke")
