"""Times, outcomes and cancels as clients see them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest
from tests.unit.ingest.rig import NOW_MS, NOW_S, Rig, make_rig, schedule_body

from ringtime_shared.models.schedule import Attempt, Outcome, Status

PATH = "/goscheduler/schedules"


@pytest.fixture
def rig() -> Rig:
    return make_rig()


async def _create(rig: Rig, **changes: object) -> Any:
    reply = await rig.client.call("POST", PATH, schedule_body(**changes))
    assert reply.status == 200, reply.body
    return reply.json["data"]["schedule"]


def _end(rig: Rig, schedule_id: str, outcome: Outcome) -> None:
    rig.end(UUID(schedule_id), outcome)


async def test_fire_time_is_shown_to_the_millisecond(rig: Rig) -> None:
    shown = await _create(rig, scheduleTime="2027-01-15T09:00:00.1234+00:30")
    assert shown["fireTime"] == "2027-01-15T08:30:00.124Z"
    assert shown["scheduleTime"] == 1_800_001_800


async def test_delay_counts_from_the_servers_now(rig: Rig) -> None:
    shown = await _create(rig, scheduleTime=..., delaySeconds=1.5)
    [row] = rig.rows.values()
    assert row.schedule.fire_ms == NOW_MS + 1_500
    assert shown["fireTime"] == "2027-01-15T08:00:01.750Z"


async def test_null_leaves_a_field_out(rig: Rig) -> None:
    await _create(rig, scheduleTime=None, delaySeconds=0, cronExpression=None)


async def test_success_tells_when_it_fired_and_how_late(rig: Rig) -> None:
    made = await _create(rig)
    fired_ms = (NOW_S + 60) * 1_000 + 12
    outcome = Outcome(status=Status.SUCCESS, ended_ms=fired_ms + 9, fired_ms=fired_ms, attempts=1, code=204)
    _end(rig, made["scheduleId"], outcome)
    shown = (await rig.client.call("GET", f"{PATH}/{made['scheduleId']}")).json["data"]["schedule"]
    assert shown["status"] == "SUCCESS"
    assert shown["firedAt"] == "2027-01-15T08:01:00.012Z"
    assert (shown["lagMs"], shown["attempts"], shown["httpCode"]) == (12, 1, 204)
    assert "errorMessage" not in shown


async def test_lag_of_a_create_in_the_past_counts_from_the_create(rig: Rig) -> None:
    made = await _create(rig, scheduleTime=NOW_S)
    _end(rig, made["scheduleId"], Outcome(status=Status.SUCCESS, ended_ms=NOW_MS + 9, fired_ms=NOW_MS + 5))
    shown = (await rig.client.call("GET", f"{PATH}/{made['scheduleId']}")).json["data"]["schedule"]
    assert shown["lagMs"] == 5


@pytest.mark.parametrize(("time", "lags"), [(NOW_S, [5, 1_005]), (NOW_S + 60, [-59_745, -58_745])])
async def test_all_lags_of_a_schedule_count_from_one_instant(rig: Rig, time: int, lags: list[int]) -> None:
    made = await _create(rig, scheduleTime=time)
    first = Attempt(at_ms=NOW_MS + 5, took_ms=1, code=500)
    fired_ms = NOW_MS + 1_005
    outcome = Outcome(status=Status.SUCCESS, ended_ms=fired_ms, fired_ms=fired_ms, attempts=2, log=(first,))
    _end(rig, made["scheduleId"], outcome)
    shown = (await rig.client.call("GET", f"{PATH}/{made['scheduleId']}")).json["data"]["schedule"]
    assert [each["lagMs"] for each in shown["attemptLog"]] == lags
    assert shown["attemptLog"][-1]["at"] == shown["firedAt"]
    assert shown["attemptLog"][-1]["lagMs"] == shown["lagMs"]


async def test_failure_tells_why_in_200_characters(rig: Rig) -> None:
    made = await _create(rig)
    _end(rig, made["scheduleId"], Outcome(status=Status.MISS, ended_ms=NOW_MS, error="x" * 300))
    shown = (await rig.client.call("GET", f"{PATH}/{made['scheduleId']}")).json["data"]["schedule"]
    assert (shown["status"], shown["errorMessage"], shown["attempts"]) == ("MISS", "x" * 200, 0)
    assert {"firedAt", "lagMs", "httpCode"}.isdisjoint(shown)


@pytest.mark.parametrize("word", ["schedule", "schedules"])
async def test_cancel_in_time_is_promised(rig: Rig, word: str) -> None:
    made = await _create(rig)
    reply = await rig.client.call("DELETE", f"/goscheduler/{word}/{made['scheduleId']}")
    assert (reply.status, reply.json["status"]["statusCode"]) == (200, 200)
    assert list(reply.json["data"]) == ["schedule"]
    assert reply.json["data"]["schedule"]["status"] == "DELETED"


async def test_cancel_within_a_second_is_best_effort(rig: Rig) -> None:
    made = await _create(rig)
    rig.clock.advance(59_000)
    reply = await rig.client.call("DELETE", f"{PATH}/{made['scheduleId']}")
    assert (reply.status, reply.json["status"]["statusCode"]) == (202, 202)
    assert reply.json["data"]["cancel"] == "best_effort"
    assert reply.json["data"]["schedule"]["scheduleId"] == made["scheduleId"]


async def test_cancel_of_what_is_done_is_a_conflict(rig: Rig) -> None:
    made = await _create(rig)
    _end(rig, made["scheduleId"], Outcome(status=Status.SUCCESS, ended_ms=NOW_MS))
    reply = await rig.client.call("DELETE", f"{PATH}/{made['scheduleId']}")
    assert (reply.status, reply.json["status"]["statusCode"]) == (409, 409)
    assert "SUCCESS" in reply.json["status"]["statusMessage"]


async def test_credentials_of_a_callback_are_kept_and_not_shown(rig: Rig) -> None:
    headers = {"Authorization": "Bearer canary", "Accept": "text/plain"}
    details = {"url": "http://127.0.0.1/?token=canary", "method": "GET", "headers": headers}
    sent = schedule_body(callback={"type": "http", "details": details})
    for path in (PATH, "/goscheduler/schedule"):
        reply = await rig.client.call("POST", path, sent)
        made = reply.json["data"].get("schedule", reply.json["data"])
        target = f"{PATH}/{made['scheduleId']}"
        for shown in (reply, await rig.client.call("GET", target), await rig.client.call("DELETE", target)):
            assert b"canary" not in shown.body
        assert made["callback"]["details"] == {
            "url": "http://127.0.0.1/?token=***",
            "method": "GET",
            "headers": {"Authorization": "***", "Accept": "text/plain"},
        }
        kept = rig.rows[UUID(made["scheduleId"])].schedule.callback_details
        assert orjson.loads(kept) == details


async def test_upper_case_id_names_the_same_schedule(rig: Rig) -> None:
    made = await _create(rig)
    assert (await rig.client.call("GET", f"{PATH}/{made['scheduleId'].upper()}")).status == 200
