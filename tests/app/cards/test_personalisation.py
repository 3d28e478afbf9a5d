"""A blank chip becomes a card, however often it is taken away, and never with more than one try at a key."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask.testing import FlaskClient
from sqlalchemy import func, select

from app import clock
from app.cards import keys, patience
from app.cards.models import Card, CardStatus, CardWork, Chip, ChipKeys, KeyUse, WorkPurpose, WorkStatus
from app.db import Database
from app.people.models import AuditEntry
from app.settings import Settings
from card_terminal.crypto import ndef
from card_terminal.protocol import SunCard, TapState
from card_terminal.readers.ntag424 import EmulatedChip, Tear
from tests.app.cards.bench import Bench, blank_chip, new_bench
from tests.app.taps import Site

AUTHENTICATE = 0x71


@pytest.fixture
def bench(database: Database, client: FlaskClient) -> Bench:
    return new_bench(database, client)


def read_as_a_phone(chip: EmulatedChip) -> str:
    chip.leave_field()
    for apdu in ("00A4040C07D276000085010100", "00A4000C02E10400"):
        assert chip.transmit(bytes.fromhex(apdu)) == b"\x90\x00"
    return ndef.read_uri(chip.transmit(bytes.fromhex("00B0000000"))[:-2])


def attempts(chip: EmulatedChip) -> int:
    return sum(1 for apdu in chip.apdus if apdu[1] == AUTHENTICATE)


def test_one_tap_makes_a_card_that_proves_itself_at_a_terminal_and_is_no_clone(bench: Bench, site: Site) -> None:
    chip = blank_chip()
    card = bench.issue(chip)

    assert (card.status, card.uid, card.key_version) == (CardStatus.ISSUED, chip.uid, 1)
    assert chip.key_versions == [1] * 5
    assert len(set(chip.keys)) == 5
    uri = read_as_a_phone(chip)
    assert uri.startswith("http://localhost/c?e=")
    begun = site.terminal().begin(SunCard(uri=uri)).get_json()
    assert begun["card"] == f"**** {card.face_number[-4:]}"
    clone = EmulatedChip(uid=chip.uid)
    clone.files = chip.files
    assert site.terminal().begin(SunCard(uri=read_as_a_phone(clone))).get_json()["code"] == "CARD_UNKNOWN"


def test_the_row_stands_in_the_database_before_the_first_byte_is_written(bench: Bench, database: Database) -> None:
    card, chip = bench.order_card(), blank_chip()
    first_write = 10 + 2 + 1
    chip.tear(first_write, Tear.BEFORE)

    assert bench.put_down(chip).state is TapState.ENDED

    assert chip.apdus[-1][1] == 0x8D
    assert bytes(chip.files[2].content) == bytes(256)
    with database.reader() as session:
        assert session.get_one(Card, card.id).uid == chip.uid
        assert session.get(ChipKeys, (chip.uid, 1)) is not None


def apdus_of_a_whole_tap() -> int:
    """Ten questions, two to authenticate, the UID, file, settings, four keys, K0, three to prove it, three to read."""
    return 10 + 2 + 1 + 2 + 4 + 1 + 3 + 3


# A card taken away before a command is as it was after the one before; half done are only writes.
TEARS = [
    (0, Tear.BEFORE),
    (13, Tear.DURING),
    (14, Tear.DURING),
    *[(place, Tear.AFTER) for place in range(apdus_of_a_whole_tap())],
]


def test_a_card_torn_at_any_apdu_is_finished_by_the_next_tap(bench: Bench, settings: Settings) -> None:
    bench.settings = settings
    for number, (place, how) in enumerate(TEARS, start=1):
        chip = blank_chip(number)
        card = bench.order_card()
        chip.tear(place, how)
        assert bench.put_down(chip).state is TapState.ENDED
        assert attempts(chip) <= 2, "one with each key at most"
        assert bench.card(card.id).status is CardStatus.PREPARING
        chip.apdus.clear()

        result = bench.put_down(chip)

        assert result.state is TapState.DONE, (place, result)
        assert attempts(chip) <= 2
        made = bench.card(card.id)
        assert (made.status, made.uid, made.key_version) == (CardStatus.ISSUED, chip.uid, 1)
        assert chip.key_versions == [1] * 5
        assert chip.failures == [0] * 5


def test_a_whole_tap_has_so_many_apdus(bench: Bench) -> None:
    chip = blank_chip()
    bench.issue(chip)
    assert len(chip.apdus) == apdus_of_a_whole_tap()
    assert attempts(chip) == 2


def test_a_card_torn_again_and_again_is_finished_in_the_end(bench: Bench, settings: Settings) -> None:
    bench.settings = settings
    chip, card = blank_chip(), bench.order_card()
    for place in range(apdus_of_a_whole_tap()):
        chip.tear(place, Tear.AFTER)
        if bench.put_down(chip).state is TapState.DONE:
            break
    else:
        assert bench.put_down(chip).state is TapState.DONE
    assert bench.card(card.id).status is CardStatus.ISSUED


def test_every_answer_may_be_lost_once(bench: Bench) -> None:
    bench.lose_answers = True
    chip = blank_chip()
    bench.issue(chip)
    assert len(chip.apdus) == apdus_of_a_whole_tap()


def test_a_chip_that_refuses_the_key_is_tried_once_a_tap_and_no_more_than_its_patience(
    bench: Bench, database: Database, settings: Settings
) -> None:
    bench.settings = settings
    bench.order_card()
    chip = blank_chip()
    chip.keys[0] = b"\x01" * 16  # says it is blank, and is not

    for tap in range(1, patience.ATTEMPTS_UNPROVED_MAX + 3):
        chip.apdus.clear()
        assert bench.put_down(chip).state is TapState.ENDED
        assert attempts(chip) == (1 if tap <= patience.ATTEMPTS_UNPROVED_MAX else 0)

    assert chip.failures[0] == patience.ATTEMPTS_UNPROVED_MAX < 50
    with database.reader() as session:
        assert session.scalars(select(CardWork.trouble)).one() == "patience"
    database.run(lambda session: patience.forgive(session, uid=chip.uid, actor="admin", at=clock.now()))
    chip.keys[0] = bytes(16)
    assert bench.put_down(chip).state is TapState.DONE
    with database.reader() as session:
        assert session.get_one(Chip, chip.uid).attempts_unproved == 0


def test_a_chip_with_keys_that_are_not_ours_is_not_tried_at_all(bench: Bench) -> None:
    bench.order_card()
    chip = blank_chip()
    chip.key_versions[3] = 7
    assert "密钥" in bench.put_down(chip).text_zh
    assert attempts(chip) == 0


def test_another_chip_does_not_take_the_place_of_the_one_begun_with(bench: Bench) -> None:
    card = bench.order_card()
    begun, other = blank_chip(1), blank_chip(2)
    begun.tear(apdus_of_a_whole_tap() - 4, Tear.AFTER)
    bench.put_down(begun)

    assert "另" not in bench.put_down(other).text_zh
    assert other.key_versions == [0] * 5
    assert bench.put_down(begun).state is TapState.DONE
    assert bench.card(card.id).uid == begun.uid


def test_a_chip_of_another_card_is_refused(bench: Bench) -> None:
    chip = blank_chip()
    bench.issue(chip)
    bench.order_card()
    assert "另一张卡" in bench.put_down(chip).text_zh


def test_a_chip_that_names_two_uids_is_refused_before_anything_is_written(bench: Bench) -> None:
    class Forged(EmulatedChip):
        def transmit(self, apdu: bytes) -> bytes:
            true, self.uid = self.uid, (b"\x04" * 7 if apdu[1] == 0x51 else self.uid)
            try:
                return super().transmit(apdu)
            finally:
                self.uid = true

    bench.order_card()
    chip = Forged(uid=blank_chip().uid)
    assert "芯片号" in bench.put_down(chip).text_zh
    assert bytes(chip.files[2].content) == bytes(256)


def test_a_cancelled_work_lets_its_chip_go_and_the_next_one_takes_it_up(bench: Bench, settings: Settings) -> None:
    bench.settings = settings
    for place in (13, 16, 19, 22):
        chip, first = blank_chip(place), bench.order_card()
        chip.tear(place, Tear.AFTER)
        bench.put_down(chip)
        bench.cancel(first.id)
        assert bench.card(first.id).uid is None
        card = bench.order_card()

        assert bench.put_down(chip).state is TapState.DONE, place

        assert bench.card(card.id).key_version == 2
        assert chip.key_versions == [2] * 5


def test_renewal_gives_the_same_chip_new_keys_of_the_newest_masters_and_a_fresh_counter(
    bench: Bench, site: Site, database: Database
) -> None:
    chip = blank_chip()
    card = bench.issue(chip)
    for _ in range(5):
        last = read_as_a_phone(chip)
    assert site.terminal().begin(SunCard(uri=last)).get_json()["ok"]
    old_keys = list(chip.keys)
    kek = site.settings.key_encryption_key
    assert database.run(lambda s: keys.rotate(s, key_encryption_key=kek, actor="admin", at=clock.now())) == 2
    assert site.terminal().begin(SunCard(uri=read_as_a_phone(chip))).get_json()["ok"], "old keys go on"

    bench.renew(card.id)
    chip.tear(16, Tear.AFTER)
    assert bench.put_down(chip).state is TapState.ENDED
    torn = site.terminal().begin(SunCard(uri=read_as_a_phone(chip))).get_json()
    assert torn["code"] in {"CARD_UNKNOWN", "CARD_AUTH_FAILED", "CARD_BLOCKED"}
    assert bench.put_down(chip).state is TapState.DONE

    renewed = bench.card(card.id)
    assert (renewed.status, renewed.key_version, renewed.read_counter) == (CardStatus.ISSUED, 2, 1)
    assert not set(old_keys) & set(chip.keys)
    assert site.terminal().begin(SunCard(uri=read_as_a_phone(chip))).get_json()["ok"]
    assert site.terminal().begin(SunCard(uri=last)).get_json()["code"] in {"CARD_AUTH_FAILED", "CARD_UNKNOWN"}
    with database.reader() as session:
        assert [(line.version, line.chips) for line in keys.versions(session)] == [(2, 1), (1, 0)]


def test_every_use_of_a_master_key_is_written_down_and_cannot_be_changed(bench: Bench, database: Database) -> None:
    chip = blank_chip()
    bench.issue(chip)
    with database.reader() as session:
        uses = keys.uses(session, uid=chip.uid, limit=100)
        assert {use.slot for use in uses} == set(range(5))
        assert {use.actor.split(":")[0] for use in uses} == {"station"}
        created = session.scalar(select(func.count(KeyUse.id)).where(KeyUse.reason == "created"))
        assert created == 5
        done = session.scalars(select(AuditEntry).where(AuditEntry.action == "card.issue_done")).one()
        assert done.detail["ordered_by"] == "clerk"
        kept = session.scalars(select(CardWork)).one()
        assert kept.status is WorkStatus.DONE
        assert kept.exchange_state is None
    with pytest.raises(Exception, match=r"append-only|permission denied"):
        database.run(lambda session: session.query(KeyUse).delete())


def test_a_station_without_work_or_with_a_foreign_signature_is_told_so(bench: Bench, database: Database) -> None:
    chip = blank_chip()
    assert "没有待制的卡" in bench.put_down(chip).text_zh
    bench.order_card()
    true, bench.key = bench.key, Ed25519PrivateKey.generate()
    assert bench.put_down(chip).state is TapState.ENDED
    bench.key = true
    with database.reader() as session:
        assert session.scalars(select(CardWork.taps)).one() == 0


def test_one_station_has_one_card_in_hand_and_a_card_one_station(bench: Bench) -> None:
    card = bench.order_card()
    with pytest.raises(Exception, match="CARD_BEING_MADE"):
        bench.order(card.id)
    with pytest.raises(Exception, match="STATION_BUSY"):
        bench.order_card()
    with pytest.raises(Exception, match="CARD_STATE_WRONG"):
        bench.order(card.id, WorkPurpose.RENEW)
