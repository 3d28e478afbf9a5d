"""Every screen of the kiosk in a real browser: it fits the display, its buttons fit a finger, it speaks both languages.

With TESTCARD_WRITE_SCREENS=1 the pictures in docs/explanation/screens are made anew.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright
from playwright.sync_api import Page as Tab

from card_terminal.clock import MachineClock
from card_terminal.flow import State
from card_terminal.kiosk.server import Kiosk, Page
from card_terminal.program import Program
from card_terminal.screen import Screen
from card_terminal.session import MS_PER_MINUTE
from tests.card_terminal.world import Station

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PICTURES = Path(__file__).parents[2] / "docs" / "explanation" / "screens"
DISPLAYS = [(800, 480), (1024, 600)]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


class ShownPage(Page):
    """Shows the views that a test gives."""

    shown: dict[str, Any]

    def view(self) -> dict[str, Any]:
        return self.shown


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(station: Station) -> Iterator[tuple[ShownPage, str]]:
    page = ShownPage(program=Program(clock=MachineClock()), reader=None, key=station.key)
    page.shown = {"state": "enrolling", "fingerprint": "0123-4567-89AB-CDEF-0123-4567-89AB-CDEF", "simulated": False}
    with Kiosk(page, port=0) as kiosk:
        yield page, kiosk.url


def idle(station: Station) -> None:
    station.wait(1_000)


def confirm(station: Station) -> None:
    station.tap("1001")


def pin(station: Station) -> None:
    station.tap("1002")


def active(station: Station) -> None:
    station.tap("1001")
    station.wait(3_000)
    station.wait(34 * MS_PER_MINUTE)


def nearly_spent(station: Station) -> None:
    station.server.balances_fen["1001"] = 60 * 50
    active(station)
    station.wait(20 * MS_PER_MINUTE)


def offline(station: Station) -> None:
    active(station)
    station.wire.is_down = True
    station.wait(6 * MS_PER_MINUTE)
    station.keep_in_touch()


def other(station: Station) -> None:
    active(station)
    station.tap("1002")


def ending(station: Station) -> None:
    active(station)
    station.tap("1001")


def receipt(station: Station) -> None:
    ending(station)
    station.wait(3_000)


def receipt_offline(station: Station) -> None:
    offline(station)
    station.tap("1001")
    station.wait(3_000)


def refused(station: Station) -> None:
    station.tap("9999")


def reversing(station: Station) -> None:
    station.tap("1001")
    station.wire.faults = ["lost"] * 3
    station.wait(3_000)


def in_between(state: State) -> Callable[[Station], None]:
    def show(station: Station) -> None:
        station.terminal.screen = Screen(state=state)

    return show


SCREENS: dict[str, Callable[[Station], None] | None] = {
    "enrolling": None,
    "idle": idle,
    "reading": in_between(State.READING),
    "auth": in_between(State.AUTH),
    "authorizing": in_between(State.AUTHORIZING),
    "confirm": confirm,
    "pin": pin,
    "active": active,
    "active-nearly-spent": nearly_spent,
    "active-offline": offline,
    "other": other,
    "ending": ending,
    "receipt": receipt,
    "receipt-offline": receipt_offline,
    "refused": refused,
    "reversing": reversing,
}


def test_every_state_has_a_screen() -> None:
    assert {str(state) for state in State} <= {name.split("-")[0] for name in SCREENS}


@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_fits_display_and_finger(
    name: str, station: Station, page: tuple[ShownPage, str], browser: Browser
) -> None:
    shown, url = page
    show = SCREENS[name]
    if show is not None:
        station.keep_in_touch()
        idle(station)
        show(station)
        shown.shown = {**station.view(), "simulated": False}
        assert shown.shown["state"] == name.split("-", maxsplit=1)[0]
    tab = browser.new_page()
    mistakes: list[str] = []
    tab.on("console", lambda message: mistakes.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: mistakes.append(str(error)))
    tab.goto(url)
    expect(tab.locator("#title-zh")).not_to_be_empty()
    for width, height in DISPLAYS:
        tab.set_viewport_size({"width": width, "height": height})
        if os.environ.get("TESTCARD_WRITE_SCREENS"):
            PICTURES.mkdir(exist_ok=True)
            tab.screenshot(path=PICTURES / f"{name}-{width}x{height}.png")
        _check(tab, width=width, height=height)
    assert [mistake for mistake in mistakes if "favicon" not in mistake] == []
    tab.close()


def _check(tab: Tab, *, width: int, height: int) -> None:
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate("document.documentElement.scrollHeight") <= height
    assert any("一" <= character <= "鿿" for character in tab.inner_text("#title-zh"))
    assert tab.inner_text("#title-en").strip()
    assert tab.locator("nav button").count() <= 3
    heights = tab.eval_on_selector_all("main button", "all => all.map(each => each.getBoundingClientRect().height)")
    assert all(each >= 100 for each in heights)


def test_a_pin_is_typed_on_the_screen_and_never_shown(
    station: Station, page: tuple[ShownPage, str], browser: Browser
) -> None:
    shown, url = page
    pin(station)
    shown.shown = {**station.view(), "simulated": False}
    tab = browser.new_page(viewport={"width": 800, "height": 480})
    tab.goto(url)
    for digit in "4711":
        tab.click(f"#keypad button:text-is('{digit}')")
    assert tab.inner_text("#keypad output") == "●●●●"
    with tab.expect_request("**/choose") as caught:
        tab.click("#keypad .enter")
    assert caught.value.post_data_json == {"action": "pin", "pin": "4711"}
    tab.close()


def test_when_the_program_is_gone_the_page_says_so(
    station: Station, page: tuple[ShownPage, str], browser: Browser
) -> None:
    shown, url = page
    idle(station)
    shown.shown = {**station.view(), "simulated": False}
    tab = browser.new_page(viewport={"width": 800, "height": 480})
    tab.goto(url)
    expect(tab.locator("#title-zh")).to_have_text("请刷卡开始")
    tab.route("**/state", lambda route: route.abort())
    expect(tab.locator("#title-zh")).to_have_text("终端程序正在重启", timeout=10_000)
    tab.close()
