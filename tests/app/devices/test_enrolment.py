"""How a terminal becomes one of ours, once, within 15 minutes."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from app import clock, crypto_box
from app.db import Database
from app.devices import service
from app.devices.models import Terminal, TerminalStatus
from app.devices.service import EnrolmentCode
from app.errors import Code, Refusal
from card_terminal import protocol
from tests.app import builders, taps
from tests.app.taps import Site, Tap


def test_a_code_and_a_key_make_a_terminal(site: Site, database: Database) -> None:
    made = _create(database)
    tap = _tap(site, made)

    answer = protocol.read_answer(protocol.EnrolAnswer, tap.enrol(made.code).get_json())

    assert (answer.device_id, answer.status) == (str(made.terminal.id), protocol.DeviceStatus.ACTIVE)
    row = _row(database, made.terminal.id)
    assert row.status is TerminalStatus.ENROLLED
    assert service.fingerprint_of(row) == protocol.fingerprint(tap.key.public_key())


def test_an_enrolment_whose_answer_was_lost_is_answered_again(site: Site, database: Database) -> None:
    made = _create(database)
    tap = _tap(site, made)

    answers = [tap.enrol(made.code) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].get_json()["server_public_key"] == answers[1].get_json()["server_public_key"]


def test_a_code_serves_one_key_only(site: Site, database: Database) -> None:
    made = _create(database)
    _tap(site, made).enrol(made.code)

    refused = _tap(site, made).enrol(made.code)

    assert (refused.status_code, refused.get_json()["code"]) == (403, "ENROLMENT_CODE_INVALID")


def test_a_code_is_good_for_fifteen_minutes(site: Site, database: Database) -> None:
    made = _create(database)
    taps.advance(timedelta(minutes=15, seconds=1))

    assert _tap(site, made).enrol(made.code).get_json()["code"] == "ENROLMENT_CODE_INVALID"


def test_a_new_code_makes_the_old_one_void(site: Site, database: Database) -> None:
    old = _create(database)
    new = database.run(
        lambda session: service.new_enrolment_code(session, terminal_id=old.terminal.id, actor="a", at=clock.now())
    )

    assert _tap(site, old).enrol(old.code).get_json()["code"] == "ENROLMENT_CODE_INVALID"
    assert _tap(site, new).enrol(new.code).status_code == 200


def test_an_enrolled_terminal_gets_no_new_code(site: Site, database: Database) -> None:
    terminal = site.terminal()

    with pytest.raises(Refusal) as refused:
        database.run(
            lambda session: service.new_enrolment_code(
                session, terminal_id=terminal.terminal_id, actor="a", at=clock.now()
            )
        )

    assert refused.value.code is Code.ALREADY_DECIDED


def test_two_terminals_cannot_have_one_code(database: Database) -> None:
    def work(session: Session) -> None:
        instrument = builders.instrument(session)
        for _ in range(2):
            service.create_terminal(session, code="T-1", instrument_id=instrument.id, actor="a", at=clock.now())

    with pytest.raises(Refusal) as refused:
        database.run(work)

    assert refused.value.code is Code.CODE_TAKEN


def test_the_servers_key_is_of_no_use_without_the_key_from_the_settings(site: Site, database: Database) -> None:
    def signer(key: bytes) -> service.ServerSigner:
        return database.run(lambda session: service.server_signer(session, key_encryption_key=key, at=clock.now()))

    first, second = (signer(site.settings.key_encryption_key) for _ in range(2))
    assert first.private_key.private_bytes_raw() == second.private_key.private_bytes_raw()

    with pytest.raises(crypto_box.WrongKeyError):
        signer(bytes(32))


def test_a_wrapped_secret_opens_only_for_its_purpose() -> None:
    wrapped = crypto_box.wrap(b"secret", key=bytes(32), purpose="master key 1.1")

    assert crypto_box.unwrap(wrapped, key=bytes(32), purpose="master key 1.1") == b"secret"
    with pytest.raises(crypto_box.WrongKeyError):
        crypto_box.unwrap(wrapped, key=bytes(32), purpose="master key 2.1")
    with pytest.raises(crypto_box.WrongKeyError):
        crypto_box.unwrap(b"short", key=bytes(32), purpose="master key 1.1")


def _create(database: Database) -> EnrolmentCode:
    def work(session: Session) -> EnrolmentCode:
        instrument = builders.instrument(session)
        return service.create_terminal(
            session, code="T-NEW", instrument_id=instrument.id, actor="admin", at=clock.now()
        )

    return database.run(work)


def _tap(site: Site, made: EnrolmentCode) -> Tap:
    return Tap(client=site.client, terminal_id=made.terminal.id, instrument_id=made.terminal.instrument_id)


def _row(database: Database, terminal_id: UUID) -> Terminal:
    with database.transaction() as session:
        return session.get_one(Terminal, terminal_id)
