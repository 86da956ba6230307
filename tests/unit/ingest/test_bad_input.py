"""Nothing bad gets in: every request in the tables is refused by name and leaves nothing behind."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.unit.ingest import bad_bodies, bad_callbacks, bad_values
from tests.unit.ingest.cases import APPS, SCHEDULES, Case
from tests.unit.ingest.rig import Reply, Rig, dumps, http_callback, make_rig, schedule_body

from ringtime_shared.errors import ErrorWord

DETAILS = "callback.details"
CASES = [
    *bad_bodies.CASES,
    *bad_values.TYPES,
    *bad_values.TIMES,
    *bad_values.IDS,
    *bad_values.PATHS,
    *bad_callbacks.URLS,
    *bad_callbacks.METHODS,
    *bad_callbacks.HEADERS,
]

WITH_DETAILS = (ErrorWord.ALREADY_DONE, ErrorWord.DAMAGED, ErrorWord.NOT_REPLAYABLE)


def assert_refused(reply: Reply, field: str) -> None:
    assert 400 <= reply.status < 500
    assert reply.headers["content-type"] == "application/json"
    assert reply.json.keys() == {"status"}
    status = reply.json["status"]
    more = ["details"] if status["error"] in WITH_DETAILS else []
    assert list(status) == ["statusCode", "statusMessage", "statusType", "error", "errors", *more]
    assert status["statusType"] == "Fail"
    assert status["error"] in set(ErrorWord)
    assert status["statusMessage"]
    assert all(error["field"] and error["rule"] for error in status["errors"])
    if field:
        assert field in [error["field"] for error in status["errors"]]
    for word in (b"Traceback", b'File "', b"Error(", b"ringtime_"):
        assert word not in reply.body


@pytest.fixture(scope="module")
def refusing() -> Rig:
    """One for all that is refused: nothing changes in it, or the case that did is the first to fail."""
    return make_rig()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_bad_request_is_refused(refusing: Rig, case: Case) -> None:
    rig = refusing
    reply = await rig.client.call(case.method, case.target, case.body, headers=case.headers)
    assert_refused(reply, case.field)
    assert reply.status == case.status
    if case.field:
        assert [error["field"] for error in reply.json["status"]["errors"]] == [case.field]
    if case.code is not None:
        assert reply.json["status"]["statusCode"] == case.code
    assert rig.rows == {}
    assert set(rig.apps) == {"test", "idle"}


def test_tables_hold_enough_and_name_each_case_once() -> None:
    assert len(CASES) >= 120
    assert [name for name, count in Counter(case.name for case in CASES).items() if count > 1] == []


async def test_header_in_two_cases_is_refused() -> None:
    # 131: JSON keys that differ in case alone are refused before the headers are looked at
    rig = make_rig()
    body = dumps(schedule_body(callback=http_callback(headers={"X-A": "1", "x-a": "2"})))
    assert_refused(await rig.client.call("POST", SCHEDULES, body), "x-a")


@pytest.mark.parametrize(
    ("name", "chunks"),
    [("18 endless chunks", [b" " * 8_192] * 40), ("17 one byte in a second chunk", [b" " * 262_144, b" "])],
)
async def test_long_chunked_body_is_refused_while_it_arrives(name: str, chunks: list[bytes]) -> None:
    rig = make_rig()
    reply = await rig.client.call("POST", SCHEDULES, chunks=chunks, stall=True)
    assert_refused(reply, "body")
    assert (reply.status, reply.headers["connection"]) == (413, "close")


@pytest.mark.parametrize("length", ["262145", "104857600", "9" * 40])
async def test_announced_length_is_refused_before_it_is_read(length: str) -> None:
    rig = make_rig()
    call = rig.client.call("POST", SCHEDULES, chunks=[], headers=[("Content-Length", length)], stall=True)
    assert (await call).status == 413


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("20 no Content-Type", []),
        ("21 the one curl sends", [("Content-Type", "application/x-www-form-urlencoded")]),
        ("22 utf-8", [("Content-Type", 'application/json; charset="utf-8"')]),
        ("22 UTF8", [("Content-Type", "application/json;charset=UTF8")]),
    ],
)
async def test_content_type_does_not_matter(name: str, headers: list[tuple[str, str]]) -> None:
    rig = make_rig()
    assert (await rig.client.call("POST", SCHEDULES, schedule_body(), headers=headers)).status == 200


async def test_all_faults_are_told_at_once() -> None:
    rig = make_rig()
    callback = http_callback(url="/path", method="get", headers={"Host": "x"})
    body = schedule_body(scheduleTime=5, payload="x" * 2_000, callback=callback)
    fields = [
        error["field"] for error in (await rig.client.call("POST", SCHEDULES, body)).json["status"]["errors"]
    ]
    assert fields == [
        "payload",
        "scheduleTime",
        f"{DETAILS}.url",
        f"{DETAILS}.method",
        f"{DETAILS}.headers.Host",
    ]


async def _fields(target: str, body: object) -> list[str]:
    reply = await make_rig().client.call("POST", target, body)
    assert reply.status == 400
    return [error["field"] for error in reply.json["status"]["errors"]]


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"payload": 5, "appId": "a b"}, ["payload", "appId"]),
        ({"payload": 5, "callback": http_callback(url="/")}, ["payload", f"{DETAILS}.url"]),
        (
            {"scheduleTime": "soon", "callback": http_callback(method="get", headers={"A": 1, "B": 2})},
            ["scheduleTime", f"{DETAILS}.headers.A", f"{DETAILS}.headers.B", f"{DETAILS}.method"],
        ),
        ({"delaySeconds": "5", "scheduleTime": ...}, ["delaySeconds"]),
        ({"delaySeconds": -5, "scheduleTime": ...}, ["delaySeconds"]),
        ({"delaySeconds": -5}, ["delaySeconds"]),
        ({"delaySeconds": 5, "scheduleTime": 5}, ["scheduleTime"]),
        (
            {"retryPolicy": {"attempts": "3", "statuses": [None, None]}, "payload": ...},
            ["retryPolicy.attempts", "retryPolicy.statuses", "payload"],
        ),
        ({"callback": [], "payload": None, "appId": None}, ["callback", "payload", "appId"]),
    ],
)
async def test_independent_faults_are_told_together_and_each_once(
    changes: dict[str, object], fields: list[str]
) -> None:
    assert await _fields(SCHEDULES, schedule_body(**changes)) == fields


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ([], ["body"]),
        ({"appId": 5}, ["appId"]),
        ({"appId": "a b", "partitions": "5", "active": 1}, ["partitions", "active", "appId"]),
        (
            {"configuration": {"retryPolicy": [], "weight": "1"}},
            ["configuration.retryPolicy", "configuration.weight", "appId"],
        ),
        (
            {"appId": "new", "configuration": {"retryPolicy": {"firstDelayMs": 2**40, "maxDelayMs": 5}}},
            ["configuration.retryPolicy.firstDelayMs"],
        ),
    ],
)
async def test_faults_of_a_registration_too(body: object, fields: list[str]) -> None:
    assert await _fields(APPS, body) == fields


@pytest.mark.parametrize(
    "changes",
    [
        {"27": 1, "unknown": {"a": [1, 2.5]}},
        {"__proto__": {"x": 1}, "constructor": 1},
        {"status": "SUCCESS", "errorMessage": "x", "reconciliationHistory": [], "partitionId": 3},
        {"cronExpression": ""},
        {"scheduleId": "a675115c-0a0e-11ee-bebb-acde48001122"},
    ],
)
async def test_unknown_keys_are_passed_over(changes: dict[str, object]) -> None:
    rig = make_rig()
    assert (await rig.client.call("POST", SCHEDULES, schedule_body(**changes))).status == 200
