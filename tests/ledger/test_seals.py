"""Sealing takes every row once, in one order, and never one whose neighbours may still come."""

import threading
from hashlib import sha256
from uuid import UUID, uuid4

import pytest
import sqlalchemy.exc
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

import ledger
from app.db import Database
from ledger import NewAccount, NewJournal, NewTransfer, merkle
from ledger.lines import KINDS
from ledger.seals import NO_HASH, hash_of, leaves_of
from tests.ledger.sealed import SEALS, found, seal, seal_at_once, sealed_rows, sign, superuser, tell_books, verified
from tests.ledger.stories import ident
from tests.owner import as_owner

BANK, CARD = ident("bank"), ident("card:7")


def seals(database: Database) -> list[ledger.Seal]:
    with database.reader() as session:
        rows = session.execute(text(f"SELECT {SEALS.COLUMNS} FROM ledger.seals ORDER BY number"))  # noqa: S608 - column names only
        return [ledger.Seal._make(row) for row in rows]


def pay(session: Session, *, times: int = 1) -> list[UUID]:
    """Write transfers in the transaction that is open."""
    wishes = [
        NewTransfer(id=uuid4(), debit_account_id=BANK, credit_account_id=CARD, amount_fen=1, code=1)
        for _ in range(times)
    ]
    assert all(result.ok for result in ledger.create_transfers(session, wishes))
    return [wish.id for wish in wishes]


@pytest.fixture
def books(database: Database) -> Database:
    tell_books(database)
    return database


@pytest.fixture
def _blocks_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SEALS, "BLOCK_ROWS", 4)


@given(leaves=st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=70))
def test_the_root_is_that_of_rfc_6962(leaves: list[bytes]) -> None:
    def tree(hashes: list[bytes]) -> bytes:
        if len(hashes) == 1:
            return hashes[0]
        half = 1 << (len(hashes) - 1).bit_length() - 1
        return sha256(b"\x01" + tree(hashes[:half]) + tree(hashes[half:])).digest()

    assert merkle.root(leaves) == tree(leaves)


@given(data=st.data())
def test_the_path_of_every_leaf_leads_to_the_root(data: st.DataObject) -> None:
    leaves = data.draw(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=70))
    index = data.draw(st.integers(0, len(leaves) - 1))
    hash_ = leaves[index]
    for side, other in merkle.path(leaves, index):
        left, right = (bytes.fromhex(other), hash_) if side == "left" else (hash_, bytes.fromhex(other))
        hash_ = sha256(b"\x01" + left + right).digest()
    assert hash_ == merkle.root(leaves)


@pytest.mark.usefixtures("_blocks_of_four")
def test_every_row_of_every_kind_is_sealed_once_in_a_chain_of_blocks(books: Database) -> None:
    rows = sealed_rows(books)
    assert seal(books) == rows
    log = seals(books)
    assert sum(block.rows_count for block in log) == rows
    assert [block.number for block in log] == list(range(1, len(log) + 1))
    assert [block.previous_hash for block in log] == [NO_HASH, *(block.hash for block in log[:-1])]
    assert [block.last for block in log] == sorted(block.last for block in log)
    assert all(block.rows_count == 4 for block in log[:-1])
    with books.reader() as session:
        keys = session.execute(text("SELECT string_agg(keys, '' ORDER BY number) FROM ledger.seals")).scalar_one()
        assert {bytes([letter]) for letter in keys[::17]} == {kind.letter.encode() for kind in KINDS}
        for block in log:
            assert merkle.root(leaves_of(session, block)) == block.root
            assert hash_of(block) == block.hash
            assert block.signature == sign(block.hash)


def test_what_is_sealed_is_not_sealed_again_and_what_comes_later_is(books: Database) -> None:
    rows = seal(books)
    assert seal(books) == 0
    with books.transaction() as session:
        pay(session, times=3)
    with books.reader() as session:
        waiting = ledger.unsealed(session)
    assert waiting.rows == 3
    assert 0 <= waiting.oldest_s < 60
    assert seal(books) == 3
    assert [block.rows_count for block in seals(books)] == [rows, 3]
    with books.reader() as session:
        assert ledger.unsealed(session) == (0, 0)
    assert verified(books).findings == ()


@pytest.mark.usefixtures("_blocks_of_four")
def test_a_block_may_end_inside_a_transaction(books: Database) -> None:
    seal(books)
    with books.transaction() as session:
        pay(session, times=10)
    assert seal(books, limit_blocks=1) == 4
    assert seal(books, limit_blocks=1) == 4
    assert seal(books) == 2
    assert verified(books).findings == ()
    assert verified(books).sealed_rows == sealed_rows(books)


@pytest.mark.usefixtures("_blocks_of_four")
def test_accounts_and_journals_of_one_transaction_stand_in_one_order_with_its_transfers(books: Database) -> None:
    seal(books)
    accounts = [NewAccount(id=uuid4(), code=1001) for _ in range(3)]
    with books.transaction() as session:
        ledger.create_accounts(session, accounts)
        for _ in range(3):
            transfer = NewTransfer(
                id=uuid4(), debit_account_id=accounts[0].id, credit_account_id=accounts[1].id, amount_fen=1, code=1
            )
            journal = NewJournal(
                id=uuid4(),
                kind="test",
                reference="",
                text="收费|分析\n",
                actor="7",
                idempotency_key=str(uuid4()),
                transfers=(transfer,),
            )
            assert ledger.post_journal(session, journal).ok
    assert seal(books) == 9
    assert verified(books).findings == ()


def test_a_writer_that_is_slow_to_commit_is_not_skipped(books: Database) -> None:
    seal(books)
    with books.transaction() as slow:
        (early,) = pay_apart(slow)
        with books.transaction() as quick:
            pay(quick)
        assert seal_at_once(books) == 0, "the slow one has the smaller number, so nothing above it is closed"
        with books.reader() as session:
            assert ledger.unsealed(session).rows == 1
    assert seal(books) == 4
    with books.reader() as session:
        assert ledger.sealed_in(session, [early]) == {early: 2}
    assert verified(books).findings == ()


def pay_apart(session: Session) -> list[UUID]:
    """Write a transfer between accounts of its own, so that it holds no lock that others want."""
    accounts = [NewAccount(id=uuid4(), code=1001) for _ in range(2)]
    ledger.create_accounts(session, accounts)
    wish = NewTransfer(
        id=uuid4(), debit_account_id=accounts[0].id, credit_account_id=accounts[1].id, amount_fen=1, code=1
    )
    assert ledger.create_transfers(session, [wish])[0].ok
    return [wish.id]


@pytest.mark.usefixtures("_blocks_of_four")
def test_a_sealer_that_is_killed_between_two_blocks_leaves_nothing_half_done(books: Database) -> None:
    signed: list[bytes] = []

    def killed(session: Session) -> int:
        def sign_and_die(digest: bytes) -> bytes:
            signed.append(digest)
            if len(signed) == 3:
                pid = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
                with books.engine.connect() as other:
                    as_owner(other)
                    other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
            return sign(digest)

        return ledger.seal(session, sign=sign_and_die, key_id="test", limit_blocks=100)

    with pytest.raises(sqlalchemy.exc.OperationalError), books.transaction() as session:
        killed(session)
    assert len(signed) == 3
    assert seals(books) == []
    assert seal(books) == sealed_rows(books)
    assert verified(books).findings == ()


def test_of_two_sealers_the_second_does_nothing_and_waits_for_nobody(books: Database) -> None:
    with books.transaction() as first:
        assert ledger.seal(first, sign=sign, key_id="test", limit_blocks=1) > 0
        assert seal_at_once(books) == 0
    assert len(seals(books)) == 1


def test_writers_do_not_wait_for_a_sealer(books: Database) -> None:
    with books.transaction() as sealer:
        assert ledger.seal(sealer, sign=sign, key_id="test", limit_blocks=1) > 0
        with books.transaction() as session:
            session.execute(text("SET LOCAL lock_timeout = '100ms'"))
            pay(session, times=5)
        with books.transaction() as session:
            session.execute(text("SET LOCAL lock_timeout = '100ms'"))
            pay_apart(session)


@pytest.mark.usefixtures("_blocks_of_four")
def test_sealers_and_verifiers_beside_live_posting_skip_nothing_and_find_nothing(books: Database) -> None:
    stop = threading.Event()
    troubles: list[object] = []

    def again(work: object) -> None:
        try:
            while not stop.is_set():
                work()  # type: ignore[operator]
        except Exception as error:  # noqa: BLE001 - told to the test
            troubles.append(error)

    def post() -> None:
        books.run(lambda session: pay(session, times=3))

    def post_slowly() -> None:
        with books.transaction() as session:
            pay_apart(session)
            stop.wait(0.02)

    threads = [
        threading.Thread(target=again, args=(work,)) for work in (post, post, post_slowly, lambda: seal_at_once(books))
    ]
    threads += [threading.Thread(target=again, args=(lambda: seal_at_once(books),))]
    for thread in threads:
        thread.start()
    for _ in range(12):
        troubles.extend(verified(books).findings)
    stop.set()
    for thread in threads:
        thread.join()
    seal(books)
    assert troubles == []
    assert found(books) == []
    assert verified(books).sealed_rows == sealed_rows(books)
    assert verified(books).unsealed_rows == 0


def test_what_is_sealed_cannot_be_changed_or_taken_back(books: Database) -> None:
    seal(books)
    for statement in (
        "UPDATE ledger.seals SET signature = NULL",
        "DELETE FROM ledger.seals",
        "TRUNCATE ledger.seals",
        "UPDATE ledger.clusters SET xid_offset = 7",
        "DELETE FROM ledger.clusters",
    ):
        with pytest.raises(sqlalchemy.exc.ProgrammingError, match="permission denied"), books.transaction() as session:
            session.execute(text(statement))
        with pytest.raises(sqlalchemy.exc.DatabaseError, match="only ever added to"), books.owner() as session:
            session.execute(text(statement))


def test_the_service_cannot_adopt_a_server_by_itself(books: Database) -> None:
    insert = text("INSERT INTO ledger.clusters SELECT 2, 7, 7, now()")
    with pytest.raises(sqlalchemy.exc.ProgrammingError, match="permission denied"), books.transaction() as session:
        session.execute(insert)


class Move:
    """Books that were written on a server with high transaction numbers, and then restored into this one."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._number_from(10**9)
        tell_books(database)
        seal(database)
        with superuser(database) as session:
            pay(session)  # written there, and not sealed there
            session.execute(text("UPDATE ledger.clusters SET system_identifier = 1"))
        self._number_from(0)

    def _number_from(self, offset: int) -> None:
        with superuser(self.database) as session:
            session.execute(text("UPDATE ledger.clusters SET xid_offset = :offset"), {"offset": offset})
            for kind in KINDS:
                number = f"{offset} + pg_current_xact_id()::text::bigint"
                session.execute(text(f"ALTER TABLE {kind.table} ALTER xid SET DEFAULT {number}"))


def test_after_a_move_to_another_server_nothing_is_sealed_before_the_books_adopt_it(database: Database) -> None:
    moved = Move(database)
    rows = sealed_rows(database) - 1
    with database.transaction() as session:
        stray = pay(session, times=2)
    with pytest.raises(ledger.StrangeClusterError, match="testcard ledger adopt"):
        seal(moved.database)
    with database.owner() as session:
        assert ledger.adopt(session)
    with database.transaction() as session:
        later = pay(session)
    assert seal(database) == 4
    with database.reader() as session:
        assert ledger.sealed_in(session, [*stray, *later]) == dict.fromkeys((*stray, *later), 2)
    assert verified(database).findings == ()
    assert verified(database).sealed_rows == rows + 4
    with database.owner() as session:
        assert not ledger.adopt(session), "this server is known now"


def test_only_the_owner_of_the_tables_can_adopt_a_server(database: Database) -> None:
    Move(database)
    with pytest.raises(sqlalchemy.exc.ProgrammingError, match="permission denied"), database.transaction() as session:
        ledger.adopt(session)
