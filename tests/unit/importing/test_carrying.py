"""From goscheduler's rows to requests of ours."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest

from ringtime.importing.carrying import (
    NotCarried,
    Terms,
    app_body,
    cron_body,
    is_deleted,
    schedule_body,
)
from ringtime.importing.rows import OldApp, OldCron, OldSchedule

ID = UUID("2e6a7d2c-ca0c-11f0-8de9-0242ac120002")
NOW_MS = 1_800_000_000_000
TERMS = Terms(from_ms=NOW_MS, zone="Asia/Kolkata", now_ms=NOW_MS)
DETAILS = {"url": "https://shop.example/due", "method": "POST", "headers": None}


def old_schedule(**given: Any) -> OldSchedule:
    fields: dict[str, Any] = {
        "app_id": "shop",
        "partition": 3,
        "schedule_id": ID,
        "callback_type": "http",
        "callback_details": orjson.dumps(DETAILS).decode(),
        "payload": "{}",
        "fire_ms": NOW_MS + 5_000,
        "parent": None,
    }
    return OldSchedule(**fields | given)


def old_cron(**given: Any) -> OldCron:
    fields: dict[str, Any] = {
        "schedule_id": ID,
        "app_id": "shop",
        "callback_type": "http",
        "callback_details": orjson.dumps(DETAILS).decode(),
        "payload": "{}",
        "expression": "5/25 0 * * *",
        "status": "SCHEDULED",
    }
    return OldCron(**fields | given)


def test_a_schedule_keeps_its_time_payload_and_callback_and_tells_its_old_id() -> None:
    assert schedule_body(old_schedule()) == {
        "scheduleId": str(ID),
        "appId": "shop",
        "payload": "{}",
        "scheduleTime": 1_800_000_005,
        "callback": {
            "type": "http",
            "details": {
                "url": "https://shop.example/due",
                "method": "POST",
                "headers": {"Goscheduler-Schedule-Id": str(ID)},
            },
        },
        "labels": {"goscheduler-id": str(ID)},
    }
    assert schedule_body(old_schedule(fire_ms=NOW_MS + 1))["scheduleTime"] == 1_800_000_000.001


def test_headers_that_go_passes_over_are_left_out() -> None:
    headers = {"Host": "other", "content-length": "9", "Schedule-Id": "x", "X-Shop": "7"}
    details = orjson.dumps(DETAILS | {"headers": headers}).decode()
    sent = schedule_body(old_schedule(callback_details=details))["callback"]["details"]["headers"]
    assert sent == {"X-Shop": "7", "Goscheduler-Schedule-Id": str(ID)}


def test_a_type_of_somebodys_own_goes_as_it_is() -> None:
    given = old_schedule(callback_type="airbus", callback_details='{"eventName": "due"}')
    assert schedule_body(given)["callback"] == {"type": "airbus", "details": {"eventName": "due"}}


@pytest.mark.parametrize("details", [None, "", "no json", "7", "[]"])
def test_details_that_cannot_be_read_are_a_reason(details: str | None) -> None:
    with pytest.raises(NotCarried, match="callback_details is no JSON object"):
        schedule_body(old_schedule(callback_details=details))


def test_a_schedule_without_a_time_is_not_carried() -> None:
    with pytest.raises(NotCarried, match="no schedule_time"):
        schedule_body(old_schedule(fire_ms=None))


def test_a_cron_runs_as_goscheduler_runs_it() -> None:
    body = cron_body(old_cron(), TERMS)
    assert (body["cronExpression"], body["timeZone"]) == ("25,50 0 * * *", "Asia/Kolkata")
    assert (body["dstGap"], body["dstOverlap"], body["misfirePolicy"]) == ("skip", "both", "skip")
    assert "startTime" not in body
    assert "labels" not in body
    ahead = Terms(from_ms=NOW_MS + 600_000, zone="UTC", now_ms=NOW_MS)
    assert cron_body(old_cron(), ahead)["startTime"] == "2027-01-15T08:10:00.000+00:00"
    with pytest.raises(NotCarried, match=r"cronExpression: .*both"):
        cron_body(old_cron(expression="0 0 13 * FRI"), TERMS)
    assert is_deleted(old_cron(status="DELETED"))
    assert not is_deleted(old_cron(status=None))


def test_an_app_keeps_its_quota_state_and_what_it_has_configured() -> None:
    given = {"payloadSize": 2_000, "httpTimeout": 0, "httpRetries": 5, "ownKey": 7}
    old = OldApp("shop", 8, True, orjson.dumps(given).decode())
    assert app_body(old, TERMS) == {
        "appId": "shop",
        "active": True,
        "partitions": 8,
        "configuration": {"payloadSize": 2_000, "httpRetries": 5},
    }
    assert app_body(OldApp("shop", None, None, None), TERMS) == {"appId": "shop", "active": False}
    activated = Terms(from_ms=0, zone="UTC", now_ms=0, activates=True)
    assert app_body(OldApp("shop", 0, False, ""), activated) == {"appId": "shop", "active": True}
    with pytest.raises(NotCarried, match="its id must be 1 to 128"):
        app_body(OldApp("a.b", 1, True, None), TERMS)
    with pytest.raises(NotCarried, match="configuration is no JSON object"):
        app_body(OldApp("shop", 1, True, "["), TERMS)


def test_which_apps_are_wanted() -> None:
    assert TERMS.wants("shop")
    assert not TERMS.wants("maxConfig")
    assert not Terms(from_ms=0, zone="UTC", now_ms=0, apps=frozenset({"mail"})).wants("shop")
