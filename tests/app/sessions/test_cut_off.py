"""A terminal that is cut off in the middle of a session: its word counts when it comes, and no money is lost."""

from datetime import timedelta
from uuid import UUID, uuid4

from app import clock
from app.sessions import ending
from app.sessions.models import Flag, SessionStatus
from card_terminal import protocol
from tests.app import taps
from tests.app.taps import CardInHand, Site, Tap

HOUR = timedelta(hours=1)


def test_a_use_that_is_told_of_after_its_hold_was_given_back_is_charged_all_the_same(site: Site) -> None:
    terminal, card, session_id = site.terminal(), site.card(principal_fen=100_00), uuid4()
    _cut_off_after_its_hold(site, terminal, card, session_id)
    assert site.session(session_id).status is SessionStatus.VOID
    assert site.balances(card).held_fen == 0

    started = terminal.report(protocol.Started(session_id=session_id))[0]

    assert started["status"] == "accepted"
    assert (site.session(session_id).status, site.balances(card).held_fen) == (SessionStatus.ACTIVE, 30_00)
    # Its end may be in the same journal, only later.
    _end_forgotten(site)
    assert site.session(session_id).status is SessionStatus.STALE
    ended = terminal.end(session_id, minutes=60)
    assert (ended["status"], ended["amount_fen"]) == ("accepted", 30_00)
    assert (site.balances(card).principal_fen, site.balances(card).held_fen) == (70_00, 0)
    assert Flag.HOLD_EXPIRED in site.session(session_id).flags


def test_of_money_that_was_spent_meanwhile_nothing_is_charged_beyond_what_is_left(site: Site) -> None:
    terminal, elsewhere, card, session_id = site.terminal(), site.terminal(), site.card(principal_fen=40_00), uuid4()
    _cut_off_after_its_hold(site, terminal, card, session_id)
    other = uuid4()
    elsewhere.hold(card, minutes=60, session_id=other)

    terminal.report(protocol.Started(session_id=session_id))

    assert terminal.end(session_id, minutes=60)["amount_fen"] == 10_00
    assert {Flag.HOLD_EXPIRED, Flag.OVER_HOLD} <= set(site.session(session_id).flags)
    assert site.balances(card).available_fen == 0


def test_what_was_called_back_does_not_start_later(site: Site) -> None:
    terminal, card, session_id = site.terminal(), site.card(), uuid4()
    terminal.hold(card, session_id=session_id)
    terminal.report(protocol.Reversal(session_id=session_id, reason=protocol.ReversalReason.NO_ANSWER))

    result = terminal.report(protocol.Started(session_id=session_id))[0]

    assert (result["status"], result["reason"]) == ("parked", "STARTED_AFTER_END")
    assert site.balances(card).held_fen == 0


def test_a_late_start_waits_for_a_person_where_another_session_runs_at_the_instrument(site: Site) -> None:
    terminal, card, session_id = site.terminal(), site.card(), uuid4()
    _cut_off_after_its_hold(site, terminal, card, session_id)
    terminal.hold(site.card(), minutes=30)

    result = terminal.report(protocol.Started(session_id=session_id))[0]

    assert (result["status"], result["reason"]) == ("parked", "STARTED_AFTER_END")
    assert site.session(session_id).status is SessionStatus.VOID


def _cut_off_after_its_hold(site: Site, terminal: Tap, card: CardInHand, session_id: UUID) -> None:
    """Let the network go when the money is held, until long after the time that it was held for."""
    terminal.hold(card, minutes=60, session_id=session_id)
    taps.advance(4 * HOUR)
    assert _end_forgotten(site) == 1


def _end_forgotten(site: Site) -> int:
    return site.database.run(lambda session: ending.end_forgotten(session, at=clock.now(), limit=10))
