"""What tests of top-ups ask the books."""

from uuid import uuid4

from sqlalchemy.orm import Session

import ledger
from app.books import Book, BookRole, TransferCode
from app.cards.service import account_balances
from app.db import Database


def principal_fen(database: Database, account_id: int) -> int:
    with database.reader() as session:
        return account_balances(session, [account_id])[account_id].principal_fen


def debt_fen(database: Database, account_id: int) -> int:
    with database.reader() as session:
        return account_balances(session, [account_id])[account_id].debt_fen


def balance_fen(database: Database, role: BookRole) -> int:
    """The balance of one of the center's accounts, debit less credit."""
    book = Book(role)
    with database.reader() as session:
        return ledger.balances(session, [book.id])[book.id].debit_balance_fen


def owe(session: Session, account_id: int, *, amount_fen: int) -> None:
    """Make the customer owe: as after a session that was uploaded late, over an empty account."""
    transfer = ledger.NewTransfer(
        id=uuid4(),
        debit_account_id=Book(BookRole.CUSTOMER_DEBT, account_id).id,
        credit_account_id=Book(BookRole.UNIDENTIFIED).id,
        amount_fen=amount_fen,
        code=TransferCode.DEBT_REPAID,
    )
    assert ledger.create_transfers(session, [transfer])[0].ok
