"""Imports over HTTP: what another scheduler has is filed once, and is found by the ids that it has there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid1

import pytest
from tests.unit.ingest.rig import NOW_MS, NOW_S, Rig, http_callback, make_rig, schedule_body

from ringtime_shared.errors import StoreUnavailable
from ringtime_shared.models.schedule import Outcome, Status

IMPORTS = "/goscheduler/imports"
SCHEDULES = "/goscheduler/schedules"


@pytest.fixture
def rig() -> Rig:
    return make_rig()


def item(alias: UUID, **given: object) -> dict[str, object]:
    return schedule_body(scheduleId=str(alias), **given)


def cron(alias: UUID, **given: object) -> dict[str, object]:
    return {
        "appId": "test",
        "scheduleId": str(alias),
        "cronExpression": "*/5 * * * *",
        "timeZone": "UTC",
        "payload": "{}",
        "callback": http_callback(),
        "misfirePolicy": "skip",
        **given,
    }


async def ask(rig: Rig, *items: object, query: str = "", status: int = 200) -> list[Any]:
    reply = await rig.client.call("POST", f"{IMPORTS}{query}", {"schedules": list(items)})
    assert reply.status == status, reply.body
    results: list[Any] = reply.json["data"]["results"]
    return results


async def shown(rig: Rig, alias: UUID) -> dict[str, Any]:
    reply = await rig.client.call("GET", f"{SCHEDULES}/{alias}")
    assert reply.status == 200, reply.body
    found: dict[str, Any] = reply.json["data"]["schedule"]
    return found


async def test_one_is_filed_once_and_found_by_its_old_id(rig: Rig) -> None:
    alias = uuid1()
    assert await ask(rig, item(alias), query="?dry_run=true") == [{"effect": "wouldBeCreated"}]
    assert not rig.rows
    (made,) = await ask(rig, item(alias, labels={"goscheduler-id": str(alias)}))
    assert made["effect"] == "created"
    (again,) = await ask(rig, item(alias))
    assert again == {"effect": "there", "scheduleId": made["scheduleId"]}
    assert list(rig.rows) == [UUID(made["scheduleId"])]
    found = await shown(rig, alias)
    assert found["scheduleId"] == made["scheduleId"]
    assert found["labels"] == {"goscheduler-id": str(alias)}
    reply = await rig.client.call("DELETE", f"{SCHEDULES}/{str(alias).upper()}")
    assert (reply.status, reply.json["data"]["schedule"]["status"]) == (200, "DELETED")
    assert await ask(rig, item(alias)) == [again]  # what is cancelled here is not filed again
    assert (await shown(rig, alias))["status"] == "DELETED"


async def test_what_was_sent_here_is_not_filed_again(rig: Rig) -> None:
    alias = uuid1()
    (made,) = await ask(rig, item(alias))
    ended = Outcome(status=Status.SUCCESS, ended_ms=NOW_MS, fired_ms=NOW_MS, attempts=1, code=200, error="")
    rig.end(UUID(made["scheduleId"]), ended)
    assert (await ask(rig, item(alias)))[0]["effect"] == "there"
    assert (await shown(rig, alias))["status"] == "SUCCESS"


async def test_a_recurring_one_too(rig: Rig) -> None:
    alias = uuid1()
    assert await ask(rig, cron(alias), query="?dry_run=true") == [{"effect": "wouldBeCreated"}]
    (made,) = await ask(rig, cron(alias))
    assert made["effect"] == "created"
    assert (await ask(rig, cron(alias)))[0] == {"effect": "there", "scheduleId": made["scheduleId"]}
    found = await shown(rig, alias)
    assert (found["scheduleId"], found["name"]) == (made["scheduleId"], str(alias))
    reply = await rig.client.call("GET", f"{SCHEDULES}/{alias}/runs?when=future")
    assert len(reply.json["data"]["schedules"]) == 1
    assert (await rig.client.call("DELETE", f"{SCHEDULES}/{alias}")).status == 200
    assert (await ask(rig, cron(alias)))[0]["effect"] == "there"
    assert (await shown(rig, alias))["status"] == "DELETED"


@pytest.mark.parametrize("nothing", [{"cronExpression": ""}, {"cronExpression": None}, {"interval": None}])
async def test_a_rule_that_is_empty_makes_none_recurring(rig: Rig, nothing: dict[str, object]) -> None:
    """So that what a create takes is taken here, too."""
    (made,) = await ask(rig, item(alias := uuid1(), **nothing))
    assert made["effect"] == "created"
    assert (await shown(rig, alias))["status"] == "SCHEDULED"


async def test_a_definition_whose_alias_was_lost_gets_it_back(rig: Rig) -> None:
    alias = uuid1()
    await ask(rig, cron(alias))
    rig.store.real._aliases.clear()  # whoever imported it died before it was stored
    assert (await ask(rig, cron(alias)))[0]["effect"] == "there"
    assert (await shown(rig, alias))["name"] == str(alias)


async def test_an_alias_whose_row_was_not_filed_has_it_filed_under_the_same_id(rig: Rig) -> None:
    alias = uuid1()
    rig.store.fail("put_rows", StoreUnavailable("no"))
    (refused,) = await ask(rig, item(alias), status=207)
    assert refused["status"]["error"] == "STORE_UNAVAILABLE"
    (promised,) = rig.store.real._aliases.values()
    rig.clock.advance(60_000)
    (made,) = await ask(rig, item(alias, scheduleTime=NOW_S + 3_600))
    assert (made["effect"], made["scheduleId"]) == ("created", str(promised))
    assert list(rig.rows) == [promised]


async def test_two_imports_at_once_file_one(rig: Rig) -> None:
    alias = uuid1()
    (first,) = await ask(rig, item(alias))
    rig.store.real._aliases.clear()  # as the other one saw it
    (second,) = await ask(rig, item(alias))
    assert second["scheduleId"] == first["scheduleId"]
    assert len(rig.rows) == 1


async def test_what_is_past_is_filed_to_be_sent_at_once(rig: Rig) -> None:
    alias = uuid1()
    await ask(rig, item(alias, scheduleTime=NOW_S - 600))
    (row,) = rig.rows.values()
    assert row.schedule.fire_ms == (NOW_S - 600) * 1_000
    assert NOW_MS <= row.place.slot_ms <= NOW_MS + 1_000
    rig.clock.advance(700)
    assert (await ask(rig, item(alias, scheduleTime=NOW_S - 600)))[0]["effect"] == "there"
    assert len(rig.rows) == 1


async def test_what_may_have_been_sent_and_forgotten_here_is_not_sent_again(rig: Rig) -> None:
    alias, day_s = uuid1(), 86_400
    await ask(rig, item(alias))
    kept_s = rig.service.imports._parts.limits.retention_days * day_s
    rig.store.real._aliases.clear()  # it was sent, and its time is over
    rig.clock.advance(kept_s * 1_000)
    for query in ("", "?dry_run=true"):
        (refused,) = await ask(rig, item(alias, scheduleTime=NOW_S - 1), query=query, status=207)
        (error,) = refused["status"]["errors"]
        assert (error["field"], error["rule"]) == (
            "scheduleTime",
            "must be less than 10 days ago: of what is older it is forgotten here whether it was sent",
        )
    assert len(rig.rows) == 1
    assert (await ask(rig, item(uuid1(), scheduleTime=NOW_S + day_s)))[0]["effect"] == "created"


async def test_what_is_of_an_app_that_is_deactivated_waits(rig: Rig) -> None:
    once, often = uuid1(), uuid1()
    made = await ask(rig, item(once, appId="idle"), cron(often, appId="idle"))
    assert [each["effect"] for each in made] == ["created", "created"]
    assert (await shown(rig, once))["status"] == "SCHEDULED"
    rig.apps["idle"] = replace(rig.apps["idle"], active=True)


async def test_a_plan_takes_apps_that_are_to_be_registered_yet(rig: Rig) -> None:
    items = (item(uuid1(), appId="new", payload="x" * 30_000), cron(uuid1(), appId="new"))
    made = await ask(rig, *items, query="?dry_run=true")
    assert [each["effect"] for each in made] == ["wouldBeCreated", "wouldBeCreated"]
    (refused,) = await ask(
        rig, item(uuid1(), appId="new", payload="x" * 40_000), query="?dry_run=true", status=207
    )
    assert refused["status"]["errors"][0]["field"] == "payload"
    assert len(await ask(rig, *items, status=207)) == 2
    assert "new" not in rig.apps
    assert not rig.rows


async def test_each_has_its_own_result(rig: Rig) -> None:
    alias, many = uuid1(), uuid1()
    results = await ask(
        rig,
        item(alias),
        item(many, appId="nobody"),
        item(uuid1(), payload="x" * 100_000),
        item(uuid1(), scheduleTime=NOW_S + 10_000_000_000),
        item(uuid1(), callback={"type": "airbus", "details": {}}),
        cron(uuid1(), cronExpression="nonsense"),
        cron(uuid1(), appId="a b"),
        schedule_body(),
        item(UUID("00000000-0000-8000-8000-000000000000")),
        item(alias),
        7,
        status=207,
    )
    assert results[0]["effect"] == "created"
    errors = [each["status"]["errors"][0] for each in results[1:]]
    assert [each["field"] for each in errors] == [
        *("appId", "payload", "scheduleTime", "callback.type", "cronExpression", "appId"),
        *("scheduleId", "scheduleId", "scheduleId", "body"),
    ]
    assert len(rig.rows) == 1


async def test_a_batch_of_cancels_takes_old_ids(rig: Rig) -> None:
    aliases = [uuid1() for _ in range(3)]
    await ask(rig, *(item(each) for each in aliases[:2]))
    reply = await rig.client.call(
        "POST", f"{SCHEDULES}/batch-cancel", {"scheduleIds": [str(each) for each in aliases]}
    )
    results = reply.json["data"]["results"]
    assert [each.get("schedule", {}).get("status") for each in results] == ["DELETED", "DELETED", None]
    assert results[2]["status"]["statusCode"] == 404


async def test_an_old_id_that_means_nothing_is_not_found(rig: Rig) -> None:
    assert (await rig.client.call("GET", f"{SCHEDULES}/{uuid1()}")).status == 404


async def test_our_own_ids_pay_nothing_for_it(rig: Rig) -> None:
    made = await rig.client.call("POST", SCHEDULES, schedule_body())
    schedule_id = made.json["data"]["schedule"]["scheduleId"]
    rig.store.fail("fetch_aliases", AssertionError("nobody asks for aliases"))
    assert (await rig.client.call("GET", f"{SCHEDULES}/{schedule_id}")).status == 200
    assert (await rig.client.call("DELETE", f"{SCHEDULES}/{schedule_id}")).status == 200
    body = {"scheduleIds": [schedule_id]}
    assert (await rig.client.call("POST", f"{SCHEDULES}/batch-cancel", body)).status == 200


async def test_an_import_leaves_an_audit_entry(rig: Rig) -> None:
    await ask(rig, item(uuid1()), item(uuid1()))
    await ask(rig, item(uuid1()), query="?dry_run=true")
    (entry,) = await rig.store.real.fetch_audit(0, 1 << 62, 10, is_oldest_first=True)
    assert (entry.action, entry.subject, entry.app_id) == ("imports create", "imports", "")
    assert entry.after == '{"schedules":2,"recurring":0}'
