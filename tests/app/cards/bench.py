"""A counter with a station: its messages are signed as the program signs them, its chips are chips in software."""

from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app import clock
from app.cards import life, service, stations, works
from app.cards.models import Card, CardClass, CardWork, WorkPurpose
from app.db import Database
from app.settings import Settings
from card_terminal import protocol, station
from card_terminal.client import Answered, NoAnswer, Outcome, Refused
from card_terminal.protocol import StationAnswer
from card_terminal.readers.ntag424 import EmulatedChip
from tests.app import builders, taps

LAST_DAY = date(2099, 12, 31)


@dataclass(kw_only=True)
class Bench:
    """A station in the hand of a test."""

    database: Database
    client: FlaskClient
    id: UUID
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    lose_answers: bool = False
    """Every answer is lost once, so that every message is sent twice."""
    settings: Settings | None = None
    """With these the server is asked without HTTP, which takes most of the time."""

    def ask(self, body: protocol.QueryBody, shape: type[StationAnswer]) -> Outcome[StationAnswer]:
        """Do as the station's client does."""
        _ = shape
        query = protocol.Query(mid=uuid4(), st=taps.now_ms(), body=body)
        message = protocol.sign_query(query, key=self.key, device_id=str(self.id))
        if self.settings is not None:
            return Answered(answer=self.database.run(lambda session: self._ask(session, body, message)))
        answer = self.post(body.NAME, message)
        if self.lose_answers:
            answer = self.post(body.NAME, message)
        if answer.status_code == 200:
            return Answered(answer=protocol.read_answer(StationAnswer, answer.get_json()))
        if answer.status_code < 500:
            return Refused(refusal=protocol.read_refusal(answer.get_json()), certain=True)
        return NoAnswer()

    def _ask(self, session: Session, body: protocol.QueryBody, message: str) -> StationAnswer:
        assert self.settings is not None
        found, _query = stations.hear(session, message=message, name=body.NAME, at=clock.now())
        do: Any = works.begin_tap if isinstance(body, protocol.StationBegin) else works.continue_tap
        answer: StationAnswer = do(
            session, station=found, said=body, message=message, settings=self.settings, at=clock.now()
        )
        return answer

    def post(self, name: str, message: str) -> Any:
        return self.client.post(f"/terminal/v1/{name}", json={"message": message})

    def put_down(self, chip: EmulatedChip) -> station.TapResult:
        """Put a chip on the station, and take it away afterwards."""
        result = station.relay(self, chip)  # type: ignore[arg-type] # the client as a test has it
        chip.leave_field()
        return result

    def order_card(self, *, holder_id: int | None = None, pin: str = taps.PIN) -> Card:
        """A new account, and a card on it that waits for this station."""

        def work(session: Session) -> Card:
            person = holder_id or builders.person(session).id
            account = service.open_account(session, person_id=person, actor="test", at=clock.now())
            card = service.issue_card(
                session,
                account_id=account.id,
                holder_id=person,
                card_class=CardClass.EV2,
                pin=pin,
                expires_on=LAST_DAY,
                actor="clerk",
                at=clock.now(),
            )
            self._order(session, card.id, WorkPurpose.ISSUE)
            return card

        return self.database.run(work)

    def issue(self, chip: EmulatedChip) -> Card:
        """A card made of this chip in one tap."""
        card = self.order_card()
        assert self.put_down(chip).state is protocol.TapState.DONE
        return self.card(card.id)

    def order(self, card_id: int, purpose: WorkPurpose = WorkPurpose.ISSUE) -> CardWork:
        return self.database.run(lambda session: self._order(session, card_id, purpose))

    def cancel(self, card_id: int) -> None:
        def work(session: Session) -> None:
            found = works.open_work_of(session, card_id=card_id)
            assert found is not None
            works.cancel(session, work_id=found.id, actor="clerk", at=clock.now())

        self.database.run(work)

    def renew(self, card_id: int, *, expires_on: date = LAST_DAY) -> None:
        self.database.run(
            lambda session: life.renew(
                session, card_id=card_id, expires_on=expires_on, station_id=self.id, actor="clerk", at=clock.now()
            )
        )

    def card(self, card_id: int) -> Card:
        with self.database.reader() as session:
            return session.get_one(Card, card_id)

    def _order(self, session: Session, card_id: int, purpose: WorkPurpose) -> CardWork:
        return works.order(
            session,
            card_id=card_id,
            station_id=self.id,
            purpose=purpose,
            expires_on=LAST_DAY,
            actor="clerk",
            at=clock.now(),
        )


def new_bench(database: Database, client: FlaskClient) -> Bench:
    """Make a station and enrol it over HTTP."""
    made = database.run(
        lambda session: stations.create(session, code=f"S{uuid4().hex[:6]}", place="1", actor="admin", at=clock.now())
    )
    bench = Bench(database=database, client=client, id=made.station.id)
    message = protocol.sign_enrolment(code=made.code, st=taps.now_ms(), app_version="0.1.0", key=bench.key)
    assert bench.post("station/enroll", message).status_code == 200
    return bench


def blank_chip(number: int = 1) -> EmulatedChip:
    """A chip as the maker delivers it."""
    return EmulatedChip(uid=b"\x04" + number.to_bytes(6))
