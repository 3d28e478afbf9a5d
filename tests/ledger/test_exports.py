"""The exports, as beancount and hledger judge them."""

import io
import re
import tracemalloc

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from app.db import Database
from ledger import write_beancount, write_hledger
from tests.ledger.bookkeeping import Desk, on
from tests.ledger.checkers import beancount_errors, hledger_errors, needs_hledger
from tests.ledger.exporting import NAMES, NEXT_YEAR, SHANGHAI, UNTIL, export, fresh_books, opened, told
from tests.owner import without_triggers

EVERY_AMOUNT = re.compile(r'-?\d+\.\d\d(?= ["A-Z])')


@pytest.fixture
def desk(database: Database) -> Desk:
    return opened(database)


@pytest.fixture
def books(desk: Desk) -> Desk:
    return told(desk)


def without_ids(exported: str) -> str:
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "…", exported)


def test_a_beancount_file_reads_like_the_books(books: Desk) -> None:
    assert without_ids(export(books, write_beancount)) == BEANCOUNT.lstrip()


def test_an_hledger_journal_reads_like_the_books(books: Desk) -> None:
    assert without_ids(export(books, write_hledger)) == HLEDGER.lstrip()


def test_the_number_of_transactions_is_given(books: Desk) -> None:
    with books.database.reader() as session:
        count = write_beancount(session, io.StringIO(), names=lambda _: NAMES["bank"], until=UNTIL, zone=SHANGHAI)
    assert count == 4


def test_beancount_accepts_the_books(books: Desk) -> None:
    assert beancount_errors(export(books, write_beancount)) == []


@needs_hledger
def test_hledger_accepts_the_books(books: Desk) -> None:
    assert hledger_errors(export(books, write_hledger)) == ""


@pytest.mark.parametrize("delta_fen", [1, -1])
def test_beancount_notices_a_fen_in_any_amount(books: Desk, delta_fen: int) -> None:
    exported = export(books, write_beancount)
    amounts = list(EVERY_AMOUNT.finditer(exported))
    assert len(amounts) == 19
    for amount in amounts:
        assert beancount_errors(changed(exported, amount, delta_fen)), amount


@needs_hledger
@pytest.mark.parametrize("delta_fen", [1, -1])
def test_hledger_notices_a_fen_in_any_amount(books: Desk, delta_fen: int) -> None:
    exported = export(books, write_hledger)
    amounts = list(EVERY_AMOUNT.finditer(exported))
    assert len(amounts) == 26
    for amount in amounts:
        assert hledger_errors(changed(exported, amount, delta_fen)), amount


@needs_hledger
def test_an_amount_that_was_changed_on_both_sides_is_noticed_by_the_balances(books: Desk) -> None:
    for write, errors in ((write_beancount, beancount_errors), (write_hledger, hledger_errors)):
        exported = export(books, write)
        assert errors(exported.replace(" 4.50 CNY\n", " 4.51 CNY\n", 1).replace(" -4.50 CNY\n", " -4.51 CNY\n", 1))


def changed(exported: str, amount: "re.Match[str]", delta_fen: int) -> str:
    fen = int(amount[0].replace(".", "")) + delta_fen
    written = f"{'-' if fen < 0 else ''}{abs(fen) // 100}.{abs(fen) % 100:02d}"
    return exported[: amount.start()] + written + exported[amount.end() :]


PLACES = st.sampled_from(["bank", "card", "income", "other"])
EVENTS = st.lists(
    st.tuples(PLACES, PLACES, st.integers(1, 10**7), st.integers(0, 120), st.booleans()).filter(
        lambda event: event[0] != event[1]
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, which=st.integers(0, 10**6), delta_fen=st.integers(-(10**8), 10**8))
def test_beancount_accepts_any_books_and_refuses_them_after_any_change(
    database: Database, events: list[tuple[str, str, int, int, bool]], which: int, delta_fen: int
) -> None:
    assume(delta_fen)
    exported = export(fresh_books(database, events), write_beancount, until=NEXT_YEAR)
    assert beancount_errors(exported) == []
    amounts = list(EVERY_AMOUNT.finditer(exported))
    assert beancount_errors(changed(exported, amounts[which % len(amounts)], delta_fen))


@needs_hledger
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, which=st.integers(0, 10**6), delta_fen=st.integers(-(10**8), 10**8))
def test_hledger_accepts_any_books_and_refuses_them_after_any_change(
    database: Database, events: list[tuple[str, str, int, int, bool]], which: int, delta_fen: int
) -> None:
    assume(delta_fen)
    exported = export(fresh_books(database, events), write_hledger, until=NEXT_YEAR)
    assert hledger_errors(exported) == ""
    amounts = list(EVERY_AMOUNT.finditer(exported))
    assert hledger_errors(changed(exported, amounts[which % len(amounts)], delta_fen))


@needs_hledger
def test_every_ledger_is_a_commodity_of_its_own(desk: Desk) -> None:
    desk.open("usd:a", "usd:b", ledger=840)
    desk.open("odd:a", "odd:b", ledger=999)
    desk.pay("1", "usd:a > usd:b 3.00", at=on("01-10"), ledger=840)
    desk.pay("2", "odd:a > odd:b 4.00", at=on("01-10"), ledger=999)
    desk.pay("3", "bank > card 5.00", at=on("01-10"))
    beancount, hledger = export(desk, write_beancount), export(desk, write_hledger)
    assert beancount_errors(beancount) == []
    assert hledger_errors(hledger) == ""
    assert {"3.00 USD", "4.00 L999", "5.00 CNY"} <= set(re.findall(r"\b\d\.\d\d \S+", beancount))
    assert {"3.00 USD", '4.00 "L999"', "5.00 CNY"} <= set(re.findall(r"\b\d\.\d\d \S+", hledger))


@needs_hledger
def test_books_without_a_transaction_are_books(desk: Desk) -> None:
    desk.hold("h", "bank > card 1.00", at=on("01-10"))
    beancount, hledger = export(desk, write_beancount), export(desk, write_hledger)
    assert beancount_errors(beancount) == []
    assert hledger_errors(hledger) == ""
    assert not EVERY_AMOUNT.search(beancount + hledger)


def test_what_is_dated_at_the_moment_or_later_is_not_in_the_books(desk: Desk) -> None:
    desk.pay("1", "bank > card 1.00", at=on("01-10"))
    desk.pay("2", "bank > card 2.00", at=on("01-11"))
    exported = export(desk, write_beancount, until=on("01-11"))
    assert "1.00 CNY" in exported
    assert "2.00 CNY" not in exported


def test_an_account_is_open_from_its_first_movement_even_if_that_was_booked_before_there_was_an_account(
    desk: Desk,
) -> None:
    desk.pay("1", "bank > card 1.00", at=on("01-10"))
    exported = export(desk, write_beancount, until=NEXT_YEAR)
    assert "2026-01-10 open Assets:1002:X-银行存款 CNY" in exported
    assert beancount_errors(exported) == []


def test_books_of_a_session_that_sees_others_commit_are_refused(desk: Desk) -> None:
    with desk.database.transaction() as session, pytest.raises(ValueError, match="one snapshot"):
        write_beancount(session, io.StringIO(), names=lambda _: NAMES["bank"], until=UNTIL, zone=SHANGHAI)


class Nowhere(io.StringIO):
    def write(self, written: str, /) -> int:
        return len(written)


def test_memory_does_not_grow_with_the_transfers(desk: Desk) -> None:
    desk.pay("first", "bank > card 1.00", at=on("01-01"))
    peaks = [peak_bytes(desk)]
    with desk.database.transaction() as session:
        without_triggers(session)
        session.execute(text(COPIES), {"first": desk.ident("first")})
    peaks.append(peak_bytes(desk))
    assert peaks[1] < peaks[0] + 4_000_000


COPIES = """
INSERT INTO ledger.transfers SELECT (copy).* FROM (
    SELECT jsonb_populate_record(transfers, jsonb_build_object(
        'id', gen_random_uuid(), 'timestamp', timestamp + make_interval(secs => n),
        'value_at', value_at + make_interval(mins => n)
    )) AS copy
    FROM ledger.transfers, generate_series(1, 5000) AS n WHERE id = :first
) AS copies
"""


def peak_bytes(desk: Desk) -> int:
    tracemalloc.start()
    with desk.database.reader() as session:
        write_beancount(session, Nowhere(), names=lambda _: NAMES["bank"], until=UNTIL, zone=SHANGHAI)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


BEANCOUNT = r"""
;; -*- mode: beancount; coding: utf-8 -*-
;; Everything posted with a value date before 2026-03-10T08:00:00+08:00, by the days of Asia/Shanghai.
;; An amount on hold is a promise and no money yet: it is not in these books.
option "title" "Books"
option "operating_currency" "CNY"
option "tolerance_multiplier" "0"

2026-01-10 commodity CNY

2026-01-10 open Assets:1002:X-银行存款 CNY
  name: "银行存款—客户资金"
  id: "…"
  code: "1001"
2026-01-10 open Liabilities:2241-01-principal:Card-7 CNY
  name: "Card \"7\"; principal"
  id: "…"
  code: "1001"
2026-02-01 open Income:Service-fee CNY
  name: "Service fee"
  id: "…"
  code: "1001"

2026-01-10 * "Top-up"
  journal: "…"
  kind: "top_up"
  reference: "T-1"
  actor: "clerk 3"
  Assets:1002:X-银行存款  100.00 CNY
  Liabilities:2241-01-principal:Card-7  -100.00 CNY

2026-02-01 balance Assets:1002:X-银行存款  100.00 CNY
2026-02-01 balance Liabilities:2241-01-principal:Card-7  -100.00 CNY

2026-02-01 * "Voucher 2"
  journal: "…"
  kind: "charge"
  reference: "No. 2"
  actor: "accountant"
  Liabilities:2241-01-principal:Card-7  30.00 CNY
  Income:Service-fee  -30.00 CNY
  Liabilities:2241-01-principal:Card-7  0.05 CNY
  Income:Service-fee  -0.05 CNY

2026-03-01 balance Liabilities:2241-01-principal:Card-7  -69.95 CNY
2026-03-01 balance Income:Service-fee  -30.05 CNY

2026-03-02 * "wrong card"
  journal: "…"
  kind: "reversal"
  reference: "No. 2"
  actor: "manager"
  reverses: "…"
  Income:Service-fee  30.00 CNY
  Liabilities:2241-01-principal:Card-7  -30.00 CNY
  Income:Service-fee  0.05 CNY
  Liabilities:2241-01-principal:Card-7  -0.05 CNY

2026-03-04 * "Transfer without a voucher"
  transfer: "…"
  Liabilities:2241-01-principal:Card-7  4.50 CNY
  Income:Service-fee  -4.50 CNY

2026-03-11 balance Assets:1002:X-银行存款  100.00 CNY
2026-03-11 balance Liabilities:2241-01-principal:Card-7  -95.50 CNY
2026-03-11 balance Income:Service-fee  -4.50 CNY
"""
HLEDGER = """
; Books
; Everything posted with a value date before 2026-03-10T08:00:00+08:00, by the days of Asia/Shanghai.
; An amount on hold is a promise and no money yet: it is not in these books.
decimal-mark .

commodity CNY

account Assets:1002:X-银行存款
  ; name: 银行存款—客户资金
  ; id: …
  ; opened: 2026-01-10
account Liabilities:2241-01-principal:Card-7
  ; name: Card "7"； principal
  ; id: …
  ; opened: 2026-01-10
account Income:Service-fee
  ; name: Service fee
  ; id: …
  ; opened: 2026-02-01

2026-01-10 * Top-up
  ; journal: …
  ; kind: top_up
  ; reference: T-1
  ; actor: clerk 3
  Assets:1002:X-银行存款  100.00 CNY
  Liabilities:2241-01-principal:Card-7  -100.00 CNY

2026-01-31 * Balances
  Assets:1002:X-银行存款  0.00 CNY == 100.00 CNY
  Liabilities:2241-01-principal:Card-7  0.00 CNY == -100.00 CNY

2026-02-01 * Voucher 2
  ; journal: …
  ; kind: charge
  ; reference: No. 2
  ; actor: accountant
  Liabilities:2241-01-principal:Card-7  30.00 CNY
  Income:Service-fee  -30.00 CNY
  Liabilities:2241-01-principal:Card-7  0.05 CNY
  Income:Service-fee  -0.05 CNY

2026-02-28 * Balances
  Liabilities:2241-01-principal:Card-7  0.00 CNY == -69.95 CNY
  Income:Service-fee  0.00 CNY == -30.05 CNY

2026-03-02 * wrong card
  ; journal: …
  ; kind: reversal
  ; reference: No. 2
  ; actor: manager
  ; reverses: …
  Income:Service-fee  30.00 CNY
  Liabilities:2241-01-principal:Card-7  -30.00 CNY
  Income:Service-fee  0.05 CNY
  Liabilities:2241-01-principal:Card-7  -0.05 CNY

2026-03-04 * Transfer without a voucher
  ; transfer: …
  Liabilities:2241-01-principal:Card-7  4.50 CNY
  Income:Service-fee  -4.50 CNY

2026-03-10 * Balances
  Assets:1002:X-银行存款  0.00 CNY == 100.00 CNY
  Liabilities:2241-01-principal:Card-7  0.00 CNY == -95.50 CNY
  Income:Service-fee  0.00 CNY == -4.50 CNY
"""
