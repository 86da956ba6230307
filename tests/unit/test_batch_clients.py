"""Batches through the clients and the library: results in order, errors as those of a single call."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.unit.client_rig import WAYS, Served, Verb, served, verbs

from ringtime_client import HttpCallbackDetails, NewSchedule, Status
from ringtime_client.answers import settle
from ringtime_client.calls import cancel_schedules, create_schedules
from ringtime_client.exchange import Answer, Call
from ringtime_shared.errors import (
    AlreadyDone,
    AppInactive,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    RingtimeError,
    StoreUnavailable,
)
from ringtime_shared.models.schedule import Outcome

HOOK = HttpCallbackDetails(url="http://127.0.0.1:9/hook", headers={"X-A": "1"})
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as running:
        yield running


@pytest.fixture(params=WAYS)
async def run(request: pytest.FixtureRequest, server: Served) -> AsyncIterator[Verb]:
    async with verbs(request.param, server.url) as call:
        yield call


def plain(created: Any) -> tuple[UUID, str]:
    """Return id and payload of a client's schedule, or of the library's."""
    found = created.schedule if hasattr(created, "place") else created
    return found.schedule_id, found.payload


async def register(run: Verb, **named: Any) -> str:
    app_id = f"app-{uuid4().hex}"
    await run("register_app", app_id, partitions=2, **named)
    return app_id


async def test_results_come_in_order_each_with_its_own_error(run: Verb) -> None:
    app_id, idle = await register(run), await register(run, active=False)
    items = [
        NewSchedule(app_id=app_id, payload="0", callback=HOOK, delay=HOUR),
        NewSchedule(app_id="nobody", payload="1", callback=HOOK, delay=HOUR),
        {"app_id": app_id, "payload": "2", "callback": HOOK, "at": datetime.now(UTC) + HOUR},
        NewSchedule(app_id=idle, payload="3", callback=HOOK, delay=HOUR),
        NewSchedule(app_id=app_id, payload="", callback=HOOK, delay=-HOUR),
        NewSchedule(app_id=app_id, payload="5", callback={"type": "http", "details": {}}, delay=HOUR),
    ]
    results = await run("create_schedules", items)
    assert [plain(results[n])[1] for n in (0, 2)] == ["0", "2"]
    unknown, inactive, bad, worse = (results[n] for n in (1, 3, 4, 5))
    assert isinstance(unknown, NotFound)
    assert (unknown.kind, unknown.key) == ("app", "nobody")
    assert isinstance(inactive, AppInactive)
    assert isinstance(bad, InvalidRequest)
    assert [each.field for each in bad.violations] == ["delaySeconds"]
    assert isinstance(worse, InvalidRequest)
    seen = await run("get_schedule", plain(results[2])[0])
    assert plain(seen) == plain(results[2])


async def test_a_thousand_in_a_body_longer_than_a_single_create_may_have(run: Verb) -> None:
    app_id = await register(run)
    items = [NewSchedule(app_id=app_id, payload=f"{n:0500}", callback=HOOK, delay=HOUR) for n in range(1_000)]
    results = await run("create_schedules", items)
    assert [int(plain(each)[1]) for each in results] == list(range(1_000))
    cancelled = await run("cancel_schedules", [str(plain(each)[0]) for each in results])
    assert all(each.promised for each in cancelled)


async def test_each_cancel_has_its_own_result(run: Verb, server: Served) -> None:
    app_id = await register(run)
    items = [NewSchedule(app_id=app_id, payload=str(n), callback=HOOK, delay=HOUR) for n in range(2)]
    items.append(NewSchedule(app_id=app_id, payload="2", callback=HOOK, delay=timedelta(0)))
    first, second, near = [plain(each)[0] for each in await run("create_schedules", items)]
    nobody = uuid4()
    results = await run("cancel_schedules", [first, nobody, str(first), near])
    assert [getattr(results[n], "promised", None) for n in (0, 2, 3)] == [True, True, False]
    assert isinstance(results[1], NotFound)
    assert (results[1].kind, results[1].key) == ("schedule", str(nobody))
    if second in server.store.places:
        now_ms = int(datetime.now(UTC).timestamp() * 1_000)
        server.end(second, Outcome(status=Status.SUCCESS, ended_ms=now_ms, fired_ms=now_ms, attempts=1))
        (late,) = await run("cancel_schedules", [second])
        assert isinstance(late, AlreadyDone)
        assert late.status == "SUCCESS"


@pytest.mark.parametrize("count", [0, 1_001])
async def test_the_number_of_items_is_bounded(run: Verb, count: int) -> None:
    item = NewSchedule(app_id="shop", payload="", callback=HOOK, delay=HOUR)
    with pytest.raises(InvalidRequest, match="1 to 1,000"):
        await run("create_schedules", [item] * count)
    with pytest.raises(InvalidRequest, match="1 to 1,000"):
        await run("cancel_schedules", [uuid4()] * count)


CREATE = create_schedules([NewSchedule(app_id="shop", payload="", callback=HOOK, delay=HOUR)] * 2)
CANCEL = cancel_schedules([uuid4()] * 2)


def failure(code: int, word: str) -> str:
    status = {"statusCode": code, "statusMessage": "m", "statusType": "Fail", "error": word, "errors": []}
    return json.dumps({"status": status})


@pytest.mark.parametrize("call", [CREATE, CANCEL], ids=["create", "cancel"])
@pytest.mark.parametrize(
    ("code", "word", "kind"),
    [
        (5004, "OUTCOME_UNKNOWN", OutcomeUnknown),
        (5004, "MARKS_AHEAD", OutcomeUnknown),
        (5004, "STORE_UNAVAILABLE", StoreUnavailable),
        (5004, "DISK_FULL", StoreUnavailable),
        (500, "INTERNAL_ERROR", OutcomeUnknown),
        (400, "INVALID_REQUEST", InvalidRequest),
        (777, "SOMETHING_NEW", OutcomeUnknown),
    ],
)
def test_what_a_failed_item_means(
    call: Call[list[Any]], code: int, word: str, kind: type[RingtimeError]
) -> None:
    item = failure(code, word)
    body = f'{{"status":{{}},"data":{{"results":[{item},{item}]}}}}'.encode()
    assert [type(each) for each in settle(call, Answer(http=207, body=body))] == [kind] * 2


@pytest.mark.parametrize(
    "results",
    ["", '"results":[]', '"results":[{}]', '"results":[{},{},{}]', '"results":[7,7]', '"results":7'],
)
@pytest.mark.parametrize("call", [CREATE, CANCEL], ids=["create", "cancel"])
def test_what_is_no_answer_to_the_batch_leaves_it_unknown(call: Call[list[Any]], results: str) -> None:
    with pytest.raises(OutcomeUnknown):
        settle(call, Answer(http=200, body=f'{{"status":{{}},"data":{{{results}}}}}'.encode()))
