"""A statement adds up, line by line, and shows each charge to the customer alone."""

from datetime import datetime, timedelta
from uuid import uuid4

import pytest

from app import clock
from app.cards.models import CardAccount
from app.db import Database
from app.errors import Code, Refusal
from app.people.models import Role
from app.people.principals import Principal
from app.people.service import principal_of
from app.reports import service
from app.reports.evidence_schemas import EvidenceSchema
from app.reports.service import Statement
from app.reports.service.statement import Money
from card_terminal import protocol
from tests.app import builders, taps
from tests.app.subsidies.paying import NOW, Till
from tests.app.taps import CardInHand, Site


def used(site: Site, card: CardInHand, *, minutes: int) -> None:
    """Tap in, work, tap out."""
    tap = site.terminal()
    session_id = uuid4()
    assert tap.hold(card, minutes=minutes, session_id=session_id).status_code == 200
    tap.report(protocol.Started(session_id=session_id))
    taps.advance(timedelta(minutes=minutes))
    tap.end(session_id, minutes=minutes)


def owner_of(site: Site, card: CardInHand) -> Principal:
    with site.database.transaction() as session:
        person = session.get_one(CardAccount, card.account_id).person
        assert person is not None
        return principal_of(person)


def stated(site: Site, card: CardInHand, *, since: datetime, until: datetime, reader: Principal) -> Statement:
    with site.database.reader() as session:
        return service.statement(session, account_id=card.account_id, reader=reader, since=since, until=until)


def test_opening_and_lines_make_the_closing_balance(site: Site) -> None:
    began = clock.now() - timedelta(minutes=1)
    card = site.card(principal_fen=100_00, subsidy_fen=20_00)
    used(site, card, minutes=60)
    between = clock.now() + timedelta(minutes=1)
    taps.advance(timedelta(minutes=2))
    used(site, card, minutes=10)
    until = clock.now() + timedelta(minutes=1)
    owner = owner_of(site, card)

    whole = stated(site, card, since=began, until=until, reader=owner)
    assert whole.opening == Money(0, 0, 0)
    assert [line.change for line in whole.lines if line.charge] == [Money(-10_00, -20_00, 0), Money(-5_00, 0, 0)]
    assert whole.closing == Money(85_00, 0, 0)
    assert whole.lines[-1].after == whole.closing
    assert (whole.in_fen, whole.out_fen) == (120_00, 35_00)
    assert whole.closing.total_fen == site.balances(card).available_fen

    later = stated(site, card, since=between, until=until, reader=owner)
    assert later.opening == stated(site, card, since=began, until=between, reader=owner).closing
    assert later.closing == whole.closing
    assert len(later.lines) == 1


def test_an_open_hold_is_no_line(site: Site) -> None:
    card = site.card(principal_fen=100_00)
    assert site.terminal().hold(card, minutes=60).status_code == 200
    now = clock.now()
    found = stated(
        site, card, since=now - timedelta(days=1), until=now + timedelta(days=1), reader=owner_of(site, card)
    )
    assert found.closing == Money(100_00, 0, 0)
    assert found.view.balances.held_fen == 30_00


def test_a_stranger_reads_no_statement(site: Site) -> None:
    card = site.card()
    with site.database.transaction() as session:
        person = builders.person(session, role=Role.CARDHOLDER)
        session.refresh(person, ["grants"])
        stranger = principal_of(person)
    with pytest.raises(Refusal) as refused:
        stated(site, card, since=clock.now(), until=clock.now(), reader=stranger)
    assert refused.value.code is Code.NOT_FOUND


def test_a_subsidy_and_its_return_lead_to_the_use_that_earned_it(database: Database) -> None:
    till = Till(database)
    charge = till.use_verified(100_00)
    till.pay()
    till.let_fall(charge)
    till.pay()
    holder = till.principal(till.holder_id)
    with database.reader() as session:
        found = service.statement(
            session,
            account_id=till.account_id,
            reader=holder,
            since=NOW - timedelta(days=365),
            until=NOW + timedelta(days=365),
        )
    assert [(line.kind, line.charge and line.charge.id) for line in found.lines] == [
        ("subsidy_granted", charge),
        ("subsidy_clawed_back", charge),
    ]


def test_the_evidence_of_a_charge_names_the_record_that_its_subsidy_was_granted_for(database: Database) -> None:
    till = Till(database)
    charge = till.use_verified(100_00)
    till.pay()
    with database.reader() as session:
        found = service.evidence(session, session_id=charge, reader=till.principal(till.holder_id), at=NOW)
    # As a door writes it: the session is closed by then.
    document = EvidenceSchema().dump(found)
    (record,) = document["records"]
    assert document["decision"]["record_id"] == record["record"]["id"]
    assert document["decision"]["amount_fen"] > 0
