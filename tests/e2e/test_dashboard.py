"""The dashboard in a real Chromium, before a real server with something wrong with it."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, expect

from ringtime_shared.models.recurring import DefinitionState
from tests.harness.browser import PHONE, chromium, watched
from tests.harness.scene import HOSTILE, Scene, scene

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def shown(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("scene")) as made:
        yield made


def test_every_page_is_sound_asks_nobody_else_and_is_for_everybody(browser: Browser, shown: Scene) -> None:
    for scheme in ("light", "dark"):
        with watched(browser, shown.origin, color_scheme=scheme) as seen:
            for name, path in shown.paths().items():
                seen.open(path)
                found = seen.violations()
                assert not found, (name, scheme, found)
            seen.assert_clean()
            assert len(seen.requests) > 3 * len(shown.paths())


def test_pages_fit_a_phone(browser: Browser, shown: Scene) -> None:
    with watched(browser, shown.origin, viewport=PHONE) as seen:
        for name, path in shown.paths().items():
            seen.open(path)
            wide = seen.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= PHONE["width"], (name, wide)
        seen.assert_clean()


def test_hostile_names_and_payloads_are_text(browser: Browser, shown: Scene) -> None:
    with watched(browser, shown.origin) as seen:
        for path in (f"/ui/schedule?id={shown.coming}", "/ui/schedule?app=shop&name=hostile"):
            seen.open(path)
            expect(seen.page.locator("#payload")).to_have_text(HOSTILE)
            assert seen.page.locator("main script, main img").count() == 0
        seen.open(f"/ui/schedules?app=shop&q={'%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E'}")
        seen.assert_clean()


@pytest.mark.parametrize("cause", ["dead", "slow", "quota"])
def test_each_cause_is_found_within_three_clicks_from_the_overview(
    browser: Browser, shown: Scene, cause: str
) -> None:
    told = {
        "dead": re.compile(re.escape(shown.dead) + r" of billing is (open|half open|failing)"),
        "slow": re.compile(re.escape(shown.slow) + r" of stuck is (slow|open|half open|failing)"),
        "quota": re.compile("crowded has 1,[0-9]{3} or more due"),
    }[cause]
    with watched(browser, shown.origin) as seen:
        seen.open("/")
        problem = seen.page.locator("#problems li", has_text=told)
        expect(problem).to_be_visible(timeout=60_000)  # without loading the page again: it is live
        address = problem.get_by_role("link").get_attribute("href")
        assert address is not None
        seen.open(address)
        name = {"dead": shown.dead, "slow": shown.slow, "quota": "crowded"}[cause]
        expect(seen.page.locator("main")).to_contain_text(name)
        seen.assert_clean()


def test_lists_are_searched_while_somebody_types_and_the_address_keeps_it(
    browser: Browser, shown: Scene
) -> None:
    with watched(browser, shown.origin) as seen:
        seen.open("/ui/schedules?app=shop")
        seen.page.keyboard.press("/")
        seen.page.keyboard.type("REPORT")
        expect(seen.page.locator("#list tbody tr")).to_have_count(1)
        expect(seen.page.locator("#list")).to_contain_text("nightly-report")
        assert "q=REPORT" in seen.page.url
        seen.page.reload()
        expect(seen.page.locator("#list tbody tr")).to_have_count(1)
        seen.assert_clean()


def test_a_schedule_is_paused_with_a_reason_by_keyboard_alone(browser: Browser, shown: Scene) -> None:
    client = shown.client
    with watched(browser, shown.origin) as seen:
        seen.open("/ui/schedule?app=shop&name=nightly-report")
        seen.page.keyboard.press("Tab")
        expect(seen.page.locator("a.skip")).to_be_focused()
        seen.page.keyboard.press("Enter")
        summary = seen.page.locator("details.act > summary", has_text="Pause")
        summary.focus()
        seen.page.keyboard.press("Enter")
        seen.page.keyboard.press("Escape")
        expect(seen.page.locator("#why-pause")).to_be_hidden()
        seen.page.keyboard.press("Enter")
        seen.page.locator("#why-pause").focus()
        seen.page.keyboard.type("moving house")
        seen.page.keyboard.press("Enter")
        expect(seen.page.get_by_text("It was paused: moving house.")).to_be_visible()
        assert client.get_recurring("shop", "nightly-report").state is DefinitionState.PAUSED
        client.resume_recurring("shop", "nightly-report")
        seen.assert_clean()


def test_what_is_typed_is_previewed_before_it_is_saved(browser: Browser, shown: Scene) -> None:
    with watched(browser, shown.origin) as seen:
        seen.open("/ui/schedule/new?app=shop")
        seen.page.fill("#cron", "15 6 * * *")
        expect(seen.page.locator("#preview li")).to_have_count(10)
        expect(seen.page.locator("#preview")).to_contain_text("06:15:00")
        seen.page.fill("#zone", "Mars/Olympus")
        expect(seen.page.locator("#preview .wrong")).to_be_visible()
        seen.page.select_option("#by", "interval")
        expect(seen.page.locator("#cron")).to_be_hidden()
        seen.assert_clean()


def test_live_figures_move_and_stand_still_when_told_to(browser: Browser, shown: Scene) -> None:
    with watched(browser, shown.origin) as seen:
        seen.open("/")

        expect(seen.page.locator("#ahead-chart canvas")).to_be_visible()
        seen.page.get_by_role("button", name="Pause live updates").click()
        expect(seen.page.get_by_role("button", name="Paused live updates")).to_be_visible()
        before = _live(seen.requests)
        seen.page.wait_for_timeout(2_500)  # that nothing comes can be known by waiting alone
        assert _live(seen.requests) == before
        seen.assert_clean()


def _live(requests: list[str]) -> int:
    return sum("/ui/live/" in each for each in requests)


def test_theme_and_hidden_payloads_are_kept_by_the_browser(browser: Browser, shown: Scene) -> None:
    with watched(browser, shown.origin, color_scheme="light") as seen:
        seen.open(f"/ui/schedule?id={shown.coming}")
        ground = "getComputedStyle(document.body).backgroundColor"
        light = seen.page.evaluate(ground)
        seen.page.get_by_role("button", name="Theme auto").click()
        expect(seen.page.locator("html")).to_have_attribute("data-theme", "dark")
        assert seen.page.evaluate(ground) != light
        seen.page.get_by_role("button", name="Payloads shown").click()
        expect(seen.page.locator("#payload")).to_have_count(0)
        seen.open(f"/ui/schedule?id={shown.coming}")
        expect(seen.page.locator("#payload")).to_have_count(0)
        assert seen.page.evaluate("document.cookie") == "", "no script may read a cookie of ours"
        seen.assert_clean()


@contextmanager
def _web(api: str, **settings: str) -> Iterator[str]:
    """Run `ringtime-web` as a process of its own; yield its address."""
    argv = [sys.executable, "-m", "ringtime_web.main", "--port", "0", "--api-url", api]
    environment = {f"RINGTIME_{name.upper()}": value for name, value in settings.items()}
    process = subprocess.Popen(
        ["env", *(f"{name}={value}" for name, value in environment.items()), "PYTHONUNBUFFERED=1", *argv],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert "listens on" in line, line
        yield line.split("listens on ")[1].strip()
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_the_process_of_its_own_is_the_same_below_a_prefix(browser: Browser, shown: Scene) -> None:
    with _web(shown.origin, access_keys="off", web_prefix="/ops") as address:
        assert address.endswith("/ops/")
        origin = address.removesuffix("/ops/")
        with watched(browser, origin) as seen:
            seen.open("/ops/")
            seen.page.get_by_role("link", name="Schedules").click()
            seen.page.locator("#app").fill("shop")
            seen.page.get_by_role("button", name="Show its schedules").click()
            seen.page.get_by_role("link", name="nightly-report").click()
            expect(seen.page.get_by_role("heading", name="nightly-report")).to_be_visible()
            seen.assert_clean()


def test_a_name_that_leads_here_by_rebinding_is_refused(shown: Scene) -> None:
    request = urllib.request.Request(
        f"{shown.origin}/", headers={"Host": "evil.example", "Accept": "text/html"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    with refused.value as answer:
        assert answer.status == 421
