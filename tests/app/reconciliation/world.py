"""One instrument with its box and a customer's card: charges are written by hand, box messages go the real way."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select

import ledger
from app.books import Book, BookRole, center_books, open_books
from app.cards.models import Card, CardClass, CardStatus
from app.cards.service import open_account
from app.db import Database
from app.devices.models import BoxPlacement, Terminal, TerminalStatus
from app.instruments.models import CustomerClass
from app.people.models import Person, Role
from app.people.principals import Principal
from app.people.service import principal_of
from app.reconciliation import service
from app.reconciliation.models import BoxVerdict, DueStretch, UsageRecord, Verdict
from app.sessions.models import CardSession, SessionStatus
from tests.app import builders
from tests.telemetry.wire import BOX, RUN_W, STANDBY_W, Server, at, minute

LONG_BEFORE = datetime(2026, 1, 1, tzinfo=UTC)


class World:
    """A small center after its first commit; minutes count from the start of every story of the boxes."""

    def __init__(self, database: Database, *, with_box: bool = True) -> None:
        self.database = database
        self.server = Server(database)
        self.charges: list[UUID] = []
        self._said = 0
        with database.transaction() as session:
            open_books(session, center_books())
            unit = builders.unit(session, in_sub_center=builders.sub_center(session))
            self.sub_center_id = unit.sub_center_id or 0
            self.unit_id, self.unit_organisation_id = unit.id, unit.organisation_id
            instrument = builders.instrument(session, in_group=builders.group(session, of_unit=unit))
            self.instrument_id = instrument.id
            customer = builders.organisation(session)
            self.organisation_id = customer.id
            holder = builders.person(session, username="holder", role=Role.CARDHOLDER, organisation_id=customer.id)
            self.holder_id = holder.id
            self.account_id = open_account(session, organisation_id=customer.id, actor="test", at=LONG_BEFORE).id
            card = Card(
                account_id=self.account_id,
                holder_id=holder.id,
                face_number="6210000000000007",
                card_class=CardClass.TYPED,
                status=CardStatus.ISSUED,
                pin_hash="-",
                expires_on=date(2030, 1, 1),
                issued_at=LONG_BEFORE,
            )
            terminal = Terminal(
                id=uuid4(),
                code="T1",
                instrument_id=instrument.id,
                status=TerminalStatus.ENROLLED,
                created_at=LONG_BEFORE,
            )
            session.add_all([card, terminal])
            session.flush()
            self.card_id, self.terminal_id = card.id, terminal.id
            if with_box:
                session.add(BoxPlacement(box=BOX, channel=0, instrument_id=instrument.id, valid_from=LONG_BEFORE))
        if with_box:
            self.server.enrol()

    def charge(self, start: float, end: float | None, **values: Any) -> UUID:
        """Write a card session of these minutes; without an end it is still open."""
        given = {"paid_principal_fen": 32_000, "paid_subsidy_fen": 18_000, **values}
        row = CardSession(
            **{
                "id": uuid4(),
                "terminal_id": self.terminal_id,
                "instrument_id": self.instrument_id,
                "card_id": self.card_id,
                "account_id": self.account_id,
                "project_id": None,
                "customer_class": CustomerClass.COMPANY,
                "status": SessionStatus.ACTIVE if end is None else SessionStatus.CAPTURED,
                "tariff_snapshot": {},
                "minutes": 60,
                "held_fen": 0,
                "authorized_at": at(start),
                "latest_end_at": at(start + 480),
                "started_at": at(start),
                "ended_at": None if end is None else at(end),
                "amount_fen": None if end is None else given["paid_principal_fen"] + given["paid_subsidy_fen"],
                **given,
            }
        )
        with self.database.transaction() as session:
            session.add(row)
        self.charges.append(row.id)
        return row.id

    def play(self, *spans: tuple[int, float]) -> None:
        """Let the box say what it measured: consecutive spans of (minutes, power); then derive."""
        messages = []
        for minutes, power_w in spans:
            for _ in range(minutes):
                self._said += 1
                messages.append(minute(self._said, power_w))
        self.server.measured(messages)
        self.server.derive(now=at(self._said))

    def use(self, start: int, end: int, *, until: int) -> None:
        """Let the box see one run of these minutes, and tell on until a minute."""
        self.play((start - self._said, STANDBY_W), (end - start, RUN_W), (until - end, STANDBY_W))

    def reconcile(self, *, minutes: float, limit: int = 100) -> int:
        return self.database.run(lambda session: service.reconcile(session, at=at(minutes), limit=limit))

    def versions(self, session_id: UUID) -> list[Verdict]:
        with self.database.transaction() as session:
            return list(
                session.scalars(select(Verdict).where(Verdict.session_id == session_id).order_by(Verdict.version))
            )

    def verdict(self, session_id: UUID) -> str:
        current = [row for row in self.versions(session_id) if row.superseded_at is None]
        return current[0].verdict.value if current else "none"

    def records(self) -> list[UsageRecord]:
        """The current usage records."""
        with self.database.transaction() as session:
            query = select(UsageRecord).where(UsageRecord.superseded_at.is_(None)).order_by(UsageRecord.started_at)
            return list(session.scalars(query))

    def box_verdicts(self) -> list[str]:
        with self.database.transaction() as session:
            query = select(BoxVerdict).where(BoxVerdict.superseded_at.is_(None)).order_by(BoxVerdict.started_at)
            return [row.verdict.value for row in session.scalars(query)]

    def due(self) -> int:
        with self.database.transaction() as session:
            return session.scalar(select(func.count()).select_from(DueStretch)) or 0

    def person(self, username: str, role: Role, **scope: Any) -> Principal:
        with self.database.transaction() as session:
            found = builders.person(session, username=username, role=role, **scope)
            session.refresh(found, ["grants"])
            return principal_of(found)

    def principal(self, person_id: int) -> Principal:
        with self.database.transaction() as session:
            return principal_of(session.get_one(Person, person_id))

    def subsidy_purse_fen(self) -> int:
        return self.balance_fen(Book(BookRole.SUBSIDY_PURSE, self.account_id))

    def balance_fen(self, book: Book) -> int:
        with self.database.transaction() as session:
            return ledger.balances(session, [book.id])[book.id].credit_balance_fen
