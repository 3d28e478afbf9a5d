"""Takes the pictures of the documentation from a running demonstration.

    make run                                  # in another terminal, for a few minutes
    python tests/pages/take_pictures.py http://127.0.0.1:8000

Chooses the newest verified charge of the first sub-center. Needs Debian's chromium.
"""

import re
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"
PASSWORD = "try-the-test-card"
WALL_SIZE, EVIDENCE_SIZE = {"width": 1180, "height": 640}, {"width": 1180, "height": 800}


def log_in(page: Page, base: str) -> None:
    """Be the manager of the first sub-center."""
    page.goto(f"{base}/log-in")
    page.fill("#username", "manager")
    page.fill("#password", PASSWORD)
    page.click("main button[type=submit]")


def verified_charge(page: Page, base: str) -> str:
    """Give the address of a charge that its box confirms, as the wall shows it."""
    page.goto(f"{base}/wall?lang=en")
    found = page.locator("li[id^=verdict-]", has=page.locator(".mark.good")).first.get_attribute("id") or ""
    return f"{base}/charges/{found.removeprefix('verdict-')}"


def main(base: str) -> None:
    """Take wall and evidence in both languages."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page()
        log_in(page, base)
        charge = verified_charge(page, base)
        for language in ("zh", "en"):
            for name, address, size in (("wall", f"{base}/wall", WALL_SIZE), ("evidence", charge, EVIDENCE_SIZE)):
                page.set_viewport_size(size)  # type: ignore[arg-type]
                page.goto(f"{address}?lang={language}")
                page.screenshot(path=FOLDER / f"{name}-{language}.png")
        browser.close()


if __name__ == "__main__":
    main(re.sub(r"/+$", "", sys.argv[1]))
