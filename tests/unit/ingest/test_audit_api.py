"""The audit log over HTTP: what each route leaves in it, and how it is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any
from uuid import uuid4

import pytest
from starlette.routing import Route
from tests.unit.ingest.rig import NOW_MS, NOW_S, Client, Rig, http_callback, make_rig, schedule_body

from ringtime_ingest.http import create_app
from ringtime_ingest.http.changing import is_noted
from ringtime_shared.access import KeyChecks, Scope
from ringtime_shared.access.keys import make_key
from ringtime_shared.errors import VersionConflict
from ringtime_shared.models.audit import AuditEntry
from ringtime_shared.settings import ServerSettings

APP = "/goscheduler/apps/test"
SECRET = "hunter2-of-the-canary"
DAILY = {
    "cronExpression": "@daily",
    "timeZone": "UTC",
    "payload": SECRET,
    "callback": http_callback(headers={"Authorization": SECRET}),
}

#: Routes that write and leave nothing: single schedules and batches of them, what a receiver says of its run,
#: previews, and the health check.
NOT_NOTED = {
    "ScheduleRoutes.create",
    "ScheduleRoutes.create_flat",
    "ScheduleRoutes.change",
    "ScheduleRoutes.cancel",
    "ScheduleRoutes.put",
    "ScheduleRoutes.cancel_named",
    "BatchRoutes.create",
    "BatchRoutes.cancel",
    "CompletionRoutes.complete",
    "RecurringRoutes.preview",
    "HealthRoutes.answer",
}


@pytest.fixture
def rig() -> Rig:
    return make_rig()


async def entries(rig: Rig) -> list[AuditEntry]:
    return await rig.store.real.fetch_audit(0, 1 << 62, 1_000, is_oldest_first=True)


async def ok(rig: Rig, method: str, target: str, body: object = b"", **headers: str) -> Any:
    given = [(name.replace("_", "-"), value) for name, value in headers.items()]
    rig.clock.advance(1)
    reply = await rig.client.call(method, target, body, headers=given)
    assert reply.status < 300, reply.json
    return reply


def test_every_route_that_writes_is_noted_or_named_above(rig: Rig) -> None:
    app: Any = rig.client.app
    unnoted = {
        route.endpoint.__qualname__
        for route in app.routes
        if isinstance(route, Route)
        and {*(route.methods or ())} - {"GET", "HEAD"}
        and not is_noted(route.endpoint)
    }
    assert unnoted == NOT_NOTED


async def test_what_each_route_leaves(rig: Rig) -> None:
    new = {"appId": "new", "partitions": 2}
    await ok(rig, "POST", "/goscheduler/apps", new)
    await ok(rig, "PATCH", f"{APP}/configuration", {"httpTimeout": 2_000})
    await ok(rig, "POST", f"{APP}/configuration", {"httpTimeout": 3_000})
    await ok(rig, "DELETE", f"{APP}/configuration")
    await ok(rig, "POST", f"{APP}/deactivate")
    await ok(rig, "POST", f"{APP}/activate")
    secret = (await ok(rig, "POST", f"{APP}/signing-secrets")).json["data"]
    await ok(rig, "DELETE", f"{APP}/signing-secrets/{secret['secretId']}")
    await ok(rig, "PUT", f"{APP}/recurring/day", DAILY)
    await ok(rig, "PUT", f"{APP}/recurring/day", DAILY)  # nothing is changed
    await ok(rig, "PATCH", f"{APP}/recurring/day", {"payload": "{}"})
    await ok(rig, "POST", f"{APP}/recurring/day/pause", {"reason": "holidays"})
    await ok(rig, "POST", f"{APP}/recurring/day/resume")
    await ok(rig, "POST", f"{APP}/recurring/day/trigger")
    past = {"from": NOW_S - 3 * 86_400, "to": NOW_S}
    await ok(rig, "POST", f"{APP}/recurring/day/backfill", past | {"dryRun": True})
    await ok(rig, "POST", f"{APP}/recurring/day/backfill", past)
    await ok(rig, "DELETE", f"{APP}/recurring/day")
    await ok(rig, "PUT", f"{APP}/calendars/off", {"dates": ["2030-12-25"]})
    await ok(rig, "DELETE", f"{APP}/calendars/off")
    job = (await ok(rig, "POST", f"{APP}/bulk-action/delete?start_time={NOW_S}")).json["data"]["job"]
    await ok(rig, "POST", f"{APP}/bulk-action/delete?start_time={NOW_S}&dry_run=true")
    await ok(rig, "DELETE", f"{APP}/jobs/{job['jobId']}")
    await ok(rig, "POST", f"{APP}/dead-letters/replay", {"startTime": NOW_S - 60})
    made = (
        await ok(
            rig, "POST", "/goscheduler/schedules", schedule_body(cronExpression="@daily", scheduleTime=...)
        )
    ).json
    recurring = made["data"]["schedule"]
    await ok(rig, "POST", f"/goscheduler/schedules/{recurring['scheduleId']}/trigger")
    await ok(rig, "DELETE", f"/goscheduler/schedules/{recurring['scheduleId']}")
    await ok(rig, "DELETE", "/goscheduler/apps/new")
    found = await entries(rig)
    assert [(entry.action, entry.subject) for entry in found] == [
        ("apps create", "new"),
        ("apps configure", "test"),
        ("apps configure", "test"),
        ("apps configure", "test"),
        ("apps deactivate", "test"),
        ("apps activate", "test"),
        ("signing-secrets create", "test"),
        ("signing-secrets delete", "test"),
        ("recurring put", "test/day"),
        ("recurring patch", "test/day"),
        ("recurring pause", "test/day"),
        ("recurring resume", "test/day"),
        ("recurring trigger", "test/day"),
        ("recurring backfill", "test/day"),
        ("recurring delete", "test/day"),
        ("calendars put", "test/off"),
        ("calendars delete", "test/off"),
        ("schedules bulk delete", job["jobId"]),
        ("schedules jobs cancel", job["jobId"]),
        ("deadletters replay", "test"),
        ("recurring put", f"test/{recurring['name']}"),
        ("recurring trigger", f"test/{recurring['name']}"),
        ("recurring delete", f"test/{recurring['name']}"),
        ("apps delete", "new"),
    ]
    assert {entry.app_id for entry in found} == {"test", "new"}
    assert (found[1].before, found[1].after) == (
        '{"configuration":{}}',
        '{"configuration":{"httpTimeout":2000}}',
    )
    assert json.loads(found[6].after)["signingSecrets"] == [
        {name: secret[name] for name in ("secretId", "createdAt")}
    ]
    log = json.dumps([(entry.before, entry.after) for entry in found])
    assert SECRET not in log
    assert secret["secret"] not in log


async def test_no_secret_of_hooks_or_callbacks_is_in_the_log(rig: Rig) -> None:
    """What the API masks, the log masks; a callback is its type and destination alone."""
    leaky = http_callback(
        url=f"https://example.com/hook?key={SECRET}",
        headers={"Authorization": f"Bearer {SECRET}", "X-Api-Key": SECRET},
    )
    await ok(rig, "PATCH", f"{APP}/configuration", {"hooks": {"onFailure": leaky}})
    body = DAILY | {"callback": leaky, "hooks": {"onSuccess": leaky}}
    await ok(rig, "PUT", f"{APP}/recurring/day", body)
    await ok(rig, "PUT", f"{APP}/recurring/day", body | {"payload": f"{SECRET}!", "overlapPolicy": "skip"})
    hooked, made, changed = await entries(rig)
    assert "onFailure" in json.loads(hooked.after)["configuration"]["hooks"]
    shown = json.loads(made.after)
    assert (shown["callbackType"], shown["hooks"]) == ("http", ["onSuccess"])
    assert json.loads(changed.after)["payloadBytes"] == len(SECRET) + 1
    assert json.loads(changed.before)["overlapPolicy"] == "allow"
    assert SECRET not in json.dumps([str(entry) for entry in await entries(rig)])
    for path in ("/goscheduler/audit", f"{APP}/audit"):
        assert SECRET not in (await ok(rig, "GET", path)).body.decode()


async def test_single_schedules_and_batches_leave_nothing(rig: Rig) -> None:
    made = (await ok(rig, "POST", "/goscheduler/schedules", schedule_body())).json["data"]["schedule"]
    await ok(rig, "DELETE", f"/goscheduler/schedules/{made['scheduleId']}")
    await ok(rig, "POST", "/goscheduler/schedules/batch", {"schedules": [schedule_body()]})
    assert await entries(rig) == []


async def test_reason_and_request_id_are_kept_and_the_id_is_answered(rig: Rig) -> None:
    reply = await ok(
        rig, "POST", f"{APP}/deactivate", X_Request_Id="deploy-1812", X_Audit_Reason="because of ü"
    )
    assert reply.headers["x-request-id"] == "deploy-1812"
    (entry,) = await entries(rig)
    assert (entry.request_id, entry.reason, entry.operator) == ("deploy-1812", "because of ü", "anybody")


async def test_an_id_is_made_and_a_refusal_has_it_too(rig: Rig) -> None:
    made = await ok(rig, "POST", f"{APP}/deactivate")
    refused = await rig.client.call("POST", f"{APP}/deactivate")
    assert refused.status == 400
    ids = [reply.headers["x-request-id"] for reply in (made, refused)]
    assert len({*ids}) == 2
    assert [entry.request_id for entry in await entries(rig)] == ids[:1]


async def test_a_recurring_schedule_that_is_posted_is_answered_with_the_id_of_its_entry(rig: Rig) -> None:
    body = schedule_body(scheduleTime=..., cronExpression="0 9 * * *")
    ids = []
    for path in ("schedules", "schedule"):
        made = await rig.client.call("POST", f"/goscheduler/{path}", body)
        assert made.status == 200
        ids.append(made.headers["x-request-id"])
    assert {entry.request_id for entry in await entries(rig)} == {*ids}
    assert len({*ids}) == 2


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ([("X-Request-Id", "a b")], "X-Request-Id"),
        ([("X-Request-Id", "a" * 129)], "X-Request-Id"),
        ([("X-Request-Id", "a"), ("X-Request-Id", "b")], "X-Request-Id"),
        ([("X-Audit-Reason", "a" * 501)], "X-Audit-Reason"),
        ([("X-Audit-Reason", "a\x1bb")], "X-Audit-Reason"),
    ],
)
async def test_bad_headers_are_refused_by_name(rig: Rig, headers: Any, field: str) -> None:
    reply = await rig.client.call("POST", f"{APP}/deactivate", headers=headers)
    assert (reply.status, [each["field"] for each in reply.json["status"]["errors"]]) == (400, [field])
    assert rig.apps["test"].active
    assert await entries(rig) == []


async def test_a_change_that_others_were_faster_with_is_noted_as_failed_and_again(rig: Rig) -> None:
    rig.store.fail("replace_app", VersionConflict("they were faster"))
    await ok(rig, "POST", f"{APP}/deactivate")
    found = await entries(rig)
    assert sorted(entry.action for entry in found) == [
        "apps deactivate",
        "apps deactivate",
        "apps deactivate failed",
    ]
    (failed,) = [entry for entry in found if entry.about is not None]
    assert failed.about in {entry.entry_id for entry in found if entry is not failed}


async def put_many(rig: Rig, count: int, change: Callable[[int], dict[str, Any]]) -> list[AuditEntry]:
    made = [
        replace(
            AuditEntry(
                entry_id=uuid4(), at_ms=NOW_MS - 1_000 * n, operator="ana", action="drain", subject="n"
            ),
            **change(n),
        )
        for n in range(count)
    ]
    for entry in made:
        await rig.store.real.put_audit(entry)
    return made


async def ids_of(rig: Rig, target: str) -> list[list[str]]:
    """Return the ids of all pages."""
    pages, token = [], ""
    while True:
        sign = "&" if "?" in target else "?"
        data = (await ok(rig, "GET", f"{target}{sign}continuation_token={token}")).json["data"]
        pages.append([each["entryId"] for each in data["entries"]])
        token = data["continuationToken"]
        if not token:
            return pages


async def test_pages_of_one_app_and_of_all(rig: Rig) -> None:
    made = await put_many(rig, 7, lambda n: {"app_id": "test" if n % 2 else "idle" if n else ""})
    ids = [str(each.entry_id) for each in made]
    assert await ids_of(rig, "/goscheduler/audit?size=3") == [ids[:3], ids[3:6], ids[6:]]
    assert await ids_of(rig, f"{APP}/audit?size=2") == [[ids[1], ids[3]], [ids[5]]]


async def test_filters_and_ends(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringtime_ingest.service.audit._READ", 5)
    monkeypatch.setattr("ringtime_ingest.service.audit._MOST_READ", 10)
    made = await put_many(
        rig, 40, lambda n: {"operator": "bob" if n % 10 == 9 else "ana", "action": f"apps {n % 2}"}
    )
    ids = [str(each.entry_id) for each in made]
    pages = await ids_of(rig, "/goscheduler/audit?actor=bob&size=3")
    assert [*chain(*pages)] == ids[9::10]
    assert len(pages) > 2  # a call looks at so many at most
    assert [*chain(*await ids_of(rig, "/goscheduler/audit?action=apps%201&size=7"))] == ids[1::2]
    start, end = NOW_S - 20, NOW_S - 10
    assert await ids_of(rig, f"/goscheduler/audit?start_time={start}&end_time={end}") == [ids[11:21]]
    entry = (await ok(rig, "GET", "/goscheduler/audit?size=1")).json["data"]["entries"][0]
    assert entry == {
        "entryId": ids[0],
        "at": "2027-01-15T08:00:00.250Z",
        "actor": "ana",
        "action": "apps 0",
        "subject": "n",
        "before": None,
        "after": None,
    }


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("size=0", "size"),
        ("size=1001", "size"),
        ("start_time=x", "start_time"),
        (f"start_time={NOW_S + 5}", "start_time"),
        ("start_time=2020-01-01T00:00:00Z", "start_time"),
        ("continuation_token=x", "continuation_token"),
        (f"actor={'a' * 257}", "actor"),
        (f"action={'a' * 65}", "action"),
    ],
)
async def test_bad_queries_are_refused_by_name(rig: Rig, query: str, field: str) -> None:
    for path in (f"{APP}/audit", "/goscheduler/audit"):
        reply = await rig.client.call("GET", f"{path}?{query}")
        assert (reply.status, [each["field"] for each in reply.json["status"]["errors"]]) == (400, [field])


async def test_a_token_of_another_app_is_none(rig: Rig) -> None:
    await put_many(rig, 3, lambda _: {"app_id": "test"})
    token = (await ok(rig, "GET", f"{APP}/audit?size=1")).json["data"]["continuationToken"]
    for path in ("/goscheduler/audit", "/goscheduler/apps/idle/audit"):
        assert (await rig.client.call("GET", f"{path}?continuation_token={token}")).status == 400


async def test_a_key_is_who_did_it(rig: Rig) -> None:
    text, key = make_key([Scope.APPS_ADMIN], ["test"], label="ci", now_ms=1)
    await rig.store.real.put_key(key)
    keys = KeyChecks(rig.store, rig.clock)  # type: ignore[arg-type]

    async def ready() -> None:
        return None

    client = Client(create_app(rig.service, ServerSettings(), ready, keys=keys))
    headers = [("Authorization", f"Bearer {text}")]
    await put_many(rig, 2, lambda n: {"app_id": "idle" if n else ""})
    assert (await client.call("POST", f"{APP}/deactivate", headers=headers)).status == 200
    (seen,) = (await client.call("GET", f"{APP}/audit", headers=headers)).json["data"]["entries"]
    assert (seen["actor"], seen["appId"]) == (f"key {key.key_id}", "test")
    assert (await client.call("GET", "/goscheduler/audit", headers=headers)).status == 403
    assert text not in json.dumps([str(entry) for entry in await entries(rig)])
    await keys.close()


async def test_an_app_that_is_gone_has_its_log_and_one_that_never_was_has_none(rig: Rig) -> None:
    await put_many(rig, 1, lambda _: {"app_id": "gone"})
    assert len((await ok(rig, "GET", "/goscheduler/apps/gone/audit")).json["data"]["entries"]) == 1
    assert (await rig.client.call("GET", "/goscheduler/apps/never/audit")).json["status"][
        "statusCode"
    ] == 4001
    assert (await ok(rig, "GET", f"{APP}/audit")).json["data"]["entries"] == []
