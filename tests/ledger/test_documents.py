"""Documents by their hash: added once, never changed, sealed with the books, and read on from where one stopped."""

import threading
from hashlib import sha256
from uuid import UUID, uuid4

import pytest
import sqlalchemy.exc
from sqlalchemy import text

import ledger
from app.db import Database
from ledger import DocumentDiffersError, NewDocument
from tests.ledger.sealed import seal, settle, verified


def paper(id_: UUID, words: str = "a text", *, kind: str = "paper") -> NewDocument:
    return NewDocument(id=id_, kind=kind, digest=sha256(words.encode()).digest())


def add(database: Database, *documents: NewDocument) -> None:
    database.run(lambda session: ledger.add_documents(session, documents))


def feed(database: Database, after: ledger.DocumentPlace | None = None, *, limit: int = 100) -> list[ledger.Document]:
    place = {} if after is None else {"after": after}
    with database.reader() as session:
        return ledger.documents_after(session, kind="paper", limit=limit, **place)


def test_the_same_document_again_changes_nothing_and_another_one_under_its_id_is_refused(database: Database) -> None:
    first, second = uuid4(), uuid4()
    add(database, paper(first))
    add(database, paper(first), paper(second, "another"))
    for other in (paper(first, "changed"), paper(first, kind="letter")):
        with pytest.raises(DocumentDiffersError, match=str(first)):
            add(database, paper(uuid4()), other)
    with database.reader() as session:
        known = ledger.digests_of(session, [first, second, uuid4()])
        count = session.execute(text("SELECT count(*) FROM ledger.documents")).scalar_one()
    assert known == {first: paper(first).digest, second: paper(second, "another").digest}
    assert count == 2, "nothing of a refused call is kept"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger.documents SET kind = 'other'",
        "DELETE FROM ledger.documents",
        "TRUNCATE ledger.documents",
    ],
)
def test_a_document_is_never_changed(database: Database, statement: str) -> None:
    add(database, paper(uuid4()))
    with pytest.raises(sqlalchemy.exc.DBAPIError, match=r"only ever added to|permission denied"):
        database.run(lambda session: session.execute(text(statement)))
    with pytest.raises(sqlalchemy.exc.IntegrityError, match="only ever added to"), database.owner() as session:
        session.execute(text(statement))


def test_a_hash_of_another_length_and_a_kind_that_is_no_word_are_refused(database: Database) -> None:
    for wrong in (NewDocument(id=uuid4(), kind="paper", digest=b"short"), paper(uuid4(), kind="No word")):
        with pytest.raises(sqlalchemy.exc.IntegrityError, match="ck_documents"):
            add(database, wrong)


def test_documents_are_sealed_and_the_books_still_verify(database: Database) -> None:
    id_ = uuid4()
    add(database, paper(id_))
    assert seal(database) == 1
    assert verified(database).findings == ()
    with database.reader() as session:
        assert ledger.sealed_in(session, [id_]) == {id_: 1}


def test_a_reader_who_keeps_the_place_misses_no_document_that_is_committed_late(database: Database) -> None:
    """Finding 2 of reliability.md: the number is given at the first write, the row is seen at the commit."""
    slow, quick = uuid4(), uuid4()
    begun, may_end = threading.Event(), threading.Event()

    def write_slowly() -> None:
        with database.transaction() as session:
            ledger.add_documents(session, [paper(slow)])
            begun.set()
            may_end.wait(timeout=30)

    writer = threading.Thread(target=write_slowly)
    writer.start()
    assert begun.wait(timeout=30)
    add(database, paper(quick))
    assert quick not in {each.id for each in feed(database)}, "an older transaction may still write before it"
    may_end.set()
    writer.join()
    settle(database)
    assert [each.id for each in feed(database)] == [slow, quick]


def test_pages_of_the_feed_are_the_whole_feed(database: Database) -> None:
    ids = [uuid4() for _ in range(7)]
    add(database, *(paper(id_) for id_ in ids[:4]), paper(uuid4(), kind="letter"))
    add(database, *(paper(id_) for id_ in ids[4:]))
    settle(database)
    pages: list[ledger.Document] = []
    while page := feed(database, pages[-1].place if pages else None, limit=3):
        pages += page
    assert [each.id for each in pages] == [*sorted(ids[:4]), *sorted(ids[4:])]
    assert pages == feed(database)
