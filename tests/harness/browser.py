"""A real Chromium for tests of the dashboard: Debian's, driven by Playwright, without a profile."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE_S = 600
_FLAGS = (
    "--no-sandbox",  # tests run as root in containers
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


def find_chromium() -> str | None:
    """Return where Chromium is; as root, have Debian install it where it is not. None: there is none."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is not None or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return found
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "chromium"]):
        subprocess.run(
            ["apt-get", *words], env=environment, capture_output=True, timeout=_PATIENCE_S, check=False
        )
    return shutil.which("chromium")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser until the block ends; skip the test where there is none."""
    path = find_chromium()
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*_FLAGS])
        try:
            yield browser
        finally:
            browser.close()


@dataclass(slots=True)
class Watched:
    """A page, and what went on in it that should not."""

    page: Page
    origin: str
    requests: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)  #: requests to anywhere else
    complaints: list[str] = field(default_factory=list)  #: errors of scripts, and what the policy refused
    dialogs: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        """Load a page and wait until its scripts have run."""
        answer = self.page.goto(self.origin + path, wait_until="load")
        assert answer is not None
        assert answer.ok, f"{answer.status} {path}"
        self.page.wait_for_selector("html.js")

    def violations(self) -> list[str]:
        """Return what axe finds wrong for those who do not see, or use no mouse."""
        results = Axe().run(self.page)
        return [
            f"{each['id']}: {each['help']}: {[node['html'][:200] for node in each['nodes'][:3]]}"
            for each in results.response["violations"]
        ]

    def assert_clean(self) -> None:
        """Fail if anything was asked of anybody else, or complained of."""
        assert not self.foreign, self.foreign
        assert not self.complaints, self.complaints
        assert not self.dialogs, self.dialogs


@contextmanager
def watched(browser: Browser, origin: str, **context: Any) -> Iterator[Watched]:
    """Open an empty page in a context of its own; `context`: as of Playwright's `new_context`."""
    made = browser.new_context(**({"viewport": WIDE} | context))
    page = made.new_page()
    seen = Watched(page, origin)

    def on_request(request: Any) -> None:
        seen.requests.append(request.url)
        if not request.url.startswith((f"{origin}/", "data:", "blob:")):
            seen.foreign.append(request.url)

    def on_dialog(dialog: Any) -> None:
        seen.dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("request", on_request)
    page.on("dialog", on_dialog)
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on(
        "console",
        lambda message: seen.complaints.append(message.text) if message.type == "error" else None,
    )
    try:
        yield seen
    finally:
        made.close()
