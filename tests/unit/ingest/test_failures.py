"""What a client is told when it is not the client's fault, and what is logged."""

from __future__ import annotations

import asyncio
import logging

import pytest
from tests.unit.ingest.rig import Client, Reply, Rig, make_rig, schedule_body

from ringtime_shared.errors import (
    AlreadyDone,
    AppExists,
    ClockInDoubt,
    Conflict,
    LeaseLost,
    LimitReached,
    MarksAhead,
    NotReplayable,
    OutcomeUnknown,
    StoreUnavailable,
    VersionConflict,
)
from ringtime_shared.settings import ServerSettings

PATH = "/goscheduler/schedules"


async def _fail(error: Exception, target: str = PATH) -> Reply:
    rig = make_rig()
    rig.store.failure = error
    return await rig.client.call("POST", target, schedule_body())


@pytest.mark.parametrize(
    "error", [StoreUnavailable("10.0.0.7 refused"), OutcomeUnknown("10.0.0.7 was silent")]
)
async def test_store_trouble_is_503_with_a_time_to_try_again(error: Exception) -> None:
    reply = await _fail(error)
    assert (reply.status, reply.json["status"]["statusCode"]) == (503, 5004)
    assert 1 <= int(reply.headers["retry-after"]) <= 3
    assert b"10.0.0.7" not in reply.body


async def test_a_clock_in_doubt_says_so_and_that_nothing_was_written() -> None:
    reply = await _fail(ClockInDoubt("it says a year before 2020"))
    assert (reply.status, reply.json["status"]["statusCode"]) == (503, 5004)
    assert "nothing was written" in reply.json["status"]["statusMessage"]
    assert "before 2020" in reply.json["status"]["statusMessage"]


async def test_marks_of_a_false_clock_say_that_the_schedule_exists() -> None:
    reply = await _fail(MarksAhead("pay.1", 3_600_000))
    assert (reply.status, reply.json["status"]["statusCode"]) == (503, 5004)
    message = reply.json["status"]["statusMessage"]
    assert "outcome is unknown" in message
    assert "3,600 s ahead" in message
    assert "nothing was written" not in message, "clients tell the two apart by these words"


async def test_not_ready_for_its_clock_says_so() -> None:
    rig = make_rig()
    rig.store.failure = ClockInDoubt("it is off")
    reply = await rig.client.call("GET", "/health/ready")
    assert reply.status == 503
    assert "it is off" in reply.json["status"]["statusMessage"]


async def test_unknown_outcome_says_so() -> None:
    message = (await _fail(OutcomeUnknown("x"))).json["status"]["statusMessage"]
    assert "outcome is unknown" in message
    assert "may exist" in message


@pytest.mark.parametrize(
    ("error", "field"),
    [
        (VersionConflict("app test was changed"), "appId"),
        (AppExists("app test is registered already"), "appId"),
        (Conflict("there is a resize"), "appId"),
        (Conflict("app test has 5", "partitions"), "partitions"),
        (LimitReached("all in use", "partitions"), "partitions"),
        (AlreadyDone("some-id", "SUCCESS"), "scheduleId"),
        (NotReplayable("some-id", "SUCCESS"), "scheduleId"),
    ],
    ids=repr,
)
async def test_a_conflict_is_409_and_names_its_field(error: Conflict, field: str) -> None:
    reply = await _fail(error, "/goscheduler/apps/idle/activate")
    assert (reply.status, reply.json["status"]["statusCode"]) == (409, 409)
    assert reply.json["status"]["errors"] == [{"field": field, "rule": str(error)}]


@pytest.mark.parametrize(
    "error", [RuntimeError("secret 1234"), LeaseLost("secret 1234"), ZeroDivisionError("secret 1234")]
)
async def test_bug_is_500_without_a_word_about_it(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        reply = await _fail(error)
    assert (reply.status, reply.json["status"]["statusCode"]) == (500, 500)
    assert b"secret" not in reply.body
    assert b"Traceback" not in reply.body
    assert [record.exc_info is not None for record in caplog.records] == [True]


async def test_slow_body_is_408() -> None:
    rig = make_rig(ServerSettings(read_deadline_s=0.1))
    reply = await rig.client.call("POST", PATH, chunks=[b"{"], stall=True)
    assert (reply.status, reply.json["status"]["statusCode"]) == (408, 408)
    assert reply.headers["connection"] == "close"
    assert reply.json["status"]["errors"][0]["field"] == "body"


async def test_body_in_pieces_is_put_together() -> None:
    rig = make_rig()
    whole = b'{"appId":"a"}'
    reply = await rig.client.call("POST", "/goscheduler/apps", chunks=[whole[:4], b"", whole[4:]])
    assert reply.status == 200


async def test_one_request_too_many_is_503_and_health_still_answers() -> None:
    rig = make_rig(ServerSettings(max_concurrency=1, read_deadline_s=0.2))
    slow = asyncio.create_task(rig.client.call("POST", PATH, chunks=[b"{"], stall=True))
    await asyncio.sleep(0)
    reply = await rig.client.call("GET", "/goscheduler/apps")
    assert (reply.status, reply.json["status"]["statusCode"]) == (503, 503)
    assert "retry-after" in reply.headers
    for path in ("/health/live", "/metrics"):
        assert (await rig.client.call("GET", path)).status == 200
    assert (await slow).status == 408
    assert (await rig.client.call("GET", "/goscheduler/apps")).status == 200


async def test_ready_follows_the_store() -> None:
    rig = make_rig()
    assert (await rig.client.call("GET", "/health/ready")).status == 200
    for error in (StoreUnavailable("down"), LeaseLost("gone"), RuntimeError("bug")):
        rig.store.failure = error
        reply = await rig.client.call("GET", "/health/ready")
        assert (reply.status, reply.json["status"]["statusType"]) == (503, "Fail")
        assert (await rig.client.call("GET", "/health/live")).status == 200


async def test_client_that_leaves_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    rig: Rig = make_rig()
    sent: list[object] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        sent.append(message)

    client: Client = rig.client
    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "root_path": "",
        "query_string": b"",
        "headers": [],
    }
    await client.app(scope, receive, send)
    assert sent == []
    assert caplog.records == []


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/goscheduler/apps", "GET, HEAD, POST"),
        ("PUT", "/goscheduler/schedule/x", "DELETE, GET, HEAD, PATCH"),
        ("GET", "/goscheduler/schedule", "POST"),
    ],
)
async def test_wrong_method_is_told_the_right_ones(method: str, path: str, allowed: str) -> None:
    reply = await make_rig().client.call(method, path)
    assert (reply.status, reply.headers["allow"]) == (405, allowed)
    assert reply.json["status"]["statusCode"] == 405
