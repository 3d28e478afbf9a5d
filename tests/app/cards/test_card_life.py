"""A card's life: stopped, found, replaced with the balance following, PINs, the stop list, its PDF, its keys."""

import re
from datetime import date
from functools import partial
from io import BytesIO

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from pypdf import PdfReader

from app import clock
from app.cards import cli, keys, life, printing, proof
from app.cards.models import Card, CardStatus
from app.db import Database
from app.errors import Refusal
from app.people import service as people
from app.people.models import Role
from app.settings import Settings
from tests.app import builders
from tests.app.cards.bench import blank_chip, new_bench
from tests.app.taps import PIN, Site

LAST_DAY = date(2099, 12, 31)


def test_a_replaced_card_is_dead_and_the_new_one_pays_from_the_same_account(
    site: Site, database: Database, client: FlaskClient
) -> None:
    bench, chip = new_bench(database, client), blank_chip()
    old = site.card(principal_fen=80_00)
    new = database.run(
        lambda session: life.replace(
            session, card_id=old.id, pin="271828", expires_on=LAST_DAY, reason="broken", actor="clerk", at=clock.now()
        )
    )
    assert (new.account_id, new.replaces_id, new.status) == (old.account_id, old.id, CardStatus.PREPARING)
    assert site.terminal().begin(old.show()).get_json()["code"] == "CARD_BLOCKED"
    bench.order(new.id)
    assert bench.put_down(chip).text_en.startswith("The card is done")
    assert bench.card(new.id).status is CardStatus.ISSUED
    assert site.balances(old).principal_fen == 80_00
    with database.reader() as session:
        stopped = life.hot_list(session)
        assert [each.uid.hex() for each in stopped] == [old.chip.uid.lower() if old.chip else ""]
        assert {entry.action for entry in life.history(session, card=session.get_one(Card, old.id))} >= {"card.replace"}
    with pytest.raises(Refusal, match="CARD_STATE_WRONG"):
        database.run(lambda session: life.unblock(session, card_id=old.id, reason="no", actor="clerk", at=clock.now()))


def test_a_card_is_stopped_and_goes_on_only_by_the_steps_that_there_are(site: Site, database: Database) -> None:
    card, terminal = site.card(), site.terminal()
    steps = [
        (life.lost, "CARD_LOST"),
        (life.found, None),
        (life.block, "CARD_BLOCKED"),
        (life.unblock, None),
    ]
    for step, code in steps:
        database.run(partial(step, card_id=card.id, reason="r", actor="clerk", at=clock.now()))
        assert terminal.begin(card.show()).get_json().get("code") == code
    with pytest.raises(Refusal, match="CARD_STATE_WRONG"):
        database.run(lambda session: life.found(session, card_id=card.id, reason="r", actor="clerk", at=clock.now()))


def test_a_holder_changes_her_pin_only_with_the_present_one_and_five_wrong_ones_lock_it(
    site: Site, database: Database
) -> None:
    card = site.card(secure=False)
    with database.reader() as session:
        holder = people.principal_of(session.get_one(Card, card.id).holder)

    def change(old: str, new: str) -> object:
        return database.run(
            lambda session: life.change_pin(
                session, card_id=card.id, old_pin=old, new_pin=new, reader=holder, at=clock.now()
            )
        )

    assert change(PIN, "271828") is None
    for _ in range(4):
        assert change(PIN, "161803") == "PIN_WRONG"
    assert change(PIN, "161803") == "PIN_LOCKED"
    assert change("271828", "161803") == "PIN_LOCKED"
    database.run(lambda session: life.unlock_pin(session, card_id=card.id, actor="clerk", at=clock.now()))
    assert change("271828", "161803") is None
    with database.reader() as session:
        assert session.get_one(Card, card.id).pin_failures == 0
    with database.transaction() as session:
        stranger = people.principal_of(builders.person(session))
    with pytest.raises(Refusal, match="NOT_FOUND"):
        database.run(
            lambda session: life.change_pin(
                session, card_id=card.id, old_pin="161803", new_pin=PIN, reader=stranger, at=clock.now()
            )
        )


def test_the_faces_are_a_pdf_with_the_number_in_groups_and_an_embedded_font() -> None:
    face = printing.Face(number="9156000000000003", holder="李明", customer="重庆大学", expires_on=LAST_DAY)
    for form, pages in ((printing.Form.FACES, 2), (printing.Form.LABELS, 1)):
        out = BytesIO()
        printing.write_pdf([face] * 11, out, form=form, title="分析测试卡")
        read = PdfReader(BytesIO(out.getvalue()))
        assert len(read.pages) == pages
        text = read.pages[0].extract_text()
        assert "9156 0000 0000 0003" in text
        assert "李明" in text
        assert "/FontFile2" in out.getvalue().decode("latin-1")


def test_master_keys_change_their_wrapping_and_the_old_key_opens_nothing_more(
    site: Site, settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, terminal = site.card(), site.terminal()
    old, new = settings.key_encryption_key, bytes(reversed(range(32)))
    monkeypatch.setenv("TESTCARD_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("TESTCARD_SECRET_KEY", settings.secret_key)
    monkeypatch.setenv("TESTCARD_KEY_ENCRYPTION_KEY", new.hex())
    monkeypatch.setenv("TESTCARD_LOG_FORMAT", "text")
    assert "missing" in CliRunner().invoke(cli.keys_commands, ["rewrap"]).output
    monkeypatch.setenv("TESTCARD_OLD_KEY_ENCRYPTION_KEY", old.hex())

    first, again = (CliRunner().invoke(cli.keys_commands, ["rewrap"]) for _ in range(2))

    assert (first.exit_code, again.output[:2]) == (0, "0 ")
    assert re.match(r"[56] secrets", first.output)
    assert terminal.begin(card.show()).status_code == 500, "this process still has the old key"
    assert "version 1" in CliRunner().invoke(cli.keys_commands, ["list"]).output
    assert "version 2" in CliRunner().invoke(cli.keys_commands, ["rotate", "--yes"]).output
    for output in (first.output, again.output):
        assert new.hex() not in output
    with database.reader() as session:
        assert keys.newest_version(session) == 2


def test_a_phone_shows_the_balance_once_for_each_reading_and_may_stop_the_card(
    site: Site, client: FlaskClient, database: Database
) -> None:
    card = site.card(principal_fen=77_00)
    uri = card.show().uri.partition("?")[2]  # type: ignore[union-attr]

    shown = client.get(f"/c?{uri}&lang=en", follow_redirects=True)
    replayed = site.client.application.test_client().get(f"/c?{uri}")

    assert "77.00" in shown.text
    assert card.number not in shown.text
    assert replayed.status_code == 403
    assert "77.00" not in replayed.text
    assert site.client.application.test_client().get("/c/card").status_code == 403
    token = re.search(r'name="csrf_token" value="([^"]+)"', shown.text)
    assert token is not None
    client.post("/c/report-lost", data={"csrf_token": token[1]}, headers={"Referer": "http://localhost/c/card"})
    with database.reader() as session:
        assert session.get_one(Card, card.id).status is CardStatus.LOST
        assert proof.refusal_of(session.get_one(Card, card.id), today=LAST_DAY) == "CARD_LOST"
    assert client.get("/c?e=00&c=11").status_code == 403


@pytest.mark.parametrize(
    ("role", "path", "status"),
    [
        (Role.AUDITOR, "/cards/all", 200),
        (Role.AUDITOR, "/cards/keys", 200),
        (Role.CLERK, "/cards/keys", 403),
        (Role.CARDHOLDER, "/cards/all", 403),
        (Role.AUDITOR, "/cards/new", 403),
        (Role.CLERK, "/cards/new", 200),
        (Role.ADMIN, "/cards/stations", 200),
        (Role.SUB_CENTER_MANAGER, "/cards/stations", 403),
    ],
)
def test_each_role_opens_its_own_pages(
    client: FlaskClient, database: Database, role: Role, path: str, status: int
) -> None:
    with database.transaction() as session:
        center = builders.sub_center(session).id if role is Role.SUB_CENTER_MANAGER else None
        person = builders.person(session, role=role, sub_center_id=center)
    token = builders.bearer(client, person.username)["Authorization"].removeprefix("Bearer ")
    with client.session_transaction() as cookie:
        cookie["log_in"] = token
    assert client.get(path).status_code == status
