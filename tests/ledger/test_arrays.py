"""Columns packed by hand arrive as the database would have read them."""

import struct
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.db import Database
from ledger.arrays import array

MOMENTS = st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - the zone is given beside
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
COLUMNS = {
    "uuid": st.none() | st.uuids(),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "boolean": st.booleans(),
    "text": st.none() | TEXTS,
    "bytea": st.none() | st.binary(),
    "timestamptz": st.none() | MOMENTS,
}


def test_every_column_comes_back_as_it_was_sent(database: Database) -> None:
    with database.engine.connect() as connection:

        @example(("timestamptz", [datetime(1999, 12, 31, tzinfo=UTC)]))
        @given(st.sampled_from(sorted(COLUMNS)).flatmap(lambda t: st.tuples(st.just(t), st.lists(COLUMNS[t]))))
        def comes_back(column: tuple[str, list[Any]]) -> None:
            type_, values = column
            sql = f"SELECT value FROM unnest(%(values)b::{type_}[]) WITH ORDINALITY AS sent (value, n) ORDER BY n"  # noqa: S608 - types from above
            assert list(connection.exec_driver_sql(sql, {"values": array(type_, values)}).scalars()) == values

        comes_back()


def test_the_two_moments_of_a_repeated_hour_stay_an_hour_apart(database: Database) -> None:
    """They are equal and hash alike, and are not the same."""
    first, second = (datetime(2026, 10, 25, 2, 30, fold=fold, tzinfo=ZoneInfo("Europe/Berlin")) for fold in (0, 1))
    assert first == second
    with database.engine.connect() as connection:
        sent = {"values": array("timestamptz", [first, second])}
        moments = list(connection.exec_driver_sql("SELECT unnest(%(values)b::timestamptz[])", sent).scalars())
    assert moments == [datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in (0, 1)]


def test_a_number_that_the_column_cannot_hold_is_refused_before_it_is_sent() -> None:
    with pytest.raises(struct.error):
        array("integer", [2**31])
