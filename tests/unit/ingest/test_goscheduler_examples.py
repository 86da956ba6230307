"""The requests of goscheduler's README and wiki, as they stand there: each of its routes answers them."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.routing import Route
from tests.unit.ingest.rig import NOW_S, Reply, Rig, make_rig

from ringtime_ingest.http.gate import Gate
from ringtime_ingest.http.routes.metrics import _WORDS, _word_of

#: What the wiki sends with every request.
HEADERS = (("Accept", "application/json"), ("Content-Type", "application/json"))
CALLBACK = {
    "type": "http",
    "details": {
        "url": "http://127.0.0.1:8080/goscheduler/healthcheck",
        "method": "GET",
        "headers": {"Content-Type": "application/json", "Accept": "application/json"},
    },
}
UNKNOWN = "a675115c-0a0e-11ee-bebb-acde48001122"  #: of version 1, as goscheduler makes them


@pytest.fixture
def rig() -> Rig:
    return make_rig()


async def ask(
    rig: Rig, method: str, target: str, body: object = b"", *, code: int = 200, http: int = 200
) -> Any:
    """Return `data`; the two codes are as goscheduler has them."""
    reply = await rig.client.call(method, f"/goscheduler/{target}", body, headers=HEADERS)
    assert (reply.status, _code(reply)) == (http, code), reply.body
    return reply.json.get("data")


def _code(reply: Reply) -> object:
    return reply.json["status"]["statusCode"]


async def make_app(rig: Rig, app_id: str = "revamp") -> Any:
    return await ask(rig, "POST", "apps", {"appId": app_id, "partitions": 2, "active": True}, code=201)


async def make_cron(rig: Rig) -> dict[str, Any]:
    body = {"appId": "revamp", "payload": "{}", "cronExpression": "*/5 * * * *", "callback": CALLBACK}
    made: dict[str, Any] = (await ask(rig, "POST", "schedules", body, code=201))["schedule"]
    return made


async def test_an_app_is_registered_stopped_and_started(rig: Rig) -> None:
    shown = {"appId": "revamp", "partitions": 2, "active": True, "configuration": {}}
    assert await make_app(rig) == shown
    assert await make_app(rig, "Athena") == shown | {"appId": "Athena"}
    assert await ask(rig, "GET", "apps?app_id=revamp") == {"apps": [shown]}
    assert {app["appId"] for app in (await ask(rig, "GET", "apps"))["apps"]} >= {"revamp", "Athena"}
    assert (await ask(rig, "POST", "apps/revamp/deactivate", code=201))["Active"] is False
    await ask(rig, "POST", "apps/revamp/deactivate", code=4002, http=400)
    assert (await ask(rig, "POST", "apps/revamp/activate", code=201))["Active"] is True
    await ask(rig, "POST", "apps/revamp/activate", code=4003, http=400)
    await ask(rig, "POST", "apps", {"appId": "", "partitions": 2}, code=400, http=400)


async def test_a_schedule_is_created_read_and_deleted(rig: Rig) -> None:
    await make_app(rig)
    body = {"appId": "revamp", "payload": "{}", "scheduleTime": NOW_S + 60, "callback": CALLBACK}
    made = (await ask(rig, "POST", "schedules", body, code=201))["schedule"]
    assert made["callback"] == CALLBACK
    at = f"schedules/{made['scheduleId']}"
    assert (await ask(rig, "GET", at))["schedule"]["status"] == "SCHEDULED"
    assert (await ask(rig, "DELETE", at))["schedule"]["scheduleId"] == made["scheduleId"]
    await ask(rig, "GET", f"schedules/{UNKNOWN}", code=404, http=404)
    await ask(rig, "GET", "schedules/invalid-uuid", code=400, http=400)
    await ask(rig, "POST", "schedules", body | {"appId": "nobody"}, code=4001, http=400)


async def test_an_apps_schedules_are_listed_in_its_own_time(rig: Rig) -> None:
    """2027-01-15 08:00 UTC is 13:30 in its zone; its clients send both parts of a token back."""
    await make_app(rig)
    body = {"appId": "revamp", "payload": "{}", "scheduleTime": NOW_S + 60, "callback": CALLBACK}
    ids = {(await ask(rig, "POST", "schedules", body, code=201))["schedule"]["scheduleId"] for _ in range(3)}
    times = "start_time=2027-01-15%2013:30:00&end_time=2027-01-15%2014:30:00&zone=Asia/Kolkata"
    page = await ask(rig, "GET", f"apps/revamp/schedules?{times}&size=2&status=SCHEDULED")
    more = (
        f"&continuation_token={page['continuationToken']}"
        f"&continuation_start_time={page['continuationStartTime']}"
    )
    last = await ask(rig, "GET", f"apps/revamp/schedules?{times}&size=2&status=SCHEDULED{more}")
    assert {each["scheduleId"] for each in page["schedules"] + last["schedules"]} == ids
    assert last["continuationToken"] == ""
    assert (await ask(rig, "GET", "apps/revamp/schedules"))["schedules"] == []  # there: null


async def test_a_cron_its_list_and_its_runs(rig: Rig) -> None:
    await make_app(rig)
    cron = await make_cron(rig)
    assert (cron["cronExpression"], cron["status"], "scheduleTime" in cron) == (
        "*/5 * * * *",
        "SCHEDULED",
        False,
    )
    crons = await ask(rig, "GET", "crons/schedules?app_id=revamp&status=SCHEDULED")
    assert [each["scheduleId"] for each in crons] == [cron["scheduleId"]]
    at = f"schedules/{cron['scheduleId']}"
    assert (await ask(rig, "GET", at))["schedule"]["cronExpression"] == "*/5 * * * *"
    runs = await ask(rig, "GET", f"{at}/runs?when=future&size=10&continuation_token=")
    [run] = runs["schedules"]
    assert (run["scheduleTime"] % 300, run["appId"], runs["continuationToken"]) == (0, "revamp", "")
    assert (await ask(rig, "GET", f"{at}/runs?when=past"))["schedules"] == []  # there: 404
    for _ in range(2):
        assert (await ask(rig, "DELETE", at))["schedule"]["status"] == "DELETED"
    assert await ask(rig, "GET", "crons/schedules?app_id=revamp") == []  # there: 404
    assert len(await ask(rig, "GET", "crons/schedules?app_id=revamp&status=DELETED")) == 1


@pytest.mark.parametrize(
    "cron",
    ["0 0 * * *", "*/15 9,17 * * 1-5", "0 12 1 JAN,JUL *", "30 4 1-15 * SUN", "5/20 * * * *", "0 0 1 1 0"],
)
async def test_expressions_of_its_grammar_are_taken(rig: Rig, cron: str) -> None:
    await make_app(rig)
    body = {"appId": "revamp", "payload": "{}", "cronExpression": cron, "callback": CALLBACK}
    made = (await ask(rig, "POST", "schedules", body, code=201))["schedule"]
    assert made["cronExpression"] == cron


@pytest.mark.parametrize(("action", "status"), [("reconcile", "FAILURE"), ("delete", "SCHEDULED")])
async def test_bulk_actions(rig: Rig, action: str, status: str) -> None:
    await make_app(rig)
    times = "start_time=2027-01-15%2000:00:00&end_time=2027-01-16%2000:00:00"
    reply = await rig.client.call(
        "POST", f"/goscheduler/apps/revamp/bulk-action/{action}?{times}&status={status}", headers=HEADERS
    )
    assert (reply.status, _code(reply)) == (200, 200)
    assert isinstance(reply.json["remarks"], str)
    await ask(rig, "POST", "apps/revamp/bulk-action/remove", code=4005, http=400)  # there: HTTP 500


async def test_metrics_are_prometheus_text_under_its_names(rig: Rig) -> None:
    await make_app(rig)
    cron = await make_cron(rig)
    await ask(rig, "GET", f"schedules/{cron['scheduleId']}/runs")
    await ask(rig, "GET", f"schedules/{UNKNOWN}", code=404, http=404)
    await ask(rig, "GET", "nothing", code=404, http=404)
    reply = await rig.client.call("GET", "/metrics")
    assert (reply.status, reply.headers["content-type"].partition(";")[0]) == (200, "text/plain")
    lines = {line.rpartition(" ")[0]: line.rpartition(" ")[2] for line in reply.body.decode().splitlines()}
    told = {
        ("create_schedule", "Success"): "1",
        ("register_app", "Success"): "1",
        ("GetScheduleRuns", "Success"): "1",
        ("GetSchedule", "Fail"): "1",
        ("other", "Fail"): "1",
    }
    for (word, status), count in told.items():
        assert lines[f'http_requests_total{{request="{word}"}}'] == count
        assert lines[f'request_status{{request="{word}",status="{status}"}}'] == count
    assert lines["# TYPE http_requests_total"] == lines["# TYPE request_status"] == "counter"


def test_its_words_are_those_of_routes_there_are(rig: Rig) -> None:
    app = rig.client.app
    assert isinstance(app, Gate)
    words = {_word_of(route.endpoint) for route in app.routes if isinstance(route, Route)}
    assert words >= {*_WORDS.values()}
    assert "recurring_pause" in words


@pytest.mark.parametrize("spelling", [str.upper, str.lower])
async def test_ids_in_either_case(rig: Rig, spelling: Any) -> None:
    await make_app(rig)
    cron = await make_cron(rig)
    assert await ask(rig, "GET", f"schedules/{spelling(cron['scheduleId'])}")
    await ask(rig, "GET", f"schedules/{cron['scheduleId'].replace('-', '')}", code=400, http=400)


@pytest.mark.parametrize("name", ["Host", "Content-Length"])
async def test_a_header_that_its_go_client_passes_over_is_refused(rig: Rig, name: str) -> None:
    await make_app(rig)
    callback = {"type": "http", "details": {**CALLBACK["details"], "headers": {name: "1"}}}  # type: ignore[dict-item]
    body = {"appId": "revamp", "payload": "{}", "scheduleTime": NOW_S + 60, "callback": callback}
    await ask(rig, "POST", "schedules", body, code=400, http=400)


async def test_its_app_of_limits_is_refused_and_more_partitions_than_the_limit(rig: Rig) -> None:
    await ask(rig, "POST", "apps", {"appId": "maxConfig", "partitions": 1}, code=400, http=400)
    await ask(rig, "POST", "apps", {"appId": "wide", "partitions": 4_096}, code=201)
    await ask(rig, "POST", "apps", {"appId": "wider", "partitions": 4_097}, code=400, http=400)
