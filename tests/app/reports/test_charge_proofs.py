"""Who may see a charge may carry away the proof that its postings stand as they were written."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from app import clock, sealing
from app.cards.models import CardAccount
from app.people.models import Role
from app.people.principals import Principal
from app.people.service import principal_of
from app.reports import service
from app.reports.service.today import seal_state
from app.settings import Settings
from card_terminal import protocol
from tests.app import builders, taps
from tests.app.taps import Site
from tests.ledger.sealed import settle
from tests.owner import without_triggers

SCRIPT = Path(__file__).resolve().parents[3] / "docs" / "check_proof.py"


@pytest.fixture
def charged(site: Site) -> tuple[UUID, Principal]:
    """A charge of two purses, and its customer."""
    card = site.card(principal_fen=100_00, subsidy_fen=20_00)
    tap = site.terminal()
    session_id = uuid4()
    assert tap.hold(card, minutes=60, session_id=session_id).status_code == 200
    tap.report(protocol.Started(session_id=session_id))
    taps.advance(timedelta(minutes=60))
    tap.end(session_id, minutes=60)
    with site.database.transaction() as session:
        person = session.get_one(CardAccount, card.account_id).person
        assert person is not None
        return session_id, principal_of(person)


def seal(site: Site, settings: Settings) -> int:
    settle(site.database)
    return sealing.seal_due(site.database, key=sealing.seal_key(settings.key_encryption_key))


def sealed_block(site: Site, session_id: UUID, reader: Principal) -> int | None:
    with site.database.reader() as session:
        return service.evidence(session, session_id=session_id, reader=reader, at=clock.now()).seal.postings_block


def test_the_proof_of_a_charge_holds_its_holds_its_journal_and_what_it_moved(
    site: Site, settings: Settings, charged: tuple[UUID, Principal]
) -> None:
    session_id, customer = charged
    assert sealed_block(site, session_id, customer) is None
    assert seal(site, settings) > 0
    assert sealed_block(site, session_id, customer) == 1
    with site.database.reader() as session:
        proofs = service.proofs(session, session_id=session_id, reader=customer)
        postings = service.evidence(session, session_id=session_id, reader=customer, at=clock.now()).postings
    proved = {proof["record"]["id"] for proof in proofs}
    assert {str(posting.transfer_id) for posting in postings} < proved
    assert {str(posting.journal_id) for posting in postings if posting.journal_id} < proved
    public_key = sealing.seal_key(settings.key_encryption_key).public_key.hex()
    checked = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(SCRIPT), public_key], input=json.dumps(proofs), capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count("stands in the books") == len(proved)


def test_programs_and_pages_give_the_proof_to_those_who_see_the_charge_and_to_nobody_else(
    site: Site, settings: Settings, client: FlaskClient, charged: tuple[UUID, Principal]
) -> None:
    session_id, _customer = charged
    with site.database.transaction() as session:
        builders.person(session, username="clerk", role=Role.CLERK)
        builders.person(session, username="stranger", role=Role.CARDHOLDER)
    address = f"/api/v1/reports/evidence/{session_id}/proof"
    clerk, stranger = builders.bearer(client, "clerk"), builders.bearer(client, "stranger")
    early = client.get(address, headers=clerk)
    assert (early.status_code, early.get_json()["code"]) == (409, "NOT_SEALED")
    seal(site, settings)
    given = client.get(address, headers=clerk)
    assert given.status_code == 200, given.get_data(as_text=True)
    assert given.get_json()[0]["blocks"][0]["number"] == "1"
    assert client.get(address, headers=stranger).status_code == 404
    assert client.get(address).status_code == 401
    assert client.get(f"/charges/{session_id}/proof").status_code == 302, "people log in first"


def test_the_day_at_a_glance_says_how_far_the_books_are_sealed(
    site: Site, settings: Settings, charged: tuple[UUID, Principal]
) -> None:
    _ = charged
    with site.database.reader() as session:
        before = seal_state(session)
    assert (before.block, before.holds) == (0, True)
    rows = before.waiting
    assert rows == seal(site, settings)
    with site.database.transaction() as session:
        without_triggers(session)
        session.execute(text("DELETE FROM ledger.seals"))
        session.execute(text("UPDATE ledger.accounts SET created_at = created_at - interval '6 minutes'"))
    with site.database.reader() as session:
        late = seal_state(session)
    assert (late.block, late.waiting, late.holds) == (0, rows, False)
