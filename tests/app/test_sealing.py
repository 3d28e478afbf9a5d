"""The worker seals every few seconds, with a key that is in no copy of the database."""

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from app import sealing
from app.db import Database
from app.settings import Settings
from app.worker import JOBS
from tests.ledger.sealed import settle, superuser, tell_books

KEY = sealing.seal_key(bytes(range(32)))
seal_ledger = next(job for job in JOBS if job.name == "seal_ledger")


@pytest.fixture
def books(database: Database) -> Database:
    tell_books(database)
    return database


def test_the_job_seals_everything_that_is_closed(books: Database, settings: Settings) -> None:
    settle(books)
    assert seal_ledger.run(books, settings) > 0
    assert seal_ledger.run(books, settings) == 0
    key = sealing.seal_key(settings.key_encryption_key)
    found = sealing.verify(books, key=key)
    assert found.findings == ()
    assert found.unsealed_rows == 0


def test_on_a_strange_server_the_job_says_so_and_the_worker_goes_on(books: Database, settings: Settings) -> None:
    with superuser(books) as session:
        session.execute(text("UPDATE ledger.clusters SET system_identifier = 1"))
    with capture_logs() as said:
        assert seal_ledger.run(books, settings) == 0
    (entry,) = said
    assert entry["event"] == "ledger_not_sealed"
    assert "testcard ledger adopt" in entry["why"]


def test_the_key_follows_from_the_key_encryption_key_alone() -> None:
    assert sealing.seal_key(bytes(range(32))).public_key == KEY.public_key
    assert sealing.seal_key(bytes(32)).public_key != KEY.public_key
    assert KEY.key_id == sealing.key_id_of(KEY.public_key)
    assert KEY.private_key.private_bytes_raw().hex() not in repr(KEY)


def test_a_signature_counts_only_for_its_hash_its_key_and_its_name() -> None:
    check = sealing.signature_check([KEY.public_key])
    digest = bytes(range(32))
    signature = KEY.private_key.sign(digest)
    assert check(digest, signature, KEY.key_id)
    assert not check(bytes(32), signature, KEY.key_id)
    assert not check(digest, signature[::-1], KEY.key_id)
    assert not check(digest, b"", KEY.key_id)
    assert not check(digest, signature, "another")
    assert not sealing.signature_check([sealing.seal_key(bytes(32)).public_key])(digest, signature, KEY.key_id)
