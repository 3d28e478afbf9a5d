"""Verifying finds what a person with the superuser's powers did to a sealed row or to the log, and names it."""

# ruff: noqa: S608 - every statement here is made of constants

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.db import Database
from ledger import Finding, Published, merkle
from ledger.lines import KINDS, Kind
from ledger.touched import Change, find_change
from tests.ledger.sealed import SEALS, VERIFY, found, row_of, seal, sealed_rows, superuser, tell_books, verified
from tests.ledger.stories import ident

ROWS = {"account": "card:7", "journal": "journal k1", "transfer": "c1"}
# What is set in a sealed row of this kind, and what verifying can say of it; the first word is the field.
OTHER = "'0193d1f0-0000-7000-8000-00000000beef'"
CHANGES = {
    "account": {
        "ledger": "840",
        "code": "100201",
        "flags": "0",
        "user_data_128": OTHER,
        "user_data_64": "77",
        "user_data_32": "77",
        "created_at": "created_at - interval '3 days'",
        "xid": "xid + 1",
    },
    "document": {
        "kind": "'another'",
        "digest": "sha256('x')",
        "created_at": "created_at - interval '1 hour'",
        "xid": "xid + 3",
    },
    "journal": {
        "kind": "'gift'",
        "reference": "'another'",
        "text": "text || '|'",
        "actor": "'somebody else'",
        "value_at": "value_at - interval '31 days'",
        "created_at": "created_at + interval '1 microsecond'",
        "idempotency_key": "'another'",
        "request_hash": "sha256('x')",
        "reverses_id": OTHER,
        "xid": "xid - 1",
    },
    "period": {
        "starts_at": "starts_at - interval '30 days'",
        "ends_at": "ends_at + interval '1 day'",
        "action": "'reopened'",
        "actor": "'8'",
        "reason": "'because'",
        "at": "at + interval '5 minutes'",
        "xid": "xid + 40",
    },
    "transfer": {
        "debit_account_id": OTHER,
        "credit_account_id": OTHER,
        "amount_fen": "amount_fen * 10",
        "ledger": "840",
        "code": "2",
        "flags": "flags | 64",
        "pending_id": "NULL",
        "timeout_s": "60",
        "user_data_128": OTHER,
        "user_data_64": "1",
        "user_data_32": "1",
        "journal_id": OTHER,
        "timestamp": "timestamp + interval '1 hour'",
        "value_at": "value_at - interval '400 days'",
        **{
            f"{side}_{sums}_fen": f"{side}_{sums}_fen + 1"
            for side in ("debit", "credit")
            for sums in ("debits_pending", "debits_posted", "credits_pending", "credits_posted")
        },
        "xid": "xid + 1000000",
    },
}
# Nothing near by leads back to these: what was sealed is only known not to be this.
UNTOLD = {
    *(("document", name) for name in ("kind", "digest")),
    *(("journal", name) for name in ("kind", "text", "actor", "idempotency_key", "request_hash")),
    *(("period", name) for name in ("action", "actor")),
}


@pytest.fixture
def books(database: Database) -> Database:
    tell_books(database)
    seal(database)
    return database


@pytest.fixture
def many_blocks(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Several groups of several blocks of three rows."""
    monkeypatch.setattr(SEALS, "BLOCK_ROWS", 3)
    monkeypatch.setattr(VERIFY, "BLOCKS_AT_ONCE", 4)
    tell_books(database)
    seal(database)
    return database


def sealed_id(database: Database, kind: Kind) -> UUID:
    if kind.name in ROWS:
        return ident(ROWS[kind.name])
    with database.reader() as session:
        id_: UUID = session.execute(text(f"SELECT id FROM {kind.table}")).scalar_one()
    return id_


@contextmanager
def changed(database: Database, table: str, name: str, value: str, *, where: str) -> Iterator[None]:
    """Change one column of one row, and put back what stood there."""
    with superuser(database) as session:
        before = session.execute(text(f"SELECT {name} FROM {table} WHERE {where}")).scalar_one()
        session.execute(text(f"UPDATE {table} SET {name} = {value} WHERE {where}"))
    yield
    with superuser(database) as session:
        session.execute(text(f"UPDATE {table} SET {name} = :before WHERE {where}"), {"before": before})


def names(findings: list[Finding]) -> list[tuple[str, Any]]:
    return [(finding.check, finding.row_id) for finding in findings]


def test_untouched_books_have_no_finding(many_blocks: Database) -> None:
    result = verified(many_blocks)
    assert result.findings == ()
    assert result.sealed_rows == sealed_rows(many_blocks)
    assert result.unsealed_rows == 0
    assert result.head is not None
    assert result.blocks == result.head.number > 4


def test_books_without_a_seal_have_no_finding(database: Database) -> None:
    tell_books(database)
    result = verified(database)
    assert (result.findings, result.blocks, result.head) == ((), 0, None)
    assert result.unsealed_rows == sealed_rows(database)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_column_of_a_sealed_row_that_was_changed_is_found_and_named(many_blocks: Database, kind: Kind) -> None:
    assert {*CHANGES[kind.name], "id"} == set(kind.fields), "every column is tried"
    id_ = sealed_id(many_blocks, kind)
    for name, value in CHANGES[kind.name].items():
        with changed(many_blocks, kind.table, name, value, where=f"id = '{id_}'"):
            (finding,) = found(many_blocks)
        assert (finding.check, finding.row_id) == ("row_changed", id_), name
        assert finding.derived.startswith(f"{kind.name} of block "), name
        if (kind.name, name) not in UNTOLD:
            assert f": {name} " in finding.derived, (name, finding)
            assert finding.found.startswith(f"{name} "), (name, finding)
    assert found(many_blocks) == []


def test_a_row_under_another_id_is_one_that_is_missing_and_one_that_was_inserted(many_blocks: Database) -> None:
    was, is_now = ident("t3"), uuid4()
    with superuser(many_blocks) as session:
        session.execute(text("UPDATE ledger.transfers SET id = :now WHERE id = :was"), {"now": is_now, "was": was})
    assert set(names(found(many_blocks))) == {("row_missing", was), ("row_inserted", is_now)}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_row_that_was_removed_is_named(many_blocks: Database, kind: Kind) -> None:
    id_ = sealed_id(many_blocks, kind)
    with superuser(many_blocks) as session:
        session.execute(text(f"DELETE FROM {kind.table} WHERE id = :id"), {"id": id_})
    assert names(found(many_blocks)) == [("row_missing", id_)]


def test_a_row_that_was_slipped_in_among_sealed_ones_is_named(many_blocks: Database) -> None:
    with superuser(many_blocks) as session:
        row = row_of(session, "ledger.transfers", ident("t3"))
        row |= {"id": uuid4(), "timestamp": row["value_at"].replace(year=2000), "xid": row["xid"] - 2}
        columns = ", ".join(row)
        values = ", ".join(f":{name}" for name in row)
        session.execute(text(f"INSERT INTO ledger.transfers ({columns}) VALUES ({values})"), row)
    assert names(found(many_blocks)) == [("row_inserted", row["id"])]


def test_the_first_touched_row_of_the_log_is_named_first(many_blocks: Database) -> None:
    with superuser(many_blocks) as session:
        session.execute(
            text("UPDATE ledger.transfers SET code = 9 WHERE id IN (:a, :b)"), {"a": ident("c1"), "b": ident("t1")}
        )
        session.execute(text("UPDATE ledger.accounts SET code = 9 WHERE id = :id"), {"id": ident("income")})
        session.execute(text("DELETE FROM ledger.transfers WHERE id = :id"), {"id": ident("t3")})
    assert names(found(many_blocks)) == [
        ("row_changed", ident("income")),
        ("row_changed", ident("t1")),
        ("row_missing", ident("t3")),
        ("row_changed", ident("c1")),
    ]


def test_rewriting_rows_and_hashes_alike_breaks_the_chain_or_the_signature(many_blocks: Database) -> None:
    """Somebody recomputes everything but the signature, whose key is not in the database."""
    with superuser(many_blocks) as session:
        session.execute(text("UPDATE ledger.transfers SET code = 9 WHERE id = :id"), {"id": ident("t1")})
        session.execute(text("DELETE FROM ledger.seals"))
    many_blocks.run(
        lambda session: VERIFY_SEAL(
            session, sign=lambda digest: sha256(digest).digest(), key_id="test", limit_blocks=99
        )
    )
    assert {finding.check for finding in found(many_blocks)} == {"seal_signature"}


VERIFY_SEAL = SEALS.seal
# What is set in the third block, and the checks that must speak of it.
SEAL_CHANGES = {
    "version": ("2", {"seal_hash"}),
    "rows_count": ("rows_count - 1", {"seal_hash"}),
    "last_xid": ("last_xid - 1", {"seal_hash"}),
    "last_kind": ("'journal'", {"seal_hash"}),
    "last_id": (f"{OTHER}", {"seal_hash"}),
    "system_identifier": ("7", {"seal_hash"}),
    "previous_hash": ("sha256('x')", {"seal_order", "seal_hash"}),
    "root": ("sha256('x')", {"seal_hash", "seal_root"}),
    "sealed_at": ("'infinity'", {"seal_hash"}),
    "key_id": ("'another'", {"seal_hash", "seal_signature"}),
    "hash": ("sha256('x')", {"seal_hash", "seal_signature", "seal_order"}),
    "signature": ("sha256('x')", {"seal_signature"}),
    "keys": ("substr(keys, 18) || substr(keys, 1, 17)", {"seal_root"}),
    "leaves": ("substr(leaves, 33) || sha256('x')", {"seal_root"}),
}


def test_every_column_of_a_block_that_was_changed_is_found(many_blocks: Database) -> None:
    with superuser(many_blocks) as session:
        session.execute(text("ALTER TABLE ledger.seals DROP CONSTRAINT ck_seals_sizes"))
        columns = {
            row[0]
            for row in session.execute(
                text(
                    "SELECT attname FROM pg_attribute WHERE attnum > 0 AND attrelid = 'ledger.seals'::regclass".replace(
                        ":", "\\:"
                    )
                )
            )
        }
    assert {*SEAL_CHANGES, "number"} == columns, "every column is tried"
    for name, (value, checks) in SEAL_CHANGES.items():
        with changed(many_blocks, "ledger.seals", name, value, where="number = 3"):
            findings = found(many_blocks)
        of_seals = {finding.check for finding in findings if finding.check.startswith("seal_")}
        assert of_seals == checks, (name, findings)
        assert findings[0].check.startswith("seal_"), "the block itself is named before any row"
        assert findings[0].derived.startswith("block 3: "), (name, findings)
    assert found(many_blocks) == []


def test_forged_names_of_rows_are_findings_and_no_error(many_blocks: Database) -> None:
    with superuser(many_blocks) as session:
        session.execute(text("ALTER TABLE ledger.seals DROP CONSTRAINT ck_seals_sizes"))
        session.execute(text("UPDATE ledger.transfers SET code = 9 WHERE id = :id"), {"id": ident("t3")})
        session.execute(text("UPDATE ledger.seals SET keys = sha256('x') || keys WHERE number = 2"))
        session.execute(text("UPDATE ledger.seals SET keys = '', leaves = '' WHERE number = 4"))
    findings = names(found(many_blocks))
    assert ("row_changed", ident("t3")) in findings
    assert {check for check, _row in findings} >= {"row_changed", "row_missing", "row_inserted", "seal_root"}


def test_reading_ends_when_somebody_has_enough_to_look_at(
    many_blocks: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VERIFY, "FINDINGS_MAX", 2)
    published = verified(many_blocks).head
    with superuser(many_blocks) as session:
        session.execute(text("UPDATE ledger.accounts SET code = 9"))
        session.execute(text("UPDATE ledger.transfers SET code = 9"))
    findings = found(many_blocks, published=published)
    assert 2 <= len(findings) < 11
    assert {check for check, _row in names(findings)} == {"row_changed"}


def test_a_block_that_is_gone_is_missed(many_blocks: Database) -> None:
    with superuser(many_blocks) as session:
        session.execute(text("DELETE FROM ledger.seals WHERE number = 3"))
    assert "seal_order" in {finding.check for finding in found(many_blocks)}


def test_blocks_removed_from_the_end_are_missed_by_whoever_knows_a_published_one(many_blocks: Database) -> None:
    published = verified(many_blocks).head
    assert published is not None
    assert found(many_blocks, published=published) == []
    with superuser(many_blocks) as session:
        session.execute(text("DELETE FROM ledger.seals WHERE number >= :number"), {"number": published.number - 1})
    assert found(many_blocks) == [], "without it the rows only look as if they were not sealed yet"
    (finding,) = found(many_blocks, published=published)
    assert finding.check == "seal_published"
    assert f"block {published.number}" in finding.derived
    seal(many_blocks)  # and sealing them anew does not bring the old block back
    assert names(found(many_blocks, published=published)) == [("seal_published", None)]


def test_a_published_block_of_other_books_is_not_found_here(books: Database) -> None:
    assert names(found(books, published=Published(1, bytes(32)))) == [("seal_published", None)]


def test_a_block_without_a_signature_or_with_that_of_another_key_is_found(books: Database) -> None:
    with changed(books, "ledger.seals", "signature", "NULL", where="number = 1"):
        assert names(found(books)) == [("seal_signature", None)]
    with changed(books, "ledger.seals", "signature", "sha256('another key')", where="number = 1"):
        assert names(found(books)) == [("seal_signature", None)]


def test_what_the_audit_finds_is_told_beside_what_the_seals_tell(books: Database) -> None:
    with superuser(books) as session:
        session.execute(
            text("UPDATE ledger.transfers SET amount_fen = amount_fen + 1 WHERE id = :id"), {"id": ident("t3")}
        )
    checks = [finding.check for finding in verified(books).findings if finding.row_id == ident("t3")]
    assert checks[0] == "row_changed"
    assert "after_balances" in checks


def test_a_change_is_only_told_when_the_hash_proves_it() -> None:
    kind = next(kind for kind in KINDS if kind.name == "account")
    fields = dict.fromkeys(kind.fields, "0") | {"code": "224101", "user_data_64": "5"}
    line = "|".join((kind.prefix, *fields.values()))
    leaf = merkle.leaf(line.encode())
    near = line.replace("224101", "224103")
    assert find_change(near.encode(), leaf=leaf, others=[]) == Change("code", "224101", "224103")
    far = line.replace("224101", "600101")
    assert find_change(far.encode(), leaf=leaf, others=[]) is None
    assert find_change(far.encode(), leaf=leaf, others=[line.encode()]) == Change("code", "224101", "600101")
    two = near.replace("|5|", "|6|")
    assert find_change(two.encode(), leaf=leaf, others=[line.encode()]) is None, "two fields were changed"
