"""Names of one-time schedules: one pending schedule a name, whoever puts it and whoever dies."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.contract.builders import START_MS, make_outcome
from tests.unit.ingest.rig import NOW_S, Rig, make_rig, schedule_body
from tests.unit.ingest.test_keyed import BUSY_MS, HOUR_MS, Pods, asked, pods
from tests.unit.spy_store import spin

from ringtime_ingest.service import NewSchedule
from ringtime_ingest.service.named import Put
from ringtime_ingest.service.requests import ScheduleChange
from ringtime_shared.errors import (
    Conflict,
    InFlight,
    InvalidRequest,
    NotChangeable,
    NotFound,
    OutcomeUnknown,
    StoreUnavailable,
)
from ringtime_shared.models.retry import RetryRules
from ringtime_shared.models.schedule import Row, RowUpdate, Status
from ringtime_shared.models.sending import Priority, Sending

__all__ = ["pods"]
AT_MS = START_MS + HOUR_MS


def new(name: str = "nightly", **changes: Any) -> NewSchedule:
    return asked("", name=name, **({"delay_ms": None, "fire_ms": AT_MS} | changes))


async def put(pods: Pods, **changes: Any) -> Put:
    return await pods.rig.service.named.put(new(**changes))


async def put_on_other(pods: Pods, **changes: Any) -> Put:
    return await pods.other.named.put(new(**changes))


def live(pods: Pods) -> list[Row]:
    return [row for row in pods.rows() if row.is_live]


async def test_a_name_stands_for_one_pending_schedule_on_any_pod(pods: Pods) -> None:
    row, is_new = await put(pods)
    assert (is_new, row.schedule.name) == (True, "nightly")
    assert await put_on_other(pods) == await put(pods) == Put(row, is_new=False)
    for service in (pods.rig.service, pods.other):
        assert await service.named.fetch("shop", "nightly") == row.schedule.schedule_id
        with pytest.raises(NotFound):
            await service.named.fetch("shop", "other")
    assert pods.rows() == [row]
    other = await put(pods, name="other")
    assert other.is_new
    assert other.row.schedule.schedule_id != row.schedule.schedule_id


async def test_a_delay_counts_from_the_first_put(pods: Pods) -> None:
    first = await put(pods, fire_ms=None, delay_ms=60_000)
    pods.rig.clock.advance(30_000)
    assert await put_on_other(pods, fire_ms=None, delay_ms=60_000) == Put(first.row, is_new=False)
    assert not (await put(pods, fire_ms=START_MS + 60_000)).is_new  # the same, said otherwise
    sooner = await put(pods, fire_ms=None, delay_ms=20_000)
    assert sooner.row.schedule.fire_ms == START_MS + 50_000
    pods.rig.clock.advance(5_000)
    again = await put_on_other(pods, fire_ms=None, delay_ms=20_000)
    assert again == Put(sooner.row, is_new=False), "also one that changes it may be sent twice"


@pytest.mark.parametrize(
    "change",
    [
        {"payload": "[]"},
        {"fire_ms": AT_MS + 1},
        {"callback_details": {"a": 2}},
        {"labels": (("team", "a"),)},
        {"sending": Sending(timeout_ms=500, priority=Priority.HIGH)},
        {"payload": "aGk=", "sending": Sending(is_base64=True)},
    ],
)
async def test_one_that_is_pending_becomes_what_is_asked_for(pods: Pods, change: dict[str, Any]) -> None:
    given = {"retry": RetryRules(attempts=2), "sending": Sending(timeout_ms=700, priority=Priority.LOW)}
    first = (await put(pods, **given)).row
    row, is_new = await put_on_other(pods, **change)
    assert (row.schedule.schedule_id, is_new) == (first.schedule.schedule_id, False)
    shown = await pods.rig.service.fetch_schedule(first.schedule.schedule_id)
    asked_for = new(**change)
    assert (shown.schedule.payload, shown.schedule.fire_ms) == (asked_for.payload, asked_for.fire_ms)
    assert json.loads(shown.schedule.callback_details) == asked_for.callback_details
    assert (shown.schedule.labels, shown.schedule.name) == (asked_for.labels, "nightly")
    assert (shown.schedule.retry, shown.schedule.sending) == (None, asked_for.sending)  # of this put alone
    count = len(pods.rows())
    assert not (await put(pods, **change)).is_new  # nothing is to change now
    assert len(pods.rows()) == count
    again = (await put(pods, **given)).row.schedule
    assert (again.retry, again.sending, again.payload) == (given["retry"], given["sending"], "{}")


async def test_one_that_is_too_near_is_not_changed(pods: Pods) -> None:
    first = (await put(pods)).row
    pods.rig.clock.advance(HOUR_MS - 500)
    with pytest.raises(NotChangeable):
        await put_on_other(pods, payload="other", fire_ms=AT_MS + HOUR_MS)
    assert pods.rows() == [first]


async def test_a_name_stands_for_its_schedule_as_long_as_that_can_be_read(pods: Pods) -> None:
    first = (await put(pods)).row
    later_ms = AT_MS + 20 * 24 * HOUR_MS
    await pods.rig.service.change_schedule(first.schedule.schedule_id, ScheduleChange(fire_ms=later_ms))
    pods.rig.clock.advance(12 * 24 * HOUR_MS)  # the first time is past what is kept
    assert await pods.other.named.fetch("shop", "nightly") == first.schedule.schedule_id
    assert not (await put_on_other(pods, fire_ms=later_ms)).is_new
    assert {row.schedule.schedule_id for row in pods.rows()} == {first.schedule.schedule_id}


async def test_the_name_is_free_when_its_schedule_was_cancelled_or_has_ended(pods: Pods) -> None:
    first = (await put(pods)).row
    await pods.rig.service.cancel_schedule(first.schedule.schedule_id)
    second = await put_on_other(pods)
    assert second.is_new
    assert second.row.schedule.schedule_id != first.schedule.schedule_id
    update = RowUpdate(
        place=second.row.place, schedule_id=second.row.schedule.schedule_id, outcome=make_outcome()
    )
    await pods.rig.store.real.put_updates([update])
    assert await pods.rig.service.named.fetch("shop", "nightly") == second.row.schedule.schedule_id
    third = await put(pods, payload="other")
    assert third.is_new
    assert await pods.other.named.fetch("shop", "nightly") == third.row.schedule.schedule_id


async def test_a_put_that_comes_again_when_its_time_is_past_finds_its_schedule(pods: Pods) -> None:
    first = (await put(pods)).row
    update = RowUpdate(place=first.place, schedule_id=first.schedule.schedule_id, outcome=make_outcome())
    await pods.rig.store.real.put_updates([update])
    pods.rig.clock.advance(2 * HOUR_MS)
    again = await put_on_other(pods)
    assert (again.is_new, again.row.status) == (False, Status.SUCCESS)
    with pytest.raises(InvalidRequest):
        await put(pods, payload="other")


async def test_many_puts_at_once_make_one(pods: Pods) -> None:
    async def insist(service: Any, n: int) -> Row | None:
        while True:
            try:
                return (await service.named.put(new(payload=str(n % 2)))).row  # type: ignore[no-any-return]
            except InFlight:
                await asyncio.sleep(0)
            except Conflict:
                return None

    made = await asyncio.gather(*(insist((pods.rig.service, pods.other)[n % 2], n) for n in range(10)))
    assert len({row.schedule.schedule_id for row in [*made, *pods.rows()] if row is not None}) == 1


@pytest.mark.parametrize("payload", ["{}", "other"])
async def test_a_put_that_died_before_its_row_gives_the_name_away(pods: Pods, payload: str) -> None:
    pods.rig.store.fail("put_rows", OutcomeUnknown("no answer"))
    with pytest.raises(OutcomeUnknown):
        await put(pods)
    claimed = await pods.rig.service.named.fetch("shop", "nightly")
    with pytest.raises(InFlight) as caught:
        await put_on_other(pods, payload=payload)
    assert caught.value.field == "name"
    pods.rig.clock.advance(BUSY_MS)
    second = await put_on_other(pods, payload=payload)
    assert second.is_new
    assert (second.row.schedule.schedule_id == claimed) is (payload == "{}")  # else it is another schedule
    assert live(pods) == [second.row]


@pytest.mark.parametrize("is_held", [True, False])
async def test_of_a_slow_put_and_one_that_took_its_name_one_schedule_is_left(
    pods: Pods, is_held: bool
) -> None:
    """The slow one's row is written after the second claim, or before it and seen by the second look."""
    real, gate = pods.rig.store.real, asyncio.Event()
    put_rows, begun = real.put_rows, asyncio.Event()

    async def slow(rows: Any) -> None:
        if rows[0].schedule.payload == "slow":
            begun.set()
            await gate.wait()
        await put_rows(rows)

    real.put_rows = slow  # type: ignore[method-assign]
    first = asyncio.create_task(put(pods, payload="slow"))
    await begun.wait()
    pods.rig.clock.advance(BUSY_MS)
    if is_held:
        second = await put_on_other(pods, payload="quick")
        gate.set()
        with pytest.raises(Conflict):
            await first
    else:
        # the row comes between the look that misses it and the claim
        replace_claim, calls = real.replace_claim, 0

        async def then_write(claim: Any, before: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 2:
                gate.set()
                await spin()
            return await replace_claim(claim, before)

        real.replace_claim = then_write  # type: ignore[method-assign]
        second = await put_on_other(pods, payload="quick")
        await asyncio.wait([first])
    assert second.is_new
    assert live(pods) == [second.row]
    assert await pods.other.named.fetch("shop", "nightly") == second.row.schedule.schedule_id


async def test_when_the_last_look_fails_the_outcome_is_unknown_and_the_put_may_be_repeated(
    pods: Pods,
) -> None:
    pods.rig.store.fail("fetch_claim", StoreUnavailable("away"))
    with pytest.raises(OutcomeUnknown):
        await put(pods)
    assert not (await put_on_other(pods)).is_new
    assert len(pods.rows()) == 1


# --- over HTTP

PATH = "/goscheduler/apps/test/schedules"


@pytest.fixture
def rig() -> Rig:
    return make_rig()


def body(**changes: object) -> dict[str, Any]:
    return {key: value for key, value in schedule_body(**changes).items() if key != "appId"}


async def test_put_get_and_delete_by_name(rig: Rig) -> None:
    for base in (PATH, "/goscheduler/app/test/schedules"):
        one = f"{base}/nightly.1"
        made = await rig.client.call("PUT", one, body(labels={"team": "a"}))
        assert made.status == 200, made.body
        shown = made.json["data"]["schedule"]
        assert (made.json["data"]["created"], shown["name"], shown["labels"]) == (
            True,
            "nightly.1",
            {"team": "a"},
        )
        again = await rig.client.call("PUT", one, body(labels={"team": "a"}))
        assert again.json["data"] == {"schedule": shown, "created": False}
        changed = await rig.client.call("PUT", one, body(payload="other"))
        shown = changed.json["data"]["schedule"]
        assert (changed.json["data"]["created"], shown["payload"], "labels" in shown) == (
            False,
            "other",
            False,
        )
        assert (await rig.client.call("GET", one)).json["data"] == {"schedule": shown}
        when = f"start_time={NOW_S}&end_time={NOW_S + 600}&status=SCHEDULED"
        listed = await rig.client.call("GET", f"{PATH}?{when}&name_prefix=nightly")
        assert listed.json["data"]["schedules"] == [shown]
        deleted = await rig.client.call("DELETE", one)
        assert (deleted.status, deleted.json["data"]["schedule"]["status"]) == (200, "DELETED")
        assert (await rig.client.call("GET", one)).json["data"]["schedule"]["status"] == "DELETED"


async def test_names_have_a_form_and_bodies_are_closed(rig: Rig) -> None:
    for method, given in (("PUT", body()), ("GET", b""), ("DELETE", b"")):
        bad = await rig.client.call(method, f"{PATH}/-x", given)
        assert (bad.status, [each["field"] for each in bad.json["status"]["errors"]]) == (400, ["name"])
        if method != "PUT":
            missing = await rig.client.call(method, f"{PATH}/nope")
            assert (missing.status, missing.json["status"]["error"]) == (404, "NOT_FOUND")
    for wrong, field in (
        (body() | {"appId": "test"}, "appId"),
        (body() | {"cronExpression": "* * * * *"}, "cronExpression"),
        (body(scheduleTime=...), "scheduleTime"),
        (body(callback=...), "callback"),
        (body(labels={"a b": "c"}), "labels"),
    ):
        reply = await rig.client.call("PUT", f"{PATH}/nightly", wrong)
        assert (reply.status, [each["field"] for each in reply.json["status"]["errors"]]) == (400, [field])
    assert rig.rows == {}


async def test_a_plan_says_what_a_put_would_do_and_does_nothing(pods: Pods) -> None:
    async def plan(**changes: Any) -> str:
        claims = pods.rig.store.real._claims
        before = pods.rows(), claims.copy()
        effect = (await pods.other.named.plan(new(**changes))).effect
        assert (pods.rows(), claims) == before
        return effect

    assert await plan() == "create"
    row, _ = await put(pods)
    assert (await plan(), await plan(payload="2")) == ("none", "change")
    assert (await pods.other.named.plan(new(payload="2"))).row.schedule.payload == "2"
    with pytest.raises(InvalidRequest):
        await plan(callback_type="pigeon")
    await pods.rig.service.cancel_schedule(row.schedule.schedule_id)
    assert (await plan(), await plan(payload="2")) == ("createAgain", "create")
    row, _ = await put(pods, fire_ms=AT_MS + 1)
    clock = pods.rig.clock
    clock.advance(AT_MS - clock.now_ms())
    with pytest.raises(NotChangeable):
        await plan(fire_ms=AT_MS + HOUR_MS)
    clock.advance(HOUR_MS)
    assert await plan(fire_ms=AT_MS + 1) == "none"  # the same put, whose time is past
    with pytest.raises(InvalidRequest):
        await plan(fire_ms=AT_MS + 1, payload="2")
