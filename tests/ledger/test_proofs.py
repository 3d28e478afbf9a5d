"""A proof of one record convinces somebody who has neither the database nor this program, and a forged one does not."""

import copy
import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

import ledger
from app.db import Database
from ledger import NotSealedError
from ledger.lines import KINDS
from tests.ledger.sealed import SEALS, settle, superuser, tell_books
from tests.ledger.stories import Books, ident

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "check_proof.py"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC_KEY = KEY.public_key().public_bytes_raw().hex()
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw().hex()


def seal(database: Database) -> int:
    settle(database)
    return database.run(lambda session: ledger.seal(session, sign=KEY.sign, key_id="test", limit_blocks=100))


@pytest.fixture
def books(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setattr(SEALS, "BLOCK_ROWS", 4)
    tell_books(database)
    seal(database)
    return database


def proof_of(database: Database, row_id: UUID, *, until_block: int | None = None) -> Any:
    with database.reader() as session:
        return json.loads(json.dumps(ledger.prove(session, row_id, until_block=until_block)))


def check(document: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(SCRIPT), *arguments],
        input=json.dumps(document),
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_script_is_short_enough_to_read() -> None:
    assert SCRIPT.read_text(encoding="utf-8").count("\n") <= 40


def test_every_transfer_and_journal_has_a_proof_that_the_script_accepts(books: Database) -> None:
    with books.reader() as session:
        tables = ("transfers", "journals", "documents")
        ids = [id_ for table in tables for id_ in session.scalars(text(f"SELECT id FROM ledger.{table}"))]  # noqa: S608 - from above
        newest = ledger.newest_seal(session)
    assert newest is not None
    proofs = [proof_of(books, id_, until_block=newest.number) for id_ in ids]
    checked = check(proofs)
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count(f"{newest.number}:{newest.hash.hex()}") == len(ids) == 11
    assert check(proofs, PUBLIC_KEY).returncode == 0


def test_a_proof_names_the_fields_as_the_books_have_them(books: Database) -> None:
    record = proof_of(books, ident("c1"))["record"]
    assert record["format"] == "testcard-transfer-v1"
    assert (record["amount_fen"], record["pending_id"]) == ("400", str(ident("h1")))
    journal = proof_of(books, ident("journal k1"))["record"]
    assert journal["idempotency_key"] == '"k1"'


def test_the_script_knows_the_fields_that_the_books_seal() -> None:
    known: dict[str, str] = {}
    source = SCRIPT.read_text(encoding="utf-8")
    exec(source[source.index("FIELDS = {") : source.index("given = ")], known)  # noqa: S102 - our own script
    fields: Any = known["FIELDS"]
    for kind in KINDS:
        if kind.name in fields:
            assert fields[kind.name].split() == ["format", *kind.fields]
    assert set(fields) == {"document", "journal", "transfer", "seal"}
    assert fields["seal"].split() == ["format", *SEALS.HEADER]


def forgeries(proof: Any) -> dict[str, Any]:
    """Give documents that each differ from a good one in one place."""
    made: dict[str, Any] = {}

    def forge(what: str, change: Any) -> None:
        made[what] = copy.deepcopy(proof)
        change(made[what])

    forge("another amount", lambda forged: forged["record"].update(amount_fen="40000"))
    forge(
        "two fields change places",
        lambda forged: forged["record"].update(
            amount_fen=forged["record"]["debit_credits_posted_fen"],
            debit_credits_posted_fen=forged["record"]["amount_fen"],
        ),
    )
    forge("another block", lambda forged: forged["blocks"][0].update(number="1"))
    forge("another time", lambda forged: forged["blocks"][0].update(sealed_at="1"))
    forge("another root", lambda forged: forged["blocks"][0].update(root=bytes(32).hex()))
    forge("another hash", lambda forged: forged["blocks"][-1].update(hash=bytes(32).hex()))
    forge("a way with a stranger", lambda forged: forged["path"].__setitem__(0, ["left", bytes(32).hex()]))
    forge("a shorter way", lambda forged: forged["path"].pop())
    forge("a block left out", lambda forged: forged["blocks"].pop(1))
    forge("no block at all", lambda forged: forged.update(blocks=[]))
    forge("a block twice", lambda forged: forged["blocks"].append(forged["blocks"][-1]))
    return made


def test_no_forged_document_passes(books: Database) -> None:
    with books.reader() as session:
        newest = ledger.newest_seal(session)
    assert newest is not None
    proof = proof_of(books, ident("t1"), until_block=newest.number)
    assert len(proof["blocks"]) > 2
    assert len(proof["path"]) > 1
    assert check([proof]).returncode == 0
    for what, forged in forgeries(proof).items():
        assert check([forged]).returncode != 0, what
        assert check([proof, forged]).returncode != 0, f"{what}, behind a good one"


def test_the_script_says_whether_a_text_is_the_document_that_was_sealed(books: Database) -> None:
    text = {"word": "核实", "count": 3, "moments": [None, True, "2026-11-01T00:00:00.000000Z"]}
    canonical = json.dumps(text, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    id_ = ident("a text")
    with books.transaction() as session:
        ledger.add_documents(session, [ledger.NewDocument(id=id_, kind="text", digest=sha256(canonical).digest())])
    seal(books)
    proof = proof_of(books, id_)
    evidence = {"seal": {"proofs": [{**proof, "document": text}]}}
    assert "核实" in check(evidence, PUBLIC_KEY).stdout
    assert check(evidence, PUBLIC_KEY).returncode == 0
    forged = {"seal": {"proofs": [{**proof, "document": {**text, "count": 4}}]}}
    assert "is not the one" in check(forged).stderr


@pytest.mark.parametrize("given", [[], {"seal": {"proofs": []}}])
def test_the_script_never_accepts_what_proves_nothing(given: Any) -> None:
    answer = check(given)
    assert (answer.returncode, answer.stdout, answer.stderr) == (1, "", "NO: there is no proof in it\n")


def test_a_signature_by_another_key_or_over_something_else_does_not_pass(books: Database) -> None:
    proof = proof_of(books, ident("t1"))
    assert check([proof], OTHER_KEY).returncode != 0
    proof["blocks"][0]["signature"] = KEY.sign(b"something else").hex()
    assert check([proof]).returncode == 0
    assert check([proof], PUBLIC_KEY).returncode != 0


def test_what_has_no_proof_is_said_in_a_sentence(books: Database) -> None:
    Books(books, title="later").tell("account a free\naccount b free\npay a b 1.00 as t ok\n")
    fresh = ident("t", story="later")
    with pytest.raises(NotSealedError, match="is not sealed yet"):
        proof_of(books, fresh)
    with pytest.raises(NotSealedError, match="know no transfer, no journal and no document"):
        proof_of(books, uuid4())
    with pytest.raises(NotSealedError, match="There is no block 999"):
        proof_of(books, ident("t1"), until_block=999)
    with superuser(books) as session:
        session.execute(text("UPDATE ledger.transfers SET code = 9 WHERE id = :id"), {"id": ident("t1")})
    with pytest.raises(NotSealedError, match="does not stand as block"):
        proof_of(books, ident("t1"))
    with books.reader() as session:
        wanted = [fresh, uuid4(), ident("t3"), ident("journal k1")]
        assert ledger.sealed_in(session, wanted) == {ident("t3"): 2, ident("journal k1"): 1}
