"""Completeness and audits of fires over HTTP."""

from __future__ import annotations

from datetime import datetime

import pytest
from tests.harness.refusals import is_of_state
from tests.unit.ingest.rig import NOW_MS, NOW_S, Rig, make_rig, schedule_body

from ringtime_shared.models.app import Instance
from ringtime_shared.models.schedule import Place
from ringtime_shared.schedules import fires
from ringtime_shared.schedules.completeness import LATEST_MS
from ringtime_shared.stores.protocol import Marks, MarksWrite

BASE = "/goscheduler"
AUDIT = f"{BASE}/apps/test/audit-fires"
HOUR_MS = 3_600_000


@pytest.fixture
def rig() -> Rig:
    return make_rig()


async def settle(rig: Rig) -> None:
    marks = Marks(rig.clock.now_ms(), rig.clock.now_ms())
    app = await rig.store.real.fetch_app("test")
    assert app is not None
    instances = [Instance("test", partition) for partition in range(app.polled)]
    await rig.store.real.put_marks([MarksWrite(each, 1 << 48, marks) for each in instances])


async def create(rig: Rig, seconds: int) -> str:
    reply = await rig.client.call("POST", f"{BASE}/schedules", schedule_body(scheduleTime=NOW_S + seconds))
    return str(reply.json["data"]["schedule"]["scheduleId"])


@pytest.mark.parametrize("path", [f"{BASE}/apps/test/completeness", f"{BASE}/app/test/completeness"])
async def test_the_mark_of_an_app_says_what_it_waits_for(rig: Rig, path: str) -> None:
    await create(rig, 60)
    shown = (await rig.client.call("GET", path)).json["data"]
    assert (shown["waits"], "appId" in shown) == ("NOTHING", False)
    rig.clock.advance(HOUR_MS)
    shown = (await rig.client.call("GET", path)).json["data"]
    assert (shown["waits"], shown["appId"]) == ("NOT_SETTLED", "test")
    through = datetime.fromisoformat(shown["through"]).timestamp() * 1_000
    assert NOW_MS <= through < NOW_MS + 60_000
    assert shown["ageMs"] == rig.clock.now_ms() - round(through)
    await settle(rig)
    rig.clock.advance(1_000)
    shown = (await rig.client.call("GET", path)).json["data"]
    assert shown["waits"] == "NOTHING"
    assert LATEST_MS < shown["ageMs"] <= LATEST_MS + 60_000


async def test_the_mark_of_all_apps_knows_those_that_others_registered(rig: Rig) -> None:
    assert (await rig.client.call("GET", f"{BASE}/completeness")).json["data"]["waits"] == "NOTHING"
    await create(rig, 60)
    rig.clock.advance(HOUR_MS)
    shown = (await rig.client.call("GET", f"{BASE}/completeness")).json["data"]
    assert (shown["waits"], shown["appId"]) == ("NOT_SETTLED", "test")


async def test_an_audit_goes_on_with_its_token(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fires, "PAGE_ROWS", 1)
    monkeypatch.setattr(fires, "_AT_ONCE", 1)
    ids = [await create(rig, 60 * n) for n in range(1, 4)]
    rig.clock.advance(HOUR_MS)
    await settle(rig)
    query = f"{AUDIT}?start_time={NOW_S}&end_time={NOW_S + 3_600}"
    parts, token = [], ""
    while True:
        part = (await rig.client.call("GET", f"{query}&continuation_token={token}")).json["data"]
        parts.append(part)
        token = part["continuationToken"]
        if not token:
            break
    assert len(parts) > 3
    assert sum(part["expected"] for part in parts) == sum(part["gaps"] for part in parts) == 3
    found = [each for part in parts for each in part["findings"]]
    assert [each["scheduleId"] for each in found] == ids
    assert {each["reason"] for each in found} == {"PASSED_OVER"}
    assert found[0]["due"] == datetime.fromtimestamp(NOW_S + 60).astimezone().isoformat().replace(
        "+00:00", ".000Z"
    )


async def test_what_is_wrong_with_a_request_is_told(rig: Rig) -> None:
    for query, field in (
        ("start_time=5&end_time=4", "start_time"),
        ("start_time=0&end_time=99999999", "start_time"),
        ("start_time=soon", "start_time"),
        ("zone=Mars", "zone"),
        (f"continuation_token={'A' * 38}", "continuation_token"),
    ):
        reply = await rig.client.call("GET", f"{AUDIT}?{query}")
        assert reply.status == 400, query
        assert field in str(reply.json["status"])
    for path in ("completeness", "audit-fires"):
        reply = await rig.client.call("GET", f"{BASE}/apps/nobody/{path}")
        assert (reply.status, "no app nobody" in str(reply.json)) == (400, True)


async def test_a_token_of_a_longer_range_is_refused(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await create(rig, 60)
    query = f"{AUDIT}?start_time={NOW_S}&end_time={NOW_S + 3_600}"
    token = (await rig.client.call("GET", query)).json["data"]["continuationToken"]
    assert token  # on to the recurring schedules
    shorter = f"{AUDIT}?start_time={NOW_S}&end_time={NOW_S + 60}&continuation_token={token}"
    reply = await rig.client.call("GET", shorter)
    assert (reply.status, "goes on after end_time" in str(reply.json)) == (400, True)
    (error,) = reply.json["status"]["errors"]
    assert is_of_state(error["field"], error["rule"])  # two fields decide: each alone is good
    last = (await rig.client.call("GET", f"{query}&continuation_token={token}")).json["data"]
    assert (last["expected"], last["continuationToken"]) == (0, "")


async def test_a_removed_row_is_told_of_by_its_id(rig: Rig) -> None:
    gone = await create(rig, 60)
    memory = rig.store.real
    (place,) = [each for each in memory._rows if isinstance(each, Place) and memory._rows[each]]
    memory._rows[place].clear()
    memory._keys.clear()
    part = (await rig.client.call("GET", f"{AUDIT}?start_time={NOW_S}&end_time={NOW_S + 90}")).json["data"]
    assert (part["expected"], part["gaps"]) == (1, 1)
    assert [(each["scheduleId"], each["reason"]) for each in part["findings"]] == [(gone, "REMOVED")]
