"""SIGKILL at random moments, to any process, while cards are tapped: nothing is lost and nothing is doubled."""

import json
import logging
import random
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import requests
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

import ledger
from app import clock
from app.books import Book, BookRole
from app.db import Database
from app.demo.run import Demonstration
from app.instruments import pricing
from app.reconciliation import adjusting
from app.reconciliation.models import Verdict
from app.sessions.models import OPEN_STATUSES, CardSession, SessionStatus
from app.subsidies.models import Decision, DecisionStatus
from telemetry.models import HighWater, Message

# To live dangerously for a minute and then to come to rest takes a slow machine longer than other tests may.
pytestmark = pytest.mark.timeout(400)

# On a slow machine it takes more kills until enough visits went through all of them, and more time between two.
KILLS, KILLS_MAX = 24, 72
VISITS_MIN = 5
SLOW = 3.0
TERMINALS = 2
SPEED = 60.0
KILL_PAUSE_S = (0.3, 2.5)
SESSION_S = (0.5, 3.0)
CALM_S = 120.0
PORT = 8400
TARGETS = ("web", "worker", "ingest", "postgres", "terminal", "boxes", "broker", "payment")


@dataclass
class Customer:
    """Somebody who taps one card at one terminal, again and again, and remembers what the screen said."""

    terminal: dict[str, Any]
    card: dict[str, Any]
    started: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)

    def visit(self, stop: threading.Event, chance: random.Random) -> None:
        while not stop.is_set():
            session_id = self._tap_until("active", stop)
            if session_id is None:
                return
            self.started.add(session_id)
            time.sleep(chance.uniform(*SESSION_S))
            self.finish(session_id)

    def finish(self, session_id: str) -> None:
        """Tap until the terminal has let go of the session; it may need its restart for that."""
        give_up_at = time.monotonic() + CALM_S
        while (view := self.view()).get("session") or view.get("state") in {None, "enrolling"}:
            self._tap()
            assert time.monotonic() < give_up_at, f"the session {session_id} never ended: {view}"
            time.sleep(0.2)
        self.ended.add(session_id)

    def view(self) -> dict[str, Any]:
        return self._ask("GET", "/state")

    def _tap_until(self, wanted: str, stop: threading.Event) -> str | None:
        while not stop.is_set():
            view = self._tap()
            if view.get("state") == wanted:
                return str(view["session"]["session_id"])
            time.sleep(0.2)
        return None

    def _tap(self) -> dict[str, Any]:
        return self._ask("POST", "/tap", {"card": self.card["name"], "pin": self.card["pin"], "minutes": 60})

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = requests.request(
                method, f"{self.terminal['kiosk']}{path}", json=body, timeout=30
            ).json()
        except requests.RequestException:
            return {}
        return answer


@dataclass(frozen=True)
class Aftermath:
    """What is left when all kills are over and everything has come to rest."""

    demonstration: Demonstration
    database: Database
    customers: list[Customer]
    kills: list[str]
    principal_before_fen: int


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    demonstration = Demonstration(tmp_path_factory.mktemp("kills"), speed=SPEED, port=PORT)
    database = None
    try:
        database = demonstration.start_service()
        terminals = demonstration.plan["terminals"][:TERMINALS]
        cards = [card for card in demonstration.plan["cards"] if card["name"] in {"cardholder", "wang-fang"}]
        for terminal in terminals:
            demonstration.start_terminal(terminal, database)
        demonstration.start_boxes()
        _await_boxes(demonstration, database)  # who dies before its first boot is over has not been restarted
        customers = [Customer(terminal, card) for terminal, card in zip(terminals, cards, strict=True)]
        before_fen = _principal_fen(database)
        kills = _live_dangerously(demonstration, customers)
        _come_to_rest(demonstration, database, customers)
        yield Aftermath(demonstration, database, customers, kills, before_fen)
    finally:
        if database is not None:
            database.close()
        demonstration.site.stop()
        clock.set_anchor(None)


def test_every_kind_of_process_was_killed_at_twenty_moments_or_more(aftermath: Aftermath) -> None:
    assert len(aftermath.kills) >= 20
    assert len(set(aftermath.kills)) >= 6
    assert sum(len(customer.ended) for customer in aftermath.customers) >= VISITS_MIN


def test_the_books_balance_and_no_hold_is_left(aftermath: Aftermath) -> None:
    with aftermath.database.reader() as session:
        assert ledger.audit(session) == []
        held = session.scalar(text("SELECT sum(debits_pending_fen + credits_pending_fen) FROM ledger.balances"))
        assert held == 0


def test_every_session_a_customer_saw_end_is_charged_exactly_once(aftermath: Aftermath) -> None:
    with aftermath.database.reader() as session:
        found = {str(row.id): row for row in session.scalars(select(CardSession))}
    for customer in aftermath.customers:
        for session_id in customer.ended:
            assert found[session_id].status is SessionStatus.CAPTURED, session_id
    charged = [row for row in found.values() if row.status is SessionStatus.CAPTURED]
    journals = [row.capture_journal_id for row in charged]
    assert None not in journals
    assert len(set(journals)) == len(journals)
    # Whatever never started on a screen holds nothing and costs nothing.
    assert {row.status for row in found.values()} <= {SessionStatus.CAPTURED, SessionStatus.VOID, SessionStatus.REFUSED}


def test_each_charge_is_the_price_of_its_duration(aftermath: Aftermath) -> None:
    with aftermath.database.reader() as session:
        rows = session.scalars(select(CardSession).where(CardSession.status == SessionStatus.CAPTURED)).all()
        for row in rows:
            assert row.started_at is not None
            assert row.ended_at is not None
            price = pricing.price(
                pricing.parse_rules(row.tariff_snapshot["rules"]),
                started_at=row.started_at,
                ended_at=row.ended_at,
                site_timezone=aftermath.demonstration.site.settings().site_timezone,
                customer_class=row.customer_class,
                samples=row.samples,
            )
            assert row.amount_fen == min(price.amount_fen, row.held_fen)


def test_what_left_the_purses_is_what_was_charged_and_granted_less_what_went_back(aftermath: Aftermath) -> None:
    # The site lives on: charges, adjustments and purses are of one moment, for a reader sees one snapshot.
    with aftermath.database.reader() as session:
        principal_fen, subsidy_fen = session.execute(
            select(func.sum(CardSession.paid_principal_fen), func.sum(CardSession.paid_subsidy_fen))
        ).one()
        back = adjusting.all_given_back(session)
        granted_fen = session.scalars(
            select(func.coalesce(func.sum(Decision.amount_fen), 0)).where(Decision.status == DecisionStatus.GRANTED)
        ).one()
        left_fen, subsidy_left_fen = (
            _purses_of_fen(session, role) for role in (BookRole.PRINCIPAL, BookRole.SUBSIDY_PURSE)
        )
    assert aftermath.principal_before_fen - left_fen == principal_fen - back.principal_fen
    assert subsidy_left_fen == granted_fen - subsidy_fen + back.subsidy_fen


def test_every_charge_has_one_verdict_that_holds(aftermath: Aftermath) -> None:
    with aftermath.database.reader() as session:
        charged = set(session.scalars(select(CardSession.id).where(CardSession.status == SessionStatus.CAPTURED)))
        current = session.scalars(select(Verdict.session_id).where(Verdict.superseded_at.is_(None))).all()
    assert sorted(current) == sorted(charged)


def test_every_message_a_box_wrote_is_stored_exactly_once(aftermath: Aftermath) -> None:
    with aftermath.database.reader() as session:
        marks = session.scalars(select(HighWater)).all()
        stored: dict[tuple[str, int], set[int]] = defaultdict(set)
        for box, boot, seq in session.execute(select(Message.box, Message.boot, Message.seq)):
            stored[box, boot].add(seq)
    assert max(mark.boot for mark in marks) > 1, "no box was restarted"
    for mark in marks:
        assert mark.lost == 0
        assert stored[mark.box, mark.boot] >= set(range(1, mark.complete_seq + 1)), (mark.box, mark.boot)


def test_the_journals_of_the_terminals_are_delivered_whole(aftermath: Aftermath) -> None:
    for customer in aftermath.customers:
        assert customer.view()["queue"] == 0


def _live_dangerously(demonstration: Demonstration, customers: list[Customer]) -> list[str]:
    """Let customers tap while processes die; the seed is logged, so that a bad day can be lived again."""
    seed = random.SystemRandom().randrange(2**32)
    logging.getLogger(__name__).warning("seed %s", seed)
    chance, stop = random.Random(seed), threading.Event()  # noqa: S311 - moments, not secrets
    threads = [
        threading.Thread(target=customer.visit, args=(stop, random.Random(f"{seed} {number}")))  # noqa: S311
        for number, customer in enumerate(customers)
    ]
    for thread in threads:
        thread.start()
    kills: list[str] = []
    for number in range(KILLS_MAX):
        if number >= KILLS and sum(len(customer.ended) for customer in customers) >= VISITS_MIN:
            break
        time.sleep(chance.uniform(*KILL_PAUSE_S) * (1.0 if number < KILLS else SLOW))
        # Every kind at least once, then whatever comes.
        target = TARGETS[number] if number < len(TARGETS) else chance.choice(TARGETS)
        kills.append(_kill(demonstration, target, chance))
    stop.set()
    for thread in threads:
        thread.join(CALM_S)
        assert not thread.is_alive()
    return kills


def _kill(demonstration: Demonstration, target: str, chance: random.Random) -> str:
    if target == "postgres":
        demonstration.site.kill_postgres()
        return target
    names = [name for name in demonstration.site.supervisor.names() if name.startswith(target)]
    demonstration.site.supervisor.kill(chance.choice(names))
    return target


def _come_to_rest(demonstration: Demonstration, database: Database, customers: list[Customer]) -> None:
    """Wait until no session is open, no event unsent, and every charge has a verdict."""
    give_up_at = time.monotonic() + CALM_S
    while not _is_at_rest(database, customers):
        assert time.monotonic() < give_up_at, _state_of(database, customers)
        time.sleep(0.5)
    _await_boxes(demonstration, database)


def _is_at_rest(database: Database, customers: list[Customer]) -> bool:
    if any(customer.view().get("queue") != 0 or customer.view().get("session") for customer in customers):
        return False
    with database.reader() as session:
        opened = session.scalar(select(func.count()).where(CardSession.status.in_(OPEN_STATUSES)))
        unjudged = session.scalar(
            select(func.count())
            .select_from(CardSession)
            .outerjoin(Verdict, (Verdict.session_id == CardSession.id) & Verdict.superseded_at.is_(None))
            .where(CardSession.status == SessionStatus.CAPTURED, Verdict.id.is_(None))
        )
    return opened == 0 and unjudged == 0


def _state_of(database: Database, customers: list[Customer]) -> str:
    with database.reader() as session:
        rows = session.execute(select(CardSession.id, CardSession.status, CardSession.flags)).all()
    return json.dumps([customer.view() for customer in customers])[:2000] + str(rows)


def _await_boxes(demonstration: Demonstration, database: Database) -> None:
    """Wait until every box was heard since its last restart, and holds nothing from before it."""
    give_up_at = time.monotonic() + CALM_S
    while silent := [box["code"] for box in demonstration.plan["boxes"] if not _is_heard(box, demonstration, database)]:
        assert time.monotonic() < give_up_at, f"silent, or with messages from before the last restart: {silent}"
        time.sleep(0.5)


def _is_heard(box: dict[str, Any], demonstration: Demonstration, database: Database) -> bool:
    path = Path(demonstration.plan["boxes_folder"]) / f"{box['code']}.db"
    if not path.exists():
        return False
    boot, oldest = _boots_of(path)
    with database.reader() as session:
        mark = session.get(HighWater, (box["code"], boot))
    return mark is not None and mark.complete_seq > 0 and oldest in {None, boot}


def _boots_of(path: Path) -> tuple[int, int | None]:
    """Give a box's boot and the oldest boot it holds a message of."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as buffer:
        row = buffer.execute("SELECT max(boot), (SELECT min(boot) FROM message) FROM box").fetchone()
    return row[0] or 0, row[1]


def _principal_fen(database: Database) -> int:
    with database.reader() as session:
        return _purses_of_fen(session, BookRole.PRINCIPAL)


def _purses_of_fen(session: Session, role: BookRole) -> int:
    accounts = session.scalars(text("SELECT id FROM app.card_account")).all()
    ids: list[UUID] = [Book(role, account).id for account in accounts]
    return sum(each.credit_balance_fen for each in ledger.balances(session, ids).values())
