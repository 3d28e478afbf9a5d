"""A signed query: who may ask, how often it counts, and what is remembered of it."""

from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app import clock
from app.db import Database
from app.devices import messages, service
from app.devices.models import Terminal, TerminalAnswer
from card_terminal import protocol
from tests.app import taps
from tests.app.taps import Site, Tap


def hello(**values: object) -> protocol.Hello:
    return protocol.Hello(
        **{  # type: ignore[arg-type]
            "app_version": "0.1.0",
            "boot": 1,
            "last_seq": 0,
            "unsent": 0,
            "reader": protocol.ReaderState.OK,
            "config_version": 0,
            **values,
        }
    )


def test_hello_tells_the_time_the_events_kept_and_the_configuration(site: Site, database: Database) -> None:
    terminal = site.terminal()
    terminal.report(protocol.ReaderDown(), protocol.ReaderUp())

    answer = protocol.read_answer(protocol.HelloAnswer, terminal.ask(hello(boot=3, unsent=2)).get_json())

    assert (answer.acked_seq, answer.config_version, answer.session_state) == (2, 1, None)
    assert abs(answer.server_time - taps.now_ms()) < 10_000
    with database.reader() as session:
        row = session.get_one(Terminal, terminal.terminal_id)
        assert (row.boot, row.unsent, row.reader, row.app_version) == (3, 2, "ok", "0.1.0")


def test_hello_tells_what_became_of_the_session_that_the_terminal_believes_in(site: Site) -> None:
    terminal, card, session_id = site.terminal(), site.card(), uuid4()

    def state() -> str:
        return str(terminal.ask(hello(session_id=session_id)).get_json()["session_state"])

    assert state() == "unknown"
    terminal.hold(card, session_id=session_id)
    assert state() == "held"
    terminal.report(protocol.Started(session_id=session_id))
    assert state() == "active"
    terminal.end(session_id, minutes=1)
    assert state() == "ended"
    assert site.terminal().ask(hello(session_id=session_id)).get_json()["session_state"] == "unknown"


def test_the_same_message_again_has_the_same_answer_and_no_second_effect(site: Site, database: Database) -> None:
    terminal, card = site.terminal(), site.card()
    message = terminal.query(protocol.CardBegin(card=card.show()))

    first, second = (terminal.post("card/begin", {"message": message}) for _ in range(2))

    assert first.status_code == second.status_code == 200
    assert first.get_json() == second.get_json()
    with database.reader() as session:
        assert session.query(TerminalAnswer).count() == 1


def test_a_refusal_is_remembered_too(site: Site) -> None:
    terminal = site.terminal()
    message = terminal.query(protocol.CardBegin(card=protocol.TypedCard(number="0000")))

    answers = [terminal.post("card/begin", {"message": message}) for _ in range(2)]

    assert [answer.get_json()["code"] for answer in answers] == ["CARD_UNKNOWN"] * 2
    assert answers[0].get_json() == answers[1].get_json()


def test_another_message_under_a_used_number_is_a_conflict(site: Site) -> None:
    terminal, mid = site.terminal(), uuid4()
    terminal.ask(hello(), mid=mid)

    answer = terminal.ask(hello(unsent=7), mid=mid)

    assert (answer.status_code, answer.get_json()["code"]) == (409, "IDEMPOTENCY_CONFLICT")


def test_a_repeat_is_answered_however_late_it_comes(site: Site) -> None:
    terminal = site.terminal()
    message = terminal.query(hello())
    first = terminal.post("hello", {"message": message})
    taps.advance(timedelta(hours=1))

    assert terminal.post("hello", {"message": message}).get_json() == first.get_json()


@pytest.mark.parametrize(("off_ms", "taken"), [(89_000, True), (-80_000, True), (95_000, False), (-95_000, False)])
def test_a_clock_that_is_off_by_more_than_90_seconds_is_told_the_time(site: Site, off_ms: int, taken: bool) -> None:  # noqa: FBT001
    terminal, mid = site.terminal(), uuid4()

    answer = terminal.ask(hello(), mid=mid, st=taps.now_ms() + off_ms).get_json()

    assert answer["ok"] is taken
    if not taken:
        assert answer["code"] == "CLOCK_SKEW"
        assert abs(answer["server_time"] - taps.now_ms()) < 10_000
        assert terminal.ask(hello(), mid=mid).get_json()["ok"] is True, "CLOCK_SKEW must not be remembered"


def test_only_the_enrolled_key_speaks_for_a_terminal(site: Site) -> None:
    terminal, other = site.terminal(), site.terminal()
    stranger = Tap(client=site.client, terminal_id=terminal.terminal_id, instrument_id=0)
    unknown = Tap(client=site.client, terminal_id=uuid4(), instrument_id=0, key=other.key)

    for impostor in (stranger, unknown):
        answer = impostor.ask(hello())
        assert (answer.status_code, answer.get_json()["code"]) == (401, "SIG_INVALID")


def test_a_message_signed_for_one_door_opens_no_other(site: Site) -> None:
    terminal = site.terminal()

    answer = terminal.post("config", {"message": terminal.query(hello())}).get_json()
    as_event = terminal.post("events", {"messages": [terminal.query(hello())]}).get_json()

    assert (answer["code"], as_event["code"]) == ("MESSAGE_INVALID", "SIG_INVALID")


def test_a_revoked_terminal_is_refused(site: Site, database: Database) -> None:
    terminal = site.terminal()
    database.run(
        lambda session: service.revoke(session, terminal_id=terminal.terminal_id, actor="admin", at=clock.now())
    )

    assert terminal.ask(hello()).get_json()["code"] == "DEVICE_REVOKED"


def test_a_program_that_is_too_old_is_refused(site: Site) -> None:
    terminal = site.terminal()

    answer = terminal.ask(hello(app_version="0.0.9"))

    assert (answer.status_code, answer.get_json()["code"]) == (426, "APP_TOO_OLD")


def test_every_refusal_has_a_number_and_both_languages(site: Site) -> None:
    refusal = protocol.read_refusal(site.terminal().ask(hello(app_version="0")).get_json())

    assert refusal.number == 109
    assert refusal.message.zh
    assert refusal.message.en
    assert refusal.advice.zh
    assert refusal.advice.en


def test_the_configuration_is_signed_and_its_version_grows_only_with_its_content(
    site: Site, database: Database
) -> None:
    terminal = site.terminal(name_zh="质谱仪", typical_session_min=90)
    with database.transaction() as session:
        signer = service.server_signer(session, key_encryption_key=site.settings.key_encryption_key, at=clock.now())

    def ask(*, key: Ed25519PrivateKey = signer.private_key) -> protocol.TerminalConfig:
        message = terminal.ask(protocol.Config(have_version=0)).get_json()["config"]
        return protocol.read_config(message, key=key.public_key())

    first, second = ask(), ask()
    with database.transaction() as session:
        taps.instrument_of(session, terminal).name_en = "Mass spectrometer"
    third = ask()

    assert first == second
    assert (first.version, first.instrument.zh, first.minutes_default) == (1, "质谱仪", 90)
    assert first.price == protocol.Words(zh="1 小时 30.00 元", en="1 hour 30.00 yuan")
    assert (third.version, third.instrument.en) == (2, "Mass spectrometer")
    with pytest.raises(protocol.SignatureError):
        ask(key=Ed25519PrivateKey.generate())


def test_stored_answers_are_forgotten_when_no_terminal_asks_any_more(site: Site, database: Database) -> None:
    terminal = site.terminal()
    for _ in range(3):
        terminal.ask(hello())

    def forget(before: datetime) -> int:
        return database.run(lambda session: messages.forget_answers(session, before=before, limit=2))

    assert forget(clock.now() - timedelta(days=1)) == 0
    assert [forget(clock.now() + timedelta(seconds=1)) for _ in range(3)] == [2, 1, 0]
