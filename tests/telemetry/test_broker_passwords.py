"""One verifier of a password serves Mosquitto and the embedded broker; a changed or revoked one is out in a second."""

import errno
import subprocess
import threading
from pathlib import Path

import pytest

from app.db import Database
from app.devices import roster
from telemetry import boxes, broker
from telemetry.broker import Role, User, replace_boxes, write_users
from telemetry.passwords import is_password, new_password, verifier_of
from tests.telemetry.network import MOSQUITTO, Hand, free_port, thread, wait_until
from tests.telemetry.wire import BOX, at, minute


def test_a_verifier_takes_its_password_and_no_other() -> None:
    password = new_password()
    verifier = verifier_of(password)
    assert is_password(password, verifier=verifier)
    assert not is_password(password + "x", verifier=verifier)
    assert not is_password("", verifier=verifier)
    assert password not in verifier
    assert verifier_of(password) != verifier  # salted


@pytest.mark.parametrize(
    "verifier",
    ["", "$7$", "$7$0$AAAA$AAAA", "$6$101$AAAA$AAAA", "$7$9999999999$AAAA$AAAA", "$7$101$?$AAAA", "$7$x$a$b"],
)
def test_what_is_no_verifier_takes_no_password(verifier: str) -> None:
    assert not is_password("", verifier=verifier)


def test_mosquitto_reads_our_verifiers(tmp_path: Path) -> None:
    if MOSQUITTO is None:
        pytest.skip("needs Debian's mosquitto")
    port, passwords, configuration = free_port(), tmp_path / "passwords", tmp_path / "mosquitto.conf"
    passwords.write_text(f"{BOX}:{verifier_of('the right one')}\n")
    # As root Mosquitto would become another user, who cannot read this folder.
    configuration.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\nuser root\n"
    )
    process = subprocess.Popen([MOSQUITTO, "-c", str(configuration)])  # noqa: S603 - our own command
    try:
        wait_until(lambda: _connects(port, "the right one"))
        assert not _connects(port, "the wrong one")
    finally:
        process.kill()
        process.wait()


def _connects(port: int, password: str) -> bool:
    hand = Hand(port, password=password)
    try:
        return hand.connect()
    except OSError:
        return False
    finally:
        hand.close()


def test_the_embedded_broker_lets_in_who_is_enrolled_and_puts_out_who_is_changed_or_revoked(
    database: Database, tmp_path: Path
) -> None:
    users, port = tmp_path / "users.json", free_port()
    write_users(users, users=[User(name="ingest", role=Role.INGEST, password="i")])
    with thread(lambda stop: broker.run(port=port, users_file=users, stop=stop)):
        wait_until(lambda: _is_up(port))
        assert not _connects(port, "first")
        with database.transaction() as session:
            boxes.enrol(session, code=BOX, at=at(0))
            boxes.set_password(session, code=BOX, password="first", at=at(0))
        assert roster.bring_up_to_date(database, users_file=users)
        assert not roster.bring_up_to_date(database, users_file=users)
        hand = Hand(port, password="first")
        assert hand.connect()
        ingest = Hand(port, name="ingest", password="i")
        assert ingest.connect()
        assert ingest.listen("cb/v1/+/+/m")
        hand.send("m", minute(1, 5.0))
        ingest.received.get(timeout=10)

        with database.transaction() as session:
            boxes.set_password(session, code=BOX, password="second", at=at(1))
        roster.bring_up_to_date(database, users_file=users)
        hand.send("m", minute(2, 5.0))  # its connection is from before the change: nobody hears it any more
        hand.close()
        assert not _connects(port, "first")
        renewed = Hand(port, password="second")
        assert renewed.connect()
        renewed.send("m", minute(3, 5.0))
        _topic, heard = ingest.received.get(timeout=10)
        assert b'"seq": 3' in heard

        with database.transaction() as session:
            boxes.revoke(session, code=BOX, at=at(2))
        roster.bring_up_to_date(database, users_file=users)
        assert not _connects(port, "second")
        renewed.close()
        ingest.close()


def _is_up(port: int) -> bool:
    hand = Hand(port, name="ingest", password="i")
    try:
        return hand.connect()
    except OSError:
        return False
    finally:
        hand.close()


def test_the_roster_leaves_who_is_no_box(tmp_path: Path) -> None:
    users = tmp_path / "users.json"
    write_users(
        users,
        users=[User(name="ingest", role=Role.INGEST, password="i"), User(name="old", role=Role.BOX, password="o")],
    )
    assert replace_boxes(users, verifiers={BOX: verifier_of("b")})
    text = users.read_text()
    assert "ingest" in text
    assert BOX in text
    assert "old" not in text


def test_the_keeper_survives_a_database_that_is_away(tmp_path: Path) -> None:
    away = Database("postgresql://nobody@127.0.0.1:9/none")
    users = tmp_path / "users.json"
    write_users(users, users=[User(name="ingest", role=Role.INGEST, password="i")])
    before = users.read_text()
    stop = threading.Event()
    keeper = threading.Thread(target=roster.keep, args=(away,), kwargs={"users_file": users, "stop": stop})
    keeper.start()
    stop.wait(1.3)
    assert keeper.is_alive()
    stop.set()
    keeper.join()
    away.close()
    assert users.read_text() == before


def test_the_roster_goes_on_after_a_file_that_could_not_be_written(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "EVERY_S", 0.02)
    with database.transaction() as session:
        boxes.enrol(session, code=BOX, at=at(0))
        boxes.set_password(session, code=BOX, password="first", at=at(0))
    tries: list[Path] = []
    users = tmp_path / "users.json"
    replace = broker.replace_boxes

    def on_a_full_disk_at_first(path: Path, **verifiers: dict[str, str]) -> bool:
        tries.append(path)
        if len(tries) == 1:
            raise OSError(errno.ENOSPC, "no space left on device")
        return replace(path, **verifiers)

    monkeypatch.setattr(broker, "replace_boxes", on_a_full_disk_at_first)
    write_users(users, users=[User(name="ingest", role=Role.INGEST, password="i")])
    with thread(lambda stop: roster.keep(database, users_file=users, stop=stop)):
        wait_until(lambda: BOX in users.read_text(encoding="utf-8"))
