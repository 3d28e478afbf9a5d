"""The accountant's tables as files, in the reader's language and the site's zone."""

from collections.abc import Iterable, Iterator
from datetime import date, datetime

from app import clock, labels
from app.accounting import service
from app.accounting.service import AccountLine, AccountStatement, BookAccount, TrialBalance, TrialDetail, Voucher
from app.exports import Cell, Column, Form, Row, Sheet, Tone
from app.presentation import local, local_name, zone_name
from app.spans import Span
from app.texts import _

# What a list of vouchers can be narrowed to; a hold and its release post nothing.
POSTING_KINDS = tuple(kind for kind in labels.LABELS["journal"] if kind not in ("session_hold", "session_void"))


def voucher_word(number: int | None) -> str:
    """Write a voucher's number in its month; one that posted nothing has none."""
    return "–" if number is None else str(_("V-%(number)s", number=f"{number:04}"))


def kind_word(kind: str) -> str:
    """Say what kind of voucher it is."""
    return str(labels.find(kind, "journal").word)


def owner_word(account: BookAccount) -> str:
    """Say whose an account is; empty for the center's own."""
    return "" if account.owner is None else f"{account.owner.code} {local_name(account.owner)}".strip()


def trial_sheet(balance: TrialBalance, *, span: Span) -> Sheet:
    """The trial balance (科目余额表) by code."""
    rows = [
        Row((group.code, local_name(group), *_six(group.sums.opening_fen, group.sums, group.sums.closing_fen)))
        for group in balance.groups
    ]
    total = balance.total
    opening, closing = balance.opening_sides, balance.closing_sides
    rows.append(Row((_("Total"), None, *opening, total.debits_fen, total.credits_fen, *closing), Tone.TOTAL))
    sound = (
        _("The sum is 0: the books balance.")
        if balance.difference_fen == 0
        else _("The books do not balance: the sum is not 0.")
    )
    return _sheet(
        _("Trial balance"),
        "trial-balance",
        span=span,
        columns=(*_chart_columns(), *_money_columns()),
        rows=rows,
        note=sound,
    )


def trial_detail_sheet(detail: TrialDetail, *, span: Span) -> Sheet:
    """The single accounts behind one code of the trial balance."""
    line = detail.line
    rows = [
        Row((line.code, owner_word(each.account), *_six(each.sums.opening_fen, each.sums, each.sums.closing_fen)))
        for each in detail.accounts
    ]
    rows.append(
        Row((_("Total"), None, *_six(detail.total.opening_fen, detail.total, detail.total.closing_fen)), Tone.TOTAL)
    )
    return _sheet(
        _("Accounts of %(code)s %(name)s", code=line.code, name=local_name(line)),
        f"accounts-{line.code}",
        span=span,
        columns=(Column(_("Code"), width=10), Column(_("Whose"), width=30), *_money_columns()),
        rows=rows,
    )


def vouchers_sheet(vouchers: Iterable[Voucher], *, span: Span, filters: tuple[tuple[str, str], ...] = ()) -> Sheet:
    """All vouchers, one row for each line, as accounting programs take them in (科目代码).

    Paper has room for what was posted; who booked it when stands on each voucher.
    """
    columns = (
        Column(_("Value date"), Form.DAY, 11),
        Column(_("Voucher"), width=9),
        Column(_("Kind"), width=14),
        Column(_("Text"), width=28),
        Column(_("Code"), width=9),
        Column(_("Chart account"), width=20),
        Column(_("Whose"), width=22),
        Column(_("Debit"), Form.MONEY, 13),
        Column(_("Credit"), Form.MONEY, 13),
        Column(_("Source reference"), width=22, on_paper=False),
        Column(_("Booked by"), width=13, on_paper=False),
        Column(_("Booked at"), Form.MOMENT, 17, on_paper=False),
    )
    rows = (row for voucher in vouchers for row in _voucher_rows(voucher))
    return _sheet(_("Vouchers"), "vouchers", span=span, columns=columns, rows=rows, facts=filters)


def voucher_sheet(view: service.VoucherView) -> Sheet:
    """One voucher (记账凭证) to be printed and signed."""
    voucher = view.voucher
    facts = [
        (_("Voucher"), f"{voucher.month} {voucher_word(voucher.number)}"),
        (_("Value date"), str(_day(voucher.value_at))),
        (_("Kind"), kind_word(voucher.kind)),
        (_("Text"), voucher.text),
        (_("Source reference"), voucher.reference),
        (_("Booked"), f"{local(voucher.booked_at):%Y-%m-%d %H:%M:%S} ({zone_name()}), {view.actor_name}"),
    ]
    if view.draft is not None and view.draft.checker is not None:
        facts.append((_("Drafted by"), view.draft.maker.name))
        facts.append((_("Approved by"), view.draft.checker.name))
    for label, journal_id in ((_("Reverses"), voucher.reverses_id), (_("Reversed by"), voucher.reversed_by_id)):
        if journal_id is not None:
            facts.append((label, str(journal_id)))
    rows = [
        Row((line.account.code, local_name(line.account), owner_word(line.account), *_amounts(line)))
        for line in voucher.lines
    ]
    rows.append(Row((_("Total"), None, None, voucher.amount_fen, voucher.amount_fen), Tone.TOTAL))
    return Sheet(
        title=_("Journal voucher"),
        stem=f"voucher-{voucher.month}-{voucher.number or 0:04}",
        facts=tuple(facts),
        columns=(
            Column(_("Code"), width=10),
            Column(_("Chart account"), width=26),
            Column(_("Whose"), width=30),
            Column(_("Debit"), Form.MONEY, 14),
            Column(_("Credit"), Form.MONEY, 14),
        ),
        rows=rows,
        note=f"{_('Journal')} {voucher.id}",
        page_word=_page_word,
        missing_word=_missing_word(),
    )


def statement_sheet(statement: AccountStatement, lines: Iterable[AccountLine], *, span: Span) -> Sheet:
    """The statement of one ledger account with opening, lines and closing."""
    account = statement.account
    columns = (
        Column(_("Value date"), Form.MOMENT, 17),
        Column(_("Kind"), width=16),
        Column(_("Text"), width=30),
        Column(_("Source reference"), width=22),
        Column(_("Other account"), width=26),
        Column(_("Debit"), Form.MONEY, 13),
        Column(_("Credit"), Form.MONEY, 13),
        Column(_("Balance (debit)"), Form.MONEY, 14),
    )
    title = _("Account %(code)s %(name)s", code=account.code, name=local_name(account))
    whose = owner_word(account)
    return _sheet(
        title,
        f"account-{account.code}-{account.owner.code if account.owner is not None else 0}",
        span=span,
        columns=columns,
        rows=_statement_rows(statement, lines),
        facts=((_("Whose"), whose),) if whose else (),
    )


def _statement_rows(statement: AccountStatement, lines: Iterable[AccountLine]) -> Iterator[Row]:
    yield Row((None, None, _("Opening balance"), None, None, None, None, statement.opening_fen), Tone.GROUP)
    debits_fen = credits_fen = 0
    for line in lines:
        entry = line.entry
        debits_fen += entry.debit_fen
        credits_fen += entry.credit_fen
        yield Row(
            (
                local(entry.value_at).replace(tzinfo=None),
                kind_word(entry.kind or ""),
                entry.text,
                entry.reference,
                f"{line.counter.code} {local_name(line.counter)} {owner_word(line.counter)}".strip(),
                entry.debit_fen or None,
                entry.credit_fen or None,
                entry.balance_fen,
            )
        )
    yield Row(
        (None, None, _("Closing balance"), None, None, debits_fen, credits_fen, statement.closing_fen), Tone.TOTAL
    )


def _voucher_rows(voucher: Voucher) -> Iterator[Row]:
    for line in voucher.lines:
        yield Row(
            (
                _day(voucher.value_at),
                voucher_word(voucher.number),
                kind_word(voucher.kind),
                voucher.text,
                line.account.code,
                local_name(line.account),
                owner_word(line.account),
                *_amounts(line),
                voucher.reference,
                voucher.actor,
                local(voucher.booked_at).replace(tzinfo=None),
            )
        )


def _sheet(
    title: str,
    stem: str,
    *,
    span: Span,
    columns: tuple[Column, ...],
    rows: Iterable[Row],
    facts: tuple[tuple[str, str], ...] = (),
    note: str = "",
) -> Sheet:
    days = str(span.first) if span.first == span.last else f"{span.first} – {span.last}"
    made = _("Made at %(moment)s, %(zone)s.", moment=f"{local(clock.now()):%Y-%m-%d %H:%M}", zone=zone_name())
    return Sheet(
        title=title,
        stem=f"{stem}-{span.stem}",
        facts=((_("Days"), f"{days} ({zone_name()})"), *facts),
        columns=columns,
        rows=rows,
        note=f"{note} {made}".strip(),
        page_word=_page_word,
        missing_word=_missing_word(),
    )


def _page_word(page: int, pages: int) -> str:
    return _("Page %(page)s of %(pages)s", page=page, pages=pages)


def _missing_word() -> str:
    return _("Characters that the printed font lacks stand as 〓: ")


def _chart_columns() -> tuple[Column, ...]:
    return (Column(_("Code"), width=10), Column(_("Chart account"), width=26))


def _money_columns() -> tuple[Column, ...]:
    titles = (
        _("Opening debit"),
        _("Opening credit"),
        _("Debits"),
        _("Credits"),
        _("Closing debit"),
        _("Closing credit"),
    )
    return tuple(Column(title, Form.MONEY, 15) for title in titles)


def _six(opening_fen: int, sums: service.Sums, closing_fen: int) -> tuple[Cell, ...]:
    opening, closing = service.sides(opening_fen), service.sides(closing_fen)
    return (
        *(each or None for each in opening),
        sums.debits_fen or None,
        sums.credits_fen or None,
        *(each or None for each in closing),
    )


def _amounts(line: service.VoucherLine) -> tuple[Cell, Cell]:
    return line.debit_fen or None, line.credit_fen or None


def _day(at: datetime) -> date:
    return local(at).date()
