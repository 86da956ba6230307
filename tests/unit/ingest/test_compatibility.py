"""What clients of goscheduler see: the README's examples, and each decision of docs/compatibility.md."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.ingest.rig import NOW_S, Rig, http_callback, make_rig, schedule_body

from ringtime_shared.errors import StoreUnavailable
from ringtime_shared.settings import ServerSettings

SUCCESS = {"statusMessage": "Success", "statusType": "Success"}


@pytest.fixture
def rig() -> Rig:
    return make_rig()


async def _create(rig: Rig, path: str = "/goscheduler/schedules", **changes: object) -> Any:
    reply = await rig.client.call("POST", path, schedule_body(**changes))
    assert reply.status == 200, reply.body
    return reply.json


@pytest.mark.parametrize("path", ["/goscheduler/app", "/goscheduler/apps"])
async def test_readme_registration(rig: Rig, path: str) -> None:
    body = {"appId": "readme", "partitions": 5, "active": True}
    reply = await rig.client.call("POST", path, body)
    assert reply.status == 200
    assert reply.json == {
        "status": {"statusCode": 201, **SUCCESS, "totalCount": 1},
        "data": {"appId": "readme", "partitions": 5, "active": True, "configuration": {}},
    }


async def test_readme_create_has_flat_data(rig: Rig) -> None:
    sent = schedule_body()
    answer = await _create(rig, "/goscheduler/schedule")
    assert answer["status"] == {"statusCode": 201, **SUCCESS, "totalCount": 1}
    shown = {key: answer["data"][key] for key in ("appId", "payload", "scheduleTime", "callback")}
    assert shown == {key: sent[key] for key in shown}
    assert len(answer["data"]["scheduleId"]) == 36


async def test_plural_create_nests_the_schedule(rig: Rig) -> None:
    answer = await _create(rig)
    assert list(answer["data"]) == ["schedule"]


@pytest.mark.parametrize("word", ["schedule", "schedules"])
async def test_readme_read_nests_the_schedule_in_the_seeds_key_order(rig: Rig, word: str) -> None:
    made = (await _create(rig))["data"]["schedule"]
    reply = await rig.client.call("GET", f"/goscheduler/{word}/{made['scheduleId']}")
    assert reply.status == 200
    assert reply.json["status"] == {"statusCode": 200, **SUCCESS, "totalCount": 1}
    shown = reply.json["data"]["schedule"]
    seed_keys = [
        "scheduleId",
        "payload",
        "appId",
        "scheduleTime",
        "partitionId",
        "scheduleGroup",
        "callback",
        "status",
    ]
    assert list(shown)[:8] == seed_keys
    assert shown["scheduleGroup"] == shown["scheduleTime"] // 60 * 60
    assert (shown["partitionId"], shown["status"]) == (4, "SCHEDULED")
    assert shown["callback"] == schedule_body()["callback"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_healthcheck_answers_any_method(rig: Rig, method: str) -> None:
    rig.store.failure = RuntimeError("healthcheck must not touch the store")
    reply = await rig.client.call(method, "/goscheduler/healthcheck")
    assert (reply.status, reply.json) == (200, {"status": "Success", "code": 200})


async def test_keys_are_matched_in_any_case(rig: Rig) -> None:
    details = {
        "URL": "http://127.0.0.1/x",
        "Method": "GET",
        "HEADERS": {"X-A": "1"},
        "Extra": {"Kept": [1.5]},
    }
    body = {
        "APPID": "test",
        "Payload": "x",
        "scheduletime": NOW_S,
        "CallBack": {"TYPE": "http", "Details": details},
    }
    reply = await rig.client.call("POST", "/goscheduler/schedules", body)
    assert reply.status == 200, reply.body
    assert reply.json["data"]["schedule"]["callback"]["details"] == {
        "url": "http://127.0.0.1/x",
        "method": "GET",
        "headers": {"X-A": "1"},
        "Extra": {"Kept": [1.5]},
    }


async def test_empty_payload_is_allowed_as_the_readme_says(rig: Rig) -> None:
    assert (await _create(rig, payload=""))["data"]["schedule"]["payload"] == ""


async def test_null_headers_are_none(rig: Rig) -> None:
    await _create(rig, callback=http_callback(headers=None))


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/goscheduler/schedules/", "/goscheduler/schedules"),
        ("/goscheduler/apps/?app_id=test", "/goscheduler/apps?app_id=test"),
        ("/goscheduler/app/test/activate/", "/goscheduler/app/test/activate"),
        ("/goscheduler/apps%2f", "/goscheduler/apps"),
        ("/goscheduler/schedule/a%0d%0ab/", "/goscheduler/schedule/a%0D%0Ab"),
    ],
)
async def test_trailing_slash_redirects_as_the_seed_does(rig: Rig, target: str, location: str) -> None:
    reply = await rig.client.call("POST", target)
    assert (reply.status, reply.headers["location"]) == (301, location)


async def test_redirect_stays_on_this_server(rig: Rig) -> None:
    assert (await rig.client.call("GET", "//evil.example/")).status == 404


async def test_q4_http_status_of_a_create_is_a_setting() -> None:
    rig = make_rig(ServerSettings(created_http_status=201))
    assert (await rig.client.call("POST", "/goscheduler/schedules", schedule_body())).status == 201
    assert (await rig.client.call("POST", "/goscheduler/app", {"appId": "new"})).status == 201
    made = await rig.client.call("POST", "/goscheduler/apps/new/activate")
    assert (made.status, made.json["status"]["statusCode"]) == (200, 201)


async def test_q5_activation_answers_in_both_spellings(rig: Rig) -> None:
    for word, active in (("deactivate", False), ("activate", True)):
        reply = await rig.client.call("POST", f"/goscheduler/apps/test/{word}")
        assert reply.json == {
            "status": {"statusCode": 201, **SUCCESS, "totalCount": 0},
            "data": {"appId": "test", "Active": active, "active": active},
        }


async def test_q6_an_empty_list_is_a_list(rig: Rig) -> None:
    rig.apps.clear()
    reply = await rig.client.call("GET", "/goscheduler/apps")
    assert (reply.status, reply.json["data"]) == (200, {"apps": []})
    assert reply.json["status"]["totalCount"] == 0


async def test_q7_unknown_app_in_a_list_is_404(rig: Rig) -> None:
    reply = await rig.client.call("GET", "/goscheduler/apps?app_id=gone")
    assert (reply.status, reply.json["status"]["statusCode"]) == (404, 404)


@pytest.mark.parametrize("time", [NOW_S, NOW_S + 0.25, "2027-01-15T08:00:00Z"])
async def test_q8_a_schedule_for_the_current_second_is_accepted(rig: Rig, time: object) -> None:
    assert (await _create(rig, scheduleTime=time))["data"]["schedule"]["scheduleTime"] == NOW_S


async def test_q9_no_empty_objects_of_old_callbacks(rig: Rig) -> None:
    shown = (await _create(rig))["data"]["schedule"]
    assert {"airbusCallback", "httpCallback", "reconciliationHistory"}.isdisjoint(shown)


async def test_q10_http_settings_of_an_app_are_kept(rig: Rig) -> None:
    configuration = {"httpRetries": 7, "httpTimeout": 500, "payloadSize": 0}
    body = {"appId": "new", "configuration": configuration}
    reply = await rig.client.call("POST", "/goscheduler/apps", body)
    assert reply.json["data"]["configuration"] == {"httpRetries": 7, "httpTimeout": 500}
    kept = rig.apps["new"].configuration
    assert (kept.http_attempts, kept.http_timeout_ms, kept.payload_bytes) == (7, 500, None)


async def test_q11_registering_again_replaces_all_but_the_quota(rig: Rig) -> None:
    body = {"appId": "test", "partitions": 5, "active": False, "configuration": {"payloadSize": 9}}
    reply = await rig.client.call("POST", "/goscheduler/apps", body)
    assert (reply.status, reply.json["data"]) == (200, body)
    reply = await rig.client.call("POST", "/goscheduler/apps", body | {"partitions": 4})
    assert (reply.status, rig.apps["test"].writable) == (409, 5)


@pytest.mark.parametrize("target", ["/goscheduler/apps", "/goscheduler/apps?app_id=test"])
async def test_q12_store_trouble_is_no_empty_list(rig: Rig, target: str) -> None:
    rig.store.failure = StoreUnavailable("down")
    assert (await rig.client.call("GET", target)).status == 503


async def test_missing_active_is_false_and_missing_partitions_the_default(rig: Rig) -> None:
    reply = await rig.client.call("POST", "/goscheduler/apps", {"appId": "new", "partitions": 0})
    assert reply.json["data"] == {"appId": "new", "partitions": 5, "active": False, "configuration": {}}


async def test_q14_missing_callback_is_an_answer_not_a_cut_connection(rig: Rig) -> None:
    reply = await rig.client.call("POST", "/goscheduler/schedules", schedule_body(callback=...))
    assert (reply.status, reply.json["status"]["statusCode"]) == (400, 400)


async def test_what_the_client_says_of_status_is_not_echoed(rig: Rig) -> None:
    own = "a675115c-0a0e-11ee-bebb-acde48001122"
    shown = (await _create(rig, status="FAILURE", errorMessage="x", scheduleId=own))["data"]["schedule"]
    assert (shown["status"], "errorMessage" in shown) == ("SCHEDULED", False)
    assert shown["scheduleId"] != own


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("schedules/batch", "POST"),
        ("schedule/batch-cancel", "POST"),
        ("apps/test/recurring/preview", "POST"),
    ],
)
async def test_a_path_that_is_spelt_out_is_no_name(rig: Rig, target: str, allowed: str) -> None:
    reply = await rig.client.call("DELETE", f"/goscheduler/{target}")
    assert (reply.status, reply.headers["allow"]) == (405, allowed)
    put = await rig.client.call("PUT", "/goscheduler/apps/test/recurring/preview2", {})
    assert put.status == 400  # another name
