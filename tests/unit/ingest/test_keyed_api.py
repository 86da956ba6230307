"""Idempotency keys over HTTP: the header, the field of a batch's item, and what is answered."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.ingest.rig import NOW_S, Reply, Rig, make_rig, schedule_body
from tests.unit.spy_store import spin

from ringtime_shared.errors import OutcomeUnknown

PATH = "/goscheduler/schedules"
EXPIRES = "2027-01-16T08:00:00.250Z"


@pytest.fixture
def rig() -> Rig:
    return make_rig()


async def create(rig: Rig, key: str = "k1", path: str = PATH, **changes: object) -> Reply:
    return await rig.client.call("POST", path, schedule_body(**changes), headers=[("Idempotency-Key", key)])


def told(reply: Reply) -> Any:
    status = reply.json["status"]
    return reply.status, status["statusCode"], status["error"], [each["field"] for each in status["errors"]]


async def test_the_answer_says_whether_it_was_there_and_for_how_long(rig: Rig) -> None:
    first, again = await create(rig), await create(rig)
    assert (first.status, again.status) == (200, 200)
    assert first.json["data"]["idempotency"] == {"replayed": False, "expiresAt": EXPIRES}
    assert again.json["data"]["idempotency"] == {"replayed": True, "expiresAt": EXPIRES}
    assert again.json["data"]["schedule"] == first.json["data"]["schedule"]
    assert [each.headers.get("idempotency-replayed") for each in (first, again)] == [None, "true"]
    assert {each.headers["idempotency-expires"] for each in (first, again)} == {EXPIRES}
    flat = await create(rig, path="/goscheduler/schedule")
    assert (flat.json["data"], flat.headers["idempotency-replayed"]) == (
        first.json["data"]["schedule"],
        "true",
    )
    assert len(rig.rows) == 1


async def test_no_key_no_word_of_it(rig: Rig) -> None:
    reply = await rig.client.call("POST", PATH, schedule_body())
    assert "idempotency" not in reply.json["data"]
    assert not any("idempotency" in name for name in reply.headers)


async def test_another_create_with_the_key_is_refused(rig: Rig) -> None:
    await create(rig)
    assert told(await create(rig, payload="other")) == (422, 422, "KEY_REUSED", ["idempotencyKey"])
    assert (await create(rig, key="k2", payload="other")).status == 200


async def test_while_it_is_in_flight_it_is_told_when_to_come_again(rig: Rig) -> None:
    rig.store.fail("put_rows", OutcomeUnknown("no answer"))
    assert (await create(rig)).status == 503
    reply = await create(rig)
    assert told(reply) == (409, 409, "IN_FLIGHT", ["idempotencyKey"])
    assert reply.headers["retry-after"] == "1"
    rig.clock.advance(5_000)
    assert (await create(rig)).headers["idempotency-replayed"] == "true"
    await spin()


async def test_bad_keys_name_the_field(rig: Rig) -> None:
    for key in ("", "a b", "x" * 256):
        assert told(await create(rig, key=key)) == (400, 400, "INVALID_REQUEST", ["idempotencyKey"])
    assert told(await create(rig, idempotencyKey="k2"))[3] == ["idempotencyKey"]
    assert told(await create(rig, idempotencyKey=1))[1:] == (5001, "UNREADABLE", ["idempotencyKey"])
    cron = await create(rig, scheduleTime=..., cronExpression="* * * * *")
    assert told(cron)[3] == ["idempotencyKey"]
    assert rig.rows == {}


async def test_the_field_is_as_good_as_the_header(rig: Rig) -> None:
    first = await create(rig)
    again = await rig.client.call("POST", PATH, schedule_body(idempotencyKey="k1"))
    assert again.json["data"]["idempotency"]["replayed"]
    assert again.json["data"]["schedule"] == first.json["data"]["schedule"]
    assert (await create(rig, idempotencyKey="k1")).json["data"]["idempotency"]["replayed"]


async def test_items_of_a_batch_have_keys(rig: Rig) -> None:
    first = await create(rig)
    items = [
        schedule_body(idempotencyKey="k1"),
        schedule_body(idempotencyKey="k1", payload="other"),
        schedule_body(),
        schedule_body(idempotencyKey="k2", scheduleTime=NOW_S + 61),
    ]
    reply = await rig.client.call("POST", f"{PATH}/batch", {"schedules": items})
    one, two, three, four = reply.json["data"]["results"]
    assert one == {
        "schedule": first.json["data"]["schedule"],
        "idempotency": {"replayed": True, "expiresAt": EXPIRES},
    }
    assert two["status"]["error"] == "KEY_REUSED"
    assert set(three) == {"schedule"}
    assert not four["idempotency"]["replayed"]
    assert (reply.json["data"]["done"], reply.json["data"]["failed"], len(rig.rows)) == (3, 1, 3)
