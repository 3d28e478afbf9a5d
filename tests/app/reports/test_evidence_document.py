"""The evidence of a charge is one document: the page draws it, and whoever carries it away can check it alone."""

import json
import subprocess
import sys
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event

from app import clock, sealing
from app.people.models import Role
from app.reconciliation.records import canonical, json_digest
from app.reports import picture, service
from app.settings import Settings
from card_terminal import protocol
from tests.app import builders, taps
from tests.app.reconciliation.world import World
from tests.app.taps import Site
from tests.ledger.sealed import settle
from tests.telemetry.wire import RUN_W, STANDBY_W

SCRIPT = Path(__file__).resolve().parents[3] / "docs" / "check_proof.py"


def get(client: FlaskClient, charge: UUID, username: str) -> Any:
    answer = client.get(f"/api/v1/reports/evidence/{charge}", headers=builders.bearer(client, username))
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.get_json()


def seal(world: World | Site, settings: Settings) -> str:
    settle(world.database)
    key = sealing.seal_key(settings.key_encryption_key)
    sealing.seal_due(world.database, key=key)
    return key.public_key.hex()


def check(document: Any, public_key: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(SCRIPT), public_key],
        input=json.dumps(document),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def charge(world: World) -> UUID:
    made = world.charge(8, 72, duration_s=64 * 60, tariff_snapshot={"tariff_id": 1, "rules": {}})
    world.reconcile(minutes=130)
    return made


def test_the_record_in_the_document_binds_prices_and_verdict_by_their_hashes(
    world: World, charge: UUID, client: FlaskClient, settings: Settings
) -> None:
    public_key = seal(world, settings)
    document = get(client, charge, "holder")
    (version,) = document["records"]
    assert version["holds"] is True
    assert version["sha256"] == sha256(canonical(version["record"])).hexdigest()
    evidence = version["record"]["evidence"]
    assert evidence["tariffs"]["sha256"] == json_digest(document["charge"]["tariff_snapshot"])
    assert evidence["verdict"]["sha256"] == json_digest(document["verdict"]["evidence"])
    (proof,) = document["seal"]["proofs"]
    assert proof["document"] == version["record"]
    assert document["seal"]["waiting"] == []
    checked = check(document, public_key)
    assert checked.returncode == 0, checked.stderr
    document["seal"]["proofs"][0]["document"]["effective_s"] += 60
    assert check(document, public_key).returncode != 0


def test_the_page_draws_exactly_the_document_that_is_handed_out(
    world: World, charge: UUID, client: FlaskClient, settings: Settings
) -> None:
    _ = world
    token = builders.bearer(client, "holder")["Authorization"].removeprefix("Bearer ")
    with client.session_transaction() as cookie:
        cookie["log_in"] = token
    page = client.get(f"/charges/{charge}?lang=en").get_data(as_text=True)
    given = client.get(f"/charges/{charge}/evidence.json")
    assert given.headers["Content-Disposition"] == f"attachment; filename=evidence-{charge}.json"
    document = given.get_json()
    assert document["format"] == "testcard-evidence-v1"
    for frame in (picture.WIDE, picture.SMALL):
        drawing = picture.draw(document, frame=frame, site_timezone=settings.site_timezone)
        assert drawing.lines
        for line in drawing.lines:
            assert f'points="{line}"' in page
    states = [(each["start"], each["end"], each["state"]) for each in document["watched"]["states"]]
    assert [state for *_times, state in states] == ["standby", "running", "standby"]
    assert document["watched"]["measured"] >= len(document["watched"]["points"])


def test_a_real_tap_is_told_with_its_signed_messages_and_every_posting_is_proved(
    site: Site, settings: Settings, client: FlaskClient
) -> None:
    card, tap, charge = site.card(principal_fen=100_00, subsidy_fen=20_00), site.terminal(), uuid4()
    assert tap.hold(card, minutes=60, session_id=charge).status_code == 200
    tap.report(protocol.Started(session_id=charge))
    taps.advance(timedelta(minutes=60))
    tap.end(charge, minutes=60)
    with site.database.transaction() as session:
        builders.person(session, username="auditor", role=Role.AUDITOR)
    early = get(client, charge, "auditor")
    assert early["seal"]["postings_block"] is None
    assert set(early["seal"]["waiting"]) >= {each["transfer_id"] for each in early["postings"]}
    public_key = seal(site, settings)
    document = get(client, charge, "auditor")
    assert [each["kind"] for each in document["card"]["events"]] == ["started", "ended"]
    for each in document["card"]["events"]:
        assert sha256(each["message"].encode()).hexdigest() == each["message_hash"]
    proved = {proof["record"]["id"]: proof["record"] for proof in document["seal"]["proofs"]}
    for posting in document["postings"]:
        assert proved[posting["transfer_id"]]["amount_fen"] == str(posting["amount_fen"])
    moved = sum(each["amount_fen"] for each in document["postings"] if each["phase"] == "post")
    assert (
        moved
        == document["charge"]["amount_fen"]
        == sum(line["amount_fen"] for line in document["charge"]["price_lines"])
    )
    assert check(document, public_key).returncode == 0


def test_the_questions_to_the_database_do_not_grow_with_the_readings(world: World, app_: Flask) -> None:
    _ = app_
    short = world.charge(8, 20, duration_s=12 * 60)
    world.play((240, RUN_W), (60, STANDBY_W))
    clock.set_anchor(None)
    long = world.charge(132, 380, duration_s=248 * 60)
    reader = world.principal(world.holder_id)
    counts = []
    for charge in (short, long):
        asked: list[str] = []
        listener = lambda *arguments: asked.append(str(arguments[2]))  # noqa: E731, B023 - removed before the next
        event.listen(world.database.engine, "before_cursor_execute", listener)
        with world.database.reader() as session:
            service.evidence(session, session_id=charge, reader=reader, at=clock.now(), points_max=100)
        event.remove(world.database.engine, "before_cursor_execute", listener)
        counts.append(len(asked))
    assert counts[0] == counts[1] < 30
