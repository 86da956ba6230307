"""The routes of recurring schedules: goscheduler's own, and those by name."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from tests.unit.ingest.rig import NOW_MS, NOW_S, Reply, Rig, http_callback, make_rig, schedule_body

from ringtime_shared.ids import Kind, unpack_id
from ringtime_shared.models.recurring import Origin
from ringtime_shared.models.schedule import Row

SCHEDULES = "/goscheduler/schedules"
RECURRING = "/goscheduler/apps/test/recurring"
CRONS = "/goscheduler/crons/schedules"
WEEKDAYS = {"cronExpression": "30 9 * * MON-FRI", "timeZone": "Europe/Berlin"}


@pytest.fixture
def rig() -> Rig:
    return make_rig()


def body(**changes: object) -> dict[str, Any]:
    given: dict[str, object] = {**WEEKDAYS, "payload": "{}", "callback": http_callback(headers={"A": "1"})}
    return {key: value for key, value in (given | changes).items() if value is not ...}


async def put(rig: Rig, name: str = "nightly", headers: Any = (), **changes: object) -> Reply:
    return await rig.client.call("PUT", f"{RECURRING}/{name}", body(**changes), headers=headers)


async def made(rig: Rig, name: str = "nightly", **changes: object) -> dict[str, Any]:
    reply = await put(rig, name, **changes)
    assert reply.status == 200, reply.body
    data: dict[str, Any] = reply.json["data"]
    return data


def planned(rig: Rig) -> list[Row]:
    rows = [row for row in rig.rows.values() if row.schedule.run is not None]
    return [row for row in rows if row.schedule.run and row.schedule.run.origin is Origin.PLAN]


def faults(reply: Reply) -> list[str]:
    assert reply.status == 400, reply.body
    return [error["field"] for error in reply.json["status"]["errors"]]


async def test_a_cron_as_goscheduler_takes_it(rig: Rig) -> None:
    """The body of its README, but for the receiver."""
    sent = schedule_body(scheduleTime=..., cronExpression="*/5 * * * *")
    reply = await rig.client.call("POST", SCHEDULES, sent)
    assert (reply.status, reply.json["status"]["statusCode"], reply.json["status"]["totalCount"]) == (
        200,
        201,
        1,
    )
    shown = reply.json["data"]["schedule"]
    keys = ["scheduleId", "payload", "appId", "partitionId", "callback", "cronExpression"]
    assert list(shown)[:6] == keys
    assert (shown["status"], shown["timeZone"], shown["cronExpression"]) == (
        "SCHEDULED",
        "UTC",
        "*/5 * * * *",
    )
    assert unpack_id(UUID(shown["scheduleId"])).kind is Kind.RECURRING
    [run] = planned(rig)
    assert run.schedule.fire_ms == NOW_MS // 300_000 * 300_000 + 300_000
    by_id = await rig.client.call("GET", f"{SCHEDULES}/{shown['scheduleId']}")
    assert by_id.json["data"]["schedule"] == shown
    again = await rig.client.call("POST", "/goscheduler/schedule", sent)
    assert again.json["data"]["scheduleId"] != shown["scheduleId"]  # the README's flat form


@pytest.mark.parametrize("time", [{}, {"scheduleTime": 5}, {"scheduleTime": "soon"}, {"delaySeconds": -1}])
async def test_a_time_beside_a_cron_is_passed_over(rig: Rig, time: dict[str, object]) -> None:
    sent = schedule_body(**({"scheduleTime": ..., "cronExpression": "@daily"} | time))
    reply = await rig.client.call("POST", SCHEDULES, sent)
    assert reply.status == 200
    assert "scheduleTime" not in reply.json["data"]["schedule"]


@pytest.mark.parametrize(
    "cron", ["*/0 * * * *", "5/0 * * * *", "0 0 30 2 *", "* * * *", "x" * 201, "@reboot"]
)
async def test_a_cron_that_goscheduler_hangs_on_is_refused(rig: Rig, cron: str) -> None:
    reply = await rig.client.call("POST", SCHEDULES, schedule_body(scheduleTime=..., cronExpression=cron))
    assert faults(reply) == ["cronExpression"]


async def test_its_cron_app_is_an_app_like_others(rig: Rig) -> None:
    athena = {"appId": "Athena", "partitions": 2, "active": True}
    assert (await rig.client.call("POST", "/goscheduler/apps", athena)).status == 200
    sent = schedule_body(appId="Athena", scheduleTime=..., cronExpression="@hourly")
    assert (await rig.client.call("POST", SCHEDULES, sent)).status == 200
    unknown = schedule_body(appId="none", scheduleTime=..., cronExpression="@hourly")
    assert (await rig.client.call("POST", SCHEDULES, unknown)).json["status"]["statusCode"] == 4001


async def test_a_delete_is_soft_and_can_be_repeated(rig: Rig) -> None:
    shown = await made(rig)
    target = f"{SCHEDULES}/{shown['scheduleId']}"
    for _ in range(2):
        reply = await rig.client.call("DELETE", target)
        assert (reply.status, reply.json["data"]["schedule"]["status"]) == (200, "DELETED")
    assert (await rig.client.call("GET", target)).json["data"]["schedule"]["state"] == "DELETED"
    assert (await rig.client.call("GET", f"{RECURRING}/nightly")).status == 404
    assert (await rig.client.call("DELETE", f"{RECURRING}/nightly")).status == 404
    live = await rig.client.call("GET", f"{CRONS}?app_id=test")
    assert (live.status, live.json["data"]) == (200, [])
    deleted = await rig.client.call("GET", f"{CRONS}?app_id=test&status=DELETED")
    assert [each["name"] for each in deleted.json["data"]] == ["nightly"]


async def test_crons_are_a_bare_array_of_total_0(rig: Rig) -> None:
    for name in ("a", "b"):
        await made(rig, name)
    reply = await rig.client.call("GET", f"{CRONS}?app_id=test&status=SCHEDULED")
    assert (reply.status, reply.json["status"]["totalCount"]) == (200, 0)
    assert {each["name"] for each in reply.json["data"]} == {"a", "b"}
    assert faults(await rig.client.call("GET", CRONS)) == ["app_id"]
    assert faults(await rig.client.call("GET", f"{CRONS}?app_id=test&status=SCHEDULD")) == ["status"]


async def test_runs_say_whose_and_when(rig: Rig) -> None:
    shown = await made(rig, cronExpression="* * * * *")
    for target in (f"{SCHEDULES}/{shown['scheduleId']}/runs", f"{RECURRING}/nightly/runs"):
        reply = await rig.client.call("GET", target)
        assert reply.json["status"]["totalCount"] == 1
        [run] = reply.json["data"]["schedules"]
        assert run["parentScheduleId"] == shown["scheduleId"]
        assert (run["nominalTime"], run["origin"]) == (shown["nextNominalTime"], "PLAN")
        assert reply.json["data"]["continuationToken"] == ""
    future = await rig.client.call("GET", f"{RECURRING}/nightly/runs?when=future&size=1")
    assert len(future.json["data"]["schedules"]) == 1
    past = await rig.client.call("GET", f"{RECURRING}/nightly/runs?when=past")
    assert past.json["data"]["schedules"] == []
    wrong = await rig.client.call("GET", f"{RECURRING}/nightly/runs?when=soon&size=x")
    assert faults(wrong) == ["when", "size"]
    for query in ("size=0", "size=1001"):
        assert faults(await rig.client.call("GET", f"{RECURRING}/nightly/runs?{query}")) == ["size"]
    token = await rig.client.call("GET", f"{RECURRING}/nightly/runs?continuation_token=x")
    assert faults(token) == ["continuation_token"]


async def test_a_run_is_read_and_cancelled_as_a_schedule(rig: Rig) -> None:
    shown = await made(rig)
    target = f"{SCHEDULES}/{planned(rig)[0].schedule.schedule_id}"
    assert (await rig.client.call("GET", target)).json["data"]["schedule"]["status"] == "SCHEDULED"
    for _ in range(2):
        reply = await rig.client.call("DELETE", target)
        assert (reply.status, reply.json["data"]["schedule"]["status"]) == (200, "DELETED")
    after = (await rig.client.call("GET", f"{RECURRING}/nightly")).json["data"]
    assert after["nextNominalTime"] > shown["nextNominalTime"]


async def test_a_put_is_shown_as_it_was_asked_for(rig: Rig) -> None:
    asked: dict[str, Any] = {
        "startTime": "2027-02-01T00:00:00Z",
        "endTime": NOW_S + 90 * 86_400,
        "maxRuns": 7,
        "dstGap": "skip",
        "dstOverlap": "both",
        "windowShare": 0.5,
        "misfirePolicy": "all",
        "misfireMost": 3,
        "misfireAgeSeconds": 600,
        "overlapPolicy": "buffer_one",
        "atEnd": "delete",
        "retryPolicy": {"attempts": 2},
    }
    shown = await made(rig, **asked)
    same = asked.keys() - {"startTime", "endTime"}
    assert {key: shown[key] for key in same} == {key: asked[key] for key in same}
    assert shown["startTime"] == "2027-02-01T00:00:00.000Z"
    assert (shown["state"], shown["version"], shown["revision"]) == ("ACTIVE", 1, 1)
    assert shown == (await rig.client.call("GET", f"{RECURRING}/nightly")).json["data"]
    every = await made(
        rig,
        "every",
        cronExpression=...,
        interval={"every": 2, "unit": "weeks", "anchorTime": "2027-01-04T08:00:00Z"},
    )
    assert every["interval"] == {"every": 2, "unit": "weeks", "anchorTime": "2027-01-04T08:00:00.000Z"}
    listed = await rig.client.call("GET", RECURRING)
    assert {each["name"] for each in listed.json["data"]["recurring"]} == {"nightly", "every"}


async def test_a_window_whose_second_is_chosen_is_shown_as_a_range(rig: Rig) -> None:
    shown = await made(rig, cronExpression="0 0 * * *", windowMs=60_000, windowSpread="leastLoaded")
    assert shown["windowSpread"] == "leastLoaded"
    preview = await rig.client.call("GET", f"{RECURRING}/nightly/preview?size=1")
    (run,) = preview.json["data"]["runs"]
    assert run["nominalTime"] <= run["effectiveTime"] < run["effectiveUntil"]
    assert run["effectiveUntil"].endswith(":01:00.000Z")
    assert (shown["nextEffectiveTime"], shown["nextEffectiveUntil"]) == (
        run["effectiveTime"],
        run["effectiveUntil"],
    )
    hashed = await rig.client.call("PATCH", f"{RECURRING}/nightly", {"windowSpread": "hash"})
    assert "nextEffectiveUntil" not in hashed.json["data"]


async def test_revisions_are_matched(rig: Rig) -> None:
    none, first = [("If-None-Match", "*")], [("If-Match", '"1"')]
    assert (await put(rig, headers=first)).status == 409
    assert (await put(rig, headers=none)).status == 200
    reply = await put(rig, headers=none)
    assert (reply.status, reply.json["status"]["error"]) == (409, "VERSION_CONFLICT")
    assert (await put(rig, headers=first, payload="2")).json["data"]["revision"] == 2
    assert (await put(rig, headers=first, payload="3")).status == 409
    assert faults(await put(rig, headers=[("If-Match", "abc")])) == ["If-Match"]
    target, second = f"{RECURRING}/nightly", [("If-Match", '"2"')]
    assert (await rig.client.call("DELETE", target, headers=first)).status == 409
    assert (await rig.client.call("DELETE", target, headers=second)).json["data"]["state"] == "DELETED"


async def test_a_patch_takes_away_what_is_null(rig: Rig) -> None:
    """As a JSON Merge Patch, RFC 7396; but for what a put may not leave out."""
    plain = await made(rig)
    full: dict[str, Any] = {
        "windowShare": 0.5,
        "windowSpread": "leastLoaded",
        "maxRuns": 5,
        "endTime": "2031-01-01T00:00:00Z",
        "retryPolicy": {"factor": 1.5},
        "timeoutMs": 100,
        "priority": "high",
        "hooks": {"onFailure": http_callback()},
        "misfirePolicy": "all",
        "misfireMost": 3,
        "misfireAgeSeconds": 60,
        "overlapPolicy": "skip",
        "atEnd": "delete",
    }
    target = f"{RECURRING}/nightly"
    await put(rig, **full)
    less = (await rig.client.call("PATCH", target, {"windowShare": None})).json["data"]
    assert not {"windowShare", "windowMs", "windowSpread"} & less.keys()
    assert {key: less[key] for key in full if key in less} == {
        key: value for key, value in full.items() if not key.startswith("window")
    } | {key: less[key] for key in ("endTime", "hooks")}
    gone = await rig.client.call("PATCH", target, dict.fromkeys(full))
    moving = ("revision", "version", "changedAt", "createdAt")
    assert {key: value for key, value in gone.json["data"].items() if key not in moving} == {
        key: value for key, value in plain.items() if key not in moving
    }
    same = dict.fromkeys(("payload", "payloadEncoding", "cronExpression", "interval", "timeZone"))
    assert (await rig.client.call("PATCH", target, same)).json["data"] == gone.json["data"]


async def test_a_patch_changes_what_is_given(rig: Rig) -> None:
    first = await made(rig, windowShare=0.5, retryPolicy={"factor": 1.5}, misfirePolicy="skip")
    target = f"{RECURRING}/nightly"
    nothing = await rig.client.call("PATCH", target, {})
    assert nothing.json["data"] == first
    changed = (await rig.client.call("PATCH", target, {"payload": "2", "windowMs": 5})).json["data"]
    assert (changed["payload"], changed["windowMs"], changed["revision"]) == ("2", 5, 2)
    kept = ["cronExpression", "timeZone", "callback", "retryPolicy", "misfirePolicy", "createdAt"]
    assert {key: changed[key] for key in kept} == {key: first[key] for key in kept}
    assert "windowShare" not in changed
    zoned = await rig.client.call("PATCH", target, {"cronExpression": "CRON_TZ=Asia/Kolkata 0 9 * * *"})
    assert zoned.json["data"]["timeZone"] == "Asia/Kolkata"
    interval = {"every": 1, "unit": "days", "anchorTime": "2027-02-01T00:00:00Z"}
    daily = (await rig.client.call("PATCH", target, {"interval": interval})).json["data"]
    assert "cronExpression" not in daily
    late = await rig.client.call("PATCH", target, {"payload": "3"}, headers=[("If-Match", "1")])
    assert late.status == 409
    assert faults(await rig.client.call("PATCH", target, {"payload": 5, "x": 1})) == ["payload", "x"]
    assert (await rig.client.call("PATCH", f"{RECURRING}/none", {})).status == 404


async def test_pause_resume_and_trigger(rig: Rig) -> None:
    await made(rig)
    target = f"{RECURRING}/nightly"
    paused = await rig.client.call("POST", f"{target}/pause", {"reason": "deploy"})
    assert (paused.json["data"]["state"], paused.json["data"]["pauseReason"]) == ("PAUSED", "deploy")
    assert "nextNominalTime" not in paused.json["data"]
    listed = await rig.client.call("GET", f"{RECURRING}?state=PAUSED")
    assert len(listed.json["data"]["recurring"]) == 1
    resumed = await rig.client.call("POST", f"{target}/resume")
    assert resumed.json["data"]["state"] == "ACTIVE"
    assert "pauseReason" not in resumed.json["data"]
    until = await rig.client.call("POST", f"{target}/pause", {"until": NOW_S + 30 * 86_400})
    assert (until.json["data"]["state"], until.json["data"]["pausedUntil"][:10]) == ("PAUSED", "2027-02-14")
    assert until.json["data"]["nextNominalTime"] > until.json["data"]["pausedUntil"]
    assert (await rig.client.call("POST", f"{target}/pause")).json["data"]["state"] == "PAUSED"
    run = await rig.client.call("POST", f"{target}/trigger")
    assert (run.status, run.json["status"]["statusCode"]) == (200, 201)
    assert run.json["data"]["schedule"]["origin"] == "TRIGGER"
    for wrong, fields in (
        ({"until": NOW_S - 1}, ["until"]),
        ({"until": "soon"}, ["until"]),
        ({"reason": 5, "x": 1}, ["reason", "x"]),
        ({"reason": "x" * 501}, ["reason"]),
    ):
        assert faults(await rig.client.call("POST", f"{target}/pause", wrong)) == fields
    for verb in ("pause", "resume", "trigger"):
        assert (await rig.client.call("POST", f"{RECURRING}/none/{verb}")).status == 404


async def test_previews_of_what_is_stored_and_of_what_is_not(rig: Rig) -> None:
    await made(rig)
    stored = await rig.client.call("GET", f"{RECURRING}/nightly/preview?size=3")
    assert [each["index"] for each in stored.json["data"]["runs"]] == [1, 2, 3]
    sent = {"cronExpression": "30 2 * * *", "timeZone": "Europe/Berlin", "size": 100, "dstGap": "skip"}
    reply = await rig.client.call("POST", f"{RECURRING}/preview", sent)
    runs = reply.json["data"]["runs"]
    assert {"localTime": "2027-03-28T02:30:00", "effect": "skipped"} in runs
    assert faults(await rig.client.call("POST", f"{RECURRING}/preview", {"size": 0})) == [
        "size",
        "cronExpression",
        "timeZone",
    ]
    assert faults(await rig.client.call("GET", f"{RECURRING}/nightly/preview?size=101")) == ["size"]


async def test_calendars_are_put_read_listed_and_deleted(rig: Rig) -> None:
    base = "/goscheduler/apps/test/calendars"
    ics = (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\n"
        "DTSTART;VALUE=DATE:20271225\r\nDTEND;VALUE=DATE:20271227\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    span = {"startTime": NOW_S, "endTime": "2027-01-20T00:00:00Z"}
    sent = {"dates": ["2027-05-01"], "spans": [span], "ics": ics}
    put = await rig.client.call("PUT", f"{base}/holidays", sent)
    shown = put.json["data"]
    assert (shown["name"], shown["revision"]) == ("holidays", 1)
    assert shown["dates"] == ["2027-05-01", "2027-12-25", "2027-12-26"]
    assert [each["endTime"] for each in shown["spans"]] == ["2027-01-20T00:00:00.000Z"]
    assert (await rig.client.call("PUT", f"{base}/holidays", sent)).json["data"] == shown  # it is so already
    assert (await rig.client.call("GET", f"{base}/holidays")).json["data"] == shown
    listed = (await rig.client.call("GET", base)).json["data"]["calendars"]
    assert [(each["name"], each["dateCount"], each["spanCount"]) for each in listed] == [("holidays", 3, 1)]
    daily: dict[str, Any] = {
        "cronExpression": "0 9 * * *",
        "timeZone": "UTC",
        "exclusionCalendars": ["holidays"],
    }
    first = await made(rig, **daily)
    assert first["nextNominalTime"] == "2027-01-20T09:00:00.000Z"
    preview = await rig.client.call("POST", f"{RECURRING}/preview", {**daily, "size": 1})
    effects = [each.get("effect") for each in preview.json["data"]["runs"]]
    assert effects == ["excluded", None]
    stored = await rig.client.call("GET", f"{RECURRING}/nightly/preview?size=1")
    assert [each.get("effect") for each in stored.json["data"]["runs"]] == effects
    assert faults(await put_of(rig, ["holidays", "none"])) == ["exclusionCalendars"]
    used = await rig.client.call("DELETE", f"{base}/holidays")
    assert (used.status, used.json["status"]["statusMessage"]) == (
        409,
        "calendar holidays is named by recurring schedule nightly",
    )
    await rig.client.call("DELETE", f"{RECURRING}/nightly")
    assert (await rig.client.call("DELETE", f"{base}/holidays")).status == 200
    for method in ("GET", "DELETE"):
        gone = await rig.client.call(method, f"{base}/holidays")
        assert (gone.status, gone.json["status"]["errors"][0]["field"]) == (404, "name")
    assert faults(await put_of(rig, ["holidays"])) == ["exclusionCalendars"]
    again = await rig.client.call("PUT", f"{base}/holidays", {"dates": []})
    assert (again.json["data"]["revision"], again.json["data"]["dates"]) == (3, [])
    for wrong, fields in (
        ({}, ["dates"]),
        ({"dates": ["soon"], "spans": [{}], "ics": "x"}, ["dates", "spans", "ics"]),
        ({"dates": "2027-01-01", "days": []}, ["dates", "days"]),
    ):
        assert faults(await rig.client.call("PUT", f"{base}/x", wrong)) == fields
    assert faults(await rig.client.call("PUT", f"{base}/-b", {"dates": []})) == ["name"]
    unknown = await rig.client.call("PUT", "/goscheduler/apps/none/calendars/x", {"dates": []})
    assert unknown.json["status"]["statusCode"] == 4001


async def put_of(rig: Rig, calendars: list[str]) -> Reply:
    return await put(rig, "other", exclusionCalendars=calendars)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"cronExpression": ...}, ["cronExpression"]),
        ({"cronExpression": 5}, ["cronExpression"]),
        ({"timeZone": ...}, ["timeZone"]),
        ({"timeZone": "Mars/Base"}, ["timeZone"]),
        ({"interval": {"every": 0}}, ["interval"]),
        (
            {"cronExpression": ..., "interval": {"every": 0, "unit": "eons"}},
            ["interval.unit", "interval.every", "interval.anchorTime"],
        ),
        ({"endTime": NOW_S - 5}, ["endTime"]),
        ({"startTime": "soon"}, ["startTime"]),
        ({"maxRuns": 0, "dstGap": "jump", "dstOverlap": 1}, ["dstOverlap", "maxRuns", "dstGap"]),
        ({"windowMs": 5, "windowShare": 0.5}, ["windowShare"]),
        ({"windowSpread": "hash"}, ["windowSpread"]),
        ({"windowMs": 5, "windowSpread": "even"}, ["windowSpread"]),
        ({"exclusionCalendars": ["holidays"]}, ["exclusionCalendars"]),
        (
            {"misfirePolicy": "never", "overlapPolicy": "x", "atEnd": "stay"},
            ["misfirePolicy", "overlapPolicy", "atEnd"],
        ),
        ({"misfireMost": 101, "misfireAgeSeconds": 0}, ["misfireMost", "misfireAgeSeconds"]),
        ({"payload": ..., "callback": ...}, ["payload", "callback"]),
        ({"callback": http_callback(url="/path")}, ["callback.details.url"]),
        ({"scheduleTime": 5, "colour": "red"}, ["scheduleTime", "colour"]),
        ({"callback": {**http_callback(), "timeout": 5}}, ["callback.timeout"]),
        ({"retryPolicy": {"atempts": 2, "factor": 2}}, ["retryPolicy.atempts"]),
        ({"payload": "x" * 1_025}, ["payload"]),
        ({"retryPolicy": {"attempts": 99}}, ["retryPolicy.attempts"]),
    ],
)
async def test_every_field_that_is_wrong_is_named(
    rig: Rig, changes: dict[str, Any], fields: list[str]
) -> None:
    assert sorted(faults(await put(rig, **changes))) == sorted(fields)
    assert rig.rows == {}


async def test_unknown_keys_are_refused_where_goscheduler_has_no_such_route(rig: Rig) -> None:
    """And passed over where it has, as it does."""
    odd = {"callback": {**http_callback(), "timeout": 5}, "retryPolicy": {"atempts": 2}}
    fields = ["callback.timeout", "retryPolicy.atempts"]
    await made(rig)
    assert faults(await rig.client.call("PATCH", f"{RECURRING}/nightly", odd)) == fields
    one_time = {"delaySeconds": 60, "payload": "", **odd}
    assert faults(await rig.client.call("PUT", "/goscheduler/apps/test/schedules/x", one_time)) == fields
    created = await rig.client.call("POST", SCHEDULES, schedule_body(**odd))
    assert created.status == 200
    target = f"{SCHEDULES}/{created.json['data']['schedule']['scheduleId']}"
    assert faults(await rig.client.call("PATCH", target, odd)) == fields
    cron = schedule_body(**odd, scheduleTime=..., cronExpression="@daily")
    assert (await rig.client.call("POST", SCHEDULES, cron)).status == 200


async def test_names_and_apps_are_checked(rig: Rig) -> None:
    assert faults(await put(rig, "-x")) == ["name"]
    assert faults(await rig.client.call("GET", "/goscheduler/apps/a%20b/recurring/-x")) == ["appId", "name"]
    unknown = await rig.client.call("PUT", "/goscheduler/apps/none/recurring/x", body())
    assert unknown.json["status"]["statusCode"] == 4001
    idle = await rig.client.call("PUT", "/goscheduler/apps/idle/recurring/x", body())
    assert idle.json["status"]["statusCode"] == 4002
    missing = await rig.client.call("GET", f"{RECURRING}/none")
    assert (missing.status, missing.json["status"]["errors"][0]["field"]) == (404, "name")
    by_id = await rig.client.call("GET", f"{SCHEDULES}/{(await made(rig))['scheduleId'][:-1]}0/runs")
    assert by_id.status == 404
    one_time = await rig.client.call("POST", SCHEDULES, schedule_body())
    runs = await rig.client.call("GET", f"{SCHEDULES}/{one_time.json['data']['schedule']['scheduleId']}/runs")
    assert runs.status == 404


async def test_nominal_times_that_are_over_are_made_up_for(rig: Rig) -> None:
    await made(rig)
    asked = {"from": "2026-01-05T00:00:00Z", "to": "2026-01-12T00:00:00Z"}  # five working days
    dry = await rig.client.call("POST", f"{RECURRING}/nightly/backfill", {**asked, "dryRun": True})
    assert dry.status == 200, dry.body
    assert [run["effect"] for run in dry.json["data"]["runs"]] == ["wouldBeFiled"] * 5
    reply = await rig.client.call("POST", f"{RECURRING}/nightly/backfill", {**asked, "max": 3})
    assert (reply.status, reply.json["status"]["totalCount"]) == (200, 3)
    runs = reply.json["data"]["runs"]
    assert runs[0].keys() == {"nominalTime", "effect", "scheduleId"}
    assert (runs[0]["nominalTime"], runs[0]["effect"]) == ("2026-01-05T08:30:00.000Z", "filed")
    assert reply.json["data"]["continuesAt"] == "2026-01-08T08:30:00.000Z"
    shown = await rig.client.call("GET", f"{SCHEDULES}/{runs[0]['scheduleId']}")
    run = shown.json["data"]["schedule"]
    assert (run["origin"], run["nominalTime"]) == ("BACKFILL", "2026-01-05T08:30:00.000Z")
    again = await rig.client.call("POST", f"{RECURRING}/nightly/backfill", asked)
    effects = [run["effect"] for run in again.json["data"]["runs"]]
    assert effects == ["hasRun"] * 3 + ["filed"] * 2


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"from": ...}, ["from"]),
        ({"to": None}, ["to"]),
        ({"from": "yesterday"}, ["from"]),
        ({"to": "2026-01-01T00:00:00Z"}, ["to"]),
        ({"to": "2099-01-01T00:00:00Z"}, ["to"]),
        ({"max": 1_001}, ["max"]),
        ({"dryRun": "yes"}, ["dryRun"]),
        ({"dry": True}, ["dry"]),
    ],
)
async def test_what_no_backfill_takes(rig: Rig, changes: dict[str, Any], fields: list[str]) -> None:
    await made(rig)
    asked = {"from": "2026-01-05T00:00:00Z", "to": "2026-01-12T00:00:00Z", **changes}
    sent = {key: value for key, value in asked.items() if value is not ...}
    assert faults(await rig.client.call("POST", f"{RECURRING}/nightly/backfill", sent)) == fields
