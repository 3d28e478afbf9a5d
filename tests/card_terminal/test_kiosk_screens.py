"""Every screen of the kiosk in a real browser: it fits the display, its buttons fit a finger, it speaks both languages.

With TESTCARD_WRITE_SCREENS=1 (`make kiosk`) the pictures in docs/images/kiosk are made anew.
"""

import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Error, expect, sync_playwright
from playwright.sync_api import Page as Tab

from card_terminal.clock import MachineClock
from card_terminal.flow import State
from card_terminal.kiosk.server import Kiosk, Page
from card_terminal.program import Program
from card_terminal.protocol import RefusalCode, refusal
from card_terminal.screen import Screen
from card_terminal.session import MS_PER_MINUTE
from tests.card_terminal.world import Station

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PICTURES = Path(__file__).parents[2] / "docs" / "images" / "kiosk"
PICTURES_BYTES_MAX = 2_000_000
DISPLAYS = [(800, 480), (1024, 600)]
LANGUAGES = ["zh", "en"]
COLOURS = 48
SIZE = "each => parseFloat(getComputedStyle(each).fontSize)"
CUT_OFF = (
    "all => all.filter(each => each.scrollWidth > each.clientWidth + 1 && each.clientWidth).map(each => each.innerText)"
)
FINGERPRINT = "0123-4567-89AB-CDEF-0123-4567-89AB-CDEF"

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


@pytest.fixture(scope="module")
def page() -> Iterator[tuple[ShownPage, str]]:
    page = ShownPage(program=Program(clock=MachineClock()), reader=None, key=Ed25519PrivateKey.generate())
    page.shown = {"state": "enrolling", "fingerprint": FINGERPRINT, "simulated": False}
    with Kiosk(page, port=0) as kiosk:
        yield page, kiosk.url


@dataclass
class Reader:
    """A person who reads the page in one language, and what the browser complained of meanwhile."""

    tab: Tab
    mistakes: list[str] = field(default_factory=list)

    def heard(self, said: ConsoleMessage) -> None:
        if said.type == "error":
            self.mistakes.append(said.text)

    def failed(self, error: Error) -> None:
        self.mistakes.append(str(error))


@pytest.fixture(scope="module")
def readers(page: tuple[ShownPage, str], browser: Browser) -> Iterator[dict[str, Reader]]:
    """One tab for each language, for all screens: opening one costs more than looking."""
    opened = {}
    for language in LANGUAGES:
        reader = opened[language] = Reader(browser.new_page())
        reader.tab.on("console", reader.heard)
        reader.tab.on("pageerror", reader.failed)
        reader.tab.goto(f"{page[1]}?lang={language}")
        expect(reader.tab.locator("body")).to_have_class(re.compile(f"lead-{language}"))
    yield opened
    for reader in opened.values():
        reader.tab.close()


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


def offline_allowed(station: Station) -> None:
    idle(station)
    station.wire.is_down = True
    station.keep_in_touch()


def other(station: Station) -> None:
    active(station)
    station.tap("1002")


def other_without_money(station: Station) -> None:
    station.server.balances_fen["1002"] = 0
    other(station)


def calling(station: Station) -> None:
    other(station)
    station.terminal.call_staff()


def taking_over(station: Station) -> None:
    other(station)
    station.terminal.take_over()


def receipt_at_limit(station: Station) -> None:
    station.server.balances_fen["1001"] = 60 * 50
    active(station)
    station.wait(26 * MS_PER_MINUTE)


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
    "idle-approval": idle,
    "idle-revoked": idle,
    "idle-reader-down": idle,
    "idle-offline": offline_allowed,
    "idle-offline-allowed": offline_allowed,
    "reading": in_between(State.READING),
    "auth": in_between(State.AUTH),
    "authorizing": in_between(State.AUTHORIZING),
    "confirm": confirm,
    "confirm-alone": confirm,
    "pin": pin,
    "active": active,
    "active-nearly-spent": nearly_spent,
    "active-offline": offline,
    "active-alone": offline,
    "active-reader-down": active,
    "other": other,
    "other-without-money": other_without_money,
    "calling": calling,
    "taking_over": taking_over,
    "ending": ending,
    "receipt": receipt,
    "receipt-offline": receipt_offline,
    "receipt-at-limit": receipt_at_limit,
    "refused": refused,
    "reversing": reversing,
}


def _trouble(code: RefusalCode) -> dict[str, Any]:
    said = refusal(code)
    return {"code": str(code), "number": said.number, "message": {"zh": said.message.zh, "en": said.message.en}}


# What the program adds to the terminal's own view, or what only other processes can bring about.
AROUND: dict[str, dict[str, Any]] = {
    "idle-approval": {"trouble": _trouble(RefusalCode.DEVICE_PENDING), "fingerprint": FINGERPRINT},
    "idle-revoked": {"trouble": _trouble(RefusalCode.DEVICE_REVOKED)},
    "idle-reader-down": {"reader": "down"},
    "active-reader-down": {"reader": "down"},
    "confirm-alone": {
        "online": False,
        "offline": {"possible": True, "why": None, "limit_fen": 200_00, "cards": 42},
        "candidate": {"offline": True, "hold_fen": None, "minutes": 240, "available_fen": 120_00},
    },
    "active-alone": {"session": {"offline": True}},
    "idle-offline-allowed": {"offline": {"possible": True, "why": None, "limit_fen": 200_00, "cards": 42}},
}


def test_every_state_has_a_screen() -> None:
    assert {str(state) for state in State} <= {name.split("-")[0] for name in SCREENS}


@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_fits_display_and_finger(
    name: str, station: Station, page: tuple[ShownPage, str], readers: dict[str, Reader], tmp_path: Path
) -> None:
    shown, _ = page
    show = SCREENS[name]
    shown.shown = {"state": "enrolling", "fingerprint": FINGERPRINT, "simulated": False}
    if show is not None:
        station.keep_in_touch()
        idle(station)
        show(station)
        shown.shown = {**station.view(), "reader": "ok", "simulated": False, "help_phone": "023-6510 0000"}
        assert shown.shown["state"] == name.split("-", maxsplit=1)[0]
        for around, value in AROUND.get(name, {}).items():
            known = shown.shown.get(around)
            shown.shown[around] = {**known, **value} if isinstance(known, dict) else value
    for language, reader in readers.items():
        reader.tab.evaluate("view => show(view)", shown.shown)
        for width, height in DISPLAYS:
            reader.tab.set_viewport_size({"width": width, "height": height})
            if os.environ.get("TESTCARD_WRITE_SCREENS"):
                _keep(reader.tab.screenshot(), name=f"{name}-{width}x{height}-{language}", folder=PICTURES)
            elif name == "idle":
                _keep(reader.tab.screenshot(), name=f"{name}-{width}x{height}-{language}", folder=tmp_path)
            _check(reader.tab, width=width, height=height, language=language)
        assert [mistake for mistake in reader.mistakes if "favicon" not in mistake] == []


def _keep(picture: bytes, *, name: str, folder: Path) -> None:
    """Write a picture as small as few colours make it."""
    folder.mkdir(parents=True, exist_ok=True)
    image = Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(folder / f"{name}.png", optimize=True)


def _check(tab: Tab, *, width: int, height: int, language: str) -> None:
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate("document.documentElement.scrollHeight") <= height
    assert any("一" <= character <= "鿿" for character in tab.inner_text("#title-zh"))
    assert tab.inner_text("#title-en").strip()
    sizes = {each: tab.eval_on_selector(f"#title-{each}", SIZE) for each in LANGUAGES}
    assert max(sizes, key=lambda each: sizes[each]) == language
    assert tab.locator("nav button").count() <= 3
    assert tab.locator("#lines p").count() <= 3
    assert tab.locator("#facts div").count() <= 3
    heights = tab.eval_on_selector_all("main button", "all => all.map(each => each.getBoundingClientRect().height)")
    assert all(each >= 100 for each in heights)
    # Nothing is cut off within its own box either.
    assert tab.eval_on_selector_all("h1 span, dd, #lines p, nav button", CUT_OFF) == []


def test_the_pictures_in_the_documentation_are_of_all_screens_and_small() -> None:
    wanted = {
        f"{name}-{width}x{height}-{language}.png"
        for name in SCREENS
        for width, height in DISPLAYS
        for language in LANGUAGES
    }
    found = {each.name: each.stat().st_size for each in PICTURES.glob("*.png")}
    assert set(found) == wanted
    assert sum(found.values()) < PICTURES_BYTES_MAX


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
