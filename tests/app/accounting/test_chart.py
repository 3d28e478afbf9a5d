"""A site may renumber and rename its accounts at any time; what is wrong with its chart is told whole, at the start."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app import books, settings
from app.accounting import service
from app.books import BookRole, ChartError, chart, read_chart, shipped_chart, use_chart
from tests.app.accounting.office import Office
from tests.app.test_settings import GOOD


@pytest.fixture(autouse=True)
def _shipped_again() -> Iterator[None]:
    yield
    use_chart(None)


def own_lines() -> list[dict[str, Any]]:
    """A government unit's codes: one level more, other names."""
    return [
        {"role": role.value, "code": f"{line.code}.01", "zh": f"自用{line.name_zh}", "en": f"Own {line.name_en}"}
        for role, line in shipped_chart().items()
    ]


def written(tmp_path: Path, lines: Any) -> Path:
    path = tmp_path / "chart.json"
    path.write_text(json.dumps({"accounts": lines}), encoding="utf-8")
    return path


def test_a_sites_codes_are_shown_and_the_accounts_stay_the_same(office: Office, tmp_path: Path) -> None:
    journal_id = office.post(office.fee_wish(12_34))
    use_chart(read_chart(written(tmp_path, own_lines())))
    office.post(office.fee_wish(1_00))  # no account is opened anew, none is lost
    since, until = office.month
    with office.site.database.reader() as session:
        found = service.trial_balance(session, since=since, until=until)
        voucher = service.voucher_view(session, journal_id=journal_id, zone=office.zone).voucher
    fees = next(group for group in found.groups if group.line and group.line.role is BookRole.PSP_FEE)
    assert (fees.code, fees.name_zh, fees.sums.debits_fen) == ("6603.01.01", "自用财务费用—手续费", 13_34)
    assert [line.account.code for line in voucher.lines] == ["6603.01.01", "1002.03.01"]
    assert chart()[BookRole.PRINCIPAL].number == 224101


def test_sides_and_limits_belong_to_the_role_whatever_the_file_says(tmp_path: Path) -> None:
    lines = [{**line, "limited": False, "side": "debit", "element": "income"} for line in own_lines()]
    own, shipped = read_chart(written(tmp_path, lines)), shipped_chart()
    for role in BookRole:
        assert (own[role].limited, own[role].grows_by_debit, own[role].element, own[role].number) == (
            shipped[role].limited,
            shipped[role].grows_by_debit,
            shipped[role].element,
            shipped[role].number,
        )


def test_every_mistake_of_a_chart_is_told_at_once(tmp_path: Path) -> None:
    lines = own_lines()
    lines[0] = {**lines[0], "role": "till"}
    lines[1] = {**lines[1], "code": lines[2]["code"]}
    lines[3] = {**lines[3], "code": "12a.1"}
    lines[4] = {**lines[4], "code": "7001.01"}
    lines[5] = {**lines[5], "zh": " "}
    lines.append({**lines[6], "code": "7001"})
    with pytest.raises(ChartError) as refused:
        read_chart(written(tmp_path, lines))
    told = refused.value.mistakes
    assert "unknown role till" in told
    assert "role cash is missing" in told
    assert "role disputed stands 2 times" in told
    assert f"code {lines[2]['code']} is given to 2 roles" in told
    assert any(mistake.startswith("code 12a.1 of operating_bank") for mistake in told)
    assert "code 7001 is a heading of 7001.01" in told
    assert any(mistake.startswith("name zh of customer_debt") for mistake in told)
    assert len(told) == 7


@pytest.mark.parametrize("content", ["", "[]", '{"accounts": 1}', '{"accounts": [1]}'])
def test_a_file_that_is_no_chart_is_refused_in_one_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "chart.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ChartError) as refused:
        read_chart(path)
    assert len(refused.value.mistakes) == 1


def test_the_service_does_not_start_with_a_wrong_chart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = written(tmp_path, own_lines()[1:])
    for name, value in {**GOOD, "TESTCARD_CHART_FILE": str(path)}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(settings.SettingsError, match="CHART_FILE: role cash is missing"):
        settings.load()
    written(tmp_path, own_lines())
    assert settings.load().chart_file == path


def test_every_role_of_the_shipped_chart_has_a_line_of_its_own(tmp_path: Path) -> None:
    lines = [
        {"role": line.role.value, "code": line.code, "zh": line.name_zh, "en": line.name_en}
        for line in shipped_chart().values()
    ]
    assert read_chart(written(tmp_path, lines)) == shipped_chart()
    assert len({line.number for line in books.shipped_chart().values()}) == len(BookRole)
