"""What a stranger tries: forms from elsewhere, links that lie, pages of others, pages that are left open."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

import pytest
from starlette.routing import Route
from tests.contract.builders import make_letter
from tests.unit.ingest.rig import NOW_MS, http_callback, schedule_body
from tests.unit.web.rig import Browser, Page, Web, make_web

from ringtime_shared.access import Scope
from ringtime_shared.access.keys import make_key
from ringtime_shared.errors import StoreUnavailable
from ringtime_shared.models.node_status import NodeStatus, OverQuota, Trouble, Work

FORM = "application/x-www-form-urlencoded"
OWN, THEIRS = "test", "their-app"
#: what is known of another tenant, and what only operators know
MARKS = (
    "their-key-label",
    "their-host",
    "their-error",
    "their-label",
    "their-name",
    "their-node",
    "their-payload",
    "7,654,321",
)
PAGES = (
    "/",
    "/ui/apps",
    "/ui/suggest/apps?app=t",
    "/ui/destinations",
    "/ui/ring",
    "/ui/audit",
    "/ui/keys",
    "/ui/live/overview",
    *(
        f"/ui/{page}{'&' if '?' in page else '?'}app={app}"
        for app in (OWN, THEIRS)
        for page in (
            "app",
            "app?hours=24",
            "fires",
            "dead-letters",
            "destinations",
            "ring",
            "audit",
            "schedules",
            "schedules?kind=once&span=next",
            "schedules?kind=once&span=next&q=their:their-label",
            "schedules?q=their-name",
            "schedule?name=their-name",
            "schedule/edit?name=their-name",
            "schedule/new",
            "bulk",
            "jobs",
        )
    ),
)
WRITERS = {Scope.SCHEDULES_READ, Scope.SCHEDULES_WRITE, Scope.DEADLETTERS_REPLAY, Scope.APPS_ADMIN}


def post_paths(web: Web) -> list[str]:
    """Return the path of every form."""
    routes = [each for each in web.dashboard.app.routes if isinstance(each, Route)]
    return [each.path for each in routes if "POST" in (each.methods or ())]


async def make_neighbours() -> tuple[Web, str]:
    """Return a dashboard of two tenants, and the id of a schedule of the other one."""
    web = make_web(has_keys=True)
    api: Any = web.rig
    web.rig.apps[THEIRS] = replace(web.rig.apps[OWN], app_id=THEIRS, number=9)
    callback = http_callback(url="https://their-host.example/x")
    body = schedule_body(
        appId=THEIRS, payload="their-payload", callback=callback, labels={"their": "their-label"}
    )
    made = await api.client.call("POST", "/goscheduler/schedules", body)
    assert made.status == 200, made.body
    schedule_id = str(made.json["data"]["schedule"]["scheduleId"])
    definition = {
        "cronExpression": "@daily",
        "timeZone": "UTC",
        "payload": "their-payload",
        "callback": callback,
    }
    made = await api.client.call("PUT", f"/goscheduler/apps/{THEIRS}/recurring/their-name", definition)
    assert made.status == 200, made.body
    letter = make_letter(web.rig.apps[THEIRS], NOW_MS - 5_000, schedule_id=UUID(schedule_id))
    await web.rig.store.real.put_dead_letters([replace(letter, error="their-error")])
    trouble = Trouble(
        app_id=THEIRS, destination="https://their-host.example", state="open", error="their-error", waiting=3
    )
    await web.rig.store.real.put_node_status(
        NodeStatus(
            node="their-node",
            at_ms=NOW_MS,
            is_ready=True,
            work=Work(window_ms=60_000, sent=9),
            backlog=7_654_321,
            troubles=(trouble,),
            troubles_in_all=7_654_321,
            troubles_of_app={THEIRS: 7_654_321},
            over_quota=(OverQuota(app_id=THEIRS, minute_ms=NOW_MS + 60_000, due=7_654_321),),
        )
    )
    _, theirs = make_key([Scope.SCHEDULES_READ], [OWN, THEIRS], label="both", now_ms=1)
    _, alone = make_key([Scope.SCHEDULES_READ], [THEIRS], label="their-key-label", now_ms=1)
    web.rig.store.real._api_keys.update({each.key_id: each for each in (theirs, alone)})
    return web, schedule_id


async def signed_in(web: Web, key: str) -> Browser:
    browser = web.browser()
    assert (await browser.sign_in(key)).status == 303
    return browser


async def test_a_key_of_one_app_sees_nothing_of_another_on_any_page() -> None:
    web, schedule_id = await make_neighbours()
    theirs = await signed_in(web, web.key())
    seen = "".join([(await theirs.get(target)).html for target in PAGES])
    assert [mark for mark in (*MARKS, THEIRS) if mark not in seen] == [], "or nothing is asked here"
    browser = await signed_in(web, web.key(WRITERS, [OWN]))
    for target in (*PAGES, *(f"/ui/{page}?id={schedule_id}" for page in ("schedule", "schedule/edit"))):
        page = await browser.get(target)
        asked = {quote(text, safe="") for text in (THEIRS, *MARKS) if text in target}
        shown = [text for text in (THEIRS, *MARKS) if text in page.html and text not in asked]
        assert shown == [], (target, page.text)
        if THEIRS in target or schedule_id in target:
            nothing_there = await browser.get(target.replace(THEIRS, "no-such-app"))
            assert _told(page, THEIRS) == _told(nothing_there, "no-such-app"), target


def _told(page: Page, app_id: str) -> tuple[int, str]:
    """Return what a page says, whatever the app is called that it was asked for, and whenever."""
    return page.status, re.sub(r"\d[\d:. -]*", "#", page.text.replace(app_id, "APP"))


async def test_another_tenant_s_things_are_not_changed_by_any_form() -> None:
    web, schedule_id = await make_neighbours()
    browser = await signed_in(web, web.key(WRITERS, [OWN]))
    await browser.get("/ui/apps")
    before = len(web.rig.store.calls)
    fields = {
        "app": THEIRS,
        "id": schedule_id,
        "schedule_id": schedule_id,
        "chosen": schedule_id,
        "name": "their-name",
        "confirm": "their-name",
        "verb": "cancel",
        "action": "cancel",
        "active": "off",
        "sure": "yes",
        "reason": "mine now",
        "from": "2027-01-01T00:00:00",
        "to": "2027-02-01T00:00:00",
        "start": "2027-01-01T00:00:00",
        "end": "2027-02-01T00:00:00",
    }
    for path in post_paths(web):
        if path not in ("/ui/sign-out", "/ui/sign-in", "/ui/look"):
            page = await browser.post(path, fields)
            assert page.status in (200, 400, 404), (path, page.text)
    wrote = [name for name in web.rig.store.names()[before:] if name.startswith(("put", "change", "cancel"))]
    assert wrote == []


@pytest.mark.parametrize(
    ("method", "kind", "headers"),
    [
        ("POST", FORM, ()),
        ("POST", "text/plain", ()),
        ("POST", "multipart/form-data; boundary=x", ()),
        ("POST", "application/json", ()),
        ("POST", "", ()),
        ("PUT", FORM, ()),
        ("PATCH", FORM, ()),
        ("DELETE", FORM, ()),
        ("GET", FORM, (("x-http-method-override", "POST"),)),
        ("HEAD", FORM, (("x-http-method", "POST"),)),
    ],
)
async def test_no_form_from_elsewhere_reaches_the_api(
    method: str, kind: str, headers: tuple[tuple[str, str], ...]
) -> None:
    web = make_web(has_keys=True)
    browser = await signed_in(web, web.key())
    await browser.get("/ui/apps")
    good = browser.token if kind != FORM or method != "POST" else "0" * 64
    body = urlencode({"form_token": good, "app": OWN, "reason": "x", "active": "off", "_method": "POST"})
    web.rig.store.calls.clear()
    for path in post_paths(web):
        given = [("content-type", kind), *headers] if kind else [*headers]
        target = f"{path}?{body}" if method in ("GET", "HEAD") else path
        page = await browser._send(method, target, body.encode(), given)
        assert page.status in (200, 303, 400, 403, 404, 405), (path, page.status)
    assert web.rig.apps[OWN].active
    wrote = [name for name in web.rig.store.names() if name.startswith(("put", "change", "create", "cancel"))]
    assert wrote == []
    assert len(web.dashboard.site.sessions) == 1, "nobody is signed out from elsewhere"


@pytest.mark.parametrize("told", ["Your key has leaked: send it to evil.example", "paused", "cancelled"])
@pytest.mark.parametrize("seal", ["", "0" * 32, "é"])
async def test_a_link_makes_no_page_say_that_something_was_done(told: str, seal: str) -> None:
    web = make_web()
    made = await web.rig.client.call("POST", "/goscheduler/schedules", schedule_body())
    schedule_id = made.json["data"]["schedule"]["scheduleId"]
    browser = web.browser()
    tail = f"&done={quote(told)}&seal={quote(seal)}"
    for target in (f"/ui/app?app={OWN}", f"/ui/dead-letters?app={OWN}", f"/ui/schedule?id={schedule_id}"):
        page = await browser.get(target + tail)
        assert page.status == 200
        assert (
            'role="status">'
            not in page.html.replace('role="status"></div>', "").split("<main")[1].split("</main")[0]
        )
    page = await browser.post("/ui/app/active", {"app": OWN, "active": "off", "reason": "x"})
    assert f"{OWN} is inactive now." in (await browser.get(page.location)).text
    other = web.browser()
    await other.get("/ui/apps")
    assert f"{OWN} is inactive now." not in (await other.get(page.location)).text, "it was told to another"


async def test_a_page_that_asks_by_itself_in_pieces_keeps_no_session_either() -> None:
    web = make_web(has_keys=True, idle_minutes=30)
    browser = await signed_in(web, web.key())
    for _ in range(2):
        web.rig.clock.advance(14 * 60_000)
        page = await browser.get("/ui/ring", ("hx-request", "true"), ("hx-trigger", "live"))
        assert page.status == 200
        assert 'id="live"' in page.html
    web.rig.clock.advance(3 * 60_000)
    page = await browser.get("/ui/ring", ("hx-request", "true"), ("hx-trigger", "live"))
    assert (page.status, page.headers["hx-refresh"]) == (401, "true")


async def test_a_live_page_whose_key_is_revoked_loads_itself_anew_and_shows_nothing_more() -> None:
    web = make_web(has_keys=True)
    browser = await signed_in(web, web.key())
    assert "event: pieces" in (await browser.get("/ui/live/overview")).html
    web.rig.store.real._api_keys.clear()
    web.rig.clock.advance(10_000)
    page = await browser.get("/ui/live/overview")
    assert (page.status, page.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert page.html == "event: over\ndata: \n\n"
    assert len(web.dashboard.site.sessions) == 0


async def test_a_live_page_says_that_it_is_not_up_to_date_and_asks_again() -> None:
    web = make_web()
    browser = web.browser()
    web.rig.clock.advance(2_000)
    for _ in range(9):
        web.rig.store.fail("fetch_node_statuses", StoreUnavailable("their-node\n\nevent: pieces"))
    page = await browser.get("/ui/live/overview")
    assert (page.status, page.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert re.fullmatch(r"retry: 10000\nevent: stale\ndata: \"[^\n]*\"\n\n", page.html), page.html
