"""The life of a session over HTTP, as a terminal lives it."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import select

from app.books import BookRole
from app.instruments.models import Unit
from app.sessions.models import SessionStatus
from card_terminal import protocol
from ledger.models import Transfer
from tests.app import builders, taps
from tests.app.taps import Site


def test_a_tap_holds_and_the_second_tap_charges_the_time_used(site: Site) -> None:
    terminal, card = site.terminal(), site.card(principal_fen=100_00)
    session_id = uuid4()

    held = terminal.hold(card, minutes=60, session_id=session_id)

    assert held.status_code == 200, held.get_data(as_text=True)
    answer = protocol.read_answer(protocol.AuthorizeAnswer, held.get_json())
    assert (answer.held_fen, answer.minutes, answer.available_fen) == (30_00, 60, 70_00)
    assert answer.tariff.schedule[9] == protocol.CostStep(minute=10, cost_fen=5_00)
    assert site.session(session_id).status is SessionStatus.HELD
    assert site.balances(card).held_fen == 30_00

    assert terminal.report(protocol.Started(session_id=session_id))[0]["status"] == "accepted"
    assert site.session(session_id).status is SessionStatus.ACTIVE

    ended = terminal.end(session_id, minutes=1)

    assert ended["status"] == "accepted", ended
    assert (ended["amount_fen"], ended["balance_fen"]) == (50, 99_50)
    row = site.session(session_id)
    assert row.status is SessionStatus.CAPTURED
    assert (row.amount_fen, row.paid_principal_fen, row.paid_subsidy_fen, row.duration_s) == (50, 50, 0, 60)
    assert (site.balances(card).available_fen, site.balances(card).held_fen) == (99_50, 0)
    assert site.book_fen(BookRole.UNIT_PAYABLE, site.unit_id) == 50


def test_the_charges_of_two_units_share_no_account(site: Site) -> None:
    """A row that is in every charge would make all terminals of the platform take turns."""
    with site.database.transaction() as session:
        other = builders.unit(session, service_fee_basis_points=500, vat_basis_points=600)
        group = builders.group(session, of_unit=other)
        unit = session.get_one(Unit, site.unit_id)
        unit.service_fee_basis_points, unit.vat_basis_points = 500, 600
        sites = (site, replace(site, group_id=group.id, unit_id=other.id))
    touched = []
    for each in sites:
        terminal, card, session_id = each.terminal(), each.card(principal_fen=100_00), uuid4()
        terminal.hold(card, session_id=session_id)
        terminal.report(protocol.Started(session_id=session_id))
        taps.advance(timedelta(minutes=10))
        assert terminal.end(session_id, minutes=10)["status"] == "accepted"
        touched.append(accounts_of_the_charge(each, session_id))
        assert each.book_fen(BookRole.SERVICE_FEE, each.unit_id) == 25
        assert each.book_fen(BookRole.VAT, each.unit_id) == 30
    assert [len(accounts) for accounts in touched] == [4, 4]
    assert touched[0].isdisjoint(touched[1])


def accounts_of_the_charge(site: Site, session_id: UUID) -> set[UUID]:
    journal_id = site.session(session_id).capture_journal_id
    with site.database.reader() as session:
        rows = session.scalars(select(Transfer).where(Transfer.journal_id == journal_id))
        return {account for row in rows for account in (row.debit_account_id, row.credit_account_id)}
