"""The pages for operators in a real browser: nothing foreign is asked for, and axe objects to nothing."""

from __future__ import annotations

import socket
from datetime import timedelta
from pathlib import Path

import pytest

from ringtime_client import HttpCallbackDetails, NewSchedule, RingtimeClient
from ringtime_shared.models.app import AppConfiguration
from tests.e2e.conftest import wait_blocking
from tests.harness.browser import PHONE, WIDE, chromium, watched
from tests.harness.server import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PAGES = (
    "/ui/fires?app=shop",
    "/ui/dead-letters?app=shop",
    "/ui/destinations",
    "/ui/ring?app=shop&join=2",
    "/ui/apps",
    "/ui/app?app=shop",
    "/ui/audit",
)


def give_up_some(base: str) -> None:
    """Register an app, and send what nobody listens for: it is given up, and its destination left alone."""
    with socket.socket() as nobody, RingtimeClient(base) as client:
        nobody.bind(("127.0.0.1", 0))
        configuration = AppConfiguration(http_attempts=1)
        client.register_app("shop", partitions=3, configuration=configuration)
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/hook"
        callback = HttpCallbackDetails(url=url, method="POST")
        soon = [timedelta(seconds=1)] * 12
        later = [timedelta(minutes=n + 3) for n in range(9)]
        client.create_schedules(
            [
                NewSchedule(app_id="shop", payload="<i>", callback=callback, delay=delay)
                for delay in (*soon, *later)
            ]
        )

        def is_given_up() -> bool:
            told = client.list_destinations().destinations
            return bool(told) and bool(client.list_dead_letters("shop").letters)

        wait_blocking(is_given_up, 60)


def test_pages_for_operators_in_a_browser(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        origin = server.base.removesuffix("/goscheduler")
        give_up_some(origin)
        with chromium() as browser:
            for scheme, viewport in (("light", WIDE), ("dark", PHONE)):
                with watched(browser, origin, color_scheme=scheme, viewport=viewport) as seen:
                    for path in PAGES:
                        seen.open(path)
                        assert seen.violations() == [], (scheme, path)
                        wide = seen.page.evaluate("document.documentElement.scrollWidth")
                        assert wide <= viewport["width"], (path, wide)
                    seen.assert_clean()
