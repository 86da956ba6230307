"""The short way and the long way: the same answer to the byte, and the same rows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tests.unit.ingest.rig import NOW_S, Reply, Rig, dumps, make_rig, schedule_body
from tests.unit.ingest.test_bad_input import CASES

from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.http_server.connection import Exchange
from ringtime_shared.http_server.heads import Head, parse_head
from ringtime_shared.models.schedule import Outcome, Status
from ringtime_shared.settings import ServerSettings

SCHEDULES = "/goscheduler/schedules"
WORDS = ("schedules", "schedule")
GOOD = dumps(schedule_body())


class BothWays:
    """Two services of one state, and requests that must be answered alike by both."""

    def __init__(self, settings: ServerSettings | None = None) -> None:
        self.rigs: Sequence[Rig] = [make_rig(settings, is_short=is_short) for is_short in (True, False)]

    async def call(self, method: str, target: str, body: object = b"", **how: Any) -> Reply:
        """Send a request both ways; return the answer, which is the same."""
        random.seed(1)  # of Retry-After
        short = await self.rigs[0].client.call(method, target, body, **how)
        random.seed(1)
        long = await self.rigs[1].client.call(method, target, body, **how)
        assert short == long, (method, target, body)
        assert self.rigs[0].rows == self.rigs[1].rows, (method, target, body)
        return short

    async def create(self, **changes: object) -> str:
        reply = await self.call("POST", SCHEDULES, schedule_body(**changes))
        return str(reply.json["data"]["schedule"]["scheduleId"])


async def test_every_bad_request_is_refused_in_the_same_words() -> None:
    both = BothWays()
    for case in CASES:
        reply = await both.call(case.method, case.target, case.body, headers=case.headers)
        assert reply.status == case.status, case.name
    short, long = [rig.client for rig in both.rigs]
    told = [(await each.call("GET", "/metrics")).body.decode().splitlines() for each in (short, long)]
    counts = [[line for line in lines if not line.startswith("http_requests_duration")] for lines in told]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("word", WORDS)
async def test_what_becomes_of_a_schedule(word: str) -> None:
    both = BothWays()
    target = f"/goscheduler/{word}"
    made = (await both.call("POST", target, schedule_body())).json["data"]
    far = made.get("schedule", made)["scheduleId"]
    near, sent = (
        await both.create(delaySeconds=0, scheduleTime=...),
        await both.create(payload="é \U0001f600"),
    )
    for rig in both.rigs:
        rig.end(UUID(sent), Outcome(status=Status.SUCCESS, ended_ms=NOW_S * 1_000, attempts=1, code=200))
    for schedule_id in (far, near, sent, far.upper()):
        assert (await both.call("GET", f"{target}/{schedule_id}")).status == 200
    statuses = [(await both.call("DELETE", f"{target}/{each}")).status for each in (far, far, near, sent)]
    assert statuses == [200, 200, 202, 409]
    assert (await both.call("GET", f"{target}/{far}?x=1")).json["data"]["schedule"]["status"] == "DELETED"


@pytest.mark.parametrize("word", WORDS)
async def test_paths_that_are_no_schedule(word: str) -> None:
    both = BothWays()
    known = await both.create()
    target = f"/goscheduler/{word}"
    for method in ("GET", "DELETE", "POST", "PUT", "HEAD", "PATCH", "OPTIONS", "get"):
        for tail in ("", "/", "/batch", "/batch/", "/batch-cancel", f"/{known}", f"/{known}/", "//" + known):
            await both.call(method, target + tail)
    for other in (
        known[:-1],
        known + "0",
        "x" * 36,
        "-" * 36,
        "0" * 8 + known[8:],
        known[:14] + "4" + known[15:],
    ):
        assert (await both.call("GET", f"{target}/{other}")).status in (400, 404)


@pytest.mark.parametrize("word", WORDS)
async def test_recurring_schedules_have_ids_too(word: str) -> None:
    shown = []
    for rig in BothWays().rigs:
        body = schedule_body(cronExpression="0 8 * * *", scheduleTime=...)
        reply = await rig.client.call("POST", SCHEDULES, body)
        schedule_id = reply.json["data"]["schedule"]["scheduleId"]
        target = f"/goscheduler/{word}/{schedule_id}"
        read = (await rig.client.call("GET", target)).json["data"]["schedule"]
        gone = (await rig.client.call("DELETE", target)).json["data"]["schedule"]
        shown.append([{**each, "scheduleId": "", "name": ""} for each in (read, gone)])  # made at random
    assert shown[0] == shown[1]


@pytest.mark.parametrize(
    "error", [StoreUnavailable("away"), OutcomeUnknown("no answer"), RuntimeError("a bug")]
)
async def test_errors_of_the_store_and_bugs(error: Exception) -> None:
    both = BothWays()
    known = await both.create()
    for rig in both.rigs:
        for name in ("fetch_row", "put_rows", "put_cancel"):
            rig.store.fail(name, error)
    for method, tail, body in (("GET", f"/{known}", b""), ("DELETE", f"/{known}", b""), ("POST", "", GOOD)):
        assert (await both.call(method, SCHEDULES + tail, body)).status in (500, 503)


async def test_a_key_twice_is_found_though_an_escaped_colon_makes_up_for_it() -> None:
    both = BothWays()
    body = GOOD.replace(b'"payload": "{}"', b'"payload": "", "payload": "\\u003a"')
    assert (await both.call("POST", SCHEDULES, body)).json["status"]["errors"][0]["field"] == "payload"
    batch = b'{"schedules": [%b]}' % body
    assert (await both.call("POST", SCHEDULES + "/batch", batch)).json["data"]["failed"] == 1


async def test_deep_nesting_is_refused_in_the_same_words() -> None:
    both = BothWays()
    body = GOOD.replace(str(NOW_S + 60).encode(), b"[" * 20_000 + b"]" * 20_000)
    assert (await both.call("POST", SCHEDULES, body)).status == 400
    assert (await both.call("POST", SCHEDULES + "/batch", b'{"schedules":[%b]}' % body)).status == 400


async def test_the_gate_stands_before_both_ways() -> None:
    both = BothWays(ServerSettings(max_concurrency=1, max_body_bytes=1_000))
    assert (await both.call("POST", SCHEDULES, schedule_body(payload="x" * 1_000))).status == 413
    assert (await both.call("POST", SCHEDULES, chunks=[GOOD[:9], GOOD[9:]])).status == 200
    for rig in both.rigs:
        cast(Any, rig.client.app)._room.taken = 1
    assert (await both.call("POST", SCHEDULES, GOOD)).status == 503


async def on_our_server(app: ASGIApp, method: str, target: str, body: bytes) -> tuple[Any, ...]:
    """Return status, headers and body of the answer that an application gives our own server."""
    head = parse_head(f"{method} {target} HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}".encode())
    assert isinstance(head, Head)
    answers: list[tuple[Any, ...]] = []
    exchange = Exchange(head, body, ("127.0.0.1", 1), ("127.0.0.1", 2))
    await exchange.run(app, lambda *answer: answers.append(answer), lambda: pytest.fail("cut"))
    (answer,) = answers
    return answer[1:]


async def test_our_own_server_is_answered_past_asgi_unless_something_stands_in_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app, body = make_rig().client.app, schedule_body(payload="before")

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_other() -> Message:
            message = await receive()
            return {**message, "body": message["body"].replace(b"before", b"behind")}

        async def send_other(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-seen", b"yes")]
            await send(message)

        await app(scope, receive_other, send_other)

    named = {key: value for key, value in body.items() if key != "appId"}
    for method, target, asked in (
        ("POST", SCHEDULES, body),
        ("PUT", "/goscheduler/apps/test/schedules/one", named),
    ):
        status, headers, answer = await on_our_server(wrapped, method, target, dumps(asked))
        assert status in (200, 201), answer
        assert (b"x-seen", b"yes") in headers
        assert b'"payload":"behind"' in answer
    monkeypatch.setattr(Exchange, "_send", None)
    monkeypatch.setattr(Exchange, "_receive", None)
    status, headers, answer = await on_our_server(app, "POST", SCHEDULES, dumps(body))
    assert status in (200, 201)
    assert b'"payload":"before"' in answer
