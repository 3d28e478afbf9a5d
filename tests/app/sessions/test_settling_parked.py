"""What staff do with events that fitted nowhere: nothing is lost, nothing is charged twice, all of it under a name."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app import clock
from app.cards.models import Card
from app.devices import service as devices
from app.devices.models import Settlement
from app.errors import Code, Refusal
from app.people.models import Role
from app.people.principals import Grant, Principal
from app.people.service import audit_trail
from app.reconciliation import parked
from app.sessions import ending
from app.sessions.models import Flag, SessionStatus
from card_terminal import protocol
from tests.app import builders, taps
from tests.app.taps import CardInHand, Site, Tap

HOURS = timedelta(hours=1)


def test_a_late_end_of_a_forgotten_session_gives_back_what_was_charged_too_much_and_never_charges_again(
    site: Site,
) -> None:
    terminal, card, session_id = _running(site, minutes=60)
    taps.advance(4 * HOURS)
    for _ in range(2):
        site.database.run(lambda session: ending.end_forgotten(session, at=clock.now(), limit=10))
    assert site.session(session_id).status is SessionStatus.AUTO_ENDED
    assert site.balances(card).principal_fen == 70_00
    late = terminal.end(session_id, minutes=20)
    assert (late["status"], late["reason"]) == ("parked", "ENDED_TWICE")
    assert site.balances(card).principal_fen == 70_00
    waiting = _waiting(site)
    assert waiting.choices == (Settlement.REDUCED, Settlement.DISMISSED)
    assert (waiting.told_s, waiting.too_much_fen) == (20 * 60, 20_00)

    _settle(site, waiting, Settlement.REDUCED)

    assert site.balances(card).principal_fen == 90_00
    assert site.session(session_id).amount_fen == 30_00
    with pytest.raises(Refusal) as again:
        _settle(site, waiting, Settlement.REDUCED)
    assert again.value.code is Code.ALREADY_DECIDED
    with site.database.reader() as session:
        entry = audit_trail(session, actor="staff")[0]
        assert (entry.action, entry.detail["settlement"]) == ("event.resolve", "reduced")
        assert parked.waiting_events(session, reader=_staff(site), resolved=True, limit=9)[0].found.event.settlement


def test_a_start_told_by_a_terminal_that_was_revoked_can_be_applied_also_when_its_hold_was_given_back(
    site: Site,
) -> None:
    terminal, card, session_id = site.terminal(), site.card(principal_fen=100_00), uuid4()
    terminal.hold(card, minutes=60, session_id=session_id)
    site.database.run(
        lambda session: devices.revoke(session, terminal_id=terminal.terminal_id, actor="admin", at=clock.now())
    )
    taps.advance(2 * HOURS)
    site.database.run(lambda session: ending.end_forgotten(session, at=clock.now(), limit=10))
    assert terminal.report(protocol.Started(session_id=session_id))[0]["reason"] == "DEVICE_REVOKED"
    waiting = _waiting(site)
    assert waiting.choices == (Settlement.APPLIED, Settlement.DISMISSED)

    _settle(site, waiting, Settlement.APPLIED)

    assert (site.session(session_id).status, site.balances(card).held_fen) == (SessionStatus.ACTIVE, 30_00)


def test_an_end_told_by_a_terminal_that_was_revoked_meanwhile_can_be_applied_by_a_person(site: Site) -> None:
    terminal, card, session_id = _running(site, minutes=60)
    taps.advance(timedelta(minutes=30))
    site.database.run(
        lambda session: devices.revoke(session, terminal_id=terminal.terminal_id, actor="admin", at=clock.now())
    )
    assert terminal.end(session_id, minutes=30)["reason"] == "DEVICE_REVOKED"
    waiting = _waiting(site)
    assert waiting.choices == (Settlement.APPLIED, Settlement.CHARGED, Settlement.DISMISSED)

    _settle(site, waiting, Settlement.APPLIED)

    assert site.session(session_id).status is SessionStatus.CAPTURED
    assert site.balances(card).principal_fen == 85_00


def test_a_session_that_never_started_is_charged_by_hand_within_its_hold_or_not_at_all(site: Site) -> None:
    terminal, card = site.terminal(), site.card()
    session_id = UUID(terminal.hold(card, minutes=60).get_json()["session_id"])
    taps.advance(timedelta(minutes=30))
    assert terminal.end(session_id, minutes=20)["reason"] == "ENDED_BEFORE_STARTED"
    waiting = _waiting(site)
    assert waiting.choices == (Settlement.CHARGED, Settlement.DISMISSED)
    for wrong in (None, 61):
        with pytest.raises(Refusal) as refused:
            _settle(site, waiting, Settlement.CHARGED, minutes=wrong)
        assert refused.value.code is Code.EVENT_NOT_APPLICABLE
    with pytest.raises(Refusal):
        _settle(site, waiting, Settlement.APPLIED)
    for way, minutes in ((Settlement.CHARGED, 20), (Settlement.DISMISSED, None)):
        with pytest.raises(Refusal) as own:
            _settle(site, waiting, way, minutes=minutes, person_id=_holder(site, card))
        assert own.value.code is Code.FORBIDDEN

    _settle(site, waiting, Settlement.CHARGED, minutes=20)

    row = site.session(session_id)
    assert (row.status, row.flags) == (SessionStatus.AUTO_ENDED, [Flag.CLOSED_BY_STAFF])
    assert site.balances(card).principal_fen == 90_00


def test_nobody_does_away_with_what_her_own_card_did_while_the_server_was_away(site: Site) -> None:
    terminal, card = site.terminal(), site.card()
    grant = protocol.OfflineGrant(version=9, card=card.id, limit_fen=20_00, minutes=40, at_ms=0)
    parked_now = terminal.report(protocol.Started(session_id=uuid4(), offline=grant))
    assert parked_now[0]["reason"] == "OFFLINE_LIST_UNKNOWN"
    waiting = _waiting(site)
    with pytest.raises(Refusal) as own:
        _settle(site, waiting, Settlement.DISMISSED, person_id=_holder(site, card))
    assert own.value.code is Code.FORBIDDEN

    _settle(site, waiting, Settlement.DISMISSED)


def test_what_names_no_session_can_only_be_dismissed(site: Site) -> None:
    terminal = site.terminal()
    terminal.report(protocol.Started(session_id=uuid4()))
    waiting = _waiting(site)
    assert waiting.choices == (Settlement.DISMISSED,)
    with pytest.raises(Refusal) as refused:
        _settle(site, waiting, Settlement.CHARGED, minutes=1)
    assert refused.value.code is Code.EVENT_NOT_APPLICABLE

    _settle(site, waiting, Settlement.DISMISSED)

    with site.database.reader() as session:
        assert parked.waiting_events(session, reader=_staff(site), resolved=False, limit=9) == []


def _running(site: Site, *, minutes: int) -> tuple[Tap, CardInHand, UUID]:
    terminal, card = site.terminal(), site.card()
    session_id = UUID(terminal.hold(card, minutes=minutes).get_json()["session_id"])
    terminal.report(protocol.Started(session_id=session_id))
    return terminal, card, session_id


def _waiting(site: Site) -> parked.Waiting:
    with site.database.reader() as session:
        return parked.waiting_events(session, reader=_staff(site), resolved=False, limit=9)[0]


def _settle(site: Site, waiting: parked.Waiting, settlement: Settlement, **values: Any) -> None:
    event = waiting.found.event
    resolver = _staff(site, person_id=values.pop("person_id", None))
    site.database.run(
        lambda session: parked.settle(
            session,
            terminal_id=event.terminal_id,
            seq=event.seq,
            message_hash=event.message_hash,
            settlement=settlement,
            resolution="looked at with the group",
            resolver=resolver,
            at=clock.now(),
            **values,
        )
    )


def _staff(site: Site, *, person_id: int | None = None) -> Principal:
    with site.database.transaction() as session:
        made = builders.person(session).id if person_id is None else person_id
    return Principal(
        person_id=made,
        username="staff",
        name="Staff",
        organisation_id=None,
        grants=(Grant(role=Role.CLERK),),
    )


def _holder(site: Site, card: CardInHand) -> int:
    with site.database.reader() as session:
        return session.get_one(Card, card.id).holder_id


def test_a_session_without_a_sign_of_life_is_stale_until_the_next_one_and_its_end_is_charged_as_told(
    site: Site,
) -> None:
    terminal, card, session_id = _running(site, minutes=300)
    hello = protocol.Hello(
        app_version="0.1.0",
        boot=1,
        last_seq=terminal.seq,
        unsent=0,
        reader=protocol.ReaderState.OK,
        config_version=0,
        session_id=session_id,
    )

    def look() -> tuple[SessionStatus, str]:
        site.database.run(lambda session: ending.end_forgotten(session, at=clock.now(), limit=10))
        return site.session(session_id).status, terminal.ask(hello).get_json()["session_state"]

    taps.advance(timedelta(minutes=29))
    assert look() == (SessionStatus.ACTIVE, "active")
    taps.advance(timedelta(minutes=2))
    assert look() == (SessionStatus.STALE, "active")
    terminal.report(protocol.Meter(session_id=session_id, elapsed_ms=31 * 60_000))
    assert look() == (SessionStatus.ACTIVE, "active")
    taps.advance(timedelta(minutes=40))
    assert look() == (SessionStatus.STALE, "active")
    assert terminal.end(session_id, minutes=60)["amount_fen"] == 30_00
    assert site.balances(card).principal_fen == 70_00
