"""Cards bound by a bare UID: refused unless the site takes them, never without the PIN, never beyond the daily cap."""

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from hypothesis import example, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from app import clock, web
from app.cards import life
from app.cards.models import Card, CardAccount, CardClass, CardStatus
from app.db import Database
from app.people import passwords
from app.people.models import AuditEntry, Role
from app.sessions import ending
from app.sessions.models import OPEN_STATUSES, CardSession, OfflineList
from app.sessions.offline import making, switching
from app.settings import Settings
from card_terminal import protocol
from tests.app import builders, taps
from tests.app.taps import PIN, CardInHand, Site, Tap

CAP_FEN = 50_00
UID = "04A1B2C3"


@dataclass(kw_only=True)
class CampusCard(CardInHand):
    """A card that shows its UID and nothing else."""

    uid: str

    def show(self) -> protocol.CardShown:
        return protocol.UidCard(uid=self.uid)


def switch(app: Flask, database: Database, settings: Settings, cap_fen: int) -> None:
    """Start the service anew with another setting, over the same database."""
    web.equip(app, database=database, settings=replace(settings, uid_card_fen_per_day_max=cap_fen))


@pytest.fixture
def site(app_: Flask, database: Database, settings: Settings) -> Site:
    switch(app_, database, settings, CAP_FEN)
    taken = replace(settings, uid_card_fen_per_day_max=CAP_FEN)
    return taps.new_site(database, taken, app_.test_client())


def bind(site: Site, uid: str, *, principal_fen: int = 10_000_00) -> CampusCard:
    card = site.card(secure=False, principal_fen=principal_fen)
    site.change(Card, card.id, card_class=CardClass.UID, uid=bytes.fromhex(uid))
    return CampusCard(id=card.id, account_id=card.account_id, number=card.number, uid=uid)


def ended(terminal: Tap, card: CampusCard, *, minutes: int) -> int:
    """Use the instrument for so long; give what was charged."""
    session_id = uuid4()
    assert terminal.hold(card, minutes=minutes, session_id=session_id).status_code == 200
    terminal.report(protocol.Started(session_id=session_id))
    taps.advance(timedelta(minutes=minutes))
    charged: int = terminal.end(session_id, minutes=minutes)["amount_fen"]
    return charged


def test_a_bare_uid_needs_its_pin_is_told_nothing_and_takes_nothing_over(site: Site) -> None:
    terminal, card, other = site.terminal(), bind(site, UID), site.card()

    begun = terminal.begin(card.show()).get_json()
    without = terminal.authorize(begun["token"]).get_json()
    wrong = [terminal.authorize(begun["token"], pin="000001").get_json()["code"] for _ in range(2)]
    held = terminal.authorize(begun["token"], minutes=60, pin=PIN).get_json()
    again = terminal.begin(card.show()).get_json()

    assert (begun["pin_required"], begun["available_fen"], begun["actions"]) == (True, 0, ["start"])
    assert [without["code"], *wrong] == ["PIN_WRONG"] * 3
    assert held["held_fen"] == 30_00
    assert again["actions"] == ["end"]
    terminal.end(UUID(held["session_id"]), minutes=0)
    busy = site.terminal()
    busy.hold(other)
    assert busy.begin(bind(site, "05A1B2C3D4E5F6").show()).get_json()["actions"] == ["other"]
    assert terminal.begin(protocol.UidCard(uid="C3B2A104")).get_json()["code"] == "CARD_UNKNOWN"


def test_five_wrong_pins_lock_a_bare_uid_as_they_lock_a_number(site: Site) -> None:
    terminal, card = site.terminal(), bind(site, UID)
    token = terminal.begin(card.show()).get_json()["token"]

    said = [terminal.authorize(token, pin="000001").get_json()["code"] for _ in range(5)]

    assert said == [*["PIN_WRONG"] * 4, "PIN_LOCKED"]
    assert terminal.begin(card.show()).get_json()["code"] == "PIN_LOCKED"


def test_the_daily_cap_bounds_holds_and_extensions_and_is_free_again_after_midnight(site: Site) -> None:
    clock.set_anchor(clock.Anchor(real=clock.real_now(), simulated=datetime(2026, 5, 4, 1, tzinfo=UTC), speed=1.0))
    terminal, card, chip, session_id = site.terminal(), bind(site, UID), site.card(principal_fen=90_00), uuid4()
    assert ended(terminal, card, minutes=60) == 30_00
    granted = terminal.hold(card, minutes=20, session_id=session_id).get_json()
    extended = terminal.ask(protocol.SessionExtend(session_id=session_id, minutes_total=90)).get_json()
    no_more = terminal.ask(protocol.SessionExtend(session_id=session_id, minutes_total=90)).get_json()
    terminal.report(protocol.Started(session_id=session_id))
    taps.advance(timedelta(minutes=40))
    assert terminal.end(session_id, minutes=40)["amount_fen"] == 20_00
    by_uid = terminal.hold(card).get_json()
    typed = CardInHand(id=card.id, account_id=card.account_id, number=card.number)
    by_number = terminal.hold(typed).get_json()

    assert (granted["minutes"], granted["held_fen"]) == (20, 10_00)
    assert (extended["minutes_total"], extended["held_fen"]) == (40, 20_00)
    assert [no_more["code"], by_uid["code"], by_number["code"]] == ["CARD_DAY_LIMIT"] * 3
    assert (by_uid["number"], by_uid["message"]["zh"]) == (214, "此卡今日额度已用完")
    assert terminal.hold(chip, minutes=180).get_json()["held_fen"] == 90_00
    # 15:59 UTC is the last minute of the site's day.
    other = site.terminal()
    clock.set_anchor(clock.Anchor(real=clock.real_now(), simulated=datetime(2026, 5, 4, 15, 59, tzinfo=UTC), speed=1.0))
    assert other.hold(card).get_json()["code"] == "CARD_DAY_LIMIT"
    taps.advance(timedelta(minutes=1))
    assert other.hold(card, minutes=600).get_json()["held_fen"] == CAP_FEN


def test_with_the_switch_off_the_card_is_refused_again_and_its_session_ends_by_the_same_uid(
    site: Site, app_: Flask, database: Database, settings: Settings
) -> None:
    terminal, card, session_id = site.terminal(), bind(site, UID), uuid4()
    terminal.hold(card, minutes=20, session_id=session_id)
    terminal.report(protocol.Started(session_id=session_id))
    waiting = site.terminal().begin(bind(site, "05A1B2C3").show()).get_json()
    switch(app_, database, settings, 0)

    more = terminal.ask(protocol.SessionExtend(session_id=session_id, minutes_total=40)).get_json()
    own = terminal.begin(card.show()).get_json()
    taps.advance(timedelta(minutes=20))
    charge = terminal.end(session_id, minutes=20)

    assert (more["code"], own["actions"], charge["amount_fen"]) == ("CARD_UNSUPPORTED", ["end"], 10_00)
    assert "token" in waiting
    typed = CardInHand(id=card.id, account_id=card.account_id, number=card.number)
    shown = [card.show(), typed.show(), protocol.UidCard(uid="C3B2A104")]
    assert [terminal.begin(each).get_json()["code"] for each in shown] == ["CARD_UNSUPPORTED"] * 3


def test_a_clerk_binds_a_uid_once_and_only_where_the_site_takes_it(
    site: Site, app_: Flask, database: Database, settings: Settings
) -> None:
    account_id = site.card().account_id
    with database.transaction() as session:
        clerk, holder = builders.person(session, role=Role.CLERK), builders.person(session)
        number = session.get_one(CardAccount, account_id).number
    headers = builders.bearer(site.client, clerk.username)
    wanted = {"card_class": "uid", "pin": PIN, "expires_on": "2099-12-31", "holder_id": holder.id}

    def issue(**changed: Any) -> int:
        body = {**wanted, "uid": UID, **changed}
        answer = site.client.post(f"/api/v1/accounts/{account_id}/cards", json=body, headers=headers)
        return answer.status_code

    # Decimal, of ten bytes, random at each reading, of a chip class, without one.
    wrong = ["0077705923", "04A1B2C3D4E5F6A7B8C9", "08A1B2C3", "88A1B2C3", "04A1B2C", None]
    assert [issue(uid=each) for each in wrong] == [422] * len(wrong)
    assert issue(card_class="sun") == issue(card_class="typed") == 422
    assert [issue(), issue(), issue(uid="04A1B2C3D4E5F6")] == [201, 409, 201]
    with site.client.session_transaction() as cookie:
        cookie["log_in"] = headers["Authorization"].removeprefix("Bearer ")
    page = site.client.get(f"/cards/new?account={number}&lang=en").get_data(as_text=True)
    assert 'name="uid"' in page
    with database.reader() as session:
        entry = session.query(AuditEntry).filter(AuditEntry.detail["uid"].astext == UID).one()
        card = session.query(Card).filter(Card.uid == bytes.fromhex(UID)).one()
    assert (entry.actor, entry.action, entry.detail["class"]) == (clerk.username, "card.issue", "uid")
    assert "50.00" in site.client.get(f"/cards/{card.id}?lang=en").get_data(as_text=True)
    switch(app_, database, settings, 0)
    assert issue(uid="05A1B2C3") == 422
    assert 'name="uid"' not in site.client.get("/cards/new?lang=en").get_data(as_text=True)


def test_a_stopped_uid_is_followed_by_a_chip_and_stands_on_no_terminals_list(site: Site) -> None:
    card = bind(site, UID)

    def work(session: Session) -> CardClass:
        new = life.replace(
            session,
            card_id=card.id,
            pin=PIN,
            expires_on=date(2099, 12, 31),
            reason="lost",
            actor="clerk",
            at=clock.now(),
        )
        assert [each.uid.hex().upper() for each in life.hot_list(session)] == [UID]
        return new.card_class

    assert site.database.run(work) is CardClass.EV2
    terminal = site.terminal()

    def offline(session: Session) -> None:
        values: dict[str, Any] = {"enabled": True, "strict": True, "actor": "admin", "at": clock.now()}
        switching.switch(session, instrument_id=terminal.instrument_id, **values)

    site.database.run(offline)
    assert making.prepare_due(site.database, settings=site.settings, at=clock.now(), limit=10) == 1
    with site.database.reader() as session:
        assert session.get_one(Card, card.id).status is CardStatus.REPLACED
        assert session.query(OfflineList).one().hot_uids == []


@dataclass(kw_only=True)
class Day:
    """What a holder and her terminals do with one card over some days."""

    site: Site
    terminals: list[Tap]
    card: CampusCard
    open: dict[UUID, Tap] = field(default_factory=dict)
    began: dict[UUID, datetime] = field(default_factory=dict)

    def do(self, what: str, minutes: int) -> None:
        taps.advance(timedelta(minutes=minutes))
        if what == "begin":
            terminal, session_id = self.terminals[minutes % 2], uuid4()
            begun = terminal.begin(self.card.show()).get_json()
            if "token" not in begun or begun["actions"] != ["start"]:
                return
            answer = terminal.authorize(begun["token"], session_id=session_id, minutes=minutes, pin=PIN)
            if answer.status_code == 200:
                self.open[session_id], self.began[session_id] = terminal, clock.now()
        elif what == "give_up":
            self.site.database.run(lambda session: ending.end_forgotten(session, at=clock.now(), limit=10))
        elif self.open:
            session_id, terminal = next(iter(self.open.items()))
            self.go_on(what, session_id, terminal, minutes=minutes)

    def go_on(self, what: str, session_id: UUID, terminal: Tap, *, minutes: int) -> None:
        if what == "extend":
            terminal.ask(protocol.SessionExtend(session_id=session_id, minutes_total=2 * minutes))
        elif what == "reverse":
            terminal.report(protocol.Reversal(session_id=session_id, reason=protocol.ReversalReason.NO_ANSWER))
            del self.open[session_id]
        else:
            used = (clock.now() - self.began[session_id]) / timedelta(minutes=1)
            terminal.report(protocol.Started(session_id=session_id))
            terminal.end(session_id, minutes=used)
            del self.open[session_id]

    def check(self) -> None:
        zone, by_day = self.site.settings.site_timezone, dict[date, int]()
        with self.site.database.reader() as session:
            rows = session.query(CardSession).filter(CardSession.card_id == self.card.id).all()
        for row in rows:
            if row.status in OPEN_STATUSES:
                today = clock.now().astimezone(zone).date()
                by_day[today] = by_day.get(today, 0) + row.held_fen
            elif row.amount_fen is not None and row.ended_at is not None:
                day = row.ended_at.astimezone(zone).date()
                by_day[day] = by_day.get(day, 0) + row.amount_fen
        assert all(fen <= CAP_FEN for fen in by_day.values()), by_day


happenings = st.lists(
    st.tuples(st.sampled_from(["begin", "begin", "extend", "end", "end", "reverse", "give_up"]), st.integers(1, 180)),
    min_size=6,
    max_size=10,
)


# Given back as never started, and told to have been used after the rest of the day's money is held elsewhere.
CUT_OFF = [("begin", 90), ("give_up", 95), ("begin", 101), ("end", 1), ("end", 99)]


def test_no_sequence_of_sessions_costs_a_bare_uid_more_than_its_cap_in_a_day(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    # To make a PIN hard to guess costs more than all the rest of a session.
    monkeypatch.setattr(passwords, "verify", lambda _kept, typed: typed == PIN)
    clock.set_anchor(clock.Anchor(real=clock.real_now(), simulated=datetime(2026, 5, 4, 1, tzinfo=UTC), speed=1.0))
    terminals, card = [site.terminal(), site.terminal()], bind(site, UID)

    @effort(deadline=None, max_examples=4)
    @given(happenings)
    @example(CUT_OFF)
    def holds(happened: list[tuple[str, int]]) -> None:
        taps.advance(timedelta(days=3))
        day = Day(site=site, terminals=terminals, card=card)
        for what, minutes in happened:
            day.do(what, minutes)
            day.check()
        for session_id, terminal in day.open.items():
            terminal.report(protocol.Reversal(session_id=session_id, reason=protocol.ReversalReason.NO_ANSWER))

    holds()
