"""Who may come in, what forms must have, what headers say, and that foreign text is text."""

from __future__ import annotations

import gzip
import re
from importlib.resources import files

import pytest
from tests.unit.ingest.rig import Client
from tests.unit.web.rig import make_web

from ringtime_shared.access import Scope
from ringtime_web.static_files import static_files

MOST_PACKED_BYTES = 60_000


async def test_a_browser_gets_the_dashboard_at_the_root_and_a_program_what_it_always_got() -> None:
    web = make_web()
    page = await web.browser().get("/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    reply = await Client(web.app).call("GET", "/", headers=[("accept", "*/*")])
    assert reply.json["data"]["api"] == "/goscheduler"
    assert (await Client(web.app).call("GET", "/goscheduler/apps")).status == 200


async def test_every_answer_has_a_policy_that_allows_nothing_inline_and_nothing_foreign() -> None:
    web = make_web(has_keys=True)
    for target in ("/", "/ui/sign-in", "/ui/nothing", "/ui/static/ringtime.css"):
        headers = (await web.browser().get(target)).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none';"), target
        assert "unsafe" not in policy, target
        assert not re.search(r"https?:|\*", policy), target
        assert headers["x-frame-options"] == "DENY", target
        assert headers["x-content-type-options"] == "nosniff", target


async def test_pages_have_no_script_style_or_address_of_their_own_in_them() -> None:
    web = make_web()
    html = (await web.browser().get("/")).html
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|hx-on|javascript:", html)
    assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", html)


async def test_without_a_session_every_page_leads_to_the_sign_in_and_back() -> None:
    web = make_web(has_keys=True)
    browser = web.browser()
    page = await browser.get("/")
    assert (page.status, page.location) == (303, "/ui/sign-in")
    assert "API key" in (await browser.get(page.location)).text


async def test_a_good_key_signs_in_and_the_browser_never_has_it() -> None:
    web = make_web(has_keys=True)
    browser, key = web.browser(), web.key()
    page = await browser.sign_in(key)
    assert (page.status, page.location) == (303, "/")
    shown = await browser.get("/")
    assert shown.status == 200
    assert key not in str(browser.cookies) + shown.html
    line = browser.attributes["ringtime_session"]
    assert {"HttpOnly", "SameSite=strict"} <= set(line.split("; "))
    assert "Secure" not in line


async def test_the_cookie_goes_over_tls_alone_where_there_is_tls() -> None:
    browser = make_web(is_secure=True).browser()
    await browser.get("/")
    assert "Secure" in browser.attributes["ringtime_session"].split("; ")


async def test_signing_in_changes_the_number_that_the_browser_had() -> None:
    web = make_web(has_keys=True)
    browser = web.browser()
    await browser.get("/ui/sign-in")
    before = browser.cookies["ringtime_session"]
    await browser.post("/ui/sign-in", {"key": web.key()})
    assert browser.cookies["ringtime_session"] != before


@pytest.mark.parametrize("key", ["", "nonsense", "rt_0123456789ab_", "ein Schlüssel", "x" * 5_000])
async def test_what_is_no_key_is_refused_in_one_way(key: str) -> None:
    web = make_web(has_keys=True)
    browser = web.browser()
    page = await browser.sign_in(key)
    assert page.status == 401
    assert (await browser.get("/")).location == "/ui/sign-in"
    assert len(web.dashboard.site.sessions) == 0


async def test_signing_out_ends_the_session_and_not_only_the_cookie() -> None:
    web = make_web(has_keys=True)
    browser = web.browser()
    await browser.sign_in(web.key())
    await browser.get("/")
    stolen = dict(browser.cookies)
    await browser.post("/ui/sign-out")
    browser.cookies = stolen
    assert (await browser.get("/")).location == "/ui/sign-in"


async def test_a_session_ends_with_its_time_and_with_its_key() -> None:
    web = make_web(has_keys=True, session_hours=1, idle_minutes=30)
    browser, key = web.browser(), web.key()
    await browser.sign_in(key)
    for minutes, is_in in ((25, True), (20, True), (20, False)):
        web.rig.clock.advance(minutes * 60_000)
        assert (await browser.get("/")).status == (200 if is_in else 303), minutes
    await browser.sign_in(key)
    web.rig.clock.advance(31 * 60_000)
    assert (await browser.get("/")).status == 303
    await browser.sign_in(key)
    web.rig.store.real._api_keys.clear()
    web.rig.clock.advance(10_000)
    assert (await browser.get("/")).location == "/ui/sign-in"
    assert len(web.dashboard.site.sessions) == 0


async def test_a_page_that_asks_by_itself_keeps_no_session_that_nobody_uses() -> None:
    web = make_web(has_keys=True, idle_minutes=30)
    browser = web.browser()
    await browser.sign_in(web.key())
    for _ in range(2):
        web.rig.clock.advance(14 * 60_000)
        assert (await browser.get("/ui/live/overview")).status == 200
    web.rig.clock.advance(3 * 60_000)
    assert (await browser.get("/")).location == "/ui/sign-in"


async def test_sessions_are_bounded_and_one_key_pushes_nobody_else_out() -> None:
    web = make_web(has_keys=True, max_sessions=30)
    first = web.browser()
    await first.sign_in(web.key())
    busy = web.key()
    for _ in range(40):
        await web.browser().sign_in(busy)
    assert len(web.dashboard.site.sessions) == 21
    assert (await first.get("/")).status == 200


@pytest.mark.parametrize("has_keys", [True, False])
async def test_a_form_without_the_token_of_the_browser_is_not_carried_out(has_keys: bool) -> None:
    web = make_web(has_keys=has_keys)
    browser, other = web.browser(), web.browser()
    for each in (browser, other):
        await each.get("/")
        if has_keys:
            await each.sign_in(web.key())
            await each.get("/")
    for token in ("", "0" * 64, other.token):
        page = await browser.post("/ui/look", {"theme": "dark"}, token=token)
        assert page.status == 403, token
    assert "ringtime_view" not in browser.cookies
    assert (await browser.post("/ui/look", {"theme": "dark"})).status == 303
    assert 'data-theme="dark"' in (await browser.get("/")).html


async def test_a_form_is_a_form_and_not_longer_than_one() -> None:
    browser = make_web().browser()
    await browser.get("/")
    kind = ("content-type", "application/json")
    assert (await browser._send("POST", "/ui/look", b"{}", [kind])).status == 400
    assert (await browser.post("/ui/look", {"theme": "x" * 300_000})).status == 400
    assert (await browser.post("/ui/look", [("a", "b")] * 3_000)).status == 400


@pytest.mark.parametrize(
    "back",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/ui/x\r\nset-cookie: a=b",
        "/ui/\u00e4",
        "/goscheduler",
        "/ui/../goscheduler",
        "/ui/%2E%2e/goscheduler",
        "/ui/x/..",
        "x",
    ],
)
async def test_nobody_is_sent_to_another_site_after_a_form(back: str) -> None:
    browser = make_web().browser()
    await browser.get("/")
    assert (await browser.post("/ui/look", {"theme": "dark", "back": back})).location == "/"


async def test_a_link_from_another_site_comes_with_the_cookie_at_the_second_try() -> None:
    """Browsers leave a strict cookie out there, so who is signed in would be asked to sign in."""
    web = make_web(has_keys=True)
    browser = web.browser()
    await browser.sign_in(web.key())
    kept, browser.cookies = browser.cookies, {}
    page = await browser.get("/", ("sec-fetch-site", "cross-site"))
    assert 'http-equiv="refresh"' in page.html
    assert "set-cookie" not in page.headers
    browser.cookies = kept
    assert (await browser.get("/", ("sec-fetch-site", "same-origin"))).status == 200


async def test_what_a_key_may_not_do_the_api_refuses_and_the_page_says() -> None:
    web = make_web(has_keys=True)
    browser = web.browser()
    await browser.sign_in(web.key([Scope.METRICS_READ]))
    page = await browser.get("/")
    assert (page.status, "schedules:read" in page.text) == (403, True)


async def test_all_is_below_the_prefix() -> None:
    web = make_web(prefix="/ops/ringtime")
    browser = web.browser()
    page = await browser.get("/ops/ringtime/")
    assert page.status == 200
    assert "Path=/ops/ringtime" in browser.attributes["ringtime_session"]
    for address in re.findall(r'(?:href|src|action)="([^"#]+)"', page.html):
        assert address.startswith("/ops/ringtime/"), address
    assert (await browser.get("/ui/sign-in")).status == 404


def test_what_a_browser_loads_is_small_and_has_its_licences() -> None:
    packed = {name: len(each.packed) for name, each in static_files().items()}
    assert sum(packed.values()) <= MOST_PACKED_BYTES, packed
    names = {path.name for path in files("ringtime_web").joinpath("static").iterdir()}
    assert {"htmx.LICENSE", "uPlot.LICENSE"} <= names


async def test_scripts_and_styles_are_sent_packed_and_kept_for_ever_by_their_version() -> None:
    web = make_web()
    client = Client(web.app)
    address = web.dashboard.site.static("ringtime.css")
    reply = await client.call("GET", address, headers=[("accept-encoding", "gzip, br")])
    assert gzip.decompress(reply.body) == static_files()["ringtime.css"].body
    assert "immutable" in reply.headers["cache-control"]
    old = await client.call("GET", "/ui/static/ringtime.css?v=0")
    assert (old.headers["cache-control"], "content-encoding" in old.headers) == ("no-cache", False)
    assert (await client.call("GET", "/ui/static/../site.py")).status == 404
