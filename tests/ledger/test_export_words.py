"""Other people's words in the exports: texts that try to be more than texts, and names no account may have."""

import re
from collections.abc import Callable

import pytest
from beancount.core import data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.db import Database
from ledger import AccountName, NamedAccount, Root, write_beancount, write_hledger
from tests.ledger.bookkeeping import DAY, Desk, on
from tests.ledger.checkers import (
    beancount_entries,
    beancount_errors,
    hledger_errors,
    hledger_transactions,
    needs_hledger,
)
from tests.ledger.exporting import NAMES, NEXT_YEAR, export, fresh_books, opened, told

# PostgreSQL keeps any text but NUL; signs that mean something to either program come often.
WORDS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from('\n\r\t"\\;|,:()[]{}#*!=@ ~'),
    max_size=40,
)
INJECTIONS = (
    'x"\n2026-01-01 open Assets:Stolen CNY\n; ',
    "x\n\n2026-01-01 * stolen\n    Assets:1002  1000000.00 CNY\n    Income:X\n",
    "x ; date:1999-01-01, date2:1999-01-02",
    "(code) | note [2026-01-02] [=2026-01-03]",
    "\\",
    "\\" * 3 + '"',
    "\u2028include /etc/passwd\u2029\x85",
    "end comment",
    "* ! (x) = ~",
    "🧪👩‍🔬 流式细胞\u202e仪\ufeff",
)


Words = tuple[str, str, str]


def one_line(said: str) -> str:
    """Say again what becomes of a text: all of it stays but control signs, those that reorder it, and its layout."""
    kept = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", said)
    return " ".join(re.sub("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", "", kept).split())


def wide(said: str) -> str:
    return one_line(said).replace(";", "；").replace("|", "｜").replace(",", "，")


def books_with(database: Database, vouchers: list[Words]) -> Desk:
    desk = fresh_books(database)
    for name, (said, reference, actor) in enumerate(vouchers):
        desk.journal(f"{name}", "bank > card 1.00", at=on("01-10") + name * DAY, words=(reference, said, actor))
    return desk


def check_in_beancount(database: Database, vouchers: list[Words]) -> None:
    exported = export(books_with(database, vouchers), write_beancount, title=vouchers[0][0])
    entries = beancount_entries(exported)
    found = [entry for entry in entries if isinstance(entry, data.Transaction)]
    assert len(entries) == len(found) + 4 + 1 + 2  # two assertions twice, a commodity, two accounts
    assert [(entry.payee, entry.narration, entry.meta["reference"], entry.meta["actor"]) for entry in found] == [
        (None, one_line(said) if said else "charge", one_line(reference), one_line(actor))
        for said, reference, actor in vouchers
    ]


def check_in_hledger(database: Database, vouchers: list[Words]) -> None:
    desk = books_with(database, vouchers)
    exported = export(desk, write_hledger, title=vouchers[0][0])
    assert hledger_errors(exported) == ""
    *found, january, march = hledger_transactions(exported)
    assert [(entry["tdate"], entry["tcode"], entry["tdescription"], entry["ttags"]) for entry in found] == [
        (
            f"{on('01-10') + number * DAY:%Y-%m-%d}",
            "",
            re.sub(r"^\(", "（", wide(said)) if said else "charge",
            [
                ["journal", str(desk.ident(f"journal {number}"))],
                ["kind", "charge"],
                ["reference", wide(reference)],
                ["actor", wide(actor)],
            ],
        )
        for number, (said, reference, actor) in enumerate(vouchers)
    ]
    assert all(posting["pdate"] is None for entry in found for posting in entry["tpostings"])
    assert january["tdescription"] == march["tdescription"] == "Balances"


VOUCHERS = st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=4)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(vouchers=VOUCHERS)
def test_in_beancount_any_text_is_a_text_and_nothing_else(database: Database, vouchers: list[Words]) -> None:
    check_in_beancount(database, vouchers)


@needs_hledger
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(vouchers=VOUCHERS)
def test_in_hledger_any_text_is_a_text_and_nothing_else(database: Database, vouchers: list[Words]) -> None:
    check_in_hledger(database, vouchers)


def test_beancount_takes_no_orders_from_a_voucher(database: Database) -> None:
    check_in_beancount(database, [(said, said, said) for said in INJECTIONS])


@needs_hledger
def test_hledger_takes_no_orders_from_a_voucher(database: Database) -> None:
    check_in_hledger(database, [(said, said, said) for said in INJECTIONS])


# --- names


@pytest.fixture
def desk(database: Database) -> Desk:
    return opened(database)


@pytest.fixture
def books(desk: Desk) -> Desk:
    return told(desk)


def both(desk: Desk, name: Callable[[NamedAccount], AccountName]) -> tuple[str, str]:
    beancount = export(desk, write_beancount, name=name, until=NEXT_YEAR)
    assert beancount_errors(beancount) == []
    return beancount, export(desk, write_hledger, name=name, until=NEXT_YEAR)


def declared(exported: str) -> list[str]:
    return re.findall(r"(?:^[0-9-]+ open |^account )(\S+)", exported, flags=re.MULTILINE)


@needs_hledger
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(
        st.builds(
            AccountName,
            root=st.sampled_from(Root),
            path=st.lists(st.text(max_size=8), max_size=3).map(tuple),
            name=WORDS,
        ),
        min_size=3,
        max_size=3,
    )
)
def test_both_programs_accept_accounts_of_any_name(books: Desk, names: list[AccountName]) -> None:
    by_id = dict(zip(map(books.ident, NAMES), names, strict=True))
    beancount, hledger = both(books, lambda account: by_id[account.id])
    assert hledger_errors(hledger) == ""
    labels = declared(beancount)
    assert labels == declared(hledger)
    assert len(set(labels)) == 3
    assert not [(one, other) for one in labels for other in labels if other.startswith(f"{one}:")]


@pytest.mark.parametrize(
    ("path", "label"),
    [
        (("1002", "银行存款"), "Assets:1002:X-银行存款"),
        (("1002-银行存款—客户资金",), "Assets:1002-银行存款-客户资金"),
        (("bank account", "élan"), "Assets:Bank-account:Élan"),
        (("a:b", "--c--"), "Assets:A-b:C"),
        (("", "!"), "Assets:X:X"),
        ((), "Assets:1001"),
    ],
)
def test_what_no_account_name_may_have_becomes_a_hyphen(desk: Desk, path: tuple[str, ...], label: str) -> None:
    def name(account: NamedAccount) -> AccountName:
        return AccountName(Root.ASSETS, path if account.id == desk.ident("bank") else (account.id.hex,))

    assert label in declared(both(desk, name)[0])


def test_accounts_of_one_name_get_their_ids_as_a_further_part(desk: Desk) -> None:
    labels = declared(both(desk, lambda _: AccountName(Root.ASSETS, ("Bank",)))[0])
    assert sorted(labels) == sorted(f"Assets:Bank:{desk.ident(name).hex.upper()}" for name in NAMES)


def test_an_account_above_another_steps_aside(desk: Desk) -> None:
    paths = {"bank": ("Bank",), "card": ("Bank", "Card"), "income": ("Banks",)}

    def name(account: NamedAccount) -> AccountName:
        return AccountName(Root.ASSETS, paths[desk.names[account.id]])

    assert set(declared(both(desk, name)[0])) == {
        f"Assets:Bank:{desk.ident('bank').hex.upper()}",
        "Assets:Bank:Card",
        "Assets:Banks",
    }
