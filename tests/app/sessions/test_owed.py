"""What a customer owes for a use without the network: paid first of what comes back, and no reason for a subsidy."""

from datetime import timedelta
from uuid import UUID, uuid4

from app import clock
from app.people.models import Role
from app.people.principals import Grant, Principal
from app.reconciliation import adjusting
from app.reconciliation.models import Cause
from app.sessions import ending
from card_terminal import protocol
from tests.app import builders, taps
from tests.app.sessions.test_offline import (
    HOUR,
    began,
    ended,
    fetch,
    known_card,
    prepare,
    reserved_fen,
    with_list,
)
from tests.app.taps import CardInHand, Site, Tap


def test_what_comes_back_of_a_charge_pays_the_debt_first(site: Site) -> None:
    terminal = site.terminal()
    card, session_id = _owing(site, terminal)
    assert (site.balances(card).principal_fen, site.balances(card).debt_fen) == (0, 5_50)

    _give_back(site, session_id, amount_fen=3_00)

    assert (site.balances(card).principal_fen, site.balances(card).debt_fen) == (0, 2_50)
    _give_back(site, session_id, amount_fen=7_00)
    assert (site.balances(card).principal_fen, site.balances(card).debt_fen) == (4_50, 0)


def test_staff_read_before_what_ending_a_use_without_the_network_charges(site: Site) -> None:
    terminal = site.terminal()
    card, session_id = known_card(site, terminal), uuid4()
    content = with_list(site, terminal)
    taps.advance(10 * HOUR)
    terminal.report(began(content, card, session_id, ago=8 * HOUR))
    closer = _operator(site)

    with site.database.reader() as session:
        told = ending.closing(session, session_id=session_id, closer=closer, at=clock.now())
        told_fen, set_free_fen = told.charged_fen, told.set_free_fen
    row = site.database.run(
        lambda session: ending.close_forgotten(session, session_id=session_id, closer=closer, at=clock.now())
    )

    assert (told_fen, set_free_fen) == (row.amount_fen, 99_83 - 99_50)


def test_what_staff_end_leaves_its_rest_reserved_for_the_list_that_is_still_in_force(site: Site) -> None:
    terminal = site.terminal()
    card, session_id = known_card(site, terminal), uuid4()
    content = with_list(site, terminal)
    terminal.report(began(content, card, session_id))
    taps.advance(HOUR)
    assert reserved_fen(site, card) == 0

    site.database.run(
        lambda session: ending.close_forgotten(session, session_id=session_id, closer=_operator(site), at=clock.now())
    )

    charged_fen = site.session(session_id).amount_fen or 0
    assert charged_fen
    assert reserved_fen(site, card) == 99_83 - charged_fen


def test_a_list_allows_no_more_than_is_reserved_when_it_is_taken(site: Site) -> None:
    terminal = site.terminal()
    card, session_id = known_card(site, terminal), uuid4()
    first = with_list(site, terminal)
    taps.advance(5 * HOUR)
    assert prepare(site) == 1  # while the terminal is away
    _spend_elsewhere(site, card, minutes=390)
    terminal.report(began(first, card, session_id, ago=2 * HOUR))
    terminal.report(ended(session_id, minutes=100))

    second = fetch(site, terminal)

    assert second.version == first.version + 1
    assert [each.limit_fen for each in second.cards] == [reserved_fen(site, card)] == [49_83]


def _spend_elsewhere(site: Site, card: CardInHand, *, minutes: int) -> None:
    elsewhere, session_id = site.terminal(), uuid4()
    assert elsewhere.hold(card, minutes=minutes, session_id=session_id).status_code == 200
    elsewhere.report(protocol.Started(session_id=session_id))
    taps.advance(timedelta(minutes=minutes))
    elsewhere.end(session_id, minutes=minutes)


def _owing(site: Site, terminal: Tap) -> tuple[CardInHand, UUID]:
    """A card that has used the instrument alone for more than it had: 10 yuan of which it owes 5.50."""
    card, session_id = known_card(site, terminal), uuid4()
    content = with_list(site, terminal, strict=False)
    _spend_elsewhere(site, card, minutes=590)
    terminal.report(began(content, card, session_id, ago=HOUR))
    terminal.report(ended(session_id, minutes=20))
    return card, session_id


def _give_back(site: Site, session_id: UUID, *, amount_fen: int) -> None:
    person_id = site.database.run(lambda session: builders.person(session).id)
    reason = adjusting.Reason(
        key=f"test:{uuid4()}", cause=Cause.REVIEW, note="n", actor="staff", verdict_id=None, person_id=person_id
    )
    site.database.run(
        lambda session: adjusting.give_back(
            session, adjusting.lock_charge(session, session_id), amount_fen=amount_fen, reason=reason, at=clock.now()
        )
    )


def _operator(site: Site) -> Principal:
    grants = (Grant(role=Role.GROUP_OPERATOR, group_id=site.group_id),)
    return Principal(person_id=1, username="operator", name="operator", organisation_id=None, grants=grants)
