"""A site brings what its old system's accounts stood at: one file, whole or not at all, and never twice."""

from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import ledger
from app.books import Book, BookRole
from app.cards.models import CardAccount
from app.cli import commands
from app.instruments.models import Unit
from tests.app.accounting.office import Office

HEAD = "reference,account,owner,debit,credit,text"


@pytest.fixture
def bring(office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Bring":
    monkeypatch.setenv("TESTCARD_DATABASE_URL", office.site.settings.database_url)
    monkeypatch.setenv("TESTCARD_SECRET_KEY", "s" * 40)
    monkeypatch.setenv("TESTCARD_KEY_ENCRYPTION_KEY", "00" * 32)
    return Bring(office, tmp_path / "opening.csv")


class Bring:
    """Says `testcard ledger open` over a file of these lines."""

    def __init__(self, office: Office, path: Path) -> None:
        self.office, self._path = office, path
        self.card = office.site.card(principal_fen=0)
        with office.site.database.reader() as session:
            account = session.get(CardAccount, self.card.account_id)
            assert account is not None
            unit = session.get(Unit, office.site.unit_id)
            assert unit is not None
            self.number, self.unit = account.number, unit.code

    def __call__(self, *lines: str, days_ago: int = 1) -> Result:
        # As a spreadsheet saves it, with a mark at the beginning.
        self._path.write_text("\n".join([HEAD, *lines, ""]), encoding="utf-8-sig")
        day = self.office.today - timedelta(days=days_ago)
        options = ["--value-on", day.isoformat(), "--actor", "old-system"]
        return CliRunner().invoke(commands, ["ledger", "open", str(self._path), *options], catch_exceptions=False)

    def principal_fen(self) -> int:
        return self._stands(Book(BookRole.PRINCIPAL, self.card.account_id))

    def left_fen(self) -> int:
        return self._stands(Book(BookRole.OPENING))

    def _stands(self, book: Book) -> int:
        with self.office.site.database.reader() as session:
            return ledger.balances(session, [book.id])[book.id].credit_balance_fen


def test_what_the_old_system_stood_at_is_posted_once_however_often_it_is_brought(bring: Bring) -> None:
    lines = (
        "bank,1002.01,,500.00,,Account at ICBC",
        f'c-1,2241.01,{bring.number},,"499.90",卡余额',
        f"u-1,2241.05,{bring.unit},,0.10,",
    )
    found = bring(*lines)
    assert found.exit_code == 0, found.output
    assert "posted: 3, there before: 0, refused: 0" in found.output
    assert (bring.principal_fen(), bring.left_fen()) == (499_90, 0)
    again = bring(*lines)
    assert "posted: 0, there before: 3, refused: 0" in again.output
    assert (bring.principal_fen(), bring.left_fen()) == (499_90, 0)


@pytest.mark.parametrize(
    ("lines", "mistake"),
    [
        (
            ("a,1002.01,,1.00,,", "b,2241.01,?,,1.01,"),
            "debits are 2.00 and credits 1.01: they must be the same",
        ),
        (("a,1002.01,,1.00,,", "a,2241.01,?,,1.00,"), "line 3: the reference a stands twice"),
        (("a,1002.01,,1.00,1.00,",), "line 2: give either a debit or a credit"),
        (("a,1002.01,,,,",), "line 2: give either a debit or a credit"),
        (("a,1002.01,,-1.00,,",), "line 2: an amount is not negative"),
        (("a,1002.01,,1.001,,",), "line 2: not an amount of yuan"),
        (("a,9999,,1.00,,",), "line 2: no account of the chart that may be opened has the code 9999"),
        (("a,4901,,1.00,,",), "line 2: no account of the chart that may be opened has the code 4901"),
        (("a,2241.01,nobody,,1.00,",), "line 2: there is no card nobody"),
        (("a,1002.01,U1,1.00,,",), "line 2: this account is the center's own"),
        ((",1002.01,,1.00,,",), "line 2: the reference is not a text"),
    ],
)
def test_a_file_with_a_mistake_posts_nothing_and_says_where_it_is(
    bring: Bring, lines: tuple[str, ...], mistake: str
) -> None:
    found = bring("good,1002.01,,1.00,,", *(line.replace("?", bring.number) for line in lines))
    assert found.exit_code == 1
    shifted = mistake.replace("line 3", "line 4").replace("line 2", "line 3")
    assert "nothing was posted" in found.output
    assert shifted in found.output
    assert bring.left_fen() == 0


def test_a_changed_line_is_refused_by_name_and_the_others_stand(bring: Bring) -> None:
    assert bring(f"c-1,2241.01,{bring.number},,5.00,", "bank,1002.01,,5.00,,").exit_code == 0
    changed = bring(f"c-1,2241.01,{bring.number},,6.00,", "bank,1002.01,,5.00,,", "more,1001,,1.00,,")
    assert changed.exit_code == 1
    assert "line 2 (c-1): idempotency_conflict" in changed.output
    assert "posted: 1, there before: 1, refused: 1" in changed.output
    assert "stands at -1.00" in changed.output
    assert bring.principal_fen() == 5_00


def test_a_limit_of_an_account_holds_for_what_is_brought_too(bring: Bring) -> None:
    found = bring(f"c-1,2241.01,{bring.number},5.00,,overdrawn", "bank,1002.01,,,5.00,")
    assert found.exit_code == 1
    assert "line 2 (c-1): exceeds_credits" in found.output
    assert bring.principal_fen() == 0


def test_a_day_that_has_not_come_opens_no_books(bring: Bring) -> None:
    found = bring("a,1002.01,,1.00,,", f"b,2241.01,{bring.number},,1.00,", days_ago=-1)
    assert found.exit_code == 1
    assert "value_date_wrong" in found.output.lower()
    assert bring.left_fen() == 0


def test_a_thousand_cards_are_opened_together(bring: Bring) -> None:
    lines = [f"c-{number},2241.01,{bring.number},,0.01," for number in range(1_000)]
    found = bring("bank,1002.01,,10.00,,", *lines)
    assert "posted: 1001, there before: 0, refused: 0" in found.output
    assert (bring.principal_fen(), bring.left_fen()) == (10_00, 0)
