"""What is owed to a unit is shown with every transfer that made it, page by page."""

from datetime import timedelta
from uuid import uuid4

from app.people.models import Role
from app.people.service import principal_of
from app.reports import service
from app.reports.service import UnitAccount
from card_terminal import protocol
from tests.app import builders, taps
from tests.app.taps import CardInHand, Site


def used(site: Site, card: CardInHand) -> None:
    """Tap in, work for ten minutes, tap out."""
    tap = site.terminal()
    session_id = uuid4()
    assert tap.hold(card, minutes=10, session_id=session_id).status_code == 200
    tap.report(protocol.Started(session_id=session_id))
    taps.advance(timedelta(minutes=10))
    tap.end(session_id, minutes=10)


def account(site: Site, *, page: int, page_size: int) -> UnitAccount:
    with site.database.transaction() as session:
        finance = builders.person(session, role=Role.FINANCE)
        session.refresh(finance, ["grants"])
        reader = principal_of(finance)
        return service.unit_account(session, unit_id=site.unit_id, reader=reader, page=page, page_size=page_size)


def test_the_pages_of_a_units_transfers_are_the_whole_list(site: Site) -> None:
    card = site.card(principal_fen=100_00)
    for _ in range(2):
        used(site, card)
    whole = account(site, page=1, page_size=100)
    count = len(whole.postings)
    assert whole.has_more is False
    assert sum(posting.amount_fen for posting in whole.postings if posting.phase == "post") == 10_00
    pages = [account(site, page=page, page_size=1) for page in range(1, count + 2)]
    assert [posting.transfer_id for page in pages for posting in page.postings] == [
        posting.transfer_id for posting in whole.postings
    ]
    assert [page.has_more for page in pages] == [True] * (count - 1) + [False] * 2
