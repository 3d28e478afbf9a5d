"""A real Mosquitto with the files of `broker config`: TLS, passwords, everyone held to its own topics."""

import contextlib
import datetime as dt
import gc
import ipaddress
import queue
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select

from app.cli import commands
from app.db import Database
from telemetry import boxes, mosquitto
from telemetry.consumer import Consumer
from telemetry.models import Message
from telemetry.shards import shards_of
from tests.telemetry.network import MOSQUITTO, Hand, free_port, wait_until
from tests.telemetry.wire import BOX, Server, at, minute, topic

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
INGEST_PASSWORD = "the password of the ingest"
BOX_PASSWORD = "the password of the box"
SETS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate that vouches for itself, with its key, as files."""

    file: Path
    key: Path


def certificate(folder: Path, name: str, *, host: str = "127.0.0.1") -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    found = Certificate(file=folder / f"{name}.pem", key=folder / f"{name}.key")
    found.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pkcs8, clear = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    found.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, clear))
    return found


@dataclass
class Site:
    """An enrolled box, and a Mosquitto whose files the command wrote."""

    server: Server
    folder: Path
    port: int
    write: Callable[..., str]

    def consumer(self, *, tls: ssl.SSLContext | None = None, number: int | None = None) -> Consumer:
        numbers = range(SETS) if number is None else (number,)
        made = Consumer(
            transaction=self.server.database.transaction,
            now=lambda: at(1),
            host="127.0.0.1",
            port=self.port,
            username="ingest",
            password=INGEST_PASSWORD,
            tls=tls,
            shards=(),
        )
        for each in numbers:
            made.attach(f"ingest-{each:02d}", shards=shards_of(each, sets=SETS))
        return made


@pytest.fixture
def site(server: Server, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    server.enrol()
    server.enrol("cb-002")
    for code in (BOX, "cb-002"):
        set_password(server.database, code, BOX_PASSWORD)
    for name, value in {
        "DATABASE_URL": database_url,
        "SECRET_KEY": "s" * 32,
        "KEY_ENCRYPTION_KEY": "00" * 32,
        "MQTT_PASSWORD": INGEST_PASSWORD,
        "INGEST_SETS": str(SETS),
    }.items():
        monkeypatch.setenv(f"TESTCARD_{name}", value)
    port = free_port()

    def write(*options: str) -> str:
        # As root Mosquitto would become another user, who cannot read the folder of a test.
        arguments = ["broker", "config", str(tmp_path), "--port", str(port), "--user", "root", *options]
        ended = CliRunner().invoke(commands, arguments)
        assert ended.exit_code == 0, ended.output
        return ended.output

    return Site(server=server, folder=tmp_path, port=port, write=write)


def set_password(database: Database, code: str, password: str) -> None:
    with database.transaction() as session:
        boxes.set_password(session, code=code, password=password, at=at(0))


@contextlib.contextmanager
def broker(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    assert MOSQUITTO is not None
    process = subprocess.Popen(  # noqa: S603 - our own command
        [MOSQUITTO, "-c", str(site.folder / mosquitto.CONFIGURATION)], stderr=subprocess.DEVNULL
    )
    try:
        wait_until((site.folder / mosquitto.PROCESS).exists)
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def running(consumer: Consumer) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=consumer.run, args=(stop,))
    thread.start()
    try:
        wait_until(lambda: all(session.listens.is_set() for session in set(consumer._sessions.values())))
        yield
    finally:
        stop.set()
        thread.join()


def connects(site: Site, **who: Any) -> bool:
    hand = Hand(site.port, **{"password": BOX_PASSWORD, **who})
    try:
        return hand.connect()
    finally:
        hand.close()


def test_the_settings_are_those_that_were_measured(site: Site) -> None:
    site.write()
    lines = (site.folder / mosquitto.CONFIGURATION).read_text().splitlines()
    assert {
        "allow_anonymous false",
        "max_queued_messages 0",
        "max_inflight_messages 10000",
        "persistence true",
        "autosave_on_changes true",
        "autosave_interval 1",
    } <= set(lines)
    for name in (mosquitto.PASSWORDS, mosquitto.ACCESS):
        assert (site.folder / name).stat().st_mode & 0o077 == 0
    assert "$7$" in (site.folder / mosquitto.PASSWORDS).read_text()


def test_in_the_clear_it_listens_to_this_machine_only(site: Site) -> None:
    with pytest.raises(AssertionError, match="give a certificate"):
        site.write("--listen", "0.0.0.0")  # noqa: S104 - that is what is refused


def test_wrong_password_stranger_and_other_names_are_kept_out(site: Site) -> None:
    site.write()
    with broker(site):
        assert connects(site)
        assert not connects(site, password="wrong")
        assert not connects(site, name="cb-999")
        assert not connects(site, name="ingest-00")
        assert not connects(site, name="ingest", password=INGEST_PASSWORD)


def test_a_spoofed_topic_reaches_nobody_and_a_box_hears_only_what_is_for_it(site: Site) -> None:
    site.write()
    with broker(site), running(site.consumer()):
        spoofing = Hand(site.port, password=BOX_PASSWORD)
        assert spoofing.connect()
        spoofing.send("m", minute(1, 5.0), box="cb-002")  # for which this Mosquitto throws it out
        spoofing.close()
        box, other = Hand(site.port, password=BOX_PASSWORD), Hand(site.port, name="cb-002", password=BOX_PASSWORD)
        assert box.connect()
        assert other.connect()
        assert other.listen(topic("ack", box="cb-002"))
        other.listen("#")
        assert box.listen(topic("ack"))
        box.send("m", minute(1, 5.0))
        assert box.received.get(timeout=20)[0] == topic("ack")
        with pytest.raises(queue.Empty):
            other.received.get(timeout=0.3)
        box.close()
        other.close()
    assert site.server.dead_reasons() == []
    with site.server.database.reader() as session:
        assert list(session.scalars(select(Message.box))) == [BOX]


def test_with_anothers_client_id_nobody_is_thrown_out(site: Site) -> None:
    site.write()
    with broker(site):
        box = Hand(site.port, password=BOX_PASSWORD)
        assert box.connect()
        assert box.listen(topic("ack"))
        thief = Hand(site.port, name="cb-002", password=BOX_PASSWORD, client_id=BOX)
        assert thief.connect()
        assert box.client.is_connected()
        assert box.listen(topic("cmd"))
        thief.close()
        box.close()


def test_a_revoked_box_and_an_old_password_are_out_at_the_next_writing(site: Site) -> None:
    site.write()
    with broker(site):
        assert connects(site)
        with site.server.database.transaction() as session:
            boxes.revoke(session, code=BOX, at=at(1))
        set_password(site.server.database, "cb-002", "another")
        site.write()
        wait_until(lambda: not connects(site))
        assert not connects(site, name="cb-002")
        assert connects(site, name="cb-002", password="another")
        before = (site.folder / mosquitto.PASSWORDS).read_bytes()
        site.write()
        assert (site.folder / mosquitto.PASSWORDS).read_bytes() == before


def test_no_box_lets_itself_in_as_the_ingest() -> None:
    verifiers = {"ingest-00": "$7$of the box", BOX: "$7$x"}
    text = mosquitto.passwords(verifiers, ingest="ingest", ingest_verifier="$7$ours", sets=2)
    assert "of the box" not in text
    assert mosquitto.access(verifiers, ingest="ingest", sets=2).count("user ingest-00") == 1


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_over_tls_messages_arrive_and_a_wrong_certificate_is_refused(site: Site) -> None:
    right, wrong = certificate(site.folder, "right"), certificate(site.folder, "wrong")
    elsewhere = certificate(site.folder, "elsewhere", host="192.0.2.1")
    site.write("--certificate", str(right.file), "--key", str(right.key))
    with broker(site), running(site.consumer(tls=ssl.create_default_context(cafile=right.file))):
        hand = Hand(site.port, password=BOX_PASSWORD)
        hand.client.tls_set_context(ssl.create_default_context(cafile=right.file))
        assert hand.connect()
        assert hand.listen(topic("ack"))
        hand.send("m", minute(1, 5.0))
        assert hand.received.get(timeout=20)[0] == topic("ack")
        hand.close()
        assert not reaches(site, trust=wrong)
    site.write("--certificate", str(elsewhere.file), "--key", str(elsewhere.key))
    with broker(site):  # the right authority, for another address
        assert not reaches(site, trust=elsewhere)


def reaches(site: Site, *, trust: Certificate) -> bool:
    """Say whether an ingest that trusts this certificate logs in within some seconds."""
    failed = threading.Event()
    consumer = site.consumer(tls=ssl.create_default_context(cafile=trust.file), number=0)
    (session,) = set(consumer._sessions.values())
    session._client.on_connect_fail = lambda *_: failed.set()
    stop = threading.Event()
    thread = threading.Thread(target=consumer.run, args=(stop,))
    thread.start()
    wait_until(lambda: failed.is_set() or session.listens.is_set())
    stop.set()
    thread.join()
    del session._client
    gc.collect()
    return session.listens.is_set()
