"""Charges that were really paid: the journals of a top-up, a subsidy and a capture with service fee and VAT."""

from uuid import UUID, uuid4

import ledger
from app.books import Book, BookRole, TransferCode, card_books, open_books
from app.sessions.models import CardSession
from tests.app.reconciliation.world import World

FEE_PERCENT, VAT_PERCENT = 10, 6
TARIFF = {
    "rules": {"per_hour": {"price_fen": 100_00}},
    "customer_class": "company",
    "timezone": "Asia/Shanghai",
    "words": {"zh": "", "en": ""},
}


def paid_charge(
    world: World, start: float, end: float, *, principal_fen: int = 300_00, subsidy_fen: int = 100_00
) -> UUID:
    """A charge at 100 yuan an hour, paid from both purses, of which the unit gave 10% as fee and 6% as VAT."""
    charge = world.charge(
        start,
        end,
        paid_principal_fen=principal_fen,
        paid_subsidy_fen=subsidy_fen,
        tariff_snapshot=TARIFF,
        duration_s=int((end - start) * 60),
        price_lines=[{"zh": "机时", "en": "time", "amount_fen": principal_fen + subsidy_fen}],
    )
    amount_fen = principal_fen + subsidy_fen
    principal, purse = (
        Book(BookRole.PRINCIPAL, world.account_id),
        Book(BookRole.SUBSIDY_PURSE, world.account_id),
    )
    payable = Book(BookRole.UNIT_PAYABLE, world.unit_id)
    capture = uuid4()
    with world.database.transaction() as session:
        open_books(session, card_books(world.account_id))
        _post(
            session,
            uuid4(),
            (Book(BookRole.CASH), principal, principal_fen, TransferCode.TOP_UP),
            (Book(BookRole.FISCAL_BANK), purse, subsidy_fen, TransferCode.SUBSIDY_GRANTED),
        )
        _post(
            session,
            capture,
            (purse, payable, subsidy_fen, TransferCode.SESSION_LATE_CHARGE),
            (principal, payable, principal_fen, TransferCode.SESSION_LATE_CHARGE),
            (
                payable,
                Book(BookRole.SERVICE_FEE, world.unit_id),
                amount_fen * FEE_PERCENT // 100,
                TransferCode.SESSION_SERVICE_FEE,
            ),
            (payable, Book(BookRole.VAT, world.unit_id), amount_fen * VAT_PERCENT // 100, TransferCode.SESSION_VAT),
        )
        session.get_one(CardSession, charge).capture_journal_id = capture
    return charge


def balances_fen(world: World) -> dict[str, int]:
    """What the books that a charge touches hold now."""
    return {
        "principal": world.balance_fen(Book(BookRole.PRINCIPAL, world.account_id)),
        "subsidy": world.balance_fen(Book(BookRole.SUBSIDY_PURSE, world.account_id)),
        "unit": world.balance_fen(Book(BookRole.UNIT_PAYABLE, world.unit_id)),
        "fee": world.balance_fen(Book(BookRole.SERVICE_FEE, world.unit_id)),
        "vat": world.balance_fen(Book(BookRole.VAT, world.unit_id)),
    }


def _post(session: object, journal_id: UUID, *moves: tuple[Book, Book, int, TransferCode]) -> None:
    result = ledger.post_journal(
        session,  # type: ignore[arg-type]
        ledger.NewJournal(
            id=journal_id,
            kind="session_capture",
            reference="test",
            text="test",
            actor="test",
            idempotency_key=str(journal_id),
            value_at=None,
            transfers=tuple(
                ledger.NewTransfer(
                    id=uuid4(),
                    debit_account_id=debit.id,
                    credit_account_id=credit.id,
                    amount_fen=amount_fen,
                    code=code,
                )
                for debit, credit, amount_fen, code in moves
                if amount_fen
            ),
        ),
    )
    assert result.ok, result
