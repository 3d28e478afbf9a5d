"""The parts of the terminal by themselves: states, clock, settings, store, cards in a folder, enrolment."""

import json
import sqlite3
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from card_terminal import settings as terminal_settings
from card_terminal.clock import Anchor, MachineClock
from card_terminal.crypto.sun import parse_sun_uri, read_picc_data, verify_sun_mac
from card_terminal.enrolment import EnrolmentError, enrol
from card_terminal.flow import TRANSITIONS, FlowError, Signal, State, after, allows
from card_terminal.identifiers import time_ordered_id
from card_terminal.identity import load_key
from card_terminal.protocol import CardBeginAnswer, SunCard, Words
from card_terminal.readers import Reading
from card_terminal.readers.simulated import SimulatedReader, UnknownCardError
from card_terminal.screen import Candidate
from card_terminal.settings import SettingsError
from card_terminal.store import Store
from tests.card_terminal.honest_server import TurnedClock
from tests.card_terminal.world import Wire

WITH_SESSION = {State.ACTIVE, State.OTHER, State.ENDING, State.CALLING, State.TAKING_OVER}


def test_every_state_can_be_reached_and_left() -> None:
    reached = {State.IDLE}
    while new := {to for (start, _), to in TRANSITIONS.items() if start in reached} - reached:
        reached |= new
    assert reached == set(State)
    assert {start for start, _ in TRANSITIONS} == set(State)


@given(st.sampled_from(State), st.sampled_from(Signal))
def test_what_is_not_in_the_table_cannot_happen(state: State, signal: Signal) -> None:
    if allows(state, signal):
        assert after(state, signal) in State
    else:
        with pytest.raises(FlowError):
            after(state, signal)


def test_a_running_session_is_left_by_its_end_or_by_a_confirmed_take_over_only() -> None:
    leaving = {
        (start, signal)
        for (start, signal), to in TRANSITIONS.items()
        if start in WITH_SESSION and to not in WITH_SESSION and signal is not Signal.ENDED
    }
    assert leaving == {(State.TAKING_OVER, Signal.KNOWN), (State.TAKING_OVER, Signal.PIN_NEEDED)}
    entering = {
        signal for (start, signal), to in TRANSITIONS.items() if start not in WITH_SESSION and to in WITH_SESSION
    }
    assert entering == {Signal.GRANTED, Signal.RESUMED}


@pytest.mark.parametrize("speed", [1.0, 30.0])
def test_wall_and_monotonic_time_run_at_the_same_simulated_speed(speed: float) -> None:
    simulated = datetime(2009, 3, 2, 8, tzinfo=UTC)
    anchor = Anchor(real=datetime.now(UTC), simulated=simulated, speed=speed)
    clock = MachineClock(anchor)
    wall, mono = clock.wall_ms(), clock.mono_ms()
    time.sleep(0.1)
    assert abs(wall - simulated.timestamp() * 1000) < 100 * speed
    passed_wall, passed_mono = clock.wall_ms() - wall, clock.mono_ms() - mono
    assert passed_mono >= 100 * speed
    assert abs(passed_wall - passed_mono) <= 20 * speed
    assert clock.real_s(60_000) == 60 / speed


def test_the_machines_boot_has_one_name_for_every_process_on_the_same_clock() -> None:
    assert MachineClock().boot_key == MachineClock().boot_key
    anchor = Anchor.parse("2026-01-01T00:00:00+00:00,2009-01-01T00:00:00+00:00,30")
    assert MachineClock(anchor).boot_key != MachineClock().boot_key


@pytest.mark.parametrize(
    "text", ["", "a,b,c", "2026-01-01,2026-01-01", "2026-01-01,2026-01-01,0", "2026-01-01,2026-01-01,nan"]
)
def test_a_wrong_anchor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        Anchor.parse(text)


@given(st.integers(0, 2**48 - 1))
def test_ids_are_uuids_of_version_7_in_the_order_of_time(wall_ms: int) -> None:
    made = time_ordered_id(wall_ms)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == wall_ms
    assert made != time_ordered_id(wall_ms)


def load(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], *flags: str) -> terminal_settings.Settings:
    for name in ("SERVER", "DATA", "CARDS", "SIMULATE", "KIOSK_PORT", "CONFIRM_S", "CLOCK_ANCHOR", "ENROL_CODE"):
        monkeypatch.setenv(f"TERMINAL_{name}", environment.get(name, ""))
        if name not in environment:
            monkeypatch.delenv(f"TERMINAL_{name}")
    return terminal_settings.load(flags)


def test_flags_win_over_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = load(monkeypatch, {"DATA": str(tmp_path), "KIOSK_PORT": "1"}, "--simulate", "--kiosk-port", "9001")
    assert (settings.kiosk_port, settings.simulate, settings.cards_dir) == (9001, True, tmp_path / "cards")


def test_all_mistakes_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as caught:
        load(monkeypatch, {"SERVER": "ftp://x", "KIOSK_PORT": "70000", "CLOCK_ANCHOR": "soon"}, "--confirm-s", "x")
    for name in ("SERVER", "KIOSK_PORT", "CLOCK_ANCHOR", "CONFIRM_S"):
        assert f"TERMINAL_{name}" in str(caught.value)


def test_events_cannot_be_changed_or_removed(tmp_path: Path) -> None:
    store = Store(tmp_path / "journal.sqlite")
    with store.transaction() as connection:
        connection.execute("INSERT INTO event (seq, kind, message) VALUES (1, 'started', 'x')")
    for change in ("UPDATE event SET message = 'y'", "DELETE FROM event"):
        with pytest.raises(sqlite3.IntegrityError), store.transaction() as connection:
            connection.execute(change)
    with store.transaction() as connection:
        connection.execute("UPDATE event SET result = '{}'")
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    store.close()


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "journal.sqlite")
    with pytest.raises(sqlite3.IntegrityError), store.transaction() as connection:
        connection.executemany("INSERT INTO fact VALUES (?, ?)", [("a", "b"), ("a", "c")])
    assert store.fact("a") is None
    store.keep(a="b", c="d")
    store.keep(a=None)
    assert (store.fact("a"), store.fact("c")) == (None, "d")
    store.close()


def test_a_commit_that_fails_leaves_the_store_usable(tmp_path: Path) -> None:
    store = Store(tmp_path / "journal.sqlite")
    with store.transaction() as connection:
        connection.execute("CREATE TABLE child (name REFERENCES fact (name) DEFERRABLE INITIALLY DEFERRED)")
    connection.execute("PRAGMA foreign_keys = ON")
    with pytest.raises(sqlite3.IntegrityError), store.transaction() as connection:
        connection.execute("INSERT INTO child VALUES ('nobody')")
    store.keep(a="b")
    assert store.fact("a") == "b"
    store.close()


def test_the_journal_is_its_owners_also_in_a_folder_that_anybody_may_read(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    store = Store(tmp_path / "journal.sqlite")
    store.keep(mark_key="secret")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("journal.sqlite*")} == {0o600}
    store.close()


def test_no_pin_stands_in_what_is_written_of_a_candidate() -> None:
    told = CardBeginAnswer(
        token="t" * 20, card="1001", name_masked="李*", pin_required=True, actions=(), available_fen=0,
        price=Words(zh="", en=""), server_time=0,
    )  # fmt: skip
    candidate = Candidate(answer=told, card_mark="", session_id=time_ordered_id(0), minutes=1, pin="2468")
    assert "2468" not in repr(candidate)
    assert told.token not in repr(candidate)


def test_the_key_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    first, second = load_key(tmp_path), load_key(tmp_path)
    assert first.private_bytes_raw() == second.private_bytes_raw()
    assert (tmp_path / "terminal.key").stat().st_mode & 0o077 == 0


def cards_folder(folder: Path) -> Path:
    sun = {
        "class": "sun", "label": "Li 1001", "uid": "04DE5F1EACC040", "k_meta": "00" * 16, "k_file": "11" * 16,
        "counter": 4, "base_uri": "https://card.example/t",
    }  # fmt: skip
    (folder / "li.json").write_text(json.dumps(sun))
    (folder / "typed.json").write_text(json.dumps({"class": "typed", "number": "4001-0001"}))
    (folder / "broken.json").write_text("{")
    return folder


def test_a_virtual_card_writes_a_message_that_the_server_believes_and_counts_on(tmp_path: Path) -> None:
    readings: list[Reading] = []
    for _ in range(2):
        reader = SimulatedReader(cards_folder(tmp_path) if not readings else tmp_path)
        reader.start(readings.append)
        reader.present("li", pin="1234", minutes=5)
    assert [reading.identity for reading in readings] == ["04DE5F1EACC040"] * 2
    counters = []
    for reading in readings:
        assert isinstance(reading.card, SunCard)
        message = parse_sun_uri(reading.card.uri)
        picc = read_picc_data(message.encrypted, k_meta=bytes(16))
        assert verify_sun_mac(message.mac, picc=picc, k_file=b"\x11" * 16)
        counters.append(picc.counter)
    assert counters == [5, 6]


def test_two_terminals_never_show_one_counter_twice(tmp_path: Path) -> None:
    cards_folder(tmp_path)
    shown: list[str] = []

    def tap() -> None:
        reader = SimulatedReader(tmp_path)
        reader.start(lambda reading: shown.append(reading.card.uri if isinstance(reading.card, SunCard) else ""))
        for _ in range(10):
            reader.present("li")

    threads = [threading.Thread(target=tap) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counters = [read_picc_data(parse_sun_uri(uri).encrypted, k_meta=bytes(16)).counter for uri in shown]
    assert sorted(counters) == list(range(5, 45))


@pytest.mark.parametrize("name", ["nobody", "broken", "../li", "", "li.json"])
def test_a_card_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    reader = SimulatedReader(cards_folder(tmp_path))
    with pytest.raises(UnknownCardError):
        reader.present(name)


def test_a_new_terminal_introduces_itself_once_and_waits_for_a_silent_server(
    tmp_path: Path, wire: Wire, clock: TurnedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("card_terminal.enrolment._PAUSE_S", 0.0)
    store, key = Store(tmp_path / "journal.sqlite"), load_key(tmp_path)
    stopping = threading.Event()
    transport: object = wire
    wire.faults = ["down", "lost", "error", "garbage"]
    common = {"key": key, "transport": transport, "clock": clock, "stopping": stopping}
    identity = enrol(store, code="GOOD-CODE", **common)  # type: ignore[arg-type]
    assert identity is not None
    assert identity.device_id == "terminal-1"
    asked = len(wire.sent)
    assert enrol(store, code=None, **common) == identity  # type: ignore[arg-type]
    assert len(wire.sent) == asked


@pytest.mark.parametrize("code", [None, "WRONG-CODE"])
def test_without_a_good_code_a_new_terminal_says_what_is_missing(
    tmp_path: Path, wire: Wire, clock: TurnedClock, code: str | None
) -> None:
    store, key = Store(tmp_path / "journal.sqlite"), load_key(tmp_path)
    transport: object = wire
    with pytest.raises(EnrolmentError, match="code"):
        enrol(store, key=key, code=code, transport=transport, clock=clock, stopping=threading.Event())  # type: ignore[arg-type]


def test_a_day_of_simulated_life_is_two_days_at_double_speed() -> None:
    anchor = Anchor.parse("2026-01-01T00:00:00+00:00,2009-01-01T00:00:00+00:00,2")
    real = datetime.now(UTC)
    expected = anchor.simulated + (real - anchor.real) * 2
    shown = datetime.fromtimestamp(MachineClock(anchor).wall_ms() / 1000, UTC)
    assert abs(shown - expected) < timedelta(seconds=2)
