"""What the Cassandra driver does with answers, errors and sizes; the server itself is in tests/service."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cassandra import InvalidRequest, OperationTimedOut, Unavailable, WriteTimeout, protocol
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionBusy, ConnectionShutdown

from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.stores.cassandra import session as session_module
from ringtime_shared.stores.cassandra.bridge import WIDTH, Bridge, Landing
from ringtime_shared.stores.cassandra.cluster import PLAIN, SERIAL
from ringtime_shared.stores.cassandra.migrate import read_steps
from ringtime_shared.stores.cassandra.rows import (
    LATER_MARGIN_MS,
    LEAST_KEPT_MS,
    minute_key,
    pack_int,
    routing_key,
    row_end_ms,
    ttl_s,
)
from ringtime_shared.stores.cassandra.schedules import Known
from ringtime_shared.stores.cassandra.session import (
    MAX_BYTES,
    CqlSession,
    Item,
    Query,
    RawBatch,
    from_driver,
    make_batches,
)

NOT_SENT = NoHostAvailable("nobody", {"host": ConnectionShutdown("down")})
TIMED_OUT = OperationTimedOut()
WRITE_TIMEOUT = WriteTimeout("slow", write_type=0)
LOST = ConnectionShutdown("connection lost")
TOO_FEW = Unavailable("too few replicas")
OVERLOADED = protocol.OverloadedErrorMessage(0x1001, "busy", None)
REFUSED = InvalidRequest("no such column")
ONE_NODE = SimpleNamespace(keyspace="ringtime", replicas_of=lambda key: None)


class FakeFuture:
    """Answers from another thread, like the driver's."""

    def __init__(self, answer: Any, paging_state: bytes | None = None) -> None:
        self.answer = answer
        self.paging_state = paging_state

    @property
    def has_more_pages(self) -> bool:
        return self.paging_state is not None

    def result(self) -> SimpleNamespace:
        return SimpleNamespace(paging_state=self.paging_state)

    def add_callbacks(
        self, land: Callable[..., None], crash: Callable[..., None], *, callback_args: Any, errback_args: Any
    ) -> None:
        call, arguments = (
            (crash, errback_args) if isinstance(self.answer, Exception) else (land, callback_args)
        )
        threading.Thread(target=call, args=(self.answer, *arguments)).start()


class FakeDriver:
    """Gives each statement its answers by turns: `answers[statement]`."""

    def __init__(self, answers: dict[str, list[Any]]) -> None:
        self.answers: dict[str, Iterator[Any]] = {name: iter(given) for name, given in answers.items()}
        self.asked: list[str] = []
        self.paging_states: list[bytes | None] = []

    def execute_async(
        self, statement: str, *, execution_profile: object, paging_state: bytes | None, host: object
    ) -> FakeFuture:
        self.asked.append(statement)
        self.paging_states.append(paging_state)
        answer = next(self.answers[statement])
        return answer if isinstance(answer, FakeFuture) else FakeFuture(answer)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "BACKOFF_S", (0.0, 0.0))


def make_session(**answers: list[Any]) -> tuple[CqlSession, FakeDriver]:
    driver = FakeDriver(answers)
    return CqlSession(SimpleNamespace(shutdown=lambda: None), driver, "ringtime"), driver


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([NOT_SENT, NOT_SENT], StoreUnavailable),
        ([TOO_FEW, NOT_SENT], StoreUnavailable),
        ([OVERLOADED, OVERLOADED], StoreUnavailable),
        ([REFUSED], StoreUnavailable),
        ([TIMED_OUT, TIMED_OUT], OutcomeUnknown),
        ([WRITE_TIMEOUT, LOST], OutcomeUnknown),
        ([TIMED_OUT, NOT_SENT], OutcomeUnknown),
        ([TIMED_OUT, REFUSED], OutcomeUnknown),
        ([NOT_SENT, LOST], OutcomeUnknown),
        ([RuntimeError("a bug of the driver")] * 2, OutcomeUnknown),
    ],
)
async def test_write_says_whether_it_may_have_happened(answers: list[Any], error: type[Exception]) -> None:
    session, driver = make_session(a=answers)
    with pytest.raises(error, match="Cassandra"):
        await session.write(["a"])
    assert len(driver.asked) == len(answers)


@pytest.mark.parametrize("first", [NOT_SENT, TIMED_OUT, WRITE_TIMEOUT, LOST, TOO_FEW, OVERLOADED])
async def test_second_try_succeeds(first: Exception) -> None:
    session, driver = make_session(a=[first, []], b=[[]])
    await session.write(["a", "b"])
    assert sorted(driver.asked) == ["a", "a", "b"]


@pytest.mark.parametrize("failure", [NOT_SENT, TIMED_OUT, REFUSED])
async def test_partial_write_is_an_unknown_outcome(failure: Exception) -> None:
    session, _ = make_session(a=[[]], b=[failure] * 2)
    with pytest.raises(OutcomeUnknown):
        await session.write(["a", "b"])


@pytest.mark.parametrize("failure", [NOT_SENT, TIMED_OUT, REFUSED])
async def test_read_that_fails_is_unavailable(failure: Exception) -> None:
    session, _ = make_session(a=[[(1,)]], b=[failure] * 2)
    with pytest.raises(StoreUnavailable):
        await session.read_all(["a", "b"])


async def test_lwt_is_never_repeated() -> None:
    session, driver = make_session(a=[TIMED_OUT], b=[NOT_SENT], c=[[(True,)]])
    assert await session.write_if("a") is None
    with pytest.raises(StoreUnavailable):
        await session.write_if("b")
    assert await session.write_if("c") == (True,)
    assert driver.asked == ["a", "b", "c"]


async def test_unavailable_half_way_through_a_batch_is_unknown() -> None:
    assert not from_driver(TOO_FEW).may_be_written
    assert from_driver(TOO_FEW, spans_partitions=True).may_be_written
    assert not from_driver(NOT_SENT, spans_partitions=True).may_be_written


async def test_answers_come_in_order_and_all_pages_are_read() -> None:
    pages = [FakeFuture([(1,)], b"more"), FakeFuture([(2,)], b"more"), FakeFuture([(3,)])]
    session, _ = make_session(a=[[(0,)]], b=pages, c=[[]])
    assert await session.read_all(["a", "b", "c"]) == [[(0,)], [(1,), (2,), (3,)], []]


async def test_many_statements_wake_the_loop_few_times_and_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = 10 * WIDTH
    session, driver = make_session(a=[[(n,)] for n in range(count)])
    loop = asyncio.get_running_loop()
    wakes = []
    wake = loop.call_soon_threadsafe

    def counted(*call: Any) -> asyncio.Handle:
        wakes.append(1)
        return wake(*call)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    asking = asyncio.ensure_future(session.read_all(["a"] * count))
    await asyncio.sleep(0)
    assert len(driver.asked) == WIDTH
    assert sorted(await asking) == [[(n,)] for n in range(count)]
    assert len(wakes) < count / 2


class FakeDirect:
    """Takes the statements it has something to say to, and says so in the event loop's next turn."""

    def __init__(self, land: Landing, answers: dict[str, Any]) -> None:
        self._land = land
        self._answers = answers

    def send(self, statement: str, call: Any, index: int) -> bool:
        answer = self._answers.get(statement)
        if isinstance(answer, ConnectionBusy):
            raise answer
        if answer is not None:
            asyncio.get_running_loop().call_soon(self._land, call, index, *answer)
        return statement in self._answers and answer is not None


async def test_what_goes_straight_to_a_node_and_what_the_driver_has_to_do() -> None:
    driver = FakeDriver(
        {
            "not taken": [[(1,)]],
            "unknown": [[(2,)]],  # to the node, which says so
            "paged": [FakeFuture([(4,)], b"third"), FakeFuture([(5,)])],
            "a": [[(6,)]],
            "b": [[(7,)]],
        }
    )
    answers = {
        "straight": ([(0,)], None),
        "unknown": (None, None),
        "paged": ([(3,)], b"second"),
        "broken": (LOST, None),
        "busy": ConnectionBusy("too many wait"),
        "a": ([], None),
        "b": ([], None),
    }
    bridge = Bridge(driver, lambda land: cast(Any, FakeDirect(land, answers)))
    found = await bridge.ask(["straight", "not taken", "unknown", "paged", "broken", "busy"], PLAIN)
    assert found[:5] == [[(0,)], [(1,)], [(2,)], [(3,), (4,), (5,)], LOST]
    assert not from_driver(cast(Exception, found[5])).may_be_written
    assert driver.asked == ["not taken", "unknown", "paged", "paged"]
    assert driver.paging_states == [None, None, b"second", b"third"]
    assert await bridge.ask(["a"], SERIAL) == [[(6,)]], "another profile"
    assert await bridge.ask(["b"], PLAIN, "a host") == [[(7,)]]
    count = 10_000  # each is refused at once, and none while another is
    assert len(await bridge.ask(["busy"] * count, PLAIN)) == count
    await asyncio.wait_for(bridge.wait_idle(), 60)


async def test_one_statement_alone_is_answered_as_one_of_many() -> None:
    driver = FakeDriver({"unknown": [[(2,)]], "paged": [FakeFuture([(4,)], b"third"), FakeFuture([(5,)])]})
    answers = {
        "straight": ([(0,)], None),
        "unknown": (None, None),
        "paged": ([(3,)], b"second"),
        "broken": (LOST, None),
        "busy": ConnectionBusy("too many wait"),
    }
    bridge = Bridge(driver, lambda land: cast(Any, FakeDirect(land, answers)))
    found = [await bridge.ask_one(each, PLAIN) for each in answers]
    assert found[:4] == [[(0,)], [(2,)], [(3,), (4,), (5,)], LOST]
    assert not from_driver(cast(Exception, found[4])).may_be_written
    assert (driver.asked, driver.paging_states) == (
        ["unknown", "paged", "paged"],
        [None, b"second", b"third"],
    )
    asking = asyncio.ensure_future(bridge.ask_one("straight", PLAIN))
    asking.cancel()  # nobody waits for its answer, which comes all the same
    await asyncio.wait_for(bridge.wait_idle(), 60)


async def test_a_read_that_fails_once_is_tried_again() -> None:
    session, driver = make_session(a=[TIMED_OUT, [(1,)]], b=[REFUSED])
    assert await session.read("a") == [(1,)]
    with pytest.raises(StoreUnavailable, match="Cassandra"):
        await session.read("b")
    assert driver.asked == ["a", "a", "b"]


async def test_close_waits_for_what_is_under_way_straight_to_a_node() -> None:
    landings: list[Callable[[], None]] = []

    class Slow(FakeDirect):
        def send(self, statement: str, call: Any, index: int) -> bool:
            landings.append(lambda: self._land(call, index, [], None))
            return True

    bridge = Bridge(FakeDriver({}), lambda land: cast(Any, Slow(land, {})))
    asking = [asyncio.create_task(bridge.ask(["a", "b"], PLAIN)) for _ in range(2)]
    await asyncio.sleep(0)
    asking[0].cancel()  # nobody waits for its answer, but the server writes
    closing = asyncio.create_task(bridge.wait_idle())
    for landing in landings:
        await asyncio.sleep(0)
        assert not closing.done()
        landing()
    await asyncio.wait_for(closing, 60)
    assert await asking[1] == [[], []]


async def test_of_a_caller_who_has_gone_nothing_more_is_sent() -> None:
    landings: list[Callable[[], None]] = []

    class Slow(FakeDirect):
        def send(self, statement: str, call: Any, index: int) -> bool:
            landings.append(lambda: self._land(call, index, [], None))
            return True

    bridge = Bridge(FakeDriver({}), lambda land: cast(Any, Slow(land, {})))
    asking = asyncio.create_task(bridge.ask(["a"] * (WIDTH + 5), PLAIN))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.sleep(0)
    for landing in landings:
        landing()
    assert len(landings) == WIDTH
    await asyncio.wait_for(bridge.wait_idle(), 60)


def test_the_drivers_own_way_needs_nothing_compiled() -> None:
    """Some platforms have no compiled parts of the driver; there `cassandra.io` = driver is the way."""
    compiled = ("obj_parser", "parsing", "deserializers", "bytesio")
    hidden = "".join(f"sys.modules['cassandra.{name}'] = None; " for name in compiled)
    program = f"import sys; {hidden}import ringtime_shared.stores.cassandra.store"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=180)


async def test_closed_session_refuses() -> None:
    session, _ = make_session(a=[[]])
    await session.close()
    await session.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await session.write(["a"])


def item(key: bytes, size: int, *companions: int) -> Item:
    return Item(
        key,
        (True, b"id", (key, None, b"x" * size)),
        [(b"other" + bytes([n]), (True, b"id", (b"x" * size,))) for n, size in enumerate(companions)],
    )


def test_batches_stay_within_bounds_and_hold_everything() -> None:
    items = [item(b"k%d" % (n % 7), n * 37 % 9_000, 50, 50) for n in range(500)]
    batches = make_batches(items, ONE_NODE, 64)
    assert sum(len(batch) for batch in batches) == 3 * 500
    for batch in batches:
        queries = batch._statements_and_parameters
        assert sum(len(value or b"") for *_, values in queries for value in values) <= MAX_BYTES
        assert batch.spans_partitions


def test_batches_are_made_per_replica_set() -> None:
    items = [item(b"%d" % (n % 10), 10) for n in range(100)]
    layout = SimpleNamespace(keyspace="ringtime", replicas_of=lambda key: int(key) % 2)
    batches = make_batches(items, layout, 64)
    keys = [{values[0] for *_, values in batch._statements_and_parameters} for batch in batches]
    assert keys == [{b"0", b"2", b"4", b"6", b"8"}, {b"1", b"3", b"5", b"7", b"9"}]


def test_a_row_too_large_for_a_batch_goes_alone() -> None:
    batches = make_batches([item(b"a", 10), item(b"a", 100_000, 20, 20), item(b"a", 10)], ONE_NODE, 64)
    assert [len(batch) for batch in batches] == [1, 1, 3]
    assert [batch.spans_partitions for batch in batches] == [False, False, True]
    assert make_batches([], ONE_NODE, 64) == []


def noted(key: bytes, size: int, note: int | None) -> Item:
    return item(key, size)._replace(note=note)


def close_with(notes: Mapping[bytes, set[int]]) -> list[tuple[bytes, Query]]:
    """For each key one statement as long as one may be."""
    return [(b"end", (True, b"end", (key, bytes(sorted(found)), b"x" * 200))) for key, found in notes.items()]


def ends_of(batch: RawBatch) -> dict[bytes | None, bytes | None]:
    return {values[0]: values[1] for _, name, values in batch._statements_and_parameters if name == b"end"}


def test_each_batch_is_closed_by_what_its_own_items_note() -> None:
    items = [noted(b"a", 10, n) for n in range(5)] + [noted(b"b", 10, 9), noted(b"b", 10, 9), item(b"c", 10)]
    first, second, third = make_batches(items, ONE_NODE, 3, close_with)
    assert ends_of(first) == {b"a": bytes([0, 1, 2])}
    assert ends_of(second) == {b"a": bytes([3, 4]), b"b": bytes([9])}
    assert ends_of(third) == {b"b": bytes([9])}
    assert [len(batch) for batch in (first, second, third)] == [4, 5, 3]


def test_a_batch_without_notes_is_not_closed() -> None:
    (batch,) = make_batches([item(b"a", 10), item(b"a", 10)], ONE_NODE, 64, close_with)
    assert (len(batch), batch.spans_partitions) == (2, False)


def test_batches_stay_within_bounds_with_what_closes_them() -> None:
    items = [noted(b"k%d" % n, n * 37 % 900, n % 256) for n in range(500)]
    batches = make_batches(items, ONE_NODE, 64, close_with)
    assert sum(len(ends_of(batch)) for batch in batches) == 500
    for batch in batches:
        queries = batch._statements_and_parameters
        assert sum(len(value or b"") for *_, values in queries for value in values) <= MAX_BYTES


def test_what_closes_a_row_too_large_for_a_batch_goes_beside_it() -> None:
    items = [noted(b"a", 10, 1), noted(b"a", 100_000, 2), noted(b"a", 10, 3)]
    batches = make_batches(items, ONE_NODE, 64, close_with)
    assert [ends_of(batch) for batch in batches] == [{b"a": b"\1"}, {}, {b"a": b"\2"}, {b"a": b"\3"}]
    assert [len(batch) for batch in batches] == [2, 1, 1, 2]
    assert [batch.spans_partitions for batch in batches] == [True, False, False, True]


@pytest.mark.parametrize("late_ms", [0, 1, 999, 5_000, 40 * LEAST_KEPT_MS])
@pytest.mark.parametrize("skew_ms", [-60_000, 0, 60_000])
@pytest.mark.parametrize("kept_ms", [0, LEAST_KEPT_MS, 10 * LEAST_KEPT_MS])
def test_what_is_written_later_never_ends_before_its_row(late_ms: int, skew_ms: int, kept_ms: int) -> None:
    slot_ms = 1_000_000_000_123
    end_ms = row_end_ms(slot_ms, slot_ms + kept_ms, slot_ms)
    later_ms = slot_ms + late_ms
    by_other_clock_ms = later_ms + skew_ms
    later_end_ms = row_end_ms(slot_ms, slot_ms + kept_ms, by_other_clock_ms) + LATER_MARGIN_MS
    assert slot_ms + 1000 * ttl_s(end_ms, slot_ms) >= end_ms
    if later_ms < end_ms:
        assert later_ms + 1000 * ttl_s(later_end_ms, by_other_clock_ms) > slot_ms + 1000 * ttl_s(
            end_ms, slot_ms
        )


def test_rows_kept_longer_than_the_server_can_count_have_no_ttl() -> None:
    twenty_years_ms = 630_720_000_000
    assert ttl_s(twenty_years_ms, 0) == 630_720_000
    assert ttl_s(twenty_years_ms + 1, 0) == 0


def test_known_forgets_the_oldest() -> None:
    known: Known[str] = Known(2)
    known.update({"a": 1, "b": 2})
    known.update({"a": 3})
    known.update({"c": 4})
    assert [known.get(key) for key in "abc"] == [3, None, 4]


def test_steps_are_numbered_without_a_gap() -> None:
    steps = read_steps()
    assert [step.version for step in steps] == list(range(1, len(steps) + 1))
    assert all(step.statements and step.name[:4].isdecimal() for step in steps)


def receipted(key: bytes, size: int, receipt: bytes) -> Item:
    return item(key, size)._replace(receipt=receipt)


def sign(key: bytes, told: Sequence[bytes]) -> Query:
    return (True, b"receipt", (key, b"".join(told)))


def receipts_in(batch: RawBatch) -> dict[bytes | None, bytes | None]:
    return {
        values[0]: values[1] for _, name, values in batch._statements_and_parameters if name == b"receipt"
    }


def test_a_receipt_is_in_the_batch_of_all_that_it_tells_of() -> None:
    """Also with one that is too large to go with others: there must be no receipt without its row."""
    items = [receipted(b"a", 10, b"1"), receipted(b"a", 10, b"2"), receipted(b"b", 10, b"3")]
    items += [receipted(b"b", 100_000, b"4"), receipted(b"b", 10, b"5"), item(b"c", 10)]
    batches = make_batches(items, ONE_NODE, 2, close_with, sign)
    told = [receipts_in(batch) for batch in batches]
    assert told == [{b"a": b"12"}, {b"b": b"3"}, {b"b": b"4"}, {b"b": b"5"}]
    for batch, receipts in zip(batches, told, strict=True):
        rows = [values[0] for _, name, values in batch._statements_and_parameters if name == b"id"]
        assert receipts.keys() <= {*rows}


def test_batches_stay_within_bounds_with_their_receipts() -> None:
    items = [receipted(b"k%d" % (n % 90), n * 37 % 900, bytes(16)) for n in range(500)]
    batches = make_batches(items, ONE_NODE, 64, close_with, sign)
    assert sum(len(value or b"") for batch in batches for value in receipts_in(batch).values()) == 500 * 16
    for batch in batches:
        queries = batch._statements_and_parameters
        assert sum(len(value or b"") for *_, values in queries for value in values) <= MAX_BYTES


@pytest.mark.parametrize("app", [b"a", b"checkout-service", b"x" * 128])
@pytest.mark.parametrize(("partition", "bucket"), [(0, 0), (3, 29_999_999), (65_535, 2**31 - 1)])
def test_the_key_of_a_minute_is_that_of_its_parts(app: bytes, partition: int, bucket: int) -> None:
    assert minute_key(app, partition, bucket) == routing_key(app, pack_int(partition), pack_int(bucket))
