"""Creates that are made at once travel as batches, and their callers cannot tell."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from tests.unit.client_rig import Served, served

from ringtime_client import AsyncRingtimeClient, HttpCallbackDetails, ScheduleView, UnexpectedAnswer
from ringtime_client.calls import create_schedule
from ringtime_client.coalescing import MAX_BYTES, MAX_ITEMS, MOST_JOINING_BYTES, Coalescer
from ringtime_client.exchange import Call
from ringtime_shared.errors import (
    AppInactive,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    RingtimeError,
    StoreUnavailable,
)

HOOK = HttpCallbackDetails(url="http://127.0.0.1:9/hook")
HOUR = timedelta(hours=1)


def create(payload: str) -> Call[ScheduleView]:
    return create_schedule("shop", payload=payload, callback=HOOK, delay=HOUR)


def payloads(call: Call[Any]) -> list[str]:
    body = json.loads(call.body or b"")
    return [each["payload"] for each in body.get("schedules", [body])]


@dataclass
class Server:
    """Takes calls as the transport does; answers a create by its payload."""

    refuse_batches: Callable[[], Exception] | None = None
    sent: list[list[str]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    spent_s: list[float] = field(default_factory=list)

    async def send(self, call: Call[Any], spent_s: float) -> Any:
        self.sent.append(payloads(call))
        self.spent_s.append(spent_s)
        if self.gate is not None:
            await self.gate.wait()
        is_batch = call.path.endswith("/batch")
        if is_batch and self.refuse_batches is not None:
            raise self.refuse_batches()
        results = [NotFound("app", each) if each.startswith("bad") else each for each in payloads(call)]
        if is_batch:
            return results
        if isinstance(results[0], NotFound):
            raise results[0]
        return results[0]


async def outcomes(coalescer: Coalescer, names: list[str]) -> list[Any]:
    return await asyncio.gather(*(coalescer.run(create(each)) for each in names), return_exceptions=True)


async def test_creates_of_one_turn_travel_together_and_one_alone_as_itself() -> None:
    server = Server()
    coalescer = Coalescer(server.send)
    found = await outcomes(coalescer, ["a", "bad b", "c"])
    assert (found[0], found[2]) == ("a", "c")
    assert isinstance(found[1], NotFound)
    assert found[1].key == "bad b"
    assert await outcomes(coalescer, ["d"]) == ["d"]
    assert server.sent == [["a", "bad b", "c"], ["d"]]


async def test_a_later_create_does_not_wait_for_an_answer_to_those_before() -> None:
    server = Server(gate=asyncio.Event())
    coalescer = Coalescer(server.send)
    first = asyncio.create_task(outcomes(coalescer, ["a", "b"]))
    second = asyncio.create_task(asyncio.wait_for(outcomes(coalescer, ["c"]), 60))
    for _ in range(6):
        await asyncio.sleep(0)
    assert sorted(each for names in server.sent for each in names) == ["a", "b", "c"]
    assert server.gate is not None
    server.gate.set()
    assert await first == ["a", "b"]
    assert await second == ["c"]


async def test_batches_have_bounds() -> None:
    server = Server()
    coalescer = Coalescer(server.send)
    names = [str(n) for n in range(2 * MAX_ITEMS + 1)]
    assert await outcomes(coalescer, names) == names
    assert [len(each) for each in server.sent] == [MAX_ITEMS, MAX_ITEMS, 1]
    server.sent.clear()
    large = [f"{n:03}" * 1_200 for n in range(150)]
    assert await outcomes(coalescer, large) == large
    sizes = [sum(map(len, each)) for each in server.sent]
    assert len(sizes) == 3
    assert MAX_BYTES * 0.9 < sizes[0] == sizes[1] < MAX_BYTES


async def test_a_long_create_travels_alone_since_a_batch_of_them_takes_the_places_of_many() -> None:
    server = Server()
    long = ["x" * MOST_JOINING_BYTES, "y" * 30_000]
    names = [long[0], "a", long[1], "b"]
    assert await outcomes(Coalescer(server.send), names) == names
    assert server.sent == [[long[0]], [long[1]], ["a", "b"]]


@pytest.mark.parametrize("kind", [OutcomeUnknown, StoreUnavailable])
async def test_a_batch_that_is_unknown_or_not_done_is_so_for_each(kind: type[RingtimeError]) -> None:
    server = Server(refuse_batches=lambda: kind("no answer in time"))
    found = await outcomes(Coalescer(server.send), ["a", "b"])
    assert [type(each) for each in found] == [kind, kind]
    assert found[0] is not found[1]  # else each caller would add its frames to the other's traceback
    assert server.sent == [["a", "b"]]  # and is not sent again: that might make a second one


@pytest.mark.parametrize(
    ("refusal", "again"),
    [
        (lambda: InvalidRequest.of("body", "too long"), [["c", "d"], ["c"], ["d"]]),
        (lambda: UnexpectedAnswer(403, "a gateway's"), [["c", "d"], ["c"], ["d"]]),
        (lambda: UnexpectedAnswer(404, "no such page"), [["c"], ["d"]]),  # it has no batches: not asked again
    ],
)
async def test_a_batch_that_is_refused_as_a_whole_goes_one_by_one(
    refusal: Callable[[], Exception], again: list[list[str]]
) -> None:
    server = Server(refuse_batches=refusal)
    coalescer = Coalescer(server.send)
    found = await outcomes(coalescer, ["a", "bad b"])
    assert found[0] == "a"
    assert isinstance(found[1], NotFound)
    assert server.sent == [["a", "bad b"], ["a"], ["bad b"]]
    server.sent.clear()
    assert await outcomes(coalescer, ["c", "d"]) == ["c", "d"]
    assert server.sent == again


async def test_what_goes_one_by_one_has_what_the_batch_has_left_of_its_deadline() -> None:
    server = Server(refuse_batches=lambda: InvalidRequest.of("body", "too long"), gate=asyncio.Event())
    asking = asyncio.create_task(outcomes(Coalescer(server.send), ["a", "b"]))
    await asyncio.sleep(0.02)
    assert server.gate is not None
    server.gate.set()
    assert await asking == ["a", "b"]
    assert server.spent_s[0] == 0
    assert min(server.spent_s[1:]) > 0.01
    client = AsyncRingtimeClient("http://127.0.0.1:9", deadline=timedelta(seconds=2))
    try:
        _, tries = client._begin(create("c"), 1.5)
        assert 0 < tries.left_s() <= 0.5
        with pytest.raises(StoreUnavailable, match="deadline"):
            client._begin(create("c"), 2)
    finally:
        await client.close()


async def test_who_gives_up_takes_nobody_along() -> None:
    server = Server(gate=asyncio.Event())
    coalescer = Coalescer(server.send)
    tasks = [asyncio.create_task(coalescer.run(create(each))) for each in "abc"]
    await asyncio.sleep(0)
    tasks[0].cancel()  # before it was sent
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks[1].cancel()  # while it is under way
    assert server.gate is not None
    server.gate.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in found] == [asyncio.CancelledError, asyncio.CancelledError, str]
    assert server.sent == [["b", "c"]]


async def test_an_error_that_nobody_foresaw_reaches_each_caller() -> None:
    async def send(call: Call[Any], spent_s: float) -> Any:
        raise RuntimeError("the client is closed")

    found = await outcomes(Coalescer(send), ["a", "b"])
    assert [str(each) for each in found] == ["the client is closed"] * 2


@pytest.fixture(scope="module")
def server() -> Any:
    with served() as running:
        yield running


@pytest.fixture
async def clients(server: Served) -> AsyncIterator[tuple[AsyncRingtimeClient, AsyncRingtimeClient]]:
    async with (
        AsyncRingtimeClient(server.url) as joined,
        AsyncRingtimeClient(server.url, coalesce=False) as alone,
    ):
        yield joined, alone


async def test_a_server_answers_the_same_whichever_way(
    clients: tuple[AsyncRingtimeClient, AsyncRingtimeClient],
) -> None:
    apps = {name: f"{name}-{uuid4().hex}" for name in ("open", "closed")}
    await clients[0].register_app(apps["open"], partitions=2)
    await clients[0].register_app(apps["closed"], partitions=2, active=False)
    at = 4_000_000_000
    wanted: list[dict[str, Any]] = [
        {"app_id": apps["open"], "payload": "text", "at": at - 3_000_000_000},
        {"app_id": apps["open"], "payload": "text", "delay": HOUR, "labels": {"a": "b"}},
        {"app_id": apps["open"], "payload": b"\xff", "delay": HOUR, "timeout": timedelta(seconds=2)},
        {"app_id": "nobody", "payload": "", "delay": HOUR},
        {"app_id": apps["closed"], "payload": "", "delay": HOUR},
        {"app_id": apps["open"], "payload": "", "delay": -HOUR},
        {"app_id": apps["open"], "payload": "", "delay": HOUR, "callback": {"type": "pigeon", "details": {}}},
        {"app_id": apps["open"], "payload": "", "delay": HOUR, "idempotency_key": uuid4().hex},
    ]

    async def made_by(client: AsyncRingtimeClient) -> list[tuple[Any, ...]]:
        found = await asyncio.gather(
            *(client.create_schedule(**({"callback": HOOK} | each)) for each in wanted),
            return_exceptions=True,
        )
        return [
            (each.app_id, each.payload, each.labels, each.status, each.callback)
            if isinstance(each, ScheduleView)
            else (type(each), str(each))
            for each in found
        ]

    joined, alone = await made_by(clients[0]), await made_by(clients[1])
    assert joined == alone
    kinds = [each[0] for each in joined]
    assert kinds[3:7] == [NotFound, AppInactive, InvalidRequest, InvalidRequest]


async def test_a_closed_client_says_so_of_creates_too(server: Served) -> None:
    client = AsyncRingtimeClient(server.url)
    await client.close()
    with pytest.raises(RuntimeError, match="closed"):
        await client.create_schedule("shop", payload="", callback=HOOK, delay=HOUR)
