"""A desk that books what a test writes down: accounts by name, vouchers with a value date, holds, single transfers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

from sqlalchemy import text

from app.db import Database
from ledger import (
    CNY,
    NewAccount,
    NewJournal,
    NewTransfer,
    TransferFlag,
    create_accounts,
    create_transfers,
    post_journal,
    reverse_journal,
)
from tests.ledger.stories import SPACE, fen
from tests.owner import without_triggers

DAY, HOUR, TICK = timedelta(days=1), timedelta(hours=1), timedelta(microseconds=1)


def on(day: str) -> datetime:
    """Give a moment of 2026 in UTC, as `03-31 12:00`."""
    return datetime.fromisoformat(f"2026-{day}").replace(tzinfo=UTC)


@dataclass
class Desk:
    """Posts for real, with ids made from names; `title` keeps the names of one example apart from those of another."""

    database: Database
    title: str = ""
    names: dict[UUID, str] = field(default_factory=dict)

    def ident(self, name: str) -> UUID:
        id_ = uuid5(SPACE, self.title + name)
        self.names[id_] = name
        return id_

    def open(self, *names: str, code: int = 1001, ledger: int = CNY, owner: int = 0) -> None:
        wanted = [NewAccount(id=self.ident(name), code=code, ledger=ledger, user_data_64=owner) for name in names]
        assert all(result.ok for result in self.database.run(lambda session: create_accounts(session, wanted)))

    def transfer(self, name: str, line: str, *, ledger: int = CNY, **more: object) -> NewTransfer:
        """Read `bank > card 12.50`: the debit account, the credit account and the yuan."""
        debit, _, credit, yuan = line.split()
        return NewTransfer(
            id=self.ident(name),
            debit_account_id=self.ident(debit),
            credit_account_id=self.ident(credit),
            amount_fen=fen(yuan),
            code=1,
            ledger=ledger,
            **more,  # type: ignore[arg-type]
        )

    def send(self, *transfers: NewTransfer, at: datetime | None = None) -> None:
        """Book transfers on their own; with a value date they need a voucher, so they get one."""
        if at is not None:
            self._post(f"voucher of {self.names[transfers[0].id]}", transfers, at=at)
            return
        results = self.database.run(lambda session: create_transfers(session, transfers))
        assert all(result.ok for result in results), results

    def pay(self, name: str, line: str, *, at: datetime | None = None, ledger: int = CNY) -> None:
        self.send(self.transfer(name, line, ledger=ledger), at=at)

    def hold(self, name: str, line: str, *, at: datetime | None = None) -> None:
        self.send(self.transfer(name, line, flags=TransferFlag.PENDING), at=at)

    def capture(self, hold: str, amount_fen: int | None = None, *, at: datetime | None = None) -> None:
        flags = TransferFlag.POST_PENDING_TRANSFER
        self.send(
            NewTransfer(
                id=self.ident(f"capture {hold}"), pending_id=self.ident(hold), amount_fen=amount_fen, flags=flags
            ),
            at=at,
        )

    def void(self, hold: str, *, at: datetime | None = None) -> None:
        flags = TransferFlag.VOID_PENDING_TRANSFER
        self.send(NewTransfer(id=self.ident(f"void {hold}"), pending_id=self.ident(hold), flags=flags), at=at)

    def journal(
        self,
        key: str,
        *lines: str,
        at: datetime | None,
        kind: str = "charge",
        words: tuple[str, str, str] | None = None,
        flags: TransferFlag = TransferFlag.NONE,
    ) -> UUID:
        """Post a voucher; `words` are its reference, text and actor."""
        transfers = [self.transfer(f"{key} {number}", line, flags=flags) for number, line in enumerate(lines)]
        return self._post(key, transfers, at=at, kind=kind, words=words)

    def _post(
        self,
        key: str,
        transfers: Sequence[NewTransfer],
        *,
        at: datetime | None,
        kind: str = "charge",
        words: tuple[str, str, str] | None = None,
    ) -> UUID:
        reference, said, actor = words or (f"No. {key}", f"Voucher {key}", "accountant")
        journal = NewJournal(
            id=self.ident(f"journal {key}"),
            kind=kind,
            reference=reference,
            text=said,
            actor=actor,
            idempotency_key=f"{self.title}{key}",
            transfers=tuple(transfers),
            value_at=at,
        )
        result = self.database.run(lambda session: post_journal(session, journal))
        assert result.ok, result
        return journal.id

    def reverse(self, key: str, *, at: datetime) -> UUID:
        id_ = self.ident(f"reversal {key}")
        result = self.database.run(
            lambda session: reverse_journal(
                session,
                self.ident(f"journal {key}"),
                id=id_,
                reason="wrong card",
                actor="manager",
                idempotency_key=f"{self.title}reverse {key}",
                value_at=at,
            )
        )
        assert result.ok, result
        return id_

    def redate(self, name: str, *, timestamp: datetime, value_at: datetime | None = None) -> None:
        """Let a transfer have been booked, and dated, at these moments: for the ledger as if it had waited."""
        with self.database.transaction() as session:
            without_triggers(session)
            session.execute(
                text("UPDATE ledger.transfers SET timestamp = :timestamp, value_at = :value_at WHERE id = :id"),
                {"timestamp": timestamp, "value_at": value_at or timestamp, "id": self.ident(name)},
            )
