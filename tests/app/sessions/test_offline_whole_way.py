"""The real terminal and the real server with a wire between them that can be cut: offline use from list to ledger."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from app import clock
from app.cards.models import Card
from app.devices import service as devices
from app.devices.models import EventOutcome, Settlement, Terminal, TerminalEvent
from app.instruments.models import InstrumentGroup
from app.people.models import Role
from app.people.principals import Principal
from app.people.service import principal_of
from app.reconciliation import parked
from app.sessions.models import CardSession, Flag, OfflineReserve, SessionStatus
from card_terminal.flow import State
from card_terminal.identity import load_key
from card_terminal.protocol import EnrolAnswer, Ev2Card, read_answer, sign_enrolment
from card_terminal.readers import Reading
from card_terminal.readers.ntag424 import EmulatedChip
from tests.app import builders, taps
from tests.app.cards.bench import new_bench
from tests.app.sessions.test_offline import prepare, release, switch_on
from tests.app.taps import Site
from tests.card_terminal.honest_server import TurnedClock
from tests.card_terminal.world import Station

HOUR_MS = 3_600_000


@dataclass
class RealServer:
    """What a station of the terminal's tests wants of its server, from the real one."""

    client: FlaskClient
    site: Site
    code: str
    folder: Path
    terminal_id: Any = None
    devices: dict[str, Any] = field(default_factory=dict)

    def enrol_answer(self) -> EnrolAnswer:
        message = sign_enrolment(code=self.code, st=taps.now_ms(), app_version="0.1.0", key=load_key(self.folder))
        answer = self.client.post("/terminal/v1/enroll", json={"message": message})
        assert answer.status_code == 200, answer.get_data(as_text=True)
        taps.approve(self.site.database, self.terminal_id)
        return read_answer(EnrolAnswer, answer.get_json())


@dataclass
class RealWire:
    """Carries messages to the application; may be cut, and may lose answers."""

    client: FlaskClient
    is_down: bool = False
    loses: int = 0
    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    before: Callable[[str], None] = lambda _place: None

    def post(self, name: str, *, body: dict[str, Any], timeout_s: float) -> tuple[int, object] | None:
        assert timeout_s > 0
        if self.is_down:
            return None
        self.sent.append((name, body))
        answer = self.client.post(f"/terminal/v1/{name}", json=body)
        if self.loses:
            self.loses -= 1
            return None
        return answer.status_code, answer.get_json()


@dataclass
class Lab:
    """An instrument with its terminal, a card that has paid here before, and a list of today."""

    site: Site
    station: Station
    wire: RealWire
    chip: EmulatedChip
    card: Card

    def put_down(self, chip: EmulatedChip) -> None:
        uid = chip.uid.hex().upper()
        shown = Ev2Card(uid=uid, atr=chip.atr.hex().upper())
        self.station.terminal.tap(Reading(card=shown, identity=uid, chip=chip))
        chip.leave_field()

    def wait(self, duration_ms: int) -> None:
        """Let time pass for both; the server's clock goes on by itself."""
        self.station.wait(duration_ms, step_ms=max(1_000, duration_ms // 60))
        taps.advance(timedelta(milliseconds=duration_ms))

    def use(self, *, minutes: int) -> None:
        self.put_down(self.chip)
        self.wait(3_000)
        assert self.station.shows(State.ACTIVE), self.station.view()
        self.wait(minutes * 60_000)
        self.put_down(self.chip)
        self.wait(20_000)
        assert self.station.shows(State.IDLE), self.station.view()

    def sessions(self) -> list[CardSession]:
        with self.site.database.reader() as session:
            return list(session.scalars(select(CardSession).order_by(CardSession.authorized_at)))

    def cut(self) -> None:
        self.wire.is_down = True
        self.station.keep_in_touch()

    def mend(self) -> None:
        self.wire.is_down = False
        self.station.keep_in_touch()


@pytest.fixture
def lab(site: Site, client: FlaskClient, tmp_path: Path) -> Lab:
    bench = new_bench(site.database, client)
    bench.settings = site.settings
    chip = EmulatedChip(uid=b"\x04" + (77).to_bytes(6))
    card = bench.issue(chip)
    with site.database.transaction() as session:
        taps.put_money(session, card.account_id, principal_fen=300_00)
        group = session.get_one(InstrumentGroup, site.group_id)
        instrument = builders.instrument(session, in_group=group)
        builders.tariff(session, of_instrument=instrument)
        made = devices.create_terminal(session, code="T-77", instrument_id=instrument.id, actor="test", at=clock.now())
        code, terminal_id, instrument_id = made.code, made.terminal.id, instrument.id
    folder, wire = tmp_path / "terminal", RealWire(client)
    folder.mkdir()
    server: Any = RealServer(client, site, code, folder, terminal_id)
    # The terminal's wall is three hours slow from the first day on.
    turned: Any = TurnedClock(wall=taps.now_ms() - 3 * HOUR_MS)
    any_wire: Any = wire
    lab = Lab(site, Station(folder, server=server, wire=any_wire, clock=turned), wire, chip, card)
    lab.station.keep_in_touch()
    lab.use(minutes=1)
    lab.station.keep_in_touch()
    assert lab.sessions()[0].status is SessionStatus.CAPTURED
    tap: Any = type("Place", (), {"instrument_id": instrument_id})
    switch_on(site, tap)
    assert prepare(site) == 1
    lab.station.keep_in_touch()
    assert lab.station.offline.version == 1
    lab.station.keep_in_touch()
    return lab


def test_what_is_used_while_the_server_is_away_is_charged_to_the_fen_when_it_comes_back(lab: Lab) -> None:
    reserved = lab.sessions()[0].held_fen
    assert reserved
    lab.cut()
    lab.use(minutes=10)
    clone = EmulatedChip(uid=lab.chip.uid)
    lab.put_down(clone)
    assert lab.station.view()["refusal"]["code"] == "CARD_AUTH_FAILED"
    lab.wait(9_000)
    lab.use(minutes=30)
    lab.put_down(lab.chip)
    assert lab.station.view()["refusal"]["code"] == "OFFLINE_LIMIT_CARD"
    lab.wait(9_000)
    began_by = clock.now()

    # The server comes back, and hears everything, but its answers are lost twice.
    lab.wire.loses, lab.wire.is_down = 2, False
    for _ in range(4):
        lab.station.keep_in_touch()
    assert lab.station.journal.unsent_count() == 0
    _online, first, second = lab.sessions()
    assert [row.status for row in (first, second)] == [SessionStatus.CAPTURED] * 2
    assert [row.amount_fen for row in (first, second)] == [5_00, 15_00]
    assert [set(row.flags) for row in (first, second)] == [{Flag.OFFLINE}, {Flag.OFFLINE}]
    # Three hours of a wrong wall move no session: its time is the server's, by the clock that does not jump.
    assert second.ended_at is not None
    assert began_by - timedelta(minutes=2) < second.ended_at < began_by

    # The journal replayed, turned round and forged: nothing of it charges anything again.
    events = [body["messages"] for name, body in lab.wire.sent if name == "events"]
    everything = [message for batch in events for message in batch]
    for messages in (everything[:50], everything[:50][::-1]):
        answer = lab.wire.client.post("/terminal/v1/events", json={"messages": messages})
        assert answer.status_code == 200
        assert {result["status"] for result in answer.get_json()["results"]} <= {"duplicate", "parked"}
    head, payload, signature = everything[-1].split(".")
    forged = f"{head}.{payload}.{signature[:-8]}AAAAAAAA"
    assert lab.wire.client.post("/terminal/v1/events", json={"messages": [forged]}).get_json()["code"] == "SIG_INVALID"
    assert len(lab.sessions()) == 3
    assert lab.site.balances(in_hand(lab)).principal_fen == 300_00 - 50 - 20_00


def in_hand(lab: Lab) -> taps.CardInHand:
    return taps.CardInHand(id=lab.card.id, account_id=lab.card.account_id, number=lab.card.face_number)


def test_what_a_stolen_terminal_did_alone_waits_for_a_person_who_may_charge_it(lab: Lab) -> None:
    lab.cut()
    lab.use(minutes=20)
    run = lab.site.database.run
    with lab.site.database.reader() as session:
        terminal_id = session.scalars(select(Terminal.id)).one()
    run(lambda session: devices.revoke(session, terminal_id=terminal_id, actor="admin", at=clock.now()))
    lab.mend()
    # Nothing new begins: the terminal has heard it, and has no list any more, also without the server.
    lab.cut()
    lab.put_down(lab.chip)
    assert lab.station.view()["refusal"]["code"] == "OFFLINE_NO_LIST"
    assert release(lab.site) == 0
    assert len(lab.sessions()) == 1

    with lab.site.database.transaction() as session:
        operator = builders.person(session, role=Role.GROUP_OPERATOR, group_id=lab.site.group_id)
        session.refresh(operator)
        resolver: Principal = principal_of(operator)
        events = session.scalars(
            select(TerminalEvent)
            .where(TerminalEvent.outcome == EventOutcome.PARKED, TerminalEvent.session_id.is_not(None))
            .order_by(TerminalEvent.seq)
        ).all()
        keys = [(event.seq, event.message_hash, event.kind) for event in events]
    assert {kind for *_rest, kind in keys} == {"started", "meter", "ended"}
    for seq, message_hash, kind in keys:
        chosen = Settlement.DISMISSED if kind == "meter" else Settlement.APPLIED
        settle = partial(
            parked.settle,
            terminal_id=terminal_id,
            seq=seq,
            message_hash=message_hash,
            settlement=chosen,
            resolution="signed before the theft",
            resolver=resolver,
            at=clock.now(),
        )
        run(settle)
    row = lab.sessions()[1]
    assert (row.status, row.amount_fen) == (SessionStatus.CAPTURED, 10_00)
    with lab.site.database.reader() as session:
        assert session.scalars(select(OfflineReserve.held_fen)).one() > 0
    taps.advance(timedelta(days=8))
    assert release(lab.site) == 1
