"""Callback types may do what they like: it costs their own rows an attempt, and nothing of ours ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
from tests.contract.builders import START_MS, key_of, make_app, make_outcome, make_row, make_update
from tests.harness.virtual import LoopClock, on_virtual_time
from tests.unit.dispatcher.rig import Rig, make_node, make_rig
from tests.unit.spy_store import SpyStore, spin

from ringtime_dispatcher.callbacks.build import close_callbacks
from ringtime_dispatcher.delivery.queue import Timetable
from ringtime_dispatcher.delivery.recording import OutcomeWriter, Record
from ringtime_shared.callbacks.foreign import describe
from ringtime_shared.callbacks.plugins import load_callback_types
from ringtime_shared.callbacks.protocol import CallbackType, Delivery, Reply
from ringtime_shared.coordination.memory import Hub
from ringtime_shared.coordination.protocol import Member
from ringtime_shared.errors import StartupError
from ringtime_shared.models.app import AppConfiguration
from ringtime_shared.models.schedule import Row, Status
from ringtime_shared.settings import RetrySettings

SLOT_MS = START_MS + 1_000


class Own(BaseException):
    """What a program may derive from BaseException."""


class Mute(Exception):
    """Has no message that can be made."""

    def __str__(self) -> str:
        raise Own


async def awaits_what_it_cancelled(_: Delivery) -> Reply:
    task = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    await task
    raise AssertionError


async def cancels_the_task_it_runs_in(_: Delivery) -> Reply:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(60)
    raise AssertionError


async def cancels_under_a_timeout_of_its_own(delivery: Delivery) -> Reply:
    async with asyncio.timeout(60):
        return await awaits_what_it_cancelled(delivery)


def raising(error: BaseException) -> Callable[[Delivery], Awaitable[Reply]]:
    async def invoke(_: Delivery) -> Reply:
        raise error

    return invoke


DOINGS: list[tuple[str, Callable[[Delivery], Awaitable[Reply]], str]] = [
    ("awaits what it cancelled", awaits_what_it_cancelled, "CancelledError"),
    ("cancels its own task", cancels_the_task_it_runs_in, "CancelledError"),
    ("under a timeout of its own", cancels_under_a_timeout_of_its_own, "CancelledError"),
    ("GeneratorExit", raising(GeneratorExit()), "GeneratorExit"),
    ("an own subclass", raising(Own("as you like it")), "Own: as you like it"),
    ("SystemExit", raising(SystemExit(3)), "SystemExit: 3"),
    ("KeyboardInterrupt", raising(KeyboardInterrupt()), "KeyboardInterrupt"),
    ("an error without a message", raising(Mute()), "Mute"),
]


@pytest.fixture
def no_ctrl_c() -> Iterator[None]:
    """SIGINT taken over, as in every service of ours and under `asyncio.run`."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT as a program has it from the start, also where these tests were started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def a_rig(**changes: Any) -> Rig:
    return make_rig(
        retry=RetrySettings(first_delay_ms=1_000),
        configuration=AppConfiguration(http_attempts=2, http_timeout_ms=2_000),
        **changes,
    )


async def failed(rig: Rig, row: Row) -> str:
    """Let the row run into its end, a recorded failure; return the error that is on record."""
    await rig.put(row)
    await asyncio.sleep(10)
    home = await rig.stored(row)
    if home.moved_to is not None and home.outcome is None:  # its retry comes by the next read
        retry = await rig.store.real.fetch_row(home.moved_to, row.schedule.schedule_id)
        assert retry is not None
        rig.give(retry)
        await asyncio.sleep(10)
        home = await rig.stored(row)
    assert home.outcome is not None
    assert home.outcome.status is Status.FAILURE
    assert not rig.owned.is_open(key_of(row)), "settled goes on"
    assert rig.rows_held() == 0
    await asyncio.wait_for(rig.owned.wait_quiet(), 60)
    return home.outcome.error


@pytest.mark.usefixtures("no_ctrl_c")
@pytest.mark.parametrize(("doing", "error"), [each[1:] for each in DOINGS], ids=[each[0] for each in DOINGS])
@on_virtual_time
async def test_whatever_it_lets_out_is_a_failed_attempt(
    doing: Callable[[Delivery], Awaitable[Reply]], error: str
) -> None:
    rig = a_rig()
    calls: list[int] = []

    async def invoke(delivery: Delivery) -> Reply:
        calls.append(delivery.attempt)
        return await doing(delivery)

    cast(Any, rig.receiver).invoke = invoke
    assert await failed(rig, rig.row(SLOT_MS)) == error
    assert calls == [1, 2], "tried again by the app's policy, then given up"


@on_virtual_time
async def test_a_node_that_stops_records_no_failure_of_what_it_cut_off() -> None:
    rig = a_rig()
    rig.receiver.open.clear()
    row = rig.row(SLOT_MS)
    await rig.put(row)
    await asyncio.sleep(2)
    assert len(rig.receiver.sent) == 1
    await rig.deliverer.close()
    stored = await rig.stored(row)
    assert (stored.outcome, stored.moved_to) == (None, None), "the next owner finds it as it was"
    assert rig.owned.is_open(key_of(row))


@pytest.mark.usefixtures("ctrl_c")
def test_a_ctrl_c_inside_a_callback_reaches_the_program() -> None:
    """Where nobody took SIGINT over it may come out of any code; the attempt it hit is a failed one."""
    rig_box: list[tuple[Rig, Row]] = []

    async def main() -> None:
        rig = a_rig()
        cast(Any, rig.receiver).invoke = raising(KeyboardInterrupt())
        row = rig.row(START_MS)
        rig_box.append((rig, row))
        await rig.put(row)
        await asyncio.sleep(5)

    loop = asyncio.new_event_loop()
    task = loop.create_task(main())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    [(rig, row)] = rig_box
    assert loop.run_until_complete(rig.stored(row)).moved_to is not None, "its retry is filed"
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    loop.run_until_complete(rig.deliverer.close())
    loop.close()


class Odd(CallbackType):
    """Members that are not what the protocol says; `invoke` is sound."""

    name = "sim"

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.sent = 0

    def validate(self, details: Mapping[str, object], app_id: str) -> list[Any]:
        return []

    def _odd(self) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def destination(self, details: Mapping[str, object]) -> str:
        return cast(str, self._odd())

    def deadline_ms(self, timeout_ms: int) -> int:
        return cast(int, self._odd())

    @property
    def outage(self) -> Any:  # type: ignore[override]
        return self._odd()

    async def invoke(self, delivery: Delivery) -> Reply:
        self.sent += 1
        return Reply(ok=delivery.schedule.payload != "bad", error="so it was asked")


@pytest.mark.parametrize("answer", [Own(), SystemExit(), ValueError(), None, [], -1, float("nan"), {}])
@on_virtual_time
async def test_members_that_raise_or_return_nonsense_are_passed_over_and_named_once(
    answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    rig = a_rig()
    kind = Odd(answer)
    cast(Any, rig.deliverer)._parts.callbacks["sim"] = kind
    good = [rig.row(SLOT_MS + n) for n in range(3)]
    bad = make_row(rig.app, SLOT_MS + 5, callback_type="sim", payload="bad")
    await rig.put(*good)
    assert await failed(rig, bad) == "so it was asked"
    assert [(await rig.stored(row)).status for row in good] == [Status.SUCCESS] * 3
    for member in ("destination", "deadline_ms"):
        named = [record for record in caplog.messages if f"callback type sim: {member}: " in record]
        assert len(named) == 1, (member, caplog.messages)


@on_virtual_time
async def test_a_bug_in_what_is_done_with_a_row_ends_that_row_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Left open, it would hold `settled` back and be tried by nobody."""
    rig = a_rig()
    first, second = rig.row(SLOT_MS), rig.row(SLOT_MS)
    plan = rig.deliverer._turns.timeout_ms

    def timeout_ms(schedule: Any, policy: Any) -> int:
        if schedule == first.schedule:
            raise TypeError("an impossible value")
        return plan(schedule, policy)

    cast(Any, rig.deliverer._turns).timeout_ms = timeout_ms
    await rig.put(second)
    assert await failed(rig, first) == "Ringtime failed at it: TypeError: an impossible value"
    assert (await rig.stored(second)).status is Status.SUCCESS
    assert "a bug: the delivery of" in caplog.text


@on_virtual_time
async def test_the_timetable_goes_on_after_an_item_that_raises() -> None:
    handed: list[str] = []

    def on_due(item: str) -> None:
        handed.append(item)
        if item == "bad":
            raise ValueError

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    timetable: Timetable[str] = Timetable(LoopClock(), on_due)
    for n, item in enumerate(("a", "bad", "b")):
        timetable.add(START_MS + 10 + n, item)
    timetable.add(START_MS + 11, "beside")
    await asyncio.sleep(1)
    assert handed == ["a", "bad", "beside", "b"]


@on_virtual_time
async def test_the_outcome_writer_outlives_a_store_that_gives_up_and_a_callback_that_raises() -> None:
    store = SpyStore(LoopClock().now_ms)
    writer = OutcomeWriter(cast(Any, store), LoopClock(), 10)
    told: list[str] = []

    def bad() -> None:
        raise ValueError

    app = make_app()
    for n, on_durable in enumerate((bad, lambda: told.append("durable"))):
        row = make_row(app, START_MS + n)
        writer.put(
            Record(
                schedule_id=row.schedule.schedule_id,
                home=make_update(row, make_outcome()),
                on_durable=on_durable,
                on_refused=lambda: None,
            )
        )
    store.fail("put_updates", asyncio.CancelledError())  # a driver's future that was cancelled
    await spin()
    assert told == ["durable"]


@on_virtual_time
async def test_a_loop_goes_on_after_a_cancel_that_was_not_meant_for_it() -> None:
    store, clock = SpyStore(LoopClock().now_ms), LoopClock()
    hub = Hub(era=1)
    dispatcher = make_node(store, clock, hub, member=Member(node="n"))
    store.fail("fetch_arrivals", asyncio.CancelledError())
    await dispatcher.start()
    await asyncio.sleep(5)
    assert store.names().count("fetch_arrivals") > 3
    assert dispatcher.is_ready()
    await dispatcher.stop()


@on_virtual_time
async def test_a_node_one_of_whose_loops_has_ended_is_not_ready(caplog: pytest.LogCaptureFixture) -> None:
    store, clock = SpyStore(LoopClock().now_ms), LoopClock()
    hub = Hub(era=1)
    dispatcher = make_node(store, clock, hub, member=Member(node="n"))
    store.fail("fetch_index", Own())
    await dispatcher.start()
    await asyncio.sleep(1)
    assert not dispatcher.is_ready()
    assert "n poll has ended; this node cannot work without it" in caplog.text
    await dispatcher.stop()


@on_virtual_time
async def test_a_type_that_cannot_be_closed_keeps_no_other_from_it(caplog: pytest.LogCaptureFixture) -> None:
    closed: list[str] = []

    class Closing(Odd):
        async def close(self) -> None:
            closed.append(self.name)
            if self.answer == "hangs":
                await asyncio.sleep(1_000_000)
            self._odd()

    kinds = [Closing(each) for each in (Own(), SystemExit(), asyncio.CancelledError(), "hangs", None)]
    await close_callbacks(kinds)
    assert len(closed) == len(kinds)
    assert caplog.text.count("callback type sim could not be closed") == 4


@pytest.mark.parametrize(
    "line", ["raise SystemExit(1)", "raise GeneratorExit", "1 / 0", "import nothing.at.all"]
)
def test_a_module_that_cannot_be_loaded_is_a_startup_error(
    line: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd_plugin.py").write_text(f"{line}\nclass Kind: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StartupError, match=r"callbacks\.types: odd_plugin:Kind: "):
        load_callback_types(["odd_plugin:Kind"])


def test_an_error_is_described_whatever_its_class() -> None:
    assert describe(ValueError("x")) == "ValueError: x"
    assert describe(ValueError()) == "ValueError"
    assert describe(Mute()) == "Mute"


@on_virtual_time
async def test_a_bug_in_a_handover_leaves_no_instance_that_neither_fires_nor_moves() -> None:
    clock = LoopClock()
    store = SpyStore(clock.now_ms)
    app = await store.real.create_app(make_app())
    hub = Hub(era=1)
    dispatcher = make_node(store, clock, hub, member=Member(node="n"))
    await dispatcher.start()
    await asyncio.sleep(5)
    assert len(dispatcher.owned) == 3
    store.fail("put_marks", *[ValueError("a bug")] * 3)
    await store.real.replace_app(replace(app, active=False, version=2))  # polled no more
    await asyncio.sleep(20)
    assert (dict(dispatcher.owned), hub.claims) == ({}, {})
    await dispatcher.stop()
