"""The pages of overview and schedules, on the real API: what they show, find and do."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from html import unescape
from typing import Any
from uuid import UUID

import pytest
from tests.unit.ingest.rig import NOW_MS, NOW_S, http_callback, schedule_body
from tests.unit.web.rig import Browser, Page, Web, make_web

from ringtime_shared.access import Scope
from ringtime_shared.models.recurring import Origin
from ringtime_shared.models.schedule import Attempt, Outcome, Status

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>'\"&"
RUNS: dict[str, Any] = {
    "cronExpression": "30 2 * * *",
    "timeZone": "Europe/Berlin",
    "payload": '{"n":1}',
    "callback": http_callback(),
}


@pytest.fixture
def web() -> Web:
    return make_web()


async def make(web: Web, **changes: object) -> str:
    """Return the id of a new one-time schedule of the app `test`."""
    reply = await web.rig.client.call("POST", "/goscheduler/schedules", schedule_body(**changes))
    assert reply.status == 200, reply.body
    return str(reply.json["data"]["schedule"]["scheduleId"])


async def put(web: Web, name: str, **changes: object) -> None:
    target = f"/goscheduler/apps/test/recurring/{name}"
    reply = await web.rig.client.call("PUT", target, RUNS | changes)
    assert reply.status == 200, reply.body


async def read(web: Web, target: str) -> Any:
    return (await web.rig.client.call("GET", f"/goscheduler{target}")).json["data"]


async def opened(web: Web, target: str) -> tuple[Browser, Page]:
    browser = web.browser()
    page = await browser.get(target)
    assert page.status == 200, page.text
    return browser, page


async def test_hostile_text_is_text_wherever_it_is_shown(web: Web) -> None:
    schedule_id = await make(web, payload=HOSTILE, labels={"html": HOSTILE})
    outcome = Outcome(
        status=Status.FAILURE,
        ended_ms=NOW_MS + 60_000,
        fired_ms=NOW_MS + 60_000,
        attempts=1,
        code=500,
        error=HOSTILE,
    )
    web.rig.end(UUID(schedule_id), outcome)
    await put(web, "hostile", payload=HOSTILE)
    for target in (
        f"/ui/schedule?id={schedule_id}",
        "/ui/schedule?app=test&name=hostile",
        "/ui/schedule/edit?app=test&name=hostile",
        f"/ui/schedules?app=test&kind=once&span=given&from={_field(NOW_MS)}&to={_field(NOW_MS + 3_600_000)}",
        "/ui/schedules?app=test&q=%3Cscript%3Ealert(1)%3C/script%3E",
        f"/ui/live/schedule?id={schedule_id}",
    ):
        page = (await opened(web, target))[1]
        assert "<script>alert" not in page.html, target
        assert "<img src=x" not in page.html, target
    assert "<script>alert(1)</script>" in unescape(
        (await opened(web, f"/ui/schedule?id={schedule_id}"))[1].html
    )


async def test_a_recurring_schedule_is_found_by_a_part_of_its_name_or_its_id(web: Web) -> None:
    for name in ("nightly-report", "hourly-report", "cleanup"):
        await put(web, name)
    page = (await opened(web, "/ui/schedules?app=test&q=REPORT"))[1]
    assert {*re.findall(r">([a-z-]+)</a></th>", page.html)} == {"hourly-report", "nightly-report"}
    shown = await read(web, "/apps/test/recurring/cleanup")
    browser = web.browser()
    found = await browser.get(f"/ui/schedules?app=test&q={shown['scheduleId']}")
    assert (await browser.get(found.location)).location == "/ui/schedule?app=test&name=cleanup"


async def test_one_time_schedules_are_found_by_label_and_name_and_pages_keep_the_filters(web: Web) -> None:
    for n in range(30):
        await make(web, scheduleTime=NOW_S + 60 + n, labels={"order": "even" if n % 2 == 0 else "odd"})
    span = f"span=given&from={_field(NOW_MS)}&to={_field(NOW_MS + 3_600_000)}"
    page = (await opened(web, f"/ui/schedules?app=test&kind=once&{span}"))[1]
    assert page.html.count('name="chosen"') == 25
    follow = re.search(r'href="([^"]+)" rel="next"', page.html)
    assert follow is not None
    address = unescape(follow[1])
    assert "kind=once" in address
    second = (await opened(web, address))[1]
    assert second.html.count('name="chosen"') == 5
    even = (await opened(web, f"/ui/schedules?app=test&kind=once&q=order:even&{span}"))[1]
    assert even.html.count('name="chosen"') == 15


async def test_the_page_of_a_schedule_says_why_it_is_as_it_is(web: Web) -> None:
    schedule_id = await make(web)
    page = (await opened(web, f"/ui/schedule?id={schedule_id}"))[1]
    assert "It is sent at" in page.text or "It has been due for" in page.text
    tried = Attempt(at_ms=NOW_MS + 60_000, took_ms=12, code=503, error="unexpected status 503")
    outcome = Outcome(
        status=Status.SUCCESS,
        ended_ms=NOW_MS + 70_000,
        fired_ms=NOW_MS + 69_000,
        attempts=2,
        code=200,
        log=(tried,),
    )
    web.rig.end(UUID(schedule_id), outcome)
    page = (await opened(web, f"/ui/schedule?id={schedule_id}"))[1]
    assert "Its receiver answered with 200 at attempt 2" in page.text
    assert "unexpected status 503" in page.text
    assert page.html.count('<li class="bad">') == 1
    assert page.html.count('<li class="good">') == 1


async def test_the_next_runs_show_what_the_clocks_do_to_them(web: Web) -> None:
    await put(web, "spring", startTime="2027-03-27T00:00:00Z", dstGap="shift")
    page = (await opened(web, "/ui/schedule?app=test&name=spring"))[1]
    assert "Its next run is planned for" in page.text
    assert page.text.count("UTC") > 10
    assert "moved: the clocks jump over it" in page.text


async def test_pause_and_resume_take_a_form_and_leave_their_reason_in_the_audit_log(web: Web) -> None:
    await put(web, "nightly")
    browser, _ = await opened(web, "/ui/schedule?app=test&name=nightly")
    named = {"app": "test", "name": "nightly"}
    done = await browser.post("/ui/schedule/pause", named | {"reason": "the warehouse moves"})
    page = await browser.get(done.location)
    assert "It was paused: the warehouse moves." in page.text
    assert "recurring pause" in page.text
    assert (await read(web, "/apps/test/recurring/nightly"))["state"] == "PAUSED"
    await browser.post("/ui/schedule/resume", named)
    assert (await read(web, "/apps/test/recurring/nightly"))["state"] == "ACTIVE"


async def test_a_backfill_is_shown_before_it_is_made(web: Web) -> None:
    await put(web, "hourly", cronExpression="0 * * * *", timeZone="UTC")
    browser, _ = await opened(web, "/ui/schedule?app=test&name=hourly")
    asked = {
        "app": "test",
        "name": "hourly",
        "from": _field(NOW_MS - 4 * 3_600_000),
        "to": _field(NOW_MS - 3_600_000),
    }
    page = await browser.post("/ui/schedule/backfill", asked)
    assert "3 runs would be filed" in page.text
    assert _backfilled(web) == 0
    assert "3 runs were filed" in (await browser.post("/ui/schedule/backfill", asked | {"sure": "yes"})).text
    assert _backfilled(web) == 3


async def test_a_deletion_takes_the_name(web: Web) -> None:
    await put(web, "nightly")
    browser, _ = await opened(web, "/ui/schedule?app=test&name=nightly")
    named = {"app": "test", "name": "nightly", "reason": "over"}
    assert (await browser.post("/ui/schedule/delete", named | {"confirm": "night"})).status == 400
    assert (await read(web, "/apps/test/recurring/nightly"))["state"] == "ACTIVE"
    done = await browser.post("/ui/schedule/delete", named | {"confirm": "nightly"})
    page = await browser.get(done.location)
    assert "It was deleted." in page.text
    assert "Trigger" not in page.text
    assert (await browser.get("/ui/schedule?app=test&name=nightly")).status == 404


async def test_cancel_and_trigger_of_a_one_time_schedule(web: Web) -> None:
    first, second = await make(web, scheduleTime=NOW_S + 3_600), await make(web, scheduleTime=NOW_S + 3_600)
    browser, _ = await opened(web, f"/ui/schedule?id={first}")
    done = await browser.post("/ui/schedule/cancel", {"id": first})
    assert "done=cancelled" in done.location
    assert (await read(web, f"/schedules/{first}"))["schedule"]["status"] == "DELETED"
    await browser.post("/ui/schedule/trigger", {"id": second})
    changed = (await read(web, f"/schedules/{second}"))["schedule"]
    assert changed["scheduleTime"] < NOW_S + 60
    refused = await browser.post("/ui/schedule/cancel", {"id": "nonsense"})
    assert refused.status == 400


FORM = {
    "kind": "recurring",
    "app": "test",
    "name": "new-one",
    "by": "cron",
    "cron": "0 9 * * MON",
    "zone": "UTC",
    "payload": '{"a":1}',
    "url": "http://127.0.0.1:8080/x",
    "method": "POST",
    "headers": "X-A: 1\r\nX-B: two",
}


async def test_a_recurring_schedule_is_made_by_a_form_and_what_is_wrong_is_told_by_field(web: Web) -> None:
    browser, _ = await opened(web, "/ui/schedule/new?app=test")
    wrong = await browser.post("/ui/schedule/new", FORM | {"cron": "61 * * * *", "zone": "Mars/Olympus"})
    assert wrong.status == 400
    assert "Nothing was saved" in wrong.text
    assert 'value="61 * * * *"' in wrong.html
    made = await browser.post("/ui/schedule/new", FORM | {"reason": "quarterly"})
    assert (made.status, "done=created" in made.location) == (303, True), made.text
    shown = await read(web, "/apps/test/recurring/new-one")
    assert shown["cronExpression"] == "0 9 * * MON"
    assert shown["callback"]["details"]["headers"] == {"X-A": "1", "X-B": "two"}
    again = await browser.post("/ui/schedule/new", FORM)
    assert again.status == 400, "one that is there is not overwritten by the form for new ones"


async def test_a_one_time_schedule_that_is_sent_twice_by_one_form_is_made_once(web: Web) -> None:
    browser, page = await opened(web, "/ui/schedule/new?app=test&kind=once")
    key = re.search(r'name="idempotency_key" value="([^"]+)"', page.html)
    assert key is not None
    form = {
        "kind": "once",
        "app": "test",
        "at": _field(NOW_MS + 3_600_000),
        "payload": "{}",
        "labels": "a:b",
        "url": "http://127.0.0.1:8080/x",
        "method": "POST",
        "idempotency_key": key[1],
    }
    first = await browser.post("/ui/schedule/new", form)
    assert first.status == 303, first.text
    assert (await browser.post("/ui/schedule/new", form)).location == first.location
    assert len(web.rig.rows) == 1


async def test_an_edit_sends_what_differs_and_refuses_what_others_changed_meanwhile(web: Web) -> None:
    secret = http_callback(headers={"Authorization": "Bearer abc"})
    await put(web, "nightly", callback=secret)
    browser, page = await opened(web, "/ui/schedule/edit?app=test&name=nightly")
    assert "Bearer abc" not in page.html
    form = _form_of(page)
    saved = await browser.post("/ui/schedule/edit", form | {"cron": "45 2 * * *"})
    assert "done=saved" in saved.location, saved.text
    shown = await read(web, "/apps/test/recurring/nightly")
    assert shown["cronExpression"] == "45 2 * * *"
    stored = next(iter(web.rig.store.real._definitions.values()))
    assert b"Bearer abc" in stored.callback_details, "what is not shown stays as it was"
    late = await browser.post("/ui/schedule/edit", form | {"cron": "50 2 * * *"})
    assert late.status == 400
    assert (await read(web, "/apps/test/recurring/nightly"))["cronExpression"] == "45 2 * * *"
    _, page = await opened(web, "/ui/schedule/edit?app=test&name=nightly")
    masked = await browser.post("/ui/schedule/edit", _form_of(page) | {"url": "http://127.0.0.1:8080/other"})
    assert masked.status == 400
    assert "credentials" in masked.text


async def test_the_preview_tells_times_and_what_is_wrong_with_them(web: Web) -> None:
    browser, _ = await opened(web, "/ui/schedule/new?app=test")
    times = {"kind": "recurring", "app": "test", "by": "cron", "cron": "0 12 * * *", "zone": "UTC"}
    assert (await browser.post("/ui/schedule/preview", times)).text.count(" 12:00:00") == 10
    wrong = await browser.post("/ui/schedule/preview", times | {"zone": "Mars/Olympus"})
    assert (wrong.status, "Mars" in wrong.text or "zone" in wrong.text.lower()) == (200, True)


async def test_ticked_schedules_are_acted_on_and_refusals_are_told(web: Web) -> None:
    for name in ("one", "two"):
        await put(web, name)
    browser, _ = await opened(web, "/ui/schedules?app=test")
    page = await browser.post(
        "/ui/schedules/selected",
        [("app", "test"), ("verb", "pause"), ("chosen", "one"), ("chosen", "two"), ("chosen", "nobody")],
    )
    assert "Paused: 2" in page.text
    assert "nobody" in page.text
    assert {(await read(web, f"/apps/test/recurring/{name}"))["state"] for name in ("one", "two")} == {
        "PAUSED"
    }
    ids = [await make(web, scheduleTime=NOW_S + 3_600) for _ in range(2)]
    done = await browser.post(
        "/ui/schedules/selected", [("app", "test"), ("verb", "cancel"), *(("chosen", each) for each in ids)]
    )
    assert "Cancelled: 2" in done.text
    assert (await browser.post("/ui/schedules/selected", {"app": "test", "verb": "cancel"})).status == 400


async def test_payloads_are_hidden_on_every_page_once_somebody_says_so(web: Web) -> None:
    schedule_id = await make(web, payload="the-payload-itself")
    await put(web, "nightly", payload="the-payload-itself")
    browser = web.browser()
    targets = (
        f"/ui/schedule?id={schedule_id}",
        "/ui/schedule?app=test&name=nightly",
        "/ui/schedule/edit?app=test&name=nightly",
    )
    for target in targets:
        assert "the-payload-itself" in (await browser.get(target)).html
    await browser.post("/ui/look", {"payloads": "hidden"})
    for target in targets:
        assert "the-payload-itself" not in (await browser.get(target)).html


async def test_a_key_that_may_only_read_is_offered_nothing_else_and_gets_nothing_else() -> None:
    web = make_web(has_keys=True)
    await put(web, "nightly")
    schedule_id = await make(web, scheduleTime=NOW_S + 3_600)
    browser = web.browser()
    await browser.sign_in(web.key([Scope.SCHEDULES_READ], ["test"]))
    for target in (
        "/",
        "/ui/schedules?app=test",
        "/ui/schedule?app=test&name=nightly",
        f"/ui/schedule?id={schedule_id}",
    ):
        page = await browser.get(target)
        assert page.status == 200, (target, page.text)
        actions = set(re.findall(r'action="/ui/([a-z/-]+)"', page.html))
        assert actions <= {"look", "sign-out", "schedules"}, target
    for target, form in (
        ("/ui/schedule/pause", {"app": "test", "name": "nightly", "reason": "x"}),
        ("/ui/schedule/cancel", {"id": schedule_id}),
        ("/ui/schedule/new", FORM),
        ("/ui/bulk", {"app": "test", "action": "pause"}),
    ):
        page = await browser.post(target, form)
        assert page.status in (400, 403), target
        assert "schedules:write" in page.text, target
    assert (await browser.get("/ui/schedules?app=idle")).status == 404, "another's app does not exist"


async def test_the_overview_tells_operators_of_everything_and_others_of_their_apps() -> None:
    web = make_web(has_keys=True)
    operator, tenant = web.browser(), web.browser()
    await operator.sign_in(web.key())
    page = await operator.get("/")
    assert "No dispatcher says anything" in page.text
    assert "Lag, half under" in page.text
    await tenant.sign_in(web.key([Scope.SCHEDULES_READ], ["test"]))
    page = await tenant.get("/")
    assert "test" in page.text
    assert "idle" not in page.text


async def test_live_pieces_are_one_event_and_say_when_to_ask_again(web: Web) -> None:
    page = (await opened(web, "/ui/live/overview"))[1]
    assert page.headers["content-type"].startswith("text/event-stream")
    retry, event, data, *rest = page.html.split("\n")
    assert (retry, event, rest) == ("retry: 2000", "event: pieces", ["", ""])
    shown = json.loads(data.removeprefix("data: "))
    assert {
        "tiles",
        "problem-count",
        "problems",
        "lag-chart",
        "rate-chart",
        "ahead-note",
        "ahead-chart",
    } == set(shown)
    assert json.loads(shown["ahead-chart"])["series"][1]["label"] == "quota carries"


async def test_a_bulk_job_is_planned_then_carried_out_with_a_reason(web: Web) -> None:
    await put(web, "nightly")
    browser, _ = await opened(web, "/ui/bulk?app=test")
    planned = await browser.post("/ui/bulk", {"app": "test", "action": "pause"})
    assert planned.status == 303
    page = await browser.get(planned.location)
    assert "Plan: Pause" in page.text
    assert (await browser.post("/ui/bulk", {"app": "test", "action": "pause", "sure": "yes"})).status == 400
    asked = {"app": "test", "action": "pause", "sure": "yes", "reason": "stocktaking"}
    assert (await browser.post("/ui/bulk", asked)).status == 303
    assert (await browser.get("/ui/jobs?app=test")).text.count("Waiting") == 2
    assert (await browser.post("/ui/bulk", {"app": "test", "action": "explode"})).status == 400


async def test_suggestions_begin_with_what_was_typed() -> None:
    web = make_web()
    for app_id in ("shop", "workshop", "bakery"):
        await web.rig.client.call("POST", "/goscheduler/apps", {"appId": app_id, "partitions": 1})
    page = await web.browser().get("/ui/suggest/apps?app=shop")
    assert re.findall(r'value="([a-z]+)"', page.html) == ["shop", "workshop"]


def _backfilled(web: Web) -> int:
    runs = [row.schedule.run for row in web.rig.rows.values()]
    return sum(run is not None and run.origin is Origin.BACKFILL for run in runs)


def _field(ms: int) -> str:
    """Return an instant as a field for times sends it."""
    return datetime.fromtimestamp(ms / 1_000, UTC).replace(tzinfo=None).isoformat(timespec="seconds")


def _form_of(page: Page) -> dict[str, str]:
    """Return the fields of the large form of a page, as a browser without scripts sends them."""
    form = page.html[page.html.index('class="wide-left">') :]
    fields = {
        unescape(name): unescape(value)
        for name, value in re.findall(r'<input[^>]*\bname="([^"]+)"[^>]*\bvalue="([^"]*)"', form)
    }
    fields |= {
        unescape(name): unescape(text)
        for name, text in re.findall(r'<textarea[^>]*\bname="([^"]+)"[^>]*>(.*?)</textarea>', form, re.DOTALL)
    }
    for name, options in re.findall(r'<select[^>]*\bname="([^"]+)"[^>]*>(.*?)</select>', form, re.DOTALL):
        chosen = re.search(r'<option value="([^"]*)" selected', options) or re.search(
            r"<option selected>(\w+)", options
        )
        first = re.search(r'<option value="([^"]*)"', options)
        fields[name] = unescape((chosen or first or [None, ""])[1] or "")
    fields.pop("form_token", None)
    return fields
