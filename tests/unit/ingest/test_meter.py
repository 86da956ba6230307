"""The limits of apps: who has more than he may is told so, by status, headers and word, and nobody else
is."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import pytest
from tests.unit.ingest.rig import NOW_MS, Client, Reply, Rig, make_rig, schedule_body
from tests.unit.spy_store import spin

from ringtime_ingest.http import create_app
from ringtime_ingest.http import meter as meter_module
from ringtime_ingest.http.gate import Gate
from ringtime_ingest.http.guard import CALLER
from ringtime_ingest.http.meter import METERED, Meter
from ringtime_shared.access import ANYBODY, EVERYTHING, Caller, KeyChecks, Scope
from ringtime_shared.access.keys import make_key
from ringtime_shared.errors import RateLimited
from ringtime_shared.models.app import App, AppConfiguration
from ringtime_shared.settings import AppLimits, ServerSettings

SCHEDULES = "/goscheduler/schedules"
BATCH = f"{SCHEDULES}/batch"
NAMED = "/goscheduler/apps/test/schedules/report"


def rig_of(is_short: bool = True, limits: AppLimits | None = None, **configured: Any) -> Rig:
    """Return a rig whose app `test` has these limits; `calm` has none of its own."""
    rig = make_rig(is_short=is_short, limits=limits or AppLimits(at_once_s=1))
    test = replace(rig.apps["test"], configuration=AppConfiguration(**configured))
    rig.apps["test"] = test
    rig.apps["calm"] = replace(test, app_id="calm", number=7, configuration=AppConfiguration())
    return rig


async def known(rig: Rig) -> Rig:
    """Return it with all apps read."""
    await rig.service._apps.load()
    return rig


async def create(rig: Rig, app_id: str = "test", **changes: object) -> Reply:
    return await rig.client.call("POST", SCHEDULES, schedule_body(appId=app_id, **changes))


async def batch(rig: Rig, **counts: int) -> Reply:
    items = [schedule_body(appId=app_id) for app_id, count in counts.items() for _ in range(count)]
    return await rig.client.call("POST", BATCH, {"schedules": items})


def told(reply: Reply) -> tuple[int, Any, str, str]:
    headers = reply.headers
    return reply.status, reply.json["status"], headers["ratelimit-policy"], headers["ratelimit"]


@pytest.mark.slow
@pytest.mark.parametrize("is_short", [True, False])
async def test_ten_times_a_limit_is_answered_429_and_the_limit_is_served(is_short: bool) -> None:
    """In 20 s at 100 a second of 10: no other answer than these two, and others do not notice."""
    rig = await known(rig_of(is_short, creates_per_second=10))
    statuses: dict[str, Counter[int]] = {"test": Counter(), "calm": Counter()}
    for _ in range(200):
        for _ in range(10):
            statuses["test"][(await create(rig)).status] += 1
        statuses["calm"][(await create(rig, "calm")).status] += 1
        rig.clock.advance(100)
    assert statuses == {"test": {200: 10 + 199, 429: 2_000 - 209}, "calm": {200: 200}}
    assert len(rig.rows) == 209 + 200


@pytest.mark.parametrize("is_short", [True, False])
async def test_a_refusal_says_what_and_when_and_so_does_every_answer_before(is_short: bool) -> None:
    rig = await known(rig_of(is_short, creates_per_second=2))
    policy = '"app-creates";q=2;w=1;qu="schedules"'
    first, second, third = [await create(rig) for _ in range(3)]
    assert [each.headers["ratelimit"] for each in (first, second)] == [
        '"app-creates";r=1;t=1',
        '"app-creates";r=0;t=1',
    ]
    assert {each.headers["ratelimit-policy"] for each in (first, second)} == {policy}
    assert "retry-after" not in first.headers
    http, status, *headers = told(third)
    assert (http, headers, third.headers["retry-after"]) == (429, [policy, '"app-creates";r=0;t=1'], "1")
    assert (status["statusCode"], status["error"]) == (429, "RATE_LIMITED")
    assert status["details"] == {"limit": "app-creates"}
    assert status["statusMessage"] == "more than the limit app-creates allows; try again in 0.5 s"
    assert len(rig.rows) == 2


async def test_retry_after_is_never_too_early_and_not_the_same_for_all() -> None:
    rig = await known(rig_of(creates_per_second=1))
    await batch(rig, test=101)
    waits = {int((await create(rig)).headers["retry-after"]) for _ in range(100)}
    assert min(waits) >= 101
    assert max(waits) <= 122
    assert len(waits) > 5


async def test_a_batch_counts_as_its_items_and_is_refused_as_a_whole() -> None:
    rig = await known(rig_of(creates_per_second=10))
    assert (await batch(rig, test=7)).headers["ratelimit"] == '"app-creates";r=3;t=1'
    refused = await batch(rig, test=4)
    assert told(refused)[0] == 429
    assert (await batch(rig, test=3)).status == 200
    assert len(rig.rows) == 10


async def test_in_a_batch_of_several_apps_the_items_of_one_are_refused() -> None:
    rig = await known(rig_of(creates_per_second=2))
    assert (await batch(rig, test=2, calm=2)).status == 200
    reply = await batch(rig, test=1, calm=2)
    assert reply.status == 207
    words = [each.get("status", {}).get("error", "done") for each in reply.json["data"]["results"]]
    assert words == ["RATE_LIMITED", "done", "done"]
    assert (reply.json["data"]["done"], reply.json["data"]["failed"]) == (2, 1)


async def test_every_way_to_create_counts() -> None:
    rig = await known(rig_of(creates_per_second=5))
    body = {key: value for key, value in schedule_body().items() if key != "appId"}
    recurring = {key: value for key, value in body.items() if key != "scheduleTime"} | {
        "cronExpression": "@daily",
        "timeZone": "UTC",
    }
    calls = [
        ("POST", SCHEDULES, schedule_body()),
        ("POST", "/goscheduler/schedule", schedule_body()),
        ("POST", SCHEDULES, schedule_body(idempotencyKey="k")),
        ("PUT", "/goscheduler/apps/test/schedules/report", body),
        ("PUT", "/goscheduler/apps/test/recurring/nightly", recurring),
    ]
    left = [(await rig.client.call(*call)).headers["ratelimit"] for call in calls]
    assert left == [f'"app-creates";r={n};t=1' for n in (4, 3, 2, 1, 0)]
    assert {(await rig.client.call(*call)).status for call in calls} == {429}


async def test_bytes_of_payloads_are_counted_as_utf_8() -> None:
    rig = await known(rig_of(payload_bytes_per_second=100))
    first = await create(rig, payload="\u00e9" * 40)
    assert first.headers["ratelimit"] == '"app-payload-bytes";r=20;t=1'
    assert first.headers["ratelimit-policy"] == '"app-payload-bytes";q=100;w=1;qu="content-bytes"'
    assert (await create(rig, payload="x" * 21)).json["status"]["details"] == {"limit": "app-payload-bytes"}
    assert (await create(rig, payload="x" * 20)).status == 200


async def test_of_two_limits_both_are_taken_from_or_none() -> None:
    rig = await known(rig_of(creates_per_second=3, payload_bytes_per_second=100))
    await create(rig, payload="x" * 90)
    for _ in range(5):
        assert (await create(rig, payload="x" * 50)).status == 429
    assert (await create(rig, payload="")).headers["ratelimit"] == (
        '"app-creates";r=1;t=1, "app-payload-bytes";r=10;t=1'
    )


async def test_a_changed_limit_holds_at_once_here() -> None:
    rig = await known(rig_of())
    assert "ratelimit" not in (await create(rig)).headers
    path = "/goscheduler/apps/test/configuration"
    assert (await rig.client.call("PATCH", path, {"createsPerSecond": 1})).status == 200
    assert [(await create(rig)).status for _ in range(2)] == [200, 429]
    await rig.client.call("PATCH", path, {"createsPerSecond": 2})  # which is no way to a full bucket
    assert [(await create(rig)).status for _ in range(2)] == [200, 429]
    await rig.client.call("PATCH", path, {"weight": 2})
    assert (await create(rig)).status == 429


async def test_the_servers_limit_stands_in_and_bounds_what_apps_may_set() -> None:
    limits = AppLimits(creates_per_second=1, max_creates_per_second=2, at_once_s=1)
    rig = await known(rig_of(limits=limits))
    assert [(await create(rig)).status for _ in range(2)] == [200, 429]
    path = "/goscheduler/apps/test/configuration"
    reply = await rig.client.call("PATCH", path, {"createsPerSecond": 3})
    assert reply.json["status"]["errors"] == [{"field": "createsPerSecond", "rule": "must be from 1 to 2"}]


APP = App(app_id="a", number=1, writable=1, polled=1, active=True, version=1, created_ms=0)


class Known:
    """One app, or none."""

    def __init__(self, app: App | None = APP) -> None:
        self.app = app
        self.boot_ms = lambda: 0

    def known_app(self, app_id: str) -> App | None:
        return self.app

    def known_app_id(self, number: int) -> str | None:
        return None if self.app is None or number != self.app.number else self.app.app_id


def scope_of(caller: Caller = ANYBODY) -> dict[str, Any]:
    return {CALLER: caller}


def test_a_process_allows_its_part() -> None:
    meter = Meter(AppLimits(creates_per_second=8, at_once_s=2), 4, Known())
    scope = scope_of()
    meter.creates(scope, "a", [""] * 3)
    assert dict(meter.headers(scope)) == {
        b"ratelimit-policy": b'"app-creates";q=4;w=2;qu="schedules"',
        b"ratelimit": b'"app-creates";r=1;t=2',
    }
    with pytest.raises(RateLimited):
        meter.creates(scope, "a", [""] * 2)


def test_without_limits_nothing_is_kept() -> None:
    meter = Meter(AppLimits(), 1, Known())
    scope = scope_of(Caller("key k", EVERYTHING, "k"))
    meter.with_key(scope, scope[CALLER])
    meter.creates(scope, "a", ["x"] * 1_000)
    meter.about(scope, "a")
    assert METERED not in scope


@pytest.mark.parametrize("is_short", [True, False])
async def test_an_app_without_limits_is_not_asked_about_until_it_has_one(is_short: bool) -> None:
    rig = await known(rig_of(is_short))
    gate = rig.client.app
    assert isinstance(gate, Gate)
    assert (await create(rig)).status == 200
    assert [*gate._meter.free] == ["test"]
    assert not gate._meter._of_apps
    await rig.service.configure_app("test", AppConfiguration(creates_per_second=1), merges=True)
    assert [(await create(rig)).status for _ in range(3)] == [200, 429, 429]
    await rig.service.configure_app("test", AppConfiguration(), merges=False)
    assert [(await create(rig)).status for _ in range(3)] == [200, 200, 200]


def test_an_app_that_is_not_known_takes_no_memory() -> None:
    meter = Meter(AppLimits(creates_per_second=1, requests_per_second=1), 1, Known(None))
    for n in range(1_000):
        meter.creates(scope_of(), f"nobody-{n}", ["", ""])
        meter.about(scope_of(), f"nobody-{n}")
    assert len(meter._of_apps) == 0


def test_accounts_are_bounded_and_the_one_used_longest_ago_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(meter_module, "_MOST_ACCOUNTS", 3)
    meter = Meter(AppLimits(creates_per_second=1, at_once_s=1), 1, Known())
    for app_id in ("a", "b", "c", "a", "d"):
        with suppress(RateLimited):
            meter.creates(scope_of(), app_id, [""])
    assert list(meter._of_apps) == ["c", "a", "d"]


def test_keys_have_limits_of_their_own_or_those_of_the_settings() -> None:
    limits = AppLimits(key_requests_per_second=1, key_creates_per_second=2, at_once_s=1)
    meter = Meter(limits, 1, Known())
    usual, quick = Caller("key u", EVERYTHING, "u"), Caller("key q", EVERYTHING, "q", "", 3, 4)
    for caller, requests, creates in ((usual, 1, 2), (quick, 3, 4)):
        for _ in range(requests):
            meter.with_key(scope_of(caller), caller)
        with pytest.raises(RateLimited, match="key-requests"):
            meter.with_key(scope_of(caller), caller)
        for _ in range(creates):
            meter.creates(scope_of(caller), "a", [""])
        with pytest.raises(RateLimited, match="key-creates"):
            meter.creates(scope_of(caller), "b", [""])
    meter.creates(scope_of(), "a", [""] * 100)  # no key was used


async def test_every_request_about_an_app_counts_once_however_it_is_named() -> None:
    rig = await known(rig_of(requests_per_second=100))
    made = await create(rig)
    path = f"{SCHEDULES}/{made.json['data']['schedule']['scheduleId']}"
    calls: list[tuple[str, str, object]] = [
        ("GET", path, b""),
        ("GET", "/goscheduler/apps/test/schedules", b""),
        ("PUT", NAMED, {key: value for key, value in schedule_body().items() if key != "appId"}),
        ("POST", BATCH, {"schedules": [schedule_body()] * 3}),
        ("DELETE", path, b""),
        ("GET", "/goscheduler/apps/test/configuration", b""),
    ]
    assert made.headers["ratelimit"] == '"app-requests";r=99;t=1'
    for left, call in zip(range(98, 0, -1), calls, strict=False):
        reply = await rig.client.call(*call)
        assert (reply.status, reply.headers["ratelimit"]) == (200, f'"app-requests";r={left};t=1')
    for path in (f"{SCHEDULES}/{UUID(int=7 << 42)}", "/goscheduler/apps/calm/schedules"):
        assert "ratelimit" not in (await rig.client.call("GET", path)).headers


async def test_a_batch_of_cancels_counts_as_its_items() -> None:
    rig = await known(rig_of(requests_per_second=10))
    made = await batch(rig, test=3, calm=1)
    ids = [each["schedule"]["scheduleId"] for each in made.json["data"]["results"]]
    path = f"{SCHEDULES}/batch-cancel"
    reply = await rig.client.call("POST", path, {"scheduleIds": [*ids, ids[0], "x"]})
    assert (reply.json["data"]["done"], reply.headers["ratelimit"]) == (5, '"app-requests";r=5;t=1')
    refused = await rig.client.call("POST", path, {"scheduleIds": [ids[0]] * 6})
    assert (refused.status, refused.json["status"]["details"]) == (429, {"limit": "app-requests"})


async def test_in_a_batch_of_cancels_of_several_apps_those_of_one_are_refused() -> None:
    rig = await known(rig_of(requests_per_second=3))
    made = await batch(rig, test=2, calm=2)
    ids = [each["schedule"]["scheduleId"] for each in made.json["data"]["results"]]
    rig.clock.advance(1_000)
    for _ in range(2):
        reply = await rig.client.call("POST", f"{SCHEDULES}/batch-cancel", {"scheduleIds": [*ids, "x"]})
    words = [each.get("status", {}).get("error", "done") for each in reply.json["data"]["results"]]
    assert words == ["RATE_LIMITED", "RATE_LIMITED", "done", "done", "INVALID_REQUEST"]


async def test_one_key_has_so_many_requests_in_progress_and_others_have_theirs() -> None:
    rig = make_rig()

    async def ready() -> None:
        """It always is."""

    checks = KeyChecks(cast(Any, rig.store), rig.clock)
    client = Client(create_app(rig.service, ServerSettings(max_key_concurrency=2), ready, keys=checks))
    texts = []
    for _ in range(2):
        text, key = make_key(Scope, None, label="x", now_ms=NOW_MS)
        await rig.store.put_key(key)
        texts.append(text)

    def ask(text: str) -> asyncio.Task[Reply]:
        sent = [("Authorization", f"Bearer {text}")]
        return asyncio.create_task(client.call("POST", SCHEDULES, schedule_body(), headers=sent))

    gate = rig.store.hold("put_rows")
    mine, other = texts
    under_way = [ask(mine), ask(mine), ask(other)]
    await spin(50)
    refused = await ask(mine)
    assert (refused.status, refused.json["status"]["details"]) == (429, {"limit": "key-concurrency"})
    assert int(refused.headers["retry-after"]) >= 1
    gate.set()
    assert [each.status for each in await asyncio.gather(*under_way)] == [200, 200, 200]
    assert [each.status for each in [await ask(mine) for _ in range(3)]] == [200, 200, 200]
    assert len(rig.rows) == 6
    await checks.close()


@pytest.mark.parametrize("is_short", [True, False])
async def test_every_request_with_a_key_counts_for_it_and_a_batch_of_cancels_as_its_items(
    is_short: bool,
) -> None:
    rig = make_rig(limits=AppLimits(at_once_s=1))

    async def ready() -> None:
        """It always is."""

    checks = KeyChecks(cast(Any, rig.store), rig.clock)
    client = Client(create_app(rig.service, ServerSettings(), ready, keys=checks, is_short=is_short))
    mine, key = make_key(Scope, None, label="x", now_ms=NOW_MS, requests_per_second=9)
    other, another = make_key(Scope, None, label="y", now_ms=NOW_MS)
    await rig.store.put_key(key)
    await rig.store.put_key(another)

    async def ask(text: str, method: str, path: str, body: object = b"") -> Reply:
        return await client.call(method, path, body, headers=[("Authorization", f"Bearer {text}")])

    made = await ask(mine, "POST", SCHEDULES, schedule_body())
    schedule_id = made.json["data"]["schedule"]["scheduleId"]
    asked = {"scheduleIds": [schedule_id] * 4}
    calls: list[tuple[str, str, object, int]] = [
        ("GET", "/goscheduler/nothing", b"", 7),
        ("GET", f"{SCHEDULES}/{schedule_id}", b"", 6),
        ("POST", f"{SCHEDULES}/batch-cancel", asked, 2),
        ("GET", "/", b"", 1),
    ]
    for *call, left in calls:
        told = (await ask(mine, *call)).headers  # type: ignore[arg-type]
        assert told["ratelimit"] == f'"key-requests";r={left};t=1'
    refused = [await ask(mine, "POST", f"{SCHEDULES}/batch-cancel", asked) for _ in range(2)]
    refused[0] = await ask(mine, "GET", "/")  # of the first batch the request itself was counted
    for each in refused:
        assert (each.status, each.json["status"]["details"]) == (429, {"limit": "key-requests"})
    assert (await ask(other, "GET", "/")).status == 200
    assert (await client.call("GET", "/health/live")).status == 200
    await checks.close()
