"""The postings of money coming in; each line is one row of the table of postings in docs/explanation/topups.md."""

from dataclasses import dataclass
from uuid import uuid5

import structlog
from sqlalchemy.orm import Session

import ledger
from app.books import NAMESPACE, Book, BookRole, PostingError, TransferCode, Voucher
from app.cards.service import account_balances
from app.topups.models import TopUpMethod

CASH = Book(BookRole.CASH)
CLIENT_BANK = Book(BookRole.CLIENT_BANK)
PSP_CLEARING = Book(BookRole.PSP_CLEARING)
UNIDENTIFIED = Book(BookRole.UNIDENTIFIED)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Line:
    debit: Book
    credit: Book
    code: TransferCode
    flags: ledger.TransferFlag = ledger.TransferFlag.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Intended:
    """A posting that will be made, to be shown before it is."""

    debit: Book
    credit: Book
    code: TransferCode
    amount_fen: int


def credit_account(
    session: Session, voucher: Voucher, *, account_id: int, amount_fen: int, method: TopUpMethod
) -> None:
    """Post received money to the principal of a card account, then repay its debt from it as far as it goes.

    Raises PostingError.
    """
    debt_fen = account_balances(session, [account_id])[account_id].debt_fen
    lines = _credit_lines(account_id, method=method, debt_fen=debt_fen)
    _post(session, voucher, kind=f"top_up_{method}", lines=lines, amount_fen=amount_fen)


def preview(session: Session, *, account_id: int, amount_fen: int, method: TopUpMethod) -> list[Intended]:
    """Give what `credit_account` would post now, so that a person reads it before she says yes."""
    debt_fen = account_balances(session, [account_id])[account_id].debt_fen
    return [
        Intended(
            debit=line.debit,
            credit=line.credit,
            code=line.code,
            amount_fen=min(amount_fen, debt_fen) if line.code is TransferCode.DEBT_REPAID else amount_fen,
        )
        for line in _credit_lines(account_id, method=method, debt_fen=debt_fen)
    ]


def _credit_lines(account_id: int, *, method: TopUpMethod, debt_fen: int) -> tuple[_Line, ...]:
    principal = Book(BookRole.PRINCIPAL, account_id)
    lines = {
        TopUpMethod.CASH: (_Line(CASH, principal, TransferCode.TOP_UP),),
        TopUpMethod.BANK_TRANSFER: (
            _Line(CLIENT_BANK, UNIDENTIFIED, TransferCode.RECEIPT_SEEN),
            _Line(UNIDENTIFIED, principal, TransferCode.TOP_UP),
        ),
        TopUpMethod.ONLINE: (_Line(PSP_CLEARING, principal, TransferCode.TOP_UP),),
    }[method]
    if debt_fen > 0:
        # The ledger cuts it to what is owed at that moment, also if somebody else repays in between.
        debt = Book(BookRole.CUSTOMER_DEBT, account_id)
        lines += (_Line(principal, debt, TransferCode.DEBT_REPAID, ledger.TransferFlag.BALANCING_CREDIT),)
    return lines


def set_aside(session: Session, voucher: Voucher, *, amount_fen: int) -> None:
    """Post an online payment that fits no top-up to the unidentified receipts. Raises PostingError."""
    line = _Line(PSP_CLEARING, UNIDENTIFIED, TransferCode.RECEIPT_UNIDENTIFIED)
    _post(session, voucher, kind="unidentified_receipt", lines=(line,), amount_fen=amount_fen)


def _post(session: Session, voucher: Voucher, *, kind: str, lines: tuple[_Line, ...], amount_fen: int) -> None:
    journal = ledger.NewJournal(
        id=voucher.journal_id,
        kind=kind,
        reference=voucher.reference,
        text=voucher.text,
        actor=voucher.actor,
        idempotency_key=voucher.key,
        value_at=voucher.value_at,
        transfers=tuple(
            ledger.NewTransfer(
                id=uuid5(NAMESPACE, f"{voucher.key}:{line.code.name}"),
                debit_account_id=line.debit.id,
                credit_account_id=line.credit.id,
                amount_fen=amount_fen,
                code=line.code,
                flags=line.flags,
            )
            for line in lines
        ),
    )
    result = ledger.post_journal(session, journal)
    if not result.ok:
        log.error("posting_refused", key=voucher.key, status=result.status, failed=result.failed)
        raise PostingError(f"{voucher.key}: {result.failed or result.status}")
