"""Events of a terminal: a chain without gaps, in which nothing signed is ever lost or refused for its meaning."""

import json

import jwt

from app import clock
from app.db import Database
from app.devices import service
from app.devices.models import EventOutcome, TerminalEvent
from card_terminal import protocol
from tests.app.taps import Site, Tap

UP, DOWN = protocol.ReaderUp(), protocol.ReaderDown()


def test_events_in_order_are_kept_as_they_were_signed(site: Site, database: Database) -> None:
    terminal = site.terminal()
    messages = [terminal.event(body) for body in (DOWN, UP, DOWN)]

    results = terminal.deliver(*messages)

    assert [result["status"] for result in results] == ["accepted"] * 3
    with database.reader() as session:
        kept = session.query(TerminalEvent).order_by(TerminalEvent.seq).all()
        assert [event.message for event in kept] == messages
        assert [event.kind for event in kept] == ["reader_down", "reader_up", "reader_down"]


def test_an_event_again_is_a_duplicate_with_the_same_result(site: Site) -> None:
    terminal = site.terminal()
    message = terminal.event(protocol.Tamper(what="opened"))
    first = terminal.deliver(message)[0]

    again = terminal.deliver(message)[0]

    assert again == {**first, "status": "duplicate"}


def test_a_gap_is_answered_with_how_far_the_chain_is_kept(site: Site) -> None:
    terminal = site.terminal()
    first, missing, third = (terminal.event(UP) for _ in range(3))
    terminal.deliver(first)

    answer = terminal.post("events", {"messages": [third]})

    assert (answer.status_code, answer.get_json()["code"], answer.get_json()["acked_seq"]) == (409, "SEQ_GAP", 1)
    assert [result["status"] for result in terminal.deliver(missing, third)] == ["accepted", "accepted"]


def test_what_came_before_a_gap_in_one_delivery_is_kept(site: Site) -> None:
    terminal = site.terminal()
    first, _, third = (terminal.event(UP) for _ in range(3))

    answer = terminal.post("events", {"messages": [first, third]}).get_json()

    assert (answer["code"], answer["acked_seq"]) == ("SEQ_GAP", 1)


def test_a_broken_link_is_kept_for_a_person(site: Site) -> None:
    terminal = site.terminal()
    terminal.deliver(terminal.event(UP))
    terminal.prev = protocol.chain_hash("something else")

    result = terminal.deliver(terminal.event(UP))[0]

    assert (result["status"], result["reason"]) == ("parked", "CHAIN_BROKEN")
    assert terminal.report(UP)[0]["status"] == "accepted"


def test_another_event_under_a_used_number_is_kept_for_a_person(site: Site, database: Database) -> None:
    terminal = site.terminal()
    terminal.deliver(terminal.event(UP))
    restored = Tap(
        client=site.client, terminal_id=terminal.terminal_id, instrument_id=terminal.instrument_id, key=terminal.key
    )
    message = restored.event(DOWN)

    first, again = restored.deliver(message)[0], restored.deliver(message)[0]

    assert (first["status"], first["reason"], again["status"]) == ("parked", "SEQ_USED_TWICE", "duplicate")
    with database.reader() as session:
        assert session.query(TerminalEvent).filter_by(chained=False, outcome=EventOutcome.PARKED).count() == 1


def test_an_event_of_a_shape_nobody_knows_is_kept_for_a_person(site: Site) -> None:
    terminal = site.terminal()
    payload = {"seq": 1, "prev": protocol.CHAIN_START, "boot": 1, "mono_ms": 1, "wall_ms": -5, "kind": "brewed"}
    message = protocol.sign(
        payload, key=terminal.key, key_id=str(terminal.terminal_id), message_type=protocol.MessageType.EVENT
    )

    result = terminal.deliver(message)[0]

    assert (result["seq"], result["status"], result["reason"]) == (1, "parked", "MESSAGE_INVALID")


def test_text_that_the_database_cannot_hold_waits_for_a_person(site: Site) -> None:
    terminal = site.terminal()
    body = {"detail": "\\ud800"}
    payload = {
        "seq": 1,
        "prev": protocol.CHAIN_START,
        "boot": 1,
        "mono_ms": 1,
        "wall_ms": 1,
        "kind": "reader_down",
        "body": body,
    }
    message = _sign_raw(terminal, payload)

    assert terminal.deliver(message)[0]["reason"] == "MESSAGE_INVALID"


def test_an_event_with_another_key_is_refused_and_nothing_is_kept(site: Site, database: Database) -> None:
    terminal = site.terminal()
    impostor = Tap(client=site.client, terminal_id=terminal.terminal_id, instrument_id=0)

    answer = impostor.post("events", {"messages": [impostor.event(UP)]})

    assert (answer.status_code, answer.get_json()["code"]) == (401, "SIG_INVALID")
    with database.reader() as session:
        assert session.query(TerminalEvent).count() == 0


def test_events_of_a_revoked_terminal_are_kept_for_a_person(site: Site, database: Database) -> None:
    terminal = site.terminal()
    database.run(
        lambda session: service.revoke(session, terminal_id=terminal.terminal_id, actor="admin", at=clock.now())
    )

    result = terminal.report(UP)[0]

    assert (result["status"], result["reason"]) == ("parked", "DEVICE_REVOKED")


def _sign_raw(terminal: Tap, payload: dict[str, object]) -> str:
    """Sign JSON that holds half a surrogate pair, which the terminal's own writer would not let through."""
    content = json.dumps(payload).replace("\\\\ud800", "\\ud800")
    headers = {"kid": str(terminal.terminal_id), "typ": str(protocol.MessageType.EVENT)}
    return jwt.PyJWS(["EdDSA"]).encode(content.encode(), terminal.key, algorithm="EdDSA", headers=headers)
