"""The postings of subsidies: money into a fund, from the fund to a card, and back."""

from dataclasses import dataclass
from uuid import UUID, uuid5

from sqlalchemy.orm import Session

import ledger
from app.books import NAMESPACE, Book, BookRole, PostingError, TransferCode, Voucher

FISCAL_BANK = Book(BookRole.FISCAL_BANK)


@dataclass(frozen=True, slots=True)
class _Line:
    debit: Book
    credit: Book
    amount_fen: int


def fund_book(fund_id: int) -> Book:
    """Give the ledger account that holds a fund's money."""
    return Book(BookRole.SUBSIDY_FUND, fund_id)


def lock_fund_fen(session: Session, *, fund_id: int) -> int:
    """Give what a fund holds, and keep it from changing until this transaction ends."""
    book = fund_book(fund_id)
    return ledger.lock_balances(session, [book.id])[book.id].available_credit_fen


def receive(session: Session, voucher: Voucher, *, fund_id: int, amount_fen: int) -> ledger.JournalResult:
    """Book fiscal money that arrived for a fund: 1002.02 → 2711.01. The result says whether it was a repeat."""
    return _post(
        session,
        voucher,
        kind="fund_received",
        code=TransferCode.FUND_RECEIVED,
        lines=[_Line(FISCAL_BANK, fund_book(fund_id), amount_fen)],
    )


def grant(session: Session, voucher: Voucher, *, fund_id: int, account_id: int, amount_fen: int) -> UUID:
    """Book a granted subsidy: 2711.01 → 2241.03; gives the journal. Raises PostingError."""
    purse = Book(BookRole.SUBSIDY_PURSE, account_id)
    return _must(
        _post(
            session,
            voucher,
            kind="subsidy_granted",
            code=TransferCode.SUBSIDY_GRANTED,
            lines=[_Line(fund_book(fund_id), purse, amount_fen)],
        )
    )


def claw_back(session: Session, voucher: Voucher, *, fund_id: int, account_id: int, amount_fen: int) -> UUID:
    """Book a subsidy that is taken back: from 2241.03, then 2241.01, and what is left becomes debt in 1221.01.

    Open holds are left alone: what they reserve was promised to an instrument. Raises PostingError.
    """
    purses = [Book(BookRole.SUBSIDY_PURSE, account_id), Book(BookRole.PRINCIPAL, account_id)]
    # Locked together with the fund, so that the split below still holds when it is posted.
    balances = ledger.lock_balances(session, [*(purse.id for purse in purses), fund_book(fund_id).id])
    lines: list[_Line] = []
    left_fen = amount_fen
    for purse in purses:
        from_purse_fen = min(left_fen, max(0, balances[purse.id].available_credit_fen))
        lines.append(_Line(purse, fund_book(fund_id), from_purse_fen))
        left_fen -= from_purse_fen
    lines.append(_Line(Book(BookRole.CUSTOMER_DEBT, account_id), fund_book(fund_id), left_fen))
    return _must(
        _post(
            session,
            voucher,
            kind="subsidy_clawed_back",
            code=TransferCode.SUBSIDY_CLAWED_BACK,
            lines=[line for line in lines if line.amount_fen > 0],
        )
    )


def _post(
    session: Session, voucher: Voucher, *, kind: str, code: TransferCode, lines: list[_Line]
) -> ledger.JournalResult:
    return ledger.post_journal(
        session,
        ledger.NewJournal(
            id=voucher.journal_id,
            kind=kind,
            reference=voucher.reference,
            text=voucher.text,
            actor=voucher.actor,
            idempotency_key=voucher.key,
            value_at=voucher.value_at,
            transfers=tuple(
                ledger.NewTransfer(
                    id=uuid5(NAMESPACE, f"{voucher.key}:{line.debit.role}"),
                    debit_account_id=line.debit.id,
                    credit_account_id=line.credit.id,
                    amount_fen=line.amount_fen,
                    code=code,
                )
                for line in lines
            ),
        ),
    )


def _must(result: ledger.JournalResult) -> UUID:
    if not result.ok:
        raise PostingError(f"{result.journal_id}: {result.failed or result.status}")
    return result.journal_id
