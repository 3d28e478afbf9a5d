"""A fact's line is the same from SQL and from Python, leaves out no column, and cannot be read in two ways."""

# ruff: noqa: S608 - every statement here is made of constants

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Column, Integer, LargeBinary, SmallInteger, Text, Uuid, text
from sqlalchemy.dialects.postgresql import TIMESTAMP, dialect

from app.db import Database
from ledger import models
from ledger.lines import KINDS, Kind
from ledger.models import FEN, Base

TABLES = {f"{table.schema}.{table.name}": table for table in Base.metadata.tables.values()}
NASTY = st.text(
    alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from('|\\\n\r"p')
)
AMOUNTS = st.integers(0, 2**63 - 1)
VALUES: dict[type, st.SearchStrategy[Any]] = {
    SmallInteger: st.integers(-(2**15), 2**15 - 1),
    Integer: st.integers(-(2**31), 2**31 - 1),
    BigInteger: st.integers(-(2**63), 2**63 - 1),
    Uuid: st.uuids(),
    TIMESTAMP: st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)),  # noqa: DTZ001 - the strategy adds it
    Text: NASTY,
    LargeBinary: st.binary(max_size=40),
}


def values_of(column: Column[Any]) -> st.SearchStrategy[Any]:
    is_amount = column.type.compile(dialect()) == FEN.compile(dialect())  # type: ignore[no-untyped-call]
    known = AMOUNTS if is_amount else next(values for type_, values in VALUES.items() if type(column.type) is type_)
    return st.none() | known if column.nullable else known


def rows_of(kind: Kind) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({column.name: values_of(column) for column in TABLES[kind.table].columns})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_sql_and_python_write_the_same_line(database: Database, kind: Kind, data: st.DataObject) -> None:
    row = data.draw(rows_of(kind))
    columns = ", ".join(
        f'CAST(:{column.name} AS {column.type.compile(dialect())}) AS "{column.name}"'  # type: ignore[no-untyped-call]
        for column in TABLES[kind.table].columns
    )
    with database.reader() as session:
        line = session.execute(text(f"SELECT {kind.line} FROM (SELECT {columns}) AS row"), row)
        assert line.scalar_one() == kind.encode(row)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_column_of_a_fact_stands_in_its_line(kind: Kind) -> None:
    assert list(kind.fields) == [column.name for column in TABLES[kind.table].columns]
    nullable = {column.name for column in TABLES[kind.table].columns if column.nullable}
    assert {name for name, form in kind.fields.items() if form == "plain or none"} == nullable


def test_every_table_that_is_only_added_to_is_sealed_or_known_not_to_be() -> None:
    carried_forward = {models.Balance, models.PendingTransfer}
    refusals = {models.FailedTransfer, models.RefusedJournal}  # they move nothing, and burn an id
    log = {models.Seal, models.Cluster}
    unsealed = {f"ledger.{model.__tablename__}" for model in carried_forward | refusals | log}
    assert {kind.table for kind in KINDS} == set(TABLES) - unsealed
    assert len({kind.letter for kind in KINDS}) == len(KINDS)
    assert [kind.name for kind in KINDS] == sorted(kind.name for kind in KINDS)


@given(texts=st.lists(NASTY, min_size=4, max_size=4))
def test_a_line_is_one_line_and_tells_every_text_apart(texts: list[str]) -> None:
    kind = next(kind for kind in KINDS if kind.name == "period")
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    row = {"id": None, "starts_at": moment, "ends_at": moment, "at": moment, "xid": 7}
    line = kind.encode({**row, **dict(zip(("action", "actor", "reason"), texts, strict=False))})
    assert "\n" not in line
    assert "\r" not in line
    fields = line.split("|")
    assert len(fields) == 1 + len(kind.fields)
    read = [
        field[1:-1]
        .replace("\\\\", "\0")
        .replace("\\p", "|")
        .replace("\\n", "\n")
        .replace("\\r", "\r")
        .replace("\0", "\\")
        for field in fields[4:7]
    ]
    assert read == texts[:3]


def test_a_line_reads_as_the_documents_say() -> None:
    kind = next(kind for kind in KINDS if kind.name == "account")
    row = {
        "id": 1,
        "ledger": 156,
        "code": 224101,
        "flags": 2,
        "user_data_128": None,
        "user_data_64": 0,
        "user_data_32": 0,
    }
    made = datetime(2026, 3, 1, 8, 0, 0, 5, tzinfo=UTC)
    assert kind.encode({**row, "created_at": made, "xid": 812}) == (
        "testcard-account-v1|1|156|224101|2||0|0|1772352000000005|812"
    )
