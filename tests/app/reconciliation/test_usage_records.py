"""Usage records are versions that are sealed and never edited; whoever touches one is found out, by name."""

import json
import subprocess
import sys
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy.exc
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text

import ledger
from app.db import Database
from app.people.models import Role
from app.reconciliation import records
from app.reconciliation.models import Adjustment, Cause, UsageRecord
from app.reconciliation.records import reading, verifying
from app.reconciliation.records.document import canonical, document_id_of, document_of
from app.reconciliation.records.hours import Hours, machine_hours, part_s
from app.sessions.models import CardSession
from tests.app.reconciliation.world import World
from tests.app.subsidies.paying import NOW, Till
from tests.ledger.sealed import settle
from tests.owner import without_triggers
from tests.telemetry.wire import BOX, at

CHECK = Path(__file__).resolve().parents[3] / "docs" / "check_proof.py"


@pytest.fixture
def till(database: Database) -> Till:
    return Till(database)


def versions(database: Database, charge: UUID) -> list[UsageRecord]:
    with database.transaction() as session:
        wanted = select(UsageRecord).where(UsageRecord.session_id == charge).order_by(UsageRecord.version)
        return list(session.scalars(wanted))


def verified(database: Database) -> list[tuple[str, UUID | None, int | None]]:
    with database.reader() as session:
        found = verifying.verify_records(session)
    return [(each.check, each.session_id, each.version) for each in found.findings]


def test_a_verified_use_says_who_what_where_and_on_which_evidence(database: Database) -> None:
    world = World(database)
    charge = world.charge(10, 70, tariff_snapshot={"tariff_id": 7, "rules": {"per_hour": {"price_fen": 500_00}}})
    world.use(12, 68, until=100)
    world.reconcile(minutes=100)
    (record,) = versions(database, charge)
    document = document_of(record)
    assert (document["charged_s"], document["running_s"], document["overlap_s"]) == (3600, 56 * 60, 56 * 60)
    assert 3360 <= document["effective_s"] <= 3600
    assert document["energy_wh"] > 0
    assert (document["amount_fen"], document["paid_principal_fen"], document["paid_subsidy_fen"]) == (
        500_00,
        320_00,
        180_00,
    )
    assert (document["external"], document["customer_class"], document["withdrawn"]) == (True, "company", False)
    assert (document["verdict"], document["verified_by"], document["supersedes"]) == ("matched", None, None)
    (run,) = document["evidence"]["runs"]
    assert (run["box"], run["channel"], run["overlap_s"]) == (BOX, 0, 56 * 60)
    assert document["evidence"]["tariffs"]["ids"] == [7]
    with database.reader() as session:
        assert ledger.digests_of(session, [record.document_id]) == {
            record.document_id: sha256(canonical(document)).digest()
        }


def test_a_change_is_a_next_version_and_the_same_again_is_none(till: Till) -> None:
    charge = till.use_verified(10_000)
    till.verify(charge)
    assert [each.version for each in versions(till.database, charge)] == [1], "another verdict with the same outcome"
    with till.database.transaction() as session:
        row = session.get_one(CardSession, charge)
        row.amount_fen, row.paid_principal_fen = 9_000, 9_000
    till.verify(charge)
    till.let_fall(charge)
    till.verify(charge)
    rows = versions(till.database, charge)
    assert [(each.version, each.amount_fen, each.withdrawn) for each in rows] == [
        (1, 10_000, False),
        (2, 9_000, False),
        (3, 9_000, True),
        (4, 9_000, False),
    ]
    assert [each.superseded_at is None for each in rows] == [False, False, False, True]
    assert [each.previous_digest for each in rows[1:]] == [records.digest_of(each) for each in rows[:-1]]
    assert verified(till.database) == []


def test_money_that_went_back_is_not_in_the_record(till: Till) -> None:
    charge = till.use_verified(10_000, subsidy_fen=2_000)
    with till.database.transaction() as session:
        clerk = till.person("a-clerk", Role.CLERK)
        session.add(
            Adjustment(
                session_id=charge,
                cause=Cause.REVIEW,
                decided_by_id=clerk.person_id,
                amount_fen=3_000,
                principal_fen=2_500,
                subsidy_fen=500,
                fee_fen=0,
                vat_fen=0,
                note="less time than charged",
                journal_id=uuid4(),
                posted_at=NOW,
            )
        )
    till.verify(charge)
    newest = versions(till.database, charge)[-1]
    assert (newest.version, newest.amount_fen, newest.paid_principal_fen, newest.paid_subsidy_fen) == (
        2,
        9_000,
        7_500,
        1_500,
    )


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ("UPDATE app.usage_record SET effective_s = effective_s + 60 WHERE {}", "record_changed"),
        ("UPDATE app.usage_record SET external = false WHERE {}", "record_changed"),
        ("UPDATE app.usage_record SET verified_by = 'somebody' WHERE {}", "record_changed"),
        ("UPDATE app.usage_record SET evidence = evidence || '{{\"runs\": [1.5]}}' WHERE {}", "record_changed"),
        ("UPDATE app.usage_record SET document_id = gen_random_uuid() WHERE {}", "record_unknown"),
        ("UPDATE app.usage_record SET superseded_at = now() WHERE {}", "record_holds"),
        ("UPDATE app.usage_record SET unit_id = unit_id + 1 WHERE {}", "record_changed"),
        ("UPDATE ledger.documents SET digest = sha256('x')", "record_changed"),
    ],
)
def test_a_touched_record_is_named(till: Till, statement: str, check: str) -> None:
    charge = till.use_verified(10_000)
    with till.database.transaction() as session:
        without_triggers(session)
        session.execute(text(statement.format(f"session_id = '{charge}'").replace(":", "\\:")))
    assert (check, charge, 1) in verified(till.database)


def test_a_removed_record_and_a_withdrawal_that_was_taken_back_are_named(till: Till) -> None:
    gone, back = till.use_verified(10_000), till.use_verified(10_000)
    till.let_fall(back)
    with till.database.transaction() as session:
        without_triggers(session)
        session.execute(text("DELETE FROM app.usage_record WHERE session_id = :id"), {"id": gone})
        session.execute(text("DELETE FROM app.usage_record WHERE session_id = :id AND withdrawn"), {"id": back})
        session.execute(text("UPDATE app.usage_record SET superseded_at = NULL WHERE session_id = :id"), {"id": back})
    with till.database.reader() as session:
        found = verifying.verify_records(session).findings
    missing = {finding.document_id for finding in found if finding.check == "record_missing"}
    assert missing == {document_id_of(gone, version=1), document_id_of(back, version=2)}


def test_every_column_that_anybody_reads_is_in_the_sealed_form(till: Till) -> None:
    charge = till.use_verified(10_000)
    (record,) = versions(till.database, charge)
    sealed = records.digest_of(record)
    unsealed = set()
    for column in [each.name for each in UsageRecord.__table__.columns]:
        before = getattr(record, column)
        others: tuple[Any, ...] = (uuid4(), b"x", "own_unit", "phantom", -1, "changed", {"runs": []}, at(7_000))
        for other in others:
            setattr(record, column, other)
            try:
                changed = records.digest_of(record) != sealed
            except (AttributeError, TypeError, ValueError):
                continue
            if not changed:
                unsealed.add(column)
        setattr(record, column, before)
    assert unsealed == {"id", "superseded_at"}, "the one is the table's own, the other follows from the next version"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE app.usage_record SET amount_fen = 0, paid_principal_fen = 0",
        "UPDATE app.usage_record SET superseded_at = NULL WHERE superseded_at IS NOT NULL",
        "DELETE FROM app.usage_record",
    ],
)
def test_the_database_refuses_to_edit_a_record(till: Till, statement: str) -> None:
    charge = till.use_verified(10_000)
    till.let_fall(charge)
    with pytest.raises(sqlalchemy.exc.IntegrityError, match="is refused"):
        till.database.run(lambda session: session.execute(text(statement)))


def test_the_proof_of_a_record_is_checked_without_this_program(till: Till) -> None:
    charge = till.use_verified(10_000)
    till.let_fall(charge)
    settle(till.database)
    till.database.run(lambda session: ledger.seal(session, sign=None, key_id="test", limit_blocks=10))
    with till.database.reader() as session:
        proofs = [reading.proof_of(session, each) for each in reading.every_version(session, charge)]
    checked = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(CHECK)], input=json.dumps(proofs), capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert '"withdrawn":true' in checked.stdout
    proofs[0]["document"]["effective_s"] = 1
    forged = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(CHECK)], input=json.dumps(proofs), capture_output=True, text=True, check=False
    )
    assert forged.returncode != 0


LEAF = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()
JSON: st.SearchStrategy[object] = st.deferred(
    lambda: LEAF | st.lists(JSON, max_size=3) | st.dictionaries(st.text(max_size=5), JSON, max_size=3)
)


@given(document=JSON)
def test_the_canonical_form_reads_back_and_does_not_depend_on_the_order_of_keys(document: object) -> None:
    try:
        written = canonical(document)
    except UnicodeEncodeError:
        return  # half of a surrogate pair is no text
    assert json.loads(written) == document
    assert canonical(turned(document)) == written


def turned(value: object) -> object:
    if isinstance(value, dict):
        return {name: turned(value[name]) for name in reversed(list(value))}
    return [turned(each) for each in value] if isinstance(value, list) else value


def test_a_number_that_is_not_whole_has_no_canonical_form() -> None:
    with pytest.raises(TypeError):
        canonical({"deep": [{"power_w": 1.0}]})


@given(
    whole_s=st.integers(0, 10**7),
    charged_s=st.integers(0, 10**7),
    cuts=st.lists(st.integers(-(10**7), 2 * 10**7), min_size=2, max_size=6).map(sorted),
)
def test_parts_of_a_use_add_up_whatever_the_ends_of_the_times(whole_s: int, charged_s: int, cuts: list[int]) -> None:
    parts = [part_s(whole_s, charged_s=charged_s, from_s=a, to_s=b) for a, b in pairwise(cuts)]
    assert sum(parts) == part_s(whole_s, charged_s=charged_s, from_s=cuts[0], to_s=cuts[-1])
    assert all(part >= 0 for part in parts)
    assert part_s(whole_s, charged_s=charged_s, from_s=0, to_s=charged_s) == (whole_s if charged_s else 0)


def test_hours_of_neighbouring_times_add_up_and_agree_with_the_sum_of_all(till: Till) -> None:
    for principal_fen in (10_000, 20_000, 30_000):
        till.use_verified(principal_fen)
    fallen = till.use_verified(5_000)
    till.let_fall(fallen)
    own = till.use_verified(1_000, customer_class="own_unit")
    whole = hours(till, at(0), at(600))
    assert whole == Hours(uses=4, charged_s=4 * 3600, effective_s=4 * 3600, external_s=3 * 3600, external_uses=3)
    edges = [at(0), at(61), at(90) + timedelta(seconds=7), at(130), at(317), at(600)]
    parts = [hours(till, a, b) for a, b in pairwise(edges)]
    for name in ("charged_s", "effective_s", "external_s"):
        assert sum(getattr(part, name) for part in parts) == getattr(whole, name), name
    assert versions(till.database, own)[0].external is False


def hours(till: Till, since: datetime, until: datetime) -> Hours:
    with till.database.reader() as session:
        return machine_hours(session, since=since, until=until).get(till.instrument_id, Hours())
