"""What people take away from reconciliation: the invoice for unpaid use, and the control totals of a month."""

from collections.abc import Iterable, Iterator

from app import clock
from app.exports import Column, Form, Row, Sheet, Tone
from app.presentation import chinese, customer, duration, local, local_name, zone_name
from app.reconciliation.cases import ControlTotals
from app.reconciliation.models import ControlTotal, UnpaidAnswer
from app.reconciliation.unpaid import unpaid_span
from app.texts import _


def invoice_sheet(found: UnpaidAnswer) -> Sheet:
    """The draft of an invoice: whom, for which time on which instrument, and how the amount came about."""
    since, until = (local(moment) for moment in unpaid_span(found.run))
    rows = [Row((line["zh"] if chinese() else line["en"], line["amount_fen"])) for line in found.price_lines]
    return Sheet(
        title=_("Invoice draft"),
        stem=f"invoice-draft-{found.id}",
        facts=(
            (_("Number"), f"U{found.id:06}"),
            (_("Customer"), customer(found.account) if found.account is not None else ""),
            (_("Account"), found.account.number if found.account is not None else ""),
            (_("Instrument"), f"{found.run.instrument.code} {local_name(found.run.instrument)}"),
            (_("Time"), f"{since:%Y-%m-%d %H:%M} – {until:%Y-%m-%d %H:%M} ({zone_name()})"),
            (_("Drafted by"), found.made_by.name),
            (_("Reason"), found.note),
        ),
        columns=(Column(_("Price line"), width=48), Column(_("Amount"), Form.MONEY, 14)),
        rows=[*rows, Row((_("Total"), found.amount_fen or 0), Tone.TOTAL)],
        note=_("A draft: nothing was posted. The collector box measured the time; no card paid for it."),
        page_word=_page_word,
        missing_word=_("Characters that the printed font lacks stand as 〓: "),
    )


def control_sheet(lines: Iterable[ControlTotal], *, sums: ControlTotals, month: str) -> Sheet:
    """The control totals of a month, and that both sides add up."""
    columns = (
        Column(_("Day"), Form.DAY, 12),
        Column(_("Instrument"), width=18),
        *(
            Column(word, width=14)
            for word in (_("Charged"), _("Ran"), _("Both"), _("Card without run"), _("Run without card"))
        ),
    )
    return Sheet(
        title=_("Control totals"),
        stem=f"control-totals-{month}",
        facts=((_("Days"), f"{month} ({zone_name()})"),),
        columns=columns,
        rows=_control_rows(lines, sums=sums),
        note=_("Made at %(moment)s, %(zone)s.", moment=f"{local(clock.now()):%Y-%m-%d %H:%M}", zone=zone_name()),
        page_word=_page_word,
        missing_word=_("Characters that the printed font lacks stand as 〓: "),
    )


def _control_rows(lines: Iterable[ControlTotal], *, sums: ControlTotals) -> Iterator[Row]:
    for line in lines:
        yield Row((line.day, line.instrument.code, *_durations(line)))
    yield Row((_("Together"), "", *_durations(sums)), Tone.TOTAL)


def _durations(sums: ControlTotal | ControlTotals) -> Iterator[str]:
    parts_s = (sums.charge_s, sums.box_s, sums.overlap_s, sums.charge_only_s, sums.box_only_s)
    return map(duration, parts_s)


def _page_word(page: int, pages: int) -> str:
    return _("Page %(page)s of %(pages)s", page=page, pages=pages)
