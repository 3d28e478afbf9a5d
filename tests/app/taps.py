"""A site with money on a card, and terminals that speak to it as real ones do: signed, numbered, chained."""

import itertools
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4, uuid5

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

import ledger
from app import clock
from app.books import NAMESPACE, Book, BookRole, center_books, open_books
from app.cards import service as cards
from app.cards.models import Card, CardAccount, CardClass
from app.db import Database
from app.devices import service as devices
from app.instruments.models import Instrument, InstrumentGroup
from app.sessions.models import CardSession
from app.settings import Settings
from card_terminal import protocol
from card_terminal.readers.simulated import VirtualSunCard
from tests.app import builders

PIN = "314159"
_number = itertools.count(1)


@dataclass(kw_only=True)
class Tap:
    """A terminal as a test holds it: what it signs, in which place of its chain, and when it thinks it is."""

    client: FlaskClient
    terminal_id: UUID
    instrument_id: int
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    seq: int = 0
    prev: str = protocol.CHAIN_START

    def enrol(self, code: str) -> TestResponse:
        message = protocol.sign_enrolment(code=code, st=now_ms(), app_version="0.1.0", key=self.key)
        return self.post("enroll", {"message": message})

    def query(self, body: protocol.QueryBody, *, mid: UUID | None = None, st: int | None = None) -> str:
        query = protocol.Query(mid=mid or uuid4(), st=now_ms() if st is None else st, body=body)
        return protocol.sign_query(query, key=self.key, device_id=str(self.terminal_id))

    def ask(self, body: protocol.QueryBody, **values: Any) -> TestResponse:
        return self.post(body.NAME, {"message": self.query(body, **values)})

    def begin(self, shown: protocol.CardShown) -> TestResponse:
        return self.ask(protocol.CardBegin(card=shown))

    def authorize(
        self, token: str, *, session_id: UUID | None = None, minutes: int = 60, pin: str | None = None
    ) -> TestResponse:
        return self.ask(
            protocol.SessionAuthorize(token=token, session_id=session_id or uuid4(), minutes=minutes, pin=pin)
        )

    def hold(self, card: "CardInHand", *, minutes: int = 60, session_id: UUID | None = None) -> TestResponse:
        """Show the card and authorize at once, with the PIN."""
        begun = self.begin(card.show())
        assert begun.status_code == 200, begun.get_data(as_text=True)
        return self.authorize(begun.get_json()["token"], session_id=session_id, minutes=minutes, pin=PIN)

    def event(self, body: protocol.EventBody, *, wall_ms: int | None = None) -> str:
        """Sign the next event of the chain."""
        self.seq += 1
        event = protocol.Event(
            seq=self.seq,
            prev=self.prev,
            boot=1,
            mono_ms=self.seq,
            wall_ms=now_ms() if wall_ms is None else wall_ms,
            body=body,
        )
        message = protocol.sign_event(event, key=self.key, device_id=str(self.terminal_id))
        self.prev = protocol.chain_hash(message)
        return message

    def report(self, *bodies: protocol.EventBody) -> list[dict[str, Any]]:
        """Sign and deliver events; give their results."""
        return self.deliver(*[self.event(body) for body in bodies])

    def deliver(self, *messages: str) -> list[dict[str, Any]]:
        answer = self.post("events", {"messages": list(messages)})
        assert answer.status_code == 200, answer.get_data(as_text=True)
        results: list[dict[str, Any]] = answer.get_json()["results"]
        return results

    def end(self, session_id: UUID, *, minutes: float, **values: Any) -> dict[str, Any]:
        """Report that the session ended after so many minutes."""
        ended = protocol.Ended(
            session_id=session_id, elapsed_ms=int(minutes * 60_000), cause=protocol.EndCause.TAPPED, **values
        )
        return self.report(ended)[0]

    def post(self, name: str, body: object) -> TestResponse:
        return self.client.post(f"/terminal/v1/{name}", json=body)


def approve(database: Database, terminal_id: UUID) -> None:
    """Say, as an administrator does, that the key that came is the terminal's."""

    def work(session: Session) -> None:
        terminal = devices.terminal_of(session, terminal_id=terminal_id)
        devices.approve(
            session,
            terminal_id=terminal_id,
            fingerprint=devices.fingerprint_of(terminal),
            actor="test",
            at=clock.now(),
        )

    database.run(work)


@dataclass(kw_only=True)
class CardInHand:
    """A card with what its holder can show."""

    id: int
    account_id: int
    number: str
    chip: VirtualSunCard | None = None

    def show(self) -> protocol.CardShown:
        if self.chip is None:
            return protocol.TypedCard(number=self.number)
        self.chip, shown = self.chip.read()
        return shown


@dataclass(frozen=True, kw_only=True)
class Site:
    """One center with a customer; everything is made through the services and committed."""

    database: Database
    settings: Settings
    client: FlaskClient
    group_id: int
    unit_id: int

    def terminal(self, *, rules: dict[str, Any] | None = None, **instrument_values: Any) -> Tap:
        """An enrolled terminal at an instrument of its own, of 30 yuan an hour unless told otherwise."""

        def work(session: Session) -> devices.EnrolmentCode:
            group = session.get_one(InstrumentGroup, self.group_id)
            instrument = builders.instrument(session, in_group=group, **instrument_values)
            builders.tariff(session, of_instrument=instrument, rules=rules)
            return devices.create_terminal(
                session, code=f"T{next(_number)}", instrument_id=instrument.id, actor="test", at=clock.now()
            )

        made = self.database.run(work)
        tap = Tap(client=self.client, terminal_id=made.terminal.id, instrument_id=made.terminal.instrument_id)
        assert tap.enrol(made.code).status_code == 200
        approve(self.database, tap.terminal_id)
        return tap

    def card(
        self,
        *,
        principal_fen: int = 100_00,
        subsidy_fen: int = 0,
        secure: bool = True,
        account_id: int | None = None,
    ) -> CardInHand:
        """A card with its money; of a new account unless told otherwise."""
        uid = next(_number).to_bytes(7) if secure else None

        def work(session: Session) -> CardInHand:
            holder = builders.person(session)
            account = (
                cards.open_account(session, person_id=holder.id, actor="test", at=clock.now())
                if account_id is None
                else session.get_one(CardAccount, account_id)
            )
            if account_id is None:
                put_money(session, account.id, principal_fen=principal_fen, subsidy_fen=subsidy_fen)
            card = cards.issue_card(
                session,
                account_id=account.id,
                holder_id=holder.id,
                card_class=CardClass.SUN if secure else CardClass.TYPED,
                pin=PIN,
                uid=uid,
                expires_on=builders.in_days(365).date(),
                actor="test",
                at=clock.now(),
            )
            return CardInHand(
                id=card.id, account_id=account.id, number=card.face_number, chip=self._chip(session, card)
            )

        return self.database.run(work)

    def session(self, session_id: UUID) -> CardSession:
        with self.database.transaction() as session:
            return session.get_one(CardSession, session_id)

    def balances(self, card: CardInHand) -> cards.AccountBalances:
        with self.database.reader() as session:
            return cards.account_balances(session, [card.account_id])[card.account_id]

    def book_fen(self, role: BookRole, owner: int = 0) -> int:
        """What an account on the credit side stands at."""
        book = Book(role, owner).id
        with self.database.reader() as session:
            return ledger.balances(session, [book])[book].credit_balance_fen

    def change(self, table: type[Any], key: Any, **values: Any) -> None:
        """Change a row as an administrator with SQL would."""

        def work(session: Session) -> None:
            row = session.get_one(table, key)
            for name, value in values.items():
                setattr(row, name, value)

        self.database.run(work)

    def _chip(self, session: Session, card: Card) -> VirtualSunCard | None:
        if card.uid is None:
            return None
        secrets = cards.personalise_virtual_card(
            session, card_id=card.id, key_encryption_key=self.settings.key_encryption_key, at=clock.now()
        )
        return VirtualSunCard(
            uid=secrets.uid.hex().upper(),
            k_meta=secrets.k_meta.hex(),
            k_file=secrets.k_file.hex(),
            base_uri="https://card.example/t",
        )


def new_site(database: Database, settings: Settings, client: FlaskClient, **unit_values: Any) -> Site:
    """Make a site whose unit has the given service fee and VAT."""

    def work(session: Session) -> tuple[int, int]:
        open_books(session, [*center_books(), Book(BookRole.SUBSIDY_FUND, 0)])
        unit = builders.unit(session, **unit_values)
        return builders.group(session, of_unit=unit).id, unit.id

    group_id, unit_id = database.run(work)
    return Site(database=database, settings=settings, client=client, group_id=group_id, unit_id=unit_id)


def put_money(session: Session, account_id: int, *, principal_fen: int = 0, subsidy_fen: int = 0) -> None:
    """Put money on both purses, from cash and from a fund."""
    sources = (
        (principal_fen, Book(BookRole.CASH), Book(BookRole.PRINCIPAL, account_id)),
        (subsidy_fen, Book(BookRole.CASH), Book(BookRole.SUBSIDY_PURSE, account_id)),
    )
    transfers = [
        ledger.NewTransfer(
            id=uuid5(NAMESPACE, f"test:{uuid4()}"),
            debit_account_id=source.id,
            credit_account_id=purse.id,
            amount_fen=amount_fen,
            code=1,
        )
        for amount_fen, source, purse in sources
        if amount_fen
    ]
    if transfers:
        assert all(result.ok for result in ledger.create_transfers(session, transfers))


def now_ms() -> int:
    return int(clock.now().timestamp() * 1000)


def advance(by: timedelta) -> datetime:
    """Move the clock of this process forward; it goes on from there."""
    moment = clock.now() + by
    clock.set_anchor(clock.Anchor(real=clock.real_now(), simulated=moment, speed=1.0))
    return moment


def instrument_of(session: Session, tap: Tap) -> Instrument:
    return session.get_one(Instrument, tap.instrument_id)
