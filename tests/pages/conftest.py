"""A real browser in front of a real HTTP server over a small world; axe looks at every page a story visits."""

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, Locator, Page, sync_playwright
from werkzeug.serving import make_server

from app import clock
from app.clock import Anchor
from app.db import Database
from tests.app import builders
from tests.app.conftest import app_, equipped_app, settings
from tests.app.reconciliation.world import World
from tests.conftest import DATA
from tests.telemetry.wire import at

__all__ = ["app_", "equipped_app", "settings"]

CHROMIUM = Path("/usr/bin/chromium")
AXE = (DATA / "axe" / "axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PATIENCE_MS = 15_000
# What axe has passed: the same page in the same width is looked at once, for a look costs a second.
SOUND: set[tuple[str, str, int]] = set()
PHONE, DESK = {"width": 375, "height": 800}, {"width": 1280, "height": 900}


class Visitor:
    """A person at a browser: goes somewhere, and everything seen on the way must be sound."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.base = base

    def visit(self, path: str) -> Page:
        answer = self.page.goto(self.base + path)
        assert answer is not None
        assert answer.ok, f"{path}: {answer.status}"
        self.check()
        return self.page

    def log_in(self, username: str, password: str = builders.PASSWORD) -> Page:
        self.page.goto(f"{self.base}/log-in")
        self.page.fill("#username", username)
        self.page.fill("#password", password)
        self.page.click("main button[type=submit]")
        return self.page

    def press(self, text: str) -> Page:
        """Press a button and look at the page it leads to."""
        return self.follow(self.page.get_by_role("button", name=text))

    def follow(self, link: Locator) -> Page:
        """Click and look at the page it leads to; not before it is there."""
        with self.page.expect_navigation():
            link.click()
        self.check()
        return self.page

    def check(self) -> None:
        """No violation of WCAG 2.2 AA, nothing wider than the screen."""
        wider_px = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider_px <= 0, f"{self.page.url} is {wider_px} px wider than the screen"
        screen = (re.sub(r"[0-9a-f-]{36}|\d+", "*", urlsplit(self.page.url).path), self.page.title(), self._width)
        if screen not in SOUND:
            self._ask_axe()
            SOUND.add(screen)

    @property
    def _width(self) -> int:
        size = self.page.viewport_size
        return size["width"] if size else 0

    def _ask_axe(self) -> None:
        self.page.evaluate(AXE)
        found: dict[str, Any] = self.page.evaluate(
            "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})", RULES
        )
        violations = [(each["id"], [node["target"] for node in each["nodes"]][:3]) for each in found["violations"]]
        assert not violations, f"{self.page.url}: {violations}"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip("needs Debian's chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def base(app_: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app_, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def enter(browser: Browser, base: str) -> Iterator[Callable[..., Visitor]]:
    """Let somebody sit down at a browser of her own: `enter(phone=True, script=False)`."""
    contexts: list[BrowserContext] = []

    def sit_down(*, phone: bool = False, script: bool = True) -> Visitor:
        context = browser.new_context(viewport=PHONE if phone else DESK, java_script_enabled=script)  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: _refuse_blocked(message.text))
        return Visitor(page, base)

    yield sit_down
    for context in contexts:
        context.close()


@pytest.fixture
def world(database: Database) -> World:
    """The instrument's box saw a run from 10 to 70 and went on watching until 130; it is minute 130 now."""
    clock.set_anchor(Anchor(real=clock.real_now(), simulated=at(130), speed=1.0))
    world = World(database)
    world.use(10, 70, until=130)
    return world


def _refuse_blocked(text: str) -> None:
    assert "Content Security Policy" not in text, text
