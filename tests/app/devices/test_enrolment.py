"""How a terminal becomes one of ours, once, within 15 minutes."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from app import clock, crypto_box
from app.db import Database
from app.devices import service
from app.devices.models import Revocation, Terminal, TerminalStatus
from app.devices.service import EnrolmentCode
from app.errors import Code, Refusal
from card_terminal import protocol
from tests.app import builders, taps
from tests.app.taps import Site, Tap


def test_a_code_and_a_key_make_a_terminal(site: Site, database: Database) -> None:
    made = _create(database)
    tap = _tap(site, made)

    answer = protocol.read_answer(protocol.EnrolAnswer, tap.enrol(made.code).get_json())

    assert (answer.device_id, answer.status) == (str(made.terminal.id), protocol.DeviceStatus.PENDING)
    row = _row(database, made.terminal.id)
    assert row.status is TerminalStatus.COMPARING
    assert service.fingerprint_of(row) == protocol.fingerprint(tap.key.public_key())


def test_nothing_is_taken_of_a_terminal_until_a_person_has_compared_its_fingerprint(
    site: Site, database: Database
) -> None:
    made = _create(database)
    tap = _tap(site, made)
    tap.enrol(made.code)
    hello = protocol.Hello(
        app_version="0.1.0", boot=1, last_seq=0, unsent=1, reader=protocol.ReaderState.OK, config_version=0, wall_ms=1
    )
    refused = tap.event(protocol.CardRefused(code="DEVICE_PENDING"))

    assert tap.ask(hello).get_json()["code"] == "DEVICE_PENDING"
    assert tap.post("events", {"messages": [refused]}).get_json()["code"] == "DEVICE_PENDING"
    with pytest.raises(Refusal) as wrong:
        _approve(database, made.terminal.id, "0000-0000-0000")
    with pytest.raises(Refusal) as too_little:
        _approve(database, made.terminal.id, service.fingerprint_of(_row(database, made.terminal.id))[-13:])
    assert {wrong.value.code, too_little.value.code} == {Code.FINGERPRINT_DIFFERS}

    last_groups = service.fingerprint_of(_row(database, made.terminal.id))[-14:]
    assert _approve(database, made.terminal.id, f" {last_groups.lower()} ").status is TerminalStatus.ENROLLED

    assert tap.ask(hello).status_code == 200
    assert tap.deliver(refused)[0]["status"] == "accepted"
    row = _row(database, made.terminal.id)
    assert (row.approved_by, row.shown_config_version) == ("admin", 0)
    assert row.clock_ahead_ms is not None
    assert row.clock_ahead_ms < -1_000_000
    again = protocol.read_answer(protocol.EnrolAnswer, tap.enrol(made.code).get_json())
    assert again.status is protocol.DeviceStatus.ACTIVE
    with pytest.raises(Refusal) as decided:
        _approve(database, made.terminal.id, last_groups)
    assert decided.value.code is Code.ALREADY_DECIDED


def test_a_key_that_was_never_taken_tells_staff_nothing_also_after_it_was_revoked(
    site: Site, database: Database
) -> None:
    made = _create(database)
    stranger = _tap(site, made)
    stranger.enrol(made.code)
    database.run(
        lambda session: service.revoke(
            session, terminal_id=made.terminal.id, why=Revocation.STOLEN, actor="admin", at=clock.now()
        )
    )

    answer = stranger.post("events", {"messages": [stranger.event(protocol.CardRefused(code="x"))]})

    assert answer.get_json()["code"] == "DEVICE_REVOKED"
    assert _row(database, made.terminal.id).last_seq == 0


def test_a_new_key_is_a_new_terminal_and_the_old_one_is_trusted_no_more(site: Site, database: Database) -> None:
    old = site.terminal()
    new = database.run(
        lambda session: service.replace_key(
            session,
            terminal_id=old.terminal_id,
            code="T-SECOND",
            why=Revocation.STOLEN,
            actor="admin",
            at=clock.now(),
        )
    )

    assert old.ask(protocol.Config(have_version=0)).get_json()["code"] == "DEVICE_REVOKED"
    assert (new.terminal.instrument_id, new.terminal.status) == (old.instrument_id, TerminalStatus.PENDING)
    row = _row(database, old.terminal_id)
    assert (row.status, row.revocation) == (TerminalStatus.REVOKED, Revocation.STOLEN)


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


def _approve(database: Database, terminal_id: UUID, fingerprint: str) -> Terminal:
    return database.run(
        lambda session: service.approve(
            session, terminal_id=terminal_id, fingerprint=fingerprint, actor="admin", at=clock.now()
        )
    )


def _row(database: Database, terminal_id: UUID) -> Terminal:
    with database.transaction() as session:
        return session.get_one(Terminal, terminal_id)
