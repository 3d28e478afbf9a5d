"""The accountant's office over a small center: people, a customer with money, a unit that earned some, a fund."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from app import clock
from app.accounting import service
from app.accounting.models import VoucherDraft
from app.accounting.service import Wish, WishLine
from app.books import BookRole
from app.cards.models import CardAccount
from app.people.models import Role
from app.people.principals import Principal
from app.people.service import principal_of
from app.subsidies import funds
from app.topups import service as top_ups
from app.topups.models import TopUp, TopUpMethod
from card_terminal import protocol
from tests.app import builders, taps
from tests.app.taps import CardInHand, Site

STAFF = {
    "clerk": Role.CLERK,
    "finance": Role.FINANCE,
    "finance2": Role.FINANCE,
    "approver": Role.APPROVER,
    "auditor": Role.AUDITOR,
}


@dataclass(frozen=True, kw_only=True)
class Office:
    """Every call is one committed transaction."""

    site: Site
    staff: dict[str, Principal]
    fund_id: int

    @property
    def zone(self) -> Any:
        return self.site.settings.site_timezone

    def top_up(self, card: CardInHand, amount_fen: int, *, method: TopUpMethod = TopUpMethod.CASH) -> TopUp:
        """Money at the counter, entered by the clerk and approved."""
        wish = top_ups.Wish(
            id=uuid4(),
            account_id=card.account_id,
            amount_fen=amount_fen,
            method=method,
            bank_reference=f"ICBC-{uuid4().hex[:8]}" if method is TopUpMethod.BANK_TRANSFER else None,
        )

        def work(session: Session) -> TopUp:
            top_ups.begin_counter_top_up(
                session, wish=wish, maker=self.staff["clerk"], settings=self.site.settings, at=clock.now()
            )
            return top_ups.decide(
                session, top_up_id=wish.id, approve=True, checker=self.staff["approver"], at=clock.now()
            )

        return self.site.database.run(work)

    def use(self, card: CardInHand, *, minutes: int) -> UUID:
        """Tap in, work, tap out; gives the session."""
        tap, session_id = self.site.terminal(), uuid4()
        assert tap.hold(card, minutes=minutes, session_id=session_id).status_code == 200
        tap.report(protocol.Started(session_id=session_id))
        taps.advance(timedelta(minutes=minutes))
        assert tap.end(session_id, minutes=minutes)["status"] == "accepted"
        return session_id

    def wish(self, *lines: WishLine, text: str = "调整", **values: Any) -> Wish:
        return Wish(**{"id": uuid4(), "text": text, "value_on": self.today, "lines": lines, **values})

    def fee_wish(self, amount_fen: int, **values: Any) -> Wish:
        """The payment service's fee, paid from the operator's own bank account."""
        return self.wish(
            WishLine(role=BookRole.PSP_FEE, debit_fen=amount_fen),
            WishLine(role=BookRole.OPERATING_BANK, credit_fen=amount_fen),
            **values,
        )

    def draft(self, wish: Wish, *, by: str = "finance") -> VoucherDraft:
        return self.site.database.run(
            lambda session: service.draft_voucher(
                session, wish=wish, maker=self.staff[by], zone=self.zone, at=clock.now()
            )
        )

    def draft_reversal(self, journal_id: UUID, *, by: str = "finance", **values: Any) -> VoucherDraft:
        given = {"draft_id": uuid4(), "text": "记错", "value_on": self.today, **values}
        return self.site.database.run(
            lambda session: service.draft_reversal(
                session, journal_id=journal_id, maker=self.staff[by], zone=self.zone, at=clock.now(), **given
            )
        )

    def decide(self, draft: VoucherDraft, *, by: str = "approver", approve: bool = True, **values: Any) -> VoucherDraft:
        return self.site.database.run(
            lambda session: service.decide(
                session, draft_id=draft.id, approve=approve, checker=self.staff[by], at=clock.now(), **values
            )
        )

    def post(self, wish: Wish) -> UUID:
        """Draft and approve; gives the journal."""
        journal_id = self.decide(self.draft(wish)).journal_id
        assert journal_id is not None
        return journal_id

    @property
    def today(self) -> Any:
        return clock.now().astimezone(self.zone).date()

    @property
    def month(self) -> tuple[datetime, datetime]:
        """A time that surely holds all that a test did."""
        return clock.now() - timedelta(days=40), clock.now() + timedelta(days=1)


def open_office(site: Site) -> Office:
    """Hire the people and found a fund of 10,000.00."""

    def work(session: Session) -> tuple[dict[str, Principal], int]:
        staff = {}
        for username, role in STAFF.items():
            person = builders.person(session, username=username, role=role)
            session.refresh(person, ["grants"])
            staff[username] = principal_of(person)
        fund = funds.create_fund(
            session,
            code="CQ",
            name_zh="补贴资金",
            name_en="Subsidy fund",
            budget_fen_per_year=10_000_00,
            actor="finance",
            at=clock.now(),
        )
        funds.receive_money(
            session, fund_id=fund.id, amount_fen=10_000_00, reference="渝财教1号", actor="finance", at=clock.now()
        )
        return staff, fund.id

    staff, fund_id = site.database.run(work)
    return Office(site=site, staff=staff, fund_id=fund_id)


def account_number(site: Site, card: CardInHand) -> str:
    with site.database.reader() as session:
        return session.get_one(CardAccount, card.account_id).number
