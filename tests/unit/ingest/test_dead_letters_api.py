"""Dead letters over HTTP: how answers look, and that bad requests are refused by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from tests.contract.builders import make_letter
from tests.unit.ingest.rig import NOW_MS, NOW_S, Reply, Rig, make_rig, schedule_body
from tests.unit.ingest.test_bad_input import assert_refused
from tests.unit.ingest.test_openapi import _check, _document

from ringtime_ingest.service.dead_letters import IN_QUERY
from ringtime_shared.errors import OutcomeUnknown, StoreUnavailable
from ringtime_shared.models.dead_letter import DeadLetter
from ringtime_shared.models.schedule import Outcome, Status
from ringtime_shared.settings import ServerSettings
from ringtime_shared.stores.protocol import Position

LETTERS = "/goscheduler/apps/test/dead-letters"
REPLAY = f"{LETTERS}/replay"
UNKNOWN = "0cee7d94-9800-8004-8000-00000100ffff"
DAY_S = 86_400


@pytest.fixture
def rig() -> Rig:
    return make_rig()


async def put_letter(rig: Rig, age_ms: int = 1_000, **changes: Any) -> DeadLetter:
    letter = make_letter(rig.apps["test"], NOW_MS - age_ms, **changes)
    await rig.store.put_dead_letters([letter])
    return letter


async def fail_schedule(rig: Rig) -> str:
    """Create a schedule and let it fail, dead letter included."""
    reply = await rig.client.call("POST", "/goscheduler/schedules", schedule_body(scheduleTime=NOW_S))
    schedule_id = UUID(reply.json["data"]["schedule"]["scheduleId"])
    outcome = Outcome(
        status=Status.FAILURE, ended_ms=NOW_MS, fired_ms=NOW_MS, attempts=3, code=500, error="no"
    )
    slot_ms = rig.end(schedule_id, outcome).place.slot_ms
    rig.clock.advance(1_000)
    letter = make_letter(rig.apps["test"], slot_ms, schedule_id=schedule_id)
    await rig.store.put_dead_letters([letter])
    return str(schedule_id)


def letters_of(reply: Reply) -> list[str]:
    assert reply.status == 200
    return [letter["scheduleId"] for letter in reply.json["data"]["deadLetters"]]


async def test_a_dead_letter_is_shown_whole(rig: Rig) -> None:
    letter = await put_letter(rig, code=503, error="e" * 300, replay=2)
    reply = await rig.client.call("GET", LETTERS)
    assert reply.status == 200
    assert reply.json == {
        "status": {"statusCode": 200, "statusMessage": "Success", "statusType": "Success", "totalCount": 1},
        "data": {
            "deadLetters": [
                {
                    "scheduleId": str(letter.schedule_id),
                    "appId": "test",
                    "scheduleTime": letter.fire_ms // 1_000,
                    "fireTime": "2027-01-15T07:59:59.000Z",
                    "failedAt": "2027-01-15T07:59:59.280Z",
                    "attempts": 3,
                    "errorMessage": "e" * 200,
                    "callbackType": "http",
                    "replay": 2,
                    "httpCode": 503,
                }
            ],
            "continuationToken": "",
        },
    }


async def test_what_was_replayed_is_shown_on_demand_only(rig: Rig) -> None:
    waiting, done = await put_letter(rig, 2_000), await put_letter(rig)
    await rig.store.put_replayed("test", [Position(done.slot_ms, done.schedule_id)], NOW_MS)
    expected = {
        "": [waiting],
        "?replayed=false": [waiting],
        "?replayed=true": [done],
        "?replayed=all": [waiting, done],
        "?replayed=": [waiting],
    }
    for query, letters in expected.items():
        for path in (LETTERS, LETTERS.replace("apps", "app")):
            assert letters_of(await rig.client.call("GET", path + query)) == [
                str(letter.schedule_id) for letter in letters
            ]
    shown = (await rig.client.call("GET", f"{LETTERS}?replayed=true")).json["data"]["deadLetters"]
    assert shown[0]["replayedAt"] == "2027-01-15T08:00:00.250Z"
    counted = await rig.client.call("GET", f"{LETTERS}/count")
    assert counted.json["data"] == {"count": 1}


async def test_pages_go_on_with_the_token(rig: Rig) -> None:
    letters = [await put_letter(rig, 1_000 - n) for n in range(5)]
    found, token = [], ""
    for count in (2, 2, 1):
        reply = await rig.client.call("GET", f"{LETTERS}?size=2&continuation_token={token}")
        assert reply.json["status"]["totalCount"] == count
        found += letters_of(reply)
        token = reply.json["data"]["continuationToken"]
    assert token == ""
    assert found == [str(letter.schedule_id) for letter in letters]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 2),
        (f"start_time={NOW_S - 10}", 1),
        (f"start_time={NOW_S - 2 * DAY_S}", 3),
        (f"end_time={NOW_S - 10}", 2),
        (f"start_time={NOW_S - 5}.5&end_time={NOW_S}", 1),
        ("start_time=2027-01-15T08:00:00Z", 0),
        ("start_time=2027-01-15T13:29:50%2B05:30&end_time=2027-01-15T08:00:00.000Z", 1),
        (f"start_time=&end_time={NOW_S}&unknown=1", 2),
        (f"start_time={NOW_S}&end_time={NOW_S + DAY_S}", 0),
    ],
)
async def test_times_are_as_elsewhere(rig: Rig, query: str, count: int) -> None:
    for age_ms in (1_000, 20_000, (DAY_S + 10) * 1_000):
        await put_letter(rig, age_ms)
    assert len(letters_of(await rig.client.call("GET", f"{LETTERS}?{query}"))) == count
    assert (await rig.client.call("GET", f"{LETTERS}/count?{query}")).json["data"] == {"count": count}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("start_time=yesterday", "start_time"),
        ("start_time=2027-01-15", "start_time"),
        ("start_time=2027-01-15T08:00:00", "start_time"),
        ("start_time=2027-01-15T13:30:00+05:30", "start_time"),
        ("start_time=-5", "start_time"),
        ("start_time=NaN", "start_time"),
        ("start_time=1e9", "start_time"),
        ("start_time=1800000000000", "start_time"),
        ("start_time=" + "9" * 5_000, "start_time"),
        ("start_time=%00", "start_time"),
        ("start_time=%ff", "start_time"),
        ("start_time=１８００００００００", "start_time"),
        (f"start_time={NOW_S + 5}", "start_time"),
        (f"start_time={NOW_S - 32 * DAY_S}", "start_time"),
        (f"start_time={NOW_S}&end_time={NOW_S - 1}", "start_time"),
        ("start_time=0001-01-01T00:00:00Z", "start_time"),
        ("end_time=later", "end_time"),
        (f"end_time={NOW_S}&end_time={NOW_S + 1}", "end_time"),
        ("size=0", "size"),
        ("size=1001", "size"),
        ("size=-1", "size"),
        ("size=1.5", "size"),
        ("size=ten", "size"),
        ("size=٣", "size"),
        ("size=" + "9" * 5_000, "size"),
        ("size=1&size=2", "size"),
        ("continuation_token=x", "continuation_token"),
        ("continuation_token=" + "A" * 38, "continuation_token"),
        ("continuation_token=" + "A" * 60_000, "continuation_token"),
        ("continuation_token=%00", "continuation_token"),
        ("replayed=yes", "replayed"),
        ("replayed=TRUE", "replayed"),
    ],
)
async def test_bad_query_is_refused(rig: Rig, query: str, field: str) -> None:
    reply = await rig.client.call("GET", f"{LETTERS}?{query}")
    assert_refused(reply, field)
    assert (reply.status, reply.json["status"]["statusCode"]) == (400, 400)


async def test_all_faults_of_a_query_are_told_at_once(rig: Rig) -> None:
    reply = await rig.client.call("GET", f"{LETTERS}?start_time=x&end_time=y&size=z&replayed=q")
    fields = {error["field"] for error in reply.json["status"]["errors"]}
    assert fields == {"start_time", "end_time", "size", "replayed"}


@pytest.mark.parametrize(
    ("method", "target"), [("GET", LETTERS), ("GET", f"{LETTERS}/count"), ("POST", REPLAY)]
)
@pytest.mark.parametrize(("app_id", "code"), [("gone", 4001), ("..", 400), ("a%2eb", 400), ("%00", 400)])
async def test_unknown_and_bad_apps_are_refused(
    rig: Rig, method: str, target: str, app_id: str, code: int
) -> None:
    reply = await rig.client.call(method, target.replace("test", app_id), {})
    assert_refused(reply, "appId")
    assert (reply.status, reply.json["status"]["statusCode"]) == (400, code)


async def test_one_is_replayed(rig: Rig) -> None:
    schedule_id = await fail_schedule(rig)
    for word in ("schedules", "schedule"):
        reply = await rig.client.call("POST", f"/goscheduler/{word}/{schedule_id}/replay")
        assert (reply.status, reply.json["status"]["statusCode"]) == (200, 200)
        assert reply.json["data"] == {
            "scheduleId": schedule_id,
            "replay": 1,
            "nextAttemptAt": "2027-01-15T08:00:01.850Z",
        }
    assert letters_of(await rig.client.call("GET", LETTERS)) == []


@pytest.mark.parametrize(
    ("schedule_id", "status", "code"),
    [
        (UNKNOWN, 404, 404),
        ("52f35d51-a686-415f-8a4b-eef64982f1f0", 404, 404),
        ("seven", 400, 400),
        ("%00", 400, 400),
    ],
)
async def test_unknown_schedules_are_not_replayed(rig: Rig, schedule_id: str, status: int, code: int) -> None:
    reply = await rig.client.call("POST", f"/goscheduler/schedules/{schedule_id}/replay")
    assert_refused(reply, "scheduleId")
    assert (reply.status, reply.json["status"]["statusCode"]) == (status, code)


async def test_what_has_not_failed_is_a_conflict_that_says_its_status(rig: Rig) -> None:
    created = await rig.client.call("POST", "/goscheduler/schedules", schedule_body())
    schedule_id = created.json["data"]["schedule"]["scheduleId"]
    reply = await rig.client.call("POST", f"/goscheduler/schedules/{schedule_id}/replay")
    assert_refused(reply, "")
    assert (reply.status, reply.json["status"]["statusCode"]) == (409, 409)
    assert "is SCHEDULED: only a FAILURE" in reply.json["status"]["statusMessage"]


async def test_inactive_app_replays_nothing(rig: Rig) -> None:
    schedule_id = await fail_schedule(rig)
    rig.apps["test"] = replace(rig.apps["test"], active=False)
    rig.clock.advance(3_000)
    for target in (f"/goscheduler/schedules/{schedule_id}/replay", REPLAY):
        reply = await rig.client.call("POST", target, {})
        assert_refused(reply, "appId")
        assert (reply.status, reply.json["status"]["statusCode"]) == (400, 4002)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"startTime": NOW_S - 60, "endTime": "2027-01-15T08:00:02Z", "size": 10},
        {"STARTTIME": NOW_S - 60, "size": None, "continuationToken": ""},
    ],
)
async def test_a_range_is_replayed(rig: Rig, body: object) -> None:
    schedule_id = await fail_schedule(rig)
    gone = await put_letter(rig)
    reply = await rig.client.call("POST", REPLAY, body)
    assert (reply.status, reply.json["status"]["totalCount"]) == (200, 1)
    assert reply.json["data"] == {
        "replayed": 1,
        "skipped": [{"scheduleId": str(gone.schedule_id), "reason": f"no schedule {gone.schedule_id}"}],
        "continuationToken": "",
    }
    assert letters_of(await rig.client.call("GET", f"{LETTERS}?replayed=true")) == [schedule_id]


async def test_chosen_ones_are_replayed(rig: Rig) -> None:
    schedule_id = await fail_schedule(rig)
    reply = await rig.client.call(
        "POST", REPLAY, {"scheduleIds": [schedule_id.upper(), schedule_id, UNKNOWN]}
    )
    assert reply.json["data"] == {
        "replayed": 1,
        "skipped": [{"scheduleId": UNKNOWN, "reason": f"no schedule {UNKNOWN}"}],
        "continuationToken": "",
    }


async def test_pages_of_replays_go_on_with_the_token(rig: Rig) -> None:
    for n in range(3):
        await put_letter(rig, 1_000 - n)
    token = ""
    for count in (2, 1):
        reply = await rig.client.call("POST", REPLAY, {"size": 2, "continuationToken": token})
        assert len(reply.json["data"]["skipped"]) == count
        token = reply.json["data"]["continuationToken"]
    assert token == ""


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        (b"", "body", 5001),
        ({"ids": [UNKNOWN]}, "ids", 5001),
        ({"scheduleId": UNKNOWN, "size": 10}, "scheduleId", 5001),
        ({"scheduleIds": None}, "scheduleIds", 5001),
        ({"SCHEDULEIDS": None, "startTime": NOW_S - 60}, "scheduleIds", 5001),
        (b"{", "body", 5001),
        (b"[]", "body", 5001),
        (b'"all"', "body", 5001),
        (b"\xff", "body", 5001),
        (b"[" * 1_000, "body", 5001),
        (b'{"size":1,"SIZE":2}', "SIZE", 5001),
        ({"scheduleIds": "all"}, "scheduleIds", 5001),
        ({"scheduleIds": {}}, "scheduleIds", 5001),
        ({"scheduleIds": []}, "scheduleIds", 400),
        ({"scheduleIds": [UNKNOWN] * 1_001}, "scheduleIds", 400),
        ({"scheduleIds": [UNKNOWN, "seven"]}, "scheduleIds.1", 5001),
        ({"scheduleIds": [7]}, "scheduleIds.0", 5001),
        ({"scheduleIds": [None]}, "scheduleIds.0", 5001),
        ({"scheduleIds": [[UNKNOWN]]}, "scheduleIds.0", 5001),
        ({"scheduleIds": [UNKNOWN.replace("-", "")]}, "scheduleIds.0", 5001),
        ({"scheduleIds": [UNKNOWN], "size": 3}, "scheduleIds", 400),
        ({"scheduleIds": [UNKNOWN], "startTime": NOW_S}, "scheduleIds", 400),
        ({"startTime": True}, "startTime", 5001),
        ({"startTime": []}, "startTime", 5001),
        ({"startTime": "soon"}, "startTime", 5001),
        ({"startTime": -1}, "startTime", 400),
        ({"startTime": NOW_MS}, "startTime", 400),
        ({"startTime": NOW_S - 32 * DAY_S}, "startTime", 400),
        ({"startTime": NOW_S + 60}, "startTime", 400),
        ({"startTime": NOW_S, "endTime": NOW_S - 1}, "startTime", 400),
        (b'{"endTime":1e400}', "endTime", 400),
        ({"endTime": ""}, "endTime", 5001),
        ({"size": "10"}, "size", 5001),
        ({"size": 1.5}, "size", 5001),
        ({"size": True}, "size", 5001),
        ({"size": 0}, "size", 400),
        ({"size": 1_001}, "size", 400),
        ({"size": 2**70}, "size", 400),
        ({"continuationToken": 5}, "continuationToken", 5001),
        ({"continuationToken": "x"}, "continuationToken", 400),
        ({"continuationToken": "é" * 38}, "continuationToken", 400),
    ],
)  # fmt: skip
async def test_bad_body_is_refused(rig: Rig, body: object, field: str, code: int) -> None:
    reply = await rig.client.call("POST", REPLAY, body)
    assert_refused(reply, field)
    assert (reply.status, reply.json["status"]["statusCode"]) == (400, code)


async def test_the_faults_of_a_long_list_are_not_all_told(rig: Rig) -> None:
    reply = await rig.client.call("POST", REPLAY, {"scheduleIds": ["x"] * 1_000})
    assert len(reply.json["status"]["errors"]) == 20


async def test_a_body_too_long_is_refused(rig: Rig) -> None:
    reply = await rig.client.call("POST", REPLAY, b" " * (ServerSettings().max_body_bytes + 1))
    assert_refused(reply, "body")
    assert reply.status == 413


@pytest.mark.parametrize("error", [StoreUnavailable("10.0.0.7"), OutcomeUnknown("10.0.0.7")])
async def test_store_trouble_is_503(rig: Rig, error: Exception) -> None:
    schedule_id = await fail_schedule(rig)
    rig.clock.advance(3_000)
    rig.store.failure = error
    for method, target in (
        ("GET", LETTERS),
        ("GET", f"{LETTERS}/count"),
        ("POST", REPLAY),
        ("POST", f"/goscheduler/schedules/{schedule_id}/replay"),
    ):
        reply = await rig.client.call(method, target, {})
        assert (reply.status, reply.json["status"]["statusCode"]) == (503, 5004)
        assert "retry-after" in reply.headers
        assert b"10.0.0.7" not in reply.body


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", LETTERS), ("DELETE", LETTERS), ("POST", f"{LETTERS}/count"), ("GET", REPLAY),
     ("GET", f"/goscheduler/schedules/{UNKNOWN}/replay")],
)  # fmt: skip
async def test_other_methods_are_405(rig: Rig, method: str, path: str) -> None:
    reply = await rig.client.call(method, path)
    assert reply.status == 405
    assert reply.headers["allow"]


@pytest.mark.parametrize("body", [b"", {"size": 0}, "example"])
async def test_the_reference_is_true(rig: Rig, body: object) -> None:
    document = await _document(rig)
    schedule_id = await fail_schedule(rig)
    await put_letter(rig, code=503)
    done = await put_letter(rig)
    await rig.store.put_replayed("test", [Position(done.slot_ms, done.schedule_id)], NOW_MS)
    path = "/goscheduler/apps/{appId}/dead-letters"
    if body == "example":
        content = document["paths"][f"{path}/replay"]["post"]["requestBody"]["content"]
        body = content["application/json"]["example"]
    for method, template, tail in (
        ("get", path, "?replayed=all"),
        ("get", f"{path}/count", ""),
        ("post", f"{path}/replay", ""),
        ("post", "/goscheduler/schedules/{scheduleId}/replay", ""),
        ("post", "/goscheduler/schedules/{scheduleId}/replay", "?"),
    ):
        target = template.replace("{appId}", "test").replace("{scheduleId}", schedule_id) + tail
        sent = body if template.endswith("dead-letters/replay") else b""
        reply = await rig.client.call(method.upper(), target, sent)
        described = document["paths"][template][method]["responses"][str(reply.status)]
        _check(described["content"]["application/json"]["schema"], reply.json, document)
    named = document["paths"][path]["get"]["parameters"]
    assert [each["name"] for each in named] == ["appId", *IN_QUERY[:4], "replayed"]
