"""Subsidy funds: opened, filled, and what is left of them."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

import ledger
from app import books
from app.books import open_books
from app.db import violated
from app.errors import Code, Refusal
from app.people import service as people
from app.subsidies import facts, postings
from app.subsidies.models import Fund, RuleSet


@dataclass(frozen=True, slots=True, kw_only=True)
class FundView:
    """A fund with its money: what it holds, what this year's budget still allows, and so what can be granted."""

    fund: Fund
    year: int
    held_fen: int
    granted_fen: int

    @property
    def left_fen(self) -> int:
        """What can still be granted for uses of this year."""
        return max(0, min(self.held_fen, self.fund.budget_fen_per_year - self.granted_fen))


def create_fund(
    session: Session, *, code: str, name_zh: str, name_en: str, budget_fen_per_year: int, actor: str, at: datetime
) -> Fund:
    """Open a fund and its ledger account. Raises Refusal CODE_TAKEN."""
    fund = Fund(code=code, name_zh=name_zh, name_en=name_en, budget_fen_per_year=budget_fen_per_year)
    session.add(fund)
    try:
        session.flush()
    except IntegrityError as error:
        if violated(error) == "uq_fund_code":
            raise Refusal(Code.CODE_TAKEN, code=code) from error
        raise
    open_books(session, [postings.fund_book(fund.id)])
    people.audit(
        session,
        actor=actor,
        action="fund.create",
        subject=f"fund:{fund.id}",
        detail={"code": code, "budget_fen_per_year": budget_fen_per_year},
        at=at,
    )
    return fund


def receive_money(
    session: Session, *, fund_id: int, amount_fen: int, reference: str, actor: str, at: datetime
) -> FundView:
    """Book fiscal money that arrived for a fund. `reference` names the payment at the bank: it counts once.

    Raises Refusal: NOT_FOUND; BANK_REFERENCE_USED for a reference that was booked already.
    """
    fund = session.get(Fund, fund_id)
    if fund is None:
        raise Refusal(Code.NOT_FOUND)
    reference = " ".join(reference.split())
    voucher = books.Voucher(
        key=f"fund:{fund_id}:receipt:{reference}",
        reference=reference,
        text=f"财政拨款 Fiscal money received: {fund.name_zh}",
        actor=actor,
        value_at=at,
    )
    result = postings.receive(session, voucher, fund_id=fund_id, amount_fen=amount_fen)
    if result.replayed or result.status is ledger.JournalStatus.IDEMPOTENCY_CONFLICT:
        raise Refusal(Code.BANK_REFERENCE_USED)
    if not result.ok:
        raise books.PostingError(f"{voucher.key}: {result.failed or result.status}")
    people.audit(
        session,
        actor=actor,
        action="fund.receive",
        subject=f"fund:{fund_id}",
        detail={"amount_fen": amount_fen, "reference": reference},
        at=at,
    )
    return fund_view(session, fund, at=at)


def list_funds(session: Session, *, at: datetime) -> list[FundView]:
    """Give every fund with its money and this year's grants."""
    return [fund_view(session, fund, at=at) for fund in session.scalars(select(Fund).order_by(Fund.code))]


def fund_view(session: Session, fund: Fund, *, at: datetime) -> FundView:
    """Give one fund with its money and this year's grants."""
    book = postings.fund_book(fund.id)
    year = facts.year_of(at)
    return FundView(
        fund=fund,
        year=year,
        held_fen=ledger.balances(session, [book.id])[book.id].credit_balance_fen,
        granted_fen=facts.granted_fen(session, RuleSet.fund_id == fund.id, year=year),
    )


def lock_left_fen(session: Session, fund: Fund, *, year: int) -> int:
    """Give what a fund may still grant for uses of a year; call it under the lock of the fund's row."""
    held_fen = postings.lock_fund_fen(session, fund_id=fund.id)
    granted_fen = facts.granted_fen(session, RuleSet.fund_id == fund.id, year=year)
    return max(0, min(held_fen, fund.budget_fen_per_year - granted_fen))
