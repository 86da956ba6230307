"""Batches over HTTP: each item has its own result, in order, and a bad one sinks no other."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest
from tests.unit.ingest.cases import SCHEDULES, Case
from tests.unit.ingest.rig import NOW_MS, NOW_S, Reply, Rig, dumps, http_callback, make_rig, schedule_body
from tests.unit.ingest.test_bad_input import CASES
from tests.unit.spy_store import spin

from ringtime_ingest.service.batches import STINT
from ringtime_shared.errors import ClockInDoubt, OutcomeUnknown, StoreUnavailable
from ringtime_shared.models.schedule import Outcome, Status
from ringtime_shared.settings import ServerSettings

BATCH, CANCEL = f"{SCHEDULES}/batch", f"{SCHEDULES}/batch-cancel"
GOOD = dumps(schedule_body())


def _is_one_value(case: Case) -> bool:
    try:
        json.loads(case.body.decode())
    except (ValueError, RecursionError):
        return False
    return len(case.body) <= ServerSettings().max_body_bytes


ITEMS = [
    case
    for case in CASES
    if (case.method, case.target, case.headers) == ("POST", SCHEDULES, ()) and _is_one_value(case)
]


async def create(rig: Rig, *items: object) -> Reply:
    return await rig.client.call("POST", BATCH, {"schedules": items})


def counts(reply: Reply) -> tuple[int, int, int]:
    data = reply.json["data"]
    return data["done"], data["failed"], data["unknown"]


def error_of(result: dict[str, Any]) -> tuple[int, str, list[str]]:
    status = result["status"]
    assert status["statusType"] == "Fail"
    return status["statusCode"], status["error"], [each["field"] for each in status["errors"]]


async def test_each_item_is_answered_as_alone_and_in_order() -> None:
    rig = make_rig()
    await rig.client.call("POST", "/goscheduler/apps", {"appId": "other", "active": True})
    items = [schedule_body(payload=str(n), appId=("test", "other")[n % 2]) for n in range(120)]
    reply = await create(rig, *items)
    assert reply.status == 200
    assert reply.json["status"]["statusCode"] == 200
    assert reply.json["status"]["totalCount"] == 120
    assert counts(reply) == (120, 0, 0)
    shown = [result["schedule"] for result in reply.json["data"]["results"]]
    assert [(each["payload"], each["appId"]) for each in shown] == [
        (each["payload"], each["appId"]) for each in items
    ]
    for each in (shown[0], shown[-1]):
        alone = await rig.client.call("GET", f"{SCHEDULES}/{each['scheduleId']}")
        assert alone.json["data"]["schedule"] == each
    assert len(rig.rows) == len({each["scheduleId"] for each in shown}) == 120


async def test_recurring_schedules_are_not_created_in_a_batch_and_runs_are_cancelled_in_one() -> None:
    rig = make_rig()
    cron = schedule_body(scheduleTime=..., cronExpression="* * * * *")
    reply = await create(rig, cron, schedule_body())
    assert counts(reply) == (1, 1, 0)
    assert error_of(reply.json["data"]["results"][0])[2] == ["cronExpression"]
    recurring_id = (await rig.client.call("POST", SCHEDULES, cron)).json["data"]["schedule"]["scheduleId"]
    runs = f"{SCHEDULES}/{recurring_id}/runs"
    [run] = (await rig.client.call("GET", runs)).json["data"]["schedules"]
    cancels = {"scheduleIds": [run["scheduleId"], recurring_id]}
    cancelled = await rig.client.call("POST", f"{SCHEDULES}/batch-cancel", cancels)
    first, second = cancelled.json["data"]["results"]
    assert first["schedule"]["status"] == "DELETED"
    assert error_of(second)[1] == "NOT_FOUND"
    assert (await rig.client.call("GET", f"{SCHEDULES}/{recurring_id}")).json["data"]["schedule"][
        "state"
    ] == "ACTIVE"


async def test_the_singular_path_is_the_same() -> None:
    rig = make_rig()
    reply = await rig.client.call("POST", "/goscheduler/schedule/batch", {"schedules": [schedule_body()]})
    (result,) = reply.json["data"]["results"]
    cancel = {"scheduleIds": [result["schedule"]["scheduleId"]]}
    assert (await rig.client.call("POST", "/goscheduler/schedule/batch-cancel", cancel)).status == 200


def test_most_bad_requests_are_items_too() -> None:
    assert len(ITEMS) > 100


@pytest.fixture(scope="module")
def refusing() -> Rig:
    """One for all that is refused alone."""
    return make_rig()


@pytest.mark.parametrize("case", ITEMS, ids=[case.name for case in ITEMS])
async def test_a_bad_item_is_told_as_alone_and_sinks_no_other(refusing: Rig, case: Case) -> None:
    rig = make_rig()
    body = b'{"schedules":[' + GOOD + b" , " + case.body + b"\n," + GOOD + b"]}"
    reply = await rig.client.call("POST", BATCH, body)
    alone = await refusing.client.call("POST", SCHEDULES, case.body)
    assert (reply.status, counts(reply)) == (207, (2, 1, 0)), reply.body[:300]
    first, bad, last = reply.json["data"]["results"]
    assert bad == alone.json
    assert {UUID(each["schedule"]["scheduleId"]) for each in (first, last)} == rig.rows.keys()


@pytest.mark.parametrize(
    ("item", "code", "word", "field"),
    [
        (schedule_body(appId="nobody"), 4001, "NOT_FOUND", "appId"),
        (schedule_body(appId="idle"), 4002, "APP_INACTIVE", "appId"),
        (schedule_body(payload="x" * 1_025), 400, "INVALID_REQUEST", "payload"),
        (schedule_body(scheduleTime=NOW_S - 9), 400, "INVALID_REQUEST", "scheduleTime"),
        (
            schedule_body(callback=http_callback(url="ftp://x")),
            400,
            "INVALID_REQUEST",
            "callback.details.url",
        ),
    ],
)
async def test_what_only_the_service_can_tell_is_told_of_the_item(
    item: object, code: int, word: str, field: str
) -> None:
    rig = make_rig()
    reply = await create(rig, schedule_body(), item, schedule_body())
    assert counts(reply) == (2, 1, 0)
    assert error_of(reply.json["data"]["results"][1]) == (code, word, [field])


async def test_all_may_be_bad() -> None:
    rig = make_rig()
    reply = await create(rig, {}, 7, None, [])
    assert (reply.status, counts(reply)) == (207, (0, 4, 0))
    assert rig.store.names().count("put_rows") == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"[]", "body"),
        (b"{}", "schedules"),
        (b'{"schedules":[]}', "schedules"),
        (b'{"schedules": [ ] }', "schedules"),
        (b'{"schedules":null}', "schedules"),
        (b'{"schedules":{}}', "schedules"),
        (b'{"Schedules":7}', "schedules"),
        (b'{"items":[' + GOOD + b"]}", "items"),
        (b'{"schedules":[' + GOOD + b'],"dryRun":true}', "dryRun"),
        (b'{"schedules":[' + GOOD + b'],"schedules":[]}', "schedules"),
        (b'{"schedules":[' + GOOD + b",]}", "body"),
        (b'{"schedules":[' + GOOD + b" " + GOOD + b"]}", "body"),
        (b'{"schedules":[' + GOOD + b"]", "body"),
        (b'{"schedules":[' + GOOD, "body"),
        (b'{"schedules":[' + GOOD[:-1] + b"]}", "body"),
        (b'{"schedules":[' + GOOD + b"]}x", "body"),
        (b'{"schedules" [' + GOOD + b"]}", "body"),
        (b"{schedules:[" + GOOD + b"]}", "body"),
        (b'{"schedules":[' + GOOD.replace(b"test", b"te\xffst") + b"]}", "body"),
        (b'{"schedules":[' + b"[" * 20_000 + b"]" * 20_000 + b"]}", "body"),
        (b'{"schedules":[' + b"7," * 1_000 + b"7]}", "schedules"),
        (b'{"schedules":[' + b"[" * 100_000, "body"),
    ],
)
async def test_a_list_that_cannot_be_read_is_refused_as_a_whole(body: bytes, field: str) -> None:
    rig = make_rig()
    reply = await rig.client.call("POST", BATCH, body)
    assert reply.status == 400
    assert [each["field"] for each in reply.json["status"]["errors"]] == [field]
    assert rig.rows == {}


async def test_a_thousand_fit_and_one_more_does_not() -> None:
    rig = make_rig()
    assert counts(await create(rig, *[schedule_body()] * 1_000)) == (1_000, 0, 0)
    reply = await create(rig, *[schedule_body()] * 1_001)
    assert (reply.status, len(rig.rows)) == (400, 1_000)
    ids = [str(key) for key in rig.rows]
    assert (await rig.client.call("POST", CANCEL, {"scheduleIds": [*ids, ids[0]]})).status == 400


async def test_items_are_read_wherever_the_windows_end() -> None:
    """Sizes about 64 KiB, the window in which they are decoded, and items longer than it."""
    rig = make_rig()
    lengths = [65_000 + n for n in (0, 1, 2, 500, 535, 536, 537)] + [1, 2, 130_000, 3, 65_400, 90_000]
    items = [schedule_body(payload=str(n), more="é" * length) for n, length in enumerate(lengths)]
    for space in ("", " ", " " * 70_000):
        texts = [json.dumps(each, ensure_ascii=False) for each in items]
        body = f'{space}{{{space}"schedules"{space}:{space}[{space}' + f"{space},{space}".join(texts)
        reply = await rig.client.call("POST", BATCH, f"{body}{space}]{space}}}{space}".encode())
        shown = [result["schedule"]["payload"] for result in reply.json["data"]["results"]]
        assert shown == [str(n) for n in range(len(lengths))]


async def test_sizes_are_bounded_in_all_and_for_each_item() -> None:
    rig = make_rig(ServerSettings(max_body_bytes=65_536, max_batch_bytes=200_000))
    over = await rig.client.call("POST", BATCH, b" " * 200_001)
    assert (over.status, over.headers["connection"]) == (413, "close")
    long = schedule_body(more="x" * 65_536)
    reply = await create(rig, schedule_body(), long)
    assert (reply.status, rig.rows) == (400, {})
    assert "65,536" in reply.json["status"]["errors"][0]["rule"]


async def test_a_write_without_an_answer_leaves_only_its_own_items_unknown() -> None:
    rig = make_rig()
    rig.store.fail("put_rows", OutcomeUnknown("silence"), carried_out=True)
    reply = await create(rig, {}, *[schedule_body()] * 600)
    assert (reply.status, counts(reply)) == (207, (100, 1, 500))
    assert error_of(reply.json["data"]["results"][1])[:2] == (5004, "OUTCOME_UNKNOWN")
    assert len(rig.rows) == 600


async def test_a_write_that_is_refused_fails_its_own_items() -> None:
    rig = make_rig()
    rig.store.fail("put_rows", StoreUnavailable("10.0.0.7 refused"))
    reply = await create(rig, *[schedule_body()] * 600)
    assert counts(reply) == (100, 500, 0)
    assert error_of(reply.json["data"]["results"][0])[:2] == (5004, "STORE_UNAVAILABLE")
    assert b"10.0.0.7" not in reply.body
    assert len(rig.rows) == 100


async def test_a_clock_in_doubt_refuses_the_whole() -> None:
    rig = make_rig()
    rig.store.failure = ClockInDoubt("a year before 2020")
    reply = await create(rig, schedule_body())
    assert error_of(reply.json["data"]["results"][0])[1] == "CLOCK_IN_DOUBT"


async def test_others_get_their_turn_while_a_batch_is_worked_at() -> None:
    rig = make_rig()
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    await create(rig, *[schedule_body()] * 1_000)
    watching.cancel()
    assert turns >= 3 * 1_000 // STINT  # checks, rows, answer; and one for each window of the body


async def test_batches_leave_half_of_the_places_to_others() -> None:
    rig = make_rig(ServerSettings(max_concurrency=8))
    gate = rig.store.hold("put_rows")
    batches = [asyncio.create_task(create(rig, *[schedule_body()] * 100)) for _ in range(3)]
    await spin(50)
    assert [task.done() for task in batches] == [False, False, True]
    busy = await batches[2]
    assert (busy.status, busy.json["status"]["error"]) == (503, "SERVER_BUSY")
    assert "retry-after" in busy.headers
    single = asyncio.create_task(rig.client.call("POST", SCHEDULES, schedule_body()))
    await spin()
    gate.set()
    assert (await single).status == 200
    assert [counts(await task) for task in batches[:2]] == [(100, 0, 0)] * 2
    assert counts(await create(rig, schedule_body())) == (1, 0, 0), "the places are free again"


async def test_each_cancel_has_its_own_result() -> None:
    rig = make_rig()
    far = [
        each["schedule"]["scheduleId"]
        for each in (await create(rig, *[schedule_body()] * 3)).json["data"]["results"]
    ]
    near = (await create(rig, schedule_body(scheduleTime=NOW_S))).json["data"]["results"][0]["schedule"]
    over = (await create(rig, schedule_body())).json["data"]["results"][0]["schedule"]["scheduleId"]
    rig.end(
        UUID(over), Outcome(status=Status.SUCCESS, ended_ms=NOW_MS, fired_ms=NOW_MS, attempts=1, code=200)
    )
    unknown = str(UUID(int=UUID(over).int + 1))
    asked = [far[0], over, unknown, "x", 7, far[1], far[0].upper(), near["scheduleId"]]
    reply = await rig.client.call("POST", CANCEL, {"scheduleIds": asked})
    results = reply.json["data"]["results"]
    assert (reply.status, counts(reply)) == (207, (4, 4, 0))
    assert results[0]["schedule"]["status"] == results[5]["schedule"]["status"] == "DELETED"
    assert results[0] == results[6], "one that is named twice is answered twice"
    assert results[0].keys() == {"schedule"}
    assert results[7]["cancel"] == "best_effort"
    assert error_of(results[1]) == (409, "ALREADY_DONE", ["scheduleId"])
    assert results[1]["status"]["details"] == {"scheduleStatus": "SUCCESS"}
    assert error_of(results[2]) == (404, "NOT_FOUND", ["scheduleId"])
    assert error_of(results[3]) == error_of(results[4]) == (400, "INVALID_REQUEST", ["scheduleId"])
    assert rig.store.names().count("put_cancel") == 3
    assert rig.rows[UUID(far[2])].cancelled_ms is None


async def test_cancels_that_all_hold_are_200() -> None:
    rig = make_rig()
    ids = [
        each["schedule"]["scheduleId"]
        for each in (await create(rig, *[schedule_body()] * 60)).json["data"]["results"]
    ]
    reply = await rig.client.call("POST", CANCEL, {"scheduleIds": ids})
    assert (reply.status, counts(reply)) == (200, (60, 0, 0))
    again = await rig.client.call("POST", CANCEL, {"scheduleIds": ids})
    assert again.json["data"] == reply.json["data"], "cancelling twice is no error"


async def test_a_cancel_without_an_answer_is_unknown() -> None:
    rig = make_rig()
    ids = [
        each["schedule"]["scheduleId"]
        for each in (await create(rig, *[schedule_body()] * 2)).json["data"]["results"]
    ]
    rig.store.fail("put_cancel", OutcomeUnknown("silence"))
    reply = await rig.client.call("POST", CANCEL, {"scheduleIds": ids})
    assert (reply.status, counts(reply)) == (207, (1, 0, 1))
