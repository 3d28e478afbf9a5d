"""An administrator makes a terminal and compares its key; staff settle what fitted nowhere; in a browser."""

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from app import clock
from app.db import Database
from app.devices import service
from app.devices.models import EventOutcome, Terminal, TerminalEvent, TerminalStatus
from app.people.models import Role
from card_terminal import protocol
from tests.app import builders
from tests.app.reconciliation.world import World
from tests.pages.conftest import Visitor

Enter = Callable[..., Visitor]
pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def staffed(world: World, database: Database) -> World:
    with database.transaction() as session:
        for username, role in (("admin", Role.ADMIN), ("clerk", Role.CLERK)):
            builders.person(session, username=username, role=role)
        session.add(
            TerminalEvent(
                terminal_id=world.terminal_id,
                seq=1,
                message_hash="0" * 64,
                message="",
                chained=True,
                kind="ended",
                session_id=world.charges[0] if world.charges else None,
                body={"elapsed_ms": 60_000},
                outcome=EventOutcome.PARKED,
                reason="ENDED_TWICE",
                answer={},
                received_at=clock.now(),
            )
        )
    return world


def test_a_terminal_is_made_compared_and_replaced_and_its_code_is_seen_once(
    staffed: World, enter: Enter, database: Database
) -> None:
    admin = enter()
    page = admin.log_in("admin")
    admin.visit("/devices?lang=en")
    page.get_by_role("link", name="Make a terminal…").click()
    admin.check()
    page.get_by_label("Code of the terminal").fill("T-NEW")
    with database.reader() as session:
        instrument = session.get_one(Terminal, staffed.terminal_id).instrument.code
    page.get_by_label("Code of the instrument").fill(instrument)
    admin.press("Make it and show the code")
    code = page.inner_text("#code")
    key = Ed25519PrivateKey.generate()
    message = protocol.sign_enrolment(code=code, st=0, app_version="0.1.0", key=key)
    database.run(lambda session: service.enrol(session, message=message, at=clock.now()))

    page.get_by_role("link", name="Go to the terminal's page").click()
    admin.check()
    assert code not in page.content()
    assert page.inner_text("#fingerprint") == protocol.fingerprint(key.public_key())
    page.get_by_label("The last three groups").fill("0000-0000-0000")
    page.get_by_role("button", name="They are the same; take the terminal").click()
    assert "This is not the fingerprint" in page.inner_text("main")
    page.go_back()
    page.get_by_label("The last three groups").fill(page.inner_text("#fingerprint")[-14:])
    admin.press("They are the same; take the terminal")
    assert _status(database, "T-NEW") is TerminalStatus.ENROLLED

    page.get_by_role("link", name="Revoke or replace…").click()
    admin.check()
    page.get_by_label("Why").select_option("stolen")
    page.get_by_label("Code of a new terminal").fill("T-NEWER")
    admin.press("Revoke the terminal")
    assert page.inner_text("#code") != code
    assert (_status(database, "T-NEW"), _status(database, "T-NEWER")) == (
        TerminalStatus.REVOKED,
        TerminalStatus.PENDING,
    )
    admin.visit("/devices?lang=zh_Hans_CN")
    assert "T-NEWER" in page.inner_text("main")


@pytest.mark.usefixtures("staffed")
def test_a_parked_event_is_settled_on_a_page_and_kept(enter: Enter, database: Database) -> None:
    clerk = enter()
    page = clerk.log_in("clerk")
    clerk.visit("/devices?lang=en")
    page.get_by_role("link", name="Look at them").click()
    clerk.check()
    assert "The session was over already" in page.inner_text("main")
    page.get_by_label("What to do").select_option("dismissed")
    page.get_by_label("Why").fill("charged once already")
    clerk.press("Settle")
    assert "No event is parked." in page.inner_text("main")
    page.get_by_role("link", name="Settled").click()
    clerk.check()
    assert "charged once already" in page.inner_text("main")
    clerk.visit("/parked-events?show=settled&lang=zh_Hans_CN")
    with database.reader() as session:
        assert session.scalars(select(TerminalEvent.resolved_by)).one() == "clerk"


def _status(database: Database, code: str) -> TerminalStatus:
    with database.reader() as session:
        return session.scalars(select(Terminal).where(Terminal.code == code)).one().status
