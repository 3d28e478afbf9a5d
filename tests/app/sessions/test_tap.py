"""The life of a session over HTTP, as a terminal lives it."""

from uuid import uuid4

from app.books import BookRole
from app.sessions.models import SessionStatus
from card_terminal import protocol
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
