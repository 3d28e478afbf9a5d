"""The whole way: a chip in software, vpcd, pcscd, pyscard, the terminal's own threads, HTTP, the ledger."""

import queue
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from app import clock
from app.cards import patience, stations
from app.cards.models import CardStatus, Chip, KeyReason, KeyUse
from app.devices import service as devices
from app.devices.models import TerminalEvent
from app.sessions.models import SessionStatus
from card_terminal import station
from card_terminal.flow import State
from card_terminal.protocol import ReaderState, TapState
from card_terminal.readers import Reading
from card_terminal.readers.ntag424 import EmulatedChip, Tear
from card_terminal.readers.pcsc import PcscReader
from tests.app import taps
from tests.app.cards.bench import Bench
from tests.app.taps import PIN
from tests.card_terminal.virtual_reader import READER, wait_until
from tests.stories.desk import Desk

ONLINE_APDUS = 3
MAKING_APDUS = 26


def at_apdu(chip: EmulatedChip, number: int, do: Callable[[], None]) -> None:
    """Have something happen just before the chip answers an APDU, counted from now."""
    transmit, left = chip.transmit, [number]

    def watched(apdu: bytes) -> bytes:
        if left[0] == 0:
            do()
        left[0] -= 1
        return transmit(apdu)

    chip.transmit = watched  # type: ignore[method-assign]


def test_a_tap_starts_a_tap_ends_and_the_ledger_has_what_it_cost(desk: Desk) -> None:
    terminal = desk.open()
    chip, card = desk.card()

    desk.tap(chip, State.ACTIVE)
    assert desk.sessions()[0].held_fen > 0
    desk.tap(chip, State.ENDING)
    terminal.wait_for(State.RECEIPT)

    wait_until(lambda: desk.sessions()[0].status is SessionStatus.CAPTURED, what="the end")
    (row,) = desk.sessions()
    assert 0 < (row.amount_fen or 0) == 5_000_00 - desk.money(card).available_fen
    assert len(chip.apdus) == ONLINE_APDUS, "an end by one's own card asks nobody"
    with desk.site.database.reader() as session:
        uses = session.query(KeyUse).filter_by(uid=chip.uid, reason=KeyReason.ONLINE_PROOF).all()
        assert {use.slot for use in uses} == {3}
        assert session.get_one(Chip, chip.uid).attempts_unproved == 0
    keys = [key for key in chip.keys if any(key)]
    kept = b"".join(path.read_bytes() for path in desk._folder.rglob("*") if path.is_file())
    assert keys
    assert kept
    assert not any(form in kept for key in keys for form in (key, key.hex().encode(), key.hex().upper().encode()))


def test_a_wrong_pin_starts_nothing_and_the_right_one_does(desk: Desk) -> None:
    terminal = desk.open(typical_session_min=60 * 40)
    chip, _card = desk.card()

    desk.tap(chip, State.PIN)
    terminal.do(lambda each: each.enter_pin("000000"))
    terminal.do(lambda each: each.confirm())
    assert terminal.wait_for(State.PIN, code="PIN_WRONG").session is None
    assert desk.sessions() == []
    terminal.do(lambda each: each.enter_pin(PIN))
    terminal.wait_for(State.ACTIVE)

    assert len(desk.sessions()) == 1


def test_a_copy_with_the_same_uid_is_refused_and_the_card_itself_is_not(desk: Desk) -> None:
    desk.open()
    chip, _card = desk.card()
    copy = EmulatedChip(uid=chip.uid)

    desk.tap(copy, State.REFUSED, code="CARD_AUTH_FAILED")

    assert desk.sessions() == []
    with desk.site.database.reader() as session:
        assert session.get_one(Chip, chip.uid).attempts_unproved == 1
    desk.tap(chip, State.ACTIVE)
    with desk.site.database.reader() as session:
        assert session.get_one(Chip, chip.uid).attempts_unproved == 0


def test_a_copy_cannot_be_tried_for_ever(desk: Desk) -> None:
    desk.open()
    chip, _card = desk.card()
    desk.site.change(Chip, chip.uid, attempts_unproved=patience.ATTEMPTS_UNPROVED_MAX)

    desk.tap(EmulatedChip(uid=chip.uid), State.REFUSED, code="CARD_BLOCKED")


def test_a_card_taken_away_at_any_apdu_costs_nothing_and_may_come_back_at_once(desk: Desk) -> None:
    terminal = desk.open()
    chip, card = desk.card()
    tears = [(0, Tear.BEFORE), *[(place, Tear.AFTER) for place in range(ONLINE_APDUS)]]

    for place, how in tears:
        chip.tear(place, how)
        lying = desk.put(chip)
        terminal.wait_for(State.REFUSED, code="CARD_GONE")
        lying.take_away()
    lying = desk.put(chip)
    terminal.wait_for(State.ACTIVE)
    lying.take_away()

    assert len(desk.sessions()) == 1
    assert desk.money(card).available_fen < 5_000_00
    assert chip.failures == [0] * 5


def test_pcscd_may_die_under_a_session_and_under_a_card_that_lies_there(desk: Desk) -> None:
    terminal = desk.open()
    chip, _card = desk.card()
    desk.tap(chip, State.ACTIVE)
    lying = desk.put(EmulatedChip(uid=b"\x04" + bytes(6)))
    terminal.wait_for(State.OTHER)

    desk.pcscd.stop()
    wait_until(lambda: terminal.program.reader_state is ReaderState.DOWN, what="the terminal notices")
    desk.pcscd.start()
    wait_until(lambda: terminal.program.reader_state is ReaderState.OK, what="the reader is back")
    lying.take_away()
    assert terminal.screen.session is not None
    desk.tap(chip, State.ENDING)
    terminal.wait_for(State.RECEIPT)

    wait_until(lambda: desk.sessions()[0].status is SessionStatus.CAPTURED, what="the end")
    wait_until(lambda: terminal.journal.unsent_count() == 0, what="all is told")
    with desk.site.database.reader() as session:
        kinds = [kind for (kind,) in session.query(TerminalEvent.kind).order_by(TerminalEvent.seq)]
    assert [kind for kind in kinds if kind.startswith("reader")][-2:] == ["reader_down", "reader_up"]


def test_a_server_that_goes_in_the_middle_charges_nothing_and_an_end_needs_no_server(desk: Desk) -> None:
    terminal = desk.open()
    chip, card = desk.card()
    at_apdu(chip, 1, desk.server.down)

    desk.tap(chip, State.REFUSED, code="OFFLINE_NO_LIST")
    assert desk.money(card).available_fen == 5_000_00
    desk.server.up()
    terminal.do(lambda each: each.back())
    desk.tap(chip, State.ACTIVE)
    desk.server.down()
    desk.tap(chip, State.ENDING)
    terminal.wait_for(State.RECEIPT)
    desk.server.up()

    wait_until(lambda: desk.sessions()[-1].status is SessionStatus.CAPTURED, what="the end comes later")
    assert len(desk.sessions()) == 1


def test_while_the_server_is_away_the_card_itself_may_start_and_its_copy_may_not(desk: Desk) -> None:
    terminal = desk.open()
    chip, card = desk.card()
    desk.tap(chip, State.ACTIVE)
    desk.tap(chip, State.ENDING)
    terminal.wait_for(State.RECEIPT)
    wait_until(lambda: desk.sessions()[0].status is SessionStatus.CAPTURED, what="the end")
    desk.get_offline_list()

    desk.server.down()
    desk.tap(EmulatedChip(uid=chip.uid), State.REFUSED, code="CARD_AUTH_FAILED")
    assert terminal.journal.session() is None
    desk.tap(chip, State.ACTIVE)
    desk.tap(chip, State.ENDING)
    terminal.wait_for(State.RECEIPT)
    desk.server.up()

    wait_until(lambda: [row.status for row in desk.sessions()] == [SessionStatus.CAPTURED] * 2, what="both ends")
    assert desk.money(card).principal_fen == 5_000_00 - sum(row.amount_fen or 0 for row in desk.sessions())


def test_a_stolen_terminal_is_refused(desk: Desk) -> None:
    terminal = desk.open()
    chip, _card = desk.card()
    desk.site.database.run(
        lambda session: devices.revoke(
            session, terminal_id=UUID(terminal.identity.device_id), actor="admin", at=clock.now()
        )
    )

    desk.tap(chip, State.REFUSED, code="DEVICE_REVOKED")

    assert desk.sessions() == []


def test_a_card_torn_at_any_apdu_of_its_making_is_finished_by_the_next_tap(desk: Desk) -> None:
    put_down: queue.Queue[Reading] = queue.Queue()
    reader = PcscReader(READER)
    reader.start(put_down.put)
    wait_until(lambda: reader.is_watching, what="the reader")

    def relay(chip: EmulatedChip) -> station.TapResult:
        lying = desk.put(chip)
        try:
            at_station = put_down.get(timeout=60).chip
            assert at_station is not None
            return station.relay(desk.bench, at_station)  # type: ignore[arg-type] # the client as a test has it
        finally:
            lying.take_away()

    for place in range(MAKING_APDUS):
        chip, card = EmulatedChip(uid=b"\x04" + (100 + place).to_bytes(6)), desk.bench.order_card()
        chip.tear(place, Tear.AFTER)
        assert relay(chip).state is TapState.ENDED
        assert desk.bench.card(card.id).status is CardStatus.PREPARING, place
        # What the next tap makes of each is told in test_personalisation, where nobody waits for a reader.
        if place % 5 == 0:
            assert relay(chip).state is TapState.DONE, place
            assert desk.bench.card(card.id).status is CardStatus.ISSUED
        else:
            desk.bench.cancel(card.id)
    reader.stop()


def test_the_program_itself_reads_on_pcsc_what_the_stations_program_has_made(desk: Desk, tmp_path: Path) -> None:
    made_at = desk.site.database.run(
        lambda session: stations.create(session, code="S-whole", place="", actor="admin", at=clock.now())
    )
    bench = Bench(database=desk.site.database, client=desk.site.client, id=made_at.station.id)
    chip = EmulatedChip(uid=bytes.fromhex("04112233445566"))
    with program("station_program", desk, tmp_path / "station", "--enrol-code", made_at.code) as said:
        wait_until(lambda: "请放上卡片" in said(), what=said)
        card = bench.order_card()
        lying = desk.put(chip)
        wait_until(lambda: "制卡完成" in said(), what=said)
        lying.take_away()
    at_instrument = desk.site.terminal().instrument_id
    made = desk.site.database.run(
        lambda session: devices.create_terminal(
            session, code="T-program", instrument_id=at_instrument, actor="test", at=clock.now()
        )
    )
    desk.site.database.run(lambda session: taps.put_money(session, card.account_id, principal_fen=100_00))
    options = ("--enrol-code", made.code, "--reader", "pcsc", "--confirm-s", "0", "--kiosk-port", "0")
    with program("__main__", desk, tmp_path / "terminal", *options) as said:
        wait_until(lambda: '"enrolled"' in said(), what=said)
        taps.approve(desk.site.database, made.terminal.id)
        wait_until(lambda: READER in said(), what=said)
        lying = desk.put(chip)
        wait_until(lambda: any(row.status is SessionStatus.ACTIVE for row in desk.sessions()), what=said)
        lying.take_away()


@contextmanager
def program(name: str, desk: Desk, folder: Path, *options: str) -> Iterator[Callable[[], str]]:
    """A program of the package on the virtual reader, which is told to stop in the end; gives what it has said."""
    log = folder.with_suffix(".log")
    command = [sys.executable, "-m", f"card_terminal.{name}", "--server", desk.server.url, "--data", str(folder)]
    with log.open("wb") as file:
        running = subprocess.Popen(  # noqa: S603 - our own
            [*command, "--reader-device", READER, *options], stdout=file, stderr=file, stdin=subprocess.DEVNULL
        )
    try:
        yield log.read_text
    finally:
        running.terminate()
        assert running.wait(timeout=60) == 0, log.read_text()
