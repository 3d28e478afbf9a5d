"""A fund with a published rule and a customer whose uses are verified by hand."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import ledger
from app.books import NAMESPACE, Book, BookRole
from app.cards.models import Project, ProjectLevel
from app.db import Database
from app.instruments.models import CollaborativeListing
from app.people.models import Organisation
from app.reconciliation import recording, records
from app.reconciliation.models import ChargeVerdict
from app.sessions.models import CardSession
from app.subsidies import service
from app.subsidies.models import Decision
from tests.app.reconciliation.world import World

VALID_FROM = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 6, 1, tzinfo=UTC)


class Till(World):
    """A world whose instrument is on the list of collaborative instruments, and whose fund holds money."""

    def __init__(self, database: Database, *, fund_fen: int = 1_000_000, budget_fen: int = 200_000_000) -> None:
        super().__init__(database, with_box=False)
        self._minute = 0
        with database.transaction() as session:
            session.add(CollaborativeListing(instrument_id=self.instrument_id, valid_from=VALID_FROM))
            session.get_one(Organisation, self.organisation_id).network_member = True
            fund = service.create_fund(
                session,
                code="CQ",
                name_zh="重庆补贴资金",
                name_en="Chongqing fund",
                budget_fen_per_year=budget_fen,
                actor="finance",
                at=NOW,
            )
            self.fund_id = fund.id
            service.publish_shipped(
                session, code="CQ-CARD", fund_id=fund.id, valid_from=VALID_FROM, actor="clerk", at=NOW
            )
        if fund_fen:
            self.receive(fund_fen)

    def receive(self, amount_fen: int, reference: str = "FISCAL-1") -> None:
        with self.database.transaction() as session:
            service.receive_money(
                session, fund_id=self.fund_id, amount_fen=amount_fen, reference=reference, actor="finance", at=NOW
            )

    def project(self, level: ProjectLevel, *, evidence: str = "") -> int:
        with self.database.transaction() as session:
            found = Project(account_id=self.account_id, title="课题", level=level, evidence_reference=evidence)
            session.add(found)
            session.flush()
            return found.id

    def use_verified(self, principal_fen: int = 10_000, *, subsidy_fen: int = 0, **values: Any) -> UUID:
        """Write a charge of an hour, and the verdict and usage record that reconciliation would give it."""
        self._minute += 60
        charge = self.charge(
            self._minute,
            self._minute + 60,
            **{"paid_principal_fen": principal_fen, "paid_subsidy_fen": subsidy_fen, **values},
        )
        self.verify(charge)
        return charge

    def verify(self, charge: UUID) -> None:
        with self.database.transaction() as session:
            row = session.get_one(CardSession, charge)
            verdict = recording.supersede(
                session,
                recording.current_verdict(session, row),
                session_id=charge,
                at=NOW,
                verdict=ChargeVerdict.MATCHED,
                evidence={},
                algorithm_version=1,
                tolerance_s=600,
                overlap_s=3600,
                charge_only_s=0,
                box_only_s=0,
            )
            records.keep_usage_record(session, row, verdict, effective_s=3600, at=NOW)

    def let_fall(self, charge: UUID) -> None:
        """Take the usage record away, as a verdict that no longer verifies does."""
        with self.database.transaction() as session:
            records.drop_usage_record(session, session.get_one(CardSession, charge), at=NOW)

    def pay(self, *, limit: int = 100) -> int:
        return self.database.run(lambda session: service.pay_due(session, at=NOW + timedelta(hours=1), limit=limit))

    def decisions(self) -> list[Decision]:
        with self.database.transaction() as session:
            return list(session.query(Decision).order_by(Decision.id))

    def fund_held_fen(self) -> int:
        return self.balance_fen(Book(BookRole.SUBSIDY_FUND, self.fund_id))

    def move(self, debit: Book, credit: Book, amount_fen: int, *, hold: bool = False) -> None:
        """Post one transfer by hand: a top-up, a spending, or a hold."""
        key = f"by-hand:{debit.role}:{credit.role}:{amount_fen}:{hold}"
        transfer = ledger.NewTransfer(
            id=uuid5(NAMESPACE, key),
            debit_account_id=debit.id,
            credit_account_id=credit.id,
            amount_fen=amount_fen,
            code=999,
            flags=ledger.TransferFlag.PENDING if hold else ledger.TransferFlag.NONE,
        )
        with self.database.transaction() as session:
            assert ledger.create_transfers(session, [transfer])[0].ok
