"""The server is away: who may start all the same, for how long, and what the server hears of it afterwards."""

from dataclasses import replace
from pathlib import Path

import pytest

from card_terminal.flow import State
from card_terminal.protocol import (
    CostStep,
    EndCause,
    Ended,
    Ev2Card,
    EventKind,
    OfflineCard,
    OfflineList,
    Started,
    TariffSnapshot,
    seal_card_keys,
    sign_offline_list,
)
from card_terminal.readers import Reading
from card_terminal.readers.ntag424 import EmulatedChip
from tests.card_terminal.honest_server import FEN_PER_MINUTE, PRICE, HonestServer, TurnedClock
from tests.card_terminal.world import Station, Wire

HOUR_MS = 3_600_000
K4 = bytes(range(16))
LI, WANG, STOPPED = (b"\x04" + number.to_bytes(6) for number in (1, 2, 3))


def chip(uid: bytes = LI, *, key: bytes = K4) -> EmulatedChip:
    return EmulatedChip(uid=uid, keys=[bytes(16)] * 4 + [key])


def put_down(station: Station, card: EmulatedChip) -> None:
    uid = card.uid.hex().upper()
    shown = Ev2Card(uid=uid, atr=card.atr.hex().upper())
    station.terminal.tap(Reading(card=shown, identity=uid, chip=card))
    card.leave_field()


def new_list(server: HonestServer, *, version: int = 1, limit_fen: int = 20_00, cards: int = 2) -> OfflineList:
    schedule = tuple(CostStep(minute=minute, cost_fen=minute * FEN_PER_MINUTE) for minute in range(1, 481))
    listed = [
        OfflineCard(
            reference=number,
            uid=uid.hex().upper(),
            key_version=1,
            card=f"··{number}",
            name_masked="李*",
            limit_fen=limit_fen,
            tariff=0,
        )
        for number, uid in enumerate((LI, WANG)[:cards], start=1)
    ]
    server.offline_keys = [K4] * cards
    server.offline_list = OfflineList(
        version=version,
        device_id="terminal-1",
        valid_from=server.now_ms(),
        valid_until=server.now_ms() + 24 * HOUR_MS,
        terminal_limit_fen=50_00,
        unsent_max=3,
        sessions_per_card=2,
        tariffs=(TariffSnapshot(text=PRICE, schedule=schedule),),
        cards=tuple(listed),
        hot_uids=(STOPPED.hex().upper(),),
    )
    return server.offline_list


@pytest.fixture
def alone(station: Station, server: HonestServer, wire: Wire) -> Station:
    """A terminal that has a list, and no server any more."""
    new_list(server)
    station.keep_in_touch()
    assert station.offline.version == 1
    wire.is_down = True
    station.keep_in_touch()
    return station


def use(station: Station, card: EmulatedChip, *, minutes: int) -> None:
    put_down(station, card)
    station.wait(3_000)
    assert station.shows(State.ACTIVE), station.view()
    station.wait(minutes * 60_000)
    put_down(station, card)
    station.wait(16_000)
    assert station.shows(State.IDLE)


def refusal(station: Station, card: EmulatedChip) -> str:
    put_down(station, card)
    assert station.shows(State.REFUSED), station.view()
    code = str(station.view()["refusal"]["code"])
    station.wait(9_000)
    return code


def test_a_listed_card_starts_and_ends_alone_and_the_server_hears_all_of_it(
    alone: Station, server: HonestServer, wire: Wire
) -> None:
    put_down(alone, chip())
    view = alone.view()
    assert (view["state"], view["candidate"]["offline"], view["candidate"]["minutes"]) == ("confirm", True, 40)
    assert (view["offline"]["possible"], view["offline"]["limit_fen"]) == (True, 20_00)
    alone.wait(3_000)
    assert alone.view()["session"]["offline"]
    alone.wait(10 * 60_000)
    put_down(alone, chip())
    alone.wait(4_000)
    assert alone.view()["receipt"]["status"] is None
    wire.is_down = False
    alone.keep_in_touch()
    started = server.events[0].body
    assert isinstance(started, Started)
    assert started.offline is not None
    assert (started.offline.version, started.offline.card, started.offline.limit_fen) == (1, 1, 20_00)
    assert abs(started.offline.at_ms - (server.now_ms() - 10 * 60_000)) < 20_000
    assert alone.view()["receipt"]["amount_fen"] == 10 * FEN_PER_MINUTE
    assert alone.view()["offline"] is None


def test_a_session_ends_where_its_limit_is_used_up_to_the_minute(alone: Station, server: HonestServer) -> None:
    put_down(alone, chip())
    alone.wait(33 * 60_000)
    assert alone.view()["session"]["nearly_spent"]
    alone.wait(8 * 60_000)
    assert alone.view()["receipt"] is None
    alone.wire.is_down = False
    alone.keep_in_touch()
    ended = server.events[-1].body
    assert isinstance(ended, Ended)
    assert (ended.elapsed_ms, ended.cause) == (40 * 60_000, EndCause.LIMIT)


def test_a_clone_with_the_same_uid_is_refused_and_tried_five_times_at_most(alone: Station) -> None:
    clone = chip(key=bytes(16))
    for _ in range(7):
        assert refusal(alone, clone) == "CARD_AUTH_FAILED"
    assert clone.total_failures[4] == 5
    # Somebody played with a copy: the card itself waits for the server, and its owner is told so.
    assert refusal(alone, chip()) == "CARD_AUTH_FAILED"
    assert refusal(alone, chip(uid=STOPPED)) == "CARD_HOTLISTED"
    assert refusal(alone, chip(uid=b"\x04" + bytes(6))) == "OFFLINE_CARD_NOT_LISTED"


def test_the_card_itself_clears_the_failures_of_others_before_the_fifth(alone: Station) -> None:
    for _ in range(4):
        assert refusal(alone, chip(key=bytes(16))) == "CARD_AUTH_FAILED"
    use(alone, chip(), minutes=1)
    assert refusal(alone, chip(key=bytes(16))) == "CARD_AUTH_FAILED"


@pytest.mark.parametrize("lists", [0, 1])
def test_a_list_that_goes_while_a_card_is_asked_refuses_the_card_and_ends_nothing(
    alone: Station, server: HonestServer, wire: Wire, monkeypatch: pytest.MonkeyPatch, lists: int
) -> None:
    def meanwhile(_card: OfflineCard) -> bool:
        alone.offline.drop()
        if lists:
            new_list(server, version=2, cards=0)
            wire.is_down = False
            alone.keep_in_touch()
            wire.is_down = True
        return True

    monkeypatch.setattr(alone.offline, "spend_attempt", meanwhile)
    assert refusal(alone, chip()) == "OFFLINE_CARD_NOT_LISTED"


def test_a_card_that_only_says_a_number_never_starts_alone(alone: Station) -> None:
    alone.tap(LI.hex().upper())
    assert alone.view()["refusal"]["code"] == "CARD_AUTH_FAILED"
    alone.wait(9_000)
    alone.tap("1001")
    assert alone.view()["refusal"]["code"] == "OFFLINE_CARD_NOT_LISTED"


def test_the_limits_of_card_and_terminal_survive_a_restart(alone: Station, server: HonestServer, wire: Wire) -> None:
    use(alone, chip(), minutes=19)
    alone.restart()
    put_down(alone, chip())
    assert alone.view()["candidate"]["minutes"] == 21
    alone.wait(3_000)
    alone.restart()
    assert alone.shows(State.ACTIVE)
    assert alone.view()["session"]["offline"]
    alone.wait(60_000)
    put_down(alone, chip())
    alone.wait(16_000)
    assert refusal(alone, chip()) == "OFFLINE_LIMIT_CARD"
    use(alone, chip(uid=WANG), minutes=1)
    assert refusal(alone, chip(uid=WANG)) == "OFFLINE_LIMIT_TERMINAL"
    wire.is_down = False
    alone.keep_in_touch()
    assert kinds(server).count(EventKind.ENDED) == 3
    wire.is_down = True
    alone.keep_in_touch()
    use(alone, chip(uid=WANG), minutes=1)
    assert refusal(alone, chip(uid=WANG)) == "OFFLINE_LIMIT_CARD"
    wire.is_down = False
    alone.keep_in_touch()
    new_list(server, version=2)
    alone.keep_in_touch()
    wire.is_down = True
    alone.keep_in_touch()
    use(alone, chip(), minutes=1)


def kinds(server: HonestServer) -> list[EventKind]:
    return [event.kind for event in server.events]


def test_a_list_ends_after_a_day_by_either_clock(alone: Station, clock: TurnedClock, server: HonestServer) -> None:
    alone.wait(24 * HOUR_MS - 60_000, step_ms=HOUR_MS)
    use(alone, chip(), minutes=1)
    assert refusal(alone, chip()) == "OFFLINE_LIST_EXPIRED"
    assert alone.view()["offline"]["why"]["en"] == "The network has been away for too long"
    # A wall that is set back, and a server that says it were yesterday: the clock that nobody can set still counts.
    clock.wall -= 24 * HOUR_MS
    alone.offline.learn(server.now_ms() - HOUR_MS)
    assert refusal(alone, chip()) == "OFFLINE_LIST_EXPIRED"


def test_after_a_start_of_the_machine_no_clock_is_trusted_before_the_server_is_heard(
    alone: Station, clock: TurnedClock, wire: Wire, server: HonestServer
) -> None:
    clock.boot_key, clock.mono = "boot 2", 5_000
    alone.restart()
    assert refusal(alone, chip()) == "OFFLINE_CLOCK_UNTRUSTED"
    server.skew_ms = 3 * HOUR_MS
    wire.is_down = False
    alone.keep_in_touch()
    alone.keep_in_touch()
    wire.is_down = True
    alone.keep_in_touch()
    put_down(alone, chip())
    alone.wait(3_000)
    assert alone.shows(State.ACTIVE)
    alone.wait(60_000)
    put_down(alone, chip())
    wire.is_down = False
    alone.wait(4_000)
    alone.keep_in_touch()
    began = next(event.body for event in server.events if isinstance(event.body, Started))
    assert began.offline is not None
    # The wall is three hours behind the server's; the time of the session is the server's all the same.
    assert abs(server.now_ms() - began.offline.at_ms - 67_000) < 10_000


def test_a_process_that_dies_and_lives_again_keeps_its_trust_in_time(alone: Station) -> None:
    alone.restart()
    use(alone, chip(), minutes=1)


def test_a_list_is_taken_only_from_the_server_for_this_terminal_and_never_an_older_one(
    alone: Station, server: HonestServer, wire: Wire
) -> None:
    wire.is_down = False
    content = new_list(server, version=2)
    server.offline_list = replace(content, device_id="terminal-2")
    alone.keep_in_touch()
    assert alone.offline.version == 1
    server.offline_list = content
    forged = sign_offline_list(content, key=alone.key, key_id="server-1")
    with pytest.raises(Exception, match="not verified"):
        alone.offline.take(forged, server_time_ms=server.now_ms(), asked_mono_ms=0)
    alone.keep_in_touch()
    assert alone.offline.version == 2
    receiver = alone.offline.public_sealing_key
    for version in (1, 2):
        sealed = seal_card_keys(server.offline_keys, receiver=receiver, device_id="terminal-1", version=version)
        old = sign_offline_list(
            replace(content, version=version, sealed_keys=sealed), key=server.key, key_id="server-1"
        )
        assert not alone.offline.take(old, server_time_ms=server.now_ms(), asked_mono_ms=0)
        assert alone.offline.version == 2


def test_no_new_list_comes_into_force_while_a_session_of_the_old_one_is_open_or_unsent(
    alone: Station, server: HonestServer, wire: Wire
) -> None:
    put_down(alone, chip())
    alone.wait(3_000)
    new_list(server, version=2)
    wire.is_down = False
    alone.keep_in_touch()
    assert alone.offline.version == 1
    alone.wait(60_000)
    put_down(alone, chip())
    alone.wait(4_000)
    alone.keep_in_touch()
    assert alone.offline.version == 2


def test_no_card_key_stands_in_a_file_and_the_key_that_opens_them_is_the_owners(alone: Station, tmp_path: Path) -> None:
    use(alone, chip(), minutes=1)
    assert alone.store is not None
    alone.store.close()
    folder = tmp_path / "terminal"
    kept = b"".join(path.read_bytes() for path in folder.iterdir())
    assert K4 not in kept
    assert K4.hex().encode() not in kept.lower()
    assert (folder / "offline.key").stat().st_mode & 0o777 == 0o600


def test_a_terminal_that_hears_of_its_revocation_forgets_its_list(
    alone: Station, server: HonestServer, wire: Wire
) -> None:
    wire.is_down = False
    server.devices.clear()
    alone.keep_in_touch()
    wire.is_down = True
    alone.keep_in_touch()
    assert refusal(alone, chip()) == "OFFLINE_NO_LIST"
    alone.restart()
    assert refusal(alone, chip()) == "OFFLINE_NO_LIST"
