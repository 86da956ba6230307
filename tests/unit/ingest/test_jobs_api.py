"""Bulk jobs over HTTP: goscheduler's route as its users call it, and ours that tell of the job."""

from __future__ import annotations

import pytest
from tests.unit.ingest.rig import NOW_S, Rig, make_rig, schedule_body

BULK = "/goscheduler/apps/test/bulk-action"
JOBS = "/goscheduler/apps/test/jobs"
UNKNOWN = "019abc3f-7a10-7c11-9a44-2b5f0e6d7c88"


@pytest.fixture
def rig() -> Rig:
    return make_rig()


async def _carry_out(rig: Rig) -> None:
    for job in await rig.store.real.fetch_open_jobs(9):
        await rig.service.jobs.work(job)


@pytest.mark.parametrize("base", ["/goscheduler/apps", "/goscheduler/app"])
async def test_goschedulers_request_is_answered_as_there(rig: Rig, base: str) -> None:
    query = "status=SUCCESS&start_time=2023-02-02%2010:55:00&end_time=2023-02-02%2011:00:00&zone=Asia/Kolkata"
    reply = await rig.client.call("POST", f"{base}/test/bulk-action/reconcile?{query}")
    assert reply.status == 200
    assert reply.json["status"] == {
        "statusCode": 200, "statusMessage": "Success", "statusType": "Success", "totalCount": 0,
    }  # fmt: skip
    assert " carries out reconcile for app test from 2023-02-02T05:25:00" in reply.json["remarks"]
    job = reply.json["data"]["job"]
    assert (job["state"], job["scheduleStatus"], job["dryRun"]) == ("WAITING", "SUCCESS", False)
    assert job["endTime"] == "2023-02-02T05:30:00.000Z"


async def test_a_job_is_counted_carried_out_told_of_and_listed(rig: Rig) -> None:
    for n in range(3):
        await rig.client.call("POST", "/goscheduler/schedules", schedule_body(scheduleTime=NOW_S + 60 + n))
    query = f"start_time={NOW_S}&end_time={NOW_S + 62}"
    plan = (await rig.client.call("POST", f"{BULK}/delete?{query}&dry_run=true")).json["data"]["job"]
    rig.clock.advance(1)  # ids of one millisecond are in no order
    done = (await rig.client.call("POST", f"{BULK}/delete?{query}")).json["data"]["job"]
    await _carry_out(rig)
    for job in (plan, done):
        shown = (await rig.client.call("GET", f"{JOBS}/{job['jobId']}")).json["data"]
        counts = [shown[name] for name in ("looked", "done", "passed", "failed")]
        assert (shown["state"], counts, shown["progress"]) == ("DONE", [2, 2, 0, 0], 1.0)
    first = (await rig.client.call("GET", f"{JOBS}?size=1")).json["data"]
    token = first["continuationToken"]
    second = (await rig.client.call("GET", f"{JOBS}?size=1&continuation_token={token}")).json["data"]
    listed = [job["jobId"] for page in (first, second) for job in page["jobs"]]
    assert sorted(listed) == sorted([plan["jobId"], done["jobId"]])
    left = (await rig.client.call("GET", f"/goscheduler/apps/test/schedules?start_time={NOW_S}")).json["data"]
    assert [each["status"] for each in left["schedules"]] == ["DELETED", "DELETED", "SCHEDULED"]


async def test_a_job_is_cancelled(rig: Rig) -> None:
    job = (await rig.client.call("POST", f"{BULK}/pause")).json["data"]["job"]
    assert "progress" not in job
    for _ in range(2):
        reply = await rig.client.call("DELETE", f"{JOBS}/{job['jobId']}")
        assert (reply.status, reply.json["data"]["state"]) == (200, "CANCELLED")
    other = (await rig.client.call("POST", f"{BULK}/pause")).json["data"]["job"]
    await _carry_out(rig)
    reply = await rig.client.call("DELETE", f"{JOBS}/{other['jobId']}")
    assert (reply.status, reply.json["status"]["error"]) == (409, "CONFLICT")


@pytest.mark.parametrize(
    ("target", "code", "field"),
    [
        (f"{BULK}/remove", 4005, "action"),
        (f"{BULK}/DELETE", 4005, "action"),
        (f"{BULK}/delete?status=SCHEDULE", 400, "status"),
        (f"{BULK}/delete?status=scheduled", 400, "status"),
        (f"{BULK}/delete?state=SCHEDULED", 400, "state"),
        (f"{BULK}/delete?dry-run=true", 400, "dry-run"),
        (f"{BULK}/delete?dry_run=yes", 400, "dry_run"),
        (f"{BULK}/delete?start_time=yesterday", 400, "start_time"),
        (f"{BULK}/delete?start_time={NOW_S}&start_time=1", 400, "start_time"),
        (f"{BULK}/delete?zone=Mars", 400, "zone"),
        (f"{BULK}/delete?start_time=9999-12-31T23:59:59Z", 400, "start_time"),
        (f"{BULK}/delete?end_time=9999-12-31T23:59:59-14:00", 400, "start_time"),
        (f"{BULK}/delete?start_time=1969-12-31T23:59:59Z", 400, "start_time"),
        (f"{BULK}/delete?until={NOW_S + 9}", 400, "until"),
        (f"{BULK}/pause?end_time={NOW_S}", 400, "end_time"),
        ("/goscheduler/apps/nobody/bulk-action/delete", 4001, "appId"),
    ],
)
async def test_what_would_choose_wrongly_is_refused(rig: Rig, target: str, code: int, field: str) -> None:
    reply = await rig.client.call("POST", target)
    status = reply.json["status"]
    assert (reply.status, status["statusCode"], status["errors"][0]["field"]) == (400, code, field)
    assert not await rig.store.real.list_jobs("test", None, 1)


async def test_a_misspelt_status_is_told_which_there_are(rig: Rig) -> None:
    reply = await rig.client.call("POST", f"{BULK}/delete?status=SCHEDULE")
    assert "SCHEDULED, SUCCESS, FAILURE, MISS, DELETED" in reply.json["status"]["statusMessage"]


async def test_an_inactive_app_may_count_and_delete(rig: Rig) -> None:
    for action, code in (("delete", 200), ("reconcile?dry_run=true", 200), ("reconcile", 4002)):
        reply = await rig.client.call("POST", f"/goscheduler/apps/idle/bulk-action/{action}")
        assert reply.json["status"]["statusCode"] == code


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_jobs_that_are_not_there(rig: Rig, method: str) -> None:
    reply = await rig.client.call(method, f"{JOBS}/{UNKNOWN}")
    assert (reply.status, reply.json["status"]["errors"][0]["field"]) == (404, "jobId")
    assert (await rig.client.call(method, f"{JOBS}/7")).status == 400
    assert (await rig.client.call("GET", f"{JOBS}?size=101")).status == 400
