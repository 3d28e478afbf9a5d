"""What a customer takes away: the statement of a card account as a file."""

from collections.abc import Iterator

from app import clock, labels
from app.exports import Column, Form, Row, Sheet, Tone
from app.presentation import customer, local, local_name, zone_name
from app.reports.service import Money, Statement, StatementLine
from app.texts import _


def statement_sheet(found: Statement, *, days: str) -> Sheet:
    """The statement of a card account: opening, lines, closing, with the balance after every line."""
    account = found.view.account
    columns = (
        Column(_("Time"), Form.MOMENT, 17),
        Column(_("What"), width=34),
        Column(_("Reference"), width=26),
        Column(_("Principal"), Form.MONEY, 13),
        Column(_("Subsidy balance"), Form.MONEY, 13),
        Column(_("Debt"), Form.MONEY, 11),
        Column(_("Balance after"), Form.MONEY, 14),
    )
    made = f"{local(clock.now()):%Y-%m-%d %H:%M}"
    return Sheet(
        title=_("Statement"),
        stem=f"statement-{account.number}-{days}",
        facts=(
            (_("Customer"), customer(account)),
            (_("Account"), account.number),
            (_("Days"), f"{days} ({zone_name()})"),
        ),
        columns=columns,
        rows=_rows(found),
        note=_("Made at %(moment)s, %(zone)s.", moment=made, zone=zone_name()),
        page_word=lambda page, pages: _("Page %(page)s of %(pages)s", page=page, pages=pages),
        missing_word=_("Characters that the printed font lacks stand as 〓: "),
    )


def _rows(found: Statement) -> Iterator[Row]:
    yield _balance(_("Opening balance"), found.opening, Tone.GROUP)
    for line in found.lines:
        change = line.change
        yield Row(
            (
                local(line.at).replace(tzinfo=None),
                _what(line),
                line.reference,
                change.principal_fen or None,
                change.subsidy_fen or None,
                change.debt_fen or None,
                line.after.total_fen,
            )
        )
    yield _balance(_("Closing balance"), found.closing, Tone.TOTAL)


def _balance(word: str, money: Money, tone: Tone) -> Row:
    amounts = (money.principal_fen, money.subsidy_fen, money.debt_fen, money.total_fen)
    return Row((None, word, None, *amounts), tone)


def _what(line: StatementLine) -> str:
    kind = str(labels.find(line.kind, "journal").word)
    return kind if line.charge is None else f"{kind}: {local_name(line.charge.instrument)}"
