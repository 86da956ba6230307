"""The HTTP client, both of it, against the real application and against servers that misbehave."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, fields
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.unit.client_rig import (
    Act,
    Served,
    answer,
    babble,
    cut,
    half,
    hang,
    reset,
    scripted,
    served,
)

from ringtime import Ringtime
from ringtime_client import (
    AppConfiguration,
    AppView,
    AsyncRingtimeClient,
    HttpCallbackDetails,
    NewSchedule,
    RingtimeClient,
    Status,
    UnexpectedAnswer,
    calls,
)
from ringtime_client.answers import settle
from ringtime_client.exchange import Answer, Broken, Call
from ringtime_client.tries import MAX_TRIES, Tries
from ringtime_ingest.http.envelope import (
    APP_UNKNOWN,
    ERRORS,
    NOT_LISTED,
    UNAVAILABLE,
    BodyTooLarge,
    BodyTooSlow,
    refusal,
)
from ringtime_shared.api.failures import failure_to_json
from ringtime_shared.errors import (
    AlreadyDone,
    AppActive,
    AppExists,
    AppInactive,
    Conflict,
    ErrorWord,
    InvalidRequest,
    KeyReused,
    NotFound,
    OutcomeUnknown,
    RingtimeError,
    StoreUnavailable,
    VersionConflict,
    Violation,
)
from ringtime_shared.models.hooks import Hooks
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Outcome

HOOK = HttpCallbackDetails(url="http://127.0.0.1:9/hook")
HOUR = timedelta(hours=1)
SHORT, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
APPS = b'{"status":{},"data":{"apps":[]}}'
#: what no argument of a caller can bring about: the client's own fault, the server's, or the way's
NOT_FOR_CALLERS = {
    ErrorWord.NO_SUCH_PATH,
    ErrorWord.METHOD_NOT_ALLOWED,
    ErrorWord.HEADERS_TOO_LARGE,
    ErrorWord.FOREIGN_PAGE,
    ErrorWord.UNKNOWN_HOST,
    ErrorWord.NOT_JSON,
    ErrorWord.INTERNAL_ERROR,
}
REFUSED = bytes(refusal(StoreUnavailable("x")).body)
DOCS = Path(__file__).parents[2] / "docs" / "client.md"


class Threaded:
    """Runs the verbs of the client without asyncio in a thread, so that one test serves both."""

    def __init__(self, client: RingtimeClient) -> None:
        self._client = client

    def __getattr__(self, verb: str) -> Any:
        async def run(*args: object, **named: object) -> Any:
            return await asyncio.to_thread(getattr(self._client, verb), *args, **named)

        return run


class Kind:
    """Makes clients of one kind, and closes them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._made: list[Any] = []

    def make(self, url: str, **named: Any) -> Any:
        made = (
            AsyncRingtimeClient(url, **named)
            if self.name == "async"
            else Threaded(RingtimeClient(url, **named))
        )
        self._made.append(made)
        return made

    async def close(self) -> None:
        for client in self._made:
            await client.close()


@pytest.fixture(params=["async", "sync"])
async def kind(request: pytest.FixtureRequest) -> AsyncIterator[Kind]:
    kind = Kind(request.param)
    yield kind
    await kind.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as running:
        yield running


@pytest.fixture
def client(server: Served, kind: Kind) -> Any:
    return kind.make(server.url)


@pytest.fixture
async def app_id(client: Any) -> str:
    name = f"app-{uuid4().hex}"
    await client.register_app(name, partitions=3)
    return name


# --- every verb, against the real application


async def test_app_is_registered_listed_and_read(client: Any) -> None:
    name = f"app-{uuid4().hex}"
    configuration = AppConfiguration(
        future_period_days=5,
        retention_days=6,
        payload_bytes=700,
        http_attempts=3,
        http_timeout_ms=900,
        max_lateness_s=1_000,
    )
    view = AppView(app_id=name, partitions=2, active=False, configuration=configuration)
    assert await client.register_app(name, partitions=2, active=False, configuration=configuration) == view
    assert await client.get_app(name) == view
    assert view in await client.list_apps()


async def test_app_takes_the_servers_defaults(client: Any) -> None:
    view = await client.register_app(f"app-{uuid4().hex}")
    assert view.active
    assert view.partitions > 0
    assert view.configuration == AppConfiguration()


async def test_app_is_deactivated_and_activated(client: Any, app_id: str) -> None:
    with pytest.raises(AppActive):
        await client.activate_app(app_id)
    assert await client.deactivate_app(app_id) is None
    with pytest.raises(AppInactive):
        await client.deactivate_app(app_id)
    with pytest.raises(AppInactive):
        await client.create_schedule(app_id, payload="", delay=HOUR, callback=HOOK)
    assert await client.activate_app(app_id) is None
    assert (await client.get_app(app_id)).active


async def test_app_is_deleted_once_it_has_nothing_to_fire_or_may_cancel_it(client: Any, app_id: str) -> None:
    """Gone it is only after the quiet time, which `test_deleting` plays."""
    view = await client.create_schedule(app_id, payload="", delay=HOUR, callback=HOOK)
    with pytest.raises(Conflict, match="1 schedule, the first in the minute"):
        await client.delete_app(app_id)
    assert (await client.get_app(app_id)).active
    for _ in range(2):
        assert await client.delete_app(app_id, cancel_schedules=True) is None
        app = await client.get_app(app_id)
        assert (app.active, app.deleting) == (False, True)
    for call in (client.activate_app(app_id), client.register_app(app_id)):
        with pytest.raises(Conflict, match="is being deleted"):
            await call
    with pytest.raises(AppInactive, match="is being deleted"):
        await client.create_schedule(app_id, payload="", delay=HOUR, callback=HOOK)
    await client.cancel_schedule(view.schedule_id)


async def test_schedule_is_created_at_an_instant_and_read(client: Any, app_id: str) -> None:
    at = datetime.now(timezone(timedelta(hours=-3, minutes=-30))) + HOUR
    callback = HttpCallbackDetails(url="http://127.0.0.1:9/hook", method="PUT", headers={"X-A": "b"})
    view = await client.create_schedule(app_id, payload="päy\nload", at=at, callback=callback)
    assert isinstance(view.schedule_id, UUID)
    assert (view.app_id, view.payload, view.status) == (app_id, "päy\nload", Status.SCHEDULED)
    assert timedelta(0) <= view.fire_time - at < timedelta(milliseconds=1)
    assert view.fire_time.tzinfo is not None
    assert 0 <= view.partition < 3
    assert view.callback == {
        "type": "http",
        "details": {"url": "http://127.0.0.1:9/hook", "method": "PUT", "headers": {"X-A": "b"}},
    }
    assert (view.attempts, view.fired_at, view.lag_ms, view.http_code, view.error) == (
        0,
        None,
        None,
        None,
        "",
    )
    assert await client.get_schedule(view.schedule_id) == view
    with pytest.raises(FrozenInstanceError):
        view.payload = ""


async def test_schedule_is_created_after_a_delay(client: Any, app_id: str) -> None:
    before = datetime.now(UTC)
    delay = timedelta(seconds=90, microseconds=1)
    details = MappingProxyType({"url": "http://127.0.0.1:9/", "method": "GET", "mine": [1, {"a": None}]})
    callback = {"type": "http", "details": details}
    view = await client.create_schedule(app_id, payload="", delay=delay, callback=callback)
    late = view.fire_time - before - delay
    assert timedelta(milliseconds=-1) <= late < timedelta(seconds=5)
    assert view.callback["details"] == dict(details)


async def test_outcome_is_shown(client: Any, server: Served, app_id: str) -> None:
    view = await client.create_schedule(app_id, payload="", delay=HOUR, callback=HOOK)
    fired_ms = round(view.fire_time.timestamp() * 1_000) + 7
    outcome = Outcome(
        status=Status.FAILURE, ended_ms=fired_ms, fired_ms=fired_ms, attempts=4, code=500, error="no"
    )
    server.end(view.schedule_id, outcome)
    seen = await client.get_schedule(view.schedule_id)
    assert (seen.status, seen.attempts, seen.lag_ms, seen.http_code, seen.error) == (
        Status.FAILURE,
        4,
        7,
        500,
        "no",
    )
    assert seen.fired_at == view.fire_time + timedelta(milliseconds=7)
    with pytest.raises(AlreadyDone) as caught:
        await client.cancel_schedule(view.schedule_id)
    assert caught.value.status == "FAILURE"
    assert str(caught.value) == f"schedule {view.schedule_id} is FAILURE already"


async def test_cancel_is_promised_long_before_and_not_shortly_before(client: Any, app_id: str) -> None:
    far = await client.create_schedule(app_id, payload="", delay=HOUR, callback=HOOK)
    near = await client.create_schedule(app_id, payload="", delay=timedelta(0), callback=HOOK)
    for _ in range(2):  # cancelling twice is no error
        result = await client.cancel_schedule(far.schedule_id)
        assert result.promised
        assert (result.schedule.schedule_id, result.schedule.status) == (far.schedule_id, Status.DELETED)
    result = await client.cancel_schedule(near.schedule_id)
    assert not result.promised
    assert result.schedule.status is Status.DELETED


async def test_url_may_be_the_root_or_the_base(server: Served, kind: Kind) -> None:
    for tail in ("", "/", "/goscheduler", "/goscheduler/"):
        assert isinstance(await kind.make(server.url + tail).list_apps(), list)


def test_one_client_serves_many_threads(server: Served) -> None:
    with RingtimeClient(server.url) as client, ThreadPoolExecutor(8) as pool:
        client.register_app("threads")

        def create(number: int) -> str:
            return client.create_schedule("threads", payload=str(number), delay=HOUR, callback=HOOK).payload

        assert sorted(map(int, pool.map(create, range(40)))) == list(range(40))


# --- errors of the real application


async def test_what_does_not_exist_is_not_found(client: Any) -> None:
    for call in (
        client.get_app("nobody"),
        client.activate_app("nobody"),
        client.deactivate_app("nobody"),
        client.delete_app("nobody"),
        client.create_schedule("nobody", payload="", delay=HOUR, callback=HOOK),
    ):
        with pytest.raises(NotFound) as caught:
            await call
        assert (caught.value.kind, caught.value.key) == ("app", "nobody")
    schedule_id = uuid4()
    for verb in (client.get_schedule, client.cancel_schedule):
        with pytest.raises(NotFound) as caught:
            await verb(schedule_id)
        assert (caught.value.kind, caught.value.key) == ("schedule", str(schedule_id))


async def test_all_violations_come_back(client: Any, app_id: str) -> None:
    callback = HttpCallbackDetails(url="/relative", method="get", headers={"Host": "x"})
    with pytest.raises(InvalidRequest) as caught:
        await client.create_schedule(app_id, payload="", delay=-HOUR, callback=callback)
    assert {violation.field for violation in caught.value.violations} == {
        "delaySeconds",
        "callback.details.url",
        "callback.details.method",
        "callback.details.headers.Host",
    }
    assert all(violation.rule for violation in caught.value.violations)


async def test_wrong_types_and_unknown_callbacks_are_invalid(client: Any, app_id: str) -> None:
    for named, field in (
        ({"callback": {"type": "pigeon", "details": {}}}, "callback.type"),
        ({"callback": HOOK, "payload": 7}, "payload"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            await client.create_schedule(app_id, **{"payload": "", "delay": HOUR, **named})
        assert {violation.field for violation in caught.value.violations} == {field}


async def test_other_quota_is_a_conflict(client: Any, app_id: str) -> None:
    with pytest.raises(Conflict, match="partitions"):
        await client.register_app(app_id, partitions=4)


@pytest.mark.parametrize("error", [StoreUnavailable, OutcomeUnknown])
async def test_store_trouble_of_writes_keeps_its_kind(
    client: Any, server: Served, app_id: str, error: type[RingtimeError]
) -> None:
    server.store.trouble = error("x")
    try:
        with pytest.raises(error):
            await client.create_schedule(app_id, payload="", delay=HOUR, callback=HOOK)
    finally:
        server.store.trouble = None


async def test_store_trouble_of_reads_means_unavailable(server: Served, kind: Kind) -> None:
    client = kind.make(server.url, deadline=SHORT)  # shorter than the Retry-After
    for error in (StoreUnavailable("x"), OutcomeUnknown("x")):
        server.store.trouble = error
        try:
            with pytest.raises(StoreUnavailable):
                await client.list_apps()
        finally:
            server.store.trouble = None


# --- refused before anything is sent


@pytest.mark.parametrize(
    ("named", "field"),
    [
        ({"at": datetime(2030, 1, 1)}, "at"),  # noqa: DTZ001 - naive is the point
        ({"at": datetime(2030, 1, 1, tzinfo=UTC), "delay": HOUR}, "at"),
        ({}, "at"),
        ({"at": datetime.max.replace(tzinfo=timezone(-HOUR))}, "at"),
        ({"delay": HOUR, "payload": "\ud800"}, "body"),
        ({"delay": HOUR, "callback": {"type": "http", "details": {"url": object()}}}, "body"),
    ],
)
async def test_bad_create_is_not_sent(kind: Kind, named: dict[str, Any], field: str) -> None:
    with scripted(cut) as script:
        with pytest.raises(InvalidRequest) as caught:
            await kind.make(script.url).create_schedule("shop", **{"payload": "", "callback": HOOK, **named})
        assert [violation.field for violation in caught.value.violations] == [field]
        assert script.requests == []


@pytest.mark.parametrize("app_id", ["", "..", "a/b", "a?b", "a b"])
async def test_app_id_that_would_bend_the_path_is_not_sent(kind: Kind, app_id: str) -> None:
    with scripted(cut) as script:
        client = kind.make(script.url)
        for verb in (client.get_app, client.activate_app, client.deactivate_app, client.delete_app):
            with pytest.raises(InvalidRequest):
                await verb(app_id)
        assert script.requests == []


@pytest.mark.parametrize(
    ("url", "named", "field"),
    [
        ("127.0.0.1:8080", {}, "url"),
        ("ftp://127.0.0.1", {}, "url"),
        ("http://127.0.0.1/?x=1", {}, "url"),
        ("http://127.0.0.1/a/%2e%2e/b", {}, "url"),
        ("http://127.0.0.1/a/../b", {}, "url"),
        ("http://127.1", {}, "url"),
        ("http://me@127.0.0.1", {}, "url"),
        ("http:///127.0.0.1", {}, "url"),
        ("http://127.0.0.1:99999", {}, "url"),
        ("http://127.0.0.1", {"deadline": timedelta(0)}, "deadline"),
        ("http://127.0.0.1", {"headers": {"a b": "c"}}, "headers"),
    ],
)
async def test_bad_arguments_are_refused_at_once(
    kind: Kind, url: str, named: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        kind.make(url, **named)
    assert [violation.field for violation in caught.value.violations] == [field]


async def test_closed_client_says_so(kind: Kind) -> None:
    client = kind.make("http://127.0.0.1:9")
    await client.close()
    with pytest.raises(RuntimeError, match="closed"):
        await client.list_apps()


# --- what the wire does


async def _create(client: Any, **named: Any) -> Any:
    return await client.create_schedule("shop", payload="", delay=HOUR, callback=HOOK, **named)


@pytest.mark.parametrize("act", [cut, reset, half, babble, hang])
async def test_create_that_went_out_without_an_answer_has_an_unknown_outcome(kind: Kind, act: Act) -> None:
    with scripted(act, cut) as script:
        with pytest.raises(OutcomeUnknown):
            await _create(kind.make(script.url, deadline=SHORT if act is hang else MINUTE))
        assert len(script.requests) == 1  # sent once, whatever happens


async def test_refused_connection_means_nothing_was_done(kind: Kind) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    client = kind.make(f"http://127.0.0.1:{port}")
    for call in (_create(client), client.list_apps(), client.cancel_schedule(uuid4())):
        with pytest.raises(StoreUnavailable, match="could not connect"):
            await call


async def test_host_that_swallows_packets_means_nothing_was_done(kind: Kind) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]  # a full backlog drops what else knocks
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            await asyncio.sleep(0.05)
            with pytest.raises(StoreUnavailable, match="could not connect"):
                await _create(kind.make(f"http://127.0.0.1:{listener.getsockname()[1]}", deadline=SHORT))
        finally:
            for filler in fillers:
                filler.close()


@pytest.mark.parametrize("act", [cut, reset, half, babble, answer(503, REFUSED), answer(502, b"<html>")])
async def test_read_is_tried_again(kind: Kind, act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringtime_client.tries._FIRST_WAIT_S", 0.01)
    with scripted(act, act, answer(200, APPS)) as script:
        assert await kind.make(script.url).list_apps() == []
        assert len(script.requests) == 3


async def test_a_create_with_a_key_is_tried_again_with_that_key(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringtime_client.tries._FIRST_WAIT_S", 0.01)
    words = [(409, "IN_FLIGHT"), (422, "KEY_REUSED")]
    acts = [
        answer(
            http,
            b'{"status":{"statusCode":%d,"statusMessage":"?","error":"%s"}}' % (http, word.encode()),
            "retry-after: 0",
        )
        for http, word in words
    ]
    with scripted(cut, *acts) as script:
        with pytest.raises(KeyReused):
            await _create(kind.make(script.url), idempotency_key="order-17")
        assert len(set(script.requests)) == 1
        assert len(script.requests) == 3
        assert b"idempotency-key: order-17\r\n" in script.requests[0].lower()
    with pytest.raises(InvalidRequest, match="idempotency_key: must be"):
        await _create(kind.make("http://127.0.0.1:1"), idempotency_key="a b")


async def test_creates_with_one_key_make_one_schedule(kind: Kind, server: Served) -> None:
    client = kind.make(server.url)
    await client.register_app("shop", partitions=4)
    key = str(uuid4())
    made = [await _create(client, idempotency_key=key) for _ in range(2)]
    item = NewSchedule(app_id="shop", payload="", callback=HOOK, delay=HOUR, idempotency_key=key)
    made += await client.create_schedules([item])
    assert len({each.schedule_id for each in made}) == 1
    with pytest.raises(KeyReused):
        await client.create_schedule("shop", payload="x", delay=HOUR, callback=HOOK, idempotency_key=key)


async def test_an_answer_without_end_is_not_read_to_it(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing of what became of a write."""
    monkeypatch.setattr("ringtime_client.transport._MAX_BYTES", 1_000)
    long = answer(200, b"{" + b" " * 100_000)
    with scripted(long, long, long, long) as script:
        with pytest.raises(OutcomeUnknown, match="longer than 1,000 bytes"):
            await _create(kind.make(script.url))
        with pytest.raises(StoreUnavailable, match="longer than 1,000 bytes"):
            await kind.make(script.url).list_apps()


async def test_read_gives_up_after_three_tries(kind: Kind) -> None:
    with scripted(*[answer(503, REFUSED)] * 4) as script:
        with pytest.raises(StoreUnavailable):
            await kind.make(script.url).get_schedule(uuid4())
        assert len(script.requests) == MAX_TRIES


async def test_read_waits_as_long_as_it_is_asked_to(kind: Kind) -> None:
    with scripted(answer(503, REFUSED, "retry-after: 1"), answer(200, APPS)) as script:
        began = time.monotonic()
        await kind.make(script.url).list_apps()
        assert time.monotonic() - began >= 1
        assert len(script.requests) == 2


async def test_read_that_is_asked_to_wait_beyond_its_deadline_ends_at_once(kind: Kind) -> None:
    with scripted(answer(503, REFUSED, "retry-after: 60")) as script:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await kind.make(script.url).list_apps()
        assert time.monotonic() - began < 30


async def test_deadline_is_for_all_tries(kind: Kind) -> None:
    with scripted(cut, hang) as script:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="in time"):
            await kind.make(script.url, deadline=timedelta(seconds=1)).list_apps()
        assert time.monotonic() - began < 30
        assert len(script.requests) == 2


@pytest.mark.parametrize(
    "act", [answer(503, REFUSED, "retry-after: 0"), answer(503, b"<html>"), answer(500, b"")]
)
async def test_writes_are_never_sent_twice(kind: Kind, act: Act) -> None:
    verbs: list[Callable[[Any], Awaitable[object]]] = [
        _create,
        lambda client: client.register_app("shop"),
        lambda client: client.activate_app("shop"),
        lambda client: client.cancel_schedule(uuid4()),
    ]
    for verb in verbs:
        with scripted(act, cut) as script:
            with pytest.raises((StoreUnavailable, OutcomeUnknown)):
                await verb(kind.make(script.url))
            assert len(script.requests) == 1


async def test_headers_are_sent_and_redirects_not_followed(kind: Kind) -> None:
    with scripted(answer(301, b"", "location: http://127.0.0.1:9/")) as script:
        with pytest.raises(UnexpectedAnswer) as caught:
            await kind.make(script.url, headers={"Authorization": "Bearer k"}).list_apps()
        assert caught.value.http == 301
        assert b"bearer k" in script.requests[0].lower()


async def test_proxies_of_the_environment_are_ignored(
    server: Served, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert isinstance(await kind.make(server.url).list_apps(), list)


async def test_create_sends_what_it_says(kind: Kind) -> None:
    at = datetime(2030, 1, 31, 8, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    for named, expected in (
        ({"at": at}, {"scheduleTime": "2030-01-31T02:30:00+00:00"}),
        ({"delay": timedelta(microseconds=1_001)}, {"delaySeconds": 0.002}),
    ):
        with scripted(cut) as script:
            with pytest.raises(OutcomeUnknown):
                await kind.make(script.url).create_schedule("shop", payload="p", callback=HOOK, **named)
            head, _, body = script.requests[0].partition(b"\r\n\r\n")
            assert head.startswith(b"POST /goscheduler/schedules HTTP/1.1")
            assert b"content-type: application/json" in head.lower()
            details = {"url": HOOK.url, "method": "POST"}
            assert json.loads(body) == {
                "appId": "shop",
                "payload": "p",
                "callback": {"type": "http", "details": details},
                **expected,
            }


_SHORT_PROGRAM = """
import asyncio, os, sys, threading, time
from contextlib import suppress
from ringtime_client import AsyncRingtimeClient
from ringtime_shared.errors import StoreUnavailable

class Loop(asyncio.SelectorEventLoop):
    def call_soon_threadsafe(self, *args, **kwargs):
        handle = super().call_soon_threadsafe(*args, **kwargs)
        if threading.current_thread() is not threading.main_thread():
            for _ in range(300):  # the program is at its end before this is
                time.sleep(0.001)
        return handle

async def main():
    async with AsyncRingtimeClient("http://127.0.0.1:1") as client:
        with suppress(StoreUnavailable):
            await client.get_app("shop")

with asyncio.Runner(loop_factory=Loop) as runner:
    runner.run(main())
if sys.argv[1] == "fork" and (child := os.fork()):
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["exit", "fork"])
def test_a_program_that_ends_right_after_a_call_is_not_aborted(way: str) -> None:
    """A forked child does not wait for the thread of its parent, which it has not."""
    command = [sys.executable, "-W", "ignore", "-c", _SHORT_PROGRAM, way]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


async def test_closing_ends_what_is_under_way() -> None:
    with scripted(hang) as script:
        client = RingtimeClient(script.url)
        calling = asyncio.create_task(_create(Threaded(client)))
        assert await asyncio.to_thread(script.got_one.wait, 60)
        client.close()
        with pytest.raises(OutcomeUnknown):
            await calling


async def test_cancelled_call_ends_at_once() -> None:
    with scripted(hang) as script:
        async with AsyncRingtimeClient(script.url) as client:
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await _create(client)
            assert time.monotonic() - began < 10


# --- the pure parts

CREATE = calls.create_schedule("shop", payload="", at=None, delay=HOUR, callback=HOOK)
READ = calls.list_apps()
READ_ONE = calls.get_app("shop")
ACTIVATE = calls.activate_app("shop")
CANCEL = calls.cancel_schedule(UUID(int=7))
REGISTER = calls.register_app("shop", partitions=None, active=True, configuration=None)


def _answered(call: Call[Any], http: int, body: bytes) -> RingtimeError:
    with pytest.raises(RingtimeError) as caught:
        settle(call, Answer(http=http, body=body))
    return caught.value


@pytest.mark.parametrize(
    ("call", "error", "expected"),
    [
        (CREATE, InvalidRequest.of("payload", "must be short"), InvalidRequest),
        (CREATE, InvalidRequest.of("callback.type", "must be known"), InvalidRequest),
        (CREATE, NotFound("app", "shop"), NotFound),
        (READ_ONE, NotFound("registered app", "shop"), NotFound),
        (CANCEL, NotFound("schedule", "x"), NotFound),
        (CREATE, AppInactive("x"), AppInactive),
        (ACTIVATE, AppActive("x"), AppActive),
        (ACTIVATE, VersionConflict("x"), VersionConflict),
        (REGISTER, AppExists("x"), AppExists),
        (CANCEL, AlreadyDone("x", "SUCCESS"), AlreadyDone),
        (CREATE, BodyTooLarge(7), InvalidRequest),
        (CREATE, BodyTooSlow(7), StoreUnavailable),
        (CREATE, StoreUnavailable("x"), StoreUnavailable),
        (CREATE, OutcomeUnknown("x"), OutcomeUnknown),
        (CANCEL, OutcomeUnknown("x"), OutcomeUnknown),
        (READ, OutcomeUnknown("x"), StoreUnavailable),
    ],
)
def test_error_of_the_server_comes_back_as_itself(
    call: Call[Any], error: RingtimeError, expected: type[RingtimeError]
) -> None:
    reply = refusal(error)
    assert type(_answered(call, reply.status_code, bytes(reply.body))) is expected


@pytest.mark.parametrize("word", sorted(set(ErrorWord) - {ErrorWord.OUTCOME_UNKNOWN, ErrorWord.MARKS_AHEAD}))
def test_every_word_of_the_server_has_a_meaning(word: ErrorWord) -> None:
    """A word that the server learns and the client does not know fails here."""
    error = _answered(CANCEL, 400, failure_to_json(400, word, "x", [Violation("f", "r")]))
    is_about_the_server = word in NOT_FOR_CALLERS
    assert isinstance(error, UnexpectedAnswer) == is_about_the_server
    assert not isinstance(error, OutcomeUnknown)


def test_sentences_decide_nothing() -> None:
    """What the server says in words may change; what it says in `error` decides."""
    for message in (
        "nothing was written",
        "schedule x is SUCCESS already",
        "what is stored cannot be read: x",
    ):
        body = failure_to_json(5004, ErrorWord.OUTCOME_UNKNOWN, message)
        assert type(_answered(CREATE, 503, body)) is OutcomeUnknown
        body = failure_to_json(409, ErrorWord.ALREADY_DONE, message, details={"scheduleStatus": "MISS"})
        done = _answered(CANCEL, 409, body)
        assert isinstance(done, AlreadyDone)
        assert done.status == "MISS"


def test_an_answer_without_a_word_is_read_by_its_code() -> None:
    """As goscheduler gives them, and servers of before there were words."""
    for codes in [*ERRORS.values(), APP_UNKNOWN, NOT_LISTED, UNAVAILABLE]:
        status = {
            "statusCode": codes.code,
            "statusMessage": "it failed",
            "statusType": "Fail",
            "errors": [{"field": "f", "rule": "r"}],
        }
        error = _answered(CANCEL, codes.http, json.dumps({"status": status}).encode())
        assert not isinstance(error, UnexpectedAnswer)
        assert isinstance(error, OutcomeUnknown) == (codes.code == 5004)


@pytest.mark.parametrize(
    ("call", "http", "body", "expected"),
    [
        (READ, 502, b"<html>", StoreUnavailable),
        (READ, 504, b"", StoreUnavailable),
        (READ, 500, b"", UnexpectedAnswer),
        (READ, 404, b"404 page not found", UnexpectedAnswer),
        (READ, 200, b"<html>hello", UnexpectedAnswer),
        (READ, 200, b'{"status":{},"data":{"apps":[{"appId":7}]}}', UnexpectedAnswer),
        (READ, 200, b'{"status":{},"data":{}}', UnexpectedAnswer),
        (READ_ONE, 200, APPS, UnexpectedAnswer),
        (CREATE, 429, b"slow down", StoreUnavailable),
        (CREATE, 408, b"", StoreUnavailable),
        (CREATE, 401, b"", UnexpectedAnswer),
        (CREATE, 302, b"", UnexpectedAnswer),
        (CREATE, 500, b"", OutcomeUnknown),
        (CREATE, 502, b"<html>", OutcomeUnknown),
        (CREATE, 503, b"<html>", OutcomeUnknown),
        (CREATE, 200, b"", OutcomeUnknown),
        (CREATE, 200, b'{"status":{},"data":{"schedule":{}}}', OutcomeUnknown),
        (ACTIVATE, 200, b'{"status":{},"data":{}}', OutcomeUnknown),
        (CREATE, 503, b'{"status":{"statusCode":5004,"statusMessage":"other words"}}', OutcomeUnknown),
        (CREATE, 404, b'{"status":{"statusCode":404,"statusMessage":"no such path"}}', UnexpectedAnswer),
        (CREATE, 400, b'{"status":{"statusCode":400,"statusMessage":"bad"}}', InvalidRequest),
        (CANCEL, 409, b'{"status":{"statusCode":409,"statusMessage":"?"}}', AlreadyDone),
    ],
)
def test_answers_that_are_not_the_apis(
    call: Call[Any], http: int, body: bytes, expected: type[RingtimeError]
) -> None:
    assert type(_answered(call, http, body)) is expected


def test_created_may_be_200_or_201() -> None:
    body = b'{"status":{},"data":{"appId":"shop","partitions":1,"active":true,"configuration":{}}}'
    for http in (200, 201):
        assert settle(REGISTER, Answer(http=http, body=body)).app_id == "shop"


class _Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def _tries(clock: _Clock, *, may_repeat: bool = True) -> Tries:
    return Tries(may_repeat=may_repeat, deadline_s=10, now=clock, rng=Random(1))


def test_waits_are_bounded_and_end() -> None:
    tries = _tries(_Clock())
    waits = [tries.plan_wait(Broken(reason="x", sent=True)) for _ in range(MAX_TRIES)]
    assert waits[-1] is None
    assert all(wait is not None and 0 <= wait <= 0.4 for wait in waits[:-1])


@pytest.mark.parametrize(
    ("retry_after", "least"),
    [("3", 3), ("0", 0), ("Fri, 31 Dec 1999 23:59:59 GMT", 0), ("-1", 0), ("１", 0), ("9" * 5_000, 0)],
)
def test_retry_after_is_a_lower_bound(retry_after: str, least: float) -> None:
    wait = _tries(_Clock()).plan_wait(Answer(http=503, body=b"", retry_after=retry_after))
    assert wait is not None
    assert least <= wait <= least + 0.2


def test_no_try_after_the_deadline() -> None:
    clock = _Clock()
    tries = _tries(clock)
    assert tries.left_s() == 10
    clock.now_s += 10.5
    assert tries.left_s() > 0
    assert tries.plan_wait(Broken(reason="x", sent=True)) is None
    assert _tries(_Clock()).plan_wait(Answer(http=503, body=b"", retry_after="10")) is None


@pytest.mark.parametrize("http", [200, 400, 404, 500])
def test_answers_that_stand_are_not_tried_again(http: int) -> None:
    assert _tries(_Clock()).plan_wait(Answer(http=http, body=b"")) is None


def test_writes_have_one_try() -> None:
    assert _tries(_Clock(), may_repeat=False).plan_wait(Broken(reason="x", sent=False)) is None


# --- both clients and the page about them


def test_both_clients_have_the_same_verbs() -> None:
    def verbs(kind: type) -> dict[str, object]:
        public: dict[str, Any] = {
            name: value for name, value in vars(kind).items() if not name.startswith("_")
        }
        return {name: inspect.signature(value) for name, value in public.items()}

    assert verbs(AsyncRingtimeClient) == verbs(RingtimeClient)
    assert len(verbs(RingtimeClient)) == 57


def test_verbs_follow_one_pattern_and_the_library_has_them_all() -> None:
    first = (
        "register|configure|list|get|find|activate|deactivate|delete|create|put|patch|cancel|pause|resume|trigger"
        "|backfill|preview|count|replay|complete|audit"
    )
    pattern = re.compile(rf"({first})_[a-z_]+")
    verbs = [name for name in vars(RingtimeClient) if not name.startswith("_") and name != "close"]
    for verb in verbs:
        assert pattern.fullmatch(verb)
        ours, theirs = (inspect.signature(getattr(kind, verb)) for kind in (Ringtime, RingtimeClient))
        assert list(ours.parameters.values())[1:] == list(theirs.parameters.values())[1:], verb
    told = DOCS.read_text().partition("## Verbs")[2].partition("## Errors")[0]
    assert [verb for verb in verbs if f"`{verb}`" not in told] == []


def test_wire_names_cover_the_configuration() -> None:
    names = {field.name for field in fields(AppConfiguration)}
    rules = {field.name: 1 for field in fields(RetryRules)} | {"statuses": ("503",)}
    retry = RetryRules(**rules)  # type: ignore[arg-type]
    others = {"retry": retry, "hooks": Hooks(), "tls_profile": "shop", "encrypt_payloads": True}
    others |= {"redacted_fields": ("card.number",)}
    configuration = AppConfiguration(**dict.fromkeys(names, 1) | others)  # type: ignore[arg-type]
    call = calls.register_app("shop", partitions=None, active=True, configuration=configuration)
    sent = json.loads(call.body or b"")["configuration"]
    assert len(sent.pop("retryPolicy")) == len(rules)
    assert sent.pop("hooks") == {}
    assert (sent.pop("encryptPayloads"), sent.pop("redactedFields")) == (True, ["card.number"])
    assert sent == dict.fromkeys(sent, 1) | {"tlsProfile": "shop"}
    assert len(sent) == len(names) - 4


def test_examples_of_the_page_run(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    with served() as running:
        for block in blocks:
            assert "http://127.0.0.1:8080" in block
            code = compile(block.replace("http://127.0.0.1:8080", running.url), str(DOCS), "exec")
            exec(code, {"__name__": "__main__"})
    assert "at: required: either at or delay, not both" in capsys.readouterr().out
