"""Pictures of every page of the dashboard, light and dark, for the documents: `make screenshots`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser

from tests.harness.browser import PHONE, chromium, watched
from tests.harness.scene import Scene, scene

IMAGES = Path(__file__).parents[2] / "docs" / "images"
_SETTLED_MS = 4_500  #: two live looks, so that charts have something to draw
_STILL_MS = 300


def take(browser: Browser, shown: Scene, into: Path) -> None:
    """Write `NAME-light.png` and `NAME-dark.png` of each page, and the overview on a phone."""
    into.mkdir(parents=True, exist_ok=True)
    for scheme in ("light", "dark"):
        with watched(browser, shown.origin, color_scheme=scheme) as seen:
            for name, path in shown.paths().items():
                seen.open(path)
                seen.page.wait_for_timeout(_SETTLED_MS if name == "overview" else _STILL_MS)
                seen.page.screenshot(path=into / f"{name}-{scheme}.png")
            seen.assert_clean()
    with watched(browser, shown.origin, viewport=PHONE) as seen:
        seen.open("/")
        seen.page.wait_for_timeout(_STILL_MS)
        seen.page.screenshot(path=into / "overview-phone.png")


def main() -> None:
    """Take them all; into another folder, if one is named."""
    into = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    with tempfile.TemporaryDirectory() as folder, chromium() as browser, scene(Path(folder)) as shown:
        take(browser, shown, into)


if __name__ == "__main__":
    main()
