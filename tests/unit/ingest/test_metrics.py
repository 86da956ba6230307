"""Each instrument of ingest moves by the thing it names; an app's owner reads what is of his app alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.harness.measured import counted
from tests.unit.ingest.rig import Rig, make_rig, schedule_body

from ringtime_shared.errors import StoreUnavailable
from ringtime_shared.metrics import Metrics, names
from ringtime_shared.metrics.apps import CREATES
from ringtime_shared.metrics.names import Role

SCHEDULES = "/goscheduler/schedules"


@pytest.fixture
def rig() -> Rig:
    return make_rig(metrics=Metrics([Role.INGEST]))


def created(rig: Rig) -> tuple[float, float]:
    """Return how many creates were timed, and how many are counted of the app."""
    metrics = rig.service.metrics
    return counted(metrics, names.CREATE), metrics.apps.find("test")[CREATES]


async def test_a_create_that_is_acknowledged(rig: Rig) -> None:
    assert (await rig.client.call("POST", SCHEDULES, schedule_body())).status == 200
    assert created(rig) == (1, 1)
    metrics = rig.service.metrics
    assert counted(metrics, names.COMMIT_BATCH_ROWS) == 1
    assert counted(metrics, names.STORE, call="put_rows") == 1
    assert counted(metrics, names.STORE, call="fetch_row") == 0


async def test_a_create_that_is_not(rig: Rig) -> None:
    assert (await rig.client.call("POST", SCHEDULES, schedule_body(payload=5))).status == 400
    assert (await rig.client.call("POST", SCHEDULES, schedule_body(appId="idle"))).status == 400
    rig.store.fail("put_rows", StoreUnavailable("away"))
    assert (await rig.client.call("POST", SCHEDULES, schedule_body())).status == 503
    assert created(rig) == (0, 0)
    assert counted(rig.service.metrics, names.COMMIT_BATCH_ROWS) == 0
    assert counted(rig.service.metrics, names.STORE, call="put_rows") == 1, "it was asked all the same"


async def test_a_create_with_a_key_is_counted_once_however_often_it_is_asked_for(rig: Rig) -> None:
    key = [("Idempotency-Key", str(uuid4()))]
    for _ in range(3):
        assert (await rig.client.call("POST", SCHEDULES, schedule_body(), headers=key)).status == 200
    assert created(rig) == (1, 1)


async def test_a_batch_is_counted_by_what_was_filed_of_it(rig: Rig) -> None:
    body = {"schedules": [schedule_body(), schedule_body(), schedule_body(payload=5)]}
    assert (await rig.client.call("POST", f"{SCHEDULES}/batch", body)).status in (200, 207)
    assert created(rig) == (2, 2)


async def test_a_named_schedule_is_counted_when_it_is_new(rig: Rig) -> None:
    body = {key: value for key, value in schedule_body().items() if key != "appId"}
    for delay in (0, 60, 60):
        asked = body | {"scheduleTime": cast(int, body["scheduleTime"]) + delay}
        assert (await rig.client.call("PUT", "/goscheduler/apps/test/schedules/bill", asked)).status == 200
    assert created(rig) == (1, 1)


async def test_an_apps_metrics_are_of_that_app(rig: Rig) -> None:
    rig.apps["bank"] = replace(rig.apps["test"], app_id="bank", number=7)
    for app_id, count in (("test", 2), ("bank", 5)):
        for _ in range(count):
            await rig.client.call("POST", SCHEDULES, schedule_body(appId=app_id))
    for word in ("apps", "app"):
        reply = await rig.client.call("GET", f"/goscheduler/{word}/test/metrics")
        assert (reply.status, reply.headers["content-type"].partition(";")[0]) == (200, "text/plain")
        families = text_string_to_metric_families(reply.body.decode())
        told = [(each.name, each.labels, each.value) for family in families for each in family.samples]
        assert told == [("ringtime_app_creates_total", {"app": "test"}, 2)]
        assert b"bank" not in reply.body


async def test_an_app_that_there_is_not_has_no_metrics(rig: Rig) -> None:
    reply = await rig.client.call("GET", "/goscheduler/apps/nobody/metrics")
    assert (reply.status, reply.json["status"]["error"]) == (400, "NOT_FOUND")


async def test_durations_of_requests_are_under_goschedulers_name(rig: Rig) -> None:
    for _ in range(3):
        await rig.client.call("POST", SCHEDULES, schedule_body())
    text = (await rig.client.call("GET", "/metrics")).body.decode()
    families: dict[str, Any] = {each.name: each for each in text_string_to_metric_families(text)}
    duration = families["http_requests_duration"]
    assert duration.type == "histogram"
    of_creates = {
        (each.name.removeprefix(duration.name), each.labels.get("le")): each.value
        for each in duration.samples
        if each.labels["request"] == "create_schedule"
    }
    assert of_creates["_count", None] == of_creates["_bucket", "+Inf"] == 3
    assert 0 < of_creates["_sum", None] < 30
    samples = [each for family in families.values() for each in family.samples]
    assert {*samples[0].labels} == {"request"}
    assert not any(value in ("test", "idle") for each in samples for value in each.labels.values())
