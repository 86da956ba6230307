"""What a schedule says of how it is sent: bytes, a timeout, a priority; from the request to the answer."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from tests.unit.ingest.rig import Rig, make_rig, schedule_body

from ringtime_shared.settings import AppLimits

SCHEDULES = "/goscheduler/schedules"
BYTES = bytes(range(256))
ALL = {"payload": b64encode(BYTES).decode(), "payloadEncoding": "base64", "timeoutMs": 50, "priority": "high"}
MOST_MS = AppLimits().max_http_timeout_ms


@pytest.fixture
def rig() -> Rig:
    return make_rig()


async def create(rig: Rig, **given: Any) -> dict[str, Any]:
    reply = await rig.client.call("POST", SCHEDULES, schedule_body(**given))
    assert reply.status == 200, reply.body
    shown: dict[str, Any] = reply.json["data"]["schedule"]
    return shown


async def patch(rig: Rig, shown: dict[str, Any], **given: Any) -> dict[str, Any]:
    reply = await rig.client.call("PATCH", f"{SCHEDULES}/{shown['scheduleId']}", given)
    assert reply.status == 200, reply.body
    changed: dict[str, Any] = reply.json["data"]["schedule"]
    return changed


async def test_it_comes_back_as_it_was_given_and_most_say_nothing(rig: Rig) -> None:
    shown = await create(rig, **ALL)
    assert {key: shown[key] for key in ALL} == ALL
    reply = await rig.client.call("GET", f"{SCHEDULES}/{shown['scheduleId']}")
    assert reply.json["data"]["schedule"] == shown
    plain = await create(rig, payloadEncoding="text", priority="normal")
    assert plain.keys().isdisjoint({"payloadEncoding", "timeoutMs", "priority"})


async def test_a_change_leaves_what_it_does_not_name(rig: Rig) -> None:
    shown = await create(rig, **ALL, delaySeconds=60, scheduleTime=None)
    assert {key: (await patch(rig, shown, timeoutMs=7))[key] for key in ALL} == ALL | {"timeoutMs": 7}
    text = await patch(rig, shown, payload="words", priority="low")
    assert (text["payload"], text["timeoutMs"], text["priority"]) == ("words", 7, "low")
    assert "payloadEncoding" not in text
    again = await patch(rig, shown, payload="AAE=", payloadEncoding="base64")
    assert (again["payload"], again["payloadEncoding"]) == ("AAE=", "base64")
    assert "changedTime" in again


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"payload": "AAE", "payloadEncoding": "base64"}, "payload"),
        ({"payload": "AA-_", "payloadEncoding": "base64"}, "payload"),
        ({"payload": "AA\n==", "payloadEncoding": "base64"}, "payload"),
        ({"payload": "zażółć", "payloadEncoding": "base64"}, "payload"),
        ({"payloadEncoding": "hex"}, "payloadEncoding"),
        ({"payloadEncoding": 64}, "payloadEncoding"),
        ({"timeoutMs": 0}, "timeoutMs"),
        ({"timeoutMs": MOST_MS + 1}, "timeoutMs"),
        ({"timeoutMs": "1"}, "timeoutMs"),
        ({"priority": "urgent"}, "priority"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_its_field(
    rig: Rig, given: dict[str, Any], field: str
) -> None:
    reply = await rig.client.call("POST", SCHEDULES, schedule_body(**given))
    assert reply.status == 400
    assert [each["field"] for each in reply.json["status"]["errors"]] == [field]


async def test_a_number_in_a_hook_that_does_not_fit_is_told_once(rig: Rig) -> None:
    details = {"url": "https://example.com/", "method": "POST", "own": 1 << 64}
    hooks = {"onFailure": {"type": "http", "details": details}}
    reply = await rig.client.call("POST", SCHEDULES, schedule_body(hooks=hooks))
    assert reply.status == 400
    wrong = [(each["field"], each["rule"]) for each in reply.json["status"]["errors"]]
    assert wrong == [("hooks.onFailure.details.own", "a whole number must fit 64 bits")]


async def test_the_size_is_that_of_the_bytes(rig: Rig) -> None:
    most = AppLimits().payload_bytes
    await create(rig, payload=b64encode(bytes(most)).decode(), payloadEncoding="base64")
    over = schedule_body(payload=b64encode(bytes(most + 1)).decode(), payloadEncoding="base64")
    reply = await rig.client.call("POST", SCHEDULES, over)
    assert [each["field"] for each in reply.json["status"]["errors"]] == ["payload"]


async def test_recurring_schedules_and_batches_have_it_too(rig: Rig) -> None:
    target = "/goscheduler/apps/test/recurring/nightly"
    body = {key: value for key, value in schedule_body(**ALL).items() if key in {*ALL, "callback"}}
    put = await rig.client.call("PUT", target, body | {"cronExpression": "0 2 * * *", "timeZone": "UTC"})
    assert {key: put.json["data"][key] for key in ALL} == ALL
    run = await rig.client.call("POST", f"{target}/trigger")
    assert {key: run.json["data"]["schedule"][key] for key in ALL} == ALL
    changed = (await rig.client.call("PATCH", target, {"payload": "words"})).json["data"]
    assert (changed["payload"], changed["timeoutMs"]) == ("words", 50)
    assert "payloadEncoding" not in changed
    batch = await rig.client.call("POST", f"{SCHEDULES}/batch", {"schedules": [schedule_body(**ALL)]})
    assert {key: batch.json["data"]["results"][0]["schedule"][key] for key in ALL} == ALL


async def test_a_change_takes_away_what_is_null(rig: Rig) -> None:
    """As a JSON Merge Patch, RFC 7396; but for what a create may not leave out."""
    hook = {"type": "http", "details": {"url": "https://example.com/", "method": "POST"}}
    more = {"labels": {"a": "b"}, "retryPolicy": {"factor": 1.5}, "hooks": {"onFailure": hook}}
    shown = await create(rig, **ALL, **more, delaySeconds=60, scheduleTime=None)
    same = dict.fromkeys(("payload", "payloadEncoding", "scheduleTime", "delaySeconds"))
    stays = await patch(rig, shown, **same, timeoutMs=ALL["timeoutMs"])
    assert {key: stays[key] for key in ALL | more} == {key: shown[key] for key in ALL | more}
    changed = await patch(rig, shown, timeoutMs=None, retryPolicy=None)
    assert changed.keys().isdisjoint({"timeoutMs", "retryPolicy"})
    changed = await patch(rig, shown, **dict.fromkeys(("priority", "hooks", "labels")))
    assert changed.keys().isdisjoint({"timeoutMs", "retryPolicy", "priority", "hooks", "labels"})
    assert changed["payload"] == ALL["payload"]
