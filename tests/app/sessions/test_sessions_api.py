"""Who sees which sessions and parked events, and who may close or resolve them."""

from datetime import timedelta
from uuid import uuid4

from flask.testing import FlaskClient

from app.cards.models import Card
from app.db import Database
from app.instruments.models import InstrumentGroup
from app.people.models import Person, Role
from card_terminal import protocol
from tests.app import builders, taps
from tests.app.taps import Site


def test_a_session_is_seen_by_its_holder_its_group_and_the_center_and_by_nobody_else(
    client: FlaskClient, database: Database, site: Site
) -> None:
    terminal, card, session_id = site.terminal(), site.card(), uuid4()
    terminal.hold(card, session_id=session_id)
    terminal.report(protocol.Started(session_id=session_id))
    terminal.end(session_id, minutes=1)
    with database.transaction() as session:
        holder = session.query(Person).filter(Person.id == _holder_id(database, card.id)).one().username
        operator = builders.person(session, role=Role.GROUP_OPERATOR, group_id=site.group_id).username
        auditor = builders.person(session, role=Role.AUDITOR).username
        other_group = builders.group(session)
        foreign = builders.person(session, role=Role.GROUP_OPERATOR, group_id=other_group.id).username
        manager = builders.person(
            session, role=Role.SUB_CENTER_MANAGER, sub_center_id=builders.sub_center(session).id
        ).username

    for username, sees in ((holder, 1), (operator, 1), (auditor, 1), (foreign, 0), (manager, 0)):
        headers = builders.bearer(client, username)
        listed = client.get("/api/v1/sessions?status=captured", headers=headers)
        assert listed.status_code == 200, listed.get_data(as_text=True)
        assert len(listed.get_json()["sessions"]) == sees, username
        assert client.get(f"/api/v1/sessions/{session_id}", headers=headers).status_code == (200 if sees else 404)

    (found,) = client.get("/api/v1/sessions", headers=builders.bearer(client, holder)).get_json()["sessions"]
    assert (found["amount_fen"], found["price_lines"][0]["amount_fen"]) == (50, 50)
    assert card.number not in str(found)


def test_a_manager_sees_the_sessions_of_her_sub_center(client: FlaskClient, database: Database, site: Site) -> None:
    terminal, card = site.terminal(), site.card()
    terminal.hold(card)
    with database.transaction() as session:
        center = builders.sub_center(session)
        session.get_one(InstrumentGroup, site.group_id).unit.sub_center_id = center.id
        manager = builders.person(session, role=Role.SUB_CENTER_MANAGER, sub_center_id=center.id).username

    answer = client.get("/api/v1/sessions", headers=builders.bearer(client, manager)).get_json()

    assert [each["status"] for each in answer["sessions"]] == ["held"]


def test_the_group_closes_a_forgotten_session_and_the_time_until_now_is_charged(
    client: FlaskClient, database: Database, site: Site
) -> None:
    terminal, card, session_id = site.terminal(), site.card(principal_fen=100_00), uuid4()
    terminal.hold(card, session_id=session_id)
    terminal.report(protocol.Started(session_id=session_id))
    with database.transaction() as session:
        operator = builders.person(session, role=Role.GROUP_OPERATOR, group_id=site.group_id).username
        foreign = builders.person(session, role=Role.GROUP_OPERATOR, group_id=builders.group(session).id).username
    headers, foreign_headers = builders.bearer(client, operator), builders.bearer(client, foreign)
    taps.advance(timedelta(minutes=20))

    assert client.post(f"/api/v1/sessions/{session_id}/close", headers=foreign_headers).status_code == 404
    closed = client.post(f"/api/v1/sessions/{session_id}/close", headers=headers).get_json()
    again = client.post(f"/api/v1/sessions/{session_id}/close", headers=headers)

    assert (closed["status"], closed["flags"]) == ("auto_ended", ["closed_by_staff"])
    assert closed["amount_fen"] in (10_00, 10_50)
    assert again.get_json()["code"] == "ALREADY_DECIDED"
    assert site.balances(card).held_fen == 0


def test_closing_a_hold_that_never_started_gives_it_back(client: FlaskClient, database: Database, site: Site) -> None:
    terminal, card, session_id = site.terminal(), site.card(principal_fen=100_00), uuid4()
    terminal.hold(card, session_id=session_id)
    with database.transaction() as session:
        operator = builders.person(session, role=Role.GROUP_OPERATOR, group_id=site.group_id).username

    closed = client.post(f"/api/v1/sessions/{session_id}/close", headers=builders.bearer(client, operator)).get_json()

    assert closed["status"] == "void"
    assert site.balances(card).available_fen == 100_00


def test_a_parked_event_is_resolved_once_by_those_who_look_after_the_instrument(
    client: FlaskClient, database: Database, site: Site
) -> None:
    site.terminal().report(protocol.Started(session_id=uuid4()))
    with database.transaction() as session:
        operator = builders.person(session, role=Role.GROUP_OPERATOR, group_id=site.group_id).username
        foreign = builders.person(session, role=Role.GROUP_OPERATOR, group_id=builders.group(session).id).username
    headers, foreign_headers = builders.bearer(client, operator), builders.bearer(client, foreign)

    (event,) = client.get("/api/v1/parked-events", headers=headers).get_json()["events"]
    body = {name: event[name] for name in ("terminal_id", "seq", "message_hash")} | {
        "settlement": "dismissed",
        "resolution": "checked",
    }

    assert (event["reason"], event["kind"]) == ("SESSION_UNKNOWN", "started")
    assert client.get("/api/v1/parked-events", headers=foreign_headers).get_json() == {"events": []}
    assert (
        client.post("/api/v1/reconciliation/parked-events/settle", json=body, headers=foreign_headers).status_code
        == 404
    )
    assert (
        client.post("/api/v1/reconciliation/parked-events/settle", json=body, headers=headers).get_json()["resolution"]
        == "checked"
    )
    assert client.post("/api/v1/reconciliation/parked-events/settle", json=body, headers=headers).status_code == 409
    assert client.get("/api/v1/parked-events", headers=headers).get_json() == {"events": []}
    assert len(client.get("/api/v1/parked-events?resolved=true", headers=headers).get_json()["events"]) == 1


def _holder_id(database: Database, card_id: int) -> int:
    with database.reader() as session:
        return session.get_one(Card, card_id).holder_id
