"""Offline lists and what comes back of them, over the wire: who is listed, what is held, and that nothing is lost."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import clock
from app.books import BookRole
from app.cards import keys, life
from app.cards.models import AccountStatus, Card, CardAccount, CardClass, CardStatus
from app.db import Database
from app.devices import service as devices
from app.devices.models import ServerKey, TerminalAnswer
from app.people.models import Role
from app.sessions import ending
from app.sessions.models import Flag, OfflineReserve, SessionStatus
from app.sessions.offline import making, reserves, switching
from card_terminal import protocol
from card_terminal.crypto.keys import KeySlot
from tests.app import builders, taps
from tests.app.taps import CardInHand, Site, Tap

HOUR, NOW = timedelta(hours=1), timedelta(0)
SEALING_KEY = X25519PrivateKey.generate()


def run(site: Site, work: Callable[[Session], Any]) -> Any:
    return site.database.run(work)


def known_card(site: Site, terminal: Tap, *, principal_fen: int = 300_00, **values: Any) -> CardInHand:
    """A card whose chip has keys, and which has paid for a use here before."""
    card = site.card(principal_fen=principal_fen, **values)
    site.change(Card, card.id, card_class=CardClass.EV2)
    session_id = uuid4()
    assert terminal.hold(card, minutes=60, session_id=session_id).status_code == 200
    terminal.report(protocol.Started(session_id=session_id))
    assert terminal.end(session_id, minutes=0)["amount_fen"] == 50
    return card


def switch_on(site: Site, terminal: Tap, *, strict: bool = True) -> None:
    run(
        site,
        lambda session: switching.switch(
            session,
            instrument_id=terminal.instrument_id,
            enabled=True,
            strict=strict,
            actor="admin",
            at=clock.now(),
        ),
    )


def prepare(site: Site) -> int:
    return making.prepare_due(site.database, settings=site.settings, at=clock.now(), limit=10)


def hello(terminal: Tap, *, offline_version: int = 0) -> dict[str, Any]:
    said = protocol.Hello(
        app_version="0.1.0",
        boot=1,
        last_seq=terminal.seq,
        unsent=0,
        reader=protocol.ReaderState.OK,
        config_version=0,
        offline_version=offline_version,
    )
    answer: dict[str, Any] = terminal.ask(said).get_json()
    return answer


def fetch(site: Site, terminal: Tap) -> protocol.OfflineList:
    """Ask for the list as a terminal does, and read it as strictly."""
    query = protocol.OfflineListQuery(have_version=0, sealing_key=protocol.encode_sealing_key(SEALING_KEY))
    answer = terminal.ask(query)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    with site.database.reader() as session:
        raw = session.scalars(select(ServerKey.public_key)).one()
    message = protocol.read_answer(protocol.OfflineListAnswer, answer.get_json()).offline_list
    return protocol.read_offline_list(
        message, key=Ed25519PublicKey.from_public_bytes(raw), device_id=str(terminal.terminal_id)
    )


def with_list(site: Site, terminal: Tap, *, strict: bool = True) -> protocol.OfflineList:
    """Switch offline use on, and let the terminal take its list."""
    switch_on(site, terminal, strict=strict)
    assert prepare(site) == 1
    content = fetch(site, terminal)
    hello(terminal, offline_version=content.version)
    return content


def began(
    content: protocol.OfflineList, card: CardInHand, session_id: UUID, *, ago: timedelta = NOW, **values: Any
) -> protocol.Started:
    listed = next(each for each in content.cards if each.reference == card.id)
    grant = {
        "version": content.version,
        "card": values.pop("reference", card.id),
        "limit_fen": listed.limit_fen,
        "minutes": protocol.minutes_payable(content.tariffs[listed.tariff], listed.limit_fen),
        "at_ms": taps.now_ms() - int(ago.total_seconds() * 1000),
        **values,
    }
    return protocol.Started(session_id=session_id, offline=protocol.OfflineGrant(**grant))


def ended(session_id: UUID, *, minutes: int) -> protocol.Ended:
    return protocol.Ended(session_id=session_id, elapsed_ms=minutes * 60_000, cause=protocol.EndCause.TAPPED)


def reserved_fen(site: Site, card: CardInHand) -> int:
    with site.database.reader() as session:
        found = session.scalars(select(OfflineReserve.held_fen).where(OfflineReserve.card_id == card.id)).one_or_none()
    return found or 0


def flags(site: Site, session_id: UUID) -> set[str]:
    return set(site.session(session_id).flags)


def test_a_list_is_made_only_where_it_is_switched_on_and_names_who_paid_here_before(site: Site) -> None:
    terminal, other = site.terminal(), site.terminal()
    card = known_card(site, terminal)
    stranger, poor = site.card(principal_fen=100_00), known_card(site, terminal, principal_fen=1_00)
    site.change(Card, stranger.id, card_class=CardClass.EV2)
    assert prepare(site) == 0
    assert hello(terminal)["offline_version"] == 0

    content = with_list(site, terminal)

    assert [each.reference for each in content.cards] == [card.id]
    listed = content.cards[0]
    # A third of what is there, for at most three terminals may let the card start alone.
    assert (listed.limit_fen, content.terminal_limit_fen, content.sessions_per_card) == (99_83, 2_000_00, 2)
    assert content.valid_until - content.valid_from == 24 * 3_600_000
    assert protocol.minutes_payable(content.tariffs[0], listed.limit_fen) == 199
    assert (site.balances(card).held_fen, site.balances(poor).held_fen) == (99_83, 0)
    with site.database.reader() as session:
        uid = bytes.fromhex(listed.uid)
        assert session.get_one(Card, card.id).uid == uid
        uses = [use for use in keys.uses(session, uid=uid, limit=50) if use.reason == "offline_list"]
        answers = session.scalars(select(TerminalAnswer.answer)).all()
    assert [(use.slot, use.actor.startswith("terminal:")) for use in uses] == [(KeySlot.OFFLINE, True)]
    k4 = protocol.open_card_keys(content, key=SEALING_KEY)[0]
    assert all(k4.hex() not in str(answer).lower() for answer in answers)
    assert prepare(site) == 0
    assert hello(other)["offline_version"] == 0


def test_the_reserve_pays_what_began_offline_and_the_rest_is_free_again_with_the_next_list(site: Site) -> None:
    terminal = site.terminal()
    card = known_card(site, terminal)
    content = with_list(site, terminal)
    first, second = uuid4(), uuid4()
    taps.advance(5 * HOUR)

    started = terminal.report(began(content, card, first, ago=2 * HOUR))[0]
    assert started["status"] == "accepted"
    row = site.session(first)
    assert (row.status, row.offline_version, row.held_fen) == (SessionStatus.ACTIVE, 1, 99_83)
    assert site.balances(card).held_fen == 99_83
    result = terminal.report(ended(first, minutes=60))[0]
    assert (result["status"], result["amount_fen"]) == ("accepted", 30_00)
    assert reserved_fen(site, card) == 69_83

    # The answer was lost: the same bytes again change nothing.
    again = terminal.deliver(terminal_event(terminal, began(content, card, first)))[0]
    assert (again["status"], again["reason"]) == ("parked", "STARTED_TWICE")

    terminal.report(began(content, card, second, ago=HOUR / 2, limit_fen=69_50, minutes=139))
    assert terminal.report(ended(second, minutes=20))[0]["amount_fen"] == 10_00
    assert flags(site, first) == flags(site, second) == {Flag.OFFLINE}
    assert (reserved_fen(site, card), site.balances(card).principal_fen) == (59_83, 259_50)
    assert abs((site.session(first).started_at or clock.now()) - (clock.now() - 2 * HOUR)) < timedelta(minutes=1)

    assert prepare(site) == 1
    newer = fetch(site, terminal)
    assert newer.cards[0].limit_fen == (259_50 // 3)
    hello(terminal, offline_version=newer.version)
    release(site)
    assert reserved_fen(site, card) == 259_50 // 3


def terminal_event(terminal: Tap, body: protocol.EventBody) -> str:
    return terminal.event(body)


def release(site: Site) -> int:
    freed: int = run(site, lambda session: reserves.release_stale(session, at=clock.now(), limit=100))
    return freed


def test_a_reserve_is_kept_until_the_terminal_has_told_all_it_did_by_the_list(site: Site) -> None:
    terminal = site.terminal()
    card = known_card(site, terminal)
    content = with_list(site, terminal)
    taps.advance(HOUR)
    run(
        site,
        lambda session: life.block(session, card_id=card.id, reason="asked", actor="clerk", at=clock.now()),
    )
    assert prepare(site) == 1
    assert fetch(site, terminal).cards == ()
    assert fetch(site, terminal).hot_uids == (content.cards[0].uid,)
    assert release(site) == 0
    session_id = uuid4()
    waiting = terminal.event(began(content, card, session_id, ago=HOUR / 2))
    # It says that it has the new list, but not yet what it did by the old one.
    hello(terminal, offline_version=2)
    assert release(site) == 0
    terminal.deliver(waiting)
    hello(terminal, offline_version=2)
    assert release(site) == 0
    assert terminal.report(ended(session_id, minutes=10))[0]["amount_fen"] == 5_00
    assert Flag.OFFLINE_HOT in flags(site, session_id)
    release(site)
    assert (reserved_fen(site, card), site.balances(card).held_fen) == (0, 0)


def test_a_frozen_account_is_taken_from_the_lists_at_once(site: Site) -> None:
    terminal = site.terminal()
    card = known_card(site, terminal)
    uid = with_list(site, terminal).cards[0].uid
    site.change(CardAccount, card.account_id, status=AccountStatus.FROZEN)

    assert prepare(site) == 1

    assert (fetch(site, terminal).cards, fetch(site, terminal).hot_uids) == ((), (uid,))
    assert prepare(site) == 0


def test_a_terminal_that_is_never_heard_of_again_keeps_nobodys_money_for_ever(site: Site) -> None:
    terminal = site.terminal()
    card = known_card(site, terminal)
    content = with_list(site, terminal)
    run(
        site,
        lambda session: devices.revoke(session, terminal_id=terminal.terminal_id, actor="admin", at=clock.now()),
    )
    taps.advance(6 * 24 * HOUR)
    assert release(site) == 0
    taps.advance(2 * 24 * HOUR)
    assert release(site) == 1
    assert site.balances(card).held_fen == 0
    parked = terminal.report(began(content, card, uuid4(), ago=8 * 24 * HOUR))[0]
    assert (parked["status"], parked["reason"]) == ("parked", "DEVICE_REVOKED")


def test_what_the_purses_do_not_have_becomes_a_debt_and_stops_the_card(site: Site) -> None:
    terminal = site.terminal()
    card = known_card(site, terminal)
    content = with_list(site, terminal, strict=False)
    assert (reserved_fen(site, card), content.cards[0].limit_fen) == (0, 99_83)
    spent = uuid4()
    elsewhere = site.terminal()
    assert elsewhere.hold(card, minutes=590, session_id=spent).status_code == 200
    elsewhere.report(protocol.Started(session_id=spent))
    taps.advance(10 * HOUR)
    elsewhere.end(spent, minutes=590)
    assert site.balances(card).available_fen == 4_50
    session_id = uuid4()
    terminal.report(began(content, card, session_id, ago=HOUR))
    result = terminal.report(ended(session_id, minutes=20))[0]

    assert (result["status"], result["amount_fen"]) == ("accepted", 10_00)
    row = site.session(session_id)
    assert (row.amount_fen, row.paid_principal_fen, row.advanced_fen) == (10_00, 10_00, 5_50)
    assert {Flag.ON_CREDIT, Flag.OFFLINE_OVERLAP} <= flags(site, session_id)
    balances = site.balances(card)
    assert (balances.principal_fen, balances.debt_fen) == (0, 5_50)
    assert site.book_fen(BookRole.UNIT_PAYABLE, site.unit_id) == 50 + 295_00 + 10_00
    with site.database.reader() as session:
        assert session.get_one(Card, card.id).status is CardStatus.BLOCKED


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"at_ms": 1}, Flag.CLOCK_DOUBTFUL),
        ({"at_ms": 32_000_000_000_000}, Flag.CLOCK_DOUBTFUL),
        ({"limit_fen": 200_00}, Flag.OFFLINE_OVER_LIMIT),
    ],
)
def test_what_breaks_a_rule_is_charged_and_flagged(site: Site, values: dict[str, int], flag: Flag) -> None:
    terminal = site.terminal()
    card, session_id = known_card(site, terminal), uuid4()
    content = with_list(site, terminal)
    taps.advance(3 * HOUR)
    assert terminal.report(began(content, card, session_id, ago=HOUR, **values))[0]["status"] == "accepted"
    assert terminal.report(ended(session_id, minutes=30))[0]["amount_fen"] == 15_00
    assert flags(site, session_id) == {Flag.OFFLINE, flag}


def test_late_and_third_sessions_are_charged_and_flagged_and_what_is_not_known_is_parked(site: Site) -> None:
    terminal = site.terminal()
    card = known_card(site, terminal)
    content = with_list(site, terminal)
    taps.advance(30 * HOUR)
    late = uuid4()
    terminal.report(began(content, card, late, ago=HOUR))
    assert terminal.report(ended(late, minutes=1))[0]["amount_fen"] == 50
    assert Flag.OFFLINE_LATE in flags(site, late)
    for _ in range(2):
        third = uuid4()
        terminal.report(began(content, card, third, ago=HOUR / 2), ended(third, minutes=1))
    assert Flag.OFFLINE_OVER_LIMIT in flags(site, third)
    for version, reference in ((9, card.id), (1, 999_999)):
        parked = terminal.report(began(content, card, uuid4(), version=version, reference=reference))[0]
        assert (parked["status"], parked["reason"]) == ("parked", "OFFLINE_LIST_UNKNOWN")


def test_what_nobody_ended_is_charged_for_what_it_was_allowed_and_no_more(site: Site) -> None:
    terminal = site.terminal()
    card = known_card(site, terminal)
    content = with_list(site, terminal)
    taps.advance(12 * HOUR)
    session_id = uuid4()
    terminal.report(began(content, card, session_id, ago=11 * HOUR, limit_fen=30_00, minutes=60))
    for _ in range(3):
        run(site, lambda session: ending.end_forgotten(session, at=clock.now(), limit=10))
        taps.advance(3 * HOUR)
    row = site.session(session_id)
    assert (row.status, row.amount_fen) == (SessionStatus.AUTO_ENDED, 30_00)


def test_switching_off_empties_the_list_and_frees_the_money(site: Site) -> None:
    terminal = site.terminal()
    card = known_card(site, terminal)
    with_list(site, terminal)
    run(
        site,
        lambda session: switching.switch(
            session, instrument_id=terminal.instrument_id, enabled=False, strict=True, actor="admin", at=clock.now()
        ),
    )
    assert prepare(site) == 1
    assert fetch(site, terminal).cards == ()
    assert prepare(site) == 0
    hello(terminal, offline_version=2)
    assert release(site) == 1
    assert site.balances(card).held_fen == 0
    line = run(site, lambda session: switching.lines(session, limit=10))[0]
    assert (line.enabled, line.cards, line.reserved_fen) == (False, 0, 0)


def test_the_center_reads_how_offline_use_stands_and_only_an_administrator_switches_it(
    site: Site, client: FlaskClient, database: Database
) -> None:
    terminal = site.terminal()
    known_card(site, terminal)
    with_list(site, terminal)
    with database.transaction() as session:
        admin, auditor, operator = (
            builders.person(session, role=role).username for role in (Role.ADMIN, Role.AUDITOR, Role.CARDHOLDER)
        )
    address = f"/api/v1/sessions/offline-settings/{terminal.instrument_id}"
    answers = [
        client.put(address, json={"enabled": True, "strict": False}, headers=builders.bearer(client, name)).status_code
        for name in (operator, auditor, admin)
    ]
    assert answers == [403, 403, 200]
    unknown = client.put(address + "9", json={"enabled": True}, headers=builders.bearer(client, admin))
    assert unknown.status_code == 404
    seen = [
        client.get("/api/v1/sessions/offline-terminals", headers=builders.bearer(client, name))
        for name in (operator, auditor)
    ]
    assert seen[0].status_code == 403
    line = seen[1].get_json()["terminals"][0]
    assert (line["enabled"], line["strict"], line["list_version"], line["cards"]) == (True, False, 1, 1)
    assert (line["allowed_fen"], line["reserved_fen"], bool(line["taken_at"])) == (99_83, 99_83, True)
