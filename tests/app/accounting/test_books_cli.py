"""The books as files by a command: what other programs of accounting make of them."""

import csv
import io
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from beancount import loader
from click.testing import CliRunner, Result
from openpyxl import load_workbook
from sqlalchemy import text

from app.cli import commands
from tests.app.accounting.office import Office
from tests.owner import without_triggers


@pytest.fixture
def run(office: Office, monkeypatch: pytest.MonkeyPatch) -> "Run":
    """A center with a day's work in it, and the command over its database."""
    card = office.site.card(principal_fen=0)
    office.top_up(card, 800_00)
    office.use(card, minutes=90)
    office.post(office.fee_wish(12_34, text='手续费 "九月"; =1+1'))
    office.post(office.fee_wish(1_00, value_on=office.today - timedelta(days=32)))
    monkeypatch.setenv("TESTCARD_DATABASE_URL", office.site.settings.database_url)
    monkeypatch.setenv("TESTCARD_SECRET_KEY", "s" * 40)
    monkeypatch.setenv("TESTCARD_KEY_ENCRYPTION_KEY", "00" * 32)
    return Run()


class Run:
    """Says `testcard ledger …`."""

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(commands, ["ledger", *arguments], catch_exceptions=False)


def test_beancount_accepts_the_whole_books_and_refuses_them_with_one_amount_changed(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "books.beancount"
    assert run("export", "--format", "beancount", "--out", str(path)).exit_code == 0
    written = path.read_text(encoding="utf-8")
    assert "Liabilities:2241-01:Card-" in written
    _entries, errors, _options = loader.load_string(written)
    assert errors == []
    _entries, errors, _options = loader.load_string(written.replace(" 800.00 CNY", " 801.00 CNY", 1))
    assert errors
    assert list(tmp_path.iterdir()) == [path]


def test_hledger_accepts_the_whole_books(run: Run, tmp_path: Path) -> None:
    hledger = shutil.which("hledger")
    if hledger is None:
        pytest.skip("needs Debian's hledger")
    path = tmp_path / "books.journal"
    assert run("export", "--format", "hledger", "--out", str(path)).exit_code == 0
    checked = subprocess.run([hledger, "check", "--strict", "-f", path], capture_output=True, text=True, check=False)  # noqa: S603 - our own file
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_voucher_list_has_a_row_for_each_line_with_its_code(run: Run, office: Office) -> None:
    written = run("export", "--format", "csv").stdout_bytes.decode().removeprefix("\ufeff")
    rows = list(csv.DictReader(io.StringIO(written, newline="")))
    fee = [row for row in rows if row["摘要"] == '手续费 "九月"; =1+1']
    assert [(row["科目代码"], row["借方"], row["贷方"]) for row in fee] == [
        ("6603.01", "12.34", ""),
        ("1002.03", "", "12.34"),
    ]
    assert sum(round(float(row["借方"] or 0) * 100) - round(float(row["贷方"] or 0) * 100) for row in rows) == 0
    since = run("export", "--format", "csv", "--since", f"{office.today}").stdout_bytes.decode()
    assert since.count("6603.01") == 1


def test_the_trial_balance_is_a_table_a_file_and_an_exit_code(run: Run, office: Office, tmp_path: Path) -> None:
    shown = run("trial-balance", "--language", "en")
    assert shown.exit_code == 0
    assert "The sum is 0" in shown.stdout
    row = next(line for line in shown.stdout.splitlines() if line.startswith("6603.01"))
    assert row.split()[-1] == ("13.34" if office.today.day <= 32 else "")
    path = tmp_path / "balance.xlsx"
    assert run("trial-balance", "--format", "xlsx", "--out", str(path)).exit_code == 0
    page = load_workbook(path).active
    assert page is not None
    assert page["A1"].value == "科目余额表"
    with office.site.database.transaction() as session:
        without_triggers(session)
        session.execute(text("UPDATE ledger.transfers SET credit_account_id = gen_random_uuid() WHERE code = 401"))
    assert run("trial-balance").exit_code == 1


def test_a_month_that_is_none_is_told_as_a_mistake_of_usage(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "balance.pdf"
    told = run("trial-balance", "--month", "2026-13", "--out", str(path))
    assert (told.exit_code, "YYYY-MM" in told.stderr, path.exists()) == (2, True, False)
