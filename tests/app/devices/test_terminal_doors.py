"""The JSON doors and commands of terminals: who may do what, and that all of it is written down."""

from uuid import UUID

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from sqlalchemy import select

from app.cli import commands
from app.db import Database
from app.devices import service
from app.devices.models import Terminal
from app.instruments.models import Instrument
from app.people.models import Role
from app.people.service import audit_trail
from tests.app import builders
from tests.app.taps import Site, Tap

ANSWERS = {
    Role.ADMIN: (200, 200, 201, 409, 201),
    Role.AUDITOR: (200, 200, 403, 403, 403),
    Role.CLERK: (403, 403, 403, 403, 403),
    Role.CARDHOLDER: (403, 403, 403, 403, 403),
}


@pytest.mark.parametrize("role", ANSWERS, ids=str)
def test_each_role_does_what_is_its_own(site: Site, client: FlaskClient, database: Database, role: Role) -> None:
    terminal = site.terminal()
    with database.transaction() as session:
        builders.person(session, username=role.value, role=role)
    headers = builders.bearer(client, role.value)
    at = f"/api/v1/terminals/{terminal.terminal_id}"
    answers = (
        client.get("/api/v1/terminals", headers=headers),
        client.get(at, headers=headers),
        client.post(
            "/api/v1/terminals", json={"code": "T-2", "instrument_id": terminal.instrument_id}, headers=headers
        ),
        client.post(f"{at}/approve", json={"fingerprint": "0000-0000-0000"}, headers=headers),
        client.post(f"{at}/replace", json={"code": "T-3", "why": "stolen"}, headers=headers),
    )
    assert tuple(each.status_code for each in answers) == ANSWERS[role]


def test_a_terminals_life_is_told_to_programs_and_written_down(client: FlaskClient, database: Database) -> None:
    with database.transaction() as session:
        builders.person(session, username="admin", role=Role.ADMIN)
        instrument_id = builders.instrument(session).id
    headers = builders.bearer(client, "admin")
    made = client.post("/api/v1/terminals", json={"code": "T-9", "instrument_id": instrument_id}, headers=headers)
    told = made.get_json()["terminal"]
    tap = Tap(client=client, terminal_id=UUID(told["id"]), instrument_id=instrument_id)
    tap.enrol(made.get_json()["code"])
    at = f"/api/v1/terminals/{told['id']}"
    waiting = client.get(at, headers=headers).get_json()
    assert (told["status"], waiting["status"]) == ("pending", "comparing")
    assert made.get_json()["code"] not in client.get("/api/v1/terminals", headers=headers).get_data(as_text=True)
    wrong = client.post(f"{at}/approve", json={"fingerprint": "0000-0000-0000"}, headers=headers)
    assert wrong.get_json()["code"] == "FINGERPRINT_DIFFERS"
    taken = client.post(f"{at}/approve", json={"fingerprint": waiting["fingerprint"]}, headers=headers).get_json()
    assert (taken["status"], taken["approved_by"]) == ("enrolled", "admin")
    gone = client.post(f"{at}/revoke", json={"why": "broken"}, headers=headers).get_json()
    assert (gone["status"], gone["revocation"]) == ("revoked", "broken")
    with database.reader() as session:
        actions = [each.action for each in audit_trail(session, subject="terminal:T-9")]
    assert actions == [
        "terminal.revoke",
        "terminal.approve",
        "terminal.enrol",
        "terminal.code",
        "terminal.create",
    ]


def test_the_same_is_done_at_the_machine_itself(
    site: Site, database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTCARD_DATABASE_URL", database_url)
    monkeypatch.setenv("TESTCARD_SECRET_KEY", "s" * 40)
    monkeypatch.setenv("TESTCARD_KEY_ENCRYPTION_KEY", "00" * 32)

    def run(*words: str) -> str:
        ended = CliRunner().invoke(commands, ["terminal", *words])
        assert ended.exit_code == 0, ended.output
        return ended.output

    with database.transaction() as session:
        instrument: Instrument = builders.instrument(session)
        code = instrument.code
    made = run("new", "T-7", code)
    run("code", "T-7")
    tap = Tap(client=site.client, terminal_id=_id(database, "T-7"), instrument_id=0)
    assert tap.enrol(made.split()[1]).status_code == 403
    tap.enrol(run("code", "T-7").split()[1])
    with database.reader() as session:
        fingerprint = service.fingerprint_of(service.terminal_of(session, terminal_id=tap.terminal_id))
    run("approve", "T-7", fingerprint[-14:])
    assert fingerprint in run("list")
    run("replace", "T-7", "T-8", "--why", "stolen")
    run("revoke", "T-8")
    assert run("list").count("revoked") == 2
    assert CliRunner().invoke(commands, ["terminal", "approve", "T-404", "0000"]).exit_code == 1


def _id(database: Database, code: str) -> UUID:
    with database.reader() as session:
        return session.scalars(select(Terminal.id).where(Terminal.code == code)).one()
