"""The day of whoever looks after the boxes, in a browser: enrol, place, alarms, calibration, dead letters."""

import re
from collections.abc import Callable

import pytest

from app.db import Database
from app.devices.boxes import watching
from app.devices.models import BoxPlacement
from app.people.models import Role
from telemetry.models import Box, CalibrationVersion
from telemetry.passwords import is_password
from tests.app import builders
from tests.app.reconciliation.world import World
from tests.pages.conftest import Visitor
from tests.telemetry.wire import BOX, Server, at, minute, topic

Enter = Callable[..., Visitor]
pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def watched(world: World, database: Database) -> World:
    """A world whose box has a hole and dead letters, and a second box that has never been heard."""
    server = Server(database)
    server.measured([minute(140, 5.0)])  # nine before it are missing
    server.says("m", b"17", received_at=at(131))
    server.says("m", {"v": 1, "boot": 1}, received_at=at(132), box="cb-stranger")
    said = {"boot": 1, "conn": 1, "up": 7800.0, "t": 5, "sync": 0, "lost": 7}
    birth = {**said, "channels": 1, "fw": "1.2", "cfg": "ab12", "epoch": "a file", "new": 1, "indicative": [0]}
    server.says("birth", birth, received_at=at(130))
    server.says("hb", {**said, "seq": 140, "buf": 0, "doubts": {"0": ["stuck"]}}, received_at=at(130))
    with database.transaction() as session:
        other = builders.instrument(session)
        for username, role in (("admin", Role.ADMIN), ("clerk", Role.CLERK), ("auditor", Role.AUDITOR)):
            builders.person(session, username=username, role=role)
        builders.person(session, username="manager", role=Role.SUB_CENTER_MANAGER, sub_center_id=world.sub_center_id)
        session.add(Box(code="cb-quiet", shard=1, channels=2, enrolled_at=at(0), revoked_at=None))
        session.flush()
        session.add(BoxPlacement(box="cb-quiet", channel=0, instrument_id=other.id, valid_from=at(0)))
        watching.watch(session, at=at(130), limit=10)
    return world


def test_a_box_is_enrolled_its_password_seen_once_placed_renewed_and_revoked(
    watched: World, enter: Enter, database: Database
) -> None:
    with database.reader() as session:
        instrument = session.get_one(BoxPlacement, 1).instrument.code
    admin = enter()
    page = admin.log_in("admin")
    admin.visit("/devices/boxes?lang=en")
    page.get_by_role("link", name="Enrol a box…").click()
    admin.check()
    page.get_by_label("Channels").fill("2")
    page.get_by_label("Instrument of channel 0").fill(instrument)
    admin.press("Enrol and show the password")
    password = page.inner_text("#password")
    assert f'password = "{password}"' in page.inner_text("pre")
    page.get_by_role("link", name="I have it; go to the box").click()
    admin.check()
    code = page.url.rsplit("/", 1)[1].split("?")[0]
    assert password not in page.content()
    assert page.inner_text("main").count("now") >= 1
    with database.reader() as session:
        assert is_password(password, verifier=session.get_one(Box, code).verifier or "")

    page.get_by_role("link", name="Place…").click()
    admin.check()
    page.get_by_label("Code of the instrument").fill("NOWHERE")
    admin.press("Place it")
    assert "No instrument has this code." in page.inner_text("main")
    admin.visit(f"/devices/boxes/{code}/channels/0/place")
    admin.press("Take it away")
    assert "meters nothing" in page.inner_text("[role=status]")

    page.get_by_role("link", name="New password…").click()
    admin.check()
    admin.press("Make a new password")
    renewed = page.inner_text("#password")
    assert renewed != password
    admin.visit(f"/devices/boxes/{code}/revoke")
    admin.press("Revoke the box")
    assert "This box was revoked" in page.inner_text("main")
    assert page.get_by_role("link", name="New password…").count() == 0
    assert page.goto(f"{admin.base}/devices/boxes/{code}/password").status == 409  # type: ignore[union-attr]
    _ = watched


def test_an_alarm_is_seen_at_the_center_and_at_its_sub_center_and_acknowledged_by_a_person(
    watched: World, enter: Enter
) -> None:
    _ = watched
    clerk, manager = enter(), enter()
    page = clerk.log_in("clerk")
    clerk.visit("/today?lang=en")
    page.get_by_role("link", name=re.compile("Alarms of boxes")).click()
    clerk.check()
    text = page.inner_text("main")
    assert "It has not been heard once since it was placed." in text
    page.get_by_label("What you do about it").first.fill("Drove there, the plug was pulled")
    page.get_by_role("button", name="Acknowledge").first.click()
    clerk.check()
    assert "Seen by clerk" in page.inner_text("main")
    assert page.get_by_role("button", name="Acknowledge").count() == 0

    page = manager.log_in("manager")
    manager.visit("/devices/alarms?lang=en")
    assert "cb-quiet" not in page.inner_text("main")  # it stands at another sub-center's instrument
    manager.visit("/devices/boxes")
    assert BOX in page.inner_text("main")
    assert "cb-quiet" not in page.inner_text("main")
    assert page.goto(f"{manager.base}/devices/boxes/cb-quiet").status == 404  # type: ignore[union-attr]
    assert page.goto(f"{manager.base}/devices/dead-letters").status == 403  # type: ignore[union-attr]


def test_a_channel_is_calibrated_refused_with_the_reason_and_set_by_hand_after_a_comparison(
    watched: World, enter: Enter, database: Database
) -> None:
    _ = watched
    admin = enter()
    page = admin.log_in("admin")
    admin.visit("/devices/calibration?lang=en")
    assert "Not calibrated" in page.inner_text("main")
    admin.visit(f"/devices/boxes/{BOX}/channels/0/calibration")
    admin.press("Start")
    assert "Refused: too little is known" in page.inner_text("main")
    page.get_by_label("Running above (W)").fill("20")
    page.get_by_label("Shorter pauses belong to the run").fill("120")
    admin.press("Compare first")
    table = page.inner_text(".compare")
    assert "< 300 s\t< 120 s" in table
    assert "40.0 W" in table
    assert "20.0 W" in table
    assert "1.0 h" in table  # the run from 10 to 70, by either threshold
    admin.press("Let the proposed ones hold")
    assert "The thresholds hold" in page.inner_text("[role=status]")
    assert "Version 2" in page.inner_text("main")
    admin.visit(f"/devices/boxes/{BOX}")
    assert "by hand" in page.inner_text("main")
    with database.reader() as session:
        assert session.get_one(CalibrationVersion, (BOX, 0, 2)).bridge_s == 120
    admin.visit("/instruments/1")
    page.get_by_label("Warm-up before a use").fill("45")
    admin.press("Let it hold")
    assert "up to 45 min warm-up" in page.inner_text("main")


def test_how_a_box_measures_is_changed_beside_what_it_says_of_itself(watched: World, enter: Enter) -> None:
    _ = watched
    admin = enter(phone=True)
    page = admin.log_in("admin")
    admin.visit("/devices/boxes?lang=en")
    assert "the power stands still" in page.inner_text("main")
    admin.visit(f"/devices/boxes/{BOX}")
    text = page.inner_text("main")
    for words in ("its meter may tell old values", "7 messages, ever", "begun anew", "by its own file", "not set"):
        assert words in text, words
    page.get_by_role("link", name="Show and change").click()
    admin.check()
    page.get_by_label("Seconds of a sample").fill("20")
    page.get_by_label("Channel 0 runs from (W)").fill("60")
    page.get_by_label("Channel 0 rests below (W)").fill("20")
    admin.press("Want it like this")
    assert "waits until the box listens" in page.inner_text("main")
    assert "60.0 W / 20.0 W" in page.inner_text("table")
    assert page.get_by_label("Seconds of a sample").input_value() == "20"


def test_dead_letters_show_what_arrived_and_are_noted_as_seen(watched: World, enter: Enter) -> None:
    _ = watched
    clerk = enter()
    page = clerk.log_in("clerk")
    clerk.visit("/devices/dead-letters?lang=en")
    text = page.inner_text("main")
    assert topic("m", box="cb-stranger") in text
    assert "the payload is no JSON object" in text
    page.get_by_role("link", name=re.compile("the payload is no JSON object")).click()
    clerk.check()
    assert "cb-stranger" not in page.inner_text("table")
    page.get_by_label("What you found out").fill("A visitor's plug")
    clerk.press("Note all of these as seen")
    assert "1 dead letter is noted as seen." in page.inner_text("[role=status]")
    assert "cb-stranger" in page.inner_text("table")
    page.get_by_role("link", name="Seen", exact=True).click()
    clerk.check()
    assert "A visitor's plug" in page.inner_text("table")


EVERY_PAGE = (
    "",
    "/boxes",
    f"/boxes/{BOX}",
    "/boxes/cb-quiet",
    f"/boxes/{BOX}/configuration",
    "/boxes?show=unplaced",
    "/boxes?order=quality&search=cb-",
    "/alarms",
    "/calibration",
    f"/boxes/{BOX}/channels/0/calibration?run=20",
    "/dead-letters",
    "/dead-letters?reason=box_unknown",
)


def test_every_page_of_the_boxes_can_be_read_in_chinese_on_a_phone(watched: World, enter: Enter) -> None:
    _ = watched
    auditor = enter(phone=True)
    auditor.log_in("auditor")
    for path in EVERY_PAGE:
        auditor.visit(f"/devices{path}")
    assert auditor.page.get_by_role("button", name="标记为已查看").count() == 0


def test_the_pages_with_pictures_can_be_read_on_a_desk_without_script(watched: World, enter: Enter) -> None:
    _ = watched
    auditor = enter(script=False)
    auditor.log_in("auditor")
    for path in (f"/boxes/{BOX}", f"/boxes/{BOX}/channels/0/calibration?run=20"):
        assert auditor.page.goto(f"{auditor.base}/devices{path}").ok  # type: ignore[union-attr]
        assert auditor.page.locator("svg.bars rect").count() >= 1
