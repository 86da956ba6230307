"""Lists of schedules over HTTP: how answers look, and that bad requests are refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from tests.contract.builders import make_outcome, make_row, make_update
from tests.unit.ingest.rig import NOW_MS, NOW_S, Reply, Rig, make_rig, schedule_body
from tests.unit.ingest.test_bad_input import assert_refused
from tests.unit.ingest.test_openapi import _check, _document

from ringtime_shared.errors import StoreUnavailable
from ringtime_shared.models.schedule import Row

LIST = "/goscheduler/apps/test/schedules"


@pytest.fixture
def rig() -> Rig:
    return make_rig()


async def put_row(rig: Rig, ahead_ms: int = -1_000, **changes: Any) -> Row:
    given = {"callback_details": b'{"url":"https://example.com/hook","method":"POST"}'} | changes
    row = make_row(rig.apps["test"], NOW_MS + ahead_ms, **given)
    await rig.store.put_rows([row])
    return row


def ids_of(reply: Reply) -> list[str]:
    assert reply.status == 200, reply.body
    return [each["scheduleId"] for each in reply.json["data"]["schedules"]]


async def check_form(rig: Rig, reply: Reply) -> None:
    """Hold an answer against the document."""
    document = await _document(rig)
    answers = document["paths"]["/goscheduler/apps/{appId}/schedules"]["get"]["responses"]
    _check(answers["200"]["content"]["application/json"]["schema"], reply.json, document)


async def test_a_schedule_is_listed_as_it_is_shown_by_its_id(rig: Rig) -> None:
    row = await put_row(rig)
    await rig.store.put_updates([make_update(row, make_outcome())])
    reply = await rig.client.call("GET", LIST)
    await check_form(rig, reply)
    alone = await rig.client.call("GET", f"/goscheduler/schedules/{row.schedule.schedule_id}")
    assert reply.json == {
        "status": {"statusCode": 200, "statusMessage": "Success", "statusType": "Success", "totalCount": 1},
        "data": {
            "schedules": [alone.json["data"]["schedule"]],
            "continuationToken": "",
            "continuationStartTime": 0,
        },
    }


async def test_an_empty_list_is_an_answer(rig: Rig) -> None:
    reply = await rig.client.call("GET", LIST)
    assert (reply.status, reply.json["data"]["schedules"], reply.json["status"]["totalCount"]) == (200, [], 0)


async def test_pages_go_on_with_the_token_and_with_goschedulers_second_part_of_it(rig: Rig) -> None:
    rows = [await put_row(rig, n - 1_000) for n in range(5)]
    found, tail = [], ""
    for count in (2, 2, 1):
        reply = await rig.client.call("GET", f"{LIST}?size=2{tail}")
        assert reply.json["status"]["totalCount"] == count
        found += ids_of(reply)
        data = reply.json["data"]
        tail = (
            f"&continuation_token={data['continuationToken']}"
            f"&continuation_start_time={data['continuationStartTime']}"
        )
    assert found == [str(row.schedule.schedule_id) for row in rows]
    assert tail == "&continuation_token=&continuation_start_time=0"


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 1),
        ("size=", 1),
        (f"start_time={NOW_S - 10}", 2),
        (f"start_time={NOW_S - 10}&end_time={NOW_S}", 1),
        ("start_time=2027-01-15T07:59:59Z", 2),
        ("start_time=2027-01-15%2007:59:59&end_time=2027-01-15%2008:00:00", 1),
        ("start_time=2027-01-15%2013:29:59&end_time=2027-01-15%2013:30:00&zone=Asia/Kolkata", 1),
        ("start_time=2027-01-15%2007:59:59&zone=Asia/Kolkata", 0),
        ("start_time=2027-01-15T07:59:59Z&zone=Asia/Kolkata", 2),
        ("status=SCHEDULED", 1),
        ("status=SUCCESS", 0),
        ("unknown=1", 1),
    ],
)
async def test_ranges_zones_and_states(rig: Rig, query: str, count: int) -> None:
    await put_row(rig)
    await put_row(rig, 60_000)
    for path in (LIST, LIST.replace("apps", "app")):
        assert len(ids_of(await rig.client.call("GET", f"{path}?{query}"))) == count


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=succes", "status"),
        ("status=success", "status"),
        ("size=0", "size"),
        ("size=1001", "size"),
        ("size=-1", "size"),
        ("size=ten", "size"),
        ("size=1&size=2", "size"),
        ("zone=Nowhere/Else", "zone"),
        ("zone=Europe", "zone"),
        ("zone=../../etc/passwd", "zone"),
        ("zone=%00", "zone"),
        (f"zone={'x' * 5_000}", "zone"),
        ("start_time=yesterday", "start_time"),
        ("start_time=2027-02-30%2000:00:00", "start_time"),
        ("start_time=0001-01-01%2000:00:00&zone=Asia/Kolkata", "start_time"),
        ("start_time=1969-12-31%2000:00:00", "start_time"),
        (f"start_time={NOW_S}&end_time={NOW_S - 1}", "start_time"),
        (f"start_time={NOW_S}&end_time={NOW_S + 31 * 86_400 + 1}", "start_time"),
        ("continuation_token=deadbeef", "continuation_token"),
        (f"continuation_token={'A' * 38}", "continuation_token"),
    ],
)
async def test_what_cannot_be_listed_is_refused_by_name(rig: Rig, query: str, field: str) -> None:
    reply = await rig.client.call("GET", f"{LIST}?{query}")
    assert_refused(reply, field)
    assert [error["field"] for error in reply.json["status"]["errors"]] == [field]


async def test_everything_that_is_wrong_is_told_at_once(rig: Rig) -> None:
    reply = await rig.client.call("GET", f"{LIST}?status=x&zone=x&size=x&start_time=x")
    told = [error["field"] for error in reply.json["status"]["errors"]]
    assert sorted(told) == ["size", "start_time", "status", "zone"]


async def test_an_unknown_app_and_a_store_that_is_away(rig: Rig) -> None:
    reply = await rig.client.call("GET", "/goscheduler/apps/nobody/schedules")
    assert (reply.status, reply.json["status"]["statusCode"]) == (400, 4001)
    rig.store.fail("fetch_app_buckets", StoreUnavailable("no"))
    assert (await rig.client.call("GET", LIST)).status == 503


async def test_a_damaged_schedule_is_named_and_the_others_are_listed(rig: Rig) -> None:
    bad = await put_row(rig, -2_000, callback_details=b"{")
    good = await put_row(rig)
    reply = await rig.client.call("GET", LIST)
    assert ids_of(reply) == [str(good.schedule.schedule_id)]
    assert reply.json["data"]["unreadable"] == [str(bad.schedule.schedule_id)]
    await check_form(rig, reply)


async def test_labels_are_shown_and_asked_for(rig: Rig) -> None:
    labels = {"team": "billing", "Stage": "a:b ü"}
    body = schedule_body(labels=labels, scheduleTime=..., delaySeconds=60)
    made = await rig.client.call("POST", "/goscheduler/schedules", body)
    assert made.json["data"]["schedule"]["labels"] == dict(sorted(labels.items()))
    other = await rig.client.call("POST", "/goscheduler/schedules", schedule_body(labels={}))
    assert "labels" not in other.json["data"]["schedule"]
    when = f"{LIST}?start_time={NOW_S}&end_time={NOW_S + 600}"
    reply = await rig.client.call("GET", f"{when}&label=team:billing&label=Stage:a:b+%C3%BC")
    await check_form(rig, reply)
    assert ids_of(reply) == [made.json["data"]["schedule"]["scheduleId"]]
    for nothing in ("label=team:other", "label=team:", "name_prefix=n", "host=other.example", "late_by_ms=0"):
        assert ids_of(await rig.client.call("GET", f"{when}&{nothing}")) == []
    assert len(ids_of(await rig.client.call("GET", f"{when}&host=127.0.0.1&label="))) == 2


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("label=team", "label"),
        ("label=a:b&label=a:c", "label"),
        ("label=a%20b:c", "label"),
        ("label=a:%00", "label"),
        ("&".join(f"label=k{n}:v" for n in range(17)), "label"),
        ("name_prefix=-", "name_prefix"),
        ("host=a/b", "host"),
        ("host=a:80", "host"),
        ("late_by_ms=-1", "late_by_ms"),
        ("late_by_ms=1.5", "late_by_ms"),
        ("late_by_ms=99999999999999", "late_by_ms"),
    ],
)
async def test_what_is_asked_for_has_a_form(rig: Rig, query: str, field: str) -> None:
    assert_refused(await rig.client.call("GET", f"{LIST}?{query}"), field)


@pytest.mark.parametrize(
    "labels",
    [
        {"": "a"},
        {"a b": "c"},
        {"a": "b\n"},
        {"a": "x" * 129},
        {f"k{n}": "" for n in range(17)},
        {"x" * 64: ""},
    ],
)
async def test_labels_have_a_form(rig: Rig, labels: dict[str, str]) -> None:
    reply = await rig.client.call("POST", "/goscheduler/schedules", schedule_body(labels=labels))
    assert_refused(reply, "labels")


@pytest.mark.parametrize("value", [1, 1.5, None, True, [], {}])
async def test_what_is_no_text_is_no_label(rig: Rig, value: object) -> None:
    body = schedule_body(labels={"a": value})
    named = {key: each for key, each in body.items() if key != "appId"}
    for method, path, given in (
        ("POST", "/goscheduler/schedules", body),
        ("PUT", "/goscheduler/apps/test/schedules/nightly", named),
    ):
        assert_refused(await rig.client.call(method, path, given), "labels.a")
    reply = await rig.client.call(
        "POST", "/goscheduler/schedules/batch", {"schedules": [body, schedule_body()]}
    )
    assert [("schedule" in each) for each in reply.json["data"]["results"]] == [False, True]
