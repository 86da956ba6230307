"""The pages for operators: fires, dead letters, destinations, ring, apps, audit."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from uuid import UUID

import pytest
from tests.contract.builders import make_letter
from tests.unit.ingest.rig import NOW_MS, http_callback, schedule_body
from tests.unit.web.rig import Web, make_web

from ringtime_shared.access import Scope
from ringtime_shared.access.keys import make_key
from ringtime_shared.api.operating import ForecastView, MinuteView, RingNodeView
from ringtime_shared.errors import InvalidRequest
from ringtime_shared.models.node_status import AppWork, NodeStatus, OverQuota, Trouble, Work
from ringtime_shared.models.schedule import Outcome, Status
from ringtime_web.pages.apps import draw as draw_plot
from ringtime_web.pages.reading import read_instant
from ringtime_web.pages.ring_drawing import draw

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
TROUBLE = Trouble(
    app_id="test",
    destination="https://pay.example:443",
    state="open",
    failures=7,
    waiting=3,
    oldest_wait_ms=4_000,
    parked=40,
    in_flight=1,
    most_in_flight=100,
    opens_in_ms=12_000,
    error=f"answered 503 {HOSTILE}",
    failed_ms=NOW_MS - 500,
)
RANGE = "from=" + datetime.fromtimestamp(NOW_MS / 1_000 - 3_600, UTC).isoformat()[:19]
PAGES = (
    "/ui/fires",
    f"/ui/fires?app=test&{RANGE}",
    f"/ui/fires?app=test&status=FAILURE&{RANGE}",
    "/ui/dead-letters",
    f"/ui/dead-letters?app=test&{RANGE}",
    "/ui/destinations",
    "/ui/destinations?app=test&state=open",
    "/ui/ring",
    "/ui/ring?app=test&join=2&leave=a",
    "/ui/apps",
    "/ui/apps?q=es",
    "/ui/app?app=test",
    "/ui/app?app=test&hours=24",
    "/ui/keys",
    f"/ui/audit?{RANGE}",
    f"/ui/audit?app=test&{RANGE}",
)


def status(node: str, **changes: Any) -> NodeStatus:
    work = Work(window_ms=60_000, lags=(0, 9), sent=120, succeeded=60)
    usual = NodeStatus(node=node, at_ms=NOW_MS - 2_000, since_ms=NOW_MS, is_ready=True, work=work, owned=2)
    return replace(usual, **changes)


async def make_world(*, has_keys: bool = False) -> Web:
    """Two nodes that are well, one that is silent, a destination that is down."""
    web = make_web(has_keys=has_keys)
    store = web.rig.store.real
    _, key = make_key(Scope, None, label=f"ana {HOSTILE}", now_ms=1, expires_ms=NOW_MS)
    store._api_keys[key.key_id] = key
    for each in (
        status("a", troubles=(TROUBLE,), troubles_in_all=1),
        status("b"),
        status("c", at_ms=NOW_MS - 60_000),
    ):
        await store.put_node_status(each)
    return web


async def fail_one(web: Web) -> str:
    """Return the id of a schedule that was given up."""
    body = schedule_body(appId="test", payload=HOSTILE, callback=http_callback())
    made = await web.rig.client.call("POST", "/goscheduler/schedules", body)
    schedule_id = str(made.json["data"]["schedule"]["scheduleId"])
    outcome = Outcome(
        status=Status.FAILURE, ended_ms=NOW_MS, fired_ms=NOW_MS, attempts=3, code=500, error=HOSTILE
    )
    slot_ms = web.rig.end(UUID(schedule_id), outcome).place.slot_ms
    letter = replace(make_letter(web.rig.apps["test"], slot_ms, schedule_id=UUID(schedule_id)), error=HOSTILE)
    await store_letter(web, letter)
    return schedule_id


async def work_off(web: Web) -> None:
    """Let the jobs that were asked for be done."""
    jobs = web.rig.service.jobs
    await jobs.look()
    await asyncio.wait([*jobs._working.values()])


async def store_letter(web: Web, letter: Any) -> None:
    await web.rig.store.real.put_dead_letters([letter])


@pytest.mark.parametrize("target", PAGES)
async def test_every_page_shows_and_has_nothing_inline(target: str) -> None:
    web = await make_world()
    await fail_one(web)
    page = await web.browser().get(target)
    assert page.status == 200, page.text
    assert "<script>alert" not in page.html
    assert "<img src=x" not in page.html
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=\"|javascript:", page.html)
    assert page.html.count("<h1") == 1
    ids = re.findall(r'\sid="([^"]+)"', page.html)
    assert len(ids) == len(set(ids)), "an id stands once"
    for field in re.findall(r'<(?:input|select)[^>]*\sid="([^"]+)"', page.html):
        assert f'for="{field}"' in page.html, field


@pytest.mark.parametrize(
    "target",
    [
        "/ui/fires?app=test&status=NO",
        "/ui/fires?app=test&from=yesterday",
        "/ui/fires?app=test&span=9y",
        "/ui/dead-letters?app=test&replayed=perhaps",
        "/ui/ring?join=101",
        "/ui/ring?join=x",
        "/ui/app?app=test&hours=3",
        "/ui/apps?after=/",
        "/ui/audit?span=1s",
    ],
)
async def test_what_cannot_be_asked_for_is_told(target: str) -> None:
    page = await (await make_world()).browser().get(target)
    assert page.status == 400
    assert "must be" in page.text


async def test_what_is_not_there_is_told() -> None:
    browser = (await make_world()).browser()
    for target in ("/ui/app?app=nobody", "/ui/ring?leave=nobody", "/ui/fires?app=nobody"):
        assert (await browser.get(target)).status in (400, 404), target


async def test_a_destination_in_trouble_is_shown_with_why_and_what_waits() -> None:
    web = await make_world()
    text = (await web.browser().get("/ui/destinations")).text
    for told in (
        "https://pay.example:443",
        "open",
        "answered 503",
        "about 40",
        "oldest 4 s",
        "in 12 s",
        "1 of 100",
    ):
        assert told in text, told
    assert "pay.example" not in (await web.browser().get("/ui/destinations?state=slow")).text


async def test_the_ring_is_drawn_and_a_silent_node_stands_out() -> None:
    web = await make_world()
    page = await web.browser().get("/ui/ring?app=test")
    assert page.html.count("<svg") >= 1
    assert "silent" in page.text
    assert "ended without a word" in page.text
    assert "Partitions of test" in page.text
    page = await web.browser().get("/ui/ring?app=test&join=1&leave=a")
    assert "poller instances would move; nothing was changed" in page.text
    assert "new-1" in page.text


async def test_fires_come_with_those_first_that_were_not_sent_well() -> None:
    web = await make_world()
    schedule_id = await fail_one(web)
    await web.rig.client.call("POST", "/goscheduler/schedules", schedule_body(appId="test", delaySeconds=1))
    page = await web.browser().get(f"/ui/fires?app=test&{RANGE}&to=2100-01-01")
    assert page.status == 400  # a month at most
    until = datetime.fromtimestamp(NOW_MS / 1_000 + 3_600, UTC).isoformat()[:19]
    page = await web.browser().get(f"/ui/fires?app=test&{RANGE}&to={until}")
    assert page.html.index(schedule_id) == min(
        page.html.index(found) for found in re.findall(r"id=([0-9a-f-]{36})", page.html)
    )
    assert f"/ui/schedule?id={schedule_id}" in page.html


async def test_one_dead_letter_is_replayed_with_a_reason() -> None:
    web = await make_world()
    schedule_id = await fail_one(web)
    browser = web.browser()
    target = f"/ui/dead-letters?app=test&{RANGE}"
    assert schedule_id in (await browser.get(target)).html
    form = {"app": "test", "schedule_id": schedule_id}
    assert (await browser.post("/ui/dead-letters/replay", form)).status == 400
    assert (
        await browser.post("/ui/dead-letters/replay", form | {"reason": "mended"}, token="no")
    ).status == 403
    done = await browser.post("/ui/dead-letters/replay", form | {"reason": "mended"})
    assert done.status == 303
    assert "is sent again" in (await browser.get(done.location)).text
    assert "mended" in (await browser.get(f"/ui/audit?app=test&{RANGE}")).text


async def test_a_bulk_replay_is_planned_and_then_done() -> None:
    web = await make_world()
    await fail_one(web)
    browser = web.browser()
    page = await browser.get(f"/ui/dead-letters?app=test&{RANGE}")
    ends = {
        name: re.search(f'name="{name}" value="([^"]+)"', page.html)[1]  # type: ignore[index]
        for name in ("start", "end")
    }
    planned = await browser.post("/ui/dead-letters/plan", {"app": "test", **ends})
    assert planned.status == 303
    page = await browser.get(planned.location)
    assert "Plan of a bulk replay" in page.text
    assert 'hx-trigger="every 1s"' in page.html
    await work_off(web)
    page = await browser.get(planned.location)
    assert "Replay 1" in page.text
    assert (await browser.post("/ui/dead-letters/replay-all", {"app": "test", **ends})).status == 400
    begun = await browser.post("/ui/dead-letters/replay-all", {"app": "test", **ends, "reason": "mended"})
    await work_off(web)
    assert "1 were sent again" in (await browser.get(begun.location)).text


async def test_an_app_is_deactivated_with_a_reason() -> None:
    web = await make_world()
    browser = web.browser()
    await browser.get("/ui/app?app=test")
    form = {"app": "test", "active": "off"}
    assert (await browser.post("/ui/app/active", form)).status == 400
    done = await browser.post("/ui/app/active", form | {"reason": "a flood"})
    assert "test is inactive now" in (await browser.get(done.location)).text
    await browser.post("/ui/app/active", {"app": "test", "active": "on", "reason": "over"})
    assert web.rig.apps["test"].active


async def test_who_may_only_read_is_offered_nothing_else() -> None:
    web = await make_world(has_keys=True)
    schedule_id = await fail_one(web)
    browser = web.browser()
    await browser.sign_in(web.key([Scope.SCHEDULES_READ], ["test"]))
    letters = await browser.get(f"/ui/dead-letters?app=test&{RANGE}")
    assert schedule_id in letters.html
    assert "Replay…" not in letters.text
    assert "Deactivate" not in (await browser.get("/ui/app?app=test")).text
    assert "pay.example" in (await browser.get("/ui/destinations")).text
    assert (await browser.get("/ui/ring")).status == 403
    assert "Choose an app" in (await browser.get("/ui/audit")).text
    form = {"app": "test", "schedule_id": schedule_id, "reason": "x"}
    assert (await browser.post("/ui/dead-letters/replay", form)).status == 403
    for target in ("/ui/app?app=other", "/ui/fires?app=other", "/ui/destinations?app=other"):
        assert (await browser.get(target)).status in (400, 404), target


async def test_a_key_of_many_apps_sees_how_many_were_not_asked_and_apps_that_are_gone_hide_none() -> None:
    web = await make_world(has_keys=True)
    await fail_one(web)
    browser = web.browser()
    await browser.sign_in(web.key([Scope.SCHEDULES_READ], ["gone", "test", *(f"z-{n}" for n in range(20))]))
    text = (await browser.get("/ui/destinations")).text
    assert "pay.example" in text
    assert "Your other 2 apps were not asked" in text


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2030-13-01"])
def test_a_time_that_is_none_in_utc_is_refused_by_its_field(text: str) -> None:
    with pytest.raises(InvalidRequest, match="until"):
        read_instant("until", text)


def test_the_bands_of_the_ring_go_round_once() -> None:
    nodes = [
        RingNodeView(
            node=node, state="ready", capacity=1, share=0.5, owned=owned, wanted=wanted, wanted_after=5
        )
        for node, owned, wanted in (("a", 3, 10), ("b", 7, 10), ("c", 0, 0))
    ]
    drawing = draw(nodes)
    assert [arc.told for arc in drawing.arcs] == [
        "a: the ring gives it 10",
        "b: the ring gives it 10",
        "a: it owns 3",
        "b: it owns 7",
    ]
    assert len(draw(nodes, is_after=True).arcs) == 5
    assert draw([]).arcs == []
    assert all("nan" not in arc.path for arc in draw(nodes[:1]).arcs)


@pytest.mark.parametrize(("due", "line"), [([5, 20], None), ([500, 20], 0), ([2_000, 10], 70)])
def test_the_plot_of_what_is_ahead_shows_its_bars_and_the_quota_where_it_is_near(
    due: list[int], line: float | None
) -> None:
    at = datetime(2030, 1, 31, 8, tzinfo=UTC)
    minutes = [MinuteView(at=at + timedelta(minutes=5 * n), due=count) for n, count in enumerate(due)]
    ahead = ForecastView(
        app_id="a", quota=1, carried_per_minute=1_000, due=sum(due), minutes=minutes, through=at, over=0
    )
    plot = draw_plot(ahead, 1)
    assert plot.line_y == line
    assert [bar.is_over for bar in plot.bars] == [count > 1_000 for count in due]
    assert all(bar.height >= 1 for bar in plot.bars)
    assert max(bar.height for bar in plot.bars) >= 70
    assert plot.bars[1].x == 60.0


@pytest.mark.parametrize(
    ("told", "cause"),
    [
        ("c has said nothing", ("c silent", "ended without a word")),
        ("pay.example:443 of test is open", ("https://pay.example:443", "nothing is sent")),
        ("slow.example:443 of test is slow", ("https://slow.example:443", "as many attempts are under way")),
        ("test has 9,000 or more due", ("test", "Due ahead")),
        ("7 of test came too late", ("Fires of test",)),
        ("2 of test were given up", ("Dead letters of test",)),
    ],
)
async def test_a_link_of_the_overview_leads_to_each_cause(told: str, cause: tuple[str, ...]) -> None:
    web = await make_world()
    slow = replace(TROUBLE, destination="https://slow.example:443", state="slow", error="")
    await web.rig.store.real.put_node_status(
        status(
            "b",
            troubles=(slow,),
            over_quota=(OverQuota(app_id="test", minute_ms=NOW_MS, due=9_000),),
            worst_apps=(AppWork(app_id="test", missed=7, failed=2),),
        )
    )
    browser = web.browser()
    entries = re.findall(r"<li class=\"(?:bad|warn)\">.*?</li>", (await browser.get("/")).html, re.DOTALL)
    (entry,) = [each for each in entries if told in " ".join(re.sub(r"<[^>]*>", " ", each).split())]
    (address,) = re.findall(r'href="([^"]+)"', entry)
    page = await browser.get(unescape(address))
    assert page.status == 200
    for words in cause:
        assert words in page.text, page.text
